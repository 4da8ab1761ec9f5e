"""Movement scores as published: summed up while the weights train, and kept in checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback

from hwnas.importance import Scores
from hwnas.importance.scores import Accumulator

MOVEMENT = "movement"
"""Name of the score."""

_FILE = "movement.pt"


class Movement(TrainerCallback):  # type: ignore[misc]
    """Adds -w dL/dw of every step, the gradient being the one that the optimizer sees, to the scores of a model.

    Source: Sanh et al. 2020, Movement Pruning, equation 5, summed by head and unit.

    Args:
        model: A Hugging Face sequence-classification module.
        examples: Training examples of a step.
    """

    def __init__(self, model: nn.Module, examples: int) -> None:
        self._total, self._examples = Accumulator(model, MOVEMENT), examples

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Gradients are whole, those of all processes, and the weights have not moved yet.

        In float16 a gradient may have overflowed: then the optimizer makes no step, and nothing is added.
        """
        gradients = (weight.grad for weight in self._total.parameters if weight.grad is not None)
        if not args.fp16 or all(bool(torch.isfinite(gradient).all()) for gradient in gradients):
            self._total.add(self._examples)

    def scores(self) -> Scores:
        """Those of all steps; UsageError as of `Accumulator.scores`."""
        return self._total.scores()

    def save(self, folder: Path) -> None:
        """Write the sums into a checkpoint."""
        torch.save(self._total.state(), folder / _FILE)

    def load(self, folder: Path) -> None:
        """Read the sums of a checkpoint; ValueError if it has none."""
        if not (folder / _FILE).is_file():
            raise ValueError(f"it has no {_FILE}, the movement scores so far")
        self._total.restore(torch.load(folder / _FILE, weights_only=True))
