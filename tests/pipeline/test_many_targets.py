"""One search for several devices, several costs, limits, measurements during it; latencies are a law's, not timed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hwnas.errors import NoMemberError, TableError, UsageError
from hwnas.latency.entries import FitEntry, MeasuredEntry
from hwnas.latency.profile import make_setting
from hwnas.latency.records import Measured, Predicted, Setting, model_key, network_key
from hwnas.latency.table import Fit, LatencyTable
from hwnas.pipeline.compare import fronts_to_compare
from hwnas.pipeline.folder import DataSpec, RunFolder, RunSpec
from hwnas.pipeline.reach import MEASURED, PREDICTED, Request, Shape, find_settings, reach
from hwnas.pipeline.search import Searched, SearchOptions, search_devices, search_run
from hwnas.pipeline.train import SuperNet, load_supernet, train_run
from hwnas.profilers import TimingProtocol
from hwnas.search.constraints import Limit
from hwnas.search.front import read_front
from hwnas.search.pareto import non_dominated
from hwnas.spaces import Architecture
from hwnas.training.train import TrainOptions

PROTOCOL = TimingProtocol.of_rounds(4)
QUICK = {"evaluations": 12, "examples": 24, "max_members": 4}
BOTH = SearchOptions(**QUICK, searcher="regularized_evolution")  # type: ignore[arg-type]
ROW = Measured(
    seconds=1.0, low=1.0, high=1.0, n=66, median=1.0, p5=1.0, p95=1.0, rounds=6, round_spread=0.0,
    peak_memory_bytes=None, weight_bytes=500, flags=(), load=None, mhz=None, date="2026-01-01T00:00:00+00:00",
    commit=None, hwnas_version="0.1.0",
)  # fmt: skip


def here() -> Setting:
    return make_setting("cpu", "onnxruntime", "fp32", 1, 16, 1, protocol=PROTOCOL)


AWAY = Setting("a10g", "NVIDIA A10G, compute capability 8.6, driver 1", "tensorrt", "10", "fp16", 1, 16, 1, "p")


def law_here(arch: Architecture) -> float:
    """Units cost most."""
    return 1e-4 * (1 + sum(0.5 + 0.2 * heads + 0.3 * units for heads, units in arch.shape))


def law_away(arch: Architecture) -> float:
    """Heads cost most."""
    return 1e-5 * (4 + sum(1 + 3 * heads + 0.01 * units for heads, units in arch.shape))


def slower(arch: Architecture) -> float:
    """What is really measured: up to a tenth more than a profile of the outermost networks says."""
    return law_here(arch) * (1.1 if 4 < max(units for _, units in arch.shape) < 18 else 1.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path, tiny_csv: Path) -> RunFolder:
    """A run whose super-network is trained."""
    made = RunFolder(tmp_path_factory.mktemp("many") / "run")
    data = DataSpec(task="reviews", train_file=str(tiny_csv))
    train = TrainOptions(max_steps=15, batch_size=16, learning_rate=0.003)
    train_run(made, RunSpec(model=str(tiny_folder), data=data, max_length=16, train=train))
    return made


@pytest.fixture(scope="module")
def supernet(folder: RunFolder) -> SuperNet:
    return load_supernet(folder)


def fill(
    table: LatencyTable, setting: Setting, supernet: SuperNet, law: Callable[[Architecture], float],
    *, all_rows: Callable[[Architecture], float] | None = None, **extra: Callable[[Architecture], Any],
) -> None:  # fmt: skip
    """A finished profile of 10 networks by a law; with `all_rows` also a row of every network, as if measured."""
    space, config = supernet.space, supernet.model.config
    design = [
        space.decode([layers, heads, units])
        for layers, heads, units in [
            (1, 1, 2), (1, 4, 20), (1, 1, 20), (1, 4, 1), (2, 2, 2), (2, 4, 20), (2, 1, 19), (3, 4, 20), (3, 1, 1),
            (3, 2, 3),
        ]
    ]  # fmt: skip
    rows = {}
    if all_rows is not None:
        ranges = [range(low, high + 1) for low, high in space.bounds.values()]
        every = [space.decode([a, b, c]) for a in ranges[0] for b in ranges[1] for c in ranges[2]]
        rows = {network_key(config, arch): (arch, all_rows(arch)) for arch in every}
    keys = [network_key(config, arch) for arch in design]
    rows |= {key: (arch, law(arch)) for key, arch in zip(keys, design, strict=True)}
    entries = [
        MeasuredEntry(
            setting, key, "design",
            replace(ROW, seconds=seconds, low=seconds, high=seconds, **{name: of(arch) for name, of in extra.items()}),
        )
        for key, (arch, seconds) in rows.items()
    ]  # fmt: skip
    table.store([*entries, FitEntry(setting, Fit(model_key(config), 0, tuple(keys), (), None, None, ROW.date, "0"))])


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, supernet: SuperNet) -> Iterator[LatencyTable]:
    """Profiles of this machine, in which every network is measured already, and of an A10G elsewhere."""
    with LatencyTable(tmp_path_factory.mktemp("tables") / "t.sqlite") as made:
        size = {"file_bytes": lambda arch: 1000 + 10 * sum(arch.unit_counts)}
        fill(made, here(), supernet, law_here, all_rows=slower, **size)
        fill(made, AWAY, supernet, law_away)
        yield made


def copy_of(folder: RunFolder, place: Path) -> RunFolder:
    return RunFolder(Path(shutil.copytree(folder.path, place, ignore=shutil.ignore_patterns("search"))))


def evaluations(folder: RunFolder) -> int:
    """Validation errors that were found by running a network."""
    (file,) = folder.search.glob("evaluations-*.jsonl")
    return file.read_text().count('"split": "validation"')


@pytest.fixture(scope="module")
def searched(
    folder: RunFolder, table: LatencyTable, supernet: SuperNet, tmp_path_factory: pytest.TempPathFactory
) -> tuple[RunFolder, Searched]:
    """A run that was searched for this machine and the A10G."""
    run = copy_of(folder, tmp_path_factory.mktemp("searched") / "run")
    return run, search_devices(run, [here(), AWAY], table, BOTH, supernet=supernet)


def test_one_search_gives_each_device_its_front(searched: tuple[RunFolder, Searched]) -> None:
    run, found = searched
    assert (reach(here()), reach(AWAY)) == (MEASURED, PREDICTED)
    assert evaluations(run) == 12, "each error is found once"
    near, far = found.fronts
    assert [front.label for front in found.fronts] == ["cpu", "a10g"]
    assert [front.how for front in found.fronts] == ["measured", "predicted"]
    assert [point["architecture"] for point in near.points] == [point["architecture"] for point in far.points]
    for member in near.members:
        assert isinstance(member.latency, Measured)
        assert member.latency.seconds == pytest.approx(slower(member.architecture))
    for member in (*far.members, far.unpruned):
        assert isinstance(member.latency, Predicted)
        assert member.latency == member.predicted
        assert member.latency.seconds == pytest.approx(law_away(member.architecture), rel=0.02)
    for front, place in zip(found.fronts, found.places, strict=True):
        assert read_front(place / "front.json") == front
        on = non_dominated([(point["cost"], point["error"]) for point in front.points])
        assert [bool(value) for value in on] == [point["on_front"] for point in front.points]
    text = (found.places[1] / "front.json").read_text()
    assert '"latencies": "predicted, not measured"' in text
    assert "measured on NVIDIA A10G" in json.loads(text)["about"]["basis"]
    assert json.loads(text)["schema"] == 3
    assert json.loads((found.places[0] / "front.json").read_text())["schema"] == 2, "nothing in it is new"
    header = (found.places[1] / "front.csv").read_text().splitlines()[0].split(",")
    assert "latency_predicted_seconds" in header
    assert not any(name.startswith("latency_measured") for name in header)
    assert found.overview is not None
    assert {path.name for path in found.overview.iterdir()} == {"fronts.png", "comparison.json"}
    assert list(fronts_to_compare(run).values()) == [near, far]
    for level in json.loads((found.overview / "comparison.json").read_text())["levels"]:
        assert [choice["device"] for choice in level["choices"]] == ["cpu", "a10g"]
        assert all(choice["validation_error"] <= level["validation_error"] for choice in level["choices"])


def test_an_interrupted_search_of_several_devices_loses_nothing(
    searched: tuple[RunFolder, Searched], folder: RunFolder, table: LatencyTable, supernet: SuperNet, tmp_path: Path
) -> None:
    run = copy_of(folder, tmp_path / "cut")

    def stop(stage: str, done: int, total: int, text: str) -> None:
        if stage == "search" and done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search_devices(run, [here(), AWAY], table, BOTH, supernet=supernet, progress=stop)
    assert evaluations(run) == 7
    assert search_devices(run, [here(), AWAY], table, BOTH, supernet=supernet).fronts == searched[1].fronts
    assert evaluations(run) == 12


def test_members_meet_the_limits_when_they_are_measured(
    folder: RunFolder, table: LatencyTable, supernet: SuperNet, tmp_path: Path
) -> None:
    """The profile says less than what is measured, so that some that seem to be fast enough are not."""
    run = copy_of(folder, tmp_path / "run")
    most = law_here(supernet.space.decode([2, 2, 9])) * 1.02
    options = SearchOptions(**QUICK, limits=(Limit("latency", most),), max_error_increase=0.6)  # type: ignore[arg-type]
    front = search_run(run, here(), table, options, supernet=supernet)
    assert front.about["limits"] == {"latency": most}
    assert front.about["not_evaluated"] > 0
    assert all(member.latency.seconds <= most for member in front.members)
    assert front.unpruned.latency.seconds > most, "the unpruned network is the reference, whatever it takes"
    assert all(
        member.validation_error <= front.unpruned.validation_error + 0.6 + 1e-9 for member in front.members
    )  # fmt: skip
    costs = [point["cost"] for point in front.points if point["architecture"] != front.unpruned.architecture.to_json()]
    assert len(costs) == 11
    assert max(costs) < most * 1.2, "evaluations are spent where the limit can be met"


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        (Limit("latency", 1e-6), r"the least of the space small is .* ms \(predicted, .*\); ask for that or more"),
        (Limit("parameters", 10.0), r"the least of the space small is .*k \(counted"),
        (Limit("memory", 1e6), "peak memory of fewer than"),
        (Limit("latency", 1e-3, "l4"), "is for l4, but the search is for cpu"),
    ],
)
def test_limits_out_of_reach(
    folder: RunFolder, table: LatencyTable, supernet: SuperNet, limit: Limit, said: str
) -> None:
    with pytest.raises((NoMemberError, TableError, UsageError), match=said):
        search_run(folder, here(), table, SearchOptions(limits=(limit,)), supernet=supernet)
    assert not folder.search.exists()


def test_limits_that_nothing_meets_in_the_end(folder: RunFolder, supernet: SuperNet, tmp_path: Path) -> None:
    """The profile lets only the smallest network pass; measured, it takes half as long again."""
    run = copy_of(folder, tmp_path / "run")
    most = law_here(supernet.space.smallest()) * 1.02
    options = SearchOptions(**QUICK, limits=(Limit("latency", most),))  # type: ignore[arg-type]
    with LatencyTable(tmp_path / "t.sqlite") as rough:
        fill(rough, here(), supernet, law_here, all_rows=lambda arch: 1.5 * law_here(arch))
        said = r"when it is measured; the nearest, 1 x \(1 head, 1 unit\), has a latency of 0\.3 ms"
        with pytest.raises(NoMemberError, match=said):
            search_run(run, here(), rough, options, supernet=supernet)
    assert run.fronts() == []
    assert evaluations(run) == 2, "the unpruned network and the smallest: nothing else can meet the limit"


def test_several_costs_in_one_front(folder: RunFolder, table: LatencyTable, supernet: SuperNet, tmp_path: Path) -> None:
    run = copy_of(folder, tmp_path / "run")
    names = ("latency", "parameters", "engine-size")
    front = search_run(run, here(), table, SearchOptions(**QUICK, objective=names), supernet=supernet)  # type: ignore[arg-type]
    assert [entry["name"] for entry in front.objectives] == list(names)
    assert [entry["members"] for entry in front.objectives] == ["measured", "counted", "measured"]
    for member in front.members:
        assert isinstance(member.latency, Measured)
        assert member.costs == {
            "latency": member.latency.seconds, "parameters": member.parameters,
            "engine-size": member.latency.file_bytes,
        }  # fmt: skip
    final = [(*member.costs.values(), member.validation_error) for member in front.members]
    assert non_dominated(final).all()
    on = non_dominated([(*point["costs"].values(), point["error"]) for point in front.points])
    assert [bool(value) for value in on] == [point["on_front"] for point in front.points]
    (place,) = run.search.glob("latency+parameters+engine-size-*")
    assert read_front(place / "front.json") == front
    assert "objective_engine-size" in (place / "front.csv").read_text().splitlines()[0]
    assert (place / "front.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    with pytest.raises(TableError, match="energy of a run of 0 of the 10 networks"):
        search_run(run, here(), table, SearchOptions(objective=("latency", "energy")), supernet=supernet)


def test_doubtful_networks_are_measured_during_the_search(
    folder: RunFolder, table: LatencyTable, supernet: SuperNet, tmp_path: Path
) -> None:
    run = copy_of(folder, tmp_path / "run")
    with LatencyTable(tmp_path / "t.sqlite") as rough:  # a profile with wide intervals
        fill(rough, here(), supernet, lambda arch: law_here(arch) * (1 + 0.1 * (len(str(arch)) % 3)), all_rows=slower)
        options = SearchOptions(**QUICK, measure_during=6)  # type: ignore[arg-type]
        front = search_run(run, here(), rough, options, supernet=supernet)
        again = search_run(run, here(), rough, options, supernet=supernet)
    known = [point for point in front.points if point.get("measured")]
    assert known
    assert 1 <= front.about["measured_during"] <= 6
    with LatencyTable(tmp_path / "t.sqlite") as rough:
        rows = {network: row for network, _, row in rough.rows(here())}
    for point in known:
        row = rows[network_key(supernet.model.config, Architecture.from_json(point["architecture"]))]
        assert point["cost"] == row.seconds, "a measured latency takes the place of the predicted one"
    assert again == front
    with pytest.raises(UsageError, match="a device that is in this machine"):
        search_run(run, AWAY, table, SearchOptions(measure_during=3), supernet=supernet)


def test_devices_are_found_here_in_the_table_or_not_at_all(
    folder: RunFolder, table: LatencyTable, supernet: SuperNet, tmp_path: Path
) -> None:
    shape = Shape(1, 16, 1, PROTOCOL)
    both = [Request("cpu"), Request("a10g", ("fp16",))]
    assert find_settings(both, shape, folder, table) == [[here()], [AWAY]]
    (named,) = find_settings([Request("a10g@Compute Capability 8.6", ("fp16",), "tensorrt")], shape, folder, table)
    assert named == [AWAY]
    with pytest.raises(TableError, match=r"whose fingerprint holds 'abacus' \(fp32, batch 1, 16 tokens\)"):
        find_settings([Request("cpu@abacus")], shape, folder, table)
    with pytest.raises(Exception, match="hree ways out"):
        find_settings([Request("cpu"), Request("l4", ("fp16",))], shape, folder, table)
    estimated = find_settings([Request("cpu"), Request("l4", ("fp16",))], shape, folder, table, estimate=True)
    assert [settings[0].runtime for settings in estimated] == ["onnxruntime", "estimate"]
    with pytest.raises(UsageError, match="found by running it on the device"):
        search_run(folder, replace(AWAY, precision="int8"), table, SearchOptions(), supernet=supernet)


def test_the_command(call: Callable[..., Any], searched: tuple[RunFolder, Searched], table: LatencyTable) -> None:
    words = ["search", searched[0].path, "--seq-len", 16, "--rounds", 4, "--table", table.path, "--evaluations", 8,
             "--examples", 24, "--max-members", 2]  # fmt: skip
    devices = ["--target", "cpu", "--target", "a10g", "--precision", "a10g=fp16"]
    code, out, err = call(*words, *devices, "--align", "measured", "--compare")  # nothing here goes in steps
    assert code == 0, err
    for said in ("latencies predicted, not measured: tensorrt fp16", "Best latency at equal validation errors",
                 "what is best for cpu costs", "side by side in"):  # fmt: skip
        assert said in " ".join(out.split())
    for wrong, said in (
        (["--compare"], "two or more --target"),
        (["--max-latency", "soon"], "expected a number and a unit (us, µs, ms, s)"),
        (["--max-latency", "0.1us"], "out of reach"),
        (["--max-error-increase", "2"], "such as 1% or 0.01"),
        (["--objective", "energy"], "the device or its runtime does not say it"),
        (["--target", "a10g", "--precision", "cpu=fp16"], "the devices asked for are a10g"),
        (["--target", "a10g", "--precision", "fp16", "--max-memory", "1GB"], "peak memory of fewer than"),
        (["--align", "wide"], "--align 'wide'"),
        (["--target", "a10g", "--precision", "fp16", "--align", "measured"], "no steps have been measured"),
        (["--target", "l4", "--precision", "fp16", "--estimate", "--align", "measured"], "l4, which is estimated"),
    ):
        code, out, err = call(*words, *wrong)
        lines = [line for line in err.splitlines() if line.startswith("error: ")]
        assert (code, out, len(lines)) == (2, "", 1), err
        assert said in lines[0]
