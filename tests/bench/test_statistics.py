"""Statistics, each on a case worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas.bench.statistics import (
    anytime_hypervolume,
    at_times,
    average_ranks,
    best_below,
    best_hypervolume,
    common_grid,
    quantile_normalise,
    quantiles_among,
    ranks,
    regret,
)


def test_quantiles_are_taken_over_all_runs_together() -> None:
    first, second = quantile_normalise([np.array([[1.0, 10.0], [3.0, 10.0]]), np.array([[2.0, 30.0]])])
    assert first.tolist() == [[0.0, 0.0], [1.0, 0.0]]
    assert second.tolist() == [[0.5, 1.0]]


def test_equal_values_share_a_quantile_and_a_constant_is_zero() -> None:
    (found,) = quantile_normalise([np.array([[5.0, 7.0], [1.0, 7.0], [2.0, 7.0], [2.0, 7.0]])])
    assert found[:, 0].tolist() == [1.0, 0.0, 0.5, 0.5]  # of ranks 2 and 3 among 4: (1.5) / 3
    assert found[:, 1].tolist() == [0.0, 0.0, 0.0, 0.0]


def test_quantiles_among_others_are_those_of_all_together() -> None:
    pooled = np.random.default_rng(1).integers(0, 4, size=(12, 2)).astype(float)
    (normal,) = quantile_normalise([pooled])
    assert quantiles_among(pooled[3:6], pooled).tolist() == normal[3:6].tolist()


def test_quantiles_do_not_depend_on_the_scale() -> None:
    rng = np.random.default_rng(0)
    runs = [rng.normal(size=(7, 2)) for _ in range(3)]
    stretched = [np.column_stack([np.exp(run[:, 0]), 1e9 * run[:, 1]]) for run in runs]
    for plain, other in zip(quantile_normalise(runs), quantile_normalise(stretched), strict=True):
        assert np.array_equal(plain, other)


def test_hypervolume_of_growing_sets() -> None:
    """(1, 1) dominates 1 of the square to (2, 2); (0, 1.5) adds 2 * 0.5 less the 0.5 that both have."""
    points = np.array([[1.0, 1.0], [0.0, 1.5], [1.0, 1.0], [1.5, 1.5], [0.0, 0.0]])
    assert anytime_hypervolume(points).tolist() == [1.0, 1.5, 1.5, 1.5, 4.0]


def test_regret_is_against_all_points_of_all_runs() -> None:
    runs = [np.array([[1.0, 1.0]]), np.array([[0.0, 1.5]])]
    best = best_hypervolume(runs)
    assert best == 1.5
    assert [regret(anytime_hypervolume(run), best).tolist() for run in runs] == [[0.5], [0.5]]


def test_ranks_share_their_mean() -> None:
    assert ranks(np.array([[3.0, 1.0], [3.0, 2.0], [0.0, 3.0]])).tolist() == [[2.5, 1.0], [2.5, 2.0], [1.0, 3.0]]


def test_average_ranks_over_tasks() -> None:
    """One run each, so that nothing is left to chance: the first method wins one task and ties in the other."""
    wins, ties = np.array([[[0.1]], [[0.2]]]), np.array([[[0.3]], [[0.3]]])
    assert average_ranks([wins, ties], samples=10).tolist() == [[1.25], [1.75]]


def test_average_ranks_over_bootstrap_samples() -> None:
    """Runs 0 and 2 against runs 1 and 1: half of the samples go to either."""
    regrets = np.array([[[0.0, 0.0], [2.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]])
    found = average_ranks([regrets], seed=3)
    assert found[:, 1].tolist() == [1.0, 2.0]
    assert found[:, 0] == pytest.approx([1.5, 1.5], abs=0.06)  # four standard deviations of 1000 samples
    assert found.sum(axis=0) == pytest.approx([3.0, 3.0])
    assert np.array_equal(found, average_ranks([regrets], seed=3))
    assert not np.array_equal(found, average_ranks([regrets], seed=4))


def test_curves_over_time_are_steps() -> None:
    values, times = np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 4.0])
    assert at_times(values, times, np.array([0.9, 1.0, 1.9, 2.0, 5.0])).tolist() == [0.0, 1.0, 1.0, 2.0, 3.0]
    assert common_grid([times, np.array([2.0, 3.0])], points=3).tolist() == [2.0, 3.0, 4.0]


def test_best_of_the_small_ones() -> None:
    parameters, errors = np.array([10.0, 5.0, 4.0, 2.0]), np.array([0.1, 0.2, 0.2, 0.5])
    assert best_below(parameters, errors, np.array([2.0, 3.0, 10.0, 11.0])) == [None, 3, 2, 0]
