"""The manifest of a built member: what is in the folder, what it was built from, and the numbers that go with it.

`manifest.json` is written last, so a folder without one is not a member.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hwnas.errors import CheckpointError, UsageError
from hwnas.provenance import git_commit, hash_file, versions

SCHEMA = 1
"""Version of the manifest's layout; a reader refuses newer ones."""

FILE_NAME = "manifest.json"


@dataclass(frozen=True)
class Number:
    """A number with where it comes from.

    Attributes:
        value: The number, in `unit`.
        unit: For instance `"seconds"`, `"bytes"`, `"fraction"`, `"count"`.
        provenance: What produced it: at least one entry (device, runtime, protocol, split of the data ...).
        low, high: Interval, if there is one.
    """

    value: float
    unit: str
    provenance: Mapping[str, Any]
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        if not self.provenance:
            raise UsageError(f"a number ({self.value} {self.unit}) without provenance cannot go into a manifest.")


@dataclass(frozen=True)
class Numbers:
    """The numbers that go with an engine; measured, predicted and estimated ones never mix.

    Attributes:
        measured: By name, such as `test_error`, `latency`, `parameters`.
        predicted: By name; what a fit to measurements of the device says.
        estimated: By name; what was worked out from the facts of the device, which was out of reach.
        engine_latency: Of this very engine on its target; None means not measured.
    """

    measured: Mapping[str, Number] = field(default_factory=dict)
    predicted: Mapping[str, Number] = field(default_factory=dict)
    estimated: Mapping[str, Number] = field(default_factory=dict)
    engine_latency: Number | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types; says in words that the engine was not measured."""
        engine = None if self.engine_latency is None else asdict(self.engine_latency)
        return {
            "measured": {name: asdict(number) for name, number in self.measured.items()},
            "predicted": {name: asdict(number) for name, number in self.predicted.items()},
            "estimated": {name: asdict(number) for name, number in self.estimated.items()},
            "engine_latency": engine,
            "engine_latency_note": "not measured" if engine is None else "measured on the target",
        }


def describe_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Hash and size in bytes of every file under a folder but the manifest, by relative path."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != FILE_NAME)
    return {
        path.relative_to(folder).as_posix(): {"sha256": hash_file(path), "bytes": path.stat().st_size} for path in paths
    }


def write_manifest(folder: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """Add schema, date, commit, versions and the files' hashes to `content`, and write `manifest.json` in one step.

    Returns what was written.
    """
    manifest = {
        "schema": SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "git_commit": git_commit(),
        "versions": versions(),
        **content,
        "files": describe_files(folder),
    }
    temporary = folder / f".{FILE_NAME}.{os.getpid()}.tmp"
    try:
        temporary.write_text(json.dumps(manifest, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        os.replace(temporary, folder / FILE_NAME)
    finally:
        temporary.unlink(missing_ok=True)
    return manifest


def read_manifest(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The manifest of a built member, without looking at the files it names.

    Raises:
        CheckpointError: There is none, it is damaged, or a newer hwnas wrote it.
    """
    path = Path(folder) / FILE_NAME
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder} holds no {FILE_NAME}, so it is no built member; build it again.") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); build the member again.") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict) or "schema" not in manifest:
        raise CheckpointError(f"{path} is not the manifest of a built member; build the member again.")
    if manifest["schema"] != SCHEMA:
        raise CheckpointError(
            f"{path} has schema {manifest['schema']!r}, this hwnas reads {SCHEMA}; install the hwnas that wrote it "
            "or build the member again."
        )
    return manifest


def check_manifest(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """`read_manifest`, then compare the size and the hash of every file it names.

    Raises:
        CheckpointError: A file is missing or differs; names the files.
    """
    manifest = read_manifest(folder)
    bad = list(_differing(Path(folder), manifest["files"]))
    if bad:
        raise CheckpointError(
            f"{folder} differs from its manifest in {', '.join(bad)}; build the member again or restore the files."
        )
    return manifest


def _differing(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    for name, facts in files.items():
        path = folder / name
        if not path.is_file():
            yield f"{name} (missing)"
        elif path.stat().st_size != facts.get("bytes"):
            yield f"{name} ({path.stat().st_size} bytes, not {facts.get('bytes')})"
        elif hash_file(path) != facts.get("sha256"):
            yield f"{name} (hash)"
