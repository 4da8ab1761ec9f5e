"""Scores against cases worked out on paper, and what does not change while scoring."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from hwnas.errors import UnknownNameError, UsageError
from hwnas.importance import Accumulator, Scores, method_names, score
from hwnas.models import family_names, get_family
from hwnas.slicing.mask import masked
from hwnas.spaces import Architecture


def batch(label: float | int, rows: int = 1) -> dict[str, torch.Tensor]:
    ids = torch.full((rows, 1), 5)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.tensor([label] * rows)}


# On paper, with the gradient d of h = (d, d):
#   second matrix: d z = d (3, 8) by column; times the weights 1, -0.5:            3 d, -4 d
#   first matrix:  its outputs get (d, -d / 2); times the inputs a = (3, 8):       3 d, -4 d
#   a gets (d + d, d - d / 2) = (2 d, d / 2)
#   attention output: times c = (1, 2) and the weights 2, 3:                       4 d,  3 d
#   value: its outputs get (4 d, 1.5 d); times x = (1, 2):                         4 d,  3 d
#   query and key: one token attends to itself whatever they are:                  0
# so w g sums to (8 d, 6 d) for the heads and (6 d, -8 d) for the units.


def test_regression_worked_by_hand(paper_regression: Any) -> None:
    """(10 - 9)^2 has the gradient d = 2."""
    first = score(paper_regression, [batch(9.0)])
    assert first.heads == ((pytest.approx(16), pytest.approx(12)),)
    assert first.units == ((pytest.approx(12), pytest.approx(16)),)
    assert (first.head_weights, first.unit_weights, first.examples) == (8, 4, 1)
    movement = score(paper_regression, [batch(9.0)], method="movement")
    assert movement.heads == ((pytest.approx(-16), pytest.approx(-12)),)
    assert movement.units == ((pytest.approx(-12), pytest.approx(16)),)
    removal = score(paper_regression, [batch(9.0)], method="removal")
    assert removal.heads == ((pytest.approx(8), pytest.approx(6)),), "the attention output alone: 4 d, 3 d"
    assert removal.units == ((pytest.approx(6), pytest.approx(8)),), "the second matrix alone: |3 d|, |-4 d|"
    assert (removal.head_weights, removal.unit_weights) == (8, 4)


def test_classification_worked_by_hand(paper_classifier: Any) -> None:
    """Equal logits, label 0: the first logit gets p - 1 = -0.5, and so does h."""
    first = score(paper_classifier, [batch(0)])
    assert first.heads == ((pytest.approx(4), pytest.approx(3)),)
    assert first.units == ((pytest.approx(3), pytest.approx(4)),)
    movement = score(paper_classifier, [batch(0)], method="movement")
    assert movement.heads == ((pytest.approx(4), pytest.approx(3)),)
    assert movement.units == ((pytest.approx(3), pytest.approx(-4)),)


def test_batches_count_by_their_examples(paper_regression: Any) -> None:
    """Three examples with d = 2 and one with d = -4: a mean of 2.5 |d / 2| for sums of sizes, of 0.5 for signs."""
    batches = [batch(9.0, rows=3), batch(12.0)]
    assert score(paper_regression, batches).heads[0] == (pytest.approx(8 * 2.5), pytest.approx(6 * 2.5))
    assert score(paper_regression, batches, method="movement").heads[0][0] == pytest.approx(-8 * 0.5)
    assert score(paper_regression, batches, method="removal").heads[0][0] == pytest.approx(4 * 2.5), "size by batch"
    assert score(paper_regression, batches * 3).units[0] == pytest.approx(score(paper_regression, batches).units[0])


def test_movement_adds_up_while_the_weights_move(paper_regression: Any) -> None:
    """After a step of 0.1 along the gradient of the second matrix alone its column for unit 0 is 1 - 0.6 = 0.4."""
    total = Accumulator(paper_regression, "movement")
    second = paper_regression.bert.encoder.layer[0].output.dense.weight
    for _ in range(2):
        paper_regression.zero_grad()
        paper_regression(**batch(9.0)).loss.backward()
        total.add(1, {second: second.grad})
        with torch.no_grad():
            second -= 0.1 * second.grad
    # Gradient (6, 16) in both rows; the step leaves ((0.4, -1.6), (-0.6, -2.1)), so h = (3 + 1.2 - 12.8,
    # 8 - 1.8 - 16.8), the output is -19.2, d = 2 (-19.2 - 9) = -56.4, and the gradient of unit 0's column (3 d, 3 d).
    again = -(0.4 - 0.6) * 3 * -56.4
    assert total.scores().units[0][0] == pytest.approx((-6 + again) / 2, rel=1e-5)


@pytest.mark.parametrize("family", family_names())
def test_removal_is_the_change_of_the_loss(family: str, tiny: Callable[..., Any]) -> None:
    """Damping what a head or unit puts out by a thousandth changes the loss by a thousandth of its score."""
    model = tiny(family, num_labels=2).double()
    ids = torch.randint(5, 100, (4, 6), generator=torch.Generator().manual_seed(0))
    data = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.tensor([0, 1, 0, 1])}
    scores, names = score(model, [data], method="removal"), get_family(model.config)
    dimensions, layer = names.dimensions(model.config), names.encoder_layers(model)[1]
    with torch.no_grad():
        before = model(**data).loss
        for name, width, values in (
            (names.attention_output, dimensions.head_size, scores.heads[1]),
            (names.feed_forward_output, 1, scores.units[1]),
        ):
            chosen = max(range(len(values)), key=values.__getitem__)
            columns = slice(chosen * width, (chosen + 1) * width)
            with damped(layer.get_submodule(name), columns):
                change = float((model(**data).loss - before).abs())
            assert values[chosen] > 1e-6
            assert change == pytest.approx(values[chosen] / 1000, rel=0.02)


@contextmanager
def damped(linear: torch.nn.Module, columns: slice) -> Iterator[None]:
    """Inside, a thousandth of some of its inputs is missing."""

    def damp(_: torch.nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        less = inputs[0].clone()
        less[..., columns] *= 0.999
        return (less,)

    handle = linear.register_forward_pre_hook(damp)
    try:
        yield
    finally:
        handle.remove()


@pytest.mark.parametrize("method", method_names())
@pytest.mark.parametrize("family", family_names())
def test_every_family_can_be_scored(family: str, method: str, tiny: Callable[..., Any]) -> None:
    model = tiny(family, num_labels=2)
    ids = torch.randint(5, 100, (4, 6), generator=torch.Generator().manual_seed(0))
    data = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.tensor([0, 1, 0, 1])}
    scores = score(model, [data], method=method)
    dimensions = get_family(model.config).dimensions(model.config)
    assert [len(layer) for layer in scores.heads] == [dimensions.heads] * dimensions.layers
    assert [len(layer) for layer in scores.units] == [dimensions.units] * dimensions.layers
    assert len({round(value, 12) for layer in scores.heads for value in layer}) > dimensions.heads


def test_a_useless_unit_scores_nothing(tiny: Callable[..., Any]) -> None:
    model = tiny("bert", num_labels=2)
    with torch.no_grad():
        model.bert.encoder.layer[1].output.dense.weight[:, 7] = 0.0
        model.bert.encoder.layer[2].attention.output.dense.weight[:, 6:12] = 0.0
    ids = torch.randint(5, 100, (4, 6), generator=torch.Generator().manual_seed(0))
    data = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.tensor([0, 1, 0, 1])}
    scores = score(model, [data])
    assert scores.units[1].index(0.0) == 7
    assert scores.heads[2].index(0.0) == 1
    assert sum(value == 0 for layer in (*scores.heads, *scores.units) for value in layer) == 2
    others = Architecture((4, 4, (0, 2, 3)), (20, tuple(i for i in range(20) if i != 7), 20))
    inputs = {name: value for name, value in data.items() if name != "labels"}
    with torch.no_grad():
        whole = model(**inputs).logits
        with masked(model, others):
            torch.testing.assert_close(model(**inputs).logits, whole, rtol=0, atol=1e-5)


def test_scoring_leaves_the_model_as_it_was(paper_regression: Any) -> None:
    paper_regression.train()
    frozen = paper_regression.bert.encoder.layer[0].output.dense.weight
    frozen.requires_grad_(False)
    before = {name: value.clone() for name, value in paper_regression.state_dict().items()}
    scores = score(paper_regression, [batch(9.0)])
    assert scores.units[0] == (pytest.approx(12), pytest.approx(16)), "without dropout, frozen or not"
    assert paper_regression.training
    assert not frozen.requires_grad
    assert all(parameter.grad is None for parameter in paper_regression.parameters())
    for name, value in paper_regression.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_json_round_trip(paper_regression: Any) -> None:
    scores = score(paper_regression, [batch(9.0)], method="movement")
    assert Scores.from_json(json.loads(json.dumps(scores.to_json()))) == scores
    with pytest.raises(UsageError, match="not scores"):
        Scores.from_json({"heads": [[1.0]]})


def test_what_cannot_be_scored_is_refused(paper_regression: Any) -> None:
    with pytest.raises(UnknownNameError, match="first-order, movement"):
        score(paper_regression, [batch(9.0)], method="fisher")
    with pytest.raises(UsageError, match="no examples"):
        score(paper_regression, [])
    with pytest.raises(UsageError, match="the loss of a training batch is nan"):
        score(paper_regression, [batch(float("nan"))])
    with pytest.raises(UsageError, match="not finite"):
        Scores(((float("inf"),),), ((1.0,),))
