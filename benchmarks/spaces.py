"""The best sub-network of each space within so many parameters, read off the folder of a benchmark.

    python benchmarks/spaces.py benchmarks/results/bench [--within 15 17.5 20]

For each task and space: the smallest validation error of the networks that random search drew from a super-network of
`--strategy` and that have at most so many million parameters; the mean over the seeds, of which only those are counted
that every space was run with. `-` is where a space has no such network in one of them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from _common import spread, start
from rich.console import Console
from rich.table import Table

from hwnas.bench.figures import WEIGHT_SHARING
from hwnas.bench.folder import BenchFolder
from hwnas.errors import UsageError
from hwnas.spaces import space_names

Found = dict[str, dict[str, dict[int, list[tuple[int, float]]]]]
"""(parameters, error) of the networks by task, space and seed."""


def read(folder: BenchFolder, strategy: str) -> Found:
    """What random search evaluated; UsageError if it did nowhere."""
    found: Found = {}
    for path in folder.units():
        unit, rows, _ = folder.read(path)
        if (unit.approach, unit.method, unit.strategy) == (WEIGHT_SHARING, "random_search", strategy):
            seeds = found.setdefault(unit.task, {}).setdefault(unit.space, {})
            seeds[unit.seed] = [(row.parameters, row.error) for row in rows]
    if not found:
        raise UsageError(f"{folder.path} holds no random search after {strategy}; hwnas bench run 4 makes some.")
    return found


def best(networks: list[tuple[int, float]], within: float) -> float | None:
    """The smallest error of those with at most so many parameters; None if there is none."""
    return min((error for parameters, error in networks if parameters <= within), default=None)


def main() -> bool:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of hwnas bench run")
    parser.add_argument("--within", type=float, nargs="+", default=[15.0, 17.5, 20.0], help="million parameters")
    parser.add_argument("--strategy", default="full")
    options = parser.parse_args()
    table = Table("task", "seeds", "million parameters", *space_names())
    for task, spaces in read(BenchFolder(options.folder), options.strategy).items():
        seeds = sorted(set.intersection(*(set(of) for of in spaces.values())))
        for within in options.within:
            cells = []
            for space in space_names():
                errors = [best(spaces[space][seed], within * 1e6) for seed in seeds] if space in spaces else []
                known = [error for error in errors if error is not None]
                cells.append(spread(known) if known and len(known) == len(seeds) else "-")
            table.add_row(task, str(len(seeds)), f"{within:g}", *cells)
    Console(width=120).print(table)
    return True


if __name__ == "__main__":
    start(main)
