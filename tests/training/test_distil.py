"""Distillation: losses by hand, which layers match, and that every term reaches the gradient."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hwnas.errors import HwnasError, ModelError, UnsupportedModelError, UsageError
from hwnas.models import get_family
from hwnas.slicing.extract import extract
from hwnas.slicing.supernet import view
from hwnas.spaces import Architecture, get_space
from hwnas.training.distil import Distiller, load_teacher, matching_layers
from hwnas.training.losses import constant_loss, distillation_loss, hidden_loss, relation_loss, task_loss, trust_in
from hwnas.training.strategy import get_strategy, strategy_names
from hwnas.training.trainer import SuperNetTrainer

PLAIN: dict[str, Any] = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
IDS = torch.randint(5, 120, (4, 7), generator=torch.Generator().manual_seed(0))
MASK = (torch.arange(7) < torch.tensor([7, 5, 3, 1]).unsqueeze(1)).long()
LABELS = torch.tensor([0, 2, 1, 0])
SMALL = Architecture((2, 1, 0), (5, 3, 0))


class Pair:
    """Trains the whole network and one small one."""

    name, distil = "pair", True

    def sub_networks(self, draws: Any, *_: Any, **__: Any) -> list[Architecture]:
        return [draws.largest(), SMALL]


def step(model: Any, folder: Path, distiller: Distiller, strategy: Any = None) -> dict[str, torch.Tensor]:
    """The gradients of one training step."""
    from transformers import TrainingArguments

    space = get_space("small", get_family(model.config).dimensions(model.config))
    arguments = TrainingArguments(output_dir=str(folder), report_to="none", use_cpu=True)
    trainer = SuperNetTrainer(
        strategy=strategy or Pair(), space=space, k=1, temperature=2.0, regression=False, train_lengths=[7],
        distiller=distiller, model=model, args=arguments,
    )  # fmt: skip
    trainer.current_gradient_accumulation_steps = 1
    model.zero_grad()
    trainer.training_step(model, {"input_ids": IDS, "attention_mask": MASK, "labels": LABELS})
    return {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


def distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def test_hidden_loss_by_hand() -> None:
    student = torch.tensor([[[1.0, 2.0], [9.0, 9.0]]])
    teacher = torch.tensor([[[0.0, 4.0], [0.0, 0.0]]])
    assert hidden_loss(student, teacher, torch.tensor([[1, 0]])) == pytest.approx((1 + 4) / 2)


def test_trust_by_hand() -> None:
    """Half of what a constant answer loses, log 4 of four classes, is half the trust; as much or more is none."""
    even = constant_loss(np.array([3, 0, 1, 2]), regression=False)
    for loss, trust in ((0.0, 1.0), (math.log(2), 0.5), (math.log(4), 0.0), (9.0, 0.0)):
        assert float(trust_in(torch.tensor(loss), even)) == pytest.approx(trust)
    values = constant_loss(np.array([1.0, 5.0, 3.0, 3.0]), regression=True)
    for loss, trust in ((0.0, 1.0), (0.5, 0.75), (2.0, 0.0), (4.0, 0.0)):
        assert float(trust_in(torch.tensor(loss), values)) == pytest.approx(trust)


def test_rare_classes_leave_less_to_learn() -> None:
    """One example of four in the second class: log 4 - 3/4 log 3. Where all are of one class nothing is learnt."""
    rare = constant_loss(np.array([0, 0, 1, 0]), regression=False)
    assert rare == pytest.approx(math.log(4) - 0.75 * math.log(3))
    assert float(trust_in(torch.tensor(rare), rare)) == 0.0
    assert float(trust_in(torch.tensor(0.0), constant_loss(np.array([1, 1]), regression=False))) == 0.0


def test_a_teacher_that_knows_nothing_is_not_imitated(tiny: Callable[..., Any], tmp_path: Path) -> None:
    """Where the whole network is worse than a constant, its hidden states leave no trace in the gradient."""
    model = tiny("bert", **PLAIN)
    with torch.no_grad():
        model.classifier.bias.copy_(torch.tensor([-9.0, 0.0, 0.0]))  # two of the four labels are the first class
    plain, hidden = (
        step(model, tmp_path, Distiller(temperature=2.0, regression=False, hidden_weight=weight)) for weight in (0, 1)
    )
    assert distance(plain, hidden) == 0


def test_relation_loss_by_hand() -> None:
    """Two tokens and a padded one; orthogonal in the student, so its relations are softmax((1, 0) / sqrt(width))."""
    student = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]]])
    teacher = torch.tensor([[[1.0], [1.0], [7.0]]])  # all alike: relations of one half
    near = torch.tensor(1 / 2**0.5).exp()
    q = near / (near + 1), 1 / (near + 1)
    expected = sum(0.5 * torch.log(0.5 / value) for value in q)
    got = relation_loss(student, teacher, torch.tensor([[1, 1, 0]]))
    torch.testing.assert_close(got, torch.as_tensor(expected))
    assert relation_loss(teacher, teacher, torch.tensor([[1, 1, 1]])) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("kept", "layers", "expected"),
    [
        ((0, 1, 2), 6, [(0, 1), (1, 3), (2, 5)]),
        ((0, 2, 4, 5), 6, [(0, 1), (2, 2), (4, 4), (5, 5)]),
        ((1,), 6, [(1, 5)]),
        ((0, 1, 2), 3, [(0, 0), (1, 1), (2, 2)]),
        ((), 6, []),
    ],
)
def test_matching_layers(kept: tuple[int, ...], layers: int, expected: list[tuple[int, int]]) -> None:
    assert matching_layers(kept, layers) == expected


def test_the_distillation_reaches_the_gradient(tiny: Callable[..., Any], tmp_path: Path) -> None:
    """A step's gradient is that of the task losses plus that of the divergence, which is not small."""
    model = tiny("bert", **PLAIN)
    got = step(model, tmp_path, Distiller(temperature=2.0, regression=False))
    without = step(model, tmp_path, Distiller(temperature=2.0, regression=False), _Undistilled())
    with torch.no_grad():
        teacher = model(input_ids=IDS, attention_mask=MASK).logits
    model.zero_grad()
    with view(model, SMALL):
        student = model(input_ids=IDS, attention_mask=MASK).logits
    distillation_loss(student, teacher, temperature=2.0, regression=False).backward()
    assert model.classifier.weight.grad.abs().max() > 1e-3
    for key, value in model.named_parameters():
        if value.grad is not None:
            torch.testing.assert_close(got[key] - without[key], value.grad, rtol=1e-4, atol=1e-6, msg=key)
    assert [name for name in strategy_names() if get_strategy(name).distil] == ["kd", "full"]


class _Undistilled(Pair):
    distil = False


@pytest.mark.parametrize(("hidden", "attention"), [(0.7, 0.0), (0.0, 0.4), (0.7, 0.4)])
@pytest.mark.parametrize("external", [False, True])
def test_hidden_states_and_relations_reach_the_gradient(
    tiny: Callable[..., Any], tmp_path: Path, hidden: float, attention: float, external: bool
) -> None:
    model, other = learnt(tiny("bert", **PLAIN)), tiny("bert", seed=9, **PLAIN) if external else None
    distiller = Distiller(
        temperature=2.0, regression=False, hidden_weight=hidden, attention_weight=attention, teacher=other
    )
    got = step(model, tmp_path, distiller)

    plain = Distiller(temperature=2.0, regression=False, teacher=other)
    assert distance(got, step(model, tmp_path, plain)) > 1e-3
    assert not any(module._forward_hooks for module in model.modules()), "nothing stays behind"

    expected = by_hand(model, other, hidden, attention)
    model.zero_grad()
    expected.backward()
    for key, value in model.named_parameters():
        if value.grad is not None:
            torch.testing.assert_close(got[key], value.grad, rtol=1e-4, atol=1e-6, msg=key)


def learnt(model: Any) -> Any:
    """The model after a few steps on the batch: better than a constant answer, and not perfect."""
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(5):
        model.zero_grad()
        task_loss(model(input_ids=IDS, attention_mask=MASK).logits, LABELS, regression=False).backward()
        optimizer.step()
    return model


def by_hand(model: Any, other: Any, hidden: float, attention: float) -> Any:
    """The loss of a step of `Pair`, with Hugging Face's own hidden states."""

    def run(module: Any) -> tuple[Any, list[Any], list[Any]]:
        output = module(input_ids=IDS, attention_mask=MASK, output_hidden_states=True)
        own = module.bert.encoder.layer[-1 if module is other or whole else 1].attention.self
        before = output.hidden_states[-2 if module is other or whole else 1]
        return output.logits, list(output.hidden_states[1:]), [own.query(before), own.key(before), own.value(before)]

    loss: Any = 0.0
    whole, told, trust = True, None, 1.0
    if other is not None:
        with torch.no_grad():
            told = run(other)
    for arch in (None, SMALL):
        whole = arch is None
        if arch is None:
            logits, states, maps = run(model)
        else:
            with view(model, arch):
                logits, states, maps = run(model)
        loss = loss + task_loss(logits, LABELS, regression=False)
        if told is not None:
            loss = loss + distillation_loss(logits, told[0], temperature=2.0, regression=False)
            pairs = [(0, 0), (1, 1), (2, 2)] if whole else [(0, 1), (1, 2)]
            kept = MASK.bool()
            squares = [((states[mine][kept] - told[1][its][kept].detach()) ** 2).mean() for mine, its in pairs]
            loss = loss + hidden * trust * sum(squares) / len(squares)
            loss = loss + attention * sum(relation_loss(a, b, MASK) for a, b in zip(maps, told[2], strict=True)) / 3
        else:
            trust = 1 - float(loss.detach()) / math.log(3)  # of the three classes
            assert 0 < trust < 1
            told = (logits.detach(), [state.detach() for state in states], [map_.detach() for map_ in maps])
    return loss


def test_an_external_teacher_teaches_the_whole_network_too(tiny: Callable[..., Any], tmp_path: Path) -> None:
    model, other = tiny("bert", **PLAIN), tiny("distilbert", seed=3)
    distiller = Distiller(temperature=2.0, regression=False, teacher=other)
    got = step(model, tmp_path, distiller, get_strategy("standard"))
    model.zero_grad()
    logits = model(input_ids=IDS, attention_mask=MASK).logits
    told = other(input_ids=IDS, attention_mask=MASK).logits
    loss = task_loss(logits, LABELS, regression=False) + distillation_loss(
        logits, told, temperature=2.0, regression=False
    )
    loss.backward()
    torch.testing.assert_close(got["classifier.weight"], model.classifier.weight.grad)
    assert not any(parameter.requires_grad for parameter in other.parameters())


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"num_labels": 2}, "has the labels LABEL_0, LABEL_1, but the task has"),
        ({"id2label": {0: "x", 1: "y", 2: "z"}}, "has the labels x, y, z, but the task has a, b, c"),
        ({"vocab_size": 130}, "another vocabulary"),
        ({"hidden_size": 48}, "is 48 wide and the model 24"),
    ],
)
def test_a_teacher_that_does_not_fit_is_one_line(
    tiny: Callable[..., Any], tmp_path: Path, changes: dict[str, Any], match: str
) -> None:
    tiny("bert", **changes).save_pretrained(tmp_path)
    model = tiny("bert", id2label={0: "a", 1: "b", 2: "c"}) if "id2label" in changes else tiny("bert")
    with pytest.raises(UsageError, match=match) as caught:
        load_teacher(str(tmp_path), model, None, hidden=True)
    assert "\n" not in str(caught.value)


def test_labels_may_be_written_in_another_way(tiny: Callable[..., Any], tmp_path: Path) -> None:
    tiny("bert", id2label={0: "NEGATIVE", 1: "Neutral", 2: "POSITIVE "}).save_pretrained(tmp_path)
    model = tiny("bert", id2label={0: "negative", 1: "neutral", 2: "positive"})
    assert load_teacher(str(tmp_path), model, None, hidden=True) is not None


def test_a_teacher_with_weights_that_nobody_trained(tiny: Callable[..., Any], tmp_path: Path) -> None:
    """Transformers makes random weights of those that a folder lacks: the head's, or those of layers cut out."""
    model = tiny("bert")
    model.bert.save_pretrained(tmp_path / "encoder")
    cut: Any = extract(model, SMALL)
    cut.save_pretrained(tmp_path / "cut")
    refusals: list[tuple[str, type[HwnasError], str]] = [
        ("encoder", UsageError, r"encoder lacks the weights classifier\.bias and 1 more; expected a fine-tuned"),
        ("cut", ModelError, "cut is an extracted sub-network of hwnas; expected a whole model"),
    ]
    for name, error, match in refusals:
        with pytest.raises(error, match=match) as caught:
            load_teacher(str(tmp_path / name), tiny("bert"), None, hidden=False)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("family", "positions"), [("bert", 40), ("roberta", 38)])
def test_a_teacher_with_too_few_positions(
    tiny: Callable[..., Any], tmp_path: Path, family: str, positions: int
) -> None:
    """RoBERTa counts positions from behind that of padding, which is 1."""
    tiny(family).save_pretrained(tmp_path)
    teacher = load_teacher(str(tmp_path), tiny("bert"), None, hidden=False, longest=positions)
    teacher(input_ids=torch.full((1, positions), 7))
    with pytest.raises((IndexError, RuntimeError)):
        teacher(input_ids=torch.full((1, positions + 1), 7))
    with pytest.raises(UsageError, match=f"at most {positions} tokens, and the longest has {positions + 1}; lower"):
        load_teacher(str(tmp_path), tiny("bert"), None, hidden=False, longest=positions + 1)


def test_relations_of_a_teacher_without_an_adapter(tiny: Callable[..., Any], tmp_path: Path) -> None:
    tiny("albert", embedding_size=16).save_pretrained(tmp_path)
    load_teacher(str(tmp_path), tiny("bert"), None, hidden=False)
    with pytest.raises(UnsupportedModelError, match="'albert' have no adapter"):
        load_teacher(str(tmp_path), tiny("bert"), None, hidden=False, attention=True)


def test_a_teacher_that_is_not_there(tiny: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot load the teacher"):
        load_teacher(str(tmp_path / "none"), tiny("bert"), None, hidden=False)
