"""What a search minimises beside the validation error. A new objective is one class and one line in `_OBJECTIVES`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from hwnas.errors import UnknownNameError, UsageError
from hwnas.latency.law import Law
from hwnas.latency.predictor import Predictor
from hwnas.latency.records import Estimated, Measured
from hwnas.models import get_family
from hwnas.slicing.extract import parameter_counter
from hwnas.spaces import Architecture

ERROR = "error"
"""The objective that every search has."""

Laws = Callable[[str], Law]
"""Gives the law that was fitted to the rows' values of an objective; see `hwnas.search.laws`."""


class Objective(Protocol):
    """A cost of an architecture, smaller is better.

    Attributes:
        name: How users call it.
        unit: Unit of the value.
        provenance: Where the value comes from: `"predicted"`, `"estimated"` or `"counted"`.
    """

    name: str
    unit: str
    provenance: str

    def __call__(self, arch: Architecture) -> float:
        """The cost of an architecture, in `unit`."""


class Latency:
    """Seconds per run on the target, as the fitted predictor says."""

    name, unit, provenance, needs_profile = "latency", "seconds", "predicted", True

    def __init__(self, config: Any, predictor: Predictor | None, laws: Laws | None = None) -> None:
        self._predictor = _required(predictor, self.name)

    def __call__(self, arch: Architecture) -> float:
        """Seconds."""
        return self._predictor.predict(arch).seconds

    def interval(self, arch: Architecture) -> tuple[float, float]:
        """Seconds between which a measurement is expected."""
        said = self._predictor.predict(arch)
        return said.low, said.high


class Estimator(Protocol):
    """Says latencies of a device that is out of reach."""

    def predict(self, arch: Architecture) -> Estimated:
        """Estimated latency of an architecture."""


class EstimatedLatency:
    """Seconds per run on a target that is out of reach, worked out from its facts."""

    name, unit, provenance = "latency", "seconds", "estimated"

    def __init__(self, estimator: Estimator) -> None:
        self._estimator = estimator

    def __call__(self, arch: Architecture) -> float:
        """Seconds."""
        return self._estimator.predict(arch).seconds


class Memory:
    """Bytes that loading and running adds to a process on the target, as the fitted predictor says."""

    name, unit, provenance, needs_profile = "memory", "bytes", "predicted", True

    def __init__(self, config: Any, predictor: Predictor | None, laws: Laws | None = None) -> None:
        self._predictor = _required(predictor, self.name)

    def __call__(self, arch: Architecture) -> float:
        """Bytes."""
        return float(self._predictor.predict_memory(arch).bytes)

    def interval(self, arch: Architecture) -> tuple[float, float]:
        """Bytes between which a measurement is expected."""
        said = self._predictor.predict_memory(arch)
        return float(said.low), float(said.high)


class Parameters:
    """Parameters of the extracted module, embeddings and head included, counted."""

    name, unit, provenance, needs_profile = "parameters", "parameters", "counted", False

    def __init__(self, config: Any, predictor: Predictor | None, laws: Laws | None = None) -> None:
        self._count = parameter_counter(config, get_family(config).dimensions(config))

    def __call__(self, arch: Architecture) -> float:
        """Number of parameters."""
        return float(self._count(arch))


class _FromRows:
    """A value that the rows of the latency table hold beside the latency, by a law fitted to it."""

    name: str
    unit: str
    provenance, needs_profile = "predicted", True

    def __init__(self, config: Any, predictor: Predictor | None, laws: Laws | None = None) -> None:
        if laws is None:
            raise _without_table(self.name)
        self._law = laws(self.name)

    def __call__(self, arch: Architecture) -> float:
        """The cost in `unit`."""
        return float(self._law.predict([arch.shape])[0, 0])

    def interval(self, arch: Architecture) -> tuple[float, float]:
        """Between which a measurement is expected, in `unit`."""
        _, low, high = self._law.predict([arch.shape])[0].tolist()
        return low, high


class Energy(_FromRows):
    """Joules per run on the target."""

    name, unit = "energy", "joules"


class EngineSize(_FromRows):
    """Bytes of the file that the runtime runs: an engine, an ONNX file or a saved module."""

    name, unit = "engine-size", "bytes"


_OBJECTIVES: dict[str, type[Latency | Memory | Parameters | Energy | EngineSize]] = {
    objective.name: objective for objective in (Latency, Parameters, Memory, Energy, EngineSize)
}

_MEASURED = {
    "latency": "seconds", "memory": "peak_memory_bytes", "energy": "energy_joules", "engine-size": "file_bytes",
}  # fmt: skip


def objective_names() -> tuple[str, ...]:
    """Names of the registered objectives."""
    return tuple(_OBJECTIVES)


def cost_names(names: str | Sequence[str]) -> tuple[str, ...]:
    """The costs among objectives, each once, in order; `error` may be named too, because it is always there.

    Raises:
        UnknownNameError: No objective has one of the names.
        UsageError: There is no cost among them.
    """
    given = (names,) if isinstance(names, str) else tuple(names)
    costs = tuple(dict.fromkeys(name for name in given if name != ERROR))
    for name in costs:
        _objective(name)
    if not costs:
        raise UsageError(f"--objective error: expected a cost beside the error: {', '.join(sorted(_OBJECTIVES))}.")
    return costs


def needs_profile(name: str) -> bool:
    """Whether an objective is read off a profile; UnknownNameError lists the known ones."""
    return _objective(name).needs_profile


def get_objective(name: str, config: Any, predictor: Predictor | None, laws: Laws | None = None) -> Objective:
    """The objective of that name for a super-network.

    Args:
        name: A name in `objective_names()`.
        config: Hugging Face configuration of the super-network.
        predictor: Of the setting, for latency and memory.
        laws: Of the setting, for energy and engine size.

    Raises:
        UnknownNameError: No objective has that name.
        UsageError: The objective needs a predictor or a law and there is none.
        TableError: The table's rows do not hold what it needs.
    """
    return _objective(name)(config, predictor, laws)


def interval_of(objective: Objective, arch: Architecture) -> tuple[float, float]:
    """Between which a measurement of a cost is expected, in its unit; twice the value where there is no interval."""
    found = getattr(objective, "interval", None)
    if found is None:
        value = objective(arch)
        return value, value
    low, high = found(arch)
    return float(low), float(high)


def measured_cost(name: str, measured: Measured) -> float | None:
    """What a measurement says of a cost, in the objective's unit; None if it does not say it."""
    value = getattr(measured, _MEASURED[name]) if name in _MEASURED else None
    return None if value is None else float(value)


def _objective(name: str) -> type[Latency | Memory | Parameters | Energy | EngineSize]:
    if name not in _OBJECTIVES:
        raise UnknownNameError("objective", name, _OBJECTIVES)
    return _OBJECTIVES[name]


def _required(predictor: Predictor | None, name: str) -> Predictor:
    if predictor is None:
        raise _without_table(name)
    return predictor


def _without_table(name: str) -> UsageError:
    return UsageError(f"objective {name} needs the target's latency table; run `hwnas profile` first.")
