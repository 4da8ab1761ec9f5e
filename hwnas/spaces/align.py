"""Widths that a device likes: heads and units in steps, from the target's facts, from measurements, or given."""

from __future__ import annotations

import platform
from math import gcd
from pathlib import Path
from typing import TYPE_CHECKING

from hwnas.errors import UsageError

if TYPE_CHECKING:
    from hwnas.targets import Target

Align = tuple[int, int]
"""(heads step, units step): widths are multiples of these."""

ANY: Align = (1, 1)
"""Every width."""

_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1, "int8-dynamic": 1, "nf4": 2, "fp4": 2}
_FOUR_BIT = ("nf4", "fp4")
_CPUINFO = Path("/proc/cpuinfo")


def levels(width: int, step: int) -> tuple[int, ...]:
    """The widths from 1 to `width` that a step allows: its multiples, and the full width.

    Raises:
        UsageError: The step is below 1, or wider than the block, which could only be whole then.
    """
    if not 1 <= step <= width:
        raise UsageError(f"align step {step}: a layer of this model has {width}; expected a step of 1 to {width}.")
    return tuple(dict.fromkeys((*range(step, width + 1, step), width)))


def nearest(count: int, allowed: tuple[int, ...]) -> int:
    """The allowed width nearest to a count, the lower of two; 0 stays 0, and nothing else becomes 0."""
    return 0 if count == 0 else min(allowed, key=lambda level: (abs(level - count), level))


def preferred_steps(target: Target, precision: str, head_size: int) -> Align:
    """The steps in which a device's matrix units take widths, from its facts; nothing is measured.

    A GPU's Tensor Cores are most efficient where widths are multiples of 16 bytes: 8 in fp16 and bf16, 16 in int8, 4 in
    fp32 (as TF32). On the A100 (compute capability 8.0) it is 128 bytes. Weights of 4 bits are multiplied as 16 bits.
    Source: NVIDIA, Matrix Multiplication Background User's Guide, DU-09799-001, section 2.2, whose table ends with the
    A100.

    A processor's kernels put the outputs of a matrix product into vector registers of 32-bit sums: 16 at a time with
    AVX-512, 8 with AVX2, 4 with NEON. Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1,
    chapters 14 and 15; Arm Architecture Reference Manual for A-profile, C7. The 4-bit types of bitsandbytes take input
    widths that are multiples of 64 there.

    Heads come in steps such that heads times `head_size` is such a multiple.

    Args:
        target: The device. For a processor, the one of this machine counts.
        precision: Arithmetic, e.g. `"fp16"`.
        head_size: Width of one head.

    Raises:
        UsageError: An unknown precision, or `head_size` below 1.
    """
    if precision not in _BYTES:
        raise UsageError(f"no preferred widths are known for {precision!r}; known: {', '.join(_BYTES)}.")
    if head_size < 1:
        raise UsageError(f"head size {head_size}: expected 1 or more.")
    if target.kind == "cpu":
        multiple = 64 if precision in _FOUR_BIT else vector_bytes() // 4
    else:
        multiple = (128 if target.compute_capability == (8, 0) else 16) // _BYTES[precision]
    return multiple // gcd(multiple, head_size), multiple


def vector_bytes() -> int:
    """Bytes of a vector register of this machine's processor: 64, 32 or 16."""
    if platform.machine().lower() in ("arm64", "aarch64"):
        return 16
    try:
        flags = next(line for line in _CPUINFO.read_text().splitlines() if line.startswith("flags")).split()
    except (OSError, StopIteration):
        return 32  # every x86 server processor since 2013 has AVX2
    return 64 if "avx512f" in flags else 32 if "avx2" in flags else 16


def parse_align(
    text: str, *, target: Target | None = None, precision: str = "fp32", head_size: int = 1, steps: Align | None = None
) -> Align:
    """What `--align` asks for.

    Args:
        text: `none`; `target`, the steps of `preferred_steps`; `measured`, those that were measured; or two numbers
            such as `2,64`, the steps of heads and of units.
        target, precision, head_size: For `target`.
        steps: The steps of the measured staircase, if there are any; for `measured`.

    Raises:
        UsageError: None of these, or what it needs is missing.
    """
    if text == "none":
        return ANY
    if text == "target":
        if target is None:
            raise UsageError("--align target needs --target.")
        return preferred_steps(target, precision, head_size)
    if text == "measured":
        if steps is None:
            raise UsageError("--align measured: no steps have been measured; use --align target, or give two numbers.")
        return steps
    try:
        heads, units = (int(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(
            f"--align {text!r}: expected none, target, measured, or two numbers such as 2,64 (heads, units)."
        ) from error
    if min(heads, units) < 1:
        raise UsageError(f"align step {min(heads, units)}: expected 1 or more.")
    return heads, units
