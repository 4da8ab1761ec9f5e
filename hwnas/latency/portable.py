"""Latency tables as files: CSV and Parquet, out and in. A file from elsewhere is checked whole before it is stored.

One flat row for each measurement, failure and fit, told apart by its column `kind`, with the whole setting in each;
`docs/table.md` names the columns.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hwnas.errors import HwnasError, MissingExtraError, TableError
from hwnas.latency.checking import COLUMNS, FORMAT, MAX_TEXT, check_columns, check_rows, flat_row
from hwnas.latency.contents import Stored, check_rule
from hwnas.latency.entries import Entry, Selection
from hwnas.latency.table import LatencyTable, open_table

SUFFIXES = (".parquet", ".csv")
MAX_ROWS = 100_000
MAX_BYTES = 256 * 2**20
"""Of a file, and of all text that it unpacks to."""

_LINE = 2**20  # most characters of a CSV line
_BATCH = 1_000  # rows of Parquet that are unpacked at a time
_FORMULA = ("=", "+", "-", "@", "'")  # what a spreadsheet would run, and the mark that stops it


def export_file(table: LatencyTable, path: Path, selection: Selection | None = None) -> list[Entry]:
    """Write a table to a file; it is there as a whole or not at all, and an older one of that name is replaced.

    Args:
        table: The table.
        path: A name that ends in .csv or .parquet.
        selection: Which settings; None takes all.

    Returns:
        What was written.

    Raises:
        TableError: Another ending, or the file cannot be written.
        MissingExtraError: Parquet without pyarrow.
    """
    suffix, entries = _suffix(path), table.entries(selection)
    rows = [flat_row(entry) for entry in entries]
    content = _to_parquet(rows, path) if suffix == ".parquet" else _to_csv(rows)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise TableError(f"{path} cannot be written ({error.strerror or error}); give another file.") from error
    return entries


def read_file(path: Path) -> list[Entry]:
    """All entries of an exported file, each of them checked.

    Args:
        path: A file that `export_file` wrote, or that claims so.

    Raises:
        TableError: The file is none, is too large, is damaged, or a row of it is not what it should be.
        MissingExtraError: Parquet without pyarrow.
    """
    suffix = _suffix(path)
    try:
        if not path.is_file():
            raise TableError(f"{path}: {'is not a file' if path.exists() else 'no such file'}.")
        if path.stat().st_size > MAX_BYTES:
            raise TableError(f"{path}: is over {MAX_BYTES} bytes, too large for a latency table.")
        content = path.read_bytes()
    except OSError as error:
        raise TableError(f"{path} cannot be read ({error.strerror or error}).") from error
    rows = _from_parquet(content, path) if suffix == ".parquet" else _from_csv(content, path)
    return check_rows(_counted(rows, path), str(path))


def import_file(path: Path, place: str | Path, on_conflict: str = "newer") -> Stored:
    """Store what an exported file holds, in one transaction, after all of it has been checked.

    Args:
        path: The file.
        place: The table, a path or a URL; it is made if it is not there, once the file has been found good.
        on_conflict: See `LatencyTable.store`.

    Raises:
        UnknownNameError: No such rule.
        TableError: As `read_file` and `LatencyTable.store`; the table is as it was.
        MissingExtraError: Parquet without pyarrow.
    """
    check_rule(on_conflict)
    entries = read_file(path)
    with LatencyTable(place) as table:
        return table.store(entries, on_conflict)


def merge_table(other: str | Path, place: str | Path, on_conflict: str = "newer") -> Stored:
    """Store what another table holds, checked like a file from elsewhere, in one transaction.

    Args:
        other: The other table, a path or a URL.
        place: As for `import_file`.
        on_conflict: See `LatencyTable.store`.

    Raises:
        UnknownNameError: No such rule.
        TableError: There is no other table, or both are one; a row of the other is not what it should be; as
            `LatencyTable.store`.
    """
    check_rule(on_conflict)
    with open_table(other) as source:
        entries = check_rows((flat_row(entry) for entry in source.entries()), source.name)
    with LatencyTable(place) as table:
        same_file = source.path and table.path and source.path.samefile(table.path)
        if source.name == table.name or same_file:
            raise TableError(f"{source.name}: cannot be merged into itself; name two tables.")
        return table.store(entries, on_conflict)


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise TableError(f"{path}: expected a name that ends in {' or '.join(SUFFIXES)}.")
    return suffix


def _counted(rows: Iterator[Mapping[str, Any]], path: Path) -> Iterator[Mapping[str, Any]]:
    """The rows, as long as there are not too many of them and of their text."""
    size = 0
    for number, row in enumerate(rows, start=1):
        size += sum(len(value) for value in row.values() if isinstance(value, str))
        if number > MAX_ROWS or size > MAX_BYTES:
            raise TableError(f"{path}: holds over {MAX_ROWS} rows or {MAX_BYTES} characters; nothing was stored.")
        yield row


def _to_csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(column.name for column in COLUMNS)
    for row in rows:
        writer.writerow(_harmless(row[column.name]) for column in COLUMNS)
    return stream.getvalue().encode()


def _harmless(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula; `_plain` inverts it. Numbers are exact."""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    return repr(value) if isinstance(value, float) else value


def _plain(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA) else cell


def _from_csv(content: bytes, path: Path) -> Iterator[dict[str, str]]:
    """Flat rows of text. A line is a row: no cell holds a line break."""
    header: list[str] | None = None
    stream = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", newline=None)
    number = 0
    try:
        while line := stream.readline(_LINE):
            number += 1
            if len(line) == _LINE:
                raise TableError(f"{path}: line {number} is too long; nothing was stored.")
            if number > 2 * MAX_ROWS:
                raise TableError(f"{path}: has over {2 * MAX_ROWS} lines; nothing was stored.")
            if not line.strip("\n"):
                continue
            cells = next(csv.reader([line], strict=True))
            if header is None:
                check_columns(cells, str(path))
                header = cells
                continue
            if len(cells) != len(header):
                raise TableError(
                    f"{path}: line {number} has {len(cells)} cells, the header {len(header)}; nothing was stored."
                )
            yield {name: _plain(cell) for name, cell in zip(header, cells, strict=True)}
    except (UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"{path}: cannot be read as CSV in UTF-8, near line {number} ({_line(error)}).") from error
    if header is None:
        raise TableError(f"{path}: is empty; expected an exported latency table.")


def _to_parquet(rows: Sequence[Mapping[str, Any]], path: Path) -> bytes:
    pyarrow, parquet = _pyarrow(f"writing {path.name}")
    types = {"integer": pyarrow.int64(), "number": pyarrow.float64()}
    form = pyarrow.schema(
        [(column.name, types.get(column.type, pyarrow.string())) for column in COLUMNS],
        metadata={"hwnas_table": str(FORMAT)},
    )
    stream = io.BytesIO()
    parquet.write_table(
        pyarrow.Table.from_pylist(list(rows), schema=form), stream, compression="zstd", write_page_checksum=True
    )
    return stream.getvalue()


def _from_parquet(content: bytes, path: Path) -> Iterator[dict[str, Any]]:
    """Flat rows, unpacked a few at a time; what a file says of its size is looked at before it is unpacked."""
    pyarrow, parquet = _pyarrow(f"reading {path.name}")
    texts = [column.name for column in COLUMNS if column.type in ("text", "json")]
    limits = {"thrift_string_size_limit": 2**24, "thrift_container_size_limit": 10**6}
    limits["page_checksum_verification"] = True
    try:
        with parquet.ParquetFile(io.BytesIO(content), **limits) as file:
            facts = file.metadata
            unpacked = sum(facts.row_group(index).total_byte_size for index in range(facts.num_row_groups))
            if facts.num_rows > MAX_ROWS or unpacked > MAX_BYTES:
                raise TableError(
                    f"{path}: holds {facts.num_rows} rows in {unpacked} bytes, too many for a latency table; at most "
                    f"{MAX_ROWS} in {MAX_BYTES}."
                )
            check_columns(file.schema_arrow.names, str(path))
            _check_types(pyarrow, file.schema_arrow, path)
        # A text that is repeated is unpacked once this way, and can be looked at before it is copied.
        with parquet.ParquetFile(io.BytesIO(content), read_dictionary=texts, **limits) as file:
            for batch in file.iter_batches(batch_size=_BATCH, use_threads=False):
                for name in texts:
                    _check_lengths(pyarrow, batch.column(name), f"{path}: {name}")
                yield from batch.to_pylist()
    except HwnasError:
        raise
    except Exception as error:  # what a damaged file makes pyarrow raise has no common base
        raise TableError(f"{path}: cannot be read as Parquet ({_line(error)}); nothing was stored.") from error


def _check_types(pyarrow: Any, form: Any, path: Path) -> None:
    types = pyarrow.types
    for column in COLUMNS:
        kind = form.field(column.name).type
        inner = kind.value_type if types.is_dictionary(kind) else kind
        text = types.is_string(inner) or types.is_large_string(inner)
        number = types.is_integer(kind) or types.is_floating(kind)
        wanted = text if column.type in ("text", "json") else number
        if not wanted and not types.is_null(kind):
            raise TableError(f"{path}: column {column.name} holds {str(kind)[:60]}, expected {column.type}.")


def _check_lengths(pyarrow: Any, column: Any, where: str) -> None:
    """TableError for a text that is too long, before it is copied into every row that has it."""
    import pyarrow.compute as compute

    values = column.dictionary if pyarrow.types.is_dictionary(column.type) else column
    if not pyarrow.types.is_null(values.type) and len(values):
        longest = compute.max(compute.binary_length(values)).as_py()
        if longest is not None and longest > 4 * MAX_TEXT:
            raise TableError(f"{where} holds a text of {longest} bytes; nothing was stored.")


def _pyarrow(purpose: str) -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", "parquet", purpose) from error
    return pyarrow, pyarrow.parquet


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
