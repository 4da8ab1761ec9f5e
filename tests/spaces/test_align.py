"""Widths that a device likes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hwnas.errors import UsageError
from hwnas.spaces import parse_align, preferred_steps
from hwnas.spaces.align import levels, nearest, vector_bytes
from hwnas.targets import get_target


def test_levels_by_hand() -> None:
    assert levels(12, 1) == tuple(range(1, 13))
    assert levels(12, 5) == (5, 10, 12)
    assert levels(12, 4) == (4, 8, 12)
    assert levels(12, 7) == (7, 12), "the full width is always there"
    assert levels(12, 12) == (12,)
    for step in (0, 13):
        with pytest.raises(UsageError, match=f"align step {step}: a layer of this model has 12; expected a step of 1"):
            levels(12, step)


def test_nearest_by_hand() -> None:
    assert [nearest(count, (4, 8, 10)) for count in (0, 1, 6, 7, 9, 10)] == [0, 4, 4, 8, 8, 10]


@pytest.mark.parametrize(
    ("target", "precision", "head_size", "steps"),
    [
        ("t4", "fp16", 64, (1, 8)),
        ("t4", "int8", 64, (1, 16)),
        ("a10g", "bf16", 4, (2, 8)),
        ("a10g", "fp32", 32, (1, 4)),
        ("a10g", "nf4", 32, (1, 8)),
        ("h100", "int8-dynamic", 24, (2, 16)),
        ("a100-40gb", "fp16", 64, (1, 64)),
        ("a100-40gb", "fp16", 32, (2, 64)),
        ("a100-80gb", "int8", 32, (4, 128)),
        ("cpu", "nf4", 32, (2, 64)),
    ],
)
def test_preferred_steps_of_the_targets(target: str, precision: str, head_size: int, steps: tuple[int, int]) -> None:
    assert preferred_steps(get_target(target), precision, head_size) == steps


def test_a_processor_prefers_its_vectors() -> None:
    assert vector_bytes() in (16, 32, 64)
    multiple = vector_bytes() // 4
    assert preferred_steps(get_target("cpu"), "fp32", 32) == (1, multiple)
    assert preferred_steps(get_target("cpu"), "int8", 1) == (multiple, multiple)


def test_a_processor_that_says_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    import hwnas.spaces.align as align

    monkeypatch.setattr(align.platform, "machine", lambda: "x86_64")
    for flags, expected in (("fpu sse4_2", 16), ("fpu avx2", 32), ("fpu avx2 avx512f", 64)):
        file = tmp_path / "cpuinfo"  # type: ignore[operator]
        file.write_text(f"processor : 0\nflags\t\t: {flags}\n")
        monkeypatch.setattr(align, "_CPUINFO", file)
        assert vector_bytes() == expected
    monkeypatch.setattr(align, "_CPUINFO", tmp_path / "missing")  # type: ignore[operator]
    assert vector_bytes() == 32
    monkeypatch.setattr(align.platform, "machine", lambda: "arm64")
    assert vector_bytes() == 16


def test_what_align_can_be() -> None:
    a10g = get_target("a10g")
    assert parse_align("none") == (1, 1)
    assert parse_align("2,64") == (2, 64)
    assert parse_align("target", target=a10g, precision="fp16", head_size=4) == (2, 8)
    assert parse_align("measured", steps=(1, 16)) == (1, 16)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fast", "expected none, target, measured, or two numbers"),
        ("8", "expected none, target, measured, or two numbers"),
        ("0,8", "align step 0"),
        ("target", "--align target needs --target"),
        ("measured", "no steps have been measured"),
    ],
)
def test_what_align_cannot_be(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_align(text)


def test_unknown_facts_are_refused() -> None:
    cpu = get_target("cpu")
    with pytest.raises(UsageError, match="'int3'; known: fp32"):
        preferred_steps(cpu, "int3", 32)
    with pytest.raises(UsageError, match="head size 0"):
        preferred_steps(replace(cpu), "fp32", 0)
