"""Which way of training makes the best sub-networks: the hypervolume of 100 random ones, as in figure 6.

    python benchmarks/ablation.py --keep [--tasks sst2] [--seeds 0 1 2] [--jobs 2]
    python benchmarks/ablation.py --only-table [--figure benchmarks/results/ablation.png]

After figure 6 of Klein et al. 2024: the same 100 random networks of SMALL under each variant, with their validation
error and their parameters. Both are brought to [0, 1] by their quantiles over all variants and seeds of a task; the
hypervolume is the one below the point (2, 2), so 4 at most. It depends on what is compared: rows of one setting alone
are, and a table of other variants has other numbers.

A variant is a strategy, with `+reorder` (heads and units ordered by first-order importance before the training),
`+reorder-after` (after it), `+hidden-X` (distillation of hidden states with a weight of X), `+whole-weight-X`
(`hwnas train --whole-weight X`) or another part that layers.py has behind it. The usual ones are the six strategies as
the paper has them, three of them reordered after, and `full` with the other parts of the default of `hwnas train`, on
7,000 phrases of SST-2, in 2 epochs at the default rate of so many steps. With `--keep` variants that differ in
`+reorder-after` alone share a training. At the rate that was the default once, and with heads and units ordered first:

    python benchmarks/ablation.py --keep --learning-rate 1.8265e-4 --variants standard random random-linear sandwich \
        kd full standard+reorder-after sandwich+reorder-after full+reorder-after full+reorder full+hidden-0.2 \
        full+reorder+hidden-0.2

Each (task, variant, seed) is one training and 100 rows of the CSV file.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from _common import (
    Row,
    Unit,
    asked_rate,
    by_setting,
    describe_setting,
    make_units,
    parse,
    read_rows,
    run_units,
    spread,
    start,
)
from _variants import changes
from rich.console import Console
from rich.table import Table

from hwnas.bench.statistics import REFERENCE, quantile_normalise
from hwnas.search.hypervolume import hypervolume

NAME = "ablation"
TASKS = ("sst2",)
TRAIN_ROWS, RATE = 7000, 1e-4
STRATEGIES = ("standard", "random", "random-linear", "sandwich", "kd", "full")
AFTER = tuple(f"{strategy}+reorder-after" for strategy in ("standard", "sandwich", "full"))
WEIGHTED = "full+hidden-0.2+whole-weight-7"
DEFAULT = f"{WEIGHTED}+reorder-after"
VARIANTS = (*STRATEGIES, *AFTER, "full+hidden-0.2", WEIGHTED, DEFAULT)
REFERENCE_VARIANT = "full"
"""What other variants are compared with, seed by seed: the default strategy."""


def work(unit: Unit, folder: Path, options: argparse.Namespace) -> list[Row]:
    """Train one unit, and judge the networks of the list, which is the same for all units."""
    from _train import Trained

    from hwnas.slicing.extract import parameter_counter
    from hwnas.spaces import get_space

    trained = Trained(unit, options.data_dir, options.kept)
    trained.train(folder, **changes(unit.variant, unit))
    space = get_space("small", trained.dimensions)  # whatever space it was trained in
    parameters = parameter_counter(trained.model.config, trained.dimensions)
    rng, rows = np.random.default_rng(0), []
    for index in range(options.networks):
        arch = space.sample(rng)
        layers, heads, units = space.encode(arch)
        row = {"network": index, "layers": layers, "heads": heads, "units": units, "parameters": parameters(arch)}
        rows.append({**row, "validation_error": 1 - trained.quality(arch), **trained.facts})
    return rows


def hypervolumes(rows: Sequence[dict[str, str]]) -> dict[str, dict[str, float]]:
    """Hypervolume by variant and seed, of the rows of one setting."""
    values = np.array([[float(row["validation_error"]), float(row["parameters"])] for row in rows])
    (points,) = quantile_normalise([values])
    members: dict[tuple[str, str], list[int]] = {}
    for index, row in enumerate(rows):
        members.setdefault((row["variant"], row["seed"]), []).append(index)
    found: dict[str, dict[str, float]] = {}
    for (variant, seed), chosen in members.items():
        found.setdefault(variant, {})[seed] = hypervolume(points[chosen], REFERENCE)
    return found


def differences(found: dict[str, dict[str, float]], variant: str) -> list[float]:
    """Hypervolume of a variant minus that of the usual one, seed by seed: seeds differ in their validation examples."""
    usual = found.get(REFERENCE_VARIANT, {})
    same = variant == REFERENCE_VARIANT
    return [] if same else [value - usual[seed] for seed, value in found[variant].items() if seed in usual]


def show(rows: Sequence[dict[str, str]]) -> None:
    """A table for each task and setting, best first."""
    console = Console(width=120)
    for group in by_setting(rows).values():
        names = (
            "variant",
            "seeds",
            "hypervolume",
            f"minus {REFERENCE_VARIANT}",
            "mean error",
            "smallest error",
            "seconds",
        )
        table = Table(*names)
        table.title, table.title_justify = describe_setting(group[0]), "left"
        found = hypervolumes(group)
        for variant in sorted(found, key=lambda name: -float(np.mean(list(found[name].values())))):
            of = {
                seed: [row for row in group if (row["variant"], row["seed"]) == (variant, seed)]
                for seed in found[variant]
            }
            errors = [[float(row["validation_error"]) for row in one] for one in of.values()]
            table.add_row(
                variant,
                str(len(of)),
                spread(list(found[variant].values())),
                spread(differences(found, variant)),
                spread([float(np.mean(one)) for one in errors]),
                spread([min(one) for one in errors]),
                spread([float(one[0]["seconds"]) for one in of.values()], 0),
            )
        console.print(table)


def draw(rows: Sequence[dict[str, str]], path: Path) -> None:
    """A panel for each task and setting: mean and standard deviation of every variant, and each seed as a dot."""
    from matplotlib.figure import Figure

    groups = sorted(by_setting(rows).values(), key=lambda group: group[0]["learning_rate"] != str(RATE))
    found = [hypervolumes(group) for group in groups]
    tall = max(len(one) for one in found)
    figure = Figure(figsize=(6.0 * len(groups), 0.38 * tall + 1.4), layout="constrained")
    panels = figure.subplots(1, len(groups), squeeze=False)[0]
    for axes, group, one in zip(panels, groups, found, strict=True):
        order = [name for name in VARIANTS if name in one] + [name for name in one if name not in VARIANTS]
        for place, variant in enumerate(order):
            values = list(one[variant].values())
            deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
            colour = "#0b6bcb" if variant in STRATEGIES else "#e08e0b"
            axes.plot(values, [place] * len(values), "o", color="#b8bec7", markersize=4, zorder=1)
            axes.errorbar(float(np.mean(values)), place, xerr=deviation, fmt="o", color=colour, capsize=3, zorder=2)
        seeds = max(len(values) for values in one.values())
        few = {name: f" ({len(one[name])} of {seeds} seeds)" for name in order if len(one[name]) < seeds}
        axes.set_yticks(range(len(order)), [name + few.get(name, "") for name in order])
        axes.invert_yaxis()
        axes.grid(axis="x", color="#e6e8eb")
        axes.set_axisbelow(True)
        axes.set_title(f"{group[0]['task']}{asked_rate(group[0])} ({seeds} seed{'s' * (seeds != 1)})")
        axes.set_xlabel("hypervolume of 100 random networks" if len(group) >= 100 else "hypervolume")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    figure.savefig(temporary, format="png", dpi=150)
    os.replace(temporary, path)


def own_options(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--networks", type=int, default=100, help="sub-networks that are judged")
    parser.add_argument("--figure", type=Path, help="PNG file; default: beside the CSV file")


def main() -> bool:
    """Train what is missing, show the table, and draw."""
    options = parse(
        NAME,
        __doc__,
        tasks=TASKS,
        variants=VARIANTS,
        smoke=("full", "full+reorder+hidden-0.2"),
        train_rows=TRAIN_ROWS,
        learning_rate=RATE,
        judge=500,
        more=own_options,
    )
    if options.smoke:
        options.networks = 5
    for variant in options.variants:
        changes(variant)
    good = options.only_table or run_units(make_units(options, f"networks={options.networks}"), work, options)
    rows = read_rows(options.out)
    show(rows)
    if rows:
        draw(rows, options.figure or options.out.with_suffix(".png"))
    return good


if __name__ == "__main__":
    start(main)
