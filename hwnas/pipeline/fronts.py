"""Fronts as they are written: what a search was, and what it gave on one device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hwnas
from hwnas.pipeline.device import Device
from hwnas.pipeline.folder import RunFolder
from hwnas.pipeline.judge import Judge
from hwnas.pipeline.members import Outcome, Workshop
from hwnas.pipeline.reach import PREDICTED
from hwnas.pipeline.search_options import SearchOptions
from hwnas.pipeline.train import SuperNet
from hwnas.search.front import Front, Member
from hwnas.search.objectives import measured_cost
from hwnas.tasks import TaskData, quality_name
from hwnas.training.pretrained import EMBEDDED


def about_search(
    folder: RunFolder, supernet: SuperNet, task: TaskData, judge: Judge, options: SearchOptions
) -> dict[str, Any]:
    """What the fronts of a search have in common; JSON types."""
    return {
        "searcher": options.searcher,
        "evaluations": options.evaluations,
        "seed": options.seed,
        "space": supernet.space.name,
        "model": Path(folder.spec().model or EMBEDDED).name,
        "weights": supernet.weights,
        "reordered": folder.spec().train.reorder is not None or folder.spec().train.reorder_after is not None,
        "task": task.name,
        "quality": quality_name(task.metric),
        "validation_examples": judge.about["examples"],
        "test_examples": len(task.test),
        "constant_answer": judge.constant_errors(),
        **({} if options.align is None else {"align": list(options.align)}),
        **({} if options.max_error_increase is None else {"max_error_increase": options.max_error_increase}),
    }


def front_of_device(workshop: Workshop, shared: Mapping[str, Any], outcome: Outcome) -> Front:
    """The front of one device.

    Args:
        workshop: The device's.
        shared: From `about_search`, with what else is to be said.
        outcome: From `Workshop.outcome`.
    """
    device = workshop.device
    about = {"objective": device.objectives()[0], **shared, "setting": device.first.to_json()}
    if len(device.settings) > 1:
        about["settings"] = [entry.to_json() for entry in device.settings.values()]
    if device.label != device.first.target:
        about["device"] = device.label
    if device.extended:
        about["objectives"] = [
            {**objective, "members": _members_are(objective, [*outcome.members, outcome.unpruned])}
            for objective in device.objectives()
        ]
    if device.limits:
        about["limits"] = {limit.cost: limit.most for limit in device.limits}
    if device.how == PREDICTED:
        about["basis"] = f"predicted by a profile that was measured on {device.first.fingerprint}, not here"
    if outcome.refused:
        about["refused"] = [
            {"architecture": point.architecture.to_json(), "precision": point.precision, "reason": reason}
            for point, reason in outcome.refused.items()
        ]
    about["hwnas"] = hwnas.__version__
    return Front(
        about=about,
        unpruned=outcome.unpruned,
        members=outcome.members,
        points=tuple(_points(workshop, outcome)),
    )


def _members_are(objective: Mapping[str, str], members: Sequence[Member]) -> str:
    """What a cost of members is: measured where a measurement says it, else what it was during the search."""
    if objective["name"] == "latency":
        return str(members[-1].latency.to_json()["kind"])
    from hwnas.latency.records import Measured

    known = [
        isinstance(member.latency, Measured) and measured_cost(objective["name"], member.latency) is not None
        for member in members
    ]
    if all(known):
        return "measured"
    return f"measured, some {objective['provenance']}" if any(known) else objective["provenance"]


def _points(workshop: Workshop, outcome: Outcome) -> list[dict[str, Any]]:
    """All points as JSON types, in the order in which they came; those that left are off the front."""
    device: Device = workshop.device
    front = workshop.front(outcome.points, without={*outcome.beyond, *outcome.refused})
    on_front = {(point.architecture, point.precision) for point in front}
    rows = []
    for point in outcome.points:
        arch, precision = point.architecture, point.precision
        row = {
            "architecture": arch.to_json(),
            "precision": precision,
            "error": point.error,
            "stand_in": point.stand_in,
            "cost": point.cost,
            "on_front": (arch, precision) in on_front,
        }
        if device.extended:
            row["costs"] = dict(zip(device.names, device.costs(arch, precision), strict=True))
        if device.is_known(arch, precision):
            row["measured"] = True
        rows.append(row)
    return rows
