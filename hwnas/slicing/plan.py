"""What an architecture means for the modules of each encoder layer; all three ways of running it start here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from hwnas.models import get_family
from hwnas.models.dimensions import Dimensions
from hwnas.models.family import Family
from hwnas.spaces.architecture import Architecture, Kept, count, indices

Index = int | torch.Tensor | None
"""Rows or columns as `kernels.sliced_linear` takes them."""


@dataclass(frozen=True)
class LayerPlan:
    """One encoder layer of an architecture.

    Attributes:
        layer: The layer of the super-network.
        modules: Name to module, of all that `slices` and `removed` name.
        slices: Name of a linear map to its kept (rows, columns).
        removed: Name of a module to the class of what stands in its place.
        dropped: Nothing of the layer is left.
    """

    layer: nn.Module
    modules: Mapping[str, nn.Module]
    slices: Mapping[str, tuple[Index, Index]]
    removed: Mapping[str, type[nn.Module]]
    dropped: bool


class Planner:
    """Makes the plans of a super-network's architectures, one after the other; its modules are looked up once.

    What is put into the model afterwards in place of a module is not seen.

    Args:
        model: A Hugging Face sequence-classification module.

    Raises:
        UnsupportedModelError: The model's family has no adapter.
    """

    def __init__(self, model: nn.Module) -> None:
        family, self.dimensions = describe(model)
        self._model, self._family = model, family
        heads = (*family.projections, family.attention_output, *family.without_attention)
        units = (*family.feed_forward_inputs, family.feed_forward_output, *family.without_feed_forward)
        self._layers = [
            (layer, {name: layer.get_submodule(name) for name in (*heads, *units)})
            for layer in family.encoder_layers(model)
        ]
        # Rows of one head in queries, keys and values: those of grouped-query attention differ.
        self._widths = [
            {name: _linear(modules, name).out_features // self.dimensions.heads for name in family.projections}
            for _, modules in self._layers
        ]

    def plans(self, arch: Architecture) -> Iterator[LayerPlan]:
        """The plan of each layer, in order.

        Raises:
            UsageError: The architecture does not fit the model.
        """
        arch.check(self.dimensions)
        family, dimensions, device = self._family, self.dimensions, None
        if not all(isinstance(kept, int) for kept in (*arch.heads, *arch.units)):
            device = next(self._model.parameters()).device
        for (layer, modules), widths, heads, units in zip(
            self._layers, self._widths, arch.heads, arch.units, strict=True
        ):
            slices: dict[str, tuple[Index, Index]] = {}
            removed: dict[str, type[nn.Module]] = {}
            if count(heads) == 0:
                removed.update(family.without_attention)
            elif heads != dimensions.heads:
                for name, width in widths.items():
                    slices[name] = (head_rows(heads, dimensions, device, width), None)
                slices[family.attention_output] = (None, head_rows(heads, dimensions, device))
            if count(units) == 0:
                removed.update(family.without_feed_forward)
            elif units != dimensions.units:
                kept = _index(units, device)
                slices.update(dict.fromkeys(family.feed_forward_inputs, (kept, None)))
                slices[family.feed_forward_output] = (None, kept)
            yield LayerPlan(layer, modules, slices, removed, dropped=count(heads) == count(units) == 0)


def layer_plans(model: nn.Module, arch: Architecture) -> Iterator[LayerPlan]:
    """The plan of each layer of a super-network, in order.

    Raises:
        UnsupportedModelError: The model's family has no adapter.
        UsageError: The architecture does not fit the model.
    """
    return Planner(model).plans(arch)


def describe(model: nn.Module) -> tuple[Family, Dimensions]:
    """The family and the dimensions of a Hugging Face model."""
    config = model.config
    family = get_family(config)
    return family, family.dimensions(config)


def head_rows(
    heads: Kept, dimensions: Dimensions, device: torch.device | None = None, width: int | None = None
) -> Index:
    """The rows of a query, key or value matrix that belong to the kept heads.

    Args:
        heads: The kept heads.
        dimensions: Sizes of the super-network.
        device: Where the indices shall be.
        width: Rows of one head; None takes `head_size`. Keys and values of grouped-query attention have fewer.
    """
    width = dimensions.head_size if width is None else width
    if isinstance(heads, int):
        return None if heads == dimensions.heads else heads * width
    starts = torch.tensor(indices(heads), device=device).unsqueeze(1) * width
    return (starts + torch.arange(width, device=device)).flatten()


def _linear(modules: Mapping[str, nn.Module], name: str) -> nn.Linear:
    linear = modules[name]
    assert isinstance(linear, nn.Linear)
    return linear


def _index(kept: Kept, device: torch.device | None) -> Index:
    return kept if isinstance(kept, int) else torch.tensor(indices(kept), device=device)
