"""Searchers: two verbs, `ask` and `tell`. A new one is one file with a `make`, and one line in `_METHODS`."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from hwnas.errors import MissingExtraError, UnknownNameError, UsageError
from hwnas.search.archive import Archive, Strategy
from hwnas.spaces import Architecture, Space

if TYPE_CHECKING:
    from hwnas.search.syne_tune import SpaceSearcher

EXHAUSTIVE = "exhaustive"
"""The one that enumerates a space."""

MO_ASHA = "mo_asha"
"""Asynchronous successive halving for several objectives, a scheduler of standard NAS. It is no searcher: views of
shared weights have no training that could be stopped."""

_METHODS: dict[str, tuple[str, tuple[str, ...]]] = {
    "random_search": ("hwnas.search.random_search", ()),
    EXHAUSTIVE: ("hwnas.search.exhaustive", ()),
    "local_search": ("hwnas.search.local_search", ()),
    "regularized_evolution": ("hwnas.search.evolution", ()),
    "nsga2": ("hwnas.search.nsga2", ("pymoo",)),
    "ehvi": ("hwnas.search.bayesian", ("botorch",)),
    "qlognehvi": ("hwnas.search.bayesian", ("botorch",)),
}
"""Name of a method: the module that makes it, and the packages that it needs beside Syne Tune, which drives all."""


@dataclass(frozen=True)
class Trial:
    """A proposal.

    Attributes:
        number: Counts from 0.
        architecture: What to evaluate.
    """

    number: int
    architecture: Architecture


class Searcher(Protocol):
    """Proposes architectures; minimises every objective.

    No architecture is proposed twice. Results may be told late, in any order, or never. Only the order of objectives
    and the ratios of their differences count, not their unit: proposals are the same in seconds and in milliseconds.
    """

    def ask(self) -> Trial | None:
        """The next proposal; the start designs of the space come first. None when the whole space was proposed."""

    def tell(self, number: int, values: Sequence[float] | None) -> None:
        """The objectives of a trial, one value each, smaller is better; None if its evaluation failed.

        A value that is not finite counts as a failure. What is told first of a trial counts; telling it again changes
        nothing.

        Raises:
            UsageError: No such trial was asked for, or another number of values than of objectives.
        """


def searcher_names() -> tuple[str, ...]:
    """Names of the registered searchers."""
    return tuple(_METHODS)


def require_searcher(name: str) -> None:
    """Check that a searcher can be used, without making one; errors as of `get_searcher`."""
    if name == MO_ASHA:
        raise UsageError(
            f"{MO_ASHA} stops trainings early, and sub-networks of a super-network need none: expected one of "
            f"{', '.join(_METHODS)}. Standard NAS has it: `hwnas bench run 5b --only {MO_ASHA}`."
        )
    if name not in _METHODS:
        raise UnknownNameError("searcher", name, _METHODS)
    for package in ("syne_tune", *_METHODS[name][1]):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package.replace("_", "-"), "search", f"the searcher {name}")


def get_searcher(name: str, space: Space, *, objectives: int, evaluations: int, seed: int) -> Searcher:
    """A new searcher.

    Args:
        name: A name in `searcher_names()`.
        space: Where it searches.
        objectives: Number of values in each `tell`.
        evaluations: How many proposals will be asked for; a hint, `ask` goes on after that.
        seed: Same seed and same values told, same proposals. 0 or more.

    Raises:
        UnknownNameError: No searcher has that name.
        MissingExtraError: Its library is not installed.
        UsageError: A space with nothing to search, or a number out of range.
    """
    require_searcher(name)
    from hwnas.search.syne_tune import AskTell

    return AskTell(syne_tune_searcher(name, space, objectives=objectives, evaluations=evaluations, seed=seed))


def syne_tune_searcher(name: str, space: Space, *, objectives: int, evaluations: int, seed: int) -> SpaceSearcher:
    """The same as a searcher of Syne Tune, for its schedulers and its Tuner; arguments and errors of `get_searcher`."""
    require_searcher(name)
    if space.size < 2:
        raise UsageError(f"the space {space.name} holds {space.size} architecture; there is nothing to search.")
    for what, number, least in (("objectives", objectives, 1), ("evaluations", evaluations, 1), ("seed", seed, 0)):
        if number < least:
            raise UsageError(f"{what} {number}: expected {least} or more.")
    from hwnas.search.syne_tune import SpaceSearcher

    archive = Archive(space, objectives, seed)
    strategy: Strategy = importlib.import_module(_METHODS[name][0]).make(name, archive, evaluations, seed)
    return SpaceSearcher(archive, strategy, seed)
