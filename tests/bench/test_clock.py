from __future__ import annotations

import math
from pathlib import Path

import pytest

from hwnas.bench import clock as module
from hwnas.bench.clock import Clock


def test_all_starts_count_and_what_was_done_twice_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(module.time, "perf_counter", lambda: now)
    path = tmp_path / "checkpoints" / "clock.txt"
    first = Clock(path)
    for step, moment in ((1, 103.0), (2, 104.0), (3, 105.0)):
        now = moment
        first.tick(step)
    with path.open("a") as file:
        file.write("4 5")  # killed while it was written
    now = 200.0
    second = Clock(path)
    assert second.seconds(3) == 5.0
    assert math.isnan(Clock(tmp_path / "none").seconds(1))
    for step, moment in ((2, 202.0), (3, 204.0)):  # the last checkpoint was that of step 1
        now = moment
        second.tick(step)
    assert second.seconds(3) == 7.0
    assert (Clock(path).seconds(2), Clock(path).seconds(3)) == (5.0, 7.0)
