"""The whole road on a small model: every command, twice, and through kills."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import hwnas

OPTIONS = ["--seq-len", "16", "--rounds", "4", "--no-remeasure", "--networks", "8", "--holdout", "3"]


STEPS = ["--max-steps", "80"]
SEARCH = ["--evaluations", "40", "--searcher", "regularized_evolution", "--max-members", "2"]
HWNAS = [sys.executable, "-P", "-m", "hwnas"]


def kill_when(command: list[str], ready: Callable[[], bool], seconds: float = 180) -> None:
    """Start a command and kill -9 it as soon as something holds; it must still run then."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        end = time.monotonic() + seconds
        while not ready():
            if process.poll() is not None or time.monotonic() > end:
                process.kill()
                pytest.fail("the command ended, or had nothing to be killed in, before it could be killed")
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL


def table_rows(table: Path) -> int:
    if not table.exists():
        return 0
    connection = sqlite3.connect(f"file:{table}?mode=ro", uri=True)
    try:
        return int(connection.execute("SELECT count(*) FROM hwnas_measurements").fetchone()[0])
    except sqlite3.Error:
        return 0
    finally:
        connection.close()


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory, training: list[str]) -> Path:
    """A folder with a finished run and its table, made by `hwnas run`; it was killed in three stations on its way."""
    folder = tmp_path_factory.mktemp("walked")
    run, table = folder / "run", folder / "t.sqlite"
    command = [*HWNAS, "run", str(run), *training, *STEPS, *OPTIONS, "--table", str(table), *SEARCH]
    kill_when(command, lambda: any(run.glob("checkpoints/checkpoint-*/hwnas.json")))
    assert not (run / "supernet").exists()
    kill_when(command, lambda: any(folder.glob("t.sqlite.networks-*/*.onnx")))
    assert table_rows(table) == 0
    kill_when(command, lambda: sum(path.read_bytes().count(b"\n") for path in run.glob("search/*.jsonl")) > 10)
    (evaluations,) = run.glob("search/*.jsonl")
    found = evaluations.read_text().rpartition("\n")[0] + "\n"
    assert table_rows(table) >= 11
    assert not any(run.glob("search/*/front.json"))
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    lines = evaluations.read_text()
    assert lines.startswith(found), "no evaluation is lost"
    made = [
        (entry.get("split"), json.dumps(entry.get("architecture"))) for entry in map(json.loads, lines.splitlines())
    ]
    assert len(set(made)) == len(made), "none is made twice"
    return folder


def test_killed_three_times_it_ends_with_the_front_of_an_undisturbed_run(
    walked: Path, training: list[str], call: Callable[..., Any]
) -> None:
    """The same training and search beside it, on the same table; before any other search in the run."""
    run, whole = walked / "run", walked / "whole"
    for words in (
        ["train", whole, *training, *STEPS],
        ["search", whole, *OPTIONS[:5], "--table", walked / "t.sqlite", *SEARCH],
    ):
        code, _, err = call(*words)
        assert code == 0, err
    fronts = [next(folder.glob("search/*/front.json")).read_text() for folder in (run, whole)]
    assert fronts[0] == fronts[1]
    weights = [(folder / "supernet" / "model.safetensors").read_bytes() for folder in (run, whole)]
    assert weights[0] == weights[1]


def test_run_leaves_a_front_whose_members_are_measured_and_built(walked: Path) -> None:
    (front_file,) = (walked / "run" / "search").glob("*/front.json")
    written = {"front.json", "front.csv", "front.png", "front-memory.png", "results.csv.zip", "metadata.json"}
    assert {path.name for path in front_file.parent.iterdir()} == written
    front = json.loads(front_file.read_text())
    assert 1 <= len(front["members"]) <= 2
    assert len(front["points"]) == 40
    assert front["about"]["measured_during"] in range(5), "the device is here: doubtful networks are measured"
    for member in (*front["members"], front["unpruned"]):
        assert member["latency"]["kind"] == "measured"
        assert member["latency"]["n"] >= 60
        assert member["latency"]["low"] <= member["latency"]["seconds"] <= member["latency"]["high"]
        assert member["predicted_latency"]["kind"] == "predicted"
    errors = [member["validation_error"] for member in front["members"]]
    assert errors == sorted(errors, reverse=True)
    engines = list((walked / "run" / "build" / "a10g-fp16").glob("*/model.engine"))
    assert 1 <= len(engines) <= 2
    assert not (walked / "run" / "checkpoints").exists()


def test_a_built_member_is_loaded_by_one_call(walked: Path) -> None:
    folder = next((walked / "run" / "build" / "a10g-fp16").iterdir())
    model, tokenizer = hwnas.load(folder)
    assert not model.training
    with torch.no_grad():
        logits = model(**tokenizer(["a good film", "the plot was sad"], padding=True, return_tensors="pt")).logits
    assert logits.shape == (2, 2)
    assert model.config.id2label == {0: "blame", 1: "praise"}


def test_the_stations_again_do_nothing_twice(walked: Path, training: list[str], call: Callable[..., Any]) -> None:
    run, table = walked / "run", ["--table", walked / "t.sqlite"]
    code, out, err = call("train", run, *training, *STEPS, "--json")
    assert code == 0, err
    assert json.loads(out)["reused"]
    (front_file,) = (run / "search").glob("latency*/front.json")
    search = ["search", run, *OPTIONS[:5], *table, *SEARCH, "--json"]
    before = front_file.read_text()
    code, out, err = call("profile", run, *OPTIONS, *table, "--json")
    assert code == 0, err
    report = json.loads(out)
    assert (report["measured_now"], report["reused"]) == (0, 11)
    code, out, err = call(*search)
    assert code == 0, err
    assert front_file.read_text() == before
    assert json.loads(out) == json.loads(before)
    engine = next((run / "build" / "a10g-fp16").glob("*/model.engine"))
    made = engine.stat().st_mtime_ns
    code, out, err = call("build", run, "--pick", "all", "--json")
    assert code == 0, err
    assert engine.stat().st_mtime_ns == made
    assert any(member["manifest"]["reused"] for member in json.loads(out)["built"])


def test_draws_near_the_training_s_own_front_of_the_latencies_in_the_table(
    training: list[str], tmp_path: Path, call: Callable[..., Any]
) -> None:
    run, table = tmp_path / "near", tmp_path / "t.sqlite"
    own = ["--front", "current", "--front-share", "0.5", *OPTIONS[:4]]
    code, _, err = call("train", run, *training, *STEPS, *own, "--table", tmp_path / "empty.sqlite")
    assert (code, err.count("\n")) == (2, 1), err
    assert "--front current draws near a front of latencies: " in err
    assert "`hwnas profile" in err
    assert "--num-labels 2 --target cpu " in err
    assert f" --table {tmp_path / 'empty.sqlite'}` first" in err
    assert not run.exists()
    # `hwnas run` profiles before it trains then.
    walk = [*HWNAS, "run", str(run), *training, *STEPS, *own[:4], *OPTIONS, "--table", str(table), *SEARCH]
    kill_when(walk, (run / "run.json").is_file)
    assert table_rows(table) == 11
    spec = json.loads((run / "run.json").read_text())["spec"]
    assert spec["front_law"]["constant"] > 0
    # The run keeps its law: the table is not asked again. Another device's would be another run.
    code, out, err = call("train", run, *training, *STEPS, *own, "--table", tmp_path / "empty.sqlite", "--json")
    assert code == 0, err
    assert json.loads(out)["steps"] == 80
    code, _, err = call("train", run, *training, *STEPS, *own, "--seq-len", "32", "--table", table)
    assert code == 2
    assert "is a run with front-device '--target cpu " in err
    assert "--seq-len 16 --threads 1', not '" in err


@pytest.mark.parametrize("objective", ["parameters", "memory"])
def test_other_objectives_share_the_evaluations(walked: Path, objective: str, call: Callable[..., Any]) -> None:
    run = walked / "run"
    code, out, err = call(
        "search", run, "--objective", objective, *OPTIONS[:5], "--table", walked / "t.sqlite", "--evaluations", 15,
        "--searcher", "regularized_evolution", "--max-members", 3, "--json",
    )  # fmt: skip
    assert code == 0, err
    front = json.loads(out)
    assert front["about"]["objective"]["name"] == objective
    assert all(member["latency"]["kind"] == "measured" for member in front["members"])
    costs = [member["cost"] for member in sorted(front["members"], key=lambda member: member["validation_error"])]
    assert costs == sorted(costs, reverse=True)
    assert len(list((run / "search").glob("evaluations-*.jsonl"))) == 1


def test_tables_for_people(walked: Path, call: Callable[..., Any]) -> None:
    run = walked / "run"
    code, out, _ = call("search", run, *OPTIONS[:5], "--table", walked / "t.sqlite", *SEARCH)
    assert code == 0
    for word in ("val.", "test", "measured", "95% interval", "predicted", "speed-", "unpruned", "1.00x", "written to"):
        assert word in out
    code, out, _ = call("build", run, "--pick", "0", "--target", "cpu", "--precision", "fp32")
    assert code == 0
    assert "model.onnx (onnxruntime)" in " ".join(out.split())


def test_picks_that_cannot_be(walked: Path, call: Callable[..., Any]) -> None:
    run = walked / "run"
    for words, said in (
        (["--pick", "first"], "--pick first"),
        (["--pick", "99"], "there is no 99"),
        (["--max-latency", "0.000001"], "the fastest is member 0, measured at"),
        (["--front", "nowhere"], "unknown search 'nowhere'"),
        (["--seq-len", "1,16,64"], "positions for 40"),
    ):
        code, out, err = call("build", run, *words)
        assert code == 2
        assert out == ""
        assert err.count("\n") == 1, err
        assert said in err
