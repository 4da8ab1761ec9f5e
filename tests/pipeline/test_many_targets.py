"""One search for several devices, several costs, limits, measurements during it; latencies are a law's, not timed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hwnas.cli.tables_compare import comparison_table
from hwnas.errors import NoMemberError, ProfilerError, TableError, UsageError
from hwnas.latency.entries import FitEntry, MeasuredEntry
from hwnas.latency.keys import model_key, network_key
from hwnas.latency.profile import make_setting
from hwnas.latency.records import Measured, Predicted, Setting
from hwnas.latency.table import Fit, LatencyTable
from hwnas.pipeline import members
from hwnas.pipeline.compare import fronts_to_compare
from hwnas.pipeline.device import Device, tell_apart
from hwnas.pipeline.folder import RunFolder
from hwnas.pipeline.fronts import front_of_device
from hwnas.pipeline.members import Workshop
from hwnas.pipeline.progress import silent
from hwnas.pipeline.reach import MEASURED, PREDICTED, Request, Shape, find_settings, reach
from hwnas.pipeline.refine import Refinement
from hwnas.pipeline.search import Searched, SearchOptions, search_devices, search_run
from hwnas.pipeline.spec import DataSpec, RunSpec
from hwnas.pipeline.train import SuperNet, load_supernet, train_run
from hwnas.profilers import Failure, TimingProtocol
from hwnas.report.compare import compare_fronts, final_cost, known_cost
from hwnas.report.compare import points_of as evaluated
from hwnas.search.constraints import Limit
from hwnas.search.front import read_front
from hwnas.search.pareto import non_dominated
from hwnas.search.search import Point
from hwnas.spaces import Architecture, Dimensions
from hwnas.training.train import TrainOptions

PROTOCOL = TimingProtocol.of_rounds(4)
QUICK = {"evaluations": 12, "examples": 24, "max_members": 4, "measure_during": 0}
BOTH = SearchOptions(**QUICK, searcher="regularized_evolution")  # type: ignore[arg-type]
ROW = Measured(
    seconds=1.0, low=1.0, high=1.0, n=66, median=1.0, p5=1.0, p95=1.0, rounds=6, round_spread=0.0,
    peak_memory_bytes=None, weight_bytes=500, flags=(), load=None, mhz=None, date="2026-01-01T00:00:00+00:00",
    commit=None, hwnas_version="0.1.0",
)  # fmt: skip


def here() -> Setting:
    return make_setting("cpu", "onnxruntime", "fp32", 1, 16, 1, protocol=PROTOCOL)


def far_processor() -> Setting:
    return Setting("cpu", "Graviton3, 64 cores", "onnxruntime", "1", "fp32", 1, 16, 1, "p")


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


def test_syne_tune_reads_and_draws_a_search(searched: tuple[RunFolder, Searched], tmp_path: Path) -> None:
    from syne_tune.experiments import load_experiment

    run, found = searched
    for front, place in zip(found.fronts, found.places, strict=True):
        experiment = load_experiment(place.name, local_path=str(run.search))
        assert experiment.metric_names() == ["quality", "saved_latency"]
        rows, costs = experiment.results, [point["cost"] for point in front.points]
        assert list(rows["quality"]) == pytest.approx([1 - point["error"] for point in front.points])
        assert list(rows["saved_latency"]) == pytest.approx([1 - cost / max(costs) for cost in costs])
        assert list(rows["st_tuner_time"]) == pytest.approx(list(rows["elapsed_time"].cumsum()))
        assert (rows["elapsed_time"] > 0).all()
        best = min(front.points, key=lambda point: float(point["error"]))
        heads = Architecture.from_json(best["architecture"]).head_counts
        assert experiment.best_config(0)["config_heads_0"] == heads[0]
        experiment.plot_hypervolume(figure_path=str(tmp_path / "hv.png"))
        assert (tmp_path / "hv.png").stat().st_size > 1000


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


def test_spaces_and_bounds_by_the_latencies_of_a_table(
    folder: RunFolder, table: LatencyTable, tmp_path: Path, call: Callable[..., Any]
) -> None:
    """`hwnas space`: what is drawn and what bounds keep to are the latencies that the profile predicts."""
    code, out, err = call(
        "space", folder.path, "--space", "small", "--samples", 30, "--shown", 1, "--latency", "--budgets", 3,
        "--min-budget", "40%", "--score-examples", 40, "--target", "cpu", "--runtime", "onnxruntime", "--seq-len", 16,
        "--rounds", 4, "--table", table.path, "--out", tmp_path, "--json",
    )  # fmt: skip
    assert code == 0, err
    report = json.loads(out)
    dimensions = Dimensions(**report["dimensions"])
    whole, least = law_here(Architecture.full(dimensions)), law_here(Architecture((1, 0, 0), (1, 0, 0)))
    for one in report["spaces"]:
        quantiles = list(one["predicted_seconds"].values())
        assert quantiles == sorted(quantiles)
        assert least * 0.99 < quantiles[0] < quantiles[-1] < whole * 1.01
    found = report["bounds"]
    assert {"cost": "latency", "unit": "ms"}.items() <= found["about"].items()
    assert found["budgets"] == pytest.approx([whole * share * 1e3 for share in (0.4, 0.7, 1.0)], rel=0.01)
    kept = [Architecture.from_json(each) for each in found["networks"]]
    assert found["costs"] == pytest.approx([law_here(arch) * 1e3 for arch in kept], rel=0.02)
    assert all(cost <= budget * (1 + 1e-9) for cost, budget in zip(found["costs"], found["budgets"], strict=True))
    assert {"masks.png", "parameters.png", "latency.png", "bounds.json"} == {file.name for file in tmp_path.iterdir()}


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


def test_limits_hold_for_the_device_they_name(folder: RunFolder, supernet: SuperNet, tmp_path: Path) -> None:
    """Two processors, of which the distant one takes ten times as long; nothing is evaluated."""
    names, most = ("cpu@graviton", "cpu"), law_here(supernet.space.smallest()) * 2
    with LatencyTable(tmp_path / "t.sqlite") as rows:
        fill(rows, here(), supernet, law_here)
        fill(rows, far_processor(), supernet, lambda arch: 10 * law_here(arch))
        for limits, said in (
            ([Limit("latency", most, "cpu@graviton")], "on cpu@graviton3-64-cores is out of reach"),
            ([Limit("latency", most, "cpu"), Limit("parameters", 10.0, "cpu")], "parameters 10 on cpu is out of"),
            ([Limit("latency", most, "cpu@x")], "is for cpu@x, but the search is for cpu@graviton, cpu"),
        ):
            options = SearchOptions(limits=tuple(limits))
            with pytest.raises((NoMemberError, UsageError), match=said):
                search_devices(folder, [far_processor(), here()], rows, options, names=names, supernet=supernet)
    assert not folder.search.exists()


def test_two_boards_of_one_target_are_told_apart(supernet: SuperNet, tmp_path: Path) -> None:
    other = replace(AWAY, fingerprint="NVIDIA A10G, compute capability 8.6, driver 2")
    config = supernet.model.config
    with LatencyTable(tmp_path / "t.sqlite") as rows:
        for entry in (AWAY, other):
            fill(rows, entry, supernet, law_away)
        one, two, again = (
            Device({"fp16": entry}, ("latency",), [], config, rows, name)
            for entry, name in ((AWAY, "a10g"), (other, "a10g@Driver 2"), (AWAY, "a10g@8.6"))
        )
    tell_apart([one, two])
    assert [one.label, two.label] == ["a10g", "a10g@driver-2"]
    with pytest.raises(UsageError, match="--target a10g is given 2 times"):
        tell_apart([one, again])


def test_limits_that_contradict_each_other(folder: RunFolder, supernet: SuperNet, tmp_path: Path) -> None:
    """Of the smallest network, fp16 is fast enough and fp32 small enough; neither is both."""
    half, single = AWAY, replace(AWAY, precision="fp32")
    with LatencyTable(tmp_path / "t.sqlite") as rows:
        for entry, slow, large in ((half, 1, 10), (single, 10, 1)):
            size = {"peak_memory_bytes": lambda arch, large=large: large * 1000 * (4 + sum(arch.unit_counts))}
            fill(rows, entry, supernet, lambda arch, slow=slow: slow * law_away(arch), **size)  # type: ignore[misc]
        smallest = supernet.space.smallest()
        limits = (Limit("latency", 2 * law_away(smallest)), Limit("memory", 2 * 5000.0))
        said = r"--max-latency \S+ and --max-memory \S+ on a10g contradict each other: no precision of fp16, fp32 meets"
        with pytest.raises(NoMemberError, match=said):
            search_run(folder, [half, single], rows, SearchOptions(limits=limits), supernet=supernet)
    assert not folder.search.exists()


class Judged:
    """Errors by a law."""

    def artifact_errors(self, arch: Architecture, setting: Setting, cache: Any, **_: Any) -> list[float]:
        return [quantised_error(arch)]

    def test_error(self, arch: Architecture, module: Any, cache: Any) -> float:
        return float_error(arch)

    def calibration(self, setting: Setting) -> None:
        return None


def float_error(arch: Architecture) -> float:
    return 1.0 / (1 + sum(0.1 * heads + units for heads, units in arch.shape))


def quantised_error(arch: Architecture) -> float:
    """A thousandth worse, of an uneven number of units a good deal."""
    return float_error(arch) + (0.4 if sum(arch.unit_counts) % 2 else 0.001)


def points_of(device: Device, supernet: SuperNet) -> list[Point]:
    """Some networks in each precision, none of them run in its own yet."""
    widths = (2, 3, 7, 8, 10, 11, 15, 16, 20)
    some = [supernet.space.decode([layers, 4, units]) for layers in (1, 2, 3) for units in widths]
    return [
        Point(arch, float_error(arch), device.costs(arch, name)[0], name, device.quantised(name))
        for arch in some
        for name in device.settings
    ]


def shop_of(device: Device, supernet: SuperNet, rows: LatencyTable, increase: float | None = None) -> Workshop:
    return Workshop(supernet, device, rows, Judged(), None, silent, 0, increase)  # type: ignore[arg-type]


def test_what_takes_the_place_of_others_has_its_own_error(supernet: SuperNet, tmp_path: Path) -> None:
    """Two layers in 8 bits are slow when they are measured and leave; three, stand-ins that they dominated, come up."""
    settings = {name: replace(here(), precision=name) for name in ("fp32", "int8-dynamic")}
    most, increase = law_here(supernet.space.decode([2, 2, 9])) * 1.02, 0.2
    with LatencyTable(tmp_path / "t.sqlite") as rows:
        fill(rows, settings["fp32"], supernet, law_here, all_rows=slower)
        fill(
            rows, settings["int8-dynamic"], supernet, lambda arch: 0.5 * law_here(arch),
            all_rows=lambda arch: (1.5 if len(arch.kept_layers) == 2 else 0.5) * law_here(arch),
        )  # fmt: skip
        device = Device(settings, ("latency",), [Limit("latency", most)], supernet.model.config, rows)
        shop = shop_of(device, supernet, rows, increase)
        outcome = shop.outcome(points_of(device, supernet), 6)
    assert {len(point.architecture.kept_layers) for point in outcome.beyond} == {2}
    front = shop.front(outcome.points, without=outcome.beyond)
    assert not any(point.stand_in for point in front)
    assert any(
        member.precision == "int8-dynamic" and len(member.architecture.kept_layers) == 3 for member in outcome.members
    )
    for member in outcome.members:
        own = float_error if member.precision == "fp32" else quantised_error
        assert member.validation_error == own(member.architecture), "of the network itself"
        assert member.latency.seconds <= most
        assert member.validation_error <= outcome.unpruned.validation_error + increase
    written = front_of_device(shop, {}, outcome)
    kept = {(str(point["architecture"]), point["precision"]) for point in written.points if point["on_front"]}
    assert len(kept) == len(front)
    assert not any((str(point.architecture.to_json()), point.precision) in kept for point in outcome.beyond)


def test_what_cannot_be_run_leaves_and_others_take_its_place(
    supernet: SuperNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Networks of two layers cannot be measured, and those of three with 20 units not be run in 8 bits."""
    settings = {name: replace(here(), precision=name) for name in ("fp32", "int8-dynamic")}
    measured = members.measure_networks

    def measure(config: Any, wanted: Any, *positional: Any, **keywords: Any) -> Any:
        rows, count = measured(config, wanted, *positional, **keywords)
        two = {network_key(config, item.arch) for item in wanted if len(item.arch.kept_layers) == lost}
        return {key: Failure("load", "no kernel") if key in two else row for key, row in rows.items()}, count

    def run(self: Judged, arch: Architecture, setting: Setting, *_: Any, **__: Any) -> list[float]:
        if arch.unit_counts == (20, 20, 20) and setting.precision != "fp32":
            raise ProfilerError("cannot run")
        return [quantised_error(arch)]

    monkeypatch.setattr(members, "measure_networks", measure)
    monkeypatch.setattr(Judged, "artifact_errors", run)
    lost = 2

    def law_in(times: int, arch: Architecture) -> float:
        return law_here(arch) / times

    with LatencyTable(tmp_path / "t.sqlite") as rows:
        for number, setting in enumerate(settings.values()):
            law = partial(law_in, 1 + number)
            fill(rows, setting, supernet, law, all_rows=law)
        device = Device(settings, ("latency",), [], supernet.model.config, rows)
        shop = shop_of(device, supernet, rows)
        outcome = shop.outcome(points_of(device, supernet), 30)
        assert set(outcome.refused.values()) == {"cannot run", "load: no kernel"}
        assert {len(point.architecture.kept_layers) for point in outcome.refused} == {2, 3}
        assert {len(member.architecture.kept_layers) for member in outcome.members} == {1, 3}
        written = front_of_device(shop, {}, outcome)
        assert len(written.about["refused"]) == len(outcome.refused)
        assert not any(point["on_front"] and len(Architecture.from_json(point["architecture"]).kept_layers) == 2
                       for point in written.points)  # fmt: skip
        lost = 3
        with pytest.raises(ProfilerError, match="the unpruned network could not be measured: load: no kernel"):
            shop.outcome(points_of(device, supernet), 30)


def test_memory_is_measured_in_the_end(supernet: SuperNet, tmp_path: Path) -> None:
    """The profile knows nothing of what networks of middling width take more."""
    config, about = supernet.model.config, {"quality": "accuracy"}

    def memory(arch: Architecture) -> int:
        units = sum(arch.unit_counts)
        return 1000 * (4 + units) + (50_000 if 10 <= units <= 16 else 0)

    with LatencyTable(tmp_path / "t.sqlite") as rows:
        fill(rows, here(), supernet, law_here, all_rows=law_here, peak_memory_bytes=memory)
        fill(rows, AWAY, supernet, law_away, peak_memory_bytes=memory)
        fronts = []
        for setting in (here(), AWAY):
            device = Device({setting.precision: setting}, ("memory",), [], config, rows)
            shop = shop_of(device, supernet, rows)
            fronts.append(front_of_device(shop, about, shop.outcome(points_of(device, supernet), 8)))
    near, far = fronts
    assert {final_cost(member, "memory") == member.peak_memory_bytes for member in near.members} == {True}
    assert [memory(member.architecture) for member in near.members] == [m.peak_memory_bytes for m in near.members]
    assert non_dominated([(memory(m.architecture), m.validation_error) for m in near.members]).all()
    assert any(point["on_front"] and 50_000 < memory(Architecture.from_json(point["architecture"])) < 75_000
               for point in near.points), "some that took less by the profile have left"  # fmt: skip
    assert [entry["members"] for front in fronts for entry in front.objectives] == ["measured", "predicted"]
    assert comparison_table(compare_fronts(fronts)).title == (
        "Best memory at equal validation errors: cpu (measured), a10g (predicted, not measured)"
    )
    plain = {name: value for name, value in near.about.items() if name != "objectives"}
    members = tuple(replace(member, costs={}) for member in near.members)
    older = replace(near, about=plain, members=members)  # as fronts of one cost were written before
    assert compare_fronts([older, far]).devices["cpu"] == "predicted, not measured"


def test_precisions_are_compared_like_with_like(searched: tuple[RunFolder, Searched]) -> None:
    """What a choice costs elsewhere is of its own precision there, or else of one that has at most the error."""
    near, far = searched[1].fronts
    there = {json.dumps(point["architecture"]): float(point["cost"]) for point in far.points}

    def twin(point: Mapping[str, Any], error: float, stand_in: bool = False) -> dict[str, Any]:
        """The same network in another precision, for a tenth."""
        return {**point, "precision": "int8", "cost": point["cost"] / 10, "error": error, "stand_in": stand_in}

    useless = replace(far, points=(*far.points, *(twin(point, 1.0) for point in far.points)))
    assert compare_fronts([near, useless]).to_json() == compare_fronts([near, far]).to_json()
    member = replace(near.members[0], precision="bf16")
    alike = next(point for point in far.points if Architecture.from_json(point["architecture"]) == member.architecture)
    cost, error = there[json.dumps(alike["architecture"])], member.validation_error
    for more, expected in (
        ([], cost),
        ([twin(alike, 1.0)], cost),
        ([twin(alike, 0.0, stand_in=True)], cost),
        ([twin(alike, 0.0)], cost / 10),
        ([{**twin(alike, 1.0), "precision": "bf16"}], cost / 10),
    ):
        points = evaluated(replace(far, points=(*far.points, *more)))
        assert known_cost(points, member, max(error, float(alike["error"]))) == pytest.approx(expected)
    assert known_cost(evaluated(far), member, -1.0) is None


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
        fill(rough, AWAY, supernet, law_away)
        options = SearchOptions(evaluations=4, examples=24, max_members=2, limits=(Limit("latency", most, "cpu"),))
        with pytest.raises(NoMemberError, match=rf"{said}.* The front of a10g is in {run.search}/latency-a10g"):
            search_devices(run, [here(), AWAY], rough, options, supernet=supernet)
    (name,) = run.fronts()
    front = read_front(run.front(name) / "front.json")
    assert front.label == "a10g"
    assert len(front.points) == 4, "a device without a limit can use every network"
    assert front.about["targets"] == [{"device": "a10g", "search": name}]
    with pytest.raises(UsageError, match=r"has a front of a10g alone.* name two searches with --front"):
        fronts_to_compare(run)


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
        options = SearchOptions(**{**QUICK, "searcher": "random_search", "measure_during": 6})  # type: ignore[arg-type]
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


def test_doubtful_rows_stay_during_the_search_if_asked_to(supernet: SuperNet, tmp_path: Path) -> None:
    space, judge = supernet.space, SimpleNamespace(calibration=lambda setting: None)
    found = [(space.decode([2, 3, units]), 0.1) for units in (9, 10, 11)]  # alike: their intervals overlap
    with LatencyTable(tmp_path / "t.sqlite") as rough:
        rough_law = lambda arch: law_here(arch) * (1 + 0.1 * (len(str(arch)) % 3))  # noqa: E731
        fill(rough, here(), supernet, rough_law, all_rows=slower, flags=lambda arch: ("contended",))
        device = Device({"fp32": here()}, ("latency",), (), supernet.model.config, rough)
        refinement = Refinement(supernet, [device], rough, judge, 2, silent, 0, remeasure=False)  # type: ignore[arg-type]
        refinement(found, 2)
        assert refinement.spent >= 1
        assert all(row.attempts == 1 for _, _, row in rough.rows(here()))


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
        (["--max-latency", "5ms", "--max-latency", "6ms"], "expected one limit on latency"),
        (["--max-error-increase", "2"], "such as 1% or 0.01"),
        (["--objective", "energy"], "the device or its runtime does not say it"),
        (["--target", "a10g", "--precision", "cpu=fp16"], "the devices asked for are a10g"),
        (["--target", "a10g", "--precision", "fp16", "--max-memory", "1GB"], "peak memory of fewer than"),
        (["--target", "a10g@8.6", "--precision", "fp16", "--max-latency", "a10g@8.6=0.1us"], "on a10g is out of reach"),
        (["--target", "a10g@8.6", "--precision", "fp16", "--max-latency", "a10g=5"], "the search is for a10g@8.6"),
        (["--align", "wide"], "--align 'wide'"),
        (["--target", "a10g", "--precision", "fp16", "--align", "measured"], "no steps have been measured"),
        (["--target", "l4", "--precision", "fp16", "--estimate", "--align", "measured"], "l4, which is estimated"),
    ):
        code, out, err = call(*words, *wrong)
        lines = [line for line in err.splitlines() if line.startswith("error: ")]
        assert (code, out, len(lines)) == (2, "", 1), err
        assert said in lines[0]
