"""A searcher under limits and of any number of costs: it asks another one, and tells it what it should know.

The cost of a network is known before its error. So a proposal that is beyond a limit is not evaluated: the searcher is
told penalised values at once and asked again, and the evaluation is spent where the limits can be met. Should it go on
proposing such networks, one within the limits is drawn at random in its place: a random one shrunk towards the smallest
until it is within, or a neighbour of one that is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import UsageError
from hwnas.search.archive import everything
from hwnas.search.pareto import non_dominated
from hwnas.search.searcher import Searcher, Trial
from hwnas.spaces import Architecture, Space

TRIES = 20
"""Proposals beyond the limits that are turned down before one is drawn in their place."""

_DRAWS = 200  # at most, for a network within the limits that was not proposed before
_FEW = 5_000  # a space of so many networks is gone through in order where draws find nothing

Costs = Callable[[Architecture], Sequence[float]]


class Steered:
    """Passes proposals on that can meet the limits, and tells every cost beside the error.

    A network beyond a limit is told as (e + v, c * (1 + v)): e is the largest error that there can be, c are the costs
    of the largest network, and v in (0, 1) grows with the distance from the limits. Every network within the limits
    dominates it, and so does every one that is less far beyond (constrained domination: K. Deb et al., A fast and
    elitist multiobjective genetic algorithm: NSGA-II, 2002, section VI, written as values, which any searcher
    understands).

    Args:
        inner: A new searcher of one objective more than there are costs.
        space: Where it searches.
        costs: Costs of a network, in a fixed order; they may change between calls.
        excess: How far a network is beyond the limits on its costs, 0 within them.
        max_error_increase: Most that an error may exceed the reference; None for no limit.
        reference: Error of the unpruned network; None takes that of the largest of the space once it is told.
        always: Networks that are evaluated whatever their costs, such as the reference.
        pauses: Called before the proposal of that number, counted from 0.
        seed: Seed of the networks drawn in place of proposals.
        worst: The largest error that there can be, see `hwnas.tasks.worst_error`; a larger one that is told counts.
        patient: Ask the searcher until it has nothing left, and draw none in its place: it goes through all of a space.

    Attributes:
        skipped: Proposals that were not evaluated.
        gave_up: Whether the last `ask` found no other network within the limits; else None there means the whole space.
    """

    def __init__(
        self,
        inner: Searcher,
        space: Space,
        costs: Costs,
        *,
        excess: Callable[[Architecture], float] = lambda arch: 0.0,
        max_error_increase: float | None = None,
        reference: float | None = None,
        always: Collection[Architecture] = (),
        pauses: Mapping[int, Callable[[], None]] | None = None,
        seed: int = 0,
        worst: float = 1.0,
        patient: bool = False,
    ) -> None:
        self._patient = patient
        self._inner, self._space, self._costs, self._excess = inner, space, costs, excess
        self._increase, self._reference = max_error_increase, reference
        self._always, self._pauses = always, dict(pauses or {})
        self._rng = np.random.default_rng((seed, 4))
        self._trials: list[tuple[int | None, Architecture]] = []
        self._errors: dict[Architecture, float | None] = {}
        self._met: dict[Architecture, tuple[float, ...]] = {}
        self._rest: Iterator[Architecture] | None = None
        self._worst = worst
        self.skipped = 0
        self.gave_up = False

    @property
    def on_front(self) -> int:
        """How many of those that were told meet the limits and are dominated by none, in the error and all costs.

        Costs are those at the time of the telling.
        """
        return int(non_dominated(list(self._met.values())).sum())

    @property
    def found(self) -> list[tuple[Architecture, float]]:
        """(architecture, error) of all that was told, in the order in which it first came; failures are left out."""
        return [(arch, error) for arch, error in self._errors.items() if error is not None]

    def ask(self) -> Trial | None:
        """See `Searcher.ask`; also None if no other network within the limits was found."""
        pause = self._pauses.pop(len(self._trials), None)
        if pause is not None:
            pause()
        refused = 0
        while self._patient or refused < TRIES:
            trial = self._inner.ask()
            if trial is None:
                return None
            arch = trial.architecture
            if arch in self._errors:  # it was drawn before in another one's place
                self._inner.tell(trial.number, self._values(arch, self._errors[arch]))
            elif self._excess(arch) == 0 or arch in self._always:
                return self._hand_out(trial.number, arch)
            else:
                self._inner.tell(trial.number, self._penalised(self._excess(arch)))
                self.skipped += 1
                refused += 1
        drawn = self._draw()
        self.gave_up = drawn is None
        return None if drawn is None else self._hand_out(None, drawn)

    def tell(self, number: int, values: Sequence[float] | None) -> None:
        """The error of a trial as the first value, or None if it failed; costs are found here.

        Raises:
            UsageError: No such trial was asked for.
        """
        if not 0 <= number < len(self._trials):
            expected = f"0 to {len(self._trials) - 1}" if self._trials else "none, nothing was asked for"
            raise UsageError(f"told of trial {number}; the trials asked for are {expected}.")
        theirs, arch = self._trials[number]
        said = None if values is None or not math.isfinite(values[0]) else float(values[0])
        error = self._errors.setdefault(arch, said)
        if error is not None:
            self._worst = max(self._worst, error)
        told = self._values(arch, error)
        if error is not None and told is not None and self._beyond(arch, error) == 0:
            self._met[arch] = told
        if theirs is not None:
            self._inner.tell(theirs, told)

    def _beyond(self, arch: Architecture, error: float) -> float:
        """How far a network with an error is beyond the limits."""
        beyond, reference = self._excess(arch), self._reference
        if reference is None:
            reference = self._errors.get(self._space.largest())
        if self._increase is not None and reference is not None:
            beyond += max(0.0, error - reference - self._increase - 1e-12)
        return beyond

    def _values(self, arch: Architecture, error: float | None) -> tuple[float, ...] | None:
        """What the searcher is told of a network with an error."""
        if error is None:
            return None
        beyond = self._beyond(arch, error)
        return self._penalised(beyond) if beyond > 0 else (error, *self._costs(arch))

    def _hand_out(self, theirs: int | None, arch: Architecture) -> Trial:
        self._trials.append((theirs, arch))
        return Trial(len(self._trials) - 1, arch)

    def _penalised(self, beyond: float) -> tuple[float, ...]:
        share = beyond / (1 + beyond)
        most = self._costs(self._space.largest())
        return (self._worst + share, *(cost * (1 + share) for cost in most))

    def _draw(self) -> Architecture | None:
        """A network within the limits that was not handed out: a shrunk random one, or a neighbour of one within."""
        seen = {arch for _, arch in self._trials}
        within = [arch for _, arch in self._trials if self._excess(arch) == 0]
        for number in range(_DRAWS):
            vector = self._space.sample_vector(self._rng)
            if number % 2 and within:  # one entry of one that is within the limits is another's
                base = np.array(self._space.encode(within[self._rng.integers(len(within))]))
                place = self._rng.integers(len(base))
                base[place] = vector[place]
                vector = base
            arch = self._shrunk(vector)
            if arch not in seen and self._excess(arch) == 0:
                return arch
        if self._space.size > _FEW:
            return None
        if self._rest is None:
            self._rest = everything(self._space)
        return next((arch for arch in self._rest if arch not in seen and self._excess(arch) == 0), None)

    def _shrunk(self, vector: NDArray[np.integer[Any]]) -> Architecture:
        """A network of the space, moved towards the smallest until it is within the limits: half of its entries a time.

        Each of these entries comes to lie anywhere between its own value and that of the smallest network.
        """
        low = np.array(self._space.encode(self._space.smallest()))
        arch = self._space.decode(vector.tolist())
        while self._excess(arch) > 0 and (moved := np.flatnonzero(vector != low)).size:
            chosen = self._rng.permutation(moved)[: -(-len(moved) // 2)]
            least, most = np.minimum(vector, low)[chosen], np.maximum(vector, low)[chosen]
            vector = vector.copy()
            vector[chosen] = self._rng.integers(least, most + 1)
            arch = self._space.decode(vector.tolist())
        return arch
