"""A small benchmark that is run once: the tiny model on the tiny reviews, as if they were SST-2."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hwnas.bench.figures import get_figure
from hwnas.bench.folder import BenchFolder
from hwnas.bench.run import run_figure
from hwnas.bench.scale import Scale, paper_options

METHODS = ("random_search", "regularized_evolution")


@pytest.fixture
def importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """`importable("name", source, main)` -> a folder with a module that processes can import, and a `main.py`."""

    def write(name: str, source: str, main: str) -> Path:
        (tmp_path / f"{name}.py").write_text(source)
        (tmp_path / "main.py").write_text(main)
        monkeypatch.syspath_prepend(tmp_path)
        sys.modules.pop(name, None)
        return tmp_path

    return write


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory, tiny_csv: Path) -> Path:
    """A folder of task data, as `--data-dir` takes it."""
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "sst2").mkdir()
    with tiny_csv.open(newline="") as file:
        rows = [(row["text"], int(row["label"] == "blame")) for row in csv.DictReader(file)]
    for split, part in (("train", rows[:200]), ("validation", rows[200:])):
        with (folder / "sst2" / f"{split}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("sentence1", "label"), *part])
    return folder


@pytest.fixture(scope="session")
def scale(data: Path, tiny_folder: Path) -> Scale:
    """Six steps."""
    return Scale(
        model=str(tiny_folder), data_dir=str(data), max_length=16, examples=24, rounds=2,
        train=paper_options(max_steps=6, batch_size=8, learning_rate=0.003),
    )  # fmt: skip


@pytest.fixture(scope="session")
def done(tmp_path_factory: pytest.TempPathFactory, scale: Scale) -> BenchFolder:
    """Two searchers, one seed, six evaluations."""
    folder = BenchFolder(tmp_path_factory.mktemp("bench") / "b")
    outcome = run_figure(folder, get_figure("5a"), scale, tasks=["sst2"], seeds=1, evaluations=6, only=METHODS)
    assert outcome.made == 2
    return folder
