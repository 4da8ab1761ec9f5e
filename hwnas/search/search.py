"""The search: ask, evaluate on shared weights, tell, until the evaluations are spent."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from hwnas.errors import UsageError
from hwnas.search.cache import EvaluationCache
from hwnas.search.objectives import Objective
from hwnas.search.pareto import non_dominated
from hwnas.search.searcher import Searcher
from hwnas.spaces import Architecture

Progress = Callable[[int, int, str], None]
"""Called with (evaluations done, evaluations in all, short text)."""

VALIDATION = "validation"
"""Name of the split that searches see."""


@dataclass(frozen=True)
class Point:
    """One evaluated sub-network.

    Attributes:
        architecture: The sub-network.
        error: Validation error on the shared weights.
        cost: Value of the objective, in its unit.
    """

    architecture: Architecture
    error: float
    cost: float


def search_points(
    searcher: Searcher,
    objective: Objective,
    evaluate: Callable[[Architecture], float],
    cache: EvaluationCache,
    *,
    evaluations: int,
    progress: Progress | None = None,
) -> list[Point]:
    """Spend a number of evaluations.

    A search that was killed goes on where it was: the same searcher with the same seed proposes the same
    architectures, and those that the cache holds cost nothing.

    Args:
        searcher: A new searcher of two objectives.
        objective: The cost.
        evaluate: Validation error of a sub-network.
        cache: Where errors are kept.
        evaluations: Number of proposals; at least 3, the start designs.
        progress: Called after each.

    Returns:
        The different architectures, in the order in which they came.
    """
    if evaluations < 3:
        raise UsageError(f"--evaluations {evaluations}: expected 3 or more, the start designs.")
    points: dict[Architecture, Point] = {}
    for done in range(1, evaluations + 1):
        trial = searcher.ask()
        arch = trial.architecture
        error = cache.get(VALIDATION, arch)
        if error is None:
            start = time.perf_counter()
            error = evaluate(arch)
            cache.put(VALIDATION, arch, error, time.perf_counter() - start)
        point = points.setdefault(arch, Point(arch, error, objective(arch)))
        searcher.tell(trial.number, (point.error, point.cost))
        if progress is not None:
            progress(done, evaluations, f"{len(front_of(list(points.values())))} on the front")
    return list(points.values())


def front_of(points: list[Point]) -> list[Point]:
    """The points that no other dominates, by rising cost."""
    chosen = non_dominated([(point.cost, point.error) for point in points])
    return sorted((point for point, on in zip(points, chosen, strict=True) if on), key=lambda point: point.cost)
