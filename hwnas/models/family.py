"""What hwnas knows of one architecture family: where heads and feed-forward units live in its Hugging Face model.

Everything else (views, extraction, masks) is written once, in terms of these names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from hwnas.models.dimensions import Dimensions


class PassFirst(nn.Module):
    """Stands where an attention block was: gives its first argument back, as the block's tuple."""

    def forward(self, hidden_states: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, None]:
        """Hidden states (batch, sequence, hidden) as they came, and no attention weights."""
        return hidden_states, None


class PassSecond(nn.Module):
    """Stands where the second half of a feed-forward block was: gives the residual, its second argument, back."""

    def forward(self, _: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """The residual (batch, sequence, hidden) as it came."""
        return residual


@dataclass(frozen=True)
class Family:
    """One architecture family. Names of modules are dotted; all but `layers` are relative to one encoder layer.

    Attributes:
        model_type: `model_type` of the Hugging Face configuration.
        layers: The `ModuleList` of encoder layers inside a sequence-classification model.
        projections: The linear maps whose rows are heads: query, key and value.
        attention_output: The linear map whose columns are heads.
        feed_forward_input: The linear map whose rows are units.
        feed_forward_output: The linear map whose columns are units.
        without_attention: What to put where, so that a layer runs without its attention block, the block's residual
            and LayerNorm included: module name to the class of its stand-in.
        without_feed_forward: The same for the feed-forward block.
        config_names: The configuration's names of: layers, heads, units, hidden size.
    """

    model_type: str
    layers: str
    projections: tuple[str, ...]
    attention_output: str
    feed_forward_input: str
    feed_forward_output: str
    without_attention: Mapping[str, type[nn.Module]]
    without_feed_forward: Mapping[str, type[nn.Module]]
    config_names: tuple[str, str, str, str] = (
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "hidden_size",
    )

    def dimensions(self, config: Any) -> Dimensions:
        """Sizes of the super-network that a configuration of this family describes."""
        layers, heads, units, hidden = (int(getattr(config, name)) for name in self.config_names)
        return Dimensions(layers=layers, heads=heads, units=units, head_size=hidden // heads, hidden_size=hidden)

    def encoder_layers(self, model: nn.Module) -> nn.ModuleList:
        """The encoder layers inside a sequence-classification model."""
        layers = model.get_submodule(self.layers)
        assert isinstance(layers, nn.ModuleList)
        return layers
