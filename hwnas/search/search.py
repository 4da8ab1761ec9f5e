"""The search: ask, evaluate on shared weights, tell, until the evaluations are spent."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from hwnas.errors import ProfilerError, UsageError
from hwnas.search.cache import EvaluationCache
from hwnas.search.objectives import Objective
from hwnas.search.pareto import non_dominated
from hwnas.search.patience import NO_FAILURE, PATIENCE, PATIENCE_AT_FIRST
from hwnas.search.searcher import Searcher
from hwnas.search.steering import Steered
from hwnas.spaces import Architecture

Progress = Callable[[int, int, str], None]
"""Called with (evaluations done, evaluations in all, short text)."""

VALIDATION = "validation"
"""Name of the split that searches see."""


FLOAT32 = "fp32"
"""The precision that views in the shared weights are judged in."""


@dataclass(frozen=True)
class Point:
    """One sub-network in one precision.

    Attributes:
        architecture: The sub-network.
        error: Validation error.
        cost: Value of the objective, in its unit.
        precision: Precision of the network that the cost is of.
        stand_in: Whether the error is that of the float32 view, standing in for the network in its own precision.
    """

    architecture: Architecture
    error: float
    cost: float
    precision: str = FLOAT32
    stand_in: bool = False


def search_points(
    searcher: Searcher,
    objectives: Objective | Mapping[str, Objective],
    evaluate: Callable[[Architecture], float],
    cache: EvaluationCache,
    *,
    evaluations: int,
    quantised: Callable[[str], bool] = lambda precision: precision != FLOAT32,
    progress: Progress | None = None,
) -> list[Point]:
    """Spend a number of evaluations.

    A search that was killed goes on where it was: the same searcher with the same seed proposes the same
    architectures, and those that the cache holds cost nothing. With several precisions each architecture gives a point
    in each of them, and the searcher is told the lowest cost. The search ends early when the whole space was proposed,
    or no other network within limits is found.

    An evaluation that fails, or whose error or cost is no finite number, costs its proposal: the searcher is told, the
    progress says how many there were, and the cache keeps no such error, so that another run tries again. If the first
    three fail, or ten in a row, the last failure is raised.

    Args:
        searcher: A new searcher of two objectives.
        objectives: The cost; or one for each precision.
        evaluate: Validation error of a sub-network as a float32 view.
        cache: Where errors are kept.
        evaluations: Most proposals; at least 3, the start designs.
        quantised: Whether a network in a precision has an error of its own, for which the view's only stands in.
        progress: Called after each.

    Returns:
        The architectures evaluated, in the order in which they came, each in every precision.

    Raises:
        UsageError: Fewer than 3 evaluations, or a space in which every architecture failed.
        RunFolderError: An error cannot be kept; those before it are.
        Exception: What the evaluation raised when too many failed.
    """
    if evaluations < 3:
        raise UsageError(f"--evaluations {evaluations}: expected 3 or more, the start designs.")
    costs = objectives if isinstance(objectives, Mapping) else {FLOAT32: objectives}
    points: dict[Architecture, list[Point]] = {}
    failed = in_a_row = 0
    for done in range(1, evaluations + 1):
        trial = searcher.ask()
        if trial is None:
            if progress is not None:
                spent = isinstance(searcher, Steered) and searcher.gave_up
                why = "found no other network within the limits" if spent else "the whole space"
                progress(done - 1, done - 1, f"{_summary(searcher, points, failed)}, {why}")
            break
        try:
            twins = _evaluated(trial.architecture, costs, evaluate, cache, quantised)
        except NO_FAILURE:
            raise
        except Exception:  # whatever an architecture may lead to; the next one may do
            failed, in_a_row = failed + 1, in_a_row + 1
            if in_a_row == (PATIENCE if points else PATIENCE_AT_FIRST):
                raise
            searcher.tell(trial.number, None)
        else:
            in_a_row = 0
            points[trial.architecture] = twins
            searcher.tell(trial.number, (twins[0].error, min(point.cost for point in twins)))
        if progress is not None:
            progress(done, evaluations, _summary(searcher, points, failed))
    if not points:
        raise UsageError(f"all of the {failed} architectures of the space failed; there is no front.")
    return _flat(points)


def _evaluated(
    arch: Architecture,
    costs: Mapping[str, Objective],
    evaluate: Callable[[Architecture], float],
    cache: EvaluationCache,
    quantised: Callable[[str], bool],
) -> list[Point]:
    """The points of an architecture; UsageError if its error or a cost is not finite."""
    error = cache.get(VALIDATION, arch)
    if error is None:
        start = time.perf_counter()
        error = evaluate(arch)
        if math.isfinite(error):
            cache.put(VALIDATION, arch, error, time.perf_counter() - start)
    twins = [Point(arch, error, cost(arch), precision, quantised(precision)) for precision, cost in costs.items()]
    for point in twins:
        if not (math.isfinite(point.error) and math.isfinite(point.cost)):
            raise UsageError(f"{arch}: error {point.error} and cost {point.cost}, expected finite numbers.")
    return twins


def _summary(searcher: Searcher, points: Mapping[Architecture, list[Point]], failed: int) -> str:
    """How far a search is. A point has one cost; where there are several, the searcher knows them."""
    count = searcher.on_front if isinstance(searcher, Steered) else len(front_of(_flat(points)))
    text = f"{count} on the front"
    return f"{text}, {failed} failed" if failed else text


def settle(
    points: list[Point],
    evaluate: Callable[[Point], float],
    *,
    always: Callable[[Point], bool] = lambda point: False,
    front: Callable[[list[Point]], list[Point]] | None = None,
    refused: Callable[[Point, ProfilerError], None] | None = None,
    progress: Progress | None = None,
) -> list[Point]:
    """Find the true errors of the points on the front, until none there is a stand-in.

    A point off the front keeps its stand-in: quantising seldom makes an error smaller, so what a float network does not
    reach, its quantised twin hardly does.

    Args:
        points: From `search_points`.
        evaluate: Validation error of a point in its own precision.
        always: Points whose true errors are wanted wherever they are.
        front: Which points are on the front; None for `front_of`, that of error and cost.
        refused: Told of points that the runtime refuses in their precision, which are left out then; None raises.
        progress: Called before each evaluation.

    Returns:
        The points in their order, with the errors found.

    Raises:
        ProfilerError: The runtime refuses a point, and `refused` is None or its error is wanted always.
    """
    settled, done = list(points), 0
    while True:
        on_front = {id(point) for point in (front or front_of)(settled)}
        waiting = [
            index for index, point in enumerate(settled) if point.stand_in and (id(point) in on_front or always(point))
        ]
        if not waiting:
            return settled
        index = min(waiting, key=lambda index: settled[index].cost)
        point = settled[index]
        if progress is not None:
            progress(done, done + len(waiting), f"{point.precision}: {point.architecture}")
        done += 1
        try:
            settled[index] = replace(point, error=evaluate(point), stand_in=False)
        except ProfilerError as failure:
            if refused is None or always(point):
                raise
            refused(point, failure)
            del settled[index]


def front_of(points: list[Point]) -> list[Point]:
    """The points that no other dominates, by rising cost."""
    chosen = non_dominated([(point.cost, point.error) for point in points])
    return sorted((point for point, on in zip(points, chosen, strict=True) if on), key=lambda point: point.cost)


def _flat(points: Mapping[Architecture, list[Point]]) -> list[Point]:
    return [point for twins in points.values() for point in twins]
