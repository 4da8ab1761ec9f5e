"""What else the machine did while a network was timed: load, clock, other processes."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

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
