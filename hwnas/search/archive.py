"""What a searcher has proposed and been told, the same for every method, and what a method has to add to it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Protocol

import moocore
import numpy as np
from numpy.typing import NDArray

from hwnas.errors import UsageError
from hwnas.search.pareto import non_dominated
from hwnas.spaces import Architecture, Space

Values = NDArray[np.float64]

_DRAWS = 100
"""Draws in a row that were all proposed before, after which the rest of the space is gone through in order."""

_QUANTUM = 2.0**24
"""Scaled objectives are multiples of 1 / this, so that rounding in another unit does not change them."""


class Strategy(Protocol):
    """How a method proposes. Start designs and random architectures are not its business."""

    def propose(self) -> Architecture | None:
        """An architecture that was not proposed before; None where a random one is as good."""

    def learn(self, number: int) -> None:
        """A result of that trial has come, and is not a failure."""


class Archive:
    """Trials by number, and their results.

    Args:
        space: Where the search goes on.
        objectives: Number of values of a result.
        seed: Seed of the random draws.

    Attributes:
        asked: The architectures proposed, by number of the trial.
        results: What was told, by number, in the order in which it came; None for a failure.
        size: Number of architectures in the space.
    """

    def __init__(self, space: Space, objectives: int, seed: int) -> None:
        self.space, self.objectives, self.size = space, objectives, space.size
        self.asked: list[Architecture] = []
        self.results: dict[int, tuple[float, ...] | None] = {}
        self._seen: set[Architecture] = set()
        self._rng = np.random.default_rng(seed)
        self._designs = list(dict.fromkeys(space.start_designs()))
        self._rest: Iterator[Architecture] | None = None

    def __contains__(self, architecture: object) -> bool:
        """Whether an architecture was proposed."""
        return architecture in self._seen

    @property
    def exhausted(self) -> bool:
        """Whether the whole space was proposed."""
        return len(self._seen) >= self.size

    @property
    def starting(self) -> bool:
        """Whether a start design is still to be proposed."""
        return len(self.asked) < len(self._designs)

    def told(self) -> list[int]:
        """Numbers of the trials with a result that is no failure, rising."""
        return sorted(number for number, values in self.results.items() if values is not None)

    def pending(self) -> list[int]:
        """Numbers of the trials that nothing was told of, rising."""
        return [number for number in range(len(self.asked)) if number not in self.results]

    def scaled(self, numbers: Sequence[int]) -> Values:
        """Objectives of trials, each scaled to [0, 1] over these trials; (trials, objectives)."""
        return unit_scaled(np.array([self.results[number] for number in numbers], dtype=np.float64))

    def front_numbers(self) -> list[int]:
        """Numbers of the trials whose results no other dominates, rising; of equal results the first."""
        told = self.told()
        if not told:
            return []
        return [number for number, on in zip(told, non_dominated(self.scaled(told)), strict=True) if on]

    def front(self) -> list[Architecture]:
        """Architectures of `front_numbers`, in the order proposed."""
        return [self.asked[number] for number in self.front_numbers()]

    def fresh(self) -> Architecture | None:
        """One that was not proposed: a start design, then a random one; None if there is none."""
        if self.exhausted:
            return None
        if self.starting:
            return self._designs[len(self.asked)]
        if self._rest is None:
            for _ in range(_DRAWS):
                arch = self.space.sample(self._rng)
                if arch not in self._seen:
                    return arch
            self._rest = everything(self.space)
        return next((arch for arch in self._rest if arch not in self._seen), None)

    def add(self, architecture: Architecture) -> int:
        """Note a proposal; its number."""
        self._seen.add(architecture)
        self.asked.append(architecture)
        return len(self.asked) - 1

    def tell(self, number: int, values: Sequence[float] | None) -> bool:
        """Note what was told of a trial; whether it is a result, and the first one. Errors as of `Searcher.tell`."""
        if not 0 <= number < len(self.asked):
            expected = f"0 to {len(self.asked) - 1}" if self.asked else "none, nothing was asked for"
            raise UsageError(f"told of trial {number}; the trials asked for are {expected}.")
        if values is not None and len(values) != self.objectives:
            raise UsageError(f"trial {number}: told {len(values)} values, expected {self.objectives}, one each.")
        if number in self.results:
            return False
        found = None if values is None else tuple(float(value) for value in values)
        self.results[number] = found if found is not None and all(map(math.isfinite, found)) else None
        return self.results[number] is not None


def unit_scaled(values: Values) -> Values:
    """Columns scaled to [0, 1], to 24 binary digits; a constant column is 0. (n, objectives)."""
    if not len(values):
        return values
    span = np.ptp(values, axis=0)
    scaled: Values = np.round((values - values.min(axis=0)) / np.where(span > 0, span, 1.0) * _QUANTUM) / _QUANTUM
    return scaled


def layers_of(values: Values) -> NDArray[np.int64]:
    """Layer of each point in non-dominated sorting (Deb et al. 2002), 0 for the front; (n, objectives) to (n,)."""
    if values.shape[1] == 1:
        return np.unique(values[:, 0], return_inverse=True)[1].astype(np.int64)
    return np.asarray(moocore.pareto_rank(values), dtype=np.int64)


def everything(space: Space) -> Iterator[Architecture]:
    """All architectures of a space, in the order of their vectors; some come more than once."""
    for vector in itertools.product(*(range(low, high + 1) for low, high in space.bounds.values())):
        yield space.decode(vector)
