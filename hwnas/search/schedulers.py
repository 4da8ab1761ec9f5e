"""Schedulers of Syne Tune over hwnas's searchers: for trials that run at once, and report while they are trained.

A searcher is asked and told. A scheduler also hears of a trial while it runs, and may stop it; that is what MO-ASHA
does. Every searcher has a scheduler that hears of the end only.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from hwnas.errors import MissingExtraError, UnknownNameError
from hwnas.search.searcher import MO_ASHA, require_searcher, searcher_names, syne_tune_searcher
from hwnas.spaces import Space

if TYPE_CHECKING:
    from syne_tune.optimizer.scheduler import TrialScheduler

LEVEL = "level"
"""Name under which a trial reports how many resource levels it has been trained for, from 1."""

R_MIN = 1
"""Resource levels before a trial may be stopped."""

ETA = 3
"""One in so many trials passes a rung; rungs are at `R_MIN` times the powers of this."""


def scheduler_names() -> tuple[str, ...]:
    """Names of the searchers, and of MO-ASHA."""
    return (*searcher_names(), MO_ASHA)


def metric_names(objectives: int) -> list[str]:
    """Names under which a trial reports its objectives, in order."""
    return [f"objective_{index}" for index in range(objectives)]


def require_scheduler(name: str) -> None:
    """Check that a scheduler can be used, without making one; errors as of `get_scheduler`."""
    if name not in scheduler_names():
        raise UnknownNameError("searcher", name, scheduler_names())
    if name != MO_ASHA:
        require_searcher(name)
    elif importlib.util.find_spec("syne_tune") is None:
        raise MissingExtraError("syne-tune", "search", f"the searcher {name}")


def get_scheduler(
    name: str,
    space: Space,
    *,
    objectives: int,
    evaluations: int,
    seed: int,
    levels: int = 1,
    r_min: int = R_MIN,
    eta: int = ETA,
) -> TrialScheduler:
    """A new scheduler.

    Its configurations are those of `hwnas.search.syne_tune.to_config`. A trial reports `LEVEL` and `metric_names`, all
    minimised. `suggest` returns None when the whole space was proposed.

    Args:
        name: A name in `scheduler_names()`.
        space: Where it searches.
        objectives: Number of objectives.
        evaluations: How many trials are expected; a hint.
        seed: Same seed and same calls, same proposals. 0 or more.
        levels: Resource levels of a whole training.
        r_min: For MO-ASHA; levels before a trial may be stopped.
        eta: For MO-ASHA; one in so many trials passes a rung.

    Raises:
        UnknownNameError: No scheduler has that name.
        MissingExtraError: Its library is not installed.
        UsageError: A space with nothing to search, or a number out of range.
    """
    require_scheduler(name)
    searcher = syne_tune_searcher(
        "random_search" if name == MO_ASHA else name,
        space,
        objectives=objectives,
        evaluations=evaluations,
        seed=seed,
    )
    if name == MO_ASHA:
        from hwnas.search.mo_asha import MOASHA

        return MOASHA(searcher, metric_names(objectives), levels=levels, r_min=r_min, eta=eta)
    from hwnas.search.syne_tune import scheduler_of

    return scheduler_of(searcher, objectives)
