"""Tables as files: what goes out comes back, and a file that is not sound changes nothing."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import random
import subprocess
import sys
from dataclasses import fields, replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from hwnas.errors import TableError
from hwnas.latency import portable
from hwnas.latency.checking import COLUMNS, flat_row
from hwnas.latency.contents import Stored
from hwnas.latency.entries import Selection
from hwnas.latency.keys import model_key, network_key
from hwnas.latency.portable import export_file, import_file, merge_table, read_file
from hwnas.latency.records import Measured, Setting
from hwnas.latency.table import Fit, LatencyTable
from hwnas.provenance import canonical
from hwnas.spaces.architecture import Architecture

SUFFIXES = ("csv", "parquet")


def entries_of(path):
    with LatencyTable(path) as table:
        return table.entries()


@pytest.fixture(scope="module")
def flat(filled_once):
    return [flat_row(entry) for entry in entries_of(filled_once)]


@pytest.fixture
def rows(flat):
    """Flat rows of the filled table: 6 measured, a failure, a fit, and one measured in another setting."""
    return list(flat)


def write(path, rows, names=None):
    """A file as somebody else might write it."""
    names = names or [column.name for column in COLUMNS]
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, names)
            writer.writeheader()
            writer.writerows({name: row.get(name) for name in names} for row in rows)
    else:
        pq.write_table(pa.table({name: [row.get(name) for row in rows] for name in names}), path)
    return path


def refused(path, tmp_path, match):
    """The file is refused in one line, a table that is there stays as it is, and none is made."""
    with pytest.raises(TableError, match=match) as caught:
        import_file(path, tmp_path / "none.sqlite")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    assert not (tmp_path / "none.sqlite").exists()


def test_every_field_of_a_measurement_travels():
    names = {column.name for column in COLUMNS}
    assert {entry.name for cls in (Setting, Measured, Fit) for entry in fields(cls)} <= names


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_goes_out_comes_back(tmp_path, filled, suffix):
    file = tmp_path / f"out.{suffix}"
    with LatencyTable(filled) as table:
        assert len(export_file(table, file)) == 9
        assert len(export_file(table, tmp_path / f"part.{suffix}", Selection(batch=8))) == 1
    assert import_file(file, tmp_path / "new.sqlite") == Stored(9, 0, 0)
    assert import_file(file, tmp_path / "new.sqlite", "error") == Stored(0, 0, 9)
    assert entries_of(tmp_path / "new.sqlite") == entries_of(filled)
    assert import_file(tmp_path / f"part.{suffix}", tmp_path / "part.sqlite") == Stored(1, 0, 0)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_empty_table_travels(tmp_path, suffix):
    with LatencyTable(tmp_path / "empty.sqlite") as table:
        export_file(table, tmp_path / f"out.{suffix}")
    assert import_file(tmp_path / f"out.{suffix}", tmp_path / "new.sqlite") == Stored(0, 0, 0)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_predictor_travels(tmp_path, bert, setting, measured, suffix):
    """The fit on the other machine is the one that was made here."""
    from hwnas.latency.profile import load_predictor

    archs = [Architecture((a, b), (c, d)) for a in (1, 4) for b in (2, 3) for c in (16, 64) for d in (32, 48)]
    noise = random.Random(0)
    costs = [1 + sum(arch.head_counts) + sum(arch.unit_counts) / 64 for arch in archs]
    times = [0.001 * cost * noise.uniform(0.997, 1.003) for cost in costs]
    keys = [network_key(bert, arch) for arch in archs]
    with LatencyTable(tmp_path / "here.sqlite") as table:
        for key, seconds in zip(keys, times, strict=True):
            row = replace(measured, seconds=seconds, low=seconds * 0.999, high=seconds * 1.001, peak_memory_bytes=None)
            table.put(setting, key, "design", row)
        table.put_fit(setting, Fit(model_key(bert), 0, tuple(keys), (), None, None, measured.date, "0.1.0"))
        expected = load_predictor(bert, setting, table).predict(archs[3])
        export_file(table, tmp_path / f"out.{suffix}")
    import_file(tmp_path / f"out.{suffix}", tmp_path / "there.sqlite")
    with LatencyTable(tmp_path / "there.sqlite") as table:
        assert table.settings() == [setting]
        assert load_predictor(bert, setting, table).predict(archs[3]) == expected


def test_no_cell_of_a_csv_is_a_formula(tmp_path, filled):
    with LatencyTable(filled) as table:
        export_file(table, tmp_path / "out.csv")
    cells = [cell for row in csv.reader(io.StringIO((tmp_path / "out.csv").read_text())) for cell in row]
    assert "'=cmd|' /C calc'!A0" in cells
    assert "'=1+1" in cells
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]


def test_parquet_holds_numbers_and_other_tools_may_write_it(tmp_path, filled, rows):
    with LatencyTable(filled) as table:
        export_file(table, tmp_path / "out.parquet")
    form = pq.read_schema(tmp_path / "out.parquet")
    assert str(form.field("seconds").type) == "double"
    assert str(form.field("batch").type) == "int64"
    assert form.metadata[b"hwnas_table"] == b"1"
    frame = pq.read_table(tmp_path / "out.parquet").to_pandas()  # integers with gaps become floats
    frame.to_parquet(tmp_path / "pandas.parquet")
    assert import_file(tmp_path / "pandas.parquet", tmp_path / "new.sqlite").added == len(rows)
    assert entries_of(tmp_path / "new.sqlite") == entries_of(filled)


MEASURED, FAILURE, FIT = 0, 6, 7
MODEL = {"model_type": "bert", "hidden_size": 32, "head_size": 8, "vocabulary": 100, "labels": 3}  # the fixture's
WRONG = [
    (MEASURED, {"seconds": "nan"}, "seconds is 'nan', expected a number"),
    (MEASURED, {"seconds": "inf"}, "seconds is 'inf'"),
    (MEASURED, {"seconds": "-0.025"}, "seconds is '-0.025'"),
    (MEASURED, {"seconds": "1e999"}, "seconds is inf, expected a positive number"),
    (MEASURED, {"seconds": "0"}, "seconds is 0.0, expected a positive number"),
    (MEASURED, {"seconds": None}, "seconds is missing"),
    (MEASURED, {"seconds": "1.0"}, "the interval 0.0249 to 0.0252 does not hold the latency 1.0"),
    (MEASURED, {"low": "0.1", "high": "0.01"}, "the interval"),
    (MEASURED, {"p95": "0.001"}, "percentiles .* not in order"),
    (MEASURED, {"p99": "0.001"}, "percentiles .* not in order"),
    (MEASURED, {"n": "1.5"}, "n is '1.5', expected an integer"),
    (MEASURED, {"batch": str(2**31)}, "batch is 2147483648, expected at most"),
    (MEASURED, {"weight_bytes": "9" * 25}, "weight_bytes is '9"),
    (MEASURED, {"kind": "predicted"}, "predicted, not measured"),
    (MEASURED, {"kind": "estimated"}, "estimated, not measured"),
    (MEASURED, {"kind": "guess"}, "kind 'guess', expected measured, failure, fit"),
    (MEASURED, {"hwnas_table": "2"}, "format '2', this hwnas reads format 1"),
    (MEASURED, {"target": None}, "target is missing"),
    (MEASURED, {"runtime": "ONNX runtime"}, "is no name"),
    (MEASURED, {"fingerprint": "x" * 301}, "fingerprint is 301 characters"),
    (MEASURED, {"fingerprint": "a\x1b[2Jb"}, "control characters"),
    (MEASURED, {"protocol": "newest"}, "not the key of a measuring protocol"),
    (MEASURED, {"network": "{}"}, "is not the key of a network"),
    (MEASURED, {"network": "[" * 15_000}, "expected JSON"),
    (MEASURED, {"network": '{"model_type":"bert","shape":[[1,-1]]}'}, "is not the key of a network"),
    (MEASURED, {"network": '{"shape":[[1,1]],"model_type":"bert"}'}, "is not the key of a network"),
    (MEASURED, {"flags": '["A B"]'}, "flags .* not of the expected form"),
    (MEASURED, {"flags": "drift"}, "flags .*expected JSON"),
    (MEASURED, {"round_medians": "[1, -1]"}, "round_medians"),
    (MEASURED, {"round_medians": "[NaN]"}, "round_medians"),
    (MEASURED, {"telemetry": "[]"}, "telemetry"),
    (MEASURED, {"telemetry": '{"a": 1e999}'}, "telemetry"),
    (MEASURED, {"telemetry": '{"a": 1' + "0" * 400 + "}"}, "telemetry"),
    (MEASURED, {"telemetry": '{"a": "\\u0000"}'}, "telemetry"),
    (MEASURED, {"telemetry": '{"a": "' + "x" * 100_000 + '"}'}, "telemetry is 1000.. characters"),
    (MEASURED, {"date": "yesterday"}, "date 'yesterday' is not of the form"),
    (MEASURED, {"date": "2026-01-01T00:00:00"}, "is not of the form"),
    (MEASURED, {"date": "9999-01-01T00:00:00+00:00"}, "in the future"),
    (MEASURED, {"stage": "run"}, "a measured row has no stage"),
    (MEASURED, {"commit": "x" * 65}, "commit is 65 characters"),
    (FAILURE, {"seconds": "1"}, "a failure row has no seconds"),
    (FAILURE, {"stage": None}, "stage is missing"),
    (FIT, {"design": "[]"}, "design is empty"),
    (FIT, {"design": "[1]"}, "not of the expected form"),
    (FIT, {"model": "{}"}, "is not the key of a model"),
    (FIT, {"design": json.dumps([canonical({"model_type": "roberta", "shape": []})])}, "not of its model"),
    (FIT, {"model": canonical({**MODEL, "layers": 1, "heads": 4, "units": 64})}, "not of its model"),
    (FIT, {"holdout": None}, "holdout is missing"),
]  # fmt: skip


@pytest.mark.parametrize(("index", "change", "match"), WRONG, ids=lambda value: str(value)[:40])
def test_a_wrong_row_is_refused(tmp_path, rows, index, change, match):
    rows[index] = {**rows[index], **change}
    path = write(tmp_path / "x.csv", rows)
    refused(path, tmp_path, rf"x\.csv: row {index + 1}: .*{match}.*; nothing was stored")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_wrong_file_is_refused(tmp_path, rows, suffix):
    path = tmp_path / f"x.{suffix}"
    refused(write(path, [*rows, rows[0]]), tmp_path, "row 10 is of the same network as row 1")
    names = [column.name for column in COLUMNS]
    refused(write(path, rows, names[:-1]), tmp_path, "no column 'worst_error'")
    refused(write(path, rows, [*names, "predicted"]), tmp_path, "a column 'predicted' that does not belong there")
    refused(write(path, [{"a": 1}], ["a"]), tmp_path, "no exported latency table")
    path.write_bytes(b"")
    refused(path, tmp_path, "empty|cannot be read")
    path.write_bytes(random.Random(0).randbytes(5000))
    refused(path, tmp_path, "cannot be read|no exported")
    refused(tmp_path / f"none.{suffix}", tmp_path, "no such file")
    refused(tmp_path / "x.txt", tmp_path, r"ends in \.parquet or \.csv")


def test_a_truncated_parquet_file_is_refused(tmp_path, filled):
    path = tmp_path / "x.parquet"
    with LatencyTable(filled) as table:
        export_file(table, path)
    content = path.read_bytes()
    for size in (4, 100, len(content) // 2, len(content) - 9, len(content) - 1):
        path.write_bytes(content[:size])
        refused(path, tmp_path, "cannot be read as Parquet")
    draw = random.Random(1)
    for _ in range(60):  # damage: refused in one line, or without effect on what is read
        damaged = bytearray(content)
        for _ in range(3):
            damaged[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        with contextlib.suppress(TableError):
            read_file(path)


def test_a_truncated_csv_file_is_refused(tmp_path, filled):
    path = tmp_path / "x.csv"
    with LatencyTable(filled) as table:
        export_file(table, path)
    content = path.read_bytes()
    lines = content.splitlines(keepends=True)
    path.write_bytes(content[: len(content) - len(lines[-1]) // 2])
    refused(path, tmp_path, "near line 10|line 10 has")
    path.write_bytes(content.replace(b"onnxruntime", b"onnx\xffruntime", 1))
    refused(path, tmp_path, "cannot be read as CSV in UTF-8")
    path.write_bytes(lines[0] + b"," * (portable._LINE + 1))
    refused(path, tmp_path, "line 2 is too long")


def test_parquet_of_other_types_is_refused(tmp_path, rows):
    path = tmp_path / "x.parquet"
    for name, value in (("target", 1), ("seconds", "0.025"), ("batch", True), ("flags", ["drift"])):
        refused(write(path, [{**row, name: value} for row in rows]), tmp_path, f"column {name} holds")
    for name, value in (("seconds", float("nan")), ("seconds", -1.0), ("n", 1.5), ("batch", -1)):
        changed = [{**row, name: value if row["kind"] == "measured" or name == "batch" else None} for row in rows]
        refused(write(path, changed), tmp_path, f"row 1: {name} is")


def test_parquet_that_unpacks_to_too_much_is_refused(tmp_path, rows):
    path = tmp_path / "x.parquet"
    row = rows[0]
    count = portable.MAX_ROWS + 1
    columns = {column.name: pa.array([row[column.name]]).take(pa.array([0] * count)) for column in COLUMNS}
    pq.write_table(pa.table(columns), path)
    assert path.stat().st_size < 100_000
    refused(path, tmp_path, "holds 100001 rows")
    huge = {**row, "telemetry": '{"a": "' + "x" * 2**24 + '"}'}
    columns = {column.name: pa.array([huge[column.name]]).take(pa.array([0] * 3)) for column in COLUMNS}
    pq.write_table(pa.table(columns), path, compression="zstd")
    assert path.stat().st_size < 100_000
    refused(path, tmp_path, "telemetry holds a text of 16777")


def test_large_files_and_pipes_are_not_read(tmp_path):
    with (tmp_path / "x.csv").open("wb") as stream:
        stream.truncate(portable.MAX_BYTES + 1)  # a file with a hole: no disk is used
    refused(tmp_path / "x.csv", tmp_path, "too large")
    refused(tmp_path, tmp_path, "ends in")
    (tmp_path / "y.csv").mkdir()
    refused(tmp_path / "y.csv", tmp_path, "is not a file")


def test_a_fit_without_its_rows_changes_nothing(tmp_path, filled, rows):
    before = entries_of(filled)
    path = write(tmp_path / "x.csv", rows[1:])
    with pytest.raises(TableError, match="stands on 1 rows"):
        import_file(path, tmp_path / "new.sqlite")
    assert entries_of(tmp_path / "new.sqlite") == []
    assert import_file(path, filled) == Stored(0, 0, 8)
    assert entries_of(filled) == before


def test_export_into_a_folder_that_is_not_there(tmp_path, filled):
    with LatencyTable(filled) as table, pytest.raises(TableError, match=r"out\.csv cannot be written"):
        export_file(table, tmp_path / "nowhere" / "out.csv")


def test_merge(tmp_path, filled):
    assert merge_table(filled, tmp_path / "new.sqlite") == Stored(9, 0, 0)
    assert merge_table(filled, tmp_path / "new.sqlite") == Stored(0, 0, 9)
    assert entries_of(tmp_path / "new.sqlite") == entries_of(filled)
    with pytest.raises(TableError, match="cannot be merged into itself"):
        merge_table(filled, f"sqlite:///{filled}")
    with pytest.raises(TableError, match="no such table"):
        merge_table(tmp_path / "none.sqlite", filled)
    assert not (tmp_path / "none.sqlite").exists()


def test_a_hostile_table_is_not_merged(tmp_path, filled, setting, measured):
    with LatencyTable(tmp_path / "bad.sqlite") as table:
        table.put(setting, "not a key", "design", measured)
    with pytest.raises(TableError, match=r"bad\.sqlite: row 1: network is 'not a key'"):
        merge_table(tmp_path / "bad.sqlite", filled)


def test_a_hostile_table_that_json_cannot_say_is_not_merged(tmp_path, filled, setting, measured):
    with LatencyTable(tmp_path / "bad.sqlite") as table:
        table.put(setting, canonical({"model_type": "bert", "shape": [[1, 1]]}), "design", measured)
        for telemetry, match in (('{"a": NaN}', "cannot be written"), ("[" * 90_000, "cannot be read")):
            statement = sa.text("UPDATE hwnas_measurements SET telemetry = :telemetry")
            table._database.write(lambda c, t=telemetry, s=statement: c.execute(s, {"telemetry": t}))
            with pytest.raises(TableError, match=match) as caught:
                merge_table(tmp_path / "bad.sqlite", filled)
            assert "\n" not in str(caught.value)


def test_a_file_of_empty_lines_is_refused(tmp_path, filled):
    with LatencyTable(filled) as table:
        export_file(table, tmp_path / "x.csv")
    with (tmp_path / "x.csv").open("ab") as stream:
        stream.write(b"\n" * (2 * portable.MAX_ROWS))
    refused(tmp_path / "x.csv", tmp_path, "has over 200000 lines")


def test_csv_needs_no_pyarrow_and_parquet_says_so(tmp_path, filled):
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from pathlib import Path\n"
        "from hwnas.latency.portable import export_file\n"
        "from hwnas.latency.table import LatencyTable\n"
        "table, folder = LatencyTable(sys.argv[1]), Path(sys.argv[2])\n"
        "export_file(table, folder / 'x.csv')\n"
        "try: export_file(table, folder / 'x.parquet')\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    command = [sys.executable, "-P", "-W", "ignore", "-c", code, str(filled), str(tmp_path)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert said.startswith("MissingExtraError writing x.parquet needs pyarrow, which is not installed")
