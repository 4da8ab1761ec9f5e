"""LARGE: any heads and any units of every layer (Klein et al. 2024, section 3.3, algorithms 1 to 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from math import comb
from typing import Any

import numpy as np
import numpy.typing as npt

from hwnas.errors import UsageError
from hwnas.spaces.align import nearest
from hwnas.spaces.architecture import Architecture, Kept
from hwnas.spaces.base import Space

Mask = npt.NDArray[np.bool_]


class LargeSpace(Space):
    """Keeps any subset of the heads and any subset of the units of each layer, by index.

    The encoding has one entry a head, layer by layer, then one a unit, 1 if it is kept: 9,288 entries for MiniLM. A
    draw first takes how many entries are kept in all, uniformly, and then which ones: were each entry drawn by itself,
    almost every network would have half the parameters.

    A vector whose number of heads or units in a layer is not an allowed width is decoded to the nearest one: the last
    kept entries go, or the first missing ones come back. One with attention in fewer layers than `min_layers` gets the
    first heads back in the first layers without.
    """

    name = "large"

    @cached_property
    def _bounds(self) -> dict[str, tuple[int, int]]:
        widths = (("head", self.dimensions.heads), ("unit", self.dimensions.units))
        return {
            f"{name}_{layer}_{index}": (0, 1)
            for name, width in widths
            for layer in range(self.dimensions.layers)
            for index in range(width)
        }

    @property
    def bounds(self) -> Mapping[str, tuple[int, int]]:
        return self._bounds

    @property
    def size(self) -> int:
        layers = self.dimensions.layers
        heads = _subsets(self.dimensions.heads, self.head_levels)
        units = 1 + _subsets(self.dimensions.units, self.unit_levels)
        kept = range(self.min_layers, layers + 1)
        size: int = units**layers * sum(comb(layers, number) * heads**number for number in kept)
        return size

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draw how much is kept in all, evenly, and then which (Klein et al. 2024, algorithm 4).

        With steps of widths the draw is of steps, of which each block has as many as it has widths; which heads or
        units of a block these are is drawn then.
        """
        return self._architecture(self._drawn(rng))

    def sample_vector(self, rng: np.random.Generator) -> npt.NDArray[np.integer[Any]]:
        heads, units = self._member(self._drawn(rng))
        return np.concatenate([*heads, *units]).astype(np.uint8)

    def _drawn(self, rng: np.random.Generator) -> Mask:
        if not self._any_width:
            return self._drawn_in_steps(rng)
        entries = self.dimensions.layers * (self.dimensions.heads + self.dimensions.units)
        kept = int(rng.integers(self.min_layers, entries + 1))
        mask = np.zeros(entries, dtype=bool)
        mask[rng.choice(entries, size=kept, replace=False, shuffle=False)] = True
        return mask

    def _drawn_in_steps(self, rng: np.random.Generator) -> Mask:
        blocks = [(self.dimensions.heads, self.head_levels)] * self.dimensions.layers
        blocks += [(self.dimensions.units, self.unit_levels)] * self.dimensions.layers
        owners = np.repeat(np.arange(len(blocks)), [len(allowed) for _, allowed in blocks])
        kept = int(rng.integers(self.min_layers, len(owners) + 1))
        chosen = rng.choice(owners, size=kept, replace=False, shuffle=False)
        mask = []
        for (width, allowed), steps in zip(blocks, np.bincount(chosen, minlength=len(blocks)), strict=True):
            row = np.zeros(width, dtype=bool)
            row[rng.choice(width, size=allowed[steps - 1] if steps else 0, replace=False, shuffle=False)] = True
            mask.append(row)
        return np.concatenate(mask)

    def smallest(self) -> Architecture:
        return self._architecture(np.zeros(len(self._bounds), dtype=bool))

    def middle(self) -> Architecture:
        """The first half of the heads and of the units of every layer, as in MEDIUM."""
        heads, units = (
            nearest(width // 2, allowed)
            for width, allowed in (
                (self.dimensions.heads, self.head_levels),
                (self.dimensions.units, self.unit_levels),
            )
        )
        heads = heads or (self.head_levels[0] if self.min_layers else 0)
        return Architecture((heads,) * self.dimensions.layers, (units,) * self.dimensions.layers)

    def decode(self, vector: Sequence[int]) -> Architecture:
        values = np.asarray(vector)
        if values.shape != (len(self._bounds),) or not np.isin(values, (0, 1)).all():
            self._checked(vector)  # says which entry is off
        return self._architecture(values.astype(bool))

    def encode(self, architecture: Architecture) -> tuple[int, ...]:
        architecture.check(self.dimensions)
        heads, units = (
            np.array([_row(kept, width) for kept in layers])
            for layers, width in (
                (architecture.heads, self.dimensions.heads),
                (architecture.units, self.dimensions.units),
            )
        )
        vector = np.concatenate((heads.ravel(), units.ravel()))
        if not self._holds(heads, units) and self._architecture(vector) != architecture:
            raise self._stranger(architecture)
        return tuple(vector.astype(int).tolist())

    @property
    def _any_width(self) -> bool:
        """Whether blocks may have any width."""
        return (len(self.head_levels), len(self.unit_levels)) == (self.dimensions.heads, self.dimensions.units)

    def _holds(self, heads: Mask, units: Mask) -> bool:
        """Whether (layers, width) masks are surely a member: any width is allowed, and enough layers have heads."""
        return self._any_width and int(heads.any(axis=1).sum()) >= self.min_layers

    def _architecture(self, mask: Mask) -> Architecture:
        """The member nearest to a mask (entries,), which it leaves as it is."""
        heads, units = self._member(mask)
        return Architecture.from_normal(tuple(map(_kept, heads)), tuple(map(_kept, units)))

    def _member(self, mask: Mask) -> tuple[list[Mask], list[Mask]]:
        """Kept heads and units, layer by layer, of the member nearest to a mask (entries,)."""
        layers, heads_in_all = self.dimensions.layers, self.dimensions.layers * self.dimensions.heads
        heads = [_rounded(row, self.head_levels) for row in mask[:heads_in_all].reshape(layers, -1)]
        missing = self.min_layers - sum(bool(row.any()) for row in heads)
        for row in heads:
            if missing > 0 and not row.any():
                row[: self.head_levels[0]] = True
                missing -= 1
        return heads, [_rounded(row, self.unit_levels) for row in mask[heads_in_all:].reshape(layers, -1)]

    def _checked(self, vector: Sequence[int]) -> tuple[int, ...]:
        values = super()._checked(vector)
        if any(value != entry for value, entry in zip(values, vector, strict=True)):
            raise UsageError(f"space {self.name}: every entry is 0 or 1.")
        return values


def _subsets(width: int, allowed: tuple[int, ...]) -> int:
    """How many subsets of `width` entries have an allowed size, the empty one left out."""
    return 2**width - 1 if len(allowed) == width else sum(comb(width, count) for count in allowed)


def _rounded(row: Mask, allowed: tuple[int, ...]) -> Mask:
    """A copy of a row with an allowed number of kept entries, or none."""
    row = row.copy()
    count = int(row.sum())
    change = nearest(count, allowed) - count if len(allowed) < len(row) else 0
    if change < 0:
        row[np.flatnonzero(row)[change:]] = False
    elif change > 0:
        row[np.flatnonzero(~row)[:change]] = True
    return row


def _kept(row: Mask) -> Kept:
    """What a row keeps, in the normal form of an architecture."""
    found = np.flatnonzero(row)
    count = len(found)
    return count if count == 0 or found[-1] == count - 1 else tuple(found.tolist())


def _row(kept: Kept, width: int) -> Mask:
    row = np.zeros(width, dtype=bool)
    row[slice(kept) if isinstance(kept, int) else list(kept)] = True
    return row
