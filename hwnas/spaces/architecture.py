"""What a sub-network keeps of its super-network: per layer, which heads and which feed-forward units.

Source: Klein et al. 2024, section 3.2: a sub-network is a pair of binary masks over heads and units. Here the masks
are stored as what they keep, so that an `Architecture` is small, hashable and has one JSON form.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hwnas.errors import UsageError
from hwnas.models.dimensions import Dimensions

Kept = int | tuple[int, ...]
"""Heads or units that one layer keeps: an int n is the first n, a tuple names indices in rising order."""


def normalise(kept: int | Iterable[int]) -> Kept:
    """The one form of a choice: sorted, and an int where it is a prefix.

    Raises:
        UsageError: A negative or repeated index.
    """
    if isinstance(kept, int):
        if kept < 0:
            raise UsageError(f"cannot keep {kept} heads or units; expected 0 or more.")
        return kept
    indices = tuple(sorted(map(int, kept)))
    if not indices:
        return 0
    if indices[0] < 0 or len(set(indices)) != len(indices):
        raise UsageError("kept heads and units must be distinct indices from 0 on.")
    return len(indices) if indices[-1] == len(indices) - 1 else indices


def count(kept: Kept) -> int:
    """How many heads or units a choice keeps."""
    return kept if isinstance(kept, int) else len(kept)


def indices(kept: Kept) -> tuple[int, ...]:
    """The kept indices in rising order."""
    return tuple(range(kept)) if isinstance(kept, int) else kept


@dataclass(frozen=True)
class Architecture:
    """One sub-network: what each layer of the super-network keeps.

    A block with nothing left (0 heads, or 0 units) is removed whole, its residual connection and LayerNorm included;
    a layer with neither is dropped.

    Attributes:
        heads: Kept heads, one entry per layer of the super-network.
        units: Kept feed-forward units, one entry per layer of the super-network.

    Raises:
        UsageError: The two have different lengths, or an index is negative or repeated.
    """

    heads: tuple[Kept, ...]
    units: tuple[Kept, ...]

    def __post_init__(self) -> None:
        if len(self.heads) != len(self.units):
            raise UsageError(f"{len(self.heads)} layers of heads but {len(self.units)} layers of units.")
        object.__setattr__(self, "heads", tuple(normalise(kept) for kept in self.heads))
        object.__setattr__(self, "units", tuple(normalise(kept) for kept in self.units))

    @classmethod
    def full(cls, dimensions: Dimensions) -> Architecture:
        """The whole super-network."""
        return cls((dimensions.heads,) * dimensions.layers, (dimensions.units,) * dimensions.layers)

    @classmethod
    def from_normal(cls, heads: tuple[Kept, ...], units: tuple[Kept, ...]) -> Architecture:
        """One of choices that are in their normal form already and as many as layers, which is not checked.

        What is kept by index can be thousands of numbers; to look at each takes most of the time of a draw.
        """
        new = object.__new__(cls)
        object.__setattr__(new, "heads", heads)
        object.__setattr__(new, "units", units)
        return new

    @property
    def head_counts(self) -> tuple[int, ...]:
        """Number of heads kept, per layer of the super-network."""
        return tuple(count(kept) for kept in self.heads)

    @property
    def unit_counts(self) -> tuple[int, ...]:
        """Number of units kept, per layer of the super-network."""
        return tuple(count(kept) for kept in self.units)

    @property
    def kept_layers(self) -> tuple[int, ...]:
        """Indices of the layers of which something is left."""
        return tuple(i for i, pair in enumerate(zip(self.head_counts, self.unit_counts, strict=True)) if any(pair))

    @property
    def shape(self) -> tuple[tuple[int, int], ...]:
        """(heads, units) of the layers that remain: all that a latency depends on."""
        return tuple((self.head_counts[i], self.unit_counts[i]) for i in self.kept_layers)

    def check(self, dimensions: Dimensions) -> None:
        """Raise UsageError if this architecture does not fit a super-network of these dimensions."""
        if len(self.heads) != dimensions.layers:
            raise UsageError(
                f"the architecture has {len(self.heads)} layers but the model {dimensions.layers}; it belongs to "
                "another model."
            )
        for name, layers, width in (("heads", self.heads, dimensions.heads), ("units", self.units, dimensions.units)):
            for kept in layers:
                largest = kept if isinstance(kept, int) else kept[-1] + 1
                if largest > width:
                    raise UsageError(
                        f"the architecture wants {name} up to {largest} but the model has {width} per layer; it "
                        "belongs to another model."
                    )

    def to_json(self, *, masks: bool = False) -> dict[str, Any]:
        """JSON types; `from_json` inverts it.

        Args:
            masks: Write what is no prefix as a mask in hexadecimal digits, whose lowest bit is index 0, and not as a
                list: thousands of units in a tenth of the room.
        """

        def said(kept: Kept) -> int | str | list[int]:
            if isinstance(kept, int):
                return kept
            return hex(sum(1 << index for index in kept)) if masks else list(kept)

        return {"heads": [said(kept) for kept in self.heads], "units": [said(kept) for kept in self.units]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Architecture:
        """Inverse of `to_json`; UsageError if `data` is not an architecture."""
        try:
            heads, units = (tuple(_read(kept) for kept in data[key]) for key in ("heads", "units"))
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"not an architecture: expected lists 'heads' and 'units' ({error}).") from error
        return cls(heads, units)

    def __str__(self) -> str:
        """Short text, equal layers folded: ``4 x (6 heads, 512 units)``."""
        if not self.shape:
            return "no layers"
        parts: list[tuple[int, tuple[int, int]]] = []
        for pair in self.shape:
            if parts and parts[-1][1] == pair:
                parts[-1] = (parts[-1][0] + 1, pair)
            else:
                parts.append((1, pair))
        return " + ".join(
            f"{times} x ({heads} head{'s' * (heads != 1)}, {units} unit{'s' * (units != 1)})"
            for times, (heads, units) in parts
        )


def _read(kept: Any) -> Kept:
    """One layer's choice out of JSON: a number, a list, or a mask in hexadecimal digits."""
    if isinstance(kept, int):
        return kept
    if not isinstance(kept, str):
        return tuple(kept)
    if not re.fullmatch("0x[0-9a-f]+", kept):
        raise ValueError(f"{kept!r} is no mask, such as 0x2b")
    bits = bin(int(kept, 16))[:1:-1]
    return tuple(index for index, bit in enumerate(bits) if bit == "1")
