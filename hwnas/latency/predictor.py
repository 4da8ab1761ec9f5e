"""From measured whole networks to the latency of any sub-network: an additive law with an error bar.

    t = c0 + sum over layers of ([heads > 0] (a + f(heads)) + [units > 0] (b + g(units)))

f and g rise and start at 0. All coefficients are fitted together, on whole networks, by least squares of the relative
error with none below 0. Source of the law: blocks timed alone and added up are off by several percent, all in one
direction, while a fit on whole networks is not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hwnas.errors import TableError, UsageError
from hwnas.latency.records import Predicted, PredictedMemory
from hwnas.spaces.architecture import Architecture

Array = npt.NDArray[np.float64]
Shape = tuple[tuple[int, int], ...]

_LEVEL = 0.95  # of the intervals
_GAIN = 0.9  # a bent f or g must bring the leave-one-out error under this share of the straight ones'
_CONSTANTS = 3  # c0, a, b: the columns before those of f and g


def nonnegative_least_squares(matrix: Array, target: Array) -> Array:
    """The x >= 0 that minimises |matrix x - target|.

    Args:
        matrix: Shape (n, k).
        target: Shape (n,).

    Returns:
        Shape (k,).

    Source: C. L. Lawson and R. J. Hanson, Solving Least Squares Problems, 1974, chapter 23.
    """
    scale = np.linalg.norm(matrix, axis=0)
    scale[scale == 0] = 1.0
    matrix = matrix / scale
    columns = matrix.shape[1]
    x, passive = np.zeros(columns), np.zeros(columns, dtype=bool)
    tolerance = 1e-10 * float(np.abs(matrix.T @ target).max(initial=1e-300))
    for _ in range(10 * columns):
        gradient = matrix.T @ (target - matrix @ x)
        gradient[passive] = -np.inf
        if passive.all() or gradient.max() <= tolerance:
            break
        passive[int(gradient.argmax())] = True
        while True:
            trial = np.zeros(columns)
            trial[passive] = np.linalg.lstsq(matrix[:, passive], target, rcond=None)[0]
            blocked = passive & (trial <= 0)
            if not blocked.any():
                x = trial
                break
            step = float((x[blocked] / np.maximum(x[blocked] - trial[blocked], 1e-300)).min())
            x = x + step * (trial - x)
            passive &= x > 1e-12 * max(1e-300, float(x.max()))
            x[~passive] = 0.0
            if not passive.any():
                break
    return np.asarray(x / scale, dtype=np.float64)


@dataclass(frozen=True)
class Law:
    """One fitted additive law.

    Attributes:
        head_knots: Where f may bend, rising, the largest number of heads last.
        unit_knots: The same for g and units.
        coefficients: c0, a, b, the slopes of f between its knots, the slopes of g; all >= 0.
        residuals: Relative errors (predicted / measured - 1), each of a network that its own fit had not seen.
        split: Whether a and b were seen apart. If not, every layer of the fit had both blocks, a and b are half
            of their sum each, and what one block alone costs is known only to that extent.
    """

    head_knots: tuple[int, ...]
    unit_knots: tuple[int, ...]
    coefficients: tuple[float, ...]
    residuals: tuple[float, ...]
    split: bool

    @property
    def error(self) -> float:
        """Root mean square of the residuals."""
        return float(np.sqrt(np.mean(np.square(self.residuals))))

    @property
    def margin(self) -> float:
        """Half-width of the interval, relative: the quantile of the absolute residuals that covers 95%.

        The largest one for all n up to 38. Source: R. F. Barber et al., Predictive inference with
        the jackknife+, Annals of Statistics 49(1), 2021.
        """
        ordered = np.sort(np.abs(self.residuals))
        return float(ordered[min(len(ordered), math.ceil(_LEVEL * (len(ordered) + 1))) - 1])

    def predict(self, shape: Shape) -> tuple[float, float, float]:
        """(value, low, high) for the (heads, units) of the layers that remain."""
        features = _features([shape], self.head_knots, self.unit_knots)[0]
        value = float(features @ np.array(self.coefficients))
        # A lone block costs between nothing of the shared constant a + b and all of it.
        lone = 0 if self.split else sum((heads > 0) != (units > 0) for heads, units in shape)
        doubt = self.margin * value + lone * self.coefficients[1]
        return value, max(0.0, value - doubt), value + doubt


def fit_law(shapes: Sequence[Shape], values: Sequence[float] | Array, *, bend: bool = True) -> Law:
    """Fit the law to measured networks.

    Besides straight f and g it tries ones with one and two bends, and takes them only if the error on left-out
    networks falls by a tenth or more.

    Args:
        shapes: (heads, units) of the remaining layers, one entry a network, n in all.
        values: What was measured, shape (n,), all above 0: seconds or bytes.
        bend: Whether to try bends.

    Raises:
        TableError: Fewer than `MIN_ROWS` networks.
        UsageError: A value is not above 0.
    """
    target = np.asarray(values, dtype=np.float64)
    if len(shapes) < MIN_ROWS:
        raise TableError(f"{len(shapes)} measured networks are too few for a fit; expected {MIN_ROWS} or more.")
    if not (target > 0).all():
        raise UsageError("only values above 0 can be fitted.")
    heads = max((pair[0] for shape in shapes for pair in shape), default=1) or 1
    units = max((pair[1] for shape in shapes for pair in shape), default=1) or 1
    best = _fit(shapes, target, (heads,), (units,))
    if not bend:
        return best
    straight = best.error
    for head_bends, unit_bends in ((2, 1), (1, 2), (2, 2), (3, 1), (1, 3), (3, 3)):
        law_knots = _knots(heads, head_bends), _knots(units, unit_bends)
        if _CONSTANTS + sum(map(len, law_knots)) > len(shapes) // 2:
            continue
        law = _fit(shapes, target, *law_knots)
        if law.error < min(best.error, _GAIN * straight):
            best = law
    return best


MIN_ROWS = 6
"""Fewest measured networks for a fit."""


class Predictor:
    """Latency and peak memory of any sub-network of one super-network, in one setting.

    Args:
        shapes: (heads, units) of the remaining layers of the measured networks, n in all.
        seconds: Their latencies, shape (n,).
        memory: Their peak memory in bytes, None where it was not measured, shape (n,).

    Raises:
        TableError: Fewer than `MIN_ROWS` networks.
    """

    def __init__(self, shapes: Sequence[Shape], seconds: Sequence[float], memory: Sequence[int | None] = ()) -> None:
        self.latency = fit_law(shapes, seconds)
        known = [(shape, float(value)) for shape, value in zip(shapes, memory, strict=False) if value]
        self.memory = (
            fit_law([shape for shape, _ in known], [value for _, value in known], bend=False)
            if len(known) >= MIN_ROWS
            else None
        )
        self.networks = len(shapes)

    def predict(self, arch: Architecture) -> Predicted:
        """Latency of a sub-network in seconds, with its interval."""
        return Predicted(*self.latency.predict(arch.shape))

    def predict_memory(self, arch: Architecture) -> PredictedMemory:
        """Peak memory of a sub-network in bytes, with its interval.

        Raises:
            TableError: The memory of too few networks was measured.
        """
        if self.memory is None:
            raise TableError(
                f"the table holds the peak memory of fewer than {MIN_ROWS} networks of the fit; measure again where "
                "a process of its own can be started."
            )
        value, low, high = self.memory.predict(arch.shape)
        return PredictedMemory(round(value), round(low), round(high))

    def to_json(self) -> dict[str, Any]:
        """Both laws as JSON types, for a report."""
        laws = {"latency": self.latency, "memory": self.memory}
        return {
            name: None
            if law is None
            else {**law.__dict__, "error": law.error, "margin": law.margin, "networks": len(law.residuals)}
            for name, law in laws.items()
        }


def _knots(largest: int, pieces: int) -> tuple[int, ...]:
    """`pieces` rising knots up to `largest`, evenly spread over whole numbers; fewer if there is no room."""
    return tuple(sorted({max(1, round(largest * (i + 1) / pieces)) for i in range(pieces)}))


def _segments(values: Array, knots: Sequence[int]) -> Array:
    """How far each value reaches into each piece, shape (n, pieces); the last piece has no end."""
    lower = np.array((0, *knots[:-1]), dtype=np.float64)
    upper = np.array((*knots[:-1], np.inf), dtype=np.float64)
    return np.clip(values[:, None], lower, upper) - lower


def _features(shapes: Sequence[Shape], head_knots: Sequence[int], unit_knots: Sequence[int]) -> Array:
    """Columns: 1, attention blocks, feed-forward blocks, pieces of f, pieces of g; shape (n, k)."""
    rows = []
    for shape in shapes:
        pairs = np.array(shape, dtype=np.float64).reshape(-1, 2)
        blocks = (pairs > 0).sum(axis=0)
        heads = _segments(pairs[:, 0], head_knots).sum(axis=0)
        units = _segments(pairs[:, 1], unit_knots).sum(axis=0)
        rows.append(np.concatenate(([1.0], blocks, heads, units)))
    return np.array(rows)


def _solve(features: Array, target: Array) -> tuple[Array, bool]:
    """Coefficients by least squares of the relative error, and whether a and b were seen apart."""
    weighted = features / target[:, None]
    ones = np.ones(len(target))
    if not np.array_equal(features[:, 1], features[:, 2]):
        return nonnegative_least_squares(weighted, ones), True
    joined = np.delete(weighted, 2, axis=1)
    found = nonnegative_least_squares(joined, ones)
    found[1] /= 2
    return np.insert(found, 2, found[1]), False


def _fit(shapes: Sequence[Shape], target: Array, head_knots: tuple[int, ...], unit_knots: tuple[int, ...]) -> Law:
    features = _features(shapes, head_knots, unit_knots)
    coefficients, split = _solve(features, target)
    residuals = []
    for left_out in range(len(target)):
        kept = np.arange(len(target)) != left_out
        without, _ = _solve(features[kept], target[kept])
        residuals.append(float(features[left_out] @ without / target[left_out] - 1))
    return Law(head_knots, unit_knots, tuple(float(value) for value in coefficients), tuple(residuals), split)
