"""What a run folder keeps of a training's options: where files are, what was in them, where logs go."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from hwnas.errors import RunFolderError, UsageError
from hwnas.pipeline.folder import RunFolder
from hwnas.pipeline.spec import DataSpec, RunSpec
from hwnas.pipeline.train import train_run
from hwnas.training.train import TrainOptions


class Killed(Exception):
    """Ends a training in its first step."""


def begin(folder: RunFolder, model: Path, csv: Path, **options: Any) -> dict[str, Any]:
    """Begin a run, or go on with it, and stop in the first step; what is in `run.json`."""

    def kill(station: str, done: int, *_: Any) -> None:
        if station == "train" and done:
            raise Killed

    train = TrainOptions(max_steps=2, batch_size=4, **{"k": 0, **options})
    spec = RunSpec(model=str(model), data=DataSpec(task="reviews", train_file=str(csv)), max_length=16, train=train)
    with pytest.raises(Killed):
        train_run(folder, spec, progress=kill)
    content: dict[str, Any] = json.loads((folder.path / "run.json").read_text())
    return content


def test_files_that_change_between_two_starts_are_refused(
    tiny_folder: Path, tiny_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(begin(RunFolder(tmp_path / "plain"), tiny_folder, tiny_csv)) == {"schema", "data_fingerprint", "spec"}

    monkeypatch.chdir(tmp_path)
    front, teacher, folder = tmp_path / "front.json", tmp_path / "teacher", RunFolder(tmp_path / "run")
    whole, half = ({"heads": [heads] * 3, "units": [20] * 3} for heads in (4, 2))
    front.write_text(json.dumps([whole]))
    shutil.copytree(tiny_folder, teacher)
    options = {"front": str(front), "front_share": 0.5, "teacher": "teacher", "k": 1}
    kept = begin(folder, tiny_folder, tiny_csv, **options)
    assert set(kept["files"]) == {"front", "teacher"}
    assert kept["spec"]["train"]["teacher"] == str(teacher), "good from anywhere"
    assert begin(folder, tiny_folder, tiny_csv, **options) == kept

    front.write_text(json.dumps([half]))
    with pytest.raises(RunFolderError, match=r"contents of --front have changed since .* restore them, or") as error:
        begin(folder, tiny_folder, tiny_csv, **options)
    assert "\n" not in str(error.value)
    front.write_text(json.dumps([whole]))
    config = json.loads((teacher / "config.json").read_text())
    (teacher / "config.json").write_text(json.dumps({**config, "layer_norm_eps": 1e-3}))
    with pytest.raises(RunFolderError, match="the contents of --teacher have changed"):
        begin(folder, tiny_folder, tiny_csv, **options)

    # A run that an earlier version began kept nothing of the files.
    (folder.path / "run.json").write_text(json.dumps({name: kept[name] for name in kept if name != "files"}))
    begin(folder, tiny_folder, tiny_csv, **options)


def test_local_folders_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "minilm").mkdir()
    monkeypatch.chdir(tmp_path)
    data = DataSpec(task="reviews")
    places = {"mine": str(tmp_path / "mine"), "org/hub": "org/hub", "minilm": "minilm", None: None}
    for name, expected in places.items():
        spec = RunSpec(model=name, data=data, train=TrainOptions(teacher=name))
        assert (spec.model, spec.train.teacher) == (expected, expected)
        assert RunSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize("given", [None, "elsewhere"])
def test_tensorboard_writes_where_nothing_is_removed(
    tiny_folder: Path, tiny_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | None
) -> None:
    """Whether or not TensorBoard is installed: where the options that reach the training point to."""
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    seen = []

    def stop(*positional: Any, begin: Any, **_: Any) -> float:
        seen.append(positional[4])
        begin()
        raise UsageError("seen")

    monkeypatch.setattr("hwnas.pipeline.train.train_supernet", stop)
    folder, train = RunFolder(tmp_path / "run"), TrainOptions(report_to="tensorboard", logging_dir=given)
    spec = RunSpec(
        model=str(tiny_folder), data=DataSpec(task="reviews", train_file=str(tiny_csv)), max_length=16, train=train
    )
    with pytest.raises(UsageError, match="seen"):
        train_run(folder, spec)
    assert [options.logging_dir for options in seen] == [given or str(tmp_path / "run" / "logs")]
    assert json.loads((folder.path / "run.json").read_text())["spec"]["train"]["logging_dir"] == given
