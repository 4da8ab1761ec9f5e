"""How the best architectures of several devices differ at equal levels of error."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hwnas.errors import UsageError
from hwnas.search.front import Front, Member
from hwnas.spaces import Architecture

LEVELS = 8
"""Most levels of error that are compared."""


@dataclass(frozen=True)
class Choice:
    """The member that is cheapest on its device among those with at most some error.

    Attributes:
        device: Name of the device.
        index: Index on the device's front.
        member: The member.
        cost: Its first cost there, in the objective's unit.
        elsewhere: By name of another device, what it costs there over what the choice of that device costs there; both
            as they were known during the search, see `known_cost`. Devices where it was not evaluated are left out.
    """

    device: str
    index: int
    member: Member
    cost: float
    elsewhere: Mapping[str, float]

    @property
    def layers(self) -> int:
        """Layers that remain."""
        return len(self.member.architecture.kept_layers)

    @property
    def heads(self) -> float:
        """Mean number of heads in a layer that remains."""
        return _mean([heads for heads, _ in self.member.architecture.shape])

    @property
    def units(self) -> float:
        """Mean number of units in a layer that remains."""
        return _mean([units for _, units in self.member.architecture.shape])


@dataclass(frozen=True)
class Level:
    """Choices whose validation errors are at most `error`, one a device."""

    error: float
    choices: tuple[Choice, ...]

    @property
    def same(self) -> bool:
        """Whether all devices choose the same architecture."""
        return len({choice.member.architecture for choice in self.choices}) == 1


@dataclass(frozen=True)
class Comparison:
    """Levels of error by rising error.

    Attributes:
        objective: Name of the cost, the same on all devices.
        unit: Its unit.
        devices: Names of the devices, and what the costs of their members are: measured, predicted, counted.
        levels: Where some device's choice changes.
    """

    objective: str
    unit: str
    devices: Mapping[str, str]
    levels: tuple[Level, ...]

    def penalties(self) -> dict[tuple[str, str], tuple[float, float]]:
        """By (chosen for, run on): geometric mean and largest of the factors that the choice of one device costs more
        on another than that one's own; over the levels."""
        found: dict[tuple[str, str], list[float]] = {}
        for level in self.levels:
            for choice in level.choices:
                for other, factor in choice.elsewhere.items():
                    found.setdefault((choice.device, other), []).append(factor)
        return {
            pair: (math.exp(_mean([math.log(factor) for factor in factors])), max(factors))
            for pair, factors in found.items()
        }

    def to_json(self) -> dict[str, Any]:
        """JSON types; costs in `unit`, errors as shares."""
        return {
            "objective": self.objective,
            "unit": self.unit,
            "devices": dict(self.devices),
            "levels": [
                {
                    "validation_error": level.error,
                    "same_architecture": level.same,
                    "choices": [
                        {
                            "device": choice.device,
                            "index": choice.index,
                            "text": str(choice.member.architecture),
                            "architecture": choice.member.architecture.to_json(),
                            "precision": choice.member.precision,
                            "validation_error": choice.member.validation_error,
                            "cost": choice.cost,
                            "layers": choice.layers,
                            "mean_heads": choice.heads,
                            "mean_units": choice.units,
                            "cost_elsewhere_over_best_there": dict(choice.elsewhere),
                        }
                        for choice in level.choices
                    ],
                }
                for level in self.levels
            ],
            "penalties": [
                {"chosen_for": chosen, "run_on": other, "mean": mean, "worst": worst}
                for (chosen, other), (mean, worst) in self.penalties().items()
            ],
        }


def compare_fronts(fronts: Sequence[Front], most: int = LEVELS) -> Comparison:
    """Compare fronts of one super-network on different devices.

    Args:
        fronts: Two or more, of the same examples and first objective.
        most: Most levels; of more, some in equal steps are kept, the ends among them.

    Raises:
        UsageError: Fewer than two fronts, two of one device, or fronts that cannot be compared.
    """
    labels = [front.label for front in fronts]
    if len(fronts) < 2 or len(set(labels)) < len(labels):
        raise UsageError(f"fronts of {', '.join(labels) or 'no device'}: expected two or more different devices.")
    first = fronts[0].about
    for front in fronts[1:]:
        for name in ("task", "model", "space", "validation_examples", "seed"):
            if front.about.get(name) != first.get(name):
                raise UsageError(
                    f"the fronts of {labels[0]} and {front.label} differ in {name.replace('_', ' ')} "
                    f"({first.get(name)} and {front.about.get(name)}); expected fronts of one run, searched alike."
                )
        if front.about["objective"]["name"] != first["objective"]["name"]:
            raise UsageError("the fronts are of different objectives; expected the same first one.")
    objective = str(first["objective"]["name"])
    lowest = max(min((member.validation_error for member in front.members), default=math.inf) for front in fronts)
    errors = sorted({member.validation_error for front in fronts for member in front.members})
    levels: list[Level] = []
    before: list[int] = []
    for error in errors:
        if error < lowest:
            continue
        picked = [_pick(front, objective, error) for front in fronts]
        if picked != before:
            levels.append(Level(error, _choices(fronts, picked, objective, error)))
            before = picked
    if len(levels) > most:
        levels = [levels[round(step * (len(levels) - 1) / (most - 1))] for step in range(most)]
    return Comparison(
        objective=objective,
        unit=str(first["objective"]["unit"]),
        devices={front.label: final_costs_are(front, objective) for front in fronts},
        levels=tuple(levels),
    )


Costs = Mapping[Architecture, Sequence[Mapping[str, Any]]]
"""The evaluated points of a front by architecture."""


def points_of(front: Front) -> Costs:
    """The evaluated points of a front by architecture, one for each precision."""
    found: dict[Architecture, list[Mapping[str, Any]]] = {}
    for point in front.points:
        found.setdefault(Architecture.from_json(point["architecture"]), []).append(point)
    return found


def known_cost(points: Costs, member: Member, error: float) -> float | None:
    """First cost of a member of any front on the device that the points are of, as the search knew it.

    That in the member's precision, if the device was searched in it. Otherwise that in the cheapest precision in which
    the architecture was run there and has at most some error; None if there is none, or it was not evaluated.

    Args:
        points: As of `points_of`.
        member: The member.
        error: Validation error.
    """
    there = points.get(member.architecture, ())
    alike = [point for point in there if point["precision"] == member.precision]
    able = alike or [point for point in there if not point.get("stand_in") and float(point["error"]) <= error]
    return min((float(point["cost"]) for point in able), default=None)


def final_cost(member: Member, objective: str) -> float:
    """A cost of a member as it is known in the end, in the objective's unit."""
    return member.latency.seconds if objective == "latency" else member.costs.get(objective, member.cost)


def final_costs_are(front: Front, objective: str) -> str:
    """What `final_cost` of a front's members is, for people; fronts that say nothing of it hold the search's values."""
    if objective == "latency":
        return front.latencies
    known = front.costs_are(objective)
    return f"{known}, not measured" if known in ("predicted", "estimated") else known


def _pick(front: Front, objective: str, error: float) -> int:
    """Index of the cheapest member with at most some error; of equal ones the more accurate."""
    able = [index for index, member in enumerate(front.members) if member.validation_error <= error]
    return min(able, key=lambda i: (final_cost(front.members[i], objective), front.members[i].validation_error))


def _choices(fronts: Sequence[Front], picked: Sequence[int], objective: str, error: float) -> tuple[Choice, ...]:
    chosen = [front.members[index] for front, index in zip(fronts, picked, strict=True)]
    known, choices = [points_of(front) for front in fronts], []
    for front, index, member in zip(fronts, picked, chosen, strict=True):
        elsewhere = {}
        for other, points, own in zip(fronts, known, chosen, strict=True):
            here, there = known_cost(points, own, error), known_cost(points, member, error)
            if other is not front and here and there is not None:
                elsewhere[other.label] = there / here
        choices.append(Choice(front.label, index, member, final_cost(member, objective), elsewhere))
    return tuple(choices)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
