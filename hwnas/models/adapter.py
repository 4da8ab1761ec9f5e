"""What an adapter says of one architecture family: where heads and feed-forward units live in a Hugging Face model."""

from __future__ import annotations

from typing import Any, Protocol

from torch import nn

from hwnas.spaces.architecture import Dimensions


class Layer(Protocol):
    """The parts of one encoder layer, wherever the family keeps them.

    Attributes:
        module: The whole layer.
        projections: The linear maps whose rows are heads (query, key, value).
        attention_output: The linear map whose columns are heads.
        feed_forward_input: The linear map whose rows are units.
        feed_forward_output: The linear map whose columns are units.
    """

    module: nn.Module
    projections: tuple[nn.Linear, ...]
    attention_output: nn.Linear
    feed_forward_input: nn.Linear
    feed_forward_output: nn.Linear


class Adapter(Protocol):
    """One family. About 30 lines: no modelling code is rewritten.

    Attributes:
        model_type: `model_type` of the Hugging Face configuration.
    """

    model_type: str

    def dimensions(self, config: Any) -> Dimensions:
        """Sizes of the super-network that a configuration describes."""

    def layers(self, model: nn.Module) -> nn.ModuleList:
        """The list of encoder layers inside a sequence-classification model."""

    def parts(self, layer: nn.Module) -> Layer:
        """The parts of one layer."""

    def attention_block(self, layer: nn.Module) -> nn.Module:
        """The attention block, called with the hidden states first and returning a tuple that begins with them."""

    def feed_forward(self, layer: nn.Module) -> tuple[nn.Module, nn.Module]:
        """The first half, called with the hidden states, and the second, called with its result and the same states."""

    def remove_attention(self, layer: nn.Module) -> None:
        """Take the attention block, its residual and LayerNorm out of an extracted layer."""

    def remove_feed_forward(self, layer: nn.Module) -> None:
        """Take the feed-forward block, its residual and LayerNorm out of an extracted layer."""
