"""The pictures of a front: error against latency and memory, with the baselines that were measured beside it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas.baselines.record import Baseline
from hwnas.search.front import Front, Member

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_AXES = {
    "latency": ("latency", 1e3, "ms"),
    "memory": ("peak memory", 1 / 2**20, "MiB"),
    "parameters": ("parameters", 1e-6, "millions"),
    "energy": ("energy of a run", 1e3, "mJ"),
    "engine-size": ("size of the file", 1e-6, "MB"),
}
GREY, BLUE, RED = "#b8bec7", "#0b6bcb", "#d1495b"
COLOURS = ("#e08e0b", "#2a9d5c", "#7a4fbf", "#8c564b", "#c2378f", "#17807e", "#5b5b5b")
_BASELINES, _PRECISIONS = "sD^vPX<>", "oshp8d"  # markers
_FRONT_FILE, _MEMORY_FILE = "front.png", "front-memory.png"


@dataclass(frozen=True)
class Place:
    """Where something stands on the cost axis, and how far its interval reaches to either side; units of the cost."""

    x: float
    left: float = 0.0
    right: float = 0.0


def axis_of(objective: str, unit: str = "") -> tuple[str, float, str]:
    """Title of an objective's axis, the factor from the objective's unit to the axis's, and the axis's unit."""
    return _AXES.get(objective, (objective, 1.0, unit))


def plot_all(front: Front, folder: Path, baselines: Sequence[Baseline] = ()) -> None:
    """Draw `front.png` and, where peak memory was measured, `front-memory.png`; one that holds no longer is removed."""
    plot_front(front, folder / _FRONT_FILE, baselines)
    if any(member.peak_memory_bytes is not None for member in front.members):
        plot_memory(front, folder / _MEMORY_FILE, baselines)
    else:
        (folder / _MEMORY_FILE).unlink(missing_ok=True)


def plot_front(front: Front, path: Path, baselines: Sequence[Baseline] = ()) -> None:
    """Draw `front_figure` as PNG, at once; with several costs `costs_figure` instead."""
    if len(front.objectives) > 1:
        from hwnas.report.costs import costs_figure

        save(costs_figure(front), path)
    else:
        save(front_figure(front, baselines), path)


def plot_memory(front: Front, path: Path, baselines: Sequence[Baseline] = ()) -> None:
    """Draw `memory_figure` as PNG, at once."""
    save(memory_figure(front, baselines), path)


def front_figure(front: Front, baselines: Sequence[Baseline] = ()) -> Figure:
    """Error against the search's objective.

    Grey dots are evaluated sub-networks at the objective's value. Members stand where they were measured, with the
    interval of the measurement, if the objective is the latency. With baselines there are two panels: the validation
    error, which members were chosen by, and the test error, which nothing was chosen by. Where latencies are estimated
    or predicted, title and legend say so. Limits are dashed lines; a dotted one is the error of a constant answer.

    Args:
        front: The front.
        baselines: Whole networks measured in the front's setting, in any precision and runtime. They are left out
            unless the objective is the latency: on other axes members do not stand where they were measured.
    """
    objective = str(front.about["objective"]["name"])
    return _figure(front, baselines if objective == "latency" else (), objective)


def memory_figure(front: Front, baselines: Sequence[Baseline] = ()) -> Figure:
    """Error against measured peak memory, which is measured once and has no interval.

    Args:
        front: The front; members without a measured memory are left out.
        baselines: Whole networks measured in the front's setting; those without are left out too.
    """
    return _figure(front, baselines, "")


def _figure(front: Front, baselines: Sequence[Baseline], objective: str) -> Figure:
    """One picture; `objective` is empty where members stand at their measured memory rather than at their cost."""
    panels = ("validation", "test") if baselines else ("validation",)
    figure, grid = new_figure(len(panels), (7.2, 4.5) if len(panels) == 1 else (11.5, 5.6))
    title, scale, unit = axis_of(objective or "memory", str(front.about["objective"]["unit"]))
    for split, axes in zip(panels, grid, strict=True):
        if split == "validation" and objective:
            draw_points(axes, front, objective)
        draw_members(axes, front, split, objective)
        for number, baseline in enumerate(baselines):
            _draw_baseline(axes, front, baseline, number, split, not objective, scale)
        if split == "validation" and objective:
            draw_limits(axes, front, objective)
        draw_constant(axes, front, split)
        axes.set_xlabel(f"{title} [{unit}]")
        axes.set_ylabel(f"{split} error (1 - {front.about['quality']})")
        axes.grid(alpha=0.25)
        axes.set_xlim(left=0)
    add_legend(figure, grid, below=bool(baselines))
    figure.suptitle(title_of(front), fontsize=10)
    return figure


def new_figure(panels: int, size: tuple[float, float], *, sharey: bool = False) -> tuple[Figure, Any]:
    """A figure with panels side by side, drawn without a display; the figure and its axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, panels, squeeze=False, sharey=sharey)[0]


def add_legend(figure: Figure, grid: Any, *, below: bool) -> None:
    """One legend for all panels: below them, or in the first."""
    labelled = {label: handle for axes in grid for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    where: dict[str, Any] = {"loc": "outside lower center", "ncols": 3} if below else {}
    (figure if below else grid[0]).legend(
        labelled.values(), labelled.keys(), frameon=False, fontsize=8, **where
    )  # fmt: skip


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    figure.savefig(temporary, format="png")
    os.replace(temporary, path)


def draw_points(axes: Any, front: Front, objective: str) -> None:
    """Evaluated sub-networks at an objective's value; those whose error is another precision's are crosses."""
    _, scale, _ = axis_of(objective)
    provenance = _objective(front, objective)["provenance"]
    for stand_in, marker, label in (
        (False, "o", f"evaluated sub-networks ({provenance})"),
        (True, "x", f"not run in their precision, float32 error ({provenance})"),
    ):
        points = [point for point in front.points if bool(point.get("stand_in")) == stand_in]
        if points:
            axes.plot(
                [point.get("costs", {}).get(objective, point["cost"]) * scale for point in points],
                [point["error"] for point in points],
                marker,
                color=GREY,
                markersize=4 if not stand_in else 3,
                alpha=1.0 if not stand_in else 0.6,
                label=label,
            )


def draw_members(axes: Any, front: Front, split: str, objective: str, *, line: bool = True) -> None:
    """The front with a marker for each precision, as a line if it is one, and the unpruned network."""
    how, (_, scale, _) = _how(front, objective), axis_of(objective or "memory")
    placed = [
        (place, _error(member, split), member.precision)
        for member in front.members
        if (place := _place(member, objective)) is not None
    ]
    placed.sort(key=lambda entry: entry[0].x)
    if placed and objective and line:  # by memory the members are no front
        axes.plot([place.x * scale for place, _, _ in placed], [y for _, y, _ in placed], "-", color=BLUE, lw=1.5)
    for number, precision in enumerate(front.precisions):
        mine = [(place, y) for place, y, of in placed if of == precision]
        name = "front" if len(front.precisions) == 1 else f"front, {precision}"
        if mine:
            errorbar(
                axes, [place for place, _ in mine], [y for _, y in mine], scale,
                marker=_PRECISIONS[number % len(_PRECISIONS)], color=BLUE, size=5, label=f"{name} ({how})",
            )  # fmt: skip
    place = _place(front.unpruned, objective)
    if place is not None:
        said = f" {front.unpruned.precision}" if len(front.precisions) > 1 else ""
        errorbar(
            axes, [place], [_error(front.unpruned, split)], scale, marker="*", color=RED, size=13,
            label=f"unpruned network{said} ({how})",
        )  # fmt: skip


def draw_limits(axes: Any, front: Front, objective: str) -> None:
    """The limits that members meet, as dashed lines: on this objective, and on the validation error if it is near."""
    _, scale, _ = axis_of(objective)
    label = "limits"
    most = front.about.get("limits", {}).get(objective)
    if most is not None:
        axes.axvline(most * scale, color=RED, ls="--", lw=0.9, alpha=0.7, label=label)
    increase = front.about.get("max_error_increase")
    if increase is not None and front.unpruned.validation_error + increase <= axes.get_ylim()[1]:
        most = front.unpruned.validation_error + increase
        axes.axhline(most, color=RED, ls="--", lw=0.9, alpha=0.7, label=label)


def draw_constant(axes: Any, front: Front, split: str) -> None:
    """The error of whatever always gives the same answer, as a dotted line, if it is in sight."""
    constant = front.about.get("constant_answer", {}).get(f"{split}_error")
    if constant is not None and constant <= axes.get_ylim()[1]:
        axes.axhline(constant, color=GREY, ls=":", lw=1.2, zorder=0, label="always the same answer")


def _draw_baseline(
    axes: Any, front: Front, baseline: Baseline, number: int, split: str, memory: bool, scale: float
) -> None:
    """One baseline; not among validation errors of other examples, and not without what the axis shows."""
    if split == "validation" and not baseline.has_examples_of(front.about):
        return
    latency, peak = baseline.latency, baseline.latency.peak_memory_bytes
    if memory and peak is None:
        return
    place = Place(float(peak or 0)) if memory else _interval(latency)
    error = baseline.validation_error if split == "validation" else baseline.test_error
    errorbar(
        axes, [place], [error], scale, marker=_BASELINES[number % len(_BASELINES)],
        color=COLOURS[number % len(COLOURS)], size=7, label=f"unpruned, {baseline.label} (measured)",
    )  # fmt: skip


def errorbar(
    axes: Any, places: Sequence[Place], ys: Sequence[float], scale: float, *, marker: str, color: str, size: float,
    label: str, **style: Any,
) -> None:  # fmt: skip
    """Markers with the intervals of the costs, if there are any."""
    gaps = [[place.left * scale for place in places], [place.right * scale for place in places]]
    axes.errorbar(
        [place.x * scale for place in places],
        list(ys),
        xerr=gaps if any(map(any, gaps)) else None,
        fmt=marker,
        color=color,
        markersize=size,
        linewidth=1.5,
        capsize=2,
        label=label,
        **style,
    )


def title_of(front: Front) -> str:
    """Task, model and space; device, runtime, precisions and shape."""
    about: Mapping[str, Any] = front.about
    return f"{about['task']}, {about['model']}, space {about['space']}\n{where_of(front)}"


def where_of(front: Front) -> str:
    """Device, runtime, precisions and shape, and what the latencies are unless they are measured."""
    setting = front.about["setting"]
    runtime = "" if front.estimated else f"{setting['runtime']} "
    said = "" if front.how == "measured" else f"latencies {front.latencies}: "
    return (
        f"{front.label}, {said}{runtime}{' + '.join(front.precisions)}, batch {setting['batch']}, "
        f"{setting['sequence_length']} tokens"
    )


def _how(front: Front, objective: str) -> str:
    """What the numbers of members are on an axis."""
    if objective == "latency":
        return front.latencies
    if not objective:
        return "measured"
    return front.costs_are(objective)


def _objective(front: Front, name: str) -> Mapping[str, Any]:
    return next((entry for entry in front.objectives if entry["name"] == name), front.about["objective"])


def _place(member: Member, objective: str) -> Place | None:
    """Where a member stands: at its latency with interval, at its cost, or without an objective at its peak memory."""
    if objective == "latency":
        return _interval(member.latency)
    if objective:
        return Place(member.costs.get(objective, member.cost))
    return None if member.peak_memory_bytes is None else Place(float(member.peak_memory_bytes))


def _interval(latency: Any) -> Place:
    return Place(latency.seconds, latency.seconds - latency.low, latency.high - latency.seconds)


def _error(member: Member, split: str) -> float:
    return member.validation_error if split == "validation" else member.test_error
