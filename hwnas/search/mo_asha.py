"""MO-ASHA: asynchronous successive halving for several objectives, behind Syne Tune's scheduler interface.

Source: Schmucker et al. 2021, "Multi-objective Asynchronous Successive Halving"; the variant that stops trials and
never pauses them, as Syne Tune runs it in the benchmark of Klein et al. 2024.

Syne Tune 0.16 has a `MOASHA`, of which nothing but the outline could be used, so this is one of our own:

- Its proposals come from numpy's global state, so the seed changes nothing, and repeat what was proposed. Here they are
  those of hwnas's random search: the start designs first, both ends of the space among them, each architecture once.
- Its `NonDominatedPriority` returns the trials in sorted order where the place of each is wanted, so that one
  trial is judged by another's number; and its epsilon-net is in the objectives' own units, of which millions of
  parameters outweigh every error. The order here is that of `hwnas.search.evolution.priorities`, on scaled objectives.
- Of 3 trials it lets 2 pass where 1 in 3 should: it compares a place that counts from 0 with "at most n / eta".

This module imports Syne Tune; `hwnas.search.schedulers` imports it when a scheduler is made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from syne_tune.backend.trial_status import Trial
from syne_tune.optimizer.scheduler import SchedulerDecision, TrialScheduler, TrialSuggestion

from hwnas.errors import UsageError
from hwnas.search.evolution import priorities
from hwnas.search.schedulers import ETA, LEVEL, R_MIN
from hwnas.search.syne_tune import SpaceSearcher


class MOASHA(TrialScheduler):  # type: ignore[misc]
    """Stops a trial that is not among the best 1 in `eta` of those that have reached the same rung.

    Rungs are at the levels `r_min`, `r_min * eta`, `r_min * eta**2`, ... below `levels`. A trial that reports at a rung
    is ranked among all that reported there so far, itself included: by non-dominated sorting, and within a layer first
    the one that is best in the first objective, then always the one farthest from those before it. Of n trials the
    first n / eta places, rounded up, go on; so the first trial at a rung always does. Nobody waits for others, so that
    what is stopped depends on the order in which trials report. A report that is not finite stops its trial, and does
    not count at the rung. A report told twice or late changes nothing: what is told first of a level counts, a stopped
    trial stays stopped, and its result is that of its highest level.

    Args:
        searcher: Proposes; a searcher without a model, because trials report at different levels.
        metrics: Names under which trials report their objectives, all minimised.
        levels: Resource levels of a whole training; a trial that reports at it has ended.
        r_min: Levels before a trial may be stopped; 1 or more.
        eta: One in so many passes a rung; 2 or more.

    Attributes:
        rungs: The objectives of each trial at each rung, by level and number of the trial, in the order reported.

    Raises:
        UsageError: A number out of range.
    """

    def __init__(
        self, searcher: SpaceSearcher, metrics: Sequence[str], *, levels: int, r_min: int = R_MIN, eta: int = ETA
    ) -> None:
        for what, number, least in (("levels", levels, 1), ("r_min", r_min, 1), ("eta", eta, 2)):
            if number < least:
                raise UsageError(f"MO-ASHA: {what} {number}: expected {least} or more.")
        super().__init__(random_seed=searcher.random_seed)
        self._searcher, self._metrics, self._levels, self._eta = searcher, list(metrics), levels, eta
        self._last: dict[int, tuple[int, tuple[float, ...]]] = {}
        self._stopped: set[int] = set()
        self.rungs: dict[int, dict[int, tuple[float, ...]]] = {}
        rung = r_min
        while rung < levels:
            self.rungs[rung] = {}
            rung *= eta

    def suggest(self) -> TrialSuggestion | None:
        """A new trial; None when the whole space was proposed."""
        config = self._searcher.suggest()
        return None if config is None else TrialSuggestion.start_suggestion(config)

    def on_trial_result(self, trial: Trial, result: dict[str, Any]) -> str:
        """Whether a trial goes on after a report. What it reports first at a rung counts."""
        number, level, values = trial.trial_id, int(result[LEVEL]), self._values(result)
        if number in self._stopped:
            return str(SchedulerDecision.STOP)
        if number not in self._last or level > self._last[number][0]:
            self._last[number] = level, values
        if self._passes(number, level, values):
            return str(SchedulerDecision.CONTINUE)
        self._stopped.add(number)
        return str(SchedulerDecision.STOP)

    def _passes(self, number: int, level: int, values: tuple[float, ...]) -> bool:
        if level >= self._levels or not all(map(math.isfinite, values)):
            return False
        rung = self.rungs.get(level)
        if rung is None or number in rung:
            return True
        rung[number] = values
        place = int(priorities(np.array(list(rung.values())))[-1])
        return place * self._eta < len(rung)

    def on_trial_complete(self, trial: Trial, result: dict[str, Any]) -> None:
        """A trial was trained to the end."""
        self._searcher.on_trial_complete(trial.trial_id, trial.config, self._values(result))

    def on_trial_remove(self, trial: Trial) -> None:
        """A trial was stopped; its last report counts as its result."""
        if trial.trial_id in self._last:
            self._searcher.on_trial_complete(trial.trial_id, trial.config, self._last[trial.trial_id][1])

    def on_trial_error(self, trial: Trial) -> None:
        """A trial has failed; what it reported at rungs stays."""
        self._searcher.on_trial_error(trial.trial_id)

    def metric_names(self) -> list[str]:
        """Names of the objectives."""
        return list(self._metrics)

    def metric_mode(self) -> str:
        """All are minimised."""
        return "min"

    def metadata(self) -> dict[str, Any]:
        """What Syne Tune's Tuner stores of a scheduler; JSON types."""
        return {
            "scheduler_name": type(self).__name__,
            "metric_names": self.metric_names(),
            "metric_mode": self.metric_mode(),
            "levels": self._levels,
            "rungs": list(self.rungs),
            "eta": self._eta,
        }

    def _values(self, result: dict[str, Any]) -> tuple[float, ...]:
        return tuple(float(result[name]) for name in self._metrics)
