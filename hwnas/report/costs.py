"""The picture of a front of several costs: one panel a cost, the same members in each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwnas.report.plot import (
    add_legend,
    axis_of,
    draw_constant,
    draw_limits,
    draw_members,
    draw_points,
    new_figure,
    title_of,
)
from hwnas.search.front import Front

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def costs_figure(front: Front) -> Figure:
    """Validation error against each cost.

    A member is better than every other network in the error or in some cost, not in each: so in one panel members
    may stand behind others, and there is no line through them. Members stand at their measured costs where a
    measurement says them.

    Args:
        front: A front of two or more costs.
    """
    objectives = front.objectives
    figure, grid = new_figure(len(objectives), (1.5 + 4.6 * len(objectives), 5.2), sharey=True)
    for number, (objective, axes) in enumerate(zip(objectives, grid, strict=True)):
        name = str(objective["name"])
        title, _, unit = axis_of(name, str(objective["unit"]))
        draw_points(axes, front, name)
        draw_members(axes, front, "validation", name, line=False)
        draw_limits(axes, front, name)
        draw_constant(axes, front, "validation")
        axes.set_xlabel(f"{title} [{unit}]")
        if number == 0:
            axes.set_ylabel(f"validation error (1 - {front.about['quality']})")
        axes.grid(alpha=0.25)
        axes.set_xlim(left=0)
        axes.locator_params(axis="x", nbins=6)
    add_legend(figure, grid, below=True)
    figure.suptitle(title_of(front), fontsize=10)
    return figure
