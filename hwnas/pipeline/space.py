"""Bounds of a run's space: from scores of training data and budgets, and as a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.errors import UsageError
from hwnas.importance import Bounds, MacCost, Scores, find_bounds, score
from hwnas.importance.bounds import Cost
from hwnas.latency.predictor import Predictor
from hwnas.models.dimensions import Dimensions
from hwnas.pipeline.folder import RunFolder
from hwnas.pipeline.progress import Progress, silent
from hwnas.spaces import Architecture, BoundedSpace
from hwnas.spaces.align import ANY, Align
from hwnas.tasks import TaskData, batches, drawn, encode
from hwnas.training.labels import LabelScale

BATCH = 16
"""Training examples that are scored at once."""

COSTS = {"latency": (1e-3, "ms"), "macs": (1e6, "million multiply-adds")}
"""What budgets can be of, and the unit that they are given in."""


@dataclass(frozen=True)
class Budgets:
    """Budgets as the command line gives them.

    Attributes:
        count: How many, evenly spread.
        minimum: The smallest: `50%` of what the whole network costs, or a number in the unit of `COSTS`.
        maximum: The largest, in the same way.
        cost: A name in `COSTS`.

    Raises:
        UsageError: A name or a text that is none of these.
    """

    count: int
    minimum: str = "50%"
    maximum: str = "100%"
    cost: str = "latency"

    def __post_init__(self) -> None:
        if self.cost not in COSTS:
            raise UsageError(f"--cost {self.cost}: expected {' or '.join(COSTS)}.")
        for name, text in (("--min-budget", self.minimum), ("--max-budget", self.maximum)):
            self.value(name, text, 1.0)

    def value(self, name: str, text: str, whole: float) -> float:
        """A budget in seconds or multiply-adds.

        Args:
            name: Of the option, for the message.
            text: The budget.
            whole: Cost of the whole network.
        """
        scale, unit = COSTS[self.cost]
        try:
            number = float(text.removesuffix("%"))
        except ValueError:
            number = -1.0
        if number > 0 and np.isfinite(number):
            return number * (whole / 100 if text.endswith("%") else scale)
        raise UsageError(f"{name} {text}: expected a share of the whole network such as 50%, or a number of {unit}.")


def training_scores(
    model: Any,
    tokenizer: Any,
    task: TaskData,
    *,
    max_length: int = 128,
    method: str = "first-order",
    examples: int = 512,
    seed: int = 0,
) -> Scores:
    """Score heads and units on training examples; validation and test examples are not looked at.

    Args:
        model: A Hugging Face sequence-classification module. That of a regression may speak of scaled labels after.
        tokenizer: Its tokenizer.
        task: The examples.
        max_length: Longest input in tokens.
        method: A name in `hwnas.importance.method_names()`.
        examples: How many training examples, drawn with the seed; 0 for all.
        seed: Seed of the draw.

    Raises:
        UnknownNameError: No method has that name.
        UsageError: The loss is not finite, or `examples` is negative.
    """
    if examples < 0:
        raise UsageError(f"--score-examples {examples}: expected 0 (all) or more.")
    chosen = drawn(task.train, examples, np.random.default_rng((seed, 2)))
    data = encode(chosen, tokenizer, max_length, regression=task.is_regression)
    if task.is_regression:  # by the loss that a training has
        data = LabelScale.of(data, model).start(model, tokenizer, data)
    return score(model, batches(data, tokenizer, BATCH), method=method, regression=task.is_regression)


def bounds_from(
    scores: Scores,
    dimensions: Dimensions,
    budgets: Budgets,
    *,
    predictor: Predictor | None = None,
    sequence_length: int = 128,
    align: Align = ANY,
    min_layers: int = 1,
) -> Bounds:
    """Bounds between budgets of latency, from the table's predictor, or of multiply-adds.

    Args:
        scores: From `training_scores`.
        dimensions: Sizes of the super-network.
        budgets: The budgets.
        predictor: For budgets of latency.
        sequence_length: Tokens, for budgets of multiply-adds.
        align, min_layers: As for `find_bounds`.

    Raises:
        UsageError: See `find_bounds`; or there is no predictor.
    """
    cost: Cost
    if budgets.cost == "macs":
        weights = {"head_weights": scores.head_weights, "unit_weights": scores.unit_weights}
        cost = MacCost(dimensions, sequence_length, **weights)
    elif predictor is not None:
        cost = _seconds(predictor)
    else:
        raise UsageError("budgets of latency need a latency table; run `hwnas profile` first, or take --cost macs.")
    whole = float(cost(Architecture.full(dimensions)))
    scale, unit = COSTS[budgets.cost]
    return find_bounds(
        scores,
        dimensions,
        lambda arch: cost(arch) / scale,
        minimum=budgets.value("--min-budget", budgets.minimum, whole) / scale,
        maximum=budgets.value("--max-budget", budgets.maximum, whole) / scale,
        budgets=budgets.count,
        align=align,
        min_layers=min_layers,
        unit=unit,
    )


def _seconds(predictor: Predictor) -> Cost:
    return lambda arch: predictor.predict(arch).seconds


def scored_model(
    folder: RunFolder, *, model: str | None, task: TaskData, seed: int, progress: Progress | None = None
) -> tuple[Any, Any, str]:
    """The network to score: the trained super-network of a run, else the model that training would start from.

    Args:
        folder: A run, if it has begun.
        model: Hub name or local folder without a run.
        task: For a new classification head.
        seed: Seed of that head.
        progress: Told what is loaded.

    Returns:
        The module, its tokenizer, and `trained` or `pre-trained`.

    Raises:
        ModelError, CheckpointError: It cannot be loaded.
    """
    say = progress or silent
    if folder.exists() and folder.supernet.is_dir():
        from hwnas.pipeline.train import load_supernet

        say("score", 0, 1, "trained super-network")
        supernet = load_supernet(folder)
        return supernet.model, supernet.tokenizer, "trained"
    from transformers import set_seed

    from hwnas.training.pretrained import load_pretrained

    say("score", 0, 1, "pre-trained model")
    set_seed(seed)
    found, tokenizer = load_pretrained(
        model, num_labels=task.num_labels, regression=task.is_regression, label_names=task.label_names
    )
    return found, tokenizer, "pre-trained"


def read_bounds(path: Path) -> dict[str, Any]:
    """The bounded space in a file, in the one form that a run keeps.

    Args:
        path: `bounds.json` of `hwnas space --budgets`, `space.json` of a run, or JSON of `BoundedSpace.to_json`.

    Raises:
        UsageError: The file cannot be read, or holds no bounded space.
    """
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(data, Mapping):
            raise TypeError("no JSON object")
        found: Any = data.get("space", data)
        if found["name"] != BoundedSpace.name:
            raise ValueError(f"it holds the space {found['name']}")
        heads, units = ([[_count(low), _count(high)] for low, high in found[name]] for name in ("heads", "units"))
        step_of_heads, step_of_units = found["align"]
        return {
            "name": BoundedSpace.name,
            "min_layers": _count(found["min_layers"]),
            "align": [_count(step_of_heads), _count(step_of_units)],
            "heads": heads,
            "units": units,
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else (str(error).splitlines() or [""])[0]
        raise UsageError(
            f"--bounds {path} cannot be used ({reason}); expected the bounds.json that `hwnas space --budgets` writes."
        ) from error


def _count(value: Any) -> int:
    """A whole number of JSON; ValueError for any other."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value} is no whole number")
    return value
