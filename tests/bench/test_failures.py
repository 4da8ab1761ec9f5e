"""Evaluations that fail: they cost what they had begun, do not come again, and only several in a row end a search."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hwnas.bench.journal import ASKED, FAILED
from hwnas.bench.search import run_search
from hwnas.bench.trial_processes import one_by_one, several_at_once
from hwnas.bench.trials import Trials
from hwnas.errors import RunFolderError, UsageError
from hwnas.search.cache import EvaluationCache
from hwnas.search.search import VALIDATION
from hwnas.search.searcher import get_searcher
from hwnas.spaces import Architecture, Dimensions, get_space

MODULE = """
import os, signal
from contextlib import contextmanager

LEVELS = 9


def cost(arch):
    return 3 * sum(arch.head_counts) + sum(arch.unit_counts)


def told_nothing(done, total, text):
    pass


@contextmanager
def made(folder, evaluations=6, report=told_nothing):
    from hwnas.bench.journal import Journal
    from hwnas.bench.trials import Trials
    from hwnas.search.cache import EvaluationCache
    from hwnas.search.schedulers import get_scheduler
    from hwnas.spaces import Dimensions, get_space

    space = get_space("small", Dimensions(layers=3, heads=4, units=8, head_size=2, hidden_size=8))
    scheduler = get_scheduler("mo_asha", space, objectives=2, evaluations=evaluations, seed=0, levels=LEVELS)
    with EvaluationCache(folder / "errors.jsonl", {}) as cache, Journal(folder / "order.jsonl") as journal:
        yield Trials(
            scheduler, space, cost, cache, journal, evaluations=evaluations, levels=LEVELS,
            splits=("validation", "test"), report=report,
        )


def set_up(payload):
    folder, failing = payload
    if failing == "set-up":
        raise ValueError("no such network")

    def evaluate(arch, told):
        with (folder / "begun").open("a") as file:
            file.write(f"{arch.head_counts} {arch.unit_counts}\\n")
        how, when = failing.get("all") or failing.get((arch.head_counts, arch.unit_counts)) or ("", 0)
        level = 0
        while True:
            level += 1
            if level == when and how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if level == when and how == "disk":
                raise OSError(28, "No space left on device")
            if level == when:
                raise RuntimeError("out of memory")
            if not told(level, 1 / (1 + sum(arch.head_counts)) + 0.5 / level, 0.01 * level):
                return 0.5, 0.01 * level

    return evaluate
"""


SPACE = get_space("small", Dimensions(layers=3, heads=4, units=8, head_size=2, hidden_size=8))
EVERY = {"all": ("raises", 1)}
DISK = {"all": ("disk", 1)}


@dataclass
class Failing:
    """The module above, which processes can import, and what it leaves."""

    folder: Path
    module: Any
    said: list[str] = field(default_factory=list)

    def made(self) -> Any:
        return self.module.made(self.folder, report=lambda done, total, text: self.said.append(text))

    def train(self, trials: Trials, which: Any, at_once: int) -> None:
        payload = self.folder, which
        if at_once == 1:
            one_by_one(trials, self.module.set_up(payload))
        else:
            several_at_once(trials, self.module.set_up, payload, at_once)

    def events(self) -> list[tuple[str, int]]:
        lines = (self.folder / "order.jsonl").read_text().splitlines()
        return [(event["kind"], event["trial"]) for event in map(json.loads, lines)]

    def begun(self) -> list[str]:
        return (self.folder / "begun").read_text().splitlines()


@pytest.fixture
def failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Failing:
    (tmp_path / "failing_trials.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("failing_trials", None)
    import failing_trials  # type: ignore[import-not-found]

    return Failing(tmp_path, failing_trials)


def key(number: int) -> tuple[Any, Any]:
    """What the module knows a start design by, which is the trial of that number."""
    arch = SPACE.start_designs()[number]
    return arch.head_counts, arch.unit_counts


@pytest.mark.parametrize("at_once", [1, 2])
def test_a_training_that_fails_costs_its_levels_and_does_not_come_again(failing: Failing, at_once: int) -> None:
    """Once by an error and, in a process of its own, once by being killed; then resumed."""
    level = 2 if at_once == 1 else 1  # where it fails; with two at once the first may be stopped before its second
    broken = {key(0): ("raises", level)}
    if at_once == 2:
        broken[key(2)] = "killed", level
    with failing.made() as trials:
        failing.train(trials, broken, at_once)
    lost = sum(kind == FAILED for kind, _ in failing.events())
    assert trials.lost == lost == len(broken)
    assert not trials.running
    numbers = sorted(done.number for done in trials.done)
    assert numbers == sorted({number for kind, number in failing.events() if kind == ASKED} - {0, *range(2, 1 + lost)})
    spent = sum(done.level for done in trials.done)
    assert spent + level * lost == 6 * failing.module.LEVELS
    assert failing.said[-1].endswith(f", {lost} failed")
    assert trials.done[-1].spent == 6.0, "what failed is paid for"
    assert max(done.elapsed for done in trials.done) > 0
    before, begun, ended = failing.events(), failing.begun(), [(done.number, done.elapsed > 0) for done in trials.done]
    assert len(set(begun)) == len(begun)
    # As a kill leaves it: without the last events, one of them a failure at times.
    order = failing.folder / "order.jsonl"
    raising = dict.fromkeys(broken, ("raises", level))
    for kept in (len(before), next(at for at, (kind, _) in enumerate(before) if kind == FAILED)):
        order.write_text("".join(order.read_text().splitlines(keepends=True)[:kept]))
        with failing.made() as again:
            one_by_one(again, failing.module.set_up((failing.folder, raising)))
        assert again.lost == lost
        if kept == len(before):
            assert (failing.events(), failing.begun()) == (before, begun), "nothing is done again"
            assert [(done.number, done.elapsed > 0) for done in again.done] == ended
    assert sum(done.level for done in again.done) + level * lost == 6 * failing.module.LEVELS


@pytest.mark.parametrize("at_once", [1, 2])
def test_failures_in_a_row_end_the_search_and_are_tried_again(failing: Failing, at_once: int) -> None:
    with failing.made() as trials, pytest.raises(RuntimeError, match="out of memory") as caught:
        failing.train(trials, EVERY, at_once)
    assert 3 <= len(failing.begun()) <= (3 if at_once == 1 else 5), "those that ran meanwhile might have ended well"
    if at_once == 2:
        assert str(caught.value).startswith("trial ")
        assert "Traceback" in str(caught.value.__cause__)
    assert FAILED not in dict(failing.events()), "the next start trains them again"
    with failing.made() as trials:
        one_by_one(trials, failing.module.set_up((failing.folder, {})))
    assert trials.lost == 0
    assert {0, 1, 2} <= {done.number for done in trials.done}
    assert sum(done.level for done in trials.done) == 6 * failing.module.LEVELS


def test_ten_failures_in_a_row_after_one_that_ended(failing: Failing) -> None:
    evaluate, calls = failing.module.set_up((failing.folder, {})), 0

    def later(arch: Architecture, told: Any) -> tuple[float, float]:
        nonlocal calls
        calls += 1
        if calls > 2:
            told(1, 0.5, 0.1)
            raise MemoryError(f"call {calls}")
        return evaluate(arch, told)  # type: ignore[no-any-return]

    with failing.made() as trials, pytest.raises(MemoryError, match="call 3"):
        one_by_one(trials, later)
    assert calls == 2 + 10
    assert (len(trials.done), trials.lost) == (2, 9)
    assert [kind for kind, _ in failing.events()].count(FAILED) == 0


def test_a_full_disk_and_a_set_up_that_fails_end_the_search_at_once(failing: Failing) -> None:
    with failing.made() as trials, pytest.raises(OSError, match="No space left"):
        one_by_one(trials, failing.module.set_up((failing.folder, DISK)))
    for stop in (KeyboardInterrupt, RunFolderError):
        with failing.made() as trials, pytest.raises(stop):
            one_by_one(trials, lambda arch, told, stop=stop: (_ for _ in ()).throw(stop))  # type: ignore[misc]
    with failing.made() as trials, pytest.raises(RuntimeError, match="ValueError: no such network"):
        several_at_once(trials, failing.module.set_up, (failing.folder, "set-up"), 1)
    with failing.made() as trials, pytest.raises(RuntimeError, match=r"trial 0: OSError: .*No space left"):
        several_at_once(trials, failing.module.set_up, (failing.folder, DISK), 1)
    assert FAILED not in dict(failing.events())
    assert len(failing.begun()) == 2


def test_a_search_on_shared_weights_survives_failures(tmp_path: Path) -> None:
    """They have no row, the report counts them, and another run tries again."""
    said: list[str] = []
    calls: list[Architecture] = []

    def cost(arch: Architecture) -> float:
        return 3.0 * sum(arch.head_counts) + sum(arch.unit_counts)

    def search(fails: Any) -> list[dict[str, Any]]:
        calls.clear()

        def evaluate(arch: Architecture) -> dict[str, float]:
            calls.append(arch)
            problem = fails(arch)
            if problem is not None:
                raise problem
            return {VALIDATION: 1 / (1 + sum(arch.head_counts))}

        searcher = get_searcher("regularized_evolution", SPACE, objectives=2, evaluations=20, seed=0)
        with EvaluationCache(tmp_path / "errors.jsonl", {}) as cache:
            return run_search(
                searcher, evaluate, cost, cache, evaluations=20, report=lambda done, total, text: said.append(text)
            )

    for problem in (OSError("disk full"), RunFolderError("cannot write"), KeyboardInterrupt()):
        with pytest.raises(type(problem)):
            search(lambda arch, problem=problem: problem)
        assert len(calls) == 1
    with pytest.raises(RuntimeError, match="no such device"):
        search(lambda arch: RuntimeError("no such device"))
    assert calls == list(SPACE.start_designs())

    def odd(arch: Architecture) -> Exception | None:
        return RuntimeError("odd") if sum(arch.unit_counts) % 4 == 1 else None

    rows = search(odd)
    failed = [arch for arch in calls if odd(arch) is not None]
    assert failed
    assert len(rows) == 20 - len(failed)
    assert said[-1].endswith(f"{len(failed)} failed")
    assert [row["number"] for row in rows] == [at for at, arch in enumerate(calls) if arch not in failed]
    assert [row["spent"] for row in rows] == [row["number"] + 1 for row in rows], "what failed is paid for"
    again = search(odd)
    assert calls == failed, "what was found is in the cache; what failed is tried again"
    assert [(row["number"], row["error"]) for row in again] == [(row["number"], row["error"]) for row in rows]
    with pytest.raises(UsageError, match="all of the 2 sub-networks of the space failed"):
        _all_of_two(tmp_path / "two.jsonl")


def _all_of_two(path: Path) -> None:
    """Every sub-network of a space of two fails."""

    def evaluate(arch: Architecture) -> dict[str, float]:
        raise RuntimeError("odd")

    two = get_space("small", Dimensions(layers=1, heads=1, units=2, head_size=2, hidden_size=4))
    assert two.size == 2
    searcher = get_searcher("random_search", two, objectives=2, evaluations=3, seed=0)
    with EvaluationCache(path, {}) as cache:
        run_search(searcher, evaluate, lambda arch: 1.0, cache, evaluations=3)
