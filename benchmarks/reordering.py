"""Whether networks whose heads and units are ordered by importance have better prefixes, before and after training.

    python benchmarks/reordering.py [--tasks sst2] [--seeds 0 1 2] [--jobs 2]
    python benchmarks/reordering.py --only-table

Prefixes are sub-networks of all layers with the first heads, the first units, or the first of both, at eight widths.

- standard: plain fine-tuning, then the prefixes in the order of the model as it came, in that of first-order and of
  movement scores, and in the reverse of the first-order order, as a control. Nothing is trained after the ordering.
- standard+movement, standard+removal: the same training, then the order of movement scores that were summed up over
  its steps, or of removal scores of what it gave: what `hwnas train --strategy standard --reorder-after` does.
- full: a super-network in the order of the model as it came.
- full-then-reorder: the same one, in the order of first-order scores that are made after the training.
- full+reorder: heads and units are ordered before the training, by scores of the model that is not yet fine-tuned,
  with a new head: what `hwnas train --reorder first-order` does.
- full+fine-tuned-order: they are ordered by scores of a fine-tuned twin, and the model is trained from the start.

Scores come from training examples alone. Each (task, variant, seed) is one training (the last variant two), and a row
of the CSV file for each order and prefix. Tables show validation quality; rows have the test split's as well.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from _common import Row, Unit, by_setting, describe_setting, make_units, parse, read_rows, run_units, spread, start
from rich.console import Console
from rich.table import Table

from hwnas.errors import UnknownNameError
from hwnas.files import write_at_once

if TYPE_CHECKING:
    from _train import Trained

NAME = "reordering"
VARIANTS = (
    "standard",
    "standard+movement",
    "standard+removal",
    "full",
    "full-then-reorder",
    "full+reorder",
    "full+fine-tuned-order",
)
WIDTHS = 8
SIDES = ("heads", "units", "both")
CAME, REVERSED, MOVED = "as it came", "reversed first-order", "movement over the training"
ORDERS = {"standard": CAME, "full": CAME, "standard+movement": MOVED, "standard+removal": "removal"}
"""The order that a variant's training ends in, if not that of first-order scores."""


def prefixes(trained: Trained, order: str) -> list[Row]:
    """Quality of the prefixes of a model, in the order that it is in."""
    from hwnas.spaces import Architecture

    size, rows = trained.dimensions, []
    for side in SIDES:
        for eighths in range(1, WIDTHS + 1):
            share = eighths / WIDTHS
            heads = size.heads if side == "units" else max(1, round(share * size.heads))
            units = size.units if side == "heads" else max(1, round(share * size.units))
            arch = Architecture((heads,) * size.layers, (units,) * size.layers)
            if eighths == WIDTHS and side != SIDES[-1]:
                continue  # the whole network: judged once
            row = {"order": order, "side": side, "share": share, "heads": heads, "units": units}
            rows.append({**row, **trained.qualities(arch)})
    return rows


def work(unit: Unit, folder: Path, options: argparse.Namespace) -> list[Row]:
    """Train one unit, and judge its prefixes."""
    from _train import Trained

    from hwnas.importance import Order, reorder, score

    if unit.variant not in VARIANTS:
        raise UnknownNameError("variant", unit.variant, VARIANTS)
    trained = Trained(unit, options.data_dir, options.kept)
    before = 0.0
    if unit.variant == "full+fine-tuned-order":
        noted = folder / "order.json"
        if not noted.is_file():
            twin = Trained(unit, options.data_dir, options.kept)
            twin.train(folder / "twin", strategy="standard")
            regression = twin.task.is_regression
            scores = score(twin.model, twin.training_batches(options.score_rows), regression=regression)
            found = {**Order.of(scores).to_json(), "seconds": twin.facts["seconds"]}
            write_at_once(noted, json.dumps(found) + "\n")
        found = json.loads(noted.read_text(encoding="utf-8"))
        before = float(found["seconds"])
        reorder(trained.model, Order.from_json(found))
        trained.kept = None  # weights are kept by options, which do not tell this start from the usual one
    strategy, _, rest = unit.variant.removesuffix("-then-reorder").partition("+")
    trained.train(
        folder / strategy,
        strategy=strategy,
        reorder="first-order" if rest == "reorder" else None,
        reorder_after=rest if rest in ("movement", "removal") else None,
    )
    trained.facts["seconds"] += before
    data, regression = trained.training_batches(options.score_rows), trained.task.is_regression
    if unit.variant == "full-then-reorder":
        reorder(trained.model, score(trained.model, data, regression=regression))
    rows = prefixes(trained, ORDERS.get(unit.variant, "first-order"))
    if unit.variant == "standard":
        for method in ("movement", "first-order"):
            reorder(trained.model, score(trained.model, data, method=method, regression=regression))
            rows += prefixes(trained, method)
        last = Order(
            *(
                tuple(tuple(reversed(range(width))) for _ in range(trained.dimensions.layers))
                for width in (trained.dimensions.heads, trained.dimensions.units)
            )
        )
        reorder(trained.model, last)
        rows += prefixes(trained, REVERSED)
    return [{**row, **trained.facts} for row in rows]


def show(rows: Sequence[dict[str, str]]) -> None:
    """A table for each task, setting and side, and the differences to the order that the model came in."""
    console = Console(width=190)
    for group in by_setting(rows).values():
        cells: dict[tuple[str, str, str, float], dict[str, float]] = {}
        for row in group:
            place = (row["variant"], row["order"], row["side"], float(row["share"]))
            cells.setdefault(place, {})[row["seed"]] = float(row["validation"])
        kinds = list(dict.fromkeys((row["variant"], row["order"]) for row in group))
        shares = [eighths / WIDTHS for eighths in range(1, WIDTHS + 1)]
        for side in SIDES:
            table = Table(
                title=f"{describe_setting(group[0])}: {group[0]['metric']}, prefixes of {side}", title_justify="left"
            )
            for name in ("variant", "order", *(f"{eighths}/{WIDTHS}" for eighths in range(1, WIDTHS + 1)), "better"):
                table.add_column(name)
            for variant, order in kinds:
                base = (variant.split("+")[0].removesuffix("-then-reorder"), CAME)
                values = []
                better, widths = 0, 0
                for share in shares:
                    where = side if share < 1 else SIDES[-1]
                    own = cells.get((variant, order, where, share), {})
                    other = cells.get((*base, where, share), {})
                    values.append(spread(list(own.values()), 3))
                    both = sorted(set(own) & set(other))
                    if both and share < 1 and (variant, order) != base:
                        widths += 1
                        better += float(np.mean([own[seed] - other[seed] for seed in both])) > 0
                table.add_row(variant, order, *values, f"{better} of {widths}" if widths else "")
            console.print(table)
    console.print(f"better: widths at which the mean is above that of the order that the model came in ({CAME})")


def own_options(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--score-rows", type=int, default=2048, help="training examples that scores are made from")


def main() -> bool:
    """Train what is missing, and show the tables."""
    options = parse(
        NAME,
        __doc__,
        tasks=("sst2",),
        variants=VARIANTS,
        smoke=("standard", "full+fine-tuned-order"),
        train_rows=7000,
        judge=1000,
        more=own_options,
    )
    if options.smoke:
        options.score_rows = 32
    units = make_units(options, f"score_rows={options.score_rows}")
    good = options.only_table or run_units(units, work, options)
    show(read_rows(options.out))
    return good


if __name__ == "__main__":
    start(main)
