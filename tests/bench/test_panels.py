"""Curves, on rows worked by hand."""

from __future__ import annotations

from dataclasses import replace

from hwnas.bench.figures import STANDARD, WEIGHT_SHARING
from hwnas.bench.folder import Row
from hwnas.bench.panels import PANELS, Curve, Panel, TaskRuns, regrets
from hwnas.bench.pictures import Picture
from hwnas.report.bench import picture_figure
from hwnas.spaces import Architecture

ARCH = Architecture((1,), (1,))


def row(number: int, error: float, parameters: int, flags: str = "") -> Row:
    return Row(number, ARCH, "fp32", error, error, parameters, 0.5, flags=flags, elapsed=10.0 * (number + 1))


def test_a_stopped_sub_network_costs_its_share() -> None:
    """Three trainings of a third and a whole one are two evaluations, as two whole ones are."""
    whole = [row(0, 0.5, 10), row(1, 0.4, 30)]
    shares = [row(number, 0.6 + number / 10, 40, "stopped:1/3") for number in range(3)]
    runs = {"RS": [whole], "MO-ASHA": [[*shares, row(3, 0.1, 5)]]}
    places, found = regrets(runs, "evaluations")
    assert places.tolist() == [1.0, 2.0]
    assert found["MO-ASHA"][0, 1] == 0.0, "the best of all came with the second whole training"
    assert found["MO-ASHA"][0, 0] > found["RS"][0, 0] > found["RS"][0, 1] > 0.0
    places, found = regrets(runs, "time")
    assert (places[0], places[-1]) == (10.0, 40.0)
    assert found["MO-ASHA"][0, -1] == 0.0


def test_a_stopped_training_is_not_the_unpruned_network() -> None:
    """Level lines are of whole trainings; without one, of the super-network."""
    shared = [replace(row(0, 0.25, 20), share=1.0), row(1, 0.5, 10)]
    stopped = replace(row(0, 0.75, 20, "stopped:1/9"), share=1.0)
    whole = replace(row(1, 0.125, 20), share=1.0)
    approaches = {"WS-NAS": WEIGHT_SHARING, "S-NAS": STANDARD}
    for rows, expected in (([stopped, whole], 0.875), ([stopped, row(1, 0.5, 10)], 0.75)):
        runs = {"WS-NAS": [shared], "S-NAS": [rows]}
        (panel,) = PANELS["sizes"]([TaskRuns("sst2", "accuracy", runs, approaches)], "evaluations")
        (level,) = [curve for curve in panel.curves if curve.label == "unpruned"]
        assert level.y == (expected,)


def test_what_failed_costs_its_evaluation() -> None:
    """The third evaluation is the first that did not fail: one and two evaluations have found nothing."""
    late = replace(row(2, 0.1, 5), spent=3.0)
    places, found = regrets(
        {"RS": [[row(number, 0.5, 10 + number) for number in range(3)]], "LS": [[late]]}, "evaluations"
    )
    assert places.tolist() == [1.0, 2.0, 3.0]
    assert found["LS"][0, 2] == 0.0
    assert found["LS"][0, 0] == found["LS"][0, 1] > found["RS"][0, 0]


def test_a_series_looks_the_same_in_every_panel() -> None:
    """Also where a panel lacks another one, or has them in another order; the legend is of all panels."""
    names = ("fp32", "int8", "int8-dynamic")
    orders = (names, ("fp32", "int8-dynamic"), ("int8-dynamic", "fp32", "int8"))
    panels = tuple(
        Panel("", "x", "y", tuple(Curve(name, (1.0,), (1.0,), style="points") for name in order)) for order in orders
    )
    figure = picture_figure(Picture("12", "", panels, "", ()))
    looks: dict[str, set[tuple[object, str]]] = {name: set() for name in names}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            looks[label].add((handle[0].get_marker(), handle[0].get_color()))
    assert [len(look) for look in looks.values()] == [1, 1, 1]
    assert len(set.union(*looks.values())) == 3
