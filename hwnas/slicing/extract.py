"""Extraction: a sub-network as a stand-alone, physically smaller module, and its folder on disk."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hwnas.errors import CheckpointError, UsageError
from hwnas.kernels.sliced_linear import select
from hwnas.models import get_family
from hwnas.models.dimensions import Dimensions
from hwnas.slicing.plan import Index, layer_plans
from hwnas.spaces.architecture import Architecture

CONFIG_KEY = "hwnas_architecture"
"""Entry of an extracted module's configuration that holds its architecture."""


def extract(model: nn.Module, arch: Architecture) -> nn.Module:
    """The sub-network as a module of its own, of the model's class, with copies of the kept weights.

    Removed blocks and layers are gone, and the linear maps are smaller; `config.hwnas_architecture` says what is left.

    Args:
        model: A Hugging Face sequence-classification module, which stays as it is.
        arch: The sub-network, in terms of the model's layers.

    Raises:
        UnsupportedModelError: The model's family has no adapter.
        UsageError: The architecture does not fit the model, or the model is itself an extracted one.
    """
    if getattr(model.config, CONFIG_KEY, None):
        raise UsageError("this model is already an extracted sub-network; extract from the super-network.")
    module = copy.deepcopy(model)
    _shrink(module, arch)
    return module


def build_extracted(config: Any, arch: Architecture) -> nn.Module:
    """The module that `extract` would give, with random weights, in evaluation mode.

    Args:
        config: A Hugging Face configuration of the super-network.
        arch: The sub-network.

    Raises:
        UnsupportedModelError: The family has no adapter.
        UsageError: The architecture does not fit the configuration.
    """
    from transformers import AutoModelForSequenceClassification

    arch.check(get_family(config).dimensions(config))
    config = copy.deepcopy(config)
    if hasattr(config, CONFIG_KEY):
        delattr(config, CONFIG_KEY)
    build: Any = AutoModelForSequenceClassification.from_config
    module: nn.Module = build(config)
    _shrink(module, arch)
    return module.eval()


def save_extracted(module: nn.Module, folder: str | Path, tokenizer: Any = None) -> None:
    """Write an extracted module, its configuration and its tokenizer, as `model.safetensors`, `config.json`, ...

    Raises:
        UsageError: The module was not extracted.
    """
    if not getattr(module.config, CONFIG_KEY, None):
        raise UsageError("this module was not extracted by hwnas; use its own save_pretrained.")
    module.save_pretrained(folder)  # type: ignore[operator]
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)


def load_extracted(folder: str | Path) -> nn.Module:
    """Read what `save_extracted` wrote, in evaluation mode.

    Raises:
        CheckpointError: The folder or a file is missing or damaged, or the weights do not fit the configuration.
    """
    from safetensors.torch import load_file
    from transformers import AutoConfig

    folder = Path(folder)
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder} has no {name}; expected the folder of a built sub-network.")
    try:
        config = AutoConfig.from_pretrained(folder)
        if not hasattr(config, CONFIG_KEY):
            raise ValueError(f"config.json has no {CONFIG_KEY}; it is not a sub-network")
        arch = Architecture.from_json(getattr(config, CONFIG_KEY))
        module = build_extracted(config, arch)
        missing, unexpected = module.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    except AttributeError as error:
        raise CheckpointError(
            f"{folder} is not a sub-network of hwnas: its config.json has no {CONFIG_KEY}."
        ) from error
    except Exception as error:  # damaged files raise whatever their parser raises
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"the sub-network in {folder} is damaged: {reason}; build it again.") from error
    if missing or unexpected:
        raise CheckpointError(
            f"the weights in {folder} do not fit its config.json ({(missing or unexpected)[0]}); build it again."
        )
    return module


def load(folder: str | Path) -> tuple[nn.Module, Any]:
    """Load a built sub-network: the documented way back from a folder of `hwnas build`.

    Args:
        folder: A member's folder.

    Returns:
        The module in evaluation mode, and its tokenizer.

    Raises:
        CheckpointError: The folder holds no sub-network, or a damaged one.
    """
    from transformers import AutoTokenizer

    module = load_extracted(folder)
    try:
        return module, AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(f"the tokenizer in {folder} is missing or damaged ({reason}); build it again.") from error


def parameter_count(module: nn.Module) -> int:
    """Number of parameters of a module, shared ones once."""
    return sum(parameter.numel() for parameter in module.parameters())


def parameter_counter(config: Any, dimensions: Dimensions) -> Callable[[Architecture], int]:
    """A fast count of a sub-network's parameters, the same as of the extracted module, embeddings and head included.

    A layer's count is a sum over its two blocks, each straight in its width, so five modules are counted and the rest
    is worked out.

    Args:
        config: Hugging Face configuration of the super-network.
        dimensions: Its sizes.
    """

    def count(heads: int, units: int) -> int:
        rest = (0,) * (dimensions.layers - 1)
        with torch.device("meta"):
            return parameter_count(build_extracted(config, Architecture((heads, *rest), (units, *rest))))

    base = count(0, 0)
    head, unit = count(1, 0) - base, count(0, 1) - base
    more_heads = count(2, 0) - base - head if dimensions.heads > 1 else 0
    more_units = count(0, 2) - base - unit if dimensions.units > 1 else 0

    def counter(arch: Architecture) -> int:
        heads = sum(head + (kept - 1) * more_heads for kept in arch.head_counts if kept)
        return base + heads + sum(unit + (kept - 1) * more_units for kept in arch.unit_counts if kept)

    return counter


def _shrink(module: nn.Module, arch: Architecture) -> None:
    """Make a whole model into the sub-network, in place."""
    layers = get_family(module.config).encoder_layers(module)
    plans = list(layer_plans(module, arch))
    for plan in plans:
        for name, stand_in in plan.removed.items():
            plan.layer.set_submodule(name, stand_in())
        for name, (rows, columns) in plan.slices.items():
            linear = plan.modules[name]
            assert isinstance(linear, nn.Linear)
            plan.layer.set_submodule(name, _smaller(linear, rows, columns))
    for index in reversed([index for index, plan in enumerate(plans) if plan.dropped]):
        del layers[index]
    setattr(module.config, CONFIG_KEY, arch.to_json())


def _smaller(linear: nn.Linear, rows: Index, columns: Index) -> nn.Linear:
    """A new linear map with copies of the kept rows and columns."""
    weight = select(linear.weight.detach(), rows, columns).clone()
    smaller = nn.Linear(weight.shape[1], weight.shape[0], bias=linear.bias is not None, device="meta")
    smaller.weight = nn.Parameter(weight, requires_grad=linear.weight.requires_grad)
    if linear.bias is not None:
        kept = select(linear.bias.detach().unsqueeze(0), None, rows).squeeze(0).clone()
        smaller.bias = nn.Parameter(kept, requires_grad=linear.bias.requires_grad)
    return smaller
