"""What ordering heads and units after the training is worth to the super-networks of `hwnas bench`, on all its tasks.

    python benchmarks/ordered.py benchmarks/results/bench [--strategies full standard] [--tasks sst2 rte] [--seeds 0 1]
    python benchmarks/ordered.py --only-table

For each super-network that figure 6 compares, and whose weights the folder still has: heads and units are put in order
by importance scores of training examples, as `hwnas train --reorder-after` does after its last step, and the networks
that random search proposed there are judged again, on the same validation examples. A row of the CSV file for each.

Error and parameters are brought to [0, 1] by their quantiles over all strategies, seeds and both orders of a task; the
hypervolume is the one below the point (2, 2), so 4 at most, and does not compare with that of another table.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from _common import Row, add_rows, read_rows, spread, start, tell
from rich.console import Console
from rich.table import Table

from hwnas.bench.figures import WEIGHT_SHARING
from hwnas.bench.folder import BenchFolder
from hwnas.bench.statistics import REFERENCE, quantile_normalise
from hwnas.bench.units import Unit
from hwnas.errors import UsageError
from hwnas.provenance import git_commit, versions
from hwnas.search.hypervolume import hypervolume

METHOD = "random_search"
FIELDS = ("task", "space", "strategy", "seed", "score")
"""What a row is of, besides its network."""


def judge(folder: BenchFolder, unit: Unit, score: str) -> list[Row]:
    """The networks of a search, with their errors before and after heads and units are ordered."""
    from hwnas.bench.exam import Exam
    from hwnas.bench.supernet import load
    from hwnas.search.search import VALIDATION
    from hwnas.tasks import encode
    from hwnas.training.order import put_in_order

    scale = folder.scale()
    _, rows, text = folder.read(folder.results(unit))
    task, network = scale.load(unit.task, unit.seed), load(folder, unit)
    exam = Exam(task, network.tokenizer, scale, unit.seed)
    whole = network.space.largest()
    before = exam.error(VALIDATION, network.model, whole)
    kept = next(row.error for row in rows if row.architecture == whole)
    if abs(before - kept) > 1e-6:
        raise UsageError(f"{unit.supernet}: the whole network's error is {before:.6f} here, {kept:.6f} in its row.")
    dataset = encode(task.train, network.tokenizer, scale.max_length, regression=task.is_regression)
    begun = time.monotonic()
    put_in_order(
        network.model, network.tokenizer, dataset, score, regression=task.is_regression, seed=unit.seed
    )  # fmt: skip
    seconds = time.monotonic() - begun
    found = versions()
    facts = {name: found.get(name) for name in ("hwnas", "torch", "transformers")}
    return [
        {
            **{name: getattr(unit, name) for name in FIELDS if name != "score"},
            "score": score,
            "network": row.number,
            "parameters": row.parameters,
            "error": row.error,
            "ordered_error": exam.error(VALIDATION, network.model, row.architecture),
            "ordering_seconds": round(seconds, 2),
            "validation_examples": text["validation_examples"],
            "train_examples": text["train_examples"],
            "steps": text["steps"],
            "weights": network.weights,
            "searched_at": text["commit"],
            "commit": git_commit(),
            **facts,
        }
        for row in rows
    ]


def show(rows: Sequence[dict[str, str]]) -> None:
    """A table for each task, and one line for all."""
    for task in dict.fromkeys(row["task"] for row in rows):
        of_task = [row for row in rows if row["task"] == task]
        orders = ("error", "ordered_error")
        runs: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
        for row in of_task:
            for order in orders:
                runs.setdefault((row["strategy"], row["seed"], order), []).append(
                    (float(row[order]), float(row["parameters"]))
                )
        areas = {
            key: hypervolume(points, REFERENCE)
            for key, points in zip(runs, quantile_normalise([np.array(run) for run in runs.values()]), strict=True)
        }
        title = f"{task}, {of_task[0]['validation_examples']} validation examples, order by {of_task[0]['score']}"
        table = Table("strategy", "seeds", "hypervolume", "ordered", "difference", "mean error", "ordered", title=title)
        for strategy in dict.fromkeys(row["strategy"] for row in of_task):
            seeds = list(dict.fromkeys(row["seed"] for row in of_task if row["strategy"] == strategy))
            came, ordered = ([areas[strategy, seed, order] for seed in seeds] for order in orders)
            means = [
                [np.mean([error for error, _ in runs[strategy, seed, order]]) for seed in seeds] for order in orders
            ]
            gains = [after - before for before, after in zip(came, ordered, strict=True)]
            table.add_row(
                strategy, str(len(seeds)), spread(came), spread(ordered), spread(gains), *map(spread, means)
            )  # fmt: skip
        Console(width=120).print(table)


def main() -> bool:
    """Judge what is not in the file, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="of hwnas bench run 6, with its super-networks")
    parser.add_argument("--tasks", nargs="+", help="default: all that are there")
    parser.add_argument("--strategies", nargs="+", default=["full"])
    parser.add_argument("--seeds", nargs="+", type=int, help="default: all that are there")
    parser.add_argument("--score", default="first-order", help="importance score")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "results" / "ordered.csv")
    parser.add_argument("--only-table", action="store_true", help="judge nothing, show what the file holds")
    options = parser.parse_args()
    if not options.only_table:
        import torch

        from hwnas.cli.prepare import quiet

        if options.folder is None:
            raise UsageError("which folder? Name that of hwnas bench run, or give --only-table.")
        quiet()
        torch.set_num_threads(options.threads)
        folder = BenchFolder(options.folder)
        done = {tuple(row[name] for name in FIELDS) for row in read_rows(options.out)}
        for unit in (folder.read(path)[0] for path in folder.units()):
            if unit.approach != WEIGHT_SHARING or unit.method != METHOD or unit.strategy not in options.strategies:
                continue
            if (options.tasks and unit.task not in options.tasks) or (options.seeds and unit.seed not in options.seeds):
                continue
            if (unit.task, unit.space, unit.strategy, str(unit.seed), options.score) in done:
                continue
            if unit.supernet is None or not folder.supernet(unit.supernet).is_dir():
                tell(f"{unit.supernet}: its weights are gone; hwnas bench run 6 makes them again.")
                continue
            add_rows(options.out, judge(folder, unit, options.score))
            tell(f"{unit.supernet} done")
    show(read_rows(options.out))
    return True


if __name__ == "__main__":
    start(main)
