"""At what scale a benchmark is run: everything that weights and errors depend on besides the unit itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from hwnas.errors import UsageError
from hwnas.spaces import Align, Dimensions, Space, get_space
from hwnas.spaces.align import ANY
from hwnas.tasks import TaskData, load_task
from hwnas.training.options import TrainOptions


def paper_options(**changes: Any) -> TrainOptions:
    """Options of a training with the strategies as the paper has them: no hidden states, equal weights, no order."""
    return TrainOptions(**changes, hidden_weight=0.0, whole_weight=1.0, reorder_after=None)


@dataclass(frozen=True)
class Scale:
    """Model, data and training of all units in a folder. Strategy and seed of `train` are those of a unit.

    Attributes:
        model: Hub name or local folder; None the embedded default.
        data_dir: Folder with the data of tasks, if given.
        limit_train: Use at most so many rows for training and validation together.
        limit_test: Use at most so many rows for the test.
        max_length: Longest input in tokens.
        examples: Validation examples that each sub-network is judged on, drawn with the seed; 0 for all.
        align: Steps of heads and of units in all search spaces.
        rounds: Rounds of timing, for figures with measured latencies.
        train: How super-networks, and sub-networks of standard NAS, are fine-tuned; see `paper_options`.
    """

    model: str | None = None
    data_dir: str | None = None
    limit_train: int | None = None
    limit_test: int | None = None
    max_length: int = 128
    examples: int = 512
    align: Align = ANY
    rounds: int = 20
    train: TrainOptions = field(default_factory=paper_options)

    def __post_init__(self) -> None:
        if self.examples < 0:
            raise UsageError(f"--examples {self.examples}: expected 0 (all) or more.")
        for name, value in (("--limit-train", self.limit_train), ("--limit-test", self.limit_test)):
            if value is not None and value < 1:
                raise UsageError(f"{name} {value}: expected 1 or more rows.")
        if self.max_length < 8:
            raise UsageError(f"--max-length {self.max_length}: expected 8 or more tokens.")
        if self.rounds < 1:
            raise UsageError(f"--rounds {self.rounds}: expected 1 or more.")

    def load(self, task: str, seed: int) -> TaskData:
        """The examples of a task, split with a seed; errors as of `hwnas.tasks.load_task`."""
        return load_task(
            task,
            data_dir=None if self.data_dir is None else Path(self.data_dir),
            seed=seed,
            limit_train=self.limit_train,
            limit_test=self.limit_test,
        )

    def space(self, name: str, dimensions: Dimensions) -> Space:
        """The search space of that name; errors as of `hwnas.spaces.get_space`."""
        return get_space(name, dimensions, align=self.align)

    def options(self, strategy: str, seed: int) -> TrainOptions:
        """How to train under a strategy with a seed; errors as of `TrainOptions`."""
        return self.train.under(strategy, seed=seed)

    def to_json(self) -> dict[str, Any]:
        """JSON types; `from_json` inverts it. Steps of 1 are left out, as by earlier versions, which had no others."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        if self.align == ANY:
            del plain["align"]
        return plain

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Scale:
        """Inverse of `to_json`."""
        heads, units = data.get("align", ANY)
        return cls(**{**data, "align": (heads, units), "train": TrainOptions.from_json(data["train"])})

    def difference(self, other: Scale) -> tuple[str, Any, Any] | None:
        """The first option in which another scale differs: its name and both values."""
        for mine, theirs in ((self, other), (self.train, other.train)):
            for entry in fields(mine):
                a, b = getattr(mine, entry.name), getattr(theirs, entry.name)
                if entry.name != "train" and a != b:
                    return entry.name.replace("_", "-"), a, b
        return None
