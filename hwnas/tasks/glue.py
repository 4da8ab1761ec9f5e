"""The GLUE tasks, from a folder or from the hub, split as Klein et al. (2024) split them.

Metrics follow published copies of the table `GLUE_TASK_INFO`, the name under which the paper's code imports them:
F1 for MRPC and QQP, Matthews correlation for CoLA, Spearman correlation for STS-B, accuracy for the others.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from hwnas.errors import DataError, MissingExtraError
from hwnas.tasks.files import read_columns
from hwnas.tasks.task import VALIDATION_SHARE, Example, TaskData, limited, split_off

HUB_NAME = "nyu-mll/glue"
ENVIRONMENT = "HWNAS_DATA"


@dataclass(frozen=True)
class GlueTask:
    """Facts of a GLUE task.

    Attributes:
        metric: Name of the metric.
        label_names: Classes by index; empty for regression.
        hub_columns: The text columns on the hub; one, or two for pairs.
        hub_test: The split on the hub that is the official development set.
    """

    metric: str
    label_names: tuple[str, ...]
    hub_columns: tuple[str, ...]
    hub_test: str = "validation"


_PAIR = ("sentence1", "sentence2")
_ENTAILMENT = ("entailment", "not_entailment")

GLUE: Mapping[str, GlueTask] = MappingProxyType(
    {
        "cola": GlueTask("matthews", ("unacceptable", "acceptable"), ("sentence",)),
        "mnli": GlueTask(
            "accuracy", ("entailment", "neutral", "contradiction"), ("premise", "hypothesis"), "validation_matched"
        ),
        "mrpc": GlueTask("f1", ("not_equivalent", "equivalent"), _PAIR),
        "qnli": GlueTask("accuracy", _ENTAILMENT, ("question", "sentence")),
        "qqp": GlueTask("f1", ("not_duplicate", "duplicate"), ("question1", "question2")),
        "rte": GlueTask("accuracy", _ENTAILMENT, _PAIR),
        "sst2": GlueTask("accuracy", ("negative", "positive"), ("sentence",)),
        "stsb": GlueTask("spearman", (), _PAIR),
    }
)


def load_glue(
    name: str, *, data_dir: Path | None, seed: int, limit_train: int | None, limit_test: int | None
) -> TaskData:
    """Load a GLUE task; see `hwnas.tasks.load_task`. `name` is a key of `GLUE`."""
    task = GLUE[name]
    if data_dir is not None:
        train_file, test_file = _find(data_dir, name, "train"), _find(data_dir, name, "validation")
        for split, file in (("train", train_file), ("validation", test_file)):
            if file is None:
                raise DataError(
                    f"task {name}: no file {data_dir / name / split}.csv.gz (or .csv); expected the layout "
                    "<data-dir>/<task>/train.csv.gz and validation.csv.gz."
                )
    else:
        folder = os.environ.get(ENVIRONMENT)
        train_file = _find(Path(folder), name, "train") if folder else None
        test_file = _find(Path(folder), name, "validation") if folder else None

    if train_file is not None and test_file is not None:
        pool, test = _from_file(train_file, task), _from_file(test_file, task)
        origin = str(train_file.parent)
    else:
        pool, test = _from_hub(name, task)
        origin = f"{HUB_NAME} ({name}) on the hub"

    rng = np.random.default_rng(seed)
    pool = limited(pool, limit_train, rng, "limit of training rows")
    test = limited(test, limit_test, rng, "limit of test rows")
    train, validation = split_off(pool, VALIDATION_SHARE, rng)
    return TaskData(
        name=name,
        kind="classification" if task.label_names else "regression",
        label_names=task.label_names,
        metric=task.metric,
        train=train,
        validation=validation,
        test=test,
        source=f"{origin}: training set split 70/30 with seed {seed}; test: the official development set",
    )


def _find(folder: Path, name: str, split: str) -> Path | None:
    candidates = (folder / name / f"{split}.csv.gz", folder / name / f"{split}.csv")
    return next((path for path in candidates if os.path.isfile(path)), None)


def _from_file(path: Path, task: GlueTask) -> tuple[Example, ...]:
    columns = ["sentence1", "sentence2", "label"] if len(task.hub_columns) == 2 else ["sentence1", "label"]
    examples: list[Example] = []
    for number, row in enumerate(read_columns(path, columns), start=1):
        label = _label(row[-1], task)
        if label is None:
            expected = f"an integer 0 to {len(task.label_names) - 1}" if task.label_names else "a number 0 to 5"
            raise DataError(f"{path}: row {number}, label {row[-1]!r}; expected {expected}.")
        examples.append(Example(row[0], row[1] if len(row) == 3 else None, label))
    return tuple(examples)


def _label(value: str, task: GlueTask) -> int | float | None:
    try:
        if not task.label_names:
            number = float(value)
            return number if 0.0 <= number <= 5.0 else None
        index = int(value)
    except ValueError:
        return None
    return index if 0 <= index < len(task.label_names) else None


def _from_hub(name: str, task: GlueTask) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    ways = f"give the files with --data-dir or {ENVIRONMENT} (<folder>/{name}/train.csv.gz), or use --task docstrings"
    try:
        import datasets
    except ImportError as reason:
        raise MissingExtraError("datasets", "hub", f"task {name} without files (or {ways})") from reason
    try:
        loaded = datasets.load_dataset(HUB_NAME, name)
        parts = [
            tuple(
                Example(
                    str(row[task.hub_columns[0]]),
                    str(row[task.hub_columns[1]]) if len(task.hub_columns) == 2 else None,
                    int(row["label"]) if task.label_names else float(row["label"]),
                )
                for row in loaded[split]
            )
            for split in ("train", task.hub_test)
        ]
    except Exception as reason:  # the hub's client raises errors of many libraries; all mean "not from the hub"
        what = " ".join(str(reason).split())[:160] or type(reason).__name__
        raise DataError(f"task {name}: cannot be loaded from the hub ({what}); {ways}.") from reason
    return parts[0], parts[1]
