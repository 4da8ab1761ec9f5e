"""Blocks of runs after they were made: those of several processes put together, the disturbed ones left out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from hwnas.profilers.base import Failure, RawTiming, Seconds
from hwnas.profilers.summary import enqueue_bound, summarise
from hwnas.profilers.telemetry import spread

if TYPE_CHECKING:
    from hwnas.profilers.protocol import TimingProtocol

Key = TypeVar("Key", bound=str)

_FEWEST = 4  # networks whose common slowness can be told from their own
_SWEEPS = 20
_NEAR = 3  # blocks before and after one that say how the machine was
_DECAY = 1.5  # blocks over which their weight falls by a factor e
_CALM = 2 / 3  # share of a session's blocks that count, the calmest first
_LEVEL = 0.1  # quantile of the states that is called calm
_SHARE = 3  # one block in so many of a network always counts, the calmest first
_SLOWED = 1.25  # median state of a network's blocks from which it is said to be disturbed
_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365)  # 97.5% quantiles for 1, 2, ... degrees of freedom


def calm_blocks(rounds: Sequence[Seconds], calm: Sequence[bool]) -> list[Seconds]:
    """The blocks around which the device was undisturbed."""
    return [block for block, counts in zip(rounds, calm, strict=True) if counts]


def _counted(timing: RawTiming, protocol: TimingProtocol) -> list[bool]:
    """For each block whether it stays: the calm ones, or all if too few are."""
    return list(timing.calm) if _enough(timing, protocol) else [True] * len(timing.rounds)


def merge(
    parts: Sequence[Mapping[Key, RawTiming | Failure]], protocol: TimingProtocol, *, probed: bool
) -> dict[Key, RawTiming | Failure]:
    """What several processes saw of the same networks, as one timing each; a failure in any of them is the result.

    Args:
        parts: What `time_networks` returned in each process, with `finish` off.
        protocol: The protocol whose shares they followed.
        probed: The slowness of blocks is the time of a probe, which all processes share: which blocks were calm is
            then judged over all of them.
    """
    every = [
        probe for part in parts for timing in part.values() if isinstance(timing, RawTiming) for probe in timing.probes
    ]
    limit = float(np.quantile(every, 0.05)) * (1 + protocol.calm) if every else 0.0
    merged: dict[Key, RawTiming | Failure] = {}
    for key in dict.fromkeys(key for part in parts for key in part):
        found = [part[key] for part in parts if key in part]
        failures = [timing for timing in found if isinstance(timing, Failure)]
        timings = [timing for timing in found if isinstance(timing, RawTiming)]
        if failures:
            merged[key] = failures[0]
            continue
        one = merged[key] = _joined(timings)
        if probed:
            one.calm = [probe <= limit for probe in one.probes]
    whole = [timing for timing in merged.values() if isinstance(timing, RawTiming)]
    add_states(whole)
    for timing in whole:
        finish_timing(timing, protocol, probed=probed)
    return merged


def add_states(timings: Sequence[RawTiming]) -> None:
    """Say of each block how much slower than calm the machine was around it, as told by the blocks beside it.

    What slows the machine for a tenth of a second or for minutes slows the networks that run one after the other alike:
    log(median of a block) = network + state + rest. The state of a block is the weighted mean of what is left of the 3
    blocks before and the 3 after it in the same process once their networks are taken off; its own time has no part in
    it. A network is the median of what is left of its blocks once their states are taken off. The two are found in
    turns. Calm, the factor 1, is the 10th percentile of the states. Of all blocks the calmest two thirds count.

    Sets `effects`, `calm` and `level_error` of the timings. With fewer than 4 networks nothing is changed.

    Args:
        timings: All blocks of each network of a session, in order, with `starts`.

    Source: the alternation is that of the median polish: J. W. Tukey, Exploratory Data Analysis, 1977, chapter 11.
    """
    if len(timings) < _FEWEST or any(len(timing.starts) != len(timing.rounds) for timing in timings):
        return
    logs = np.log([float(np.median(block)) for timing in timings for block in timing.rounds])
    owners = np.repeat(np.arange(len(timings)), [len(timing.rounds) for timing in timings])
    processes = np.concatenate([np.repeat(np.arange(len(one.sessions)), one.sessions) for one in timings])
    order = np.lexsort((np.concatenate([timing.starts for timing in timings]), processes))
    logs, owners, processes = logs[order], owners[order], processes[order]
    networks = np.array([np.median(logs[owners == number]) for number in range(len(timings))])
    for _ in range(_SWEEPS):
        states = _around(logs - networks[owners], processes)
        counts = _calmest(states, owners)
        rest = logs - states
        networks = np.array([np.median(rest[(owners == number) & counts]) for number in range(len(timings))])
    levels = [float(np.quantile(states[processes == number], _LEVEL)) for number in np.unique(processes)]
    states -= np.quantile(states, _LEVEL)
    level_error = _mean_error(levels)
    for number, timing in enumerate(timings):
        own = owners == number
        timing.effects = [float(value) for value in np.exp(states[own])]
        timing.calm = [bool(value) for value in counts[own]]
        timing.level_error = level_error


def _around(rest: Seconds, processes: NDArray[np.int64]) -> Seconds:
    """For each of the blocks in order of time, (n,), the weighted mean of its neighbours in the same process."""
    total, weights = np.zeros_like(rest), np.zeros_like(rest)
    for step in range(1, min(_NEAR, len(rest) - 1) + 1):
        weight = math.exp(-step / _DECAY) * (processes[step:] == processes[:-step])
        total[step:] += weight * rest[:-step]
        total[:-step] += weight * rest[step:]
        weights[step:] += weight
        weights[:-step] += weight
    found: Seconds = np.divide(total, weights, out=np.zeros_like(rest), where=weights > 0)
    return found


def _calmest(states: Seconds, owners: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The blocks that count, (n,): the calmest of all, and of each network the calmest third at least."""
    counts: NDArray[np.bool_] = states <= np.quantile(states, _CALM)
    for number in np.unique(owners):
        own = np.flatnonzero(owners == number)
        counts[own[np.argsort(states[own], kind="stable")[: math.ceil(len(own) / _SHARE)]]] = True
    return counts


def _mean_error(values: Sequence[float]) -> float:
    """Half the 95% interval of the mean of few values (Student's t); 0 for one value, which does not tell."""
    if len(values) < 2:
        return 0.0
    return float(_STUDENT[min(len(values), len(_STUDENT) + 1) - 2] * np.std(values, ddof=1) / math.sqrt(len(values)))


def _joined(timings: Sequence[RawTiming]) -> RawTiming:
    """The blocks of all processes in order; of what was said about the device, the last process's, all its flags."""
    last = timings[-1]
    held = [timing.device_memory_bytes for timing in timings if timing.device_memory_bytes is not None]
    energy = [timing.energy_joules for timing in timings if timing.energy_joules is not None]
    ends = [str(timing.telemetry.get("ended_by", "")) for timing in timings]
    ended = next((end for end in ("budget", "rounds", "interval") if end in ends), "")
    return RawTiming(
        rounds=[block for timing in timings for block in timing.rounds],
        probes=[probe for timing in timings for probe in timing.probes],
        starts=[start for timing in timings for start in timing.starts],
        calm=[calm for timing in timings for calm in timing.calm],
        sessions=[count for timing in timings for count in timing.sessions],
        enqueues=[seconds for timing in timings for seconds in timing.enqueues],
        slowed=[slowed for timing in timings for slowed in timing.slowed],
        low_clock=[low for timing in timings for low in timing.low_clock],
        runs=min(timing.runs for timing in timings),
        warmup_runs=sum(timing.warmup_runs for timing in timings),
        flags=tuple(dict.fromkeys(flag for timing in timings for flag in timing.flags)),
        load=timings[0].load,
        mhz=timings[0].mhz,
        device_memory_bytes=max(held, default=None),
        energy_joules=float(np.median(energy)) if energy else None,
        telemetry={**last.telemetry, "ended_by": ended, "processes": len(timings)},
    )


def finish_timing(timing: RawTiming, protocol: TimingProtocol, *, probed: bool) -> None:
    """Leave the disturbed blocks out and say what speaks against the rest; see `merge` for `probed`."""
    _leave_out(timing, protocol, probed)
    if timing.effects:
        timing.telemetry = {
            **timing.telemetry,
            "state": spread(timing.effects),
            "level_error": round(timing.level_error, 4),
        }
    if timing.enqueues:
        timing.telemetry = {**timing.telemetry, "enqueue_seconds": float(np.median(timing.enqueues))}
    timing.flags += _flags(timing, protocol, str(timing.telemetry.get("ended_by", "")))


def _enough(timing: RawTiming, protocol: TimingProtocol) -> bool:
    """Whether the calm blocks are enough to leave the others out."""
    return sum(timing.calm) >= max(1, min(protocol.rounds, len(timing.rounds)) // 4)


def _leave_out(timing: RawTiming, protocol: TimingProtocol, probed: bool) -> None:
    """Drop the blocks that were disturbed, but never the calmest third; a flag says if hardly any was calm.

    Where nothing tells which are the calmest, all stay if hardly any was calm.
    """
    kept = _counted(timing, protocol)
    slowed = [effect for effect, counts in zip(timing.effects, kept, strict=False) if counts]
    if float(np.median(slowed)) > _SLOWED if slowed else not _enough(timing, protocol):
        timing.flags += ("disturbed",)
    if probed and not slowed:
        kept = list(timing.calm)
        for index in np.argsort(timing.probes, kind="stable")[: math.ceil(len(kept) / _SHARE)]:
            kept[index] = True
    made, ends = len(timing.rounds), np.cumsum(timing.sessions)
    starts = [0, *ends[:-1].tolist()]
    timing.sessions = [int(sum(kept[start:end])) for start, end in zip(starts, ends.tolist(), strict=True)]
    timing.rounds = calm_blocks(timing.rounds, kept)
    timing.effects = slowed
    timing.enqueues = [seconds for seconds, counts in zip(timing.enqueues, kept, strict=False) if counts]
    timing.slowed = [slowed for slowed, counts in zip(timing.slowed, kept, strict=False) if counts]
    timing.low_clock = [low for low, counts in zip(timing.low_clock, kept, strict=False) if counts]
    timing.discarded = made - len(timing.rounds)


def _flags(timing: RawTiming, protocol: TimingProtocol, ended: str) -> tuple[str, ...]:
    wide = summarise(timing.rounds, timing.sessions, timing.effects, timing.level_error).half_width > protocol.target
    found = {
        "throttled": any(timing.slowed),
        "clock_low": 2 * sum(timing.low_clock) > len(timing.low_clock),
        "few_runs": timing.runs < protocol.runs,
        "ci_not_met": wide,
        "timeout": ended == "budget",
        "enqueue_bound": enqueue_bound(timing.enqueues, timing.rounds),
    }
    return tuple(name for name, present in found.items() if present)
