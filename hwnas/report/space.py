"""What search spaces hold: pictures of masks, and distributions of parameters and latency over random members.

After figures 2 and 3 of Klein et al. 2024.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hwnas.errors import UsageError
from hwnas.latency.predictor import Predictor
from hwnas.models.dimensions import Dimensions
from hwnas.spaces import Architecture, Space
from hwnas.spaces.architecture import indices

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[np.float64]

LEVELS = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
"""Quantiles that are reported."""

_COLOURS = {"small": "#0b6bcb", "layer": "#e08e0b", "medium": "#2a9d5c", "large": "#7a4fbf", "bounded": "#8c564b"}
_HEAD, _UNIT, _REMOVED, _LEFT_OUT = (0.04, 0.42, 0.80), (0.88, 0.56, 0.04), (0.80, 0.80, 0.80), (0.93, 0.94, 0.95)
_UNIT_CELLS = 48  # the units of a layer are drawn as so many averages
_SIZE_DIGITS = 15  # sizes with more digits are given as their logarithm alone


@dataclass(frozen=True)
class Distribution:
    """A space and what its random members cost.

    Attributes:
        space: The space.
        shown: The members whose masks are drawn, the first of those that were sampled.
        parameters: Parameters of the sampled members as stand-alone networks, embeddings and head included, shape (n,).
        seconds: Their predicted latencies, shape (n,); None without a predictor.
    """

    space: Space
    shown: tuple[Architecture, ...]
    parameters: Array
    seconds: Array | None

    def to_json(self) -> dict[str, Any]:
        """JSON types: size, encoding and quantiles. Sizes that no double holds are given as their logarithm."""
        size = self.space.size
        return {
            **self.space.to_json(),
            "size": size if size < 10**_SIZE_DIGITS else None,
            "log10_size": round(math.log10(size), 3),
            "entries": len(self.space.bounds),
            "samples": len(self.parameters),
            "parameters": {key: round(value) for key, value in _quantiles(self.parameters).items()},
            "predicted_seconds": None if self.seconds is None else _quantiles(self.seconds),
        }


def sample_space(
    space: Space,
    count: Callable[[Architecture], int],
    *,
    samples: int = 500,
    shown: int = 5,
    seed: int = 0,
    predictor: Predictor | None = None,
) -> Distribution:
    """Draw members of a space by its own sampler, and say what they cost.

    Args:
        space: The space.
        count: From `hwnas.slicing.extract.parameter_counter`.
        samples: How many to draw.
        shown: How many of them to draw masks of.
        seed: Seed of the draws.
        predictor: Says their latencies, if given.

    Raises:
        UsageError: `samples` is below 2, or `shown` below 1 or above `samples`.
    """
    if samples < 2:
        raise UsageError(f"--samples {samples}: expected 2 or more.")
    if not 1 <= shown <= samples:
        raise UsageError(f"--shown {shown}: expected 1 to {samples}, the samples.")
    rng = np.random.default_rng(seed)
    drawn = [space.sample(rng) for _ in range(samples)]
    return Distribution(
        space=space,
        shown=tuple(drawn[:shown]),
        parameters=np.array([count(arch) for arch in drawn], dtype=np.float64),
        seconds=None if predictor is None else np.array([predictor.predict(arch).seconds for arch in drawn]),
    )


def plot_spaces(
    found: Sequence[Distribution],
    folder: Path,
    *,
    count: Callable[[Architecture], int],
    title: str,
    predictor: Predictor | None = None,
    setting: str = "",
) -> list[Path]:
    """Draw masks.png, parameters.png and, with a predictor, latency.png, each at once.

    Args:
        found: The spaces, all over the same super-network.
        folder: Where to; made if it is missing.
        count: From `hwnas.slicing.extract.parameter_counter`, for the whole network.
        title: What the super-network is called.
        predictor: For the whole network's latency.
        setting: What the predictor is for.

    Returns:
        The files.
    """
    full = Architecture.full(found[0].space.dimensions)
    figures = {
        "masks.png": masks_figure(found, title),
        "parameters.png": histogram_figure(
            {one.space.name: one.parameters / 1e6 for one in found},
            whole=count(full) / 1e6,
            label="parameters, embeddings and head included [millions]",
            title=f"{title}: {len(found[0].parameters)} random sub-networks a space",
        ),
    }
    if predictor is not None:
        figures["latency.png"] = histogram_figure(
            {one.space.name: one.seconds * 1e3 for one in found if one.seconds is not None},
            whole=predictor.predict(full).seconds * 1e3,
            label="predicted latency [ms]",
            title=f"{title}, {setting}: {len(found[0].parameters)} random sub-networks a space",
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        temporary = folder / f".{name}.tmp"
        figure.savefig(temporary, format="png")
        os.replace(temporary, folder / name)
    return [folder / name for name in figures]


def masks_figure(found: Sequence[Distribution], title: str) -> Figure:
    """What members keep: a row of pictures a space, in each a row a layer, the first on top, heads left, units right.

    The units are drawn as averages over neighbours.
    """
    columns = max(len(one.shown) for one in found)
    figure = _figure(1.6 + 1.9 * columns, 0.8 + 1.15 * len(found))
    grid = figure.subplots(len(found), columns, squeeze=False)
    for row, one in zip(grid, found, strict=True):
        for number, axes in enumerate(row):
            axes.set_xticks([])
            axes.set_yticks([])
            for spine in axes.spines.values():
                spine.set_visible(False)
            if number < len(one.shown):
                axes.imshow(_picture(one.shown[number], one.space.dimensions), aspect="auto", interpolation="nearest")
        row[0].set_ylabel(one.space.name.upper(), fontsize=9)
    figure.suptitle(f"{title}: random members of each space; a row is a layer, the first on top", fontsize=9)
    figure.get_layout_engine().set(wspace=0.08)  # type: ignore[union-attr, call-arg]
    figure.legend(
        handles=_patches({"heads": _HEAD, "units": _UNIT, "left out": _LEFT_OUT, "block removed": _REMOVED}),
        loc="outside lower center", ncols=4, frameon=False, fontsize=8,
    )  # fmt: skip
    return figure


def histogram_figure(values: Mapping[str, Array], *, whole: float, label: str, title: str) -> Figure:
    """How often members of each space cost what; one panel a space, the same axis for all.

    Args:
        values: Per space its members' costs, shape (n,).
        whole: Cost of the unpruned network.
        label: Of the axis.
        title: Of the figure.
    """
    figure = _figure(7.2, 0.9 + 1.15 * len(values))
    grid = figure.subplots(len(values), 1, sharex=True, squeeze=False)[:, 0]
    lowest = min(float(costs.min()) for costs in values.values())
    edges = np.linspace(lowest, max(whole, *(float(costs.max()) for costs in values.values())), 41)
    for axes, (name, costs) in zip(grid, values.items(), strict=True):
        weights = np.full(len(costs), 100 / len(costs))
        axes.hist(costs, edges, weights=weights, color=_COLOURS.get(name, "#5b5b5b"), alpha=0.85)
        axes.axvline(whole, color="#d1495b", lw=1.5, label="unpruned network")
        axes.axvline(float(np.median(costs)), color="black", lw=1, ls="--", label="median")
        axes.set_ylabel(f"{name.upper()}\n[%]", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
    grid[0].legend(frameon=False, fontsize=8, loc="upper center", ncols=2)
    grid[-1].set_xlabel(label, fontsize=9)
    figure.suptitle(title, fontsize=9)
    return figure


def _picture(arch: Architecture, dimensions: Dimensions) -> Array:
    """Colours (layers, cells, 3) of one member: heads cell by cell, a gap, units in averages."""
    cells = min(_UNIT_CELLS, dimensions.units)
    of_unit = np.arange(dimensions.units) * cells // dimensions.units
    wide = max(1, _UNIT_CELLS // (2 * dimensions.heads))  # cells of one head, so that heads take half the room of units
    picture = np.ones((dimensions.layers, wide * dimensions.heads + 2 + cells, 3))
    for layer, (heads, units) in enumerate(zip(arch.heads, arch.units, strict=True)):
        kept_heads, kept_units = np.zeros(dimensions.heads), np.zeros(dimensions.units)
        kept_heads[list(indices(heads))] = 1
        kept_units[list(indices(units))] = 1
        shares = np.bincount(of_unit, kept_units) / np.bincount(of_unit)
        for start, kept, colour in (
            (0, np.repeat(kept_heads, wide), _HEAD),
            (wide * dimensions.heads + 2, shares, _UNIT),
        ):
            off = np.array(_LEFT_OUT if kept.any() else _REMOVED)
            picture[layer, start : start + len(kept)] = off + kept[:, None] * (np.array(colour) - off)
    return picture


def _patches(colours: Mapping[str, tuple[float, float, float]]) -> list[Any]:
    from matplotlib.patches import Patch

    return [Patch(facecolor=colour, label=label) for label, colour in colours.items()]


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _quantiles(values: Array) -> dict[str, float]:
    return {f"{level:g}": float(value) for level, value in zip(LEVELS, np.quantile(values, LEVELS), strict=True)}
