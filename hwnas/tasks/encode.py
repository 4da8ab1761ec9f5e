"""From examples to batches of token ids: tokenised once, padded batch by batch.

torch and transformers are imported inside the functions, so importing this module is cheap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hwnas.errors import DataError, ModelError, UsageError
from hwnas.tasks.task import Example

if TYPE_CHECKING:
    from torch import Tensor

Features = dict[str, Any]
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_CHUNK = 1000


class EncodedDataset:
    """Tokenised examples: a map-style dataset of dicts of lists, for a `DataLoader` or the Hugging Face `Trainer`.

    An item holds ``input_ids``, ``attention_mask``, ``token_type_ids`` if the tokenizer yields them (lists of int,
    as long as the text) and ``labels`` (an int, or a float for regression).

    Args:
        columns: One list per input name, each with one list of int per example.
        labels: One label per example.
        pairs: Whether each example has two texts.
    """

    def __init__(
        self, columns: Mapping[str, list[list[int]]], labels: Sequence[int | float], *, pairs: bool = False
    ) -> None:
        self._columns = dict(columns)
        self._labels = list(labels)
        self.pairs = pairs
        self.lengths: tuple[int, ...] = tuple(len(ids) for ids in self._columns["input_ids"])
        """Tokens of each example."""

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> Features:
        item: Features = {name: column[index] for name, column in self._columns.items()}
        item["labels"] = self._labels[index]
        return item

    def select(self, indices: Sequence[int]) -> EncodedDataset:
        """Some of the examples, by index, in the order that they are given in."""
        columns = {name: [column[index] for index in indices] for name, column in self._columns.items()}
        return EncodedDataset(columns, [self._labels[index] for index in indices], pairs=self.pairs)

    def relabel(self, labels: Sequence[int | float]) -> EncodedDataset:
        """The same examples with other labels, one each."""
        return EncodedDataset(self._columns, labels, pairs=self.pairs)

    @property
    def labels(self) -> np.ndarray:
        """Labels in order, shape (n,): int64 class indices, or float64 values for regression."""
        return np.asarray(self._labels)


def encode(examples: Sequence[Example], tokenizer: Any, max_length: int, *, regression: bool) -> EncodedDataset:
    """Tokenise all examples, once.

    Args:
        examples: A split of a task; all of them with a second text, or none. A tokenizer that puts no token of its own
            between two texts, such as those of most decoders, gets the second one on a new line.
        tokenizer: A Hugging Face tokenizer.
        max_length: Longest sequence in tokens, special tokens included; longer texts lose their end.
        regression: Whether the labels are values (float) rather than class indices (int).

    Raises:
        DataError: There are no examples.
        UsageError: `max_length` is below 8, or more than the tokenizer's model takes.
    """
    if not examples:
        raise DataError("no examples to tokenise: the split is empty.")
    longest = int(getattr(tokenizer, "model_max_length", max_length))
    if not 8 <= max_length <= longest:
        raise UsageError(f"maximum length {max_length}: expected 8 to {longest} tokens, what the model takes.")
    pairs = examples[0].text_pair is not None
    specials = getattr(tokenizer, "num_special_tokens_to_add", None)
    between = "\n" if pairs and specials is not None and specials(pair=True) <= specials(pair=False) else ""
    columns: dict[str, list[list[int]]] = {}
    for start in range(0, len(examples), _CHUNK):
        chunk = examples[start : start + _CHUNK]
        encoded = tokenizer(
            [example.text for example in chunk],
            [f"{between}{example.text_pair or ''}" for example in chunk] if pairs else None,
            truncation=True,
            max_length=max_length,
            padding=False,
            return_attention_mask=True,
        )
        for name in _INPUTS:
            if name in encoded:
                columns.setdefault(name, []).extend(encoded[name])
    labels = [float(example.label) if regression else int(example.label) for example in examples]
    return EncodedDataset(columns, labels, pairs=pairs)


class Collator:
    """Pads a list of items to the longest of them. Made by `collator`."""

    def __init__(self, tokenizer: Any) -> None:
        if tokenizer.pad_token_id is None:
            raise ModelError(
                f"the tokenizer {type(tokenizer).__name__} has no padding token; set tokenizer.pad_token first."
            )
        self._fill = {
            "input_ids": int(tokenizer.pad_token_id),
            "attention_mask": 0,
            "token_type_ids": int(getattr(tokenizer, "pad_token_type_id", 0)),
        }
        self._left = getattr(tokenizer, "padding_side", "right") == "left"

    def __call__(self, items: Sequence[Features]) -> dict[str, Tensor]:
        """Tensors of shape (batch, longest) in int64, and ``labels`` of shape (batch,) in int64 or float32."""
        import torch

        width = max(len(item["input_ids"]) for item in items)
        batch: dict[str, Tensor] = {}
        for name, fill in self._fill.items():
            if name in items[0]:
                rows = []
                for item in items:
                    padding = [fill] * (width - len(item[name]))
                    rows.append(padding + item[name] if self._left else item[name] + padding)
                batch[name] = torch.tensor(rows, dtype=torch.int64)
        if "labels" in items[0]:
            labels = [item["labels"] for item in items]
            batch["labels"] = torch.tensor(labels, dtype=torch.float32 if isinstance(labels[0], float) else torch.int64)
        return batch


def collator(tokenizer: Any) -> Callable[[Sequence[Features]], dict[str, Tensor]]:
    """A function that turns a list of items of an `EncodedDataset` into one padded batch of tensors.

    It pads to the longest item, on the tokenizer's side. Labels become float32 for regression and int64 otherwise.

    Raises:
        ModelError: The tokenizer has no padding token.
    """
    return Collator(tokenizer)


def batches(
    dataset: EncodedDataset, tokenizer: Any, batch_size: int, *, sort_by_length: bool = True
) -> Iterator[dict[str, Tensor]]:
    """Batches for evaluation: every example once, the labels within the batch.

    Args:
        dataset: The encoded split.
        tokenizer: The tokenizer that encoded it.
        batch_size: Examples in a batch; the last batch may hold fewer.
        sort_by_length: Longest examples first, so that a batch holds little padding. Equal lengths keep their order.

    Raises:
        UsageError: `batch_size` is below 1.
        ModelError: The tokenizer has no padding token.
    """
    if batch_size < 1:
        raise UsageError(f"batch size {batch_size}: expected 1 or more.")
    collate = Collator(tokenizer)
    order = list(range(len(dataset)))
    if sort_by_length:
        order.sort(key=lambda index: -dataset.lengths[index])
    return (
        collate([dataset[index] for index in order[start : start + batch_size]])
        for start in range(0, len(order), batch_size)
    )
