"""Baselines of a run: the whole network, not pruned, in other precisions, beside the fronts."""

from __future__ import annotations

from pathlib import Path

import hwnas
from hwnas.baselines.quantized import CALIBRATION_EXAMPLES, is_calibrated
from hwnas.baselines.record import Baseline, read_baselines, write_baseline
from hwnas.errors import RunFolderError
from hwnas.latency.measure import measure
from hwnas.latency.records import Setting
from hwnas.latency.table import LatencyTable
from hwnas.pipeline.folder import RunFolder
from hwnas.pipeline.judge import TEST, Judge
from hwnas.pipeline.progress import Progress, silent
from hwnas.pipeline.train import SuperNet, load_data, load_supernet
from hwnas.report.plot import plot_all
from hwnas.search.cache import EvaluationCache
from hwnas.search.front import Front, read_front
from hwnas.search.search import VALIDATION
from hwnas.slicing.extract import extract, parameter_count
from hwnas.spaces import Architecture
from hwnas.tasks import quality_name
from hwnas.training.pretrained import EMBEDDED


def baselines_folder(folder: RunFolder) -> Path:
    """Where the baselines of a run are."""
    return folder.path / "baselines"


def baseline_run(
    folder: RunFolder,
    setting: Setting,
    table: LatencyTable,
    *,
    examples: int = 512,
    seed: int = 0,
    supernet: SuperNet | None = None,
    progress: Progress | None = None,
) -> Baseline:
    """Measure and judge the whole network of a run in a setting, write it, and draw it beside the run's fronts.

    Latency and memory come from the table, or are measured and put there. Errors are those of the artifact in its
    runtime; they are kept, so the same call again finds nothing new. The ranges of int8 are found on training
    examples; a latency that was measured before with other ranges counts, because it does not depend on them.

    Args:
        folder: The run.
        setting: Runtime, precision and device, from `make_setting`.
        table: The latency table.
        examples: Validation examples, drawn with the seed; 0 for all. The same as a search's are comparable with it.
        seed: Seed of the draw.
        supernet: The loaded super-network, if it is at hand.
        progress: Called as the work goes on.

    Raises:
        RunFolderError: The run has no super-network, or cannot be written.
        ProfilerError: The runtime refuses the network.
        TableError: The table cannot be written.
    """
    say = progress or silent
    supernet = supernet or load_supernet(folder)
    task, spec = load_data(folder), folder.spec()
    judge = Judge(supernet, task, spec.max_length, examples, seed)
    whole = Architecture.full(supernet.space.dimensions)
    module = extract(supernet.model, whole)
    (latency,) = measure(
        supernet.model.config,
        [whole],
        setting,
        table,
        models=[module],
        progress=lambda stage, done, total: say(stage, done, total, ""),
        seed=seed,
        calibration=judge.calibration(setting),
    )
    say("judge", 0, 1, f"{setting.precision} in {setting.runtime}")
    with EvaluationCache(folder.search / f"evaluations-{judge.digest}.jsonl", judge.about) as cache:
        validation_error, test_error = judge.artifact_errors(
            whole, setting, cache, splits=(VALIDATION, TEST), module=lambda: module
        )
    say("judge", 1, 1, f"{setting.precision} in {setting.runtime}")
    baseline = Baseline(
        setting=setting,
        latency=latency,
        validation_error=validation_error,
        test_error=test_error,
        parameters=parameter_count(module),
        about={
            "task": task.name,
            "model": Path(spec.model or EMBEDDED).name,
            "quality": quality_name(task.metric),
            "validation_examples": judge.about["examples"],
            "test_examples": len(task.test),
            "calibration_examples": min(CALIBRATION_EXAMPLES, len(task.train)) if is_calibrated(setting) else None,
            "seed": seed,
            "weights": supernet.weights,
            "hwnas": hwnas.__version__,
        },
    )
    try:
        write_baseline(baseline, baselines_folder(folder))
        draw_fronts(folder)
    except OSError as error:
        raise RunFolderError(f"cannot write to {folder.path} ({error.strerror}).") from error
    return baseline


def baselines_beside(folder: RunFolder, front: Front) -> list[Baseline]:
    """The baselines of a front's super-network that were measured where it was: device, batch, length and threads."""
    found = read_baselines(baselines_folder(folder))
    return [entry for entry in found if _are_together(entry, front)]


def fronts_beside(folder: RunFolder, baseline: Baseline) -> list[tuple[str, Front]]:
    """(name, front) of the searches of a run's super-network that a baseline can be compared with, the newest last."""
    found = [(name, front) for name, front in _own_fronts(folder) if _are_together(baseline, front)]
    return sorted(found, key=lambda entry: (folder.front(entry[0]) / "front.json").stat().st_mtime)


def _are_together(baseline: Baseline, front: Front) -> bool:
    return baseline.is_beside(front.about["setting"]) and front.is_of(baseline.about.get("weights"))


def draw_fronts(folder: RunFolder) -> None:
    """Draw the pictures of all fronts of a run again, with the baselines that are there now.

    Fronts of another super-network, which was trained again since or is another run's, stay as they are.
    """
    for name, front in _own_fronts(folder):
        plot_all(front, folder.front(name), baselines_beside(folder, front))


def _own_fronts(folder: RunFolder) -> list[tuple[str, Front]]:
    """(name, front) of the searches of a run's super-network."""
    weights = folder.weights()
    found = [(name, read_front(folder.front(name) / "front.json")) for name in folder.fronts()]
    return [(name, front) for name, front in found if front.is_of(weights)]
