"""What the latency table holds: the setting of a measurement, and the measurement.

Measured and predicted numbers are different types. Only measured ones are ever stored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any

from hwnas.errors import TableError
from hwnas.provenance import canonical

DOUBTS = frozenset({"throttled", "clock_low", "contended", "shared_gpu", "disturbed"})
"""Flags of rows that are measured again later."""


_TYPES: Mapping[str, tuple[tuple[type, ...], str]] = {
    "int": ((int, float), "a number"),
    "float": ((int, float), "a number"),
    "str": ((str,), "text"),
}


@dataclass(frozen=True)
class Setting:
    """Everything a latency depends on besides the network: the key of the table.

    Attributes:
        target: Name of the target.
        fingerprint: The very device: name, processor model or compute capability, cores, driver.
        runtime: Name of the profiler.
        runtime_version: Version of the installed runtime.
        precision: `"fp32"`, `"fp16"`, ...
        batch: Sequences in one run.
        sequence_length: Tokens in a sequence.
        threads: Processor threads that compute one run.
        protocol: Key of the measuring protocol, `TimingProtocol.key()`.
    """

    target: str
    fingerprint: str
    runtime: str
    runtime_version: str
    precision: str
    batch: int
    sequence_length: int
    threads: int
    protocol: str

    def to_json(self) -> dict[str, Any]:
        """JSON types; `from_json` inverts it."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Setting:
        """Inverse of `to_json`; TableError if a field is missing or of another type."""
        chosen = _chosen(cls, data)
        for name, value in chosen.items():
            kind = int if name in ("batch", "sequence_length", "threads") else str
            if type(value) is not kind:
                raise TableError(f"a stored setting has {name} {str(value)[:40]!r}, expected {kind.__name__}.")
        return cls(**chosen)

    def key(self) -> str:
        """Canonical text: equal for equal settings."""
        return canonical(self.to_json())

    def options(self) -> str:
        """The options of `hwnas profile` that measure in this setting."""
        rounds = self.rounds()
        return f"{self.device()}{f' --rounds {rounds}' if rounds else ''}"

    def rounds(self) -> int | None:
        """Rounds of timing that the protocol's key names; None where they are as usual."""
        found = re.search(r" rounds=(\d+)", self.protocol)
        return int(found[1]) if found else None

    def device(self) -> str:
        """The options that name the device, and how networks run on it, without versions and protocol."""
        return (
            f"--target {self.target} --runtime {self.runtime} --precision {self.precision} "
            f"--batch {self.batch} --seq-len {self.sequence_length} --threads {self.threads}"
        )


@dataclass(frozen=True)
class Measured:
    """A measured latency with its provenance. Times are seconds per run.

    Attributes:
        seconds: The headline: median over the blocks of (median of the block / state of the machine around it).
        low, high: Interval of the headline, as `profilers.summary.Statistics` has it.
        n: Timed runs.
        median, p5, p95: Median, 5th and 95th percentile of all runs in the rounds that count.
        rounds: Number of interleaved rounds.
        round_spread: (largest - smallest median of a round) / headline.
        peak_memory_bytes: What loading and running adds to the peak of a fresh process; None if not measured.
        weight_bytes: Bytes of the weights in the setting's precision.
        flags: What speaks against the number; see `docs/measuring.md`.
        load: Load average of the machine before the rounds, None where unknown.
        mhz: Processor clock in MHz before the rounds, None where unknown.
        date: UTC, ISO 8601.
        commit: Git commit of hwnas, None outside a checkout.
        hwnas_version: Version of hwnas.
        p99: 99th percentile of all runs; None below 662 runs, too few to bound it.
        file_bytes: Size of the file that was run (ONNX file, engine, saved module); None in rows of older versions.
        device_memory_bytes: Memory of the GPU that the loaded network holds; None on a processor or where unknown.
        energy_joules: Energy of one run, which is a whole batch; None where the device does not say.
        discarded: Rounds left out because the device was disturbed.
        attempts: How often the network was measured in this setting; the row kept is the least doubtful.
        round_medians: Median of each round that counts, in seconds, in order.
        telemetry: What the device said between the blocks: clocks, temperature, power, throttle reasons.
    """

    seconds: float
    low: float
    high: float
    n: int
    median: float
    p5: float
    p95: float
    rounds: int
    round_spread: float
    peak_memory_bytes: int | None
    weight_bytes: int
    flags: tuple[str, ...]
    load: float | None
    mhz: float | None
    date: str
    commit: str | None
    hwnas_version: str
    p99: float | None = None
    file_bytes: int | None = None
    device_memory_bytes: int | None = None
    energy_joules: float | None = None
    discarded: int = 0
    attempts: int = 1
    round_medians: tuple[float, ...] = ()
    telemetry: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def throughput(self, batch: int) -> float:
        """Sequences per second at the setting's batch, run after run."""
        return batch / self.seconds

    @property
    def doubts(self) -> tuple[str, ...]:
        """Flags that say the device was not itself: such a row is measured again rather than believed."""
        return tuple(flag for flag in self.flags if flag in DOUBTS)

    def to_json(self) -> dict[str, Any]:
        """JSON types, with `kind` saying that it was measured; `from_json` inverts it."""
        return {
            "kind": "measured",
            **asdict(self),
            "flags": list(self.flags),
            "round_medians": list(self.round_medians),
            "telemetry": dict(self.telemetry),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Measured:
        """Inverse of `to_json`; TableError if a field is missing or of another type, or it is no measurement."""
        if data.get("kind") != "measured":
            raise TableError(f"expected a measurement, got kind {data.get('kind')!r}; measure it again.")
        chosen = _chosen(cls, data)
        check_types(cls, chosen)
        lists = {name: tuple(chosen.get(name) or ()) for name in ("flags", "round_medians")}
        return cls(**{**chosen, **lists, "telemetry": chosen.get("telemetry") or {}})


@dataclass(frozen=True)
class Predicted:
    """A latency that a predictor says, in seconds; never stored in the table.

    Attributes:
        seconds: The prediction.
        low, high: Interval from the errors on networks that were left out of the fit.
    """

    seconds: float
    low: float
    high: float

    def to_json(self) -> dict[str, Any]:
        """JSON types, with `kind` saying that it was predicted."""
        return {"kind": "predicted", **asdict(self)}


@dataclass(frozen=True)
class Estimated:
    """A latency or a memory that was worked out from a device's facts, without that device; never stored in the table.

    Attributes:
        seconds: The estimate in seconds (of a latency).
        low, high: Interval that is meant to hold 90% of the devices like those it was calibrated on.
        basis: What it stands on, for people: the facts of the target, and which measured devices calibrated it.
    """

    seconds: float
    low: float
    high: float
    basis: str

    def to_json(self) -> dict[str, Any]:
        """JSON types, with `kind` saying that it is an estimate."""
        return {"kind": "estimated", **asdict(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Estimated:
        """Inverse of `to_json`; TableError if a field is missing or it is no estimate."""
        if data.get("kind") != "estimated":
            raise TableError(f"expected an estimate, got kind {data.get('kind')!r}.")
        return cls(**_chosen(cls, data))


@dataclass(frozen=True)
class EstimatedMemory:
    """Memory of the device that a loaded network was worked out to hold, in bytes; never stored in the table.

    Attributes:
        bytes: The estimate.
        low, high: Bounds, or an interval where measured devices calibrate it; `basis` says which.
        basis: What it stands on, for people.
    """

    bytes: int
    low: int
    high: int
    basis: str

    def to_json(self) -> dict[str, Any]:
        """JSON types, with `kind` saying that it is an estimate."""
        return {"kind": "estimated", **asdict(self)}


@dataclass(frozen=True)
class PredictedMemory:
    """Peak memory that a predictor says, in bytes; never stored in the table.

    Attributes:
        bytes: The prediction.
        low, high: Interval from the errors on networks that were left out of the fit.
    """

    bytes: int
    low: int
    high: int

    def to_json(self) -> dict[str, Any]:
        """JSON types, with `kind` saying that it was predicted."""
        return {"kind": "predicted", **asdict(self)}


def _chosen(cls: type[Any], data: Mapping[str, Any]) -> dict[str, Any]:
    names = [entry.name for entry in fields(cls)]
    optional = {
        entry.name for entry in fields(cls) if entry.default is not MISSING or entry.default_factory is not MISSING
    }
    missing = [name for name in names if name not in data and name not in optional]
    if missing:
        raise TableError(f"a stored {cls.__name__.lower()} lacks {missing[0]!r}; measure it again.")
    return {name: data[name] for name in names if name in data}


def check_types(cls: type[Any], data: Mapping[str, Any]) -> None:
    """Refuse text where a number belongs, and the like: SQLite keeps whatever it is given in any column.

    Args:
        cls: A dataclass; its fields of plain numbers and text are looked at.
        data: Values by the name of their field; others are left aside.

    Raises:
        TableError: A value is of another type than its field.
    """
    for entry in fields(cls):
        kind, _, empty = str(entry.type).partition(" | ")
        if kind not in _TYPES or entry.name not in data or (empty and data[entry.name] is None):
            continue
        types, name = _TYPES[kind]
        value = data[entry.name]
        if isinstance(value, bool) or not isinstance(value, types):
            raise TableError(
                f"a stored {cls.__name__.lower()} has {entry.name} {str(value)[:40]!r}, expected {name}; its table "
                "or file is damaged."
            )
