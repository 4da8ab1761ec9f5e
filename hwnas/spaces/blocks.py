"""What counts in LARGE: how much of the heads, or of the units, a layer keeps."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from hwnas.spaces.base import Space

_ENTRIES = 64
"""Encodings of one entry a head and unit with more entries than this are seen as blocks."""


def blocks(space: Space) -> list[NDArray[np.int64]]:
    """Entries of each block of LARGE, heads layer by layer and then units; none for other spaces."""
    layers, heads, units = space.dimensions.layers, space.dimensions.heads, space.dimensions.units
    if len(space.bounds) <= _ENTRIES or len(space.bounds) != layers * (heads + units):
        return []
    starts = np.cumsum([0, *[heads] * layers, *[units] * layers])
    return [np.arange(start, end) for start, end in pairwise(starts)]
