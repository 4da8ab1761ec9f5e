"""Statistics of the paper's figures, in numpy: all objectives are minimised."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hwnas.search.hypervolume import hypervolume

Array = NDArray[np.float64]

REFERENCE = (2.0, 2.0)
"""Reference point after the normalisation, which maps every objective into [0, 1]."""

BOOTSTRAP = 1000
"""Bootstrap samples of the average ranks."""


def quantile_normalise(runs: Sequence[Array]) -> list[Array]:
    """Map every objective to its quantile among all runs together, so that it is spread evenly over [0, 1].

    A value becomes (rank - 1) / (n - 1) among the n values of its objective in all runs. Equal values share the mean
    of their ranks, but the smallest value is 0 and the largest 1. If all are equal they are 0. This is what
    scikit-learn's `QuantileTransformer`, which the authors use, gives with a quantile for every value.

    Args:
        runs: Points of each run, (points, objectives); of all methods and seeds of one task.

    Returns:
        The same points, normalised.
    """
    pooled = np.concatenate(list(runs))
    return np.split(quantiles_among(pooled, pooled), np.cumsum([len(run) for run in runs])[:-1])


def quantiles_among(points: Array, pooled: Array) -> Array:
    """The quantiles of points among others, to which they belong, as in `quantile_normalise`.

    Args:
        points: (points, objectives).
        pooled: (all, objectives); each value of `points` is one of its objective's values here.

    Returns:
        (points, objectives), in [0, 1].
    """
    normal = np.empty(points.shape)
    for column in range(points.shape[1]):
        values, known = points[:, column], np.sort(pooled[:, column])
        first = np.searchsorted(known, values, side="left")
        after = np.searchsorted(known, values, side="right")
        ranks = (first + after - 1) / 2 / max(1, len(known) - 1)
        ranks[values == known[-1]] = 1.0
        ranks[values == known[0]] = 0.0
        normal[:, column] = ranks
    return normal


def anytime_hypervolume(points: Array) -> Array:
    """Hypervolume of the first 1, 2, ... points of a run.

    Args:
        points: (n, 2), normalised, in the order in which they came.

    Returns:
        (n,), never falling, at most 4.
    """
    found, best = np.empty(len(points)), 0.0
    front: list[tuple[float, float]] = []
    for index, (x, y) in enumerate(points.tolist()):
        if not any(a <= x and b <= y for a, b in front):
            front = [(a, b) for a, b in front if not (x <= a and y <= b)] + [(x, y)]
            best = float(hypervolume(front, REFERENCE))
        found[index] = best
    return found


def at_times(values: Array, times: Array, grid: Array) -> Array:
    """What a run had reached by each time of a grid.

    Args:
        values: (n,), what it had reached after each evaluation.
        times: (n,), when each evaluation ended, in seconds or in evaluations, rising.
        grid: (m,), in the same unit.

    Returns:
        (m,); 0 before the first evaluation ended.
    """
    last = np.searchsorted(times, grid, side="right") - 1
    found: Array = np.where(last >= 0, values[last], 0.0)
    return found


def common_grid(times: Sequence[Array], points: int = 100) -> Array:
    """Times at which all runs have a result: evenly from the latest first result to the latest last one.

    Args:
        times: For each run, when its evaluations ended, in seconds.
        points: Length of the grid.
    """
    return np.linspace(max(run[0] for run in times), max(run[-1] for run in times), points)


def regret(hypervolumes: Array, best: float) -> Array:
    """How much hypervolume is missing to the best: that of all points of all methods and seeds together.

    Args:
        hypervolumes: Any shape.
        best: From `best_hypervolume`.
    """
    found: Array = best - hypervolumes
    return found


def best_hypervolume(runs: Sequence[Array]) -> float:
    """Hypervolume of all normalised points of all runs together."""
    return float(hypervolume(np.concatenate(list(runs)), REFERENCE))


def ranks(values: Array) -> Array:
    """Ranks along the first axis, from 1 for the smallest; equal values share the mean of their ranks."""
    lower = (values[None] < values[:, None]).sum(axis=1)
    equal = (values[None] == values[:, None]).sum(axis=1)
    found: Array = lower + (equal + 1) / 2
    return found


def average_ranks(regrets: Sequence[Array], *, samples: int = BOOTSTRAP, seed: int = 0) -> Array:
    """Average ranks of methods over tasks and bootstrap samples.

    In each sample one run of every method is drawn, with replacement over samples, and the methods are ranked at every
    step; 1 is the best.

    Args:
        regrets: For each task (methods, runs, steps), smaller is better.
        samples: Samples for each task.
        seed: Seed of the draws.

    Returns:
        (methods, steps).

    Source: compute_ranks.py of the authors' code, there without a seed.
    """
    rng = np.random.default_rng(seed)
    means = []
    for of_task in regrets:
        methods, runs, _ = of_task.shape
        drawn = rng.integers(runs, size=(samples, methods))
        total = np.zeros((methods, of_task.shape[2]))
        choices, counts = np.unique(drawn, axis=0, return_counts=True)
        for choice, count in zip(choices, counts, strict=True):
            total += count * ranks(of_task[np.arange(methods), choice])
        means.append(total / samples)
    mean: Array = np.mean(means, axis=0)
    return mean


def best_below(parameters: Array, errors: Array, limits: Array) -> list[int | None]:
    """For each limit the sub-network with the smallest error of those with fewer parameters, the smaller of equals.

    Args:
        parameters: (n,).
        errors: (n,), validation errors.
        limits: (m,), parameters.

    Returns:
        An index for each limit, None where nothing is smaller.
    """
    order = np.lexsort((parameters, errors))
    found: list[int | None] = []
    for limit in limits:
        below = [int(index) for index in order if parameters[index] < limit]
        found.append(below[0] if below else None)
    return found
