"""Fronts of one run that can be compared: those of one search, or the newest of each device."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from hwnas.errors import RunFolderError, UnknownNameError, UsageError
from hwnas.files import write_at_once
from hwnas.pipeline.folder import RunFolder
from hwnas.report.compare import compare_fronts
from hwnas.report.devices import plot_devices
from hwnas.search.front import Front, read_front

_OVERVIEW = ("fronts.png", "comparison.json")
"""What a search for several devices leaves beside their fronts."""


def fronts_to_compare(folder: RunFolder, names: Sequence[str] | None = None) -> dict[str, Front]:
    """Fronts of a run by the names of their searches.

    Args:
        folder: The run.
        names: Which; None takes those of the newest search, or if that was for one device, the newest of each device.

    Raises:
        RunFolderError: The run has no front yet, a damaged one, or one of another super-network.
        UnknownNameError: It has none of a name.
        UsageError: The newest search was for several devices, and has a front of one.
    """
    there = folder.require_fronts()
    if names:
        for name in names:
            if name not in there:
                raise UnknownNameError("search", name, there)
        return {name: _read(folder, name) for name in names}
    newest = sorted(there, key=lambda name: (folder.front(name) / "front.json").stat().st_mtime, reverse=True)
    first = _read(folder, newest[0])
    together = [str(entry["search"]) for entry in first.about.get("targets", ())]
    if len(together) == 1:
        raise UsageError(
            f"the newest search has a front of {first.label} alone, because nothing met the limits on its other "
            f"devices; name two searches with --front: {', '.join(there)}."
        )
    if together and all(name in there for name in together):
        return {name: _read(folder, name) for name in together}
    found = {first.label: (newest[0], first)}
    for name in newest[1:]:
        front = read_front(folder.front(name) / "front.json")
        if front.is_of(folder.weights()):  # others are of a super-network that was here before
            found.setdefault(front.label, (name, front))
    return dict(found.values())


def draw_together(fronts: Sequence[Front], path: Path) -> None:
    """Draw fronts side by side; RunFolderError if the picture cannot be written."""
    try:
        plot_devices(fronts, path)
    except OSError as error:
        raise RunFolderError(f"cannot write {path} ({error.strerror or error}).") from error


def write_overview(fronts: Sequence[Front], place: Path) -> None:
    """Write the picture of the fronts of one search, and how they differ; OSError if they cannot be written."""
    picture, comparison = (place / name for name in _OVERVIEW)
    plot_devices(fronts, picture)
    write_at_once(comparison, json.dumps(compare_fronts(fronts).to_json(), indent=1, allow_nan=False) + "\n")


def drop_overview(place: Path) -> None:
    """Remove what `write_overview` wrote of fronts that are about to be replaced; OSError if it cannot be removed."""
    for name in _OVERVIEW:
        (place / name).unlink(missing_ok=True)


def _read(folder: RunFolder, name: str) -> Front:
    front = read_front(folder.front(name) / "front.json")
    front.check_weights(folder.weights(), folder.path)
    return front
