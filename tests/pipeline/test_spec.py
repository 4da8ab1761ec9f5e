"""What makes two runs the same, and which network a profile is for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from hwnas.errors import UsageError
from hwnas.pipeline.folder import RunFolder
from hwnas.pipeline.profile import config_of
from hwnas.pipeline.spec import DataSpec, RunSpec, first_difference
from hwnas.training.options import BUDGETED, TrainOptions
from hwnas.training.strategy import strategy_names


@pytest.mark.parametrize(
    ("train", "difference"),
    [
        ({"strategy": "standard"}, None),
        ({"strategy": "sandwich"}, None),
        ({"teacher": "folder"}, None),
        ({"whole_weight": 1.0}, None),
        ({}, ("whole-weight", 1.0, 7.0)),
    ],
)
def test_a_run_of_an_earlier_version_is_another_only_where_a_default_has_changed(
    train: dict[str, Any], difference: tuple[str, float, float] | None
) -> None:
    spec = RunSpec(model=None, data=DataSpec(task="docstrings"), train=TrainOptions(**train))
    told = spec.to_json()
    del told["train"]["whole_weight"], told["front_device"]
    assert first_difference(RunSpec.from_json(told), spec) == difference


@pytest.mark.parametrize(
    ("name", "options"), [(name, {}) for name in strategy_names()] + [(name, {"k": 0}) for name in BUDGETED]
)
def test_a_run_is_no_other_than_itself(name: str, options: dict[str, Any]) -> None:
    spec = RunSpec(model=None, data=DataSpec(task="docstrings"), train=TrainOptions(strategy=name, **options))
    assert first_difference(spec, spec) is None
    assert first_difference(RunSpec.from_json(spec.to_json()), spec) is None


def test_the_labels_of_a_network_without_a_run_can_be_given(tiny_folder: Path) -> None:
    nowhere = RunFolder(Path(os.devnull))
    arguments: dict[str, Any] = {"model": str(tiny_folder), "task": "docstrings", "data_dir": None, "num_labels": 7}
    assert config_of(nowhere, required=False, **arguments).num_labels == 7
    with pytest.raises(UsageError, match="a run has the labels of its data; leave it out, or the run"):
        config_of(nowhere, required=True, **arguments)
