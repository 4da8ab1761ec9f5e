"""The six strategies of Klein et al. 2024 and how random sub-networks are drawn, against cases worked by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas.errors import UsageError
from hwnas.models import get_family
from hwnas.spaces import Architecture, Dimensions, Space, get_space
from hwnas.training.options import TrainOptions
from hwnas.training.sampling import linear_cost, make_sampler, near_front, read_front, tilt
from hwnas.training.strategy import Draws, get_strategy, strategy_names

LARGEST, SMALLEST = Architecture((4, 4), (20, 20)), Architecture((1, 0), (1, 0))
LARGEST_OF_TINY = Architecture((4, 4, 4), (20, 20, 20))


class Ends:
    """Draws that are told apart: the n-th sample keeps 2 heads and n units."""

    def __init__(self) -> None:
        self.drawn = 0

    def largest(self) -> Architecture:
        return LARGEST

    def smallest(self) -> Architecture:
        return SMALLEST

    def sample(self, _: np.random.Generator) -> Architecture:
        self.drawn += 1
        return sampled(self.drawn)


def sampled(number: int) -> Architecture:
    return Architecture((2, 2), (number, number))


def drawn(name: str, *, seed: int = 0, k: int = 2, **keywords: float) -> list[Architecture]:
    return get_strategy(name).sub_networks(Ends(), np.random.default_rng(seed), k, **keywords)


def test_the_papers_strategies_are_there() -> None:
    assert strategy_names() == ("standard", "random", "random-linear", "sandwich", "kd", "full")
    assert {name for name in strategy_names() if get_strategy(name).distil} == {"kd", "full"}
    assert all(get_strategy(name).name == name for name in strategy_names())


@pytest.mark.parametrize("k", [0, 1, 3])
def test_what_each_strategy_trains(k: int) -> None:
    random = [sampled(number) for number in range(1, k + 1)]
    assert drawn("standard", k=k) == [LARGEST]
    assert drawn("random", k=k) == [sampled(1)]
    assert drawn("sandwich", k=k) == [LARGEST, *random, SMALLEST]
    assert drawn("kd", k=k) == [LARGEST, *random]
    assert drawn("full", k=k) == [LARGEST, *random, SMALLEST]


@pytest.mark.parametrize(("progress", "share", "expected"), [(0, 1, 0), (0.25, 1, 0.25), (1, 1, 1), (0.5, 0.5, 0.25)])
def test_random_linear_draws_more_and_more(progress: float, share: float, expected: float) -> None:
    steps = [drawn("random-linear", seed=seed, progress=progress, random_share=share) for seed in range(1000)]
    assert all(step in ([LARGEST], [sampled(1)]) for step in steps)
    assert np.mean([step == [sampled(1)] for step in steps]) == pytest.approx(expected, abs=0.04 if share else 0)


def test_the_share_of_random_draws() -> None:
    steps = [drawn("random", seed=seed, random_share=0.3) for seed in range(1000)]
    assert np.mean([step == [sampled(1)] for step in steps]) == pytest.approx(0.3, abs=0.04)


def test_progress_is_zero_in_the_first_step_and_one_in_the_last(
    tiny: Callable[..., Any], toy: Callable[..., float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hwnas.training.random_linear import RandomLinear

    seen: list[float] = []
    own = RandomLinear.sub_networks

    def spy(self: RandomLinear, draws: Draws, *positional: Any, progress: float, **keywords: Any) -> Any:
        seen.append(progress)
        return own(self, draws, *positional, progress=progress, **keywords)

    monkeypatch.setattr(RandomLinear, "sub_networks", spy)
    toy(tiny("bert"), tmp_path, strategy="random-linear", max_steps=5)
    assert seen == [0, 0.25, 0.5, 0.75, 1]


@pytest.fixture(scope="module")
def model(tiny: Callable[..., Any]) -> Any:
    return tiny("bert")


@pytest.fixture(scope="module")
def space(model: Any) -> Space:
    return get_space("small", get_family(model.config).dimensions(model.config))


def test_the_cost_of_the_linear_maps(model: Any, space: Space) -> None:
    cost = linear_cost(model)
    assert cost(space.largest()) == pytest.approx(1)
    # of a layer: attention 4 x 24 x 24 = 2304 for 4 heads, feed-forward 2 x 24 x 20 = 960 for 20 units
    assert cost(Architecture((1, 0, 4), (5, 20, 0))) == pytest.approx((576 + 240 + 960 + 2304) / (3 * 3264))


def test_grouped_queries_and_gates_have_their_cost(tiny: Callable[..., Any]) -> None:
    # a group: 2 queries and their columns of the output 4 x 4 x 24, key and value 2 x 4 x 24; a unit: 3 x 24
    cost = linear_cost(tiny("qwen2"))
    assert cost(Architecture((1, 0, 0), (0, 1, 0))) == pytest.approx((576 + 72) / (3 * (4 * 576 + 20 * 72)))


def test_tilting_by_hand() -> None:
    np.testing.assert_allclose(tilt(np.array([0.2, 0.6]), 0.3), [0.75, 0.25], atol=1e-9)
    np.testing.assert_allclose(tilt(np.array([0.5, 0.5]), 0.1), [0.5, 0.5])
    # p, q, r proportional to 1, w, w^2; mean 0.5 of 0, 0.5, 1 is even
    np.testing.assert_allclose(tilt(np.array([0.0, 0.5, 1.0]), 0.5), [1 / 3] * 3, atol=1e-9)
    np.testing.assert_allclose(tilt(np.array([0.1, 0.9]), 0.0), [1, 0], atol=1e-9)


@pytest.mark.parametrize(
    ("name", "strategy", "targets"),
    [
        ("small", "full", (0.1, 0.3, 0.85)),
        ("layer", "kd", (0.4, 0.95)),
        ("medium", "sandwich", (0.12, 0.5, 0.9)),
        ("large", "full", (0.1, 0.95)),
    ],
)
def test_a_budget_is_met_in_the_mean(model: Any, name: str, strategy: str, targets: tuple[float, ...]) -> None:
    """Budgets for draws that cost so much in the mean, among them some that ordinary draws never come near."""
    cost, space = linear_cost(model), get_space(name, get_family(model.config).dimensions(model.config))
    fixed = 1 + (cost(space.smallest()) if strategy != "kd" else 0)
    for target in targets:
        budget = fixed + 2 * target
        sampler = make_sampler(model, space, TrainOptions(strategy=strategy, k=2, budget=budget))
        steps = [get_strategy(strategy).sub_networks(sampler, np.random.default_rng(step), 2) for step in range(25)]
        assert np.mean([sum(map(cost, step)) for step in steps]) == pytest.approx(budget, abs=0.12), target
        assert all(arch in space for step in steps for arch in step)
        assert len({arch for step in steps for arch in step[1:3]}) > 3, "still random"
        assert get_strategy(strategy).sub_networks(sampler, np.random.default_rng(7), 2) == steps[7]


def test_a_budget_out_of_reach_says_what_is_in_reach(model: Any, space: Space) -> None:
    match = r"--budget {}: in the space small a step of full with --k 2 costs from 1\.1\d\d to 3\.0\d\d passes"
    for budget in (1.0, 3.2):
        with pytest.raises(UsageError, match=match.format(f"{budget:g}")):
            make_sampler(model, space, TrainOptions(budget=budget))
    with pytest.raises(UsageError) as caught:
        make_sampler(model, space, TrainOptions(budget=1.0))
    lowest, highest = (float(word) for word in str(caught.value).split() if word[0] in "13" and word[1:2] == ".")
    smallest = make_sampler(model, space, TrainOptions(budget=lowest)).sample(np.random.default_rng(0))
    assert linear_cost(model)(smallest) == pytest.approx(linear_cost(model)(space.smallest()), abs=0.01)
    assert make_sampler(model, space, TrainOptions(budget=highest)).sample(np.random.default_rng(0)) == LARGEST_OF_TINY


@pytest.mark.parametrize("sampling", ["space", "encoding", "cost"])
def test_distributions_of_draws(model: Any, sampling: str) -> None:
    layer = get_space("layer", get_family(model.config).dimensions(model.config))
    sampler, rng = make_sampler(model, layer, TrainOptions(sampling=sampling)), np.random.default_rng(0)
    depths = [len(sampler.sample(rng).kept_layers) for _ in range(600)]
    shares = np.bincount(depths, minlength=4)[1:] / 600
    expected = {
        "space": [1 / 3, 1 / 3, 1 / 3],  # the count first
        "encoding": [4 / 8, 3 / 8, 1 / 8],  # every layer by a coin; none counts as one
        "cost": [1 / 4, 1 / 2, 1 / 4],  # nearest to an even draw from 1/3 to 1
    }[sampling]
    np.testing.assert_allclose(shares, expected, atol=0.06)


def test_draws_even_by_cost_reach_both_ends(model: Any) -> None:
    """Ordinary draws of MEDIUM crowd around half the cost."""
    cost, medium = linear_cost(model), get_space("medium", get_family(model.config).dimensions(model.config))
    sampler, rng = make_sampler(model, medium, TrainOptions(sampling="cost")), np.random.default_rng(0)
    costs = [cost(sampler.sample(rng)) for _ in range(300)]
    np.testing.assert_allclose(np.quantile(costs, (0.1, 0.5, 0.9)), (0.18, 0.54, 0.91), atol=0.06)


def test_draws_near_a_front(space: Space) -> None:
    member = space.decode([2, 2, 10])
    rng = np.random.default_rng(0)
    near = near_front(space.sample, space, [member], 1.0)
    moves = np.array([np.subtract(space.encode(near(rng)), (2, 2, 10)) for _ in range(400)])
    assert (moves != 0).any(axis=1).all(), "every draw is a mutation"
    assert np.abs(moves).max(axis=0)[2] <= 9
    assert np.abs(moves[:, 2]).mean() < 2.5, "and near"
    assert (moves != 0).any(axis=0).all(), "every entry moves"
    half = near_front(lambda _: space.largest(), space, [member], 0.5)
    assert np.mean([half(rng) == space.largest() for _ in range(400)]) == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize("name", ["layer", "large"])
def test_a_mutation_is_never_none(name: str) -> None:
    """Also where entries are zeros and ones; and of LARGE it changes how much a layer keeps."""
    searched = get_space(name, Dimensions(layers=3, heads=8, units=40, head_size=2, hidden_size=16), align=(2, 1))
    member, rng = searched.sample(np.random.default_rng(5)), np.random.default_rng(0)
    near = near_front(searched.sample, searched, [member], 1.0)
    drawn = [near(rng) for _ in range(400)]
    assert all(arch != member and arch in searched for arch in drawn)
    if name == "large":
        counts = np.array([(*arch.head_counts, *arch.unit_counts) for arch in drawn])
        moves = counts - np.array((*member.head_counts, *member.unit_counts))
        assert (moves != 0).any(axis=1).all()
        assert (moves != 0).any(axis=0).all(), "heads and units of every layer"
        assert np.abs(moves[:, :3]).max() <= 8
        assert 0 < np.abs(moves[:, 3:]).mean() < 4, "a tenth of the units at a time"


def test_a_budget_counts_the_steps_of_the_whole_network_alone(model: Any, space: Space) -> None:
    """Half of the steps cost 1; the others have to cost what is missing to the mean."""
    cost = linear_cost(model)
    sampler = make_sampler(model, space, TrainOptions(budget=1.5, whole_first=0.5))
    draws = [cost(sampler.sample(np.random.default_rng(seed))) for seed in range(150)]
    wanted = (2 * 1.5 - 1 - 1 - cost(space.smallest())) / 2
    assert np.mean(draws) == pytest.approx(wanted, abs=0.05)
    with pytest.raises(UsageError, match="no effect with --whole-first 1"):
        make_sampler(model, space, TrainOptions(budget=1.5, whole_first=1.0))
    with pytest.raises(UsageError, match=r"costs from 1\.0\d\d to 2\.0\d\d passes"):
        make_sampler(model, space, TrainOptions(budget=2.5, whole_first=0.5))


def test_numbers_of_heads_and_units_are_those_of_one_order(tmp_path: Path) -> None:
    """Those of a super-network that was reordered say nothing of one that was not, or in another way."""
    large = get_space("large", Dimensions(layers=2, heads=3, units=4, head_size=2, hidden_size=6))
    named, counted = Architecture(((0, 2), 1), ((1, 3), 2)), Architecture((2, 1), (2, 2))
    file = tmp_path / "front.json"

    def written(member: Architecture, **about: Any) -> Path:
        file.write_text(json.dumps({"about": about, "members": [{"architecture": member.to_json()}]}))
        return file

    assert read_front(written(named, reordered=False), large) == [named]
    assert read_front(written(counted, reordered=True), large, reorder="removal") == [counted]
    for about, reorder in (({"reordered": True}, None), ({}, None), ({"reordered": False}, "movement")):
        with pytest.raises(UsageError, match="names heads and units by their numbers"):
            read_front(written(named, **about), large, reorder=reorder)
    file.write_text(json.dumps([named.to_json()]))
    assert read_front(file, large) == [named], "whoever writes a list knows its order"


def test_the_front_of_a_search_is_read(space: Space, tmp_path: Path) -> None:
    members = [space.decode([2, 2, 10]), space.smallest()]
    plain, front = tmp_path / "list.json", tmp_path / "front.json"
    plain.write_text(json.dumps([member.to_json() for member in members]))
    front.write_text(json.dumps({"members": [{"architecture": member.to_json()} for member in members]}))
    assert read_front(plain, space) == read_front(front, space) == members


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (None, "No such file"),
        ("{", "cannot be used"),
        ("[]", "no members"),
        ('{"members": 3}', "cannot be used"),
        ('[{"heads": [1, 2, 3], "units": [1, 2, 3]}]', "not in the space small"),
        ('[{"heads": [1], "units": [1]}]', "not in the space small"),
    ],
)
def test_a_bad_front_is_one_line(space: Space, tmp_path: Path, text: str | None, match: str) -> None:
    file = tmp_path / "front.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UsageError, match=match) as caught:
        read_front(file, space)
    assert "\n" not in str(caught.value)
