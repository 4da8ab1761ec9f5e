"""Searchers: two verbs, `ask` and `tell`. A new one is one file and one line in `_MODULES`."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from hwnas.errors import UnknownNameError
from hwnas.spaces import Architecture, Space

_MODULES = {
    "random_search": "hwnas.search.syne_tune",
    "regularized_evolution": "hwnas.search.syne_tune",
}


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
    """Proposes architectures; minimises every objective. Results may be told late and in any order."""

    def ask(self) -> Trial:
        """The next proposal; the first three are the space's start designs."""

    def tell(self, number: int, values: Sequence[float]) -> None:
        """The objectives of a trial, one value each, smaller is better."""


def searcher_names() -> tuple[str, ...]:
    """Names of the registered searchers."""
    return tuple(_MODULES)


def require_searcher(name: str) -> None:
    """Check that a searcher can be used, without making one; errors as of `get_searcher`."""
    _module(name).require(name)


def get_searcher(name: str, space: Space, *, objectives: int, evaluations: int, seed: int) -> Searcher:
    """A new searcher.

    Args:
        name: A name in `searcher_names()`.
        space: Where it searches.
        objectives: Number of values in each `tell`.
        evaluations: How many proposals will be asked for.
        seed: Same seed and same values told, same proposals.

    Raises:
        UnknownNameError: No searcher has that name.
        MissingExtraError: Its library is not installed.
    """
    made: Searcher = _module(name).make(name, space, objectives=objectives, evaluations=evaluations, seed=seed)
    return made


def _module(name: str) -> Any:
    if name not in _MODULES:
        raise UnknownNameError("searcher", name, _MODULES)
    return importlib.import_module(_MODULES[name])
