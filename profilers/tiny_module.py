"""The tiny network of `hwnas.profilers.tiny` as a PyTorch module, in a file of its own because it needs PyTorch."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from hwnas.profilers.tiny import VOCABULARY, WIDTH


class Tiny(nn.Module):
    """An embedding, a normalisation, attention, a product and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.dense = nn.Linear(WIDTH, WIDTH)
        self.classifier = nn.Linear(WIDTH, 2)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Logits, shape (batch, 2), of token ids and a mask, each (batch, sequence)."""
        states = self.dense(self.norm(self.words(input_ids))).unsqueeze(1)  # a single head
        mask = attention_mask.bool()[:, None, None, :]
        mixed = nn.functional.scaled_dot_product_attention(states, states, states, attn_mask=mask)
        logits: torch.Tensor = self.classifier(torch.tanh(nn.functional.gelu(mixed[:, 0, 0])))
        return logits


def write_module(path: Path) -> None:
    """Write it with `torch.save`."""
    torch.save(Tiny().eval(), path)
