"""MEDIUM, LARGE and BOUNDED: what their samplers draw, what their vectors mean, what they refuse."""

from __future__ import annotations

import json
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.errors import UnknownNameError, UsageError
from hwnas.slicing.extract import parameter_counter
from hwnas.spaces import Architecture, BoundedSpace, Dimensions, Space, get_space, space_from_json, space_names
from hwnas.spaces.architecture import indices
from hwnas.training.pretrained import load_config

DIMENSIONS = Dimensions(layers=3, heads=4, units=6, head_size=2, hidden_size=8)
MINILM = Dimensions(layers=6, heads=12, units=1536, head_size=32, hidden_size=384)


def bounded(**changes: object) -> BoundedSpace:
    options: dict[str, object] = {"heads": [(0, 4), (2, 3), (1, 1)], "units": [(0, 6), (0, 0), (2, 5)], **changes}
    return BoundedSpace(DIMENSIONS, **options)  # type: ignore[arg-type]


def even(counts: Counter[int], values: int, total: int) -> bool:
    """Whether each of so many values was drawn equally often, to 5 standard deviations."""
    expected = total / values
    return len(counts) == values and all(abs(n - expected) < 5 * expected**0.5 for n in counts.values())


def test_medium_draws_every_number_uniformly() -> None:
    space, rng = get_space("medium", DIMENSIONS, min_layers=0), np.random.default_rng(0)
    vectors = np.array([space.encode(space.sample(rng)) for _ in range(2000)])
    for column, (low, high) in zip(vectors.T, space.bounds.values(), strict=True):
        assert even(Counter(column.tolist()), high - low + 1, 2000)


@pytest.mark.parametrize("min_layers", [1, 2, 3])
def test_medium_draws_every_member_equally_often(min_layers: int) -> None:
    few = Dimensions(layers=3, heads=2, units=1, head_size=1, hidden_size=2)
    space, rng = get_space("medium", few, min_layers=min_layers), np.random.default_rng(0)
    drawn = Counter(hash(space.sample(rng)) for _ in range(8000))
    assert even(drawn, space.size, 8000)


def test_large_draws_the_count_first() -> None:
    """Every count of kept entries equally often; were entries drawn one by one, nearly all would keep about half."""
    space, rng = get_space("large", DIMENSIONS, min_layers=0), np.random.default_rng(0)
    vectors = np.array([space.encode(space.sample(rng)) for _ in range(1550)])
    counts = Counter(vectors.sum(axis=1).tolist())
    assert even(counts, 3 * (4 + 6) + 1, 1550)
    of_ten = vectors[vectors.sum(axis=1) == 10]
    assert np.abs(of_ten.mean(axis=0) - 1 / 3).max() < 5 * (2 / 9 / len(of_ten)) ** 0.5


def test_large_has_uniform_parameter_counts() -> None:
    """Deciles over 500 draws of MiniLM, between the parameters of no layer and of all, 0.1 apart to 4 deviations."""
    space, rng = get_space("large", MINILM), np.random.default_rng(0)
    count = parameter_counter(load_config(None), MINILM)
    empty, whole = count(Architecture((0,) * 6, (0,) * 6)), count(Architecture.full(MINILM))
    shares = [(count(space.sample(rng)) - empty) / (whole - empty) for _ in range(500)]
    wanted = np.arange(1, 10) / 10
    assert np.abs(np.quantile(shares, wanted) - wanted).max() < 0.09


@pytest.mark.parametrize("align", [(4, 64), (12, 768)])
def test_large_in_steps_has_uniform_counts_too(align: tuple[int, int]) -> None:
    """Of heads as of units; were single heads drawn and rounded, layers without any would hardly come."""
    space, rng = get_space("large", MINILM, align=align, min_layers=0), np.random.default_rng(0)
    drawn = [space.sample(rng) for _ in range(600)]
    for width, counts in ((6 * 12, "head_counts"), (6 * 1536, "unit_counts")):
        shares = [sum(getattr(arch, counts)) / width for arch in drawn]
        wanted = np.arange(1, 10) / 10
        assert np.abs(np.quantile(shares, wanted) - wanted).max() < 0.18, "steps of a sixth, and of 24ths"
        assert abs(np.mean(shares) - 0.5) < 0.05
    kept = [list(indices(heads)) for arch in drawn for heads in arch.heads]
    first = [0 in row for row in kept if 0 < len(row) < 12]
    assert not first or 0.2 < np.mean(first) < 0.8, "any heads, not the first ones"
    assert all(arch in space for arch in drawn)


def test_large_is_fast_at_the_size_of_bert_base() -> None:
    space = get_space("large", Dimensions(layers=12, heads=12, units=3072, head_size=64, hidden_size=768))
    arch = space.sample(np.random.default_rng(0))
    vector = space.encode(arch)
    assert len(vector) == 12 * (12 + 3072)
    start = time.process_time()
    assert space.decode(vector) == arch
    assert time.process_time() - start < 0.1


def test_large_vectors_by_hand() -> None:
    space = get_space("large", Dimensions(layers=2, heads=2, units=3, head_size=1, hidden_size=2))
    assert list(space.bounds)[:3] == ["head_0_0", "head_0_1", "head_1_0"]
    assert list(space.bounds)[4:8] == ["unit_0_0", "unit_0_1", "unit_0_2", "unit_1_0"]
    vector = (0, 1, 1, 1, 1, 0, 1, 0, 0, 0)
    assert space.decode(vector) == Architecture(((1,), 2), ((0, 2), 0))
    assert space.encode(Architecture(((1,), 2), ((0, 2), 0))) == vector
    assert space.decode((0,) * 10) == Architecture((1, 0), (0, 0)), "repaired: one head in the first layer"


def test_large_with_steps_goes_to_the_nearest_width() -> None:
    few = Dimensions(layers=1, heads=4, units=6, head_size=1, hidden_size=4)
    space = get_space("large", few, align=(2, 4))
    assert space.unit_levels == (4, 6)
    assert space.decode((0, 1, 1, 1, 0, 0, 0, 1, 1, 1)).heads == ((1, 2),), "3 heads are nearest to 2: the last goes"
    assert space.decode((0, 1, 1, 1, 0, 0, 0, 1, 1, 1)).units == ((0, 3, 4, 5),), "3 units to 4: the first comes back"
    assert space.decode((0, 1, 0, 0, 1, 1, 1, 1, 1, 0)) == Architecture((2,), (4,))
    assert space.decode((1, 1, 0, 0, 0, 0, 0, 0, 0, 0)).units == (0,)


@pytest.mark.parametrize("name", space_names())
def test_steps_hold_in_every_space(name: str) -> None:
    space, rng = get_space(name, DIMENSIONS, align=(3, 4)), np.random.default_rng(0)
    drawn = [space.sample(rng) for _ in range(300)]
    assert {heads for arch in drawn for heads in arch.head_counts} <= {0, 3, 4}
    assert {units for arch in drawn for units in arch.unit_counts} <= {0, 4, 6}
    assert all(arch in space for arch in (*drawn, *space.start_designs()))
    assert space.largest() == Architecture.full(DIMENSIONS)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data(), name=st.sampled_from([*space_names(), "bounded"]), align=st.sampled_from([(1, 1), (2, 4)]))
def test_every_vector_within_the_bounds_has_a_member(data: st.DataObject, name: str, align: tuple[int, int]) -> None:
    space: Space = bounded(align=align) if name == "bounded" else get_space(name, DIMENSIONS, align=align)
    vector = [data.draw(st.integers(low, high)) for low, high in space.bounds.values()]
    arch = space.decode(vector)
    assert arch == Architecture(arch.heads, arch.units), "in its normal form"
    assert arch in space
    assert space.decode(space.encode(arch)) == arch
    again = space_from_json(json.loads(json.dumps(space.to_json())), DIMENSIONS)
    assert again.encode(arch) == space.encode(arch)


def test_bounded_by_hand() -> None:
    space = bounded()
    assert list(space.bounds.values()) == [(0, 4), (0, 1), (0, 0), (0, 6), (0, 0), (0, 3)]
    assert space.size == 5 * 2 * 1 * 7 * 1 * 4
    assert space.smallest() == Architecture((0, 2, 1), (0, 0, 2))
    assert space.largest() == Architecture((4, 3, 1), (6, 0, 5))
    assert space.decode((3, 1, 0, 6, 0, 1)) == Architecture((3, 3, 1), (6, 0, 3))
    assert Architecture((4, 4, 1), (6, 0, 5)) not in space
    steps = bounded(align=(2, 4))
    assert list(steps.bounds.values()) == [(0, 2), (0, 1), (0, 0), (0, 2), (0, 0), (0, 2)]
    assert steps.decode((1, 1, 0, 1, 0, 1)) == Architecture((2, 3, 1), (4, 0, 4)), "bounds are widths too"


def test_bounded_draws_every_member_equally_often() -> None:
    space, rng = bounded(min_layers=3), np.random.default_rng(0)
    assert space.size == 4 * 2 * 1 * 7 * 4
    assert even(Counter(hash(space.sample(rng)) for _ in range(4500)), space.size, 4500)


def test_medium_is_bounded_by_everything() -> None:
    everything = BoundedSpace(DIMENSIONS, heads=((0, 4),) * 3, units=((0, 6),) * 3)
    medium = get_space("medium", DIMENSIONS)
    assert everything.bounds == medium.bounds
    assert everything.size == medium.size == 7**3 * (5**3 - 1)


def test_sizes_of_minilm() -> None:
    sizes = {name: get_space(name, MINILM).size for name in space_names()}
    assert sizes["small"] == 6 * 12 * 1536
    assert sizes["layer"] == 2**6 - 1
    assert sizes["medium"] == 1537**6 * (13**6 - 1)
    assert sizes["large"] == 2 ** (6 * 1536) * (2**72 - 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": [(0, 4), (3, 2), (1, 1)]}, "an empty space: the bounds of heads in layer 1 are 3 to 2"),
        ({"units": [(0, 7), (0, 0), (0, 0)]}, "bounds of units in layer 0 are 0 to 7, expected .* <= 6"),
        ({"heads": [(0, 0)] * 3}, "an empty space: the bounds leave heads in 0 layers, but min_layers asks for 1"),
        ({"heads": [(0, 1)] * 2}, "bounds of heads for 2 layers, but the model has 3"),
        ({"min_layers": 4}, "min_layers 4: expected 0 to 3"),
        ({"align": (1, 0)}, "align step 0"),
    ],
)
def test_empty_spaces_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        bounded(**changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("vector", [(0,) * 9, (2, *[0] * 9), (0.5, *[0] * 9), (-1, *[0] * 9)])
def test_large_refuses_what_is_not_a_vector(vector: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="space large"):
        get_space("large", Dimensions(layers=2, heads=2, units=3, head_size=1, hidden_size=2)).decode(vector)


def test_json_of_no_space_is_refused() -> None:
    with pytest.raises(UsageError, match="not a space"):
        space_from_json({"name": "small"}, DIMENSIONS)
    with pytest.raises(UsageError, match="not a space"):
        space_from_json({"name": "bounded", "min_layers": 1, "align": [1, 1]}, DIMENSIONS)
    with pytest.raises(UnknownNameError, match="large, layer, medium, small"):
        space_from_json({"name": "huge", "min_layers": 1, "align": [1, 1]}, DIMENSIONS)
