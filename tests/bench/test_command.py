"""`hwnas bench`: what the commands print, and what they say to wrong input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from hwnas.bench.folder import BenchFolder
from hwnas.bench.scale import Scale
from hwnas.cli.bench import bench_app
from hwnas.errors import HwnasError


def call(*arguments: object) -> Result:
    return CliRunner().invoke(bench_app, [str(argument) for argument in arguments])


def test_lists_the_figures(done: BenchFolder) -> None:
    result = call("ls", "--folder", done.path, "--json")
    rows = {row["figure"]: row for row in json.loads(result.stdout)}
    assert rows["5a"]["units_done"] == 2
    assert rows["5b"]["units_done"] == 0
    assert "mo_asha" in rows["5b"]["series"]
    assert "mo_asha" not in rows["5a"]["series"]
    assert "random_search" in call("ls", "--folder", done.path).stdout


def test_runs_and_draws(done: BenchFolder, scale: Scale, tmp_path: Path) -> None:
    options = [
        "--folder", done.path, "--budget", 6, "--seeds", 1, "--tasks", "sst2", "--model", scale.model, "--data-dir",
        scale.data_dir, "--max-length", 16, "--examples", 24, "--rounds", 2, "--max-steps", 6, "--batch-size", 8,
        "--learning-rate", 0.003, "--only", "random_search,regularized_evolution",
    ]  # fmt: skip
    result = call("run", "9", *options, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["made"] == 0
    result = call("plot", "9", "--folder", done.path, "--out", tmp_path / "p.png")
    assert (tmp_path / "p.png").stat().st_size > 1000
    assert "6 evaluations" in result.stdout


def test_syne_tune_reads_and_draws_what_is_exported(done: BenchFolder, tmp_path: Path) -> None:
    from syne_tune.experiments import load_experiment

    result = call("export", tmp_path / "st", "--folder", done.path, "--json")
    names = [Path(path).name for path in json.loads(result.stdout)["experiments"]]
    assert names == [path.stem for path in done.units()]
    experiment = load_experiment(names[0], local_path=str(tmp_path / "st"))
    _, rows, _ = done.read(done.units()[0])
    assert experiment.metric_names() == ["quality", "pruned"]
    assert list(experiment.results["quality"]) == pytest.approx([1 - float(row.error or 0) for row in rows])
    assert list(experiment.results["st_tuner_time"]) == pytest.approx([row.elapsed for row in rows])
    best = min(rows, key=lambda row: float(row.error or 0))
    assert experiment.best_config(0)["config_heads_0"] == best.architecture.head_counts[0]
    experiment.plot_hypervolume(figure_path=str(tmp_path / "hv.png"))
    experiment.plot("quality", figure_path=str(tmp_path / "q.png"))
    assert (tmp_path / "hv.png").stat().st_size > 1000 < (tmp_path / "q.png").stat().st_size


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "3"], "unknown figure '3'"),
        (["plot", "5c"], "unknown figure '5c'. Known: 10, 11"),
        (["run", "5a", "--budget", "0"], "--budget 0"),
        (["run", "5a", "--tasks", "rt"], "unknown task 'rt'"),
        (["run", "5a", "--trials-at-once", "2"], "--trials-at-once 2: only standard NAS"),
        (["run", "5b", "--trials-at-once", "0"], "--trials-at-once 0"),
        (["run", "4", "--only", "huge"], "unknown series of figure 4 'huge'"),
        (["run", "4", "--method", "magic"], "unknown searcher 'magic'"),
        (["run", "8"], "figure 8 is of another model than the embedded one"),
        (["run", "8", "--model", "minilm"], "in a folder of its own"),
        (["run", "5a", "--max-steps", "0"], "--max-steps must be above 0"),
        (["run", "5a", "--align", "0,64"], "align step 0"),
        (["run", "5a", "--align", "target"], "--align target: a benchmark has no target; give two numbers"),
        (["plot", "5a", "--over", "days"], "--over days"),
        (["plot", "7", "--over", "time"], "--over time: figure 7 has no curves over time"),
        (["plot", "5a"], "is no folder of a benchmark"),
        (["export", "st"], "holds no search"),
    ],
)
def test_wrong_input_gets_one_line(arguments: list[str], said: str, tmp_path: Path) -> None:
    result = call(*arguments, "--folder", tmp_path / "none")
    assert isinstance(result.exception, HwnasError), result.output
    assert said in str(result.exception)
    assert "\n" not in str(result.exception)
    assert not (tmp_path / "none").exists()
