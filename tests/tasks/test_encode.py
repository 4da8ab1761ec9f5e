"""Tokenised datasets, padding and batches, with a real tokenizer and the Hugging Face Trainer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast, Trainer, TrainingArguments

from hwnas.errors import DataError, ModelError, UsageError
from hwnas.tasks import Example, batches, collator, encode

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "c", "d", "e", "f", "g", "h"]
EXAMPLES = [Example(" ".join("abcdefgh"[: 1 + index % 8]), None, index % 3) for index in range(20)]
PAIRS = [Example(e.text, "a b", float(index) / 4) for index, e in enumerate(EXAMPLES)]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    vocabulary = {word: index for index, word in enumerate(WORDS)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        model_max_length=64,
    )


def test_items_are_plain_lists(tokenizer: Any) -> None:
    dataset = encode(EXAMPLES, tokenizer, 32, regression=False)
    assert len(dataset) == 20
    assert dataset[2] == {
        "input_ids": [2, 4, 5, 6, 3],
        "attention_mask": [1] * 5,
        "token_type_ids": [0] * 5,
        "labels": 2,
    }
    assert dataset.lengths[:4] == (3, 4, 5, 6)
    assert dataset.labels.tolist() == [index % 3 for index in range(20)]
    assert dataset.labels.dtype == np.int64


def test_pairs_and_truncation(tokenizer: Any) -> None:
    dataset = encode(PAIRS, tokenizer, 8, regression=True)
    assert dataset[0]["token_type_ids"] == [0, 0, 0, 1, 1, 1]
    assert max(dataset.lengths) == 8
    assert dataset[3]["labels"] == 0.75
    assert dataset.pairs
    assert dataset.select([1]).pairs
    assert dataset.relabel([0.5] * len(dataset)).pairs
    assert not encode(EXAMPLES, tokenizer, 8, regression=False).pairs
    assert dataset.labels.dtype == np.float64


def test_two_texts_are_kept_apart_where_the_tokenizer_does_not() -> None:
    """As tokenizers of decoders do it, which put no token of their own anywhere."""
    vocabulary = {"[UNK]": 0, "a": 1, "b": 2, "\n": 3}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.Replace("\n", "\n ")
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
    plain = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", model_max_length=64)
    pair, single = (Example("a", text, 1) for text in ("b", None))
    assert encode([pair], plain, 8, regression=False)[0]["input_ids"] == [1, 3, 2]
    assert encode([single], plain, 8, regression=False)[0]["input_ids"] == [1]


def test_many_examples_keep_their_order(tokenizer: Any) -> None:
    many = EXAMPLES * 120
    dataset = encode(many, tokenizer, 32, regression=False)
    assert dataset.lengths == tuple(len(example.text.split()) + 2 for example in many)


def test_collator_pads_to_the_longest(tokenizer: Any) -> None:
    dataset = encode(EXAMPLES, tokenizer, 32, regression=False)
    batch = collator(tokenizer)([dataset[0], dataset[2]])
    assert batch["input_ids"].tolist() == [[2, 4, 3, 0, 0], [2, 4, 5, 6, 3]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert batch["labels"].tolist() == [0, 2]
    assert {tensor.dtype for tensor in batch.values()} == {torch.int64}


def test_padding_side_of_the_tokenizer(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer, "padding_side", "left")
    dataset = encode(EXAMPLES, tokenizer, 32, regression=False)
    assert collator(tokenizer)([dataset[0], dataset[2]])["input_ids"].tolist()[0] == [0, 0, 2, 4, 3]


def test_regression_labels_are_float(tokenizer: Any) -> None:
    batch = collator(tokenizer)([encode(PAIRS, tokenizer, 32, regression=True)[5]])
    assert batch["labels"].dtype == torch.float32
    assert batch["labels"].tolist() == [1.25]


@pytest.mark.parametrize("sort_by_length", [True, False])
def test_batches_hold_every_example_once(tokenizer: Any, sort_by_length: bool) -> None:
    dataset = encode(EXAMPLES, tokenizer, 32, regression=False)
    found = list(batches(dataset, tokenizer, 6, sort_by_length=sort_by_length))
    assert [len(batch["labels"]) for batch in found] == [6, 6, 6, 2]
    rows = [
        (tuple(ids[: int(mask.sum())].tolist()), int(label))
        for batch in found
        for ids, mask, label in zip(batch["input_ids"], batch["attention_mask"], batch["labels"], strict=True)
    ]
    expected = [(tuple(dataset[i]["input_ids"]), dataset[i]["labels"]) for i in range(20)]
    assert (sorted(rows) if sort_by_length else rows) == (sorted(expected) if sort_by_length else expected)
    if sort_by_length:
        widths = [batch["input_ids"].shape[1] for batch in found]
        assert widths == sorted(widths, reverse=True)


def test_trainer_trains_on_it(tokenizer: Any, tmp_path: Path) -> None:
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    config.num_labels = 3
    dataset = encode(EXAMPLES, tokenizer, 32, regression=False)
    arguments = TrainingArguments(
        output_dir=str(tmp_path), max_steps=3, report_to=[], save_strategy="no", use_cpu=True, disable_tqdm=True
    )
    trainer = Trainer(
        BertForSequenceClassification(config), arguments, train_dataset=dataset, data_collator=collator(tokenizer)
    )
    assert np.isfinite(trainer.train().training_loss)


def test_errors(tokenizer: Any) -> None:
    with pytest.raises(DataError, match="no examples"):
        encode([], tokenizer, 32, regression=False)
    with pytest.raises(UsageError, match="expected 8 to 64 tokens"):
        encode(EXAMPLES, tokenizer, 65, regression=False)
    with pytest.raises(UsageError, match="batch size 0"):
        batches(encode(EXAMPLES, tokenizer, 32, regression=False), tokenizer, 0)
    bare = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer)
    with pytest.raises(ModelError, match="no padding token"):
        collator(bare)


def test_importing_tasks_loads_no_framework() -> None:
    names = "('torch', 'transformers', 'datasets', 'pyarrow')"
    code = f"import sys, hwnas.tasks; print([name for name in {names} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
