"""How well latencies of unseen networks are predicted, for several runtimes, precisions and shapes.

    python benchmarks/latency_prediction.py [--table FILE] [--out benchmarks/results/latency_prediction.csv]

For each setting 24 sub-networks of the embedded MiniLM are measured for the fit, and 10 others, drawn by the
spaces' own samplers, for the judgement: the fit never sees those. Every row goes into a latency table, so a run that
was cut short goes on, and `--only-fit` fits a table's rows again without measuring anything.

Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from hwnas.cli.progress import reporter
from hwnas.latency.profile import ProfileReport, make_setting, profile_model
from hwnas.latency.table import LatencyTable
from hwnas.profilers import TimingProtocol
from hwnas.provenance import git_commit
from hwnas.training.pretrained import load_config

Row = dict[str, Any]

RUNTIMES = ("onnxruntime:fp32", "openvino:fp32", "onnxruntime:int8", "torch:fp32")
SHAPES = ("1x128", "1x32", "8x32", "8x128")


def summary(report: ProfileReport, seconds: float) -> Row:
    """One row of the result."""
    setting = report.setting
    errors = np.abs([row.error for row in report.rows])
    inside = [row.predicted.low <= row.measured.seconds <= row.predicted.high for row in report.rows]
    widths = [(row.predicted.high - row.predicted.low) / 2 / row.predicted.seconds for row in report.rows]
    doubt = [(row.measured.high - row.measured.low) / 2 / row.measured.seconds for row in report.rows]
    return {
        **setting.to_json(),
        "fitted": report.predictor.networks,
        "judged": len(errors),
        "mean_error": float(errors.mean()),
        "worst_error": float(errors.max()),
        "bias": float(np.mean([row.error for row in report.rows])),
        "within_2_percent": float((errors <= 0.02).mean()),
        "within_5_percent": float((errors <= 0.05).mean()),
        "coverage_of_90_percent_intervals": float(np.mean(inside)),
        "interval_half_width": float(np.mean(widths)),
        "measured_half_width": float(np.mean(doubt)),
        "failures": len(report.failures),
        "flags": " ".join(f"{name}={count}" for name, count in report.flags.items()),
        "seconds_spent": round(seconds, 1),
        "commit": git_commit(),
    }


def show(rows: Sequence[Row]) -> None:
    """The rows as a table."""
    table = Table(title="Networks that the fit never saw")
    names = {"mean_error": "mean", "worst_error": "worst", "within_5_percent": "within 5%"}
    for name in ("setting", "judged", *names.values(), "covered by 90%", "measured +-"):
        table.add_column(name, justify="left" if name == "setting" else "right")
    for row in rows:
        table.add_row(
            f"{row['runtime']} {row['precision']} {row['batch']}x{row['sequence_length']}",
            str(row["judged"]),
            *(f"{row[name]:.2%}" for name in names),
            f"{row['coverage_of_90_percent_intervals']:.0%}",
            f"{row['measured_half_width']:.2%}",
        )
    Console(width=120).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runtimes", nargs="+", default=RUNTIMES, help="RUNTIME:PRECISION")
    parser.add_argument("--shapes", nargs="+", default=SHAPES, help="BATCHxTOKENS")
    parser.add_argument("--networks", type=int, default=24)
    parser.add_argument("--holdout", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=16, help="of the protocol; at most twice as many")
    parser.add_argument("--budget", type=float, default=160.0, help="seconds of timing for a setting")
    parser.add_argument("--target", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", type=Path, default=Path("latency_prediction.sqlite"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only-fit", action="store_true", help="leave out settings that are not in the table")
    options = parser.parse_args()
    config = load_config(None)
    config.num_labels = 2
    rows: list[Row] = []
    protocol = replace(TimingProtocol.of_rounds(options.rounds), budget_seconds=options.budget)
    with LatencyTable(options.table) as table, reporter() as report:
        for shape in options.shapes:
            batch, length = map(int, shape.split("x"))
            for pair in options.runtimes:
                runtime, precision = pair.split(":")
                setting = make_setting(
                    options.target, runtime, precision, batch, length, options.threads, protocol=protocol
                )
                if options.only_fit and setting not in table.settings():
                    continue
                start = time.perf_counter()
                found = profile_model(
                    config,
                    setting,
                    table,
                    seed=options.seed,
                    max_networks=options.networks,
                    holdout=options.holdout,
                    remeasure=False,
                    memory=False,
                    progress=lambda stage, done, total, name=f"{pair} {shape}": report(f"{name} {stage}", done, total),
                )
                rows.append(summary(found, time.perf_counter() - start))
                show(rows[-1:])
                if options.out:
                    options.out.parent.mkdir(parents=True, exist_ok=True)
                    with options.out.open("w", newline="") as file:
                        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
                        writer.writeheader()
                        writer.writerows(rows)
    show(rows)


if __name__ == "__main__":
    main()
