"""Timing in a process of its own: real ONNX Runtime and PyTorch, real signals, processes that really crash."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import psutil
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from hwnas.errors import ProfilerError
from hwnas.profilers import Failure, RawTiming, TimingProtocol, Workload, summarise
from hwnas.profilers.memory import died, explain, free_memory, out_of_memory
from hwnas.profilers.worker import pin, time_in_process

WORKLOAD = Workload("fp32", batch=2, sequence_length=8, threads=1, vocabulary=100)
SHORT = TimingProtocol(
    rounds=4, max_rounds=4, runs=2, block_seconds=0.0, warmup_window=1, warmup_seconds=0.01, calm=1e9
)
LONG = replace(SHORT, rounds=100_000, max_rounds=100_000)


def write(path, rows=100):
    """Logits (batch, 3) from a table of embeddings, summed over the tokens."""
    table = np.ones((rows, 3), dtype=np.float32)
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "sequence"])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("ReduceSum", ["rows", "axis"], ["logits"], keepdims=0),
    ]
    initial = [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.array([1]), "axis")]
    graph = helper.make_graph(nodes, "g", [ids], [logits], initial)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def workers():
    """Measuring processes that this one has started."""
    return [child for child in psutil.Process().children() if "hwnas.profilers.worker" in child.cmdline()]


def test_networks_are_timed_and_a_refused_one_is_data(tmp_path):
    (tmp_path / "damaged").write_bytes(b"damaged")
    networks = {"a": write(tmp_path / "a"), "bad": tmp_path / "damaged", "b": write(tmp_path / "b")}
    rounds, seen = [], []
    found = time_in_process(
        "onnxruntime",
        networks,
        WORKLOAD,
        SHORT,
        notify=lambda *call: rounds.append(call),
        observe=lambda *call: seen.append(call),
    )
    assert list(found) == ["a", "bad", "b"]
    assert isinstance(found["bad"], Failure)
    assert found["bad"].stage == "load"
    assert "\n" not in found["bad"].reason
    for key in "ab":
        timing = found[key]
        assert isinstance(timing, RawTiming)
        assert [len(block) for block in timing.rounds] == [2] * 4
        assert len(timing.probes) == 4
        assert summarise(timing.rounds).seconds > 0
        assert timing.telemetry["ended_by"] in ("interval", "rounds")
    assert rounds == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert {key for key, _ in seen} <= {"a", "b"}
    assert workers() == []


def test_a_killed_worker_fails_the_network_it_was_at(tmp_path):
    networks = {name: write(tmp_path / name) for name in "abc"}
    killed = []

    def notify(done, total):
        if done == 2 and not killed:
            killed.append(workers()[0].pid)
            os.kill(killed[0], signal.SIGKILL)

    found = time_in_process(
        "onnxruntime", networks, WORKLOAD, replace(SHORT, rounds=400, max_rounds=400), notify=notify
    )
    failures = [result for result in found.values() if isinstance(result, Failure)]
    assert [failure.stage for failure in failures] == ["run"]
    assert "SIGKILL, as the system does when memory runs out" in failures[0].reason
    assert sorted(len(timing.rounds) for timing in found.values() if isinstance(timing, RawTiming)) == [400, 400]
    assert workers() == []


CRASHES = """
import ctypes, os
import torch

class Network(torch.nn.Module):
    def __init__(self, how):
        super().__init__()
        self.how, self.linear = how, torch.nn.Linear(8, 3)

    def forward(self, input_ids, attention_mask):
        if self.how == "segfault":
            ctypes.string_at(0)
        if self.how == "memory":
            torch.empty(2**60)
        return self.linear(input_ids.float())
"""


def test_a_crash_and_missing_memory_end_their_networks_alone(tmp_path, monkeypatch):
    (tmp_path / "crashing_networks.py").write_text(CRASHES)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    from crashing_networks import Network

    networks = {}
    for how in ("segfault", "memory", "none"):
        networks[how] = tmp_path / f"{how}.pt"
        torch.save(Network(how), networks[how])
    found = time_in_process("torch", networks, WORKLOAD, SHORT)
    assert isinstance(found["segfault"], Failure)
    assert "SIGSEGV" in found["segfault"].reason
    assert isinstance(found["memory"], Failure)
    assert found["memory"].reason.startswith("out of memory: ")
    assert isinstance(found["none"], RawTiming)


def test_a_process_that_cannot_start_is_one_line(tmp_path):
    with pytest.raises(ProfilerError, match=r"ended before it loaded a network: .*unknown runtime 'other'") as caught:
        time_in_process("other", {"a": write(tmp_path / "a")}, WORKLOAD, SHORT)
    assert "\n" not in str(caught.value)


def test_an_interrupt_ends_the_worker_at_once(tmp_path):
    def interrupt(done, total):
        assert workers()
        raise KeyboardInterrupt

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        time_in_process("onnxruntime", {"a": write(tmp_path / "a")}, WORKLOAD, LONG, notify=interrupt)
    assert workers() == []
    assert time.monotonic() - start < 30


PARENT = """
import sys
from pathlib import Path
from hwnas.profilers import TimingProtocol, Workload
from hwnas.profilers.worker import time_in_process
time_in_process("onnxruntime", {"a": Path(sys.argv[1])}, Workload("fp32", 2, 8, 1, 100),
                TimingProtocol(rounds=100_000, max_rounds=100_000), notify=lambda *call: print("round", flush=True))
"""


def test_a_killed_parent_leaves_no_worker(tmp_path):
    command = [sys.executable, "-P", "-c", PARENT, str(write(tmp_path / "a"))]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"round\n"
    (worker,) = psutil.Process(parent.pid).children()
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert psutil.wait_procs([worker], timeout=20)[1] == []


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot pin processes")
def test_a_worker_is_pinned_to_the_last_processors():
    code = (
        "import os, threading, time; from hwnas.profilers.worker import pin\n"
        "threading.Thread(target=time.sleep, args=(2,), daemon=True).start()\n"
        "chosen = pin(1)\n"
        "print(chosen, [os.sched_getaffinity(int(t)) == set(chosen) for t in os.listdir('/proc/self/task')])"
    )
    run = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == f"({max(os.sched_getaffinity(0))},) [True, True]"
    assert callable(pin)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has 14.5 GiB", "out of device memory"),
        ("CUDA error: out of memory", "out of device memory"),
        ("CUDA failure 2: out of memory ; GPU=0", "out of device memory"),
        ("terminate called after throwing an instance of 'std::bad_alloc'", "out of memory"),
        ("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory", "out of memory"),
        ("[ONNXRuntimeError] : 6 : Failed to allocate memory for requested buffer of size 8", "out of memory"),
        ("INVALID_GRAPH", None),
    ],
)
def test_missing_memory_is_recognised(text, kind):
    assert out_of_memory(text) == kind
    assert explain(RuntimeError(text)).startswith(kind or text)


def test_memory_that_a_control_group_leaves(tmp_path):
    """The least of what the machine, the own group and those above it leave; a cache counts as left."""
    groups, own = tmp_path / "cgroup", tmp_path / "own"

    def group(place, names, cache, limit, used, cached):
        (groups / place).mkdir(parents=True, exist_ok=True)
        for name, text in zip(names, (limit, used), strict=True):
            (groups / place / name).write_text(f"{text}\n")
        (groups / place / "memory.stat").write_text(f"anon 7\n{cache} {cached}\n")

    new = ("memory.max", "memory.current"), "inactive_file"
    old = ("memory.limit_in_bytes", "memory.usage_in_bytes"), "total_inactive_file"
    group("slice/job", *new, "max", 900, 0)
    group("slice", *new, 1000, 900, 50)
    group("memory", *old, 2**63 - 4096, 900, 0)
    group("memory/docker", *old, 700, 600, 20)
    for named, left in (
        ("0::/slice/job\n", 150),
        ("4:cpu,memory:/docker\n0::/\n", 120),
        ("4:memory:/docker\n0::/slice", 120),
        ("0::/slice/elsewhere", 150),
    ):
        own.write_text(named)
        assert free_memory(groups, own) == left
    own.write_text("0::/\n")
    for kept in (own, tmp_path / "none"):
        assert free_memory(groups, kept) > 2**20
    group("", *new, 3000, 1000, 0)  # in a container the root is its group
    own.write_text("0::/far/away\n")
    assert free_memory(groups, own) == 2000
    assert free_memory() > 0


def test_why_a_process_ended():
    assert died(-9, "") == "the process was ended by SIGKILL, as the system does when memory runs out"
    assert died(-11, "some\nwarning\n") == "the process was ended by SIGSEGV (warning)"
    assert died(1, "Traceback\n  at\nValueError: no") == "ValueError: no"
    assert died(3, "") == "the process ended with code 3"
    thrown = "terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc"
    assert died(-6, thrown).startswith("out of memory: the process was ended by SIGABRT")
    assert explain(MemoryError()) == "out of memory: MemoryError"
