"""A small training that several files run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hwnas.models import get_family
from hwnas.spaces import Space, get_space
from hwnas.tasks import EncodedDataset, batches
from hwnas.training.options import TrainOptions
from hwnas.training.train import train_supernet
from hwnas.training.trainer import SuperNetTrainer


class Tokenizer:
    """All that padding needs."""

    pad_token_id = 0


def toy_data(examples: int = 48) -> EncodedDataset:
    """Random tokens whose number decides the label."""
    rng = np.random.default_rng(0)
    ids = [rng.integers(5, 120, rng.integers(2, 12)).tolist() for _ in range(examples)]
    labels = [min(2, len(row) // 4) for row in ids]
    return EncodedDataset({"input_ids": ids, "attention_mask": [[1] * len(row) for row in ids]}, labels)


def train_toy(
    model: Any,
    folder: Path,
    *,
    data: EncodedDataset | None = None,
    progress: Any = None,
    space: Space | None = None,
    **options: Any,
) -> float:
    """Train a tiny model on 48 examples: `toy(model, folder, max_steps=5)` gives the last loss."""
    return train_supernet(
        model,
        Tokenizer(),
        data or toy_data(),
        space or get_space("small", get_family(model.config).dimensions(model.config)),
        TrainOptions(**{"batch_size": 8, **options}),
        folder,
        regression=model.config.num_labels == 1,
        progress=progress,
    )


@pytest.fixture(scope="session")
def toy() -> Callable[..., float]:
    """`train_toy`."""
    return train_toy


@pytest.fixture
def toy_tokenizer() -> Tokenizer:
    """The tokenizer of the toy examples."""
    return Tokenizer()


@pytest.fixture
def toy_batches() -> list[dict[str, torch.Tensor]]:
    """The 48 examples in batches."""
    return list(batches(toy_data(), Tokenizer(), 16))


@pytest.fixture
def gradients(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, torch.Tensor]]:
    """The gradients after each pass of the trainings of a test: AdamW hides their scale."""
    found: list[dict[str, torch.Tensor]] = []
    step = SuperNetTrainer.training_step

    def spy(self: SuperNetTrainer, model: Any, *rest: Any) -> torch.Tensor:
        loss = step(self, model, *rest)
        found.append({key: value.grad.clone() for key, value in model.named_parameters()})
        return loss

    monkeypatch.setattr(SuperNetTrainer, "training_step", spy)
    return found
