"""Where a result comes from: hashes of what it was made of, the commit, and the versions of the packages."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hwnas

PACKAGES: tuple[str, ...] = ("torch", "transformers", "onnx", "onnxscript", "onnxruntime", "tensorrt-rtx", "tensorrt")
"""Packages whose versions decide what the files contain."""


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str | None]:
    """Versions of hwnas and of the packages; None for one that is not installed."""
    found: dict[str, str | None] = {"hwnas": hwnas.__version__}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def git_commit() -> str | None:
    """Commit of the checkout that this hwnas is imported from, with `-dirty` if it has changes; None outside one."""
    root = Path(hwnas.__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def hash_file(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def canonical(data: Any) -> str:
    """One text for one JSON value: keys sorted, no spaces, no NaN."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)


def hash_json(data: Any) -> str:
    """SHA-256 of a JSON value, hexadecimal."""
    return hashlib.sha256(canonical(data).encode()).hexdigest()
