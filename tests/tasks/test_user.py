"""The user's own files: formats, kinds, splits and every error in one line."""

from __future__ import annotations

import gzip
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from hwnas.errors import DataError, HwnasError, MissingExtraError, UsageError
from hwnas.tasks import TaskData, load_user_task

ROWS: list[dict[str, Any]] = [
    {
        "body": f'message "{index}", of {"spam" if index % 3 else "friends"}\nand more',
        "kind": "spam" if index % 3 else "ham",
    }
    for index in range(60)
]


def load(path: Path, **changes: Any) -> TaskData:
    options: dict[str, Any] = {"test_file": None, "text": "body", "text_pair": None, "label": "kind", **changes}
    return load_user_task(path, **options)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    import pandas

    table = pandas.DataFrame(rows)
    name = path.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        table.to_parquet(path)
    elif name.endswith(".jsonl"):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        path.write_bytes(gzip.compress(text.encode()) if path.name.endswith(".gz") else text.encode())
    else:
        table.to_csv(path, index=False, sep="\t" if ".tsv" in name else ",")
    return path


def message(path: Path, error: type[HwnasError] = DataError, **changes: Any) -> str:
    with pytest.raises(error) as caught:
        load(path, **changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["d.csv", "d.csv.gz", "d.tsv", "d.tsv.gz", "d.jsonl", "d.jsonl.gz", "d.parquet"])
def test_every_format_gives_the_same_task(tmp_path: Path, name: str) -> None:
    if name.endswith(".parquet") and importlib.util.find_spec("pyarrow") is None:
        assert "hwnas[parquet]" in message(write_bytes(tmp_path / name, b"PAR1"), MissingExtraError)
        return
    task = load(write(tmp_path / name, ROWS), seed=3)
    reference = load(write(tmp_path / "reference.csv", ROWS), seed=3)
    assert task.fingerprint() == reference.fingerprint()
    assert task.label_names == ("ham", "spam")
    assert (task.name, task.kind, task.metric, task.num_labels) == ("d", "classification", "accuracy", 2)
    assert (len(task.train), len(task.validation), len(task.test)) == (33, 15, 12)
    texts = {example.text for split in (task.train, task.validation, task.test) for example in split}
    assert texts == {row["body"] for row in ROWS}
    assert "20% held out" in task.source


def write_bytes(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_held_out_part_is_stratified_and_seeded(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", ROWS)
    task = load(path, seed=1)
    assert sum(example.label == 0 for example in task.test) == 4
    assert task == load(path, seed=1) != load(path, seed=2)


def test_equal_texts_never_cross_a_split(tmp_path: Path) -> None:
    rows = [{"body": f"Text {index % 20}" + " " * (index // 20), "kind": index % 2} for index in range(60)]
    task = load(write(tmp_path / "d.jsonl", rows))
    parts = [{example.text.strip() for example in split} for split in (task.train, task.validation, task.test)]
    assert len(set.union(*parts)) == sum(map(len, parts)) == 20


def test_test_file_and_pairs(tmp_path: Path) -> None:
    rows = [{"q": f"question {index}", "a": f"answer {index}", "ok": index % 2 == 0} for index in range(20)]
    train, test = write(tmp_path / "train.jsonl", rows), write(tmp_path / "test.jsonl", rows[:5])
    task = load(train, test_file=test, text="q", text_pair="a", label="ok")
    assert task.has_pairs
    assert task.label_names == ("False", "True")
    assert [example.text_pair for example in task.test] == [f"answer {index}" for index in range(5)]
    assert len(task.train) + len(task.validation) == 15
    assert not {example.text for example in (*task.train, *task.validation)} & {example.text for example in task.test}
    source = "train.jsonl split 70/30 with seed 0; test: test.jsonl"
    assert task.source == f"{source}, whose texts are left out of the former (5 rows)"
    other = write(tmp_path / "other.jsonl", [{"q": "another", "a": "answer", "ok": True}])
    task = load(train, test_file=other, text="q", text_pair="a", label="ok")
    assert (len(task.train), len(task.validation), task.source) == (14, 6, source.replace("test.jsonl", "other.jsonl"))
    same = {"test_file": train, "text": "q", "text_pair": "a", "label": "ok"}
    assert "nothing is left to train on" in message(train, **same)


def test_label_order_is_numeric_or_as_given(tmp_path: Path) -> None:
    rows = [{"body": f"text {index}", "kind": index % 12} for index in range(120)]
    path = write(tmp_path / "d.csv", rows)
    assert load(path).label_names == tuple(str(index) for index in range(12))
    given = tuple(str(index) for index in reversed(range(12)))
    task = load(path, labels=given)
    assert task.label_names == given
    assert all(task.label_names[int(e.label)] == str(int(e.text.split()[1]) % 12) for e in task.train)


def test_regression(tmp_path: Path) -> None:
    rows = [{"body": f"text {index}", "score": index / 7} for index in range(100)]
    path = write(tmp_path / "d.csv", rows)
    assert "100 different numbers; say --kind regression or --kind classification" in message(path, label="score")
    task = load(path, label="score", kind="regression")
    assert (task.kind, task.label_names, task.num_labels, task.metric) == ("regression", (), 1, "spearman")
    assert all(e.label == pytest.approx(int(e.text.split()[1]) / 7) for e in task.test)
    assert "expected a number" in message(write(tmp_path / "e.csv", ROWS), kind="regression")


def test_whole_numbers_with_many_values_are_asked_about(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", [{"body": f"text {index}", "kind": index} for index in range(80)])
    assert "80 different numbers" in message(path)
    names = write(tmp_path / "e.csv", [{"body": f"text {index}", "kind": f"name {index}"} for index in range(120)])
    assert "120 different texts in 120 rows" in message(names)


def test_limits(tmp_path: Path) -> None:
    task = load(write(tmp_path / "d.csv", ROWS), limit_train=20, limit_test=5)
    assert len(task.train) + len(task.validation) == 20
    assert len(task.test) == 5


def test_missing_column_names_the_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", ROWS)
    assert "no column 'text'; the columns are 'body', 'kind'" in message(path, text="text")
    assert "line 1 has no 'text'; it has 'body', 'kind'" in message(write(tmp_path / "d.jsonl", ROWS), text="text")


def test_labels_outside_the_set_name_row_and_set(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", ROWS)
    assert "row 2, label 'spam' is not one of the labels given: ham, eggs" in message(path, labels=["ham", "eggs"])
    test = write(tmp_path / "t.csv", [*ROWS[:2], {"body": "new", "kind": "eggs"}])
    text = message(path, test_file=test)
    assert "t.csv: row 3, label 'eggs' is not one of the training labels: ham, spam" in text


def test_one_class(tmp_path: Path) -> None:
    assert "one class only, 'ham'" in message(write(tmp_path / "d.csv", ROWS[::3]))


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("d.csv", b"", "is empty"),
        ("d.csv", b"body,kind\n", "holds no rows"),
        ("d.jsonl", b"\n", "holds no rows"),
        ("d.csv", b"body,kind\nhello, world,ham\n", "row 1 has 3 fields, the header has 2; quote fields"),
        ("d.csv", b"body,body,kind\na,b,c\n", "more than one column 'body'"),
        ("d.csv", b"body,kind\n\xff\xfe,ham\n", "cannot be read"),
        ("d.csv.gz", b"body,kind\na,ham\n", "cannot be read"),
        ("d.csv.gz", gzip.compress(b"body,kind\n" + b"a,ham\n" * 99, mtime=0)[:-20], "cannot be read"),
        ("d.jsonl", b'{"body": "a", "kind": "b"}\n{"body"\n', "line 2 is not JSON"),
        ("d.jsonl", b"[1]\n", "line 1 is list"),
        ("d.jsonl", b'{"body": 3, "kind": "b"}\n', "row 1, column 'body' holds 3; expected text"),
        ("d.jsonl", b'{"body": "a", "kind": null}\n', "row 1 has no label"),
        ("d.jsonl", b'{"body": "a", "kind": NaN}\n', "row 1 has no label"),
        ("d.jsonl", b'{"body": "a", "kind": ["b"]}\n', r"row 1, label \['b'\]; expected a name"),
        ("d.csv", b"body,kind\na,\n", "row 1 has no label"),
        ("d.csv", b"body,kind\n ,ham\n", "row 1 has an empty 'body'"),
        ("d.csv", b"body,kind\na,ham\nb,spam\n", "cannot be split"),
        (
            "d.csv",
            b'kind,body\n1,good\n0,bad\n1,"Great film\n0,awful\n',
            "line 5 cannot be read .unexpected end",
        ),
        ("d.tsv", b'body\tkind\n"Great film\t1\nawful\t0\n"Loved" it\t1\n', "write a text that has quotes in quotes"),
        ("d.csv", b"body,kind\na,0\nb,1\nc,nan\n", "row 3 has no label in column 'kind', but nan"),
        ("d.jsonl", b'{"body": "nice \\ud83d", "kind": "a"}\n', "row 1, column 'body' holds half a character"),
        ("d.parquet", b"nothing of the kind", "cannot be read as Parquet"),
        ("d.xlsx", b"x", "unknown kind of file"),
    ],
)
def test_damaged_files(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    path = write_bytes(tmp_path / name, content)
    with pytest.raises(DataError, match=expected) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    assert "no such file" in message(tmp_path / "none.csv")
    (tmp_path / "folder.csv").mkdir()
    assert "is a folder" in message(tmp_path / "folder.csv")
    assert "no such file" in message(write(tmp_path / "d.csv", ROWS), test_file=tmp_path / "none.csv")


def test_options_that_contradict_each_other(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", ROWS)
    assert "different columns" in message(path, UsageError, text_pair="body")
    assert "leave them out" in message(path, UsageError, kind="regression", labels=["a", "b"])
    assert "two or more different names" in message(path, UsageError, labels=["ham", "ham"])
    assert "expected classification or regression" in message(path, UsageError, kind="ranking")


def test_a_long_text_and_a_class_called_nan(tmp_path: Path) -> None:
    """More than a CSV reader takes by itself; and Min Nan, by its code among languages."""
    rows = [{"body": f"{index} " + "long " * 40_000, "kind": ("nan", "deu")[index % 2]} for index in range(10)]
    task = load(write(tmp_path / "d.csv", rows))
    assert task.label_names == ("deu", "nan")
    assert max(len(example.text) for example in task.train) > 200_000


def test_byte_order_mark(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", ROWS)
    marked = write_bytes(tmp_path / "m.csv", b"\xef\xbb\xbf" + path.read_bytes())
    assert load(marked).fingerprint() == load(path).fingerprint()
