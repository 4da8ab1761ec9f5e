"""Regressions on labels of any size: what is learnt, what a network speaks of afterwards, and what it starts from."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hwnas.bench.standard import fine_tune
from hwnas.slicing.supernet import view
from hwnas.spaces import Architecture
from hwnas.tasks import EncodedDataset
from hwnas.training.labels import LabelScale
from hwnas.training.options import TrainOptions

FAMILIES = ("bert", "roberta", "xlm-roberta", "electra", "distilbert", "qwen2")


def data(scale: float, shift: float, examples: int = 48) -> EncodedDataset:
    """Texts of one token or the other, and which one is the label."""
    kinds = np.random.default_rng(0).integers(0, 2, examples)
    ids = [[5 if kind else 9] * 6 for kind in kinds]
    labels = [shift + scale * (1.0 if kind else -1.0) for kind in kinds]
    return EncodedDataset({"input_ids": ids, "attention_mask": [[1] * 6] * examples}, labels)


def predictions(model: Any) -> np.ndarray:
    """Of both texts, the one with the higher label first."""
    model.eval()
    with torch.no_grad():
        return np.asarray(model(input_ids=torch.tensor([[5] * 6, [9] * 6])).logits.squeeze(-1).double())


def test_scale_by_hand(tiny: Callable[..., Any]) -> None:
    """Labels 1, 3, 8: mean 4, and the root of (9 + 1 + 16) / 3; without a bias the root of (1 + 9 + 64) / 3."""
    three = EncodedDataset({"input_ids": [[5]] * 3, "attention_mask": [[1]] * 3}, [1.0, 3.0, 8.0])
    found = LabelScale.of(three, tiny("bert", num_labels=1))
    assert (found.shift, found.scale) == (4.0, pytest.approx((26 / 3) ** 0.5))
    assert found.scaled(three).labels == pytest.approx([(label - 4) / (26 / 3) ** 0.5 for label in (1, 3, 8)])
    assert found.scaled(three)[1]["input_ids"] == [5]
    without = LabelScale.of(three, tiny("qwen2", num_labels=1))
    assert (without.shift, without.scale) == (0.0, pytest.approx((74 / 3) ** 0.5))
    assert LabelScale.of(three.relabel([7.0] * 3), tiny("bert", num_labels=1)) == LabelScale(7.0, 1.0)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_last_map_takes_the_scale(tiny: Callable[..., Any], family: str) -> None:
    model = tiny(family, num_labels=1)
    before = predictions(model)
    scale = LabelScale(0.0 if family == "qwen2" else -40.0, 250.0)
    scale.enter(model)
    assert predictions(model) == pytest.approx((before - scale.shift) / 250, rel=1e-5, abs=1e-7)
    scale.leave(model)
    assert predictions(model) == pytest.approx(before, rel=1e-4, abs=1e-5)


@pytest.fixture(scope="module")
def learnt(tiny: Callable[..., Any], toy: Callable[..., float], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A super-network trained on labels 310,000 and 290,000, out of reach of 30 steps of 0.01."""
    model = tiny("bert", num_labels=1)
    toy(model, tmp_path_factory.mktemp("learnt"), data=data(1e4, 3e5), max_steps=30, learning_rate=1e-2)
    return model


def test_large_labels_are_learnt_by_all_sub_networks(learnt: Any, toy: Callable[..., float], tmp_path: Path) -> None:
    whole = predictions(learnt)
    assert whole == pytest.approx([3.1e5, 2.9e5], abs=6e3)
    layers, units = learnt.config.num_hidden_layers, learnt.config.intermediate_size
    with view(learnt, Architecture((1,) * layers, (units // 2,) * layers)):
        assert predictions(learnt) == pytest.approx([3.1e5, 2.9e5], abs=6e3)
    again = copy.deepcopy(learnt)
    toy(again, tmp_path, data=data(1e4, 3e5), max_steps=1, learning_rate=1e-9)
    assert predictions(again) == pytest.approx(whole, rel=1e-4), "a head that was fine-tuned is gone on with"


def test_a_teacher_speaks_of_the_same(
    learnt: Any, tiny: Callable[..., Any], toy: Callable[..., float], tmp_path: Path
) -> None:
    student = tiny("bert", seed=1, num_labels=1)
    learnt.save_pretrained(tmp_path / "teacher")
    options = {"max_steps": 20, "learning_rate": 1e-2, "strategy": "standard", "teacher": str(tmp_path / "teacher")}
    toy(student, tmp_path / "student", data=data(1e4, 3e5), **options)
    assert predictions(student) == pytest.approx([3.1e5, 2.9e5], abs=6e3)


def test_alone_as_in_the_super_network(
    tiny: Callable[..., Any], toy: Callable[..., float], toy_tokenizer: Any, tmp_path: Path
) -> None:
    alone, whole, examples = tiny("bert", num_labels=1), tiny("bert", num_labels=1), data(1e4, 3e5)
    options: dict[str, Any] = {"strategy": "standard", "max_steps": 3, "batch_size": 8}
    toy(whole, tmp_path, data=examples, **options, reorder_after=None)
    fine_tune(alone, toy_tokenizer, examples, TrainOptions(**options), regression=True)
    assert all(torch.equal(mine, other) for mine, other in zip(alone.parameters(), whole.parameters(), strict=True))
