"""What a run is: its model, its examples, and how its super-network is trained."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from hwnas.errors import UsageError
from hwnas.spaces import BoundedSpace, Dimensions, Space, get_space, space_from_json
from hwnas.tasks import TaskData, load_task, load_user_task
from hwnas.training.pretrained import EMBEDDED
from hwnas.training.train import TrainOptions

BOUNDED_IN = "medium"
"""The space that bounds are bounds of."""


@dataclass(frozen=True)
class DataSpec:
    """Which examples: a task by name, or the user's own files.

    Attributes:
        task: Name of a task; for the user's own files the name to give them.
        data_dir: Folder with the data of tasks, if given.
        train_file: The user's training file; then the columns below count.
        test_file: The user's test file.
        text, text_pair, label: Columns of the user's files.
        kind: `classification` or `regression`, if given.
        labels: Class names in order, if given.
        limit_train: Use at most so many rows for training and validation together.
        limit_test: Use at most so many rows for the test.
    """

    task: str
    data_dir: str | None = None
    train_file: str | None = None
    test_file: str | None = None
    text: str = "text"
    text_pair: str | None = None
    label: str = "label"
    kind: str | None = None
    labels: tuple[str, ...] | None = None
    limit_train: int | None = None
    limit_test: int | None = None

    def load(self, seed: int) -> TaskData:
        """Load and split the examples; errors as of `hwnas.tasks.load_task` and `load_user_task`."""
        if self.train_file is None:
            return load_task(
                self.task,
                data_dir=None if self.data_dir is None else Path(self.data_dir),
                seed=seed,
                limit_train=self.limit_train,
                limit_test=self.limit_test,
            )
        return load_user_task(
            Path(self.train_file),
            test_file=None if self.test_file is None else Path(self.test_file),
            text=self.text,
            text_pair=self.text_pair,
            label=self.label,
            kind=self.kind,  # type: ignore[arg-type]
            labels=self.labels,
            seed=seed,
            limit_train=self.limit_train,
            limit_test=self.limit_test,
        )


@dataclass(frozen=True)
class RunSpec:
    """What a run is: the same spec, the same super-network.

    Attributes:
        model: Hub name or local folder; None the embedded default. Local folders, of the teacher too, become absolute,
            so that a run can be gone on with from anywhere.
        data: The examples.
        space: Name of the search space that sub-networks are trained and searched in.
        max_length: Longest input in tokens; longer texts lose their end.
        train: How the super-network is fine-tuned.
        seed: Seed of the split and of the new classification head.
        align: Steps of heads and of units that widths go in.
        bounds: A bounded space as `hwnas.pipeline.space.read_bounds` gives it: only the part of MEDIUM within these
            bounds counts, and the steps are its own. None: the whole space.
        front_law: The law of the latency, in seconds, by which `train.front` `current` is a front: coefficients by
            column, as of `hwnas.latency.columns.law_of`. It is that of the table when the run began.
        front_device: The device of that law, as the options of `hwnas profile` name it.

    Raises:
        UsageError: Bounds with another space or with steps of their own.
    """

    model: str | None
    data: DataSpec
    space: str = "small"
    max_length: int = 128
    train: TrainOptions = field(default_factory=TrainOptions)
    seed: int = 0
    align: tuple[int, int] = (1, 1)
    bounds: dict[str, Any] | None = None
    front_law: dict[str, float] | None = None
    front_device: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "model", _from_anywhere(self.model))
        object.__setattr__(self, "train", replace(self.train, teacher=_from_anywhere(self.train.teacher)))
        if self.bounds is None:
            return
        if self.space != BOUNDED_IN:
            raise UsageError(f"--space {self.space} with --bounds: they are bounds of {BOUNDED_IN}; leave --space out.")
        if self.align != (1, 1):
            raise UsageError("--align with --bounds: the bounds have steps of their own; leave --align out.")

    def make_space(self, dimensions: Dimensions) -> Space:
        """The space over the run's super-network.

        Raises:
            UnknownNameError: No space has that name.
            UsageError: A step is below 1, or the bounds are of another super-network.
        """
        if self.bounds is None:
            return get_space(self.space, dimensions, align=self.align)
        return space_from_json({**self.bounds, "name": BoundedSpace.name}, dimensions)

    def to_json(self) -> dict[str, Any]:
        """JSON types; `from_json` inverts it."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> RunSpec:
        """Inverse of `to_json`, also of an earlier version's."""
        labels = data["data"]["labels"]
        heads, units = data.get("align", (1, 1))
        return cls(
            **{
                **data,
                "align": (int(heads), int(units)),
                "data": DataSpec(**{**data["data"], "labels": None if labels is None else tuple(labels)}),
                "train": TrainOptions.from_json(data["train"]),
            }
        )


def _from_anywhere(source: str | None) -> str | None:
    """A hub name as it is, a local folder as an absolute path."""
    if source is None or source == EMBEDDED or not Path(source).is_dir():
        return source
    return os.path.abspath(source)


def first_difference(old: RunSpec, new: RunSpec) -> tuple[str, Any, Any] | None:
    """The first option in which two specs differ: its name and both values."""
    pairs = (
        (_values(old), _values(new)),
        (_values(old.data), _values(new.data)),
        (_in_full(old.train), _in_full(new.train)),
    )
    for mine, yours in pairs:
        for name, a in mine.items():
            if name in ("data", "train", "front_law"):
                continue  # a law that was fitted again is no other option
            if a != (b := yours[name]):
                return name.replace("_", "-"), _said(name, a), _said(name, b)
    return None


def _values(of: RunSpec | DataSpec | TrainOptions) -> dict[str, Any]:
    return {entry.name: getattr(of, entry.name) for entry in fields(of)}


def _in_full(train: TrainOptions) -> dict[str, Any]:
    """The options with defaults that depend on others filled in: those of an earlier version may have been others."""
    return {**_values(train), "whole_weight": train.whole, "hidden_weight": train.hidden}


def _said(name: str, value: Any) -> Any:
    """The value of an option as it is given on the command line; bounds by the first digits of their digest."""
    if name == "reorder_after" and value is None:
        return "none"
    if name == "bounds" and value is not None:
        return digest_of(value)[:12]
    return ",".join(map(str, value)) if name == "align" else value


def digest_of(bounds: dict[str, Any]) -> str:
    """SHA-256 (hex) of a bounded space."""
    return hashlib.sha256(json.dumps(bounds, sort_keys=True).encode()).hexdigest()
