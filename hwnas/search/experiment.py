"""Searches as experiments of Syne Tune: what its `load_experiment` reads and its plots draw.

Syne Tune 0.16 stores an experiment as a folder with a table of results and a file of metadata. Neither needs Syne Tune
to be written. Metrics are maximised: its hypervolumes are of maximised metrics only.
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hwnas.files import write_at_once
from hwnas.search.front import Front
from hwnas.spaces import Architecture

QUALITY = "quality"
"""Metric: the task's, on the validation examples."""

RESULTS, METADATA = "results.csv.zip", "metadata.json"
"""Files of an experiment, by Syne Tune's names."""


def result_line(
    number: int,
    architecture: Architecture,
    metrics: Mapping[str, float],
    *,
    seconds: float | None,
    elapsed: float | None,
    stopped: bool = False,
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """One report of a trial.

    Args:
        number: Of the trial, from 0.
        architecture: What was tried; its heads and units, layer by layer, are the configuration.
        metrics: All maximised, by name.
        seconds: What the evaluation took.
        elapsed: Seconds from the start of the search to its end.
        stopped: It was stopped before the end of its training.
        more: Further columns.
    """
    return {
        "trial_id": number,
        **metrics,
        **(more or {}),
        **{f"config_heads_{layer}": count for layer, count in enumerate(architecture.head_counts)},
        **{f"config_units_{layer}": count for layer, count in enumerate(architecture.unit_counts)},
        "elapsed_time": seconds,
        "st_tuner_time": elapsed,
        "st_decision": "STOP" if stopped else "CONTINUE",
        "st_status": "Stopped" if stopped else "Completed",
    }


def write_front_experiment(
    front: Front, place: Path, seconds: Callable[[Architecture], float | None], *, created: float
) -> None:
    """Write the search that led to a front, every network in every precision a trial, beside `front.json`.

    The metrics are the quality and, for each cost, `saved_COST`: the share of the unpruned network's that is gone, as
    the search saw it. `st_tuner_time` adds up the evaluations, those that other searches had made included.

    Args:
        front: What the search gave on one device.
        place: Folder of the experiment.
        seconds: What the evaluation of a network took; None where it is not known.
        created: Seconds since 1970.
    """
    names = [str(objective["name"]) for objective in front.objectives]
    points = [(Architecture.from_json(point["architecture"]), point) for point in front.points]
    whole = front.unpruned.architecture
    unpruned = next(
        _costs(point, names) for arch, point in points if arch == whole and point["precision"] == front.precisions[0]
    )
    lines, elapsed, seen = [], 0.0, set()
    for number, (arch, point) in enumerate(points):
        spent = seconds(arch)
        if arch not in seen:  # several precisions share one evaluation
            seen.add(arch)
            elapsed += spent or 0.0
        costs = _costs(point, names)
        saved = {f"saved_{name}": 1 - costs[name] / unpruned[name] for name in names}
        more = {"precision": point["precision"], "on_front": point["on_front"], **costs}
        quality = {QUALITY: 1 - float(point["error"])}
        lines.append(result_line(number, arch, quality | saved, seconds=spent, elapsed=elapsed, more=more))
    write_experiment(
        place,
        lines,
        metrics=[QUALITY, *(f"saved_{name}" for name in names)],
        method=str(front.about["searcher"]),
        task=str(front.about["task"]),
        seed=int(front.about["seed"]),
        created=created,
        about=front.about,
    )


def _costs(point: Mapping[str, Any], names: Sequence[str]) -> dict[str, float]:
    costs = point.get("costs") or {names[0]: point["cost"]}
    return {name: float(costs[name]) for name in names}


def write_experiment(
    place: Path,
    lines: Sequence[Mapping[str, Any]],
    *,
    metrics: Sequence[str],
    method: str,
    task: str,
    seed: int,
    created: float,
    about: Mapping[str, Any],
) -> None:
    """Write an experiment; each file at once, and last the one with which it is whole.

    Args:
        place: Its folder, made if it is missing; its name is the experiment's.
        lines: From `result_line`, in the order in which they came.
        metrics: Names of the metrics.
        method: Name of the searcher.
        task: What was searched for.
        seed: Of the search.
        created: Seconds since 1970.
        about: What else is known, under the name `hwnas`; JSON types.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]) if lines else ["trial_id"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        entry = zipfile.ZipInfo(RESULTS.removesuffix(".zip"))  # has no time: same rows, same bytes
        archive.writestr(entry, text.getvalue(), zipfile.ZIP_DEFLATED)
    write_at_once(place / RESULTS, packed.getvalue())
    metadata = {
        "metric_names": list(metrics),
        "metric_mode": ["max"] * len(metrics),
        "entrypoint": "hwnas",
        "backend": "hwnas",
        "scheduler_name": method,
        "algorithm": method,
        "benchmark": task,
        "seed": seed,
        "st_tuner_creation_timestamp": created,
        "hwnas": dict(about),
    }
    write_at_once(place / METADATA, json.dumps(metadata, indent=2) + "\n")
