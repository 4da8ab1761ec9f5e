"""A run's own space: aligned widths, bounds from a file, and how `hwnas space` finds bounds on training data."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas.errors import UsageError
from hwnas.importance import Scores
from hwnas.latency.design import staircase_networks
from hwnas.latency.keys import network_key
from hwnas.latency.predictor import Predictor
from hwnas.latency.profile import make_setting
from hwnas.latency.records import Measured
from hwnas.latency.table import LatencyTable
from hwnas.models import get_family
from hwnas.pipeline.folder import RunFolder
from hwnas.pipeline.profile import spaces_of
from hwnas.pipeline.search_options import narrowed
from hwnas.pipeline.space import Budgets, bounds_from, read_bounds, training_scores
from hwnas.pipeline.spec import DataSpec, RunSpec
from hwnas.pipeline.train import load_supernet, train_run
from hwnas.profilers import TimingProtocol
from hwnas.spaces import Architecture, Dimensions
from hwnas.training.train import TrainOptions

Call = Callable[..., tuple[int, str, str]]

DIMENSIONS = Dimensions(layers=3, heads=4, units=20, head_size=6, hidden_size=24)
BOUNDS: dict[str, Any] = {
    "name": "bounded", "min_layers": 1, "align": [1, 1],
    "heads": [[1, 4], [0, 3], [0, 4]], "units": [[4, 20], [0, 20], [0, 10]],
}  # fmt: skip
OF_ANOTHER = {**BOUNDS, "heads": [[1, 4]] * 6, "units": [[1, 20]] * 6}


@pytest.fixture(scope="module")
def spec(tiny_folder: Path, tiny_csv: Path) -> RunSpec:
    """Two steps on the small model."""
    data = DataSpec(task="reviews", train_file=str(tiny_csv))
    return RunSpec(model=str(tiny_folder), data=data, max_length=16, train=TrainOptions(max_steps=2))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, spec: RunSpec) -> Path:
    """A trained run."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    train_run(RunFolder(folder), spec)
    return folder


def test_aligned_widths(call: Call, training: list[str], tmp_path: Path) -> None:
    words = ["train", tmp_path / "run", *training, "--max-steps", 2, "--json"]
    code, out, err = call(*words, "--align", "2,8")
    assert code == 0, err
    assert json.loads(out)["space"] == {"name": "small", "min_layers": 1, "align": [2, 8]}
    space, rng = load_supernet(RunFolder(tmp_path / "run")).space, np.random.default_rng(0)
    for arch in [space.sample(rng) for _ in range(40)]:
        assert set(arch.head_counts) <= {0, 2, 4}
        assert set(arch.unit_counts) <= {0, 8, 16, 20}
    # A search narrows it: the super-network was trained in no other widths.
    assert all(narrowed(space, align) is space for align in (None, (1, 1), (2, 4)))
    assert narrowed(space, (4, 1)).align == (4, 8)
    assert narrowed(space, (1, 16)).align == (2, 16)
    with pytest.raises(UsageError, match=r"--align 1,12: the run has steps of 2,8, and .* 2,24: a layer has 4 heads"):
        narrowed(space, (1, 12))
    assert json.loads(call(*words, "--align", "2,8")[1])["reused"]
    code, out, err = call(*words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "a run with align '2,8', not '1,1'" in err


def test_widths_follow_the_staircase_of_the_table(
    call: Call, training: list[str], tiny: Callable[..., Any], tiny_folder: Path, measured: Measured, tmp_path: Path
) -> None:
    """A device that takes two heads and 16 units at once, swept: a training in its steps, and a search as well."""
    shutil.copytree(tiny_folder, tmp_path / "wide")
    model = tiny("bert", num_labels=2, num_attention_heads=8, intermediate_size=64)
    model.save_pretrained(tmp_path / "wide")
    setting = make_setting("cpu", "onnxruntime", "fp32", 1, 16, 1, protocol=TimingProtocol.of_rounds(4))
    with LatencyTable(tmp_path / "t.sqlite") as table:
        for arch in staircase_networks(get_family(model.config).dimensions(model.config)):
            stairs = [2e-4 * -(-heads // 2) + 1e-4 * -(-units // 16) for heads, units in arch.shape]
            row = replace(measured, seconds=1e-3 + sum(stairs), flags=())
            table.put(setting, network_key(model.config, arch), "sweep", row)
    device = ["--table", tmp_path / "t.sqlite", "--seq-len", 16, "--threads", 1, "--rounds", 4]
    words = ["train", tmp_path / "run", *training, "--model", tmp_path / "wide", "--max-steps", 2, "--json"]
    code, out, err = call(*words, "--align", "measured", *device)
    assert code == 0, err
    assert json.loads(out)["space"] == {"name": "small", "min_layers": 1, "align": [2, 16]}
    space, rng = load_supernet(RunFolder(tmp_path / "run")).space, np.random.default_rng(0)
    drawn = [space.sample(rng) for _ in range(40)]
    assert {count for arch in drawn for count in arch.head_counts} == {0, 2, 4, 6, 8}
    assert {count for arch in drawn for count in arch.unit_counts} == {0, 16, 32, 48, 64}
    code, out, err = call("space", tmp_path / "run", "--align", "measured", *device, "--json")
    assert code == 0, err
    assert json.loads(call(*words, "--align", "2,16")[1])["reused"], "the run keeps the steps, not where they are from"


def test_a_bounded_run_needs_its_own_file_alone(call: Call, training: list[str], tmp_path: Path) -> None:
    file, run = tmp_path / "bounds.json", tmp_path / "run"
    file.write_text(json.dumps({"about": {}, "space": BOUNDS}))
    words = ["train", run, *training, "--max-steps", 2, "--json"]
    code, out, err = call(*words, "--bounds", file)
    assert code == 0, err
    report = json.loads(out)
    assert report["space"] == BOUNDS
    # The whole network is trained too, though it is above these bounds.
    assert set(report["validation_error"]) == {"whole", "largest", "middle", "smallest"}
    file.unlink()
    assert read_bounds(run / "space.json") == BOUNDS
    supernet = load_supernet(RunFolder(run))
    assert supernet.space.to_json() == BOUNDS
    assert supernet.space.largest() == Architecture((4, 3, 4), (20, 20, 10))
    assert spaces_of(RunFolder(run)) == ("small", "layer", "medium")
    assert json.loads(call(*words, "--bounds", run / "space.json")[1])["reused"]

    assert "a run with space 'medium', not 'small'" in call(*words)[2]
    file.write_text(json.dumps({**BOUNDS, "min_layers": 2}))
    code, out, err = call(*words, "--bounds", file)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "a run with bounds '" in err
    (run / "space.json").write_text(file.read_text())
    code, out, err = call(*words, "--bounds", file)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "space.json is not what the run began with" in err


def test_a_run_of_the_first_version_is_the_same_run(spec: RunSpec, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.begin(spec, "data")
    content = json.loads((tmp_path / "run.json").read_text())
    del content["spec"]["align"], content["spec"]["bounds"]
    (tmp_path / "run.json").write_text(json.dumps({**content, "schema": 1}))
    assert folder.spec() == spec
    folder.begin(spec, "data")


def test_bounds_that_are_found_can_be_trained_in(
    call: Call, training: list[str], trained: Path, tmp_path: Path
) -> None:
    draw = ["--space", "layer", "--samples", 4, "--shown", 1]
    code, out, err = call(
        "space", trained, *draw, "--budgets", 3, "--cost", "macs", "--min-budget", "60%", "--align", "2,1",
        "--score-examples", 40, "--out", tmp_path, "--json",
    )  # fmt: skip
    assert code == 0, err
    report = json.loads(out)
    found = report["bounds"]
    assert [one["name"] for one in report["spaces"]] == ["layer", "bounded"]
    said = {"weights": "trained", "score": "first-order", "training_examples": 40, "cost": "macs"}
    assert said.items() <= found["about"].items()
    assert found["budgets"] == pytest.approx([0.6 * found["budgets"][2], 0.8 * found["budgets"][2], found["costs"][2]])
    assert all(cost <= budget * (1 + 1e-9) for cost, budget in zip(found["costs"], found["budgets"], strict=True))
    assert found["space"]["align"] == [2, 1]
    file = tmp_path / "bounds.json"
    assert report["files"][-1] == str(file)
    code, out, err = call(
        "train", tmp_path / "run", *training, "--max-steps", 1, "--bounds", file, "--reorder", "first-order", "--json"
    )
    assert code == 0, err
    assert json.loads(out)["space"] == found["space"]


def test_bounds_without_a_run_are_of_inputs_that_the_model_takes(call: Call, tiny_folder: Path, tmp_path: Path) -> None:
    """40 tokens, which is fewer than the 128 of a run by default; `hwnas space` has no option for them."""
    code, out, err = call(
        "space", "--model", tiny_folder, "--space", "layer", "--samples", 2, "--shown", 1, "--budgets", 2, "--cost",
        "macs", "--score-examples", 16, "--out", tmp_path, "--json",
    )  # fmt: skip
    assert code == 0, err
    assert json.loads(out)["bounds"]["about"]["weights"] == "pre-trained"


def test_scores_see_training_examples_alone(trained: Path, spec: RunSpec) -> None:
    supernet, task = load_supernet(RunFolder(trained)), spec.data.load(0)
    scores = training_scores(supernet.model, supernet.tokenizer, task, max_length=16, examples=0)
    assert scores.examples == len(task.train)
    blind = replace(task, validation=(), test=())
    assert training_scores(supernet.model, supernet.tokenizer, blind, max_length=16, examples=0) == scores
    fewer = training_scores(supernet.model, supernet.tokenizer, task, max_length=16, examples=32)
    assert fewer.examples == 32


def test_budgets_of_latency_are_predicted_and_in_milliseconds() -> None:
    """1 ms, and for each layer 0.2 ms a head and 0.01 ms a unit: the whole network takes 4 ms."""
    shapes = [((heads, units),) * layers for layers in (1, 3) for heads in (1, 4) for units in (1, 20)]
    seconds = [1e-3 + sum(2e-4 * heads + 1e-5 * units for heads, units in shape) for shape in shapes]
    rng = np.random.default_rng(0)
    heads, units = (tuple(map(tuple, rng.uniform(size=(3, width)).tolist())) for width in (4, 20))
    predictor, scores = Predictor(shapes, seconds, dimensions=DIMENSIONS), Scores(heads, units)
    found = bounds_from(scores, DIMENSIONS, Budgets(2, minimum="2.5"), predictor=predictor)
    assert found.budgets == pytest.approx((2.5, 4.0), rel=1e-3)
    assert found.costs[0] == pytest.approx(predictor.predict(found.networks[0]).seconds * 1e3)
    assert 2.0 < found.costs[0] <= 2.5
    again = bounds_from(scores, DIMENSIONS, Budgets(2, minimum="62.5%"), predictor=predictor)
    assert again.networks == found.networks
    with pytest.raises(UsageError, match="need a latency table"):
        bounds_from(scores, DIMENSIONS, Budgets(2))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--space", "layer", "--bounds", "{bounds}"], "--space layer with --bounds: they are bounds of medium"),
        (["--align", "2,8", "--bounds", "{bounds}"], "leave --align out"),
        (["--bounds", "{folder}/nowhere.json"], "(No such file or directory); expected the bounds.json"),
        (["--bounds", "{endless}"], "inf is no whole number"),
        (["--bounds", "{other}"], "bounds of heads for 6 layers, but the model has 3"),
        (["--bounds", "{small}"], "it holds the space small"),
        (["--align", "fast"], "expected none, target, measured, or two numbers"),
        (["--align", "0,8"], "align step 0: expected 1 or more"),
        (["--align", "2,99"], "align step 99: a layer of this model has 20; expected a step of 1 to 20"),
        (["--align", "measured", "--table", "{folder}/t.sqlite"], "no steps have been measured"),
    ],
)
def test_spaces_that_cannot_be(call: Call, training: list[str], tmp_path: Path, words: list[str], said: str) -> None:
    small = {"name": "small", "min_layers": 1, "align": [1, 1]}
    endless = {**BOUNDS, "min_layers": math.inf}
    files = {name: tmp_path / f"{name}.json" for name in ("bounds", "other", "small", "endless")}
    for file, content in zip(files.values(), (BOUNDS, OF_ANOTHER, small, endless), strict=True):
        file.write_text(json.dumps(content))
    named = {**files, "folder": tmp_path}
    code, out, err = call("train", tmp_path / "run", *training, *(word.format(**named) for word in words))
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert said in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--cost", "gold"], "--cost gold: expected latency or macs"),
        (["--cost", "macs", "--min-budget", "half"], "--min-budget half: expected a share of the whole network"),
        (["--cost", "macs", "--max-budget", "0"], "or a number of million multiply-adds"),
        (["--cost", "macs", "--min-budget", "1%"], "no network meets a budget"),
        (["--score", "luck"], "unknown importance score 'luck'"),
        (["--table", "{folder}/t.sqlite"], "run `hwnas profile"),
    ],
)
def test_bounds_that_cannot_be(call: Call, trained: Path, tmp_path: Path, words: list[str], said: str) -> None:
    words = [word.format(folder=tmp_path) for word in words]
    code, out, err = call("space", trained, "--space", "layer", "--budgets", 3, "--out", tmp_path / "out", *words)
    lines = [line for line in err.splitlines() if not line.startswith("score ")]
    assert (code, out, len(lines)) == (2, "", 1), err
    assert said in lines[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("words", [["--cost", "macs"], ["--score", "luck"], ["--min-budget", "40%"]])
def test_options_of_bounds_need_budgets(call: Call, tmp_path: Path, words: list[str]) -> None:
    code, out, err = call("space", "--out", tmp_path / "out", *words)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert f"{words[0]} has no effect without --budgets" in err
    assert not (tmp_path / "out").exists()
