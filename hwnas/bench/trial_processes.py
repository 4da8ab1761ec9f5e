"""Where trials are trained: in this process one after the other, or in several at once, one trial in each at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Any

from hwnas.bench.parallel import Child, describe, settle_in
from hwnas.bench.trials import Running, Trials
from hwnas.errors import HwnasError
from hwnas.spaces import Architecture

Told = Callable[[int, float, float], bool]
"""Called with (resource levels trained for, validation error, seconds up to here); whether to go on."""

Evaluate = Callable[[Architecture, Told], tuple[float, float]]
"""Trains a sub-network, reporting at each level, until it is not to go on. Returns its test error, and seconds in all,
without those that it waited for an answer."""

SetUp = Callable[[Any], Evaluate]
"""Loads what evaluations need, given a payload; importable by name."""


def one_by_one(trials: Trials, evaluate: Evaluate) -> None:
    """Train all trials in this process."""
    while (trial := trials.next()) is not None:
        test_error, seconds = evaluate(trial.architecture, partial(trials.told, trial.number))
        trials.ended(trial.number, test_error, seconds)


def several_at_once(
    trials: Trials, set_up: SetUp, payload: Any, processes: int, *, preload: Sequence[str] = ()
) -> None:
    """Train the trials in processes, which end with this one, however it ends.

    A process is started when there is a trial for it, and loads once what all its trials need. Whatever a trial reports
    is on the disk before it gets an answer, and before another is proposed.

    Args:
        trials: The trials.
        set_up: Called in each process.
        payload: What it is given; can be pickled.
        processes: How many at most.
        preload: As of `Child`.

    Raises:
        HwnasError: An evaluation failed, or its process ended.
        RuntimeError: An evaluation failed by an error that hwnas does not raise on purpose; the cause says where.
    """
    workers: list[_Worker] = []
    try:
        while True:
            busy = [worker for worker in workers if worker.trial is not None]
            trial = trials.next() if len(busy) < processes else None
            if trial is not None:
                idle = next((worker for worker in workers if worker.trial is None), None)
                if idle is None:
                    idle = _Worker(set_up, payload, preload)
                    workers.append(idle)
                idle.trial = trial
                idle.send(trial.architecture)
                continue
            if not busy:
                return
            ready = wait([worker.pipe for worker in busy])
            for worker in busy:
                if worker.pipe in ready:
                    worker.answer(trials)
    finally:
        for worker in workers:
            worker.stop()


class _Worker(Child):
    """A process, and the trial that it is at."""

    def __init__(self, set_up: SetUp, payload: Any, preload: Sequence[str]) -> None:
        super().__init__(_serve, set_up, payload, preload=preload)
        self.trial: Running | None = None

    def answer(self, trials: Trials) -> None:
        """Take in one message."""
        trial = self.trial
        assert trial is not None
        message = self.hear()
        if message is None:
            raise HwnasError(f"trial {trial.number} failed: {self.ending()}; the same command goes on.")
        kind, *rest = message
        if kind == "told":
            self.send(trials.told(trial.number, *rest))
        elif kind == "ended":
            self.trial = None
            trials.ended(trial.number, *rest)
        else:
            reason, trace = rest
            if not trace:
                raise HwnasError(reason)
            raise RuntimeError(f"trial {trial.number}: {reason}") from _Elsewhere(trace)


class _Elsewhere(Exception):
    """The traceback of an error in another process."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def _serve(pipe: Connection, set_up: SetUp, payload: Any) -> None:
    """What a process does: trials, one after the other, until there are no more."""
    settle_in()

    def told(level: int, error: float, seconds: float) -> bool:
        try:
            pipe.send(("told", level, error, seconds))
            return bool(pipe.recv())
        except (EOFError, OSError):
            os._exit(1)  # nobody is left to answer

    evaluate: Evaluate | None = None
    while True:
        try:
            arch = pipe.recv()
        except EOFError:
            return
        try:
            evaluate = evaluate or set_up(payload)
            pipe.send(("ended", *evaluate(arch, told)))
        except Exception as error:  # whatever a library raises; the other process decides
            pipe.send(("failed", *describe(error)))
