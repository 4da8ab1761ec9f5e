"""From a folder's results to a picture: what is drawn, at what scale, and what is missing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hwnas.bench.figures import LABELS, QUANTISED, STANDARD, Figure, Series
from hwnas.bench.folder import BenchFolder, Row
from hwnas.bench.panels import OVER, PANELS, Over, Panel, TaskRuns
from hwnas.bench.units import Unit, unit_of
from hwnas.errors import RunFolderError, UnknownNameError, UsageError
from hwnas.latency.records import Setting

Held = dict[Unit, list[Row]]
Texts = dict[Unit, dict[str, str]]
"""What the file of each unit says of itself."""

_FEW = 2
"""Searchers that the text names; of more the legend does."""

_TIMED = ("ranks", "regret")
"""Drawings with a curve over evaluations, or over time."""


@dataclass(frozen=True)
class Picture:
    """A figure, ready to be drawn.

    Attributes:
        figure: Its number.
        title: What it compares.
        panels: The panels.
        scale: At what scale it was run, in words.
        notes: What it lacks, in words.
    """

    figure: str
    title: str
    panels: tuple[Panel, ...]
    scale: str
    notes: tuple[str, ...]

    def rows(self) -> list[dict[str, Any]]:
        """Every number in the picture, one in a row."""
        return [
            {
                "figure": self.figure,
                "panel": panel.title,
                "series": curve.label,
                "x_label": panel.x_label,
                "x": curve.x[index] if curve.x else None,
                "y_label": panel.y_label,
                "y": y,
                "spread": curve.spread[index] if curve.spread else None,
                "x_low": curve.x[index] - curve.across[index][0] if curve.across else None,
                "x_high": curve.x[index] + curve.across[index][1] if curve.across else None,
                "scale": self.scale,
            }
            for panel in self.panels
            for curve in panel.curves
            for index, y in enumerate(curve.y)
        ]


def make_picture(
    folder: BenchFolder,
    figure: Figure,
    *,
    only: Sequence[str] = (),
    tasks: Sequence[str] = (),
    method: str | None = None,
    evaluations: int | None = None,
    over: Over = "evaluations",
) -> Picture:
    """Make a figure of what a folder holds.

    Tasks and seeds that not all series have are left out, so that all are compared on the same; so are series that were
    not run at all. The notes say so.

    Args:
        folder: Where the results are.
        figure: The figure.
        only: Names of series to leave it at.
        tasks: Names of tasks to leave it at.
        method: Another searcher, for figures that do not compare searchers.
        evaluations: Those of the searches; None takes the largest number there is.
        over: What curves run over, a name in `OVER`.

    Raises:
        RunFolderError: The folder holds no result of the figure, or a damaged one.
        UsageError: `over` is unknown, the figure has no curves over time, or it is of another model.
        UnknownNameError: No such series, no such searcher, no result of such a task.
    """
    if over not in OVER:
        raise UsageError(f"--over {over}: expected {' or '.join(OVER)}.")
    if over == "time" and figure.drawing not in _TIMED:
        raise UsageError(f"--over time: figure {figure.name} has no curves over time; leave it out.")
    series = figure.series(tuple(only), method)
    figure.check_model(folder.scale().model)
    held, texts = _held(folder, series)
    here = {unit.task for unit in held}
    for task in tasks if here else ():
        if task not in here:
            raise UnknownNameError("task of these results", task, tuple(sorted(here)))
    chosen = set(tasks) or here
    kept = {unit: rows for unit, rows in held.items() if unit.task in chosen}
    budget = evaluations if evaluations is not None else max((unit.evaluations for unit in kept), default=0)
    found, drawn, notes = _gather(series, kept, texts, budget)
    if not found:
        raise RunFolderError(
            f"{folder.path} holds no result of figure {figure.name}{f' with --budget {budget}' if budget else ''} that "
            f"can be drawn; `hwnas bench run {figure.name} --folder {folder.path}` makes some."
        )
    notes += [f"left out by --only: {entry.label}" for entry in figure.series((), method) if entry not in series]
    notes += [f"left out by --tasks: {task}" for task in sorted(here - chosen)]
    notes += [f"not here: {missing}" for missing in figure.missing]
    if any(entry.method == "regularized_evolution" for entry in series):
        notes.append(f"{LABELS['regularized_evolution']} here keeps what nothing dominates; the published one does not")
    if figure.drawing == "latency":
        refused = {texts[unit]["refused"] for unit in drawn if texts[unit].get("refused")}
        notes += [f"refused: {reason}" for reason in sorted(refused)]
        timed = [row for entry in found for runs in entry.runs.values() for rows in runs for row in rows]
        notes += [*_where(timed), *_flags(timed)]
    if figure.drawing == "points" and any(len(runs) > 1 for entry in found for runs in entry.runs.values()):
        notes.append("drawn: the first seed, since each has a super-network of its own")
    panels = PANELS[figure.drawing](found, over)
    known = [entry for entry in series if entry.label in found[0].runs]  # every task has the same
    scale = _scale(found, [texts[unit] for unit in drawn], known, budget)
    return Picture(figure.name, figure.title, tuple(panels), scale, tuple(notes))


def _held(folder: BenchFolder, series: Sequence[Series]) -> tuple[Held, Texts]:
    """Units of the series that are done, with their rows."""
    held: Held = {}
    texts: Texts = {}
    for path in folder.units():
        unit, rows, text = folder.read(path)
        if any(unit_of(entry, unit.task, unit.seed, unit.evaluations) == unit for entry in series):
            held[unit] = rows
            texts[unit] = text
    return held, texts


def _gather(
    series: Sequence[Series], held: Held, texts: Texts, budget: int
) -> tuple[list[TaskRuns], list[Unit], list[str]]:  # fmt: skip
    """What all series were run on, its units; and what is left out."""
    names = sorted({unit.task for unit in held})
    seeds = {
        (entry, task): {unit.seed for unit in held if unit_of(entry, task, unit.seed, budget) == unit}
        for entry in series
        for task in names
    }
    known = [entry for entry in series if any(seeds[entry, task] for task in names)]
    notes = [
        f"not run{f' with {budget} evaluations' if budget and entry.approach != QUANTISED else ''}: {entry.label}"
        for entry in series
        if entry not in known
    ]
    tasks, drawn = [], []
    for task in names:
        common = set.intersection(*(seeds[entry, task] for entry in known)) if known else set()
        if not common:
            notes.append(f"left out: {task}, where no seed was run with every series")
            continue
        lost = {
            seed: [entry.label for entry in known if seed not in seeds[entry, task]]
            for entry in known
            for seed in seeds[entry, task] - common
        }
        notes += [f"left out: {task} seed {seed}, without {', '.join(lost[seed])}" for seed in sorted(lost)]
        units = {entry.label: [unit_of(entry, task, seed, budget) for seed in sorted(common)] for entry in known}
        drawn += [unit for of_label in units.values() for unit in of_label]
        errors = [texts[unit].get("constant_test_error") for of_label in units.values() for unit in of_label]
        known_errors = [float(error) for error in errors if error]  # earlier versions wrote none
        tasks.append(
            TaskRuns(
                task=task,
                metric=texts[drawn[-1]]["metric"],
                runs={label: [held[unit] for unit in of_label] for label, of_label in units.items()},
                approaches={entry.label: entry.approach for entry in known},
                constant=1 - sum(known_errors) / len(known_errors) if known_errors else None,
            )
        )
    return tasks, drawn, notes


def _where(rows: Sequence[Row]) -> list[str]:
    """Where latencies were measured, in words."""
    found = set()
    for row in rows:
        if row.setting:
            setting = Setting.from_json(json.loads(row.setting))
            found.add(
                f"{setting.fingerprint}, {setting.runtime} {setting.runtime_version}, {setting.sequence_length} tokens"
            )
        else:
            found.add("a processor that rows of an earlier version do not name")
    return [f"timed on {place}" for place in sorted(found)]


def _flags(rows: Sequence[Row]) -> list[str]:
    """How many latencies have which flags, in words; nothing without any."""
    counts = Counter(flag for row in rows for flag in row.flags.split())
    said = ", ".join(f"{flag} {count}" for flag, count in sorted(counts.items()))
    return [f"flags of the {len(rows)} latencies, drawn with their intervals: {said}"] if said else []


def _scale(tasks: Sequence[TaskRuns], texts: Sequence[Mapping[str, str]], series: Sequence[Series], budget: int) -> str:
    """Model, steps, evaluations, seeds and examples, in words."""
    seeds = sorted({len(runs) for entry in tasks for runs in entry.runs.values()})
    spaces = sorted({entry.space for entry in series})
    methods = sorted({LABELS.get(entry.method, entry.method) for entry in series if entry.approach != QUANTISED})
    aligned = sorted({text["align"] for text in texts if text.get("align")})
    commits = sorted({_short(text["commit"]) for text in texts if text["commit"]})
    trained = "each sub-network" if all(entry.approach == STANDARD for entry in series) else "training"
    parts = [
        ", ".join(sorted({text["model"] for text in texts})),
        f"{trained} {_span(texts, 'steps')} steps of {_span(texts, 'batch_size')} examples",
        *([f"{budget} evaluations"] if budget else []),
        f"{_span(texts, 'validation_examples')} validation examples",
        f"{seeds[0] if len(seeds) == 1 else f'{seeds[0]} to {seeds[-1]}'} seed{'s' * (seeds[-1] > 1)}",
        *([f"space {spaces[0]}"] if len(spaces) == 1 else []),
        *([f"searched by {' and '.join(methods)}"] if len(methods) <= _FEW else []),
        *(f"widths in steps of {steps.replace(',', ' heads and ')} units" for steps in aligned),
        f"hwnas {texts[0]['hwnas']}"
        + (f", commit {commits[0]}" if len(commits) == 1 else f", {len(commits)} commits" if commits else ""),
    ]
    return "; ".join(parts)


def _span(texts: Sequence[Mapping[str, str]], name: str) -> str:
    values = sorted({int(text[name]) for text in texts})
    return str(values[0]) if len(values) == 1 else f"{values[0]} to {values[-1]}"


def _short(commit: str) -> str:
    """Ten digits of a commit, and whether the checkout had changes."""
    return commit[:10] + ("-dirty" if commit.endswith("-dirty") else "")
