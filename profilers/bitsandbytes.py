"""8-bit and 4-bit weights by bitsandbytes, put into a PyTorch module as Transformers does it.

Source: T. Dettmers et al., LLM.int8() (2022) and QLoRA (2023), for the algorithms.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hwnas.profilers.base import Runner, Workload
from hwnas.profilers.library import check_workload, load
from hwnas.profilers.modules import opened
from hwnas.profilers.torch import torch_version

if TYPE_CHECKING:
    from torch import nn

_KEPT = frozenset({"classifier", "pooler", "pre_classifier", "score"})
_BLOCK = 64  # weights that share one scale in 4 bits
_CPU_OUT, _CPU_IN = 32, 64  # what widths must be a multiple of for the 4-bit kernels of AVX512-BF16


class BitsAndBytes:
    """Linear layers in LLM.int8() (threshold 6) or in 4 bits (nf4, fp4); embeddings, pooler and head stay.

    What stays, and the activations, are float32 on the processor and float16 on the GPU. Any width works: 4-bit
    layers whose widths the fast kernels of AVX512-BF16 do not take run through those that take every width. On the
    processor a run is the wall time of one call; on the GPU the time between two CUDA events around it, transfers
    left out.
    """

    name = "bitsandbytes"
    precisions: tuple[str, ...] = ("int8", "nf4", "fp4")
    kinds: tuple[str, ...] = ("cpu", "gpu")
    artifact = "module"
    extra: str | None = "bitsandbytes"
    distributions: tuple[str, ...] = ("bitsandbytes",)
    purpose = "8-bit and 4-bit weights in PyTorch"

    def version(self) -> str:
        """See `Profiler.version`; those of PyTorch and Transformers are in it, because most of a run is theirs."""
        return f"{_module().__version__} torch {torch_version()}"

    @contextmanager
    def open(self, path: Path, workload: Workload) -> Iterator[Runner]:
        """See `Profiler.open`; the weights are quantised here."""
        check_workload(self, workload)
        _module()

        def prepare(module: nn.Module, device: Any) -> nn.Module:
            return quantise(module, workload.precision, device)

        with _quiet(), opened(self.name, path, workload, prepare) as runner:
            yield runner


def quantised_linears(module: nn.Module) -> tuple[str, ...]:
    """Names of the linear layers that are quantised: all but those of pooler and classification head."""
    import torch

    return tuple(
        name
        for name, child in module.named_modules()
        if type(child) is torch.nn.Linear and not _KEPT.intersection(name.split("."))
    )


def weight_bytes(module: nn.Module, precision: str, *, kind: str = "cpu") -> int:
    """Bytes of a module's weights once they are quantised.

    A quantised matrix takes 1 byte a weight and 4 bytes a row for its scale in int8, half a byte a weight and 4
    bytes for each 64 weights in nf4 and fp4. Everything else, biases included, takes 4 bytes on the processor and 2 on
    the GPU. The tables of 16 values that 4-bit layers refer to are not counted.

    Args:
        module: The float module.
        precision: `"int8"`, `"nf4"` or `"fp4"`.
        kind: `"cpu"` or `"gpu"`.
    """
    chosen = {f"{name}.weight" for name in quantised_linears(module)}
    total = 0
    for name, parameter in module.named_parameters():
        count = parameter.numel()
        if name not in chosen:
            total += count * (4 if kind == "cpu" else 2)
        elif precision == "int8":
            total += count + 4 * parameter.shape[0]
        else:
            total += -(-count // 2) + 4 * -(-count // _BLOCK)
    return total


def quantise(module: nn.Module, precision: str, device: Any) -> nn.Module:
    """Replace the linear layers of a float32 module by quantised ones, in place, and move it to a torch device.

    Args:
        module: From `read_module`.
        precision: `"int8"`, `"nf4"` or `"fp4"`.
        device: Where it will run, and where the weights are quantised.
    """
    import torch
    from transformers import BitsAndBytesConfig
    from transformers.integrations.bitsandbytes import replace_with_bnb_linear

    bnb, settings = _module(), cast("Any", BitsAndBytesConfig)
    base = torch.float32 if torch.device(device).type == "cpu" else torch.float16
    if precision == "int8":
        config = settings(load_in_8bit=True)
    else:
        config = settings(load_in_4bit=True, bnb_4bit_quant_type=precision, bnb_4bit_compute_dtype=base)
    module = module.to(base)
    linears = {name: child for name, child in module.named_modules() if type(child) is torch.nn.Linear}
    chosen = quantised_linears(module)
    replace_with_bnb_linear(module, [f"{name}$" for name in linears if name not in chosen], config)
    for name in chosen:
        source = linears[name]
        layer: Any = module.get_submodule(name)
        kept = {key: value for key, value in layer.weight.__dict__.items() if key not in ("SCB", "CB")}
        layer.weight = type(layer.weight)(source.weight.data, requires_grad=False, **kept)
        layer.bias = source.bias
        if isinstance(layer, bnb.nn.Linear4bit) and (source.out_features % _CPU_OUT or source.in_features % _CPU_IN):
            layer.support_avx512bf16_for_cpu = False
    return module.to(device).eval()


@contextmanager
def _quiet() -> Iterator[None]:
    """No log line for each layer of each run, which bitsandbytes writes wherever the base type is not float16."""
    logger = logging.getLogger("bitsandbytes.autograd._functions")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _module() -> Any:
    return load("bitsandbytes", "bitsandbytes", "bitsandbytes", "bitsandbytes")


RUNTIME = BitsAndBytes()
