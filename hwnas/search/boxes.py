"""What points add to a hypervolume that others have, all objectives maximised: by boxes, and by a kept library."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from typing import Any

import moocore
import numpy as np


def boxes_left(results: Any, reference: Any) -> tuple[Any, Any]:
    """The space beyond a reference that no result dominates, cut into boxes; three objectives, all maximised.

    The results are met from the largest third objective downwards. The strips along the first objective that those met
    so far leave change only beside the next one: there boxes end, and begin anew below it.

    Args:
        results: (n, 3).
        reference: (3,).

    Returns:
        Lower and upper ends, (boxes, 3) each; some upper ends are infinite.
    """
    inside = results[(results > reference).all(axis=1)]
    inside = inside[np.argsort(-inside[:, 2], kind="stable")]
    done: list[tuple[float, ...]] = []
    first, second, third = reference.tolist()
    strips = [(first, math.inf, second, math.inf)]  # from, to, least second objective, third objective it begins at
    for x, y, z in inside.tolist():
        start = bisect_right(strips, -y, key=lambda strip: -strip[2])  # levels fall from left to right
        end = bisect_left(strips, x, key=lambda strip: strip[0])
        if start >= end:  # dominated
            continue
        changed = []
        for low, high, level, top in strips[start:end]:
            if z < top:
                done.append((low, level, z, min(high, x), math.inf, top))
            if high > x:
                changed.append((x, high, level, top))
        strips[start:end] = [(strips[start][0], x, y, z), *changed]
    done.extend((low, level, third, high, math.inf, top) for low, high, level, top in strips if third < top)
    ends = np.array(done, dtype=np.float64)
    return ends[:, :3], ends[:, 3:]


def still_free(boxes: list[tuple[Any, Any]] | None, there: Any, reference: Any) -> list[tuple[Any, Any]]:
    """The free boxes of each sample: at first those of all points, then without what the last of them covers.

    Args:
        boxes: Of the points but the last, by sample; None at first.
        there: (samples, n, 3), maximised.
        reference: (3,).
    """
    if boxes is None:
        return [boxes_left(front, reference) for front in there]
    return [_without(*ends, front[-1]) for ends, front in zip(boxes, there, strict=True)]


def below(lower: Any, upper: Any, points: Any) -> Any:
    """Volume of boxes, (n, 3) and (n, 3), that lies below each of some points, (points, 3)."""
    volume = 1.0
    for column in range(3):
        sides = np.minimum(points[:, column, None], upper[:, column])
        sides -= lower[:, column]
        volume = volume * np.maximum(sides, 0.0, out=sides)
    return volume.sum(axis=1)  # type: ignore[attr-defined]


def added(there: Any, new: Any, reference: Any) -> Any:
    """Mean over samples of the hypervolume that each new point adds to those there.

    Args:
        there, new: (samples, n, objectives) and (samples, points, objectives), maximised.
        reference: (objectives,).

    Returns:
        (points,).
    """
    total, least = np.zeros(new.shape[1]), -reference
    for front, points in zip(-there, -new, strict=True):
        front = moocore.filter_dominated(front)
        for index, point in enumerate(points):
            if (point < least).all():  # its box, without what the others cover of it
                covered = moocore.hypervolume(np.maximum(front, point), ref=least)
                total[index] += float(np.prod(least - point)) - covered
    return total / len(new)


def _without(lower: Any, upper: Any, point: Any) -> tuple[Any, Any]:
    """Boxes, (n, 3) and (n, 3), without what lies below a point: up to three are left of one that it reaches into."""
    reached = (lower < point).all(axis=1)
    low, high = lower[reached], upper[reached]
    lows, highs = [lower[~reached]], [upper[~reached]]
    for column in range(3):  # what is beyond the point in this objective, and then the rest
        beyond = high[:, column] > point[column]
        part = low[beyond].copy()
        part[:, column] = point[column]
        lows.append(part)
        highs.append(high[beyond])
        high = high.copy()
        high[:, column] = np.minimum(high[:, column], point[column])
    return np.concatenate(lows), np.concatenate(highs)
