"""Rows on a GPU whose time is the host's: on runners that enqueue as slowly as they are told, and by hand."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest

from hwnas.latency.records import DOUBTS
from hwnas.profilers import RawTiming, TimingProtocol, time_networks
from hwnas.profilers.blocks import finish_timing, merge
from hwnas.profilers.summary import ENQUEUE_SHARE, enqueue_bound

SHORT = TimingProtocol(
    rounds=3, max_rounds=3, processes=1, runs=3, block_seconds=0.0, warmup_window=2, settle=9.0, target=1.0
)


class Device:
    """A runner whose host hands over one kernel after another, and whose device takes its time for each in turn.

    The seconds are counted, not waited for: what a busy machine does meanwhile changes nothing.
    """

    def __init__(self, host: float, device: float, kernels: int = 4) -> None:
        self.host, self.device, self.kernels = host, device, kernels
        self.took: list[float] = []

    def run(self, n: int) -> np.ndarray:
        seconds = np.empty(n)
        for index in range(n):
            now = idle = 0.0
            for _ in range(self.kernels):
                now += self.host
                idle = max(idle, now) + self.device
            self.took.append(now)
            seconds[index] = max(now, idle)
        return seconds

    def flush(self) -> None:
        """Nothing is kept."""

    def enqueued(self) -> np.ndarray:
        found, self.took = np.array(self.took), []
        return found


class Watching:
    """A monitor of a device that is never disturbed and counts no energy."""

    is_gpu = True

    def __init__(self) -> None:
        self.blocks: dict[str, int] = {}

    def begin(self, key: str) -> None:
        self.blocks[key] = self.blocks.get(key, 0) + 1

    def timed(self, key: str) -> nullcontext[None]:
        return nullcontext()

    def end(self, key: str) -> None:
        pass

    def slowness(self, key: str) -> list[float]:
        return [1.0] * self.blocks[key]

    def calm(self, key: str) -> list[bool]:
        return [True] * self.blocks[key]

    def slowed(self, key: str) -> list[bool]:
        return [False] * self.blocks[key]

    def low_clock(self, key: str) -> list[bool]:
        return [False] * self.blocks[key]

    def flags(self, key: str) -> tuple[str, ...]:
        return ()

    def summary(self, key: str) -> dict[str, object]:
        return {}

    def energy_joules(self) -> None:
        return None


def test_a_slow_host_is_told_from_a_slow_device() -> None:
    """The first host takes 4 x 2 ms to enqueue what the device does meanwhile; the second takes 4 ms of 21."""
    runners = {"host": Device(2e-3, 1e-4), "device": Device(1e-3, 5e-3)}
    found = time_networks(runners, SHORT, monitor=Watching())
    host, device = found["host"], found["device"]
    assert isinstance(host, RawTiming)
    assert isinstance(device, RawTiming)
    assert host.flags == ("enqueue_bound",)
    assert device.flags == ()
    assert len(host.enqueues) == len(host.rounds) == 3
    assert host.telemetry["enqueue_seconds"] == pytest.approx(8e-3)
    assert host.rounds[0] == pytest.approx(8.1e-3)
    assert device.telemetry["enqueue_seconds"] == pytest.approx(4e-3)
    assert device.rounds[0] == pytest.approx(21e-3)


def test_a_runner_that_does_not_say_is_not_flagged() -> None:
    runner = Device(1e-3, 0.0)
    runner.enqueued = None  # type: ignore[assignment,method-assign]
    found = time_networks({"graph": runner}, SHORT, monitor=Watching())["graph"]
    assert isinstance(found, RawTiming)
    assert (found.flags, found.enqueues) == ((), [])
    assert "enqueue_seconds" not in found.telemetry


@pytest.mark.parametrize(
    ("enqueues", "medians", "bound"),
    [
        ([], [1.0, 1.0], False),
        ([0.8, 0.8], [1.0, 1.0], False),  # trtexec warns above its threshold
        ([0.81, 0.81], [1.0, 1.0], True),
        ([0.95, 0.95, 0.1], [1.0, 1.0, 1.0], True),  # by median
        ([0.1, 0.1, 0.95], [1.0, 1.0, 1.0], False),
        ([4.94], [4.96], True),  # as in many a log of trtexec, whose warning it was
    ],
)
def test_the_medians_decide(enqueues: list[float], medians: list[float], bound: bool) -> None:
    assert ENQUEUE_SHARE == 0.8
    assert enqueue_bound(enqueues, [np.full(3, median) for median in medians]) is bound


def timing(calm: list[bool], enqueues: list[float]) -> RawTiming:
    rounds = [np.full(3, 1.0) for _ in calm]
    seen = {"probes": [1.0] * len(calm), "calm": calm, "sessions": [len(calm)], "enqueues": enqueues}
    return RawTiming(rounds=rounds, runs=3, **seen)  # type: ignore[arg-type]


def test_rounds_that_do_not_count_say_nothing_about_the_host() -> None:
    """The device was slow in the second and third round, and the host was waiting in them."""
    one = timing([True, False, False], [0.9, 0.1, 0.1])
    finish_timing(one, SHORT, probed=False)
    assert (one.enqueues, one.flags) == ([0.9], ("enqueue_bound",))
    assert one.telemetry["enqueue_seconds"] == 0.9


def test_all_processes_count() -> None:
    parts = [{"a": timing([True, True], [0.9, 0.9])}, {"a": timing([True, True], [0.2, 0.2])}]
    merged = merge(parts, SHORT, probed=False)["a"]
    assert isinstance(merged, RawTiming)
    assert merged.enqueues == [0.9, 0.9, 0.2, 0.2]
    assert merged.flags == ()
    assert merged.telemetry["enqueue_seconds"] == pytest.approx(0.55)


def test_such_a_row_is_no_doubt() -> None:
    """It is as it would be in service; measuring again would find the same."""
    assert "enqueue_bound" not in DOUBTS
