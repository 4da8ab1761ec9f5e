"""A GPU's own word on its state, through NVML (package nvidia-ml-py, extra `nvidia`): clocks, heat, power, who else.

NVML is asked between blocks only, never while runs are timed: asking makes spikes on some boards. Everything that
decodes or judges what NVML says is a function of plain numbers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from hwnas.profilers.base import first_line
from hwnas.profilers.telemetry import CONTENDED_SHARE, Usage, spread, watch

CLOCK_LOW = 0.75
"""Share of the default clock under which a block does not count and a row is flagged `clock_low`; nvbench's value."""

REASONS: Mapping[int, str] = {
    0x001: "gpu_idle",
    0x002: "applications_clocks_setting",
    0x004: "sw_power_cap",
    0x008: "hw_slowdown",
    0x010: "sync_boost",
    0x020: "sw_thermal_slowdown",
    0x040: "hw_thermal_slowdown",
    0x080: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
}
"""Bits of NVML's clocks event reasons (`nvmlClocksEventReason*`)."""

SLOWED = frozenset({"hw_slowdown", "sw_thermal_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown"})
"""Reasons that make a block not count. The power cap is not one: a small board under load always has it. What it
costs shows in the clock."""


@dataclass(frozen=True)
class GpuSample:
    """What a GPU said at one moment; None where it does not say.

    Attributes:
        sm_mhz, memory_mhz: Clocks of the multiprocessors and of the memory.
        celsius: Temperature.
        watts: Power of the whole board.
        reasons: Why the clock is what it is, names of `REASONS`.
        processes: Ids of the processes that compute on it.
    """

    sm_mhz: int | None = None
    memory_mhz: int | None = None
    celsius: int | None = None
    watts: float | None = None
    reasons: tuple[str, ...] = ()
    processes: frozenset[int] = frozenset()


def reason_names(mask: int) -> tuple[str, ...]:
    """Names of the set bits of a mask of clocks event reasons; a bit that has no name here by its number."""
    bits = [1 << index for index in range(mask.bit_length()) if mask >> index & 1]
    return tuple(REASONS.get(bit, f"bit_{bit:#x}") for bit in bits)


def slowness(sample: GpuSample, default_mhz: int | None) -> float:
    """Default clock / clock; 1 where either is unknown."""
    return default_mhz / sample.sm_mhz if default_mhz and sample.sm_mhz else 1.0


def is_calm(sample: GpuSample, default_mhz: int | None) -> bool:
    """Whether a block before this sample counts: the clock is not low, and neither heat nor hardware slows it."""
    return not is_clock_low(sample, default_mhz) and not is_slowed(sample)


def is_clock_low(sample: GpuSample, default_mhz: int | None) -> bool:
    """Whether the clock is under `CLOCK_LOW` of the default one; no where either is unknown."""
    return slowness(sample, default_mhz) > 1 / CLOCK_LOW


def is_slowed(sample: GpuSample) -> bool:
    """Whether heat or the hardware slows the device."""
    return not SLOWED.isdisjoint(sample.reasons)


def other_processes(before: frozenset[int], first: frozenset[int], now: frozenset[int], own: int) -> frozenset[int]:
    """Other processes that compute on the GPU.

    In a container NVML may number processes as the host does, so a process does not find itself in the list. Then
    what appeared between its start and its first block is taken for itself.

    Args:
        before: Processes on the GPU before this one used it.
        first: Those at its first block.
        now: Those now.
        own: Id of this process.
    """
    ours = {own} if own in first else first - before
    return frozenset(before | now) - ours - {own}


def visible_device(environment: Mapping[str, str]) -> int | str:
    """The first GPU that CUDA lets a process see: its index in the order of the bus, or its UUID."""
    first = environment.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    if not first:
        return 0
    return int(first) if first.isdecimal() else first


def summarise_samples(
    samples: Iterable[GpuSample], default_mhz: int | None, others: Iterable[int], share: float | None
) -> dict[str, Any]:
    """Telemetry of a row, JSON types: smallest, median and largest of each number, and the share of each reason."""
    seen = list(samples)
    names = sorted({name for sample in seen for name in sample.reasons})
    found = {
        "sm_mhz": spread(sample.sm_mhz for sample in seen),
        "memory_mhz": spread(sample.memory_mhz for sample in seen),
        "celsius": spread(sample.celsius for sample in seen),
        "watts": spread(sample.watts for sample in seen),
        "default_mhz": default_mhz,
        "reasons": {name: sum(name in sample.reasons for sample in seen) / len(seen) for name in names},
        "other_processes": len(set(others)),
        "others_share": share,
    }
    return {name: value for name, value in found.items() if value is not None}


class Gpu:
    """The GPU that CUDA programs of this process see first.

    Raises:
        Exception: NVML is not installed, finds no driver, or does not know the device.
    """

    def __init__(self) -> None:
        import pynvml

        self._nvml: Any = pynvml
        pynvml.nvmlInit()
        device = visible_device(os.environ)
        by_index = isinstance(device, int)
        find = pynvml.nvmlDeviceGetHandleByIndex if by_index else pynvml.nvmlDeviceGetHandleByUUID
        self._handle = find(device)
        self.default_mhz = self._default_clock()

    def sample(self) -> GpuSample:
        """Ask the device for everything once."""
        nvml, handle = self._nvml, self._handle
        milliwatts = self._ask(lambda: nvml.nvmlDeviceGetPowerUsage(handle))
        mask = self._ask(lambda: nvml.nvmlDeviceGetCurrentClocksEventReasons(handle))
        if mask is None:  # drivers before 535 know the older name alone
            mask = self._ask(lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))
        return GpuSample(
            sm_mhz=self._ask(lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
            memory_mhz=self._ask(lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM)),
            celsius=self._ask(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
            watts=None if milliwatts is None else milliwatts / 1000,
            reasons=reason_names(mask or 0),
            processes=self.processes(),
        )

    def processes(self) -> frozenset[int]:
        """Ids of the processes that compute on the device."""
        listed = self._ask(lambda: self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle))
        return frozenset(int(process.pid) for process in listed or ())

    def facts(self) -> tuple[str, tuple[int, int]] | None:
        """Name and compute capability of the device; None where NVML does not say."""
        nvml, handle = self._nvml, self._handle
        name = self._ask(lambda: nvml.nvmlDeviceGetName(handle))
        capability = self._ask(lambda: nvml.nvmlDeviceGetCudaComputeCapability(handle))
        if name is None or capability is None:
            return None
        # Older versions of the package return bytes.
        return name.decode() if isinstance(name, bytes) else str(name), (int(capability[0]), int(capability[1]))

    def energy_joules(self) -> float | None:
        """Energy since the driver was loaded; None on boards that do not count it (before Volta)."""
        millijoules = self._ask(lambda: self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))
        return None if millijoules is None else millijoules / 1000

    def free_bytes(self) -> int | None:
        """Memory of the device that is free."""
        memory = self._ask(lambda: self._nvml.nvmlDeviceGetMemoryInfo(self._handle))
        return None if memory is None else int(memory.free)

    def close(self) -> None:
        """Let go of NVML."""
        self._ask(self._nvml.nvmlShutdown)

    def _default_clock(self) -> int | None:
        nvml, handle = self._nvml, self._handle
        clock = self._ask(
            lambda: nvml.nvmlDeviceGetClock(handle, nvml.NVML_CLOCK_SM, nvml.NVML_CLOCK_ID_APP_CLOCK_DEFAULT)
        )
        return clock or self._ask(lambda: nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM)) or None

    def _ask(self, question: Callable[[], Any]) -> Any:
        """The answer, None if this device or driver has none."""
        try:
            return question()
        except self._nvml.NVMLError:
            return None


class GpuMonitor:
    """Watches a GPU block by block; see `telemetry.Monitor`.

    Args:
        gpu: The device; it must be asked before this process uses it.
        keys: The networks.
    """

    is_gpu = True

    def __init__(self, gpu: Gpu, keys: Iterable[str]) -> None:
        self._gpu, self._own = gpu, os.getpid()
        # The process that waits for this one computes nothing meanwhile.
        self._before = gpu.processes() - {os.getppid()}
        self._first: frozenset[int] | None = None
        self._others: set[int] = set()
        self._samples: dict[str, list[GpuSample]] = {key: [] for key in keys}
        self._usages = {key: Usage() for key in self._samples}

    def begin(self, key: str) -> None:
        """See `Monitor.begin`."""

    def timed(self, key: str) -> AbstractContextManager[None]:
        """See `Monitor.timed`."""
        return watch(self._usages[key])

    def end(self, key: str) -> None:
        """See `Monitor.end`: right after the block, while the device has the clock that it ran with."""
        sample = self._gpu.sample()
        now = sample.processes - {os.getppid()}
        self._first = now if self._first is None else self._first
        self._others |= other_processes(self._before, self._first, now, self._own)
        self._samples[key].append(sample)

    def slowness(self, key: str) -> list[float]:
        """See `Monitor.slowness`: default clock / clock."""
        return [slowness(sample, self._gpu.default_mhz) for sample in self._samples[key]]

    def calm(self, key: str) -> list[bool]:
        """See `Monitor.calm`."""
        return [is_calm(sample, self._gpu.default_mhz) for sample in self._samples[key]]

    def slowed(self, key: str) -> list[bool]:
        """See `Monitor.slowed`."""
        return [is_slowed(sample) for sample in self._samples[key]]

    def low_clock(self, key: str) -> list[bool]:
        """See `Monitor.low_clock`."""
        return [is_clock_low(sample, self._gpu.default_mhz) for sample in self._samples[key]]

    def flags(self, key: str) -> tuple[str, ...]:
        """See `Monitor.flags`: other processes that compute on the device, or take the processors."""
        share = self._usages[key].others_share
        found = {"shared_gpu": bool(self._others), "contended": share is not None and share > CONTENDED_SHARE}
        return tuple(name for name, present in found.items() if present)

    def summary(self, key: str) -> dict[str, Any]:
        """See `Monitor.summary`."""
        share = self._usages[key].others_share
        return summarise_samples(self._samples[key], self._gpu.default_mhz, self._others, share)

    def energy_joules(self) -> float | None:
        """See `Monitor.energy_joules`."""
        return self._gpu.energy_joules()


@contextmanager
def open_gpu() -> Iterator[Gpu | str]:
    """The GPU, or why NVML cannot be asked, in one line."""
    try:
        gpu = Gpu()
    except Exception as error:  # no package, no driver, no such device: the times do not need NVML
        yield f"NVML: {first_line(error)}"
        return
    try:
        yield gpu
    finally:
        gpu.close()


def free_device_memory() -> int | None:
    """Free bytes of the GPU that this process would use; None where NVML does not say."""
    with open_gpu() as gpu:
        return None if isinstance(gpu, str) else gpu.free_bytes()
