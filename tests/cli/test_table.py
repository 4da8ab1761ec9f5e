"""`hwnas table`: what each command prints, as text and as JSON, and what it says to wrong input."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from dataclasses import replace

import pytest
import typer.main
from typer.testing import CliRunner

from hwnas.cli.app import app
from hwnas.errors import HwnasError
from hwnas.latency.records import Measured, Setting
from hwnas.latency.table import Fit, LatencyTable
from hwnas.profilers import Failure
from hwnas.provenance import canonical

MODEL = {"model_type": "bert", "hidden_size": 32}
NETWORKS = [canonical({**MODEL, "shape": [[4, 64], [heads, 16]]}) for heads in range(4)]
SETTING = Setting("cpu", "A processor, 2 logical cores", "onnxruntime", "1.31.0", "fp32", 1, 128, 1, "3")
OTHER = replace(SETTING, runtime="openvino", runtime_version="2026.4", batch=8, protocol="2 rounds=5")
ROW = Measured(
    0.025, 0.0249, 0.0252, 66, 0.025, 0.0245, 0.026, 6, 0.004, 2**33, 90_000_000, (), 0.5, None,
    "2026-01-01T00:00:00+00:00", None, "0.1.0",
)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "a.sqlite"
    with LatencyTable(path) as table:
        for index, network in enumerate(NETWORKS[:3]):
            flags = ("contended", "drift") if index == 2 else ("drift",) if index == 1 else ()
            seconds = 0.025 - index / 1e6
            table.put(SETTING, network, "design", replace(ROW, seconds=seconds, flags=flags))
        table.put(OTHER, NETWORKS[0], "member", replace(ROW, date="2025-01-01T00:00:00+00:00"))
        table.put_failure(SETTING, NETWORKS[3], Failure("load", "out of [bold]memory"), ROW.date)
        table.put_fit(
            SETTING, Fit(canonical(MODEL), 0, tuple(NETWORKS[:2]), (NETWORKS[2],), 0.011, 0.022, ROW.date, "0.1")
        )
    return path


@pytest.fixture
def path(made, tmp_path):
    place = tmp_path / "t.sqlite"
    place.write_bytes(made.read_bytes())
    return place


def call(*arguments) -> str:
    result = CliRunner().invoke(app, ["table", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def told(*arguments):
    return json.loads(call(*arguments, "--json"))


def test_ls(path):
    text = call("ls", "--table", path)
    assert "3*" in text
    assert "1.10%, 2.20%" in text
    first, second = told("ls", "--table", path)["settings"]
    assert first["setting"] == SETTING.to_json()
    assert (first["rows"], first["doubtful"], first["failures"], first["date"]) == (3, 1, 1, ROW.date)
    assert (second["rows"], second["mean_error"]) == (1, None)


def test_show(path):
    text = call("show", "--table", path, "--runtime", "onnxruntime")
    times = [line for line in text.splitlines() if "24.900 to 25.200" in line]
    assert [time in line for time, line in zip(("24.998*", "24.999", "25.000"), times, strict=True)] == [True] * 3
    assert "not measured: 1 x (4 heads, 64 units) + 1 x (3 heads, 16 units), load: out of [bold]memory" in text
    assert "mean error 1.10%, worst 2.20%, on 1 that it never saw" in text
    assert "openvino" not in text
    assert "holds nothing for precision int8" in call("show", "--table", path, "--precision", "int8")
    rows = told("show", "--table", path, "--batch", 8, "--seq-len", 128, "--target", "cpu")["rows"]
    assert [(row["kind"], row["runtime"], row["seconds"]) for row in rows] == [("measured", "openvino", 0.025)]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_export_import_and_diff(path, tmp_path, suffix):
    file, new = tmp_path / f"x.{suffix}", tmp_path / "new.sqlite"
    assert "4 rows, 1 failure, 1 fit of" in call("export", file, "--table", path)
    assert "6 entries added, 0 replaced, 0 left" in call("import", file, "--table", new)
    assert told("import", file, "--table", new, "--on-conflict", "error")["kept"] == 6
    with LatencyTable(new) as table:
        table.put(SETTING, NETWORKS[0], "design", replace(ROW, seconds=0.03, low=0.029, high=0.031))
    text = call("diff", path, new)
    assert "1.2000" in text
    assert "3 of 4 rows agree within their intervals (75.0%)" in text
    found = told("diff", path, "--table", new, "--runtime", "onnxruntime")
    assert found["summary"]["pairs"] == 3
    assert found["summary"]["share"] == pytest.approx(2 / 3)
    assert found["summary"]["worst_difference"] == pytest.approx(0.2)
    assert [pair["agree"] for pair in found["pairs"]] == [False, True, True]
    assert told("merge", new, "--table", path, "--on-conflict", "replace")["replaced"] == 1
    assert told("diff", path, new)["summary"]["agree"] == 4


def test_prune(path):
    assert "nothing was deleted: add --yes" in call("prune", "--flagged", "--table", path)
    assert told("prune", "--flagged", "--table", path) | {"table": 0} == {
        "table": 0, "deleted": False, "rows": 1, "failures": 0, "fits": 1,
    }  # fmt: skip
    assert told("prune", "--any-flag", "--table", path)["rows"] == 2
    assert told("prune", "--older-than", 200, "--old-protocol", "--runtime", "openvino", "--table", path)["rows"] == 1
    assert told("prune", "--older-than", 200, "--runtime-version", "1.22", "--table", path)["rows"] == 0
    assert told("ls", "--table", path)["settings"][0]["rows"] == 3
    assert told("prune", "--runtime", "openvino", "--table", path, "--yes")["deleted"]
    assert len(told("ls", "--table", path)["settings"]) == 1
    assert told("prune", "--failures", "--table", path, "--yes")["failures"] == 1
    assert "1 row, 0 failures, 1 fit deleted" in call("prune", "--flagged", "--table", path, "--yes")
    assert told("ls", "--table", path)["settings"][0] | {"setting": 0, "date": 0} == {
        "setting": 0, "rows": 2, "flagged": 1, "doubtful": 0, "failures": 0, "fits": 0, "mean_error": None,
        "worst_error": None, "date": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("ls",), "no such table; `hwnas profile` makes one"),
        (("show",), "no such table"),
        (("export", "x.csv"), "no such table"),
        (("prune", "--failures"), "no such table"),
        (("diff", "none.sqlite"), "no such table"),
        (("merge", "none.sqlite"), "no such table"),
        (("import", "none.csv"), "no such file"),
        (("import", "none.txt"), r"ends in \.parquet or \.csv"),
        (("import", "none.csv", "--on-conflict", "merge"), "unknown conflict rule 'merge'"),
    ],
)
def test_what_is_not_there_is_said_and_not_made(tmp_path, monkeypatch, arguments, match):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HwnasError, match=match):
        call(*arguments, "--table", "t.sqlite")
    assert list(tmp_path.iterdir()) == []


def test_wrong_options(path):
    with pytest.raises(HwnasError, match="say what is to go"):
        call("prune", "--table", path)
    with pytest.raises(HwnasError, match="a failure has no flags"):
        call("prune", "--table", path, "--failures", "--flagged")
    for days in ("1e6", "1e12", "inf"):
        with pytest.raises(HwnasError, match=f"--older-than {re.escape(f'{float(days):g}')}: expected days, fewer"):
            call("prune", "--table", path, "--older-than", days)
    with pytest.raises(HwnasError, match=r"x\.csv cannot be written \(Not a directory\)"):
        call("export", f"{path}/x.csv", "--table", path)
    with pytest.raises(HwnasError, match="not both"):
        call("diff", path, path, "--table", path)
    with pytest.raises(HwnasError, match="cannot be merged into itself"):
        call("merge", path, "--table", path)


def test_the_program_says_it_in_one_line_and_exits_with_2(path, tmp_path):
    call("export", tmp_path / "x.parquet", "--table", path)
    content = (tmp_path / "x.parquet").read_bytes()
    (tmp_path / "x.parquet").write_bytes(content[:-100])
    command = [
        sys.executable,
        "-P",
        "-m",
        "hwnas",
        "table",
        "import",
        str(tmp_path / "x.parquet"),
        "--table",
        str(path),
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "x.parquet: cannot be read as Parquet" in done.stderr
    assert len(told("show", "--table", path)["rows"]) == 6


def test_help_reads_like_documentation():
    group = typer.main.get_command(app).commands["table"]
    assert sorted(group.commands) == ["diff", "export", "import", "ls", "merge", "prune", "show"]
    for name, command in group.commands.items():
        assert len(command.help) > 100
        for parameter in command.params:
            assert getattr(parameter, "help", None), f"{name} {parameter.name} has no help"
        assert {"as_json", "table"} <= {parameter.name for parameter in command.params}


@pytest.mark.parametrize(
    ("where", "name"), [("measurements", "seconds"), ("measurements", "peak_memory_bytes"), ("fits", "mean_error")]
)
def test_text_where_a_number_belongs(path, where, name):
    """SQLite keeps whatever it is given in any column."""
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(f"UPDATE hwnas_{where} SET {name} = 'fast' WHERE id = 1")
    connection.close()
    for command in ("show", "ls"):
        with pytest.raises(HwnasError, match=f"has {name} 'fast', expected a number; .* damaged") as caught:
            call(command, "--table", path)
        assert "\n" not in str(caught.value)
