"""One trial of a standard NAS: while it runs, and when it has ended."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwnas.spaces import Architecture

if TYPE_CHECKING:
    from syne_tune.backend.trial_status import Trial as SyneTuneTrial


@dataclass
class Running:
    """A trial that was proposed and has not ended.

    Attributes:
        number: Counts proposals from 0.
        architecture: What is trained.
        handle: The trial as Syne Tune knows it.
        level: Resource levels that it has reported.
        error: What it reported last.
        over: It is not to be trained further.
        started: When it was proposed, in seconds of the search.
        own: Seconds of the scheduler's for this trial.
    """

    number: int
    architecture: Architecture
    handle: SyneTuneTrial
    level: int = 0
    error: float = math.nan
    over: bool = False
    started: float = 0.0
    own: float = 0.0


@dataclass(frozen=True)
class Done:
    """A trial that has ended.

    Attributes:
        number: Counts proposals from 0.
        architecture: What was trained.
        level: Resource levels that it was trained for.
        error: Validation error after them.
        test_error: Test error after them.
        parameters: The second objective.
        seconds: What training and evaluating took.
        searcher_seconds: What the scheduler took for it.
        elapsed: When it ended, in seconds of the search.
        spent: Whole trainings that all trials that had ended by then, or failed, were trained for.
    """

    number: int
    architecture: Architecture
    level: int
    error: float
    test_error: float
    parameters: int
    seconds: float
    searcher_seconds: float
    elapsed: float
    spent: float
