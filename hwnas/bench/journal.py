"""The order in which trials were proposed, reported and ended: a file, so that a killed search is repeated exactly."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from hwnas.errors import RunFolderError
from hwnas.search.front import write_at_once

ASKED, TOLD, ENDED = "asked", "told", "ended"
"""Kinds of events: a trial was proposed; it reported at a resource level; it has ended."""


@dataclass(frozen=True)
class Event:
    """Something that happened to a trial.

    Attributes:
        kind: `ASKED`, `TOLD` or `ENDED`.
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
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._read()
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise RunFolderError(f"cannot write {path} ({error.strerror}); give a folder that you own.") from error

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def append(self, event: Event) -> None:
        """Add an event."""
        self.events.append(event)
        self._file.write(_line(event))
        self._file.flush()
        os.fsync(self._file.fileno())

    def cut(self, count: int) -> None:
        """Keep the first `count` events only."""
        self.events = self.events[:count]
        self._file.close()
        write_at_once(self._path, "".join(map(_line, self.events)))
        self._file = self._path.open("a", encoding="utf-8")

    def _read(self) -> None:
        if not self._path.exists():
            return
        content = self._path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            with self._path.open("r+b") as file:
                file.truncate(len(whole))
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                self.events.append(Event(**json.loads(line)))
            except (ValueError, TypeError) as error:
                raise RunFolderError(
                    f"{self._path} is damaged in line {number}; delete it: evaluations are kept, only their order is "
                    "lost."
                ) from error


def _line(event: Event) -> str:
    said = {name: value for name, value in asdict(event).items() if name in ("kind", "trial") or value}
    return json.dumps(said) + "\n"
