"""The order in which trials were proposed, reported and ended: a file, so that a killed search is repeated exactly."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from hwnas.errors import RunFolderError
from hwnas.files import write_at_once
from hwnas.search.lines import Lines

ASKED, TOLD, ENDED, FAILED = "asked", "told", "ended", "failed"
"""Kinds of events: a trial was proposed; it reported at a resource level; it has ended; it has failed."""


@dataclass(frozen=True)
class Event:
    """Something that happened to a trial.

    Attributes:
        kind: `ASKED`, `TOLD`, `ENDED` or `FAILED`.
        trial: Number of the trial.
        level: The resource level of a report; 0 for other kinds.
        architecture: What was proposed, as `Architecture.to_json`; None for other kinds.
    """

    kind: str
    trial: int
    level: int = 0
    architecture: Any = None


class Journal:
    """An append-only file of events; each is on the disk before anything follows from it.

    Searchers learn from results in the order in which they come, which with several trials at once no seed determines.
    Values are not here but in the evaluation cache. A last line that was cut short by a kill is dropped.

    Args:
        path: The file, made if it is missing.

    Attributes:
        events: What happened so far.

    Raises:
        RunFolderError: The file is damaged, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.events: list[Event] = []
        self._lines = Lines(path)
        try:
            self._read()
        except RunFolderError:
            self._lines.close()
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()

    def append(self, event: Event) -> None:
        """Add an event; RunFolderError if it cannot be written."""
        self._lines.append(_said(event))
        self.events.append(event)

    def cut(self, count: int) -> None:
        """Keep the first `count` events only; RunFolderError if that cannot be written, and then all are kept."""
        kept = self.events[:count]
        try:
            write_at_once(self._path, "".join(f"{json.dumps(_said(event))}\n" for event in kept))
        except OSError as error:
            raise RunFolderError(
                f"cannot write {self._path} ({error.strerror or error}); see to the disk and run the command again."
            ) from error
        self.events = kept
        self._lines.close()
        self._lines = Lines(self._path)

    def _read(self) -> None:
        for number, line in enumerate(self._lines.found, start=1):
            try:
                self.events.append(Event(**json.loads(line)))
            except (ValueError, TypeError) as error:
                raise RunFolderError(
                    f"{self._path} is damaged in line {number}; delete it: evaluations are kept, only their order is "
                    "lost."
                ) from error


def _said(event: Event) -> dict[str, Any]:
    """An event as JSON types, without what is empty."""
    return {name: value for name, value in asdict(event).items() if name in ("kind", "trial") or value}
