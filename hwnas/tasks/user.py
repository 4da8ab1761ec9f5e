"""A task from the user's own file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.errors import DataError, UsageError
from hwnas.tasks.files import read_columns
from hwnas.tasks.task import TEST_SHARE, VALIDATION_SHARE, Example, Kind, TaskData, limited, same_text, split_off

MOST_NUMBERS = 50
"""More different whole numbers than this in a label column: the user has to say what they are."""

MOST_NAMES = 100
"""More different texts than this in a label column: the user has to say that they are classes."""

Row = tuple[str, str | None, Any]


def load_user_task(
    train_file: Path,
    *,
    test_file: Path | None,
    text: str,
    text_pair: str | None,
    label: str,
    kind: Kind | None = None,
    labels: Sequence[str] | None = None,
    seed: int = 0,
    limit_train: int | None = None,
    limit_test: int | None = None,
) -> TaskData:
    """Make a task of a CSV, TSV, JSONL (each also .gz) or Parquet file.

    Args:
        train_file: Rows for training and validation (70/30), and for the test if there is no `test_file`.
        test_file: Rows for the test, with the same columns. Without it, 20% of `train_file` is held out.
        text: Column with the text.
        text_pair: Column with the second text, or None.
        label: Column with the label.
        kind: None to judge by the labels; it must be given for numbers that could be either.
        labels: The class names, in the order of their indices. Without it: the labels of `train_file`, sorted.
        seed: Seed of every draw. Splits keep rows with the same texts together, and keep the shares of the classes.
        limit_train: Use at most this many rows for training and validation together, drawn at random.
        limit_test: Use at most this many rows for the test, drawn at random.

    Returns:
        The task. Its metric is accuracy, or Spearman correlation for regression.

    Raises:
        DataError: A file that is missing, damaged, or empty; a column that is not there; an empty value; a label
            outside the set; a single class; labels whose kind is not clear. Rows are counted from 1 without header.
        MissingExtraError: Parquet without pyarrow.
        UsageError: Options that contradict each other.
    """
    columns = [text, label] if text_pair is None else [text, text_pair, label]
    if len(set(columns)) < len(columns):
        raise UsageError(f"text, text pair and label must be different columns; got {', '.join(columns)}.")
    if kind not in (None, "classification", "regression"):
        raise UsageError(f"kind {kind!r}: expected classification or regression.")
    if labels is not None and kind == "regression":
        raise UsageError("labels are for classification: leave them out for regression.")
    if labels is not None and len(set(labels)) < max(2, len(labels)):
        raise UsageError(f"labels {', '.join(labels)}: expected two or more different names.")

    train_file = Path(train_file)
    rows = _read(train_file, columns)
    test_rows = _read(Path(test_file), columns) if test_file is not None else None
    if kind is None:
        kind = "classification" if labels is not None else _judge(train_file, label, rows)
    names: tuple[str, ...] = ()
    if kind == "classification":
        names = tuple(str(name) for name in labels) if labels is not None else _class_names(train_file, label, rows)

    rng = np.random.default_rng(seed)
    examples = _examples(train_file, rows, label, names, given=labels is not None)
    if test_rows is not None and test_file is not None:
        test = _examples(Path(test_file), test_rows, label, names, given=labels is not None)
        origin = f"{train_file.name} split 70/30 with seed {seed}; test: {Path(test_file).name}"
        held = {same_text(example) for example in test}
        kept = tuple(example for example in examples if same_text(example) not in held)
        if not kept:
            raise DataError(f"{train_file}: all its texts are in {test_file} too; nothing is left to train on.")
        if left_out := len(examples) - len(kept):
            origin += f", whose texts are left out of the former ({left_out} rows)"
        examples = kept
    else:
        examples, test = _split(train_file, examples, TEST_SHARE, rng, kind)
        origin = f"{train_file.name}: 20% held out as test, the rest split 70/30, with seed {seed}"
    examples = limited(examples, limit_train, rng, "limit of training rows")
    test = limited(test, limit_test, rng, "limit of test rows")
    train, validation = _split(train_file, examples, VALIDATION_SHARE, rng, kind)
    if kind == "classification" and len({example.label for example in train}) < 2:
        raise DataError(f"{train_file}: only one class is left to train on; give more rows or a larger limit.")
    return TaskData(
        name=train_file.name.split(".")[0],
        kind=kind,
        label_names=names,
        metric="accuracy" if kind == "classification" else "spearman",
        train=train,
        validation=validation,
        test=test,
        source=origin,
    )


def _read(path: Path, columns: list[str]) -> list[Row]:
    rows: list[Row] = []
    for number, values in enumerate(read_columns(path, columns), start=1):
        first, second, value = values[0], values[1] if len(values) == 3 else None, values[-1]
        for column, content in zip(columns[:-1], values[:-1], strict=True):
            if not isinstance(content, str):
                raise DataError(f"{path}: row {number}, column {column!r} holds {_shown(content)}; expected text.")
            try:
                content.encode()
            except UnicodeEncodeError:
                where = f"{path}: row {number}, column {column!r}"
                raise DataError(f"{where} holds half a character, a lone surrogate.") from None
        if not first.strip():
            raise DataError(f"{path}: row {number} has an empty {columns[0]!r}.")
        if isinstance(value, str):
            value = value.strip()
        if value is None or value == "" or (isinstance(value, float) and not math.isfinite(value)):
            raise DataError(f"{path}: row {number} has no label in column {columns[-1]!r}; remove it or fill it in.")
        if not isinstance(value, str | int | float):
            raise DataError(f"{path}: row {number}, label {_shown(value)}; expected a name or a number.")
        rows.append((first, second, value))
    return rows


def _judge(path: Path, column: str, rows: list[Row]) -> Kind:
    """Classification, unless the labels could be numbers to predict: then the user has to say it."""
    names = {_name(value) for _, _, value in rows}
    numbers = [_number(value) for _, _, value in rows]
    ask = "say --kind regression or --kind classification"
    if all(number is not None for number in numbers):
        whole = all(number is not None and number == int(number) for number in numbers)
        if not whole or len(names) > MOST_NUMBERS:
            raise DataError(f"{path}: column {column!r} holds {len(names)} different numbers; {ask}.")
    elif len(names) > MOST_NAMES:
        raise DataError(
            f"{path}: column {column!r} holds {len(names)} different texts in {len(rows)} rows; "
            "if they are classes, say --kind classification."
        )
    return "classification"


def _class_names(path: Path, column: str, rows: list[Row]) -> tuple[str, ...]:
    names = {_name(value) for _, _, value in rows}
    if len(names) < 2:
        raise DataError(f"{path}: column {column!r} holds one class only, {names.pop()!r}; expected two or more.")
    numbers = {name: _number(name) for name in names}
    if [name.lower() for name, number in numbers.items() if number is None] == ["nan"]:
        row = next(row for row, (_, _, value) in enumerate(rows, start=1) if _number(value) is None)
        raise DataError(f"{path}: row {row} has no label in column {column!r}, but nan; remove it or fill it in.")
    return tuple(sorted(names, key=lambda name: (numbers[name] is None, numbers[name] or 0.0, name)))


def _examples(path: Path, rows: list[Row], column: str, names: tuple[str, ...], *, given: bool) -> tuple[Example, ...]:
    index = {name: position for position, name in enumerate(names)}
    examples: list[Example] = []
    for number, (first, second, value) in enumerate(rows, start=1):
        if names:
            if (found := index.get(_name(value))) is None:
                whose = "the labels given" if given else "the training labels"
                shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
                raise DataError(f"{path}: row {number}, label {_shown(value)} is not one of {whose}: {shown}.")
            examples.append(Example(first, second, found))
        else:
            if (target := _number(value)) is None:
                raise DataError(f"{path}: row {number}, column {column!r} holds {_shown(value)}; expected a number.")
            examples.append(Example(first, second, target))
    return tuple(examples)


def _split(
    path: Path, examples: tuple[Example, ...], share: float, rng: np.random.Generator, kind: Kind
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    try:
        return split_off(examples, share, rng, stratified=kind == "classification", grouped=True)
    except DataError as reason:
        raise DataError(f"{path}: {reason}") from None


def _name(value: str | float) -> str:
    """The class name of a label: 1, 1.0 and "1" are the same class."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _number(value: str | float) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
