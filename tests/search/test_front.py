"""Pareto fronts, the cache's file, the front's files and picture, and what users pick from it."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.errors import NoMemberError, RunFolderError, UnknownNameError, UsageError
from hwnas.latency.records import Measured, Predicted
from hwnas.report.plot import plot_front
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


def member(seconds: float, error: float) -> Member:
    predicted = Predicted(seconds * 1.01, seconds * 0.98, seconds * 1.04)
    return Member(ARCH, error, error + 0.01, measured(seconds), predicted, int(seconds * 1e6), seconds * 1.01)


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


def test_parameters_are_counted_on_the_extracted_module(tiny: Callable[..., Any]) -> None:
    model = tiny("roberta")
    objective = get_objective("parameters", model.config, None)
    for arch in (Architecture((4, 4, 4), (20, 20, 20)), Architecture((2, 0, 1), (7, 3, 0))):
        assert objective(arch) == parameter_count(extract(model, arch))


def test_objectives_say_what_they_need(tiny: Callable[..., Any]) -> None:
    assert {name: needs_profile(name) for name in objective_names()} == {
        "latency": True,
        "memory": True,
        "parameters": False,
    }
    with pytest.raises(UsageError, match="hwnas profile"):
        get_objective("latency", tiny("bert").config, None)
    with pytest.raises(UnknownNameError, match="latency, memory, parameters"):
        needs_profile("beauty")


def test_the_json_has_no_nan(front: Front) -> None:
    json.dumps(front.to_json(), allow_nan=False)
