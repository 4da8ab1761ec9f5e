"""What a search costs beside the training of its super-network, read off the folder of a benchmark.

    python benchmarks/search_cost.py benchmarks/results/bench [--evaluations 500]

For each task, space and strategy of the weight-sharing searches there: the mean seconds of an evaluation and of a
training, and how long so many evaluations take as a share of the training. Both were taken in processes of one thread,
beside those that worked at the same time.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from _common import spread, start
from rich.console import Console
from rich.table import Table

from hwnas.bench.figures import WEIGHT_SHARING
from hwnas.bench.folder import BenchFolder
from hwnas.errors import UsageError


def main() -> bool:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of hwnas bench run")
    parser.add_argument("--evaluations", type=int, default=500)
    options = parser.parse_args()
    folder = BenchFolder(options.folder)
    evaluations: dict[tuple[str, ...], list[float]] = {}
    trainings: dict[tuple[str, ...], dict[int, float]] = {}
    examples: dict[tuple[str, ...], str] = {}
    for path in folder.units():
        unit, rows, text = folder.read(path)
        if unit.approach == WEIGHT_SHARING:
            of = (unit.task, unit.space, unit.strategy)
            evaluations.setdefault(of, []).extend(row.seconds for row in rows if row.seconds)
            trainings.setdefault(of, {})[unit.seed] = float(text["training_seconds"])
            examples[of] = text["validation_examples"]
    if not evaluations:
        raise UsageError(f"{options.folder} holds no search with shared weights; hwnas bench run 5a makes some.")
    share_of = f"{options.evaluations} / training"
    table = Table("task", "space", "strategy", "examples", "an evaluation, s", "a training, s", share_of)
    for of, seconds in evaluations.items():
        training = list(trainings[of].values())
        share = options.evaluations * np.mean(seconds) / np.mean(training)
        table.add_row(*of, examples[of], f"{np.mean(seconds):.3f}", spread(training, 0), f"{share:.2f}")
    Console(width=120).print(table)
    return True


if __name__ == "__main__":
    start(main)
