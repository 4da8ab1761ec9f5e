"""The search loop: resuming after an interruption, failing evaluations, and spaces that are spent."""

from __future__ import annotations

import resource
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from hwnas.errors import RunFolderError, UnknownNameError, UsageError
from hwnas.pipeline.search_options import SearchOptions
from hwnas.search.cache import EvaluationCache
from hwnas.search.search import Point, front_of, search_points
from hwnas.search.searcher import get_searcher, searcher_names
from hwnas.search.steering import Steered
from hwnas.spaces import Architecture, Dimensions, Space, get_space

DIMENSIONS = Dimensions(layers=4, heads=4, units=16, head_size=2, hidden_size=8)
EVALUATIONS = 40


def space(name: str = "small") -> Space:
    return get_space(name, DIMENSIONS)


def values(arch: Architecture) -> tuple[float, float]:
    """Two objectives that contradict each other."""
    size = sum(arch.head_counts) * 3 + sum(arch.unit_counts)
    return 1.0 / (1 + size), float(size)


class Objective:
    """Number of units, three for a head."""

    name, unit, provenance = "units", "units", "counted"

    def __call__(self, arch: Architecture) -> float:
        return values(arch)[1]


def search(
    path: Path, evaluate: Callable[[Architecture], float], name: str = "random_search", where: str = "small",
    evaluations: int = EVALUATIONS, said: list[str] | None = None,
) -> list[Point]:  # fmt: skip
    searcher = get_searcher(name, space(where), objectives=2, evaluations=evaluations, seed=3)

    def progress(done: int, total: int, text: str) -> None:
        assert done <= total
        if said is not None:
            said.append(f"{done}/{total} {text}")

    with EvaluationCache(path, {"of": "test"}) as cache:
        return search_points(searcher, Objective(), evaluate, cache, evaluations=evaluations, progress=progress)


def stopping(made: list[Architecture], stop: int | None) -> Callable[[Architecture], float]:
    """An evaluation that is interrupted in the evaluation of that number."""

    def evaluate(arch: Architecture) -> float:
        if len(made) == stop:
            raise KeyboardInterrupt
        made.append(arch)
        return values(arch)[0]

    return evaluate


@pytest.mark.parametrize("name", [name for name in searcher_names() if name != "exhaustive"])
def test_an_interrupted_search_ends_like_an_undisturbed_one(name: str, tmp_path: Path) -> None:
    all_made: list[Architecture] = []
    whole = search(tmp_path / "whole.jsonl", stopping(all_made, None), name)
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "cut.jsonl", stopping([], 12), name)
    with (tmp_path / "cut.jsonl").open("a") as file:
        file.write('{"split": "validation", "archi')  # cut short in the middle of a line
    made: list[Architecture] = []
    assert search(tmp_path / "cut.jsonl", stopping(made, None), name) == whole
    assert made == all_made[12:]
    assert (tmp_path / "cut.jsonl").read_text().count("\n") == len(all_made) + 1 == EVALUATIONS + 1


def test_a_finished_search_costs_nothing_again(tmp_path: Path) -> None:
    whole = search(tmp_path / "e.jsonl", stopping([], None))
    assert search(tmp_path / "e.jsonl", stopping([], 0)) == whole


def test_a_space_that_is_spent_ends_the_search(tmp_path: Path) -> None:
    said: list[str] = []
    made: list[Architecture] = []
    points = search(tmp_path / "e.jsonl", stopping(made, None), where="layer", said=said)
    assert len(points) == len(set(made)) == space("layer").size == 15
    assert said[-1] == "15/15 4 on the front, the whole space"


def test_under_limits_the_progress_says_what_ended_it_and_counts_by_all_costs(tmp_path: Path) -> None:
    """Four networks cost 112, 4, 5 and 6; the first is beyond the limit, and no other is beaten in both costs."""
    inner = get_searcher("random_search", space(), objectives=3, evaluations=EVALUATIONS, seed=3)
    searcher = Steered(
        inner, space(), lambda arch: (values(arch)[1], -values(arch)[1]),
        excess=lambda arch: max(0.0, values(arch)[1] / 6 - 1), always={space().largest()},
    )  # fmt: skip
    with pytest.raises(UsageError, match="told of trial 0; the trials asked for are none"):
        searcher.tell(0, (0.5,))
    said: list[str] = []
    with EvaluationCache(tmp_path / "e.jsonl", {}) as cache:
        search_points(
            searcher, Objective(), lambda arch: 0.5, cache, evaluations=EVALUATIONS,
            progress=lambda done, total, text: said.append(f"{done}/{total} {text}"),
        )  # fmt: skip
    assert said[0] == f"1/{EVALUATIONS} 0 on the front"
    assert said[-1] == "4/4 3 on the front, found no other network within the limits"
    for number in (-1, 4):
        with pytest.raises(UsageError, match=f"told of trial {number}; the trials asked for are 0 to 3"):
            searcher.tell(number, (0.5,))


@pytest.mark.parametrize("name", ["random_search", "nsga2"])
def test_failing_evaluations_are_survived_and_tried_again(name: str, tmp_path: Path) -> None:
    def evaluate(arch: Architecture) -> float:
        heads = sum(arch.head_counts)
        if heads % 3 == 2:
            raise RuntimeError("out of memory")
        return float("nan") if heads % 3 == 0 and arch.unit_counts[0] % 2 else values(arch)[0]

    said: list[str] = []
    points = search(tmp_path / "e.jsonl", evaluate, name, said=said)
    lost = EVALUATIONS - len(points)
    assert lost > 3
    assert said[-1].endswith(f"on the front, {lost} failed")
    assert (tmp_path / "e.jsonl").read_text().count("\n") == len(points) + 1
    assert search(tmp_path / "e.jsonl", evaluate, name) == points
    later = search(tmp_path / "e.jsonl", lambda arch: values(arch)[0], name)
    assert len(later) == EVALUATIONS


def test_when_everything_fails_the_failure_is_raised(tmp_path: Path) -> None:
    made: list[Architecture] = []

    def evaluate(arch: Architecture) -> float:
        made.append(arch)
        raise RuntimeError("no such device")

    with pytest.raises(RuntimeError, match="no such device"):
        search(tmp_path / "e.jsonl", evaluate)
    assert tuple(made) == space().start_designs()

    def later(arch: Architecture) -> float:
        made.append(arch)
        if len(made) > 8:
            raise RuntimeError("the device is gone")
        return values(arch)[0]

    with pytest.raises(RuntimeError, match="the device is gone"):
        search(tmp_path / "e.jsonl", later)
    assert len(made) == 8 + 10
    with pytest.raises(UsageError, match="error nan and cost"):
        search(tmp_path / "nan.jsonl", lambda arch: float("nan"))


@pytest.mark.parametrize("error", [OSError("disk full"), RunFolderError("cannot write")])
def test_a_failing_disk_is_not_taken_for_a_failing_architecture(error: Exception, tmp_path: Path) -> None:
    def evaluate(arch: Architecture) -> float:
        raise error

    with pytest.raises(type(error), match=str(error)):
        search(tmp_path / "e.jsonl", evaluate)


def test_evaluations_before_a_full_disk_are_kept(tmp_path: Path) -> None:
    path, made = tmp_path / "e.jsonl", 0
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def evaluate(arch: Architecture) -> float:
        nonlocal made
        made += 1
        if made == 6:
            resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, before[1]))
        return values(arch)[0]

    try:
        with pytest.raises(RunFolderError, match=r"cannot write .*e\.jsonl .* what the file holds is kept"):
            search(path, evaluate)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    later: list[Architecture] = []
    assert len(search(path, stopping(later, None))) == EVALUATIONS == len(later) + 5


def test_too_few_evaluations_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="3 or more"):
        search(tmp_path / "e.jsonl", lambda arch: 0.0, evaluations=2)
    with pytest.raises(UsageError, match="--evaluations 2: expected 3 or more"):
        SearchOptions(evaluations=2)
    with pytest.raises(UnknownNameError, match="unknown searcher 'nsga3'; did you mean 'nsga2'"):
        SearchOptions(searcher="nsga3")


def test_front_of_points() -> None:
    small, large = space().smallest(), space().largest()

    def points(*pairs: Sequence[float]) -> list[Point]:
        return [Point(small if i % 2 else large, error, cost) for i, (error, cost) in enumerate(pairs)]

    front = front_of(points((0.3, 1), (0.2, 3), (0.25, 2), (0.4, 2), (0.2, 4)))
    assert [(point.error, point.cost) for point in front] == [(0.3, 1), (0.25, 2), (0.2, 3)]
