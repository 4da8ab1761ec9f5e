"""TensorRT-RTX: real engines for other machines' GPUs, built with no GPU here.

An engine is finished by a compilation on the device when it is first loaded. Facts checked with 1.7.1: it builds for
the compute capabilities in `CAPABILITIES` and no others; SM75 refuses float32 matrix products and bfloat16. Building
twice gives engines of the same size in which a few bytes may differ.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from hwnas.compile.engine import Built, ShapeProfile
from hwnas.compile.nvidia import capability_name, serialize
from hwnas.errors import BuildError, MissingExtraError, UnsupportedBuildError

if TYPE_CHECKING:
    from hwnas.targets import Target

CAPABILITIES: Mapping[tuple[int, int], int] = MappingProxyType(
    {(7, 5): 1, (8, 0): 2, (8, 6): 4, (8, 9): 8, (12, 0): 16, (12, 1): 32}
)
"""Compute capabilities it serves, each with its bit in byte 32 of an engine (undocumented, used as a check)."""

_MASK_BYTE = 32


class TensorRTRTX:
    """Builds for one compute capability and one dynamic profile."""

    name = "tensorrt-rtx"

    def check(self, target: Target, precision: str) -> None:
        """See `Runtime.check`."""
        capability = target.compute_capability
        if capability not in CAPABILITIES:
            raise UnsupportedBuildError(
                f"TensorRT-RTX cannot serve {target.name} ({capability_name(capability)}): it builds for "
                f"{', '.join(map(capability_name, CAPABILITIES))}, which is {_served_names()}; {_way_out(target)}."
            )
        if capability == (7, 5) and precision != "fp16":
            raise UnsupportedBuildError(
                f"TensorRT-RTX cannot build {precision} for {target.name} (SM75): Turing takes neither float32 matrix "
                "products nor bfloat16 there; use float16 (--precision fp16)."
            )
        if importlib.util.find_spec("tensorrt_rtx") is None:
            raise MissingExtraError("tensorrt-rtx", "tensorrt-rtx", f"building an engine for {target.name}")

    def build(self, onnx_path: Path, target: Target, precision: str, shapes: ShapeProfile) -> Built:
        """See `Runtime.build`."""
        import tensorrt_rtx as trt

        capability = target.compute_capability
        assert capability is not None  # `check` was called
        name = capability_name(capability)

        def configure(config: Any) -> None:
            config.num_compute_capabilities = 1
            if not config.set_compute_capability(getattr(trt.ComputeCapability, name), 0):
                raise BuildError(f"TensorRT-RTX {trt.__version__} refused {name}; build for another target.")

        data, tf32 = serialize(trt, onnx_path, shapes, configure, f"TensorRT-RTX for {target.name}")
        mask = check_mask(data, capability)
        return Built(data, trt.__version__, tf32=tf32 if precision == "fp32" else None, capability_mask=mask)


def check_mask(engine: bytes, capability: tuple[int, int]) -> int:
    """Byte 32 of an engine; BuildError if the bit of the capability is not set in it."""
    mask = engine[_MASK_BYTE] if len(engine) > _MASK_BYTE else 0
    if not mask & CAPABILITIES[capability]:
        raise BuildError(
            f"the engine's header (mask {mask:#04x}) does not name {capability_name(capability)} (bit "
            f"{CAPABILITIES[capability]:#04x}); build it with a tensorrt-rtx version that hwnas is tested with."
        )
    return mask


def _served_names() -> str:
    """Names of the targets it serves."""
    from hwnas.targets import load_targets

    names = sorted(name for name, target in load_targets().items() if target.compute_capability in CAPABILITIES)
    return "the targets " + ", ".join(names)


def _way_out(target: Target) -> str:
    from hwnas.compile.tensorrt import OLDEST

    if target.kind == "cpu":
        return "build for the target cpu with runtime onnxruntime"
    if target.compute_capability is not None and target.compute_capability < OLDEST:
        return "run its ONNX file with ONNX Runtime's CUDA provider (TensorRT dropped such devices after 10.4)"
    return f"on a machine with the {target.name} build with full TensorRT (pip install 'hwnas[tensorrt]')"


RUNTIME = TensorRTRTX()
