"""Metrics against hand-computed values, scikit-learn-free, and their edge cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.errors import DataError, UnknownNameError
from hwnas.tasks.metrics import compute_quality, constant_error, error, metric_names, quality_name


def one_hot(predicted: list[int], classes: int = 2) -> np.ndarray:
    return np.eye(classes)[predicted]


def test_accuracy() -> None:
    assert compute_quality("accuracy", one_hot([0, 1, 1, 0]), np.array([0, 1, 0, 0])) == 0.75
    assert error("accuracy", one_hot([0, 1, 1, 0]), np.array([0, 1, 0, 0])) == 0.25


def test_f1_of_class_one() -> None:
    # 2 true positives, 1 false positive, 1 false negative
    logits, labels = one_hot([1, 1, 1, 0, 0]), np.array([1, 1, 0, 1, 0])
    assert compute_quality("f1", logits, labels) == pytest.approx(2 / 3)


def test_f1_of_three_classes_is_the_mean() -> None:
    # F1 per class: 2*1/(1+2) = 2/3, 2*1/(2+1) = 2/3, 2*1/(1+1) = 1
    logits, labels = one_hot([0, 1, 1, 2], 3), np.array([0, 0, 1, 2])
    assert compute_quality("f1", logits, labels) == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)


def test_matthews_of_a_known_table() -> None:
    # tp 6, tn 3, fp 1, fn 2: (18 - 2) / sqrt(7 * 8 * 4 * 5)
    predicted = [1] * 6 + [0] * 3 + [1] + [0] * 2
    labels = np.array([1] * 6 + [0] * 3 + [0] + [1] * 2)
    assert compute_quality("matthews", one_hot(predicted), labels) == pytest.approx(16 / np.sqrt(7 * 8 * 4 * 5))


def test_matthews_of_the_opposite_is_minus_one() -> None:
    assert compute_quality("matthews", one_hot([1, 0, 1]), np.array([0, 1, 0])) == pytest.approx(-1.0)


def test_pearson_agrees_with_numpy() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=50), rng.normal(size=50)
    assert compute_quality("pearson", x[:, None], y) == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-12)


def test_spearman_shares_ranks_of_equal_values() -> None:
    # ranks of x: 1, 2.5, 2.5, 4
    x, y = np.array([1.0, 2.0, 2.0, 9.0]), np.array([1.0, 2.0, 3.0, 4.0])
    expected = np.corrcoef([1, 2.5, 2.5, 4], [1, 2, 3, 4])[0, 1]
    assert compute_quality("spearman", x, y) == pytest.approx(expected, abs=1e-12)


@given(st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=20, unique=True))
@settings(max_examples=50, deadline=None)
def test_spearman_depends_on_order_alone(values: list[float]) -> None:
    x = np.array(values)
    y = np.random.default_rng(len(values)).normal(size=len(values))
    order = np.argsort(np.argsort(x)).astype(float)
    assert compute_quality("spearman", x, y) == pytest.approx(compute_quality("spearman", order**3, y), abs=1e-9)


@pytest.mark.parametrize("metric", ["matthews", "f1"])
def test_constant_classes_give_zero(metric: str) -> None:
    assert compute_quality(metric, one_hot([0, 0, 0]), np.array([0, 1, 1])) == 0.0


@pytest.mark.parametrize("metric", ["pearson", "spearman"])
@pytest.mark.parametrize("value", [0.1, 1e300, np.nan])
def test_constant_or_broken_numbers_give_zero(metric: str, value: float) -> None:
    assert compute_quality(metric, np.full((4, 1), value), np.arange(4.0)) == 0.0
    assert compute_quality(metric, np.arange(4.0), np.full(4, 3.3)) == 0.0


def test_nan_logits_are_wrong_predictions() -> None:
    logits = one_hot([0, 0, 1])
    logits[0] = np.nan
    labels = np.array([0, 0, 1])
    assert compute_quality("accuracy", logits, labels) == pytest.approx(2 / 3)
    assert 0 < compute_quality("matthews", logits, labels) < 1
    assert compute_quality("f1", logits, labels) == 1.0  # class 1 is found in full


def test_bad_input_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="Known: accuracy"):
        compute_quality("bleu", one_hot([0]), np.array([0]))
    with pytest.raises(DataError, match="do not fit"):
        compute_quality("accuracy", one_hot([0, 1]), np.array([0]))
    with pytest.raises(DataError, match="at least 1"):
        compute_quality("accuracy", np.zeros((0, 2)), np.zeros(0))
    with pytest.raises(DataError, match="expected 1 output"):
        compute_quality("pearson", one_hot([0, 1]), np.array([0, 1]))
    with pytest.raises(DataError, match="2 or more outputs"):
        compute_quality("accuracy", np.zeros((2, 1)), np.array([0, 1]))


@pytest.mark.parametrize(
    ("metric", "labels", "expected"),
    [
        ("accuracy", [0, 2, 2, 1, 2], 2 / 5),
        ("f1", [0, 1, 1, 0], 1 - 2 * 2 / (4 + 2)),  # always 1: two of four predictions are right, all of two found
        ("f1", [0, 0, 0, 0], 0.0 + 1.0),
        ("matthews", [0, 1, 1], 1.0),
        ("pearson", [0.5, 2.0, 4.5], 1.0),
        ("spearman", [1.0, 1.0], 1.0),
    ],
)
def test_what_always_gives_the_same_answer(metric: str, labels: list[float], expected: float) -> None:
    assert constant_error(metric, np.array(labels)) == pytest.approx(expected)


def test_no_answer_without_labels() -> None:
    with pytest.raises(DataError, match="accuracy: no labels"):
        constant_error("accuracy", np.array([]))
    with pytest.raises(UnknownNameError, match="auc"):
        constant_error("auc", np.array([1]))


def test_every_metric_has_a_name() -> None:
    assert [quality_name(name) for name in metric_names()] == [
        "accuracy",
        "F1",
        "Matthews correlation",
        "Pearson correlation",
        "Spearman correlation",
    ]
    with pytest.raises(UnknownNameError):
        quality_name("bleu")
