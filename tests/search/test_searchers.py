"""One suite over all searchers: seeds, scales, ends of the space, late and lost results, failures, the space's end."""

from __future__ import annotations

import datetime
import random
from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
import torch
from syne_tune.backend.trial_status import Trial as SyneTuneTrial
from syne_tune.optimizer.scheduler import SchedulerDecision

from hwnas.errors import UnknownNameError, UsageError
from hwnas.search.schedulers import LEVEL, get_scheduler
from hwnas.search.searcher import (
    MO_ASHA,
    Searcher,
    Trial,
    get_searcher,
    require_searcher,
    searcher_names,
    syne_tune_searcher,
)
from hwnas.search.syne_tune import from_config
from hwnas.spaces import Architecture, Dimensions, Space, get_space, space_names

DIMENSIONS = Dimensions(layers=4, heads=4, units=16, head_size=2, hidden_size=8)
MODELLED = ("ehvi", "qlognehvi")
REAL = tuple(name for name in searcher_names() if name != "exhaustive")  # which only goes through a space in order
SEARCHERS = (*REAL, MO_ASHA)
OTHERS = tuple(name for name in SEARCHERS if name not in MODELLED)
RANDOM = ("random_search", MO_ASHA)  # whose proposals do not depend on results
FEW = Dimensions(layers=3, heads=3, units=4, head_size=2, hidden_size=8)  # 36 architectures in the space `small`
SCALES = ((1.0, 1.0, 1.0), (1e3, 1e-9, 7e6))


class Halving:
    """MO-ASHA behind `ask` and `tell`: a trial has reported the same at each level, until it was stopped."""

    LEVELS = 9

    def __init__(self, where: Space, objectives: int, evaluations: int, seed: int) -> None:
        self._space = where
        self._scheduler = get_scheduler(
            MO_ASHA, where, objectives=objectives, evaluations=evaluations, seed=seed, levels=self.LEVELS
        )
        self._asked = 0

    def ask(self) -> Trial | None:
        suggestion = self._scheduler.suggest()
        if suggestion is None:
            return None
        self._asked += 1
        return Trial(self._asked - 1, from_config(self._space, suggestion.config))

    def tell(self, number: int, values: Sequence[float] | None) -> None:
        trial = SyneTuneTrial(number, {}, datetime.datetime.now())
        if values is None:
            self._scheduler.on_trial_error(trial)
            return
        result = dict(zip(self._scheduler.metric_names(), values, strict=True))
        for level in range(1, self.LEVELS + 1):
            if self._scheduler.on_trial_result(trial, {LEVEL: level, **result}) != SchedulerDecision.CONTINUE:
                break
        if level == self.LEVELS:
            self._scheduler.on_trial_complete(trial, result)
        else:
            self._scheduler.on_trial_remove(trial)


def space(name: str = "small", dimensions: Dimensions = DIMENSIONS) -> Space:
    return get_space(name, dimensions)


def evaluations(name: str, objectives: int = 2) -> int:
    """Enough for a few proposals of each method's own; those of a model follow ten results."""
    return 40 if name not in MODELLED else 20 if objectives == 2 else 13


def made(
    name: str, seed: int = 7, where: str = "small", objectives: int = 2, dimensions: Dimensions = DIMENSIONS
) -> Searcher:
    searched, count = space(where, dimensions), evaluations(name, objectives)
    if name == MO_ASHA:
        return Halving(searched, objectives, count, seed)
    return get_searcher(name, searched, objectives=objectives, evaluations=count, seed=seed)


def asked(searcher: Searcher) -> Trial:
    trial = searcher.ask()
    assert trial is not None
    return trial


def values(arch: Architecture, objectives: int = 2) -> list[float]:
    """Objectives that contradict each other; units cost but bring nothing."""
    heads, units = sum(arch.head_counts), sum(arch.unit_counts)
    return [1.0 / (1 + heads), 3.0 * heads + units, abs(heads - 5.0) + 0.1 * units][:objectives]


def proposals(
    name: str,
    seed: int = 7,
    where: str = "small",
    scale: tuple[float, ...] = SCALES[0],
    dimensions: Dimensions = DIMENSIONS,
) -> list[Architecture]:
    """What a searcher proposes when results come at once."""
    searcher = made(name, seed, where, dimensions=dimensions)
    found: list[Architecture] = []
    while len(found) < evaluations(name):
        trial = searcher.ask()
        if trial is None:
            break
        found.append(trial.architecture)
        told = values(trial.architecture)
        searcher.tell(trial.number, [value * factor for value, factor in zip(told, scale, strict=False)])
    return found


@cache
def plain(name: str, where: str = "small") -> tuple[Architecture, ...]:
    return tuple(proposals(name, where=where))


@pytest.mark.parametrize(
    ("name", "where", "scale"),
    [
        (name, where, scale)
        for name in SEARCHERS
        for where in space_names()
        for scale in SCALES
        if name not in MODELLED or scale == SCALES[1]
    ],
)
def test_nothing_but_the_seed_and_the_ratios_of_objectives_decides(
    name: str, where: str, scale: tuple[float, ...]
) -> None:
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    first = list(plain(name, where))
    np.random.seed(2)  # noqa: NPY002
    torch.manual_seed(2)
    before = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # type: ignore[index]  # noqa: NPY002
    assert proposals(name, where=where, scale=scale) == first
    after = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # type: ignore[index]  # noqa: NPY002
    assert after == before, "the global states are left alone"


@pytest.mark.parametrize("name", SEARCHERS)
def test_different_seeds_differ(name: str) -> None:
    """Also where the results are those of one seed: a method that goes by results draws, too."""
    runs = []
    for seed in (0, 1):
        searcher = made(name, seed)
        runs.append([asked(searcher).architecture for _ in range(9)])
    assert runs[0] != runs[1]
    assert proposals(name, seed=0)[10:] != proposals(name, seed=1)[10:]


@pytest.mark.parametrize(("name", "where"), [(name, where) for name in SEARCHERS for where in space_names()])
def test_start_designs_first_then_others_of_the_space_each_once(name: str, where: str) -> None:
    found = plain(name, where)
    assert found[:3] == space(where).start_designs()
    assert len(set(found)) == len(found) == min(evaluations(name), space(where).size)
    assert all(arch in space(where) for arch in found)


@pytest.mark.parametrize("name", SEARCHERS)
def test_both_ends_of_every_range_are_proposed(name: str) -> None:
    """Not counting the start designs, and what is drawn before a method's own. A model looks where it pays."""
    own = 3 if name in (*RANDOM, "local_search") else 10
    dimensions, seeds = (FEW, 2) if name in MODELLED else (DIMENSIONS, 8)
    where = space(dimensions=dimensions)
    found = [proposals(name, seed, dimensions=dimensions)[own:] for seed in range(seeds)]
    seen = np.array([where.encode(arch) for run in found for arch in run])
    for column, (low, high) in zip(seen.T, where.bounds.values(), strict=True):
        assert column.min() == low
        assert column.max() == high


@pytest.mark.parametrize(("name", "where"), [(name, where) for name in OTHERS for where in space_names()])
def test_both_ends_are_proposed_in_every_space(name: str, where: str) -> None:
    searched = space(where)
    seen = np.array([searched.encode(arch) for seed in range(8) for arch in proposals(name, seed, where)[3:]])
    for column, (low, high) in zip(seen.T, searched.bounds.values(), strict=True):
        assert column.min() == low
        assert column.max() == high


@pytest.mark.parametrize("name", MODELLED)
@pytest.mark.parametrize(("where", "seeds"), [("layer", 6), ("large", 6), ("medium", 24)])
def test_a_model_proposes_both_ends_in_every_space(name: str, where: str, seeds: int) -> None:
    """After the random draws that it begins with."""
    searched = space(where)
    seen = np.array([searched.encode(arch) for seed in range(seeds) for arch in proposals(name, seed, where)[10:]])
    for column, (low, high) in zip(seen.T, searched.bounds.values(), strict=True):
        assert (column.min(), column.max()) == (low, high)


@pytest.mark.parametrize("name", MODELLED)
def test_a_model_of_a_space_that_is_too_large_to_go_through(name: str) -> None:
    """Its candidates are neighbours of the front then, and not all that there are."""
    larger = Dimensions(layers=4, heads=4, units=64, head_size=2, hidden_size=8)
    found = proposals(name, dimensions=larger)
    assert len(set(found)) == len(found) == evaluations(name)
    assert found == proposals(name, scale=SCALES[1], dimensions=larger)
    drawn = proposals("random_search", dimensions=larger)
    assert found[10:] != drawn[10:20]
    assert np.mean([arch.unit_counts for arch in found[10:]]) < 0.75 * np.mean([arch.unit_counts for arch in drawn])


@pytest.mark.parametrize("name", MODELLED)
def test_many_results_make_a_model_propose_several_at_once(name: str) -> None:
    """From 60 results on; what a batch proposes differs, also where its own results are late, fail, or are rescaled."""
    where = space(dimensions=Dimensions(layers=4, heads=4, units=64, head_size=2, hidden_size=8))
    runs = []
    for scale in (SCALES[0], SCALES[1]):
        searcher = get_searcher(name, where, objectives=2, evaluations=215, seed=7)
        found: list[Architecture] = []
        while len(found) < 203:
            trial = asked(searcher)
            found.append(trial.architecture)
            searcher.tell(trial.number, [*(np.array(values(trial.architecture)) * scale[:2])])
        late = [asked(searcher) for _ in range(15)]  # more than one batch
        for trial in reversed(late):
            told = None if trial.number % 2 else [*(np.array(values(trial.architecture)) * scale[:2])]
            searcher.tell(trial.number, told)
        found += [trial.architecture for trial in late] + [asked(searcher).architecture for _ in range(2)]
        assert len(set(found)) == len(found) == 220
        runs.append(found)
    assert runs[0] == runs[1]


@pytest.mark.parametrize("name", MODELLED)
def test_a_space_that_is_spent_ends_the_search(name: str) -> None:
    searcher = get_searcher(name, get_space("layer", DIMENSIONS), objectives=2, evaluations=40, seed=0)
    seen = []
    for number in range(15):
        trial = asked(searcher)
        seen.append(trial.architecture)
        if number < 12:  # the last three are never told
            searcher.tell(trial.number, values(trial.architecture))
    assert len(set(seen)) == space("layer").size == 15
    assert searcher.ask() is None
    assert searcher.ask() is None
    searcher.tell(14, values(seen[14]))
    assert searcher.ask() is None


@pytest.mark.parametrize("name", OTHERS)
def test_a_larger_space_is_spent_without_repeats(name: str) -> None:
    searcher = made(name, 0, dimensions=FEW)
    seen = set()
    while (trial := searcher.ask()) is not None:
        seen.add(trial.architecture)
        searcher.tell(trial.number, values(trial.architecture))
    assert len(seen) == trial_count(searcher) == space(dimensions=FEW).size == 36


def trial_count(searcher: Searcher) -> int:
    """Number of trials asked for, read off the error about the next one."""
    with pytest.raises(UsageError) as caught:
        searcher.tell(10**6, [0.0, 0.0])
    return int(str(caught.value).rstrip(".").split()[-1]) + 1


@pytest.mark.parametrize("name", SEARCHERS)
def test_results_late_twice_out_of_order_and_never(name: str) -> None:
    runs = []
    for again in (1, 2):
        searcher, shuffle = made(name), random.Random(0)
        found: list[Architecture] = []
        waiting: list[Trial] = []
        for _ in range(evaluations(name) + 5):
            trial = asked(searcher)
            found.append(trial.architecture)
            waiting.append(trial)
            if len(waiting) > 5:
                shuffle.shuffle(waiting)
                done = waiting.pop()
                if done.number % 7 == 5:
                    continue  # lost for ever
                searcher.tell(done.number, values(done.architecture))
                for _ in range(again - 1):
                    searcher.tell(done.number, [value + 1.0 for value in values(done.architecture)])
                    searcher.tell(done.number, None)
        runs.append(found)
        assert len(set(found)) == len(found)
    assert runs[0] == runs[1], "what is told a second time changes nothing"
    drawn = plain("random_search")[: len(found)]
    assert (tuple(found[: len(drawn)]) == drawn) == (name in RANDOM), "there were results enough for a method's own"


@pytest.mark.parametrize("name", SEARCHERS)
def test_late_results_are_credited_to_their_own_trial(name: str) -> None:
    """Twelve trials wait: what comes next depends on whose results they are, not on the order in which they come.

    But in MO-REA, whose members grow old in the order in which they are told.
    """
    following = []
    for order, shift in ((1, 0), (-1, 0), (1, 1)):
        searcher = made(name)
        waiting = [asked(searcher) for _ in range(12)]
        told = [values(trial.architecture) for trial in waiting]
        for trial in waiting[::order]:
            searcher.tell(trial.number, told[trial.number - shift])
        following.append([asked(searcher).architecture for _ in range(5)])
    in_order, reversed_, of_another = following
    assert in_order == reversed_ or name == "regularized_evolution"
    assert (in_order == of_another) == (name in RANDOM)


@pytest.mark.parametrize("name", SEARCHERS)
def test_failed_evaluations_are_survived(name: str) -> None:
    searcher = made(name)
    found = []
    for number in range(evaluations(name) + 10):
        trial = asked(searcher)
        found.append(trial.architecture)
        good = values(trial.architecture)
        searcher.tell(trial.number, [None, [float("nan"), 1.0], [0.1, float("inf")], good, good, good][number % 6])  # type: ignore[list-item, arg-type]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("name", SEARCHERS)
def test_when_everything_fails_it_goes_on(name: str) -> None:
    """As random search does, or, in local search, around the start designs, which are all that is known."""
    searcher, found = made(name), list[Architecture]()
    for _ in range(20):
        trial = asked(searcher)
        found.append(trial.architecture)
        searcher.tell(trial.number, None)
    assert len(set(found)) == len(found)
    assert (tuple(found) == plain("random_search")[:20]) == (name != "local_search")


@pytest.mark.parametrize("name", SEARCHERS)
def test_three_objectives(name: str) -> None:
    """One trial is always waiting when another is proposed; the unit of none of the three counts."""
    runs = []
    for scale in SCALES:
        searcher, found = made(name, objectives=3), list[Trial]()
        while len(found) < evaluations(name, 3):
            found.append(asked(searcher))
            for trial in found[-2:-1]:
                told = values(trial.architecture, 3)
                searcher.tell(trial.number, [value * factor for value, factor in zip(told, scale, strict=True)])
        runs.append(tuple(trial.architecture for trial in found))
    assert runs[0] == runs[1]
    archs = runs[0]
    assert len(set(archs)) == len(archs)
    assert (archs == plain("random_search")[: len(archs)]) == (name in RANDOM)


@pytest.mark.parametrize("name", REAL)
def test_wrong_tells_are_one_clear_error(name: str) -> None:
    searcher = made(name)
    with pytest.raises(UsageError, match=r"trial 0; the trials asked for are none"):
        searcher.tell(0, [1.0, 2.0])
    asked(searcher)
    asked(searcher)
    for number in (2, -1):
        with pytest.raises(UsageError, match=rf"trial {number}; the trials asked for are 0 to 1"):
            searcher.tell(number, [1.0, 2.0])
    with pytest.raises(UsageError, match="trial 1: told 3 values, expected 2"):
        searcher.tell(1, [1.0, 2.0, 3.0])
    searcher.tell(1, [1.0, 2.0])


@pytest.mark.parametrize("name", [name for name in SEARCHERS if name not in RANDOM])
def test_results_guide_the_search(name: str) -> None:
    """Units bring nothing here: once there are results, fewer of them are proposed than random search does."""
    runs = [plain(name)] if name in MODELLED else [tuple(proposals(name, seed)) for seed in range(5)]
    own = [np.mean(arch.unit_counts) for run in runs for arch in run[10:]]
    drawn = [np.mean(arch.unit_counts) for seed in range(5) for arch in proposals("random_search", seed)[3:]]
    assert np.mean(own) < 0.75 * np.mean(drawn)


@pytest.mark.parametrize("name", OTHERS)
def test_one_objective(name: str) -> None:
    searcher = made(name, objectives=1)
    for _ in range(evaluations(name)):
        trial = asked(searcher)
        searcher.tell(trial.number, values(trial.architecture)[1:2])


def test_wrong_settings_are_one_clear_error() -> None:
    for name in MODELLED:
        with pytest.raises(UsageError, match=f"{name}: 1 objective, expected 2"):
            made(name, objectives=1)
    with pytest.raises(UsageError, match="objectives 0: expected 1 or more"):
        made("random_search", objectives=0)
    with pytest.raises(UsageError, match="seed -1: expected 0 or more"):
        made("random_search", seed=-1)
    one = get_space("layer", Dimensions(layers=1, heads=2, units=2, head_size=2, hidden_size=4))
    with pytest.raises(UsageError, match="there is nothing to search"):
        get_searcher("random_search", one, objectives=2, evaluations=9, seed=0)
    known = "ehvi, exhaustive, local_search, nsga2, qlognehvi, random_search, regularized_evolution"
    with pytest.raises(UnknownNameError, match=known):
        require_searcher("guess")
    with pytest.raises(UnknownNameError, match=known):
        made("guess")


def test_a_searcher_of_syne_tune_stops_its_scheduler() -> None:
    """As Syne Tune's Tuner uses it: configurations, results by trial, None at the end."""
    from syne_tune.optimizer.schedulers.single_fidelity_scheduler import SingleFidelityScheduler

    searcher = syne_tune_searcher("nsga2", space("layer"), objectives=2, evaluations=15, seed=0)
    scheduler = SingleFidelityScheduler(searcher.config_space, metrics=["a", "b"], searcher=searcher, random_seed=0)
    found = []
    while (suggestion := scheduler.suggest()) is not None:
        found.append(from_config(space("layer"), {**suggestion.config, "epochs": 3}))
        searcher.on_trial_complete(len(found) - 1, suggestion.config, values(found[-1]))
    assert len(set(found)) == len(found) == 15
