"""Jobs in several processes: each process works on one job at a time, and ends when this one does, however it ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from hwnas.errors import HwnasError

Report = Callable[[int, int, str], None]
"""Called with (done, total, short text) of one job."""

W = TypeVar("W", bound="Worker")

Work = Callable[[Any, Report], None]
"""Does a job, given its payload; must be importable by name."""


@dataclass(frozen=True)
class Job:
    """Something to do.

    Attributes:
        name: Unique.
        payload: What `Work` is given; can be pickled.
        needs: Names of jobs that must have succeeded.
        alone: Nothing else may run meanwhile.
    """

    name: str
    payload: Any
    needs: tuple[str, ...] = ()
    alone: bool = False


@dataclass(frozen=True)
class Failure:
    """A job that failed, or that could not start because one that it needs failed.

    Attributes:
        name: Of the job.
        reason: One line.
        trace: The traceback, empty for errors that hwnas raises on purpose.
    """

    name: str
    reason: str
    trace: str = ""


_PATIENCE = 5.0
"""Seconds in which a process that has nothing to do ends by itself."""

Watch = Callable[[int, int, str], None]
"""Called with (jobs ended, jobs in all, short text)."""


def run_jobs(
    jobs: Sequence[Job], work: Work, processes: int, *, watch: Watch | None = None, nested: bool = False
) -> list[Failure]:
    """Do all jobs; those that fail do not keep others from being done.

    Args:
        jobs: The jobs, each after those that it needs.
        work: Does one.
        processes: How many run at once. With 1 all is done in this process.
        watch: Called as the work goes on.
        nested: Whether jobs start processes of their own.

    Returns:
        Those that failed, in the order in which they did.

    Raises:
        KeyboardInterrupt: Ctrl-C; the processes have ended.
    """
    board = _Board(jobs, watch or (lambda *_: None))
    if processes == 1:
        while (job := board.next(())) is not None:
            board.end(job, _attempt(work, job.payload, partial(board.say, job)))
    else:
        _in_processes(board, work, min(processes, len(jobs)), nested)
    return board.failures


class _Board:
    """What is still to be done, in order."""

    def __init__(self, jobs: Sequence[Job], watch: Watch) -> None:
        self._waiting = list(jobs)
        self._total, self._ended = len(jobs), 0
        self._done: set[str] = set()
        self._watch = watch
        self.failures: list[Failure] = []

    def next(self, running: Sequence[Job]) -> Job | None:
        """The first job that can start beside those that run; None if there is none now."""
        if any(job.alone for job in running):
            return None
        for job in self._waiting:
            if set(job.needs) <= self._done and not (job.alone and running):
                self._waiting.remove(job)
                return job
        return None

    def say(self, job: Job, done: int, total: int, text: str) -> None:
        """A job goes on."""
        self._watch(self._ended, self._total, f"{job.name} {done}/{total} {text}".rstrip())

    def end(self, job: Job, failure: tuple[str, str] | None) -> None:
        """A job has ended; those that need a failed one never start."""
        self._ended += 1
        if failure is None:
            self._done.add(job.name)
            self._watch(self._ended, self._total, f"{job.name} done")
            return
        self.failures.append(Failure(job.name, *failure))
        self._watch(self._ended, self._total, f"{job.name} failed: {failure[0]}")
        for other in [other for other in self._waiting if job.name in other.needs]:
            if other in self._waiting:
                self._waiting.remove(other)
                self.end(other, (f"it needs {job.name}, which failed", ""))


def _attempt(work: Work, payload: Any, report: Report) -> tuple[str, str] | None:
    """Do a job; reason and traceback if it failed."""
    try:
        work(payload, report)
    except Exception as error:  # whatever a library raises must not end the other jobs
        return describe(error)
    return None


def describe(error: Exception) -> tuple[str, str]:
    """One line about an error, and its traceback, empty for errors that hwnas raises on purpose."""
    if isinstance(error, HwnasError):
        return str(error), ""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:300]}", "".join(traceback.format_exception(error))


class Child:
    """A process of its own, and the pipe to it.

    Args:
        target: What it does; importable by name, and given its end of the pipe first. It must call `settle_in`.
        arguments: What it is given further; can be pickled.
        nested: Whether it starts processes of its own.
        preload: Modules that all such processes import: one more process does so once, and they are copies of it. Not
            for modules that start threads or touch a GPU. Those of the first such process count.
    """

    def __init__(
        self, target: Callable[..., None], *arguments: Any, nested: bool = False, preload: Sequence[str] = ()
    ) -> None:
        context: Any = multiprocessing.get_context("forkserver" if preload else "spawn")
        if preload:
            context.set_forkserver_preload(list(preload))
        self.pipe, theirs = context.Pipe()
        # A daemon, which multiprocessing ends whatever happens here, may not start processes.
        self.process = context.Process(target=target, args=(theirs, *arguments), daemon=not nested)
        with _one_thread():
            self.process.start()
        theirs.close()

    def send(self, message: Any) -> None:
        """Send something; if the process has ended, that is heard of next."""
        with suppress(OSError):
            self.pipe.send(message)

    def hear(self) -> Any:
        """What it has sent; None if it has ended."""
        try:
            return self.pipe.recv()
        except (EOFError, OSError):
            self.process.join(5)
            self.stop()
            return None

    def ending(self) -> str:
        """How it has ended, in words."""
        return f"its process ended with code {self.process.exitcode}; at -9 the machine may have run out of memory"

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()


class Worker(Child):
    """A process that is given one item after another.

    Attributes:
        item: What it is at; None while it waits for another.
    """

    item: Any = None

    def start(self, item: Any) -> None:
        """Give it an item."""
        self.item = item
        self.send(item)


def keep_busy(
    following: Callable[[list[Any]], Any], make: Callable[[], W], hear: Callable[[W], bool], processes: int
) -> None:
    """Give items to processes, each of which is started when there is an item for it, until none is left.

    Args:
        following: The item that comes next, given those that processes are at; None if there is none now.
        make: Starts a process.
        hear: Takes in one message of a process, and sets its item to None if that has ended; False if the process has.
        processes: How many at most.
    """
    workers: list[W] = []
    try:
        while True:
            busy = [worker for worker in workers if worker.item is not None]
            item = following([worker.item for worker in busy]) if len(busy) < processes else None
            if item is not None:
                idle = next((worker for worker in workers if worker.item is None), None)
                if idle is None:
                    idle = make()
                    workers.append(idle)
                idle.start(item)
                continue
            if not busy:
                return
            ready = wait([worker.pipe for worker in busy])
            for worker in busy:
                if worker.pipe in ready and not hear(worker):
                    workers.remove(worker)
    finally:
        without = [worker for worker in workers if worker.item is None]
        for worker in without:
            worker.pipe.close()
        for worker in without:  # one that ends by itself gives back what it holds of the system, such as locks
            worker.process.join(_PATIENCE)
        for worker in workers:
            worker.stop()


class _JobWorker(Worker):
    """A process that does jobs."""

    def start(self, item: Job) -> None:
        self.item = item
        self.send(item.payload)


def _in_processes(board: _Board, work: Work, processes: int, nested: bool) -> None:
    keep_busy(
        board.next, lambda: _JobWorker(_serve, work, nested=nested), lambda worker: _hear(board, worker), processes
    )


def _hear(board: _Board, worker: _JobWorker) -> bool:
    """Take in one message of a worker; False if it has ended."""
    job: Job = worker.item
    message = worker.hear()
    if message is None:
        board.end(job, (worker.ending(), ""))
        return False
    kind, *rest = message
    if kind == "report":
        board.say(job, *rest)
    else:
        worker.item = None
        board.end(job, rest[0])
    return True


def _serve(pipe: Connection, work: Work) -> None:
    """What a process does: jobs, one after the other, until there are no more."""
    settle_in()
    while True:
        try:
            payload = pipe.recv()
        except EOFError:
            return
        failure = _attempt(work, payload, lambda *report: pipe.send(("report", *report)))
        pipe.send(("end", failure))


def settle_in() -> None:
    """The first thing that a process does: it leaves Ctrl-C to the one that started it, and ends when that one is gone.

    Also by kill -9, and in the middle of a computation.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def quieten() -> None:
    """No log lines and bars of the libraries in a process of its own."""
    import logging
    import warnings

    from transformers import utils

    transformers_logging: Any = utils.logging
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    for name in ("syne_tune", "torch.onnx", "onnxscript", "accelerate"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")


@contextmanager
def _one_thread() -> Iterator[None]:
    """Processes that are started meanwhile have one thread: libraries read the environment when they are imported."""
    settings = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _end_with_parent() -> None:
    """End this process at once when the one that started it is gone, even by kill -9."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
