"""Run a figure: everything that it needs and that the folder does not hold yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hwnas.bench.figures import LATENCY, QUANTISED, STANDARD, Figure, Series
from hwnas.bench.folder import BenchFolder
from hwnas.bench.parallel import Failure, Job, quieten, run_jobs
from hwnas.bench.scale import Scale
from hwnas.bench.units import Unit, plan
from hwnas.errors import HwnasError, RunFolderError, UnknownNameError, UsageError
from hwnas.files import write_at_once
from hwnas.search.schedulers import get_scheduler, require_scheduler
from hwnas.search.searcher import get_searcher, require_searcher
from hwnas.tasks import task_names

TASKS = ("sst2", "rte", "cola", "mrpc", "stsb")
"""Tasks unless others are named; the paper has QNLI, IMDB and SWAG beside."""

Watch = Callable[[str, int, int, str], None]
"""Called with (stage, done, in all, short text)."""


@dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Attributes:
        units: All units of the figure.
        made: How many of them this run did; the others had been done before.
    """

    units: tuple[Unit, ...]
    made: int


def run_figure(
    folder: BenchFolder,
    figure: Figure,
    scale: Scale,
    *,
    tasks: Sequence[str],
    seeds: int,
    evaluations: int,
    only: Sequence[str] = (),
    method: str | None = None,
    jobs: int = 1,
    trials_at_once: int = 1,
    watch: Watch | None = None,
) -> Outcome:
    """Do what is missing of a figure. A run that was killed, or failed in part, goes on where it was.

    Args:
        folder: Where everything is kept.
        figure: The figure.
        scale: Model, data and training.
        tasks: Names of the tasks.
        seeds: How many seeds, from 0.
        evaluations: Sub-networks that every search proposes, whole trainings that MO-ASHA spends; at least 3, the start
            designs.
        only: Names of series to leave it at.
        method: Another searcher, for figures that do not compare searchers.
        jobs: Processes that work at once, each with one thread.
        trials_at_once: Sub-networks that a search of standard NAS trains at once, each in a process with one thread,
            for each of the `jobs`.
        watch: Called as the work goes on.

    Raises:
        UsageError: A number out of range, an unknown task, series or searcher, a figure of another model.
        MissingExtraError: A searcher's library is not installed.
        RunFolderError: The folder is of another scale, is in use, or cannot be written.
        DataError, ModelError: Data or model cannot be loaded.
        HwnasError: Units failed; the message says how many, and why the first did.
    """
    figure.check_model(scale.model)
    series = figure.series(tuple(only), method)
    _check(series, tasks, seeds, evaluations, jobs)
    _check_trials(figure, series, trials_at_once)
    folder.check(scale)
    units = plan(series, tasks, range(seeds), evaluations)
    _check_scale(scale, series, {unit.task for unit in units if not folder.done(unit)}, evaluations)
    stage = f"figure {figure.name}"
    with folder.lock():
        folder.begin(scale)
        todo = [unit for unit in units if not folder.done(unit)]
        failures = run_jobs(
            make_jobs(folder, todo, trials_at_once),
            work,
            jobs,
            watch=None if watch is None else partial(watch, stage),
            nested=trials_at_once > 1,
        )
        _write_failures(folder, failures)
    if failures:
        first = failures[0]
        raise HwnasError(
            f"{len(failures)} of {len(todo)} pieces of figure {figure.name} failed; the first, {first.name}: "
            f"{first.reason.rstrip('.')}. More in {folder.failure(first.name).parent}; the same command tries again."
        )
    return Outcome(tuple(units), len(todo))


def make_jobs(folder: BenchFolder, units: Sequence[Unit], trials_at_once: int = 1) -> list[Job]:
    """The jobs of units that are not done: a super-network before the first unit that needs it, what is timed last."""
    waiting = {unit.name for unit in units}
    trainings: set[str] = set()
    made: list[Job] = []
    for unit in units:
        name = f"train {unit.supernet}"
        needs: list[str] = []
        if unit.supernet is not None and not folder.supernet(unit.supernet).is_dir():
            if name not in trainings:
                trainings.add(name)
                made.append(Job(name, (folder.path, unit, True, 1)))
            needs.append(name)
        if unit.needs is not None and unit.needs.name in waiting:
            needs.append(unit.needs.name)
        payload = (folder.path, unit, False, trials_at_once)
        made.append(Job(unit.name, payload, tuple(needs), alone=unit.approach == LATENCY))
    return sorted(made, key=lambda job: job.alone)


def work(payload: tuple[Path, Unit, bool, int], report: Callable[[int, int, str], None]) -> None:
    """Do one job: train the super-network of a unit, or the unit; on one thread.

    Args:
        payload: Path of the folder; the unit; whether only to train; trials at once, in standard NAS.
        report: Called as it goes on.
    """
    import multiprocessing

    import torch

    path, unit, training, trials_at_once = payload
    folder = BenchFolder(path)
    if multiprocessing.parent_process() is not None:
        quieten()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _do(folder, folder.scale(), unit, training, trials_at_once, report)
    finally:
        torch.set_num_threads(threads)


def _do(folder: BenchFolder, scale: Scale, unit: Unit, training: bool, trials_at_once: int, report: Any) -> None:
    if training:
        from hwnas.bench.supernet import train

        train(folder, scale, unit, report)
    elif unit.approach == QUANTISED:
        from hwnas.bench.quantised import quantised_unit

        quantised_unit(folder, scale, unit, report)
    elif unit.approach == LATENCY:
        from hwnas.bench.latency import latency_unit

        latency_unit(folder, scale, unit, report)
    elif unit.approach == STANDARD:
        from hwnas.bench.alone import standard_unit

        standard_unit(folder, scale, unit, report, at_once=trials_at_once)
    else:
        from hwnas.bench.search import search_unit

        search_unit(folder, scale, unit, report)


def _check(series: Sequence[Series], tasks: Sequence[str], seeds: int, evaluations: int, jobs: int) -> None:
    """Whatever can be refused without loading anything."""
    if evaluations < 3:
        raise UsageError(f"--budget {evaluations}: expected 3 or more evaluations, the start designs.")
    if seeds < 1:
        raise UsageError(f"--seeds {seeds}: expected 1 or more.")
    if jobs < 1:
        raise UsageError(f"--jobs {jobs}: expected 1 or more.")
    if not tasks:
        raise UsageError(f"--tasks is empty; expected some of {', '.join(task_names())}.")
    for task in tasks:
        if task not in task_names():
            raise UnknownNameError("task", task, task_names())
    for entry in series:
        if entry.approach == STANDARD:
            require_scheduler(entry.method)
        elif entry.approach != QUANTISED:
            require_searcher(entry.method)


def _check_trials(figure: Figure, series: Sequence[Series], trials_at_once: int) -> None:
    """UsageError for trials at once that there cannot be."""
    if trials_at_once < 1:
        raise UsageError(f"--trials-at-once {trials_at_once}: expected 1 or more.")
    if trials_at_once > 1 and not any(entry.approach == STANDARD for entry in series):
        raise UsageError(
            f"--trials-at-once {trials_at_once}: only standard NAS trains several sub-networks at once, and figure "
            f"{figure.name} with these options has none; leave it out."
        )


def _check_scale(scale: Scale, series: Sequence[Series], tasks: set[str], evaluations: int) -> None:
    """Model, data and searches of the units to come, before anything is written."""
    from hwnas.models import get_family
    from hwnas.tasks import encode
    from hwnas.training.pretrained import load_config, load_pretrained

    config = load_config(scale.model)
    dimensions = get_family(config).dimensions(config)
    for entry in series:
        space = scale.space(entry.space, dimensions)
        if entry.approach == STANDARD:
            get_scheduler(entry.method, space, objectives=2, evaluations=evaluations, seed=0)
        elif entry.approach != QUANTISED:
            get_searcher(entry.method, space, objectives=2, evaluations=evaluations, seed=0)
    for name in sorted(tasks):
        task = scale.load(name, 0)
        if name == min(tasks):  # what the tokenizer refuses must not bind the folder to this scale
            _, tokenizer = load_pretrained(
                scale.model, num_labels=task.num_labels, regression=task.is_regression, label_names=task.label_names
            )
            encode(task.train[:1], tokenizer, scale.max_length, regression=task.is_regression)


def _write_failures(folder: BenchFolder, failures: Sequence[Failure]) -> None:
    """Say why pieces failed; RunFolderError with the reason in it if not even that can be written."""
    for failure in failures:
        file = folder.failure(failure.name)
        try:
            write_at_once(file, f"{failure.reason}\n\n{failure.trace}".rstrip() + "\n")
        except OSError as error:
            raise RunFolderError(
                f"cannot write {file} ({error.strerror or error}), which says why {failure.name} failed: "
                f"{failure.reason.rstrip('.')}; see to the disk and run the same command again."
            ) from error
