"""Random search and regularized evolution of Syne Tune 0.16.

Syne Tune's random draws come from numpy's global state and ignore the seed. So the random architectures are drawn
here, by the space's own sampler (which also is the paper's way of drawing), and handed to Syne Tune as points to
evaluate; mutations, whose generator does follow the seed, are left to it. Where results come so late that it must
draw all the same, it sees a global state that the seed determines.
"""

from __future__ import annotations

import datetime
import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from hwnas.errors import MissingExtraError, UsageError
from hwnas.search.searcher import Searcher, Trial
from hwnas.spaces import Architecture, Space


def require(name: str) -> None:
    """MissingExtraError if Syne Tune is not installed."""
    if importlib.util.find_spec("syne_tune") is None:
        raise MissingExtraError("syne-tune", "search", f"the searcher {name}")


def make(name: str, space: Space, *, objectives: int, evaluations: int, seed: int) -> Searcher:
    """See `get_searcher`."""
    require(name)
    return SyneTuneSearcher(name, space, objectives=objectives, evaluations=evaluations, seed=seed)


class SyneTuneSearcher:
    """A searcher of Syne Tune over the encoding of a space.

    Random search: Li and Talwalkar 2020. Regularized evolution: Real et al. 2019, in the multi-objective form that
    picks parents by non-dominated sorting; its first population is random.

    Args:
        name: `random_search` or `regularized_evolution`.
        space: Where to search.
        objectives: Number of objectives.
        evaluations: How many proposals will be asked for.
        seed: Seed of draws and mutations.
    """

    def __init__(self, name: str, space: Space, *, objectives: int, evaluations: int, seed: int) -> None:
        from syne_tune.config_space import randint
        from syne_tune.optimizer.schedulers.single_fidelity_scheduler import SingleFidelityScheduler

        if space.size < 2:
            raise UsageError(f"the space {space.name} holds {space.size} architecture; there is nothing to search.")
        self._space = space
        self._names = tuple(space.bounds)
        self._metrics = [f"objective_{index}" for index in range(objectives)]
        options: dict[str, Any] = {"random_seed": seed}
        draws = evaluations
        if name == "regularized_evolution":
            # Syne Tune's defaults, population 100 and sample 10, are for thousands of evaluations.
            draws = population = max(4, min(100, evaluations // 4))
            options |= {"population_size": population, "sample_size": max(2, min(10, population // 2))}
        rng = np.random.default_rng(seed)
        designs = _draw(space, draws, rng)
        options["points_to_evaluate"] = [self._config(space.encode(arch)) for arch in designs]
        self._scheduler = SingleFidelityScheduler(
            config_space={
                entry: randint(low, high) if low < high else low for entry, (low, high) in space.bounds.items()
            },
            metrics=self._metrics,
            do_minimize=True,
            searcher=name,
            random_seed=seed,
            searcher_kwargs=options,
        )
        self._trials: list[Any] = []
        self._global_state = np.random.RandomState(seed).get_state()

    def ask(self) -> Trial:
        """See `Searcher.ask`."""
        from syne_tune.backend.trial_status import Trial as SyneTuneTrial

        with self._seeded():
            suggestion = self._scheduler.suggest()
        number = len(self._trials)
        made = datetime.datetime.now()
        self._trials.append(SyneTuneTrial(trial_id=number, config=suggestion.config, creation_time=made))
        return Trial(number, self._space.decode([int(suggestion.config[entry]) for entry in self._names]))

    def tell(self, number: int, values: Sequence[float]) -> None:
        """See `Searcher.tell`."""
        result = dict(zip(self._metrics, (float(value) for value in values), strict=True))
        self._scheduler.on_trial_complete(self._trials[number], result)

    def _config(self, vector: Sequence[int]) -> dict[str, int]:
        return dict(zip(self._names, vector, strict=True))

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


def _draw(space: Space, count: int, rng: np.random.Generator) -> list[Architecture]:
    """The start designs and random architectures, different ones as long as the space has some."""
    drawn = list(dict.fromkeys(space.start_designs()))
    seen, tries = set(drawn), 0
    while len(drawn) < count:
        arch = space.sample(rng)
        tries += 1
        if arch not in seen or len(seen) >= space.size or tries > 100 * count:
            drawn.append(arch)
            seen.add(arch)
    return drawn
