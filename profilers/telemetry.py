"""What else the machine did while networks were timed: load, clock, other processes, and whether it was calm."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import psutil

CONTENDED_SHARE = 0.1
"""A row is flagged `contended` when other processes took more than this share of all processors' time."""

_MIN_SECONDS = 0.2  # the kernel counts processor time in ticks of 10 ms: shares of shorter spans say nothing


@dataclass
class Usage:
    """Processor time summed over the blocks of one network, in seconds.

    Attributes:
        wall: Time that passed.
        busy: Processor time of all processes, time stolen by the hypervisor included, None where unknown.
        own: Processor time of this process, all its threads.
        processors: Logical processors of the machine.
    """

    wall: float = 0.0
    busy: float | None = 0.0
    own: float = 0.0
    processors: int = os.cpu_count() or 1

    @property
    def others_share(self) -> float | None:
        """Share of all processors' time that other processes took, in [0, 1]; None where it cannot be told."""
        if self.busy is None or self.wall < _MIN_SECONDS:
            return None
        return min(1.0, max(0.0, (self.busy - self.own) / (self.wall * self.processors)))


class Monitor(Protocol):
    """Watches a device block by block. Nothing is sampled while a run is timed.

    Attributes:
        is_gpu: Whether the blocks run on a GPU.
    """

    is_gpu: bool

    def begin(self, key: str) -> None:
        """A block of a network is about to run."""

    def timed(self, key: str) -> AbstractContextManager[None]:
        """Around the timed runs of a block."""

    def end(self, key: str) -> None:
        """The block is done."""

    def slowness(self, key: str) -> list[float]:
        """For each block how slow the device was: seconds of the probe, or default clock / clock."""

    def calm(self, key: str) -> list[bool]:
        """For each block whether the device was undisturbed."""

    def slowed(self, key: str) -> list[bool]:
        """For each block whether heat or the hardware slowed the device."""

    def low_clock(self, key: str) -> list[bool]:
        """For each block whether the device's clock was low."""

    def flags(self, key: str) -> tuple[str, ...]:
        """What speaks against a network whichever of its blocks count."""

    def summary(self, key: str) -> dict[str, Any]:
        """The telemetry of a network, JSON types."""

    def energy_joules(self) -> float | None:
        """Energy the device has used since some moment; None where it does not say."""


@dataclass
class _Seen:
    usage: Usage = field(default_factory=Usage)
    probes: list[float] = field(default_factory=list)
    mhz: list[float] = field(default_factory=list)
    load: list[float] = field(default_factory=list)


class CpuMonitor:
    """Watches the processors.

    Args:
        keys: The networks.
        calm: A block is calm if the probes around it took at most this much longer than the session's 5th percentile.
        probe: Seconds of a fixed computation.
    """

    is_gpu = False

    def __init__(self, keys: Iterable[str], calm: float, probe: Callable[[], float] | None = None) -> None:
        self._seen = {key: _Seen() for key in keys}
        self._calm, self._probe, self._before = calm, probe or probe_seconds, 0.0

    def begin(self, key: str) -> None:
        """See `Monitor.begin`."""
        self._before = self._probe()

    def timed(self, key: str) -> AbstractContextManager[None]:
        """See `Monitor.timed`."""
        return watch(self._seen[key].usage)

    def end(self, key: str) -> None:
        """See `Monitor.end`."""
        seen = self._seen[key]
        seen.probes.append(max(self._before, self._probe()))
        for values, value in ((seen.mhz, clock_mhz()), (seen.load, load_average())):
            if value is not None:
                values.append(value)

    def slowness(self, key: str) -> list[float]:
        """See `Monitor.slowness`."""
        return list(self._seen[key].probes)

    def calm(self, key: str) -> list[bool]:
        """See `Monitor.calm`."""
        every = [probe for seen in self._seen.values() for probe in seen.probes]
        limit = float(np.quantile(every, 0.05)) * (1 + self._calm) if every else 0.0
        return [probe <= limit for probe in self._seen[key].probes]

    def slowed(self, key: str) -> list[bool]:
        """See `Monitor.slowed`: a processor does not say."""
        return [False] * len(self._seen[key].probes)

    def low_clock(self, key: str) -> list[bool]:
        """See `Monitor.low_clock`: a processor's clock is told by the probe."""
        return [False] * len(self._seen[key].probes)

    def flags(self, key: str) -> tuple[str, ...]:
        """See `Monitor.flags`: processor time is counted over all blocks."""
        share = self._seen[key].usage.others_share
        return ("contended",) if share is not None and share > CONTENDED_SHARE else ()

    def summary(self, key: str) -> dict[str, Any]:
        """See `Monitor.summary`: clock in MHz, load average, share of other processes; what is not known is absent."""
        seen = self._seen[key]
        found = {"mhz": spread(seen.mhz), "load": spread(seen.load), "others_share": seen.usage.others_share}
        return {name: value for name, value in found.items() if value is not None}

    def energy_joules(self) -> float | None:
        """See `Monitor.energy_joules`."""
        return None


def spread(values: Iterable[float | None]) -> dict[str, float] | None:
    """Smallest, median and largest of the values that are known; None if none is."""
    known = [float(value) for value in values if value is not None]
    if not known:
        return None
    return {"min": min(known), "median": float(np.median(known)), "max": max(known)}


_PROBED = b"hwnas" * 50_000  # hashed in about 0.3 ms


def probe_seconds() -> float:
    """Seconds of a short fixed computation on one processor.

    It takes longer while the processor is clocked down, or shares its core with someone that this system cannot see,
    such as another virtual machine.
    """
    start = time.perf_counter()
    hashlib.sha256(_PROBED).digest()
    return time.perf_counter() - start


@contextmanager
def watch(usage: Usage) -> Iterator[None]:
    """Add what happens inside the context to a usage."""
    wall, own, busy = time.perf_counter(), time.process_time(), _busy_seconds()
    try:
        yield
    finally:
        after = _busy_seconds()
        usage.wall += time.perf_counter() - wall
        usage.own += time.process_time() - own
        usage.busy = None if usage.busy is None or busy is None or after is None else usage.busy + after - busy


def load_average() -> float | None:
    """Processes that ran or waited to, averaged over the last minute; None where the system does not say."""
    try:
        return os.getloadavg()[0]
    except (OSError, AttributeError):
        return None


def clock_mhz() -> float | None:
    """Clock of the processors in MHz as the system reports it now, averaged; None where it does not say."""
    try:
        frequency = psutil.cpu_freq()
    except (OSError, NotImplementedError, AttributeError, RuntimeError):
        return None
    return float(frequency.current) if frequency and frequency.current else None


def _busy_seconds() -> float | None:
    """Processor time that the whole machine has spent on anything since it started."""
    try:
        times = psutil.cpu_times()
    except (OSError, RuntimeError, KeyError):
        return None
    parts = ("user", "nice", "system", "irq", "softirq", "steal")
    total = float(sum(getattr(times, part, 0.0) for part in parts))
    return total if total > 0 else None
