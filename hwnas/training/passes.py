"""The passes of one step: what does not depend on the sub-network is computed once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from hwnas.kernels.sliced_linear import accumulate_in_place
from hwnas.models import get_family
from hwnas.slicing.supernet import override_forward


@contextmanager
def shared_passes(model: nn.Module, inputs: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Inside, forward and backward passes of a model on one batch share its embeddings and its attention mask.

    The embeddings run once, in the first pass, dropout included. Every pass begins at their output as a leaf whose
    gradient adds up, and at the end one backward pass takes it through the embeddings: once per step, not once per
    sub-network, is a gradient of the size of the vocabulary made. Gradients of slices are added in place. All
    gradients are those of separate passes with the same embeddings.

    Args:
        model: A Hugging Face sequence-classification module.
        inputs: `input_ids`, `attention_mask`, ... of the batch.

    Yields:
        The inputs to give to the model.
    """
    family = get_family(model.config)
    embeddings = model.get_submodule(family.embeddings)
    compute = embeddings.forward
    output: torch.Tensor | None = None
    leaf: torch.Tensor | None = None

    def once(*positional: Any, **keywords: Any) -> torch.Tensor:
        nonlocal output, leaf
        if leaf is None:
            output = compute(*positional, **keywords)
            leaf = output.detach().requires_grad_(output.requires_grad)
        return leaf

    with override_forward(embeddings, once), accumulate_in_place():
        yield _with_mask(model, inputs, causal=family.decoder)
    if output is not None and leaf is not None and leaf.grad is not None:
        output.backward(leaf.grad)  # type: ignore[no-untyped-call]


def _with_mask(model: nn.Module, inputs: dict[str, Any], *, causal: bool) -> dict[str, Any]:
    """The inputs with the mask as the layers take it; without one where nothing is padded."""
    from transformers import masking_utils

    mask = inputs.get("attention_mask")
    if mask is None or mask.dim() != 2:
        return inputs
    # Of the embeddings only their shape, type and device are asked for.
    shape = torch.empty(*mask.shape, 1, dtype=next(model.parameters()).dtype, device=mask.device)
    config: Any = model.config
    if not causal:
        made = masking_utils.create_bidirectional_mask(config=config, inputs_embeds=shape, attention_mask=mask)
        return {**inputs, "attention_mask": made}
    positions = torch.arange(mask.shape[1], device=mask.device).unsqueeze(0)
    make = {
        "full_attention": masking_utils.create_causal_mask,
        "sliding_attention": masking_utils.create_sliding_window_causal_mask,
    }
    by_kind = {
        kind: make[kind](
            config=config, inputs_embeds=shape, attention_mask=mask, past_key_values=None, position_ids=positions
        )
        for kind in dict.fromkeys(config.layer_types)
    }
    return {**inputs, "attention_mask": by_kind}
