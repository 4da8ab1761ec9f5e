"""Limits that the members of a front must meet: how they are written, and how far something is beyond them.

Inside, limits are in the objective's unit: seconds, bytes, parameters. An increase of the error is a difference of
errors: 0.01, or 1%, is one point of accuracy, as in `hwnas build`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hwnas.errors import UsageError

LIMITED = ("latency", "memory", "parameters")
"""Costs that can be limited."""

_UNITS: Mapping[str, Mapping[str, float]] = {
    "latency": {"": 1e-3, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0},
    "memory": {
        "B": 1.0, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30,
    },
    "parameters": {"": 1.0, "k": 1e3, "M": 1e6, "B": 1e9},
}  # fmt: skip
_EXAMPLES = {"latency": "5ms", "memory": "200MB", "parameters": "10M"}
_SHOWN = {"latency": (1e3, " ms"), "memory": (1e-6, " MB"), "energy": (1e3, " mJ"), "engine-size": (1e-6, " MB")}
_COUNTS = ((1e-6, "M"), (1e-3, "k"), (1.0, ""))
_NUMBER = re.compile(r"(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+)\s*(\D*)")


@dataclass(frozen=True)
class Limit:
    """The most that a cost may be.

    Attributes:
        cost: A name in `LIMITED`.
        most: In the cost's unit: seconds, bytes, parameters.
        target: The device that it holds for; None for all.
    """

    cost: str
    most: float
    target: str | None = None

    def __post_init__(self) -> None:
        if self.cost not in LIMITED:
            raise UsageError(f"a limit on {self.cost}: expected one on {', '.join(LIMITED)}.")
        if not 0 < self.most < math.inf:
            raise UsageError(f"--max-{self.cost} {self.most:g}: expected more than 0, such as {_EXAMPLES[self.cost]}.")

    @property
    def option(self) -> str:
        """The limit as it is written on the command line."""
        return f"--max-{self.cost} {show(self.cost, self.most).replace(' ', '')}"


def parse_limit(cost: str, text: str) -> Limit:
    """A limit from text such as `5ms`, `200MB`, `10M`, or `cpu=5ms` for one device; bare latencies are milliseconds.

    Raises:
        UsageError: It is none of these, or not above 0.
    """
    target, named, amount = text.rpartition("=")
    units = _UNITS[cost]
    found = _NUMBER.fullmatch(amount.strip())
    if found is None or found[2] not in units or (named and not target.strip()):
        known = ", ".join(unit for unit in units if unit)
        raise UsageError(
            f"--max-{cost} {text}: expected a number and a unit ({known}), such as {_EXAMPLES[cost]}, or "
            f"TARGET={_EXAMPLES[cost]}."
        )
    return Limit(cost, float(found[1]) * units[found[2]], target or None)


def parse_increase(text: str) -> float:
    """An increase of the error from text: `1%` and `0.01` are the same.

    Raises:
        UsageError: It is neither, or not between 0 and 1.
    """
    found = _NUMBER.fullmatch(text.strip())
    value = math.nan if found is None or found[2] not in ("", "%") else float(found[1])
    if found is not None and found[2] == "%":
        value /= 100
    if not 0 <= value < 1:
        raise UsageError(f"--max-error-increase {text}: expected 0 or more and below 1, such as 1% or 0.01.")
    return value


def show(cost: str, value: float, *, up: bool = False) -> str:
    """A value of a cost for people, four digits; `up` rounds so that the text, given as a limit, still holds."""
    if cost == "parameters":
        scale, unit = next((entry for entry in _COUNTS if value * entry[0] >= 1), _COUNTS[-1])
    else:
        scale, unit = _SHOWN[cost]
    return f"{_digits(value * scale, up)}{unit}"


def show_increase(value: float) -> str:
    """An increase of the error in percent, rounded up."""
    return f"{_digits(max(0.0, value) * 100, True)}%"


def excess(limits: Sequence[Limit], costs: Mapping[str, float]) -> float:
    """How far costs are beyond limits, each in shares of its limit, added up; 0 if all are met.

    Args:
        limits: The limits.
        costs: Values by name, in the objectives' units.
    """
    return sum(max(0.0, costs[limit.cost] / limit.most - 1) for limit in limits)


def limits_of(limits: Sequence[Limit], names: Sequence[str]) -> list[Limit]:
    """The limits that hold for a device, one a cost; one for this device goes before one for all.

    Args:
        limits: All limits.
        names: What the device is called.

    Raises:
        UsageError: Two limits on one cost are for this device, or both for all.
    """
    found: dict[str, Limit] = {}
    for own in (False, True):
        for limit in limits:
            if (limit.target is not None) != own or (own and limit.target not in names):
                continue
            before = found.get(limit.cost)
            if before is not None and (before.target is not None) == own:
                whom = limit.target or "all"
                raise UsageError(f"{before.option} and {limit.option}: expected one limit on {limit.cost} for {whom}.")
            found[limit.cost] = limit
    return list(found.values())


def _digits(value: float, up: bool) -> str:
    if value <= 0:
        return "0"
    step = 10.0 ** (math.floor(math.log10(value)) - 3)
    steps = math.ceil(value / step - 1e-6) if up else round(value / step)
    return f"{steps * step:.10g}"
