"""Architecture and the four spaces: ends, size, sampling, encoding, JSON."""

from __future__ import annotations

import json
from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.errors import UnknownNameError, UsageError
from hwnas.spaces import Architecture, Dimensions, get_space, space_names

DIMENSIONS = Dimensions(layers=4, heads=3, units=5, head_size=2, hidden_size=6)
FEW = {
    "medium": Dimensions(layers=3, heads=2, units=3, head_size=2, hidden_size=4),
    "large": Dimensions(layers=2, heads=2, units=3, head_size=2, hidden_size=4),
}
"""Dimensions with few enough vectors to go through them all."""


@pytest.mark.parametrize("align", [(1, 1), (2, 2)])
@pytest.mark.parametrize("min_layers", [0, 1, 2])
@pytest.mark.parametrize("name", space_names())
def test_size_is_the_number_of_different_architectures(name: str, min_layers: int, align: tuple[int, int]) -> None:
    space = get_space(name, FEW.get(name, DIMENSIONS), min_layers=min_layers, align=align)
    ranges = [range(low, high + 1) for low, high in space.bounds.values()]
    everything = {space.decode(vector) for vector in product(*ranges)}
    assert space.size == len(everything)
    assert {space.largest(), space.smallest(), space.middle()} <= everything
    for architecture in everything:
        assert architecture in space
        assert space.decode(space.encode(architecture)) == architecture
        for masks in (False, True):
            assert Architecture.from_json(json.loads(json.dumps(architecture.to_json(masks=masks)))) == architecture
        assert sum(heads > 0 for heads in architecture.head_counts) >= min_layers


@pytest.mark.parametrize("name", space_names())
def test_ends(name: str) -> None:
    space = get_space(name, DIMENSIONS)
    upper, lower, middle = space.start_designs()
    assert upper == space.largest() == Architecture.full(DIMENSIONS)
    assert lower == space.smallest()
    assert middle in space
    assert middle not in (upper, lower)


def test_smallest_of_each_space() -> None:
    assert get_space("small", DIMENSIONS).smallest() == Architecture((1, 0, 0, 0), (1, 0, 0, 0))
    assert get_space("layer", DIMENSIONS).smallest() == Architecture((3, 0, 0, 0), (5, 0, 0, 0))
    for name in ("medium", "large"):
        assert get_space(name, DIMENSIONS).smallest() == Architecture((1, 0, 0, 0), (0, 0, 0, 0))
        assert get_space(name, DIMENSIONS, align=(2, 2)).smallest() == Architecture((2, 0, 0, 0), (0, 0, 0, 0))
    for name in space_names():
        assert get_space(name, DIMENSIONS, min_layers=0).smallest() == Architecture((0,) * 4, (0,) * 4)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    name=st.sampled_from(space_names()),
    min_layers=st.integers(0, 3),
    align=st.sampled_from([(1, 1), (2, 3)]),
)
def test_samples_are_members_and_repeat_with_the_seed(
    seed: int, name: str, min_layers: int, align: tuple[int, int]
) -> None:
    space = get_space(name, DIMENSIONS, min_layers=min_layers, align=align)
    drawn = space.sample(np.random.default_rng(seed))
    assert drawn in space
    assert drawn == space.sample(np.random.default_rng(seed))
    assert tuple(space.sample_vector(np.random.default_rng(seed))) == space.encode(drawn)


def test_layer_draws_the_depth_first() -> None:
    """Every depth equally often, although depth 2 has six subsets and depth 4 one."""
    space, rng = get_space("layer", DIMENSIONS), np.random.default_rng(0)
    drawn = [space.sample(rng).kept_layers for _ in range(4000)]
    depths = Counter(len(kept) for kept in drawn)
    assert sorted(depths) == [1, 2, 3, 4]
    assert all(900 < times < 1100 for times in depths.values())
    pairs = Counter(kept for kept in drawn if len(kept) == 2)
    assert len(pairs) == 6
    assert min(pairs.values()) > 100


def test_small_draws_each_number_uniformly() -> None:
    space, rng = get_space("small", DIMENSIONS), np.random.default_rng(0)
    vectors = np.array([space.encode(space.sample(rng)) for _ in range(3000)])
    for column, (low, high) in zip(vectors.T, space.bounds.values(), strict=True):
        expected = 3000 / (high - low + 1)
        counts = np.bincount(column)[low:]
        assert len(counts) == high - low + 1
        assert np.abs(counts - expected).max() < 0.15 * expected


def test_small_keeps_prefixes() -> None:
    assert get_space("small", DIMENSIONS).decode((2, 1, 4)) == Architecture((1, 1, 0, 0), (4, 4, 0, 0))


def test_layer_with_too_few_layers_is_repaired_to_a_member() -> None:
    space = get_space("layer", DIMENSIONS, min_layers=2)
    assert space.decode((0, 0, 0, 1)).kept_layers == (0, 3)
    assert space.decode((0, 0, 0, 0)).kept_layers == (0, 1)


@pytest.mark.parametrize(
    ("name", "arch"),
    [
        ("small", Architecture((1, 2, 0, 0), (4, 4, 0, 0))),
        ("small", Architecture((0, 1, 1, 1), (0, 4, 4, 4))),
        ("layer", Architecture((3, 2, 0, 0), (5, 5, 0, 0))),
        ("layer", Architecture((0, 0, 0, 0), (0, 0, 0, 0))),
        ("medium", Architecture(((0, 2), 0, 0, 0), (4, 4, 0, 0))),
        ("medium", Architecture((0, 0, 0, 0), (5, 5, 5, 5))),
        ("large", Architecture((0, 0, 0, 0), (5, (1, 2), 0, 0))),
    ],
)
def test_strangers_are_refused(name: str, arch: Architecture) -> None:
    space = get_space(name, DIMENSIONS)
    assert arch not in space
    with pytest.raises(UsageError, match=f"not in the space {name}"):
        space.encode(arch)


@pytest.mark.parametrize("vector", [(1, 1), (5, 1, 1), (1, 0, 1), (1, 1, 6)])
def test_vectors_outside_the_bounds_are_refused(vector: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="space small"):
        get_space("small", DIMENSIONS).decode(vector)


def test_unknown_space_lists_the_known() -> None:
    with pytest.raises(UnknownNameError, match="large, layer, medium, small"):
        get_space("tiny", DIMENSIONS)


def test_prefixes_have_one_spelling() -> None:
    assert Architecture(((0, 1),), ((0, 1, 2),)) == Architecture((2,), (3,))
    assert hash(Architecture(((0, 1),), (3,))) == hash(Architecture((2,), (3,)))
    assert Architecture(((0, 2),), ((),)).head_counts == (2,)
    assert Architecture(((0, 2),), ((),)).unit_counts == (0,)


def test_shape_leaves_out_dropped_layers() -> None:
    arch = Architecture((2, 0, 0, (1, 2)), (4, 0, 3, 0))
    assert arch.shape == ((2, 4), (0, 3), (2, 0))
    assert arch.kept_layers == (0, 2, 3)
    assert str(Architecture((2, 2, 0), (4, 4, 0))) == "2 x (2 heads, 4 units)"


@pytest.mark.parametrize("heads", [(-1,), ((1, 1),), ((-2, 0),)])
def test_bad_indices_are_refused(heads: tuple[object, ...]) -> None:
    with pytest.raises(UsageError):
        Architecture(heads, (1,))  # type: ignore[arg-type]


def test_an_architecture_of_another_model_is_refused() -> None:
    with pytest.raises(UsageError, match="another model"):
        Architecture((1,), (1,)).check(DIMENSIONS)
    with pytest.raises(UsageError, match="heads up to 9"):
        Architecture((1, 1, 1, (2, 8)), (1, 1, 1, 1)).check(DIMENSIONS)


def test_masks_by_hand() -> None:
    """Bits 0, 1, 3 and 5 are 1 + 2 + 8 + 32 = 0x2b; a prefix is a number all the same."""
    architecture = Architecture(((0, 1, 3, 5), 4), ((11,), 0))
    assert architecture.to_json(masks=True) == {"heads": ["0x2b", 4], "units": ["0x800", 0]}
    assert Architecture.from_json({"heads": ["0x0", "0xf"], "units": [0, 1]}) == Architecture((0, 4), (0, 1))


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"heads": 3, "units": [1]},
        {"heads": [1.5], "units": [1]},
        *({"heads": [mask], "units": [1]} for mask in ("", "0x", "0xg", "-0x3", "2b", "0x2_b")),
    ],
)
def test_broken_json_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Architecture.from_json(data)
