"""The front of a training as it stands: what its sub-networks lack to the whole network, against what they cost.

Klein et al. 2024 name it as future work to draw sub-networks near the Pareto front. The front that a search has found
can be given (`hwnas.training.sampling.read_front`); this one moves while the weights do, and needs no evaluation: in
every step the losses of its sub-networks and of the whole network are there, on the same batch.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hwnas.spaces import Architecture, Space

CURRENT = "current"
"""What `--front` is given for it."""

WINDOW = 256
"""Sub-networks that are remembered, the latest."""

FEWEST = 32
"""Sub-networks before there is a front."""

NEAREST = 8
"""Sub-networks that the loss of one is averaged over, itself included: one batch says little."""

_FILE = "moving_front.json"


class MovingFront:
    """The Pareto front of what was trained lately, by task loss and cost.

    Args:
        space: The search space; its lower end, which every step of `full` trains, is no part of the front.
        cost: Cost of a sub-network, in any unit.
    """

    def __init__(self, space: Space, cost: Callable[[Architecture], float]) -> None:
        self._cost, self._end = cost, space.smallest()
        size = space.dimensions
        self._sizes = np.array([size.heads] * size.layers + [size.units] * size.layers, dtype=np.float64)
        self._seen: deque[tuple[Architecture, float, float]] = deque(maxlen=WINDOW)  # with its cost
        self._members: list[Architecture] | None = None

    def tell(self, arch: Architecture, excess: float) -> None:
        """A sub-network was trained.

        Args:
            arch: Which.
            excess: Its task loss minus that of the whole network on the same batch.
        """
        if arch != self._end:
            self._seen.append((arch, excess, self._cost(arch)))
            self._members = None

    def members(self) -> list[Architecture]:
        """Those that no cheaper one is as good as, by rising cost; none before `FEWEST` were told."""
        if len(self._seen) < FEWEST:
            return []
        if self._members is None:
            self._members = self._find()
        return self._members

    def save(self, folder: Path) -> None:
        """Write what is remembered into a checkpoint."""
        lines = [{"architecture": arch.to_json(), "excess": excess} for arch, excess, _ in self._seen]
        (folder / _FILE).write_text(json.dumps(lines), encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Read what a checkpoint remembers; ValueError if it has none."""
        if not (folder / _FILE).is_file():
            raise ValueError(f"it has no {_FILE}, the front so far")
        lines = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        self._members = None
        self._seen.clear()
        for line in lines:
            self.tell(Architecture.from_json(line["architecture"]), float(line["excess"]))

    def _find(self) -> list[Architecture]:
        archs = [arch for arch, _, _ in self._seen]
        losses = smoothed(
            np.array([(*arch.head_counts, *arch.unit_counts) for arch in archs]) / self._sizes,
            np.array([excess for _, excess, _ in self._seen]),
        )
        costs = np.array([cost for _, _, cost in self._seen])
        found, best = [], np.inf
        for index in np.lexsort((losses, costs)):
            if losses[index] < best:
                best = losses[index]
                found.append(archs[index])
        return found


def smoothed(points: npt.NDArray[np.float64], values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The mean of the values of each point's nearest neighbours, itself included.

    Args:
        points: (n, dimensions).
        values: (n,).

    Returns:
        (n,).
    """
    squares = np.square(points).sum(axis=1)
    distances = squares[:, None] + squares[None, :] - 2 * points @ points.T
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :NEAREST]
    means: npt.NDArray[np.float64] = values[nearest].mean(axis=1)
    return means
