"""What a training starts from: models as users have them on disk."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertModel, BertTokenizerFast

from hwnas.errors import ModelError, UsageError
from hwnas.latency.networks import build_random
from hwnas.spaces import Architecture
from hwnas.tasks import encode
from hwnas.tasks.task import Example
from hwnas.training.distil import load_teacher
from hwnas.training.pretrained import load_config, load_pretrained


def load(folder: Path) -> tuple[Any, Any]:
    return load_pretrained(str(folder), num_labels=2, regression=False)


@pytest.fixture
def copy(tiny_folder: Path, tmp_path: Path) -> Path:
    """A model folder that may be changed."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_are_float32_however_they_were_stored(tiny: Callable[..., Any], copy: Path, dtype: torch.dtype) -> None:
    tiny("bert", num_labels=2).to(dtype).save_pretrained(copy)
    assert json.loads((copy / "config.json").read_text())["dtype"] == str(dtype).removeprefix("torch.")
    model, _ = load(copy)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert {parameter.dtype for parameter in load_teacher(str(copy), model, None, hidden=False).parameters()} == {
        torch.float32
    }


def test_a_head_and_a_pooler_may_be_new(tiny: Callable[..., Any], copy: Path) -> None:
    model = tiny("bert")
    encoder = BertModel(model.config, add_pooling_layer=False)
    encoder.save_pretrained(copy)
    loaded, _ = load(copy)
    for name, value in encoder.state_dict().items():
        torch.testing.assert_close(loaded.bert.state_dict()[name], value)
    tiny("bert", num_labels=5).save_pretrained(copy)
    assert load(copy)[0].classifier.out_features == 2


@pytest.mark.parametrize(
    ("name", "value", "lacking"),
    [
        ("num_hidden_layers", 4, r"bert\.encoder\.layer\.3\.attention\.output\.LayerNorm\.bias and 15 more"),
        ("intermediate_size", 32, r"bert\.encoder\.layer\.0\.intermediate\.dense\.bias and 8 more"),
    ],
)
def test_an_encoder_that_is_not_whole_is_refused(copy: Path, name: str, value: int, lacking: str) -> None:
    """Transformers would make up what the files lack, or have in another shape."""
    config = json.loads((copy / "config.json").read_text())
    assert config[name] != value
    (copy / "config.json").write_text(json.dumps({**config, name: value}))
    with pytest.raises(
        ModelError, match=f"model lack the weights {lacking}, which its config.json speaks of"
    ) as caught:
        load(copy)
    assert "\n" not in str(caught.value)


def test_inputs_are_no_longer_than_the_positions(copy: Path) -> None:
    """Also where the tokenizer does not know."""
    BertTokenizerFast(str(copy / "vocab.txt")).save_pretrained(copy)
    _, tokenizer = load(copy)
    examples = [Example("good", None, 0)]
    assert len(encode(examples, tokenizer, 40, regression=False)) == 1
    with pytest.raises(UsageError, match="maximum length 41: expected 8 to 40 tokens"):
        encode(examples, tokenizer, 41, regression=False)


def test_a_decoder_that_teaches_finds_the_last_token(tiny: Callable[..., Any], tmp_path: Path) -> None:
    """Batches are padded with the student's token, which the teacher's own configuration need not name."""
    tiny("qwen2", pad_token_id=None).save_pretrained(tmp_path)
    student = tiny("qwen2", pad_token_id=3)
    teacher = load_teacher(str(tmp_path), student, None, hidden=False).eval()
    tokens = torch.tensor([[5, 6, 7, 3, 3], [8, 9, 10, 11, 12]])
    mask = (tokens != 3).long()
    with torch.no_grad():
        both = teacher(input_ids=tokens, attention_mask=mask).logits
        alone = teacher(input_ids=tokens[:1, :3], attention_mask=mask[:1, :3]).logits
    torch.testing.assert_close(both[:1], alone, rtol=1e-4, atol=1e-5)


def test_a_decoder_without_a_padding_token_can_be_exported(tiny: Callable[..., Any], tmp_path: Path) -> None:
    """The configuration alone is what a profile has."""
    tiny("qwen2", pad_token_id=None, eos_token_id=[7, 8]).config.save_pretrained(tmp_path)
    config = load_config(str(tmp_path))
    assert (config.pad_token_id, config.use_cache) == (7, False)
    logits = build_random(config, Architecture((4, 0, 0), (4, 0, 0)))(
        input_ids=torch.ones(2, 5, dtype=torch.long)
    ).logits
    assert logits.shape == (2, 3)
