"""Fronts on disk: `front.json` for programs, `front.csv` for tables; read back by `hwnas build`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hwnas.errors import NoMemberError, RunFolderError, TableError, UsageError
from hwnas.files import write_at_once
from hwnas.latency.records import Estimated, Measured, Predicted
from hwnas.spaces import Architecture

SCHEMA = 3
"""Version of the layout of `front.json`. Schema 1 had one precision a front, and measured latencies alone; schema 2 one
cost, and no latencies that a profile of another machine predicts. A front without these is still written as 2."""

_PLAIN = 2
_UNSURE = {"predicted", "estimated"}

Latency = Measured | Estimated | Predicted
"""What is known of a member's latency: only the first was seen on the device."""


@dataclass(frozen=True)
class Member:
    """One sub-network of a front, extracted, and measured unless the device is out of reach.

    Attributes:
        architecture: The sub-network.
        validation_error: 1 - quality on the search's validation examples, of what `judged_in` names.
        test_error: 1 - quality on the test split, of what `judged_in` names.
        latency: Measured on the target; estimated, where the search was told to do without the device; or predicted by
            a profile that was measured on the device and brought here.
        predicted: What the predictor had said of the latency; None without a profile.
        parameters: Parameters of the extracted module.
        cost: Value of the search's first objective during the search, in the objective's unit.
        precision: Precision of the network that the latency is of.
        judged_in: What ran the network to find its errors: the shared weights in float32, or the network in its own
            precision and runtime.
        costs: Of a search of several objectives, or of one beyond latency and parameters: every cost by name,
            measured where a measurement says it. Empty otherwise.
    """

    architecture: Architecture
    validation_error: float
    test_error: float
    latency: Latency
    predicted: Predicted | None
    parameters: int
    cost: float
    precision: str = "fp32"
    judged_in: str = "torch fp32"
    costs: Mapping[str, float] = field(default_factory=dict, hash=False)

    @property
    def peak_memory_bytes(self) -> int | None:
        """Measured peak memory in bytes; None where it was not measured."""
        return self.latency.peak_memory_bytes if isinstance(self.latency, Measured) else None

    @property
    def flags(self) -> tuple[str, ...]:
        """What speaks against the measurement; none of an estimate or a prediction."""
        return self.latency.flags if isinstance(self.latency, Measured) else ()

    def to_json(self) -> dict[str, Any]:
        """JSON types; `from_json` inverts it."""
        return {
            "architecture": self.architecture.to_json(),
            "text": str(self.architecture),
            "precision": self.precision,
            "judged_in": self.judged_in,
            "validation_error": self.validation_error,
            "test_error": self.test_error,
            "latency": self.latency.to_json(),
            "predicted_latency": None if self.predicted is None else self.predicted.to_json(),
            "parameters": self.parameters,
            "cost": self.cost,
            **({"costs": dict(self.costs)} if self.costs else {}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], precision: str = "fp32") -> Member:
        """Inverse of `to_json`; `precision` is that of a member of schema 1, which does not say.

        Raises:
            TableError: A measurement stands where a prediction belongs, or the other way round.
        """
        predicted = data["predicted_latency"]
        return cls(
            architecture=Architecture.from_json(data["architecture"]),
            validation_error=float(data["validation_error"]),
            test_error=float(data["test_error"]),
            latency=_latency(data["latency"]),
            predicted=None if predicted is None else _predicted(predicted),
            parameters=int(data["parameters"]),
            cost=float(data["cost"]),
            precision=str(data.get("precision", precision)),
            judged_in=str(data.get("judged_in", "torch fp32")),
            costs={name: float(value) for name, value in data.get("costs", {}).items()},
        )


@dataclass(frozen=True)
class Front:
    """The result of a search for one device.

    Attributes:
        about: The search: objective with unit and provenance, searcher, seed, space, task, metric, setting of the
            measurements, hash of the super-network's weights, versions; `objectives` where there are several; `limits`,
            `max_error_increase`, `targets` where there are such. JSON types.
        unpruned: The whole network in the first precision, measured like the members.
        members: By rising latency; none dominates another in (validation error, cost), of several costs in all.
        points: Every evaluated point: architecture, precision, error and whether it only stands in, cost, and whether
            the point was on the front. JSON types.
    """

    about: Mapping[str, Any]
    unpruned: Member
    members: tuple[Member, ...]
    points: tuple[Mapping[str, Any], ...] = field(default=())

    @property
    def estimated(self) -> bool:
        """Whether its latencies were worked out without the device."""
        return isinstance(self.unpruned.latency, Estimated)

    @property
    def how(self) -> str:
        """What its latencies are: `"measured"`, `"estimated"`, or `"predicted"` by a profile of the device."""
        if isinstance(self.unpruned.latency, Measured):
            return "measured"
        return "estimated" if self.estimated else "predicted"

    @property
    def latencies(self) -> str:
        """What its latencies are, for people."""
        return self.how if self.how == "measured" else f"{self.how}, not measured"

    @property
    def label(self) -> str:
        """Name of its device, told apart from the others of the same search."""
        return str(self.about.get("device", self.about["setting"]["target"]))

    @property
    def objectives(self) -> tuple[Mapping[str, Any], ...]:
        """The costs that were searched, each with name, unit and provenance."""
        return tuple(self.about.get("objectives") or [self.about["objective"]])

    @property
    def precisions(self) -> tuple[str, ...]:
        """The precisions that were searched, the unpruned network's first."""
        settings = self.about.get("settings") or [self.about["setting"]]
        return tuple(str(setting["precision"]) for setting in settings)

    def is_of(self, weights: str | None) -> bool:
        """Whether its numbers may be those of a super-network with this SHA-256; so if either is not known."""
        mine = self.about.get("weights")
        return mine is None or weights is None or mine == weights

    def check_weights(self, weights: str | None, run: Path) -> None:
        """Check that its numbers are those of a run's super-network.

        Args:
            weights: SHA-256 of the super-network's weights; None if there is none to be checked against.
            run: The run's folder, for the message.

        Raises:
            RunFolderError: It is of other weights. One that does not say, as those of hwnas 0.1.0, passes.
        """
        if not self.is_of(weights):
            raise RunFolderError(
                f"the front of {self.label} in {run} is of another super-network: that was trained again since, or the "
                f"front is another run's; `hwnas search {run}` makes one of this super-network."
            )

    def speed_up(self, member: Member) -> float:
        """Latency of the whole network over that of a member, both known in the same way."""
        return self.unpruned.latency.seconds / member.latency.seconds

    def rows(self) -> list[dict[str, Any]]:
        """One flat row a member; times in seconds, memory in bytes. Names of columns say what was not measured."""
        return [
            {
                "index": index,
                "architecture": str(member.architecture),
                "precision": member.precision,
                "validation_error": member.validation_error,
                "test_error": member.test_error,
                f"latency_{self.how}_seconds": member.latency.seconds,
                f"latency_{self.how}_low": member.latency.low,
                f"latency_{self.how}_high": member.latency.high,
                **({} if self.how == "predicted" else {"latency_predicted_seconds": _seconds(member.predicted)}),
                "speed_up": self.speed_up(member),
                "parameters": member.parameters,
                "peak_memory_measured_bytes": member.peak_memory_bytes,
                **{f"objective_{name}{self._doubt(name)}": value for name, value in member.costs.items()},
                "flags": " ".join(member.flags),
            }
            for index, member in enumerate(self.members)
        ]

    def costs_are(self, name: str) -> str:
        """What a cost of the members is: measured, counted, predicted, `measured, some predicted`, ..."""
        about = next((entry for entry in self.objectives if entry["name"] == name), self.about["objective"])
        return str(about.get("members", about["provenance"]))

    def _doubt(self, name: str) -> str:
        """The end of a column's name: what its values are where not all were measured or counted."""
        known = self.costs_are(name)
        return f"_{known.replace(', ', '_').replace(' ', '_')}" if _UNSURE & {*known.split()} else ""

    def to_json(self) -> dict[str, Any]:
        """JSON types; `read_front` inverts it."""
        return {
            "schema": _PLAIN if self.how != "predicted" and "objectives" not in self.about else SCHEMA,
            "latencies": self.latencies,
            "about": dict(self.about),
            "unpruned": self.unpruned.to_json(),
            "members": [
                {"index": index, **member.to_json(), "speed_up": self.speed_up(member)}
                for index, member in enumerate(self.members)
            ],
            "points": [dict(point) for point in self.points],
        }

    def pick(
        self,
        indices: Sequence[int] | None = None,
        *,
        max_latency: float | None = None,
        max_error_increase: float | None = None,
    ) -> list[int]:
        """Indices of the members that a user asked for.

        Args:
            indices: These; None all.
            max_latency: Among them the one with the smallest validation error that was measured (on a front of
                estimates: estimated) at most this slow, in seconds.
            max_error_increase: Among them the fastest whose validation error is at most this much above the whole
                network's. With both limits, the fastest that meets both.

        Raises:
            UsageError: An index that is not there, or a limit that is no positive number.
            NoMemberError: No member meets the limits; the message names the nearest one.
        """
        chosen = list(range(len(self.members))) if indices is None else list(dict.fromkeys(indices))
        for index in chosen:
            if not 0 <= index < len(self.members):
                raise UsageError(f"the front has members 0 to {len(self.members) - 1}; there is no {index}.")
        if max_latency is None and max_error_increase is None:
            return chosen
        fast = [i for i in chosen if max_latency is None or self.members[i].latency.seconds <= max_latency]
        if not fast:
            nearest = min(chosen, key=lambda i: self.members[i].latency.seconds)
            raise NoMemberError(
                f"no member takes {_ms(max_latency or 0.0)} or less; the fastest is member {nearest}, {self.how} at "
                f"{_ms(self.members[nearest].latency.seconds)}."
            )
        if max_error_increase is None:
            return [min(fast, key=lambda i: (self.members[i].validation_error, self.members[i].latency.seconds))]
        good = [i for i in fast if self._increase(i) <= max_error_increase + 1e-12]
        if not good:
            nearest = min(fast, key=self._increase)
            raise NoMemberError(
                f"no member{'' if max_latency is None else ' within the latency'} loses {max_error_increase:.4f} or "
                f"less; the best is member {nearest}, whose validation error is {self._increase(nearest):+.4f} against "
                "the whole network's."
            )
        return [min(good, key=lambda i: self.members[i].latency.seconds)]

    def _increase(self, index: int) -> float:
        return self.members[index].validation_error - self.unpruned.validation_error


def write_front(front: Front, folder: Path) -> None:
    """Write `front.json` and `front.csv` into a folder, each at once."""
    text = io.StringIO()
    rows = front.rows()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else ["index"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_at_once(folder / "front.csv", text.getvalue())
    write_at_once(folder / "front.json", json.dumps(front.to_json(), indent=1, allow_nan=False) + "\n")


def read_front(path: Path) -> Front:
    """Read a `front.json`.

    Raises:
        RunFolderError: It is missing, damaged, or newer than this hwnas.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["schema"] > SCHEMA:
            raise RunFolderError(f"{path} was written by a newer hwnas; upgrade hwnas.")
        usual = str(data["about"]["setting"]["precision"])
        return Front(
            about=data["about"],
            unpruned=Member.from_json(data["unpruned"], usual),
            members=tuple(Member.from_json(member, usual) for member in data["members"]),
            points=tuple(data["points"]),
        )
    except FileNotFoundError as error:
        raise RunFolderError(f"there is no front at {path}; run `hwnas search` first.") from error
    except RunFolderError:
        raise
    except Exception as error:  # whatever a damaged file leads to
        raise RunFolderError(f"{path} is damaged ({error}); run `hwnas search` again to write it anew.") from error


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms"


def _seconds(predicted: Predicted | None) -> float | None:
    return None if predicted is None else predicted.seconds


def _latency(data: Mapping[str, Any]) -> Latency:
    if data.get("kind") == "predicted":
        return _predicted(data)
    return (Estimated if data.get("kind") == "estimated" else Measured).from_json(data)


def _predicted(data: Mapping[str, Any]) -> Predicted:
    if data.get("kind", "predicted") != "predicted":
        raise TableError(f"expected a prediction, got kind {data['kind']!r}, such as a measurement or an estimate.")
    return Predicted(**{name: float(data[name]) for name in ("seconds", "low", "high")})
