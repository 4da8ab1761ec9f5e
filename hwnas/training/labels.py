"""The labels of a regression at the scale that a network learns fast, whatever their own is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from hwnas.tasks import EncodedDataset, batches
from hwnas.training.losses import task_loss

_LOOKED_AT = 256
"""Examples by which a head is judged that a regression starts from."""


@dataclass(frozen=True)
class LabelScale:
    """The labels of a regression as (label - shift) / scale, and the networks that speak of one or the other.

    A network is trained on scaled labels. The last linear map then takes scale and shift into its weights, and the
    network, with all its sub-networks, speaks of the labels themselves.

    Attributes:
        shift: Mean of the labels; 0 for networks whose last map has no bias.
        scale: Root mean square of what is left, in the labels' unit.
    """

    shift: float = 0.0
    scale: float = 1.0

    @classmethod
    def of(cls, dataset: EncodedDataset, model: nn.Module) -> LabelScale:
        """The scale of a training split, for a network with one output."""
        labels = dataset.labels.astype(np.float64)
        shift = 0.0 if last_map(model).bias is None else float(labels.mean())
        scale = float(np.sqrt(np.mean((labels - shift) ** 2)))
        return cls(shift, scale) if 0 < scale < math.inf else cls(shift)

    def scaled(self, dataset: EncodedDataset) -> EncodedDataset:
        """The same examples with scaled labels."""
        return dataset.relabel(((dataset.labels - self.shift) / self.scale).tolist())

    @torch.no_grad()
    def enter(self, model: nn.Module) -> None:
        """Make a network that speaks of labels speak of scaled ones, in place."""
        last = last_map(model)
        last.weight.div_(self.scale)
        if last.bias is not None:
            last.bias.sub_(self.shift).div_(self.scale)

    @torch.no_grad()
    def leave(self, model: nn.Module) -> None:
        """The inverse of `enter`."""
        last = last_map(model)
        last.weight.mul_(self.scale)
        if last.bias is not None:
            last.bias.mul_(self.scale).add_(self.shift)

    @torch.no_grad()
    def start(self, model: nn.Module, tokenizer: Any, dataset: EncodedDataset) -> EncodedDataset:
        """Make a network ready to be trained on scaled labels, in place, and give it those.

        One that was fine-tuned goes on from where it is. One that is further from the labels than their mean, such as
        one with a new head, stays as it is.

        Args:
            model: A Hugging Face sequence-classification module with one output.
            tokenizer: Its tokenizer.
            dataset: The training split, with labels as they are.

        Returns:
            The training split with scaled labels.
        """
        device, was_training = last_map(model).weight.device, model.training
        some, squares = dataset.select(range(min(len(dataset), _LOOKED_AT))), 0.0
        model.eval()
        for batch in batches(some, tokenizer, 16):
            inputs = {name: value.to(device) for name, value in batch.items()}
            labels = inputs.pop("labels")
            squares += len(labels) * float(task_loss(model(**inputs).logits, labels, regression=True))
        model.train(was_training)
        if squares / len(some) < self.scale**2:
            self.enter(model)
        return self.scaled(dataset)


def last_map(model: nn.Module) -> nn.Linear:
    """The linear map that gives the output of a sequence classifier."""
    inside, outputs = f"{model.base_model_prefix}.", model.config.num_labels  # type: ignore[operator, union-attr]
    maps = [
        module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == outputs and not name.startswith(inside)
    ]
    return maps[-1]
