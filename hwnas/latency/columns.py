"""What the latency of a sub-network is a sum of: columns that never fall when a head, a unit or a layer is added.

Columns over blocks come first; they are sums over the layers, so a layer counts the same wherever and however often it
stands. Those over whole layers and whole networks say what blocks do not: a cache that is full, an operator that takes
its time whatever its size, a buffer as large as the largest layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from hwnas.models.dimensions import Dimensions
from hwnas.spaces.architecture import Architecture

Array = npt.NDArray[np.float64]
Shape = tuple[tuple[int, int], ...]

BASE, BENDS, STEPS, TOTALS = range(4)
"""Groups of columns: straight, pieces of heads and units, staircases, and columns over layers and networks."""

GROUPS = ("base", "bends", "steps", "totals")

WIDTHS = (8, 16, 32, 64, 128)
"""Widths that vector units and tensor cores compute at once: a block costs as much as the next multiple of one."""

_HEAD_KNOTS = (1 / 12, 1 / 6, 1 / 3, 1 / 2, 3 / 4)  # of the most there are
_UNIT_KNOTS = (1 / 24, 1 / 12, 1 / 6, 1 / 3, 1 / 2, 3 / 4)
_LAYER_KNOTS = (1 / 12, 1 / 6, 1 / 4, 1 / 2)
_TOTAL_KNOTS = (1 / 24, 1 / 12, 1 / 6, 1 / 3, 2 / 3)


@dataclass(frozen=True)
class Columns:
    """The columns over sub-networks of one super-network.

    Each is in shares of what the whole super-network has of it, so that all coefficients have the unit of the latency.

    Attributes:
        dimensions: Sizes of the super-network.
    """

    dimensions: Dimensions

    @property
    def names(self) -> tuple[str, ...]:
        """One name a column, in order; the base first."""
        heads, units, layers, totals = self._knots
        return (
            *("constant", "attention", "feed-forward", "heads", "units"),
            *(f"heads from {knot:g}" for knot in heads),
            *(f"units from {knot:g}" for knot in units),
            *(f"layer from {knot:.3g}" for knot in layers),
            *(f"heads in {step}" for step in self.head_steps),
            *(f"units in {step}" for step in self.unit_steps),
            *(f"network from {knot:.3g}" for knot in totals),
            *("most heads", "most units", "largest layer"),
        )

    @property
    def groups(self) -> npt.NDArray[np.int64]:
        """Group of each column, shape (k,)."""
        heads, units, layers, totals = map(len, self._knots)
        steps = len(self.head_steps) + len(self.unit_steps)
        return np.repeat((BASE, BENDS, TOTALS, STEPS, TOTALS), (5, heads + units, layers, steps, totals + 3))

    @property
    def head_steps(self) -> tuple[int, ...]:
        """Widths that a head does not fill by itself."""
        return tuple(step for step in WIDTHS if self.dimensions.head_size % step and self.dimensions.heads > 1)

    @property
    def unit_steps(self) -> tuple[int, ...]:
        """Widths of which the feed-forward block holds several."""
        return tuple(step for step in WIDTHS if 2 * step <= self.dimensions.units)

    def of(self, shapes: Sequence[Shape]) -> Array:
        """The columns of n networks, given as (heads, units) of their remaining layers; shape (n, k)."""
        table = self._table
        owners = np.repeat(np.arange(len(shapes)), [len(shape) for shape in shapes])
        pairs = np.array([pair for shape in shapes for pair in shape], dtype=np.float64).reshape(-1, 2)
        # Of each layer: heads, units, and its weights as a share of a whole layer's.
        layers = np.concatenate([pairs, pairs @ table.weights], axis=1)
        parts = (
            layers[:, :2] > 0,
            layers[:, :2],
            np.clip(layers[:, table.pieces], table.lower, table.upper) - table.lower,
            np.ceil(layers[:, table.stairs] * table.widths / table.steps) * table.steps,
        )
        blocks = np.zeros((len(shapes), len(table.most)))
        np.add.at(blocks, owners, np.concatenate(parts, axis=1) / table.most)
        peaks, totals = np.zeros((len(shapes), 3)), np.zeros((len(shapes), 1))
        np.maximum.at(peaks, owners, layers * table.peaks)
        np.add.at(totals, owners, layers[:, 2:] * table.peaks[2])
        pieces = np.clip(totals, table.total_lower, table.total_upper) - table.total_lower
        return np.concatenate([np.ones((len(shapes), 1)), blocks, pieces, peaks], axis=1)

    @cached_property
    def _knots(self) -> tuple[tuple[float, ...], ...]:
        """Where the pieces of heads, units, layers and networks begin."""
        size = self.dimensions
        return (
            _whole(size.heads, _HEAD_KNOTS),
            _whole(size.units, _UNIT_KNOTS),
            (0.0, *_LAYER_KNOTS),
            (0.0, *_TOTAL_KNOTS),
        )

    @cached_property
    def _table(self) -> _Table:
        size, layers = self.dimensions, max(1, self.dimensions.layers)
        knots, head_steps, unit_steps = self._knots, self.head_steps, self.unit_steps
        whole = 2 * size.head_size * size.heads + size.units
        sizes = np.array((size.heads, size.units, 1.0))
        pieces = np.repeat(np.arange(3), [len(part) for part in knots[:3]])
        stairs = np.repeat((0, 1), (len(head_steps), len(unit_steps)))
        stair_most = np.array((size.heads * size.head_size, size.units))
        return _Table(
            weights=np.array([[2.0 * size.head_size], [1.0]]) / whole,
            pieces=pieces,
            lower=np.concatenate([np.array(part) for part in knots[:3]]),
            upper=np.concatenate([np.array((*part[1:], np.inf)) for part in knots[:3]]),
            stairs=stairs,
            widths=np.array((size.head_size, 1.0))[stairs],
            steps=np.array((*head_steps, *unit_steps), dtype=np.float64),
            most=layers * np.concatenate([(1.0, 1.0), sizes[:2], sizes[pieces], stair_most[stairs]]),
            peaks=1 / (layers * sizes),
            total_lower=np.array(knots[3]),
            total_upper=np.array((*knots[3][1:], np.inf)),
        )


def law_of(coefficients: Mapping[str, float], dimensions: Dimensions) -> Callable[[Architecture], float]:
    """A law without its error bar, from what `Law.to_json` says of it.

    Args:
        coefficients: By the name of the column; columns that are not there count nothing.
        dimensions: Sizes of the super-network.

    Returns:
        Value of a sub-network, in the unit of the coefficients.
    """
    columns = Columns(dimensions)
    factors = np.array([coefficients.get(name, 0.0) for name in columns.names])
    return lambda arch: float((columns.of([arch.shape]) @ factors)[0])


@dataclass(frozen=True, eq=False)
class _Table:
    """What `Columns.of` needs, worked out once: which of heads, units and weights each part is about, and its ends."""

    weights: Array
    pieces: npt.NDArray[np.int64]
    lower: Array
    upper: Array
    stairs: npt.NDArray[np.int64]
    widths: Array
    steps: Array
    most: Array
    peaks: Array
    total_lower: Array
    total_upper: Array


def guess_dimensions(shapes: Sequence[Shape]) -> Dimensions:
    """Sizes that hold all networks, with the usual proportions: 4 units a hidden channel, heads that fill it."""
    heads = max((pair[0] for shape in shapes for pair in shape), default=1) or 1
    units = max((pair[1] for shape in shapes for pair in shape), default=1) or 1
    hidden = max(1, units // 4)
    layers = max((len(shape) for shape in shapes), default=1) or 1
    return Dimensions(layers, heads, units, max(1, round(hidden / heads)), hidden)


def _whole(largest: int, shares: Sequence[float]) -> tuple[float, ...]:
    """0 and the whole numbers below `largest` at these shares of it."""
    return tuple(float(knot) for knot in sorted({round(largest * share) for share in shares} - {largest} | {0}))
