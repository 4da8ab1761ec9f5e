"""The pictures of a benchmark's figures, as the paper draws them, with the scale written below the title."""

from __future__ import annotations

import csv
import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hwnas.bench.panels import Curve, Panel
from hwnas.bench.pictures import Picture
from hwnas.errors import UsageError
from hwnas.files import write_at_once

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = ("#0b6bcb", "#d1495b", "#2a9d5c", "#e08e0b", "#7a4fbf", "#8c564b", "#c2378f", "#17807e", "#5b5b5b")
_MARKERS = "osD^vPX<>"
_LEVELS = ("-", "--", ":", "-.")
_DRAWN = ("line", "points")
_COLUMNS = 3  # panels beside one another
_WIDTH, _HEIGHT = 4.2, 3.4  # of a panel, in inches


def plot_picture(picture: Picture, path: Path) -> None:
    """Write a picture as PNG, and beside it a CSV file with every number in it, each at once.

    Args:
        picture: The picture.
        path: The PNG file; the CSV file has its name with another ending.

    Raises:
        UsageError: It is a folder, or has another ending; nothing is written then.
    """
    if path.suffix != ".png" or path.is_dir():
        raise UsageError(f"--out {path}: expected a file that ends in .png; its numbers go into one that ends in .csv.")
    path.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    rows = picture.rows()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_at_once(path.with_suffix(".csv"), text.getvalue())
    image = io.BytesIO()
    picture_figure(picture).savefig(image, format="png")
    write_at_once(path, image.getvalue())


def picture_figure(picture: Picture) -> Figure:
    """Panels side by side with one legend; title, scale and what is missing above and below them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, len(picture.panels))
    rows = math.ceil(len(picture.panels) / columns)
    width = max(7.2, _WIDTH * columns)
    figure = Figure(figsize=(width, _HEIGHT * rows + 1.6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    # A series looks the same in every panel, also in one that lacks others, or has them in another order.
    drawn = [curve.label for panel in picture.panels for curve in panel.curves if curve.style in _DRAWN]
    numbers = {label: number for number, label in enumerate(dict.fromkeys(drawn))}
    for axes, panel in zip(grid, picture.panels, strict=False):
        _draw(axes, panel, numbers)
    for axes in grid[len(picture.panels) :]:
        axes.set_axis_off()
    labelled = {label: handle for axes in grid for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    wide = int(width * 15)
    notes = "\n".join(textwrap.wrap("; ".join(picture.notes), wide))
    if labelled:
        figure.legend(
            labelled.values(), labelled.keys(), frameon=False, fontsize=8, loc="outside lower center", ncols=4,
            title=notes or None, title_fontsize=7,
        )  # fmt: skip
    elif notes:
        figure.supxlabel(notes, fontsize=7)
    said = [f"Figure {picture.figure}: {picture.title}", *textwrap.wrap(picture.scale, wide)]
    figure.suptitle("\n".join(said), fontsize=9)
    return figure


def _draw(axes: Any, panel: Panel, numbers: Mapping[str, int]) -> None:
    boxes = [curve for curve in panel.curves if curve.style == "box"]
    if boxes:
        _draw_boxes(axes, boxes)
    for curve in panel.curves:
        if curve.style in _DRAWN:
            _draw_curve(axes, curve, numbers[curve.label])
    for number, curve in enumerate(curve for curve in panel.curves if curve.style == "level"):
        axes.axhline(curve.y[0], color="black", alpha=0.5, lw=1, ls=_LEVELS[number % len(_LEVELS)], label=curve.label)
    axes.set_title(panel.title, fontsize=10)
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(panel.y_label)
    axes.grid(alpha=0.25)


def _draw_boxes(axes: Any, boxes: Sequence[Curve]) -> None:
    """A box over seeds for each series, and every seed as a point; a box only where there are three or more."""
    places = np.arange(1, len(boxes) + 1)
    for number, (place, curve) in enumerate(zip(places, boxes, strict=True)):
        values = np.array(curve.y)
        if len(values) > 2:
            axes.boxplot([values], positions=[place], widths=0.5, showfliers=False, manage_ticks=False)
        shift = np.linspace(-0.08, 0.08, len(values)) if len(values) > 1 else np.zeros(1)
        axes.plot(place + shift, values, "o", color=_COLOURS[number % len(_COLOURS)], markersize=4, alpha=0.7)
    axes.set_xticks(places, [curve.label for curve in boxes], rotation=20 if len(boxes) > 4 else 0, fontsize=8)
    axes.set_xlim(0.4, len(boxes) + 0.6)


def _draw_curve(axes: Any, curve: Curve, number: int) -> None:
    colour, marker = _COLOURS[number % len(_COLOURS)], _MARKERS[number % len(_MARKERS)]
    x, y = np.array(curve.x), np.array(curve.y)
    if curve.style == "points":
        few = len(x) <= 5
        across = np.transpose(curve.across) if curve.across else None
        axes.errorbar(
            x, y, xerr=across, yerr=curve.spread or None, fmt=marker, color=colour, markersize=8 if few else 4,
            alpha=1.0 if few else 0.6, capsize=2, label=curve.label,
        )  # fmt: skip
        return
    every = max(1, len(x) // 12)
    axes.plot(x, y, "-", color=colour, lw=1.5, marker=marker, markersize=4, markevery=every, label=curve.label)
    if curve.spread:
        spread = np.array(curve.spread)
        axes.fill_between(x, y - spread, y + spread, color=colour, alpha=0.12, linewidth=0)
