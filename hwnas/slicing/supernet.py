"""Views: run a sub-network inside the shared weights of its super-network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from hwnas.kernels.sliced_linear import sliced_linear
from hwnas.slicing.plan import Index, Planner
from hwnas.spaces.architecture import Architecture


class Views:
    """The sub-networks of one super-network as views, for who runs many: modules are looked up once.

    Args:
        model: A Hugging Face sequence-classification module. What is put into it afterwards in place of one of its
            modules is not seen.

    Raises:
        UnsupportedModelError: The model's family has no adapter.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model, self._planner = model, Planner(model)

    @contextmanager
    def __call__(self, arch: Architecture) -> Iterator[nn.Module]:
        """As `view` for this model."""
        with ExitStack() as stack:
            for plan in self._planner.plans(arch):
                for name, stand_in in plan.removed.items():
                    stack.enter_context(override_forward(plan.modules[name], stand_in().forward))
                for name, (rows, columns) in plan.slices.items():
                    linear = plan.modules[name]
                    stack.enter_context(override_forward(linear, partial(_forward, linear, rows, columns)))
            yield self._model


@contextmanager
def view(model: nn.Module, arch: Architecture) -> Iterator[nn.Module]:
    """Inside this context the model computes a sub-network; gradients go to the super-network's parameters.

    Only the kept rows and columns are multiplied, so a pass costs what the sub-network costs. The model's
    parameters, names and state stay as they are. The backward pass may run after the context has ended, unless
    gradient checkpointing is on, which computes the forward pass again.

    Args:
        model: A Hugging Face sequence-classification module.
        arch: The sub-network.

    Yields:
        The model.

    Raises:
        UnsupportedModelError: The model's family has no adapter.
        UsageError: The architecture does not fit the model.

    Source: Klein et al. 2024, section 3.1, with slices instead of masks.
    """
    with Views(model)(arch) as seen:
        yield seen


@contextmanager
def override_forward(module: nn.Module, forward: Any) -> Iterator[None]:
    """Let calls of a module run another function, until the context ends."""
    before = module.__dict__.get("forward")
    module.__dict__["forward"] = forward
    try:
        yield
    finally:
        if before is None:
            del module.__dict__["forward"]
        else:
            module.__dict__["forward"] = before


def _forward(linear: Any, rows: Index, columns: Index, x: torch.Tensor) -> torch.Tensor:
    return sliced_linear(x, linear.weight, linear.bias, rows, columns)
