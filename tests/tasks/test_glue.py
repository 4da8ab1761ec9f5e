"""GLUE tasks from real files, the order of the sources, and their errors."""

from __future__ import annotations

import gzip
import importlib.util
import os
from pathlib import Path

import pytest

from hwnas.errors import DataError, MissingExtraError, UnknownNameError, UsageError
from hwnas.tasks import TaskData, load_task, quality_name, task_names
from hwnas.tasks.docstrings import LIBRARIES
from hwnas.tasks.glue import GLUE

SHARED = Path(os.environ.get("HWNAS_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")


@pytest.fixture
def data_dir() -> Path:
    if not (SHARED / "rte" / "train.csv.gz").is_file():
        pytest.skip(f"no task data in {SHARED}: set HWNAS_DATA to a folder with <task>/train.csv.gz")
    return SHARED


def write_task(folder: Path, name: str, rows: list[str], *, header: str = "sentence1,label") -> Path:
    (folder / name).mkdir(parents=True)
    for split in ("train", "validation"):
        (folder / name / f"{split}.csv").write_text("\n".join([header, *rows, ""]), encoding="utf-8")
    return folder


ROWS = [f"sentence number {index},{index % 2}" for index in range(20)]


@pytest.mark.parametrize(
    ("name", "rows", "test_rows", "metric", "labels", "pairs"),
    [
        ("rte", 2490, 277, "accuracy", 2, True),
        ("cola", 8551, 1043, "matthews", 2, False),
        ("mrpc", 3668, 408, "f1", 2, True),
        ("stsb", 5749, 1500, "spearman", 1, True),
    ],
)
def test_real_tasks(
    data_dir: Path, name: str, rows: int, test_rows: int, metric: str, labels: int, pairs: bool
) -> None:
    task = load_task(name, data_dir=data_dir)
    assert (len(task.train) + len(task.validation), len(task.test)) == (rows, test_rows)
    assert len(task.validation) == round(0.3 * rows)
    assert (task.metric, task.num_labels, task.has_pairs) == (metric, labels, pairs)
    assert task.is_regression == (name == "stsb")
    kinds = {type(example.label) for split in (task.train, task.validation, task.test) for example in split}
    assert kinds == ({float} if task.is_regression else {int})
    if not task.is_regression:
        assert {example.label for example in task.train} == set(range(labels))


def test_the_split_is_a_function_of_the_seed(data_dir: Path) -> None:
    first, again, other = (load_task("rte", data_dir=data_dir, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()
    assert first.test == other.test

    def rows(task: TaskData) -> list[str]:
        return sorted(map(repr, task.train + task.validation))

    assert rows(first) == rows(other)


def test_limits_draw_without_replacement(data_dir: Path) -> None:
    whole = load_task("rte", data_dir=data_dir)
    part = load_task("rte", data_dir=data_dir, limit_train=100, limit_test=30)
    assert (len(part.train), len(part.validation), len(part.test)) == (70, 30, 30)
    assert len(set(part.train + part.validation)) == 100
    assert set(part.test) <= set(whole.test)
    with pytest.raises(UsageError, match="expected 1 or more"):
        load_task("rte", data_dir=data_dir, limit_test=0)


def test_environment_is_used_without_data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWNAS_DATA", str(write_task(tmp_path / "a", "sst2", ROWS)))
    task = load_task("sst2")
    assert (len(task.train), len(task.validation), len(task.test)) == (14, 6, 20)
    assert str(tmp_path / "a") in task.source
    other = write_task(tmp_path / "b", "sst2", ROWS[:10])
    assert len(load_task("sst2", data_dir=other).test) == 10


def test_compressed_files_come_first(tmp_path: Path) -> None:
    write_task(tmp_path, "sst2", ROWS)
    with gzip.open(tmp_path / "sst2" / "validation.csv.gz", "wt", encoding="utf-8") as stream:
        stream.write("sentence1,label\nfine,1\n")
    assert [example.text for example in load_task("sst2", data_dir=tmp_path).test] == ["fine"]


def test_missing_file_names_the_path(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cola.train\.csv\.gz") as caught:
        load_task("cola", data_dir=tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [("bad,2", "row 21, label '2'; expected an integer 0 to 1"), ("bad,x", "row 21, label 'x'"), ("bad", "row 21 has")],
)
def test_bad_row_is_named(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_task("sst2", data_dir=write_task(tmp_path, "sst2", [*ROWS, row]))


def test_regression_label_out_of_range(tmp_path: Path) -> None:
    folder = write_task(tmp_path, "stsb", ["a,b,2.5", "c,d,5.1"], header="sentence1,sentence2,label")
    with pytest.raises(DataError, match=r"row 2, label '5\.1'; expected a number 0 to 5"):
        load_task("stsb", data_dir=folder)


def test_too_few_rows(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be split"):
        load_task("sst2", data_dir=write_task(tmp_path, "sst2", ROWS[:1]))


def test_without_files_the_hub_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWNAS_DATA", str(tmp_path))
    # conftest.py keeps the hub offline: with `datasets` the load fails, without it the extra is missing
    expected = DataError if importlib.util.find_spec("datasets") else MissingExtraError
    with pytest.raises(expected) as caught:
        load_task("mnli")
    for word in ("--data-dir", "HWNAS_DATA", "--task docstrings"):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_task_lists_the_names() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown task 'sst'; did you mean 'sst2'\? Known: cola, docstrings"):
        load_task("sst")
    assert task_names() == ("cola", "docstrings", "mnli", "mrpc", "qnli", "qqp", "rte", "sst2", "stsb")


def test_the_document_lists_every_task_with_its_metric() -> None:
    document = (Path(__file__).resolve().parents[2] / "docs" / "tasks.md").read_text(encoding="utf-8")
    rows = {line.split("|")[1].strip(" `"): line for line in document.splitlines() if line.startswith("| `")}
    assert sorted(rows) == list(task_names())
    assert f"| {len(LIBRARIES)} |" in rows["docstrings"]
    for name, task in GLUE.items():
        assert f"| {quality_name(task.metric)} |" in rows[name]
        assert f"| {len(task.label_names) or 'regression'} |" in rows[name]
        assert f"| {len(task.hub_columns)} |" in rows[name]
