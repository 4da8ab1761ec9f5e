"""The best sub-network of each space within so many parameters, or so much latency, read off a benchmark's folder.

    python benchmarks/spaces.py benchmarks/results/bench [--within 15 17.5 20]
    python benchmarks/spaces.py benchmarks/results/bench --latencies benchmarks/results/latency_prediction.parquet

For each task and space: the smallest validation error of the networks that random search drew from a super-network of
`--strategy` and that have at most so many million parameters; the mean over the seeds, of which only those are counted
that every space was run with. `-` is where a space has no such network in one of them.

With `--latencies`, the rows of `hwnas table export`, limits are shares of the whole network's latency in the setting
`--setting`. Latencies are PREDICTED from the measured rows: no network of the benchmark was timed. Then the mean
hypervolume is that of error and predicted latency, and otherwise that of figure 4.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from _common import spread, start
from rich.console import Console
from rich.table import Table

from hwnas.bench.figures import WEIGHT_SHARING
from hwnas.bench.folder import BenchFolder, Row
from hwnas.bench.statistics import anytime_hypervolume, quantile_normalise
from hwnas.errors import UsageError
from hwnas.latency.portable import import_file
from hwnas.latency.predictor import Predictor
from hwnas.latency.profile import load_predictor
from hwnas.latency.table import LatencyTable
from hwnas.spaces import space_names
from hwnas.training.pretrained import load_config

Cost = Callable[[Row], float]
Networks = list[tuple[float, float]]
"""(cost, error)."""
Found = dict[str, dict[str, dict[int, Networks]]]
"""By task, space and seed."""


def predictor_of(file: Path, setting: str) -> tuple[Predictor, str]:
    """What predicts latencies of the embedded model's sub-networks, and what it is of, in words.

    Raises:
        TableError: The file cannot be read, or has no profile of that model.
        UsageError: It has no such setting.
    """
    config = load_config(None)
    config.num_labels = 2
    with tempfile.TemporaryDirectory(prefix="hwnas-") as folder:
        place = Path(folder) / "table.sqlite"
        import_file(file, place)
        with LatencyTable(place) as table:
            known = {
                f"{one.runtime}:{one.precision}:{one.batch}x{one.sequence_length}": one for one in table.settings()
            }
            if setting not in known:
                raise UsageError(f"--setting {setting}: {file} has {', '.join(known)}.")
            predictor = load_predictor(config, known[setting], table)
    return predictor, f"{setting}, {predictor.networks} measured networks, off by {predictor.latency.error:.1%}"


def read(folder: BenchFolder, strategy: str, cost: Cost) -> Found:
    """What random search evaluated; UsageError if it did nowhere."""
    found: Found = {}
    for path in folder.units():
        unit, rows, _ = folder.read(path)
        if (unit.approach, unit.method, unit.strategy) == (WEIGHT_SHARING, "random_search", strategy):
            seeds = found.setdefault(unit.task, {}).setdefault(unit.space, {})
            seeds[unit.seed] = [(cost(row), row.error) for row in rows if row.error is not None]
    if not found:
        raise UsageError(f"{folder.path} holds no random search after {strategy}; hwnas bench run 4 makes some.")
    return found


def best(networks: Networks, within: float) -> float | None:
    """The smallest error of those that cost at most so much; None if there is none."""
    return min((error for cost, error in networks if cost <= within), default=None)


def hypervolumes(spaces: dict[str, dict[int, Networks]], seeds: list[int]) -> dict[str, list[float]]:
    """Of each space and seed, as in figure 4: quantiles over all of a task, below (2, 2)."""
    runs = [np.array([(error, cost) for cost, error in spaces[space][seed]]) for space in spaces for seed in seeds]
    normal = iter(quantile_normalise(runs))
    return {space: [float(anytime_hypervolume(next(normal))[-1]) for _ in seeds] for space in spaces}


def main() -> bool:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of hwnas bench run")
    parser.add_argument("--within", type=float, nargs="+", help="million parameters, or shares of the latency")
    parser.add_argument("--strategy", default="full")
    parser.add_argument("--latencies", type=Path, metavar="FILE", help="Parquet or CSV file of hwnas table export")
    parser.add_argument("--setting", default="onnxruntime:fp32:1x128", help="RUNTIME:PRECISION:BATCHxTOKENS of it")
    options = parser.parse_args()
    folder, unit = BenchFolder(options.folder), 1e6
    limits, title, measure = options.within or [15.0, 17.5, 20.0], "million parameters", ""
    if options.latencies is None:
        found = read(folder, options.strategy, lambda row: float(row.parameters))
    else:
        predictor, measure = predictor_of(options.latencies, options.setting)
        found = read(folder, options.strategy, lambda row: predictor.predict(row.architecture).seconds)
        limits, title = options.within or [0.3, 0.5, 0.7], "predicted latency / whole network's"
        # The largest network is a start design, so every search has it.
        unit = max(
            cost for spaces in found.values() for of in spaces.values() for one in of.values() for cost, _ in one
        )
    table = Table("task", "seeds", title, *space_names(), title=measure or None, title_justify="left")
    means: dict[str, list[float]] = {space: [] for space in space_names()}
    for task, spaces in found.items():
        seeds = sorted(set.intersection(*(set(of) for of in spaces.values())))
        for within in limits:
            cells = []
            for space in space_names():
                errors = [best(spaces[space][seed], within * unit) for seed in seeds] if space in spaces else []
                known = [error for error in errors if error is not None]
                cells.append(spread(known) if known and len(known) == len(seeds) else "-")
            table.add_row(task, str(len(seeds)), f"{within:g}", *cells)
        volumes = hypervolumes(spaces, seeds)
        for space, values in volumes.items():
            means[space].append(float(np.mean(values)))
        cells = [spread(volumes[space], 2) if space in volumes else "-" for space in space_names()]
        table.add_row(task, str(len(seeds)), "hypervolume", *cells, end_section=True)
    table.add_row("mean", "", "hypervolume", *(spread([np.mean(means[space])], 2) for space in space_names()))
    Console(width=140).print(table)
    return True


if __name__ == "__main__":
    start(main)
