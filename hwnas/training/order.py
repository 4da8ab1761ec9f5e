"""Heads and units in the order of their importance, before a training or after it."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwnas.spaces import Architecture
from hwnas.tasks import EncodedDataset, batches, drawn

SCORE_EXAMPLES = 2048
"""Training examples that heads and units are put in order by, at most."""

SCORE_BATCH = 16
"""Examples in a batch of these."""


def put_in_order(
    model: Any,
    tokenizer: Any,
    dataset: EncodedDataset,
    method: str,
    *,
    regression: bool,
    seed: int = 0,
    within: Architecture | None = None,
) -> None:
    """Put heads and units in the order of their importance, in place.

    Args:
        model: A Hugging Face sequence-classification module.
        tokenizer: Its tokenizer.
        dataset: The encoded training split, of which `SCORE_EXAMPLES` are drawn.
        method: A name in `hwnas.importance.method_names()`.
        regression: The task is a regression.
        seed: Of the draw.
        within: As of `Order.of`.

    Raises:
        UsageError: The loss of an example or a score is not finite.
    """
    from hwnas.importance import Order, reorder, score

    chosen = drawn(range(len(dataset)), SCORE_EXAMPLES, np.random.default_rng((seed, 2)))
    data = batches(dataset.select(chosen), tokenizer, SCORE_BATCH)
    reorder(model, Order.of(score(model, data, method=method, regression=regression), within))
