"""Fronts of one run that can be compared: those of one search, or the newest of each device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hwnas.errors import RunFolderError, UnknownNameError
from hwnas.pipeline.folder import RunFolder
from hwnas.report.devices import plot_devices
from hwnas.search.front import Front, read_front


def fronts_to_compare(folder: RunFolder, names: Sequence[str] | None = None) -> dict[str, Front]:
    """Fronts of a run by the names of their searches.

    Args:
        folder: The run.
        names: Which; None takes those of the newest search, or if that was for one device, the newest of each device.

    Raises:
        RunFolderError: The run has no front yet, a damaged one, or one of another super-network.
        UnknownNameError: It has none of a name.
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


def _read(folder: RunFolder, name: str) -> Front:
    front = read_front(folder.front(name) / "front.json")
    front.check_weights(folder.weights(), folder.path)
    return front
