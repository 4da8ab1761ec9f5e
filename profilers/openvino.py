"""OpenVINO on the processor, from the ONNX file."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.errors import ProfilerError
from hwnas.profilers.base import Logits, Runner, Seconds, Tokens, Workload, random_inputs
from hwnas.profilers.library import check_workload, load

_INPUTS = 4  # different random inputs that the runs take in turn
_HINTS = {"fp32": "f32", "fp16": "f16", "bf16": "bf16", "int8": "f32"}
_CAPABILITIES = {"fp32": "FP32", "fp16": "FP16", "bf16": "BF16", "int8": "INT8"}


class OpenVino:
    """The CPU device, tuned for latency, with one stream and batch and length left dynamic.

    The inference precision is pinned: to f32 for fp32 and for the parts of a Q/DQ file that are not 8-bit (OpenVINO's
    own default is bfloat16 where the processor has it). fp16 and bf16 need a processor with such arithmetic. A run
    is the wall time of one `infer`; inputs are passed without a copy.
    """

    name = "openvino"
    precisions: tuple[str, ...] = ("fp32", "fp16", "bf16", "int8")
    kinds: tuple[str, ...] = ("cpu",)
    artifact = "onnx"
    extra: str | None = "openvino"
    distributions: tuple[str, ...] = ("openvino",)
    purpose = "networks on the processor, 8-bit ones as well"

    def version(self) -> str:
        """See `Profiler.version`."""
        return str(_module().__version__)

    def check(self, precision: str) -> None:
        """Refuse a precision that this processor lacks: it is never replaced by another one.

        Raises:
            ProfilerError: It lacks it; says what it has.
            MissingExtraError: OpenVINO is not installed.
        """
        _check(_module().Core(), precision)

    @contextmanager
    def open(self, path: Path, workload: Workload) -> Iterator[Runner]:
        """See `Profiler.open`.

        Raises:
            ProfilerError: This processor lacks the precision.
        """
        check_workload(self, workload)
        openvino = _module()
        core = openvino.Core()
        _check(core, workload.precision)
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": str(workload.threads),
            "ENABLE_CPU_PINNING": False,  # the process that measures is pinned as a whole
            "INFERENCE_PRECISION_HINT": _HINTS[workload.precision],
        }
        compiled = core.compile_model(core.read_model(path), "CPU", settings)
        taken = str(compiled.get_property("INFERENCE_PRECISION_HINT").to_string())
        if taken != _HINTS[workload.precision]:
            raise ProfilerError(f"OpenVINO computes in {taken} where {_HINTS[workload.precision]} was asked for.")
        runner = _Runner(compiled, workload)
        del compiled
        try:
            yield runner
        finally:
            runner.close()


class _Runner:
    def __init__(self, compiled: Any, workload: Workload) -> None:
        self._names = [value.get_any_name() for value in compiled.inputs]
        self._request: Any = compiled.create_infer_request()
        rng = np.random.default_rng(workload.seed)
        self._inputs = [random_inputs(self._names, workload, rng) for _ in range(_INPUTS)]
        self._next = 0

    def run(self, n: int) -> Seconds:
        """See `Runner.run`."""
        seconds = np.empty(n, dtype=np.float64)
        clock, infer = time.perf_counter, self._request.infer
        for i in range(n):
            inputs = self._inputs[self._next]
            self._next = (self._next + 1) % _INPUTS
            start = clock()
            infer(inputs, share_inputs=True, share_outputs=True)
            seconds[i] = clock() - start
        return seconds

    def infer(self, inputs: Mapping[str, Tokens]) -> Logits:
        """See `Runner.infer`."""
        # shared as in `run`: a request that was given shared arrays takes no others of another shape
        arrays = {name: np.ascontiguousarray(inputs[name]) for name in self._names}
        found = self._request.infer(arrays, share_inputs=True)
        return np.array(found[0], dtype=np.float32)

    def close(self) -> None:
        """Release the network."""
        self._request, self._inputs = None, []


def _check(core: Any, precision: str) -> None:
    """See `OpenVino.check`; asks a core that is there."""
    has = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if _CAPABILITIES[precision] not in has:
        raise ProfilerError(
            f"OpenVINO has no {precision} on this processor (it has {', '.join(sorted(has))}); use fp32 or int8."
        )


def _module() -> Any:
    return load("openvino", "openvino", "openvino", "openvino")


RUNTIME = OpenVino()
