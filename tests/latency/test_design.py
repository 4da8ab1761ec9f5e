from __future__ import annotations

import numpy as np
import pytest

from hwnas.errors import UnknownNameError, UsageError
from hwnas.latency.design import MAX_NETWORKS, choose_design, draw_holdout
from hwnas.latency.predictor import _features
from hwnas.spaces import Architecture, Dimensions, get_space

MINILM = Dimensions(layers=6, heads=12, units=1536, head_size=32, hidden_size=384)
BASE = Dimensions(layers=12, heads=12, units=3072, head_size=64, hidden_size=768)
TINY = Dimensions(layers=2, heads=4, units=64, head_size=8, hidden_size=32)
BOTH = ("small", "layer")


@pytest.mark.parametrize("dimensions", [MINILM, BASE, TINY])
@pytest.mark.parametrize("spaces", [BOTH, ("small",), ("layer",)])
@pytest.mark.parametrize("count", [6, 24, 30])
def test_design_is_small_distinct_and_reachable(dimensions, spaces, count):
    design = choose_design(dimensions, spaces, max_networks=count)
    members = [get_space(name, dimensions) for name in spaces]
    assert 0 < len(design) <= count
    assert len({arch.shape for arch in design}) == len(design)
    assert all(any(arch in space for space in members) for arch in design)
    assert design[0] == Architecture.full(dimensions)
    for space in members:
        assert space.smallest().shape in {arch.shape for arch in design}


@pytest.mark.parametrize("dimensions", [MINILM, BASE])
def test_default_design_separates_what_costs(dimensions):
    """It holds one layer and several depths, all corners, and its columns are far from dependent."""
    holdout = draw_holdout(dimensions, BOTH, 10)
    design = choose_design(dimensions, BOTH, exclude=holdout)
    shapes = [arch.shape for arch in design]
    assert len(design) == 24
    assert {1, dimensions.layers} < {len(shape) for shape in shapes}
    assert len({len(shape) for shape in shapes}) >= 4
    for layers in (1, dimensions.layers):
        for heads in (1, dimensions.heads):
            for units in (1, dimensions.units):
                assert ((heads, units),) * layers in shapes
    assert len({shape[0][0] for shape in shapes}) >= 5
    assert len({shape[0][1] for shape in shapes}) >= 5
    assert all(shape[0][1] % 64 == 0 or shape[0][1] == 1 for shape in shapes)
    columns = _features(shapes, (dimensions.heads,), (dimensions.units,))[:, [0, 1, 3, 4]]
    columns = columns / abs(columns).max(axis=0)
    assert np.linalg.cond(columns) < 12


def test_holdout_is_drawn_from_every_space_and_never_enters_the_design():
    for seed in range(5):
        holdout = draw_holdout(MINILM, BOTH, 10, seed=seed)
        design = choose_design(MINILM, BOTH, exclude=holdout, seed=seed)
        shapes = {arch.shape for arch in holdout}
        assert len(holdout) == len(shapes) == 10
        assert shapes.isdisjoint(arch.shape for arch in design)
        for name in BOTH:
            assert sum(arch in get_space(name, MINILM) for arch in holdout) >= 4


def test_holdout_changes_with_the_seed_and_only_with_it():
    assert draw_holdout(MINILM, BOTH, 10, seed=1) == draw_holdout(MINILM, BOTH, 10, seed=1)
    assert draw_holdout(MINILM, BOTH, 10, seed=1) != draw_holdout(MINILM, BOTH, 10, seed=2)
    assert choose_design(MINILM, BOTH, seed=1) == choose_design(MINILM, BOTH, seed=1)


def test_spaces_run_out():
    assert len(draw_holdout(MINILM, ("layer",), 10)) == 4  # six depths without the two ends
    assert draw_holdout(TINY, ("layer",), 10) == []
    assert draw_holdout(TINY, ("small",), 0) == []
    assert len(choose_design(MINILM, ("layer",))) == 6


def test_refusals():
    for count in (5, MAX_NETWORKS + 1):
        with pytest.raises(UsageError, match="expected 6 to 30"):
            choose_design(MINILM, BOTH, max_networks=count)
    with pytest.raises(UnknownNameError, match="smal"):
        choose_design(MINILM, ("smal",))
    with pytest.raises(UsageError, match="no search space"):
        draw_holdout(MINILM, (), 3)
    with pytest.raises(UsageError, match="0 or more"):
        draw_holdout(MINILM, BOTH, -1)
