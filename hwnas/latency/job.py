"""One group of networks: exported, loaded and timed together with the anchor, and stored."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy.typing as npt
from torch import nn

import hwnas
from hwnas.errors import HwnasError, UsageError
from hwnas.latency.events import Reporter
from hwnas.latency.networks import Exporter, Network
from hwnas.latency.records import Measured, Setting
from hwnas.latency.scratch import exported, is_full, network_path, peak_memory, room, scratch_folder
from hwnas.latency.setting import workload_of
from hwnas.latency.table import LatencyTable
from hwnas.profilers import Failure, RawTiming, TimingProtocol, get_profiler, measure_memory
from hwnas.profilers.base import first_line
from hwnas.profilers.summary import round_medians, summarise
from hwnas.profilers.worker import time_in_process
from hwnas.provenance import git_commit
from hwnas.spaces.architecture import Architecture
from hwnas.targets import get_target

DRIFT = 0.03
"""Relative change of the anchor from which the rows of a group are flagged `drift`."""

Calibration = Sequence[Mapping[str, npt.NDArray[Any]]]
"""Batches of a task's inputs by name, for precisions that are calibrated."""


@dataclass(frozen=True)
class Wanted:
    """A network to be measured: its architecture, why, and its module if there is one already."""

    arch: Architecture
    role: str
    module: nn.Module | None = None


@dataclass(frozen=True)
class Part:
    """Which part of the work a group is, for progress.

    Attributes:
        index: Number of the group, from 0.
        groups: Groups in all.
        before: Networks in the groups before.
        total: Networks in all.
        stages: Names of exporting and timing; None for a stage that is not told.
    """

    index: int
    groups: int
    before: int
    total: int
    stages: tuple[str | None, str] = ("export", "time")


class Job:
    """What all groups of one call have in common.

    Args:
        config: Hugging Face configuration of the super-network.
        setting: How to measure.
        table: Where rows are stored.
        report: Told about each step.
        seed: Seed of random weights, inputs and order.
        anchor: Key of the super-network, which is timed along with every group.
        calibration: The task's inputs, for networks that come with a module.
        memory: Measure peak memory too, which takes a fresh process for each network.
    """

    def __init__(
        self,
        config: Any,
        setting: Setting,
        table: LatencyTable,
        report: Reporter,
        seed: int,
        anchor: str,
        calibration: Calibration | None = None,
        memory: bool = True,
    ) -> None:
        self.config, self.setting, self.table, self.report = config, setting, table, report
        self.seed, self.anchor, self.memory = seed, anchor, memory
        self.protocol = TimingProtocol.from_key(setting.protocol)
        self.workload = workload_of(setting, config, seed)
        self.artifact = get_profiler(setting.runtime).artifact
        self.exporter = Exporter(
            config,
            setting.precision,
            setting.sequence_length,
            seed=seed,
            artifact=self.artifact,
            calibration=calibration,
            target=get_target(setting.target),
            batch=setting.batch,
            runtime=setting.runtime,
        )

    def run(
        self, items: Mapping[str, Wanted], part: Part, doubted: Mapping[str, Measured] | None = None
    ) -> dict[str, Measured | Failure]:
        """Export, load and time one group and store its rows.

        Args:
            items: The networks, the anchor among them.
            part: Which part of the work it is.
            doubted: Rows of networks that are measured once more; of each network the less doubtful row stays. The
                anchor's row is stored only if there is none or it is among these.

        Raises:
            ProfilerError, TableError: A disk is full, or the table cannot be written.
        """
        doubted = doubted or {}
        known = self.table.get(self.setting, self.anchor)
        results: dict[str, Measured | Failure] = {}
        given = any(item.module is not None for item in items.values())
        about = f"{self.setting.key()} {self.seed} {self.config.to_json_string(use_diff=False)} {hwnas.__version__}"
        beside = None if given else self.table.path
        disk = Path(tempfile.gettempdir()) if beside is None else beside.absolute().parent
        with room(disk), scratch_folder(beside, about) as folder:
            kept = {self.anchor} if known is not None and self.anchor not in doubted else set()
            networks, memory = self._prepare(items, part, folder, kept | set(doubted), results)
            timings = self._time(networks, items, part)
            flags = () if self.anchor in doubted else self._drift(timings.get(self.anchor), known)
            date, commit = now(), git_commit()
            for key, timing in timings.items():
                if key in kept:
                    results[key] = known  # type: ignore[assignment]  # kept holds it only if it is known
                elif isinstance(timing, Failure) and key not in doubted:
                    results[key] = timing
                else:
                    peak = doubted[key].peak_memory_bytes if key in doubted else _peak(memory.get(key))
                    row = timing if isinstance(timing, Failure) else _measured(timing, networks[key], peak)
                    if self.memory and peak is None and isinstance(row, Measured):
                        row = replace(row, flags=(*row.flags, "no_memory"))
                    if isinstance(row, Measured):
                        row = replace(row, flags=(*row.flags, *flags), date=date, commit=commit)
                    if key in doubted:
                        row = less_doubtful(doubted[key], row)
                    assert isinstance(row, Measured)
                    self.table.put(self.setting, key, items[key].role, row)
                    results[key] = row
            for key, result in list(results.items()):
                if not isinstance(result, Failure):
                    continue
                if key in kept:  # its row stays, whatever came of it now
                    results[key] = known  # type: ignore[assignment]
                elif key in doubted:  # one that could not be exported
                    row = less_doubtful(doubted[key], result)
                    self.table.put(self.setting, key, items[key].role, row)
                    results[key] = row
                else:
                    self.table.put_failure(self.setting, key, result, date)
        return results

    def _prepare(
        self,
        items: Mapping[str, Wanted],
        part: Part,
        folder: Path,
        weighed: set[str],
        results: dict[str, Measured | Failure],
    ) -> tuple[dict[str, Network], dict[str, Future[int | Failure]]]:
        """Export the networks and measure the peak memory of those not `weighed`; failures go to the results."""
        networks: dict[str, Network] = {}
        memory: dict[str, Future[int | Failure]] = {}
        stage = part.stages[0]
        if stage is not None:
            self.report.begin(stage, min(part.before, part.total))
        # Memory does not mind what runs beside it; times do, and come later. Full TensorRT times kernels as it builds.
        alone = self.artifact == "engine" and self.setting.runtime == "tensorrt"
        with _cancelled(ThreadPoolExecutor(1)) as pool:
            for number, (key, item) in enumerate(items.items()):
                made = self._export(item, network_path(folder, key, self.artifact))
                if isinstance(made, Failure):
                    results[key] = made
                else:
                    networks[key] = made
                    if self.memory and key not in weighed:
                        memory[key] = pool.submit(self._memory, made.path)
                        if alone:
                            wait([memory[key]])
                if stage is not None:
                    done = min(part.before + number + 1, part.total)
                    self.report(stage, done, part.total, text=str(item.arch))
        return networks, memory

    def _export(self, item: Wanted, path: Path) -> Network | Failure:
        try:
            return exported(path, lambda place: self.exporter.export(item.arch, place, module=item.module))
        except UsageError:
            raise
        except HwnasError as error:
            if is_full(error, path.parent):
                raise
            return Failure("export", first_line(error))

    def _memory(self, path: Path) -> int | Failure:
        found = peak_memory(path, lambda: measure_memory(path, self.setting.runtime, self.workload))
        assert isinstance(found, int | Failure)
        return found

    def _time(
        self, networks: Mapping[str, Network], items: Mapping[str, Wanted], part: Part
    ) -> dict[str, RawTiming | Failure]:
        steps, stage = self.protocol.max_rounds, part.stages[1]
        first, total = part.index * steps, part.groups * steps
        last = ""

        def observe(key: str, seconds: float) -> None:
            nonlocal last
            last = f"{items[key].arch}: {seconds * 1e3:.4g} ms"

        def notify(done: int, planned: int) -> None:
            left = planned - done + planned * (part.groups - part.index - 1)
            self.report(stage, first + done, total, text=last, left=left)

        self.report.begin(stage, first)
        results = time_in_process(
            self.setting.runtime,
            {key: network.path for key, network in networks.items()},
            self.workload,
            self.protocol,
            seed=self.seed + part.index,
            notify=notify,
            observe=observe,
        )
        self.report(stage, first + steps, total, text=last)
        return results

    def _drift(self, timing: RawTiming | Failure | None, known: Measured | None) -> tuple[str, ...]:
        """What the anchor says against a group: nothing is corrected, it is only said."""
        if known is None:
            return ()
        if not isinstance(timing, RawTiming):
            return ("no_anchor",)
        found = summarise(timing.rounds, timing.sessions, timing.effects, timing.level_error)
        return ("drift",) if abs(found.seconds / known.seconds - 1) > DRIFT else ()


@contextmanager
def _cancelled(pool: ThreadPoolExecutor) -> Iterator[ThreadPoolExecutor]:
    """A pool that an error, or Ctrl-C, ends without what is queued."""
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def less_doubtful(old: Measured, new: Measured | Failure) -> Measured:
    """The row with fewer doubts, of two with as many the one with the narrower interval; it counts the attempt."""
    best = old
    if isinstance(new, Measured):
        best = min((old, new), key=lambda row: (len(row.doubts), (row.high - row.low) / row.seconds))
    return replace(best, attempts=old.attempts + 1)


def _peak(memory: Future[int | Failure] | None) -> int | None:
    found = None if memory is None else memory.result()
    return None if isinstance(found, Failure) else found


def _measured(timing: RawTiming, network: Network, peak: int | None) -> Measured:
    """A row but for its date and commit."""
    return Measured(
        **summarise(timing.rounds, timing.sessions, timing.effects, timing.level_error).__dict__,
        peak_memory_bytes=peak,
        weight_bytes=network.weight_bytes,
        flags=timing.flags,
        load=timing.load,
        mhz=timing.mhz,
        date="",
        commit=None,
        hwnas_version=hwnas.__version__,
        file_bytes=network.file_bytes,
        device_memory_bytes=timing.device_memory_bytes,
        energy_joules=timing.energy_joules,
        discarded=timing.discarded,
        round_medians=round_medians(timing.rounds),
        telemetry=timing.telemetry,
    )


def now() -> str:
    """The date, UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
