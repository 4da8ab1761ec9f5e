"""The additive law on synthetic latencies, whose truth is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.errors import TableError, UsageError
from hwnas.latency.design import choose_design, draw_holdout
from hwnas.latency.predictor import Predictor, fit_law, nonnegative_least_squares
from hwnas.spaces import Architecture, Dimensions

MINILM = Dimensions(layers=6, heads=12, units=1536, head_size=32, hidden_size=384)
HELD = draw_holdout(MINILM, ("small", "layer"), 10)
DESIGN = choose_design(MINILM, ("small", "layer"), exclude=HELD)
MIXED = [  # layers that miss one block, or differ from each other
    Architecture((12, 0, 6, 0, 0, 0), (0, 1536, 512, 0, 0, 0)),
    Architecture((4, 0, 0, 0, 0, 0), (0, 0, 0, 0, 0, 0)),
    Architecture((0, 0, 0, 0, 0, 0), (768, 0, 0, 0, 0, 0)),
    Architecture((1, 2, 3, 4, 5, 6), (0, 0, 0, 256, 512, 64)),
]


def straight(arch, a=1e-4, b=3e-4):
    return 2e-4 + sum((a + 2e-4 * h) * (h > 0) + (b + 2e-6 * u) * (u > 0) for h, u in arch.shape)


def bent(arch):
    """Heads cost twice as much beyond six."""
    return straight(arch) + sum(2e-4 * max(0, h - 6) for h, _ in arch.shape)


def predictor_for(law, design=DESIGN, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    seconds = [law(arch) * (1 + noise * rng.standard_normal()) for arch in design]
    return Predictor([arch.shape for arch in design], seconds)


def errors(predictor, law, archs):
    return np.array([predictor.predict(arch).seconds / law(arch) - 1 for arch in archs])


def brute_force(matrix, target):
    """Best of least squares over every subset of columns."""
    best, residual = np.zeros(matrix.shape[1]), np.linalg.norm(target)
    for size in range(1, matrix.shape[1] + 1):
        for chosen in itertools.combinations(range(matrix.shape[1]), size):
            x = np.zeros(matrix.shape[1])
            x[list(chosen)] = np.linalg.lstsq(matrix[:, chosen], target, rcond=None)[0]
            if (x >= 0).all() and np.linalg.norm(matrix @ x - target) < residual - 1e-12:
                best, residual = x, np.linalg.norm(matrix @ x - target)
    return best


@pytest.mark.parametrize("seed", range(20))
def test_least_squares_agrees_with_brute_force(seed):
    rng = np.random.default_rng(seed)
    matrix, target = rng.standard_normal((12, 5)) * 10.0 ** rng.integers(-3, 4, 5), rng.standard_normal(12)
    assert nonnegative_least_squares(matrix, target) == pytest.approx(brute_force(matrix, target), rel=1e-6, abs=1e-12)


def test_least_squares_with_dependent_and_empty_columns():
    column = np.arange(1.0, 6.0)
    found = nonnegative_least_squares(np.stack([column, column, 0 * column, -column], axis=1), 3 * column)
    assert found[0] + found[1] == pytest.approx(3)
    assert found[3] == 0
    assert (nonnegative_least_squares(-column[:, None], column) == 0).all()


def test_recovers_a_straight_law():
    predictor = predictor_for(straight)
    assert abs(errors(predictor, straight, HELD)).max() < 1e-6
    assert predictor.latency.head_knots == (12,)
    assert predictor.latency.unit_knots == (1536,)
    assert predictor.latency.margin < 1e-6


def test_noise_of_one_percent_stays_below_one_percent():
    for seed in range(5):
        predictor = predictor_for(straight, noise=0.01, seed=seed)
        found = errors(predictor, straight, HELD)
        assert abs(found).mean() < 0.01
        assert abs(found).max() < 0.025
        assert 0.005 < predictor.latency.margin < 0.06


def test_bends_are_taken_where_they_help():
    predictor = predictor_for(bent)
    assert len(predictor.latency.head_knots) > 1
    assert abs(errors(predictor, bent, HELD)).max() < 0.005
    stiff = fit_law([arch.shape for arch in DESIGN], [bent(arch) for arch in DESIGN], bend=False)
    assert max(abs(stiff.predict(arch.shape)[0] / bent(arch) - 1) for arch in HELD) > 0.02


def test_interval_holds_the_truth_and_the_prediction():
    held = 0
    for seed in range(20):
        predictor = predictor_for(straight, noise=0.01, seed=seed)
        for arch in HELD:
            predicted = predictor.predict(arch)
            assert 0 <= predicted.low <= predicted.seconds <= predicted.high
            held += predicted.low <= straight(arch) <= predicted.high
    assert held >= 0.95 * 20 * len(HELD)


def test_removed_blocks_seen_in_the_fit_are_told_apart():
    predictor = predictor_for(straight, DESIGN + MIXED[:3])
    assert predictor.latency.split
    assert predictor.latency.coefficients[1:3] == pytest.approx((1e-4, 3e-4))
    assert abs(errors(predictor, straight, MIXED)).max() < 1e-6


def test_removed_blocks_never_seen_have_an_interval_that_says_so():
    predictor = predictor_for(straight)
    assert not predictor.latency.split
    for arch in MIXED:
        predicted = predictor.predict(arch)
        assert predicted.low <= straight(arch) <= predicted.high
    whole, lone = (predictor.predict(Architecture((4,) + (0,) * 5, (u,) + (0,) * 5)) for u in (1, 0))
    assert lone.high - lone.low > whole.high - whole.low


def test_latency_depends_on_the_shape_alone():
    predictor = predictor_for(straight, noise=0.02)
    first = predictor.predict(Architecture((0, 3, 0, 5, 0, 0), (0, 64, 0, 128, 0, 0)))
    assert first == predictor.predict(Architecture(((1, 4, 9), 5, 0, 0, 0, 0), (64, 128, 0, 0, 0, 0)))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), layer=st.integers(0, 5), data=st.data())
def test_never_falls_when_something_is_added(seed, layer, data):
    """Even for a law fitted to pure noise: more heads, more units or more layers never cost less."""
    rng = np.random.default_rng(seed)
    law = fit_law([arch.shape for arch in DESIGN], rng.uniform(1e-3, 5e-2, len(DESIGN)))
    pairs = st.tuples(st.integers(0, 12), st.integers(0, 1536))
    kept = data.draw(st.lists(pairs, min_size=6, max_size=6))
    more = list(kept)
    heads, units = kept[layer]
    more[layer] = (data.draw(st.integers(heads, 12)), data.draw(st.integers(units, 1536)))
    assert law.predict(tuple(more))[0] >= law.predict(tuple(kept))[0] * (1 - 1e-9)
    assert min(law.coefficients) >= 0


def test_memory():
    shapes = [arch.shape for arch in DESIGN]
    memory = [round(1e8 + 3e7 * straight(arch) / straight(DESIGN[0])) for arch in DESIGN]
    predictor = Predictor(shapes, [straight(arch) for arch in DESIGN], [*memory[:8], *[None] * (len(memory) - 8)])
    assert predictor.memory is not None
    assert len(predictor.memory.residuals) == 8
    found = predictor.predict_memory(DESIGN[10])
    assert isinstance(found.bytes, int)
    assert found.low <= found.bytes <= found.high
    assert found.bytes == pytest.approx(memory[10], rel=1e-3)
    with pytest.raises(TableError, match="fewer than 6"):
        predictor_for(straight).predict_memory(DESIGN[0])
    described = predictor.to_json()
    assert described["latency"]["networks"] == len(DESIGN)
    assert predictor_for(straight).to_json()["memory"] is None


def test_refusals():
    shapes = [arch.shape for arch in DESIGN]
    with pytest.raises(TableError, match="5 measured networks are too few"):
        fit_law(shapes[:5], [1.0] * 5)
    with pytest.raises(UsageError, match="above 0"):
        fit_law(shapes, [0.0] * len(shapes))
