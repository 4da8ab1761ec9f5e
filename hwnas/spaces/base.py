"""What every search space answers: its extremes, its size, how to draw from it, and its encoding as integers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import UsageError
from hwnas.models.dimensions import Dimensions
from hwnas.spaces.align import ANY, Align, levels
from hwnas.spaces.architecture import Architecture


class Space(ABC):
    """A set of architectures over one super-network, encoded as a vector of bounded integers.

    Args:
        dimensions: Sizes of the super-network.
        min_layers: Fewest layers that keep attention in a member, with or without their feed-forward block. With 0
            the space also holds networks without any attention, whose classification token has seen no other token.
        align: Steps of heads and of units. A member's widths are multiples of these, or full. Entries of the
            encoding that are widths then count the allowed widths.

    Attributes:
        head_levels, unit_levels: The allowed widths of a block that is left, rising.

    Raises:
        UsageError: `min_layers` is negative or more than there are layers, or a step is below 1.
    """

    name: str

    def __init__(self, dimensions: Dimensions, *, min_layers: int = 1, align: Align = ANY) -> None:
        if not 0 <= min_layers <= dimensions.layers:
            raise UsageError(f"min_layers {min_layers}: expected 0 to {dimensions.layers}, the layers of the model.")
        self.dimensions = dimensions
        self.min_layers = min_layers
        self.align = align
        self.head_levels, self.unit_levels = levels(dimensions.heads, align[0]), levels(dimensions.units, align[1])

    @property
    @abstractmethod
    def bounds(self) -> Mapping[str, tuple[int, int]]:
        """Name and (lowest, highest) value of each entry of the encoding, in order; both ends are included."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of different architectures."""

    @abstractmethod
    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draw one architecture as the paper does."""

    def sample_vector(self, rng: np.random.Generator) -> NDArray[np.integer[Any]]:
        """The encoding of what `sample` draws, (entries,); cheaper in a space of thousands of entries."""
        return np.array(self.encode(self.sample(rng)))

    @abstractmethod
    def decode(self, vector: Sequence[int]) -> Architecture:
        """The architecture of a vector; every vector within `bounds` has one. UsageError if it is outside."""

    @abstractmethod
    def encode(self, architecture: Architecture) -> tuple[int, ...]:
        """The vector of an architecture; UsageError if it is not in the space."""

    def largest(self) -> Architecture:
        """The upper end, in most spaces the whole super-network."""
        return Architecture.full(self.dimensions)

    @abstractmethod
    def smallest(self) -> Architecture:
        """The lower end."""

    def middle(self) -> Architecture:
        """The middle of every range of the encoding."""
        return self.decode([(low + high) // 2 for low, high in self.bounds.values()])

    def to_json(self) -> dict[str, Any]:
        """JSON types; `hwnas.spaces.space_from_json` makes the space again."""
        return {"name": self.name, "min_layers": self.min_layers, "align": list(self.align)}

    def start_designs(self) -> tuple[Architecture, Architecture, Architecture]:
        """Upper end, lower end and middle: where every search of the paper starts."""
        return self.largest(), self.smallest(), self.middle()

    def __contains__(self, architecture: object) -> bool:
        if not isinstance(architecture, Architecture):
            return False
        try:
            self.encode(architecture)
        except UsageError:
            return False
        return True

    def _stranger(self, architecture: Architecture) -> UsageError:
        return UsageError(f"{architecture} is not in the space {self.name}.")

    def _checked(self, vector: Sequence[int]) -> tuple[int, ...]:
        """The vector as ints; UsageError if its length or a value is off."""
        values = tuple(int(value) for value in vector)
        if len(values) != len(self.bounds):
            raise UsageError(f"space {self.name}: a vector has {len(self.bounds)} entries, got {len(values)}.")
        for value, (name, (low, high)) in zip(values, self.bounds.items(), strict=True):
            if not low <= value <= high:
                raise UsageError(f"space {self.name}: {name} is {value}, expected {low} to {high}.")
        return values
