"""Checkpoints that can be trusted: a file with the hashes of all others, written last. Loads no PyTorch."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hwnas.errors import CheckpointError
from hwnas.provenance import hash_file

SEAL = "hwnas.json"
"""File of hashes that is written last into a checkpoint; a folder without it was cut short."""


@contextmanager
def disk_errors() -> Iterator[None]:
    """What cannot be written becomes an OSError; safetensors and PyTorch have other errors for a disk that is full."""
    try:
        yield
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        of_torch = isinstance(error, RuntimeError) and ("PytorchStreamWriter" in reason or "inline_container" in reason)
        if of_torch or type(error).__name__ == "SafetensorError":
            raise OSError(errno.EIO, reason) from error
        raise


def seal(folder: Path) -> None:
    """Write the hashes of all files of a folder into it, last and at once."""
    hashes = {path.name: hash_file(path) for path in sorted(folder.iterdir()) if path.is_file() and path.name != SEAL}
    temporary = folder / f".{SEAL}.tmp"
    with temporary.open("w") as file:
        json.dump(hashes, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, folder / SEAL)


def check_seal(folder: Path) -> None:
    """Compare the files of a sealed folder with their hashes.

    Raises:
        CheckpointError: A file is missing or differs, or the seal cannot be read.
    """
    try:
        hashes = json.loads((folder / SEAL).read_text())
        for name, expected in hashes.items():
            if hash_file(folder / name) != expected:
                raise CheckpointError(
                    f"{folder / name} is damaged: its contents are not what was written; delete {folder} and run the "
                    "same command again to train on from the checkpoint before it."
                )
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"the checkpoint {folder} cannot be read ({error}); delete it and run the same command again."
        ) from error


def drop_unsealed(folder: Path) -> None:
    """Remove checkpoints that were cut short: what is in them must not end up in a later one of the same step."""
    for path in folder.glob("checkpoint-*"):
        if not (path / SEAL).is_file():
            shutil.rmtree(path, ignore_errors=True)


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest sealed checkpoint in a folder, checked; None if there is none. Unsealed ones were cut short.

    Raises:
        CheckpointError: It is damaged.
    """
    sealed = [path for path in folder.glob("checkpoint-*") if (path / SEAL).is_file()]
    if not sealed:
        return None
    newest = max(sealed, key=lambda path: int(path.name.rpartition("-")[2]))
    check_seal(newest)
    return newest
