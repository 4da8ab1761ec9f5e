"""Measuring during a search: networks whose predicted interval leaves open whether they are on the front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import UsageError
from hwnas.latency.columns import Shape
from hwnas.latency.events import Reporter
from hwnas.latency.job import Wanted
from hwnas.latency.keys import network_key
from hwnas.latency.measure import measure_networks
from hwnas.latency.records import Measured
from hwnas.latency.table import LatencyTable
from hwnas.pipeline.device import Device
from hwnas.pipeline.judge import Judge
from hwnas.pipeline.progress import Progress
from hwnas.pipeline.reach import MEASURED
from hwnas.pipeline.train import SuperNet
from hwnas.slicing.extract import extract
from hwnas.spaces import Architecture

Values = NDArray[np.float64]


def overlaps(errors: Values, values: Values, lows: Values, highs: Values) -> Values:
    """How much of each interval lies on the other side of the front.

    The front a point is held against is that of all others: the least value among those whose error is no larger. An
    interval that ends before it, or begins behind it, says on which side the point is, and gives 0; one that it cuts
    in the middle gives 1.

    Args:
        errors, values, lows, highs: Error, predicted value and its interval of n points, shape (n,).

    Returns:
        Shape (n,), in [0, 1].
    """
    found = np.zeros(len(errors))
    for index in range(len(errors)):
        rivals = values[(errors <= errors[index]) & (np.arange(len(errors)) != index)]
        if len(rivals):
            found[index] = cut(float(rivals.min()), float(lows[index]), float(highs[index]))
    return found


def cut(bound: float, low: float, high: float) -> float:
    """How evenly a bound cuts an interval: 1 in the middle, 0 at its ends and beyond."""
    if high <= low:
        return 0.0
    share = min(1.0, max(0.0, (bound - low) / (high - low)))
    return 2.0 * min(share, 1.0 - share)


def is_measurable(device: Device) -> bool:
    """Whether networks can be measured for a device during a search: it is here, and the latency is among its costs."""
    return device.how == MEASURED and "latency" in device.names


@dataclass
class Refinement:
    """Measures the most doubtful networks of a search on the devices that are here, and fits their predictors again.

    Attributes:
        supernet: The super-network.
        devices: The devices of the search; those out of reach are left aside.
        table: Where measurements are looked up and stored.
        judge: Gives calibration examples.
        most: How many networks may be measured in all.
        say: Progress.
        seed: Seed of the order of measurements.
        remeasure: Measure rows with doubts once more; see `measure`.

    Raises:
        UsageError: No device is here, or the latency is not among the costs.
    """

    supernet: SuperNet
    devices: Sequence[Device]
    table: LatencyTable
    judge: Judge
    most: int
    say: Progress
    seed: int
    remeasure: bool = True
    _rows: dict[tuple[int, str], dict[str, Measured]] = field(default_factory=dict)
    _tried: set[tuple[int, str, Shape]] = field(default_factory=set)

    @property
    def spent(self) -> int:
        """How many have been measured, or could not be."""
        return len(self._tried)

    @property
    def measured(self) -> int:
        """How many networks have a row of this search; those that could not be measured have none."""
        return sum(map(len, self._rows.values()))

    def __post_init__(self) -> None:
        if self.most and not any(is_measurable(device) for device in self.devices):
            raise UsageError(
                f"--measure-during {self.most}: expected --objective latency and a device that is in this machine."
            )

    def __call__(self, found: Sequence[tuple[Architecture, float]], count: int) -> None:
        """Measure up to `count` networks, and fit again what they are about.

        Args:
            found: Architectures with their validation errors.
            count: How many to measure now; no more than are left of `most`.
        """
        count = min(count, self.most - self.spent)
        if count <= 0:
            return
        chosen = self._choose(found, count)
        self._tried |= {(number, precision, arch.shape) for number, precision, arch in chosen}
        groups: dict[tuple[int, str], list[Architecture]] = {}
        for number, precision, arch in chosen:
            groups.setdefault((number, precision), []).append(arch)
        for (number, precision), archs in groups.items():
            device = self.devices[number]
            setting, config = device.settings[precision], self.supernet.model.config
            rows, _ = measure_networks(
                config,
                [Wanted(arch, "member", extract(self.supernet.model, arch)) for arch in archs],
                setting,
                self.table,
                report=Reporter(lambda stage, done, total: self.say(f"{stage} (during)", done, total, "")),
                seed=self.seed,
                remeasure=self.remeasure,
                calibration=self.judge.calibration(setting),
            )
            known = self._rows.setdefault((number, precision), {})
            for key in (network_key(config, arch) for arch in archs):
                row = rows[key]
                if isinstance(row, Measured):
                    known[key] = row
            if known:
                device.learn(precision, known)

    def _choose(self, found: Sequence[tuple[Architecture, float]], count: int) -> list[tuple[int, str, Architecture]]:
        """The most doubtful networks: (number of the device, precision, architecture), each shape once."""
        ranked: list[tuple[float, float, int, int, str, Architecture]] = []
        for number, device in enumerate(self.devices):
            if not is_measurable(device):
                continue
            points = [(precision, arch, error) for arch, error in found for precision in device.settings]
            errors = np.array([error for _, _, error in points])
            values = np.array([device.values(arch, precision)["latency"] for precision, arch, _ in points])
            ends = [device.interval("latency", arch, precision) for precision, arch, _ in points]
            lows, highs = (np.array([end[side] for end in ends]) for side in (0, 1))
            share = overlaps(errors, values, lows, highs)
            for limit in device.limits:
                if limit.cost == "latency":
                    at_limit = np.array([cut(limit.most, low, high) for low, high in ends])
                    share = np.maximum(share, at_limit * _on_front(errors, values))
            for index, (precision, arch, _) in enumerate(points):
                tried = (number, precision, arch.shape) in self._tried  # what failed once is not tried again
                if share[index] > 0 and not tried and not device.is_known(arch, precision):
                    width = float((highs[index] - lows[index]) / values[index])
                    ranked.append((-float(share[index]), -width, len(ranked), number, precision, arch))
        chosen: dict[tuple[int, str, Shape], tuple[int, str, Architecture]] = {}
        for _, _, _, number, precision, arch in sorted(ranked, key=lambda entry: entry[:3]):
            if len(chosen) < count:
                chosen.setdefault((number, precision, arch.shape), (number, precision, arch))
        return list(chosen.values())


def _on_front(errors: Values, values: Values) -> NDArray[np.bool_]:
    """Which points no other beats in both, shape (n,)."""
    return np.array(
        [
            not ((errors <= error) & (values <= value) & ((errors < error) | (values < value))).any()
            for error, value in zip(errors, values, strict=True)
        ],
        dtype=np.bool_,
    )
