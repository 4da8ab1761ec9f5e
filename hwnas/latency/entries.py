"""Everything that a latency table holds, as values: measurements, failures and fits, each with its setting.

This is what travels between tables. A prediction has no type here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import sqlalchemy as sa

from hwnas.latency import schema
from hwnas.latency.keys import largest_sizes, split_model
from hwnas.latency.records import Measured, Setting, check_types
from hwnas.profilers.base import Failure


@dataclass(frozen=True)
class Fit:
    """A fit that was made on rows of the table.

    Attributes:
        model: `model_key` of the super-network; in older tables without its sizes.
        seed: Seed of design and holdout.
        design: Network keys of the rows fitted.
        holdout: Network keys of the rows it was judged on.
        mean_error: Mean of |predicted / measured - 1| on the holdout, None without one.
        worst_error: Largest of them.
        date: UTC, ISO 8601.
        hwnas_version: Version of hwnas.
    """

    model: str
    seed: int
    design: tuple[str, ...]
    holdout: tuple[str, ...]
    mean_error: float | None
    worst_error: float | None
    date: str
    hwnas_version: str

    @property
    def networks(self) -> frozenset[str]:
        """Network keys of all rows that it stands on."""
        return frozenset((*self.design, *self.holdout))

    def is_of(self, model: str) -> bool:
        """Whether it is a fit of this super-network, given by its `model_key`.

        A fit of an older table does not say layers, heads and units: they are the most that its networks have, since
        every design begins with the whole network.
        """
        if self.model == model:
            return True
        shared, sizes = split_model(model)
        return sizes is not None and self.model == shared and largest_sizes(self.networks) == sizes


@dataclass(frozen=True)
class MeasuredEntry:
    """A measured network, in a setting, with the role it was measured for."""

    setting: Setting
    network: str
    role: str
    measured: Measured

    kind: ClassVar[str] = "measured"
    table: ClassVar[sa.Table] = schema.measurements
    key_columns: ClassVar[tuple[str, ...]] = ("network",)

    @property
    def date(self) -> str:
        """When it was measured: UTC, ISO 8601."""
        return self.measured.date

    def values(self) -> dict[str, Any]:
        """Its columns in the database, all but the setting."""
        values = {name: value for name, value in self.measured.to_json().items() if name != "kind"}
        return {"network": self.network, "role": self.role, **values}


@dataclass(frozen=True)
class FailureEntry:
    """A network that could not be measured in a setting, and when that was found."""

    setting: Setting
    network: str
    failure: Failure
    date: str

    kind: ClassVar[str] = "failure"
    table: ClassVar[sa.Table] = schema.failures
    key_columns: ClassVar[tuple[str, ...]] = ("network",)

    def values(self) -> dict[str, Any]:
        """Its columns in the database, all but the setting."""
        return {"network": self.network, "stage": self.failure.stage, "reason": self.failure.reason, "date": self.date}


@dataclass(frozen=True)
class FitEntry:
    """A fit in a setting."""

    setting: Setting
    fit: Fit

    kind: ClassVar[str] = "fit"
    table: ClassVar[sa.Table] = schema.fits
    key_columns: ClassVar[tuple[str, ...]] = ("model", "seed")

    @property
    def date(self) -> str:
        """When it was made: UTC, ISO 8601."""
        return self.fit.date

    def values(self) -> dict[str, Any]:
        """Its columns in the database, all but the setting."""
        values = {**asdict(self.fit), "design": list(self.fit.design), "holdout": list(self.fit.holdout)}
        return {**values, "design_size": len(self.fit.design), "holdout_size": len(self.fit.holdout)}


Entry = MeasuredEntry | FailureEntry | FitEntry
KINDS: tuple[type[MeasuredEntry] | type[FailureEntry] | type[FitEntry], ...] = (MeasuredEntry, FailureEntry, FitEntry)
"""In the order in which they are stored: a fit after the rows that it stands on."""


def make_entry(kind: str, setting: Setting, row: Mapping[str, Any]) -> Entry:
    """An entry from its columns; columns that it does not have are left aside.

    Args:
        kind: `"measured"`, `"failure"` or `"fit"`.
        setting: Its setting.
        row: Its columns, as `values()` gives them.

    Raises:
        TableError: A column of a measurement is missing, or a value is of another type than its column.
        KeyError: A column of another kind is missing.
    """
    if kind == "measured":
        measured = Measured.from_json({**row, "kind": "measured"})
        return MeasuredEntry(setting, row["network"], row["role"], measured)
    if kind == "failure":
        return FailureEntry(setting, row["network"], Failure(row["stage"], row["reason"]), row["date"])
    check_types(Fit, row)
    values = {name: row[name] for name in Fit.__dataclass_fields__}
    return FitEntry(setting, Fit(**{**values, "design": tuple(row["design"]), "holdout": tuple(row["holdout"])}))


def identity(entry: Entry) -> tuple[str, str, tuple[Any, ...]]:
    """What no two entries of one table share: kind, setting, and network or (model, seed)."""
    values = entry.values()
    return entry.kind, entry.setting.key(), tuple(values[name] for name in entry.key_columns)


@dataclass(frozen=True)
class Selection:
    """Which settings are meant; None takes any.

    Attributes:
        target, runtime, runtime_version, precision: Names, compared as they are.
        batch, sequence_length, threads: Numbers.
    """

    target: str | None = None
    runtime: str | None = None
    runtime_version: str | None = None
    precision: str | None = None
    batch: int | None = None
    sequence_length: int | None = None
    threads: int | None = None

    def takes(self, setting: Setting) -> bool:
        """Whether a setting is meant."""
        facts = setting.to_json()
        return all(value is None or facts[name] == value for name, value in asdict(self).items())

    def __str__(self) -> str:
        """The conditions, for people: ``target cpu, batch 8``."""
        words = [f"{name.replace('_', ' ')} {value}" for name, value in asdict(self).items() if value is not None]
        return ", ".join(words) or "any setting"
