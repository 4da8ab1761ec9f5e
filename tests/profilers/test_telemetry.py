"""What NVML's numbers mean, on real constants of pynvml; the processor's monitor on given numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hwnas.profilers import TimingProtocol, time_networks
from hwnas.profilers.blocks import merge
from hwnas.profilers.nvml import (
    REASONS,
    SLOWED,
    GpuMonitor,
    GpuSample,
    free_device_memory,
    is_calm,
    is_clock_low,
    is_slowed,
    open_gpu,
    other_processes,
    reason_names,
    slowness,
    summarise_samples,
    visible_device,
)
from hwnas.profilers.telemetry import CpuMonitor, clock_mhz, load_average, spread

pynvml = pytest.importorskip("pynvml")


def test_every_reason_of_pynvml_has_its_name():
    prefix = "nvmlClocksEventReason"
    named = {name.removeprefix(prefix).lower(): bit for name, bit in vars(pynvml).items() if name.startswith(prefix)}
    assert set(named.values()) - {pynvml.nvmlClocksEventReasonNone, pynvml.nvmlClocksEventReasonAll} == set(REASONS)
    assert all(named[name.replace("_", "")] == bit for bit, name in REASONS.items())


def test_masks_are_decoded():
    both = pynvml.nvmlClocksEventReasonSwPowerCap | pynvml.nvmlClocksEventReasonHwThermalSlowdown
    assert reason_names(both) == ("sw_power_cap", "hw_thermal_slowdown")
    assert reason_names(pynvml.nvmlClocksEventReasonNone) == ()
    assert reason_names(pynvml.nvmlClocksThrottleReasonBoardLimit) == ("bit_0x200",)
    assert set(reason_names(pynvml.nvmlClocksEventReasonAll)) == set(REASONS.values())


def test_nvml_has_the_functions_that_are_asked():
    names = (
        "nvmlDeviceGetClock", "nvmlDeviceGetClockInfo", "nvmlDeviceGetMaxClockInfo", "nvmlDeviceGetTemperature",
        "nvmlDeviceGetPowerUsage", "nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetComputeRunningProcesses",
        "nvmlDeviceGetCurrentClocksThrottleReasons", "nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetMemoryInfo",
        "nvmlDeviceGetHandleByIndex", "nvmlDeviceGetHandleByUUID", "nvmlShutdown", "NVML_CLOCK_ID_APP_CLOCK_DEFAULT",
    )  # fmt: skip
    assert [name for name in names if not hasattr(pynvml, name)] == []


@pytest.mark.parametrize(
    ("mhz", "reasons", "calm"),
    [
        (1980, (), True),
        (1485, ("sw_power_cap",), True),  # 75% of the default clock
        (1484, (), False),
        (1980, ("hw_thermal_slowdown",), False),
        (1980, ("gpu_idle",), True),
        (None, (), True),
    ],
)
def test_a_block_counts_at_a_high_clock_that_nothing_slows(mhz, reasons, calm):
    assert is_calm(GpuSample(sm_mhz=mhz, reasons=reasons), 1980) is calm


def test_slowness_is_of_the_default_clock():
    assert slowness(GpuSample(sm_mhz=990), 1980) == 2.0
    assert slowness(GpuSample(sm_mhz=990), None) == slowness(GpuSample(), 1980) == 1.0


def test_what_slows_a_gpu():
    assert not is_clock_low(GpuSample(sm_mhz=1900), 1980)
    assert is_clock_low(GpuSample(sm_mhz=900), 1980)
    assert not is_clock_low(GpuSample(sm_mhz=900), None)
    for reason in SLOWED:
        assert is_slowed(GpuSample(sm_mhz=1900, reasons=("sw_power_cap", reason)))
    assert not is_slowed(GpuSample(sm_mhz=1900, reasons=("sw_power_cap",)))


class ScriptedGpu:
    """A GPU that answers with given samples, one a block."""

    default_mhz = 1980

    def __init__(self, samples):
        self.samples = iter(samples)

    def processes(self):
        return frozenset()

    def sample(self):
        return next(self.samples)

    def energy_joules(self):
        return None


class Steady:
    """A runner that always takes a millisecond."""

    def run(self, n):
        return np.full(n, 1e-3)


@pytest.mark.parametrize(
    ("sample", "flags"),
    [
        (GpuSample(sm_mhz=1900), ()),
        (GpuSample(sm_mhz=1900, reasons=("hw_thermal_slowdown",)), ("throttled",)),
        (GpuSample(sm_mhz=900), ("clock_low",)),
        (GpuSample(sm_mhz=1900, processes=frozenset({17})), ("shared_gpu",)),
    ],
)
def test_flags_are_of_the_blocks_that_count(sample, flags):
    """Four networks in two processes; of the 8 blocks of each in the first, 6 are disturbed, which does not slow them.

    The calm ones alone would be enough, but which blocks count is told by the times of their neighbours.
    """
    fine, parts = GpuSample(sm_mhz=1900), []
    for samples in ([fine] * 8 + [sample] * 24, [fine] * 8):
        runners = {key: Steady() for key in "abcd"}
        share = TimingProtocol(rounds=len(samples) // 4, max_rounds=len(samples) // 4, runs=3, block_seconds=0.0)
        monitor = GpuMonitor(ScriptedGpu(samples), runners)
        parts.append(time_networks(runners, share, monitor=monitor, finish=False))
    for timing in merge(parts, TimingProtocol(rounds=10, max_rounds=10), probed=False).values():
        assert timing.flags == flags
        assert len(timing.slowed) == len(timing.low_clock) == len(timing.rounds)


def test_disturbed_blocks_that_do_not_count_set_no_flag():
    """Three networks have no common state: the blocks that the device calls calm count, and they alone are judged."""
    samples = [GpuSample(sm_mhz=1900)] * 12 + [GpuSample(sm_mhz=900, reasons=("hw_slowdown",))] * 12
    protocol = TimingProtocol(rounds=8, max_rounds=8, runs=3, block_seconds=0.0)
    runners = {key: Steady() for key in "abc"}
    found = time_networks(runners, protocol, monitor=GpuMonitor(ScriptedGpu(samples), runners))
    assert all((timing.flags, timing.discarded) == ((), 4) for timing in found.values())


def test_other_processes_on_a_gpu():
    none = frozenset[int]()
    assert other_processes(none, frozenset({5}), frozenset({5}), own=5) == none
    assert other_processes(frozenset({7}), frozenset({5, 7}), frozenset({5, 7}), own=5) == {7}
    assert other_processes(none, frozenset({5}), frozenset({5, 9}), own=5) == {9}
    # in a container this process is 3 to itself and 4711 to NVML
    assert other_processes(none, frozenset({4711}), frozenset({4711}), own=3) == none
    assert other_processes(frozenset({7}), frozenset({7, 4711}), frozenset({7, 4711, 9}), own=3) == {7, 9}
    assert other_processes(frozenset({7}), frozenset({5}), frozenset({5}), own=5) == {7}


def test_the_device_that_cuda_sees_first():
    assert visible_device({}) == visible_device({"CUDA_VISIBLE_DEVICES": ""}) == 0
    assert visible_device({"CUDA_VISIBLE_DEVICES": "3,1"}) == 3
    assert visible_device({"CUDA_VISIBLE_DEVICES": "GPU-8a5e"}) == "GPU-8a5e"


def test_summary_of_samples_is_json():
    samples = [
        GpuSample(1900, 3201, 61, 310.5, ("sw_power_cap",)),
        GpuSample(1800, 3201, 63, None, ()),
    ]
    found = json.loads(json.dumps(summarise_samples(samples, 1980, {9}, 0.01), allow_nan=False))
    assert found["sm_mhz"] == {"min": 1800, "median": 1850, "max": 1900}
    assert found["watts"] == {"min": 310.5, "median": 310.5, "max": 310.5}
    assert found["reasons"] == {"sw_power_cap": 0.5}
    assert (found["default_mhz"], found["other_processes"], found["others_share"]) == (1980, 1, 0.01)
    assert "others_share" not in summarise_samples(samples, None, (), None)


def test_without_a_gpu_it_says_why():
    with open_gpu() as gpu:
        if not isinstance(gpu, str):
            pytest.skip("this machine has a GPU")
        assert gpu.startswith("NVML: ")
        assert "\n" not in gpu
    assert free_device_memory() is None


def test_a_processor_is_watched_block_by_block():
    probes = iter([1.0, 1.0, 1.0, 1.05, 1.5, 1.0])
    monitor = CpuMonitor(["a", "b"], calm=0.1, probe=lambda: next(probes))
    for key in ("a", "b", "a"):
        monitor.begin(key)
        with monitor.timed(key):
            pass
        monitor.end(key)
    assert monitor.slowness("a") == [1.0, 1.5]
    assert monitor.calm("a") == [True, False]
    assert monitor.calm("b") == [True]
    assert monitor.slowed("a") == monitor.low_clock("a") == [False, False]
    assert monitor.flags("a") == ()
    summary = monitor.summary("a")
    assert set(summary) <= {"mhz", "load", "others_share"}
    assert ("load" in summary) == (load_average() is not None)
    assert ("mhz" in summary) == (clock_mhz() is not None)
    assert monitor.energy_joules() is None


def test_spread_of_what_is_known():
    assert spread([3, None, 1, 2]) == {"min": 1, "median": 2, "max": 3}
    assert spread([None]) is None
