"""Networks in another precision, judged by running the artifact itself in its runtime: nothing is simulated."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from hwnas.errors import HwnasError, ProfilerError, UnknownNameError
from hwnas.latency.networks import Exporter
from hwnas.latency.records import Setting
from hwnas.latency.setting import workload_of
from hwnas.profilers import get_profiler
from hwnas.profilers.base import first_line
from hwnas.spaces import Architecture
from hwnas.targets import get_target
from hwnas.tasks import TaskData, batches, compute_quality, drawn, encode

Batches = Sequence[Mapping[str, Tensor]]
"""A split as padded batches with `labels`."""

NAMES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "fp32": ("fp32", "onnxruntime"),
        "fp16": ("fp16", "onnxruntime"),
        "bf16": ("bf16", "torch"),
        "int8": ("int8", "onnxruntime"),
        "int8-dynamic": ("int8-dynamic", "onnxruntime"),
        "int4": ("nf4", "bitsandbytes"),
        "nf4": ("nf4", "bitsandbytes"),
        "fp4": ("fp4", "bitsandbytes"),
    }
)
"""What users ask for -> its precision and the runtime that serves it unless another is named."""

CALIBRATION_EXAMPLES = 128
"""Training examples that int8 ranges are found on."""

_CALIBRATION_BATCH = 8


def choose(name: str, runtime: str | None = None) -> tuple[str, str]:
    """(precision, runtime) of a baseline.

    Raises:
        UnknownNameError: No baseline has that name, or no runtime.
    """
    if name not in NAMES:
        raise UnknownNameError("baseline", name, NAMES)
    precision, usual = NAMES[name]
    return precision, get_profiler(runtime or usual).name


def is_calibrated(setting: Setting) -> bool:
    """Whether a network in this setting holds ranges of activations that are found on examples."""
    return setting.precision == "int8" and get_profiler(setting.runtime).artifact != "module"


def calibration_batches(
    task: TaskData, tokenizer: Any, max_length: int, *, seed: int = 0, examples: int = CALIBRATION_EXAMPLES
) -> list[dict[str, npt.NDArray[np.int64]]]:
    """Training examples to calibrate on; no other split is looked at.

    Args:
        task: The task.
        tokenizer: The model's tokenizer.
        max_length: Longest input in tokens.
        seed: Seed of the draw.
        examples: How many to draw, without replacement; all where there are fewer.

    Returns:
        Inputs by name, int64 of shape (batch, longest), without labels.
    """
    chosen = drawn(task.train, examples, np.random.default_rng((seed, 2)))
    data = encode(chosen, tokenizer, max_length, regression=task.is_regression)
    return [
        {name: tensor.numpy() for name, tensor in batch.items() if name != "labels"}
        for batch in batches(data, tokenizer, _CALIBRATION_BATCH)
    ]


def artifact_errors(
    module: nn.Module,
    arch: Architecture,
    config: Any,
    setting: Setting,
    splits: Mapping[str, Batches],
    metric: str,
    *,
    longest: int,
    calibration: Sequence[Mapping[str, npt.NDArray[np.int64]]] | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Errors of a network in a setting's runtime and precision: exported, loaded there, and run on every example.

    Args:
        module: The extracted network, float32; it is not changed.
        arch: Its architecture.
        config: Hugging Face configuration of the super-network.
        setting: Runtime, precision and threads.
        splits: Examples by name of the split. Where activations are quantised as they come, the ranges are those of a
            batch, so batches of the setting's size give the error of what is timed.
        metric: Name of a metric.
        longest: Tokens of the longest input.
        calibration: Inputs that int8 ranges are found on, from `calibration_batches`; None where there are none.
        seed: Seed of the runtime's own random inputs.

    Returns:
        1 - quality by split.

    Raises:
        ProfilerError: The runtime refuses the network.
        MissingExtraError, BuildError: The runtime is not installed; the network cannot be exported.
    """
    profiler = get_profiler(setting.runtime)
    workload = replace(
        workload_of(setting, config, seed),
        batch=max(_rows(batch) for split in splits.values() for batch in split),
        sequence_length=longest,
    )
    exporter = Exporter(
        config,
        setting.precision,
        longest,
        seed=seed,
        artifact=profiler.artifact,
        calibration=calibration,
        target=get_target(setting.target),
        batch=workload.batch,
        runtime=setting.runtime,
    )
    with tempfile.TemporaryDirectory(prefix="hwnas-", ignore_cleanup_errors=True) as folder:
        network = exporter.export(arch, Path(folder) / "network.onnx", module=module)
        try:
            with profiler.open(network.path, workload) as runner:
                return {name: _error(runner, split, metric) for name, split in splits.items()}
        except HwnasError:
            raise
        except Exception as error:  # runtimes share no base of their exceptions
            raise ProfilerError(
                f"{setting.runtime} could not run {arch} in {setting.precision}: {first_line(error)}; choose another "
                "--precision or --runtime."
            ) from error


def _error(runner: Any, split: Batches, metric: str) -> float:
    logits, labels = [], []
    for batch in split:
        found = runner.infer({name: tensor.numpy() for name, tensor in batch.items() if name != "labels"})
        logits.append(np.asarray(found, dtype=np.float32)[: _rows(batch)])
        labels.append(batch["labels"].numpy())
    return 1.0 - compute_quality(metric, np.concatenate(logits), np.concatenate(labels))


def _rows(batch: Mapping[str, Tensor]) -> int:
    return len(batch["labels"])
