"""Locks: one holder, released with the descriptor, and silence where a file system has none."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from hwnas.locks import lock, unlock


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    first, second = os.open(tmp_path, os.O_RDONLY), os.open(tmp_path, os.O_RDONLY)
    try:
        assert lock(first)
        assert lock(first, wait=False), "its own"
        assert not lock(second, wait=False)
        unlock(first)
        assert lock(second)
        assert not lock(first, wait=False)
    finally:
        os.close(second)
    assert lock(first, wait=False), "closed, so let go"
    os.close(first)


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF])
def test_a_file_system_without_locks_keeps_nobody_out(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", refuse)
    assert lock(0)
    assert lock(0, wait=False)
    unlock(0)


def test_what_the_system_refuses_otherwise_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(OSError, match="Input/output"):
        lock(0)
