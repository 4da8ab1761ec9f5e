"""How the benchmarks train one unit: with the functions that `hwnas train` is made of."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from _common import Row, Unit, locked, tell
from _sentences import SENTENCES, of_sentences

from hwnas.bench.clock import Clock
from hwnas.models import get_family
from hwnas.provenance import versions
from hwnas.spaces import Architecture, Dimensions, Space, get_space
from hwnas.tasks import EncodedDataset, TaskData, batches, drawn, encode, load_task
from hwnas.tasks.task import VALIDATION_SHARE
from hwnas.training.evaluate import predict
from hwnas.training.movement import MOVEMENT
from hwnas.training.options import TrainOptions
from hwnas.training.order import put_in_order
from hwnas.training.pretrained import load_pretrained
from hwnas.training.train import peak_learning_rate, train_supernet

EVALUATION_BATCH = 64
_TELL_SECONDS = 30.0


class Trained:
    """A model of one unit with its data: as it was loaded, and after `train` as it was trained.

    Args:
        unit: The unit.
        data_dir: Folder of the task's data; None as for `load_task`.
        kept: Folder of trained weights, where one training serves all units that need the same; None keeps none.

    Attributes:
        unit: The unit.
        task: The examples.
        model: The module, in evaluation mode.
        tokenizer: Its tokenizer.
        dimensions: Its sizes.
        space: The search space that it is trained in.
        train_set: The encoded training split.
        facts: What the rows say of the training: steps, seconds, examples.
    """

    def __init__(self, unit: Unit, data_dir: Path | None, kept: Path | None = None) -> None:
        from transformers import set_seed

        sentences = unit.more == SENTENCES  # chosen among all, so none is left out before
        rows = None if sentences else unit.train_rows
        limit = None if rows is None else math.ceil(rows / (1 - VALIDATION_SHARE))
        self.unit, self.kept = unit, kept
        self.task: TaskData = load_task(
            unit.task, data_dir=data_dir, seed=unit.seed, limit_train=limit, limit_test=unit.test_rows
        )
        if sentences:
            self.task = of_sentences(self.task, unit.train_rows)
        set_seed(unit.seed)
        self.model, self.tokenizer = load_pretrained(
            unit.model,
            num_labels=self.task.num_labels,
            regression=self.task.is_regression,
            label_names=self.task.label_names,
        )
        self.model.eval()
        self.dimensions: Dimensions = get_family(self.model.config).dimensions(self.model.config)
        self.space: Space = get_space("small", self.dimensions)
        self.train_set = self._encoded(self.task.train)
        self.facts: Row = {}
        self._splits: dict[str, list[dict[str, Any]]] = {}

    def train(self, folder: Path, *, space: str = "small", **changes: Any) -> None:
        """Train the model in place, or go on with it.

        Args:
            folder: Of the checkpoints.
            space: Name of the search space.
            **changes: Fields of `TrainOptions` that are not as the unit says.

        Raises:
            HwnasError: As for `train_supernet`.
        """
        unit = self.unit
        usual = {
            "epochs": unit.epochs,
            "max_steps": unit.max_steps,
            "learning_rate": unit.learning_rate,
            "batch_size": unit.batch_size,
            "precision": unit.precision,
            "seed": unit.seed,
            "hidden_weight": 0.0,  # as in the paper; a variant says where it is not
            "whole_weight": 1.0,
            "reorder_after": None,
        }
        asked = TrainOptions(**{**usual, **changes})
        after = None if asked.reorder_after == MOVEMENT else asked.reorder_after
        # What is done after a training serves no other as a start; movement scores are summed up during it.
        options = asked if after is None else replace(asked, reorder_after=None)
        self.space = get_space(space, self.dimensions)
        if path := self._kept_path(options):
            with locked(path.parent / f"{path.name}.lock"):
                if not self._load(path):
                    self._train(folder, options)
                    self._store(path)
        else:
            self._train(folder, options)
        if after is not None:
            regression = self.task.is_regression
            put_in_order(self.model, self.tokenizer, self.train_set, after, regression=regression, seed=asked.seed)

    def _train(self, folder: Path, options: TrainOptions) -> None:
        unit, told = self.unit, 0.0
        clock = Clock(folder / "clock.txt")

        def on_step(done: int, total: int, text: str) -> None:
            nonlocal told
            clock.tick(done)
            if time.monotonic() - told > _TELL_SECONDS:
                told = time.monotonic()
                tell(f"    {unit.name}: step {done}/{total} {text}")

        loss = train_supernet(
            self.model,
            self.tokenizer,
            self.train_set,
            self.space,
            options,
            folder,
            regression=self.task.is_regression,
            progress=on_step,
        )
        self.model.eval()
        steps = options.steps(len(self.train_set))
        self.facts = {
            "steps": steps,
            "seconds": round(clock.seconds(steps), 1),
            "peak_learning_rate": peak_learning_rate(options, self.model.config, steps, pairs=self.task.has_pairs),
            "last_loss": "" if math.isnan(loss) else round(loss, 4),
            "metric": self.task.metric,
            "train_examples": len(self.train_set),
            "device": next(self.model.parameters()).device.type,
        }

    def _kept_path(self, options: TrainOptions) -> Path | None:
        """Where the weights of this training are kept: all that they depend on but the code is in the name."""
        if self.kept is None or options.front is not None:  # a front is a file, which may change
            return None
        if options.reorder_after is not None:  # in another order than others want
            return None
        unit, told = self.unit, asdict(options)
        del told["reorder_after"]
        if not options.whole_first:  # as the names were before there was this option
            del told["whole_first"]
        if options.whole == 1:
            del told["whole_weight"]
        if unit.more == SENTENCES:
            told[SENTENCES] = True
        of = (unit.task, unit.train_rows, unit.max_length, unit.model, unit.seed, self.space.name, told)
        digest = hashlib.sha256(json.dumps([of, versions()], sort_keys=True, default=str).encode()).hexdigest()[:16]
        return self.kept / f"{unit.task}-{options.strategy}-seed-{unit.seed}-{digest}"

    def _load(self, path: Path) -> bool:
        from safetensors.torch import load_file

        if not (path / "facts.json").is_file():
            return False
        self.model.load_state_dict(load_file(path / "model.safetensors"), strict=False)
        self.facts = json.loads((path / "facts.json").read_text(encoding="utf-8"))
        return True

    def _store(self, path: Path) -> None:
        """All or nothing: a folder that is named so is whole."""
        from safetensors.torch import save_model

        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.mkdir(parents=True)
        save_model(self.model, str(temporary / "model.safetensors"))
        (temporary / "facts.json").write_text(json.dumps(self.facts), encoding="utf-8")
        temporary.rename(path)

    def quality(self, arch: Architecture | None = None, split: str = "validation") -> float:
        """Quality of the model or of a sub-network on the validation examples of the unit, or on the whole test split.

        For a task of GLUE `test` is the official development set, which is no part of the training or the validation.
        """
        from hwnas.tasks import compute_quality

        return compute_quality(self.task.metric, *predict(self.model, self._batches(split), arch))

    def qualities(self, arch: Architecture | None = None) -> Row:
        """The quality on both splits."""
        return {split: self.quality(arch, split) for split in ("validation", "test")}

    def training_batches(self, examples: int) -> list[dict[str, Any]]:
        """Batches of training examples, drawn with the unit's seed; for scores."""
        chosen = drawn(self.task.train, examples, np.random.default_rng((self.unit.seed, 2)))
        return list(batches(self._encoded(chosen), self.tokenizer, self.unit.batch_size))

    def _batches(self, split: str) -> list[dict[str, Any]]:
        if split not in self._splits:
            examples = list(self.task.test)
            if split == "validation":
                examples = drawn(self.task.validation, self.unit.judge, np.random.default_rng((self.unit.seed, 1)))
            self._splits[split] = list(batches(self._encoded(examples), self.tokenizer, EVALUATION_BATCH))
        return self._splits[split]

    def _encoded(self, examples: Any) -> EncodedDataset:
        return encode(examples, self.tokenizer, self.unit.max_length, regression=self.task.is_regression)


def width_cut(dimensions: Dimensions, share: float) -> Architecture:
    """All layers, with a share of the heads and units, at least one of each."""
    heads, units = (max(1, round(share * width)) for width in (dimensions.heads, dimensions.units))
    return Architecture((heads,) * dimensions.layers, (units,) * dimensions.layers)


def layer_cut(dimensions: Dimensions, kept: Callable[[int], bool]) -> Architecture:
    """The layers, by index, that are kept, each whole."""
    chosen = [kept(index) for index in range(dimensions.layers)]
    return Architecture(
        tuple(dimensions.heads * keep for keep in chosen), tuple(dimensions.units * keep for keep in chosen)
    )
