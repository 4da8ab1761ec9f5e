"""Pareto fronts of points whose objectives are all minimised."""

from __future__ import annotations

from collections.abc import Sequence

import moocore
import numpy as np
from numpy.typing import NDArray


def non_dominated(points: Sequence[Sequence[float]] | NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points no other point dominates.

    Args:
        points: (n, objectives), all minimised. A point with a NaN is never on the front.

    Returns:
        (n,), True on the front. Of equal points the first is.
    """
    values = np.asarray(points, dtype=np.float64)
    front = np.zeros(len(values), dtype=np.bool_)
    valid = ~np.isnan(values).any(axis=1) if len(values) else front
    if valid.any():
        front[valid] = moocore.is_nondominated(values[valid])
    return front


def thin(points: Sequence[Sequence[float]] | NDArray[np.float64], keep: int) -> list[int]:
    """Choose points of a two-dimensional front that cover it, both ends among them.

    The point whose neighbours are closest together, both objectives scaled to the front's range, goes first
    (crowding distance, Deb et al. 2002), until `keep` are left.

    Args:
        points: (n, 2), non-dominated.
        keep: Number to keep, at least 2.

    Returns:
        Indices of those kept, by rising first objective.
    """
    values = np.asarray(points, dtype=np.float64)
    order = [int(index) for index in np.argsort(values[:, 0], kind="stable")]
    span = np.ptp(values, axis=0)
    scaled = values / np.where(span > 0, span, 1.0)
    while len(order) > max(2, keep):
        gaps = [np.abs(scaled[order[i + 1]] - scaled[order[i - 1]]).sum() for i in range(1, len(order) - 1)]
        del order[1 + int(np.argmin(gaps))]
    return order
