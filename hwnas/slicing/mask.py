"""The reference: run the whole network and zero what a sub-network leaves out.

It saves no time and exists so that views and extracted modules can be held against it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from hwnas.slicing.plan import Index, describe, layer_plans
from hwnas.slicing.supernet import override_forward
from hwnas.spaces.architecture import Architecture


@contextmanager
def masked(model: nn.Module, arch: Architecture) -> Iterator[nn.Module]:
    """Inside this context the model computes a sub-network through masks on heads and units.

    The mask of a head multiplies the head's output before the output projection, the mask of a unit its activation
    before the second feed-forward matrix. A block of which nothing is left is passed by.

    Args:
        model: A Hugging Face sequence-classification module.
        arch: The sub-network.

    Yields:
        The model.

    Raises:
        UnsupportedModelError, UsageError: As for `supernet.view`.

    Source: Klein et al. 2024, appendix B (CREATEMASK) and equation 1.
    """
    family, _ = describe(model)
    handles = []
    with ExitStack() as stack:
        for plan in layer_plans(model, arch):
            for name, stand_in in plan.removed.items():
                stack.enter_context(override_forward(plan.modules[name], stand_in().forward))
            for name in (family.attention_output, family.feed_forward_output):
                if name in plan.slices:
                    linear = plan.modules[name]
                    handles.append(linear.register_forward_pre_hook(partial(_mask, plan.slices[name][1])))
        try:
            yield model
        finally:
            for handle in handles:
                handle.remove()


def _mask(kept: Index, _: nn.Module, arguments: tuple[Any, ...]) -> tuple[torch.Tensor]:
    (x,) = arguments
    mask = torch.zeros(x.shape[-1], dtype=x.dtype, device=x.device)
    mask[slice(kept) if isinstance(kept, int) else kept] = 1
    return (x * mask,)
