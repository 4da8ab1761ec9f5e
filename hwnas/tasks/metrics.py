"""Quality of predictions, in numpy alone: accuracy, F1, Matthews, Pearson and Spearman correlation.

Every metric is better when it is larger and is 1 at its best. Correlations can be negative. A metric that is not
defined, such as the correlation of constant predictions, is 0 and never NaN.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import DataError, UnknownNameError

Array = NDArray[np.float64]


def compute_quality(metric: str, logits: np.ndarray, labels: np.ndarray) -> float:
    """Quality of the outputs of a model.

    Args:
        metric: A name in `metric_names()`.
        logits: Outputs of the model, shape (n, num_labels); regression has one column, or shape (n,).
        labels: Shape (n,): class indices, or the values for regression.

    Returns:
        The quality, larger is better: accuracy and F1 in [0, 1], the others in [-1, 1]. A row with NaN among its
        logits counts as a wrong prediction; a correlation with such a row is 0.

    Raises:
        UnknownNameError: No metric of that name.
        DataError: No rows, or logits and labels that do not fit each other.
    """
    function, _, regression = _known(metric)
    outputs = np.asarray(logits, dtype=np.float64)
    truth = np.asarray(labels)
    if outputs.ndim == 1:
        outputs = outputs[:, None]
    if outputs.ndim != 2 or truth.ndim != 1 or len(outputs) != len(truth) or len(truth) == 0:
        raise DataError(
            f"{metric}: logits {np.shape(logits)} and labels {truth.shape} do not fit; expected (n, num_labels) and "
            "(n,) with n of at least 1."
        )
    if regression:
        if outputs.shape[1] != 1:
            raise DataError(f"{metric} compares numbers: expected 1 output per row, got {outputs.shape[1]}.")
        return float(function(outputs[:, 0], truth.astype(np.float64)))
    if outputs.shape[1] < 2:
        raise DataError(f"{metric} compares classes: expected 2 or more outputs per row, got {outputs.shape[1]}.")
    predicted = np.where(np.isnan(outputs).any(axis=1), -1.0, outputs.argmax(axis=1))
    return float(function(predicted, truth.astype(np.float64)))


def error(metric: str, logits: np.ndarray, labels: np.ndarray) -> float:
    """1 - `compute_quality`: what the search minimises. Arguments and errors are the same."""
    return 1.0 - compute_quality(metric, logits, labels)


def constant_error(metric: str, labels: np.ndarray) -> float:
    """Error of the best of all answers that are always the same: whoever is not below it has learnt nothing.

    Args:
        metric: A name in `metric_names()`.
        labels: Shape (n,): class indices, or the values for regression, whose mean is the answer.

    Raises:
        UnknownNameError: No metric of that name.
        DataError: No labels.
    """
    function, _, regression = _known(metric)
    truth = np.asarray(labels, dtype=np.float64)
    if not truth.size:
        raise DataError(f"{metric}: no labels, expected at least 1.")
    answers = [truth.mean()] if regression else np.unique(truth)
    return 1.0 - max(function(np.full(len(truth), answer), truth) for answer in answers)


def worst_error(metric: str) -> float:
    """Largest error that there can be: 2 for correlations, else 1; UnknownNameError if there is no such metric."""
    return 2.0 if _known(metric)[1].endswith("correlation") else 1.0


def quality_name(metric: str) -> str:
    """The metric's name for tables and axes, such as ``"Matthews correlation"``; UnknownNameError if there is none."""
    return _known(metric)[1]


def metric_names() -> tuple[str, ...]:
    """Names of all metrics."""
    return tuple(_METRICS)


def _known(metric: str) -> tuple[Callable[[Array, Array], float], str, bool]:
    """The entry of `_METRICS`; UnknownNameError if there is none."""
    if metric not in _METRICS:
        raise UnknownNameError("metric", metric, _METRICS)
    return _METRICS[metric]


def _accuracy(predicted: Array, truth: Array) -> float:
    return float(np.mean(predicted == truth))


def _f1(predicted: Array, truth: Array) -> float:
    """F1 of class 1 with two classes, the mean of each class's F1 with more."""
    classes = np.union1d(truth, predicted[predicted >= 0])
    if classes.max(initial=0.0) <= 1:
        return _f1_of(1.0, predicted, truth)
    return float(np.mean([_f1_of(label, predicted, truth) for label in classes]))


def _f1_of(label: float, predicted: Array, truth: Array) -> float:
    total = np.sum(predicted == label) + np.sum(truth == label)
    return float(2 * np.sum((predicted == label) & (truth == label)) / total) if total else 0.0


def _matthews(predicted: Array, truth: Array) -> float:
    """Matthews correlation for any number of classes: the R_K statistic of Gorodkin (2004)."""
    classes = np.union1d(predicted, truth)
    t = np.array([np.sum(truth == label) for label in classes], dtype=np.float64)
    p = np.array([np.sum(predicted == label) for label in classes], dtype=np.float64)
    n = float(len(truth))
    scale = np.sqrt((n * n - p @ p) * (n * n - t @ t))
    return float((np.sum(predicted == truth) * n - t @ p) / scale) if scale > 0 else 0.0


def _pearson(predicted: Array, truth: Array) -> float:
    if not (np.isfinite(predicted).all() and np.isfinite(truth).all()):
        return 0.0
    if np.ptp(predicted) == 0 or np.ptp(truth) == 0:
        return 0.0
    x, y = predicted - predicted.mean(), truth - truth.mean()
    x, y = x / np.abs(x).max(), y / np.abs(y).max()
    return float(np.clip(x @ y / np.sqrt((x @ x) * (y @ y)), -1.0, 1.0))


def _spearman(predicted: Array, truth: Array) -> float:
    if not (np.isfinite(predicted).all() and np.isfinite(truth).all()):
        return 0.0
    return _pearson(_ranks(predicted), _ranks(truth))


def _ranks(values: Array) -> Array:
    """Ranks from 1; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(counts) - (counts - 1) / 2
    return np.asarray(mean_rank[inverse], dtype=np.float64)


# name -> (function, name for people, compares numbers instead of classes)
_METRICS: dict[str, tuple[Callable[[Array, Array], float], str, bool]] = {
    "accuracy": (_accuracy, "accuracy", False),
    "f1": (_f1, "F1", False),
    "matthews": (_matthews, "Matthews correlation", False),
    "pearson": (_pearson, "Pearson correlation", True),
    "spearman": (_spearman, "Spearman correlation", True),
}
