"""How far estimates are from published latencies of devices that the calibration never saw.

    python benchmarks/estimates.py [--out benchmarks/results/estimates.json]

Each device of `hwnas/latency/published.toml` is left out once: scale, overhead and interval come from the others, and
its published latencies are compared with the estimates. Nothing is measured, so the figures are the same everywhere.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from hwnas.latency.calibration import leave_one_out, published_calibration, sources
from hwnas.provenance import git_commit

PRECISIONS = ("fp16", "int8")


def figures(precision: str) -> dict[str, Any]:
    """Errors of each device and of all, and the calibration on all devices."""
    errors = leave_one_out(precision)
    rows = sum(error.rows for error in errors)
    calibration = published_calibration(precision)
    return {
        "precision": precision,
        "rows": rows,
        "mean_error": sum(error.mean_error * error.rows for error in errors) / rows,
        "worst_error": max(error.worst_error for error in errors),
        "covered": sum(error.covered * error.rows for error in errors) / rows,
        "compute": calibration.compute,
        "overhead_seconds": calibration.overhead,
        "between": calibration.between,
        "within": calibration.within,
        "margin": calibration.margin,
        "devices": [asdict(error) for error in errors],
    }


def show(found: dict[str, Any]) -> Table:
    """One line a device, and one of all."""
    table = Table(title=f"{found['precision']}: each device estimated from the others", title_justify="left")
    table.add_column("device")
    for name in ("rows", "estimated / published", "mean error", "worst error", "in the 90% interval"):
        table.add_column(name, justify="right")
    for row in found["devices"]:
        cells = (f"{row['bias']:.2f}", *(f"{row[name]:.1%}" for name in ("mean_error", "worst_error", "covered")))
        table.add_row(row["device"], str(row["rows"]), *cells)
    table.add_section()
    cells = tuple(f"{found[name]:.1%}" for name in ("mean_error", "worst_error", "covered"))
    table.add_row("all", str(found["rows"]), "", *cells)
    return table


def main() -> None:
    """Print the errors and write them down."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    options = parser.parse_args()
    found = [figures(precision) for precision in PRECISIONS]
    for entry in found:
        Console(width=110).print(show(entry))
    if options.out is not None:
        data = {"kind": "estimated", "commit": git_commit(), "sources": list(sources()), "precisions": found}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
