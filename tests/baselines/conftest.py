"""A small trained run, and a table, for the baselines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hwnas.latency.table import LatencyTable
from hwnas.pipeline.folder import RunFolder
from hwnas.pipeline.spec import DataSpec, RunSpec
from hwnas.pipeline.train import train_run
from hwnas.training.train import TrainOptions


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path, tiny_csv: Path) -> RunFolder:
    """A run whose super-network is trained."""
    made = RunFolder(tmp_path_factory.mktemp("baselines") / "run")
    data = DataSpec(task="reviews", train_file=str(tiny_csv))
    train = TrainOptions(max_steps=40, batch_size=16, learning_rate=0.003)
    train_run(made, RunSpec(model=str(tiny_folder), data=data, max_length=16, train=train))
    return made


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LatencyTable]:
    """A table that all tests share."""
    with LatencyTable(tmp_path_factory.mktemp("tables") / "t.sqlite") as made:
        yield made
