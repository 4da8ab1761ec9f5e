"""The first station: from a pre-trained model to a trained super-network in the run folder."""

from __future__ import annotations

import math
import os
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hwnas.errors import CheckpointError, RunFolderError
from hwnas.latency.columns import law_of
from hwnas.models import get_family
from hwnas.pipeline.folder import RunFolder
from hwnas.pipeline.progress import Progress, silent
from hwnas.pipeline.spec import RunSpec
from hwnas.provenance import hash_file, hash_json
from hwnas.spaces import Architecture, Space
from hwnas.tasks import EncodedDataset, TaskData, batches, encode
from hwnas.training.moving_front import CURRENT
from hwnas.training.pretrained import EMBEDDED, load_config, load_pretrained
from hwnas.training.processes import agreed, count, is_first
from hwnas.training.train import TrainOptions, peak_learning_rate, train_supernet

EVALUATION_BATCH = 64


@dataclass(frozen=True)
class SuperNet:
    """A trained super-network, loaded.

    Attributes:
        model: The Hugging Face module, in evaluation mode.
        tokenizer: Its tokenizer.
        space: The space it was trained in.
        weights: SHA-256 of its weights' file.
        record: What is known of its training: steps, seconds, examples, errors. JSON types.
        reused: It had been trained before.
    """

    model: Any
    tokenizer: Any
    space: Space
    weights: str
    record: dict[str, Any]
    reused: bool


def train_run(folder: RunFolder, spec: RunSpec, *, progress: Progress | None = None) -> SuperNet:
    """Train the super-network of a run, go on with it, or load it if it is there.

    Several processes of a launcher train it together. The first one alone writes the folder and evaluates, the others
    wait, and all load what came of it. They must see the same folder.

    Raises:
        RunFolderError: The folder cannot be used, or the task's data, the front or the teacher are not those that it
            was trained on.
        DataError, ModelError, CheckpointError, UsageError: See the stations' parts.
    """
    say = progress or silent
    # Whatever cannot be used is refused before anything is written, by all processes before any goes on.
    with agreed():
        config = load_config(spec.model)
        space = spec.make_space(get_family(config).dimensions(config))
        folder.check(spec)
        spec = folder.spec() if folder.exists() else spec  # the law that it began with
        supernet = load_supernet(folder) if folder.supernet.is_dir() else None
    if supernet is not None:
        if is_first():  # what a kill after the last step left
            shutil.rmtree(folder.checkpoints, ignore_errors=True)
        return supernet
    from transformers import set_seed

    with agreed():
        task = spec.data.load(spec.seed)
        set_seed(spec.seed)
        model, tokenizer = load_pretrained(
            spec.model, num_labels=task.num_labels, regression=task.is_regression, label_names=task.label_names
        )
        say("tokenise", 0, 1, "")
        dataset = encode(task.train, tokenizer, spec.max_length, regression=task.is_regression)
        held = encode(task.validation, tokenizer, spec.max_length, regression=task.is_regression)
    start = time.perf_counter()
    try:
        loss = train_supernet(
            model,
            tokenizer,
            dataset,
            space,
            _with_logs(spec.train, folder),
            folder.checkpoints,
            regression=task.is_regression,
            progress=lambda done, total, text: say("train", done, total, text),
            begin=lambda: folder.begin(spec, task.fingerprint(), _digests(spec.train)),
            price=None if spec.front_law is None else law_of(spec.front_law, space.dimensions),
        )
    except OSError as error:
        raise RunFolderError(f"cannot write to {folder.checkpoints} ({error.strerror}).") from error
    seconds, steps = time.perf_counter() - start, spec.train.steps(len(dataset))
    with agreed():
        if is_first():
            record = {
                **_facts(spec, task, space),
                "steps": steps,
                "batch_size": spec.train.batch_size,
                "processes": count(),
                "learning_rate": peak_learning_rate(spec.train, model.config, steps, pairs=task.has_pairs),
                "hidden_weight": spec.train.hidden,
                "whole_weight": spec.train.whole,
                "seconds_of_last_start": round(seconds, 2),
                "last_loss": None if math.isnan(loss) else loss,
                "validation_error": _errors(model, tokenizer, held, task, space, say),
                "threads": _threads(),
            }
            _store(folder, model, tokenizer, record)
    # As read from the disk, so that what follows now is what follows when the run is gone on with.
    return replace(load_supernet(folder), reused=False)


def _with_logs(options: TrainOptions, folder: RunFolder) -> TrainOptions:
    """The options with a folder for TensorBoard, which would write among the checkpoints, and they do not stay."""
    chosen = options.logging_dir or os.environ.get("TENSORBOARD_LOGGING_DIR")
    if chosen or "tensorboard" not in options.integrations:
        return options
    return replace(options, logging_dir=str(folder.path / "logs"))


def _digests(options: TrainOptions) -> dict[str, str]:
    """SHA-256 of the front's file and of a local teacher's configuration and weights, by the option's name."""
    digests = {}
    if options.front not in (None, CURRENT):
        digests["front"] = hash_file(Path(str(options.front)))
    teacher = Path(options.teacher or "")
    if options.teacher not in (None, EMBEDDED) and teacher.is_dir():
        kinds = ("config.json", "*.safetensors", "*.bin")
        files = sorted(file for kind in kinds for file in teacher.glob(kind))
        digests["teacher"] = hash_json([hash_file(file) for file in files])
    return digests


def _facts(spec: RunSpec, task: TaskData, space: Space) -> dict[str, Any]:
    """What is known of a training before it begins."""
    return {
        "task": task.name,
        "source": task.source,
        "metric": task.metric,
        "examples": {"train": len(task.train), "validation": len(task.validation), "test": len(task.test)},
        "space": space.to_json(),
        "strategy": spec.train.strategy,
    }


def _errors(
    model: Any, tokenizer: Any, held: EncodedDataset, task: TaskData, space: Space, say: Progress
) -> dict[str, float]:
    """Validation errors of both ends and the middle of the space, and of the whole network if it is above them."""
    from hwnas.training.evaluate import evaluate_error

    model.eval()
    data = list(batches(held, tokenizer, EVALUATION_BATCH))
    whole = Architecture.full(space.dimensions)
    named = {} if space.largest() == whole else {"whole": whole}
    named |= {"largest": space.largest(), "middle": space.middle(), "smallest": space.smallest()}
    errors = {}
    for number, (name, arch) in enumerate(named.items()):
        say("validate", number, len(named), name)
        errors[name] = evaluate_error(model, data, task.metric, arch)
    return errors


def _threads() -> int:
    import torch

    return torch.get_num_threads()


def load_supernet(folder: RunFolder) -> SuperNet:
    """The trained super-network of a run.

    Raises:
        RunFolderError: There is none yet.
        CheckpointError: It is damaged.
    """
    from hwnas.training.saved import load_trained

    spec = folder.spec()
    if not folder.supernet.is_dir():
        raise RunFolderError(f"{folder.path} has no trained super-network yet; `hwnas train {folder.path}` trains it.")
    try:
        saved = load_trained(folder.supernet)
    except CheckpointError as error:
        raise CheckpointError(
            f"the super-network in {folder.supernet} is damaged: its files are not what was written; delete that "
            "folder and train again."
        ) from error
    space = spec.make_space(get_family(saved.model.config).dimensions(saved.model.config))
    return SuperNet(saved.model, saved.tokenizer, space, saved.weights, saved.record, reused=True)


def _store(folder: RunFolder, model: Any, tokenizer: Any, record: dict[str, Any]) -> None:
    """Write the trained super-network, so that it is there whole or not at all."""
    from hwnas.training.saved import store_trained

    try:
        store_trained(folder.supernet, model, tokenizer, record)
    except OSError as error:
        raise RunFolderError(f"cannot write to {folder.path} ({error.strerror or error}).") from error
    shutil.rmtree(folder.checkpoints, ignore_errors=True)


def load_data(folder: RunFolder) -> TaskData:
    """The examples of a run, checked to be those that it began with.

    Raises:
        RunFolderError: They have changed since, for instance because packages that `docstrings` reads were upgraded.
        DataError: They cannot be found any more.
    """
    spec = folder.spec()
    task = spec.data.load(spec.seed)
    folder.check_data(task.fingerprint())
    return task
