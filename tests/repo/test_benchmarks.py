"""Benchmarks start: their helps, their variants, and one training of one of them, of a step."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
SCRIPTS = sorted(path.name for path in FOLDER.glob("[!_]*.py"))
DATA = Path(os.environ.get("HWNAS_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
VARIED = ("ablation", "layers", "quality")


def run(*words: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HWNAS_DATA": str(DATA)}
    return subprocess.run(
        [sys.executable, *map(str, words)], capture_output=True, text=True, timeout=300, check=False, env=environment
    )


def test_every_benchmark_says_how_it_is_run() -> None:
    """In one process, because imports take seconds."""
    code = (
        "import runpy, sys\n"
        f"sys.path.insert(0, {str(FOLDER)!r})\n"
        f"for name in {SCRIPTS!r}:\n"
        f"    sys.argv = [name, '--help']\n"
        f"    try:\n"
        f"        runpy.run_path({str(FOLDER)!r} + '/' + name, run_name='__main__')\n"
        "    except SystemExit as error:\n"
        "        assert error.code == 0, name\n"
        "    else:\n"
        "        raise AssertionError(name)\n"
        f"for name in {VARIED!r}:\n"
        "    module = __import__(name)\n"
        "    for variant in module.VARIANTS:\n"
        "        (getattr(module, 'options_of', None) or module.changes)(variant)\n"
    )
    done = run("-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("usage: ") == len(SCRIPTS)


def test_sentences_are_the_phrases_that_are_part_of_no_other() -> None:
    texts = ["a fine film", "fine film", "fine", "film a", "a fine film", "of a fine film ", "films"]
    code = (
        f"import sys; sys.path.insert(0, {str(FOLDER)!r})\n"
        "from _sentences import whole\n"
        "from hwnas.tasks.task import Example\n"
        f"print([example.text for example in whole([Example(text, None, 0) for text in {texts!r}])])\n"
    )
    done = run("-c", code)
    assert done.stdout.strip() == "['film a', 'of a fine film ', 'films']", done.stderr


def test_a_training_of_one_step_leaves_its_rows(tmp_path: Path) -> None:
    if not (DATA / "sst2").is_dir():
        pytest.skip(f"no task data in {DATA}: set HWNAS_DATA to a folder with <task>/train.csv.gz")
    out = tmp_path / "rows.csv"
    done = run(
        FOLDER / "quality.py", "--smoke", "--tasks", "sst2", "--max-steps", 1, "--jobs", 1,
        "--work", tmp_path / "work", "--out", out,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["seed"] for row in rows} == {"0"}
    assert all(0 <= float(row["test_whole"]) <= 1 for row in rows)
    assert "full+hidden-0.2+whole-weight-7@1e-4" in {row["variant"] for row in rows}
