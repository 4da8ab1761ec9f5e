"""What lets layers be cut: SST-2, where MiniLM cut from 6 layers to 4 fell to chance after a short training.

    python benchmarks/layers.py [--variants full layer-space reorder+hidden] [--seeds 0 1 2] [--jobs 2]
    python benchmarks/layers.py --only-table

Every variant is trained on 7,000 phrases for 2 epochs, and judged with all 15 choices of 4 of its 6 layers, all 6 of
5, the first 3, every other one, half its width, and whole. Variants are made of parts, joined by `+`:

- full, standard and the like: the strategy; `full` where none is named.
- layer-space: trained in LAYER, whose networks leave out any layers, instead of SMALL, which keeps the first ones.
- reorder, reorder-after, hidden, attention: as in `ablation.py`; hidden-X: a weight of X instead of 1.
- front: half of the random networks are near cuts of layers alone, as if a search had found those.
- cost: random networks evenly by cost; k4: four random networks in a step.
- whole-first: the first 40% of the steps train the whole network alone.
- longer: three times the epochs. rate-X: a peak learning rate of X instead of the usual one.
- cosine, constant: the learning rate falls as a cosine does, or stays, instead of falling in a line.

With `--sentences` they are trained on the sentences of the training split, which are the phrases that are part of no
other: 6,886 of 67,349. Validation examples would be parts of them, so one half of the test split takes their place, and
the other one is the test split.

A row of the CSV file is one cut of one training. In the table the best choice of four is made on validation examples,
seed by seed, and shown with its quality on the test split, which did not choose it.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from _common import Row, Unit, by_setting, describe_setting, make_units, parse, read_rows, run_units, spread, start
from _sentences import SENTENCES
from _variants import changes
from rich.console import Console
from rich.table import Table

from hwnas.files import write_at_once

if TYPE_CHECKING:
    from hwnas.spaces import Architecture, Dimensions

NAME = "layers"
VARIANTS = (
    "full",
    "standard",
    "layer-space",
    "reorder",
    "hidden",
    "hidden+attention",
    "front",
    "cost",
    "k4",
    "longer",
    "rate-1e-4",
    "rate-2e-4",
    "rate-8e-4",
    "cosine",
    "constant",
    "layer-space+hidden",
    "front+hidden+longer",
    "layer-space+reorder+hidden+longer",
)
EPOCHS = 2.0
HALF, WHOLE = "half width", "whole"


def cuts(size: Dimensions) -> dict[str, Architecture]:
    """By name: the whole, half the width, and choices of layers, named by the layers that are left, from 0 on."""
    from _train import layer_cut, width_cut

    choices = [range(size.layers // 2), range(0, size.layers, 2)]
    choices += itertools.combinations(range(size.layers), size.layers - 1)
    choices += itertools.combinations(range(size.layers), four(size.layers))
    found = {WHOLE: width_cut(size, 1.0), HALF: width_cut(size, 0.5)}
    for choice in choices:
        kept = set(choice)
        found["-".join(map(str, sorted(kept)))] = layer_cut(size, kept.__contains__)
    return found


def four(layers: int) -> int:
    """How many layers are left of all, at the cut that is looked into: four of six."""
    return layers - layers // 3


def work(unit: Unit, folder: Path, options: argparse.Namespace) -> list[Row]:
    """Train one unit, and judge its cuts."""
    from _train import Trained, layer_cut

    trained = Trained(unit, options.data_dir, options.kept)
    size = trained.dimensions
    own = changes(unit.variant, unit)
    if own.get("front_share") and "front" not in own:
        # Cuts of the end alone, since the networks of SMALL keep the first layers.
        shallow = [
            layer_cut(size, lambda index, kept=kept: index < kept) for kept in range(size.layers // 2, size.layers)
        ]
        own["front"] = str(folder / "front.json")
        write_at_once(folder / "front.json", json.dumps([arch.to_json() for arch in shallow]) + "\n")
    trained.train(folder / "training", **own)
    rows = []
    for name, arch in cuts(size).items():
        row = {"cut": name, "layers": len(arch.kept_layers), "layers_in_all": size.layers}
        rows.append({**row, **trained.qualities(arch), **trained.facts})
    return rows


def show(rows: Sequence[dict[str, str]]) -> None:
    """A table for each setting."""
    console = Console(width=170)
    for group in by_setting(rows).values():
        layers = int(group[0]["layers_in_all"])
        left = four(layers)
        first = {count: "-".join(map(str, range(count))) for count in (layers // 2, left)}
        table = Table(title=f"{describe_setting(group[0])}: {group[0]['metric']}, validation", title_justify="left")
        names = ("variant", "seeds", WHOLE, HALF, f"first {left}", f"best {left}", "on test", "layers (times)")
        for name in (*names, f"median of {left}", f"first {layers // 2}", "seconds"):
            table.add_column(name, overflow="fold")
        seeds: dict[str, dict[str, dict[str, dict[str, str]]]] = {}
        for row in group:
            seeds.setdefault(row["variant"], {}).setdefault(row["seed"], {})[row["cut"]] = row
        for variant, of in seeds.items():
            choices = [
                sorted((float(row["validation"]), name) for name, row in cut.items() if _is_choice(row, left))
                for cut in of.values()
            ]
            best = [ranked[-1][1] for ranked in choices]
            often = Counter(best).most_common(2)
            table.add_row(
                variant,
                str(len(of)),
                *(_of(of, name) for name in (WHOLE, HALF, first[left])),
                spread([ranked[-1][0] for ranked in choices]),
                spread([float(cut[name]["test"]) for cut, name in zip(of.values(), best, strict=True)]),
                ", ".join(f"{name} ({times})" for name, times in often),
                spread([ranked[len(ranked) // 2][0] for ranked in choices]),
                _of(of, first[layers // 2]),
                spread([float(cut[WHOLE]["seconds"]) for cut in of.values()], 0),
            )
        console.print(table)


def _is_choice(row: dict[str, str], left: int) -> bool:
    return row["cut"] not in (WHOLE, HALF) and int(row["layers"]) == left


def _of(seeds: dict[str, dict[str, dict[str, str]]], name: str) -> str:
    return spread([float(cut[name]["validation"]) for cut in seeds.values()])


def own_options(parser: argparse.ArgumentParser) -> None:
    """What this benchmark has beside the options of all."""
    parser.add_argument("--sentences", action="store_true", help="train on whole sentences, not on phrases of them too")


def main() -> bool:
    """Train what is missing, and show the table."""
    smoke = ("full", "layer-space+hidden")
    options = parse(
        NAME,
        __doc__,
        tasks=("sst2",),
        variants=VARIANTS,
        smoke=smoke,
        train_rows=7000,
        judge=1000,
        more=own_options,
    )
    for variant in options.variants:
        changes(variant)
    options.epochs = options.epochs or EPOCHS
    units = make_units(options, SENTENCES if options.sentences else "")
    good = options.only_table or run_units(units, work, options)
    show(read_rows(options.out))
    return good


if __name__ == "__main__":
    start(main)
