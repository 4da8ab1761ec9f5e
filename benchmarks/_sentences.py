"""Whole sentences among examples of which many are parts of others, as those of SST-2's training split are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hwnas.tasks import TaskData
from hwnas.tasks.task import Example

SENTENCES = "sentences"
"""What a unit's `more` says where it is trained on whole sentences alone."""


def whole(examples: Sequence[Example]) -> tuple[Example, ...]:
    """Those whose words are not a run of words of another one, each text once, in their order."""
    longest_first = sorted(examples, key=lambda example: -len(example.text.split()))
    parts: set[tuple[str, ...]] = set()
    kept: set[int] = set()
    for example in longest_first:
        words = tuple(example.text.split())
        if words not in parts:
            kept.add(id(example))
            parts.update(words[start:end] for start in range(len(words)) for end in range(start + 1, len(words) + 1))
    return tuple(example for example in examples if id(example) in kept)


def of_sentences(task: TaskData, rows: int | None) -> TaskData:
    """A task trained on whole sentences of its training and validation splits, and judged on halves of its test split.

    Args:
        task: Of single texts; what was drawn for the validation may be part of a training sentence, so it is none here.
        rows: Sentences for the weights, at most.
    """
    found = whole((*task.train, *task.validation))
    return replace(task, train=found[:rows], validation=task.test[::2], test=task.test[1::2])
