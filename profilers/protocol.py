"""How networks are timed, and what is said about the times. `docs/measuring.md` explains it.

Many networks are loaded at once and timed in turns: every round gives each network one short block of runs, in a new
random order, and there are many rounds, so that a machine's slow seconds hit all networks alike. All networks get the
same number of rounds: a later round of some alone would be of another time.

What the machine did to a block is told by the blocks beside it, which are other networks': see `blocks.add_states`.
Their slowness is taken off, and the third of the blocks around which the machine was slowest does not count. With fewer
than 4 networks nothing can be taken off. Then a block counts if the device was calm around it: on a processor a short
fixed computation tells, on a GPU its clock and what slows it down (as nvbench leaves out samples of a GPU whose clock
has dropped). docs/decisions/0006 has the figures.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TypeVar

import numpy as np

from hwnas.errors import UsageError
from hwnas.profilers.base import Failure, RawTiming, Runner, Seconds, no_collection
from hwnas.profilers.blocks import add_states, calm_blocks, finish_timing
from hwnas.profilers.memory import explain
from hwnas.profilers.summary import P99_RUNS, Statistics, median_interval, round_medians, summarise
from hwnas.profilers.telemetry import CpuMonitor, Monitor, clock_mhz, load_average

__all__ = [
    "P99_RUNS",
    "PROTOCOL_VERSION",
    "Statistics",
    "TimingProtocol",
    "median_interval",
    "round_medians",
    "summarise",
    "time_networks",
    "warm_up",
]

PROTOCOL_VERSION = 5
"""Raised whenever a change of this file changes what a number means; part of the key of every stored row."""

_FEWEST = 3  # rounds that are made even if the budget is gone
_ENERGY_SECONDS = 1.0  # of runs in a row; a GPU's energy counter moves every 20 to 100 ms

_Key = TypeVar("_Key", bound=str)


@dataclass(frozen=True)
class TimingProtocol:
    """The parameters of the protocol.

    Attributes:
        rounds: Rounds that are made at least, over all processes.
        max_rounds: Rounds after which networks whose interval is still wide are left as they are.
        processes: Processes, one after another, that the rounds are spread over: the same network takes another time
            in another process, and an interval from one process alone does not know.
        runs: Runs in a block, unless they exceed `max_block_seconds`.
        block_seconds: A block goes on at least this long.
        max_block_seconds: No block is planned longer than this; slow networks get fewer runs (flag `few_runs`).
        target: Half-width of the 95% interval, relative to the headline, that ends the rounds once all reach it.
        warmup_window: Runs in a window of the warm-up.
        warmup_seconds: The warm-up ends here even if it has not settled (flag `unsettled`).
        settle: Relative difference of two windows' medians under which the warm-up has settled.
        calm: A block is calm if the probes around it took at most this much longer than the session's 5th percentile.
        budget_seconds: The rounds of a session end after this time even if intervals are still wide (flag `timeout`),
            but not before the third round.
    """

    rounds: int = 20
    max_rounds: int = 40
    processes: int = 4
    runs: int = 3
    block_seconds: float = 0.02
    max_block_seconds: float = 2.0
    target: float = 0.01
    warmup_window: int = 5
    warmup_seconds: float = 2.0
    settle: float = 0.01
    calm: float = 0.1
    budget_seconds: float = 900.0

    @classmethod
    def of_rounds(cls, rounds: int) -> TimingProtocol:
        """The default protocol with another number of rounds, and at most twice as many."""
        return cls(rounds=rounds, max_rounds=2 * rounds)

    def share(self) -> TimingProtocol:
        """What one of the processes follows."""
        parts = max(1, self.processes)
        return replace(
            self,
            rounds=max(1, math.ceil(self.rounds / parts)),
            max_rounds=max(1, math.ceil(self.max_rounds / parts)),
            budget_seconds=self.budget_seconds / parts,
            processes=1,
        )

    def key(self) -> str:
        """Text that names this protocol in a table's key: the version, and what differs from the defaults."""
        default = asdict(TimingProtocol())
        changed = [f"{name}={value!r}" for name, value in asdict(self).items() if value != default[name]]
        return " ".join([str(PROTOCOL_VERSION), *changed])

    @classmethod
    def from_key(cls, key: str) -> TimingProtocol:
        """The protocol that `key()` named.

        Raises:
            UsageError: The key is of another version of the protocol, or no key.
        """
        version, *changed = key.split(" ")
        kinds = {entry.name: type(getattr(cls(), entry.name)) for entry in fields(cls)}
        try:
            if version != str(PROTOCOL_VERSION):
                raise ValueError
            pairs = dict(entry.split("=", 1) for entry in changed)
            return cls(**{name: kinds[name](value) for name, value in pairs.items()})
        except (ValueError, KeyError) as error:
            raise UsageError(
                f"measuring protocol {key!r} cannot be followed by this version, which has protocol "
                f"{PROTOCOL_VERSION}; make a new setting."
            ) from error


def warm_up(runner: Runner, protocol: TimingProtocol) -> tuple[int, bool, float]:
    """Run until two successive windows' medians agree.

    Returns:
        Runs made, whether they settled before the cap, and the last window's median in seconds.
    """
    before = runner.run(protocol.warmup_window)
    runs, spent = len(before), float(before.sum())
    while True:
        window = runner.run(protocol.warmup_window)
        runs, spent = runs + len(window), spent + float(window.sum())
        old, new = float(np.median(before)), float(np.median(window))
        if abs(new - old) <= protocol.settle * old:
            return runs, True, new
        if spent >= protocol.warmup_seconds:
            return runs, False, new
        before = window


def time_networks(
    runners: Mapping[_Key, Runner],
    protocol: TimingProtocol,
    *,
    seed: int = 0,
    notify: Callable[[int, int], None] | None = None,
    probe: Callable[[], float] | None = None,
    monitor: Monitor | None = None,
    at: Callable[[_Key], None] | None = None,
    failed: Callable[[_Key, Failure], None] | None = None,
    observe: Callable[[_Key, float], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
    finish: bool = True,
) -> dict[_Key, RawTiming | Failure]:
    """Time networks in interleaved rounds.

    Args:
        runners: The loaded networks.
        protocol: The protocol's parameters.
        seed: Seed of the order within rounds.
        notify: Called between rounds with (rounds done, rounds planned).
        probe: Seconds of the fixed computation that tells whether the processor is disturbed; None for the usual one.
        monitor: Watches the device; None watches the processor with `probe`.
        at: Called with a network before it is run, outside of what is timed.
        failed: Called at once with a network that failed.
        observe: Called between rounds with the network that ran last and its block's median in seconds.
        clock: Seconds since some moment, for the budget.
        finish: Leave disturbed blocks out and set the flags; else all blocks come back, for `merge` to do so.

    Returns:
        For each network its timing, of its calm blocks alone if there are enough of them, or the failure that ended
        it. `telemetry["ended_by"]` says which rule ended the rounds: `"interval"`, `"rounds"` or `"budget"`.
    """
    watcher: Monitor = CpuMonitor(runners, protocol.calm, probe) if monitor is None else monitor
    results: dict[_Key, RawTiming | Failure] = {}
    planned: dict[_Key, int] = {}

    def fail(key: _Key, error: Exception) -> None:
        failure = results[key] = Failure("run", explain(error))
        if failed is not None:
            failed(key, failure)

    load, mhz = load_average(), clock_mhz()
    for key, runner in runners.items():
        if at is not None:
            at(key)
        try:
            runs, settled, seconds = warm_up(runner, protocol)
            held = _device_memory(runner)
        except Exception as error:  # runtimes share no base of their exceptions
            fail(key, error)
            continue
        flags = () if settled else ("unsettled",)
        results[key] = RawTiming(warmup_runs=runs, flags=flags, load=load, mhz=mhz, device_memory_bytes=held)
        wanted = max(protocol.runs, math.ceil(protocol.block_seconds / seconds))
        planned[key] = max(1, min(wanted, int(protocol.max_block_seconds / seconds)))
    rng = np.random.default_rng(seed)
    active, started = list(planned), clock()
    done, total, ended = 0, protocol.rounds, ""
    while active:
        last: tuple[_Key, float] | None = None
        for index in rng.permutation(len(active)):
            key = active[index]
            timing = results[key]
            assert isinstance(timing, RawTiming)
            if at is not None:
                at(key)
            began = time.monotonic()
            try:
                block = _block(key, runners[key], planned[key], watcher)
            except Exception as error:
                fail(key, error)
                continue
            timing.rounds.append(block)
            timing.starts.append(began)
            host = _enqueued(runners[key], len(block))
            if host is not None:
                timing.enqueues.append(host)
            last = key, float(np.median(block))
        done += 1
        active = [key for key in active if isinstance(results[key], RawTiming)]
        ended = _ended(results, watcher, protocol, done, clock() - started)
        if ended:
            active = []
        elif done >= protocol.rounds:
            total = protocol.max_rounds
        if observe is not None and last is not None:
            observe(*last)
        if notify is not None:
            notify(done, total if active else done)
    for key, result in results.items():
        if isinstance(result, RawTiming):
            result.probes, result.calm, result.runs = watcher.slowness(key), watcher.calm(key), planned[key]
            result.sessions = [len(result.rounds)]
            result.slowed, result.low_clock = watcher.slowed(key), watcher.low_clock(key)
            result.flags += watcher.flags(key)
            result.telemetry = {**watcher.summary(key), "ended_by": ended}
            if watcher.is_gpu:
                result.energy_joules = _energy(runners[key], summarise(result.rounds).seconds, watcher)
    if finish:
        found = [result for result in results.values() if isinstance(result, RawTiming)]
        add_states(found)
        for result in found:
            finish_timing(result, protocol, probed=not watcher.is_gpu)
    return results


def _ended(
    results: Mapping[_Key, RawTiming | Failure], monitor: Monitor, protocol: TimingProtocol, done: int, spent: float
) -> str:
    """The rule that ends the rounds, empty if they go on."""
    settled = done >= protocol.rounds and not any(
        isinstance(result, RawTiming) and _restless(result, monitor.calm(key), protocol)
        for key, result in results.items()
    )
    if settled:
        return "interval"
    if done >= protocol.max_rounds:
        return "rounds"
    return "budget" if done >= _FEWEST and spent >= protocol.budget_seconds else ""


def _block(key: str, runner: Runner, runs: int, monitor: Monitor) -> Seconds:
    """One untimed run, which brings the network's data back into the caches, then the timed ones."""
    flush = getattr(runner, "flush", None)
    monitor.begin(key)
    runner.run(1)
    with no_collection(), monitor.timed(key):
        seconds = runner.run(runs) if flush is None else _flushed(runner, flush, runs)
    monitor.end(key)
    return seconds


def _flushed(runner: Runner, flush: Callable[[], None], runs: int) -> Seconds:
    """Runs that each find the GPU's cache without the network's data."""
    seconds = np.empty(runs, dtype=np.float64)
    for index in range(runs):
        flush()
        seconds[index] = runner.run(1)[0]
    return seconds


def _device_memory(runner: Runner) -> int | None:
    held = getattr(runner, "device_memory", None)
    found = None if held is None else held()
    return None if found is None else int(found)


def _enqueued(runner: Runner, runs: int) -> float | None:
    """Median seconds that the host took to enqueue each of the last runs; None where the runner does not say."""
    ask = getattr(runner, "enqueued", None)
    found = () if ask is None else ask()[-runs:]
    return float(np.median(found)) if len(found) else None


def _energy(runner: Runner, seconds: float, monitor: Monitor) -> float | None:
    """Joules of one run: what the device's counter gained over a second of runs in a row; None where it has none."""
    before = monitor.energy_joules()
    if before is None:
        return None
    runs = max(1, math.ceil(_ENERGY_SECONDS / seconds))
    try:
        runner.run(runs)
    except Exception:  # the times stand, whatever happens after them
        return None
    after = monitor.energy_joules()
    return None if after is None or after <= before else (after - before) / runs


def _restless(timing: RawTiming, calm: list[bool], protocol: TimingProtocol) -> bool:
    """Whether a network wants more rounds: it has too few calm blocks, or they do not agree yet."""
    kept = calm_blocks(timing.rounds, calm)
    return len(kept) < max(1, protocol.rounds // 2) or summarise(kept).half_width > protocol.target
