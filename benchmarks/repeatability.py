"""Whether two profiles of one machine agree within their intervals.

    python benchmarks/repeatability.py [--runtimes onnxruntime:fp32 ...] [--out benchmarks/results/repeatability.csv]
    python benchmarks/repeatability.py --only-compare ...

The same networks are measured twice, from nothing, into two tables, in processes of their own, the second profile after
the first of every setting has ended. Two rows agree if their 95% intervals share a point. Rows with a flag that speaks
of a disturbed machine count like the others; the result says how many there were.

The shift is the median change over the networks of a setting: what the whole machine became slower or faster. `apart`
is what remains of a network's change once it is taken off, which is what comparing networks depends on.
`--only-compare` measures nothing and compares the two tables of an earlier run with the same options.

Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from hwnas.cli.progress import reporter
from hwnas.latency.design import choose_design
from hwnas.latency.keys import network_key
from hwnas.latency.measure import Wanted, measure_networks
from hwnas.latency.records import Measured, Setting
from hwnas.latency.table import LatencyTable
from hwnas.models import get_family
from hwnas.profilers import Failure
from hwnas.training.pretrained import load_config

Row = dict[str, Any]
RUNTIMES = ("onnxruntime:fp32", "onnxruntime:int8", "torch:fp32", "openvino:fp32")


def compare(setting: Setting, first: dict[str, Any], second: dict[str, Any]) -> Row:
    """One row of the result from two profiles: network key -> measurement or failure."""
    pairs = [
        (one, two)
        for key, one in first.items()
        if isinstance(one, Measured) and isinstance(two := second.get(key), Measured)
    ]
    ratios = np.array([two.seconds / one.seconds - 1 for one, two in pairs])
    apart = np.abs((1 + ratios) / (1 + np.median(ratios)) - 1)
    agree = [one.low <= two.high and two.low <= one.high for one, two in pairs]
    widths = [(row.high - row.low) / 2 / row.seconds for pair in pairs for row in pair]
    return {
        **setting.to_json(),
        "rows": len(pairs),
        "agree": sum(agree),
        "share": float(np.mean(agree)),
        "mean_difference": float(np.abs(ratios).mean()),
        "worst_difference": float(np.abs(ratios).max()),
        "shift": float(np.median(ratios)),
        "mean_apart": float(apart.mean()),
        "worst_apart": float(apart.max()),
        "interval_half_width": float(np.mean(widths)),
        "doubtful_rows": sum(bool(row.doubts) for pair in pairs for row in pair),
        "failures": sum(isinstance(row, Failure) for found in (first, second) for row in found.values()),
        "commit": " ".join(sorted({str(row.commit) for pair in pairs for row in pair})),
    }


def show(rows: Sequence[Row]) -> None:
    """The rows as a table, and the share over all."""
    table = Table(title="Two profiles of one machine")
    for name in (
        "setting",
        "rows",
        "agree",
        "mean difference",
        "worst",
        "shift",
        "mean apart",
        "worst apart",
        "interval +-",
    ):
        table.add_column(name, justify="left" if name == "setting" else "right")
    for row in rows:
        table.add_row(
            f"{row['runtime']} {row['precision']} {row['batch']}x{row['sequence_length']}",
            str(row["rows"]),
            f"{row['share']:.1%}",
            f"{row['mean_difference']:.2%}",
            f"{row['worst_difference']:.2%}",
            f"{row['shift']:+.2%}",
            f"{row['mean_apart']:.2%}",
            f"{row['worst_apart']:.2%}",
            f"{row['interval_half_width']:.2%}",
        )
    Console(width=120).print(table)
    total, agree = sum(row["rows"] for row in rows), sum(row["agree"] for row in rows)
    print(f"{agree} of {total} rows agree within their intervals: {agree / total:.1%}")


def main() -> None:
    from hwnas.latency.profile import make_setting

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runtimes", nargs="+", default=RUNTIMES, help="RUNTIME:PRECISION")
    parser.add_argument("--shapes", nargs="+", default=("1x128",), help="BATCHxTOKENS")
    parser.add_argument("--networks", type=int, default=12)
    parser.add_argument("--target", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("repeatability"), help="where the two tables are kept")
    parser.add_argument("--only-compare", action="store_true", help="measure nothing, compare the folder's tables")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    config = load_config(None)
    config.num_labels = 2
    dimensions = get_family(config).dimensions(config)
    archs = choose_design(dimensions, ("small", "layer"), max_networks=options.networks)
    settings = [
        make_setting(options.target, *pair.split(":"), *map(int, shape.split("x")), options.threads)
        for shape in options.shapes
        for pair in options.runtimes
    ]
    found: list[list[dict[str, Any]]] = []
    for turn in ("first", "second"):
        with LatencyTable(options.folder / f"{turn}.sqlite") as table, reporter() as report:
            found.append([])
            for setting in settings:
                name = f"{turn} {setting.runtime} {setting.precision} {setting.batch}x{setting.sequence_length}"
                if options.only_compare:
                    keys = [network_key(config, arch) for arch in archs]
                    found[-1].append({key: row for key in keys if (row := table.get(setting, key)) is not None})
                    continue
                rows, _ = measure_networks(
                    config,
                    [Wanted(arch, "design") for arch in archs],
                    setting,
                    table,
                    memory=False,
                    progress=lambda stage, done, total, name=name: report(f"{name} {stage}", done, total),
                )
                found[-1].append(rows)
    if not all(rows for turn in found for rows in turn):
        parser.error(f"{options.folder}: a table has no rows of these settings; leave out --only-compare")
    result = [compare(setting, one, two) for setting, one, two in zip(settings, *found, strict=True)]
    show(result)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        with options.out.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(result[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(result)


if __name__ == "__main__":
    main()
