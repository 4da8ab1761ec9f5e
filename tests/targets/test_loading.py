"""The TOML files: what ships is complete and plausible, what is doubtful is refused."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

import hwnas.targets as targets_package
from hwnas.errors import DataError, UnknownTargetError
from hwnas.targets import PEAK_TYPES, Target, get_target, load_targets, target_names

NAMES = ["a100-40gb", "a100-80gb", "a10g", "b200", "cpu", "h100", "h200", "l4", "l40s"]
NAMES += ["rtx4090", "rtx5090", "t4", "v100"]

GOOD = """
name = "x1"
aliases = ["NVIDIA X1"]
vendor = "nvidia"
kind = "gpu"
compute_capability = [8, 6]
sms = 10
memory_gib = 8
source = "NVIDIA X1 datasheet"

[peak_tflops]
fp16 = 70
fp32 = 35.5
"""


def write(folder: Path, text: str, name: str = "x1") -> Path:
    (folder / f"{name}.toml").write_text(text)
    return folder


def test_all_devices_ship() -> None:
    assert sorted(NAMES) == list(target_names())
    assert list(load_targets()) == list(target_names())
    folder = Path(targets_package.__file__).parent
    assert sorted(path.stem for path in folder.glob("*.toml")) == sorted(NAMES)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "cpu"])
def test_facts_of_gpus_fit_together(name: str) -> None:
    target = get_target(name)
    assert target.kind == "gpu"
    assert target.vendor == "nvidia"
    assert "NVIDIA" in target.source
    assert all(alias.startswith(("NVIDIA ", "Tesla ")) for alias in target.aliases)
    assert target.sms is not None
    assert target.memory_gib is not None
    assert target.bandwidth_gb_s is not None
    assert target.tdp_w is not None
    assert set(target.peak_tflops) <= set(PEAK_TYPES)
    # fp32 rate = SMs x cores an SM x 2 x clock: the clock that follows must be one that such chips run at
    cores = 64 if target.compute_capability in ((7, 0), (7, 5), (8, 0)) else 128
    clock_ghz = target.peak_tflops["fp32"] * 1e3 / (target.sms * cores * 2)
    assert 1.2 < clock_ghz < 2.7
    # narrower types are never slower
    rates = [target.peak_tflops[kind] for kind in ("fp32", "tf32", "fp16", "fp8", "int8") if kind in target.peak_tflops]
    assert rates == sorted(rates)
    if "bf16" in target.peak_tflops:
        assert target.peak_tflops["bf16"] == target.peak_tflops["fp16"]
        assert target.peak_tflops["fp16"] == pytest.approx(2 * target.peak_tflops["tf32"], rel=0.03)
    # only chips that have a type have a rate for it
    assert ("bf16" in target.peak_tflops) == (target.compute_capability >= (8, 0))  # type: ignore[operator]
    assert ("fp8" in target.peak_tflops) == (target.compute_capability >= (8, 9))  # type: ignore[operator]
    assert ("fp4" in target.peak_tflops) == (target.compute_capability >= (10, 0))  # type: ignore[operator]


def test_a_known_datasheet() -> None:
    a10g = get_target("a10g")
    assert a10g.compute_capability == (8, 6)
    assert (a10g.sms, a10g.memory_gib, a10g.bandwidth_gb_s, a10g.tdp_w) == (80, 24, 600, 300)
    assert dict(a10g.peak_tflops) == {"fp32": 35, "tf32": 35, "fp16": 70, "bf16": 70, "int8": 140, "int4": 280}
    assert a10g.ray_accelerator == "A10G"


def test_the_processor_has_no_invented_facts() -> None:
    cpu = get_target("cpu")
    empty = (cpu.compute_capability, cpu.sms, cpu.memory_gib, cpu.bandwidth_gb_s, cpu.tdp_w, dict(cpu.peak_tflops))
    assert empty == (None, None, None, None, None, {})
    assert cpu.aliases == ()


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UnknownTargetError, match=r"did you mean 'a10g'\? Known: a100-40gb, .*, v100\.$"):
        get_target("a10")


def test_a_target_is_hashable_replaceable_and_json() -> None:
    target = get_target("h100")
    assert len({target, dataclasses.replace(target), get_target("h200")}) == 2
    data = json.loads(json.dumps(target.to_json()))
    assert list(data) == [field.name for field in dataclasses.fields(Target)]
    assert data["compute_capability"] == [9, 0]
    assert data["peak_tflops"]["fp16"] == 989.4
    with pytest.raises(TypeError):
        target.peak_tflops["fp16"] = 1.0  # type: ignore[index]


def test_changing_the_answer_changes_nothing() -> None:
    load_targets().clear()
    assert "cpu" in load_targets()


def test_reads_a_folder(tmp_path: Path) -> None:
    target = load_targets(write(tmp_path, GOOD))["x1"]
    assert target.aliases == ("NVIDIA X1",)
    assert list(target.peak_tflops) == ["fp32", "fp16"]
    assert target.memory_gib == 8.0
    assert target.tdp_w is None


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("sms = 10", "sm = 10", "unknown key 'sm', did you mean 'sms'"),
        ("sms = 10", "sms = 10.5", "expected a whole number"),
        ("sms = 10", "sms = true", "expected a positive number"),
        ("memory_gib = 8", "memory_gib = -8", "expected a positive number"),
        ("memory_gib = 8", "memory_gib = nan", "expected a positive number"),
        ("memory_gib = 8", 'memory_gib = "8"', "expected a positive number"),
        ('vendor = "nvidia"', "", "'vendor' is missing"),
        ('vendor = "nvidia"', 'vendor = "acme"', "expected one of any, nvidia"),
        ('kind = "gpu"', 'kind = "tpu"', "expected one of cpu, gpu"),
        ('kind = "gpu"', 'kind = "cpu"', "takes no aliases"),
        ("compute_capability = [8, 6]", "", "needs at least one alias and a compute_capability"),
        ("compute_capability = [8, 6]", 'compute_capability = "8.6"', "expected [major, minor]"),
        ('aliases = ["NVIDIA X1"]', "aliases = []", "needs at least one alias"),
        ('aliases = ["NVIDIA X1"]', 'aliases = "NVIDIA X1"', "expected a list"),
        ('aliases = ["NVIDIA X1"]', 'aliases = ["NVIDIA X1", "x1"]', "there twice"),
        ('source = "NVIDIA X1 datasheet"', 'source = " "', "expected a text"),
        ('name = "x1"', 'name = "x2"', "expected the file's own name"),
        ("fp16 = 70", "fp12 = 70", "unknown type 'fp12'"),
        ("fp16 = 70", "fp16 = 0", "peak_tflops.fp16 0; expected a positive number"),
        ("sms = 10", "sms = ", "cannot be read"),
    ],
)
def test_doubtful_files_are_refused(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in GOOD
    with pytest.raises(DataError, match=re.escape(says)) as caught:
        load_targets(write(tmp_path, GOOD.replace(old, new)))
    assert str(caught.value).startswith("target file x1.toml")
    assert "\n" not in str(caught.value)


def test_no_two_targets_share_an_alias(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    write(tmp_path, GOOD.replace('"x1"', '"x2"').replace("NVIDIA X1", "x1"), "x2")
    with pytest.raises(DataError, match=r"x2\.toml: alias 'x1' is the target x1 already"):
        load_targets(tmp_path)


def test_the_docs_name_every_key() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "targets.md").read_text()
    for field in dataclasses.fields(Target):
        assert f"| `{field.name}` |" in text
    for kind in PEAK_TYPES:
        assert f"`{kind}`" in text
