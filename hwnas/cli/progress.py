"""Progress of long work on standard error: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from hwnas.cli.console import err

Report = Callable[..., None]
"""Called with (stage, done, total) and optionally a short text."""

_LOG_SECONDS = 15.0  # between two lines of one stage in a log


@contextmanager
def reporter() -> Iterator[Report]:
    """Show progress until the context ends; every new stage gets a bar, or a first line, of its own."""
    if err.is_terminal:
        with Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[text]}"),
            console=err,
        ) as progress:
            yield _Bars(progress)
    else:
        yield _Lines()


class _Bars:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, stage: str, done: int, total: int, text: str = "") -> None:
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=total, text=text)
        self._progress.update(self._tasks[stage], completed=done, total=total, text=text)


class _Lines:
    def __init__(self) -> None:
        self._stage, self._last = "", 0.0

    def __call__(self, stage: str, done: int, total: int, text: str = "") -> None:
        now = time.monotonic()
        if stage == self._stage and done < total and now - self._last < _LOG_SECONDS:
            return
        self._stage, self._last = stage, now
        err.print(f"{stage} {done}/{total} {text}".rstrip(), markup=False, highlight=False)
