"""Every method as a searcher of Syne Tune 0.16, and its scheduler behind `ask` and `tell`.

Syne Tune's own draws come from numpy's global state and ignore the seed; its searchers propose again what they proposed
before. So start designs, random architectures and the memory of what was proposed are hwnas's, here, and a method only
says where to look next. Each method's file says what it takes from Syne Tune and what from elsewhere, and why.

This module imports Syne Tune; `hwnas.search.searcher` imports it when a searcher is made.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from syne_tune.backend.trial_status import Trial as SyneTuneTrial
from syne_tune.config_space import randint
from syne_tune.optimizer.schedulers.searchers.searcher import BaseSearcher
from syne_tune.optimizer.schedulers.single_fidelity_scheduler import SingleFidelityScheduler

from hwnas.search.archive import Archive, Strategy
from hwnas.search.schedulers import metric_names
from hwnas.search.searcher import Trial
from hwnas.spaces import Architecture, Space

_NUMBER = "trial"


def config_space(space: Space) -> dict[str, Any]:
    """The encoding of a space as Syne Tune's configuration space; an entry with one value is a constant."""
    return {entry: randint(low, high) if low < high else low for entry, (low, high) in space.bounds.items()}


def to_config(space: Space, architecture: Architecture) -> dict[str, int]:
    """The configuration of an architecture."""
    return dict(zip(space.bounds, space.encode(architecture), strict=True))


def from_config(space: Space, config: Mapping[str, Any]) -> Architecture:
    """Inverse of `to_config`; further entries are passed over."""
    return space.decode([int(config[entry]) for entry in space.bounds])


def number_space() -> dict[str, Any]:
    """A configuration space of numbers of trials, whose architectures the archive has."""
    return {_NUMBER: randint(0, 2**31 - 1)}


def to_number(number: int) -> dict[str, int]:
    """The configuration of `number_space` of a trial."""
    return {_NUMBER: number}


def number_of(config: Mapping[str, Any]) -> int:
    """Inverse of `to_number`."""
    return int(config[_NUMBER])


class SpaceSearcher(BaseSearcher):  # type: ignore[misc]
    """A method as a searcher of Syne Tune, over the encoding of a space.

    Syne Tune counts trials from 0 in the order suggested, and so does the archive. `suggest` returns None when the
    whole space was proposed, at which schedulers and the Tuner stop.

    Args:
        archive: New.
        strategy: The method, over the same archive.
        seed: Seed of whatever a library draws from numpy's global state.

    Attributes:
        archive: What was proposed and told.
    """

    def __init__(self, archive: Archive, strategy: Strategy, seed: int) -> None:
        super().__init__(config_space(archive.space), random_seed=seed)
        self.archive = archive
        self._strategy = strategy
        self._global_state = np.random.RandomState(seed).get_state()

    def suggest(self, **kwargs: Any) -> dict[str, Any] | None:
        """The next configuration; None when the space is exhausted."""
        arch = self.propose()
        return None if arch is None else to_config(self.archive.space, arch)

    def propose(self) -> Architecture | None:
        """The next architecture, which is in the archive from now on; None when the space is exhausted."""
        arch = None
        if not (self.archive.starting or self.archive.exhausted):
            with self._seeded():
                arch = self._strategy.propose()
        arch = arch or self.archive.fresh()
        if arch is not None:
            self.archive.add(arch)
        return arch

    def on_trial_complete(self, trial_id: int, config: dict[str, Any], metrics: Sequence[float]) -> None:
        """A trial has ended with these objectives, smaller is better."""
        if self.archive.tell(int(trial_id), metrics):
            self._strategy.learn(int(trial_id))

    def on_trial_error(self, trial_id: int) -> None:
        """A trial has failed; it is not proposed again."""
        self.archive.tell(int(trial_id), None)

    @contextmanager
    def _seeded(self) -> Iterator[None]:
        """Swap numpy's global state for this searcher's own."""
        outside = np.random.get_state()  # noqa: NPY002
        np.random.set_state(self._global_state)  # noqa: NPY002
        try:
            yield
        finally:
            self._global_state = np.random.get_state()  # noqa: NPY002
            np.random.set_state(outside)  # noqa: NPY002


class NumberedSearcher(BaseSearcher):  # type: ignore[misc]
    """A `SpaceSearcher` whose configurations are the numbers of its trials, for a scheduler in the same process.

    Syne Tune walks through all entries of a configuration several times for every proposal, which takes tens of
    milliseconds where there are thousands, as in the space `large`. Nobody needs them here: the archive has the
    architecture of a number.

    Args:
        searcher: The searcher that proposes and learns.
    """

    def __init__(self, searcher: SpaceSearcher) -> None:
        super().__init__(number_space(), random_seed=searcher.random_seed)
        self._searcher = searcher

    def suggest(self, **kwargs: Any) -> dict[str, Any] | None:
        """The number of the next trial; None when the space is exhausted."""
        arch = self._searcher.propose()
        return None if arch is None else to_number(len(self._searcher.archive.asked) - 1)

    def on_trial_complete(self, trial_id: int, config: dict[str, Any], metrics: Sequence[float]) -> None:
        """See `SpaceSearcher`."""
        self._searcher.on_trial_complete(trial_id, config, metrics)

    def on_trial_error(self, trial_id: int) -> None:
        """See `SpaceSearcher`."""
        self._searcher.on_trial_error(trial_id)


def scheduler_of(searcher: SpaceSearcher | NumberedSearcher, objectives: int) -> SingleFidelityScheduler:
    """Syne Tune's scheduler that hears of the end of a trial only; its metrics are those of `metric_names`."""
    return SingleFidelityScheduler(
        config_space=searcher.config_space,
        metrics=metric_names(objectives),
        do_minimize=True,
        searcher=searcher,
        random_seed=searcher.random_seed,
    )


class AskTell:
    """A searcher, driven through Syne Tune's scheduler; see `Searcher`."""

    def __init__(self, searcher: SpaceSearcher) -> None:
        self._archive = searcher.archive
        self._metrics = metric_names(searcher.archive.objectives)
        self._scheduler = scheduler_of(NumberedSearcher(searcher), searcher.archive.objectives)

    def ask(self) -> Trial | None:
        """See `Searcher.ask`."""
        if self._scheduler.suggest() is None:
            return None
        asked = self._archive.asked
        return Trial(len(asked) - 1, asked[-1])

    def tell(self, number: int, values: Sequence[float] | None) -> None:
        """See `Searcher.tell`."""
        if values is None or not 0 <= number < len(self._archive.asked) or len(values) != len(self._metrics):
            self._archive.tell(number, None if values is None else tuple(values))  # without the scheduler's log
            return
        trial = SyneTuneTrial(number, to_number(number), datetime.datetime.now())
        result = {metric: float(value) for metric, value in zip(self._metrics, values, strict=True)}
        self._scheduler.on_trial_complete(trial, result)
