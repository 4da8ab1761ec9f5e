"""Results as experiments of Syne Tune: what its `load_experiment` reads and its plots draw."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from hwnas.bench.figures import STANDARD, WEIGHT_SHARING
from hwnas.bench.folder import BenchFolder, Row
from hwnas.bench.spent import share
from hwnas.bench.units import Unit
from hwnas.errors import RunFolderError
from hwnas.search.experiment import QUALITY, result_line, write_experiment

METRICS = (QUALITY, "pruned")
"""The task's metric on the validation examples, and the share of parameters that is gone."""


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
    write_experiment(
        place,
        [_line(row) for row in sorted(rows, key=lambda row: row.elapsed or 0.0) if row.error is not None],
        metrics=METRICS,
        method=unit.method,
        task=unit.task,
        seed=unit.seed,
        created=datetime.fromisoformat(about["date"]).timestamp(),
        about={key: value for key, value in about.items() if key not in Row.__dataclass_fields__},
    )
    return place


def _line(row: Row) -> dict[str, Any]:
    assert row.error is not None
    return result_line(
        row.number,
        row.architecture,
        {METRICS[0]: 1 - row.error, METRICS[1]: 1 - row.share},
        seconds=row.seconds,
        elapsed=row.elapsed,
        stopped=share(row) < 1,
        more={
            "parameters": row.parameters,
            "test_quality": None if row.test_error is None else 1 - row.test_error,
        },
    )
