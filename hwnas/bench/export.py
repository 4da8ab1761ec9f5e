"""Results as experiments of Syne Tune: what its `load_experiment` reads and its plots draw."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any

from hwnas.bench.figures import STANDARD, WEIGHT_SHARING
from hwnas.bench.folder import BenchFolder, Row
from hwnas.bench.spent import share
from hwnas.bench.units import Unit
from hwnas.errors import RunFolderError
from hwnas.search.front import write_at_once

METRICS = ("quality", "pruned")
"""The task's metric on the validation examples, and the share of parameters that is gone. Both are maximised: Syne Tune
0.16 draws hypervolumes of maximised metrics only."""

RESULTS, METADATA = "results.csv.zip", "metadata.json"
"""Files of an experiment, by Syne Tune's names."""


def export_experiments(folder: BenchFolder, to: Path) -> list[Path]:
    """Write every search of a folder as an experiment of Syne Tune, in a folder of its own.

    `syne_tune.experiments.load_experiment(NAME, local_path=TO)` reads one, `load_experiments_df(local_path=TO)` all.

    Args:
        folder: Of the benchmark.
        to: Folder that gets them; experiments of the same name there are written anew.

    Returns:
        The experiments' folders.

    Raises:
        RunFolderError: The folder holds no search, or a file of it is damaged, or `to` cannot be written.
    """
    found = []
    for path in folder.units():
        unit, rows, about = folder.read(path)
        if unit.approach in (WEIGHT_SHARING, STANDARD):
            found.append((unit, rows, about))
    if not found:
        raise RunFolderError(f"{folder.path} holds no search; `hwnas bench run` makes some.")
    try:
        return [_write(to / unit.name, unit, rows, about) for unit, rows, about in found]
    except OSError as error:
        raise RunFolderError(f"cannot write {to} ({error.strerror or error}); give another folder.") from error


def _write(place: Path, unit: Unit, rows: list[Row], about: dict[str, str]) -> Path:
    lines = [_line(row) for row in sorted(rows, key=lambda row: row.elapsed or 0.0) if row.error is not None]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]) if lines else ["trial_id"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(RESULTS.removesuffix(".zip"), text.getvalue())
    place.mkdir(parents=True, exist_ok=True)
    (place / RESULTS).write_bytes(packed.getvalue())
    metadata = {
        "metric_names": list(METRICS),
        "metric_mode": ["max"] * len(METRICS),
        "entrypoint": "hwnas",
        "backend": "hwnas",
        "scheduler_name": unit.method,
        "algorithm": unit.method,
        "benchmark": unit.task,
        "seed": unit.seed,
        "st_tuner_creation_timestamp": datetime.fromisoformat(about["date"]).timestamp(),
        "hwnas": {key: value for key, value in about.items() if key not in Row.__dataclass_fields__},
    }
    write_at_once(place / METADATA, json.dumps(metadata, indent=2) + "\n")  # last: with it the experiment is whole
    return place


def _line(row: Row) -> dict[str, Any]:
    assert row.error is not None
    stopped = share(row) < 1
    arch = row.architecture
    return {
        "trial_id": row.number,
        METRICS[0]: 1 - row.error,
        METRICS[1]: 1 - row.share,
        "parameters": row.parameters,
        "test_quality": None if row.test_error is None else 1 - row.test_error,
        **{f"config_heads_{layer}": count for layer, count in enumerate(arch.head_counts)},
        **{f"config_units_{layer}": count for layer, count in enumerate(arch.unit_counts)},
        "elapsed_time": row.seconds,
        "st_tuner_time": row.elapsed,
        "st_decision": "STOP" if stopped else "CONTINUE",
        "st_status": "Stopped" if stopped else "Completed",
    }
