"""Locks of open files and folders that end with the process, however it ends."""

from __future__ import annotations

import errno
from contextlib import suppress

_NO_LOCKS = (errno.EBADF, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What file systems without locks say; EBADF is a network's word on a folder, which cannot be opened to write."""


def lock(descriptor: int, *, wait: bool = True) -> bool:
    """Keep other processes from locking the same file or folder, until the descriptor is closed.

    Where the file system cannot lock, nothing is kept out and nothing is said.

    Args:
        descriptor: Of an open file or folder.
        wait: Whether to wait while another one has it.

    Returns:
        False if another one has it.

    Raises:
        OSError: The system refuses.
    """
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True


def unlock(descriptor: int) -> None:
    """Let others lock what the descriptor is of, before it is closed; nothing if it was never locked."""
    import fcntl

    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_UN)
