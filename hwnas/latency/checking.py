"""Flat rows, as they stand in files, and the checks that each has to pass before it may enter a table.

A file from elsewhere may hold anything. Every cell is checked for its type, its size and its range, every row for
what its numbers say together, and the errors name the row.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import sqlalchemy as sa

from hwnas.errors import TableError
from hwnas.latency import schema
from hwnas.latency.entries import KINDS, Entry, MeasuredEntry, identity, make_entry
from hwnas.latency.keys import largest_sizes, split_model
from hwnas.latency.records import Setting
from hwnas.profilers.base import first_line
from hwnas.provenance import canonical

FORMAT = 1
"""Version of the flat rows; a reader refuses any other."""

MAX_TEXT = 100_000
"""Most characters of one cell."""

_LENGTHS = {"fingerprint": 300, "protocol": 500, "network": 20_000, "model": 2_000, "reason": 1_000}
_POSITIVE = frozenset(
    {"seconds", "low", "high", "median", "p5", "p95", "p99", "n", "rounds", "attempts", "weight_bytes", "mhz"}
    | {"batch", "sequence_length", "threads"}
)
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_PROTOCOL = re.compile(r"[0-9]{1,6}( [a-z0-9_]+=[^\s=]+)*")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_INTEGER = re.compile(r"[0-9]{1,19}")
_NUMBER = re.compile(r"[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]{1,3})?")
_NAMES = frozenset({"target", "runtime", "precision", "role", "stage"})


@dataclass(frozen=True)
class Column:
    """A column of flat rows.

    Attributes:
        name: Its name.
        type: `"text"`, `"integer"`, `"number"`, or `"json"`, which is text in a file.
        most: Largest integer, or most characters.
        needed: Kinds of rows that must have it.
        allowed: Kinds of rows that may have it.
    """

    name: str
    type: str
    most: int
    needed: frozenset[str]
    allowed: frozenset[str]


def _columns() -> tuple[Column, ...]:
    every = frozenset(cls.kind for cls in KINDS)
    found = {
        "hwnas_table": Column("hwnas_table", "integer", 999, every, every),
        "kind": Column("kind", "text", 16, every, every),
    }
    left_out = {"id", "setting", "key", "design_size", "holdout_size"}
    for kinds, table in ((every, schema.settings), *((frozenset({cls.kind}), cls.table) for cls in KINDS)):
        for column in table.columns:
            if column.name not in left_out:
                name, (kind, most) = column.name, _type(column)
                old = found.get(name, Column(name, kind, most, frozenset(), frozenset()))
                needed = old.needed if column.nullable else old.needed | kinds
                found[name] = Column(name, old.type, old.most, needed, old.allowed | kinds)
    return tuple(found.values())


def _type(column: sa.Column[Any]) -> tuple[str, int]:
    if isinstance(column.type, sa.JSON):
        return "json", MAX_TEXT
    if isinstance(column.type, sa.Double):
        return "number", 0
    if isinstance(column.type, sa.Integer):
        return "integer", 2**63 - 1 if isinstance(column.type, sa.BigInteger) else 2**31 - 1
    return "text", getattr(column.type, "length", None) or _LENGTHS.get(column.name, 100)


COLUMNS = _columns()
"""The columns of flat rows, in order."""


def flat_row(entry: Entry) -> dict[str, Any]:
    """An entry as a flat row: all of `COLUMNS`, None where it has none, lists and objects as JSON text.

    Raises:
        TableError: A damaged table held something that JSON cannot say, such as NaN.
    """
    values = {"hwnas_table": FORMAT, "kind": entry.kind, **entry.setting.to_json(), **entry.values()}
    if isinstance(values.get("reason"), str):  # an error's text may hold anything
        values["reason"] = _CONTROL.sub(" ", values["reason"])[: _LENGTHS["reason"]]
    lists = {column.name for column in COLUMNS if column.type == "json" and values.get(column.name) is not None}
    try:
        texts = {name: canonical(values[name]) for name in lists}
    except (ValueError, TypeError, RecursionError) as error:
        raise TableError(f"a {entry.kind} row of {entry.date!r:.40} cannot be written: {first_line(error)}.") from error
    return {column.name: {**values, **texts}.get(column.name) for column in COLUMNS}


def check_columns(names: Iterable[str], where: str) -> None:
    """TableError unless the columns are those of flat rows, each once, in any order."""
    names, known = list(names), [column.name for column in COLUMNS]
    if "hwnas_table" not in names:
        raise TableError(f"{where}: no exported latency table (it has no column 'hwnas_table').")
    missing = [name for name in known if name not in names]
    strange = [name for name in names if name not in known or names.count(name) > 1]
    if missing or strange:
        wrong = f"no column {missing[0]!r}" if missing else f"a column {strange[0][:60]!r} that does not belong there"
        raise TableError(f"{where} has {wrong}; expected what this version's `hwnas table export` writes.")


def check_rows(rows: Iterable[Mapping[str, Any]], where: str) -> list[Entry]:
    """The entries that flat rows stand for.

    Args:
        rows: Flat rows; numbers may be text, and empty text is nothing, as in CSV.
        where: What they are from, for messages.

    Raises:
        TableError: A row is not what it should be, or is there twice; the message names the first such row.
    """
    entries: list[Entry] = []
    seen: dict[Any, int] = {}
    latest = datetime.now(UTC) + timedelta(days=1)
    for number, row in enumerate(rows, start=1):
        try:
            entry = _entry(row, latest)
        except ValueError as error:
            raise TableError(f"{where}: row {number}: {error}; nothing was stored.") from error
        first = seen.setdefault(identity(entry), number)
        if first != number:
            raise TableError(f"{where}: row {number} is of the same network as row {first}; nothing was stored.")
        entries.append(entry)
    return entries


def _entry(row: Mapping[str, Any], latest: datetime) -> Entry:
    """One entry; ValueError says what is wrong."""
    form, kind = row["hwnas_table"], row["kind"]
    if str(form) not in (str(FORMAT), f"{FORMAT}.0"):
        raise ValueError(f"format {str(form)[:20]!r}, this hwnas reads format {FORMAT}")
    if kind in ("predicted", "estimated"):
        raise ValueError(f"{kind}, not measured: only measurements can be stored; measure it on its device")
    if kind not in {cls.kind for cls in KINDS}:
        raise ValueError(f"kind {str(kind)[:20]!r}, expected {', '.join(cls.kind for cls in KINDS)}")
    values = {column.name: _cell(column, row[column.name], kind) for column in COLUMNS}
    if not _PROTOCOL.fullmatch(values["protocol"]):
        raise ValueError(f"protocol {values['protocol'][:40]!r} is not the key of a measuring protocol")
    if _instant(values["date"]) > latest:
        raise ValueError(f"date {values['date']} is in the future; set the clock of one of the two machines")
    setting = Setting(**{entry.name: values[entry.name] for entry in fields(Setting)})
    if kind == "fit":
        _check_fit(values)
    else:
        _facts(values["network"])
    entry = make_entry(kind, setting, values)
    if isinstance(entry, MeasuredEntry):
        _check_measured(entry)
    return entry


def _cell(column: Column, value: Any, kind: str) -> Any:
    """A cell in its type; ValueError unless it may be there and is in range."""
    name = column.name
    if value is None or value == "":
        if kind in column.needed and not (name == "reason" and value == ""):
            raise ValueError(f"{name} is missing")
        return value if name == "reason" else None
    if kind not in column.allowed:
        raise ValueError(f"a {kind} row has no {name}")
    if column.type in ("text", "json"):
        if not isinstance(value, str) or len(value) > column.most:
            size = f"{len(value)} characters" if isinstance(value, str) else type(value).__name__
            raise ValueError(f"{name} is {size}, expected text of at most {column.most} characters")
        if _CONTROL.search(value):
            raise ValueError(f"{name} holds control characters")
        if name in _NAMES and not _NAME.fullmatch(value):
            raise ValueError(f"{name} {value[:40]!r} is no name (lower-case letters, digits, . _ and -)")
        return _json(name, value) if column.type == "json" else value
    number = _number(column, value)
    if not math.isfinite(number) or number < 0 or (number == 0 and name in _POSITIVE):
        raise ValueError(f"{name} is {number}, expected a {'positive' if name in _POSITIVE else 'non-negative'} number")
    if column.type == "integer" and number > column.most:
        raise ValueError(f"{name} is {number}, expected at most {column.most}")
    return number


def _number(column: Column, value: Any) -> int | float:
    pattern, kind = (_INTEGER, int) if column.type == "integer" else (_NUMBER, float)
    if isinstance(value, str) and pattern.fullmatch(value):
        return kind(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        if column.type == "number" or isinstance(value, int):
            return kind(value)
        if value.is_integer():  # an integer column with gaps, as pandas writes it
            return int(value)
    expected = "an integer" if kind is int else "a number"
    raise ValueError(f"{column.name} is {str(value)[:40]!r}, expected {expected}, 0 or more")


def _json(name: str, text: str) -> Any:
    """A JSON cell in its form: flags, medians of rounds, telemetry, or a list of networks."""
    value = _parsed(text, name)
    if name == "flags":
        good = isinstance(value, list) and len(value) <= 64 and all(_is_name(flag) for flag in value)
    elif name == "round_medians":
        good = isinstance(value, list) and all(isinstance(x, float | int) and x is not True and x > 0 for x in value)
    elif name == "telemetry":
        good = isinstance(value, dict)
    else:
        good = isinstance(value, list) and all(isinstance(network, str) for network in value)
    if not good:
        raise ValueError(f"{name} is {text[:40]!r}, which is not of the expected form")
    return value


def _parsed(text: str, name: str) -> Any:
    try:
        value = json.loads(text, parse_constant=lambda constant: float(constant.replace("Infinity", "inf")))
        _check_leaves(value, 8)
    except (ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"{name} is {text[:40]!r}, expected JSON of finite numbers and plain text") from error
    return value


def _check_leaves(value: Any, depth: int) -> None:
    """ValueError for numbers that are not finite, control characters, or nesting deeper than that."""
    if depth == 0 or (isinstance(value, str) and _CONTROL.search(value)):
        raise ValueError
    if isinstance(value, float | int) and not math.isfinite(value):
        raise ValueError
    for inner in [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_leaves(inner, depth - 1)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= 64 and _NAME.fullmatch(value) is not None


def _facts(network: str) -> dict[str, Any]:
    """What the network's key says besides its shape; ValueError if it is no key."""
    value = _parsed(network, "network")
    shape = value.pop("shape", None) if isinstance(value, dict) else None
    pairs = shape if isinstance(shape, list) and len(shape) <= 1_000 else [None]
    good = all(isinstance(pair, list) and len(pair) == 2 and all(_is_count(x) for x in pair) for pair in pairs)
    if not good or not _are_facts(value) or canonical({**value, "shape": shape}) != network:
        raise ValueError(f"network {network[:60]!r} is not the key of a network")
    return dict(value)


def _are_facts(value: Any) -> bool:
    """Whether these may be what all sub-networks of a super-network share."""
    return isinstance(value, dict) and _is_name(value.get("model_type")) and all(
        _is_count(fact) or isinstance(fact, str) for fact in value.values()
    )  # fmt: skip


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _check_fit(values: Mapping[str, Any]) -> None:
    model = _parsed(values["model"], "model")
    if not _are_facts(model) or canonical(model) != values["model"]:
        raise ValueError(f"model {values['model'][:60]!r} is not the key of a model")
    if not values["design"]:
        raise ValueError("design is empty, a fit stands on measured networks")
    shared, sizes = split_model(values["model"])
    networks = [*values["design"], *values["holdout"]]
    foreign = any(canonical(_facts(network)) != shared for network in networks)
    beyond = sizes is not None and any(a > b for a, b in zip(largest_sizes(networks), sizes, strict=True))
    if foreign or beyond:
        raise ValueError("a network of the fit is not of its model")


def _check_measured(entry: MeasuredEntry) -> None:
    row, slack = entry.measured, 1 + 1e-9  # rounding
    if not row.low <= row.seconds * slack or not row.seconds <= row.high * slack:
        raise ValueError(f"the interval {row.low} to {row.high} does not hold the latency {row.seconds}")
    ordered = (row.p5, row.median, row.p95, *(() if row.p99 is None else (row.p99,)))
    if any(low > high * slack for low, high in pairwise(ordered)):
        raise ValueError(f"the percentiles {', '.join(map(str, ordered))} are not in order")


def _instant(date: str) -> datetime:
    """A date in the one form that is stored: ISO 8601, UTC."""
    try:
        instant = datetime.fromisoformat(date)
    except ValueError:
        instant = None
    if instant is None or instant.utcoffset() != timedelta(0) or instant.isoformat() != date:
        raise ValueError(f"date {date!r} is not of the form 2026-01-31T12:00:00+00:00")
    return instant
