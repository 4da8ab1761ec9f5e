"""What a task is: examples, splits, label names and a metric. No file is read here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from hwnas.errors import DataError, UsageError

Item = TypeVar("Item")

Kind = Literal["classification", "regression"]

VALIDATION_SHARE = 0.3
"""Share of the training set that becomes the validation split (Klein et al. 2024: 70/30)."""

TEST_SHARE = 0.2
"""Share that is held out as test split where a task brings no test data of its own."""


@dataclass(frozen=True, slots=True)
class Example:
    """One row: a text, a second text for pair tasks, and the label.

    The label is the index of the class (`int`) in classification and the value itself (`float`) in regression.
    """

    text: str
    text_pair: str | None
    label: int | float


@dataclass(frozen=True)
class TaskData:
    """A task that is ready to be tokenised.

    Attributes:
        name: Name of the task, or of the user's file.
        kind: ``"classification"`` or ``"regression"``.
        label_names: Name of each class, in the order of the label indices; empty for regression.
        metric: Name of a metric in `hwnas.tasks.metrics`.
        train: Examples for the weights.
        validation: Examples for the search.
        test: Examples for the numbers that are reported; nothing else may look at them.
        source: One line for people: where the rows came from and how they were split.
    """

    name: str
    kind: Kind
    label_names: tuple[str, ...]
    metric: str
    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]
    source: str

    @property
    def is_regression(self) -> bool:
        """Whether the label is a number to be predicted."""
        return self.kind == "regression"

    @property
    def num_labels(self) -> int:
        """Number of outputs of the model: the classes, or 1 for regression."""
        return 1 if self.is_regression else len(self.label_names)

    @property
    def has_pairs(self) -> bool:
        """Whether each example has two texts."""
        return self.train[0].text_pair is not None

    def fingerprint(self) -> str:
        """SHA-256 (hex) over kind, label names and every row of every split, in order.

        Two equal fingerprints mean the same data and the same split. Name, metric and source do not count.
        """
        digest = hashlib.sha256(json.dumps([self.kind, list(self.label_names)]).encode())
        for name, split in (("train", self.train), ("validation", self.validation), ("test", self.test)):
            digest.update(f"\n{name} {len(split)}\n".encode())
            for example in split:
                digest.update(json.dumps([example.text, example.text_pair, example.label]).encode())
        return digest.hexdigest()


def split_off(
    examples: Sequence[Example],
    share: float,
    rng: np.random.Generator,
    *,
    stratified: bool = False,
    grouped: bool = False,
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Draw a part of the examples without replacement.

    Args:
        examples: The rows.
        share: Share of the rows to draw, between 0 and 1.
        rng: Source of the draw.
        stratified: Draw from each label apart (for class labels only). A class always keeps a row in the rest.
        grouped: Rows with the same texts stay together; letter case and spacing do not count.

    Returns:
        The rest and the part drawn, both in a random order that is a function of `rng` and of the rows.

    Raises:
        DataError: There are too few rows for two parts that are not empty.
    """
    groups: dict[object, list[int]] = {}
    for index, example in enumerate(examples):
        groups.setdefault(same_text(example) if grouped else index, []).append(index)
    strata: dict[object, list[list[int]]] = {}
    for members in groups.values():
        strata.setdefault(examples[members[0]].label if stratified else None, []).append(members)

    rest: list[int] = []
    drawn: list[int] = []
    for stratum in strata.values():
        order = rng.permutation(len(stratum))
        count = min(round(share * len(stratum)), len(stratum) - 1)
        for position, group in enumerate(order):
            (drawn if position < count else rest).extend(stratum[group])
    if not drawn or not rest:
        raise DataError(
            f"{len(examples)} rows cannot be split {1 - share:.0%} / {share:.0%}; give more rows"
            f"{' per class' if stratified else ''}."
        )
    return _shuffled(examples, rest, rng), _shuffled(examples, drawn, rng)


def limited(
    examples: Sequence[Example], limit: int | None, rng: np.random.Generator, option: str
) -> tuple[Example, ...]:
    """At most `limit` of the examples, drawn without replacement and kept in their order; all if `limit` is None.

    Raises:
        UsageError: `limit` is below 1; the message names `option`.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"{option} {limit}: expected 1 or more rows.")
    return tuple(drawn(examples, limit or 0, rng))


def drawn(items: Sequence[Item], count: int, rng: np.random.Generator) -> list[Item]:
    """`count` of the items, drawn without replacement and kept in their order; all if `count` is 0 or not fewer."""
    if not 0 < count < len(items):
        return list(items)
    return [items[index] for index in np.sort(rng.permutation(len(items))[:count])]


def same_text(example: Example) -> tuple[str, str]:
    """What two examples with the same texts share, letter case and spacing aside."""
    return " ".join(example.text.lower().split()), " ".join((example.text_pair or "").lower().split())


def _shuffled(examples: Sequence[Example], indices: list[int], rng: np.random.Generator) -> tuple[Example, ...]:
    return tuple(examples[indices[position]] for position in rng.permutation(len(indices)))
