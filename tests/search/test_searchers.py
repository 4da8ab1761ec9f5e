"""Searchers: seeds, ends of the space, late results; and the search loop with its cache."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from hwnas.errors import UnknownNameError, UsageError
from hwnas.search.cache import EvaluationCache
from hwnas.search.search import Point, front_of, search_points
from hwnas.search.searcher import Trial, get_searcher, require_searcher, searcher_names
from hwnas.spaces import Architecture, Dimensions, Space, get_space, space_names

DIMENSIONS = Dimensions(layers=4, heads=4, units=16, head_size=2, hidden_size=8)
EVALUATIONS = 40


def space(name: str = "small") -> Space:
    return get_space(name, DIMENSIONS)


def values(arch: Architecture) -> tuple[float, float]:
    """Two objectives that contradict each other."""
    size = sum(arch.head_counts) * 3 + sum(arch.unit_counts)
    return 1.0 / (1 + size), float(size)


def proposals(name: str, seed: int, where: str = "small", late: int = 0) -> list[Architecture]:
    """What a searcher proposes when results come `late` proposals late, in a shuffled order."""
    searcher = get_searcher(name, space(where), objectives=2, evaluations=EVALUATIONS, seed=seed)
    asked: list[Architecture] = []
    open_trials: list[Trial] = []
    shuffle = random.Random(0)
    for _ in range(EVALUATIONS):
        trial = searcher.ask()
        asked.append(trial.architecture)
        open_trials.append(trial)
        if len(open_trials) > late:
            shuffle.shuffle(open_trials)
            done = open_trials.pop()
            searcher.tell(done.number, values(done.architecture))
    return asked


@pytest.mark.parametrize("late", [0, 15])
@pytest.mark.parametrize("where", space_names())
@pytest.mark.parametrize("name", searcher_names())
def test_same_seed_same_proposals_whatever_the_global_state(name: str, where: str, late: int) -> None:
    np.random.seed(1)  # noqa: NPY002
    first = proposals(name, 7, where, late)
    np.random.seed(2)  # noqa: NPY002
    before = np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002
    assert proposals(name, 7, where, late) == first
    assert np.random.get_state()[1].tolist() == before, "numpy's global state is left alone"  # type: ignore[index]  # noqa: NPY002
    assert proposals(name, 8, where, late) != first
    assert all(arch in space(where) for arch in first)


@pytest.mark.parametrize("where", space_names())
@pytest.mark.parametrize("name", searcher_names())
def test_the_start_designs_come_first(name: str, where: str) -> None:
    assert tuple(proposals(name, 0, where)[:3]) == space(where).start_designs()


@pytest.mark.parametrize("name", searcher_names())
def test_both_ends_of_every_range_are_reached(name: str) -> None:
    seen = np.array([space().encode(arch) for seed in range(12) for arch in proposals(name, seed)[3:]])
    for column, (low, high) in zip(seen.T, space().bounds.values(), strict=True):
        assert column.min() == low
        assert column.max() == high


def test_random_search_proposes_different_architectures() -> None:
    assert len(set(proposals("random_search", 0))) == EVALUATIONS
    assert len(set(proposals("random_search", 0, "layer"))) == space("layer").size == 15


def test_evolution_mutates_what_is_good() -> None:
    """With one objective to follow, later proposals are better than the random ones of the first population."""
    searcher = get_searcher("regularized_evolution", space(), objectives=1, evaluations=60, seed=0)
    sizes = []
    for _ in range(60):
        trial = searcher.ask()
        sizes.append(values(trial.architecture)[1])
        searcher.tell(trial.number, [sizes[-1]])
    assert np.mean(sizes[-15:]) < 0.5 * np.mean(sizes[3:15])


def test_an_unknown_searcher_lists_the_known() -> None:
    for call in (
        lambda: require_searcher("guess"),
        lambda: get_searcher("guess", space(), objectives=2, evaluations=9, seed=0),
    ):
        with pytest.raises(UnknownNameError, match="random_search, regularized_evolution"):
            call()


class Objective:
    """Number of units."""

    name, unit, provenance = "units", "units", "counted"

    def __call__(self, arch: Architecture) -> float:
        return values(arch)[1]


def run_search(path: Path, name: str, stop: int | None = None) -> tuple[list[Point], list[Architecture]]:
    """A search; `stop` interrupts it in the evaluation of that number."""
    made: list[Architecture] = []

    def evaluate(arch: Architecture) -> float:
        if len(made) == stop:
            raise KeyboardInterrupt
        made.append(arch)
        return values(arch)[0]

    searcher = get_searcher(name, space(), objectives=2, evaluations=EVALUATIONS, seed=3)
    with EvaluationCache(path, {"of": "test"}) as cache:
        return search_points(searcher, Objective(), evaluate, cache, evaluations=EVALUATIONS), made


@pytest.mark.parametrize("name", searcher_names())
def test_an_interrupted_search_ends_like_an_undisturbed_one(name: str, tmp_path: Path) -> None:
    whole, all_made = run_search(tmp_path / "whole.jsonl", name)
    with pytest.raises(KeyboardInterrupt):
        run_search(tmp_path / "cut.jsonl", name, stop=13)
    with (tmp_path / "cut.jsonl").open("a") as file:
        file.write('{"split": "validation", "archi')  # cut short in the middle of a line
    points, made = run_search(tmp_path / "cut.jsonl", name)
    assert points == whole
    assert made == all_made[13:]
    assert (tmp_path / "cut.jsonl").read_text().count("\n") == len(all_made) + 1
    again, none = run_search(tmp_path / "cut.jsonl", name)
    assert again == whole
    assert none == []


def test_too_few_evaluations_are_refused(tmp_path: Path) -> None:
    searcher = get_searcher("random_search", space(), objectives=2, evaluations=3, seed=0)
    with EvaluationCache(tmp_path / "e.jsonl", {}) as cache, pytest.raises(UsageError, match="3 or more"):
        search_points(searcher, Objective(), lambda arch: 0.0, cache, evaluations=2)


def test_front_of_points() -> None:
    small, large = space().smallest(), space().largest()

    def points(*pairs: Sequence[float]) -> list[Point]:
        return [Point(small if i % 2 else large, error, cost) for i, (error, cost) in enumerate(pairs)]

    front = front_of(points((0.3, 1), (0.2, 3), (0.25, 2), (0.4, 2), (0.2, 4)))
    assert [(point.error, point.cost) for point in front] == [(0.3, 1), (0.25, 2), (0.2, 3)]
