from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from hwnas.compile.engine import ShapeProfile, build_engine, get_runtime, plan_build, runtime_names
from hwnas.errors import (
    BuildError,
    DeviceNotFoundError,
    MissingExtraError,
    UnknownNameError,
    UnsupportedBuildError,
    UsageError,
)
from hwnas.targets import Device, Target, detect_devices, get_target

OnnxOf = Callable[[str, str], Path]
SHAPES = ShapeProfile(batch=(1, 1, 4), sequence_length=(1, 16, 64))

needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt-rtx is not installed (extra tensorrt-rtx)"
)
no_gpu = pytest.mark.skipif(
    any(device.kind == "gpu" for device in detect_devices()), reason="this machine has a GPU that may be a target"
)


def with_capability(major: int, minor: int) -> Target:
    """A target of that compute capability: one of the files, else a made-up one."""
    return dataclasses.replace(get_target("a10g"), name=f"sm{major}{minor}", compute_capability=(major, minor))


@needs_rtx
@pytest.mark.parametrize(
    ("capability", "precision", "bit"),
    [
        ((7, 5), "fp16", 1),
        ((8, 0), "bf16", 2),
        ((8, 6), "fp16", 4),
        ((8, 9), "fp32", 8),
        ((12, 0), "bf16", 16),
        ((12, 1), "fp16", 32),
    ],
)
def test_rtx_builds_for_every_capability(
    capability: tuple[int, int],
    precision: str,
    bit: int,
    onnx_of: OnnxOf,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    engine = tmp_path / "model.engine"
    source = onnx_of("bert", precision)
    capfd.readouterr()
    info = build_engine(source, engine, with_capability(*capability), precision, SHAPES, runtime="tensorrt-rtx")
    assert capfd.readouterr() == ("", "")
    data = engine.read_bytes()
    assert (info.file, info.bytes, info.sha256) == ("model.engine", len(data), hashlib.sha256(data).hexdigest())
    assert info.capability_mask == bit == data[32]
    assert info.compute_capability == capability
    assert info.runtime == "tensorrt-rtx"
    assert info.seconds > 0
    assert info.to_json()["shapes"] == {"batch": [1, 1, 4], "sequence_length": [1, 16, 64]}


@needs_rtx
def test_rtx_builds_roberta_in_float32(onnx_of: OnnxOf, tmp_path: Path) -> None:
    shapes = ShapeProfile(batch=(1, 8, 8), sequence_length=(16, 16, 32))
    source, engine = onnx_of("roberta", "fp32"), tmp_path / "model.engine"
    info = build_engine(source, engine, get_target("a10g"), "fp32", shapes, runtime="tensorrt-rtx")
    assert info.bytes == engine.stat().st_size > source.stat().st_size
    assert info.tf32 is True


@pytest.mark.parametrize("name", ["h100", "h200", "b200", "v100"])
def test_rtx_refuses_targets_it_cannot_serve(name: str) -> None:
    target = get_target(name)
    with pytest.raises(UnsupportedBuildError) as error:
        plan_build(target, "fp16", runtime="tensorrt-rtx")
    message = str(error.value)
    assert message.startswith(
        f"TensorRT-RTX cannot serve {name} (SM{''.join(map(str, target.compute_capability or ()))})"
    )
    assert "SM75, SM80, SM86, SM89, SM120, SM121" in message
    for served in ("t4", "a10g", "a100-80gb", "l4", "rtx4090", "rtx5090"):
        assert served in message
    assert "h100" not in message.partition("the targets")[2].partition(";")[0]
    assert ("ONNX Runtime" if name == "v100" else "full TensorRT") in message
    assert "\n" not in message


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_turing_is_told_to_use_float16(precision: str) -> None:
    with pytest.raises(UnsupportedBuildError, match=r"t4 \(SM75\).*use float16 \(--precision fp16\)"):
        plan_build(get_target("t4"), precision, runtime="tensorrt-rtx")


@no_gpu
def test_the_runtime_is_chosen() -> None:
    assert plan_build(get_target("cpu"), "fp32") == "onnxruntime"
    if importlib.util.find_spec("tensorrt_rtx") is not None:
        assert plan_build(get_target("a10g"), "fp16") == "tensorrt-rtx"
    with pytest.raises(
        UnsupportedBuildError, match="precision 'int8' cannot be built; expected one of fp32, fp16, bf16"
    ):
        plan_build(get_target("a10g"), "int8")
    with pytest.raises(UnsupportedBuildError, match="no bfloat16 kernels"):
        plan_build(get_target("cpu"), "bf16")
    with pytest.raises(UnsupportedBuildError, match="use runtime tensorrt-rtx"):
        plan_build(get_target("a10g"), "fp16", runtime="onnxruntime")
    with pytest.raises(UnsupportedBuildError, match="build for the target cpu with runtime onnxruntime"):
        plan_build(get_target("cpu"), "fp16", runtime="tensorrt-rtx")
    with pytest.raises(UnknownNameError, match="unknown runtime 'tensorrt-rxt'; did you mean 'tensorrt-rtx'"):
        plan_build(get_target("a10g"), "fp16", runtime="tensorrt-rxt")
    assert all(get_runtime(name).name == name for name in runtime_names())


@no_gpu
def test_full_tensorrt_needs_the_package_and_the_device() -> None:
    missing = importlib.util.find_spec("tensorrt") is None
    with pytest.raises(MissingExtraError if missing else DeviceNotFoundError, match=r"tensorrt|a10g"):
        plan_build(get_target("a10g"), "fp16", runtime="tensorrt")
    with pytest.raises(UnsupportedBuildError, match=r"v100 \(SM70\): it needs SM75"):
        plan_build(get_target("v100"), "fp16", runtime="tensorrt")
    with pytest.raises(UnsupportedBuildError, match="bfloat16 needs SM80"):
        plan_build(get_target("t4"), "bf16", runtime="tensorrt")


def test_full_tensorrt_builds_on_no_other_gpu_than_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two boards in a machine the target is the second: the build would run on the first."""
    from hwnas import targets
    from hwnas.compile import tensorrt

    boards = [Device("gpu", name, sm, "570", 2**34, None, 8) for name, sm in (("L4", (8, 9)), ("A10G", (8, 6)))]
    monkeypatch.setattr(targets, "detect_devices", lambda: boards)
    monkeypatch.setattr(tensorrt, "used_gpu", lambda: ("NVIDIA L4", (8, 9)))
    said = r"here is NVIDIA L4 \(SM89\), not the target a10g; .*CUDA_VISIBLE_DEVICES=1 and run"
    with pytest.raises(DeviceNotFoundError, match=said) as error:
        tensorrt.RUNTIME.build(Path("model.onnx"), get_target("a10g"), "fp16", SHAPES)
    assert "\n" not in str(error.value)
    tensorrt.check_used(get_target("l4"), ("NVIDIA L4", (8, 9)))
    tensorrt.check_used(get_target("a10g"), None)
    with pytest.raises(DeviceNotFoundError, match="SM86"):
        tensorrt.check_used(get_target("l4"), ("NVIDIA L4", (8, 6)))


def test_on_the_processor_the_onnx_file_is_the_engine(onnx_of: OnnxOf, tmp_path: Path) -> None:
    source = onnx_of("bert", "fp32")
    info = build_engine(source, tmp_path / "model.engine", get_target("cpu"), "fp32", SHAPES)
    assert (info.file, info.runtime, info.compute_capability, info.tf32) == (source.name, "onnxruntime", None, None)
    assert info.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    assert list(tmp_path.iterdir()) == []


@needs_rtx
def test_what_cannot_be_built(onnx_of: OnnxOf, tmp_path: Path) -> None:
    import onnx

    a10g, engine = get_target("a10g"), tmp_path / "model.engine"
    data = onnx_of("bert", "fp16").read_bytes()
    (tmp_path / "cut.onnx").write_bytes(data[: len(data) // 2])
    with pytest.raises(BuildError, match=r"cut\.onnx is not a readable ONNX file"):
        build_engine(tmp_path / "cut.onnx", engine, a10g, "fp16", SHAPES, runtime="tensorrt-rtx")
    with pytest.raises(BuildError, match="exported in fp16, but the engine is to be fp32"):
        build_engine(onnx_of("bert", "fp16"), engine, a10g, "fp32", SHAPES, runtime="tensorrt-rtx")
    model = onnx.load(onnx_of("bert", "fp16"))
    model.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(model, tmp_path / "odd.onnx")
    with pytest.raises(BuildError, match=r"TensorRT-RTX for a10g cannot read odd.onnx: .*NoSuchOperator") as error:
        build_engine(tmp_path / "odd.onnx", engine, a10g, "fp16", SHAPES, runtime="tensorrt-rtx")
    assert "\n" not in str(error.value)
    model = onnx.load(onnx_of("bert", "fp16"))
    weight = next(item for item in model.graph.initializer if item.name.endswith("classifier.weight"))
    weight.dims[1], weight.raw_data = 16, weight.raw_data[: 3 * 16 * 2]
    onnx.save(model, tmp_path / "shape.onnx")
    with pytest.raises(BuildError, match=r"TensorRT-RTX for a10g c.* shape.onnx: .+"):
        build_engine(tmp_path / "shape.onnx", engine, a10g, "fp16", SHAPES, runtime="tensorrt-rtx")
    assert not engine.exists()


def test_the_header_check_finds_another_capability() -> None:
    from hwnas.compile.tensorrt_rtx import check_mask

    header = bytes(32) + bytes([4])
    assert check_mask(header, (8, 6)) == 4
    for wrong in (header[:20], bytes(40), header):
        with pytest.raises(BuildError, match=r"does not name SM89 \(bit 0x08\)"):
            check_mask(wrong, (8, 9))


def test_shape_profiles() -> None:
    assert ShapeProfile.from_json(SHAPES.to_json()) == SHAPES
    assert [SHAPES.shape(index) for index in range(3)] == [(1, 1), (1, 16), (4, 64)]
    with pytest.raises(UsageError, match="batch profile 1,8,4: expected min,opt,max"):
        ShapeProfile(batch=(1, 8, 4))
    with pytest.raises(UsageError, match="sequence length profile 0,1,2"):
        ShapeProfile(sequence_length=(0, 1, 2))
