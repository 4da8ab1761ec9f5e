"""ONNX Runtime on the processor and, where a build with CUDA is installed, on the GPU.

Model for this file: Polygraphy's `backend/onnxrt` (a loader and a runner; heavy imports on activation).
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.errors import ProfilerError
from hwnas.profilers.base import Logits, Runner, Seconds, Tokens, Workload, random_inputs
from hwnas.profilers.cuda import Gpu
from hwnas.profilers.library import check_workload

_INPUTS = 4  # different random inputs that the runs take in turn
_CUDA = "CUDAExecutionProvider"


class OnnxRuntime:
    """The processor's execution provider, or CUDA's.

    On the processor a run is the wall time of one call, copies of inputs and output included. On the GPU inputs and
    output stay on the device (I/O binding), and a run is the time between two CUDA events around the call.
    """

    name = "onnxruntime"
    precisions: tuple[str, ...] = ("fp32", "fp16", "int8", "int8-dynamic")
    kinds: tuple[str, ...] = ("cpu", "gpu")
    artifact = "onnx"
    extra: str | None = None
    distributions: tuple[str, ...] = ("onnxruntime", "onnxruntime-gpu")
    purpose = "networks on the processor, or with onnxruntime-gpu on the GPU; checks every export"

    def version(self) -> str:
        """See `Profiler.version`."""
        return str(_module().__version__)

    def libraries(self, kind: str) -> str:
        """Versions of CUDA and cuDNN that networks run with on a GPU; empty on a processor, or where there are none.

        They are PyTorch's, which is imported first: ONNX Runtime takes the libraries that are loaded.
        """
        if kind != "gpu":
            return ""
        import torch

        cudnn: Any = torch.backends.cudnn
        return name_libraries(torch.version.cuda, cudnn.version())

    @contextmanager
    def open(self, path: Path, workload: Workload) -> Iterator[Runner]:
        """See `Profiler.open`.

        Raises:
            ProfilerError: The GPU is asked for, but this build of ONNX Runtime or of PyTorch has no CUDA.
        """
        check_workload(self, workload)
        runtime = _module()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = workload.threads
        options.inter_op_num_threads = 1
        options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 4
        # Threads spin within a run, as they do by default when a model is served, but not after it: many networks
        # are loaded at once, and those that wait for their turn must not take the processor from the one that runs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "1")
        options.add_session_config_entry("session.force_spinning_stop", "1")
        runner: _Runner | _GpuRunner
        if workload.device == "gpu":
            runner = _GpuRunner(runtime, path, options, workload)
        else:
            runner = _Runner(runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]), workload)
        try:
            yield runner
        finally:
            runner.close()


class _Runner:
    def __init__(self, session: Any, workload: Workload) -> None:
        self._session: Any = session
        names = self._names = [value.name for value in session.get_inputs()]
        rng = np.random.default_rng(workload.seed)
        self._inputs = [random_inputs(names, workload, rng) for _ in range(_INPUTS)]
        self._next = 0

    def run(self, n: int) -> Seconds:
        """See `Runner.run`."""
        seconds = np.empty(n, dtype=np.float64)
        clock, run = time.perf_counter, self._session.run
        for i in range(n):
            inputs = self._inputs[self._next]
            self._next = (self._next + 1) % _INPUTS
            start = clock()
            run(None, inputs)
            seconds[i] = clock() - start
        return seconds

    def infer(self, inputs: Mapping[str, Tokens]) -> Logits:
        """See `Runner.infer`."""
        found = self._session.run(None, {name: inputs[name] for name in self._names})[0]
        return np.asarray(found, dtype=np.float32)

    def close(self) -> None:
        """Release the session and its memory."""
        self._session = None


class _GpuRunner:
    def __init__(self, runtime: Any, path: Path, options: Any, workload: Workload) -> None:
        providers = runtime.get_available_providers()
        if _CUDA not in providers:
            raise ProfilerError(
                f"the installed onnxruntime {runtime.__version__} has no CUDA (it has {', '.join(providers)}): pip "
                "install onnxruntime-gpu in its place."
            )
        if workload.precision == "int8-dynamic":
            raise ProfilerError("ONNX Runtime has no dynamic 8-bit kernels on the GPU; use int8, or fp16.")
        gpu = self._gpu = Gpu("onnxruntime")  # imports PyTorch, whose CUDA libraries ONNX Runtime then finds
        before = gpu.used_bytes()
        chosen = {"device_id": str(gpu.device.index), "user_compute_stream": str(gpu.stream.cuda_stream)}
        session = self._session = runtime.InferenceSession(str(path), options, providers=[(_CUDA, chosen)])
        if session.get_providers()[0] != _CUDA:  # it goes on without CUDA, and says so in its log only
            raise ProfilerError(
                f"onnxruntime {runtime.__version__} could not load its CUDA libraries; install those it is built for."
            )
        self._runtime = runtime
        self._names = [value.name for value in session.get_inputs()]
        self._asynchronous = runtime.RunOptions()
        self._asynchronous.add_run_config_entry("disable_synchronize_execution_providers", "1")
        rng = np.random.default_rng(workload.seed)
        self._bindings = [self._bind(random_inputs(self._names, workload, rng)) for _ in range(_INPUTS)]
        self._next = 0
        self.flush, self.enqueued = gpu.flush, gpu.enqueued
        self.run(1)
        self._device_memory = max(0, gpu.used_bytes() - before)

    def run(self, n: int) -> Seconds:
        """See `Runner.run`."""
        seconds = np.empty(n, dtype=np.float64)
        run, options = self._session.run_with_iobinding, self._asynchronous
        for i in range(n):
            binding = self._bindings[self._next]
            self._next = (self._next + 1) % _INPUTS
            seconds[i] = self._gpu.time(lambda: run(binding, options))  # noqa: B023 - it is called at once
        return seconds

    def infer(self, inputs: Mapping[str, Tokens]) -> Logits:
        """See `Runner.infer`."""
        binding = self._bind({name: inputs[name] for name in self._names})
        self._session.run_with_iobinding(binding)
        return np.array(binding.copy_outputs_to_cpu()[0], dtype=np.float32)

    def device_memory(self) -> int:
        """Bytes by which the GPU's memory in use grew while the network was loaded and run once."""
        return self._device_memory

    def close(self) -> None:
        """Release the session and its memory."""
        self._bindings.clear()
        self._session = None
        gc.collect()

    def _bind(self, inputs: Mapping[str, Tokens]) -> Any:
        """A binding of inputs that are on the device, and of an output that stays there."""
        index = self._gpu.device.index
        binding = self._session.io_binding()
        for name, array in inputs.items():
            value = self._runtime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), "cuda", index)
            binding.bind_ortvalue_input(name, value)
        binding.bind_output(self._session.get_outputs()[0].name, "cuda", index)
        return binding


def name_libraries(cuda: str | None, cudnn: int | None) -> str:
    """Versions of CUDA and cuDNN as part of a runtime's: `"cuda12.8 cudnn9.10.2"`.

    Args:
        cuda: As PyTorch says it; None without.
        cudnn: The number that the library gives for its version; None without.
    """
    parts = [] if cuda is None else [f"cuda{cuda}"]
    if cudnn is not None:
        major, rest = divmod(cudnn, 10_000 if cudnn >= 90_000 else 1_000)
        parts.append(f"cudnn{major}.{rest // 100}.{rest % 100}")
    return " ".join(parts)


def _module() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ProfilerError("runtime onnxruntime is not installed: pip install onnxruntime.") from error
    return onnxruntime


RUNTIME = OnnxRuntime()
