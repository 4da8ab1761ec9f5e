"""Evaluations of sub-networks on disk, one line each, so that none is ever made twice."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from hwnas.errors import RunFolderError
from hwnas.search.lines import Lines
from hwnas.spaces import Architecture


class EvaluationCache:
    """An append-only file of errors of sub-networks; every line is on the disk before the next evaluation starts.

    A last line that was cut short by a kill is dropped. The file belongs to one super-network, one set of examples
    and so on, as its first line says. Several searches may write to it at the same time; each knows what it found
    there, what it adds, and after `refresh` what the others have added.

    Args:
        path: The file, made if it is missing.
        about: What the errors belong to, JSON types.

    Raises:
        RunFolderError: The file belongs to something else, is damaged, or cannot be written.
    """

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        self._path = path
        self._known: dict[tuple[str, Architecture], float] = {}
        self._seconds: dict[tuple[str, Architecture], float] = {}
        self._about = json.loads(json.dumps(dict(about)))
        self._lines = Lines(path, {"about": dict(about)})
        self._count = 0
        try:
            self._read(self._lines.found)
        except RunFolderError:
            self._lines.close()
            raise

    def __enter__(self) -> EvaluationCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, split: str, arch: Architecture) -> float | None:
        """The error of a sub-network on a split, in [0, 1] for most metrics; None if it is not known."""
        return self._known.get((split, arch))

    def seconds(self, split: str, arch: Architecture) -> float | None:
        """How long it took to find an error, by whichever search did; None if it is not known."""
        return self._seconds.get((split, arch))

    def put(self, split: str, arch: Architecture, error: float, seconds: float) -> None:
        """Store an error, and how many seconds it took to find; RunFolderError if it cannot be written."""
        self._lines.append(
            {"split": split, "architecture": arch.to_json(), "error": error, "seconds": round(seconds, 4)}
        )
        self._known[split, arch], self._seconds[split, arch] = error, seconds

    def refresh(self) -> None:
        """Learn what others have written meanwhile; RunFolderError if the file is damaged or cannot be read."""
        self._read(self._lines.fresh())

    def _read(self, lines: Sequence[bytes]) -> None:
        for line in lines:
            self._count += 1
            try:
                entry = json.loads(line)
                if self._count == 1 or "about" in entry:  # two searches that began at once may each have said it
                    if entry["about"] != self._about:
                        raise RunFolderError(
                            f"{self._path} holds evaluations of another super-network or other examples; delete it to "
                            "evaluate again."
                        )
                else:
                    arch = Architecture.from_json(entry["architecture"])
                    self._known[str(entry["split"]), arch] = float(entry["error"])
                    self._seconds[str(entry["split"]), arch] = float(entry["seconds"])
            except (ValueError, KeyError, TypeError) as error:
                raise RunFolderError(
                    f"{self._path} is damaged in line {self._count}; delete it to evaluate again."
                ) from error
