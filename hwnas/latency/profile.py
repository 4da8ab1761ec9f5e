"""Profile a super-network: measure a design, fit a predictor, and judge it on networks that the fit never saw."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

import hwnas
from hwnas.errors import MissingProfileError, ProfilerError, UsageError
from hwnas.latency.design import choose_design, choose_next, draw_holdout
from hwnas.latency.events import Observer, ProfileEvent, Progress, Reporter
from hwnas.latency.findings import HoldoutRow, ProfileReport
from hwnas.latency.job import Wanted, now
from hwnas.latency.keys import model_key, network_key, network_shape, shared_key
from hwnas.latency.measure import measure, measure_networks
from hwnas.latency.predictor import MIN_ROWS, Predictor
from hwnas.latency.records import Measured, Setting
from hwnas.latency.setting import make_setting, say_others
from hwnas.latency.table import Fit, LatencyTable
from hwnas.models import get_family
from hwnas.profilers import Failure
from hwnas.provenance import canonical
from hwnas.spaces.architecture import Architecture

__all__ = [
    "HoldoutRow",
    "ProfileEvent",
    "ProfileReport",
    "load_predictor",
    "make_setting",
    "measure",
    "profile_model",
]

Found = dict[str, Measured | Failure]


def profile_model(
    config: Any,
    setting: Setting,
    table: LatencyTable,
    *,
    spaces: Sequence[str] = ("small", "layer"),
    seed: int = 0,
    max_networks: int = 18,
    holdout: int = 10,
    steps: int = 1,
    remeasure: bool = True,
    memory: bool = True,
    progress: Progress | None = None,
    observer: Observer | None = None,
) -> ProfileReport:
    """Measure what the table lacks, fit the predictor and judge it.

    The same call again measures nothing and gives the same numbers, but for rows with doubts, which are measured once
    more. Rows are stored group by group, so a call that was killed goes on where it was.

    Args:
        config: Hugging Face configuration of the super-network.
        setting: From `make_setting`.
        table: The latency table.
        spaces: Names of the spaces whose networks will be asked about.
        seed: Seed of design, holdout, random weights and order.
        max_networks: Most networks of the design.
        holdout: Networks to judge the predictor on; fewer if the spaces have no more shapes.
        steps: Sessions that the design is spread over. In the first it covers the spaces, later ones measure where
            the fit so far is least sure. 1 measures everything in one session, so that all rows compare best.
        remeasure: Measure rows with doubts once more; see `measure`.
        memory: Measure peak memory too.
        progress: Called with (stage, done, total).
        observer: Told what was measured last, how good the fit is, and how long the rest will take.

    Raises:
        UsageError, UnknownNameError: A number out of range, an unknown space.
        ProfilerError: Too few networks could be measured for a fit, or a disk is full.
        TableError: The table cannot be written.
    """
    dimensions = get_family(config).dimensions(config)
    sizes = step_sizes(max_networks, steps)
    judged = draw_holdout(dimensions, spaces, holdout, seed=seed)
    design = choose_design(dimensions, spaces, max_networks=sizes[0], exclude=judged, seed=seed)
    if len(design) < MIN_ROWS:
        raise ProfilerError(
            f"the spaces {', '.join(spaces)} have {len(design)} networks left to fit on; expected {MIN_ROWS} or more: "
            "profile for more spaces, or hold out fewer networks."
        )
    report = Reporter(progress, observer)
    found: Found = {}
    measured_now, chosen = 0, design
    for step in range(len(sizes)):
        if step:
            chosen = choose_next(
                dimensions,
                spaces,
                _enough(config, design, found),
                [arch for arch in design if isinstance(found[network_key(config, arch)], Measured)],
                count=sizes[step],
                exclude=judged,
                seed=seed,
            )
            design = [*design, *chosen]
        # Every session times its share of the holdout: the error then holds what sessions differ by.
        share = judged[step :: len(sizes)]
        wanted = [*(Wanted(arch, "design") for arch in chosen), *(Wanted(arch, "holdout") for arch in share)]
        made, count = measure_networks(
            config, wanted, setting, table, report=report, seed=seed, remeasure=remeasure, memory=memory
        )
        found.update(made)
        measured_now += count
        predictor = _enough(config, design, found)
        networks, error = predictor.networks, predictor.latency.error
        report.say("fit", f"fit on {networks} networks, off by {error:.2%} on those left out in turn")
    fitted = _measured_keys(config, design, found)
    rows = tuple(_judge(arch, found[network_key(config, arch)], predictor) for arch in judged)
    kept = tuple(row for row in rows if row is not None)
    used = [result for result in found.values() if isinstance(result, Measured)]
    answer = ProfileReport(
        setting=setting,
        predictor=predictor,
        **_errors("error", [row.error for row in kept]),
        **_errors("memory_error", [row.memory_error for row in kept if row.memory_error is not None]),
        measured_now=measured_now,
        reused=len(used) - measured_now,
        rows=kept,
        flags=_counted(flag for row in used for flag in row.flags),
        failures=tuple((str(arch), failure) for arch, failure in _failures(config, [*design, *judged], found)),
        coverage=float(np.mean([row.covered for row in kept])) if kept else None,
        ended=_counted(str(row.telemetry["ended_by"]) for row in used if "ended_by" in row.telemetry),
        repeated=sum(row.attempts > 1 for row in used),
    )
    fit = Fit(
        model=model_key(config),
        seed=seed,
        design=tuple(fitted),
        holdout=tuple(_measured_keys(config, judged, found)),
        mean_error=answer.mean_error,
        worst_error=answer.worst_error,
        date=now(),
        hwnas_version=hwnas.__version__,
    )
    table.put_fit(setting, fit)
    return answer


def step_sizes(max_networks: int, steps: int) -> list[int]:
    """How many networks of the design each session measures: the last of several half as many as the others.

    Args:
        max_networks: Networks in all.
        steps: Sessions.

    Raises:
        UsageError: There are no steps, or too many for the first to be fitted.
    """
    if steps < 1:
        raise UsageError(f"steps {steps}: expected 1 or more.")
    if steps == 1:
        return [max_networks]
    weights = [2] * (steps - 1) + [1]
    later = [max_networks * weight // sum(weights) for weight in weights[1:]]
    sizes = [max_networks - sum(later), *later]
    if sizes[0] < MIN_ROWS or sizes[-1] < 1:
        raise UsageError(
            f"steps {steps}: {max_networks} networks are too few for so many; expected {MIN_ROWS} or more in the "
            "first, so ask for fewer steps or more networks."
        )
    return sizes


def load_predictor(config: Any, setting: Setting, table: LatencyTable) -> Predictor:
    """The predictor of the newest profile of this super-network in this setting; measures nothing.

    Raises:
        MissingProfileError: There is no profile, or its rows are gone; the message names the command that makes one,
            and says what the table holds for other versions of the runtime, drivers or protocols.
    """
    fit = table.latest_fit(setting, model_key(config))
    if fit is None:
        count = sum(of_model(network, config) for network, _, _ in table.rows(setting))
        held = f"holds {count} measured networks of this model in this setting, but no finished profile"
        others = say_others(setting, table)
        also = "" if others is None else f"; {others}"
        raise MissingProfileError(f"{table.name} {held}{also}", setting.options())
    rows = [(network, table.get(setting, network)) for network in fit.design]
    if any(row is None for _, row in rows):
        raise MissingProfileError(f"{table.name} has lost rows of its last profile", setting.options())
    return _fit(config, [(network, row) for network, row in rows])


def _enough(config: Any, design: Sequence[Architecture], found: Mapping[str, Measured | Failure]) -> Predictor:
    """The predictor from what was measured of a design; ProfilerError if that is too little."""
    keys = _measured_keys(config, design, found)
    if len(keys) < MIN_ROWS:
        arch, failure = _failures(config, design, found)[0]
        raise ProfilerError(
            f"only {len(keys)} of {len(design)} networks could be measured, too few for a fit; the first failure, "
            f"{arch}, at {failure.stage}: {failure.reason}"
        )
    return _fit(config, [(key, found[key]) for key in keys])


def _failures(
    config: Any, archs: Sequence[Architecture], found: Mapping[str, Measured | Failure]
) -> list[tuple[Architecture, Failure]]:
    pairs = [(arch, found[network_key(config, arch)]) for arch in archs]
    return [(arch, result) for arch, result in pairs if isinstance(result, Failure)]


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _fit(config: Any, rows: Sequence[tuple[str, Measured | Failure | None]]) -> Predictor:
    kept = [(network_shape(network), row) for network, row in rows if isinstance(row, Measured)]
    return Predictor(
        [shape for shape, _ in kept],
        [row.seconds for _, row in kept],
        [row.peak_memory_bytes for _, row in kept],
        dimensions=get_family(config).dimensions(config),
        uncertainties=[(row.high - row.low) / 2 / row.seconds for _, row in kept],
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


def of_model(network: str, config: Any) -> bool:
    """Whether a network is a sub-network of this super-network, or of one like it with other sizes."""
    facts = {name: value for name, value in json.loads(network).items() if name != "shape"}
    return canonical(facts) == shared_key(config)
