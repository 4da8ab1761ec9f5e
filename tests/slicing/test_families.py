"""Every family: view, mask and extracted module agree, in outputs and gradients; so do shared and separate passes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hwnas.errors import UnsupportedModelError
from hwnas.models import family_names, get_family
from hwnas.slicing.extract import extract, load_extracted, save_extracted
from hwnas.slicing.mask import masked
from hwnas.slicing.supernet import view
from hwnas.spaces.architecture import Architecture
from hwnas.training.passes import shared_passes

TOLERANCE = {"rtol": 0.0, "atol": 1e-5}
ARCHITECTURES = (
    Architecture((4, 4, 4), (20, 20, 20)),
    Architecture((2, 2, 0), (7, 7, 0)),
    Architecture((2, 0, (1, 3)), (7, 5, 0)),
    Architecture((0, 4, 1), (20, 0, (3, 19))),
    Architecture(((1, 2, 3), (3,), 1), (1, 20, (0, 2, 4))),
    Architecture((0, 0, 0), (0, 0, 0)),
)
PLAIN: dict[str, dict[str, Any]] = {
    "distilbert": {"dropout": 0.0, "attention_dropout": 0.0, "seq_classif_dropout": 0.0},
    "qwen2": {},
}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


@pytest.fixture(scope="module", params=family_names())
def whole(request: pytest.FixtureRequest, tiny: Callable[..., Any]) -> Any:
    """A small super-network of each family, without dropout."""
    return tiny(request.param, **PLAIN.get(request.param, NO_DROPOUT))


def batch(whole: Any) -> dict[str, torch.Tensor]:
    """Four sequences of 9, 5, 2 and 1 tokens, padded."""
    lengths, padding = torch.tensor([9, 5, 2, 1]), whole.config.pad_token_id
    mask = (torch.arange(9) < lengths.unsqueeze(1)).long()
    ids = torch.randint(5, 120, (4, 9), generator=torch.Generator().manual_seed(1))
    return {"input_ids": ids * mask + padding * (1 - mask), "attention_mask": mask}


def logits(module: Any) -> torch.Tensor:
    with torch.no_grad():
        return module(**batch(module)).logits


@pytest.mark.parametrize("arch", ARCHITECTURES, ids=str)
def test_three_ways_agree(whole: Any, arch: Architecture) -> None:
    with view(whole, arch):
        viewed = logits(whole)
    with masked(whole, arch):
        reference = logits(whole)
    torch.testing.assert_close(viewed, reference, **TOLERANCE)
    torch.testing.assert_close(logits(extract(whole, arch)), reference, **TOLERANCE)


@pytest.mark.parametrize("arch", ARCHITECTURES[1:5], ids=str)
def test_gradients_of_views_are_those_of_the_mask(whole: Any, arch: Architecture) -> None:
    gradients = []
    for way in (view, masked):
        whole.zero_grad()
        with way(whole, arch):
            whole(**batch(whole), labels=torch.tensor([0, 1, 2, 0])).loss.backward()
        gradients.append(collected(whole))
    same(*gradients)


def test_shared_passes_give_the_gradients_of_separate_ones(whole: Any) -> None:
    """Several sub-networks in one step, twice, as with gradient accumulation."""
    gradients, losses = [], []
    for shared in (False, True):
        whole.zero_grad()
        for _ in range(2):
            if shared:
                with shared_passes(whole, batch(whole)) as inputs:
                    losses.append(passes(whole, inputs))
            else:
                losses.append(passes(whole, batch(whole)))
        gradients.append(collected(whole))
    assert losses[0] == pytest.approx(losses[2], abs=1e-6)
    same(*gradients)
    assert not any("forward" in module.__dict__ for module in whole.modules())


def test_embeddings_and_mask_are_computed_once_in_shared_passes(whole: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import masking_utils

    calls: Counter[str] = Counter()

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def count(*positional: Any, **keywords: Any) -> Any:
            calls[name] += 1
            return function(*positional, **keywords)

        return count

    # What all embeddings and all ways to make a mask come to.
    embedding, masks = torch.nn.functional.embedding, masking_utils.ALL_MASK_ATTENTION_FUNCTIONS
    monkeypatch.setattr(torch.nn.functional, "embedding", counted("embedding", embedding))
    monkeypatch.setitem(masks._global_mapping, "sdpa", counted("mask", masks["sdpa"]))
    logits(whole)
    once = calls.copy()
    assert once["mask"] == 1
    assert once["embedding"] >= 1
    calls.clear()
    with shared_passes(whole, batch(whole)) as inputs:
        passes(whole, inputs)
    assert calls == once


def passes(whole: Any, inputs: dict[str, Any]) -> float:
    total = 0.0
    for arch in ARCHITECTURES[:5]:
        with view(whole, arch):
            loss = torch.nn.functional.cross_entropy(whole(**inputs).logits, torch.tensor([0, 1, 2, 0]))
        loss.backward()
        total += float(loss.detach())
    return total


def collected(whole: Any) -> dict[str, torch.Tensor | None]:
    return {name: None if value.grad is None else value.grad.clone() for name, value in whole.named_parameters()}


def same(one: dict[str, torch.Tensor | None], other: dict[str, torch.Tensor | None]) -> None:
    assert any(grad is not None and grad.abs().max() > 1e-3 for grad in one.values())
    for name, grad in one.items():
        partner = other[name]
        assert (grad is None) == (partner is None), name
        if grad is not None:
            torch.testing.assert_close(grad, partner, **TOLERANCE, msg=name)


def test_an_extracted_module_comes_back_from_its_folder(whole: Any, tmp_path: Path) -> None:
    small = extract(whole, ARCHITECTURES[2])
    save_extracted(small, tmp_path)
    torch.testing.assert_close(logits(load_extracted(tmp_path)), logits(small), **TOLERANCE)


def test_groups_of_queries_go_together(tiny: Callable[..., Any]) -> None:
    """8 queries of 4 in 4 groups: 2 groups are 16 rows of queries, 8 of keys and values."""
    whole = tiny("qwen2")
    assert get_family(whole.config).dimensions(whole.config).head_size == 8
    attention = extract(whole, ARCHITECTURES[2]).model.layers[0].self_attn
    assert [attention.get_submodule(f"{name}_proj").weight.shape[0] for name in "qkv"] == [16, 8, 8]
    assert attention.o_proj.weight.shape == (24, 16)


@pytest.mark.parametrize(
    ("family", "changes", "match"),
    [
        ("bert", {"is_decoder": True}, "configured as a decoder"),
        ("qwen2", {"layer_types": ["full_attention", "sliding_attention"], "num_hidden_layers": 2}, "mixes layers"),
        ("albert", {}, "share one set of weights"),
        ("deberta-v2", {}, "have no adapter; there are adapters for bert, distilbert, electra, qwen2, roberta, xlm"),
    ],
)
def test_what_does_not_fit_is_refused(family: str, changes: dict[str, Any], match: str) -> None:
    from transformers import AutoConfig

    with pytest.raises(UnsupportedModelError, match=match) as caught:
        get_family(AutoConfig.for_model(family, **changes))
    assert "\n" not in str(caught.value)


def test_the_decoder_exports(tiny: Callable[..., Any], tmp_path: Path) -> None:
    from hwnas.compile.export import export_onnx, verify_onnx

    small = extract(tiny("qwen2", num_hidden_layers=2), Architecture((0, (1, 3)), (7, 0)))
    path = export_onnx(small, tmp_path / "small.onnx")
    assert verify_onnx(small, path).passed
