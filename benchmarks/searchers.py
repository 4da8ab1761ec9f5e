"""How much time searchers take for themselves, and how close they come to the true front.

    python benchmarks/searchers.py [--evaluations FILE ...] [--seeds 10] [--out benchmarks/results/searchers.json]

Time: processor seconds spent in `ask` and `tell` over 500 evaluations that cost nothing, in all four spaces, and their
share of evaluations that take `--evaluation-seconds`. Libraries are loaded before. MO-ASHA is timed over 500 trainings
one after another, each with up to 9 reports of errors that fall as 1 / reports; a training takes longer than such an
evaluation.

Quality: hypervolume after 25, 50 and 100 evaluations, over the seeds: its ratio to that of random search with the same
seed, and its share of the exhaustive front's where all members of the space can be gone through. It is that of
objectives scaled to [0, 1] over the members, below the reference (1.1, 1.1); the file also has that of quantiles over
the members, below (2, 2), as Klein et al. 2024 have it.

The problems are tables of evaluations, see `read_tables` in `_problems.py`, if there are any: rows of exhaustive.py, or
the front.json of `hwnas search --searcher exhaustive`. Otherwise they are SYNTHETIC: made up, no network was asked.
`--problems` chooses other made-up ones; methods were worked on with those of 1 to 3, and judged on those of 0.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from _problems import BERT, MINILM, Points, Problem, Synthetic, read_tables, synthetic
from rich.console import Console
from rich.table import Table

from hwnas.bench.statistics import REFERENCE, quantiles_among
from hwnas.files import write_at_once
from hwnas.provenance import git_commit
from hwnas.search.hypervolume import hypervolume
from hwnas.search.schedulers import LEVEL, get_scheduler, metric_names
from hwnas.search.searcher import MO_ASHA, get_searcher, searcher_names
from hwnas.spaces import Architecture, get_space, space_names

EVALUATION_SECONDS = 0.3
"""Of a sub-network of MiniLM on a validation set; they took 0.3 to 1 s on two cores."""

LAST = 50
"""Evaluations at the end of a timed run that are told apart."""

LEVELS = 9
"""Reports of a whole training, for MO-ASHA."""

MEASURES = ("scaled", "quantiles")

BASELINE = "random_search"

Row = dict[str, Any]


def values_of(problem: Problem, arch: Architecture, objectives: int) -> tuple[float, ...]:
    """Error, latency and, as a third objective, the number of heads and units."""
    return (*problem.evaluate(arch), float(sum(arch.head_counts) + sum(arch.unit_counts)))[:objectives]


def run(name: str, problem: Problem, budget: int, seed: int, objectives: int = 2) -> tuple[Points, list[float]]:
    """What a searcher finds, (evaluations, objectives), and the processor seconds that it took itself for each."""
    searcher = get_searcher(name, problem.space, objectives=objectives, evaluations=budget, seed=seed)
    found: list[tuple[float, ...]] = []
    own: list[float] = []
    while len(found) < budget:
        start = time.process_time()
        trial = searcher.ask()
        asking = time.process_time() - start
        if trial is None:
            break
        found.append(values_of(problem, trial.architecture, objectives))
        start = time.process_time()
        searcher.tell(trial.number, found[-1])
        own.append(asking + time.process_time() - start)
    return np.array(found), own


def run_halving(problem: Problem, budget: int, seed: int, objectives: int = 2) -> list[float]:
    """The processor seconds that MO-ASHA takes itself for each of `budget` trainings, proposal and decisions."""
    from syne_tune.backend.trial_status import Trial
    from syne_tune.optimizer.scheduler import SchedulerDecision

    from hwnas.search.syne_tune import from_config

    scheduler = get_scheduler(
        MO_ASHA, problem.space, objectives=objectives, evaluations=budget, seed=seed, levels=LEVELS
    )
    names = metric_names(objectives)
    own: list[float] = []
    for number in range(budget):
        start = time.process_time()
        suggestion = scheduler.suggest()
        spent = time.process_time() - start
        if suggestion is None:
            break
        trial = Trial(trial_id=number, config=suggestion.config, creation_time=datetime.datetime.now())
        error, *costs = values_of(problem, from_config(problem.space, suggestion.config), objectives)
        for level in range(1, LEVELS + 1):
            values = (error + (1 - error) / level, *costs)
            result = {LEVEL: level, **dict(zip(names, values, strict=True))}
            start = time.process_time()
            decision = scheduler.on_trial_result(trial, result)
            if level == LEVELS:
                scheduler.on_trial_complete(trial, result)
            elif decision == SchedulerDecision.STOP:
                scheduler.on_trial_remove(trial)
            spent += time.process_time() - start
            if decision == SchedulerDecision.STOP:
                break
        own.append(spent)
    return own


def own_times(name: str, problem: Problem, budget: int, seed: int, objectives: int) -> list[float]:
    """Processor seconds of a searcher or of MO-ASHA for each evaluation."""
    if name == MO_ASHA:
        return run_halving(problem, budget, seed, objectives)
    return run(name, problem, budget, seed, objectives)[1]


def timings(names: list[str], where: list[str], budget: int, seconds: float, objectives: int) -> list[Row]:
    """Own seconds of each method in each space."""
    rows = []
    for place in where:
        dimensions = BERT if place == "layer" else MINILM
        problem = Problem(get_space(place, dimensions), Synthetic(dimensions, 872, 0))
        for name in names:
            own_times(name, problem, 15, 1, objectives)  # loads libraries
            own = own_times(name, problem, budget, 0, objectives)
            rows.append(
                {
                    "space": place,
                    "searcher": name,
                    "objectives": objectives,
                    "evaluations": len(own),
                    "own_seconds": sum(own),
                    "median_of_last": float(np.median(own[-LAST:])),
                    "longest": max(own),
                    "evaluation_seconds": seconds,
                    "share": sum(own) / len(own) / seconds,
                }
            )
            print(f"{place} {name}: {sum(own):.2f} s for {len(own)}", flush=True)
    return rows


@cache
def problems(tables: tuple[Path, ...], seed: int) -> dict[str, Problem]:
    """The problems by name; a process makes them once."""
    return {name: problem for path in tables for name, problem in read_tables(path).items()} or synthetic(seed)


def measures(members: Points) -> dict[str, Callable[[Points], float]]:
    """Hypervolumes as shares of that of the members."""
    low, span = members.min(axis=0), np.ptp(members, axis=0)
    span[span == 0] = 1.0  # an objective in which all members are alike

    def scaled(points: Points) -> float:
        return hypervolume((points - low) / span, (1.1, 1.1))

    def quantiles(points: Points) -> float:
        return hypervolume(quantiles_among(points, members), REFERENCE)

    found = dict(zip(MEASURES, (scaled, quantiles), strict=True))
    whole = {name: measure(members) for name, measure in found.items()}
    return {name: lambda points, name=name: found[name](points) / whole[name] for name in MEASURES}  # type: ignore[misc]


def shares(tables: tuple[Path, ...], made: int, where: str, name: str, marks: list[int], seeds: int) -> Row:
    """Shares of the members' hypervolume: of each measure, after each number of evaluations, seed by seed."""
    problem = problems(tables, made)[where]
    runs = [run(name, problem, marks[-1], seed)[0] for seed in range(seeds)]
    return {
        measure: {str(mark): [share(points[:mark]) for points in runs] for mark in marks}
        for measure, share in measures(problem.members).items()
    }


def qualities(options: argparse.Namespace, marks: list[int]) -> list[Row]:
    """One row a problem and method."""
    tables = tuple(options.evaluations or ())
    chosen = [
        name
        for name in problems(tables, options.problems)
        if options.only is None or any(text in name for text in options.only)
    ]
    names = [name for name in dict.fromkeys([BASELINE, *options.searchers]) if name != MO_ASHA]
    os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        waiting = {
            (where, name): pool.submit(shares, tables, options.problems, where, name, marks, options.seeds)
            for where in chosen
            for name in names
        }
        found = {}
        for key, future in waiting.items():
            found[key] = future.result()
            print(f"{key[0]}: {key[1]}", flush=True)
    rows = []
    for (where, name), row in found.items():
        problem = problems(tables, options.problems)[where]
        rows.append({"problem": where, "searcher": name, "members": problem.space.size, "listed": problem.listed})
        for measure in MEASURES:
            rows[-1][measure] = {
                mark: summary(values, found[where, BASELINE][measure][mark], problem.listed)
                for mark, values in row[measure].items()
            }
    return rows


def summary(values: list[float], baseline: list[float], listed: bool) -> Row:
    """Ratio to random search with its standard error; share of the exhaustive front, where it is known."""
    ratios = np.array(values) / np.array(baseline)
    error = float(ratios.std(ddof=1) / np.sqrt(len(ratios))) if len(ratios) > 1 else None
    row: Row = {"ratio_to_random": float(ratios.mean()), "standard_error": error, "ratios": ratios.tolist()}
    return {**row, "share": float(np.mean(values)), "worst_share": min(values)} if listed else row


def show_times(rows: list[Row]) -> Table:
    """One line a method and space."""
    table = Table(title="the searcher's own processor time", title_justify="left")
    for name in ("space", "searcher"):
        table.add_column(name)
    for name in ("evaluations", "own seconds", "ms each", f"median of last {LAST}", "share of the evaluations"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            row["space"], row["searcher"], str(row["evaluations"]), f"{row['own_seconds']:.2f}",
            f"{row['own_seconds'] / row['evaluations'] * 1e3:.1f}", f"{row['median_of_last'] * 1e3:.1f} ms",
            f"{row['share']:.2%} of {row['evaluation_seconds']:g} s",
        )  # fmt: skip
    return table


def show_qualities(rows: list[Row], marks: list[int]) -> Table:
    """One line a problem and method."""
    table = Table(title=f"hypervolume after {marks[-1]} evaluations", title_justify="left")
    for name in ("problem", "searcher"):
        table.add_column(name)
    for mark in marks:
        table.add_column(f"to random search, {mark}", justify="right")
    for name in ("of the exhaustive front", "worst seed"):
        table.add_column(name, justify="right")
    for row in rows:
        found = row["scaled"]
        ratios = [
            f"{cell['ratio_to_random']:.4f}"
            + (f" ± {cell['standard_error']:.4f}" if cell["standard_error"] is not None else "")
            for cell in found.values()
        ]
        last = found[str(marks[-1])]
        known = [f"{last[name]:.2%}" if row["listed"] else "-" for name in ("share", "worst_share")]
        table.add_row(row["problem"], row["searcher"], *ratios, *known)
    return table


def show_verdicts(rows: list[Row], marks: list[int]) -> Table:
    """One line a method: over how many problems it does at least as well as random search."""
    table = Table(title=f"against random search after {marks[-1]} evaluations, by problem", title_justify="left")
    table.add_column("searcher")
    for name in ("at least as much", "less, within 2 standard errors", "less", "mean ratio", "least ratio"):
        table.add_column(name, justify="right")
    for name in dict.fromkeys(row["searcher"] for row in rows):
        cells = [row["scaled"][str(marks[-1])] for row in rows if row["searcher"] == name]
        ratios = [cell["ratio_to_random"] for cell in cells]
        above = sum(ratio >= 1 for ratio in ratios)
        near = sum(1 > cell["ratio_to_random"] >= 1 - 2 * (cell["standard_error"] or 0) for cell in cells)
        counts = (above, near, len(cells) - above - near)
        table.add_row(name, *map(str, counts), f"{np.mean(ratios):.4f}", f"{min(ratios):.4f}")
    return table


def installed(package: str) -> str | None:
    """Version of a package; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def main() -> None:
    """Run, print and write down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evaluations", type=Path, nargs="+", metavar="FILE", help="tables of whole spaces")
    parser.add_argument("--problems", type=int, default=0, help="number of the made-up problems")
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="problems whose name holds one of these")
    methods = [name for name in searcher_names() if name != "exhaustive"]
    parser.add_argument("--searchers", nargs="+", choices=[*methods, MO_ASHA], default=[*methods, MO_ASHA])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--budget", type=int, default=100, help="evaluations of the hypervolume's runs; 0 for none")
    parser.add_argument("--timed", type=int, default=500, help="evaluations of the timed runs; 0 for none")
    parser.add_argument("--spaces", nargs="+", choices=space_names(), default=list(space_names()), help="timed")
    parser.add_argument("--objectives", type=int, choices=(2, 3), default=2, help="of the timed runs")
    parser.add_argument("--evaluation-seconds", type=float, help="default: the tables', or 0.3")
    parser.add_argument("--jobs", type=int, default=1, help="processes of the hypervolume's runs")
    parser.add_argument("--note", help="kept in the file: what else ran on the machine")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    options = parser.parse_args()
    seconds = options.evaluation_seconds
    if seconds is None:
        told = [p.seconds for p in problems(tuple(options.evaluations or ()), options.problems).values() if p.seconds]
        seconds = min(told, default=EVALUATION_SECONDS)
    marks = [mark for mark in (options.budget // 4, options.budget // 2, options.budget) if mark]
    times = (
        timings(options.searchers, options.spaces, options.timed, seconds, options.objectives) if options.timed else []
    )
    found = qualities(options, marks) if marks else []
    tables = [show_times(times)] if times else []
    tables += [show_qualities(found, marks), show_verdicts(found, marks)] if found else []
    for table in tables:
        Console(width=140).print(table)
    if options.out is not None:
        data = {
            "about": "own time and hypervolume of searchers; problems named synthetic are made up, not measured",
            "note": options.note,
            "commit": git_commit(),
            "versions": {name: installed(name) for name in ("syne-tune", "botorch", "pymoo", "torch", "moocore")},
            "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()},
            "seeds": options.seeds,
            "problems": options.problems,
            "times": times,
            "qualities": found,
        }
        options.out.parent.mkdir(parents=True, exist_ok=True)
        write_at_once(options.out, json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main()
