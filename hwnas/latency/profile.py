"""Profile a super-network: measure a design, fit a predictor, and judge it on networks that the fit never saw."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import hwnas
from hwnas.errors import ProfilerError, TableError
from hwnas.latency.design import choose_design, draw_holdout
from hwnas.latency.measure import Progress, Wanted, measure, measure_networks, now
from hwnas.latency.predictor import MIN_ROWS, Predictor
from hwnas.latency.records import (
    Measured,
    Predicted,
    PredictedMemory,
    Setting,
    canonical,
    model_key,
    network_key,
    network_shape,
)
from hwnas.latency.setting import make_setting
from hwnas.latency.table import Fit, LatencyTable
from hwnas.models import get_family
from hwnas.profilers import Failure
from hwnas.spaces.architecture import Architecture

__all__ = ["HoldoutRow", "ProfileReport", "load_predictor", "make_setting", "measure", "profile_model"]


@dataclass(frozen=True)
class HoldoutRow:
    """A network that the fit never saw.

    Attributes:
        arch: The network as text.
        measured: Its measured latency.
        predicted: What the predictor said.
        error: predicted / measured - 1.
        memory: What the predictor said of its peak memory, None if that could not be fitted.
        memory_error: predicted / measured peak memory - 1, None if either is missing.
    """

    arch: str
    measured: Measured
    predicted: Predicted
    error: float
    memory: PredictedMemory | None = None
    memory_error: float | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON types; measured and predicted stay apart."""
        return {
            "arch": self.arch,
            "measured": self.measured.to_json(),
            "predicted": self.predicted.to_json(),
            "error": self.error,
            "predicted_memory": None if self.memory is None else self.memory.to_json(),
            "memory_error": self.memory_error,
        }


@dataclass(frozen=True)
class ProfileReport:
    """What `profile_model` found.

    Attributes:
        setting: How it was measured.
        predictor: Fitted on the design.
        mean_error: Mean of |predicted / measured - 1| over the holdout, None without a holdout.
        worst_error: Largest of them.
        mean_memory_error, worst_memory_error: The same for peak memory, None where it was not measured.
        measured_now: Networks measured just now.
        reused: Networks that the table held already.
        rows: The holdout.
        flags: How many of the rows used have each flag.
        failures: Networks that could not be measured, as text, and why.
    """

    setting: Setting
    predictor: Predictor
    mean_error: float | None
    worst_error: float | None
    mean_memory_error: float | None
    worst_memory_error: float | None
    measured_now: int
    reused: int
    rows: tuple[HoldoutRow, ...]
    flags: Mapping[str, int] = field(default_factory=dict)
    failures: tuple[tuple[str, Failure], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        return {
            "setting": self.setting.to_json(),
            "predictor": self.predictor.to_json(),
            "mean_error": self.mean_error,
            "worst_error": self.worst_error,
            "mean_memory_error": self.mean_memory_error,
            "worst_memory_error": self.worst_memory_error,
            "measured_now": self.measured_now,
            "reused": self.reused,
            "rows": [row.to_json() for row in self.rows],
            "flags": dict(self.flags),
            "failures": [{"arch": arch, **failure.__dict__} for arch, failure in self.failures],
        }


def profile_model(
    config: Any,
    setting: Setting,
    table: LatencyTable,
    *,
    spaces: Sequence[str] = ("small", "layer"),
    seed: int = 0,
    max_networks: int = 18,
    holdout: int = 10,
    progress: Progress | None = None,
) -> ProfileReport:
    """Measure what the table lacks, fit the predictor and judge it.

    The same call again measures nothing and gives the same numbers. Rows are stored group by group, so a call that was
    killed goes on where it was.

    Args:
        config: Hugging Face configuration of the super-network.
        setting: From `make_setting`.
        table: The latency table.
        spaces: Names of the spaces whose networks will be asked about.
        seed: Seed of design, holdout, random weights and order.
        max_networks: Most networks of the design.
        holdout: Networks to judge the predictor on; fewer if the spaces have no more shapes.
        progress: Called with (stage, done, total).

    Raises:
        UsageError, UnknownNameError: A number out of range, an unknown space.
        ProfilerError: Too few networks could be measured for a fit.
        TableError: The table cannot be written.
    """
    dimensions = get_family(config).dimensions(config)
    judged = draw_holdout(dimensions, spaces, holdout, seed=seed)
    design = choose_design(dimensions, spaces, max_networks=max_networks, exclude=judged, seed=seed)
    if len(design) < MIN_ROWS:
        raise ProfilerError(
            f"the spaces {', '.join(spaces)} have {len(design)} networks left to fit on; expected {MIN_ROWS} or more: "
            "profile for more spaces, or hold out fewer networks."
        )
    wanted = [*(Wanted(arch, "design") for arch in design), *(Wanted(arch, "holdout") for arch in judged)]
    found, measured_now = measure_networks(config, wanted, setting, table, progress=progress, seed=seed)
    failures = [
        (str(item.arch), result)
        for item in wanted
        if isinstance(result := found[network_key(config, item.arch)], Failure)
    ]
    fitted = _measured_keys(config, design, found)
    if len(fitted) < MIN_ROWS:
        arch, failure = failures[0]
        raise ProfilerError(
            f"only {len(fitted)} of {len(design)} networks could be measured, too few for a fit; the first failure, "
            f"{arch}, at {failure.stage}: {failure.reason}"
        )
    predictor = _fit([(key, found[key]) for key in fitted])
    rows = tuple(_judge(arch, found[network_key(config, arch)], predictor) for arch in judged)
    kept = tuple(row for row in rows if row is not None)
    used = [result for result in found.values() if isinstance(result, Measured)]
    report = ProfileReport(
        setting=setting,
        predictor=predictor,
        **_errors("error", [row.error for row in kept]),
        **_errors("memory_error", [row.memory_error for row in kept if row.memory_error is not None]),
        measured_now=measured_now,
        reused=len(used) - measured_now,
        rows=kept,
        flags=dict(sorted(Counter(flag for row in used for flag in row.flags).items())),
        failures=tuple(failures),
    )
    fit = Fit(
        model=model_key(config),
        seed=seed,
        design=tuple(fitted),
        holdout=tuple(_measured_keys(config, judged, found)),
        mean_error=report.mean_error,
        worst_error=report.worst_error,
        date=now(),
        hwnas_version=hwnas.__version__,
    )
    table.put_fit(setting, fit)
    return report


def load_predictor(config: Any, setting: Setting, table: LatencyTable) -> Predictor:
    """The predictor of the newest profile of this super-network in this setting; measures nothing.

    Raises:
        TableError: There is no profile, or its rows are gone; the message names the command that makes one.
    """
    fit = table.latest_fit(setting, model_key(config))
    if fit is None:
        count = sum(_is_of(network, config) for network, _, _ in table.rows(setting))
        held = f"holds {count} measured networks of this model in this setting, but no finished profile"
        raise TableError(f"{table.name} {held}; run `{setting.command()}` first.")
    rows = [(network, table.get(setting, network)) for network in fit.design]
    if any(row is None for _, row in rows):
        raise TableError(f"{table.name} has lost rows of its last profile; run `{setting.command()}` again.")
    return _fit([(network, row) for network, row in rows])


def _fit(rows: Sequence[tuple[str, Measured | Failure | None]]) -> Predictor:
    kept = [(network_shape(network), row) for network, row in rows if isinstance(row, Measured)]
    return Predictor(
        [shape for shape, _ in kept], [row.seconds for _, row in kept], [row.peak_memory_bytes for _, row in kept]
    )


def _measured_keys(config: Any, archs: Sequence[Architecture], found: Mapping[str, Measured | Failure]) -> list[str]:
    keys = [network_key(config, arch) for arch in archs]
    return [key for key in keys if isinstance(found[key], Measured)]


def _judge(arch: Architecture, result: Measured | Failure, predictor: Predictor) -> HoldoutRow | None:
    if isinstance(result, Failure):
        return None
    predicted = predictor.predict(arch)
    memory = None if predictor.memory is None else predictor.predict_memory(arch)
    known = memory is not None and result.peak_memory_bytes
    return HoldoutRow(
        arch=str(arch),
        measured=result,
        predicted=predicted,
        error=predicted.seconds / result.seconds - 1,
        memory=memory,
        memory_error=memory.bytes / result.peak_memory_bytes - 1 if known else None,  # type: ignore[union-attr, operator]
    )


def _errors(name: str, errors: Sequence[float]) -> dict[str, float | None]:
    sizes = np.abs(errors)
    mean, worst = (float(sizes.mean()), float(sizes.max())) if len(sizes) else (None, None)
    return {f"mean_{name}": mean, f"worst_{name}": worst}


def _is_of(network: str, config: Any) -> bool:
    """Whether a network is a sub-network of this super-network."""
    facts = {name: value for name, value in json.loads(network).items() if name != "shape"}
    return canonical(facts) == model_key(config)
