"""The table of measured latencies: SQLite by default, PostgreSQL by its SQLAlchemy URL.

Only measurements are stored, each as soon as it exists, and how far a fit on them was off on networks it never saw.
Predictions are not. `docs/table.md` says how several processes share a table and how tables are joined.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import sqlalchemy as sa

from hwnas.errors import TableError
from hwnas.latency import schema
from hwnas.latency.contents import (
    Stored,
    delete_entries,
    read_entries,
    read_settings,
    setting_id,
    store_entries,
    upsert,
)
from hwnas.latency.database import Database, file_of
from hwnas.latency.entries import Entry, FailureEntry, Fit, FitEntry, MeasuredEntry, Selection, make_entry
from hwnas.latency.records import Measured, Setting
from hwnas.profilers.base import Failure

__all__ = ["Fit", "LatencyTable", "Summary", "default_table_path", "open_table", "table_if_there"]


@dataclass(frozen=True)
class Summary:
    """What a table holds for one setting.

    Attributes:
        setting: The setting.
        rows: Measured networks.
        flagged: How many of them have a flag.
        doubtful: How many have one that speaks of a disturbed device.
        failures: Networks that could not be measured and have no measurement.
        fits: Number of fits.
        mean_error, worst_error: Errors of the newest fit on networks it never saw; None without one.
        date: Of the newest entry; UTC, ISO 8601.
    """

    setting: Setting
    rows: int
    flagged: int
    doubtful: int
    failures: int
    fits: int
    mean_error: float | None
    worst_error: float | None
    date: str


class LatencyTable:
    """Measured latencies by setting and network; a context manager.

    Args:
        path_or_url: A SQLite file, made with its folder if it is not there, or an SQLAlchemy URL. A table of an older
            schema is migrated, with all its rows.

    Raises:
        TableError: The file is damaged, is something else, cannot be written, or a newer hwnas made it; or the
            database cannot be reached. The file is left as it is.
    """

    def __init__(self, path_or_url: str | Path) -> None:
        self._database = Database(path_or_url)
        self.name = self._database.name

    def __enter__(self) -> LatencyTable:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()

    @property
    def path(self) -> Path | None:
        """The file of the table; None if it is in a database."""
        return self._database.path

    def get(self, setting: Setting, network: str) -> Measured | None:
        """The measurement of a network, None if there is none."""
        found = self._select(schema.measurements, setting, schema.measurements.c.network == network)
        return _measured(found[0]) if found else None

    def put(self, setting: Setting, network: str, role: str, measured: Measured) -> None:
        """Store a measurement in a transaction of its own, in place of an older one.

        Args:
            setting: How it was measured.
            network: `network_key` of what was run.
            role: Why it was measured: `"design"`, `"holdout"`, `"sweep"`, `"member"` or `"anchor"`.
            measured: The measurement.

        Raises:
            TableError: It is no measurement, or it could not be stored, for one because the disk is full; what was
                stored before is there.
        """
        if not isinstance(measured, Measured):
            raise TableError(f"only measurements are stored in {self.name}, not a {type(measured).__name__}.")
        self._put(MeasuredEntry(setting, network, role, measured))

    def rows(self, setting: Setting) -> list[tuple[str, str, Measured]]:
        """(network, role, measurement) of a setting, in the order they were first stored."""
        found = self._select(schema.measurements, setting)
        return [(row["network"], row["role"], _measured(row)) for row in found]

    def settings(self) -> list[Setting]:
        """All settings that something was stored for, oldest first."""
        with self._reading() as connection:
            return list(read_settings(connection).values())

    def put_failure(self, setting: Setting, network: str, failure: Failure, date: str) -> None:
        """Store that a network could not be measured; it is tried again when it is asked for again."""
        self._put(FailureEntry(setting, network, failure, date))

    def failures(self, setting: Setting) -> list[tuple[str, Failure]]:
        """(network, what went wrong) of a setting, in the order they were first stored."""
        found = self._select(schema.failures, setting)
        return [(row["network"], Failure(row["stage"], row["reason"])) for row in found]

    def put_fit(self, setting: Setting, fit: Fit) -> None:
        """Store a fit, in place of an older one of the same model and seed."""

        def work(connection: sa.Connection) -> None:
            columns, number = schema.fits.c, setting_id(connection, setting)
            same = (columns.setting == number, columns.model == fit.model, columns.seed == fit.seed)
            connection.execute(sa.delete(schema.fits).where(*same))  # a new number: among equal dates it is the newest
            connection.execute(sa.insert(schema.fits).values(setting=number, **FitEntry(setting, fit).values()))

        self._database.write(work, alone=True)

    def fits(self, setting: Setting) -> list[Fit]:
        """All fits of a setting, by date, the newest last."""
        made = [make_entry("fit", setting, row) for row in self._select(schema.fits, setting)]
        return sorted((entry.fit for entry in made if isinstance(entry, FitEntry)), key=lambda fit: fit.date)

    def latest_fit(self, setting: Setting, model: str) -> Fit | None:
        """The fit of a super-network (`model_key`) in a setting with the latest date, None if there is none.

        Raises:
            TableError: A fit names a network that has no key.
        """
        return next((fit for fit in reversed(self.fits(setting)) if fit.is_of(model)), None)

    def entries(self, selection: Selection | None = None) -> list[Entry]:
        """All that the table holds at one moment: setting by setting, oldest first; in each rows, failures, fits.

        Args:
            selection: Which settings; None takes all.

        Raises:
            TableError: Something stored is not what it should be.
        """
        takes = (selection or Selection()).takes
        with self._reading() as connection:
            return read_entries(connection, takes)

    def store(self, entries: Sequence[Entry], on_conflict: str = "newer") -> Stored:
        """Store many entries in one transaction: all of them or, after an error, none.

        Args:
            entries: No two of them of one kind, setting and network (or model and seed).
            on_conflict: What to do with an entry that the table holds differently: `"newer"` takes the one of the
                later date, `"keep"` the table's own, `"replace"` the new one, `"error"` refuses them all.

        Raises:
            UnknownNameError: No such rule.
            TableError: A conflict under `"error"`; a fit whose rows are missing; the table cannot be written.
        """
        return self._database.write(lambda connection: store_entries(connection, entries, on_conflict), alone=True)

    def delete(self, entries: Sequence[Entry]) -> list[Entry]:
        """Delete entries in one transaction, and the fits that stand on a row deleted.

        Args:
            entries: What `entries` gave; one that has changed since is left.

        Returns:
            What was deleted.
        """
        return self._database.write(lambda connection: delete_entries(connection, entries), alone=True)

    def overview(self) -> list[Summary]:
        """What is held for each setting, oldest first; settings for which nothing is left are not named."""
        by_setting: dict[Setting, list[Entry]] = {}
        for entry in self.entries():
            by_setting.setdefault(entry.setting, []).append(entry)
        return [_summary(setting, held) for setting, held in by_setting.items()]

    def _put(self, entry: MeasuredEntry | FailureEntry) -> None:
        def work(connection: sa.Connection) -> None:
            row = {"setting": setting_id(connection, entry.setting), **entry.values()}
            upsert(connection, entry.table, ("setting", *entry.key_columns), [row])

        self._database.write(work)

    def _select(self, table: sa.Table, setting: Setting, *matches: sa.ColumnElement[bool]) -> list[dict[str, Any]]:
        """Rows of a table in a setting, oldest first."""
        query = (
            sa.select(table)
            .join(schema.settings)
            .where(schema.settings.c.key == setting.key(), *matches)
            .order_by(table.c.id)
        )
        with self._reading() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        """A transaction that reads; what is stored and cannot be read becomes a TableError."""
        try:
            with self._database.begin() as connection:
                yield connection
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise TableError(
                f"{self.name} holds a row that cannot be read ({str(error)[:100]}); the table is damaged."
            ) from error


def default_table_path() -> Path:
    """The table in the user's cache folder."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("hwnas", appauthor=False)) / "latency.sqlite"


def open_table(path_or_url: str | Path | None) -> LatencyTable:
    """A table that is there already, None for the default one; nothing is made.

    Raises:
        TableError: There is no such file, or `LatencyTable` refuses it.
    """
    place = default_table_path() if path_or_url is None else path_or_url
    path = file_of(place)
    if path is not None and not os.path.exists(path):  # false, too, where one may not look
        raise TableError(f"{path}: no such table; `hwnas profile` makes one, --table names another.")
    return LatencyTable(place)


@contextmanager
def table_if_there(path_or_url: str | Path | None) -> Iterator[LatencyTable | None]:
    """A table for work that can do without one: None where the default one is not there; nothing is made.

    Args:
        path_or_url: As for `open_table`; one that is named must be there.

    Raises:
        TableError: There is no such file, or `LatencyTable` refuses it.
    """
    if path_or_url is None and not os.path.exists(default_table_path()):
        yield None
        return
    with open_table(path_or_url) as table:
        yield table


def _measured(row: dict[str, Any]) -> Measured:
    return Measured.from_json({**row, "kind": "measured"})


def _summary(setting: Setting, held: Sequence[Entry]) -> Summary:
    rows = {entry.network: entry.measured for entry in held if isinstance(entry, MeasuredEntry)}
    fits = sorted((entry.fit for entry in held if isinstance(entry, FitEntry)), key=lambda fit: fit.date)
    return Summary(
        setting=setting,
        rows=len(rows),
        flagged=sum(bool(row.flags) for row in rows.values()),
        doubtful=sum(bool(row.doubts) for row in rows.values()),
        failures=sum(isinstance(entry, FailureEntry) and entry.network not in rows for entry in held),
        fits=len(fits),
        mean_error=fits[-1].mean_error if fits else None,
        worst_error=fits[-1].worst_error if fits else None,
        date=max(entry.date for entry in held),
    )
