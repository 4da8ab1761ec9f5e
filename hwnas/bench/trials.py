"""The trials of a standard NAS: what is trained next, what goes on, what is done; all of it can be gone on with.

Syne Tune's schedulers decide; its Tuner and its LocalBackend (0.16) are not used, because after a kill they lose what
this must keep. The Tuner saves itself every ten seconds, not before the next proposal, into a file that a kill cuts
short; started again it forgets the trials that were running. The backend starts an interpreter for every trial, which
loads model and data anew and outlives a Tuner that was killed. So this is the Tuner's loop over an evaluation cache and
a journal, and `hwnas.bench.trial_processes` is the backend.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hwnas.bench.journal import ASKED, ENDED, FAILED, TOLD, Event, Journal
from hwnas.bench.trial import Done, Running
from hwnas.search.cache import EvaluationCache
from hwnas.search.patience import PATIENCE, PATIENCE_AT_FIRST, without_locals
from hwnas.search.schedulers import LEVEL
from hwnas.spaces import Architecture, Space

if TYPE_CHECKING:
    from syne_tune.optimizer.scheduler import TrialScheduler

SECONDS = "seconds"
"""Name under which the cache keeps what an evaluation took."""

LOST = "failed"
"""Name under which the cache keeps the seconds of an evaluation that failed."""

Progress = Callable[[int, int, str], None]
"""Called with (whole trainings spent, those in all, short text)."""


@dataclass
class Trials:
    """The state of a search, made again from cache and journal when it is started.

    The budget is counted in resource levels, so that all methods get the same training: a trial that is stopped early
    leaves its rest to others. Exactly the budget is trained, unless the whole space was proposed before; the last
    trials may be cut short by it.

    What the journal holds is repeated first, in its order, with the values in the cache; a trial that was running is
    trained again from its start, and what it had reported is not told again. Where the scheduler proposes something
    else than then, as another version of it may, the rest of the order is dropped, but nothing in the cache.

    A trial that fails costs the levels that it had begun, is told to the scheduler, and is not trained again. Failures
    in a row, three before the first trial that ended and ten after it, end the search: then something else is to blame,
    and the next start trains them again.

    Seconds of the search are counted as if it had never been killed, and had trained all itself: a trial starts when
    the first of `at_once` places is free, and takes what its training took and the scheduler for it.

    Args:
        scheduler: New, of two objectives: error, and `cost`.
        space: Where it searches.
        cost: The second objective.
        cache: Where errors and seconds are kept, by level.
        journal: Where the order is kept.
        evaluations: Whole trainings to spend.
        levels: Resource levels of a whole training.
        splits: Names of validation and test split in the cache.
        report: Called after each report and each end.
        at_once: Trials that run at the same time.

    Attributes:
        done: Trials that have ended, in the order in which they did.
        running: The others that have not failed, by number.
        lost: How many have failed.
    """

    scheduler: TrialScheduler
    space: Space
    cost: Callable[[Architecture], float]
    cache: EvaluationCache
    journal: Journal
    evaluations: int
    levels: int
    splits: tuple[str, str]
    report: Progress = lambda *_: None
    at_once: int = 1
    done: list[Done] = field(default_factory=list, init=False)
    running: dict[int, Running] = field(default_factory=dict, init=False)
    lost: int = field(default=0, init=False)
    _in_a_row: int = field(default=0, init=False)
    _reason: Exception | None = field(default=None, init=False)
    _begun: int = field(default=0, init=False)
    _spent: int = field(default=0, init=False)
    _now: float = field(default=0.0, init=False)
    _free: list[float] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._free = [0.0] * self.at_once
        for index, event in enumerate(self.journal.events):
            if not self._repeat(event):
                self.journal.cut(index)
                for trial in self.running.values():  # one that was proposed in another's place
                    if not any(entry.kind == ASKED and entry.trial == trial.number for entry in self.journal.events):
                        self._note(ASKED, trial)
                break
        self._waiting = list(self.running.values())

    def next(self) -> Running | None:
        """The trial to be trained next; None if there is none now.

        One that the cache holds to its end is not trained, but ended here: another search may have trained it.
        """
        while True:
            self.cache.refresh()
            if self._waiting:
                trial = self._waiting.pop(0)
            else:
                proposed = self._ask()
                if proposed is None:
                    return None
                trial = proposed
                self._note(ASKED, trial)
            if not self._known(trial):
                return trial

    def told(self, number: int, level: int, error: float, seconds: float) -> bool:
        """A trial reports; whether it is to go on.

        Args:
            number: Of the trial.
            level: How many resource levels it has been trained for; each in turn, from 1.
            error: Its validation error after them.
            seconds: What it has taken up to here.
        """
        trial = self.running[number]
        if level <= trial.level:  # it had reported that before a kill
            return level < trial.level or not trial.over
        self.cache.put(self._key(self.splits[0], level), trial.architecture, error, seconds)
        self._tell(trial, level, error)
        self._note(TOLD, trial)
        return not trial.over

    def ended(self, number: int, test_error: float, seconds: float) -> None:
        """A trial has ended: it was told not to go on, and was tested.

        Args:
            number: Of the trial.
            test_error: Its test error.
            seconds: What it has taken in all.
        """
        trial = self.running[number]
        self.cache.put(self._key(self.splits[1], trial.level), trial.architecture, test_error, seconds)
        self.cache.put(self._key(SECONDS, trial.level), trial.architecture, seconds, seconds)
        self._end(trial, test_error, seconds)
        self._note(ENDED, trial)

    def failed(self, number: int, error: Exception, seconds: float) -> None:
        """A trial has failed.

        Args:
            number: Of the trial.
            error: Why.
            seconds: What it has taken up to here.

        Raises:
            Exception: Too many have failed in a row: the first error of these, because later ones may follow from it.
        """
        trial = self.running[number]
        self._reason = self._reason or without_locals(error)
        others = len(self.running) - 1  # which may yet end well
        patience = PATIENCE if self.done else min(PATIENCE, PATIENCE_AT_FIRST + others, self.space.size)
        if self._in_a_row + 1 >= patience:
            self._forget()
            raise self._reason
        self.cache.put(LOST, trial.architecture, seconds, seconds)
        self._fail(trial, seconds)
        self._note(FAILED, trial)

    def _forget(self) -> None:
        """Drop the order from the first of the last failures in a row on; the next start trains their trials again."""
        for index, event in enumerate(self.journal.events):
            if event.kind == FAILED and all(later.kind != ENDED for later in self.journal.events[index:]):
                self.journal.cut(index)
                return

    def _known(self, trial: Running) -> bool:
        """Take from the cache what it holds of a trial; whether the trial has ended by that."""
        while not trial.over:
            error = self.cache.get(self._key(self.splits[0], trial.level + 1), trial.architecture)
            if error is None:
                return False
            self._tell(trial, trial.level + 1, error)
            self._note(TOLD, trial)
        kept = self._kept(trial)
        if kept is None:
            return False
        self._end(trial, *kept)
        self._note(ENDED, trial)
        return True

    def _repeat(self, event: Event) -> bool:
        """Let an event of the journal happen again; False if it cannot."""
        if event.kind == ASKED:
            proposed = self._ask()
            return proposed is not None and proposed.architecture.to_json() == event.architecture
        trial = self.running.get(event.trial)
        if trial is None:
            return False
        if event.kind == TOLD:
            error = self.cache.get(self._key(self.splits[0], event.level), trial.architecture)
            if error is None or trial.over or event.level != trial.level + 1:
                return False
            self._tell(trial, event.level, error)
            return True
        if event.kind == FAILED:
            seconds = self.cache.get(LOST, trial.architecture)
            if seconds is None:
                return False
            self._fail(trial, seconds)
            return True
        kept = self._kept(trial)
        if event.kind != ENDED or kept is None or not trial.over:
            return False
        self._end(trial, *kept)
        return True

    def _ask(self) -> Running | None:
        """A new trial, if the budget allows one and the space has one."""
        if self._poor:
            return None
        import datetime

        from syne_tune.backend.trial_status import Trial as SyneTuneTrial

        from hwnas.search.syne_tune import from_config

        start = time.perf_counter()
        suggestion = self.scheduler.suggest()
        if suggestion is None:
            return None
        number = len(self.done) + len(self.running) + self.lost
        handle = SyneTuneTrial(number, suggestion.config, datetime.datetime.now())
        trial = Running(number, from_config(self.space, suggestion.config), handle, started=self._place())
        self.scheduler.on_trial_add(handle)
        self._charge(trial, start)
        self.running[number] = trial
        self._begun += 1
        return trial

    def _tell(self, trial: Running, level: int, error: float) -> None:
        """Pass a report on to the scheduler, and decide whether the trial goes on."""
        from syne_tune.optimizer.scheduler import SchedulerDecision

        result = self._result(trial.architecture, level, error)
        start = time.perf_counter()
        decision = self.scheduler.on_trial_result(trial.handle, result)
        self._charge(trial, start)
        trial.level, trial.error = level, error
        self._spent += 1
        trial.over = level == self.levels or decision != SchedulerDecision.CONTINUE or self._poor
        if not trial.over:
            self._begun += 1
        self._say(trial)

    def _end(self, trial: Running, test_error: float, seconds: float) -> None:
        """Pass the end of a trial on to the scheduler, and keep its result."""
        result = self._result(trial.architecture, trial.level, trial.error)
        start = time.perf_counter()
        if trial.level == self.levels:
            self.scheduler.on_trial_complete(trial.handle, result)
        else:
            self.scheduler.on_trial_remove(trial.handle)
        self._charge(trial, start)
        self._leave(trial, seconds)
        self._in_a_row, self._reason = 0, None
        self.done.append(
            Done(
                number=trial.number,
                architecture=trial.architecture,
                level=trial.level,
                error=trial.error,
                test_error=test_error,
                parameters=int(self.cost(trial.architecture)),
                seconds=seconds,
                searcher_seconds=trial.own,
                elapsed=self._now,
                spent=(self._spent - sum(other.level for other in self.running.values())) / self.levels,
            )
        )
        self._say(trial)

    def _fail(self, trial: Running, seconds: float) -> None:
        """Pass the failure of a trial on to the scheduler; the level that it failed in is spent."""
        start = time.perf_counter()
        self.scheduler.on_trial_error(trial.handle)
        self._charge(trial, start)
        self._leave(trial, seconds)
        self.lost, self._in_a_row = self.lost + 1, self._in_a_row + 1
        if not trial.over:
            self._spent += 1
        self._say(trial)

    @property
    def _poor(self) -> bool:
        """Whether all levels of the budget have been begun."""
        return self._begun >= self.evaluations * self.levels

    def _place(self) -> float:
        """When a trial starts that is proposed now, in seconds of the search."""
        if not self._free:  # fewer run at once than before a kill
            return self._now
        first = min(self._free)
        self._free.remove(first)
        return first

    def _leave(self, trial: Running, seconds: float) -> None:
        """A trial's place is free from its end on."""
        del self.running[trial.number]
        end = trial.started + seconds
        if len(self._free) < self.at_once:
            self._free.append(end)
        self._now = max(self._now, end)

    def _charge(self, trial: Running, start: float) -> None:
        """Count the scheduler's time since `start` for a trial, which begins or ends later by it."""
        own = time.perf_counter() - start
        trial.own += own
        trial.started += own

    def _result(self, arch: Architecture, level: int, error: float) -> dict[str, Any]:
        """A report as the scheduler reads it."""
        return {LEVEL: level, **dict(zip(self.scheduler.metric_names(), (error, self.cost(arch)), strict=True))}

    def _kept(self, trial: Running) -> tuple[float, float] | None:
        """Test error and seconds of a trial that is over, from the cache."""
        test = self.cache.get(self._key(self.splits[1], trial.level), trial.architecture)
        seconds = self.cache.get(self._key(SECONDS, trial.level), trial.architecture)
        return None if test is None or seconds is None else (test, seconds)

    def _key(self, split: str, level: int) -> str:
        """Name under which the cache keeps a value after a level; that of the whole training is the split's own."""
        return split if level == self.levels else f"{split}@{level}/{self.levels}"

    def _note(self, kind: str, trial: Running) -> None:
        arch = trial.architecture.to_json() if kind == ASKED else None
        self.journal.append(Event(kind, trial.number, trial.level if kind == TOLD else 0, arch))

    def _say(self, trial: Running) -> None:
        error = "" if math.isnan(trial.error) else f"error {trial.error:.4f}"
        lost = f"{self.lost} failed" if self.lost else ""
        self.report(self._spent // self.levels, self.evaluations, ", ".join(filter(None, (error, lost))))
