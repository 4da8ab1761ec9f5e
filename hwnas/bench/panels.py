"""The panels of each kind of drawing, computed from the rows of searches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from hwnas.bench.figures import QUANTISED, STANDARD
from hwnas.bench.folder import Row
from hwnas.bench.spent import share as trained
from hwnas.bench.spent import spent
from hwnas.bench.statistics import (
    Array,
    anytime_hypervolume,
    at_times,
    average_ranks,
    best_below,
    best_hypervolume,
    common_grid,
    quantile_normalise,
    regret,
)
from hwnas.tasks import quality_name

Over = Literal["evaluations", "time"]
OVER: tuple[str, ...] = get_args(Over)
Style = Literal["line", "points", "box", "level"]

LIMITS = np.linspace(0.2, 0.99, 21)
"""Sizes, as shares of the whole network's, below which the best sub-network is sought; those of the authors."""


@dataclass(frozen=True)
class Curve:
    """One series in a panel.

    Attributes:
        label: What the legend says.
        y: Values; of a box those that it sums up, of a level the one.
        x: Places, as many as values; empty for boxes and levels.
        spread: Standard deviation over seeds of each value; empty where there is none.
        style: How it is drawn.
        across: How far the interval of each place reaches below and above it; empty where places are exact.
    """

    label: str
    y: tuple[float, ...]
    x: tuple[float, ...] = ()
    spread: tuple[float, ...] = ()
    style: Style = "line"
    across: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Panel:
    """One set of axes."""

    title: str
    x_label: str
    y_label: str
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class TaskRuns:
    """What a figure compares on one task.

    Attributes:
        task: Name of the task.
        metric: Name of its metric.
        runs: Rows of each seed, by label of the series.
        approaches: Approach of each series, by label.
        constant: Test quality of the best answer that is always the same, if it is known.
    """

    task: str
    metric: str
    runs: Mapping[str, list[list[Row]]]
    approaches: Mapping[str, str]
    constant: float | None = None

    @property
    def floor(self) -> list[Curve]:
        """A line at the quality of a constant answer: whoever is not above it has learnt nothing."""
        return [] if self.constant is None else [Curve("always the same answer", (self.constant,), style="level")]

    @property
    def title(self) -> str:
        """Title of its panel."""
        return self.task.upper()

    @property
    def quality(self) -> str:
        """Name of the metric, for axes."""
        return quality_name(self.metric)


def normalised(runs: Mapping[str, list[list[Row]]]) -> dict[str, list[Array]]:
    """Validation error and parameters of every run, (n, 2), normalised over all series and seeds."""
    points = [_objectives(rows) for of_label in runs.values() for rows in of_label]
    normal = iter(quantile_normalise(points))
    return {label: [next(normal) for _ in of_label] for label, of_label in runs.items()}


def regrets(runs: Mapping[str, list[list[Row]]], over: Over) -> tuple[Array, dict[str, Array]]:
    """Places, (m,), and the hypervolume regret of each series there, (seeds, m).

    Places are seconds, or evaluations, of which a sub-network that was stopped early is only a share.
    """
    normal = normalised(runs)
    best = best_hypervolume([points for of_label in normal.values() for points in of_label])
    reached = {
        label: [anytime_hypervolume(points) for points in of_label] for label, of_label in normal.items()
    }  # fmt: skip
    times = {label: [_times(rows, over) for rows in of_label] for label, of_label in runs.items()}
    every = [run for of_label in times.values() for run in of_label]
    places = common_grid(every) if over == "time" else np.arange(1.0, np.floor(max(run[-1] for run in every)) + 1)
    # A search that had proposed the whole space keeps what it has.
    values = {
        label: [at_times(line, when, places) for line, when in zip(of_label, times[label], strict=True)]
        for label, of_label in reached.items()
    }
    return places, {label: regret(np.array(of_label), best) for label, of_label in values.items()}


def _boxes(tasks: Sequence[TaskRuns], over: Over) -> list[Panel]:
    panels = []
    for entry in tasks:
        curves = [
            Curve(label, tuple(float(anytime_hypervolume(points)[-1]) for points in of_label), style="box")
            for label, of_label in normalised(entry.runs).items()
        ]
        panels.append(Panel(entry.title, "", "hypervolume", tuple(curves)))
    return panels


def _ranks(tasks: Sequence[TaskRuns], over: Over) -> list[Panel]:
    found = [regrets(entry.runs, over)[1] for entry in tasks]
    labels = list(tasks[0].runs)
    steps = min(of_label.shape[1] for of_task in found for of_label in of_task.values())
    mean = average_ranks([np.array([of_task[label][:, :steps] for label in labels]) for of_task in found])
    places = tuple(float(place) for place in range(1, steps + 1))
    curves = tuple(Curve(label, tuple(map(float, line)), places) for label, line in zip(labels, mean, strict=True))
    names = ", ".join(entry.title for entry in tasks)
    return [Panel(names, "time steps" if over == "time" else "evaluations", "average rank", curves)]


def _regret(tasks: Sequence[TaskRuns], over: Over) -> list[Panel]:
    panels = []
    for entry in tasks:
        places, found = regrets(entry.runs, over)
        curves = tuple(_mean(label, places, values) for label, values in found.items())
        axis = "time [s]" if over == "time" else "evaluations"
        panels.append(Panel(entry.title, axis, "hypervolume regret", curves))
    return panels


def _sizes(tasks: Sequence[TaskRuns], over: Over) -> list[Panel]:
    panels = []
    for entry in tasks:
        curves, whole = [], np.empty(0)
        for label, of_label in entry.runs.items():
            if entry.approaches[label] == QUANTISED:
                values = np.array([[_quality(rows[0])] for rows in of_label])
                curves.append(_mean(label, np.zeros(1), values, "points"))
                continue
            kept = np.array([_best_by_size(rows) for rows in of_label])
            known = ~np.isnan(kept).any(axis=0)
            curves.append(_mean(label, 1 - LIMITS[known], kept[:, known]))
            # A network that was fine-tuned alone is what the paper means by the unpruned one.
            found = [_quality(row) for rows in of_label for row in rows if row.share == 1.0 and trained(row) == 1]
            if found and (not len(whole) or entry.approaches[label] == STANDARD):
                whole = np.array(found)
        if len(whole):
            unpruned = float(whole.mean())
            curves += [
                Curve("unpruned" if share == 1 else f"{share:.0%} of unpruned", (share * unpruned,), style="level")
                for share in (1.0, 0.95, 0.9)
            ]
        curves += entry.floor
        panels.append(Panel(entry.title, "share of parameters pruned", f"test {entry.quality}", tuple(curves)))
    return panels


def _points(tasks: Sequence[TaskRuns], over: Over) -> list[Panel]:
    panels = []
    for entry in tasks:
        curves = []
        for label, of_label in entry.runs.items():
            points = _objectives(of_label[0])
            x, y = points[:, 1] / 1e6, points[:, 0]
            curves.append(Curve(label, tuple(map(float, y)), tuple(map(float, x)), style="points"))
        axis = f"validation error (1 - {entry.quality})"
        panels.append(Panel(entry.title, "parameters [millions]", axis, tuple(curves)))
    return panels


def _latency(tasks: Sequence[TaskRuns], over: Over) -> list[Panel]:
    panels = []
    for entry in tasks:
        kinds: dict[str, list[Row]] = {}
        for label, of_label in entry.runs.items():
            for row in (row for rows in of_label for row in rows):
                name = f"unpruned, {row.precision}" if row.share == 1.0 else f"{label}, {row.precision}"
                kinds.setdefault(name, []).append(row)
        curves = tuple(
            Curve(
                name,
                tuple(_quality(row) for row in rows),
                tuple(float("nan") if row.latency is None else row.latency * 1e3 for row in rows),
                across=tuple(_reach(row) for row in rows),
                style="points",
            )
            for name, rows in kinds.items()
        )
        panels.append(Panel(entry.title, "measured latency [ms]", f"test {entry.quality}", (*curves, *entry.floor)))
    return panels


def _reach(row: Row) -> tuple[float, float]:
    """How far the interval of a latency reaches below and above it, in milliseconds; 0 where there is none."""
    if row.latency is None or row.latency_low is None or row.latency_high is None:
        return 0.0, 0.0
    return max(0.0, row.latency - row.latency_low) * 1e3, max(0.0, row.latency_high - row.latency) * 1e3


PANELS: Mapping[str, Callable[[Sequence[TaskRuns], Over], list[Panel]]] = {
    "boxes": _boxes,
    "ranks": _ranks,
    "regret": _regret,
    "sizes": _sizes,
    "points": _points,
    "latency": _latency,
}
"""How the panels of each kind of drawing are made."""


def _times(rows: Sequence[Row], over: Over) -> Array:
    """(n,): when each row's evaluation ended, in seconds or in evaluations."""
    return np.array([row.elapsed or 0.0 for row in rows]) if over == "time" else spent(rows)


def _objectives(rows: Sequence[Row]) -> Array:
    """(n, 2): validation error and parameters."""
    return np.array([(row.error, row.parameters) for row in rows], dtype=np.float64)


def _best_by_size(rows: Sequence[Row]) -> Array:
    """For each of `LIMITS` the test quality of the best sub-network by validation that is smaller; NaN without one."""
    objectives = _objectives(rows)
    whole = max(row.parameters / row.share for row in rows)
    chosen = best_below(objectives[:, 1], objectives[:, 0], LIMITS * whole)
    return np.array([np.nan if index is None else _quality(rows[index]) for index in chosen])


def _quality(row: Row) -> float:
    return float("nan") if row.test_error is None else 1 - row.test_error


def _mean(label: str, places: Array, values: Array, style: Style = "line") -> Curve:
    """Mean over seeds, and their standard deviation where there are several."""
    spread = tuple(map(float, values.std(axis=0, ddof=1))) if len(values) > 1 else ()
    return Curve(label, tuple(map(float, values.mean(axis=0))), tuple(map(float, places)), spread, style)
