"""A file of JSON lines that only grows, and of which a kill loses nothing that was finished."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hwnas.errors import RunFolderError
from hwnas.locks import lock, unlock


class Lines:
    """An append-only file; every line is on the disk before `append` returns.

    Several processes may append to one file at the same time: each line is written, and the file is first read, under a
    lock that is held for that long only. So a line without an end was cut short by a kill, or by a full disk, and is
    dropped.

    Args:
        path: The file, made if it is missing, as are its folders.
        first: What a new file begins with, JSON types.

    Attributes:
        found: The lines that were there, each without its end; without a `first` that was written just now.

    Raises:
        RunFolderError: The file cannot be written.
    """

    def __init__(self, path: Path, first: Mapping[str, Any] | None = None) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Not buffered: what a full disk refused must not be tried again when the file is closed.
            self._file = path.open("ab+", buffering=0)
        except OSError as error:
            raise RunFolderError(f"cannot write {path} ({error.strerror}); give a folder that you own.") from error
        try:
            with self._alone():
                whole = self._whole()
                self.found, self._read = whole.splitlines(), len(whole)
                if not self.found and first is not None:
                    self._write(first)
        except RunFolderError:
            self.close()
            raise

    def append(self, entry: Mapping[str, Any]) -> None:
        """Add a line of JSON types; RunFolderError if it cannot be written, and then nothing of it is left."""
        with self._alone():
            size = self._size()
            if size and os.pread(self._file.fileno(), 1, size - 1) != b"\n":  # another process was killed in a line
                self._whole()
            self._write(entry)

    def fresh(self) -> list[bytes]:
        """The lines that were added since the file was read, by this process too, each without its end."""
        if self._size() <= self._read:
            return []
        with self._alone():
            found = os.pread(self._file.fileno(), self._size() - self._read, self._read)
        found = found[: found.rfind(b"\n") + 1]
        self._read += len(found)
        return found.splitlines()

    def close(self) -> None:
        """Close the file; nothing is appended after that."""
        self._file.close()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the file's lock; what the system refuses meanwhile becomes a RunFolderError."""
        try:
            lock(self._file.fileno())
            try:
                yield
            finally:
                unlock(self._file.fileno())
        except OSError as error:
            raise RunFolderError(
                f"cannot write {self._path} ({error.strerror or error}); see to the disk and run the same command "
                "again: what the file holds is kept."
            ) from error

    def _size(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    def _whole(self) -> bytes:
        """The lines that have an end; what follows the last one is cut off."""
        self._file.seek(0)
        content = self._file.readall() if self._size() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            self._file.truncate(len(whole))
        return whole

    def _write(self, entry: Mapping[str, Any]) -> None:
        """Add a line, whole or not at all."""
        size = self._size()
        line = memoryview((json.dumps(entry) + "\n").encode())
        try:
            while line:
                line = line[self._file.write(line) :]
            os.fsync(self._file.fileno())
        except OSError:
            with suppress(OSError):
                self._file.truncate(size)
            raise
