"""The picture of one search on several devices: their fronts side by side, at the same errors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hwnas.report.compare import final_cost, known_cost, points_of
from hwnas.report.plot import (
    COLOURS,
    Place,
    add_legend,
    axis_of,
    draw_constant,
    draw_limits,
    draw_members,
    draw_points,
    errorbar,
    new_figure,
    save,
    where_of,
)
from hwnas.search.front import Front

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_devices(fronts: Sequence[Front], path: Path) -> None:
    """Draw `devices_figure` as PNG, at once."""
    save(devices_figure(fronts), path)


def devices_figure(fronts: Sequence[Front]) -> Figure:
    """One panel a device: validation error against the first cost there.

    Each panel has the front of its device, and in hollow diamonds the members of the other fronts at what they cost
    here: as the search knew it, unless they are members here too. How far they lie behind the line is what it loses to
    take another device's choice.

    Args:
        fronts: Of one search, one a device.
    """
    objective = str(fronts[0].about["objective"]["name"])
    title, scale, unit = axis_of(objective, str(fronts[0].about["objective"]["unit"]))
    figure, grid = new_figure(len(fronts), (1.5 + 4.9 * len(fronts), 5.4), sharey=True)
    for number, (front, axes) in enumerate(zip(fronts, grid, strict=True)):
        draw_points(axes, front, objective)
        draw_members(axes, front, "validation", objective, line=len(front.objectives) == 1)
        ends = {(member.architecture, member.precision): final_cost(member, objective) for member in front.members}
        known = points_of(front)
        provenance = front.about["objective"]["provenance"]
        for other_number, other in enumerate(fronts):
            costs = [
                ends.get((member.architecture, member.precision), known_cost(known, member, member.validation_error))
                for member in other.members
            ]
            there = [
                (cost, member.validation_error)
                for cost, member in zip(costs, other.members, strict=True)
                if cost is not None
            ]
            if other is not front and there:
                errorbar(
                    axes, [Place(cost) for cost, _ in there], [error for _, error in there], scale, marker="D",
                    color=COLOURS[other_number % len(COLOURS)], size=6, label=f"best for {other.label} ({provenance})",
                    markerfacecolor="none",
                )  # fmt: skip
        draw_limits(axes, front, objective)
        draw_constant(axes, front, "validation")
        axes.set_title(where_of(front), fontsize=9)
        axes.set_xlabel(f"{title} [{unit}]")
        if number == 0:
            axes.set_ylabel(f"validation error (1 - {front.about['quality']})")
        axes.grid(alpha=0.25)
        axes.set_xlim(left=0)
    add_legend(figure, grid, below=True)
    about = fronts[0].about
    said = f"{about['task']}, {about['model']}, space {about['space']}: one search, a front for each device"
    figure.suptitle(said, fontsize=10)
    return figure
