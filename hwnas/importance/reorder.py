"""Reordering: the heads and units of every layer by importance, so that prefixes keep what matters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from hwnas.errors import UsageError
from hwnas.importance.owners import Owned, find_owners
from hwnas.importance.scores import Scores
from hwnas.spaces.architecture import Architecture, indices

Permutation = tuple[int, ...]


@dataclass(frozen=True)
class Order:
    """Where the heads and units of a reordered model stood before.

    Attributes:
        heads: Per layer, the old number of the head that is now at each place.
        units: The same of units.

    Raises:
        UsageError: A layer is not a permutation.
    """

    heads: tuple[Permutation, ...]
    units: tuple[Permutation, ...]

    def __post_init__(self) -> None:
        for layer in (*self.heads, *self.units):
            if sorted(layer) != list(range(len(layer))):
                raise UsageError("not an order: each layer names every head or unit once, from 0 on.")

    @classmethod
    def of(cls, scores: Scores, within: Architecture | None = None) -> Order:
        """Most important first; of equals, the one that stood first.

        Args:
            scores: Of heads and units.
            within: Only the first heads and units of each layer, as many as this network has, change places among
                themselves; None for all.
        """
        if within is None:
            return cls(tuple(map(_falling, scores.heads)), tuple(map(_falling, scores.units)))
        heads, units = (
            tuple(
                (*_falling(layer[:count]), *range(count, len(layer))) for layer, count in zip(of, counts, strict=True)
            )
            for of, counts in ((scores.heads, within.head_counts), (scores.units, within.unit_counts))
        )
        return cls(heads, units)

    def original(self, arch: Architecture) -> Architecture:
        """What a sub-network of the reordered model is called in the model as it was."""
        heads, units = (
            tuple(tuple(order[index] for index in indices(kept)) for order, kept in zip(orders, layers, strict=True))
            for orders, layers in ((self.heads, arch.heads), (self.units, arch.units))
        )
        return Architecture(heads, units)

    def to_json(self) -> dict[str, Any]:
        """JSON types; `from_json` inverts it."""
        return {"heads": [list(layer) for layer in self.heads], "units": [list(layer) for layer in self.units]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Order:
        """Inverse of `to_json`; UsageError if `data` are not an order."""
        try:
            heads, units = (tuple(tuple(int(i) for i in layer) for layer in data[name]) for name in ("heads", "units"))
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"not an order: expected lists of numbers 'heads' and 'units' ({error}).") from error
        return cls(heads, units)


@torch.no_grad()
def reorder(model: nn.Module, scores: Scores | Order) -> Order:
    """Put the most important heads and units of every layer first, in place.

    Both sides of each matrix move, and biases with their rows: the rows of query, key and value with the columns of
    the attention output, head by head; the rows of the first feed-forward matrix with the columns of the second. What
    the whole network computes stays the same up to the rounding of sums. Parameters stay the same objects.

    Args:
        model: A Hugging Face sequence-classification module, the super-network.
        scores: Its scores, or an order to put it into.

    Returns:
        The order that it is in now, in terms of the one before.

    Raises:
        UsageError: The scores are those of another model.
        UnsupportedModelError: The model's heads and units cannot be told apart.

    Source: network rewiring of Hou et al. 2020 (DynaBERT), section 2.1; Munoz et al. 2024 (EFTNAS).
    """
    order = scores if isinstance(scores, Order) else Order.of(scores)
    dimensions, layers = find_owners(model)
    for name, orders, width in (("heads", order.heads, dimensions.heads), ("units", order.units, dimensions.units)):
        if len(orders) != dimensions.layers or any(len(layer) != width for layer in orders):
            raise UsageError(f"these scores are not of this model: expected {dimensions.layers} x {width} {name}.")
    moved: set[tuple[int, int]] = set()
    for layer, heads, units in zip(layers, order.heads, order.units, strict=True):
        _move(layer.heads, heads, moved)
        _move(layer.units, units, moved)
    return order


def _move(owned: Iterable[Owned], order: Permutation, moved: set[tuple[int, int]]) -> None:
    """Move rows or columns to where their owners go; a map that several layers share is moved once."""
    place = torch.empty(len(order), dtype=torch.int64)
    place[torch.tensor(order)] = torch.arange(len(order))
    for one in owned:
        key = (id(one.linear), one.axis)
        if key in moved:
            continue
        moved.add(key)
        source = torch.argsort(place[one.owner], stable=True).to(one.linear.weight.device)
        one.linear.weight.copy_(one.linear.weight.index_select(one.axis, source))
        if one.axis == 0 and one.linear.bias is not None:
            one.linear.bias.copy_(one.linear.bias.index_select(0, source))


def _falling(values: Sequence[float]) -> Permutation:
    return tuple(sorted(range(len(values)), key=lambda index: -values[index]))
