"""A figure from the first step to the picture, resuming, and what standard NAS is."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from hwnas.bench.exam import TEST, Exam
from hwnas.bench.figures import FIGURES, get_figure
from hwnas.bench.folder import BenchFolder, Row
from hwnas.bench.pictures import make_picture
from hwnas.bench.quantised import setting_of, whole_row
from hwnas.bench.run import run_figure
from hwnas.bench.scale import Scale
from hwnas.bench.search import SECONDS
from hwnas.bench.standard import fine_tune
from hwnas.bench.supernet import load, pretrained, train
from hwnas.bench.units import Unit, plan
from hwnas.errors import BuildError, HwnasError, RunFolderError, UnknownNameError
from hwnas.latency.keys import network_key
from hwnas.latency.records import Measured, Setting
from hwnas.latency.table import LatencyTable
from hwnas.provenance import git_commit
from hwnas.report.bench import plot_picture
from hwnas.search.search import VALIDATION
from hwnas.slicing.extract import extract, parameter_count
from hwnas.targets import detect_devices, fingerprint
from hwnas.tasks import encode
from hwnas.training.evaluate import evaluate_error

UNIT = Unit("sst2", "weight-sharing", "small", "full", "random_search", 0, 6)
METHODS = ("random_search", "regularized_evolution")


def test_every_figure_of_the_paper_has_a_definition() -> None:
    assert list(FIGURES) == ["4", "5a", "5b", "6", "7", "8", "9", "10", "11", "12"]
    for figure in FIGURES.values():
        series = figure.series()
        assert len({entry.label for entry in series}) == len(series) == len({entry.name for entry in series})
        units = plan(series, ["rte"], range(2), 10)
        for unit in units:
            assert unit.needs is None or units.index(unit.needs) < units.index(unit)
    shared = {unit for name in ("4", "5a", "6", "9", "11") for unit in plan(FIGURES[name].series(), ["rte"], [0], 10)}
    assert len(shared) < sum(len(FIGURES[name].series()) for name in ("4", "5a", "6")) - 1


def test_rows_say_what_they_are_of(done: BenchFolder, scale: Scale) -> None:
    unit, rows, text = done.read(done.results(UNIT))
    assert unit == UNIT
    assert [row.number for row in rows] == list(range(6))
    assert (text["model"], text["steps"], text["metric"]) == (Path(str(scale.model)).name, "6", "accuracy")
    assert all(text[name] for name in ("hwnas", "torch", "syne-tune", "date"))
    assert text["commit"] == (git_commit() or "")
    assert fingerprint(detect_devices()[0]) in text["machine"]
    network = load(done, scale, unit)
    task = scale.load("sst2", 0)
    whole = next(row for row in rows if row.share == 1.0)
    assert whole.architecture == network.space.largest()
    assert whole.parameters == parameter_count(network.model)
    assert whole.test_error is not None
    front = [row for row in rows if row.test_error is not None]
    assert front
    for row in front:
        module = extract(network.model, row.architecture)
        assert row.parameters == parameter_count(module)
        exam = Exam(task, network.tokenizer, scale, 0)
        assert row.error == pytest.approx(evaluate_error(module, exam.batches(VALIDATION), "accuracy"))
        assert row.test_error == pytest.approx(evaluate_error(module, exam.batches(TEST), "accuracy"))
    assert all(b.elapsed >= a.elapsed + b.seconds for a, b in pairwise(rows))  # type: ignore[operator]


def test_one_figure_goes_on_where_it_was(done: BenchFolder, scale: Scale, tmp_path: Path) -> None:
    """A unit that is there is not done again; one that was killed keeps its evaluations."""
    folder = BenchFolder(tmp_path / "b")
    shutil.copytree(done.path, folder.path)
    _, before, _ = folder.read(folder.results(UNIT))
    lines = folder.evaluations(UNIT).read_text().splitlines(keepends=True)
    # As kill -9 leaves it: no result, evaluations up to the third, the last line cut short.
    folder.results(UNIT).unlink()
    kept = [line for line in lines if '"test"' not in line][: 1 + 2 * 3]
    folder.evaluations(UNIT).write_text("".join(kept) + lines[-1][:20])
    other = folder.results(replace(UNIT, method=METHODS[1]))
    stamp = other.stat().st_mtime_ns
    outcome = run_figure(folder, get_figure("5a"), scale, tasks=["sst2"], seeds=1, evaluations=6, only=METHODS)
    assert (outcome.made, len(outcome.units), other.stat().st_mtime_ns) == (1, 2, stamp)
    _, after, _ = folder.read(folder.results(UNIT))
    for a, b in zip(before, after, strict=True):
        assert (a.architecture, a.error, a.test_error) == (b.architecture, b.error, b.test_error)
    assert [row.seconds for row in after[:3]] == [row.seconds for row in before[:3]]
    assert folder.evaluations(UNIT).read_text().startswith("".join(kept))
    assert sum(SECONDS in json.loads(line).get("split", "") for line in kept) == 3


def test_two_jobs_at_once_leave_the_rows_of_one(done: BenchFolder, scale: Scale, tmp_path: Path) -> None:
    """Two searches wait for the super-network that they share, and then run side by side."""
    folder = BenchFolder(tmp_path / "b")
    outcome = run_figure(folder, get_figure("5a"), scale, tasks=["sst2"], seeds=1, evaluations=6, only=METHODS, jobs=2)
    assert outcome.made == 2
    for path in done.units():
        unit, rows, _ = done.read(path)
        _, found, _ = folder.read(folder.results(unit))
        assert [(row.architecture, row.error, row.test_error) for row in found] == [
            (row.architecture, row.error, row.test_error) for row in rows
        ]


@pytest.mark.parametrize(("name", "over"), [("5a", "evaluations"), ("9", "time"), ("11", "evaluations")])
def test_pictures_say_their_scale(done: BenchFolder, tmp_path: Path, name: str, over: Any) -> None:
    picture = make_picture(done, get_figure(name), only=METHODS, over=over)
    for part in ("6 steps of 8 examples", "6 evaluations", "24 validation examples", "1 seed", "space small"):
        assert part in picture.scale
    (panel,) = picture.panels
    assert {curve.label for curve in panel.curves} == {"RS", "MO-REA"}
    plot_picture(picture, tmp_path / "f.png")
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
    with (tmp_path / "f.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(len(curve.y) for curve in panel.curves)
    assert {row["scale"] for row in rows} == {picture.scale}
    if name == "5a":  # both searchers begin with the three start designs
        assert [curve.y[:3] for curve in panel.curves] == [(1.5, 1.5, 1.5)] * 2


def test_sub_networks_of_one_seed_are_drawn(done: BenchFolder, tmp_path: Path) -> None:
    """The second seed has the rows of the first, under its name."""
    folder = BenchFolder(tmp_path / "b")
    shutil.copytree(done.path, folder.path)
    for method in METHODS:
        unit = replace(UNIT, method=method)
        with folder.results(unit).open(newline="") as file:
            rows = [{**row, "seed": "1"} for row in csv.DictReader(file)]
        with folder.results(replace(unit, seed=1)).open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    assert not any("seed" in note for note in make_picture(done, get_figure("11"), only=METHODS).notes)
    picture = make_picture(folder, get_figure("11"), only=METHODS)
    assert "2 seeds" in picture.scale
    assert "drawn: the first seed, since each has a super-network of its own" in picture.notes
    assert [len(curve.y) for curve in picture.panels[0].curves] == [6, 6]


def test_what_was_not_run_is_said(done: BenchFolder) -> None:
    picture = make_picture(done, get_figure("4"))
    assert [curve.label for curve in picture.panels[0].curves] == ["Small"]
    assert {f"not run with 6 evaluations: {name}" for name in ("Layer", "Medium", "Large")} <= set(picture.notes)
    with pytest.raises(RunFolderError, match="holds no result of figure 6 with --budget 9"):
        make_picture(done, get_figure("6"), evaluations=9)


def test_standard_nas_and_its_picture(done: BenchFolder, scale: Scale, tmp_path: Path) -> None:
    """Each sub-network is fine-tuned alone; beside weight sharing in the figure of sizes."""
    folder = BenchFolder(tmp_path / "b")
    shutil.copytree(done.path, folder.path)
    options: dict[str, Any] = {"tasks": ["sst2"], "seeds": 1, "method": "random_search"}
    run_figure(folder, get_figure("7"), scale, **options, evaluations=3, only=["weight-sharing", "standard"])
    _, rows, _ = folder.read(folder.results(replace(UNIT, approach="standard", strategy="standard", evaluations=3)))
    assert all(row.test_error is not None for row in rows)
    picture = make_picture(folder, get_figure("7"), method="random_search", evaluations=3)
    (panel,) = picture.panels
    labels = {curve.label for curve in panel.curves}
    assert {"WS-NAS", "S-NAS", "unpruned", "95% of unpruned"} <= labels
    assert {"not run: unpruned, int8", "not run: unpruned, int8-dynamic"} <= set(picture.notes)
    (whole,) = [row for row in rows if row.share == 1.0][:1]
    (level,) = [curve.y[0] for curve in panel.curves if curve.label == "unpruned"]
    assert level == pytest.approx(1 - float(whole.test_error or 0))


def took(seconds: float) -> Measured:
    """A row of a table, without a doubt."""
    return Measured(
        seconds=seconds, low=seconds, high=seconds, n=100, median=seconds, p5=seconds, p95=seconds, rounds=20,
        round_spread=0.0, peak_memory_bytes=None, weight_bytes=1, flags=(), load=None, mhz=None,
        date="2026-01-01T00:00:00+00:00", commit=None, hwnas_version="0",
    )  # fmt: skip


def test_quantised_and_timed_networks_and_their_pictures(
    done: BenchFolder, scale: Scale, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Quantised networks are judged by running them; what the folder's table holds is not timed again."""
    names = ("int8-dynamic",)  # one of PRECISIONS, to be quick
    monkeypatch.setattr("hwnas.bench.latency.PRECISIONS", names)
    folder = BenchFolder(tmp_path / "b")
    shutil.copytree(done.path, folder.path)
    options: dict[str, Any] = {"tasks": ["sst2"], "seeds": 1, "method": "random_search", "evaluations": 6}
    run_figure(folder, get_figure("7"), scale, **options, only=["weight-sharing", "int8-dynamic"])
    _, searched, _ = folder.read(folder.results(UNIT))
    config = load(folder, scale, UNIT).model.config
    with LatencyTable(folder.table) as table:
        for name in ("fp32", *names):
            for number, row in enumerate(searched):
                table.put(
                    setting_of(scale, name), network_key(config, row.architecture), "member", took(1e-3 + 1e-5 * number)
                )
    outcome = run_figure(folder, get_figure("12"), scale, **options)
    assert [unit.approach for unit in outcome.units if not unit.needs] == ["weight-sharing"]
    (unit,) = [unit for unit in outcome.units if unit.needs]
    _, rows, _ = folder.read(folder.results(unit))
    members, whole = [row for row in rows if row.share < 1], [row for row in rows if row.share == 1]
    tested = {row.architecture: row.test_error for row in searched}
    assert members
    assert all(row.test_error == tested[row.architecture] for row in members)
    assert [row.precision for row in whole] == ["fp32", *names]
    assert {row.architecture: row.latency for row in members} == {
        row.architecture: pytest.approx(1e-3 + 1e-5 * number)
        for number, row in enumerate(searched)
        if row.architecture in {member.architecture for member in members}
    }
    assert all((row.latency_low, row.latency_high) == (row.latency, row.latency) for row in rows)
    assert [row.setting for row in whole] == [setting_of(scale, name).key() for name in ("fp32", *names)]
    assert {row.runs for row in rows} == {took(1.0).n}
    alone = replace(UNIT, approach="quantised", method="int8-dynamic", evaluations=0)
    _, (quantised,), _ = folder.read(folder.results(alone))
    assert (quantised.error, quantised.test_error) == (whole[1].error, whole[1].test_error)
    (panel,) = make_picture(folder, get_figure("7"), method="random_search", evaluations=6).panels
    assert {"WS-NAS", "unpruned, int8-dynamic"} <= {curve.label for curve in panel.curves}
    labels = [example.label for example in scale.load("sst2", 0).test]
    (floor,) = [curve for curve in panel.curves if curve.label == "always the same answer"]
    assert floor.y == (pytest.approx(max(labels.count(0), labels.count(1)) / len(labels)),)
    picture = make_picture(folder, get_figure("12"), method="random_search", evaluations=6)
    where = setting_of(scale, "fp32")
    assert f"timed on {where.fingerprint}, onnxruntime {where.runtime_version}, 16 tokens" in picture.notes
    drawn = {x for curve in picture.panels[0].curves for x in curve.x}
    assert drawn >= {1e3 * float(row.latency or 0) for row in rows}
    plot_picture(picture, tmp_path / "f.png")
    # A quantised network that is refused costs its own row, not those of the others.
    judge = whole_row

    def refuse(folder: Any, network: Any, exam: Any, scale: Scale, unit: Unit, setting: Setting, number: int) -> Row:
        if setting.precision != "fp32":
            raise BuildError("too far off.")
        return judge(folder, network, exam, scale, unit, setting, number)

    monkeypatch.setattr("hwnas.bench.latency.whole_row", refuse)
    folder.results(unit).unlink()
    run_figure(folder, get_figure("12"), scale, **options)
    _, left, text = folder.read(folder.results(unit))
    assert [row.architecture for row in left] == [row.architecture for row in rows[:-1]]
    assert text["refused"] == "int8-dynamic of sst2 seed 0 (too far off.)"
    assert len(text["weights"]) == 64
    notes = make_picture(folder, get_figure("12"), method="random_search", evaluations=6).notes
    assert "refused: int8-dynamic of sst2 seed 0 (too far off.)" in notes


def copy_rows(folder: BenchFolder, unit: Unit, **changes: Any) -> None:
    """Writes the rows of a unit as those of another one."""
    with folder.results(unit).open(newline="") as file:
        rows = [{**row, **changes} for row in csv.DictReader(file)]
    with folder.results(replace(unit, **changes)).open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_seeds_that_a_series_lacks_are_named(done: BenchFolder, tmp_path: Path) -> None:
    folder = BenchFolder(tmp_path / "b")
    shutil.copytree(done.path, folder.path)
    copy_rows(folder, UNIT, seed=1)
    notes = make_picture(folder, get_figure("5a"), only=METHODS).notes
    assert "left out: sst2 seed 1, without MO-REA" in notes
    assert "left out by --only: LS" in notes
    assert any(note.startswith("MO-REA here keeps what nothing dominates") for note in notes)


def test_a_picture_of_some_tasks_alone(done: BenchFolder, tmp_path: Path) -> None:
    folder = BenchFolder(tmp_path / "b")
    shutil.copytree(done.path, folder.path)
    for path in done.units():
        copy_rows(folder, done.read(path)[0], task="rte")
    both = make_picture(folder, get_figure("9"), only=METHODS)
    assert [panel.title for panel in both.panels] == ["RTE", "SST2"]
    one = make_picture(folder, get_figure("9"), only=METHODS, tasks=["sst2"])
    assert one.panels == both.panels[1:]
    assert "left out by --tasks: rte" in one.notes
    with pytest.raises(UnknownNameError, match=r"unknown task of these results 'stsb'.*Known: rte, sst2"):
        make_picture(folder, get_figure("9"), only=METHODS, tasks=["stsb"])


def test_alone_the_whole_network_is_trained_as_the_strategy_standard_does(scale: Scale, tmp_path: Path) -> None:
    """The same weights, bit for bit, as `train_supernet` gives."""
    folder, unit = BenchFolder(tmp_path / "b"), replace(UNIT, strategy="standard")
    folder.begin(scale)
    train(folder, scale, unit, lambda *_: None)
    task = scale.load("sst2", 0)
    network = pretrained(scale, task, unit)
    module = extract(network.model, network.space.largest())
    dataset = encode(task.train, network.tokenizer, scale.max_length, regression=False)
    fine_tune(module, network.tokenizer, dataset, scale.options("standard", 0), regression=False)
    trained = load(folder, scale, unit).model.state_dict()
    assert all(torch.equal(tensor, trained[name]) for name, tensor in module.state_dict().items())


def test_what_cannot_be_used_is_refused_before_anything_is_written(
    done: BenchFolder, scale: Scale, tmp_path: Path, tiny: Callable[..., Any]
) -> None:
    def refused(match: str, folder: BenchFolder, scale: Scale = scale, **changes: Any) -> None:
        options = {"tasks": ["sst2"], "seeds": 1, "evaluations": 6, "only": METHODS, **changes}
        with pytest.raises(HwnasError, match=match) as caught:
            run_figure(folder, get_figure("5a"), scale, **options)
        assert "\n" not in str(caught.value)

    new = BenchFolder(tmp_path / "new")
    refused("--budget 0: expected 3 or more", new, evaluations=0)
    refused("unknown task 'sst3'; did you mean 'sst2'", new, tasks=["sst3"])
    refused("--seeds 0", new, seeds=0)
    refused("--jobs 0", new, jobs=0)
    refused("--tasks is empty", new, tasks=[])
    refused("unknown series of figure 5a 'rs'", new, only=["rs"])
    refused("compares searchers", new, method="random_search")
    refused("no file .*rte", new, tasks=["rte"])
    refused("maximum length 5000: expected 8 to", new, scale=replace(scale, max_length=5000))
    with pytest.raises(HwnasError, match="small, which holds 240 networks, more than the 6 evaluations"):
        run_figure(new, get_figure("7"), scale, tasks=["sst2"], seeds=1, evaluations=6, method="exhaustive")
    assert not new.path.exists()
    (tmp_path / "notes.txt").write_text("mine")
    refused("holds something else", BenchFolder(tmp_path))
    refused("holds results with max-length 16, not 32", done, scale=replace(scale, max_length=32))
    with done.lock():
        refused("another `hwnas bench run` works in", done)


def test_a_failed_unit_is_said_and_tried_again(done: BenchFolder, scale: Scale, tmp_path: Path) -> None:
    folder = BenchFolder(tmp_path / "b")
    shutil.copytree(done.path, folder.path)
    folder.results(UNIT).unlink()
    (folder.supernet(str(UNIT.supernet)) / "config.json").write_text("{}")
    with pytest.raises(HwnasError, match=r"1 of 1 pieces of figure 5a failed; the first, sst2-weight-sharing.*damaged"):
        run_figure(folder, get_figure("5a"), scale, tasks=["sst2"], seeds=1, evaluations=6, only=METHODS)
    assert "damaged" in folder.failure(UNIT.name).read_text()
    shutil.rmtree(folder.supernet(str(UNIT.supernet)))
    shutil.copytree(done.supernet(str(UNIT.supernet)), folder.supernet(str(UNIT.supernet)))
    run_figure(folder, get_figure("5a"), scale, tasks=["sst2"], seeds=1, evaluations=6, only=METHODS)
    assert not folder.failure(UNIT.name).exists()
