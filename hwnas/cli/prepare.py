"""What several commands do before they call the library: make a spec, quieten libraries, print a training."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas.cli.console import out
from hwnas.errors import UsageError

if TYPE_CHECKING:
    from hwnas.latency.records import Setting
    from hwnas.pipeline.folder import RunFolder
    from hwnas.pipeline.spec import RunSpec
    from hwnas.pipeline.train import SuperNet


def run_folder(path: Path | None, task: str = "docstrings") -> RunFolder:
    """The run folder of a command; by default one per task."""
    from hwnas.pipeline.folder import RunFolder

    return RunFolder(path if path is not None else Path("runs") / task)


def run_to_read(run: Path | None, model: str | None, task: str) -> RunFolder:
    """The run that a command looks at: none, a folder that cannot be, where a model was named and no run."""
    return run_folder(Path(os.devnull) if run is None and model is not None else run, task)


def begun_run(path: Path | None) -> RunFolder:
    """The run that a command goes on with; by default the only one in `runs`.

    Raises:
        UsageError: There are several.
    """
    if path is not None:
        return run_folder(path)
    found = sorted(file.parent for file in Path("runs").glob("*/run.json"))
    if len(found) > 1:
        raise UsageError(f"there are {len(found)} runs: {', '.join(map(str, found))}; say which one.")
    return run_folder(found[0] if found else None)


def run_spec(
    *,
    model: str | None,
    task: str,
    data_dir: Path | None,
    train_file: Path | None,
    test_file: Path | None,
    text: str,
    text_pair: str | None,
    label: str,
    kind: str | None,
    labels: str | None,
    limit_train: int | None,
    limit_test: int | None,
    max_length: int,
    space: str,
    seed: int,
    **train: Any,
) -> RunSpec:
    """The run that a command's options describe; `train` are the fields of `TrainOptions` but the seed.

    Paths become absolute, so that a run can be gone on with from anywhere.
    """
    from hwnas.pipeline.spec import DataSpec, RunSpec
    from hwnas.tasks import task_names
    from hwnas.training.train import TrainOptions

    own: dict[str, Any] = {"--test-file": test_file, "--text-pair": text_pair, "--kind": kind, "--labels": labels}
    own |= {"--text": text != "text" or None, "--label": label != "label" or None}
    if train_file is None and (given := next((name for name, value in own.items() if value is not None), None)):
        raise UsageError(f"{given} needs --train-file.")
    if train_file is not None and data_dir is not None:
        raise UsageError("--data-dir has the data of GLUE tasks; leave it out with --train-file.")
    if train_file is not None and task in task_names():
        if task != "docstrings":
            raise UsageError(f"--task {task} names a task with its own data; leave it out with --train-file.")
        task = train_file.name.split(".")[0]
    data = DataSpec(
        task=task,
        data_dir=absolute(data_dir),
        train_file=absolute(train_file),
        test_file=absolute(test_file),
        text=text,
        text_pair=text_pair,
        label=label,
        kind=kind,
        labels=None if labels is None else tuple(name.strip() for name in labels.split(",")),
        limit_train=limit_train,
        limit_test=limit_test,
    )
    if train["reorder_after"] == "none":
        train["reorder_after"] = None
    options = TrainOptions(**train, seed=seed)
    return RunSpec(model=model, data=data, space=space, max_length=max_length, train=options, seed=seed)


def device_setting(
    target: str, runtime: str, precision: str, batch: int, seq_len: int, threads: int, rounds: int
) -> Setting:
    """The setting of measurements on this machine that a command's options describe."""
    from hwnas.latency.profile import make_setting
    from hwnas.profilers import TimingProtocol

    protocol = TimingProtocol.of_rounds(rounds)
    return make_setting(target, runtime, precision, batch, seq_len, threads, protocol=protocol)


def quiet() -> None:
    """No log lines and bars of the libraries: progress and errors are said once, by hwnas."""
    import logging
    import warnings

    from transformers import utils

    transformers_logging: Any = utils.logging
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    for name in ("syne_tune", "matplotlib", "torch.onnx", "onnxscript", "accelerate"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")


def print_training(supernet: SuperNet, folder: RunFolder) -> None:
    """What a training came to."""
    record: dict[str, Any] = supernet.record
    errors = ", ".join(f"{name} {error:.4f}" for name, error in record["validation_error"].items())
    what = "trained before" if supernet.reused else f"trained for {record['steps']} steps"
    out.print(f"super-network {folder.supernet}: {what}, strategy {record['strategy']}, task {record['task']}")
    out.print(f"validation error of the sub-networks: {errors}")


def front_of(text: str | None) -> str | None:
    """The value of `--front`: a word of its own, or a file, absolute."""
    from hwnas.training.moving_front import CURRENT

    return text if text in (None, CURRENT) else absolute(Path(str(text)))


def absolute(path: Path | None) -> str | None:
    """A path that is good from anywhere, None for none."""
    return None if path is None else str(path.resolve())
