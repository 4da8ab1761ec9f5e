"""Where trials are trained: in this process one after the other, or in several at once, one trial in each at a time."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from hwnas.bench.parallel import Worker, describe, keep_busy, settle_in
from hwnas.bench.trial import Running
from hwnas.bench.trials import Trials
from hwnas.errors import HwnasError
from hwnas.search.patience import NO_FAILURE
from hwnas.spaces import Architecture

Told = Callable[[int, float, float], bool]
"""Called with (resource levels trained for, validation error, seconds up to here); whether to go on."""

Evaluate = Callable[[Architecture, Told], tuple[float, float]]
"""Trains a sub-network, reporting at each level, until it is not to go on. Returns its test error, and seconds in all,
without those that it waited for an answer."""

SetUp = Callable[[Any], Evaluate]
"""Loads what evaluations need, given a payload; importable by name."""


def one_by_one(trials: Trials, evaluate: Evaluate) -> None:
    """Train all trials in this process.

    Raises:
        Exception: Too many failed in a row, as of `Trials.failed`; or it was the disk's fault.
    """
    while (trial := trials.next()) is not None:
        start = time.perf_counter()
        try:
            test_error, seconds = evaluate(trial.architecture, partial(trials.told, trial.number))
        except NO_FAILURE:
            raise
        except Exception as error:  # whatever an architecture may lead to; the next one may do
            trials.failed(trial.number, error, time.perf_counter() - start)
        else:
            trials.ended(trial.number, test_error, seconds)


def several_at_once(
    trials: Trials, set_up: SetUp, payload: Any, processes: int, *, preload: Sequence[str] = ()
) -> None:
    """Train the trials in processes, which end with this one, however it ends.

    A process is started when there is a trial for it, and loads once what all its trials need. Whatever a trial reports
    is on the disk before it gets an answer, and before another is proposed. A process that ends by itself, or is killed
    because memory runs out, loses its trial only.

    Args:
        trials: The trials.
        set_up: Called in each process.
        payload: What it is given; can be pickled.
        processes: How many at most.
        preload: As of `Child`.

    Raises:
        HwnasError: The set-up failed, or too many evaluations in a row, as of `Trials.failed`; or somebody ended a
            process.
        RuntimeError: The same, by an error that hwnas does not raise on purpose; the cause says where.
    """
    keep_busy(
        lambda busy: trials.next(),
        lambda: _Worker(_serve, set_up, payload, preload=preload),
        lambda worker: worker.answer(trials),
        processes,
    )


class _Worker(Worker):
    """A process that trains trials."""

    _started = 0.0

    def start(self, item: Running) -> None:
        """Give it a trial."""
        self.item, self._started = item, time.perf_counter()
        self.send(item.architecture)

    def answer(self, trials: Trials) -> bool:
        """Take in one message; False if the process has ended."""
        trial: Running = self.item
        message, seconds = self.hear(), time.perf_counter() - self._started
        if message is None:
            gone = HwnasError(f"trial {trial.number} failed: {self.ending()}; the same command goes on.")
            if self.process.exitcode == -signal.SIGTERM:  # from outside, whatever was trained
                raise gone
            trials.failed(trial.number, gone, seconds)
            return False
        kind, *rest = message
        if kind == "told":
            self.send(trials.told(trial.number, *rest))
        elif kind == "ended":
            self.item = None
            trials.ended(trial.number, *rest)
        else:
            error = _error(trial, *rest)
            if kind == "broken":
                raise error
            self.item = None
            trials.failed(trial.number, error, seconds)
        return True


class _Elsewhere(Exception):
    """The traceback of an error in another process."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def _error(trial: Running, reason: str, trace: str) -> Exception:
    """An error of another process, from what `describe` said of it."""
    if not trace:
        return HwnasError(reason)
    error = RuntimeError(f"trial {trial.number}: {reason}")
    error.__cause__ = _Elsewhere(trace)
    return error


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
            broken = evaluate is None or isinstance(error, NO_FAILURE)
            pipe.send(("broken" if broken else "failed", *describe(error)))
