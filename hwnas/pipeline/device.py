"""One device of a search: what networks cost there, how sure that is, and what the limits are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from hwnas.errors import MissingProfileError, NoMemberError, TableError, UsageError
from hwnas.latency.keys import model_key, network_shape
from hwnas.latency.predictor import Predictor
from hwnas.latency.profile import load_predictor
from hwnas.latency.records import Estimated, Measured, Predicted, Setting
from hwnas.latency.table import LatencyTable
from hwnas.models import get_family
from hwnas.pipeline.reach import ESTIMATED, MEASURED, PREDICTED, reach
from hwnas.search.constraints import Limit, excess, limits_of, show
from hwnas.search.front import Latency
from hwnas.search.laws import load_law
from hwnas.search.objectives import (
    EstimatedLatency,
    Estimator,
    Objective,
    get_objective,
    interval_of,
    measured_cost,
    needs_profile,
)
from hwnas.search.search import FLOAT32
from hwnas.spaces import Architecture, Space
from hwnas.targets import get_target

_PLAIN = ("latency", "parameters")  # objectives whose fronts need no list of costs
_ESTIMATES = ("latency", "parameters")
_Shape = tuple[tuple[int, int], ...]


class Device:
    """Costs and limits of sub-networks of one super-network on one device.

    Args:
        settings: Where networks run, by precision, from `check_together`; the first is the unpruned network's.
        names: The costs that are searched, from `cost_names`.
        limits: Limits on costs; those of other devices are left aside.
        config: Hugging Face configuration of the super-network.
        table: The latency table.
        called: What the device is called where it is asked for, such as `cpu` or `cpu@graviton`: limits with a target
            are for this device if it is exactly that. None takes its label, or the name of its target.

    Attributes:
        how: What latencies are here: measured, predicted or estimated; see `hwnas.pipeline.reach`.
        label: Name of the device: of its target, and for another machine's processor also its model.
        called: What it is called where it is asked for; its label if that was not said.
        limits: Those of this device.
        predictors: Of latency and memory, by precision; None without a profile.

    Raises:
        TableError: The table lacks a profile, or its rows lack what a cost needs.
        UsageError: A cost or limit that is not known of a device out of reach.
    """

    def __init__(
        self,
        settings: Mapping[str, Setting],
        names: Sequence[str],
        limits: Sequence[Limit],
        config: Any,
        table: LatencyTable,
        called: str | None = None,
    ) -> None:
        self.settings, self.names = dict(settings), tuple(names)
        self.first = next(iter(self.settings.values()))
        self.how = reach(self.first)
        self.label = _label(self.first, self.how)
        self.called = called or self.label
        self.limits = limits_of(limits, (called,) if called else (self.label, self.first.target))
        self._config, self._table = config, table
        self._wanted = tuple(dict.fromkeys((*self.names, *(limit.cost for limit in self.limits))))
        self._estimator = self._make_estimator() if self.how == ESTIMATED else None
        self.predictors = {precision: self._predictor(setting) for precision, setting in self.settings.items()}
        self._known: dict[tuple[str, _Shape], float] = {}
        self._made = {precision: self._objectives(precision) for precision in self.settings}
        self._values: dict[tuple[str, _Shape], dict[str, float]] = {}
        self._lows: dict[tuple[str, _Shape], dict[str, float]] = {}

    @property
    def extended(self) -> bool:
        """Whether members carry a list of costs: there are several, or one that older fronts do not have."""
        return len(self.names) > 1 or self.names[0] not in _PLAIN

    def quantised(self, precision: str) -> bool:
        """Whether networks in a precision are judged in their runtime; those out of reach cannot be."""
        return self.how == MEASURED and precision != FLOAT32

    def objectives(self) -> list[dict[str, str]]:
        """Name, unit and provenance of each cost that is searched."""
        made = self._made[self.first.precision]
        return [
            {"name": made[name].name, "unit": made[name].unit, "provenance": made[name].provenance}
            for name in self.names
        ]

    def values(self, arch: Architecture, precision: str) -> Mapping[str, float]:
        """All costs that are searched or limited, by name, in their units, as they are known during the search."""
        key = (precision, arch.shape)
        if key not in self._values:
            found = {name: objective(arch) for name, objective in self._made[precision].items()}
            if key in self._known and "latency" in found:
                found["latency"] = self._known[key]
            self._values[key] = found
        return self._values[key]

    def costs(self, arch: Architecture, precision: str) -> tuple[float, ...]:
        """The costs that are searched, in order."""
        values = self.values(arch, precision)
        return tuple(values[name] for name in self.names)

    def lowest(self, arch: Architecture) -> dict[str, float]:
        """The costs that are searched, each in the precision where it is lowest: what a searcher is told."""
        rows = [self.costs(arch, precision) for precision in self.settings]
        return dict(zip(self.names, map(min, zip(*rows, strict=True)), strict=True))

    def interval(self, name: str, arch: Architecture, precision: str) -> tuple[float, float]:
        """Between which a measurement of a cost is expected; twice the value if it was measured, or never will be."""
        value = self.values(arch, precision)[name]
        if self.how != MEASURED or (name == "latency" and self.is_known(arch, precision)):
            return value, value
        return interval_of(self._made[precision][name], arch)

    def is_known(self, arch: Architecture, precision: str) -> bool:
        """Whether the latency of a network was measured during the search."""
        return (precision, arch.shape) in self._known

    def excess(self, arch: Architecture, precision: str | None = None) -> float:
        """How far a network is beyond the limits at best, as its intervals allow; 0 if it can meet them.

        Without a precision, in the one that suits it best.
        """
        if precision is None:
            return min(self.excess(arch, each) for each in self.settings)
        key = (precision, arch.shape)
        if key not in self._lows:
            self._lows[key] = {limit.cost: self.interval(limit.cost, arch, precision)[0] for limit in self.limits}
        return excess(self.limits, self._lows[key])

    def is_beyond(self, arch: Architecture, precision: str, latency: Latency) -> bool:
        """Whether a network breaks a limit in the end: by its measurement where that says the cost."""
        return excess(self.limits, self.final(self.values(arch, precision), latency)) > 0

    def final(self, values: Mapping[str, float], latency: Latency) -> dict[str, float]:
        """Costs by name, measured where a measurement says them."""
        found = dict(values)
        if "latency" in found:
            found["latency"] = latency.seconds
        if isinstance(latency, Measured):
            for name in found:
                measured = measured_cost(name, latency)
                found[name] = found[name] if measured is None else measured
        return found

    def latency(self, arch: Architecture, precision: str) -> Estimated | Predicted:
        """Latency of a network on a device that is out of reach."""
        if self._estimator is not None:
            return self._estimator.predict(arch)
        said = self.predicted(arch, precision)
        if said is None:
            raise TableError(f"no profile says latencies on {self.label}.")
        return said

    def predicted(self, arch: Architecture, precision: str) -> Predicted | None:
        """What the profile says of a latency; None without one."""
        predictor = self.predictors[precision]
        return None if predictor is None else predictor.predict(arch)

    def learn(self, precision: str, rows: Mapping[str, Measured]) -> None:
        """Fit again, on the rows of the profile and on those that were measured during the search.

        Args:
            precision: Precision of the rows.
            rows: Measurements by network key; measured latencies take the place of predicted ones.
        """
        setting = self.settings[precision]
        fit = self._table.latest_fit(setting, model_key(self._config))
        if fit is None:
            raise MissingProfileError(f"{self._table.name} has lost its profile", setting.options())
        found = {key: self._table.get(setting, key) for key in fit.design} | dict(rows)
        known = [(network_shape(key), row) for key, row in found.items() if row is not None]
        self.predictors[precision] = Predictor(
            [shape for shape, _ in known],
            [row.seconds for _, row in known],
            [row.peak_memory_bytes for _, row in known],
            dimensions=get_family(self._config).dimensions(self._config),
            uncertainties=[(row.high - row.low) / 2 / row.seconds for _, row in known],
        )
        self._known.update({(precision, network_shape(key)): row.seconds for key, row in rows.items()})
        self._made[precision] = self._objectives(precision)
        self._values.clear()
        self._lows.clear()

    def check_reachable(self, space: Space) -> None:
        """NoMemberError if even the smallest network of a space cannot meet the limits; names what it can."""
        smallest = space.smallest()
        for limit in self.limits:
            ends = {each: self.interval(limit.cost, smallest, each)[0] for each in self.settings}
            best = min(ends, key=lambda each: ends[each])
            if ends[best] > limit.most:
                value = self.values(smallest, best)[limit.cost]
                provenance = self._made[best][limit.cost].provenance
                raise NoMemberError(
                    f"{limit.option} on {self.label} is out of reach: the least of the space {space.name} is "
                    f"{show(limit.cost, value, up=True)} ({provenance}, {smallest}{_in(best, self.settings)}); ask for "
                    "that or more."
                )
        if self.excess(smallest) > 0:
            raise NoMemberError(
                f"{' and '.join(limit.option for limit in self.limits)} on {self.label} contradict each other: no "
                f"precision of {', '.join(self.settings)} meets all of them even in {smallest}; loosen one."
            )

    def _objectives(self, precision: str) -> dict[str, Objective]:
        setting = self.settings[precision]
        found: dict[str, Objective] = {}
        for name in self._wanted:
            if self._estimator is not None and name == "latency":
                found[name] = EstimatedLatency(self._estimator)
                continue
            found[name] = get_objective(
                name,
                self._config,
                self.predictors[precision],
                lambda each: load_law(self._config, setting, self._table, each),
            )
        return found

    def _predictor(self, setting: Setting) -> Predictor | None:
        """The table's predictor; without one None, unless it is needed."""
        if self.how == ESTIMATED:
            return None
        try:
            return load_predictor(self._config, setting, self._table)
        except TableError:
            if self.how == PREDICTED or any(map(needs_profile, self._wanted)):
                raise
            return None

    def _make_estimator(self) -> Estimator:
        from hwnas.latency.estimate import make_estimator

        setting = self.first
        made: Estimator = make_estimator(
            self._config, setting.target, setting.precision, setting.batch, setting.sequence_length, self._table
        )
        return made


def check_estimated(names: Sequence[str], limits: Sequence[Limit]) -> None:
    """UsageError if a cost that is searched or limited is not estimated."""
    for option, cost in (*(("--objective ", name) for name in names), *(("--max-", limit.cost) for limit in limits)):
        if cost not in _ESTIMATES:
            raise UsageError(
                f"--estimate with {option}{cost}: {cost} is not estimated; expected {' or '.join(_ESTIMATES)}."
            )


def tell_apart(devices: Sequence[Device]) -> None:
    """Label devices that would have one label by what they are called; UsageError if they are still the same.

    Two boards of one target differ in what `NAME@TEXT` says of them, such as their drivers.
    """
    found = [(device.label, device.first.fingerprint) for device in devices]
    for device, own in zip(devices, found, strict=True):
        alike = [entry for entry in found if entry[0] == own[0]]
        text = _slug(device.called.partition("@")[2])
        if text and len(alike) > 1 and alike.count(own) == 1:
            device.label = f"{device.first.target}@{text}"
    labels = [device.label for device in devices]
    for label in labels:
        if labels.count(label) > 1:
            raise UsageError(f"--target {label} is given {labels.count(label)} times; expected different devices.")


def _label(setting: Setting, how: str) -> str:
    if how != PREDICTED or get_target(setting.target).kind != "cpu":
        return setting.target
    return f"{setting.target}@{_slug(setting.fingerprint)}"


def _slug(text: str) -> str:
    """A text as it can stand in the name of a folder."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:32].strip("-")


def _in(precision: str, settings: Mapping[str, Setting]) -> str:
    return f" in {precision}" if len(settings) > 1 else ""
