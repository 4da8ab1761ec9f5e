"""Encodings of architectures as arrays: what a model sees of them, and how they are changed.

Most spaces have an entry for each choice. LARGE has one for each head and unit, thousands: changing one of them changes
nothing that could be measured. Its blocks, the heads or the units of a layer, are what is modelled and changed there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.search.archive import Values
from hwnas.spaces import Space
from hwnas.spaces.blocks import blocks

Vectors = NDArray[np.integer[Any]]
"""Encodings of architectures, (n, entries)."""


def vector_type(space: Space) -> np.dtype[Any]:
    """The smallest type that holds the entries of an encoding."""
    return np.min_scalar_type(max(high for _, high in space.bounds.values()))


def features(space: Space) -> Callable[[Vectors], Values]:
    """What a model sees of encodings (n, entries), in [0, 1]: entries, or the shares kept in blocks; (n, features)."""
    if parts := blocks(space):
        starts = [part[0] for part in parts]
        sizes = np.array([len(part) for part in parts], dtype=np.float64)
        counts = np.min_scalar_type(max(len(part) for part in parts))  # small types are added up faster
        return lambda vectors: np.add.reduceat(vectors, starts, axis=1, dtype=counts) / sizes
    bounds = np.array(list(space.bounds.values()), dtype=np.float64)
    low, span = bounds[:, 0], np.maximum(bounds[:, 1] - bounds[:, 0], 1.0)
    return lambda vectors: (vectors.astype(np.float64) - low) / span


def mutants(space: Space) -> Callable[[Vectors, int, np.random.Generator], Vectors]:
    """Draws encodings that differ from one of some in one entry or a few, by a value nearby or any, at equal chances.

    Few are as likely as many on a logarithmic scale, up to a tenth of all entries, at least 2. They have the type of
    the ones given.
    """
    bounds = np.array(list(space.bounds.values()))
    free = np.flatnonzero(bounds[:, 0] < bounds[:, 1])
    most = min(len(free), max(2, len(free) // 10))

    def draw(parents: Vectors, count: int, rng: np.random.Generator) -> Vectors:
        children = parents[rng.integers(len(parents), size=count)]
        changes = np.exp(rng.uniform(0.0, np.log(most + 1), size=count)).astype(np.int64)
        rows = np.repeat(np.arange(count), changes)
        entries = free[rng.integers(len(free), size=len(rows))]
        low, high = bounds[entries, 0], bounds[entries, 1]
        steps = np.maximum(1, np.abs(rng.normal(scale=0.1 * (high - low)))).round().astype(np.int64)
        nearby = children[rows, entries].astype(np.int64) + steps * rng.choice([-1, 1], size=len(rows))
        values = np.where((rng.random(count) < 0.5)[rows], nearby, rng.integers(low, high + 1))
        children[rows, entries] = np.clip(values, low, high)
        return children

    return draw


def neighbours(space: Space) -> Callable[[Vectors, int, int, np.random.Generator], Vectors]:
    """All encodings that differ from one of some in one entry, or some of them where there are many.

    The function takes the encodings, (n, entries), the most neighbours that all are given of, how many are drawn
    otherwise, by a random entry and another value of it, and a source of draws. Some may be given twice, some may be
    those that it takes. They have the type of the ones given.
    """
    bounds = np.array(list(space.bounds.values()))
    free = np.flatnonzero(bounds[:, 0] < bounds[:, 1])
    entries = np.repeat(free, bounds[free, 1] - bounds[free, 0] + 1)
    values = np.concatenate([np.arange(low, high + 1) for low, high in bounds[free]])

    def give(parents: Vectors, most: int, count: int, rng: np.random.Generator) -> Vectors:
        if len(parents) * len(entries) <= most:
            children = np.repeat(parents, len(entries), axis=0)
            children[np.arange(len(children)), np.tile(entries, len(parents))] = np.tile(values, len(parents))
            return children
        children, chosen = parents[rng.integers(len(parents), size=count)], free[rng.integers(len(free), size=count)]
        found = rng.integers(bounds[chosen, 0], bounds[chosen, 1])  # one of the others, which are one fewer
        at = np.arange(count), chosen
        children[at] = found + (found >= children[at])
        return children

    return give


def neighbour(space: Space) -> Callable[[Vectors, np.random.Generator], NDArray[np.int64]]:
    """Draws an encoding that has another value in one dimension, uniformly.

    A dimension is an entry; in LARGE the number that is kept in a block, of which random ones come or go.
    """
    bounds = np.array(list(space.bounds.values()))
    free = np.flatnonzero(bounds[:, 0] < bounds[:, 1])
    parts = blocks(space)

    def draw(vector: Vectors, rng: np.random.Generator) -> NDArray[np.int64]:
        changed = vector.astype(np.int64)
        if not parts:
            entry = free[int(rng.integers(len(free)))]
            value = int(rng.integers(*bounds[entry]))  # one of the others, which are one fewer
            changed[entry] = value + (value >= changed[entry])
            return changed
        part = parts[int(rng.integers(len(parts)))]
        kept, left = part[changed[part] == 1], part[changed[part] == 0]
        count = int(rng.integers(len(part)))
        count += count >= len(kept)
        pool = left if count > len(kept) else kept
        changed[rng.choice(pool, size=abs(count - len(kept)), replace=False)] ^= 1
        return changed

    return draw
