"""Costs beside latency, memory and parameters: names, laws from a table's rows, and what a measurement says of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hwnas.errors import TableError, UnknownNameError, UsageError
from hwnas.latency.entries import FitEntry, MeasuredEntry
from hwnas.latency.keys import model_key, network_key
from hwnas.latency.records import Measured, Setting
from hwnas.latency.table import Fit, LatencyTable
from hwnas.search.laws import load_law
from hwnas.search.objectives import cost_names, get_objective, interval_of, measured_cost, objective_names
from hwnas.search.pareto import thin
from hwnas.spaces import Architecture

SETTING = Setting("a10g", "an A10G", "tensorrt", "10", "fp16", 1, 16, 1, "p")
ROW = Measured(
    seconds=0.01, low=0.0099, high=0.0101, n=66, median=0.01, p5=0.01, p95=0.01, rounds=6, round_spread=0.0,
    peak_memory_bytes=None, weight_bytes=500, flags=(), load=None, mhz=None, date="2026-01-01T00:00:00+00:00",
    commit=None, hwnas_version="0.1.0",
)  # fmt: skip
DESIGN = [
    Architecture((heads,) * layers + (0,) * (3 - layers), (units,) * layers + (0,) * (3 - layers))
    for layers, heads, units in [
        (1, 1, 1), (1, 4, 20), (2, 2, 10), (2, 4, 5), (2, 1, 20), (3, 4, 20), (3, 1, 1), (3, 2, 15), (1, 2, 7),
    ]
]  # fmt: skip
UNSEEN = Architecture((3, 3, 0), (12, 12, 0))


def size(arch: Architecture) -> float:
    """What a file or a run is a sum of, in some unit."""
    return 50 + sum(4 + 3 * heads + units for heads, units in arch.shape)


def filled(table: LatencyTable, config: Any, values: Callable[[int, Architecture], Mapping[str, Any]]) -> None:
    """A finished profile whose rows hold these values."""
    keys = [network_key(config, arch) for arch in DESIGN]
    rows = [
        MeasuredEntry(SETTING, key, "design", replace(ROW, **values(index, arch)))
        for index, (key, arch) in enumerate(zip(keys, DESIGN, strict=True))
    ]
    fit = Fit(model_key(config), 0, tuple(keys), (), None, None, ROW.date, "0.1.0")
    table.store([*rows, FitEntry(SETTING, fit)])


@pytest.fixture
def config(tiny: Callable[..., Any]) -> Any:
    return tiny("bert").config


def test_names_of_costs() -> None:
    assert set(objective_names()) == {"latency", "memory", "parameters", "energy", "engine-size"}
    assert cost_names("latency") == ("latency",)
    assert cost_names(["error", "memory", "latency", "memory"]) == ("memory", "latency")
    with pytest.raises(UsageError, match=r"--objective error: expected a cost beside the error: energy, engine-size"):
        cost_names(["error"])
    with pytest.raises(UnknownNameError, match="did you mean 'energy'"):
        cost_names(["latency", "enrgy"])


def test_energy_and_engine_size_follow_the_rows(tmp_path: Path, config: Any) -> None:
    with LatencyTable(tmp_path / "t.sqlite") as table:
        filled(table, config, lambda _, a: {"energy_joules": size(a) / 1e3, "file_bytes": 10**6 * int(size(a))})
        whole = size(UNSEEN)
        for name, unit, expected in (("energy", "joules", whole / 1e3), ("engine-size", "bytes", 1e6 * whole)):
            objective = get_objective(name, config, None, lambda name: load_law(config, SETTING, table, name))
            assert (objective.name, objective.unit, objective.provenance) == (name, unit, "predicted")
            assert objective(UNSEEN) == pytest.approx(expected, rel=1e-3)
            low, high = interval_of(objective, UNSEEN)
            assert low <= expected * 1.001
            assert high >= expected * 0.999


def test_what_the_rows_do_not_say_is_refused(tmp_path: Path, config: Any) -> None:
    with LatencyTable(tmp_path / "t.sqlite") as table:
        with pytest.raises(TableError, match="hwnas profile --target a10g"):
            load_law(config, SETTING, table, "energy")
        filled(table, config, lambda index, _: {"file_bytes": 1000 if index < 5 else None})
        with pytest.raises(TableError, match=r"energy of a run of 0 of the 9 networks .* fewer than the 6 of a fit"):
            load_law(config, SETTING, table, "energy")
        with pytest.raises(TableError, match="5 of the 9 networks"):
            load_law(config, SETTING, table, "engine-size")
    with pytest.raises(UsageError, match="hwnas profile"):
        get_objective("energy", config, None)


def test_values_that_follow_no_law_are_refused(tmp_path: Path, config: Any) -> None:
    with LatencyTable(tmp_path / "t.sqlite") as table:
        filled(table, config, lambda index, _: {"energy_joules": (0.1, 3.0, 0.4)[index % 3]})
        with pytest.raises(TableError, match="follows no law: a fit on 9 networks is off by"):
            load_law(config, SETTING, table, "energy")


def test_a_measurement_says_what_it_holds() -> None:
    row = replace(ROW, energy_joules=0.5, file_bytes=7)
    assert measured_cost("latency", row) == 0.01
    assert measured_cost("energy", row) == 0.5
    assert measured_cost("engine-size", row) == 7.0
    assert measured_cost("memory", row) is None
    assert measured_cost("parameters", row) is None


def test_what_is_counted_has_no_interval(config: Any) -> None:
    counted = get_objective("parameters", config, None)
    assert interval_of(counted, UNSEEN) == (counted(UNSEEN), counted(UNSEEN))


def test_thinning_of_three_objectives_keeps_the_best_of_each() -> None:
    """The second point has the nearest neighbours; the ends of each objective stay."""
    front = [(0.0, 5.0, 10.0), (1.0, 4.0, 9.0), (1.1, 3.9, 8.9), (5.0, 0.0, 5.0), (9.0, 3.0, 0.0)]
    assert thin(front, 4) == [0, 2, 3, 4]
    assert thin(front, 2) == [0, 3, 4]
    assert thin(front, 9) == [0, 1, 2, 3, 4]
