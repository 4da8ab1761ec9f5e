"""Exported networks that wait to be timed; they outlive a process that is killed, so that the next one goes on."""

from __future__ import annotations

import errno
import glob
import hashlib
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from hwnas.errors import HwnasError, ProfilerError, TableError
from hwnas.latency.networks import Network
from hwnas.locks import lock

_NOTE = ".json"
_SUFFIXES = {"onnx": ".onnx", "module": ".pt", "engine": ".engine"}
_FULL = (errno.ENOSPC, errno.EDQUOT)
_NOTHING = 2**20  # free bytes under which a disk counts as full


@contextmanager
def scratch_folder(beside: Path | None, about: str) -> Iterator[Path]:
    """A folder for exported networks that nobody else writes into meanwhile, removed when its work is done.

    Args:
        beside: A table's file: the folder is made next to it and stays if the work is cut short. While another process
            does the same work there, it is a second folder beside that one, which does not stay. None for a temporary
            folder, which does not stay either.
        about: What the networks in it have in common; other work gets another folder.
    """
    if beside is None:
        with tempfile.TemporaryDirectory(prefix="hwnas-", ignore_cleanup_errors=True) as folder:
            yield Path(folder)
        return
    digest = hashlib.sha256(about.encode()).hexdigest()[:12]
    first = beside.with_name(f"{beside.name}.networks-{digest}")
    others = (first.with_name(f"{first.name}-{number}") for number in itertools.count(2))
    place, held = next(
        (place, held) for place in itertools.chain((first,), others) if (held := _hold(place)) is not None
    )
    done = False
    try:
        yield place
        done = True
    finally:
        if done or place != first:
            shutil.rmtree(place, ignore_errors=True)
        os.close(held)
    for left in first.parent.glob(f"{glob.escape(first.name)}-*"):  # a second one that was killed leaves its folder
        with suppress(OSError):  # another user's
            free = _hold(left)
            if free is not None:
                shutil.rmtree(left, ignore_errors=True)
                os.close(free)


def _hold(place: Path) -> int | None:
    """Make a folder and lock it until the descriptor is closed or the process ends; None if another one has it."""
    while True:
        place.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # removed just now by the one that had it
            held, free = os.open(place, os.O_RDONLY), False
            try:
                taken = lock(held, wait=False)
                free = taken and os.path.samestat(os.fstat(held), place.stat())
            finally:
                if not free:  # another one's, or the lock of a folder that was removed, and made again
                    os.close(held)
            if free or not taken:
                return held if free else None


def network_path(folder: Path, key: str, artifact: str = "onnx") -> Path:
    """The file of a network, of the kind that a runtime reads (`Profiler.artifact`)."""
    return folder / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}{_SUFFIXES[artifact]}"


def exported(path: Path, export: Callable[[Path], Network]) -> Network:
    """The network in a file, exported unless a process before this one has done so.

    Args:
        path: Its file.
        export: Writes it to another path.
    """
    note = path.with_suffix(_NOTE)
    if path.exists() and note.exists():
        return Network(path, file_bytes=path.stat().st_size, **json.loads(note.read_text()))
    unfinished = path.with_suffix(f".part{path.suffix}")
    made = export(unfinished)
    note.write_text(json.dumps({"weight_bytes": made.weight_bytes, "traced": made.traced}))
    os.replace(unfinished, path)
    return replace(made, path=path)


def peak_memory(path: Path, measure: Callable[[], object]) -> object:
    """The peak memory noted beside a file, else measured and noted; failures are not noted."""
    note = path.with_suffix(".memory")
    if note.exists():
        return int(note.read_text())
    found = measure()
    if isinstance(found, int):
        temporary = note.with_suffix(".memory.part")
        temporary.write_text(str(found))
        os.replace(temporary, note)
    return found


def is_full(error: BaseException, folder: Path) -> bool:
    """Whether an error, or what caused it, is that there is no room left where a folder is."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _FULL:
            return True
        cause = cause.__cause__ or cause.__context__
    try:
        return shutil.disk_usage(folder).free < _NOTHING
    except OSError:
        return False


@contextmanager
def room(folder: Path) -> Iterator[None]:
    """Say in one line that the disk of exported networks is full, whichever part of the work found it out.

    Args:
        folder: Where networks are written.

    Raises:
        ProfilerError: There is no room for networks.
    """
    try:
        yield
    except TableError:  # says so itself
        raise
    except (OSError, HwnasError, RuntimeError) as error:
        if is_full(error, folder):
            raise ProfilerError(
                f"no room left on the disk of {folder} for exported networks: free some space and run the same "
                "command again; every network measured before is in the table."
            ) from error
        raise
