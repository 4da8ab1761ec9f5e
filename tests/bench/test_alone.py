"""Standard NAS with real trainings: levels, trials that are stopped, two at once, the picture."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hwnas.bench.exam import TEST, Exam
from hwnas.bench.figures import STANDARD, get_figure
from hwnas.bench.folder import BenchFolder, Row
from hwnas.bench.pictures import make_picture
from hwnas.bench.run import run_figure
from hwnas.bench.scale import Scale
from hwnas.bench.spent import share, spent, stopped
from hwnas.bench.standard import fine_tune
from hwnas.bench.supernet import pretrained
from hwnas.bench.units import Unit
from hwnas.errors import HwnasError, UsageError
from hwnas.search.search import VALIDATION
from hwnas.slicing.extract import extract
from hwnas.spaces import Architecture
from hwnas.tasks import encode

UNIT = Unit("sst2", STANDARD, "small", "standard", "mo_asha", 0, 3)


class Alone:
    """A network that can be fine-tuned again and again from the same weights."""

    def __init__(self, scale: Scale) -> None:
        self.task = scale.load("sst2", 0)
        self.network = pretrained(scale, self.task, UNIT)
        self.exam = Exam(self.task, self.network.tokenizer, scale, 0)
        self.options = scale.options("standard", 0)
        self.dataset = encode(self.task.train, self.network.tokenizer, scale.max_length, regression=False)

    def tuned(self, arch: Architecture, **watch: Any) -> tuple[Any, int]:
        """The module, and the level that it reached."""
        module = extract(self.network.model, arch)
        tokenizer = self.network.tokenizer
        return module, fine_tune(module, tokenizer, self.dataset, self.options, regression=False, **watch)


@pytest.fixture(scope="module")
def alone(scale: Scale) -> Alone:
    return Alone(scale)


def same(a: Any, b: Any) -> bool:
    other = b.state_dict()
    return all(torch.equal(tensor, other[name]) for name, tensor in a.state_dict().items())


def test_a_training_that_is_watched_gives_the_same_weights(alone: Alone) -> None:
    """Bit for bit, whatever the one who watches draws; one that is ended has the weights of that moment."""
    arch = alone.network.space.middle()
    plain, reached = alone.tuned(arch)
    assert reached == 1
    errors: list[float] = []
    seen: list[int] = []

    def goes_on(level: int, until: int = 9) -> bool:
        torch.rand(7)
        seen.append(level)
        return level < until

    watched, reached = alone.tuned(arch, levels=4, goes_on=goes_on)
    assert (reached, seen) == (4, [1, 2, 3])
    assert same(watched, plain)
    seen.clear()
    ended, reached = alone.tuned(arch, levels=4, goes_on=lambda level: goes_on(level, 2))
    assert (reached, seen) == (2, [1, 2])
    assert not same(ended, plain)

    def keeps(level: int) -> bool:
        errors.append(alone.exam.error(VALIDATION, module))
        return level < 2

    module = extract(alone.network.model, arch)
    fine_tune(
        module, alone.network.tokenizer, alone.dataset, alone.options, regression=False, levels=4, goes_on=keeps
    )  # fmt: skip
    assert same(module, ended)
    assert errors[-1] == alone.exam.error(VALIDATION, ended)
    with pytest.raises(UsageError, match="7 levels of 6 training steps: expected 1 to 6"):
        alone.tuned(arch, levels=7)


def test_two_trials_at_once(scale: Scale, alone: Alone, tmp_path: Path) -> None:
    """MO-ASHA spends the budget on more sub-networks; those trained to the end are as if trained by themselves."""
    folder = BenchFolder(tmp_path / "b")
    options: dict[str, Any] = {
        "tasks": ["sst2"], "seeds": 1, "evaluations": 3, "only": ["mo_asha"], "trials_at_once": 2,
    }  # fmt: skip
    outcome = run_figure(folder, get_figure("5b"), scale, **options)
    assert outcome.units == (UNIT,)
    _, rows, text = folder.read(folder.results(UNIT))
    assert (text["levels"], text["r_min"], text["eta"]) == ("6", "1", "3")
    assert spent(rows)[-1] == 3.0
    assert len({row.architecture for row in rows}) == len(rows) > 3
    assert sorted(row.number for row in rows) == list(range(len(rows)))
    designs = alone.network.space.start_designs()
    assert {row.number: row.architecture for row in rows if row.number < 3} == dict(enumerate(designs))
    assert all(row.test_error is not None for row in rows)
    assert all(a.elapsed <= b.elapsed for a, b in pairwise(rows))  # type: ignore[operator]
    assert {row.flags for row in rows} <= {"", *(f"stopped:{level}/6" for level in range(1, 6))}
    whole = [row for row in rows if share(row) == 1]
    assert 0 < len(whole) < len(rows)
    module, _ = alone.tuned(whole[0].architecture)
    assert whole[0].error == alone.exam.error(VALIDATION, module)
    assert whole[0].test_error == alone.exam.error(TEST, module)
    assert run_figure(folder, get_figure("10"), scale, **options).made == 0
    (panel,) = make_picture(folder, get_figure("10"), only=["mo_asha"]).panels
    assert [curve.label for curve in panel.curves] == ["MO-ASHA"]


def test_every_method_of_standard_nas(scale: Scale, tmp_path: Path) -> None:
    """The same training for each; begun with the same designs, none twice; ranks are between the first and the last."""
    folder, figure, scale = BenchFolder(tmp_path / "b"), get_figure("5b"), replace(scale, align=(1, 10))
    methods = [series.method for series in figure.series()]
    outcome = run_figure(folder, figure, scale, tasks=["sst2"], seeds=1, evaluations=4)
    assert outcome.made == len(methods) == 7
    designs = None
    for unit in outcome.units:
        _, rows, _ = folder.read(folder.results(unit))
        assert spent(rows)[-1] == 4.0
        assert len({row.architecture for row in rows}) == len(rows) >= 4
        first = [row.architecture for row in sorted(rows, key=lambda row: row.number)[:2]]
        designs = designs or first
        assert first == designs
        assert all(units % 10 == 0 for row in rows for units in row.architecture.unit_counts)
    told = [json.loads(line) for line in folder.trainings(unit).read_text().splitlines()[1:]]
    trained = [str(entry["architecture"]) for entry in told if entry["split"] == "seconds"]
    # What one search has trained another does not; only MO-ASHA has to see what it was after each level.
    assert max(trained.count(arch) for arch in trained) <= 2
    assert len(trained) < 4 * len(methods) / 2
    picture = make_picture(folder, figure)
    assert "space small; widths in steps of 1 heads and 10 units" in picture.scale
    (panel,) = picture.panels
    ranks = np.array([curve.y for curve in panel.curves])
    assert ranks.shape == (7, 4)
    assert ranks.sum(axis=0) == pytest.approx(sum(range(1, 8)))
    assert {curve.label for curve in panel.curves} == {series.label for series in figure.series()}


def test_a_training_that_fails_has_no_row(
    scale: Scale, alone: Alone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others have; the file says how many failed, and that they did is kept. Only if all fail, the unit does."""
    folder, unit, said = BenchFolder(tmp_path / "b"), replace(UNIT, method="random_search"), list[str]()
    options: dict[str, Any] = {"tasks": ["sst2"], "seeds": 1, "evaluations": 3, "only": ["random_search"]}

    def failing(model: Any, arch: Architecture) -> Any:
        if arch in broken:
            raise RuntimeError("out of memory\nand more")
        return extract(model, arch)

    monkeypatch.setattr("hwnas.bench.alone.extract", failing)
    designs: tuple[Architecture, ...] = alone.network.space.start_designs()
    broken = designs
    with pytest.raises(HwnasError, match=r"1 of 1 pieces .* RuntimeError: out of memory\. More in"):
        run_figure(folder, get_figure("5b"), scale, **options)
    broken = designs[1:2]
    run_figure(folder, get_figure("5b"), scale, **options, watch=lambda *args: said.append(args[-1]))
    _, rows, text = folder.read(folder.results(unit))
    assert {row.number: row.architecture for row in rows} == {0: designs[0], 2: designs[2]}
    assert text["failed"] == "1"
    assert any(line.endswith(", 1 failed") for line in said)
    assert not folder.failure(unit.name).exists()
    folder.results(unit).unlink()
    broken = designs
    run_figure(folder, get_figure("5b"), scale, **options)
    assert [row.error for row in folder.read(folder.results(unit))[1]] == [row.error for row in rows]
    (panel,) = make_picture(folder, get_figure("10"), only=["random_search"]).panels
    assert [curve.x for curve in panel.curves] == [(1.0, 2.0, 3.0)], "what failed is paid for"


def test_a_stopped_trial_counts_as_its_share() -> None:
    arch = Architecture((1,), (1,))
    flags = [stopped(1, 3), stopped(2, 3), stopped(3, 3), f"drift {stopped(1, 9)}"]
    rows = [Row(at, arch, "fp32", 0.1, 0.1, 5, 0.5, flags=flag) for at, flag in enumerate(flags)]
    assert flags[:3] == ["stopped:1/3", "stopped:2/3", ""]
    assert spent(rows) == pytest.approx(np.array([1 / 3, 1.0, 2.0, 2 + 1 / 9]))
    assert spent(rows)[1:3].tolist() == [1.0, 2.0]


def test_trials_at_once_need_standard_nas(scale: Scale, tmp_path: Path) -> None:
    folder = BenchFolder(tmp_path / "b")
    options: dict[str, Any] = {"tasks": ["sst2"], "seeds": 1, "evaluations": 6}
    with pytest.raises(HwnasError, match=r"--trials-at-once 2: only standard NAS .* figure 5a"):
        run_figure(folder, get_figure("5a"), scale, **options, trials_at_once=2)
    with pytest.raises(HwnasError, match="--trials-at-once 0: expected 1 or more"):
        run_figure(folder, get_figure("5b"), scale, **options, trials_at_once=0)
    assert not folder.path.exists()
