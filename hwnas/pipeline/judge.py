"""Judges sub-networks on the examples of a run: as views, as extracted modules, or as artifacts in their runtime."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hwnas.baselines.quantized import CALIBRATION_EXAMPLES, artifact_errors, calibration_batches, is_calibrated
from hwnas.latency.records import Setting
from hwnas.pipeline.train import EVALUATION_BATCH, SuperNet
from hwnas.search.cache import EvaluationCache
from hwnas.search.search import VALIDATION
from hwnas.spaces import Architecture
from hwnas.tasks import Example, TaskData, batches, constant_error, drawn, encode

TEST = "test"
VIEW = "torch fp32"
"""What judges networks that are not quantised."""


class Judge:
    """Errors of sub-networks of one super-network; what the cache holds is not found again.

    Args:
        supernet: The super-network.
        task: Its examples.
        max_length: Longest input in tokens.
        examples: Validation examples that each is judged on, drawn with the seed; 0 for all.
        seed: Seed of the draw, and of the draw of training examples for calibration.
    """

    def __init__(self, supernet: SuperNet, task: TaskData, max_length: int, examples: int, seed: int) -> None:
        self._supernet, self._task, self._max_length, self._seed = supernet, task, max_length, seed
        chosen = drawn(task.validation, examples, np.random.default_rng((seed, 1)))
        self._examples = {VALIDATION: chosen, TEST: list(task.test)}
        self._made: dict[tuple[str, int], list[Any]] = {}
        self._calibration: list[Any] | None = None
        self.about = {
            "weights": supernet.weights,
            "data": task.fingerprint(),
            "examples": len(chosen),
            "seed": seed,
            "metric": task.metric,
            "max_length": max_length,
        }
        self.digest = hashlib.sha256(json.dumps(self.about, sort_keys=True).encode()).hexdigest()[:8]

    def constant_errors(self) -> dict[str, float]:
        """`constant_error` of the examples: `validation_error` and `test_error`."""
        return {
            f"{split}_error": constant_error(self._task.metric, np.array([example.label for example in examples]))
            for split, examples in self._examples.items()
        }

    def validation_error(self, arch: Architecture) -> float:
        """Error of a view on the chosen validation examples; not cached here."""
        from hwnas.training.evaluate import evaluate_error

        return evaluate_error(
            self._supernet.model, self._batches(VALIDATION, EVALUATION_BATCH), self._task.metric, arch
        )

    def known_error(self, arch: Architecture, cache: EvaluationCache) -> float:
        """The same, from the cache if it is there, and kept there."""
        known = cache.get(VALIDATION, arch)
        if known is not None:
            return known
        start = time.perf_counter()
        error = self.validation_error(arch)
        cache.put(VALIDATION, arch, error, time.perf_counter() - start)
        return error

    def test_error(self, arch: Architecture, module: Any, cache: EvaluationCache) -> float:
        """Error of an extracted module on all test examples, in float32."""
        from hwnas.training.evaluate import evaluate_error

        known = cache.get(TEST, arch)
        if known is not None:
            return known
        start = time.perf_counter()
        error = evaluate_error(module, self._batches(TEST, EVALUATION_BATCH), self._task.metric)
        cache.put(TEST, arch, error, time.perf_counter() - start)
        return error

    def artifact_errors(
        self,
        arch: Architecture,
        setting: Setting,
        cache: EvaluationCache,
        *,
        splits: Sequence[str] = (VALIDATION,),
        module: Callable[[], Any],
    ) -> list[float]:
        """Errors of a network in a setting's runtime and precision, one for each split.

        Args:
            arch: The network.
            setting: Where it runs.
            cache: Where errors are kept, under a name with precision, runtime and device.
            splits: `VALIDATION` or `TEST`.
            module: Gives the extracted network; not called if all is known.

        Raises:
            ProfilerError: The runtime refuses the network.
        """
        names = {split: f"{split} {self._where(setting)}" for split in splits}
        missing = [split for split in splits if cache.get(names[split], arch) is None]
        if missing:
            start = time.perf_counter()
            found = artifact_errors(
                module(),
                arch,
                self._supernet.model.config,
                setting,
                {split: self._batches(split, setting.batch) for split in missing},
                self._task.metric,
                longest=self._max_length,
                calibration=self.calibration(setting),
                seed=self._seed,
            )
            for split in missing:
                cache.put(names[split], arch, found[split], time.perf_counter() - start)
        known = [cache.get(names[split], arch) for split in splits]
        return [error for error in known if error is not None]

    def calibration(self, setting: Setting) -> list[Any] | None:
        """Training examples that ranges are found on; None where a setting has no ranges."""
        if not is_calibrated(setting):
            return None
        if self._calibration is None:
            self._calibration = calibration_batches(
                self._task, self._supernet.tokenizer, self._max_length, seed=self._seed
            )
        return self._calibration

    def _where(self, setting: Setting) -> str:
        """What the error of an artifact depends on beside its weights and the examples."""
        device = hashlib.sha256(setting.fingerprint.encode()).hexdigest()[:8]
        calibrated = f" calibrated {CALIBRATION_EXAMPLES}" if is_calibrated(setting) else ""
        return (
            f"{setting.precision} {setting.runtime} {setting.runtime_version} batch {setting.batch} device "
            f"{device}{calibrated}"
        )

    def _batches(self, split: str, size: int) -> list[Any]:
        if (split, size) not in self._made:
            examples: list[Example] = self._examples[split]
            tokenizer = self._supernet.tokenizer
            data = encode(examples, tokenizer, self._max_length, regression=self._task.is_regression)
            self._made[split, size] = list(batches(data, tokenizer, size))
        return self._made[split, size]
