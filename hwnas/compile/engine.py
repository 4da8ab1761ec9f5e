"""Engines: the shapes they serve, the facts they are recorded with, and the registry of runtimes that build them.

A runtime is one file in this folder with a class that satisfies `Runtime`, and one line in `_RUNTIMES`.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hwnas.errors import BuildError, UnknownNameError, UnsupportedBuildError, UsageError

if TYPE_CHECKING:
    from hwnas.targets import Target

PRECISIONS: tuple[str, ...] = ("fp32", "fp16", "bf16")
"""Precisions an engine can be built in. Engines are strongly typed: the ONNX file must be exported in the same one."""

_RUNTIMES: Mapping[str, str] = {
    "onnxruntime": "hwnas.compile.onnxruntime",
    "tensorrt": "hwnas.compile.tensorrt",
    "tensorrt-rtx": "hwnas.compile.tensorrt_rtx",
}


@dataclass(frozen=True)
class ShapeProfile:
    """The input shapes an engine serves, and the one it is tuned for.

    Attributes:
        batch: (smallest, tuned for, largest) batch.
        sequence_length: (shortest, tuned for, longest) input in tokens.

    Raises:
        UsageError: A triple that does not rise, or is not positive.
    """

    batch: tuple[int, int, int] = (1, 1, 8)
    sequence_length: tuple[int, int, int] = (1, 128, 128)

    def __post_init__(self) -> None:
        for name, values in (("batch", self.batch), ("sequence length", self.sequence_length)):
            if len(values) != 3 or not 1 <= values[0] <= values[1] <= values[2]:
                raise UsageError(
                    f"{name} profile {','.join(map(str, values))}: expected min,opt,max with 1 <= min <= opt <= max."
                )

    def shape(self, index: int) -> tuple[int, int]:
        """(batch, sequence) of the smallest (0), tuned (1) or largest (2) input."""
        return self.batch[index], self.sequence_length[index]

    def to_json(self) -> dict[str, list[int]]:
        """The two triples as lists."""
        return {"batch": list(self.batch), "sequence_length": list(self.sequence_length)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ShapeProfile:
        """Inverse of `to_json`."""
        batch, length = (tuple(int(value) for value in data[key]) for key in ("batch", "sequence_length"))
        return cls(batch, length)  # type: ignore[arg-type]


@dataclass(frozen=True)
class EngineInfo:
    """What was built.

    Attributes:
        file: Name of the engine's file. For the target `cpu` that is the ONNX file.
        runtime, runtime_version: What built it and what must load it.
        compute_capability: Devices it is for, as (major, minor); None on a processor.
        precision: Type of weights and activations.
        tf32: Whether the products of a float32 engine may run in TF32 (the runtime's own default is kept); else None.
        shapes: The shapes it serves.
        bytes: Size of the file.
        seconds: Wall time of the build.
        sha256: Hash of the file.
        capability_mask: Byte 32 of a TensorRT-RTX engine, an undocumented bit mask of compute capabilities; else None.
    """

    file: str
    runtime: str
    runtime_version: str
    compute_capability: tuple[int, int] | None
    precision: str
    tf32: bool | None
    shapes: ShapeProfile
    bytes: int
    seconds: float
    sha256: str
    capability_mask: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        capability = None if self.compute_capability is None else list(self.compute_capability)
        return {**asdict(self), "compute_capability": capability, "shapes": self.shapes.to_json()}


@dataclass(frozen=True)
class Built:
    """What a runtime hands back: the engine's bytes (None if the ONNX file is the engine) and what it says of them."""

    data: bytes | None
    version: str
    tf32: bool | None = None
    capability_mask: int | None = None


class Runtime(Protocol):
    """Something that turns an ONNX file into an engine. Heavy imports happen in `build`."""

    name: str

    def check(self, target: Target, precision: str) -> None:
        """Raise UnsupportedBuildError if this runtime can never serve the target in this precision.

        Raise MissingExtraError if it is not installed, DeviceNotFoundError if it needs the device and it is not here.
        """

    def build(self, onnx_path: Path, target: Target, precision: str, shapes: ShapeProfile) -> Built:
        """Build, or raise BuildError with the runtime's own first error."""


def runtime_names() -> tuple[str, ...]:
    """Registered runtimes."""
    return tuple(_RUNTIMES)


def get_runtime(name: str) -> Runtime:
    """The runtime of that name; UnknownNameError lists the known ones."""
    if name not in _RUNTIMES:
        raise UnknownNameError("runtime", name, _RUNTIMES)
    made: Runtime = importlib.import_module(_RUNTIMES[name]).RUNTIME
    return made


def plan_build(target: Target, precision: str, *, runtime: str | None = None) -> str:
    """Name of the runtime that `build_engine` will use, after checking that it can.

    ONNX Runtime for processors. For GPUs full TensorRT where it is installed and the target is the local device, else
    TensorRT-RTX, which needs no device.

    Raises:
        UnsupportedBuildError: The runtime cannot serve this target or this precision.
        MissingExtraError: The runtime is not installed.
        DeviceNotFoundError: Full TensorRT would build on another device than the target.
        UnknownNameError: Unknown runtime.
    """
    if precision not in PRECISIONS:
        raise UnsupportedBuildError(
            f"precision {precision!r} cannot be built; expected one of {', '.join(PRECISIONS)}."
        )
    if runtime is None:
        if target.kind == "cpu":
            runtime = "onnxruntime"
        else:
            from hwnas.compile.tensorrt import is_usable

            runtime = "tensorrt" if is_usable(target) else "tensorrt-rtx"
    get_runtime(runtime).check(target, precision)
    return runtime


def build_engine(
    onnx_path: str | os.PathLike[str],
    engine_path: str | os.PathLike[str],
    target: Target,
    precision: str,
    shapes: ShapeProfile,
    *,
    runtime: str | None = None,
) -> EngineInfo:
    """Build the engine of an ONNX file for a target.

    For the target `cpu` the ONNX file is the engine: it is loaded once to prove it, and nothing is written.

    Args:
        onnx_path: File written by `export_onnx` in the same precision.
        engine_path: File to write; replaced in one step.
        target: Device to build for. It need not be this machine's, except with full TensorRT.
        precision: `"fp32"`, `"fp16"` or `"bf16"`.
        shapes: The one optimisation profile of the engine.
        runtime: Name of a runtime; None lets `plan_build` choose.

    Raises:
        BuildError: The file is damaged or of another precision, or the runtime failed.
        UnsupportedBuildError, MissingExtraError, DeviceNotFoundError, UnknownNameError: See `plan_build`.
    """
    from hwnas.compile.onnxfile import onnx_precision, write_file

    onnx_path, engine_path = Path(onnx_path), Path(engine_path)
    name = plan_build(target, precision, runtime=runtime)
    found = onnx_precision(onnx_path)
    if found != precision:
        raise BuildError(
            f"{onnx_path.name} was exported in {found}, but the engine is to be {precision}; export it in {precision}."
        )
    start = time.perf_counter()
    built = get_runtime(name).build(onnx_path, target, precision, shapes)
    seconds = time.perf_counter() - start
    if built.data is None:
        data, engine_path = onnx_path.read_bytes(), onnx_path
    else:
        data = built.data
        write_file(engine_path, data)
    return EngineInfo(
        file=engine_path.name,
        runtime=name,
        runtime_version=built.version,
        compute_capability=target.compute_capability,
        precision=precision,
        tf32=built.tf32,
        shapes=shapes,
        bytes=len(data),
        seconds=seconds,
        sha256=hashlib.sha256(data).hexdigest(),
        capability_mask=built.capability_mask,
    )
