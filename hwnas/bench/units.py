"""The smallest pieces of work: one search, or one network, on one task with one seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hwnas.bench.figures import LATENCY, QUANTISED, STANDARD, WEIGHT_SHARING, Series


@dataclass(frozen=True)
class Unit:
    """A piece of work. Figures that compare the same share it.

    Attributes:
        task: Name of the task.
        approach: As of `Series`.
        space: Name of the search space.
        strategy: Name of the super-network strategy.
        method: Name of the searcher, or of the precision.
        seed: Seed of data, training, examples and searcher.
        evaluations: Sub-networks to propose; 0 where nothing is searched.
    """

    task: str
    approach: str
    space: str
    strategy: str
    method: str
    seed: int
    evaluations: int

    @property
    def name(self) -> str:
        """Name of its files, without ending."""
        budget = f"-{self.evaluations}" if self.evaluations else ""
        return f"{self.task}-{self.approach}-{self.space}-{self.strategy}-{self.method}{budget}-seed{self.seed}"

    @property
    def supernet(self) -> str | None:
        """Name of the super-network that it needs, which units of the same task, space, strategy and seed share."""
        if self.approach == STANDARD:
            return None
        return f"{self.task}-{self.space}-{self.strategy}-seed{self.seed}"

    @property
    def needs(self) -> Unit | None:
        """The unit whose rows it starts from."""
        if self.approach != LATENCY:
            return None
        return Unit(
            self.task, WEIGHT_SHARING, self.space, self.strategy, self.method, self.seed, self.evaluations
        )  # fmt: skip


def plan(series: Sequence[Series], tasks: Sequence[str], seeds: Sequence[int], evaluations: int) -> list[Unit]:
    """The units of a figure, those that others start from first; all of a seed before the next seed.

    Tasks take turns: of two units of the same task at once each might train what the other trains.

    Args:
        series: What the figure compares.
        tasks: Names of the tasks.
        seeds: The seeds.
        evaluations: Sub-networks that every search proposes.
    """
    units: dict[Unit, None] = {}
    for seed in seeds:
        for entry in series:
            for task in tasks:
                unit = unit_of(entry, task, seed, evaluations)
                if unit.needs is not None:
                    units[unit.needs] = None
                units[unit] = None
    return list(units)


def unit_of(series: Series, task: str, seed: int, evaluations: int) -> Unit:
    """The unit of one series on a task with a seed."""
    budget = 0 if series.approach == QUANTISED else evaluations
    return Unit(task, series.approach, series.space, series.strategy, series.method, seed, budget)
