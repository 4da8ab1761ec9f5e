"""A file of JSON lines that only grows, and of which a kill loses nothing that was finished."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hwnas.errors import RunFolderError


class Lines:
    """An append-only file; every line is on the disk before `append` returns.

    A last line that was cut short by a kill is dropped.

    Args:
        path: The file, made if it is missing, as are its folders.

    Attributes:
        found: The lines that were there, each without its end.

    Raises:
        RunFolderError: The file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.found: list[bytes] = []
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                self.found = _whole(path).splitlines()
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise RunFolderError(f"cannot write {path} ({error.strerror}); give a folder that you own.") from error

    def append(self, entry: Mapping[str, Any]) -> None:
        """Add a line of JSON types."""
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; nothing is appended after that."""
        self._file.close()


def _whole(path: Path) -> bytes:
    """The lines of a file that have an end; what follows the last one is cut off."""
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    return whole
