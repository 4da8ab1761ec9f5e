"""The protocol on given numbers and scripted runners: nothing here depends on how fast the machine is."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest

from hwnas.errors import UsageError
from hwnas.profilers import Failure, RawTiming, TimingProtocol, summarise, time_networks
from hwnas.profilers.protocol import PROTOCOL_VERSION, median_interval, warm_up
from hwnas.profilers.telemetry import Usage, probe_seconds, watch

SHORT = TimingProtocol(rounds=6, max_rounds=8, runs=5, block_seconds=0.0)


class Scripted:
    """A runner that answers with given seconds, and notes who ran when."""

    def __init__(self, seconds, name="", journal=None, fail_after=None):
        self.seconds, self.name, self.journal, self.fail_after = seconds, name, journal, fail_after
        self.calls = 0

    def run(self, n):
        self.calls += 1
        if self.fail_after is not None and self.calls > self.fail_after:
            raise RuntimeError("out of memory\n  at somewhere")
        if self.journal is not None:
            self.journal.append((self.name, n))
        return np.array([self.seconds(self.calls) if callable(self.seconds) else self.seconds] * n)


def timed(runners, protocol, probe=lambda: 1e-4, **keywords):
    """`time_networks` with a processor that is never disturbed, unless a probe says so."""
    return time_networks(runners, protocol, probe=probe, **keywords)


@pytest.mark.parametrize("n", [6, 7, 11, 25, 64, 66, 110])
def test_interval_takes_the_largest_k_that_keeps_the_level(n):
    low, high = median_interval(np.random.default_rng(n).permutation(n).astype(float))
    k = int(low) + 1
    assert high == n - k
    assert sum(comb(n, i) for i in range(k)) / 2**n <= 0.025
    assert sum(comb(n, i) for i in range(k + 1)) / 2**n > 0.025


def test_interval_of_few_and_of_many():
    assert median_interval([3.0, 1.0, 2.0]) == (1.0, 3.0)
    assert median_interval([2.0]) == (2.0, 2.0)
    low, high = median_interval(np.arange(5000.0))
    assert 2400 < low < 2499 < 2500 < high < 2600
    with pytest.raises(ValueError, match="no samples"):
        median_interval([])


def test_interval_covers_the_median_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = [low <= 1.0 <= high for low, high in (median_interval(rng.lognormal(size=25)) for _ in range(2000))]
    assert 0.94 <= np.mean(covered) <= 0.99


def test_headline_is_the_median_of_round_medians():
    rounds = [np.array([1.0, 1.0, 9.0]), np.array([2.0, 2.0, 2.0]), np.array([4.0, 3.0, 3.0])]
    found = summarise(rounds)
    assert found.seconds == 2.0
    assert (found.low, found.high) == (1.0, 4.0)
    assert (found.n, found.rounds, found.median) == (9, 3, 2.0)
    assert found.round_spread == 1.0
    assert found.low <= found.p5 <= found.seconds <= found.p95 <= 9.0


def test_interval_widens_when_rounds_disagree():
    """Six calm rounds at different levels: the interval must span them, though each alone is narrow."""
    rounds = [np.full(50, 1.0 + 0.01 * i) for i in range(6)]
    found = summarise(rounds)
    assert found.low == pytest.approx(1.0)
    assert found.high == pytest.approx(1.05)
    assert found.half_width > 0.02


def test_warm_up_stops_when_settled_or_at_the_cap():
    settles = warm_up(Scripted(lambda call: 0.1 if call < 2 else 0.05), SHORT)
    assert settles == (15, True, 0.05)
    runs, settled, _ = warm_up(Scripted(lambda call: 0.1 * (1 + call % 2)), SHORT)
    assert not settled
    assert runs == 15  # the third window takes the time spent past two seconds


def test_rounds_are_interleaved_and_shuffled():
    journal = []
    runners = {name: Scripted(0.001, name, journal) for name in "abcdef"}
    found = timed(runners, SHORT, seed=3)
    blocks = [name for name, n in journal[12:] if n == SHORT.runs]
    orders = {tuple(blocks[i : i + 6]) for i in range(0, 36, 6)}
    assert all(set(order) == set("abcdef") for order in orders)
    assert len(orders) > 1
    assert all(len(timing.rounds) == 6 for timing in found.values())


def test_same_seed_same_order():
    first, second, other = [], [], []
    for journal, seed in ((first, 0), (second, 0), (other, 1)):
        timed({name: Scripted(0.001, name, journal) for name in "abcdef"}, SHORT, seed=seed)
    assert first == second != other


def test_a_restless_network_gives_all_more_rounds_and_gets_a_flag():
    seen = []
    runners = {"calm": Scripted(0.001), "restless": Scripted(lambda call: 0.001 * (1 + call % 3))}
    found = timed(runners, SHORT, notify=lambda done, total: seen.append((done, total)))
    assert len(found["calm"].rounds) == len(found["restless"].rounds) == 8
    assert "ci_not_met" in found["restless"].flags
    assert "ci_not_met" not in found["calm"].flags
    assert seen[-1] == (8, 8)
    assert [done for done, _ in seen] == list(range(1, 9))


def test_slow_network_gets_fewer_runs_and_a_flag():
    found = timed({"slow": Scripted(1.0)}, SHORT)["slow"]
    assert all(len(block) == 2 for block in found.rounds)
    assert "few_runs" in found.flags


@pytest.mark.parametrize("fail_after", [0, 9])
def test_failure_is_data_and_the_others_go_on(fail_after):
    found = timed({"bad": Scripted(0.001, fail_after=fail_after), "good": Scripted(0.001)}, SHORT)
    assert found["bad"] == Failure("run", "out of memory")
    assert isinstance(found["good"], RawTiming)
    assert len(found["good"].rounds) == 6


class Disturbed:
    """A machine whose other half of the time is slow by half, for the probe and the network alike; they take turns."""

    def __init__(self, slow_share):
        self.calls, self.slow_share = 0, slow_share

    def factor(self):
        return 1.5 if self.calls % 10 < 10 * self.slow_share else 1.0

    def probe(self):
        self.calls += 1
        return 1e-4 * self.factor()

    def run(self, n):
        return np.full(n, 0.001 * self.factor())


def test_disturbed_blocks_are_left_out():
    machine, protocol = Disturbed(0.4), TimingProtocol(rounds=20, max_rounds=20, runs=3, block_seconds=0.0)
    found = timed({"network": machine}, protocol, probe=machine.probe)["network"]
    assert found.discarded > 4
    assert len(found.rounds) == 20 - found.discarded
    assert summarise(found.rounds).seconds == pytest.approx(0.001)
    assert summarise(found.rounds).round_spread == 0
    assert "disturbed" not in found.flags


def test_with_too_few_calm_blocks_all_stay_and_a_flag_says_so():
    protocol = TimingProtocol(rounds=20, max_rounds=40, runs=3, block_seconds=0.0)
    calm = iter([1e-4] * 8)  # two probes a block: 4 calm blocks, and 5 are a quarter of the rounds
    found = timed({"network": Scripted(0.001)}, protocol, probe=lambda: next(calm, 2e-4))["network"]
    assert len(found.rounds) == 40
    assert found.discarded == 0
    assert "disturbed" in found.flags


def test_probe_takes_a_moment():
    assert 1e-5 < probe_seconds() < 1


def test_key_names_what_differs_from_the_defaults():
    assert TimingProtocol().key() == str(PROTOCOL_VERSION)
    assert SHORT.key() == f"{PROTOCOL_VERSION} rounds=6 max_rounds=8 runs=5 block_seconds=0.0"
    assert TimingProtocol.from_key(SHORT.key()) == SHORT


@pytest.mark.parametrize(
    "key", ["0", "", f"{PROTOCOL_VERSION} speed=3", f"{PROTOCOL_VERSION} runs=many", f"{PROTOCOL_VERSION} runs"]
)
def test_foreign_key_is_refused(key):
    with pytest.raises(UsageError, match="make a new setting"):
        TimingProtocol.from_key(key)


def test_share_of_others():
    usage = Usage(wall=1.0, busy=1.5, own=1.0, processors=2)
    assert usage.others_share == 0.25
    assert Usage(wall=0.1, busy=1.0).others_share is None
    assert Usage(wall=1.0, busy=None).others_share is None
    with watch(usage):
        sum(range(1000))
    assert usage.wall > 1.0
