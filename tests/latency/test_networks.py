"""Networks written into a traced graph against networks traced by themselves."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from hwnas.compile.export import export_onnx, verify_onnx
from hwnas.errors import BuildError, UnsupportedBuildError, UsageError
from hwnas.latency import networks
from hwnas.latency.networks import Exporter, build_random
from hwnas.spaces import Architecture
from hwnas.targets import get_target

ODD = Architecture(((0, 2), 1), ((5, 9, 60), 1))
ONE = Architecture((3, 0), (17, 0))


def unnamed(path):
    """The model's bytes with all values and nodes renamed by order: the tracer counts its names differently."""
    proto = onnx.load(path)
    graph, names = proto.graph, {"": ""}
    for tensor in graph.initializer:
        tensor.name = names.setdefault(tensor.name, f"v{len(names)}")
    for node in graph.node:
        for values in (node.input, node.output):
            values[:] = [names.setdefault(name, f"v{len(names)}") for name in values]
        node.name = ""
    return proto.SerializeToString(deterministic=True)


@pytest.fixture(scope="module")
def exporter(bert):
    return Exporter(bert, "fp32", 8)


@pytest.mark.parametrize(
    ("family", "precision", "arch"),
    [("bert", "fp32", ODD), ("roberta", "fp16", Architecture((0, (0, 2)), (0, 1)))],
)
def test_same_graph_as_the_exporter(request, tmp_path, exporter, family, precision, arch):
    """One head, one unit and indexed blocks included, for both families and both precisions."""
    config = request.getfixturevalue(family)
    if (family, precision) != ("bert", "fp32"):
        exporter = Exporter(config, precision, 8)
    found = exporter.export(arch, tmp_path / "a.onnx")
    module = build_random(config, arch)
    single = export_onnx(module, tmp_path / "single.onnx", precision=precision, sequence_length=8)
    assert not found.traced
    assert unnamed(found.path) == unnamed(single)
    count = sum(parameter.numel() for parameter in module.parameters())
    assert found.weight_bytes == count * (4 if precision == "fp32" else 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "single.onnx"]


def test_given_weights_are_the_ones_in_the_file(bert, exporter, tmp_path):
    module = build_random(bert, ODD, seed=7)
    assert not exporter.export(ODD, tmp_path / "a.onnx", module=module).traced
    verify_onnx(module, tmp_path / "a.onnx", shapes=((3, 11),))
    with pytest.raises(BuildError, match="differs"):
        verify_onnx(build_random(bert, ODD, seed=8), tmp_path / "a.onnx", shapes=((3, 11),))


def test_removed_blocks_have_graphs_of_their_own(exporter, tmp_path):
    for index, arch in enumerate((Architecture((2, 0), (0, 0)), Architecture((0, 0), (0, 24)))):
        found = exporter.export(arch, tmp_path / f"{index}.onnx")
        assert not found.traced
        session = onnxruntime.InferenceSession(str(found.path))
        inputs = {value.name: np.ones((1, 8), dtype=np.int64) for value in session.get_inputs()}
        assert session.run(None, inputs)[0].shape == (1, 3)


def test_graph_with_a_foreign_weight_is_not_used(exporter, tmp_path):
    """Where the exporter folded weights together, they are not found again."""
    path = exporter.export(ODD, tmp_path / "a.onnx").path
    weights = networks._arrays(build_random(exporter._config, ODD), "fp32")
    networks._Graph(onnx.load(path), weights, "fp32")
    name = next(name for name in weights if name.endswith("query.weight"))
    with pytest.raises(BuildError, match="is no weight of the module"):
        networks._Graph(onnx.load(path), {**weights, name: weights[name] + 1}, "fp32")


def test_wrong_weights_are_noticed(bert, exporter, tmp_path, monkeypatch):
    """A graph filled wrongly does not pass the comparison, and the network is traced by itself."""
    graph = exporter._graph(ODD, tmp_path / "scratch.onnx")
    swap = {"query": "key", "key": "query"}
    swapped = [(i, ".".join(swap.get(part, part) for part in name.split(".")), t) for i, name, t in graph._slots]
    assert swapped != graph._slots
    monkeypatch.setattr(graph, "_slots", swapped)
    module = build_random(bert, ODD)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(5)
    assert exporter.export(ODD, tmp_path / "a.onnx", module=module).traced
    verify_onnx(module, tmp_path / "a.onnx", shapes=((2, 5),))
    other = build_random(bert, ODD, seed=8)
    monkeypatch.setattr(networks, "export_onnx", lambda _, path, **options: export_onnx(other, path, **options))
    with pytest.raises(BuildError, match="differs"):
        exporter.export(ODD, tmp_path / "b.onnx", module=module)
    assert not (tmp_path / "b.onnx").exists()


def test_random_modules_are_repeatable_and_leave_the_generator_alone(bert):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    first, second = build_random(bert, ONE), build_random(bert, ONE)
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    vectors = [parameter for parameter in first.parameters() if parameter.dim() < 2 and parameter.numel() > 1]
    assert len({tuple(vector.tolist()) for vector in vectors}) == len(vectors)


def test_too_long(bert, roberta, tmp_path):
    for config in (bert, roberta):
        with pytest.raises(UsageError, match="positions for 32; ask for at most 32"):
            Exporter(config, "fp32", 33).export(ONE, tmp_path / "a.onnx")


@pytest.mark.parametrize("precision", ["int8", "int8-dynamic"])
def test_8_bit_files_come_from_the_same_graph(bert, exporter, tmp_path, precision):
    """With random tokens or the task's; the float file in between does not stay."""
    whole = exporter.export(ODD, tmp_path / "float.onnx")
    made = Exporter(bert, precision, 8).export(ODD, tmp_path / "a.onnx")
    assert not made.traced
    assert whole.weight_bytes / 4 < made.weight_bytes < whole.weight_bytes
    assert made.weight_bytes == sum(
        onnx.numpy_helper.to_array(tensor).nbytes for tensor in onnx.load(made.path).graph.initializer
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "float.onnx"]
    if precision == "int8":
        shape = (2, 8)
        tokens = {"input_ids": np.full(shape, 3), "attention_mask": np.ones(shape, dtype=np.int64)}
        tokens["token_type_ids"] = np.zeros(shape, dtype=np.int64)
        other = Exporter(bert, precision, 8, calibration=[tokens]).export(ODD, tmp_path / "b.onnx")
        assert other.path.read_bytes() != made.path.read_bytes()
        assert other.weight_bytes == made.weight_bytes


def test_8_bit_files_are_compared_with_pytorch(bert, tmp_path, monkeypatch):
    monkeypatch.setattr(networks, "TOLERANCES", {"int8": 1e-9})
    with pytest.raises(BuildError, match=r"the int8 file differs from PyTorch by .* calibrate it on more data"):
        Exporter(bert, "int8", 8).export(ODD, tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8", "nf4"])
def test_modules_are_written_whole_in_float32(bert, tmp_path, precision):
    module = build_random(bert, ODD)
    made = Exporter(bert, precision, 8, artifact="module").export(ODD, tmp_path / "a.pt", module=module.half())
    assert all(parameter.dtype == torch.float16 for parameter in module.parameters())
    found = torch.load(made.path, weights_only=False)
    assert {name: value.shape for name, value in found.named_parameters()} == {
        name: value.shape for name, value in module.named_parameters()
    }
    assert all(parameter.dtype == torch.float32 for parameter in found.parameters())
    assert not found.training
    count = sum(parameter.numel() for parameter in module.parameters())
    if precision in ("fp32", "bf16"):
        assert made.weight_bytes == count * (4 if precision == "fp32" else 2)
    else:
        on_gpu = Exporter(bert, precision, 8, artifact="module", target=get_target("a10g"))
        assert on_gpu.export(ODD, tmp_path / "b.pt", module=module).weight_bytes < made.weight_bytes < 4 * count


@pytest.mark.parametrize(
    ("precision", "options", "says"),
    [
        ("int4", {}, "no artifact 'onnx' of precision 'int4'; there are onnx: fp32, fp16"),
        ("nf4", {"artifact": "engine"}, "no artifact 'engine' of precision 'nf4'"),
        ("fp32", {"artifact": "plan"}, "no artifact 'plan'"),
        ("fp16", {"artifact": "engine"}, "an engine is built for a target"),
    ],
)
def test_what_cannot_be_written(bert, precision, options, says):
    with pytest.raises(UsageError, match=says):
        Exporter(bert, precision, 8, **options)


def test_an_engine_that_cannot_be_built(bert, tmp_path):
    """The builder's own line; neither an engine nor the ONNX file stays."""
    with pytest.raises(UnsupportedBuildError, match="TensorRT-RTX cannot serve h100"):
        Exporter(bert, "fp32", 8, artifact="engine", target=get_target("h100"), runtime="tensorrt-rtx").export(
            ODD, tmp_path / "a.engine"
        )
    assert list(tmp_path.iterdir()) == []
