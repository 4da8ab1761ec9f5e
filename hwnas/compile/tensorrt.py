"""Full TensorRT. It needs the device: it times kernels while it builds, and the engine serves that device.

Written against the documented Python API of TensorRT 10 and 11, whose libraries come from NVIDIA's own package index.
Used where `tensorrt` is installed and the target is the local device; without such a device a build cannot be tested.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas.compile.engine import Built, ShapeProfile
from hwnas.compile.nvidia import capability_name, serialize
from hwnas.errors import BuildError, DeviceNotFoundError, MissingExtraError, UnsupportedBuildError
from hwnas.profilers.nvidia import recorder
from hwnas.profilers.nvml import open_gpu

if TYPE_CHECKING:
    from hwnas.targets import Target

OLDEST = (7, 5)
"""Oldest compute capability: TensorRT dropped Volta (SM70) with 10.5."""


class TensorRT:
    """Builds on the device, for the device."""

    name = "tensorrt"

    def check(self, target: Target, precision: str) -> None:
        """See `Runtime.check`."""
        from hwnas.targets import require_device

        capability = target.compute_capability
        if capability is None or capability < OLDEST:
            raise UnsupportedBuildError(
                f"TensorRT cannot serve {target.name} ({capability_name(capability)}): it needs SM75 or newer; run its "
                "ONNX file with ONNX Runtime."
            )
        if precision == "bf16" and capability < (8, 0):
            raise UnsupportedBuildError(
                f"TensorRT cannot build bf16 for {target.name} ({capability_name(capability)}): bfloat16 needs SM80 or "
                "newer; use float16 (--precision fp16)."
            )
        if importlib.util.find_spec("tensorrt") is None:
            raise MissingExtraError("tensorrt", "tensorrt", f"building a full TensorRT engine for {target.name}")
        require_device(target)
        with open_gpu() as gpu:  # without a context on the device, so that a refusal comes before any work
            check_used(target, None if isinstance(gpu, str) else gpu.facts())

    def build(self, onnx_path: Path, target: Target, precision: str, shapes: ShapeProfile) -> Built:
        """See `Runtime.build`. The engine is loaded once, which proves it for this device."""
        check_used(target, used_gpu())
        import tensorrt as trt

        data, tf32 = serialize(trt, onnx_path, shapes, _configure, f"TensorRT for {target.name}")
        runtime = trt.Runtime(recorder(trt))
        if runtime.deserialize_cuda_engine(data) is None:
            raise BuildError(f"TensorRT {trt.__version__} built an engine that it cannot load on this device.")
        return Built(data, trt.__version__, tf32=tf32 if precision == "fp32" else None)


def is_usable(target: Target) -> bool:
    """Whether full TensorRT is installed and the target is a device of this machine."""
    if importlib.util.find_spec("tensorrt") is None:
        return False
    from hwnas.targets import detect_devices, match_target

    matches = (match_target(device) for device in detect_devices())
    return any(match is not None and match.name == target.name for match in matches)


def used_gpu() -> tuple[str, tuple[int, int]] | None:
    """Name and compute capability of the GPU that a build here runs on; None where neither CUDA nor NVML says.

    PyTorch is asked first: it shares CUDA's current device with TensorRT, whatever order CUDA began with.
    """
    import torch

    if torch.cuda.is_available():
        facts = torch.cuda.get_device_properties(torch.cuda.current_device())
        return str(facts.name), (int(facts.major), int(facts.minor))
    with open_gpu() as gpu:
        return None if isinstance(gpu, str) else gpu.facts()


def check_used(target: Target, used: tuple[str, tuple[int, int]] | None) -> None:
    """Refuse to build on another GPU than the target: the engine would serve that GPU, and say that it is the target's.

    Args:
        target: A GPU of this machine.
        used: Name and compute capability of the GPU that the build would run on; None if unknown, which passes.

    Raises:
        DeviceNotFoundError: It is another one; says how to choose.
    """
    from hwnas.targets import Device, detect_devices, is_device

    if used is None or is_device(target, Device("gpu", *used, None, 0, None, 0)):
        return
    gpus = [device for device in detect_devices() if device.kind == "gpu"]
    number = next((index for index, gpu in enumerate(gpus) if is_device(target, gpu)), "the target's number")
    raise DeviceNotFoundError(
        f"TensorRT builds for the GPU that it runs on, which here is {used[0]} ({capability_name(used[1])}), not the "
        f"target {target.name}; set CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES={number} and run the same "
        "command again."
    )


def _configure(config: Any) -> None:
    """The builder's own defaults: optimisation level 3 and as much workspace as the device has."""


RUNTIME = TensorRT()
