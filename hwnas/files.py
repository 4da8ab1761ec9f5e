"""Files that are either the old one or the new one, whatever happens."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def write_at_once(path: Path, content: str | bytes) -> None:
    """Write a file so that it is either the old one or the new one, whatever happens; text as UTF-8.

    A kill may leave a temporary file beside it, for which `is_temporary` holds.

    Raises:
        OSError: It cannot be written; nothing is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")  # its own: another process may write the same file
    try:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def is_temporary(path: Path) -> bool:
    """Whether a file is what a kill left of one that was being written."""
    return path.name.startswith(".") and path.name.endswith(".tmp")
