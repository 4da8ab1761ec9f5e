"""A training that was stopped goes on as if it had not been: the same losses, the same weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

STOP = 30
"""In the middle of an epoch of 6 steps, and 10 steps after a checkpoint."""

WAYS: dict[str, dict[str, Any]] = {
    "ordered by movement": {"reorder_after": "movement"},
    "ordered first": {"reorder": "first-order"},
    "bf16": {"precision": "bf16"},
    "a teacher, hidden states and attention": {"teacher": "{teacher}", "hidden_weight": 0.5, "attention_weight": 0.5},
    "accumulated": {"accumulate": 2, "schedule": "cosine"},
    "random-linear": {"strategy": "random-linear"},
    "draws by cost, the whole first": {"sampling": "cost", "whole_first": 0.8},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_stopped_training_ends_with_the_same_weights(
    way: str, tiny: Callable[..., Any], toy: Callable[..., float], tmp_path: Path
) -> None:
    tiny("bert", num_labels=3).save_pretrained(tmp_path / "teacher")
    options: dict[str, Any] = {
        "max_steps": 45,
        "learning_rate": 1e-2,
        **{name: str(tmp_path / "teacher") if value == "{teacher}" else value for name, value in WAYS[way].items()},
    }
    whole, stopped, again = tiny("bert"), tiny("bert"), tiny("bert")
    losses: dict[int, str] = {}
    toy(whole, tmp_path / "whole", progress=lambda done, _, text: losses.__setitem__(done, text), **options)

    def stop(done: int, _: int, text: str) -> None:
        assert text == losses[done]
        if done == STOP:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        toy(stopped, tmp_path / "stopped", progress=stop, **options)
    later: dict[int, str] = {}
    toy(again, tmp_path / "stopped", progress=lambda done, _, text: later.__setitem__(done, text), **options)
    assert 0 < min(later) <= STOP + 1, "it went on, and did not start anew"
    assert len(set(losses.values())) > 20
    assert {step: text for step, text in later.items() if "loss" in text} == {
        step: text for step, text in losses.items() if "loss" in text and step >= min(later)
    }
    pairs = zip(whole.state_dict().values(), again.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
