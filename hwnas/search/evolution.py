"""Regularized evolution with several objectives, MO-REA: the searcher of Syne Tune 0.16, with a priority of its own.

Source: Real et al. 2019 (regularized evolution: of a random sample of the population the best is mutated in one entry,
and the oldest member dies); Schmucker et al. 2020 and Salinas et al. 2021 (several objectives: the best by
non-dominated sorting, within a layer by an epsilon-net); population 10 and sample 5 are those of Klein et al. 2024.

Syne Tune's `NonDominatedPriority` returns the members in sorted order where the place of each member is wanted, so that
parents are picked by their position in the population; and its epsilon-net is in the objectives' own units, of which
the largest numbers decide. The same priority is written here, on scaled objectives. Syne Tune's population
and mutation are used as they are. Until the population is full, random architectures are proposed.

In LARGE Syne Tune's mutation would let one of thousands of heads and units come or go, which nothing can measure, and
copies all of them to do so. There a mutant has another number of heads or of units in one layer, as in local search.

One thing is not as published: the oldest member that another one dominates dies, and the oldest of all only where there
is none. With ten members the published rule forgets the front every ten evaluations. Where few networks are better than
chance it then finds less than random search, as measured on CoLA (docs/search.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hwnas.search.archive import Archive, Strategy, Values, layers_of, unit_scaled
from hwnas.search.encodings import neighbour
from hwnas.spaces import Architecture
from hwnas.spaces.blocks import blocks

POPULATION = 10
"""Members of the population."""

SAMPLE = 5
"""Members, drawn with replacement, of which the best becomes the parent."""

_TRIES = 200
"""Mutants in a row that were all proposed before, after which a random architecture is taken."""


class RegularizedEvolution:
    """Mutates good members of a population of the latest results.

    Args:
        archive: What was proposed and told.
        seed: Seed of samples and mutations.
    """

    def __init__(self, archive: Archive, seed: int) -> None:
        from syne_tune.optimizer.schedulers.multiobjective.multi_objective_regularized_evolution import (
            MultiObjectiveRegularizedEvolution,
        )

        from hwnas.search.syne_tune import config_space, number_space

        self._archive = archive
        self._neighbour = neighbour(archive.space) if blocks(archive.space) else None
        self._rng = np.random.default_rng([seed, 1])
        self._evolution = MultiObjectiveRegularizedEvolution(
            config_space=config_space(archive.space) if self._neighbour is None else number_space(),
            population_size=POPULATION,
            sample_size=SAMPLE,
            multiobjective_priority=priorities,
            random_seed=seed,
        )

    def propose(self) -> Architecture | None:
        """See `Strategy.propose`."""
        if len(self._evolution.population) < POPULATION:
            return None
        for _ in range(_TRIES):
            mutant = self._mutant()
            if mutant not in self._archive:
                return mutant
        return None

    def _mutant(self) -> Architecture:
        """A mutant of the best of a random sample of the population."""
        from hwnas.search.syne_tune import from_config, number_of

        space = self._archive.space
        if self._neighbour is None:
            return from_config(space, self._evolution.suggest())
        members = self._evolution.population
        drawn = self._rng.integers(len(members), size=SAMPLE).tolist()
        parent = self._archive.asked[
            number_of(min((members[index] for index in drawn), key=lambda one: one.score).config)
        ]
        return space.decode(self._neighbour(np.array(space.encode(parent)), self._rng).tolist())

    def learn(self, number: int) -> None:
        """See `Strategy.learn`."""
        from hwnas.search.syne_tune import to_config, to_number

        values = self._archive.results[number]
        assert values is not None
        population = self._evolution.population
        if len(population) == POPULATION:
            leaves = oldest_beaten([*(member.results for member in population), values])
            if leaves == POPULATION:  # the new one: all others are the front
                return
            member = population[leaves]
            del population[leaves]
            population.appendleft(member)  # where Syne Tune takes one away
        archive = self._archive
        config = to_number(number) if self._neighbour else to_config(archive.space, archive.asked[number])
        self._evolution.on_trial_complete(number, config, list(values))


def oldest_beaten(objectives: Sequence[Sequence[float]]) -> int:
    """Index of the first point that another one dominates; 0 where there is none.

    Args:
        objectives: (n, objectives), all minimised, the oldest first.
    """
    layers = layers_of(unit_scaled(np.asarray(objectives, dtype=np.float64)))
    return int(np.argmax(layers > 0))


def priorities(objectives: Values) -> NDArray[np.int64]:
    """Place of each point in non-dominated sorting, 0 for the first.

    Within a layer the point that is best in the first objective comes first, then always the one farthest from those
    before it (an epsilon-net, Clarkson 2005), in objectives scaled to [0, 1].

    Args:
        objectives: (n, objectives), all minimised.

    Returns:
        (n,), a permutation of 0 to n - 1.
    """
    scaled = unit_scaled(np.asarray(objectives, dtype=np.float64))
    layers = layers_of(scaled)
    order: list[int] = []
    for layer in range(int(layers.max()) + 1):
        left = np.flatnonzero(layers == layer).tolist()
        chosen = min(left, key=lambda index: (*scaled[index].tolist(), index))
        distance = np.full(len(scaled), np.inf)
        while True:
            order.append(chosen)
            left.remove(chosen)
            if not left:
                break
            distance = np.minimum(distance, np.linalg.norm(scaled - scaled[chosen], axis=1))
            chosen = max(left, key=lambda index: (distance[index], -index))
    places = np.empty(len(order), dtype=np.int64)
    places[order] = np.arange(len(order))
    return places


def make(name: str, archive: Archive, evaluations: int, seed: int) -> Strategy:
    """The strategy."""
    return RegularizedEvolution(archive, seed)
