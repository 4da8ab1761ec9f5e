"""`hwnas train` under `accelerate launch` on two processes: one run folder, one voice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hwnas.errors import HwnasError, UsageError
from hwnas.pipeline.folder import RunFolder
from hwnas.pipeline.spec import DataSpec, RunSpec
from hwnas.pipeline.train import train_run
from hwnas.training.processes import agreed, count, is_everywhere, is_first
from hwnas.training.train import TrainOptions

SCRIPT = """
import json, os, sys
from hwnas.cli.app import main
folder, calls, codes = sys.argv[1], json.loads(sys.argv[2]), []
for words in calls:
    sys.argv = ["hwnas", "train", *words]
    try:
        main()
    except SystemExit as end:
        codes.append(end.code or 0)
with open(f"{folder}/codes-{os.environ['RANK']}", "w") as file:
    json.dump(codes, file)
"""
LAUNCH = (
    "-P -m accelerate.commands.launch --multi_gpu --num_processes 2 --num_machines 1 --mixed_precision no "
    "--dynamo_backend no --main_process_port 0"
)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_two_processes_leave_the_run_folder_of_one(tiny_folder: Path, tiny_csv: Path, tmp_path: Path) -> None:
    """In one launch: two calls that are refused, a training, and the same again."""
    script, run = tmp_path / "train.py", tmp_path / "run"
    script.write_text(SCRIPT)
    right = [
        str(run), "--model", str(tiny_folder), "--train-file", str(tiny_csv), "--max-length", "16",
        "--max-steps", "4", "--batch-size", "8", "--k", "1", "--json",
    ]  # fmt: skip
    calls = [[*right, "--temperature", "-1"], [*right, "--text", "review"], right, right]
    done = subprocess.run(
        [sys.executable, *LAUNCH.split(), str(script), str(tmp_path), json.dumps(calls)],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert [json.loads((tmp_path / f"codes-{rank}").read_text()) for rank in "01"] == [[2, 2, 0, 0]] * 2
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2, done.stderr
    assert "--temperature" in errors[0]
    assert "review" in errors[1]

    reports, rest = [], done.stdout
    while rest.strip():  # nothing but the first process's documents
        report, end = json.JSONDecoder().raw_decode(rest.lstrip())
        reports.append(report)
        rest = rest.lstrip()[end:]
    assert [report["reused"] for report in reports] == [False, True]
    assert [report["processes"] for report in reports] == [2, 2]
    assert {**reports[0], "reused": True} == reports[1]

    data = DataSpec(task="reviews", train_file=str(tiny_csv))
    options = TrainOptions(max_steps=4, batch_size=8, k=1)
    spec = RunSpec(model=str(tiny_folder), data=data, max_length=16, train=options)
    train_run(RunFolder(tmp_path / "alone"), spec)
    assert files(run) == files(tmp_path / "alone")
    assert (run / "run.json").read_text() == (tmp_path / "alone" / "run.json").read_text()
    assert train_run(RunFolder(run), spec).reused, "what two began, one can go on with"


def test_one_process_needs_no_agreement() -> None:
    assert (count(), is_first()) == (1, True)
    with pytest.raises(UsageError, match="wrong") as error, agreed():
        raise UsageError("wrong")
    assert not is_everywhere(error.value)


def test_processes_that_cannot_find_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(UsageError, match=r"WORLD_SIZE is 2, without RANK, .*accelerate launch"), agreed():
        pytest.fail("went on alone")
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(HwnasError, match="expected the number of processes"):
        count()


def test_a_checkpoint_of_two_processes_is_not_gone_on_with_by_one(tmp_path: Path) -> None:
    from hwnas.training.train import _check_count

    for rank in (0, 1):
        (tmp_path / f"rng_state_{rank}.pth").write_text("")
    with pytest.raises(UsageError, match="written by 2 processes, but now there is 1; start as many"):
        _check_count(tmp_path)
    (tmp_path / "rng_state_1.pth").unlink()
    (tmp_path / "rng_state_0.pth").rename(tmp_path / "rng_state.pth")
    _check_count(tmp_path)
