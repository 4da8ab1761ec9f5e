"""The widths of the steps in which a measured device takes heads and units.

Looked at are networks that differ from the whole super-network in heads alone, or in units alone; `hwnas profile` with
`--sweep` measures such. Two laws are fitted to the latencies t of one sweep over widths w, both with coefficients that
are not below 0 and by least squares of the relative error:

    steadily    t = c0 + pieces(w)
    in stairs   t = c0 + pieces(w) + c1 ceil(w / m)

`pieces` are straight between a few knots, so a curve that bends is no staircase.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from hwnas.errors import MissingProfileError
from hwnas.latency.columns import WIDTHS, Array, Shape
from hwnas.latency.keys import network_shape
from hwnas.latency.profile import of_model
from hwnas.latency.records import Measured, Setting
from hwnas.latency.setting import say_others
from hwnas.latency.solve import nonnegative_least_squares
from hwnas.latency.table import LatencyTable
from hwnas.models import get_family
from hwnas.models.dimensions import Dimensions
from hwnas.spaces.align import Align

FEWEST = 8
"""Fewest widths of a sweep that can tell stairs from a slope; a block with fewer heads has no steps of heads."""

_KNOTS = (0.0, 1 / 12, 1 / 6, 1 / 3, 2 / 3)  # of the largest width
_STRONG = 3.0  # log Bayes factor; "strong" on the scale of Kass and Raftery (1995) is 3 to 5
_SHARE = 0.5  # of the rise that must come in stairs: with less, half a step is still worth half of it
_STAIRS = 3  # steps that the largest width must hold: a single jump is no staircase
_EXACT = 1e-4  # relative; no latency is known better
_TILES = (*WIDTHS, 256)  # widths in units; tiles of matrix products are at most 256 wide


def load_steps(config: Any, setting: Setting, table: LatencyTable) -> Align:
    """The steps of heads and units in a setting, from the sweeps that the table holds; measures nothing.

    Args:
        config: Hugging Face configuration of the super-network.
        setting: From `make_setting`, or one of the table's.
        table: The latency table.

    Raises:
        MissingProfileError: It holds no sweeps of this model in this setting; names the command that measures them.
        UnsupportedModelError: The family has no adapter.
    """
    dimensions = get_family(config).dimensions(config)
    rows = [(network_shape(network), row) for network, _, row in table.rows(setting) if of_model(network, config)]
    found = measured_steps(dimensions, rows)
    if found is None:
        heads, units = (len(widths_of(dimensions, rows, part)[0]) for part in (0, 1))
        others = say_others(setting, table)
        raise MissingProfileError(
            f"{table.name} has no sweeps of this model in this setting ({heads} widths of heads and {units} of units "
            f"alone, without doubts){'' if others is None else f'; {others}'}",
            f"{setting.options()} --sweep",
        )
    return found


def measured_steps(dimensions: Dimensions, rows: Iterable[tuple[Shape, Measured]]) -> Align | None:
    """The steps of heads and units that measured networks show.

    Args:
        dimensions: Sizes of the super-network.
        rows: (heads, units) of the remaining layers of networks, and what was measured, all in one setting; those that
            differ from the whole network in more than one thing, and those with doubts, are left out.

    Returns:
        (step of heads, step of units), 1 where no stairs are seen; None if either was measured at fewer than `FEWEST`
        widths, or than there are.
    """
    rows = list(rows)
    steps = []
    for part, most in enumerate((dimensions.heads, dimensions.units)):
        widths, seconds = widths_of(dimensions, rows, part)
        if len(widths) < min(FEWEST, most):
            return None
        candidates = range(2, most // _STAIRS + 1) if part == 0 else _TILES
        steps.append(step_width(widths, seconds, candidates))
    return steps[0], steps[1]


def widths_of(
    dimensions: Dimensions, rows: Sequence[tuple[Shape, Measured]], part: int
) -> tuple[list[int], list[float]]:
    """The sweep over one part, in rising order.

    Args:
        dimensions: Sizes of the super-network.
        rows: As for `measured_steps`.
        part: 0 for heads, 1 for units.

    Returns:
        Widths, and latencies in seconds, both shape (n,).
    """
    whole = (dimensions.heads, dimensions.units)
    found = {
        shape[0][part]: row.seconds
        for shape, row in rows
        if not row.doubts and len(shape) == dimensions.layers and len(set(shape)) == 1
        and shape[0][1 - part] == whole[1 - part] and shape[0][part] > 0
    }  # fmt: skip
    return sorted(found), [found[width] for width in sorted(found)]


def step_width(widths: Sequence[int], seconds: Sequence[float], candidates: Iterable[int]) -> int:
    """The width of a step: the smallest one that explains the latencies best, 1 if a steady rise does as well.

    Stairs must be more likely than the steady law by a Bayes factor of e^3, by the Bayesian information criterion, one
    of the candidates being looked for; and half of the rise must come in stairs.

    Args:
        widths: What was measured, shape (n,), above 0 and rising.
        seconds: The latencies, shape (n,), all above 0.
        candidates: Widths of a step to look for; those that do not fit three times into the largest width are left out.

    Sources: G. Schwarz, Estimating the dimension of a model, Annals of Statistics 6(2), 1978; R. E. Kass and A. E.
    Raftery, Bayes factors, Journal of the American Statistical Association 90, 1995, for what is strong.
    """
    count, largest = len(widths), max(widths, default=0)
    tried = sorted({step for step in candidates if step > 1 and _STAIRS * step <= largest})
    if count < FEWEST or not tried:
        return 1
    width, times = np.array(widths, dtype=np.float64), np.array(seconds, dtype=np.float64)
    knots = np.array(_KNOTS) * largest
    ends = np.append(knots[1:], largest)
    steady = np.concatenate([np.ones((count, 1)), (np.clip(width[:, None], knots, ends) - knots) / largest], axis=1)
    plain = _fit(steady, times)[0]
    best, found = _STRONG + math.log(len(tried)) + 0.5 * math.log(count), 1
    for step in tried:
        stairs = np.ceil(width / step)[:, None] * step / largest
        misfit, share = _fit(np.concatenate([steady, stairs], axis=1), times)
        gain = 0.5 * count * math.log(plain / misfit)
        if share >= _SHARE and gain > best + 1e-9:
            best, found = gain, step
    return found


def _fit(columns: Array, seconds: Array) -> tuple[float, float]:
    """Sum of squared relative errors of the best fit, and the last column's share of all rise over the widths."""
    coefficients = nonnegative_least_squares(columns / seconds[:, None], np.ones(len(seconds)))
    errors = columns @ coefficients / seconds - 1
    rise = coefficients * (columns[-1] - columns[0])
    total = float(rise.sum())
    return float(errors @ errors) + len(seconds) * _EXACT**2, float(rise[-1]) / total if total > 0 else 0.0
