"""Reading, storing and deleting many entries of a latency table inside one transaction."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from hwnas.errors import TableError, UnknownNameError
from hwnas.latency import schema
from hwnas.latency.entries import KINDS, Entry, FitEntry, MeasuredEntry, identity, make_entry
from hwnas.latency.records import Setting
from hwnas.provenance import canonical

RULES = ("newer", "keep", "replace", "error")
"""What to do with an entry that the table holds already, differently."""

_BATCH = 500  # rows in one statement, or names in one condition


@dataclass(frozen=True)
class Stored:
    """What became of entries that were to be stored.

    Attributes:
        added: Entries that the table did not hold.
        replaced: Entries that took the place of others.
        kept: Entries that were left aside: the table holds the same one, or keeps its own.
    """

    added: int
    replaced: int
    kept: int


def upsert(connection: sa.Connection, table: sa.Table, keys: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows; one whose keys are there is overwritten in its place."""
    if not rows:
        return
    insert: Any = (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(table)
    changed = {name: insert.excluded[name] for name in rows[0] if name not in keys}
    statement = insert.on_conflict_do_update(index_elements=list(keys), set_=changed)
    for start in range(0, len(rows), _BATCH):
        connection.execute(statement, [dict(row) for row in rows[start : start + _BATCH]])


def setting_id(connection: sa.Connection, setting: Setting) -> int:
    """Number of a setting, stored if it is new; the same for all processes."""
    query = sa.select(schema.settings.c.id).where(schema.settings.c.key == setting.key())
    number = connection.execute(query).scalar()
    if number is None:
        insert: Any = (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(schema.settings)
        facts = setting.to_json()
        connection.execute(insert.values(key=canonical(facts), **facts).on_conflict_do_nothing(index_elements=["key"]))
        number = connection.execute(query).scalar_one()
    return int(number)


def read_settings(connection: sa.Connection) -> dict[int, Setting]:
    """All settings by their number, oldest first."""
    query = sa.select(schema.settings.c.id, schema.settings.c.key).order_by(schema.settings.c.id)
    return {number: Setting.from_json(json.loads(key)) for number, key in connection.execute(query)}


def read_entries(connection: sa.Connection, takes: Callable[[Setting], bool]) -> list[Entry]:
    """All entries of the settings that are meant: setting by setting, oldest first; in each rows, failures, fits."""
    found: list[Entry] = []
    for number, setting in read_settings(connection).items():
        if takes(setting):
            for cls in KINDS:
                query = sa.select(cls.table).where(cls.table.c.setting == number).order_by(cls.table.c.id)
                found += [make_entry(cls.kind, setting, dict(row)) for row in connection.execute(query).mappings()]
    return found


def store_entries(connection: sa.Connection, entries: Sequence[Entry], rule: str) -> Stored:
    """Store entries by a rule for those that are there already; everything is checked before anything is written.

    Args:
        connection: Alone in writing.
        entries: No two with one `identity`.
        rule: One of `RULES`: `"newer"` takes the one of the later date, `"keep"` the table's, `"replace"` the new one,
            `"error"` refuses entries that differ from the table's.

    Raises:
        UnknownNameError: No such rule.
        TableError: A conflict under `"error"`, or a fit whose rows are neither among the entries nor in the table.
    """
    check_rule(rule)
    keys = {entry.setting.key() for entry in entries}
    there = {identity(entry): entry for entry in read_entries(connection, lambda setting: setting.key() in keys)}
    _check_fits(entries, [*entries, *there.values()])
    added, replaced, kept = [], [], 0
    for entry in entries:
        old = there.get(identity(entry))
        if old is None:
            added.append(entry)
        elif old == entry or not _wins(entry, old, rule):
            kept += 1
        else:
            replaced.append(entry)
    chosen = [*added, *replaced]
    numbers = {setting: setting_id(connection, setting) for setting in dict.fromkeys(e.setting for e in chosen)}
    for cls in KINDS:
        rows = [{"setting": numbers[e.setting], **e.values()} for e in chosen if isinstance(e, cls)]
        upsert(connection, cls.table, ("setting", *cls.key_columns), rows)
    return Stored(len(added), len(replaced), kept)


def check_rule(rule: str) -> None:
    """UnknownNameError unless it is one of `RULES`."""
    if rule not in RULES:
        raise UnknownNameError("conflict rule", rule, RULES)


def delete_entries(connection: sa.Connection, entries: Sequence[Entry]) -> list[Entry]:
    """Delete entries that are still as they are given, and the fits that stand on a row deleted.

    Args:
        connection: Alone in writing.
        entries: What `read_entries` gave.

    Returns:
        What was deleted.
    """
    keys = {entry.setting.key() for entry in entries}
    there = read_entries(connection, lambda setting: setting.key() in keys)
    wanted = {identity(entry): entry for entry in entries}
    going = with_fits([entry for entry in there if wanted.get(identity(entry)) == entry], there)
    numbers = {setting: number for number, setting in read_settings(connection).items() if setting.key() in keys}
    for entry in going:
        columns, values = entry.table.c, entry.values()
        matches = [columns[name] == values[name] for name in entry.key_columns]
        connection.execute(sa.delete(entry.table).where(columns.setting == numbers[entry.setting], *matches))
    for number in numbers.values():
        empty = [~sa.exists().where(cls.table.c.setting == number) for cls in KINDS]
        connection.execute(sa.delete(schema.settings).where(schema.settings.c.id == number, *empty))
    return going


def with_fits(going: Iterable[Entry], there: Iterable[Entry]) -> list[Entry]:
    """Entries that are to go, and the fits among those there that stand on a row that goes."""
    going = list(going)
    rows = {(entry.setting, entry.network) for entry in going if isinstance(entry, MeasuredEntry)}
    known = {identity(entry) for entry in going}
    for entry in there:
        lame = isinstance(entry, FitEntry) and any((entry.setting, network) in rows for network in entry.fit.networks)
        if lame and identity(entry) not in known:
            going.append(entry)
    return going


def _wins(new: Entry, old: Entry, rule: str) -> bool:
    if rule == "error":
        what = "fit" if isinstance(new, FitEntry) else f"{new.kind} row of {getattr(new, 'network', '')[:60]}..."
        raise TableError(
            f"the table holds another {what} of {old.date} (now {new.date}) in the same setting; nothing was stored. "
            "Choose --on-conflict newer, keep or replace."
        )
    if rule == "newer":
        return _instant(new.date) > _instant(old.date)
    return rule == "replace"


def _instant(date: str) -> datetime:
    return datetime.fromisoformat(date)


def _check_fits(entries: Iterable[Entry], known: Iterable[Entry]) -> None:
    """A fit without its rows could not be loaded."""
    rows = {(entry.setting, entry.network) for entry in known if isinstance(entry, MeasuredEntry)}
    for entry in entries:
        if isinstance(entry, FitEntry):
            lost = [network for network in entry.fit.networks if (entry.setting, network) not in rows]
            if lost:
                raise TableError(
                    f"a fit of {entry.date} stands on {len(lost)} rows that are neither in the file nor in the table; "
                    "nothing was stored. Export the whole table again."
                )
