"""Multi-objective local search (Klein et al. 2024, appendix D, algorithm 5).

Syne Tune 0.16 has no local search, so this is one for its searcher interface.
"""

from __future__ import annotations

import numpy as np

from hwnas.search.archive import Archive, Strategy
from hwnas.search.encodings import neighbour
from hwnas.spaces import Architecture

_TRIES = 50
"""Neighbours drawn in a row that were all proposed before, after which a random architecture is taken."""


class LocalSearch:
    """Proposes neighbours of the Pareto set.

    A random member of the set of non-dominated results gets a new value in one random dimension of its encoding. The
    set is that of all results so far; without any, it is the start designs.

    Args:
        archive: What was proposed and told.
        seed: Seed of the draws.
    """

    def __init__(self, archive: Archive, seed: int) -> None:
        self._archive = archive
        self._rng = np.random.default_rng([seed, 1])
        self._neighbour = neighbour(archive.space)

    def propose(self) -> Architecture | None:
        """See `Strategy.propose`."""
        archive, space = self._archive, self._archive.space
        members = archive.front() or list(space.start_designs())
        for _ in range(_TRIES):
            member = np.array(space.encode(members[int(self._rng.integers(len(members)))]))
            found = space.decode(self._neighbour(member, self._rng).tolist())
            if found not in archive:
                return found
        return None

    def learn(self, number: int) -> None:
        """See `Strategy.learn`; the Pareto set is read off the archive."""


def make(name: str, archive: Archive, evaluations: int, seed: int) -> Strategy:
    """The strategy."""
    return LocalSearch(archive, seed)
