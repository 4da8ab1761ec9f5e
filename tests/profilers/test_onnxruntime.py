"""The runtime and the memory process on a small real ONNX file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hwnas.errors import ProfilerError, UnknownNameError
from hwnas.latency.setting import version_on
from hwnas.profilers import Failure, TimingProtocol, Workload, get_profiler, measure_memory, profiler_names
from hwnas.profilers.memory import main
from hwnas.profilers.onnxruntime import name_libraries
from hwnas.profilers.protocol import time_networks

WORKLOAD = Workload(precision="fp32", batch=2, sequence_length=5, threads=1, vocabulary=50)


def write(path, rows=50, names=("input_ids", "attention_mask", "token_type_ids")):
    """An embedding, summed over the tokens."""
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"]) for name in names]
    table = numpy_helper.from_array(np.ones((rows, 4), dtype=np.float32), "table")
    axes = numpy_helper.from_array(np.array([1], dtype=np.int64), "axes")
    nodes = [
        helper.make_node("Gather", ["table", names[0]], ["rows"]),
        helper.make_node("ReduceSum", ["rows", "axes"], ["logits"], keepdims=0),
    ]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 4])
    graph = helper.make_graph(nodes, "sum", inputs, [output], [table, axes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, path)
    return path


def test_registry():
    assert "onnxruntime" in profiler_names()
    with pytest.raises(UnknownNameError, match="onnxruntime"):
        get_profiler("onnxruntim")


def test_runs_give_one_time_each(tmp_path):
    with get_profiler("onnxruntime").open(write(tmp_path / "a.onnx"), WORKLOAD) as runner:
        seconds = runner.run(7)
        assert seconds.shape == (7,)
        assert (seconds > 0).all()
        assert runner.run(0).shape == (0,)


def test_inputs_are_random_valid_and_the_same_for_a_seed(tmp_path):
    path, profiler = write(tmp_path / "a.onnx"), get_profiler("onnxruntime")
    made = []
    for seed in (0, 0, 1):
        with profiler.open(path, replace(WORKLOAD, seed=seed)) as runner:
            made.append([inputs["input_ids"].copy() for inputs in runner._inputs])
            assert all(inputs["attention_mask"].all() for inputs in runner._inputs)
            assert set(np.unique(runner._inputs[0]["token_type_ids"])) == {0, 1}
    ids = np.array(made[0])
    assert ids.shape[1:] == (2, 5)
    assert ids.min() >= 1
    assert ids.max() < 50
    assert len({array.tobytes() for array in ids}) > 1
    assert (ids == np.array(made[1])).all()
    assert (ids != np.array(made[2])).any()


def test_refusals(tmp_path):
    profiler = get_profiler("onnxruntime")
    strange = write(tmp_path / "b.onnx", names=("input_ids", "pixels"))
    with pytest.raises(ProfilerError, match="'pixels'"), profiler.open(strange, WORKLOAD):
        pass
    with pytest.raises(UnknownNameError, match="bf16"), profiler.open(strange, replace(WORKLOAD, precision="bf16")):
        pass
    broken = tmp_path / "c.onnx"
    broken.write_bytes(b"no network")
    with pytest.raises(Exception, match=r"c\.onnx"), profiler.open(broken, WORKLOAD):
        pass


def test_real_sessions_are_timed_together(tmp_path):
    profiler, protocol = get_profiler("onnxruntime"), TimingProtocol(rounds=2, max_rounds=2, runs=3, block_seconds=0.0)
    with (
        profiler.open(write(tmp_path / "a.onnx"), WORKLOAD) as a,
        profiler.open(write(tmp_path / "b.onnx", rows=60), WORKLOAD) as b,
    ):
        found = time_networks({"a": a, "b": b}, protocol, probe=lambda: 1e-4)
    assert all([len(block) for block in timing.rounds] == [3, 3] for timing in found.values())


def test_memory_counts_the_weights_of_a_fresh_process(tmp_path):
    """A table of 64 MiB must show, and nothing near a second interpreter on top of it."""
    small = measure_memory(write(tmp_path / "small.onnx"), "onnxruntime", WORKLOAD)
    large = measure_memory(write(tmp_path / "large.onnx", rows=2**22), "onnxruntime", WORKLOAD)
    assert isinstance(small, int)
    assert isinstance(large, int)
    assert 2**26 <= large - small < 3.5 * 2**26
    assert small < 2**26


def test_memory_failures_are_data(tmp_path, capsys):
    broken = tmp_path / "c.onnx"
    broken.write_bytes(b"no network")
    found = measure_memory(broken, "onnxruntime", WORKLOAD)
    assert isinstance(found, Failure)
    assert found.stage == "memory"
    assert "c.onnx" in found.reason
    assert measure_memory(broken, "onnxruntime", WORKLOAD, timeout=0.01) == Failure("memory", "no answer within 0.01 s")
    unknown = measure_memory(broken, "other", WORKLOAD)
    assert isinstance(unknown, Failure)
    assert "unknown runtime 'other'" in unknown.reason
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "ONNX file" in capsys.readouterr().out


def test_the_version_on_a_gpu_names_cuda_and_cudnn():
    """Kernels come from these libraries: with others, latencies are others."""
    assert name_libraries("12.8", 91002) == "cuda12.8 cudnn9.10.2"
    assert name_libraries("11.8", 8902) == "cuda11.8 cudnn8.9.2"
    assert name_libraries(None, None) == ""
    profiler = get_profiler("onnxruntime")
    assert version_on(profiler, "cpu") == profiler.version()
    assert version_on(profiler, "gpu").split()[0] == profiler.version()
