"""Predictions of a model, or of a sub-network inside it, on a split of a task."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn

from hwnas.slicing.supernet import view
from hwnas.spaces import Architecture
from hwnas.tasks import compute_quality

Batches = Sequence[dict[str, torch.Tensor]]
"""A split as padded batches with `labels`, made once with `hwnas.tasks.batches`."""


def predict(model: nn.Module, data: Batches, arch: Architecture | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Run a model in evaluation mode, or one of its sub-networks as a view.

    Returns:
        Logits (n, labels) and labels (n,), in the order of the batches.
    """
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    logits, labels = [], []
    try:
        with torch.inference_mode(), nullcontext() if arch is None else view(model, arch):
            for batch in data:
                inputs: dict[str, Any] = {k: value.to(device) for k, value in batch.items() if k != "labels"}
                logits.append(model(**inputs).logits.float().cpu().numpy())
                labels.append(batch["labels"].numpy())
    finally:
        model.train(was_training)
    return np.concatenate(logits), np.concatenate(labels)


def evaluate_error(model: nn.Module, data: Batches, metric: str, arch: Architecture | None = None) -> float:
    """1 - quality of a model, or of one of its sub-networks, on a split: what searches minimise."""
    return 1.0 - compute_quality(metric, *predict(model, data, arch))
