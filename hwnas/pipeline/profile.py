"""The second station's part that is not measuring: which network a profile is for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hwnas.pipeline.folder import DataSpec, RunFolder
from hwnas.tasks import TaskData
from hwnas.training.pretrained import load_config


def config_of(folder: RunFolder, *, required: bool, model: str | None, task: str, data_dir: Path | None) -> Any:
    """The Hugging Face configuration of the super-network to profile, with its number of labels.

    Args:
        folder: A run; its model and task count if it has begun.
        required: Whether the folder was asked for: then it must be there.
        model, task, data_dir: What to profile without a run.

    Raises:
        RunFolderError: The run was asked for and is not there.
        ModelError, DataError: The model or the task cannot be loaded.
    """
    if folder.exists() or required:
        spec = folder.spec()
        return labelled(load_config(spec.model), spec.data.load(spec.seed))
    data = DataSpec(task=task, data_dir=None if data_dir is None else str(data_dir))
    return labelled(load_config(model), data.load(0))


def labelled(config: Any, task: TaskData) -> Any:
    """A configuration with as many labels as a task has."""
    config.num_labels = task.num_labels
    return config
