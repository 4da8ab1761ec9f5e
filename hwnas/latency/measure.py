"""Measuring networks: each once, in groups that share a session, and the doubtful ones once more."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from hwnas.errors import ProfilerError, UsageError
from hwnas.latency.events import Observer, Progress, Reporter
from hwnas.latency.job import Calibration, Job, Part, Wanted
from hwnas.latency.keys import network_key
from hwnas.latency.records import Measured, Setting
from hwnas.latency.setting import check_here, workload_of
from hwnas.latency.table import LatencyTable
from hwnas.models import get_family
from hwnas.profilers import Failure, get_profiler
from hwnas.profilers.memory import free_memory
from hwnas.profilers.nvml import free_device_memory
from hwnas.slicing.extract import build_extracted
from hwnas.spaces.architecture import Architecture

__all__ = ["ATTEMPTS", "GROUP", "Progress", "Wanted", "measure", "measure_networks"]

GROUP = 48
"""Most new networks that are loaded and timed together, if memory and disk have room for so many."""

ATTEMPTS = 3
"""How often a network is measured in one setting before its doubtful row is left as it is."""

_LOADED = 3.0  # memory of a loaded network as a multiple of its weights, generously
_SHARE = 0.5  # of the free memory and of the free disk that a group may take


def measure(
    config: Any,
    archs: Sequence[Architecture],
    setting: Setting,
    table: LatencyTable,
    *,
    models: Sequence[nn.Module] | None = None,
    role: str = "member",
    progress: Progress | None = None,
    observer: Observer | None = None,
    seed: int = 0,
    remeasure: bool = True,
    calibration: Calibration | None = None,
) -> list[Measured]:
    """Measure sub-networks, each shape once; what the table holds already is taken from there.

    The whole super-network is timed along as the anchor, and is measured too if the table does not hold it.

    Args:
        config: Hugging Face configuration of the super-network.
        archs: The sub-networks.
        setting: From `make_setting`, on this machine.
        table: Where rows are looked up and stored, group by group.
        models: Their extracted modules, in the same order; None builds them with random weights, on which a latency
            does not depend.
        role: Why they are measured; stored with the rows.
        progress: Called as the work goes on.
        observer: Told what was measured last and how long the rest will take.
        seed: Seed of the random weights and of the order.
        remeasure: Measure rows with doubts (`Measured.doubts`) once more, in a second pass; at most `ATTEMPTS` times
            over all calls. False takes rows as they are.
        calibration: Batches of the task's inputs, for precisions that are calibrated; None takes random tokens.

    Returns:
        One measurement for each architecture, in their order.

    Raises:
        ProfilerError: A network could not be measured, the setting is not of this machine's runtime, device or
            driver, or a disk is full.
        UsageError: An architecture does not fit, or the model has no positions for so many tokens.
        TableError: The table cannot be written.
    """
    if models is not None and len(models) != len(archs):
        raise UsageError(f"{len(archs)} architectures but {len(models)} modules.")
    modules = models if models is not None else [None] * len(archs)
    wanted = [Wanted(arch, role, module) for arch, module in zip(archs, modules, strict=True)]
    report = Reporter(progress, observer)
    found, _ = measure_networks(
        config, wanted, setting, table, report=report, seed=seed, remeasure=remeasure, calibration=calibration
    )
    results = [found[network_key(config, arch)] for arch in archs]
    failed = [(arch, result) for arch, result in zip(archs, results, strict=True) if isinstance(result, Failure)]
    if failed:
        arch, failure = failed[0]
        raise ProfilerError(
            f"{len(failed)} of {len(archs)} networks could not be measured; the first, {arch}, failed at "
            f"{failure.stage}: {failure.reason}"
        )
    return [result for result in results if isinstance(result, Measured)]


def measure_networks(
    config: Any,
    wanted: Sequence[Wanted],
    setting: Setting,
    table: LatencyTable,
    *,
    progress: Progress | None = None,
    report: Reporter | None = None,
    seed: int = 0,
    remeasure: bool = True,
    calibration: Calibration | None = None,
    memory: bool = True,
) -> tuple[dict[str, Measured | Failure], int]:
    """Like `measure`, with failures as data; `report` is told in place of `progress` if both are given.

    Without `memory` the peak memory of new networks is not measured, which saves a process for each.

    Returns:
        Measurement or failure by network key, and how many of the networks were measured just now.
    """
    by_key = {network_key(config, item.arch): item for item in reversed(wanted)}
    found: dict[str, Measured | Failure] = {}
    missing: dict[str, Wanted] = {}
    for key, item in sorted(by_key.items()):
        stored = table.get(setting, key)
        if stored is None:
            missing[key] = item
        else:
            found[key] = stored
    if not missing and not (remeasure and _doubted(found)):
        return found, 0
    full = Architecture.full(get_family(config).dimensions(config))
    anchor = network_key(config, full)
    check_here(setting)
    job = Job(config, setting, table, report or Reporter(progress), seed, anchor, calibration, memory)
    capacity = _capacity(config, full, setting, table.path)
    measured: set[str] = set()
    groups = _split(_order(missing, anchor, seed), capacity) if missing else []
    for index, group in enumerate(groups):
        items = {key: missing[key] for key in group}
        items.setdefault(anchor, Wanted(full, "anchor"))
        part = Part(index, len(groups), sum(map(len, groups[:index])), len(missing))
        found.update(job.run(items, part))
        measured.update(key for key in group if isinstance(found[key], Measured))
    doubted = _doubted(found) if remeasure else {}
    if doubted:
        roles = {network: role for network, role, _ in table.rows(setting)}
        again = _split(_order(dict.fromkeys(doubted), anchor, seed + 1), capacity)
        for index, group in enumerate(again):
            items = {
                key: Wanted(full, "anchor")
                if key not in by_key
                else Wanted(by_key[key].arch, roles.get(key, by_key[key].role), by_key[key].module)
                for key in group
            }
            items.setdefault(anchor, Wanted(full, "anchor"))
            part = Part(index, len(again), 0, len(doubted), stages=(None, "again"))
            found.update(job.run(items, part, {key: doubted[key] for key in group}))
        measured.update(doubted)
    return {key: found[key] for key in by_key}, len(measured & by_key.keys())


def _doubted(found: Mapping[str, Measured | Failure]) -> dict[str, Measured]:
    """Rows that are worth another attempt."""
    rows = {key: row for key, row in sorted(found.items()) if isinstance(row, Measured)}
    return {key: row for key, row in rows.items() if row.doubts and row.attempts < ATTEMPTS}


def _order(missing: Mapping[str, object], anchor: str, seed: int) -> list[str]:
    """A random order of the networks, so that every group has some of each kind; the anchor first."""
    keys = sorted(missing)
    shuffled = [keys[index] for index in np.random.default_rng([seed, 3]).permutation(len(keys))]
    return sorted(shuffled, key=lambda key: key != anchor)


def _split(keys: list[str], capacity: int) -> list[list[str]]:
    """Groups of nearly equal size, none above the capacity."""
    count = -(-len(keys) // capacity)
    sizes = [len(keys) // count + (index < len(keys) % count) for index in range(count)]
    starts: Iterator[int] = iter([sum(sizes[:index]) for index in range(count)])
    return [keys[start : start + size] for start, size in zip(starts, sizes, strict=True)]


def _capacity(config: Any, full: Architecture, setting: Setting, beside: Path | None) -> int:
    """How many networks fit into memory and onto the disk at once, the anchor not counted."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        module = build_extracted(config, full)
    whole = setting.precision not in ("fp16", "bf16") or get_profiler(setting.runtime).artifact == "module"
    size = sum(parameter.numel() for parameter in module.parameters()) * (4 if whole else 2)
    memory = free_memory()
    if workload_of(setting, config).device == "gpu":
        free = free_device_memory()
        memory = memory if free is None else min(memory, free)
    folder = beside.absolute().parent if beside is not None else Path(tempfile.gettempdir())
    fits = _SHARE * memory / (_LOADED * size), _SHARE * shutil.disk_usage(folder).free / size
    return max(1, min(GROUP, int(min(fits)) - 1))
