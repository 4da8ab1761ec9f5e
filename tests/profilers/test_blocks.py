"""Blocks of several processes as one timing."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas.profilers import Failure, RawTiming, TimingProtocol, summarise
from hwnas.profilers.blocks import add_states, merge

PROTOCOL = TimingProtocol(rounds=8, max_rounds=8, processes=2)


def seen(seconds: list[float], probes: list[float], **changes: object) -> RawTiming:
    """What one process saw: one block of three equal runs for each of `seconds`."""
    return RawTiming(
        rounds=[np.full(3, value) for value in seconds],
        probes=probes,
        calm=[True] * len(seconds),
        sessions=[len(seconds)],
        runs=3,
        warmup_runs=10,
        **changes,  # type: ignore[arg-type]
    )


def test_the_interval_spans_the_processes() -> None:
    merged = merge([{"a": seen([1.0] * 4, [0.1] * 4)}, {"a": seen([1.1] * 4, [0.1] * 4)}], PROTOCOL, probed=True)["a"]
    assert isinstance(merged, RawTiming)
    assert merged.sessions == [4, 4]
    assert merged.warmup_runs == 20
    found = summarise(merged.rounds, merged.sessions)
    assert (found.low, found.seconds, found.high) == pytest.approx((1.0, 1.05, 1.1))
    assert merged.flags == ("ci_not_met",)
    alone = summarise([np.full(3, 1.0)] * 4)
    assert (alone.low, alone.high) == (1.0, 1.0)


def test_calm_is_judged_over_all_processes() -> None:
    """The second process ran on a slow processor throughout: by itself it would look calm."""
    slow = seen([1.4] * 4, [0.14] * 4)
    merged = merge([{"a": seen([1.0] * 4, [0.1] * 4)}, {"a": slow}], PROTOCOL, probed=True)["a"]
    assert isinstance(merged, RawTiming)
    assert merged.sessions == [4, 0]
    assert merged.discarded == 4
    assert summarise(merged.rounds, merged.sessions).seconds == 1.0
    assert merged.flags == ()


def test_a_failure_in_one_process_is_the_result() -> None:
    failure = Failure("run", "refused")
    merged = merge([{"a": seen([1.0], [0.1])}, {"a": failure}], PROTOCOL, probed=True)
    assert merged == {"a": failure}


def test_what_ended_the_rounds_is_the_worst_of_all() -> None:
    parts = [
        {"a": seen([1.0] * 4, [0.1] * 4, telemetry={"ended_by": "budget"}, flags=("unsettled",))},
        {"a": seen([1.0] * 4, [0.1] * 4, telemetry={"ended_by": "interval"}, flags=("unsettled",))},
    ]
    merged = merge(parts, PROTOCOL, probed=True)["a"]
    assert isinstance(merged, RawTiming)
    assert merged.telemetry["ended_by"] == "budget"
    assert merged.flags == ("unsettled", "timeout")


def test_each_process_follows_a_share() -> None:
    share = TimingProtocol(rounds=20, max_rounds=40, processes=4, budget_seconds=100.0).share()
    assert (share.rounds, share.max_rounds, share.processes, share.budget_seconds) == (5, 10, 1, 25.0)


def turns(truth: list[float], states: list[float], rounds: int, seed: int = 0) -> dict[str, RawTiming]:
    """Networks of the given seconds in random turns; `states` says how slow the machine was at each block in time."""
    rng = np.random.default_rng(seed)
    timings = {str(number): seen([], []) for number in range(len(truth))}
    for turn in range(rounds):
        for place, index in enumerate(rng.permutation(len(truth))):
            timing, at = timings[str(index)], turn * len(truth) + place
            timing.rounds.append(np.full(3, truth[index] * states[at]))
            timing.starts.append(float(at))
            timing.probes.append(0.1)
            timing.calm.append(True)
    for timing in timings.values():
        timing.sessions = [rounds]
    return timings


def test_what_slows_the_machine_is_taken_off() -> None:
    """Five networks of 1 to 5 s; for stretches of 12 blocks, which no round shares, all takes half as long again."""
    truth, rounds = [1.0, 2.0, 3.0, 4.0, 5.0], 28
    timings = turns(truth, [1.5 if at // 12 % 3 == 1 else 1.0 for at in range(5 * rounds)], rounds)
    raw = [float(np.median(np.concatenate(timing.rounds))) for timing in timings.values()]
    merged = merge([timings], PROTOCOL, probed=True)
    for seconds, unchanged, timing in zip(truth, raw, merged.values(), strict=True):
        assert isinstance(timing, RawTiming)
        found = summarise(timing.rounds, timing.sessions, timing.effects, timing.level_error)
        assert found.seconds == pytest.approx(seconds, rel=0.02)
        assert unchanged == pytest.approx(seconds), "the stretches are a minority"
        assert "disturbed" not in timing.flags
        assert timing.telemetry["state"]["max"] <= 1.5 + 1e-9
        assert len(timing.rounds) + timing.discarded == rounds


def test_a_mostly_slow_machine_still_shows_what_calm_is() -> None:
    """Four blocks in five are slow: medians say 1.5 times too much, and a flag says that much was taken off."""
    truth, rounds = [1.0, 2.0, 4.0, 8.0], 40
    timings = turns(truth, [1.0 if at // 8 % 5 == 0 else 1.5 for at in range(4 * rounds)], rounds)
    merged = merge([timings], PROTOCOL, probed=True)
    for seconds, timing in zip(truth, merged.values(), strict=True):
        assert isinstance(timing, RawTiming)
        assert summarise(timing.rounds, timing.sessions, timing.effects).seconds == pytest.approx(seconds, rel=0.05)
        assert summarise(timing.rounds, timing.sessions).seconds > 1.4 * seconds, "what was seen is not changed"
        assert "disturbed" in timing.flags


def test_one_network_alone_does_not_change_the_state() -> None:
    """A network that is slow in two of eight blocks keeps these times: its neighbours were not slow."""
    timings = turns([1.0] * 6, [1.0] * 48, 8)
    timings["2"].rounds[3] = timings["2"].rounds[6] = np.full(3, 1.4)
    add_states(list(timings.values()))
    assert all(effect < 1.15 for effect in timings["2"].effects)
    assert summarise(timings["2"].rounds, (), timings["2"].effects).p95 == pytest.approx(1.4)


def test_what_calm_is_has_an_error_of_its_own() -> None:
    """Two processes, the second on a machine 10% slower: calm is that of the first, with the doubt that two leave."""
    parts = [turns([1.0, 2.0, 3.0, 4.0], [level] * 32, 8) for level in (1.0, 1.1)]
    merged = merge(parts, PROTOCOL, probed=True)
    assert all(isinstance(timing, RawTiming) and timing.sessions[0] == 8 for timing in merged.values())
    (error,) = {round(timing.level_error, 6) for timing in merged.values() if isinstance(timing, RawTiming)}
    assert error == pytest.approx(12.706 * np.log(1.1) / 2, rel=1e-4)
    assert all(
        isinstance(timing, RawTiming) and timing.telemetry["level_error"] == round(error, 4)
        for timing in merged.values()
    )


def test_few_networks_have_no_common_state() -> None:
    timings = turns([1.0, 2.0, 3.0], [1.0] * 24, 8)
    add_states(list(timings.values()))
    assert all(timing.effects == [] for timing in timings.values())


def test_the_calmest_third_always_stays() -> None:
    """One calm block of eight: the three around which the probe was shortest count, and a flag says how it was."""
    timing = seen([1.0, 1.1, 1.2, 1.3, 2.0, 2.0, 2.0, 2.0], [0.1, 0.2, 0.2, 0.25, 0.3, 0.3, 0.3, 0.3])
    merged = merge([{"a": timing}], PROTOCOL, probed=True)["a"]
    assert isinstance(merged, RawTiming)
    assert (len(merged.rounds), merged.discarded) == (3, 5)
    assert "disturbed" in merged.flags
