"""Automatic bounds: which widths a space should hold, from scores and budgets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hwnas.errors import UsageError
from hwnas.importance.scores import Scores
from hwnas.models.dimensions import Dimensions
from hwnas.spaces.align import ANY, Align, levels
from hwnas.spaces.architecture import Architecture
from hwnas.spaces.bounded import BoundedSpace

Cost = Callable[[Architecture], float]
"""Cost of an architecture, e.g. seconds; it must not fall when a width grows."""

Array = npt.NDArray[np.float64]

REMOVABLE = 0.02
"""A block with less than this share of its width left may be removed whole."""


class MacCost:
    """Multiply-adds of a sub-network's layers for one sequence, the cost of the published bounds.

    Args:
        dimensions: Sizes of the super-network.
        sequence_length: Tokens.
        head_weights, unit_weights: Weights of one head and of one unit, as `Scores` has them. None takes four
            projections and two feed-forward matrices; grouped-query attention and gated blocks have other numbers.
    """

    def __init__(
        self,
        dimensions: Dimensions,
        sequence_length: int = 128,
        *,
        head_weights: int | None = None,
        unit_weights: int | None = None,
    ) -> None:
        hidden, size = dimensions.hidden_size, dimensions.head_size
        products = 2 * sequence_length**2 * size
        self.head = sequence_length * (head_weights or 4 * hidden * size) + products
        self.unit = sequence_length * (unit_weights or 2 * hidden)

    def __call__(self, arch: Architecture) -> float:
        """Multiply-adds: every weight once a token, and the two products of attention."""
        return float(self.head * sum(arch.head_counts) + self.unit * sum(arch.unit_counts))


@dataclass(frozen=True)
class Bounds:
    """The networks that the budgets give, and the widths between them.

    Attributes:
        space: All widths between the narrowest and the widest of each block.
        budgets: Evenly spread, rising.
        networks: For each budget the widest network by the scores that meets it. Its prefixes are the heads and units
            above the threshold once the scored model is reordered by the same scores; in a model with other weights, or
            reordered by other scores, they may be others.
        costs: What those cost.
        threshold: For each budget the lowest score, per weight, that is kept; None if next to nothing is.
    """

    space: BoundedSpace
    budgets: tuple[float, ...]
    networks: tuple[Architecture, ...]
    costs: tuple[float, ...]
    threshold: tuple[float | None, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON types, for a record; the space alone comes back, by `hwnas.spaces.space_from_json`."""
        return {
            "space": self.space.to_json(),
            "budgets": list(self.budgets),
            "networks": [arch.to_json() for arch in self.networks],
            "costs": list(self.costs),
            "threshold": list(self.threshold),
        }


def find_bounds(
    scores: Scores,
    dimensions: Dimensions,
    cost: Cost,
    *,
    minimum: float,
    maximum: float | None = None,
    budgets: int = 5,
    align: Align = ANY,
    min_layers: int = 1,
    removable: float = REMOVABLE,
    unit: str = "",
) -> Bounds:
    """Bounds of every block's width, such that the space spans a range of costs and keeps what matters.

    For each budget one threshold for all layers is found by bisection: heads and units whose score per weight is below
    it go. The threshold is bisected over the scores themselves, so the search ends after log2(heads + units) networks
    whatever the cost does, and what it ends with meets the budget. A block left with less than `removable` of its width
    is removed for that budget, and its bound becomes 0; the cost is that of the network without it. No block is
    excluded for good: its upper bound is what the widest budget leaves it, and at least the smallest width.

    Args:
        scores: Scores of the super-network, more is better. They are compared per weight.
        dimensions: Its sizes.
        cost: What is budgeted: seconds from a predictor, or `MacCost`.
        minimum: The smallest budget.
        maximum: The largest; None takes the cost of the whole network.
        budgets: How many, evenly spread from the smallest to the largest, both included.
        align: Steps of heads and of units; widths are rounded down to them, but not to 0.
        min_layers: Fewest layers that keep attention.
        removable: See above, a share from 0 to 1.
        unit: Unit of the cost, for messages.

    Raises:
        UsageError: The scores are not of this super-network, a number is out of range, or no network meets the
            smallest budget.

    Source: Munoz et al. 2024, Searching for Efficient Language Models in First-Order Weight-Reordered Super-Networks
    (EFTNAS).
    """
    cutter = _Cutter(scores, dimensions, align, min_layers, removable)
    whole, least = float(cost(cutter.network(0))), float(cost(cutter.network(cutter.last)))
    top = whole if maximum is None else float(maximum)
    text = f" {unit}" if unit else ""
    if budgets < 2:
        raise UsageError(f"{budgets} budgets: expected 2 or more.")
    if not minimum < top:
        raise UsageError(f"budgets from {minimum:.4g} to {top:.4g}{text}: the smallest must be below the largest.")
    if top > whole * (1 + 1e-9):
        raise UsageError(f"a budget of {top:.4g}{text}: the whole network costs {whole:.4g}; ask for at most so much.")
    if minimum < least:
        raise UsageError(
            f"no network meets a budget of {minimum:.4g}{text}: the smallest that min_layers {min_layers} allows costs "
            f"{least:.4g}; ask for at least so much."
        )
    targets = tuple(float(target) for target in np.linspace(minimum, top, budgets))
    cuts = tuple(cutter.bisect(cost, target, whole) for target in targets)
    networks = tuple(cutter.network(cut) for cut in cuts)
    return Bounds(
        space=cutter.space(cuts),
        budgets=targets,
        networks=networks,
        costs=tuple(float(cost(network)) for network in networks),
        threshold=tuple(None if cut == cutter.last else float(cutter.values[cut]) for cut in cuts),
    )


class _Cutter:
    """Networks by threshold: number `i` keeps the scores from the i-th lowest on; the last one keeps none."""

    def __init__(self, scores: Scores, dimensions: Dimensions, align: Align, min_layers: int, removable: float) -> None:
        if not 0 <= removable < 1:
            raise UsageError(f"removable {removable}: expected a share from 0 to below 1.")
        self.dimensions, self.align, self.min_layers, self.removable = dimensions, align, min_layers, removable
        for name, layers, width in (
            ("heads", scores.heads, dimensions.heads),
            ("units", scores.units, dimensions.units),
        ):
            if len(layers) != dimensions.layers or any(len(layer) != width for layer in layers):
                raise UsageError(f"these scores are not of this model: expected {dimensions.layers} x {width} {name}.")
        self.heads = np.array(scores.heads) / scores.head_weights
        self.units = np.array(scores.units) / scores.unit_weights
        self.values = np.unique(np.concatenate((self.heads.ravel(), self.units.ravel())))
        self.last = len(self.values)

    def network(self, cut: int) -> Architecture:
        """What a threshold leaves."""
        heads, units = self.widths(cut, self.removable)
        missing = self.min_layers - int((heads > 0).sum())
        for layer in np.argsort(-self.heads.max(axis=1), kind="stable"):
            if missing > 0 and heads[layer] == 0:
                heads[layer] = levels(self.dimensions.heads, self.align[0])[0]
                missing -= 1
        return Architecture(tuple(heads.tolist()), tuple(units.tolist()))

    def widths(self, cut: int, removable: float) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Heads and units (layers,) each that a threshold leaves, blocks with less than a share of theirs at 0."""
        threshold = self.values[cut] if cut < self.last else np.inf
        both = []
        for scores, step in ((self.heads, self.align[0]), (self.units, self.align[1])):
            counts, width = (scores >= threshold).sum(axis=1), scores.shape[1]
            allowed = np.array(levels(width, step))
            rounded = allowed[np.maximum(np.searchsorted(allowed, counts, side="right") - 1, 0)]
            both.append(np.where((counts == 0) | (counts < removable * width), 0, rounded).astype(np.int64))
        return both[0], both[1]

    def bisect(self, cost: Cost, budget: float, whole: float) -> int:
        """The lowest threshold whose network meets a budget."""
        if whole <= budget * (1 + 1e-9):
            return 0
        low, high = 0, self.last  # low is over the budget, high meets it
        while high - low > 1:
            middle = (low + high) // 2
            if cost(self.network(middle)) <= budget:
                high = middle
            else:
                low = middle
        return high

    def space(self, cuts: Sequence[int]) -> BoundedSpace:
        """The union of what thresholds leave."""
        networks = [self.network(cut) for cut in cuts]
        whole_blocks = [self.widths(cut, 0.0) for cut in cuts]  # as if none were removed
        heads = self._union(
            [arch.head_counts for arch in networks],
            [pair[0].tolist() for pair in whole_blocks],
            levels(self.dimensions.heads, self.align[0])[0],
        )
        units = self._union(
            [arch.unit_counts for arch in networks],
            [pair[1].tolist() for pair in whole_blocks],
            levels(self.dimensions.units, self.align[1])[0],
        )
        return BoundedSpace(self.dimensions, heads=heads, units=units, min_layers=self.min_layers, align=self.align)

    @staticmethod
    def _union(kept: Sequence[Sequence[int]], before: Sequence[Sequence[int]], smallest: int) -> list[tuple[int, int]]:
        """Per layer the narrowest width that is kept, and the widest."""
        lows = [min(widths) for widths in zip(*kept, strict=True)]
        highs = [max(smallest, *widths) for widths in zip(*kept, *before, strict=True)]
        return list(zip(lows, highs, strict=True))
