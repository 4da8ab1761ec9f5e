"""Pareto fronts, the cache's file, the front's files and picture, and what users pick from it."""

from __future__ import annotations

import csv
import fcntl
import io
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.errors import NoMemberError, RunFolderError, UnknownNameError, UsageError
from hwnas.latency.records import Estimated, Measured, Predicted
from hwnas.pipeline.folder import RunFolder
from hwnas.pipeline.spec import DataSpec, RunSpec
from hwnas.report.plot import front_figure, memory_figure, plot_all, plot_front
from hwnas.search.cache import EvaluationCache
from hwnas.search.front import Front, Member, read_front, write_front
from hwnas.search.objectives import get_objective, needs_profile, objective_names
from hwnas.search.pareto import non_dominated, thin
from hwnas.slicing.extract import extract, parameter_count
from hwnas.spaces import Architecture

ARCH = Architecture((2, 0), (3, 0))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=20))
def test_non_dominated_by_definition(points: list[tuple[int, int]]) -> None:
    front = non_dominated(points)
    values = [tuple(map(float, point)) for point in points]
    for index, (point, on) in enumerate(zip(values, front, strict=True)):
        dominated = any(q[0] <= point[0] and q[1] <= point[1] and q != point for q in values)
        assert on == (not dominated and point not in values[:index])


def test_nan_is_never_on_the_front() -> None:
    assert non_dominated([(float("nan"), 0.0), (1.0, 1.0)]).tolist() == [False, True]
    assert non_dominated(np.empty((0, 2))).tolist() == []


def test_thinning_keeps_the_ends_and_the_spread() -> None:
    crowded = [(0.0, 10.0), (0.1, 9.9), (0.2, 9.8), (5.0, 5.0), (10.0, 0.0)]
    assert thin(crowded, 3) == [0, 3, 4]
    assert thin(crowded, 10) == [0, 1, 2, 3, 4]
    assert thin(crowded[:1], 3) == [0]


def measured(seconds: float, flags: tuple[str, ...] = ()) -> Measured:
    return Measured(
        seconds=seconds, low=seconds * 0.99, high=seconds * 1.02, n=66, median=seconds, p5=seconds, p95=seconds,
        rounds=6, round_spread=0.01, peak_memory_bytes=1000, weight_bytes=500, flags=flags, load=0.1, mhz=None,
        date="2026-01-01T00:00:00+00:00", commit=None, hwnas_version="0.1.0",
    )  # fmt: skip


def member(seconds: float, error: float, precision: str = "fp32") -> Member:
    predicted = Predicted(seconds * 1.01, seconds * 0.98, seconds * 1.04)
    return Member(
        ARCH, error, error + 0.01, measured(seconds), predicted, int(seconds * 1e6), seconds * 1.01, precision
    )  # fmt: skip


def estimated(seconds: float, error: float) -> Member:
    latency = Estimated(seconds, seconds * 0.7, seconds * 1.5, "facts of an A10G")
    return Member(ARCH, error, error + 0.01, latency, None, 1000, seconds)


@pytest.fixture
def front() -> Front:
    return Front(
        about={
            "objective": {"name": "latency", "unit": "seconds", "provenance": "predicted"},
            "quality": "accuracy",
            "task": "t",
            "model": "m",
            "space": "small",
            "setting": {
                "target": "cpu", "runtime": "onnxruntime", "precision": "fp32", "batch": 1, "sequence_length": 128,
                "threads": 1,
            },
        },
        unpruned=member(0.040, 0.10),
        members=(member(0.005, 0.30), member(0.010, 0.15), member(0.030, 0.11)),
        points=({"architecture": ARCH.to_json(), "error": 0.4, "cost": 0.02, "on_front": False},),
    )  # fmt: skip


def test_round_trip(front: Front, tmp_path: Path) -> None:
    write_front(front, tmp_path)
    assert read_front(tmp_path / "front.json") == front
    with (tmp_path / "front.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["latency_measured_seconds"]) for row in rows] == [0.005, 0.010, 0.030]
    assert float(rows[0]["speed_up"]) == pytest.approx(8.0)
    assert {path.name for path in tmp_path.iterdir()} == {"front.json", "front.csv"}


def test_measured_and_predicted_never_mix(front: Front) -> None:
    data = front.to_json()["members"][0]
    assert data["latency"]["kind"] == "measured"
    assert data["predicted_latency"]["kind"] == "predicted"
    data["latency"], data["predicted_latency"] = data["predicted_latency"], data["latency"]
    with pytest.raises(Exception, match="measurement"):
        Member.from_json(data)


def test_picks(front: Front) -> None:
    assert front.pick() == [0, 1, 2]
    assert front.pick([2, 0, 2]) == [2, 0]
    assert front.pick(max_latency=0.012) == [1], "the most accurate that is fast enough"
    assert front.pick(max_latency=0.010) == [1]
    assert front.pick(max_error_increase=0.05) == [1], "the fastest that is accurate enough"
    assert front.pick(max_error_increase=0.01) == [2]
    assert front.pick(max_latency=0.012, max_error_increase=0.06) == [1]


def test_a_front_of_other_weights_is_refused(front: Front, tmp_path: Path) -> None:
    front.check_weights("a", tmp_path)  # one that does not say
    mine = Front({**front.about, "weights": "a"}, front.unpruned, front.members)
    mine.check_weights("a", tmp_path)
    mine.check_weights(None, tmp_path)
    with pytest.raises(RunFolderError, match=r"the front of cpu in .* is of another super-network.*hwnas search"):
        mine.check_weights("b", tmp_path)


def test_picks_that_no_member_meets(front: Front) -> None:
    with pytest.raises(NoMemberError, match=r"the fastest is member 0, measured at 5 ms"):
        front.pick(max_latency=0.001)
    with pytest.raises(NoMemberError, match=r"the best is member 2.*\+0.0100"):
        front.pick(max_error_increase=0.001)
    with pytest.raises(NoMemberError, match=r"within the latency.*member 1"):
        front.pick(max_latency=0.012, max_error_increase=0.001)
    with pytest.raises(UsageError, match="members 0 to 2; there is no 3"):
        front.pick([3])


@pytest.mark.parametrize("objective", ["latency", "memory", "parameters"])
def test_the_picture_has_all_points(front: Front, tmp_path: Path, objective: str) -> None:
    about = {**front.about, "objective": {"name": objective, "unit": "x", "provenance": "counted"}}
    plot_front(Front(about, front.unpruned, front.members, front.points), tmp_path / "front.png")
    assert (tmp_path / "front.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert [path.name for path in tmp_path.iterdir()] == ["front.png"]


@pytest.mark.parametrize("content", ["", "{", '{"schema": 1}', '{"schema": 99}', "[]"])
def test_a_damaged_front_is_one_clear_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "front.json").write_text(content)
    with pytest.raises(RunFolderError, match=r"front\.json"):
        read_front(tmp_path / "front.json")
    with pytest.raises(RunFolderError, match="hwnas search"):
        read_front(tmp_path / "nowhere.json")


def test_a_cache_of_something_else_is_refused(tmp_path: Path) -> None:
    with EvaluationCache(tmp_path / "e.jsonl", {"weights": "a"}) as cache:
        cache.put("validation", ARCH, 0.25, 1.0)
        assert cache.get("test", ARCH) is None
    with EvaluationCache(tmp_path / "e.jsonl", {"weights": "a"}) as cache:
        assert cache.get("validation", ARCH) == 0.25
    with pytest.raises(RunFolderError, match="another super-network"):
        EvaluationCache(tmp_path / "e.jsonl", {"weights": "b"})
    lines = (tmp_path / "e.jsonl").read_text().splitlines()
    (tmp_path / "e.jsonl").write_text("\n".join([lines[0], "garbage", lines[1]]) + "\n")
    with pytest.raises(RunFolderError, match="line 2"):
        EvaluationCache(tmp_path / "e.jsonl", {"weights": "a"})


def test_searches_of_one_run_share_its_evaluations(tmp_path: Path) -> None:
    """All begin at once; whoever opens the file while another one writes waits, and cuts nothing off."""
    path, about = tmp_path / "e.jsonl", {"weights": "a"}
    archs = [Architecture((heads, 0), (units, 0)) for heads in range(1, 5) for units in range(1, 5)]
    begin = Barrier(4)

    def search(part: int) -> None:
        begin.wait()
        with EvaluationCache(path, about) as cache:
            for arch in archs[part::4]:
                cache.put("validation", arch, 0.5, 1.0)

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(search, range(4)))
        assert path.read_text().count("about") == 1
        with path.open("ab", buffering=0) as writer:
            fcntl.flock(writer, fcntl.LOCK_EX)
            line = json.dumps({"split": "test", "architecture": ARCH.to_json(), "error": 0.25, "seconds": 1.0})
            writer.write(line[:20].encode())
            other = pool.submit(EvaluationCache, path, about)
            with pytest.raises(TimeoutError):
                other.result(timeout=0.1)
            writer.write(f"{line[20:]}\n".encode())
        with other.result() as cache:
            assert (len(cache), cache.get("test", ARCH)) == (17, 0.25)
            with path.open("a") as file:
                file.write('{"split": "va')  # another search was killed here
            cache.put("test", archs[0], 0.5, 1.0)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], *lines]))  # as two searches that began at once have left it
    with EvaluationCache(path, about) as cache:
        assert len(cache) == 18


def test_a_search_can_learn_what_another_has_found_meanwhile(tmp_path: Path) -> None:
    path, other = tmp_path / "e.jsonl", Architecture((1, 0), (1, 0))
    with EvaluationCache(path, {}) as mine, EvaluationCache(path, {}) as theirs:
        theirs.put("validation", ARCH, 0.25, 2.0)
        mine.put("validation", other, 0.5, 1.0)
        assert mine.get("validation", ARCH) is None
        line = json.dumps({"split": "test", "architecture": ARCH.to_json(), "error": 0.125, "seconds": 1.0})
        with path.open("a") as file:
            file.write(line[:20])
            file.flush()
            mine.refresh()
            assert (mine.get("validation", ARCH), mine.seconds("validation", ARCH)) == (0.25, 2.0)
            assert (mine.get("validation", other), mine.get("test", ARCH)) == (0.5, None)
            file.write(f"{line[20:]}\n")
        mine.refresh()
        assert (mine.get("test", ARCH), len(mine), len(theirs)) == (0.125, 3, 1)
        with path.open("a") as file:
            file.write("garbage\n")
        with pytest.raises(RunFolderError, match="line 5"):
            mine.refresh()


def test_a_full_disk_is_one_clear_error_and_nothing_is_left_of_it(
    front: Front, tmp_path: Path, full_after: Callable[[int], AbstractContextManager[None]]
) -> None:
    with EvaluationCache(tmp_path / "e.jsonl", {}) as cache:
        cache.put("test", ARCH, 0.25, 1.0)
        before = (tmp_path / "e.jsonl").read_bytes()
        with full_after(len(before) + 20), pytest.raises(RunFolderError, match=r"e\.jsonl \(File too large\)"):
            cache.put("validation", ARCH, 0.5, 1.0)
        assert (tmp_path / "e.jsonl").read_bytes() == before
        assert cache.get("validation", ARCH) is None
        cache.put("validation", ARCH, 0.5, 1.0)
    with EvaluationCache(tmp_path / "e.jsonl", {}) as cache:
        assert (len(cache), cache.get("validation", ARCH)) == (2, 0.5)
    write_front(front, tmp_path / "s")
    before = (tmp_path / "s" / "front.json").read_bytes()
    with full_after(100), pytest.raises(OSError, match="File too large"):
        write_front(front, tmp_path / "s")
    assert (tmp_path / "s" / "front.json").read_bytes() == before
    assert {path.name for path in (tmp_path / "s").iterdir()} == {"front.json", "front.csv"}
    with pytest.raises(RunFolderError, match=r"/dev/full \(No space left on device\)"):
        EvaluationCache(Path("/dev/full"), {})


@pytest.mark.parametrize("left", [".run.json.tmp", ".run.json.123.tmp", ".space.json.123.tmp"])
def test_a_first_write_that_was_killed_leaves_the_folder_usable(tmp_path: Path, left: str) -> None:
    (tmp_path / left).write_text('{"sch')
    folder = RunFolder(tmp_path)
    folder.begin(RunSpec(model=None, data=DataSpec("sst2")), "data")
    assert folder.exists()


def test_parameters_are_counted_on_the_extracted_module(tiny: Callable[..., Any]) -> None:
    model = tiny("roberta")
    objective = get_objective("parameters", model.config, None)
    for arch in (Architecture((4, 4, 4), (20, 20, 20)), Architecture((2, 0, 1), (7, 3, 0))):
        assert objective(arch) == parameter_count(extract(model, arch))


def test_objectives_say_what_they_need(tiny: Callable[..., Any]) -> None:
    assert {name: needs_profile(name) for name in objective_names()} == {
        "latency": True,
        "energy": True,
        "engine-size": True,
        "memory": True,
        "parameters": False,
    }
    with pytest.raises(UsageError, match="hwnas profile"):
        get_objective("latency", tiny("bert").config, None)
    with pytest.raises(UnknownNameError, match="latency, memory, parameters"):
        needs_profile("beauty")


def test_the_json_has_no_nan(front: Front) -> None:
    json.dumps(front.to_json(), allow_nan=False)


SETTING = {
    "target": "cpu", "runtime": "onnxruntime", "precision": "fp32", "batch": 1, "sequence_length": 128, "threads": 1,
}  # fmt: skip


@pytest.fixture
def estimates(front: Front) -> Front:
    objective = {"name": "latency", "unit": "seconds", "provenance": "estimated"}
    about = {**front.about, "objective": objective, "setting": {**SETTING, "target": "a10g", "runtime": "estimate"}}
    return Front(about, estimated(0.040, 0.10), (estimated(0.005, 0.30), estimated(0.030, 0.11)), front.points)


@pytest.fixture
def mixed(front: Front) -> Front:
    """A front over two precisions."""
    about = {**front.about, "settings": [SETTING, {**SETTING, "precision": "int8-dynamic"}]}
    points = [
        {"architecture": ARCH.to_json(), "precision": name, "error": 0.3, "stand_in": name != "fp32", "cost": 0.01,
         "on_front": False}
        for name in ("fp32", "int8-dynamic")
    ]  # fmt: skip
    members = (member(0.004, 0.2, "int8-dynamic"), member(0.012, 0.11))
    return Front(about, front.unpruned, members, tuple(points))


def words(figure: Any) -> str:
    """Title and legend of a picture, a line each."""
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend() is not None)]
    return "\n".join([figure.get_suptitle(), *(text.get_text() for legend in legends for text in legend.get_texts())])


@pytest.mark.parametrize(("constant", "in_sight"), [(0.35, True), (0.9, False)])
def test_what_a_constant_answer_is_worth_is_said(front: Front, constant: float, in_sight: bool) -> None:
    """A row of the table; in the picture a line, unless it is far above everything that is drawn."""
    from rich.console import Console

    from hwnas.cli.tables import front_table

    console = Console(width=140, record=True, file=io.StringIO())
    console.print(front_table(front))
    assert "same answer" not in console.export_text(), "a front of an older version does not say"
    about = {**front.about, "constant_answer": {"validation_error": constant, "test_error": 0.5}}
    told = Front(about, front.unpruned, front.members, front.points)
    console.print(front_table(told))
    (line,) = (line for line in console.export_text().splitlines() if "same answer" in line)
    assert line.split()[-2:] == [f"{constant:.4f}", "0.5000"]
    assert ("always the same answer" in words(front_figure(told))) == in_sight


def test_a_front_of_estimates_says_so_everywhere(estimates: Front, tmp_path: Path) -> None:
    write_front(estimates, tmp_path)
    assert read_front(tmp_path / "front.json") == estimates
    assert '"latencies": "estimated, not measured"' in (tmp_path / "front.json").read_text()
    header = (tmp_path / "front.csv").read_text().splitlines()[0].split(",")
    assert {"latency_estimated_seconds", "latency_estimated_low", "latency_estimated_high"} <= set(header)
    assert not any(name.startswith("latency_measured") for name in header)
    said = words(front_figure(estimates)).splitlines()
    assert "estimated, not measured" in said[1], "the title's second line"
    assert said.count("front (estimated, not measured)") == 1
    assert said.count("unpruned network (estimated, not measured)") == 1
    assert not any("(measured)" in line for line in said)
    with pytest.raises(NoMemberError, match=r"member 0, estimated at 5 ms"):
        estimates.pick(max_latency=0.001)


def test_an_estimate_is_never_read_as_a_measurement(estimates: Front) -> None:
    data = estimates.to_json()["members"][0]
    assert data["latency"]["kind"] == "estimated"
    assert Member.from_json(data).peak_memory_bytes is None
    data["latency"]["kind"] = "measured"
    with pytest.raises(Exception, match="lacks"):
        Member.from_json(data)


def test_no_picture_of_memory_without_measurements(front: Front, estimates: Front, tmp_path: Path) -> None:
    plot_all(front, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"front.png", "front-memory.png"}
    assert "unpruned network (measured)" in words(memory_figure(front))
    plot_all(estimates, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"front.png"}


def test_precisions_in_files_and_pictures(mixed: Front, tmp_path: Path) -> None:
    write_front(mixed, tmp_path)
    assert read_front(tmp_path / "front.json") == mixed
    with (tmp_path / "front.csv").open() as file:
        assert [row["precision"] for row in csv.DictReader(file)] == ["int8-dynamic", "fp32"]
    said = words(front_figure(mixed)).splitlines()
    assert "fp32 + int8-dynamic" in said[1]
    assert "front, int8-dynamic (measured)" in said
    assert "unpruned network fp32 (measured)" in said
    assert "not run in their precision, float32 error (predicted)" in said


def test_a_front_of_schema_1_is_read(front: Front, tmp_path: Path) -> None:
    """What hwnas 0.1.0 wrote: no precision of members, no kind of latencies."""
    write_front(front, tmp_path)
    data = json.loads((tmp_path / "front.json").read_text())
    data["schema"] = 1
    del data["latencies"]
    data["about"]["setting"]["precision"] = "fp16"
    for entry in (data["unpruned"], *data["members"]):
        del entry["precision"], entry["judged_in"]
    (tmp_path / "front.json").write_text(json.dumps(data))
    found = read_front(tmp_path / "front.json")
    assert [entry.precision for entry in found.members] == ["fp16"] * 3
    assert found.unpruned.latency == front.unpruned.latency
