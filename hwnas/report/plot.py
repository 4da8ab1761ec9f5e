"""The picture of a front: all evaluated points, the front, the unpruned network."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hwnas.search.front import Front

_AXES = {
    "latency": ("latency", 1e3, "ms"),
    "memory": ("peak memory", 1 / 2**20, "MiB"),
    "parameters": ("parameters", 1e-6, "millions"),
}


def plot_front(front: Front, path: Path) -> None:
    """Draw a front as PNG, at once.

    Grey dots are evaluated sub-networks at the objective's value. Members stand where they were measured, with the
    interval of the measurement, if the objective is the latency.

    Args:
        front: The front.
        path: File to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    objective, quality = str(front.about["objective"]["name"]), str(front.about["quality"])
    title, scale, unit = _AXES.get(objective, (objective, 1.0, front.about["objective"]["unit"]))
    figure = Figure(figsize=(7.2, 4.5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    provenance = front.about["objective"]["provenance"]
    axes.plot(
        [point["cost"] * scale for point in front.points],
        [point["error"] for point in front.points],
        "o",
        color="#b8bec7",
        markersize=4,
        label=f"evaluated sub-networks ({provenance})",
    )
    xs, left, right = zip(*(_place(member.to_json(), objective) for member in front.members), strict=True)
    ys = [member.validation_error for member in front.members]
    measured = objective == "latency"
    axes.errorbar(
        [x * scale for x in xs],
        ys,
        xerr=[[gap * scale for gap in left], [gap * scale for gap in right]] if measured else None,
        fmt="o-",
        color="#0b6bcb",
        markersize=5,
        linewidth=1.5,
        capsize=2,
        label="front (measured)" if measured else f"front ({provenance})",
    )
    axes.plot(
        [_place(front.unpruned.to_json(), objective)[0] * scale],
        [front.unpruned.validation_error],
        "*",
        color="#d1495b",
        markersize=13,
        label="unpruned network",
    )
    axes.set_xlabel(f"{title} [{unit}]")
    axes.set_ylabel(f"validation error (1 - {quality})")
    axes.set_title(_title(front.about), fontsize=10)
    axes.grid(alpha=0.25)
    axes.set_xlim(left=0)
    axes.legend(frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    figure.savefig(temporary, format="png")
    os.replace(temporary, path)


def _place(member: Mapping[str, Any], objective: str) -> tuple[float, float, float]:
    """Where a member stands on the cost axis, and how far its interval reaches to the left and to the right."""
    if objective != "latency":
        return float(member["cost"]), 0.0, 0.0
    latency = member["latency"]
    return latency["seconds"], latency["seconds"] - latency["low"], latency["high"] - latency["seconds"]


def _title(about: Mapping[str, Any]) -> str:
    setting = about["setting"]
    return (
        f"{about['task']}, {about['model']}, space {about['space']}: {setting['target']}, {setting['runtime']} "
        f"{setting['precision']}, batch {setting['batch']}, {setting['sequence_length']} tokens"
    )
