"""Whether the full network is as good after `full` as after plain fine-tuning, and what its sub-networks are worth.

    python benchmarks/quality.py [--tasks rte mrpc] [--seeds 0 1 2] [--jobs 2]
    python benchmarks/quality.py --only-table

RTE, MRPC, CoLA, STS-B and SST-2 with the embedded MiniLM, three seeds. A variant is a strategy, or STRATEGY@RATE with a
peak learning rate of its own; parts of `layers.py` can be joined to it. The usual ones are what `hwnas train` does by
default at so many steps, but for the order of heads and units, which the whole network does not depend on; the options
for who wants the whole network above all, `--learning-rate 5e-5 --whole-weight 20`; and plain fine-tuning at 5e-5, the
largest rate that Devlin et al. (2019, appendix A.3) name. A strategy that is run at several rates counts at whichever
has the best mean on the validation examples, over the seeds that were run with all. The goal: the whole network after
`full` is at most 1% worse, relatively, on the test split.

Every (task, variant, seed) is one row of the CSV file: the quality of the whole network and of three cuts of it (half
the heads and units; the first two thirds of the layers; the first half of them) on validation and test examples.
Seconds are of the training, beside `--jobs` - 1 others.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _common import Row, Unit, by_setting, describe_setting, make_units, parse, read_rows, run_units, spread, start
from _variants import changes
from rich.console import Console
from rich.table import Table

NAME = "quality"
TASKS = ("rte", "mrpc", "cola", "stsb", "sst2")
VARIANTS = ("standard@5e-5", "full+hidden-0.2+whole-weight-7@1e-4", "full+hidden-0.2+whole-weight-20@5e-5")
CUTS = ("whole", "half_width", "two_thirds_depth", "half_depth")
GOAL = -0.01
"""Relative difference of the whole network's quality to that of plain fine-tuning, at least."""


def work(unit: Unit, folder: Path, options: argparse.Namespace) -> list[Row]:
    """Train one unit, and judge the whole network and its cuts."""
    from _train import Trained, layer_cut, width_cut

    trained = Trained(unit, options.data_dir, options.kept)
    trained.train(folder, **options_of(unit.variant, unit))
    size = trained.dimensions
    cuts = {
        "whole": None,
        "half_width": width_cut(size, 0.5),
        "two_thirds_depth": layer_cut(size, lambda index: 3 * index < 2 * size.layers),
        "half_depth": layer_cut(size, lambda index: 2 * index < size.layers),
    }
    row = {f"{split}_{name}": trained.quality(cuts[name], split) for split in ("validation", "test") for name in CUTS}
    return [{**row, **trained.facts}]


def options_of(variant: str, unit: Unit | None = None) -> dict[str, Any]:
    """The training options of a variant; errors as of `changes`."""
    return changes(variant.replace("@", "+rate-"), unit)


def show(rows: Sequence[dict[str, str]]) -> None:
    """A table for each task and setting, and what became of the goal."""
    console = Console(width=140)
    for group in by_setting(rows).values():
        table = Table(title=f"{describe_setting(group[0])}: {group[0]['metric']}", title_justify="left")
        for name in ("variant", "seeds", *CUTS, "whole (test)", "rate", "seconds"):
            table.add_column(name.replace("_", " "), overflow="fold")
        of: dict[str, list[dict[str, str]]] = {}
        for row in group:
            of.setdefault(row["variant"], []).append(row)
        for variant, found in of.items():
            table.add_row(
                variant,
                str(len(found)),
                *(spread([float(row[f"validation_{name}"]) for row in found]) for name in CUTS),
                spread([float(row["test_whole"]) for row in found]),
                f"{float(found[0]['peak_learning_rate']):.1e}",
                spread([float(row["seconds"]) for row in found], 0),
            )
        console.print(table)
        for line in compare(of):
            console.print(line)


def compare(of: dict[str, list[dict[str, str]]]) -> list[str]:
    """The whole network after each other strategy against plain fine-tuning, on the seeds that both have."""
    variants: dict[str, list[str]] = {}
    for variant in of:
        variants.setdefault(variant.partition("@")[0], []).append(variant)
    best = {strategy: better_of(names, of) for strategy, names in variants.items()}
    plain = best.pop("standard", None)
    lines = []
    for variant in best.values() if plain else ():
        reference = {row["seed"]: row for row in of[str(plain)]}
        pairs = [(row, reference[row["seed"]]) for row in of[variant] if row["seed"] in reference]
        if not pairs:
            continue
        parts = []
        for split in ("test", "validation"):
            own, other = ([float(row[f"{split}_whole"]) for row in side] for side in zip(*pairs, strict=True))
            change = (sum(own) - sum(other)) / abs(sum(other)) if sum(other) else float("nan")
            parts.append(f"{change:+.2%} on {split}")
            if split == "test":
                verdict = "goal met" if change >= GOAL else "goal missed"
        lines.append(f"{variant} against {plain}, {len(pairs)} seeds: {', '.join(parts)}; {verdict} ({GOAL:.0%})")
    return lines


def better_of(variants: Sequence[str], of: dict[str, list[dict[str, str]]]) -> str:
    """The variant of one strategy with the best whole network on validation examples, over the seeds that all have."""
    seeds = set.intersection(*({row["seed"] for row in of[variant]} for variant in variants))

    def quality(variant: str) -> float:
        rows = [row for row in of[variant] if not seeds or row["seed"] in seeds]
        return sum(float(row["validation_whole"]) for row in rows) / len(rows)

    return max(variants, key=quality)


def main() -> bool:
    """Train what is missing, and show the table."""
    options = parse(NAME, __doc__, tasks=TASKS, variants=VARIANTS, smoke=VARIANTS[:2])
    for variant in options.variants:
        options_of(variant)
    good = options.only_table or run_units(make_units(options), work, options)
    show(read_rows(options.out))
    return good


if __name__ == "__main__":
    start(main)
