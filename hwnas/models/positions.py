"""How long an input a model has positions for."""

from __future__ import annotations

from typing import Any


def learnt_positions(module: Any) -> int | None:
    """Tokens that a PyTorch module has learnt positions for; None if it learns none.

    Families that number positions after the padding index (RoBERTa) have `padding_idx + 1` fewer than rows.
    """
    from torch import nn

    for name, child in module.named_modules():
        if name.rpartition(".")[2] in ("position_embeddings", "wpe") and isinstance(child, nn.Embedding):
            return child.num_embeddings - (0 if child.padding_idx is None else child.padding_idx + 1)
    return None
