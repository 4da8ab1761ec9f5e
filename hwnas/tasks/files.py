"""Rows of CSV, TSV, JSONL and Parquet files as dictionaries, with one-line errors for files that are damaged."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hwnas.errors import DataError, MissingExtraError

SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".jsonl", ".jsonl.gz", ".parquet")


def read_columns(path: Path, columns: Sequence[str]) -> list[tuple[Any, ...]]:
    """Read some columns of a file with a header.

    Args:
        path: A file whose name ends in one of `SUFFIXES`; text is UTF-8, with or without a byte order mark.
        columns: Names of the columns.

    Returns:
        One tuple per row, in the order of `columns`. CSV and TSV give str; JSONL and Parquet give what they hold,
        with None for a value that is missing.

    Raises:
        DataError: No such file, an unknown ending, a damaged or empty file, or a column that is not there.
        MissingExtraError: Parquet without pyarrow.
    """
    suffix = next((s for s in sorted(SUFFIXES, key=len, reverse=True) if path.name.lower().endswith(s)), None)
    if suffix is None:
        raise DataError(f"{path}: unknown kind of file; expected a name that ends in {', '.join(SUFFIXES)}.")
    if not os.path.isfile(path):  # false, too, where one may not look
        raise DataError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}; expected a data file.")
    try:
        if suffix == ".parquet":
            return _parquet(path, columns)
        opener = gzip.open if suffix.endswith(".gz") else open
        with opener(path, "rt", encoding="utf-8-sig", newline="") as stream:
            if suffix.startswith(".jsonl"):
                rows = _json_lines(path, stream, columns)
            else:
                rows = _separated(path, stream, columns, "\t" if suffix.startswith(".tsv") else ",")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as reason:
        raise DataError(f"{path}: cannot be read ({_one_line(reason)}); expected {suffix[1:]} in UTF-8.") from reason
    if not rows:
        raise DataError(f"{path}: holds no rows.")
    return rows


def _separated(path: Path, stream: Any, columns: Sequence[str], delimiter: str) -> list[tuple[Any, ...]]:
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(stream, delimiter=delimiter, strict=True)
    try:
        return _records(path, reader, columns, delimiter)
    except csv.Error as reason:
        raise DataError(
            f"{path}: line {reader.line_num} cannot be read ({_one_line(reason)}); write a text that has quotes in "
            "quotes, and each quote in it twice."
        ) from reason


def _records(path: Path, reader: Any, columns: Sequence[str], delimiter: str) -> list[tuple[Any, ...]]:
    header = next(reader, None)
    if header is None:
        raise DataError(f"{path}: is empty; expected a header row.")
    _check_columns(path, columns, header)
    indices = [header.index(column) for column in columns]
    rows: list[tuple[Any, ...]] = []
    for fields in reader:
        if not fields:
            continue
        if len(fields) != len(header):
            raise DataError(
                f"{path}: row {len(rows) + 1} has {len(fields)} fields, the header has {len(header)}; "
                f"quote fields that hold {'tabs' if delimiter != ',' else 'commas'} or line breaks."
            )
        rows.append(tuple(fields[index] for index in indices))
    return rows


def _json_lines(path: Path, stream: Any, columns: Sequence[str]) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as reason:
            raise DataError(f"{path}: line {number} is not JSON ({_one_line(reason)}).") from reason
        if not isinstance(record, dict):
            raise DataError(f"{path}: line {number} is {type(record).__name__}; expected a JSON object per line.")
        if missing := [column for column in columns if column not in record]:
            raise DataError(f"{path}: line {number} has no {_quoted(missing)}; it has {_quoted(record) or 'nothing'}.")
        rows.append(tuple(record[column] for column in columns))
    return rows


def _parquet(path: Path, columns: Sequence[str]) -> list[tuple[Any, ...]]:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError as reason:
        raise MissingExtraError("pyarrow", "parquet", f"reading {path.name}") from reason
    try:
        with parquet.ParquetFile(io.BytesIO(path.read_bytes())) as file:
            _check_columns(path, columns, file.schema_arrow.names)
            table = file.read(columns=list(dict.fromkeys(columns)))
    except pyarrow.ArrowException as reason:
        raise DataError(f"{path}: cannot be read as Parquet ({_one_line(reason)}).") from reason
    return list(zip(*(table.column(column).to_pylist() for column in columns), strict=True))


def _check_columns(path: Path, columns: Sequence[str], header: Sequence[str]) -> None:
    if missing := [column for column in columns if column not in header]:
        raise DataError(f"{path}: no column {_quoted(missing)}; the columns are {_quoted(header) or '(none)'}.")
    if doubled := sorted({column for column in columns if list(header).count(column) > 1}):
        raise DataError(f"{path}: more than one column {_quoted(doubled)}; rename all but one.")


def _quoted(names: Any) -> str:
    return ", ".join(repr(str(name)) for name in list(names)[:30])


def _one_line(reason: BaseException) -> str:
    return " ".join(str(reason).split())[:200] or type(reason).__name__
