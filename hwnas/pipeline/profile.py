"""The second station: which network a profile is for, the profile itself, and its picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hwnas.errors import RunFolderError, UsageError
from hwnas.latency.events import Observer, Reporter
from hwnas.latency.findings import ProfileReport
from hwnas.latency.keys import network_shape
from hwnas.latency.profile import of_model, profile_model
from hwnas.latency.records import Setting
from hwnas.latency.table import LatencyTable
from hwnas.pipeline.folder import RunFolder
from hwnas.pipeline.spec import DataSpec, RunSpec
from hwnas.tasks import TaskData
from hwnas.training.pretrained import load_config


def config_of(
    folder: RunFolder,
    *,
    required: bool,
    model: str | None,
    task: str,
    data_dir: Path | None,
    num_labels: int | None = None,
) -> Any:
    """The Hugging Face configuration of the super-network to profile, with its number of labels.

    Args:
        folder: A run; its model and task count if it has begun and was asked for, or no model is named.
        required: Whether the folder was asked for: then it must be there.
        model, task, data_dir: What to profile without a run.
        num_labels: How many labels, instead of those of the task; then there is no run.

    Raises:
        RunFolderError: The run was asked for and is not there.
        UsageError: The number of labels of a run that was asked for.
        ModelError, DataError: The model or the task cannot be loaded.
    """
    if num_labels is not None:
        if required:
            raise UsageError("--num-labels: a run has the labels of its data; leave it out, or the run.")
        config = load_config(model)
        config.num_labels = num_labels
        return config
    if required or (folder.exists() and model is None):
        return config_of_spec(folder.spec())
    data = DataSpec(task=task, data_dir=None if data_dir is None else str(data_dir))
    return labelled(load_config(model), data.load(0))


def config_of_spec(spec: RunSpec) -> Any:
    """The Hugging Face configuration of a run's super-network, with its number of labels; errors as of `config_of`."""
    return labelled(load_config(spec.model), spec.data.load(spec.seed))


def spaces_of(folder: RunFolder, space: str = "small") -> tuple[str, ...]:
    """Names of the spaces that a profile for a run should cover: SMALL, LAYER, and the run's own.

    Args:
        folder: The run.
        space: That of a run that has not begun.
    """
    own = (folder.spec().space if folder.exists() else space,)
    return tuple(dict.fromkeys(("small", "layer", *own)))


def labelled(config: Any, task: TaskData) -> Any:
    """A configuration with as many labels as a task has."""
    config.num_labels = task.num_labels
    return config


def profile_run(
    config: Any,
    setting: Setting,
    table: LatencyTable,
    *,
    sweep: bool = False,
    observer: Observer | None = None,
    **options: Any,
) -> ProfileReport:
    """Profile a super-network, and measure its sweeps for the picture if asked to.

    Args:
        config: Its Hugging Face configuration.
        setting: From `make_setting`.
        table: The latency table.
        sweep: Also measure networks that differ from the whole one in heads, units or layers alone.
        observer: Told what is measured, how good the fit is and how long it will take.
        **options: As for `profile_model`.

    Raises:
        ProfilerError, TableError, UsageError: See `profile_model`.
    """
    from hwnas.latency.design import staircase_networks
    from hwnas.latency.measure import Wanted, measure_networks
    from hwnas.models import get_family

    report = profile_model(config, setting, table, observer=observer, **options)
    if sweep:
        archs = staircase_networks(get_family(config).dimensions(config))
        wanted = [Wanted(arch, "sweep") for arch in archs]
        seed, remeasure = int(options.get("seed", 0)), bool(options.get("remeasure", True))
        measure_networks(
            config, wanted, setting, table, report=Reporter(None, observer), seed=seed, remeasure=remeasure
        )
    return report


def draw_profile(config: Any, setting: Setting, table: LatencyTable, report: ProfileReport, path: Path) -> Path:
    """Draw latency against heads, units and layers, and say where.

    Raises:
        RunFolderError: The picture cannot be written.
    """
    from hwnas.models import get_family
    from hwnas.report.staircase import plot_staircase

    rows = [(network_shape(network), row) for network, _, row in table.rows(setting) if of_model(network, config)]
    title = (
        f"{setting.target}, {setting.runtime} {setting.runtime_version} {setting.precision}, batch {setting.batch}, "
        f"{setting.sequence_length} tokens"
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        plot_staircase(get_family(config).dimensions(config), rows, report.predictor, path, title=title)
    except OSError as error:
        raise RunFolderError(f"cannot write {path} ({error.strerror or error}); give another --picture.") from error
    return path
