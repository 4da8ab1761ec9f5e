"""Super-networks that units share: trained once for a task, space, strategy and seed, and kept."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hwnas.bench.clock import Clock
from hwnas.bench.folder import BenchFolder
from hwnas.bench.scale import Scale
from hwnas.bench.units import Unit
from hwnas.errors import CheckpointError, RunFolderError
from hwnas.models import get_family
from hwnas.spaces import Space
from hwnas.tasks import TaskData, encode

Report = Callable[[int, int, str], None]
"""Called with (steps done, steps in all, short text)."""


@dataclass(frozen=True)
class Network:
    """A network with its tokenizer.

    Attributes:
        model: The Hugging Face module, in evaluation mode.
        tokenizer: Its tokenizer.
        space: The space of the unit.
        weights: SHA-256 of its weights; of a pre-trained network without a file of its own a word for where it is from.
        seconds: What its training took, all starts together; 0 if it was not trained here.
    """

    model: Any
    tokenizer: Any
    space: Space
    weights: str
    seconds: float


def pretrained(scale: Scale, task: TaskData, unit: Unit) -> Network:
    """The pre-trained network with a new classification head, which the seed determines.

    Raises:
        ModelError: It cannot be loaded.
    """
    from transformers import set_seed

    from hwnas.training.pretrained import load_pretrained

    set_seed(unit.seed)
    model, tokenizer = load_pretrained(
        scale.model, num_labels=task.num_labels, regression=task.is_regression, label_names=task.label_names
    )
    space = scale.space(unit.space, get_family(model.config).dimensions(model.config))
    return Network(model.eval(), tokenizer, space, "pre-trained", 0.0)


def train(folder: BenchFolder, scale: Scale, unit: Unit, report: Report) -> None:
    """Train the super-network that a unit needs, or go on with it; nothing is done if it is there.

    Raises:
        RunFolderError: It cannot be written.
        DataError, ModelError, CheckpointError, HwnasError: As of `train_supernet`.
    """
    from hwnas.training.saved import store_trained
    from hwnas.training.train import train_supernet

    name = unit.supernet
    assert name is not None
    if folder.supernet(name).is_dir():
        return
    task = scale.load(unit.task, unit.seed)
    network = pretrained(scale, task, unit)
    dataset = encode(task.train, network.tokenizer, scale.max_length, regression=task.is_regression)
    options = scale.options(unit.strategy, unit.seed)
    clock = Clock(folder.checkpoints(name) / "clock.txt")

    def on_step(done: int, total: int, text: str) -> None:
        clock.tick(done)
        report(done, total, text)

    try:
        train_supernet(
            network.model,
            network.tokenizer,
            dataset,
            network.space,
            options,
            folder.checkpoints(name),
            regression=task.is_regression,
            progress=on_step,
        )
        record = {"training_seconds": round(clock.seconds(options.steps(len(dataset))), 2)}
        store_trained(folder.supernet(name), network.model, network.tokenizer, record)
    except OSError as error:
        raise RunFolderError(f"cannot write to {folder.path} ({error.strerror or error}).") from error
    folder.failure(f"train {name}").unlink(missing_ok=True)
    shutil.rmtree(folder.checkpoints(name), ignore_errors=True)


def load(folder: BenchFolder, scale: Scale, unit: Unit) -> Network:
    """The super-network that a unit needs.

    Raises:
        CheckpointError: It is not there, or damaged.
    """
    from hwnas.training.saved import load_trained

    assert unit.supernet is not None
    place = folder.supernet(unit.supernet)
    try:
        saved = load_trained(place)
        seconds = float(saved.record["training_seconds"])
    except (CheckpointError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"the super-network in {place} is damaged: its files are not what was written; delete that folder and run "
            "the same command again."
        ) from error
    space = scale.space(unit.space, get_family(saved.model.config).dimensions(saved.model.config))
    return Network(saved.model, saved.tokenizer, space, saved.weights, seconds)
