"""Standard NAS with many seeds: every network of a small space is fine-tuned alone once, and methods are replayed.

    python benchmarks/alone.py --tasks sst2 stsb --seeds 0 --max-steps 100 --batch-size 8 --max-length 64 --judge 128
    python benchmarks/alone.py --only-table [--budget 32] [--runs 10] [--searchers random_search mo_asha]

All networks of SMALL whose heads and units are multiples of `--step` are extracted from the pre-trained MiniLM, each
is fine-tuned as by `hwnas bench run 5b`, and judged on the validation examples after each of MO-ASHA's resource levels.
A network is one row of the CSV file: layers, heads, units, cost (its parameters), errors (1 - the task's metric after
each level) and training_seconds. An interrupted command goes on with the next network.

Then every method searches these tables with each of `--runs` seeds, in the loop that trains otherwise. All are given
the same training: `--budget` whole trainings, of which MO-ASHA spends shares on more networks. Hypervolumes are those
of searchers.py, after a quarter, half and all of the budget; they are kept in a JSON file beside the rows. In the table
a network that was stopped early counts with the error that it had then.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from _common import Row, Unit, by_setting, describe_setting, make_units, parse, read_rows, run_units, start, tell
from _problems import Points, space_of
from exhaustive import parse_step
from quality import TASKS
from rich.console import Console
from searchers import BASELINE, MEASURES, measures, show_qualities, show_verdicts, summary

from hwnas.bench.alone import levels_of
from hwnas.bench.exam import TEST, Exam
from hwnas.bench.figures import STANDARD
from hwnas.bench.journal import Journal
from hwnas.bench.scale import Scale, paper_options
from hwnas.bench.standard import fine_tune
from hwnas.bench.supernet import pretrained
from hwnas.bench.trial_processes import Told, one_by_one
from hwnas.bench.trials import Trials
from hwnas.bench.units import Unit as Search
from hwnas.files import write_at_once
from hwnas.provenance import git_commit, versions
from hwnas.search.archive import everything
from hwnas.search.cache import EvaluationCache
from hwnas.search.schedulers import ETA, R_MIN, get_scheduler, scheduler_names
from hwnas.search.search import VALIDATION
from hwnas.search.searcher import MO_ASHA
from hwnas.slicing.extract import extract, parameter_counter
from hwnas.spaces import Architecture, Space, get_space
from hwnas.tasks import encode
from hwnas.tasks.task import VALIDATION_SHARE

NAME = "alone"
Curves = dict[Architecture, tuple[list[float], float]]
"""Errors after each level, and parameters."""


def work(unit: Unit, folder: Path, options: argparse.Namespace) -> list[Row]:
    """Fine-tune all members, each from the pre-trained weights."""
    scale = Scale(
        model=unit.model,
        data_dir=None if options.data_dir is None else str(options.data_dir),
        limit_train=None if unit.train_rows is None else math.ceil(unit.train_rows / (1 - VALIDATION_SHARE)),
        limit_test=unit.test_rows,
        max_length=unit.max_length,
        examples=unit.judge,
        train=paper_options(
            epochs=unit.epochs, max_steps=unit.max_steps, batch_size=unit.batch_size, learning_rate=unit.learning_rate
        ),
    )
    search = Search(unit.task, STANDARD, "small", "standard", MO_ASHA, unit.seed, 0)
    task = scale.load(unit.task, unit.seed)
    network = pretrained(scale, task, search)
    exam = Exam(task, network.tokenizer, scale, unit.seed)
    asked = scale.options(search.strategy, unit.seed)
    levels = levels_of(MO_ASHA, asked, len(task.train))
    dataset = encode(task.train, network.tokenizer, scale.max_length, regression=task.is_regression)
    largest = network.space.largest()
    dimensions = network.space.dimensions
    space = get_space("small", dimensions, align=parse_step(options.step))
    parameters = parameter_counter(network.model.config, dimensions)
    members = list(dict.fromkeys(everything(space)))
    facts = {
        "train_examples": len(task.train),
        "judged": exam.about()["validation_examples"],
        "steps": asked.steps(len(task.train)),
        "whole": parameters(largest),
    }
    names = [f"{VALIDATION}@{level}/{levels}" for level in range(1, levels + 1)]
    rows: list[Row] = []
    with EvaluationCache(folder / "members.jsonl", {"unit": list(unit.key), "data": task.fingerprint()}) as cache:

        def tune(arch: Architecture) -> None:
            module, began, judging = extract(network.model, arch), time.perf_counter(), 0.0

            def judge(level: int) -> bool:
                nonlocal judging
                before = time.perf_counter()
                cache.put(names[level - 1], arch, exam.error(VALIDATION, module), before - began - judging)
                judging += time.perf_counter() - before
                return True

            fine_tune(
                module, network.tokenizer, dataset, asked,
                regression=task.is_regression, levels=levels, goes_on=judge,
            )  # fmt: skip
            judge(levels)
            seconds = time.perf_counter() - began - judging
            cache.put("seconds", arch, seconds, seconds)

        for index, arch in enumerate(members):
            if cache.get("seconds", arch) is None:
                tune(arch)
                tell(f"    {unit.name}: network {index + 1}/{len(members)}")
            errors = [cache.get(name, arch) for name in names]
            first = arch.kept_layers[0]  # all kept layers of SMALL are alike
            row = {"network": index, "layers": len(arch.kept_layers), "heads": arch.head_counts[first]}
            row |= {"units": arch.unit_counts[first], "cost": parameters(arch)}
            row |= {"errors": " ".join(f"{error:.6g}" for error in errors)}
            rows.append({**row, "training_seconds": round(cache.get("seconds", arch) or 0.0, 3), **facts})
    return rows


def curves_of(rows: Sequence[Mapping[str, str]]) -> Curves:
    """The table of one unit."""
    most = max(int(row["layers"]) for row in rows)
    found: Curves = {}
    for row in rows:
        layers = int(row["layers"])
        heads, units = ((int(row[kind]),) * layers + (0,) * (most - layers) for kind in ("heads", "units"))
        found[Architecture(heads, units)] = [float(error) for error in row["errors"].split()], float(row["cost"])
    return found


def replay(
    name: str, space: Space, curves: Curves, budget: int, seed: int, rungs: tuple[int, int]
) -> tuple[Points, list[float]]:
    """What a method finds, (networks, 2), and the whole trainings that were spent when it had found each."""
    every = len(next(iter(curves.values()))[0])
    levels = every if name == MO_ASHA else 1

    def evaluate(arch: Architecture, told: Told) -> tuple[float, float]:
        for level, error in enumerate(curves[arch][0][-levels:], 1):
            if not told(level, error, 0.0):
                break
        return 0.0, 0.0

    r_min, eta = rungs
    scheduler = get_scheduler(
        name, space, objectives=2, evaluations=budget, seed=seed, levels=levels, r_min=r_min, eta=eta
    )
    with tempfile.TemporaryDirectory(prefix="hwnas-") as place:
        cached = EvaluationCache(Path(place) / "evaluations.jsonl", {})
        with cached as cache, Journal(Path(place) / "order.jsonl") as journal:
            trials = Trials(
                scheduler, space, lambda arch: curves[arch][1], cache, journal,
                evaluations=budget, levels=levels, splits=(VALIDATION, TEST),
            )  # fmt: skip
            one_by_one(trials, evaluate)
    done = trials.done
    return np.array([(trial.error, trial.parameters) for trial in done]), [trial.spent for trial in done]


def show(rows: Sequence[Mapping[str, str]], options: argparse.Namespace) -> None:
    """Replay all methods on all tables of the file."""
    marks = [mark for mark in (options.budget // 4, options.budget // 2, options.budget) if mark]
    names = list(dict.fromkeys([BASELINE, *options.searchers]))
    lines: list[Row] = []
    for group in by_setting([dict(row) for row in rows]).values():
        of: dict[str, list[dict[str, str]]] = {}
        for row in group:
            of.setdefault(row["seed"], []).append(row)
        for seed, unit in of.items():
            curves = curves_of(unit)
            where = f"{describe_setting(group[0])}, seed {seed}"
            space = space_of(where, {arch: (errors[-1], cost) for arch, (errors, cost) in curves.items()})
            shares = measures(np.array([(errors[-1], cost) for errors, cost in curves.values()]))
            found: dict[str, dict[str, dict[str, list[float]]]] = {}
            for name in names:
                tell(f"{where}: {name}")
                runs = [
                    replay(name, space, curves, marks[-1], run, (options.r_min, options.eta))
                    for run in range(options.runs)
                ]
                found[name] = {
                    measure: {
                        str(mark): [
                            share(points[np.array(spent) <= mark + 1e-9]) for points, spent in runs
                        ] for mark in marks
                    }
                    for measure, share in shares.items()
                }  # fmt: skip
                line: Row = {"problem": where, "searcher": name, "members": len(curves), "listed": True}
                for measure in MEASURES:
                    line[measure] = {
                        mark: summary(values, found[BASELINE][measure][mark], True)
                        for mark, values in found[name][measure].items()
                    }
                lines.append(line)
    for table in (show_qualities(lines, marks), show_verdicts(lines, marks)):
        Console(width=170).print(table)
    packages = ("syne-tune", "botorch", "pymoo", "moocore")
    asked = {name: getattr(options, name) for name in ("budget", "runs", "r_min", "eta")}
    data = {"commit": git_commit(), "versions": versions(packages), **asked, "qualities": lines}
    write_at_once(options.table or options.out.with_suffix(".json"), json.dumps(data, indent=1) + "\n")


def own_options(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    methods = [name for name in scheduler_names() if name != "exhaustive"]
    parser.add_argument("--step", default="3x384", help="of heads and of units; default: 3x384, which are 96 networks")
    parser.add_argument("--budget", type=int, default=32, help="whole trainings of a search")
    parser.add_argument("--runs", type=int, default=10, help="seeds of the searchers")
    parser.add_argument("--searchers", nargs="+", choices=methods, default=methods)
    parser.add_argument("--r-min", type=int, default=R_MIN, help="MO-ASHA's first rung, in ninths of a training")
    parser.add_argument("--eta", type=int, default=ETA, help="one in so many passes a rung of MO-ASHA")
    parser.add_argument("--table", type=Path, help="JSON file of what is shown; default: beside the CSV file")


def main() -> bool:
    """Fine-tune what is missing, and show how methods do."""
    options = parse(
        NAME, __doc__, tasks=TASKS, variants=("standard",), smoke=("standard",), judge=128, seeds=(0,),
        more=own_options,
    )  # fmt: skip
    if options.smoke:
        options.step, options.budget, options.runs, options.searchers = "6x768", 4, 2, ["random_search", MO_ASHA]
    parse_step(options.step)
    good = options.only_table or run_units(make_units(options, f"step={options.step}"), work, options)
    if rows := read_rows(options.out):
        show(rows, options)
    return good


if __name__ == "__main__":
    start(main)
