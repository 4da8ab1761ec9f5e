"""SMALL: one number of heads, one of units, one of layers (Klein et al. 2024, section 3.3, algorithm 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hwnas.errors import UsageError
from hwnas.spaces.architecture import Architecture
from hwnas.spaces.base import Space


class SmallSpace(Space):
    """Keeps the first l layers, and in each of them the first h heads and the first u units.

    The encoding is (layers, heads, units), each drawn uniformly and independently.
    """

    name = "small"

    @property
    def bounds(self) -> Mapping[str, tuple[int, int]]:
        return {
            "layers": (self.min_layers, self.dimensions.layers),
            "heads": (1, self.dimensions.heads),
            "units": (1, self.dimensions.units),
        }

    @property
    def size(self) -> int:
        """All (l, h, u) with l > 0, and the network without layers once if `min_layers` is 0."""
        layers = self.dimensions.layers - max(self.min_layers, 1) + 1
        return layers * self.dimensions.heads * self.dimensions.units + (1 if self.min_layers == 0 else 0)

    def sample(self, rng: np.random.Generator) -> Architecture:
        return self.decode([int(rng.integers(low, high + 1)) for low, high in self.bounds.values()])

    def smallest(self) -> Architecture:
        return self.decode([low for low, _ in self.bounds.values()])

    def decode(self, vector: Sequence[int]) -> Architecture:
        layers, heads, units = self._checked(vector)
        dropped = self.dimensions.layers - layers
        return Architecture((heads,) * layers + (0,) * dropped, (units,) * layers + (0,) * dropped)

    def encode(self, architecture: Architecture) -> tuple[int, ...]:
        architecture.check(self.dimensions)
        layers = len(architecture.kept_layers)
        vector = (layers, architecture.head_counts[0], architecture.unit_counts[0]) if layers else (0, 1, 1)
        try:
            if self.decode(vector) == architecture:
                return vector
        except UsageError:
            pass
        raise UsageError(f"{architecture} is not in the space small.")
