"""The last station: from members of a front to folders with weights, ONNX, engine and manifest."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwnas.compile.engine import ShapeProfile, plan_build
from hwnas.compile.export import PRECISIONS
from hwnas.compile.manifest import Number, Numbers
from hwnas.compile.member import build_member
from hwnas.errors import UnknownNameError, UnsupportedBuildError
from hwnas.latency.records import Estimated, Measured
from hwnas.pipeline.folder import RunFolder
from hwnas.pipeline.progress import Progress, silent
from hwnas.pipeline.train import SuperNet, load_supernet
from hwnas.search.front import Front, read_front
from hwnas.targets import get_target


@dataclass(frozen=True)
class Built:
    """One built member.

    Attributes:
        index: Its index on the front.
        folder: Where it is.
        manifest: Its manifest; the key `reused` says that it had been built before.
    """

    index: int
    folder: Path
    manifest: dict[str, Any]


def find_front(folder: RunFolder, name: str | None) -> tuple[str, Front]:
    """The front of a run: the one named, else the only one, else the newest.

    Raises:
        RunFolderError: The run has no front yet, or a damaged one.
        UnknownNameError: It has none of that name.
    """
    names = folder.require_fronts()
    if name is None:
        name = max(names, key=lambda entry: (folder.front(entry) / "front.json").stat().st_mtime)
    elif name not in names:
        raise UnknownNameError("search", name, names)
    return name, read_front(folder.front(name) / "front.json")


def build_run(
    folder: RunFolder,
    front: Front,
    picks: Sequence[int],
    *,
    target: str,
    precision: str,
    batch: tuple[int, int, int] | None = None,
    sequence_length: tuple[int, int, int] | None = None,
    runtime: str | None = None,
    supernet: SuperNet | None = None,
    progress: Progress | None = None,
) -> list[Built]:
    """Build members of a front for a target. What was built before from the same inputs is kept.

    Args:
        folder: The run.
        front: One of its fronts.
        picks: Indices of members.
        target: Name of the target.
        precision: Of weights and arithmetic.
        batch: Smallest, usual and largest batch that the engine serves; None for 1, the front's, and 8 or the front's.
        sequence_length: Shortest, usual and longest input in tokens; None for 1 up to the front's.
        runtime: As for `build_engine`.
        supernet: The loaded super-network, if it is at hand.
        progress: Called as the work goes on.

    Raises:
        UnknownTargetError, UnsupportedBuildError, MissingExtraError, BuildError, RunFolderError: See `build_member`.
        RunFolderError: The front is of another super-network than the run's.
        UnsupportedBuildError: A pick is a quantised network, for which engines are not built.
    """
    facts = get_target(target)
    plan_build(facts, precision, runtime=runtime)  # refused before anything is loaded
    _check_floats(front, picks)
    front.check_weights(folder.weights() if supernet is None else supernet.weights, folder.path)
    setting = front.about["setting"]
    usual, longest = int(setting["batch"]), int(setting["sequence_length"])
    shapes = ShapeProfile(batch or (1, usual, max(8, usual)), sequence_length or (1, longest, longest))
    supernet = supernet or load_supernet(folder)
    say, built = progress or silent, []
    for number, index in enumerate(picks):
        place = folder.build(facts.name, precision) / _name(front, index)
        steps = _Steps(say, number, len(picks))
        manifest = build_member(
            supernet.model,
            supernet.tokenizer,
            front.members[index].architecture,
            place,
            target=facts,
            precision=precision,
            shapes=shapes,
            numbers=_numbers(front, index),
            runtime=runtime,
            progress=steps,
        )
        built.append(Built(index, place, manifest))
    return built


def _check_floats(front: Front, picks: Sequence[int]) -> None:
    """UnsupportedBuildError if a pick is quantised: an engine in 16 or 32 bits would not be what was judged."""
    quantised = [index for index in picks if front.members[index].precision not in PRECISIONS]
    if quantised:
        others = [str(index) for index, member in enumerate(front.members) if member.precision in PRECISIONS]
        rest = f"pick among {','.join(others)}" if others else "this front has no others"
        raise UnsupportedBuildError(
            f"member {quantised[0]} is a network in {front.members[quantised[0]].precision}, but engines are built in "
            f"{', '.join(PRECISIONS)}; {rest} (--pick)."
        )


class _Steps:
    """Passes the steps of one member on as progress of all."""

    def __init__(self, say: Progress, number: int, total: int) -> None:
        self._say, self._number, self._total = say, number, total

    def __call__(self, step: str) -> None:
        self._say("build", self._number, self._total, step)


def _name(front: Front, index: int) -> str:
    """Folder of a member: its shape and its layers, so that it stays the same when the front gets other members."""
    arch = front.members[index].architecture
    shape = [
        f"{len(list(group))}x{heads}h{units}u" for (heads, units), group in itertools.groupby(arch.shape)
    ]  # fmt: skip
    layers = arch.kept_layers
    first = layers == tuple(range(len(layers)))
    kept = "" if first else "_layers-" + "-".join(str(layer) for layer in layers)
    indexed = any(not isinstance(kept_of, int) for kept_of in (*arch.heads, *arch.units))
    # Which heads and units were chosen does not fit into a name.
    chosen = "_" + hashlib.sha256(json.dumps(arch.to_json()).encode()).hexdigest()[:8] if indexed else ""
    return "_".join(shape) + kept + chosen


def _numbers(front: Front, index: int) -> Numbers:
    """What is known of a member, each number with where it comes from."""
    member, about = front.members[index], front.about
    errors = {
        "validation_error": (member.validation_error, "validation", about["validation_examples"]),
        "test_error": (member.test_error, "test", about["test_examples"]),
    }
    measured = {
        name: Number(
            value,
            "1 - " + str(about["quality"]),
            {"task": about["task"], "split": split, "examples": examples, "runtime": member.judged_in},
        )
        for name, (value, split, examples) in errors.items()
    }
    latency, predicted, estimated = member.latency, {}, {}
    if isinstance(latency, Estimated):
        basis = {**about["setting"], "basis": latency.basis}
        estimated["latency"] = Number(latency.seconds, "seconds", basis, latency.low, latency.high)
    elif isinstance(latency, Measured):
        setting = {
            **about["setting"], "precision": member.precision, "protocol_date": latency.date, "runs": latency.n,
        }  # fmt: skip
        measured["latency"] = Number(latency.seconds, "seconds", setting, latency.low, latency.high)
        if latency.peak_memory_bytes is not None:
            measured["peak_memory"] = Number(latency.peak_memory_bytes, "bytes", setting)
    measured["parameters"] = Number(member.parameters, "count", {"counted": "parameters of the extracted module"})
    if member.predicted is not None:
        said = member.predicted
        predicted["latency"] = Number(
            said.seconds,
            "seconds",
            {**about["setting"], "precision": member.precision, "predictor": "additive fit"},
            said.low,
            said.high,
        )
    return Numbers(measured=measured, predicted=predicted, estimated=estimated)
