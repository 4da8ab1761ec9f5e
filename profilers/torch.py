"""PyTorch as it is: eager, with its fused attention."""

from __future__ import annotations

from contextlib import AbstractContextManager
from importlib import metadata
from pathlib import Path
from typing import Any

from hwnas.profilers.base import Runner, Workload
from hwnas.profilers.library import check_workload
from hwnas.profilers.modules import opened


class Torch:
    """Eager PyTorch with `scaled_dot_product_attention`, in `torch.inference_mode`.

    On the processor a run is the wall time of one call of the module; its inputs are tensors already. On the GPU it is
    the time between two CUDA events around that call: inputs are on the device, and neither their transfer nor that
    of the logits is in it. Threads are set for the whole process.
    """

    name = "torch"
    precisions: tuple[str, ...] = ("fp32", "fp16", "bf16")
    kinds: tuple[str, ...] = ("cpu", "gpu")
    artifact = "module"
    extra: str | None = None
    distributions: tuple[str, ...] = ("torch",)
    purpose = "PyTorch without a compiler; also trains and extracts"

    def version(self) -> str:
        """See `Profiler.version`; that of Transformers is in it, because a run is one of its modules' calls."""
        return torch_version()

    def open(self, path: Path, workload: Workload) -> AbstractContextManager[Runner]:
        """See `Profiler.open`; the module is cast to the precision."""
        check_workload(self, workload)
        return opened(self.name, path, workload, lambda module, device: module.to(device, torch_type(workload)))


def torch_version() -> str:
    """Versions of PyTorch and of Transformers: `"2.13.0 transformers 5.23.0"`."""
    import torch

    return f"{torch.__version__} transformers {metadata.version('transformers')}"


def torch_type(workload: Workload) -> Any:
    """The torch type of a floating-point precision."""
    import torch

    return {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[workload.precision]


RUNTIME = Torch()
