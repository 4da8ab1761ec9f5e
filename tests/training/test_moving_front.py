"""The front of a training, which moves with it, and draws near to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hwnas.errors import CheckpointError, UsageError
from hwnas.models import get_family
from hwnas.slicing.supernet import view
from hwnas.spaces import Architecture, Space, get_space
from hwnas.training import moving_front
from hwnas.training.losses import task_loss
from hwnas.training.moving_front import FEWEST, MovingFront, smoothed
from hwnas.training.options import TrainOptions
from hwnas.training.sampling import Sampler, linear_cost, make_sampler
from hwnas.training.seal import seal
from hwnas.training.strategy import get_strategy
from hwnas.training.trainer import SuperNetTrainer

OPTIONS: dict[str, Any] = {"max_steps": 45, "learning_rate": 1e-2, "front": "current", "front_share": 1.0}


@pytest.fixture
def space(tiny: Callable[..., Any]) -> Space:
    model = tiny("bert")
    return get_space("small", get_family(model.config).dimensions(model.config))


def test_values_are_averaged_over_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving_front, "NEAREST", 2)
    points = np.array([[0.0], [0.1], [1.0], [1.2]])
    np.testing.assert_allclose(smoothed(points, np.array([1.0, 3.0, 5.0, 9.0])), [2, 2, 7, 7])


def test_the_members_are_those_that_nothing_cheaper_is_as_good_as(
    space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving_front, "NEAREST", 1)
    prices: dict[Architecture, float] = {}
    front = MovingFront(space, prices.__getitem__)
    rng = np.random.default_rng(0)
    archs = []
    while len(archs) <= FEWEST:
        arch = space.sample(rng)
        if arch not in prices and arch != space.smallest():
            archs.append(arch)
            prices[arch] = 10.0
    prices |= dict(zip(archs[:4], (1.0, 2.0, 3.0, 3.0), strict=True))
    prices[space.smallest()] = 0.1
    front.tell(space.smallest(), -9.0)  # trained in every step: no member
    *archs, late = archs
    for number, arch in enumerate(archs):
        assert front.members() == [], "too few so far"
        front.tell(arch, {0: 0.9, 1: 0.9, 2: 0.4, 3: 0.3}.get(number, 0.3))
    assert front.members() == [archs[0], archs[3]]
    prices[late] = 1.5
    front.tell(late, 0.1)
    assert front.members() == [archs[0], late], "the front has moved"


def test_only_the_latest_count(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving_front, "NEAREST", 1)
    front = MovingFront(space, lambda arch: float(sum(arch.unit_counts)))
    old, new = (space.decode([2, 2, units]) for units in (3, 9))
    front.tell(old, -5.0)
    for _ in range(moving_front.WINDOW - 1):
        front.tell(new, 1.0)
    assert front.members() == [old]
    front.tell(new, 1.0)
    assert front.members() == [new]


@pytest.mark.parametrize("regression", [False, True])
def test_it_hears_what_sub_networks_lack_to_the_whole_one_on_the_same_batch(
    tiny: Callable[..., Any], tmp_path: Path, regression: bool
) -> None:
    from transformers import TrainingArguments

    model = tiny("bert", num_labels=1 if regression else 3, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    space = get_space("small", get_family(model.config).dimensions(model.config))
    draws = make_sampler(model, space, TrainOptions(front="current", front_share=0.5))
    assert isinstance(draws, Sampler)
    told: list[tuple[Architecture, float]] = []
    draws.front.tell = lambda arch, excess: told.append((arch, excess))  # type: ignore[union-attr, method-assign]
    trainer = SuperNetTrainer(
        strategy=get_strategy("full"), space=draws, k=2, temperature=3.0, regression=regression, train_lengths=[3],
        whole_weight=5.0, model=model, args=TrainingArguments(str(tmp_path), report_to="none", use_cpu=True),
    )  # fmt: skip
    trainer.current_gradient_accumulation_steps = 1
    trainer.state.max_steps = 9
    ids = torch.randint(5, 120, (4, 7), generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0.5, 1.0, 2.0, 0.0]) if regression else torch.tensor([0, 2, 1, 0])
    trainer.training_step(model, {"input_ids": ids, "labels": labels})

    def loss(arch: Architecture) -> float:
        with torch.no_grad(), view(model, arch):
            return float(task_loss(model(input_ids=ids).logits, labels, regression=regression))

    assert (len(told), told[-1][0]) == (3, space.smallest())
    for arch, excess in told:
        assert excess == pytest.approx(loss(arch) - loss(space.largest()), abs=1e-5)


def test_the_price_is_the_law_that_is_given_or_the_share_of_multiplications(
    tiny: Callable[..., Any], space: Space
) -> None:
    model, options = tiny("bert"), TrainOptions(front="current", front_share=0.5)
    for price in (None, lambda arch: -float(sum(arch.unit_counts))):
        draws = make_sampler(model, space, options, price)
        assert isinstance(draws, Sampler)
        assert draws.front is not None
        rng = np.random.default_rng(0)
        for _ in range(40):
            draws.front.tell(space.sample(rng), 0.5)
        (member,) = draws.front.members()
        seen = [arch for arch, _, _ in draws.front._seen]
        assert member == min(seen, key=price or linear_cost(model))


def test_a_training_that_was_stopped_draws_the_same_from_then_on(
    tiny: Callable[..., Any], toy: Callable[..., float], tmp_path: Path
) -> None:
    weights = {}
    for name, changes in {"moving": {}, "still": {"front": None, "front_share": 0.0}}.items():
        model = tiny("bert")
        toy(model, tmp_path / name, **{**OPTIONS, **changes})
        weights[name] = torch.cat([weight.detach().flatten() for weight in model.parameters()])
    assert not torch.equal(weights["moving"], weights["still"]), "the case shows nothing"

    def stop(done: int, total: int, text: str) -> None:
        if done == 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        toy(tiny("bert"), tmp_path / "stopped", progress=stop, **OPTIONS)
    again = tiny("bert")
    toy(again, tmp_path / "stopped", **OPTIONS)
    assert torch.equal(torch.cat([weight.detach().flatten() for weight in again.parameters()]), weights["moving"])
    checkpoint = tmp_path / "stopped/checkpoint-45"
    (checkpoint / "moving_front.json").unlink()
    seal(checkpoint)
    with pytest.raises(CheckpointError, match=r"checkpoint-45 \(it has no moving_front\.json.* delete"):
        toy(tiny("bert"), tmp_path / "stopped", **OPTIONS)


@pytest.mark.parametrize("changes", [{"strategy": "random"}, {"strategy": "standard"}, {"k": 0}])
def test_steps_must_show_what_it_is_made_of(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="--front current needs a strategy of sandwich, full, kd and --k above 0"):
        TrainOptions(front="current", front_share=0.5, **changes)
    with pytest.raises(UsageError, match="--front has no effect"):
        TrainOptions(front="current")
