"""What a target is (facts from a datasheet) and what a device is (found in this machine)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any

PEAK_TYPES: tuple[str, ...] = ("fp32", "tf32", "fp16", "bf16", "fp8", "int8", "fp4", "int4")
"""Types a peak rate may be given for."""


@dataclass(frozen=True)
class Target:
    """A device to build for, by the facts of its datasheet. What the datasheet does not say is None or left out.

    Every fact holds for every alias: a board with another memory, clock or power limit is another target.

    Attributes:
        name: Short name, as in `--target`.
        aliases: Names of the device as NVML prints them. Empty for a processor.
        vendor: `"nvidia"`; `"any"` for a processor.
        kind: `"cpu"` or `"gpu"`.
        compute_capability: (major, minor) of CUDA; None on a processor.
        sms: Streaming multiprocessors.
        memory_gib: Device memory as it is sold, in GiB. The usable part is smaller: see `Device.memory_bytes`.
        bandwidth_gb_s: Peak bandwidth of the memory in GB/s (10^9 bytes per second).
        peak_tflops: Peak dense rate (no structured sparsity) by type, in 10^12 operations per second; a multiply-add
            counts two. fp32 runs on the CUDA cores, all others on the Tensor Cores, with FP32 accumulation for floats.
        tdp_w: Largest power of the board, in watts.
        ray_accelerator: The `accelerator_type` of Ray for this device.
        source: The datasheet that the facts come from.
    """

    name: str
    aliases: tuple[str, ...]
    vendor: str
    kind: str
    compute_capability: tuple[int, int] | None = None
    sms: int | None = None
    memory_gib: float | None = None
    bandwidth_gb_s: float | None = None
    peak_tflops: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    tdp_w: float | None = None
    ray_accelerator: str | None = None
    source: str = ""

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON types, in order; what is unknown is null."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        capability = None if self.compute_capability is None else list(self.compute_capability)
        return {
            **values,
            "aliases": list(self.aliases),
            "compute_capability": capability,
            "peak_tflops": dict(self.peak_tflops),
        }


@dataclass(frozen=True)
class Device:
    """A processor or a GPU of this machine.

    Attributes:
        kind: `"cpu"` or `"gpu"`.
        name: Model name of the processor, or the GPU's name as NVML prints it.
        compute_capability: (major, minor) of CUDA; None on a processor.
        driver: Version of the GPU's driver; None on a processor.
        memory_bytes: Memory of the device that software can see; a processor's is the machine's.
        cpu_model: Model name of the machine's processor, None if the system does not say.
        cores: Logical cores of the machine's processor.
    """

    kind: str
    name: str
    compute_capability: tuple[int, int] | None
    driver: str | None
    memory_bytes: int
    cpu_model: str | None
    cores: int

    def __str__(self) -> str:
        """What a message calls it, e.g. `"the processor AMD EPYC 7R32 (8 logical cores)"`."""
        return f"the processor {self.name} ({self.cores} logical cores)" if self.kind == "cpu" else self.name

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON types."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        capability = None if self.compute_capability is None else list(self.compute_capability)
        return {**values, "compute_capability": capability}
