"""Limits: how they are written, how far something is beyond them, and how a searcher is steered within them."""

from __future__ import annotations

from typing import Any

import pytest

from hwnas.errors import UsageError
from hwnas.search import steering
from hwnas.search.constraints import Limit, excess, limits_of, parse_increase, parse_limit, show, show_increase
from hwnas.search.pareto import non_dominated
from hwnas.search.searcher import Trial, get_searcher
from hwnas.search.steering import Steered
from hwnas.spaces import Architecture, Dimensions, get_space
from hwnas.tasks import worst_error

SPACE = get_space("small", Dimensions(layers=4, heads=4, units=16, head_size=2, hidden_size=8))


@pytest.mark.parametrize(
    ("cost", "text", "limit"),
    [
        ("latency", "5ms", Limit("latency", 0.005)),
        ("latency", "5", Limit("latency", 0.005)),
        ("latency", "0.25 s", Limit("latency", 0.25)),
        ("latency", "cpu=800us", Limit("latency", 0.0008, "cpu")),
        ("latency", "cpu@Xeon=1e1ms", Limit("latency", 0.01, "cpu@Xeon")),
        ("memory", "200MB", Limit("memory", 200e6)),
        ("memory", "1.5GiB", Limit("memory", 1.5 * 2**30)),
        ("parameters", "10M", Limit("parameters", 10e6)),
        ("parameters", "12345", Limit("parameters", 12345.0)),
    ],
)
def test_limits_as_they_are_written(cost: str, text: str, limit: Limit) -> None:
    found = parse_limit(cost, text)
    assert (found.cost, found.target) == (limit.cost, limit.target)
    assert found.most == pytest.approx(limit.most)


@pytest.mark.parametrize(
    ("cost", "text"),
    [
        ("latency", "fast"), ("latency", "5 minutes"), ("latency", "-5ms"), ("latency", "0ms"), ("latency", "nan"),
        ("latency", "=5ms"),
        ("memory", "200"), ("memory", "200mb"), ("memory", ""), ("parameters", "10X"), ("parameters", "1e999"),
    ],
)  # fmt: skip
def test_limits_that_cannot_be_read(cost: str, text: str) -> None:
    with pytest.raises(UsageError, match=f"--max-{cost}"):
        parse_limit(cost, text)


def test_increases_of_the_error() -> None:
    assert parse_increase("1%") == parse_increase("0.01") == 0.01
    assert parse_increase("0") == 0.0
    for text in ("1", "150%", "-1%", "a", "1 point"):
        with pytest.raises(UsageError, match=r"such as 1% or 0\.01"):
            parse_increase(text)


def test_what_is_shown_can_be_given_as_a_limit() -> None:
    for cost, value in (("latency", 0.00351239), ("memory", 123456789.0), ("parameters", 6543219.0)):
        assert parse_limit(cost, show(cost, value, up=True)).most >= value
        assert show(cost, value, up=True) != ""
    assert show("latency", 0.0035) == "3.5 ms"
    assert show("memory", 2e8) == "200 MB"
    assert show("parameters", 10_500_000) == "10.5M"
    assert parse_increase(show_increase(0.0312345)) >= 0.0312345
    assert show_increase(0.01) == "1%"


def test_a_limit_of_the_device_goes_before_one_for_all() -> None:
    limits = [Limit("latency", 0.01), Limit("latency", 0.002, "a10g"), Limit("memory", 1e8)]
    assert limits_of(limits, ("a10g",)) == [limits[1], limits[2]]
    assert limits_of(limits, ("cpu",)) == [limits[0], limits[2]]
    with pytest.raises(UsageError, match="expected one limit on memory for all"):
        limits_of([*limits, Limit("memory", 2e8)], ("cpu",))
    with pytest.raises(UsageError, match="expected one limit on latency for a10g"):
        limits_of([*limits, Limit("latency", 0.003, "a10g")], ("a10g",))


def test_excess_by_hand() -> None:
    limits = [Limit("latency", 0.010), Limit("memory", 100.0)]
    assert excess(limits, {"latency": 0.010, "memory": 100.0}) == 0.0
    assert excess(limits, {"latency": 0.015, "memory": 50.0}) == pytest.approx(0.5)
    assert excess(limits, {"latency": 0.015, "memory": 120.0}) == pytest.approx(0.7)


def cost(arch: Architecture) -> float:
    return float(sum(arch.head_counts) * 3 + sum(arch.unit_counts))


def error(arch: Architecture) -> float:
    return 1.0 / (1 + cost(arch)) + (sum(arch.head_counts) * 7) % 11 / 50


class Script:
    """A searcher that proposes what it was given, and remembers what it was told."""

    def __init__(self, archs: list[Architecture]) -> None:
        self.archs, self.told, self.asked = archs, {}, 0  # type: ignore[var-annotated]

    def ask(self) -> Trial | None:
        if self.asked == len(self.archs):
            return None
        self.asked += 1
        return Trial(self.asked - 1, self.archs[self.asked - 1])

    def tell(self, number: int, values: Any) -> None:
        self.told[number] = values


def small(layers: int, heads: int, units: int) -> Architecture:
    return SPACE.decode([layers, heads, units])


def asked_of(searcher: Steered, most: int) -> list[Architecture]:
    """What a searcher asks for, up to a number of networks, told the error of each."""
    asked: list[Architecture] = []
    while len(asked) < most and (trial := searcher.ask()) is not None:
        asked.append(trial.architecture)
        searcher.tell(trial.number, (error(trial.architecture), 0.0))
    return asked


def test_what_a_searcher_is_told_by_hand() -> None:
    """Costs are 3 per head and 1 per unit: 112 for the largest network; the limit is 20."""
    largest, within, beyond, poor = SPACE.largest(), small(1, 2, 8), small(2, 4, 16), small(1, 1, 1)
    script = Script([largest, beyond, within, poor])
    searcher = Steered(
        script, SPACE, lambda arch: (cost(arch), 7.0), excess=lambda arch: max(0.0, cost(arch) / 20 - 1),
        max_error_increase=0.1, always={largest},
    )  # fmt: skip
    first = searcher.ask()
    assert first == Trial(0, largest)
    searcher.tell(0, (0.2, 112.0))
    second = searcher.ask()
    assert second == Trial(1, within), "the one beyond the limit is passed over"
    searcher.tell(1, (0.25, 14.0))
    third = searcher.ask()
    assert third == Trial(2, poor)
    searcher.tell(2, (0.8, 4.0))
    assert searcher.skipped == 1
    assert searcher.found == [(largest, 0.2), (within, 0.25), (poor, 0.8)]
    assert script.told[2] == (0.25, 14.0, 7.0)
    share = 1.8 / 2.8  # it costs 56, 1.8 times 20 too much
    assert script.told[1] == pytest.approx((1 + share, 112 * (1 + share), 7 * (1 + share)))
    share = 0.5 / 1.5  # its error is 0.8 - 0.2 - 0.1 above what is allowed
    assert script.told[3] == pytest.approx((1 + share, 112 * (1 + share), 7 * (1 + share)))
    told = [script.told[number] for number in range(4)]
    assert non_dominated(told).tolist() == [False, False, True, False], "what is within the limits dominates the rest"
    assert searcher.ask() is None, "the searcher has no more"


def test_an_error_above_1_within_the_limits_dominates_what_is_beyond_them() -> None:
    """A correlation can be negative, its error up to 2; the network beyond the limit is told first."""
    script = Script([SPACE.largest(), small(2, 4, 16), small(1, 2, 8)])
    searcher = Steered(
        script, SPACE, lambda arch: (cost(arch),), excess=lambda arch: max(0.0, cost(arch) / 50 - 1),
        always={SPACE.largest()}, worst=worst_error("pearson"),
    )  # fmt: skip
    for error in (0.2, 1.4):
        trial = searcher.ask()
        assert trial is not None
        searcher.tell(trial.number, (error, 0.0))
    assert non_dominated([script.told[1], script.told[2]]).tolist() == [False, True]
    assert [worst_error(name) for name in ("accuracy", "f1", "matthews", "spearman")] == [1, 1, 2, 2]


def test_a_failure_is_passed_on() -> None:
    script = Script([SPACE.largest(), small(1, 1, 1)])
    searcher = Steered(script, SPACE, lambda arch: (cost(arch), cost(arch)))
    searcher.ask()
    searcher.tell(0, None)
    searcher.ask()
    searcher.tell(1, (float("nan"), 1.0))
    assert script.told == {0: None, 1: None}
    assert searcher.found == []


@pytest.mark.parametrize("name", ["random_search", "regularized_evolution"])
def test_evaluations_are_spent_within_the_limits(name: str) -> None:
    """Of 256 networks 87 cost 24 or less. Every proposal but the first is one of them, and each comes once."""
    most = 24.0

    def run() -> tuple[list[Architecture], int]:
        inner = get_searcher(name, SPACE, objectives=2, evaluations=25, seed=0)
        searcher = Steered(
            inner, SPACE, lambda arch: (cost(arch),), excess=lambda arch: max(0.0, cost(arch) / most - 1),
            always={SPACE.largest()},
        )  # fmt: skip
        return asked_of(searcher, 25), searcher.skipped

    asked, skipped = run()
    assert asked[0] == SPACE.largest()
    assert all(cost(arch) <= most for arch in asked[1:])
    assert len(set(asked)) == 25
    assert skipped > 0
    assert (asked, skipped) == run(), "the same seed, the same proposals"


def test_the_search_ends_where_nothing_else_meets_the_limits() -> None:
    """Three networks cost 6 or less: one layer of one head, and 1 to 3 units."""
    able = [small(1, 1, units) for units in (1, 2, 3)]
    inner = get_searcher("random_search", SPACE, objectives=2, evaluations=25, seed=0)
    searcher = Steered(
        inner, SPACE, lambda arch: (cost(arch),), excess=lambda arch: max(0.0, cost(arch) / 6 - 1),
        always={SPACE.largest()},
    )  # fmt: skip
    asked = asked_of(searcher, SPACE.size)
    assert searcher.ask() is None
    assert set(asked) == {SPACE.largest(), *able}


@pytest.mark.parametrize("name", ["random_search", "local_search"])
def test_few_networks_within_the_limits_are_found_in_a_large_space(name: str) -> None:
    """Of 110,592 networks 114 cost 24 or less; the largest costs 9,432."""
    space = get_space("small", Dimensions(layers=6, heads=12, units=1536, head_size=2, hidden_size=24))

    inner = get_searcher(name, space, objectives=2, evaluations=100, seed=0)
    searcher = Steered(
        inner, space, lambda arch: (cost(arch),), excess=lambda arch: max(0.0, cost(arch) / 24 - 1),
        always={space.largest()},
    )  # fmt: skip
    asked = asked_of(searcher, 100)
    assert len(set(asked)) == 100
    assert all(cost(arch) <= 24 for arch in asked[1:])


def test_an_enumeration_finds_all_within_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 256 networks 87 cost 24 or less; between them come long runs of others."""
    monkeypatch.setattr(steering, "_FEW", 0)
    searcher = Steered(
        get_searcher("exhaustive", SPACE, objectives=2, evaluations=256, seed=0), SPACE, lambda arch: (cost(arch),),
        excess=lambda arch: max(0.0, cost(arch) / 24 - 1), patient=True,
    )  # fmt: skip
    asked = asked_of(searcher, SPACE.size)
    assert searcher.ask() is None
    assert len(asked) == len(set(asked)) == 87
    assert not searcher.gave_up


def test_pauses_come_before_the_proposal_they_name() -> None:
    seen: list[int] = []
    searcher = Steered(
        Script([small(1, 1, units) for units in range(1, 5)]), SPACE, lambda arch: (cost(arch),),
        pauses={2: lambda: seen.append(len(searcher.found))},
    )  # fmt: skip
    for number in range(4):
        searcher.ask()
        searcher.tell(number, (0.5, 0.0))
    assert seen == [2]
