"""The run folder: what was asked for (`run.json`) and what each station left there.

run.json              the model, the task, how to train; written once
space.json            the bounded space, if the run has one; written once
checkpoints/          while the super-network trains
supernet/             the trained super-network, its tokenizer, and a record of the training
profile/              pictures of latency tables; may be there before the run begins
baselines/            a file per baseline
search/               evaluations; a folder per search with front.json, front.csv, front.png
build/                a folder per target and precision with a folder per built member
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from hwnas.errors import RunFolderError, UsageError
from hwnas.latency.records import Setting
from hwnas.search.front import write_at_once
from hwnas.spaces import BoundedSpace, Dimensions, Space, get_space, space_from_json
from hwnas.tasks import TaskData, load_task, load_user_task
from hwnas.training.train import TrainOptions

SCHEMA = 2
"""Version of the layout of `run.json`. Version 1 knows no steps of widths and no bounds."""

PROFILE = "profile"
SPACE = "space.json"
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
        model: Hub name or local folder; None the embedded default.
        data: The examples.
        space: Name of the search space that sub-networks are trained and searched in.
        max_length: Longest input in tokens; longer texts lose their end.
        train: How the super-network is fine-tuned.
        seed: Seed of the split and of the new classification head.
        align: Steps of heads and of units that widths go in.
        bounds: A bounded space as `hwnas.pipeline.space.read_bounds` gives it: only the part of MEDIUM within these
            bounds counts, and the steps are its own. None: the whole space.

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

    def __post_init__(self) -> None:
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
                "train": TrainOptions(**data["train"]),
            }
        )


class RunFolder:
    """A run folder and the places in it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def checkpoints(self) -> Path:
        """Where the super-network's checkpoints are while it trains."""
        return self.path / "checkpoints"

    @property
    def supernet(self) -> Path:
        """Where the trained super-network is."""
        return self.path / "supernet"

    @property
    def space_file(self) -> Path:
        """Where the bounded space is, if the run has one."""
        return self.path / SPACE

    @property
    def search(self) -> Path:
        """Where searches are."""
        return self.path / "search"

    def front(self, name: str) -> Path:
        """The folder of one search."""
        return self.search / name

    def profile_picture(self, setting: Setting) -> Path:
        """The picture of a profile in a setting."""
        name = (
            f"{setting.target}-{setting.runtime}-{setting.precision}-b{setting.batch}-s{setting.sequence_length}"
            f"-t{setting.threads}.png"
        )
        return self.path / PROFILE / name

    def build(self, target: str, precision: str) -> Path:
        """Where members built for a target are."""
        return self.path / "build" / f"{target}-{precision}"

    def exists(self) -> bool:
        """Whether a run has begun here."""
        return (self.path / "run.json").is_file()

    def check(self, spec: RunSpec) -> None:
        """Check that a run can begin here, or that the one that has begun is of this spec.

        Raises:
            RunFolderError: The folder cannot be written, holds something else, or belongs to a run with another spec;
                the message names the first difference.
        """
        if self.exists():
            difference = _difference(self.spec(), spec)
            if difference is not None:
                name, old, new = difference
                raise RunFolderError(
                    f"{self.path} is a run with {name} {old!r}, not {new!r}; give another folder, or the same options."
                )
            self._check_writable()
            return
        if self.path.is_dir() and any(path.name not in (PROFILE, SPACE) for path in self.path.iterdir()):
            raise RunFolderError(f"{self.path} holds something else; give an empty or a new folder.")
        self._check_writable()

    def begin(self, spec: RunSpec, data_fingerprint: str) -> None:
        """Write what is asked for, or check that it was asked for before, of the same data.

        Raises:
            RunFolderError: As for `check`, or the data have changed.
        """
        self.check(spec)
        if self.exists():
            self.check_data(data_fingerprint)
            return
        plain = spec.to_json()
        content = {"schema": SCHEMA, "data_fingerprint": data_fingerprint, "spec": plain}
        try:
            if spec.bounds is not None:
                write_at_once(self.space_file, json.dumps(spec.bounds, indent=1) + "\n")
                plain["bounds"] = _digest(spec.bounds)
            write_at_once(self.path / "run.json", json.dumps(content, indent=1) + "\n")
        except OSError as error:
            raise RunFolderError(
                f"cannot write to {self.path} ({error.strerror}); give a run folder that you own."
            ) from error

    def check_data(self, fingerprint: str) -> None:
        """RunFolderError if the run's examples are not those that it began with."""
        if fingerprint != self._read()["data_fingerprint"]:
            raise RunFolderError(
                f"the data of the run in {self.path} have changed since it began (other files, or upgraded packages "
                "that the task docstrings reads); restore them, or start a new run folder."
            )

    def spec(self) -> RunSpec:
        """The spec of the run.

        Raises:
            RunFolderError: There is none, it is damaged, or newer than this hwnas.
        """
        try:
            plain = dict(self._read()["spec"])
            if plain.get("bounds") is not None:
                plain["bounds"] = self._bounds(plain["bounds"])
            return RunSpec.from_json(plain)
        except (KeyError, TypeError, ValueError) as error:
            raise RunFolderError(f"{self.path / 'run.json'} is damaged ({error}); start a new run folder.") from error

    def _read(self) -> dict[str, Any]:
        file = self.path / "run.json"
        try:
            data: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            newer = data["schema"] > SCHEMA
        except FileNotFoundError as error:
            raise RunFolderError(f"{self.path} is no run folder; `hwnas train {self.path}` makes one.") from error
        except OSError as error:
            raise RunFolderError(f"cannot read {file} ({error.strerror}).") from error
        except (ValueError, KeyError, TypeError) as error:
            raise RunFolderError(f"{file} is damaged ({error}); start a new run folder.") from error
        if newer:
            raise RunFolderError(f"{file} was written by a newer hwnas; upgrade hwnas.")
        return data

    def _bounds(self, digest: str) -> dict[str, Any]:
        """The bounded space that the run began with; RunFolderError if the file is another one by now."""
        try:
            bounds: dict[str, Any] = json.loads(self.space_file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunFolderError(f"{self.space_file} cannot be read ({error}); start a new run folder.") from error
        if _digest(bounds) != digest:
            raise RunFolderError(
                f"{self.space_file} is not what the run began with; restore it, or start a new run folder."
            )
        return bounds

    def fronts(self) -> list[str]:
        """Names of the searches that have ended."""
        return sorted(path.parent.name for path in self.search.glob("*/front.json"))

    def require_fronts(self) -> list[str]:
        """The same; RunFolderError if the run, or a front in it, is not there yet."""
        self.spec()
        names = self.fronts()
        if not names:
            raise RunFolderError(f"{self.path} has no front yet; `hwnas search {self.path}` finds one.")
        return names

    def _check_writable(self) -> None:
        """RunFolderError if the folder cannot be written or made; makes nothing."""
        place = self.path
        while not place.exists() and place != place.parent:
            place = place.parent
        if not place.is_dir():
            raise RunFolderError(f"cannot write to {self.path}: {place} is a file; give another run folder.")
        if not os.access(place, os.W_OK | os.X_OK):
            raise RunFolderError(f"cannot write to {self.path}: {place} is read-only; give a run folder that you own.")


def _difference(old: RunSpec, new: RunSpec) -> tuple[str, Any, Any] | None:
    """The first option in which two specs differ: its name and both values."""
    pairs: Sequence[tuple[Any, Any]] = ((old, new), (old.data, new.data), (old.train, new.train))
    for mine, yours in pairs:
        for entry in fields(mine):
            if entry.name in ("data", "train"):
                continue
            a, b = getattr(mine, entry.name), getattr(yours, entry.name)
            if a != b:
                return entry.name.replace("_", "-"), _said(entry.name, a), _said(entry.name, b)
    return None


def _said(name: str, value: Any) -> Any:
    """The value of an option as it is given on the command line; bounds by the first digits of their digest."""
    if name == "bounds" and value is not None:
        return _digest(value)[:12]
    return ",".join(map(str, value)) if name == "align" else value


def _digest(bounds: dict[str, Any]) -> str:
    """SHA-256 (hex) of a bounded space."""
    return hashlib.sha256(json.dumps(bounds, sort_keys=True).encode()).hexdigest()
