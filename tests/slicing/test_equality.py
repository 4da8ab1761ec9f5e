"""View, extracted module and mask give the same logits and the same gradients (Klein et al. 2024, appendix B)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.models import family_names, get_family
from hwnas.slicing.extract import extract, parameter_count
from hwnas.slicing.mask import masked
from hwnas.slicing.supernet import view
from hwnas.spaces import BoundedSpace, get_space, space_names
from hwnas.spaces.architecture import Architecture

TOLERANCE = {"rtol": 0.0, "atol": 1e-5}


@pytest.fixture(scope="module", params=family_names())
def whole(request: pytest.FixtureRequest, tiny: Callable[..., Any]) -> Any:
    """A small super-network of each family."""
    return tiny(request.param)


def batch(whole: Any) -> dict[str, torch.Tensor]:
    """Four sequences of 9, 5, 2 and 1 tokens, padded."""
    generator = torch.Generator().manual_seed(1)
    lengths, padding = torch.tensor([9, 5, 2, 1]), whole.config.pad_token_id
    mask = (torch.arange(9) < lengths.unsqueeze(1)).long()
    ids = torch.randint(5, 120, (4, 9), generator=generator) * mask + padding * (1 - mask)
    types = getattr(whole.config, "type_vocab_size", 1)
    extra = {"token_type_ids": (torch.arange(9) > 4).long().expand(4, 9)} if types > 1 else {}
    return {"input_ids": ids, "attention_mask": mask, **extra}


def draw(whole: Any, space: str, seed: int) -> Architecture:
    """An architecture of a space: ends and middle for the first seeds, 0 layers among them; even seeds with steps."""
    dimensions = get_family(whole.config).dimensions(whole.config)
    align = (1, 1) if seed % 2 else (2, 3)
    if space == "bounded":
        heads, units = [(0, 4), (2, 3), (1, 1)], [(0, 20), (0, 0), (2, 9)]
        made: Any = BoundedSpace(dimensions, heads=heads, units=units, min_layers=0, align=align)
    else:
        made = get_space(space, dimensions, min_layers=0, align=align)
    ends = made.start_designs()
    return ends[seed] if seed < len(ends) else made.sample(np.random.default_rng(seed))


def logits(module: Any) -> torch.Tensor:
    with torch.no_grad():
        return module(**batch(module)).logits


def check(whole: Any, arch: Architecture) -> None:
    with view(whole, arch):
        viewed = logits(whole)
    with masked(whole, arch):
        reference = logits(whole)
    torch.testing.assert_close(viewed, reference, **TOLERANCE)
    torch.testing.assert_close(logits(extract(whole, arch)), reference, **TOLERANCE)


SPACES = (*space_names(), "bounded")


@pytest.mark.parametrize("space", SPACES)
def test_three_ways_agree_at_the_ends_of_every_space(whole: Any, space: str) -> None:
    for seed in range(3):
        check(whole, draw(whole, space, seed))


@pytest.mark.parametrize("space", SPACES)
@settings(max_examples=5, deadline=None, derandomize=True)
@given(seed=st.integers(3, 10_000))
def test_three_ways_agree_in_every_space(whole: Any, space: str, seed: int) -> None:
    check(whole, draw(whole, space, seed))


kept_heads = st.sets(st.integers(0, 3)).map(lambda kept: tuple(sorted(kept)))
kept_units = st.sets(st.integers(0, 19)).map(lambda kept: tuple(sorted(kept)))


@settings(max_examples=10, deadline=None, derandomize=True)
@given(heads=st.tuples(*[kept_heads] * 3), units=st.tuples(*[kept_units] * 3))
def test_three_ways_agree_on_any_heads_and_units(whole: Any, heads: Any, units: Any) -> None:
    check(whole, Architecture(heads, units))


def test_the_whole_network_is_untouched(whole: Any) -> None:
    before = logits(whole)
    with view(whole, Architecture.full(get_family(whole.config).dimensions(whole.config))):
        torch.testing.assert_close(logits(whole), before, rtol=0, atol=0)
    with view(whole, draw(whole, "small", 5)):
        pass
    torch.testing.assert_close(logits(whole), before, rtol=0, atol=0)
    assert not any("forward" in module.__dict__ for module in whole.modules())


@pytest.mark.parametrize("arch", [Architecture((2, 0, (1, 3)), (7, 5, 0)), Architecture((0, 4, 1), (20, 0, (3, 19)))])
def test_gradients_of_views_are_those_of_the_mask(whole: Any, arch: Architecture) -> None:
    gradients = []
    for way in (view, masked):
        whole.zero_grad()
        with way(whole, arch):
            loss = whole(**batch(whole), labels=torch.tensor([0, 1, 2, 0])).loss
        loss.backward()
        gradients.append({name: parameter.grad for name, parameter in whole.named_parameters()})
    whole.zero_grad()
    assert any(grad is None for grad in gradients[0].values()), "removed blocks have no gradient"
    for name, grad in gradients[0].items():
        other = gradients[1][name]
        assert (grad is None) == (other is None), name
        if grad is not None:
            torch.testing.assert_close(grad, other, **TOLERANCE, msg=name)


def test_an_error_inside_a_view_restores_the_model(whole: Any) -> None:
    arch = draw(whole, "small", 7)
    with pytest.raises(KeyError), view(whole, arch):
        raise KeyError
    assert not any("forward" in module.__dict__ for module in whole.modules())


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_an_extracted_module_is_smaller_and_independent(family: str, tiny: Callable[..., Any]) -> None:
    whole, arch = tiny(family), Architecture((2, 0, 0), (7, 0, 9))
    small = extract(whole, arch)
    layers = get_family(whole.config).encoder_layers(small)
    assert len(layers) == 2
    assert layers[0].attention.self.query.weight.shape == (12, 24)
    assert layers[0].attention.output.dense.weight.shape == (24, 12)
    assert layers[0].output.dense.weight.shape == (24, 7)
    # attention: 3 (24 x 12 + 12) + 24 x 12 + 24; feed-forward: u (24 + 1) + 24 u + 24; 48 for each LayerNorm
    expected = 3 * 300 + 312 + 48 + (7 * 49 + 24) + 48 + (9 * 49 + 24) + 48
    encoder = sum(parameter.numel() for parameter in layers.parameters())
    assert encoder == expected
    assert parameter_count(small) < parameter_count(whole)
    with torch.no_grad():
        layers[0].output.dense.weight.zero_()
    assert get_family(whole.config).encoder_layers(whole)[0].output.dense.weight.abs().sum() > 0
