"""Units of whole networks: the super-network's own, not pruned, in another precision and its runtime."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hwnas.baselines.quantized import artifact_errors, calibration_batches, choose, is_calibrated
from hwnas.bench.exam import TEST, Exam
from hwnas.bench.folder import BenchFolder, Row
from hwnas.bench.scale import Scale
from hwnas.bench.search import provenance
from hwnas.bench.supernet import Network, Report, load
from hwnas.bench.units import Unit
from hwnas.latency.records import Measured, Setting
from hwnas.latency.setting import make_setting
from hwnas.profilers import TimingProtocol
from hwnas.search.cache import EvaluationCache
from hwnas.search.pareto import non_dominated
from hwnas.search.search import VALIDATION
from hwnas.slicing.extract import extract, parameter_count
from hwnas.spaces import Architecture

TARGET, THREADS, BATCH = "cpu", 1, 1
"""Where latencies are measured, and with how many threads and inputs."""


def quantised_unit(folder: BenchFolder, scale: Scale, unit: Unit, report: Report) -> None:
    """Find the errors of the whole network in a precision, by running it, and write one row.

    Raises:
        ProfilerError: The runtime has no such precision here, or refuses the network.
        MissingExtraError: The runtime is not installed.
        CheckpointError: The super-network is not there, or damaged.
    """
    task = scale.load(unit.task, unit.seed)
    network = load(folder, scale, unit)
    exam = Exam(task, network.tokenizer, scale, unit.seed)
    report(0, 1, unit.method)
    row = whole_row(folder, network, exam, scale, unit, setting_of(scale, unit.method), 0)
    folder.write(unit, [row], provenance(scale, unit, exam, network))
    report(1, 1, unit.method)


def setting_of(scale: Scale, name: str) -> Setting:
    """The setting of a baseline by name, on this machine's processor; errors as of `make_setting`."""
    precision, runtime = choose(name)
    protocol = TimingProtocol.of_rounds(scale.rounds)
    return make_setting(TARGET, runtime, precision, BATCH, scale.max_length, THREADS, protocol=protocol)


def calibration(network: Network, exam: Exam, scale: Scale, unit: Unit, setting: Setting) -> list[Any] | None:
    """Training examples that ranges are found on; None where a setting has no ranges."""
    if not is_calibrated(setting):
        return None
    made: list[Any] = calibration_batches(exam.task, network.tokenizer, scale.max_length, seed=unit.seed)
    return made


def whole_row(
    folder: BenchFolder, network: Network, exam: Exam, scale: Scale, unit: Unit, setting: Setting, number: int
) -> Row:
    """The row of the whole network in a setting, with errors of the artifact in its runtime, each found once."""
    whole = network.space.largest()
    module = extract(network.model, whole)
    about = {
        "unit": unit.name,
        "weights": network.weights,
        "data": exam.task.fingerprint(),
        "scale": scale.to_json(),
    }
    names = {
        split: f"{split} {setting.precision} {setting.runtime} {setting.runtime_version}"
        for split in (VALIDATION, TEST)
    }
    with EvaluationCache(folder.evaluations(unit), about) as cache:
        errors = {split: cache.get(name, whole) for split, name in names.items()}
        if None in errors.values():
            start = time.perf_counter()
            errors = dict(
                artifact_errors(
                    module,
                    whole,
                    network.model.config,
                    setting,
                    {split: exam.batches(split, BATCH) for split in names},
                    exam.task.metric,
                    longest=scale.max_length,
                    calibration=calibration(network, exam, scale, unit, setting),
                    seed=unit.seed,
                )
            )
            for split, error in errors.items():
                assert error is not None
                cache.put(names[split], whole, error, time.perf_counter() - start)
    return Row(
        number=number,
        architecture=whole,
        precision=setting.precision,
        error=errors[VALIDATION],
        test_error=errors[TEST],
        parameters=parameter_count(module),
        share=1.0,
        setting=setting.key(),
    )


def timed(row: Row, measured: Measured, setting: Setting) -> Row:
    """A row with its measured latency."""
    return replace(
        row,
        latency=measured.seconds,
        latency_low=measured.low,
        latency_high=measured.high,
        flags=" ".join(measured.flags),
        setting=setting.key(),
        runs=measured.n,
    )


def front_rows(rows: Sequence[Row]) -> list[Row]:
    """The tested members of a search's front, each architecture once, by rising number of parameters."""
    known: dict[Architecture, Row] = {}
    on = non_dominated([(row.parameters, float("nan") if row.error is None else row.error) for row in rows])
    for row, member in zip(rows, on, strict=True):
        if member and row.test_error is not None:
            known.setdefault(row.architecture, row)
    return sorted(known.values(), key=lambda row: row.parameters)
