"""Every network of a small space: the true front, and what a search costs beside the training of its super-network.

    python benchmarks/exhaustive.py [--tasks rte mrpc] [--seeds 0] [--jobs 2] [--step 1x192] [--keep]
    python benchmarks/exhaustive.py --only-table
    python benchmarks/searchers.py --evaluations benchmarks/results/exhaustive.csv

RTE, MRPC, CoLA, STS-B and SST-2 with the embedded MiniLM, trained with `full` as quality.py does it: with `--keep` the
two share their trainings. Then all networks of SMALL whose heads and units are multiples of `--step` are run on the
validation examples. Each is one row of the CSV file: layers, heads, units, error (1 - the task's metric), cost (its
parameters), evaluation_seconds, and the test error of the front's members. searchers.py holds the searchers against it.

The table has the size of the front, and how long 500 evaluations of such networks take, as a share of the training.
Seconds are of one thread, beside `--jobs` - 1 others; those of kept weights are of the training when it was made.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from _common import Row, Unit, by_setting, describe_setting, make_units, parse, read_rows, run_units, spread, start
from _variants import changes
from quality import TASKS
from rich.console import Console
from rich.table import Table

from hwnas.errors import UsageError
from hwnas.search.archive import everything
from hwnas.search.pareto import non_dominated
from hwnas.spaces import get_space

NAME = "exhaustive"
SEARCH = 500
"""Evaluations of the search whose time is compared with that of the training."""


def parse_step(text: str) -> tuple[int, int]:
    """Steps of heads and of units, written as 1x192.

    Raises:
        UsageError: It is not written so.
    """
    parts = text.split("x")
    if len(parts) != 2 or not all(part.isdecimal() for part in parts):
        raise UsageError(f"--step {text}: write the steps of heads and of units as in 1x192.")
    return int(parts[0]), int(parts[1])


def work(unit: Unit, folder: Path, options: argparse.Namespace) -> list[Row]:
    """Train one unit, and evaluate all members; those of the front on test examples too."""
    from _train import Trained

    from hwnas.slicing.extract import parameter_counter

    trained = Trained(unit, options.data_dir, options.kept)
    trained.train(folder, **changes(unit.variant, unit))
    space = get_space("small", trained.dimensions, align=parse_step(options.step))
    parameters = parameter_counter(trained.model.config, trained.dimensions)
    members = list(dict.fromkeys(everything(space)))
    trained.quality()  # the first one encodes the examples
    rows: list[Row] = []
    for index, arch in enumerate(members):
        began = time.perf_counter()
        error = 1 - trained.quality(arch)
        seconds = time.perf_counter() - began
        first = arch.kept_layers[0]  # all kept layers of SMALL are alike
        row = {"network": index, "layers": len(arch.kept_layers), "heads": arch.head_counts[first]}
        row |= {"units": arch.unit_counts[first], "error": error}
        rows.append({**row, "cost": parameters(arch), "evaluation_seconds": round(seconds, 4), **trained.facts})
    front = non_dominated(np.array([[row["error"], row["cost"]] for row in rows]))
    for index, arch in enumerate(members):
        rows[index]["test_error"] = 1 - trained.quality(arch, "test") if front[index] else ""
    return rows


def show(rows: Sequence[dict[str, str]]) -> None:
    """A line for each task and setting."""
    names = ("setting", "seeds", "members", "on the front", "error, whole to smallest", "an evaluation")
    table = Table(*names, f"{SEARCH} evaluations / training")
    for group in by_setting(rows).values():
        of: dict[str, list[dict[str, str]]] = {}
        for row in group:
            of.setdefault(row["seed"], []).append(row)
        seconds = [float(np.mean([float(row["evaluation_seconds"]) for row in one])) for one in of.values()]
        training = [float(one[0]["seconds"]) for one in of.values()]
        ends = [
            [float(choose(one, key=lambda row: float(row["cost"]))["error"]) for one in of.values()]
            for choose in (max, min)
        ]
        table.add_row(
            describe_setting(group[0]),
            str(len(of)),
            str(len(group) // len(of)),
            spread([sum(row["test_error"] != "" for row in one) for one in of.values()], 1),
            " to ".join(map(spread, ends)),
            f"{np.mean(seconds):.2f} s",
            spread([SEARCH * each / whole for each, whole in zip(seconds, training, strict=True)], 2),
        )
    Console(width=160).print(table)


def own_options(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--step", default="1x192", help="of heads and of units; default: 1x192, which are 576 networks")


def main() -> bool:
    """Train and evaluate what is missing, and show the table."""
    options = parse(
        NAME, __doc__, tasks=TASKS, variants=("full",), smoke=("full",), judge=500, seeds=(0,), more=own_options
    )
    if options.smoke:
        options.step = "6x768"
    parse_step(options.step)
    for variant in options.variants:
        changes(variant)
    good = options.only_table or run_units(make_units(options, f"step={options.step}"), work, options)
    if rows := read_rows(options.out):
        show(rows)
    return good


if __name__ == "__main__":
    start(main)
