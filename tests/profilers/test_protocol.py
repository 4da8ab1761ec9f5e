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


def test_with_too_few_calm_blocks_the_calmest_third_stays_and_a_flag_says_so():
    protocol = TimingProtocol(rounds=20, max_rounds=40, runs=3, block_seconds=0.0)
    calm = iter([1e-4] * 8)  # two probes a block: 4 calm blocks, and 5 are a quarter of the rounds
    found = timed({"network": Scripted(0.001)}, protocol, probe=lambda: next(calm, 2e-4))["network"]
    assert len(found.rounds) == 14
    assert found.discarded == 26
    assert "disturbed" in found.flags


@pytest.mark.parametrize(("runs", "known"), [(661, False), (662, True)])
def test_p99_needs_662_runs(runs, known):
    """662 is MLPerf's smallest number of queries for a 99th percentile."""
    seconds = np.random.default_rng(0).lognormal(size=runs)
    found = summarise(np.array_split(seconds, 10))
    assert (found.p99 is not None) is known
    if known:
        assert found.p99 == np.quantile(seconds, 0.99)


class Clock:
    """Seconds that pass by themselves: so many with every look."""

    def __init__(self, step):
        self.step, self.now = step, 0.0

    def __call__(self):
        self.now += self.step
        return self.now


@pytest.mark.parametrize(
    ("seconds", "budget", "rounds", "rule"),
    [
        (0.001, 900.0, 6, "interval"),
        (lambda call: 0.001 * (1 + call % 3), 900.0, 8, "rounds"),
        (0.001, 4.5, 5, "budget"),  # the clock moves by 1 s a round
        (0.001, 0.0, 3, "budget"),  # never fewer than three
    ],
)
def test_what_ends_the_rounds_is_recorded(seconds, budget, rounds, rule):
    protocol = TimingProtocol(rounds=6, max_rounds=8, runs=5, block_seconds=0.0, budget_seconds=budget)
    seen = []
    found = timed(
        {"a": Scripted(seconds)}, protocol, clock=Clock(1.0), notify=lambda done, total: seen.append((done, total))
    )["a"]
    assert len(found.rounds) == rounds
    assert found.telemetry["ended_by"] == rule
    assert ("timeout" in found.flags) == (rule == "budget")
    assert seen[-1] == (rounds, rounds)


class Watched:
    """A monitor of a GPU on given clocks; every look at its counter finds 30 J more."""

    is_gpu = True

    def __init__(self, calm):
        self.is_calm, self.blocks, self.joules = calm, 0, 0.0

    def begin(self, key):
        pass

    def timed(self, key):
        return watch(Usage())

    def end(self, key):
        self.blocks += 1

    def slowness(self, key):
        return [1.0 if calm else 2.0 for calm in self.calm(key)]

    def calm(self, key):
        return [self.is_calm(index) for index in range(self.blocks)]

    def slowed(self, key):
        return [not calm for calm in self.calm(key)]

    def low_clock(self, key):
        return [False] * self.blocks

    def flags(self, key):
        return ()

    def summary(self, key):
        return {"sm_mhz": 1900}

    def energy_joules(self):
        self.joules += 30
        return self.joules


class OnDevice(Scripted):
    """A runner with what runners on a GPU have besides; notes flushes in the journal."""

    def flush(self):
        self.journal.append("flush")

    def device_memory(self):
        return 4096


def test_on_a_gpu_runs_are_flushed_and_energy_is_counted():
    journal = []
    found = timed({"a": OnDevice(0.01, "a", journal)}, SHORT, monitor=Watched(lambda index: index != 2))["a"]
    one_round = [("a", 1), *["flush", ("a", 1)] * 5]
    assert journal[2 : 2 + len(one_round)] == one_round
    assert journal[-1] == ("a", 100)  # a second of runs in a row, not flushed
    assert found.energy_joules == 0.3
    assert found.device_memory_bytes == 4096
    assert (found.discarded, len(found.rounds), found.flags) == (1, 5, ())
    assert found.telemetry == {"sm_mhz": 1900, "ended_by": "interval"}
    assert found.probes == [1.0, 1.0, 2.0, 1.0, 1.0, 1.0]


def test_a_gpu_that_is_always_slowed_is_flagged():
    found = timed({"a": OnDevice(0.01, "a", [])}, SHORT, monitor=Watched(lambda index: False))["a"]
    assert len(found.rounds) == 8
    assert set(found.flags) == {"disturbed", "throttled"}


def test_whoever_listens_hears_of_each_network_and_failure():
    at, failed, seen = [], [], []
    runners = {"bad": Scripted(0.001, fail_after=4), "good": Scripted(0.001)}
    timed(
        runners, SHORT, at=at.append, failed=lambda *call: failed.append(call), observe=lambda *call: seen.append(call)
    )
    assert at[:2] == ["bad", "good"]
    assert at.count("good") == 1 + 6
    assert failed == [("bad", Failure("run", "out of memory"))]
    assert seen[-1] == ("good", 0.001)


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
