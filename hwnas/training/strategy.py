"""What a super-network strategy decides: which sub-networks a step trains, and whether they learn from the whole."""

from __future__ import annotations

import importlib
from typing import Protocol

import numpy as np

from hwnas.errors import UnknownNameError
from hwnas.spaces import Architecture, Space

_MODULES = {"standard": "hwnas.training.standard", "full": "hwnas.training.full"}


class Strategy(Protocol):
    """A super-network strategy (Klein et al. 2024, section 3.2).

    Attributes:
        name: How users call it.
        distil: The first sub-network of a step is the teacher of the others (in-place distillation).
    """

    name: str
    distil: bool

    def sub_networks(self, space: Space, rng: np.random.Generator, k: int) -> list[Architecture]:
        """The sub-networks that one step trains, in their order; each gets a forward and a backward pass.

        Args:
            space: The search space of the super-network.
            rng: The step's own generator.
            k: Number of random sub-networks, for strategies that draw some.
        """


def strategy_names() -> tuple[str, ...]:
    """Names of the registered strategies."""
    return tuple(_MODULES)


def get_strategy(name: str) -> Strategy:
    """The strategy of that name; UnknownNameError lists the known ones."""
    if name not in _MODULES:
        raise UnknownNameError("strategy", name, _MODULES)
    strategy: Strategy = importlib.import_module(_MODULES[name]).STRATEGY
    return strategy
