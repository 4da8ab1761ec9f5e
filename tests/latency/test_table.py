"""One contract over every kind of database, and what files the table refuses."""

from __future__ import annotations

import copy
import json
import os
import sqlite3
import subprocess
import sys
from dataclasses import replace

import pytest
import sqlalchemy as sa

from hwnas.errors import TableError, UnknownNameError
from hwnas.latency import schema
from hwnas.latency.contents import Stored
from hwnas.latency.entries import MeasuredEntry, Selection
from hwnas.latency.keys import model_key, network_key, shared_key
from hwnas.latency.profile import load_predictor
from hwnas.latency.table import Fit, LatencyTable, default_table_path, table_if_there
from hwnas.profilers import Failure
from hwnas.spaces import Architecture


def test_contract(database, setting, measured):
    other = replace(setting, threads=2)
    with LatencyTable(database) as table:
        assert table.get(setting, "a") is None
        assert table.settings() == table.rows(setting) == table.failures(setting) == []
        table.put(setting, "a", "design", measured)
        table.put(setting, "b", "holdout", replace(measured, peak_memory_bytes=None, flags=(), commit="abc", mhz=2e3))
        table.put(other, "a", "member", replace(measured, seconds=1.0))
    with LatencyTable(database) as table:
        assert table.get(setting, "a") == measured
        assert table.get(other, "a") == replace(measured, seconds=1.0)
        assert table.get(other, "b") is None
        assert [(network, role) for network, role, _ in table.rows(setting)] == [("a", "design"), ("b", "holdout")]
        assert table.rows(setting)[1][2] == replace(measured, peak_memory_bytes=None, flags=(), commit="abc", mhz=2e3)
        assert table.settings() == [setting, other]
        table.put(setting, "a", "design", replace(measured, seconds=2.0))
        assert table.get(setting, "a") == replace(measured, seconds=2.0)
        assert len(table.rows(setting)) == 2


def test_contract_of_failures_and_fits(database, setting):
    fit = Fit("model", 0, ("a", "b"), ("c",), 0.01, 0.02, "2026-01-01T00:00:00+00:00", "0.1.0")
    with LatencyTable(database) as table:
        table.put_failure(setting, "a", Failure("run", "first"), "2026-01-01T00:00:00+00:00")
        table.put_failure(setting, "a", Failure("load", "second"), "2026-01-02T00:00:00+00:00")
        assert table.failures(setting) == [("a", Failure("load", "second"))]
        assert table.rows(setting) == []
        assert table.latest_fit(setting, "model") is None
        table.put_fit(setting, fit)
        table.put_fit(setting, replace(fit, seed=1, mean_error=None, worst_error=None, holdout=()))
        assert table.latest_fit(setting, "model") == replace(fit, seed=1, mean_error=None, worst_error=None, holdout=())
        table.put_fit(setting, replace(fit, mean_error=0.5))
        assert table.latest_fit(setting, "model") == replace(fit, mean_error=0.5)
        assert table.latest_fit(setting, "other") is None
        assert table.latest_fit(replace(setting, batch=2), "model") is None


def test_fits_of_two_depths_stand_side_by_side(tmp_path, bert, setting, measured):
    """A fit is of one super-network, though the rows of networks that two of them have are shared."""
    deeper = copy.deepcopy(bert)
    deeper.num_hidden_layers = 3
    date, shallow = "2026-01-02T00:00:00+00:00", network_key(bert, Architecture((4, 4), (64, 64)))
    whole = network_key(deeper, Architecture((4,) * 3, (64,) * 3))
    corners = tuple(network_key(bert, Architecture((heads, 0), (units, 0))) for heads, units in ((4, 1), (1, 64)))
    older = Fit(shared_key(bert), 0, (shallow, *corners), (), 0.1, 0.2, measured.date, "0.1.0")
    newer = replace(older, model=model_key(bert), date=date)
    other = Fit(model_key(deeper), 0, (whole, shallow), corners, 0.3, 0.4, date, "0.1.0")
    with LatencyTable(tmp_path / "t.sqlite") as table:
        table.put_fit(setting, older)
        assert table.latest_fit(setting, model_key(bert)) == older, "one without sizes is of its largest network"
        assert table.latest_fit(setting, model_key(deeper)) is None
        table.put(setting, shallow, "design", measured)
        with pytest.raises(TableError, match="holds 1 measured networks of this model in this setting, but no fi"):
            load_predictor(deeper, setting, table)
        table.put_fit(setting, replace(other, model=shared_key(bert)))
        assert table.latest_fit(setting, model_key(bert)) is None
        assert table.latest_fit(setting, model_key(deeper)).mean_error == 0.3
        for fit in (newer, other):
            table.put_fit(setting, fit)
        assert table.latest_fit(setting, model_key(bert)) == newer
        assert table.latest_fit(setting, model_key(deeper)) == other
        assert len(table.fits(setting)) == 3


def test_two_writers(database, setting, measured):
    with LatencyTable(database) as first, LatencyTable(database) as second:
        for i in range(5):
            first.put(setting, f"first {i}", "design", measured)
            second.put(setting, f"second {i}", "design", measured)
        assert len(first.rows(setting)) == len(second.rows(setting)) == 10
        assert first.settings() == [setting]


def test_newer_schema_is_refused(database, setting, measured):
    with LatencyTable(database) as table:
        table.put(setting, "a", "design", measured)
        table._database.write(lambda connection: connection.execute(sa.update(schema.meta).values(value="99")))
        path = table.path
    before = path and path.read_bytes()
    with pytest.raises(TableError, match=rf"schema 99, this hwnas reads {schema.VERSION} and older.*--table"):
        LatencyTable(database)
    assert (path and path.read_bytes()) == before


def test_predictions_have_no_column():
    columns = {column.name for table in schema.metadata.tables.values() for column in table.columns}
    assert not [name for name in columns if "predict" in name]


def test_sqlite_keeps_a_log(tmp_path, setting, measured):
    path = tmp_path / "t.sqlite"
    with LatencyTable(path) as table:
        table.put(setting, "a", "design", measured)
        with sqlite3.connect(path) as other:
            assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        other.close()


def test_rows_survive_a_kill(tmp_path, setting, measured):
    path = tmp_path / "t.sqlite"
    script = (
        "import json, os, signal, sys\n"
        "from hwnas.latency.records import Measured, Setting\n"
        "from hwnas.latency.table import LatencyTable\n"
        "path, setting, measured = sys.argv[1], *map(json.loads, sys.argv[2:])\n"
        "LatencyTable(path).put(Setting.from_json(setting), 'a', 'design', Measured.from_json(measured))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    arguments = [str(path), setting.key(), json.dumps(measured.to_json())]
    done = subprocess.run([sys.executable, "-P", "-c", script, *arguments], check=False)
    assert done.returncode == -9
    with LatencyTable(path) as table:
        assert table.get(setting, "a") == measured


@pytest.mark.parametrize("content", [b"not a database at all", b"SQLite format 3\0" + b"\x07" * 5000, os.urandom(9000)])
def test_damaged_file_is_refused_and_left_alone(tmp_path, content):
    path = tmp_path / "t.sqlite"
    path.write_bytes(content)
    with pytest.raises(TableError, match=r"t\.sqlite is damaged.*move the file away.*--table") as caught:
        LatencyTable(path)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_file_damaged_in_the_middle(tmp_path, setting, measured):
    path = tmp_path / "t.sqlite"
    with LatencyTable(path) as table:
        for i in range(200):
            table.put(setting, f"network {i}", "design", measured)
    data = bytearray(path.read_bytes())
    data[8192:-4096] = bytes(len(data) - 4096 - 8192)
    path.write_bytes(data)
    with pytest.raises(TableError, match=r"t\.sqlite is damaged"):
        LatencyTable(path)
    assert path.read_bytes() == data


def test_foreign_database_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "t.sqlite"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE customers (name TEXT)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(TableError, match=r"t\.sqlite is a database of something else \(table 'customers'\)"):
        LatencyTable(path)
    assert path.read_bytes() == before


def test_empty_file_becomes_a_table(tmp_path, setting):
    (tmp_path / "t.sqlite").touch()
    with LatencyTable(tmp_path / "t.sqlite") as table:
        assert table.rows(setting) == []


def test_folder_in_place_of_a_file(tmp_path):
    with pytest.raises(TableError, match="is not a file"):
        LatencyTable(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(TableError, match="cannot be used"):
        LatencyTable(tmp_path / "file" / "t.sqlite")


def test_read_only_file(tmp_path):
    """Through SQLite's own read-only mode, which holds for root too."""
    path = tmp_path / "t.sqlite"
    LatencyTable(path).close()
    before = path.read_bytes()
    with pytest.raises(TableError, match=r"t\.sqlite.* cannot be written; allow writing"):
        LatencyTable(f"sqlite:///file:{path}?mode=ro&uri=true")
    assert path.read_bytes() == before


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(TableError, match="--table"):
            LatencyTable(tmp_path / "t.sqlite")
    finally:
        tmp_path.chmod(0o700)


def test_unreachable_databases_and_bad_urls():
    with pytest.raises(TableError, match="expected a file, or an SQLAlchemy URL"):
        LatencyTable("://")
    with pytest.raises(TableError, match="no driver"):
        LatencyTable("nosuch://user:secret@host/db")
    with pytest.raises(TableError) as caught:
        LatencyTable("postgresql+psycopg://user:secret@127.0.0.1:1/db")
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_default_path_is_a_file_in_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_table_path().name == "latency.sqlite"
    assert default_table_path().parent.name == "hwnas"


def test_everything_stored_deleted_and_summed_up(database, setting, measured, filled):
    with LatencyTable(filled) as source:
        entries = source.entries()
    with LatencyTable(database) as table:
        assert table.store(entries) == Stored(added=9, replaced=0, kept=0)
        assert table.entries() == entries
        assert table.store(entries, "error") == Stored(added=0, replaced=0, kept=9)
        assert table.entries(Selection(batch=8)) == entries[-1:]
        first, second = table.overview()
        assert (first.rows, first.flagged, first.doubtful, first.failures, first.fits) == (6, 1, 1, 1, 1)
        assert (first.mean_error, first.worst_error, first.date) == (0.01, 0.02, measured.date)
        assert (second.rows, second.mean_error) == (1, None)
        changed = replace(entries[0], measured=replace(measured, seconds=0.02501))
        table.store([changed], "replace")
        gone = table.delete(entries[:1])  # not as it was given: it stays
        assert gone == []
        gone = table.delete([changed, entries[-1]])
        assert [entry.kind for entry in gone] == ["measured", "measured", "fit"]
        assert table.settings() == [setting]
        assert len(table.entries()) == 6


@pytest.mark.parametrize(("rule", "seconds"), [("keep", 1.0), ("newer", 1.0), ("replace", 0.5), ("error", None)])
def test_conflicts(tmp_path, setting, measured, rule, seconds):
    old = replace(measured, seconds=0.5, low=0.4, high=0.6, date="2025-12-31T23:59:59+00:00")
    with LatencyTable(tmp_path / "t.sqlite") as table:
        table.put(setting, "a", "design", replace(measured, seconds=1.0))
        entries = [MeasuredEntry(setting, "b", "design", old), MeasuredEntry(setting, "a", "design", old)]
        if seconds is None:
            with pytest.raises(TableError, match="--on-conflict newer, keep or replace"):
                table.store(entries, rule)
            assert len(table.rows(setting)) == 1
        else:
            table.store(entries, rule)
            assert table.get(setting, "a").seconds == seconds
            assert len(table.rows(setting)) == 2
            table.store([replace(entries[1], measured=replace(old, date="2026-01-01T00:00:01+00:00"))], rule)
            assert table.get(setting, "a").seconds == (1.0 if rule == "keep" else 0.5)


def test_a_fit_without_its_rows_is_refused(tmp_path, filled):
    with LatencyTable(filled) as source, LatencyTable(tmp_path / "t.sqlite") as table:
        entries = source.entries()
        with pytest.raises(TableError, match="stands on 1 rows"):
            table.store(entries[1:])
        assert table.entries() == table.settings() == []


def test_unknown_conflict_rule(tmp_path):
    with LatencyTable(tmp_path / "t.sqlite") as table, pytest.raises(UnknownNameError, match="did you mean 'newer'"):
        table.store([], "never")


def test_full_disk_keeps_what_was_stored(tmp_path, setting, measured):
    """A database that may not grow: SQLite then says what it says on a full disk."""
    path = tmp_path / "t.sqlite"
    with LatencyTable(path) as table:
        table.put(setting, "a", "design", measured)
        engine = table._database._engine
        engine.dispose()
        sa.event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA max_page_count = 18"))
        stored, said = 1, ""
        while not said and stored < 10_000:
            try:
                table.put(setting, f"network {stored}", "design", measured)
                stored += 1
            except TableError as error:
                said = str(error)
        assert "t.sqlite: the disk is full, so this was not stored; what was stored before is there. Free" in said
        assert "\n" not in said
        with pytest.raises(TableError, match="the disk is full"):
            table.store([MeasuredEntry(setting, f"x{i}", "design", measured) for i in range(200)])
        assert len(table.rows(setting)) == stored
    with LatencyTable(path) as table:
        assert len(table.rows(setting)) == stored


def test_a_damaged_row_is_said_in_one_line(filled):
    with LatencyTable(filled) as table:
        table._database.write(lambda c: c.execute(sa.text("UPDATE hwnas_measurements SET flags = '[' WHERE id = 1")))
        with pytest.raises(TableError, match="holds a row that cannot be read"):
            table.entries()


def test_a_damaged_row_is_said_whoever_reads_it(filled, setting):
    with LatencyTable(filled) as table:
        table._database.write(lambda c: c.execute(sa.text("UPDATE hwnas_measurements SET telemetry = '{'")))
        for read in (lambda: table.rows(setting), lambda: table.overview()):
            with pytest.raises(TableError, match="holds a row that cannot be read") as caught:
                read()
            assert "\n" not in str(caught.value)


def test_a_setting_of_other_types_is_damaged(filled, setting):
    """What a hostile table may hold: a list cannot even be compared with a setting."""
    for change in ({"batch": "1"}, {"batch": True}, {"target": ["cpu"]}, {"threads": 1.0}):
        key = json.dumps({**setting.to_json(), **change})
        with LatencyTable(filled) as table:
            statement = sa.text("UPDATE hwnas_settings SET key = :key WHERE id = 1")
            table._database.write(lambda c, key=key, statement=statement: c.execute(statement, {"key": key}))
            with pytest.raises(TableError, match=f"has {next(iter(change))} .*, expected"):
                table.settings()


def test_opening_imports_no_alembic(tmp_path):
    code = (
        "import sys; from hwnas.latency.table import LatencyTable; LatencyTable(sys.argv[1]).close(); "
        "LatencyTable(sys.argv[1]).close(); print('alembic' in sys.modules or 'pyarrow' in sys.modules)"
    )
    command = [sys.executable, "-P", "-c", code, str(tmp_path / "t.sqlite")]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "False\n"


def test_what_can_do_without_a_table_makes_none(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with table_if_there(None) as table:
        assert table is None
    with pytest.raises(TableError, match="no such table"), table_if_there(tmp_path / "t.sqlite"):
        pytest.fail("it was made")
    assert not any(tmp_path.iterdir())
    LatencyTable(default_table_path()).close()
    with table_if_there(None) as table:
        assert table is not None
        assert table.path == default_table_path()
