"""Which networks to measure: the design of the fit, and the networks held out from it.

The design is whole networks, never isolated blocks: a sum of blocks timed alone is off by several percent. Its
corners separate the cost of embeddings and head from that of heads and of units; the rest fills the space evenly.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product

import numpy as np
import numpy.typing as npt

from hwnas.errors import UsageError
from hwnas.spaces import Architecture, Dimensions, Space, get_space

MIN_NETWORKS, MAX_NETWORKS = 6, 30
"""Fewest and most networks of a design."""

_UNIT_STEP = 64  # widths that are not a multiple of a vector's length cost as much as the next multiple
_LEVELS = 7  # values of heads and of units on the grid
_DEPTHS = 6  # values of depth on the grid: every depth is one more export
_POOL = 64  # networks drawn from each space as further candidates
_TRIES = 200  # draws from a space after which it has no further shape to give

Shape = tuple[tuple[int, int], ...]


def draw_holdout(dimensions: Dimensions, spaces: Sequence[str], count: int, *, seed: int = 0) -> list[Architecture]:
    """Networks that the fit never sees, drawn by the spaces' own samplers, in turns, each shape once.

    The ends of each space are not among them, because every design needs those.

    Args:
        dimensions: Sizes of the super-network.
        spaces: Names of the spaces.
        count: How many; fewer come back if the spaces have fewer shapes.
        seed: Seed of the draws.

    Raises:
        UnknownNameError: No such space.
        UsageError: `count` is negative or no space is named.
    """
    if count < 0:
        raise UsageError(f"holdout {count}: expected 0 or more networks.")
    members = _spaces(dimensions, spaces)
    rng = np.random.default_rng([seed, 1])
    seen = {arch.shape for arch in _ends(members)}
    drawn: list[Architecture] = []
    while members and len(drawn) < count:
        for space in tuple(members):
            if len(drawn) == count:
                break
            arch = _fresh(space, rng, seen)
            if arch is None:
                members.remove(space)
            else:
                seen.add(arch.shape)
                drawn.append(arch)
    return drawn


def choose_design(
    dimensions: Dimensions,
    spaces: Sequence[str],
    *,
    max_networks: int = 24,
    exclude: Iterable[Architecture] = (),
    seed: int = 0,
) -> list[Architecture]:
    """At most `max_networks` networks to fit a predictor on, the whole super-network first.

    Both ends of every space come first, then the corners of (layers, heads, units), then whichever candidate is
    farthest from all chosen so far (greedy maximin), over a grid of whole heads and multiples of 64 units and draws
    from the spaces. Only networks that a space holds are chosen.

    Args:
        dimensions: Sizes of the super-network.
        spaces: Names of the spaces to cover.
        max_networks: Most networks.
        exclude: Held-out networks, whose shapes are not chosen.
        seed: Seed of the drawn candidates.

    Raises:
        UnknownNameError: No such space.
        UsageError: `max_networks` is outside `MIN_NETWORKS` to `MAX_NETWORKS`, or no space is named.
    """
    if not MIN_NETWORKS <= max_networks <= MAX_NETWORKS:
        raise UsageError(f"max_networks {max_networks}: expected {MIN_NETWORKS} to {MAX_NETWORKS}.")
    members = _spaces(dimensions, spaces)
    banned = {arch.shape for arch in exclude}
    chosen: dict[Shape, Architecture] = {}
    corners = _reachable(members, product((1, dimensions.layers), (1, dimensions.heads), (1, dimensions.units)))
    for arch in (*_ends(members), *corners):
        if arch.shape and arch.shape not in banned and len(chosen) < max_networks:
            chosen.setdefault(arch.shape, arch)
    pool = {arch.shape: arch for arch in _candidates(members, dimensions, np.random.default_rng([seed, 2]))}
    for shape in (*banned, *chosen, ()):
        pool.pop(shape, None)
    candidates = list(pool.values())
    if not candidates:
        return list(chosen.values())
    points = np.array([_point(arch, dimensions) for arch in candidates])
    nearest = np.full(len(candidates), np.inf)
    for arch in chosen.values():
        nearest = np.minimum(nearest, _distance(points, _point(arch, dimensions)))
    while len(chosen) < max_networks and nearest.max() > 0:
        index = int(nearest.argmax())
        chosen[candidates[index].shape] = candidates[index]
        nearest = np.minimum(nearest, _distance(points, points[index]))
    return list(chosen.values())


def _spaces(dimensions: Dimensions, names: Sequence[str]) -> list[Space]:
    if not names:
        raise UsageError("no search space to profile for; name at least one, such as 'small'.")
    return [get_space(name, dimensions) for name in dict.fromkeys(names)]


def _ends(members: Sequence[Space]) -> list[Architecture]:
    return [members[0].largest(), *(space.smallest() for space in members)]


def _fresh(space: Space, rng: np.random.Generator, seen: set[Shape]) -> Architecture | None:
    """A draw whose shape is new, or None if the space seems to have none left."""
    for _ in range(_TRIES):
        arch = space.sample(rng)
        if arch.shape and arch.shape not in seen:
            return arch
    return None


def _reachable(members: Sequence[Space], triples: Iterable[tuple[int, int, int]]) -> list[Architecture]:
    """Of the networks with equal layers, given as (layers, heads, units), those that some space holds."""
    found = []
    for layers, heads, units in triples:
        dropped = members[0].dimensions.layers - layers
        arch = Architecture((heads,) * layers + (0,) * dropped, (units,) * layers + (0,) * dropped)
        if any(arch in space for space in members):
            found.append(arch)
    return found


def _levels(largest: int, step: int, count: int) -> list[int]:
    """1, `largest`, and multiples of `step` between, evenly spread, `count` values in all at most."""
    values = {1, largest}
    for position in np.linspace(0, largest, count)[1:-1]:
        value = max(1, round(float(position) / step)) * step
        if value < largest:
            values.add(value)
    return sorted(values)


def _candidates(members: Sequence[Space], dimensions: Dimensions, rng: np.random.Generator) -> list[Architecture]:
    step = _UNIT_STEP if dimensions.units >= 4 * _UNIT_STEP else max(1, dimensions.units // 8)
    grid = product(
        sorted({round(depth) for depth in np.linspace(1, dimensions.layers, _DEPTHS).tolist()}),
        _levels(dimensions.heads, 1, _LEVELS),
        _levels(dimensions.units, step, _LEVELS),
    )
    found = _reachable(members, grid)
    for space in members:
        drawn = (space.sample(rng) for _ in range(_POOL))
        # Equal layers are covered by the grid; what is drawn off it would only cost exact widths.
        found.extend(arch for arch in drawn if len(set(arch.shape)) > 1)
    return found


def _point(arch: Architecture, dimensions: Dimensions) -> npt.NDArray[np.float64]:
    """Depth, mean heads and mean units of the remaining layers, each as a share of the most there can be."""
    heads, units = np.array(arch.shape, dtype=np.float64).mean(axis=0)
    return np.array([len(arch.shape) / dimensions.layers, heads / dimensions.heads, units / dimensions.units])


def _distance(points: npt.NDArray[np.float64], point: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Euclidean distances, shape (n,), of points (n, 3) to one point (3,)."""
    return np.asarray(np.sqrt(((points - point) ** 2).sum(axis=1)), dtype=np.float64)
