"""MO-ASHA: which trials it stops, on a case worked by hand, and what it proposes."""

from __future__ import annotations

import datetime
import random

import numpy as np
import pytest
from syne_tune.backend.trial_status import Trial
from syne_tune.optimizer.scheduler import SchedulerDecision

from hwnas.bench.alone import levels_of
from hwnas.errors import UnknownNameError, UsageError
from hwnas.search.mo_asha import MOASHA
from hwnas.search.schedulers import LEVEL, get_scheduler, metric_names, require_scheduler
from hwnas.search.searcher import MO_ASHA
from hwnas.search.syne_tune import from_config
from hwnas.spaces import Architecture, Dimensions, get_space
from hwnas.training.options import TrainOptions

SPACE = get_space("small", Dimensions(layers=3, heads=4, units=8, head_size=2, hidden_size=8))


def made(seed: int = 0, levels: int = 9) -> MOASHA:
    scheduler = get_scheduler(MO_ASHA, SPACE, objectives=2, evaluations=9, seed=seed, levels=levels)
    assert isinstance(scheduler, MOASHA)
    return scheduler


def started(scheduler: MOASHA, number: int) -> Trial:
    suggestion = scheduler.suggest()
    assert suggestion is not None
    trial = Trial(number, suggestion.config, datetime.datetime.now())
    scheduler.on_trial_add(trial)
    return trial


def goes_on(scheduler: MOASHA, trial: Trial, level: int, error: float, size: float) -> bool:
    names = metric_names(2)
    decision = scheduler.on_trial_result(trial, {LEVEL: level, names[0]: error, names[1]: size})
    return bool(decision == SchedulerDecision.CONTINUE)


def test_one_in_three_passes_a_rung() -> None:
    """Of n trials at a rung the first n / 3 places, rounded up, go on."""
    scheduler = made()
    assert list(scheduler.rungs) == [1, 3]
    trials = [started(scheduler, number) for number in range(6)]
    first = [
        ((0.50, 10.0), True),  # the first always
        ((0.60, 20.0), False),  # dominated: second of 2
        ((0.40, 30.0), True),  # on the front, and the smallest error: first of 3
        ((0.45, 5.0), True),  # on the front, farthest from (0.40, 30): second of 4
        ((0.50, 4.0), True),  # the same: the front is (0.40, 30), (0.45, 5), (0.50, 4); second of 5
        ((0.41, 29.0), False),  # on the front, but next to (0.40, 30): fourth of 6
    ]
    assert [goes_on(scheduler, trial, 1, *values) for trial, (values, _) in zip(trials, first, strict=True)] == [
        on for _, on in first
    ]
    assert not goes_on(scheduler, trials[1], 1, 0.0, 0.0), "what is told first of a trial at a rung counts"
    assert goes_on(scheduler, trials[0], 1, 9.0, 9.0), "and a trial that passed has passed"
    scheduler.on_trial_error(trials[4])
    assert len(scheduler.rungs[1]) == 6, "what one that failed had reported stays"
    assert goes_on(scheduler, trials[2], 2, 0.9, 99.0), "there is no rung at level 2"
    assert goes_on(scheduler, trials[0], 3, 0.30, 10.0)
    assert not goes_on(scheduler, trials[2], 3, 0.35, 30.0)
    assert not goes_on(scheduler, trials[3], 3, float("nan"), 5.0)
    assert list(scheduler.rungs[3]) == [0, 2], "what is not finite does not count"
    assert not goes_on(scheduler, trials[0], 9, 0.1, 10.0), "the whole training ends"


def test_reports_told_twice_late_or_out_of_order_change_no_decision() -> None:
    """Each trial has the same decisions and rungs, and the searcher the same results, as when all is told once."""
    values = np.random.default_rng(3).uniform(size=(12, 9, 2)).tolist()
    kept = []
    for noisy in (False, True):
        scheduler, decisions = made(), []
        results: dict[int, tuple[float, ...]] = {}
        scheduler._searcher.on_trial_complete = lambda number, _, found, to=results: to.update({number: tuple(found)})
        trials = [started(scheduler, number) for number in range(len(values))]
        for trial in trials:
            for level in range(1, 10):
                found = values[trial.trial_id][level - 1]
                decisions.append(goes_on(scheduler, trial, level, *found))
                if noisy:  # again with other numbers, and its own first level, and that of an earlier trial, late
                    assert goes_on(scheduler, trial, level, 0.0, 0.0) == decisions[-1]
                    assert goes_on(scheduler, trial, 1, 0.0, 0.0) == decisions[-1]
                    goes_on(scheduler, trials[trial.trial_id // 2], 1, 0.0, 0.0)
                if not decisions[-1]:
                    scheduler.on_trial_remove(trial)
                    break
        kept.append((decisions, scheduler.rungs, results))
    assert kept[0] == kept[1]
    assert 0 < sum(kept[0][0]) < len(kept[0][0])


@pytest.mark.parametrize("factor", [1e-9, 7e6])
def test_units_of_the_objectives_do_not_matter(factor: float) -> None:
    rng = np.random.default_rng(0)
    values = rng.uniform(size=(20, 2))
    runs = []
    for scale in (1.0, factor):
        scheduler = made()
        told = enumerate((values * (1.0, scale)).tolist())
        runs.append([goes_on(scheduler, started(scheduler, number), 1, *found) for number, found in told])
    assert runs[0] == runs[1]
    assert 4 <= sum(runs[0]) <= 16


def proposed(seed: int, shuffle: int, failing: float = 0.0) -> list[Architecture]:
    """With three running, which report in any order, or fail instead."""
    np.random.seed(shuffle)  # noqa: NPY002
    scheduler, draw = made(seed), random.Random(shuffle)
    found: list[Architecture] = []
    running: list[tuple[Trial, int]] = []
    while len(found) < 25:
        if len(running) < 3:
            trial = started(scheduler, len(found))
            found.append(from_config(SPACE, trial.config))
            running.append((trial, 0))
        trial, level = running.pop(draw.randrange(len(running)))
        if draw.random() < failing:
            scheduler.on_trial_error(trial)
        elif goes_on(scheduler, trial, level + 1, draw.random(), draw.random()):
            running.append((trial, level + 1))
        else:
            scheduler.on_trial_remove(trial)
    return found


def test_the_seed_alone_decides_what_is_proposed() -> None:
    first = proposed(0, 1)
    assert tuple(first[:3]) == SPACE.start_designs()
    assert len(set(first)) == len(first)
    assert first == proposed(0, 2)
    assert first == proposed(0, 3, failing=0.3)
    assert first != proposed(1, 1)


def test_a_spent_space_ends_it() -> None:
    layer = get_space("layer", SPACE.dimensions)
    scheduler = get_scheduler(MO_ASHA, layer, objectives=2, evaluations=9, seed=0, levels=2)
    found = [scheduler.suggest() for _ in range(layer.size + 1)]
    assert found[-1] is None
    assert all(found[:-1])


def test_levels_are_epochs_or_shares_of_the_steps() -> None:
    assert levels_of("random_search", TrainOptions(epochs=5), 100) == 1
    assert levels_of(MO_ASHA, TrainOptions(epochs=5), 100) == 5
    assert levels_of(MO_ASHA, TrainOptions(epochs=0.4), 100) == 1
    assert levels_of(MO_ASHA, TrainOptions(max_steps=400), 100) == 9
    assert levels_of(MO_ASHA, TrainOptions(max_steps=4), 100) == 4


def test_wrong_settings_are_one_clear_error() -> None:
    with pytest.raises(UsageError, match="levels 0: expected 1 or more"):
        made(levels=0)
    with pytest.raises(UsageError, match="eta 1: expected 2 or more"):
        get_scheduler(MO_ASHA, SPACE, objectives=2, evaluations=9, seed=0, levels=9, eta=1)
    with pytest.raises(UnknownNameError, match="did you mean 'mo_asha'"):
        require_scheduler("mo_ashe")
