"""Tasks by name. The types live in `hwnas.tasks.task`, the user's own files in `hwnas.tasks.user`."""

from __future__ import annotations

from pathlib import Path

from hwnas.errors import UnknownNameError
from hwnas.tasks.docstrings import load_docstrings
from hwnas.tasks.glue import GLUE, load_glue
from hwnas.tasks.task import Example, TaskData
from hwnas.tasks.user import load_user_task

__all__ = ["Example", "TaskData", "load_task", "load_user_task", "task_names"]

DOCSTRINGS = "docstrings"


def task_names() -> tuple[str, ...]:
    """Names that `load_task` knows, sorted."""
    return tuple(sorted((*GLUE, DOCSTRINGS)))


def load_task(
    name: str,
    *,
    data_dir: Path | None = None,
    seed: int = 0,
    limit_train: int | None = None,
    limit_test: int | None = None,
) -> TaskData:
    """Load a task by name.

    A GLUE task comes from the first of: `data_dir`, the folder in the environment variable ``HWNAS_DATA`` if it holds
    the task, the hub (extra ``hub``). The layout of a folder is ``<folder>/<task>/{train,validation}.csv.gz`` (or
    ``.csv``) with the columns sentence1, sentence2 (pair tasks only) and label. Its training set is split 70/30 into
    train and validation; its official development set is the test (Klein et al. 2024). `docstrings` needs no data.

    Args:
        name: A name in `task_names()`.
        data_dir: Folder with the data; nothing else is tried then. `docstrings` ignores it.
        seed: Seed of the split and of the rows that a limit keeps.
        limit_train: Use at most this many rows for train and validation together, drawn at random before the split.
        limit_test: Use at most this many rows for the test, drawn at random.

    Raises:
        UnknownNameError: No task of that name.
        DataError: Data that cannot be found or read; the message names the file and the ways out.
        MissingExtraError: Only the hub is left and the package `datasets` is not installed.
        UsageError: A limit below 1.
    """
    if name == DOCSTRINGS:
        return load_docstrings(seed=seed, limit_train=limit_train, limit_test=limit_test)
    if name not in GLUE:
        raise UnknownNameError("task", name, task_names())
    return load_glue(
        name,
        data_dir=Path(data_dir) if data_dir is not None else None,
        seed=seed,
        limit_train=limit_train,
        limit_test=limit_test,
    )
