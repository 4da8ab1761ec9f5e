"""Movement scores that are summed up while a model trains."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hwnas.errors import CheckpointError
from hwnas.training.movement import Movement
from hwnas.training.seal import seal

OPTIONS: dict[str, Any] = {"max_steps": 45, "learning_rate": 1e-2, "reorder_after": "movement"}


def test_they_are_the_sum_over_the_steps_of_the_weights_owned(
    tiny: Callable[..., Any], toy: Callable[..., float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every product by hand, for the units of a layer and for its heads; then they stand in that order."""
    model = tiny("bert")
    layer = model.bert.encoder.layer[1]
    rows = [layer.intermediate.dense.weight]
    columns = [layer.output.dense.weight]
    own = layer.attention.self
    head_rows, head_columns = (
        [own.query.weight, own.key.weight, own.value.weight],
        [layer.attention.output.dense.weight],
    )
    units = torch.zeros(rows[0].shape[0])
    heads = torch.zeros(own.query.weight.shape[0])
    before: list[torch.Tensor] = []
    found = []
    hear, scores = Movement.on_pre_optimizer_step, Movement.scores

    def spy(self: Movement, args: Any, state: Any, control: Any, **rest: Any) -> None:
        for sums, first, second in ((units, rows, columns), (heads, head_rows, head_columns)):
            for weight in first:
                sums.sub_((weight * weight.grad).detach().sum(dim=1))
            for weight in second:
                sums.sub_((weight * weight.grad).detach().sum(dim=0))
        hear(self, args, state, control, **rest)

    def last(self: Movement) -> Any:
        before.append(rows[0].detach().clone())
        found.append(scores(self))
        return found[-1]

    monkeypatch.setattr(Movement, "on_pre_optimizer_step", spy)
    monkeypatch.setattr(Movement, "scores", last)
    toy(model, tmp_path, **{**OPTIONS, "max_steps": 3})
    torch.testing.assert_close(torch.tensor(found[0].units[1]), units / 3, rtol=1e-4, atol=1e-6)
    by_head = heads.view(len(found[0].heads[1]), -1).sum(dim=1)
    torch.testing.assert_close(torch.tensor(found[0].heads[1]), by_head / 3, rtol=1e-4, atol=1e-6)
    assert found[0].examples == 3 * 8
    order = torch.argsort(units, descending=True, stable=True)
    assert order.tolist() != list(range(len(order))), "the case shows nothing"
    torch.testing.assert_close(rows[0].detach(), before[0][order], rtol=0, atol=0)


def test_a_checkpoint_without_them_is_refused(
    tiny: Callable[..., Any], toy: Callable[..., float], tmp_path: Path
) -> None:
    toy(tiny("bert"), tmp_path / "a", **{**OPTIONS, "max_steps": 20})
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b/checkpoint-20/movement.pt").unlink()
    seal(tmp_path / "b/checkpoint-20")
    with pytest.raises(CheckpointError, match=r"checkpoint-20 \(it has no movement\.pt.* delete"):
        toy(tiny("bert"), tmp_path / "b", **OPTIONS)
