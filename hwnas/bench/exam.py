"""The examples that sub-networks of a unit are judged on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hwnas.bench.scale import Scale
from hwnas.search.search import VALIDATION
from hwnas.spaces import Architecture
from hwnas.tasks import Example, TaskData, batches, constant_error, drawn, encode

TEST = "test"
BATCH = 64


class Exam:
    """Validation and test examples of a task, as batches; the validation examples are those of a search of a run.

    Args:
        task: The task, split with the unit's seed.
        tokenizer: The network's tokenizer.
        scale: Longest input, and how many validation examples to draw.
        seed: Seed of the draw.
    """

    def __init__(self, task: TaskData, tokenizer: Any, scale: Scale, seed: int) -> None:
        self.task, self._tokenizer, self._max_length = task, tokenizer, scale.max_length
        chosen = drawn(task.validation, scale.examples, np.random.default_rng((seed, 1)))
        self._examples: Mapping[str, list[Example]] = {VALIDATION: chosen, TEST: list(task.test)}
        self._made: dict[tuple[str, int], list[Any]] = {}

    def error(self, split: str, model: Any, arch: Architecture | None = None) -> float:
        """1 - quality of a module, or of one of its sub-networks as a view, in float32.

        Args:
            split: `VALIDATION` or `TEST`.
            model: A Hugging Face module.
            arch: The sub-network; None for the module itself.
        """
        from hwnas.training.evaluate import evaluate_error

        return evaluate_error(model, self.batches(split), self.task.metric, arch)

    def batches(self, split: str, size: int = BATCH) -> list[Any]:
        """A split as padded batches."""
        if (split, size) not in self._made:
            data = encode(
                self._examples[split], self._tokenizer, self._max_length, regression=self.task.is_regression
            )  # fmt: skip
            self._made[split, size] = list(batches(data, self._tokenizer, size))
        return self._made[split, size]

    def about(self) -> dict[str, Any]:
        """Metric, numbers of examples by split, and the test error of the best answer that is always the same."""
        labels = np.array([example.label for example in self._examples[TEST]])
        return {
            "constant_test_error": constant_error(self.task.metric, labels),
            "metric": self.task.metric,
            "train_examples": len(self.task.train),
            "validation_examples": len(self._examples[VALIDATION]),
            "test_examples": len(self._examples[TEST]),
        }
