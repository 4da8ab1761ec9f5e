"""Exhaustive enumeration: every architecture of a small space, once. What it finds is the truth for other searchers."""

from __future__ import annotations

from hwnas.errors import UsageError
from hwnas.search.archive import Archive, Strategy, everything
from hwnas.spaces import Architecture


class Exhaustive:
    """Proposes what is left of a space after the start designs, in the order of the encoding.

    Args:
        archive: What was proposed and told.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._all = everything(archive.space)

    def propose(self) -> Architecture | None:
        """See `Strategy.propose`."""
        return next((arch for arch in self._all if arch not in self._archive), None)

    def learn(self, number: int) -> None:
        """See `Strategy.learn`; nothing is learned from results."""


def make(name: str, archive: Archive, evaluations: int, seed: int) -> Strategy:
    """The strategy; UsageError names the space's size if it is more than the evaluations."""
    if archive.size > evaluations:
        raise UsageError(
            f"the searcher {name} goes through all of the space {archive.space.name}, which holds "
            f"{_many(archive.size)} networks, more than the {evaluations:,} evaluations; ask for so many, or, where "
            "the command has --align, for wider steps."
        )
    return Exhaustive(archive)


def _many(size: int) -> str:
    return f"{size:,}" if size < 10**12 else f"about 10^{len(str(size)) - 1}"
