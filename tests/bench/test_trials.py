"""Trials of a standard NAS: gone on with after a kill, whatever was running, in whatever order they report."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hwnas.bench.folder import BenchFolder
from hwnas.bench.journal import ENDED, TOLD, Event, Journal
from hwnas.bench.parallel import Failure
from hwnas.bench.run import _write_failures
from hwnas.bench.scale import Scale
from hwnas.bench.trial import Running
from hwnas.bench.trial_processes import one_by_one, several_at_once
from hwnas.bench.trials import Trials
from hwnas.errors import RunFolderError
from hwnas.search.searcher import get_searcher

SMALL = """
import os, time
from contextlib import contextmanager

LEVELS = {"local_search": 1, "mo_asha": 9}
PAUSE = 0.03


def value(arch, level):
    return 1 / (1 + sum(arch.head_counts)) + 0.5 / level


def cost(arch):
    return 3 * sum(arch.head_counts) + sum(arch.unit_counts)


@contextmanager
def made(folder, name, seed=0, evaluations=12, order="order.jsonl", at_once=1):
    from hwnas.bench.journal import Journal
    from hwnas.bench.trials import Trials
    from hwnas.search.cache import EvaluationCache
    from hwnas.search.schedulers import get_scheduler
    from hwnas.spaces import Dimensions, get_space

    space = get_space("small", Dimensions(layers=3, heads=4, units=8, head_size=2, hidden_size=8))
    levels = LEVELS[name]
    scheduler = get_scheduler(name, space, objectives=2, evaluations=evaluations, seed=seed, levels=levels)
    with EvaluationCache(folder / "errors.jsonl", {}) as cache, Journal(folder / order) as journal:
        splits = ("validation", "test")
        yield Trials(
            scheduler, space, cost, cache, journal,
            evaluations=evaluations, levels=levels, splits=splits, at_once=at_once,
        )


def set_up(folder):
    def evaluate(arch, told):
        with (folder / "begun").open("a") as file:
            file.write(f"{os.getpid()} {arch.head_counts} {arch.unit_counts}\\n")
        level = 1
        while told(level, value(arch, level), 0.01 * level):
            time.sleep(PAUSE)
            level += 1
        time.sleep(PAUSE)
        return value(arch, level), 0.01 * level

    return evaluate


def unit(folder, report):
    from hwnas.bench.trial_processes import several_at_once

    (folder / "unit").write_text(str(os.getpid()))
    with made(folder, "mo_asha") as trials:
        several_at_once(trials, set_up, folder, 2)
"""

MAIN = """
import sys
from pathlib import Path

if __name__ == "__main__":
    from hwnas.bench.parallel import Job, run_jobs
    from small_trials import unit

    failures = run_jobs([Job("unit", Path(sys.argv[1]))], unit, 2, nested=True)
    sys.exit(str(failures) if failures else 0)
"""


@pytest.fixture
def small(importable: Callable[..., Path]) -> Any:
    """The module above, which processes can import."""
    importable("small_trials", SMALL, MAIN)
    import small_trials  # type: ignore[import-not-found]

    return small_trials


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def run(trials: Trials, value: Any, draw: random.Random, stop: int = 10**6) -> None:
    """As two processes do it, in an order that is drawn; ended from outside after some messages."""
    running: list[tuple[Running, int]] = []
    while stop > 0:
        if len(running) < 2 and (trial := trials.next()) is not None:
            running.append((trial, 1))
            continue
        if not running:
            return
        at = draw.randrange(len(running))
        trial, level = running[at]
        if trials.told(trial.number, level, value(trial.architecture, level), 0.1 * level):
            running[at] = trial, level + 1
        else:
            del running[at]
            stop -= 1
            if stop > 0:
                trials.ended(trial.number, value(trial.architecture, level), 0.1 * level)
        stop -= 1


@pytest.mark.parametrize("name", ["local_search", "mo_asha"])
def test_nothing_that_was_done_is_done_again(small: Any, tmp_path: Path, name: str) -> None:
    """Ended from outside again and again; in the end each value was found once, and all told in the same order."""
    draw, journal, cache = random.Random(0), tmp_path / "order.jsonl", tmp_path / "errors.jsonl"
    before: list[dict[str, Any]] = []
    ended: list[tuple[Any, ...]] = []
    for stop in (1, 2, 3, 5, 9, 12, 10**6):
        with small.made(tmp_path, name) as trials:
            assert lines(journal) == before
            assert [(done.number, done.error, done.elapsed > 0) for done in trials.done] == ended
            run(trials, small.value, draw, stop)
        before = lines(journal)
        ended = [(done.number, done.error, True) for done in trials.done]
        with journal.open("a") as file:
            file.write('{"kind": "to')  # cut short
    levels = small.LEVELS[name]
    assert sum(done.level for done in trials.done) == 12 * levels
    assert len({done.architecture for done in trials.done}) == len(trials.done) >= 12
    found = [(entry["split"], str(entry["architecture"])) for entry in lines(cache)[1:]]
    assert len(set(found)) == len(found)
    clock = [done.elapsed for done in trials.done]
    assert clock == sorted(clock)
    with small.made(tmp_path, name) as again:
        assert again.next() is None
    assert [done.number for done in again.done] == [done.number for done in trials.done]


def test_one_at_a_time_is_ask_and_tell(small: Any, tmp_path: Path) -> None:
    with small.made(tmp_path, "local_search") as trials:
        one_by_one(trials, lambda arch, told: (float(told(1, small.value(arch, 1), 2.0)), 2.0))
    searcher = get_searcher("local_search", trials.space, objectives=2, evaluations=12, seed=0)
    for done in trials.done:
        trial = searcher.ask()
        assert trial is not None
        assert (done.number, done.architecture) == (trial.number, trial.architecture)
        searcher.tell(trial.number, (small.value(trial.architecture, 1), small.cost(trial.architecture)))
    assert [round(done.elapsed) for done in trials.done] == list(range(2, 26, 2))


def test_what_another_search_trains_is_not_trained_again(small: Any, tmp_path: Path) -> None:
    """Two at a time in one file: the second ends at once what the first has trained, with its results and seconds."""
    cache = tmp_path / "errors.jsonl"
    with (
        small.made(tmp_path, "local_search", order="a") as first,
        small.made(tmp_path, "local_search", order="b") as second,
    ):
        trial = first.next()
        first.told(trial.number, 1, 0.25, 2.0)
        other = second.next()
        assert (other.architecture, other.level, second.done) == (trial.architecture, 1, []), "not known to the end"
        first.ended(trial.number, 0.5, 3.0)
        # Whoever was asked to train it meanwhile trains it.
        second.told(other.number, 1, 0.25, 2.0)
        second.ended(other.number, 0.5, 3.0)
        one_by_one(first, lambda arch, told: (float(told(1, small.value(arch, 1), 2.0)), 2.0))
        before = cache.read_text()
        assert second.next() is None
    assert cache.read_text() == before
    for a, b in zip(first.done, second.done, strict=True):
        assert (a.architecture, a.error, a.test_error, a.seconds) == (b.architecture, b.error, b.test_error, b.seconds)
    assert len(second.done) == 12
    with small.made(tmp_path, "local_search", order="b") as again:
        assert again.next() is None
        assert [done.error for done in again.done] == [done.error for done in second.done]


def test_the_clock_is_that_of_the_trainings_whoever_made_them(small: Any, tmp_path: Path) -> None:
    """Two at once take half as long, also where all of it is known from another search."""
    with small.made(tmp_path, "local_search", order="a") as alone:
        one_by_one(alone, lambda arch, told: (float(told(1, small.value(arch, 1), 10.0)), 10.0))
    assert [round(done.elapsed) for done in alone.done] == [10 * number for number in range(1, 13)]
    with small.made(tmp_path, "local_search", order="b", at_once=2) as known:
        assert known.next() is None
    assert [round(done.elapsed) for done in known.done] == [10 * (number // 2 + 1) for number in range(12)]
    (tmp_path / "errors.jsonl").unlink()
    with small.made(tmp_path, "mo_asha", at_once=2) as trained:
        run(trained, small.value, random.Random(0))
    clock = [done.elapsed for done in trained.done]
    assert clock == sorted(clock)
    assert max(clock) == pytest.approx(sum(done.seconds for done in trained.done) / 2, rel=0.2)


def test_another_scheduler_than_then_keeps_the_evaluations(small: Any, tmp_path: Path) -> None:
    with small.made(tmp_path, "local_search", seed=0) as trials:
        run(trials, small.value, random.Random(0))
    known, calls = len(lines(tmp_path / "errors.jsonl")), 0

    def evaluate(arch: Any, told: Any) -> tuple[float, float]:
        nonlocal calls
        calls += 1
        told(1, small.value(arch, 1), 0.1)
        return small.value(arch, 1), 0.1

    with small.made(tmp_path, "local_search", seed=1) as trials:
        assert 0 < len(trials.done) + len(trials.running) < 12
        one_by_one(trials, evaluate)
    assert len(trials.done) == 12
    assert len(lines(tmp_path / "errors.jsonl")) == known + 3 * calls
    assert calls <= 9, "the start designs are in the cache"


def test_a_damaged_journal_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "order.jsonl"
    with Journal(path) as journal:
        journal.append(Event(TOLD, 3, 2))
        journal.append(Event(ENDED, 3))
        journal.cut(1)
        journal.append(Event(ENDED, 4))
    with Journal(path) as journal:
        assert journal.events == [Event(TOLD, 3, 2), Event(ENDED, 4)]
    path.write_text("3\n" + path.read_text())
    with pytest.raises(RunFolderError, match="damaged in line 1; delete it"):
        Journal(path)


def test_what_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    """A folder stands where a file should be written; a folder whose first write was killed is begun all the same."""
    path = tmp_path / "order.jsonl"
    with Journal(path) as journal:
        journal.append(Event(TOLD, 3, 2))
        path.unlink()
        (path / "in the way").mkdir(parents=True)
        with pytest.raises(RunFolderError, match=r"cannot write .*order\.jsonl \(Is a directory\)"):
            journal.cut(0)
        assert journal.events == [Event(TOLD, 3, 2)]
    assert [file.name for file in tmp_path.iterdir()] == ["order.jsonl"]
    folder, scale = BenchFolder(tmp_path / "b"), Scale(model=None)
    folder.path.mkdir()
    (folder.path / ".bench.json.123.tmp").write_text('{"sch')
    folder.begin(scale)
    assert folder.scale() == scale
    (folder.path / "failures").write_text("")
    with pytest.raises(RunFolderError, match=r"cannot write .*x\.txt .* why x failed: no memory; see to the disk"):
        _write_failures(folder, [Failure("x", "no memory")])


def processes(begun: Path) -> set[int]:
    """Those that have begun a trial."""
    return {int(line.split()[0]) for line in begun.read_text().splitlines()}


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def test_kill_9_loses_no_finished_trial_and_leaves_no_process(small: Any, tmp_path: Path) -> None:
    """Two trials at once, in a process of a run of several units, killed in the middle."""
    journal, begun = tmp_path / "order.jsonl", tmp_path / "begun"
    end = time.monotonic() + 60
    with subprocess.Popen(
        [sys.executable, "-P", str(tmp_path / "main.py"), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stderr=subprocess.PIPE,
    ) as process:
        while not journal.exists() or journal.read_text().count(ENDED) < 5 or len(processes(begun)) < 2:
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            assert time.monotonic() < end
            time.sleep(0.01)
        process.kill()
    pids = {int((tmp_path / "unit").read_text())} | processes(begun)
    assert len(pids) == 3
    while any(map(alive, pids)):
        assert time.monotonic() < end
        time.sleep(0.02)
    text = journal.read_text()
    before = text[: text.rfind("\n") + 1]
    evaluated = begun.read_text().splitlines()
    small.PAUSE = 0.0
    with small.made(tmp_path, "mo_asha") as trials:
        finished = {done.architecture for done in trials.done}
        assert len(finished) == before.count(ENDED)
        assert sum(done.level for done in trials.done) < 12 * 9
        one_by_one(trials, small.set_up(tmp_path))
    assert journal.read_text().startswith(before)
    assert sum(done.level for done in trials.done) == 12 * 9
    again = {line.split(" ", 1)[1] for line in begun.read_text().splitlines()[len(evaluated) :]}
    assert not again & {f"{arch.head_counts} {arch.unit_counts}" for arch in finished}


def test_an_evaluation_that_fails_says_where(small: Any, tmp_path: Path) -> None:
    """The error of the other process, in one line, with its traceback as the cause."""
    with (
        small.made(tmp_path, "local_search") as trials,
        pytest.raises(RuntimeError, match="trial 0: TypeError: 'str' object is not callable") as caught,
    ):
        several_at_once(trials, os.path.dirname, tmp_path.parent, 1)  # no set-up: gives a str, which cannot be called
    assert "Traceback" in str(caught.value.__cause__)
