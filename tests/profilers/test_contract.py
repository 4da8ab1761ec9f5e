"""One contract for every runtime that is installed here, in every precision that it has.

The network is a pruned one of odd widths (3 of 4 heads, 37 of 64 units), with an embedding large enough for a
leak of it to show.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import importlib.util
import os
import shutil
import sys

import numpy as np
import psutil
import pytest
import torch

from hwnas.compile.tensorrt_rtx import CAPABILITIES, check_mask
from hwnas.errors import MissingExtraError, ProfilerError, UnknownNameError
from hwnas.latency.networks import Exporter
from hwnas.profilers import Failure, Workload, get_profiler, measure_memory, profiler_names
from hwnas.profilers.base import PRECISIONS, first_line
from hwnas.profilers.bitsandbytes import quantise, quantised_linears, weight_bytes
from hwnas.profilers.cuda import has_gpu
from hwnas.profilers.modules import read_module
from hwnas.slicing.extract import extract
from hwnas.spaces import Architecture
from hwnas.targets import get_target

TOLERANCES = {
    "fp32": 1e-4,
    "fp16": 1e-2,
    "bf16": 5e-2,
    "int8": 0.05,
    "int8-dynamic": 0.05,
    "nf4": 0.2,
    "fp4": 0.25,
}
"""Largest difference of a logit from PyTorch in float32 on the processor, as a share of the largest logit."""

PRUNED = Architecture((3,), (37,))
VOCABULARY = 30_000
SHAPES = ((2, 16), (1, 7), (3, 1), (5, 40))
"""(batch, sequence): the workload's, then others."""

COMPILED_SHAPES = SHAPES[:1]  # each further one is compiled again, for 10 seconds
PACKAGES = {
    "bitsandbytes": "bitsandbytes",
    "openvino": "openvino",
    "tensorrt": "tensorrt",
    "tensorrt-rtx": "tensorrt_rtx",
}
"""Runtimes that are extras, and the modules they import."""

no_gpu = pytest.mark.skipif(has_gpu(), reason="this machine has a GPU")


def installed(name):
    return name not in PACKAGES or importlib.util.find_spec(PACKAGES[name]) is not None


def cases():
    """(runtime, precision) of everything that this machine's processor may run."""
    found = []
    for name in profiler_names():
        profiler = get_profiler(name)
        if "cpu" not in profiler.kinds:
            continue
        for precision in profiler.precisions:
            marks = []
            if not installed(name):
                marks.append(pytest.mark.skip(reason=f"{name} is not installed (extra {profiler.extra})"))
            elif name == "torch-compile" and not (os.environ.get("CXX") or shutil.which("g++")):
                marks.append(pytest.mark.skip(reason="torch-compile: no C++ compiler here"))
            elif name == "torch-compile" and precision != "fp32":
                continue  # the compiler is the same, and takes its time
            found.append(pytest.param(name, precision, marks=marks, id=f"{name}-{precision}"))
    return found


def workload(precision, **changes):
    return Workload(
        **{"batch": 2, "sequence_length": 16, "threads": 1, "vocabulary": VOCABULARY, **changes}, precision=precision
    )


@pytest.fixture(scope="module")
def whole(tiny):
    return tiny(
        "bert",
        vocab_size=VOCABULARY,
        num_hidden_layers=1,
        hidden_size=64,
        intermediate_size=64,
        initializer_range=0.1,
    )


@pytest.fixture(scope="module")
def network(whole):
    return extract(whole, PRUNED)


@pytest.fixture(scope="module")
def file_of(whole, network, tmp_path_factory):
    """`file_of("onnx", "int8")` -> the network's file, written once."""
    folder = tmp_path_factory.mktemp("networks")
    calibration = [batch((32, 16), seed=7)]

    def get(artifact, precision):
        path = folder / f"{artifact}-{precision}"
        if not path.exists():
            exporter = Exporter(whole.config, precision, 16, artifact=artifact, calibration=calibration)
            exporter.export(PRUNED, path, module=network)
        return path

    return get


def batch(shape, seed=0):
    """Random tokens, of which every row but the first ends in padding."""
    rng = np.random.default_rng([seed, *shape])
    mask = np.ones(shape, dtype=np.int64)
    for row in range(1, shape[0]):
        mask[row, rng.integers(1, shape[1] + 1) :] = 0
    return {
        "input_ids": rng.integers(1, VOCABULARY, size=shape) * mask,
        "attention_mask": mask,
        "token_type_ids": (np.arange(shape[1]) >= shape[1] // 2).astype(np.int64) * mask,
    }


def expected(module, inputs):
    with torch.no_grad():
        return module(**{name: torch.from_numpy(array) for name, array in inputs.items()}).logits.numpy()


@contextlib.contextmanager
def opened(name, path, load):
    """The runner, unless this processor lacks the precision and the runtime says so in a line."""
    with contextlib.ExitStack() as stack:
        try:
            runner = stack.enter_context(get_profiler(name).open(path, load))
        except ProfilerError as error:
            if "on this processor" not in str(error):
                raise
            pytest.skip(first_line(error))
        yield runner


@pytest.mark.parametrize(("name", "precision"), cases())
def test_agrees_with_pytorch_on_every_shape(name, precision, network, file_of):
    """Runs are timed before and between, so that what they leave behind does not show in an answer."""
    tolerance, modules = TOLERANCES[precision], _modules(network)
    other = extract_other(network)
    with opened(name, file_of(get_profiler(name).artifact, precision), workload(precision)) as runner:
        for shape in COMPILED_SHAPES if name == "torch-compile" else SHAPES:
            inputs = batch(shape)
            wanted = expected(network, inputs)
            seconds = runner.run(3)
            assert seconds.shape == (3,)
            assert seconds.dtype == np.float64
            assert (seconds > 0).all()
            got = runner.infer(inputs)
            assert got.shape == wanted.shape
            assert got.dtype == np.float32
            allowed = tolerance * np.abs(wanted).max()
            assert np.abs(got - wanted).max() <= allowed
            assert np.abs(expected(other, inputs) - wanted).max() > allowed  # the tolerance tells networks apart
        assert runner.run(0).shape == (0,)
    del runner
    gc.collect()
    assert _modules(network) <= modules + 1  # `other` is the one


def extract_other(network):
    """A network that differs in the weights of one matrix."""
    import copy

    other = copy.deepcopy(network)
    with torch.no_grad():
        dense = other.bert.encoder.layer[0].output.dense.weight
        dense.copy_(-dense)
    return other


def _modules(network):
    return sum(type(item) is type(network) for item in gc.get_objects())


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("bitsandbytes", "nf4"),
        ("onnxruntime", "fp32"),
        ("onnxruntime", "int8"),
        ("openvino", "int8"),
        ("torch", "fp32"),
    ],
)
def test_memory_is_released(name, precision, file_of):
    """Six more rounds of opening and closing grow the process by less than two of them would if one leaked."""
    if not installed(name):
        pytest.skip(f"{name} is not installed")
    path = file_of(get_profiler(name).artifact, precision)

    def cycle():
        with opened(name, path, workload(precision)) as runner:
            runner.run(1)
        return psutil.Process().memory_info().rss

    cycle()
    before = cycle()
    after = [cycle() for _ in range(6)][-1]
    assert after - before < 2 * path.stat().st_size


@pytest.mark.parametrize("name", ["openvino", "torch"])
def test_peak_memory_is_the_networks_and_no_library(name, file_of):
    """The libraries alone take over 100 MiB, and are loaded with a process's first network."""
    if not installed(name):
        pytest.skip(f"{name} is not installed")
    path = file_of(get_profiler(name).artifact, "fp32")
    found = measure_memory(path, name, workload("fp32"))
    assert isinstance(found, int), found
    assert path.stat().st_size < found < 2 * path.stat().st_size + 24 * 2**20


@pytest.mark.parametrize("name", [name for name in profiler_names() if installed(name)])
@pytest.mark.parametrize("damage", ["text", "half", "empty", "absent"])
def test_a_broken_file_is_a_failure_that_can_be_recorded(name, damage, file_of, tmp_path):
    profiler = get_profiler(name)
    path = tmp_path / "broken"
    kind = "gpu" if profiler.kinds == ("gpu",) else "cpu"
    if damage == "text":
        path.write_text("no network")
    elif damage == "half":
        data = file_of("onnx" if profiler.artifact == "onnx" else "module", "fp32").read_bytes()
        path.write_bytes(data[: len(data) // 2])
    elif damage == "empty":
        path.touch()
    threads = torch.get_num_threads()
    with (
        pytest.raises(Exception, match=r".") as raised,
        profiler.open(path, workload("fp32" if name != "bitsandbytes" else "nf4", device=kind)),
    ):
        pass
    failure = Failure("load", first_line(raised.value))
    assert failure.reason
    assert "\n" not in failure.reason
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("name", profiler_names())
def test_names(name, tmp_path):
    """Facts of the registry, and a precision that the runtime does not have, whether it is installed or not."""
    profiler = get_profiler(name)
    assert profiler.name == name
    assert set(profiler.precisions) <= set(PRECISIONS) == set(TOLERANCES)
    assert set(profiler.kinds) <= {"cpu", "gpu"}
    assert profiler.artifact in ("onnx", "module", "engine")
    assert profiler.purpose
    lacks = next(precision for precision in PRECISIONS if precision not in profiler.precisions)
    for precision in (lacks, "int4"):
        said = f"unknown precision of runtime {name} '{precision}'"
        with pytest.raises(UnknownNameError, match=said), profiler.open(tmp_path / "any", workload(precision)):
            pass


@pytest.mark.parametrize("name", PACKAGES)
def test_a_missing_library_names_its_extra(name, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, PACKAGES[name], None)  # as if it were not installed
    profiler = get_profiler(name)
    kind = profiler.kinds[0]
    with pytest.raises(MissingExtraError, match=rf"pip install 'hwnas\[{profiler.extra}\]'"):
        profiler.version()
    with pytest.raises(MissingExtraError), profiler.open(tmp_path / "a", workload(profiler.precisions[0], device=kind)):
        pass


@no_gpu
@pytest.mark.parametrize("name", [name for name in profiler_names() if installed(name)])
def test_a_gpu_that_is_not_there(name, file_of):
    """One line, from every runtime; those of the processor alone say that they are."""
    profiler = get_profiler(name)
    path = file_of("onnx" if profiler.artifact == "onnx" else "module", "fp32")
    with pytest.raises(ProfilerError) as raised, profiler.open(path, workload(profiler.precisions[0], device="gpu")):
        pass
    said = str(raised.value)
    assert "\n" not in said
    assert ("does not run on a gpu" if profiler.kinds == ("cpu",) else "CUDA") in said


@pytest.mark.skipif(not installed("tensorrt-rtx"), reason="tensorrt-rtx is not installed (extra tensorrt-rtx)")
@pytest.mark.parametrize(
    ("capability", "precision"), [*((capability, "fp16") for capability in CAPABILITIES), ((8, 6), "int8")]
)
def test_engines_of_every_capability_are_built_and_ask_for_their_gpu(capability, precision, whole, network, tmp_path):
    """Real engines of TensorRT-RTX, of one shape; only a GPU of their capability could run them."""
    target = dataclasses.replace(get_target("a10g"), name="made-up", compute_capability=capability)
    exporter = Exporter(
        whole.config,
        precision,
        16,
        artifact="engine",
        target=target,
        batch=2,
        runtime="tensorrt-rtx",
        calibration=[batch((4, 16), seed=7)],
    )
    built = exporter.export(PRUNED, tmp_path / "network.engine", module=network)
    data = built.path.read_bytes()
    assert check_mask(data, capability) == CAPABILITIES[capability]
    weights = sum(parameter.numel() for parameter in network.parameters())
    assert weights < built.weight_bytes < 4 * weights
    assert len(data) > built.weight_bytes
    assert [path.name for path in tmp_path.iterdir()] == ["network.engine"]
    if not has_gpu():
        with (
            pytest.raises(ProfilerError, match="runtime tensorrt-rtx wants an NVIDIA GPU") as raised,
            get_profiler("tensorrt-rtx").open(built.path, workload(precision, device="gpu")),
        ):
            pass
        assert "\n" not in str(raised.value)


@pytest.mark.skipif(not installed("bitsandbytes"), reason="bitsandbytes is not installed (extra bitsandbytes)")
@pytest.mark.parametrize("precision", ["int8", "nf4", "fp4"])
def test_bitsandbytes_quantises_the_encoder_alone_and_its_bytes_are_counted(precision, file_of):
    module = read_module(file_of("module", precision))
    chosen, counted = quantised_linears(module), weight_bytes(module, precision)
    assert len(chosen) == 6
    assert not any("classifier" in name or "pooler" in name for name in chosen)
    made = quantise(module, precision, "cpu")
    assert type(made.classifier) is type(made.bert.pooler.dense) is torch.nn.Linear
    real = 0
    for parameter in made.parameters():
        real += parameter.numel() * parameter.itemsize
        state = getattr(parameter, "quant_state", None)
        if state is not None:
            real += state.absmax.numel() * state.absmax.itemsize
    if precision == "int8":
        real += sum(4 * made.get_submodule(name).out_features for name in chosen)
        assert all(
            made.get_submodule(name).weight.SCB.numel() == made.get_submodule(name).out_features for name in chosen
        )
    assert counted == real
