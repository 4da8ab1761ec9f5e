"""Small real classifiers and their ONNX files, exported once for all tests of this folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from hwnas.compile.export import export_onnx

SIZES = {"vocab_size": 200, "num_hidden_layers": 2, "initializer_range": 0.2}


def make_bert(seed: int = 0, heads: int = 4, width: int = 32) -> BertForSequenceClassification:
    torch.manual_seed(seed)
    config = BertConfig(
        **SIZES,
        hidden_size=width,
        num_attention_heads=heads,
        intermediate_size=64,
        max_position_embeddings=64,
        num_labels=3,
    )
    return BertForSequenceClassification(config).eval()


@pytest.fixture(scope="session")
def bert() -> BertForSequenceClassification:
    return make_bert()


@pytest.fixture(scope="session")
def roberta() -> RobertaForSequenceClassification:
    torch.manual_seed(1)
    config = RobertaConfig(
        **SIZES,
        hidden_size=32,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=66,
        type_vocab_size=1,
        pad_token_id=1,
        num_labels=1,
    )
    return RobertaForSequenceClassification(config).eval()


@pytest.fixture(scope="session")
def odd() -> BertForSequenceClassification:
    """7 heads and 1001 units in one layer, 1 head and 1 unit in the other."""
    model = make_bert(seed=2, heads=8, width=64)
    torch.manual_seed(3)
    for layer, heads, units in zip(model.bert.encoder.layer, (7, 1), (1001, 1), strict=True):
        attention = layer.attention.self
        attention.query, attention.key, attention.value = (nn.Linear(64, heads * 8) for _ in range(3))
        attention.num_attention_heads, attention.all_head_size = heads, heads * 8
        layer.attention.output.dense = nn.Linear(heads * 8, 64)
        layer.intermediate.dense, layer.output.dense = nn.Linear(64, units), nn.Linear(units, 64)
    return model.eval()


@pytest.fixture(scope="session")
def onnx_of(
    bert: nn.Module, roberta: nn.Module, odd: nn.Module, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], Path]:
    """`onnx_of("bert", "fp16")` -> its ONNX file, exported once a session. Tests must not change the file."""
    folder = tmp_path_factory.mktemp("onnx")
    models = {"bert": bert, "roberta": roberta, "odd": odd}

    def get(name: str, precision: str) -> Path:
        path = folder / f"{name}-{precision}.onnx"
        return path if path.exists() else export_onnx(models[name], path, precision=precision, sequence_length=16)

    return get
