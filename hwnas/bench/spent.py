"""What the sub-networks of a search cost, in whole trainings: one that was stopped early cost a share of one."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate

import numpy as np

from hwnas.bench.folder import Row
from hwnas.bench.statistics import Array

_STOPPED = "stopped:"


def stopped(level: int, levels: int) -> str:
    """The flag of a row whose training was stopped after some of its resource levels; empty after all of them."""
    return f"{_STOPPED}{level}/{levels}" if level < levels else ""


def share(row: Row) -> Fraction:
    """Which share of a whole training a sub-network was trained for; 1 unless it was stopped."""
    for flag in row.flags.split():
        if flag.startswith(_STOPPED):
            return Fraction(flag.removeprefix(_STOPPED))
    return Fraction(1)


def spent(rows: Sequence[Row]) -> Array:
    """How many whole trainings, or evaluations, a search had spent up to each row, (n,), those that failed included.

    Rows that do not say so are from earlier versions: there what is not in the rows cannot be counted.
    """
    told = [row.spent for row in rows if row.spent is not None]
    return np.array(told if len(told) == len(rows) else [float(total) for total in accumulate(map(share, rows))])
