"""`hwnas space` and its report: counts, quantiles, pictures, what it refuses."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from hwnas.cli.space import print_spaces
from hwnas.cli.space import space as command
from hwnas.errors import HwnasError, TableError, UnknownNameError, UsageError
from hwnas.latency.predictor import Predictor
from hwnas.models import family_names, get_family
from hwnas.report.space import masks_figure, plot_spaces, sample_space
from hwnas.slicing.extract import extract, parameter_count, parameter_counter
from hwnas.spaces import Architecture, Dimensions, get_space, space_names

DIMENSIONS = Dimensions(layers=3, heads=4, units=20, head_size=6, hidden_size=24)


def size(arch: Architecture) -> int:
    return 10 + sum(arch.head_counts)


@pytest.mark.parametrize("family", family_names())
def test_counts_are_those_of_the_extracted_module(family: str, tiny: Callable[..., Any]) -> None:
    whole = tiny(family)
    dimensions = get_family(whole.config).dimensions(whole.config)
    count, rng = parameter_counter(whole.config, dimensions), np.random.default_rng(0)
    drawn = [get_space(name, dimensions, min_layers=0).sample(rng) for name in ("small", "medium", "large")]
    for arch in (*drawn, Architecture.full(dimensions), Architecture((0,) * 3, (0,) * 3)):
        assert count(arch) == parameter_count(extract(whole, arch))


def test_quantiles_by_hand() -> None:
    """LAYER with 4 heads a layer: 14, 18 or 22, each depth a third of the time."""
    found = sample_space(get_space("layer", DIMENSIONS), size, samples=300, seed=1)
    assert set(found.parameters) == {14, 18, 22}
    facts = found.to_json()
    assert facts["parameters"] == {"0": 14, "0.05": 14, "0.25": 14, "0.5": 18, "0.75": 22, "0.95": 22, "1": 22}
    assert (facts["size"], facts["samples"], facts["entries"], facts["predicted_seconds"]) == (7, 300, 3, None)
    assert found.shown == sample_space(get_space("layer", DIMENSIONS), size, samples=5, seed=1).shown


def test_sizes_that_no_double_holds() -> None:
    base = Dimensions(layers=12, heads=12, units=3072, head_size=64, hidden_size=768)
    facts = sample_space(get_space("large", base), size, samples=2, shown=1).to_json()
    assert facts["size"] is None
    assert facts["log10_size"] == pytest.approx(12 * (12 + 3072) * np.log10(2), abs=1e-3)
    json.dumps(facts)


def test_a_picture_by_hand() -> None:
    """Two heads of four kept in the first layer, no units in the second, nothing in the third."""
    from hwnas.report.space import _HEAD, _LEFT_OUT, _REMOVED, _UNIT, _picture

    picture = _picture(Architecture((2, (1, 3), 0), (10, 0, 0)), DIMENSIONS)
    assert picture.shape == (3, 4 * 6 + 2 + 20, 3)
    np.testing.assert_allclose(picture[0, :24:6], [_HEAD, _HEAD, _LEFT_OUT, _LEFT_OUT])
    np.testing.assert_allclose(picture[1, :24:6], [_LEFT_OUT, _HEAD, _LEFT_OUT, _HEAD])
    np.testing.assert_allclose(picture[1:, 26:], np.broadcast_to(_REMOVED, (2, 20, 3)))
    np.testing.assert_allclose(picture[0, [26, 35, 36]], [_UNIT, _UNIT, _LEFT_OUT])


def test_pictures_with_latencies(tmp_path: Path) -> None:
    from PIL import Image

    shapes = [((heads, units),) * layers for layers in (1, 3) for heads in (1, 4) for units in (1, 20)]
    seconds = [1e-3 + sum(2e-4 * heads + 1e-5 * units for heads, units in shape) for shape in shapes]
    predictor = Predictor(shapes, seconds)
    found = [
        sample_space(get_space(name, DIMENSIONS), size, samples=40, predictor=predictor) for name in ("layer", "large")
    ]
    assert all(one.seconds is not None and one.seconds.min() >= 1e-3 for one in found)
    files = plot_spaces(found, tmp_path / "new", count=size, title="tiny", predictor=predictor, setting="cpu")
    assert [file.name for file in files] == ["masks.png", "parameters.png", "latency.png"]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(file.name for file in files)
    for file in files:
        assert len(np.unique(np.asarray(Image.open(file).convert("L")))) > 20, "not blank"
    panels = masks_figure(found, "tiny").axes
    assert len(panels) == 2 * 5


def run(arguments: Sequence[str]) -> None:
    """The command as the program runs it."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command("space")(command)
    app(list(arguments), standalone_mode=False)


def test_the_command(tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "pictures"
    options = ["--model", str(tiny_folder), "--samples", "30", "--shown", "2", "--out", str(place)]
    run([*options, "--space", "medium", "--space", "layer", "--align", "2,8", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in report["spaces"]] == ["medium", "layer"]
    assert report["spaces"][0]["size"] == (3**3 - 1) * 4**3  # heads 0, 2, 4; units 0, 8, 16, 20
    assert report["files"] == [str(place / "masks.png"), str(place / "parameters.png")]


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    spaces = [get_space(name, DIMENSIONS) for name in space_names()]
    print_spaces([sample_space(one, size, samples=20) for one in spaces], "tiny", (1, 1))
    printed = capsys.readouterr().out
    assert all(name in printed for name in space_names())
    assert "10^21.7" in printed, "the size of LARGE"


def test_pictures_go_where_the_help_says(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run(["--model", str(tiny_folder), "--samples", "5", "--space", "layer", "--json"])
    assert json.loads(capsys.readouterr().out)["files"][0] == f"space-{tiny_folder.name}/masks.png"
    assert (tmp_path / f"space-{tiny_folder.name}" / "masks.png").is_file()


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        (["--space", "tiny"], UnknownNameError, "large, layer, medium, small"),
        (["--min-layers", "9"], UsageError, "min_layers 9: expected 0 to 3"),
        (["--align", "fast"], UsageError, "expected none, target, measured"),
        (["--align", "measured"], UsageError, "no steps have been measured"),
        (["--shown", "9", "--samples", "5"], UsageError, "expected 1 to 5"),
        (["--out", "/proc/space"], UsageError, "cannot write to /proc/space"),
        (["--latency"], TableError, r"no finished profile.*run `hwnas profile"),
    ],
)
def test_what_the_command_refuses(
    options: list[str], kind: type[HwnasError], message: str, tiny_folder: Path, tmp_path: Path
) -> None:
    table = ["--table", str(tmp_path / "table.sqlite")]
    with pytest.raises(kind, match=message) as error:
        run(["--model", str(tiny_folder), "--samples", "5", "--out", str(tmp_path / "x"), *table, *options])
    assert "\n" not in str(error.value)
    assert not (tmp_path / "x").exists()


def test_the_module_is_light() -> None:
    import subprocess

    code = (
        "import sys, hwnas.cli.space; print([name for name in ('torch', 'matplotlib', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
