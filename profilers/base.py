"""The contract between a runtime and the measuring protocol."""

from __future__ import annotations

import gc
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from hwnas.errors import ProfilerError

Seconds = npt.NDArray[np.float64]
"""Seconds of single runs, shape (n,)."""

Tokens = npt.NDArray[np.int64]
"""Token ids, a mask or segment ids, shape (batch, sequence)."""

Logits = npt.NDArray[np.float32]
"""Shape (batch, labels)."""


@dataclass(frozen=True)
class Workload:
    """How a network is run: everything a runtime needs to know besides the file.

    Attributes:
        precision: One of `PRECISIONS`.
        batch: Sequences in one run.
        sequence_length: Tokens in a sequence, none of them padding.
        threads: Threads that compute one run.
        vocabulary: Token ids are drawn from 1 to `vocabulary - 1`.
        seed: Seed of the token ids.
        device: `"cpu"` or `"gpu"`: where it runs.
    """

    precision: str
    batch: int
    sequence_length: int
    threads: int
    vocabulary: int
    seed: int = 0
    device: str = "cpu"


PRECISIONS: Mapping[str, str] = MappingProxyType(
    {
        "fp32": "32-bit floats",
        "fp16": "16-bit floats",
        "bf16": "bfloat16",
        "int8": "8-bit integers: calibrated Q/DQ in ONNX runtimes, LLM.int8() in bitsandbytes",
        "int8-dynamic": "8-bit weights, activations quantised as they come, no calibration (ONNX Runtime)",
        "nf4": "4-bit normal floats for the weights (bitsandbytes)",
        "fp4": "4-bit floats for the weights (bitsandbytes)",
    }
)
"""Every precision there is; a runtime has some of them."""


@dataclass(frozen=True)
class Failure:
    """A runtime refused a network; data, so that the other networks of a job are still measured.

    Attributes:
        stage: `"export"`, `"load"`, `"run"` or `"memory"`.
        reason: The first line of what the runtime said.
    """

    stage: str
    reason: str


@dataclass
class RawTiming:
    """What the protocol saw of one network.

    Attributes:
        rounds: One array of seconds per run for each round, in order; disturbed ones are left out at the end.
        probes: For each round the longer of the two probes around its block, in seconds.
        starts: For each round when its block began, in seconds of a clock that all blocks of a process share.
        calm: For each round made whether its block counts, because the device was undisturbed.
        sessions: Rounds of `rounds` that each process made, in order.
        effects: For each of `rounds` how much longer networks took around its block than on the calm machine, as a
            factor; empty for 1.
        level_error: Half the 95% interval of what calm is, relative; it is the same for all networks of a session.
        enqueues: For each of `rounds` the median seconds that the host took to enqueue a run on the GPU; empty where
            the runner does not say.
        slowed: For each of `rounds` whether heat or the hardware slowed a GPU; empty where nobody says.
        low_clock: For each of `rounds` whether a GPU's clock was low; empty where nobody says.
        runs: Runs in a block.
        discarded: Rounds that were left out because the device was disturbed.
        warmup_runs: Runs before the first timed one.
        flags: Names of what speaks against the numbers; see `docs/measuring.md`.
        load: Load average of the machine when the network's rounds began, None where it is not known.
        mhz: Processor clock in MHz then, None where it is not known.
        device_memory_bytes: Memory of the GPU that the loaded network holds after its warm-up, None where unknown.
        energy_joules: Energy of one run, which is a whole batch; None where the device does not say.
        telemetry: What the device said between the blocks, summarised: clocks, temperature, power, throttle reasons.
    """

    rounds: list[Seconds] = field(default_factory=list)
    probes: list[float] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)
    calm: list[bool] = field(default_factory=list)
    sessions: list[int] = field(default_factory=list)
    effects: list[float] = field(default_factory=list)
    level_error: float = 0.0
    enqueues: list[float] = field(default_factory=list)
    slowed: list[bool] = field(default_factory=list)
    low_clock: list[bool] = field(default_factory=list)
    runs: int = 0
    discarded: int = 0
    warmup_runs: int = 0
    flags: tuple[str, ...] = ()
    load: float | None = None
    mhz: float | None = None
    device_memory_bytes: int | None = None
    energy_joules: float | None = None
    telemetry: Mapping[str, Any] = field(default_factory=dict)


class Runner(Protocol):
    """A loaded network, ready to run.

    One on a GPU may have three methods besides. `flush()` empties the device's cache and waits. `device_memory()` gives
    the bytes of the device that the loaded network holds. `enqueued()` gives the seconds that the host took to enqueue
    each run, without waiting for the device: of the runs since it was last asked, in order, shape (n,).
    """

    def infer(self, inputs: Mapping[str, Tokens]) -> Logits:
        """Logits, shape (batch, labels), float32, of any batch and sequence length that the workload allows.

        Args:
            inputs: `input_ids`, `attention_mask` and, where the network takes them, `token_type_ids`, each int64 of
                shape (batch, sequence). Names that the network does not take are ignored.
        """

    def run(self, n: int) -> Seconds:
        """Run n times, one after the other.

        Returns:
            Seconds of each run, shape (n,).
        """


class Profiler(Protocol):
    """A runtime. Implementations import their libraries inside the methods.

    One whose precisions depend on the device may have a method `check(precision)` that raises ProfilerError. One that
    runs with other libraries on a device may have a method `libraries(kind)` that gives their versions; they become
    part of the setting's.

    Attributes:
        name: What it is registered under.
        precisions: Names of `PRECISIONS` that it runs.
        kinds: Kinds of target that it runs on, `"cpu"` or `"gpu"`.
        artifact: What `open` reads: `"onnx"` for an ONNX file, `"module"` for a PyTorch module saved with
            `torch.save`, `"engine"` for an engine file.
        extra: Extra of hwnas that installs it, None if it comes with hwnas.
        purpose: What it is for, in a few words.
    """

    name: str
    precisions: tuple[str, ...]
    kinds: tuple[str, ...]
    artifact: str
    extra: str | None
    purpose: str

    def version(self) -> str:
        """Version of the installed runtime.

        Raises:
            MissingExtraError: The runtime is not installed.
        """

    def open(self, path: Path, workload: Workload) -> AbstractContextManager[Runner]:
        """Load an artifact; leaving the context releases what the runtime holds.

        Raises:
            UnknownNameError: The runtime does not have the workload's precision.
            Exception: Whatever the runtime raises for a file that it refuses.
        """


def random_inputs(names: Collection[str], workload: Workload, rng: np.random.Generator) -> dict[str, Tokens]:
    """Random token ids, never the padding id 0, without padding; each int64 (batch, sequence).

    Args:
        names: Inputs of the network; what is not among them is left out.
        workload: Batch, sequence length and vocabulary.
        rng: Source of the ids.

    Raises:
        ProfilerError: The network wants another input.
    """
    shape = (workload.batch, workload.sequence_length)
    segments = np.broadcast_to(np.arange(shape[1]) >= (shape[1] + 1) // 2, shape)
    made = {
        "input_ids": rng.integers(1, max(2, workload.vocabulary), size=shape, dtype=np.int64),
        "attention_mask": np.ones(shape, dtype=np.int64),
        "token_type_ids": np.ascontiguousarray(segments.astype(np.int64)),
    }
    unknown = [name for name in names if name not in made]
    if unknown:
        raise ProfilerError(f"the network wants an input {unknown[0]!r}; expected only {', '.join(made)}.")
    return {name: made[name] for name in names}


def first_line(error: BaseException) -> str:
    """The first line of an error's message that says something, else the error's type."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:500] if lines else type(error).__name__


@contextmanager
def no_collection() -> Iterator[None]:
    """No garbage collection meanwhile: it disturbs times, and costs a sixth of the time of an export."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
