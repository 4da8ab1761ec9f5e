"""Options of a training: bounds, mixed precision, accumulation, logging, reordering, and a loss that is not finite."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import get_scheduler

from hwnas.errors import HwnasError, UnknownNameError, UsageError
from hwnas.importance import Order, reorder, score
from hwnas.models import get_family
from hwnas.spaces import Architecture, BoundedSpace
from hwnas.training.options import TrainOptions
from hwnas.training.seal import latest_checkpoint
from hwnas.training.train import training_arguments
from hwnas.training.trainer import SuperNetTrainer


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"k": -1}, "--k must be 0 or more"),
        ({"temperature": 0}, "--temperature must be above 0"),
        ({"accumulate": 0}, "--accumulate must be above 0"),
        ({"budget": float("nan")}, "--budget must be above 0"),
        ({"hidden_weight": -0.1}, "--hidden-weight must be 0 or more"),
        ({"attention_weight": float("inf")}, "--attention-weight must be 0 or more"),
        ({"random_share": 1.5}, "--random-share must be from 0 to 1"),
        ({"whole_first": 1.1}, "--whole-first must be from 0 to 1"),
        ({"front_share": -0.1}, "--front-share must be from 0 to 1"),
        ({"front_share": 0.5}, "--front-share needs --front"),
        ({"front": "front.json"}, "no effect without --front-share"),
        ({"strategy": "random", "budget": 1.5}, "--budget needs a strategy of sandwich, full, kd"),
        ({"random_share": 0.5}, "--random-share has no effect with full; it needs a strategy of random, random-linear"),
        ({"strategy": "standard", "sampling": "cost"}, "have no effect with standard, which draws no"),
        ({"k": 0, "front": "a.json", "front_share": 0.5}, "have no effect with full and --k 0, which draws no"),
        ({"k": 0, "budget": 1.5}, "--budget needs"),
        ({"strategy": "sandwich", "hidden_weight": 1.0}, "the strategy sandwich has none"),
        ({"strategy": "standard", "whole_first": 0.5}, "--whole-first has no effect with standard"),
        ({"strategy": "random", "random_share": 0, "sampling": "cost"}, "no effect with --random-share 0"),
        ({"strategy": "kd", "k": 0, "hidden_weight": 0.5}, "--hidden-weight and --attention-weight need a teacher"),
        ({"strategy": "kd", "k": 0, "temperature": 5.0}, "--temperature needs a teacher"),
        ({"strategy": "random", "k": 3}, "--k has no effect with random, whose steps train one network"),
        ({"strategy": "sandwich", "temperature": 5.0}, "--temperature needs a teacher, and the strategy sandwich has"),
        ({"logging_dir": "logs"}, "--logging-dir needs --report-to tensorboard"),
    ],
)
def test_out_of_range(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        TrainOptions(**changes)


@pytest.mark.parametrize(
    ("strategy", "teacher", "k", "temperature"),
    [
        ("full", None, 5, 3.0),
        ("sandwich", None, 5, 10.0),
        ("sandwich", "folder", 5, 3.0),
        ("random", "folder", 2, 3.0),
        ("standard", None, 2, 10.0),
    ],
)
def test_a_strategy_takes_over_what_it_reads(strategy: str, teacher: str | None, k: int, temperature: float) -> None:
    options = TrainOptions(strategy="kd", k=5, temperature=3.0, teacher=teacher, epochs=1.0)
    told = options.under(strategy, seed=4)
    assert (told.strategy, told.seed, told.epochs) == (strategy, 4, 1.0)
    assert (told.k, told.temperature) == (k, temperature)
    # What an earlier version wrote of a strategy that does not read them is read.
    assert TrainOptions.from_json({**options.to_json(), "strategy": strategy, "seed": 4}) == told


@pytest.mark.parametrize(
    ("changes", "weight"),
    [
        ({}, 0.2),
        ({"strategy": "kd"}, 0.2),
        ({"strategy": "sandwich"}, 0.0),
        ({"strategy": "standard"}, 0.0),
        ({"teacher": "folder"}, 0.0),
        ({"strategy": "random", "teacher": "folder"}, 0.0),
        ({"teacher": "folder", "hidden_weight": 0.5}, 0.5),
        ({"hidden_weight": 0.0}, 0.0),
        ({"hidden_weight": 1.0}, 1.0),
    ],
)
def test_hidden_states_are_distilled_from_the_whole_network_unless_told_otherwise(
    changes: dict[str, Any], weight: float
) -> None:
    assert TrainOptions(**changes).hidden == weight


@pytest.mark.parametrize(
    ("changes", "weight"),
    [
        ({}, 7.0),
        ({"strategy": "kd"}, 7.0),
        ({"strategy": "sandwich"}, 1.0),
        ({"strategy": "standard"}, 1.0),
        ({"teacher": "folder"}, 1.0),
        ({"teacher": "folder", "whole_weight": 3.0}, 3.0),
        ({"whole_weight": 1.0}, 1.0),
    ],
)
def test_the_whole_network_weighs_more_where_others_learn_from_it(changes: dict[str, Any], weight: float) -> None:
    options = TrainOptions(**changes)
    assert options.whole == weight
    assert TrainOptions.from_json(options.to_json()) == options


@pytest.mark.parametrize(
    "changes", [{"strategy": "standard"}, {"strategy": "random-linear"}, {"strategy": "kd", "k": 0}]
)
def test_a_weight_of_the_whole_network_needs_others_in_the_step(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="--whole-weight has no effect where a step trains one network"):
        TrainOptions(whole_weight=2.0, **changes)
    assert TrainOptions(whole_weight=1.0, **changes).whole == 1
    assert TrainOptions(whole_weight=2.0, k=0).whole == 2, "its steps train the smallest network, too"


def test_options_of_an_earlier_version_leave_the_whole_network_at_1() -> None:
    told = TrainOptions().to_json()
    del told["whole_weight"]
    assert TrainOptions.from_json(told).whole == 1.0


def test_the_default_weight_of_hidden_states_trains(
    tiny: Callable[..., Any], toy: Callable[..., float], tmp_path: Path
) -> None:
    """The weights are those that the same weight gives when it is named, and not those without."""
    weights = {}
    for name, changes in {"default": {}, "named": {"hidden_weight": 0.2}, "none": {"hidden_weight": 0.0}}.items():
        model = tiny("bert")
        toy(model, tmp_path / name, max_steps=3, seed=1, **changes)
        weights[name] = torch.cat([weight.detach().flatten() for weight in model.parameters()])
    assert torch.equal(weights["default"], weights["named"])
    assert not torch.equal(weights["default"], weights["none"])


@pytest.mark.parametrize(("name", "half", "last"), [("linear", 0.5, 0.0), ("cosine", 0.5, 0.0), ("constant", 1.0, 1.0)])
def test_schedules(name: str, half: float, last: float, tiny: Callable[..., Any], tmp_path: Path) -> None:
    """100 steps, of which 6 warm up: shares of the peak half way through the rest, after three quarters, at the end."""
    total = 100
    arguments = training_arguments(
        tiny("bert").config, TrainOptions(schedule=name, learning_rate=1.0), tmp_path, total, pairs=False
    )
    rates = get_scheduler(
        arguments.lr_scheduler_type, torch.optim.SGD([torch.zeros(1)], 1.0), arguments.warmup_steps, total
    )
    (rate,) = rates.lr_lambdas
    assert (rate(3), rate(6), rate(53), rate(100)) == pytest.approx((0.5, 1.0, half, last))
    quarter = {"linear": 24 / 94, "cosine": 0.5 * (1 + math.cos(math.pi * 70 / 94)), "constant": 1.0}
    assert rate(76) == pytest.approx(quarter[name])


def test_unknown_schedule() -> None:
    with pytest.raises(UnknownNameError, match="cosine"):
        TrainOptions(schedule="step")


@pytest.mark.parametrize("changes", [{"strategy": "fancy"}, {"sampling": "odd"}, {"precision": "int8"}])
def test_unknown_names(changes: dict[str, str]) -> None:
    with pytest.raises(UnknownNameError, match="Known"):
        TrainOptions(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("batch", "accumulate", "processes", "steps"),
    [(8, 1, 1, 12), (8, 2, 1, 6), (8, 1, 2, 6), (8, 4, 1, 4), (5, 1, 3, 8)],
)
def test_steps_by_hand(batch: int, accumulate: int, processes: int, steps: int) -> None:
    """48 examples twice: 6 batches of 8, or 10 of 5, in an epoch."""
    assert TrainOptions(batch_size=batch, accumulate=accumulate).steps(48, processes) == steps


def test_accumulated_batches_are_one_larger_batch(
    tiny: Callable[..., Any], toy: Callable[..., float], tmp_path: Path, gradients: list[dict[str, torch.Tensor]]
) -> None:
    """With `standard`, no dropout and batches of equal length, two halves give loss and gradient of the whole."""
    plain: dict[str, Any] = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    losses, weights, first = {}, {}, {}
    said: dict[str, list[Any]] = {"whole": [], "halves": []}
    for name, batch, accumulate in (("whole", 48, 1), ("halves", 24, 2)):
        model = tiny("bert", **plain)
        gradients.clear()
        losses[name] = toy(
            model, tmp_path / name, strategy="standard", max_steps=3, batch_size=batch, accumulate=accumulate,
            progress=lambda *news, texts=said[name]: texts.append(news),
        )  # fmt: skip
        first[name], weights[name] = gradients[accumulate - 1], model.classifier.weight.detach()
    torch.testing.assert_close(weights["whole"], weights["halves"], rtol=0, atol=1e-4)
    assert max(float(value.abs().max()) for value in first["whole"].values()) > 0.01
    torch.testing.assert_close(first["whole"], first["halves"], rtol=1e-3, atol=1e-5)
    assert losses["halves"] == pytest.approx(losses["whole"], rel=1e-3)
    assert [step for step, *_ in said["halves"]] == [1, 2, 3]
    assert said["halves"][-1][-1] == f"loss {losses['halves']:.3f}", "of the whole step, not of its last batch"


def test_bfloat16_trains_and_leaves_the_model_as_it_was(
    tiny: Callable[..., Any], toy: Callable[..., float], tmp_path: Path
) -> None:
    model, types = tiny("bert"), set()
    hook = model.bert.encoder.layer[0].output.dense.register_forward_hook(lambda *made: types.add(made[2].dtype))
    loss = toy(model, tmp_path, max_steps=3, precision="bf16", reorder_after=None)
    hook.remove()
    assert 0 < loss < 20
    assert types == {torch.bfloat16}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert "forward" not in model.__dict__
    model.eval()
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[7, 8, 9]])).logits
    assert not torch.equal(logits, logits.bfloat16().float()), "runs in float32 again"


def test_float16_needs_a_gpu(tiny: Callable[..., Any], toy: Callable[..., float], tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(UsageError, match="fp16 needs a GPU"):
        toy(tiny("bert"), tmp_path, precision="fp16")


@pytest.mark.parametrize(
    ("name", "error", "match"),
    [("nonsense", UnknownNameError, "logging integration"), ("dagshub", UsageError, "is not installed")],
)
def test_logging_integrations_that_are_not_there(
    tiny: Callable[..., Any], toy: Callable[..., float], tmp_path: Path, name: str, error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        toy(tiny("bert"), tmp_path / "checkpoints", report_to=name)
    assert not (tmp_path / "checkpoints").exists(), "refused before anything is written"


def test_tensorboard_gets_the_losses(tiny: Callable[..., Any], toy: Callable[..., float], tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    toy(
        tiny("bert"), tmp_path / "checkpoints", max_steps=3, report_to="tensorboard", logging_dir=str(tmp_path / "logs")
    )
    assert b"train/loss" in next((tmp_path / "logs").glob("events*")).read_bytes()


def test_a_loss_that_is_not_finite_is_one_line(
    tiny: Callable[..., Any], toy: Callable[..., float], tmp_path: Path
) -> None:
    model = tiny("bert")

    def poison(done: int, *_: Any) -> None:
        if done == 21:
            model.classifier.bias.data.fill_(float("nan"))

    def poison_unseen(done: int, *_: Any) -> None:
        if done == 30:  # the last step, with a checkpoint; no text has the token 1, so that no loss shows it
            model.bert.embeddings.word_embeddings.weight.data[1] = float("inf")

    with pytest.raises(HwnasError, match=r"the loss of training step 22 is nan; train in a new run folder") as caught:
        toy(model, tmp_path, max_steps=30, progress=poison)
    assert "\n" not in str(caught.value)
    assert "a lower --learning-rate (now 0.0004); the last whole" in str(caught.value)
    assert latest_checkpoint(tmp_path) == tmp_path / "checkpoint-20"

    model = tiny("bert")
    with pytest.raises(HwnasError, match=r"after training step 30 .*word_embeddings.weight is not finite; train in a"):
        toy(model, tmp_path, max_steps=30, progress=poison_unseen)
    assert latest_checkpoint(tmp_path) == tmp_path / "checkpoint-20", "nothing of it is kept"
    assert toy(tiny("bert"), tmp_path, max_steps=30) > 0, "and goes on from there"


def test_heads_and_units_are_reordered_before_the_first_step(
    tiny: Callable[..., Any], toy: Callable[..., float], tmp_path: Path
) -> None:
    model, sorted_first = tiny("bert"), tiny("bert")
    options: dict[str, Any] = {"max_steps": 1, "learning_rate": 1e-9, "reorder_after": None}
    toy(model, tmp_path / "plain", **options)
    toy(sorted_first, tmp_path / "sorted", **options, reorder="first-order")
    ids = torch.tensor([[7, 8, 9]])
    model.eval()
    sorted_first.eval()
    with torch.no_grad():
        torch.testing.assert_close(model(input_ids=ids).logits, sorted_first(input_ids=ids).logits, rtol=0, atol=1e-5)
    mine, other = (net.bert.encoder.layer[0].intermediate.dense.weight for net in (model, sorted_first))
    assert not torch.allclose(mine, other, atol=1e-3)
    with pytest.raises(UnknownNameError, match="importance score"):
        toy(model, tmp_path / "wrong", reorder="magic")


def test_heads_and_units_are_reordered_after_the_last_step(
    tiny: Callable[..., Any], toy: Callable[..., float], toy_batches: list[dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    plain, after, again = tiny("bert"), tiny("bert"), tiny("bert")
    options: dict[str, Any] = {"max_steps": 3, "learning_rate": 1e-2}
    toy(plain, tmp_path / "plain", **options, reorder_after=None)
    toy(after, tmp_path / "after", **options)  # the default
    toy(again, tmp_path / "after", **options)  # no step is left
    order = Order.of(score(plain, toy_batches))
    assert order.units[0] != tuple(range(len(order.units[0]))), "the case shows nothing"
    reorder(plain, order)
    for other in (after, again):
        pairs = zip(plain.state_dict().values(), other.state_dict().values(), strict=True)
        assert all(torch.equal(mine, theirs) for mine, theirs in pairs)
    with pytest.raises(UnknownNameError, match="importance score"):
        toy(plain, tmp_path / "wrong", reorder_after="magic")
    assert not (tmp_path / "wrong").exists(), "refused before anything is written"


@pytest.mark.parametrize("method", ["first-order", "movement"])
def test_what_was_trained_in_the_whole_network_alone_is_not_put_first(
    tiny: Callable[..., Any], toy: Callable[..., float], tmp_path: Path, method: str
) -> None:
    """Bounds leave heads and units out, which scores of the whole network may well rank high."""
    plain, after = tiny("bert"), tiny("bert")
    dimensions = get_family(plain.config).dimensions(plain.config)
    space = BoundedSpace(dimensions, heads=((0, 2),) * dimensions.layers, units=((0, 20),) * dimensions.layers)
    options: dict[str, Any] = {"max_steps": 3, "learning_rate": 1e-2, "space": space}
    toy(plain, tmp_path / "plain", **options, reorder_after=None)
    toy(after, tmp_path / "after", **options, reorder_after=method)
    mine, other = (net.bert.encoder.layer[0].intermediate.dense.weight for net in (plain, after))
    assert torch.equal(mine[20:], other[20:])
    assert not torch.equal(mine[:20], other[:20])
    assert sorted(mine[:20, 0].tolist()) == sorted(other[:20, 0].tolist())


def test_the_whole_network_comes_first(
    tiny: Callable[..., Any], toy: Callable[..., float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 5 steps the first two, which begin before 0.4 of them are made, train the whole network alone."""
    trained: list[list[Architecture]] = []
    draw = SuperNetTrainer.sub_networks

    def spy(self: SuperNetTrainer) -> list[Architecture]:
        trained.append(draw(self))
        return trained[-1]

    monkeypatch.setattr(SuperNetTrainer, "sub_networks", spy)
    toy(tiny("bert"), tmp_path / "later", max_steps=5, whole_first=0.4)
    later = [len(step) for step in trained]
    assert later == [1, 1, 4, 4, 4]
    whole = trained[-1][0]
    assert [step[0] for step in trained] == [whole] * 5
    first = list(trained)
    trained.clear()
    toy(tiny("bert"), tmp_path / "at once", max_steps=5)
    assert trained[2:] == first[2:], "a step draws what it drew without"
