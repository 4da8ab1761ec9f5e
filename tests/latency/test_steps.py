"""Steps of widths, found in latencies whose staircase is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from hwnas.errors import TableError
from hwnas.latency.design import staircase_networks
from hwnas.latency.keys import network_key
from hwnas.latency.steps import load_steps, measured_steps, step_width, widths_of
from hwnas.latency.table import LatencyTable
from hwnas.spaces import Architecture, Dimensions

MINILM = Dimensions(layers=6, heads=12, units=1536, head_size=32, hidden_size=384)
UNITS = sorted({arch.unit_counts[0] for arch in staircase_networks(MINILM) if arch.head_counts == (12,) * 6})
TILES = (8, 16, 32, 64, 128, 256)


def up(width: int, step: int) -> int:
    """The next multiple of a step."""
    return math.ceil(width / step) * step


def rows_of(measured, cost, noise=0.0, seed=0, dimensions=MINILM):
    """A sweep through a super-network whose layers cost so much each, in seconds."""
    rng, rows = np.random.default_rng(seed), []
    for arch in staircase_networks(dimensions):
        seconds = (2e-4 + sum(cost(heads, units) for heads, units in arch.shape)) * (1 + noise * rng.standard_normal())
        rows.append((arch.shape, replace(measured, seconds=seconds, flags=())))
    return rows


def straight(heads, units):
    return 1e-4 + 2e-4 * heads + 2e-6 * units


def stairs(heads, units):
    """128 channels at once: four heads of 32, and 128 units."""
    return 1e-4 + 2e-4 * up(heads, 4) + 2e-6 * up(units, 128)


def test_by_hand():
    """Sixteen widths in steps of 4: 1, 1, 1, 1, 2, 2, ... seconds; and what climbs by the same at every width."""
    widths = list(range(1, 17))
    assert step_width(widths, [math.ceil(width / 4) for width in widths], (2, 3, 4, 5)) == 4
    assert step_width(widths, widths, (2, 3, 4, 5)) == 1
    assert step_width(widths, [1.0] * 16, (2, 3, 4, 5)) == 1


def test_stairs_of_heads_and_units(measured):
    assert measured_steps(MINILM, rows_of(measured, stairs)) == (4, 128)
    assert measured_steps(MINILM, rows_of(measured, straight)) == (1, 1)
    assert measured_steps(MINILM, rows_of(measured, lambda h, u: 1e-4 + 2e-4 * h + 2e-6 * up(u, 64))) == (1, 64)
    assert measured_steps(MINILM, rows_of(measured, lambda h, u: 1e-4 + 2e-4 * up(h, 2) + 2e-6 * u)) == (2, 1)


@pytest.mark.parametrize("step", TILES)
def test_every_width_of_a_tile_is_found(step):
    assert step_width(UNITS, [1e-3 + 1e-5 * up(width, step) for width in UNITS], TILES) == step


def test_stairs_are_found_in_noise(measured):
    """Half a percent, as a calm machine measures."""
    found = [measured_steps(MINILM, rows_of(measured, stairs, noise=0.005, seed=seed)) for seed in range(20)]
    assert found.count((4, 128)) >= 19


@pytest.mark.parametrize(
    "cost",
    [
        straight,
        lambda heads, units: straight(heads, units) + 2e-4 * max(0, heads - 6) + 2e-6 * max(0, units - 700),  # bends
        lambda heads, units: max(6e-4, 2e-4 * heads) + 1e-4 + max(5e-4, 2e-6 * units),  # a floor
        lambda heads, units: 2e-4 * heads**0.8 + 2e-5 * units**0.7,
        lambda heads, units: straight(heads, units) + 3e-4 * (units > 768),  # a single jump
    ],
    ids=["line", "bends", "floor", "flattens", "jump"],
)
def test_what_is_no_staircase_has_no_steps(measured, cost):
    assert measured_steps(MINILM, rows_of(measured, cost)) == (1, 1)
    found = [measured_steps(MINILM, rows_of(measured, cost, noise=0.01, seed=seed)) for seed in range(20)]
    assert found.count((1, 1)) >= 18


def test_low_stairs_on_a_steep_slope_are_none(measured):
    """A third of the rise comes in stairs: a network half a step narrower still saves most of half a step."""
    found = measured_steps(MINILM, rows_of(measured, lambda h, u: 1e-4 + 2e-4 * h + 2e-6 * u + 1e-6 * up(u, 128)))
    assert found == (1, 1)


def test_only_sweeps_without_doubts_count(measured):
    rows = rows_of(measured, stairs)
    others = [(Architecture((3,) * 6, (96,) * 6).shape, measured), (((12, 700),) * 5, measured), ((), measured)]
    assert measured_steps(MINILM, [*rows, *others]) == (4, 128)
    assert widths_of(MINILM, rows, 1)[0] == UNITS
    doubtful = [(shape, replace(row, flags=("disturbed",))) for shape, row in rows]
    assert measured_steps(MINILM, doubtful) is None
    assert measured_steps(MINILM, [row for row in rows if row[0][0][0] == 12]) is None, "no sweep of heads"


def test_fewer_heads_than_a_sweep_needs_have_no_steps(measured):
    few = Dimensions(layers=2, heads=4, units=1536, head_size=64, hidden_size=256)
    assert measured_steps(few, rows_of(measured, stairs, dimensions=few)) == (1, 128)


def test_steps_come_from_the_table_or_it_says_how(tmp_path, bert, setting, measured):
    dimensions = Dimensions(layers=2, heads=4, units=64, head_size=8, hidden_size=32)
    with LatencyTable(tmp_path / "t.sqlite") as table:
        with pytest.raises(TableError, match=r"no sweeps of this model .* run `hwnas .*--sweep` first") as caught:
            load_steps(bert, setting, table)
        assert "\n" not in str(caught.value)
        for arch in staircase_networks(dimensions):
            seconds = 1e-3 + sum(2e-4 * heads + 1e-5 * up(units, 16) for heads, units in arch.shape)
            table.put(setting, network_key(bert, arch), "sweep", replace(measured, seconds=seconds, flags=()))
        assert load_steps(bert, setting, table) == (1, 16)
