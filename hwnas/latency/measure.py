"""Measuring networks, in groups that are exported, loaded and timed together."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch import nn

import hwnas
from hwnas.compile.manifest import git_commit
from hwnas.errors import HwnasError, ProfilerError, UsageError
from hwnas.latency.networks import Exporter, Network
from hwnas.latency.records import Measured, Setting, network_key
from hwnas.latency.scratch import exported, network_path, peak_memory, scratch_folder
from hwnas.latency.table import LatencyTable
from hwnas.models import get_family
from hwnas.profilers import (
    Failure,
    Profiler,
    RawTiming,
    Runner,
    TimingProtocol,
    Workload,
    get_profiler,
    measure_memory,
    summarise,
    time_networks,
)
from hwnas.profilers.base import first_line
from hwnas.slicing.extract import build_extracted
from hwnas.spaces.architecture import Architecture

Progress = Callable[[str, int, int], None]
"""Called with (stage, done, total); the stages are `"export"` (networks) and `"time"` (rounds)."""

GROUP = 48
"""Most new networks that are loaded and timed together, if memory and disk have room for so many."""

DRIFT = 0.03
"""Relative change of the anchor from which the rows of a group are flagged `drift`."""

_LOADED = 3.0  # memory of a loaded network as a multiple of its weights, generously
_SHARE = 0.5  # of the free memory and of the free disk that a group may take


@dataclass(frozen=True)
class Wanted:
    """A network to be measured: its architecture, why, and its module if there is one already."""

    arch: Architecture
    role: str
    module: nn.Module | None = None


def measure(
    config: Any,
    archs: Sequence[Architecture],
    setting: Setting,
    table: LatencyTable,
    *,
    models: Sequence[nn.Module] | None = None,
    role: str = "member",
    progress: Progress | None = None,
    seed: int = 0,
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
        seed: Seed of the random weights and of the order.

    Returns:
        One measurement for each architecture, in their order.

    Raises:
        ProfilerError: A network could not be measured, or the setting is not of this machine's runtime.
        UsageError: An architecture does not fit, or the model has no positions for so many tokens.
        TableError: The table cannot be written.
    """
    if models is not None and len(models) != len(archs):
        raise UsageError(f"{len(archs)} architectures but {len(models)} modules.")
    modules = models if models is not None else [None] * len(archs)
    wanted = [Wanted(arch, role, module) for arch, module in zip(archs, modules, strict=True)]
    found, _ = measure_networks(config, wanted, setting, table, progress=progress, seed=seed)
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
    seed: int = 0,
) -> tuple[dict[str, Measured | Failure], int]:
    """Like `measure`, with failures as data.

    Returns:
        Measurement or failure by network key, and how many of the networks were measured just now.
    """
    dimensions = get_family(config).dimensions(config)
    by_key = {network_key(config, item.arch): item for item in reversed(wanted)}
    found: dict[str, Measured | Failure] = {}
    missing: dict[str, Wanted] = {}
    for key, item in sorted(by_key.items()):
        stored = table.get(setting, key)
        if stored is None:
            missing[key] = item
        else:
            found[key] = stored
    if not missing:
        return found, 0
    full = Architecture.full(dimensions)
    anchor = network_key(config, full)
    profiler = get_profiler(setting.runtime)
    if profiler.version() != setting.runtime_version:
        raise ProfilerError(
            f"the setting is for {setting.runtime} {setting.runtime_version}, but {profiler.version()} is installed; "
            "make a new setting."
        )
    job = _Job(config, setting, table, profiler, progress or _silent, seed, anchor)
    keys = _order(missing, anchor, seed)
    groups = _split(keys, _capacity(config, full, setting, seed))
    for index, group in enumerate(groups):
        items = {key: missing[key] for key in group}
        items.setdefault(anchor, Wanted(full, "anchor"))
        found.update(job.run(items, index, len(groups), sum(map(len, groups[:index])), len(keys)))
    return {key: found[key] for key in by_key}, sum(isinstance(found[key], Measured) for key in missing)


@dataclass
class _Job:
    config: Any
    setting: Setting
    table: LatencyTable
    profiler: Profiler
    progress: Progress
    seed: int
    anchor: str

    def __post_init__(self) -> None:
        self.protocol = TimingProtocol.from_key(self.setting.protocol)
        self.workload = Workload(
            precision=self.setting.precision,
            batch=self.setting.batch,
            sequence_length=self.setting.sequence_length,
            threads=self.setting.threads,
            vocabulary=int(self.config.vocab_size),
            seed=self.seed,
        )
        self.exporter = Exporter(self.config, self.setting.precision, self.setting.sequence_length, seed=self.seed)

    def run(
        self, items: dict[str, Wanted], index: int, groups: int, before: int, total: int
    ) -> dict[str, Measured | Failure]:
        """Export, load and time one group and store its rows; the anchor's row is stored only if there is none."""
        known = self.table.get(self.setting, self.anchor)
        results: dict[str, Measured | Failure] = {}
        given = any(item.module is not None for item in items.values())
        about = f"{self.setting.key()} {self.seed} {self.config.to_json_string(use_diff=False)} {hwnas.__version__}"
        with scratch_folder(None if given else self.table.path, about) as folder:
            networks, memory = {}, {}
            with ThreadPoolExecutor(1) as pool:  # memory does not mind what runs beside it; times do, and come later
                for number, (key, item) in enumerate(items.items()):
                    made = self._export(item, network_path(folder, key))
                    if isinstance(made, Failure):
                        results[key] = made
                    else:
                        networks[key] = made
                        if key != self.anchor or known is None:
                            memory[key] = pool.submit(self._memory, made.path)
                    self.progress("export", min(before + number + 1, total), total)
            timings = self._time(networks, index, groups)
        flags = self._drift(timings.get(self.anchor), known)
        date, commit = now(), git_commit()
        for key, timing in timings.items():
            if key == self.anchor and known is not None:
                results[key] = known
            elif isinstance(timing, Failure):
                results[key] = timing
            else:
                row = _measured(timing, networks[key], memory[key], flags, date, commit)
                self.table.put(self.setting, key, items[key].role, row)
                results[key] = row
        for key, result in results.items():
            if isinstance(result, Failure):
                self.table.put_failure(self.setting, key, result, date)
        return results

    def _export(self, item: Wanted, path: Path) -> Network | Failure:
        try:
            return exported(path, lambda place: self.exporter.export(item.arch, place, module=item.module))
        except UsageError:
            raise
        except HwnasError as error:
            return Failure("export", first_line(error))

    def _memory(self, path: Path) -> int | Failure:
        found = peak_memory(path, lambda: measure_memory(path, self.setting.runtime, self.workload))
        assert isinstance(found, int | Failure)
        return found

    def _time(self, networks: dict[str, Network], index: int, groups: int) -> dict[str, RawTiming | Failure]:
        results: dict[str, RawTiming | Failure] = {}
        steps = self.protocol.max_rounds

        def notify(done: int, _: int) -> None:
            self.progress("time", index * steps + done, groups * steps)

        with ExitStack() as stack:
            runners: dict[str, Runner] = {}
            for key, network in networks.items():
                try:
                    runners[key] = stack.enter_context(self.profiler.open(network.path, self.workload))
                except Exception as error:  # runtimes share no base of their exceptions
                    results[key] = Failure("load", first_line(error))
            results.update(time_networks(runners, self.protocol, seed=self.seed + index, notify=notify))
        self.progress("time", (index + 1) * steps, groups * steps)
        return results

    def _drift(self, timing: RawTiming | Failure | None, known: Measured | None) -> tuple[str, ...]:
        """What the anchor says against a group: nothing is corrected, it is only said."""
        if known is None:
            return ()
        if not isinstance(timing, RawTiming):
            return ("no_anchor",)
        return ("drift",) if abs(summarise(timing.rounds).seconds / known.seconds - 1) > DRIFT else ()


def _measured(
    timing: RawTiming,
    network: Network,
    memory: Future[int | Failure],
    flags: tuple[str, ...],
    date: str,
    commit: str | None,
) -> Measured:
    statistics, peak = summarise(timing.rounds), memory.result()
    if isinstance(peak, Failure):
        flags = (*flags, "no_memory")
    return Measured(
        **statistics.__dict__,
        peak_memory_bytes=None if isinstance(peak, Failure) else peak,
        weight_bytes=network.weight_bytes,
        flags=(*timing.flags, *flags),
        load=timing.load,
        mhz=timing.mhz,
        date=date,
        commit=commit,
        hwnas_version=hwnas.__version__,
    )


def _order(missing: dict[str, Wanted], anchor: str, seed: int) -> list[str]:
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


def _capacity(config: Any, full: Architecture, setting: Setting, seed: int) -> int:
    """How many networks fit into memory and onto the disk at once, the anchor not counted."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        module = build_extracted(config, full)
    size = sum(parameter.numel() for parameter in module.parameters()) * (4 if setting.precision == "fp32" else 2)
    memory = _SHARE * psutil.virtual_memory().available / (_LOADED * size)
    disk = _SHARE * shutil.disk_usage(tempfile.gettempdir()).free / size
    return max(1, min(GROUP, int(memory) - 1, int(disk) - 1))


def now() -> str:
    """The date, UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _silent(*_: Any) -> None:
    pass
