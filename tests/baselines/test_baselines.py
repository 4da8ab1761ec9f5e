"""Baselines end to end on a small run: the artifact itself is judged, and what is drawn was measured."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from hwnas.baselines.quantized import NAMES, calibration_batches, choose
from hwnas.baselines.record import Baseline, baseline_name, read_baselines
from hwnas.errors import RunFolderError, TableError, UnknownNameError, UsageError
from hwnas.latency.keys import model_key, network_key
from hwnas.latency.networks import Exporter
from hwnas.latency.profile import make_setting
from hwnas.latency.records import Estimated, Measured, Setting
from hwnas.latency.table import Fit, LatencyTable
from hwnas.pipeline.baseline import baseline_run, baselines_beside, baselines_folder, draw_fronts, fronts_beside
from hwnas.pipeline.build import build_run
from hwnas.pipeline.folder import RunFolder
from hwnas.pipeline.search import SearchOptions, estimate_setting, search_name, search_run
from hwnas.pipeline.train import SuperNet, load_data, load_supernet
from hwnas.profilers import TimingProtocol
from hwnas.report.plot import front_figure, memory_figure
from hwnas.search.front import Front
from hwnas.search.pareto import non_dominated
from hwnas.slicing.extract import extract
from hwnas.tasks import batches, compute_quality, encode

QUICK = TimingProtocol(rounds=2, max_rounds=2, processes=1, runs=2, block_seconds=0.0, warmup_seconds=0.05)
EXAMPLES = 32
FILES = {"front.json", "front.csv", "front.png", "results.csv.zip", "metadata.json"}
"""What every search leaves."""


def setting(precision: str) -> Setting:
    return make_setting("cpu", "onnxruntime", precision, 1, 16, 1, protocol=QUICK)


@pytest.fixture(scope="session")
def supernet(folder: RunFolder) -> SuperNet:
    return load_supernet(folder)


@pytest.fixture(scope="session")
def measured(folder: RunFolder, table: LatencyTable, supernet: SuperNet) -> dict[str, Baseline]:
    """Two baselines."""
    return {
        precision: baseline_run(folder, setting(precision), table, examples=EXAMPLES, supernet=supernet)
        for precision in ("int8", "int8-dynamic")
    }


def test_every_baseline_is_measured_judged_and_kept(measured: dict[str, Baseline], folder: RunFolder) -> None:
    files = {path.name for path in baselines_folder(folder).iterdir()}
    assert files == {f"{baseline.name}.json" for baseline in measured.values()}
    for precision, baseline in measured.items():
        data = json.loads((baselines_folder(folder) / f"{baseline.name}.json").read_text())
        assert Baseline.from_json(data) == baseline
        assert data["latency"]["kind"] == "measured"
        assert baseline.latency.low <= baseline.latency.seconds <= baseline.latency.high
        assert baseline.latency.peak_memory_bytes is not None
        assert 0.0 <= baseline.test_error < 1.0
        assert data["about"]["validation_examples"] == EXAMPLES
        assert data["about"]["calibration_examples"] == (128 if precision == "int8" else None)
    assert sorted(read_baselines(baselines_folder(folder)), key=lambda entry: entry.name) == sorted(
        measured.values(), key=lambda entry: entry.name
    )


def test_the_error_is_that_of_the_quantised_file(
    measured: dict[str, Baseline], folder: RunFolder, supernet: SuperNet, tmp_path: Path
) -> None:
    """The same file, run here by ONNX Runtime itself, one example at a time."""
    task, whole = load_data(folder), supernet.space.largest()
    exporter = Exporter(supernet.model.config, "int8-dynamic", 16)
    network = exporter.export(whole, tmp_path / "network.onnx", module=extract(supernet.model, whole))
    session = onnxruntime.InferenceSession(str(network.path), providers=["CPUExecutionProvider"])
    assert b"DynamicQuantizeLinear" in network.path.read_bytes()
    data = encode(task.test, supernet.tokenizer, 16, regression=False)
    logits, labels = [], []
    for batch in batches(data, supernet.tokenizer, 1):
        inputs = {name: tensor.numpy() for name, tensor in batch.items() if name != "labels"}
        logits.append(session.run(None, inputs)[0])
        labels.append(batch["labels"].numpy())
    error = 1 - compute_quality(task.metric, np.concatenate(logits), np.concatenate(labels))
    assert measured["int8-dynamic"].test_error == error


def test_calibration_sees_training_examples_only(folder: RunFolder, supernet: SuperNet) -> None:
    task = load_data(folder)
    found = calibration_batches(task, supernet.tokenizer, 16, examples=24)
    assert sum(len(batch["input_ids"]) for batch in found) == 24
    assert all("labels" not in batch for batch in found)
    again = calibration_batches(task, supernet.tokenizer, 16, examples=24)
    assert all(np.array_equal(one["input_ids"], two["input_ids"]) for one, two in zip(found, again, strict=True))

    def rows(data: Any) -> set[tuple[int, ...]]:
        return {tuple(data[index]["input_ids"]) for index in range(len(data))}

    train = rows(encode(task.train, supernet.tokenizer, 16, regression=False))
    for batch in found:
        for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True):
            assert tuple(int(token) for token in ids[mask == 1]) in train


def test_the_same_again_runs_nothing(
    measured: dict[str, Baseline], folder: RunFolder, table: LatencyTable, supernet: SuperNet
) -> None:
    cache = next(folder.search.glob("evaluations-*.jsonl"))
    before = cache.read_text()
    again = baseline_run(folder, setting("int8"), table, examples=EXAMPLES, supernet=supernet)
    assert again.test_error == measured["int8"].test_error
    assert again.validation_error == measured["int8"].validation_error
    assert cache.read_text() == before


def test_names_and_runtimes() -> None:
    assert choose("int4") == ("nf4", "bitsandbytes")
    assert choose("int8") == ("int8", "onnxruntime")
    assert choose("int8", "openvino") == ("int8", "openvino")
    with pytest.raises(UnknownNameError, match=f"Known: {', '.join(sorted(NAMES))}"):
        choose("int3")
    with pytest.raises(UnknownNameError, match="onnxruntime"):
        choose("int8", "tvm")


def fill(table: LatencyTable, of: Setting, supernet: SuperNet, like: Measured, share: float) -> None:
    """A finished profile whose rows follow a law of the test's own: searches are then the same on every machine."""
    config, space = supernet.model.config, supernet.space
    rng, keys = np.random.default_rng(0), {}
    while len(keys) < 10:
        arch = space.sample(rng)
        if arch != space.largest():
            keys[network_key(config, arch)] = sum(5 + 2 * heads + units for heads, units in arch.shape)
    for key, size in keys.items():
        seconds = share * 1e-5 * (10 + size)
        row = replace(like, seconds=seconds, low=seconds, high=seconds, flags=())
        table.put(of, key, "design", row)
    table.put_fit(of, Fit(model_key(config), 0, tuple(keys), (), None, None, like.date, like.hwnas_version))


@pytest.fixture(scope="session")
def fronts(
    measured: dict[str, Baseline], folder: RunFolder, table: LatencyTable, supernet: SuperNet
) -> dict[str, Front]:
    """A search in int8-dynamic alone, and one over two precisions of which int8-dynamic is said to be the faster."""
    options = SearchOptions(evaluations=10, examples=EXAMPLES, max_members=2, measure_during=0)
    one, other = setting("fp32"), setting("int8-dynamic")
    fill(table, one, supernet, measured["int8"].latency, 1.0)
    with pytest.raises(TableError, match="--precision int8-dynamic"):
        search_run(folder, [one, other], table, options, supernet=supernet)
    fill(table, other, supernet, measured["int8"].latency, 0.5)
    return {
        "single": search_run(folder, other, table, options, supernet=supernet),
        "both": search_run(folder, [one, other], table, options, supernet=supernet),
    }


def test_a_quantised_search_judges_the_quantised_networks(
    fronts: dict[str, Front], measured: dict[str, Baseline]
) -> None:
    front = fronts["single"]
    assert front.precisions == ("int8-dynamic",)
    assert {member.precision for member in (*front.members, front.unpruned)} == {"int8-dynamic"}
    assert {member.judged_in for member in front.members} == {"onnxruntime int8-dynamic"}
    assert front.unpruned.test_error == measured["int8-dynamic"].test_error, "the same network, judged the same way"
    assert front.unpruned.validation_error == measured["int8-dynamic"].validation_error
    assert not any(point["stand_in"] for point in front.points if point["on_front"])


def test_two_precisions_in_one_front(fronts: dict[str, Front], folder: RunFolder) -> None:
    front = fronts["both"]
    assert front.precisions == ("fp32", "int8-dynamic")
    assert front.unpruned.precision == "fp32"
    assert len(front.points) == 20
    true = [point for point in front.points if point["on_front"]]
    assert not any(point["stand_in"] for point in true)
    assert {point["precision"] for point in true} >= {"int8-dynamic"}
    assert any(point["stand_in"] for point in front.points), "what is off the front is not run"
    on = non_dominated([(point["cost"], point["error"]) for point in front.points])
    assert [bool(value) for value in on] == [point["on_front"] for point in front.points]
    place = folder.front(
        "latency-cpu-fp32+int8-dynamic-b1-s16-local_search-10-seed0-examples-32-members-2-during-0-rounds-2"
    )
    assert {path.name for path in place.iterdir()} == {*FILES, "front-memory.png"}


def test_the_pictures_have_front_and_baselines(fronts: dict[str, Front], folder: RunFolder) -> None:
    front = fronts["both"]
    baselines = baselines_beside(folder, front)
    assert len(baselines) == 2
    for figure in (front_figure(front, baselines), memory_figure(front, baselines)):
        assert [axes.get_ylabel().split()[0] for axes in figure.axes] == ["validation", "test"]
        said = [text.get_text() for text in figure.legends[0].get_texts()]
        for label in ("int8 onnxruntime", "int8-dynamic onnxruntime"):
            assert f"unpruned, {label} (measured)" in said
    other = Baseline(**{**baselines[0].__dict__, "about": {**baselines[0].about, "validation_examples": 7}})
    figure = front_figure(front, [other])
    counts = [sum("unpruned, " in str(bars.get_label()) for bars in axes.containers) for axes in figure.axes]
    assert counts == [0, 1], "no validation error of other examples beside the front's"


def test_fronts_of_other_weights_are_left_alone(
    fronts: dict[str, Front], measured: dict[str, Baseline], folder: RunFolder
) -> None:
    (baseline, *_), path = measured.values(), folder.front(folder.fronts()[0])
    kept = (path / "front.json").read_text(encoding="utf-8")
    before = [name for name, _ in fronts_beside(folder, baseline)]
    pictures = {picture.name: picture.stat().st_mtime_ns for picture in path.glob("*.png")}
    assert pictures
    try:
        strange = json.loads(kept)
        strange["about"]["weights"] = "0" * 64
        (path / "front.json").write_text(json.dumps(strange), encoding="utf-8")
        assert path.name not in [name for name, _ in fronts_beside(folder, baseline)]
        strange_front = replace(fronts["single"], about={**fronts["single"].about, "weights": "0" * 64})
        assert baselines_beside(folder, strange_front) == [], "nor are the baselines of this super-network drawn there"
        draw_fronts(folder)
        assert pictures == {picture.name: picture.stat().st_mtime_ns for picture in path.glob("*.png")}
    finally:
        (path / "front.json").write_text(kept, encoding="utf-8")
    assert before == [name for name, _ in fronts_beside(folder, baseline)]


def test_quantised_members_are_not_built(fronts: dict[str, Front], folder: RunFolder, supernet: SuperNet) -> None:
    with pytest.raises(Exception, match="member 0 is a network in int8-dynamic, but engines are built in fp32"):
        build_run(folder, fronts["single"], [0], target="cpu", precision="fp32", supernet=supernet)


def test_a_search_for_a_device_out_of_reach(folder: RunFolder, table: LatencyTable, supernet: SuperNet) -> None:
    options = SearchOptions(evaluations=10, examples=EXAMPLES, max_members=3)
    before = len(table.settings())
    front = search_run(folder, estimate_setting("a10g", "fp16", 1, 16), table, options, supernet=supernet)
    assert len(table.settings()) == before, "an estimate never goes into the table"
    assert front.estimated
    assert front.about["objective"]["provenance"] == "estimated"
    for member in (*front.members, front.unpruned):
        assert isinstance(member.latency, Estimated)
        assert member.latency.low <= member.latency.seconds <= member.latency.high
        assert member.judged_in == "torch fp32"
    assert baselines_beside(folder, front) == [], "what was measured here is not drawn beside it"
    place = folder.front(search_name(options, estimate_setting("a10g", "fp16", 1, 16)))
    assert {path.name for path in place.iterdir()} == FILES


def test_searches_that_cannot_be(folder: RunFolder, table: LatencyTable) -> None:
    one, other = setting("fp32"), setting("int8-dynamic")
    with pytest.raises(UsageError, match="as many parameters in each"):
        search_run(folder, [one, other], table, SearchOptions(objective="parameters"))
    with pytest.raises(UsageError, match="differ in their precision"):
        search_run(folder, [one, one], table, SearchOptions())
    far = estimate_setting("a10g", "fp16", 1, 16)
    with pytest.raises(UsageError, match="memory is not estimated"):
        search_run(folder, far, table, SearchOptions(objective="memory"))
    with pytest.raises(UsageError, match="fp32, fp16, bf16"):
        estimate_setting("a10g", "int8", 1, 16)
    assert search_name(SearchOptions(), far) == "latency-a10g-estimate-fp16-b1-s16-local_search-100-seed0"
    usual = replace(one, protocol=TimingProtocol().key())
    assert search_name(SearchOptions(), usual) == "latency-cpu-fp32-b1-s16-local_search-100-seed0"
    quick = replace(one, protocol=TimingProtocol.of_rounds(4).key())
    assert search_name(SearchOptions(), quick).endswith("-seed0-rounds-4"), "other rows of the table"
    labels = [f"cpu@processor-{number}-with-a-name-of-32-letters" for number in range(8)]
    names = [search_name(SearchOptions(), usual, device=label, beside=labels) for label in labels]
    assert len(set(names)) == 8, "cut names are told apart"
    assert all(len(name.encode()) == 200 for name in names), "file systems take 255 bytes"


def test_a_damaged_baseline_is_one_clear_error(tmp_path: Path) -> None:
    assert read_baselines(tmp_path / "nowhere") == []
    for content in ("{", "[]", '{"schema": 1}', '{"schema": 99}'):
        (tmp_path / "x.json").write_text(content)
        with pytest.raises(RunFolderError, match=r"x\.json"):
            read_baselines(tmp_path)


def test_the_command(
    call: Callable[..., Any], folder: RunFolder, supernet: SuperNet, measured: dict[str, Baseline], tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(folder.path, tmp_path / "run"))
    shutil.rmtree(copy / "baselines", ignore_errors=True)
    words = ["--seq-len", "8", "--table", tmp_path / "t.sqlite", "--examples", EXAMPLES]
    usual = make_setting("cpu", "bitsandbytes", "nf4", 1, 8, 1)
    with LatencyTable(tmp_path / "t.sqlite") as table:  # the row is there already: this test is not about measuring
        row = replace(measured["int8"].latency, flags=())
        table.put(usual, network_key(supernet.model.config, supernet.space.largest()), "anchor", row)
    code, out, err = call("baseline", "int4", copy, *words)
    assert code == 0, err
    for word in ("unpruned, nf4 bitsandbytes", "measured", "95% interval", "peak", "no front", "written to"):
        assert word in out
    (file,) = (copy / "baselines").iterdir()
    assert file.stem == baseline_name(usual)
    for wrong, said in (
        (["int9", copy], "unknown baseline 'int9'"),
        (["int4", copy, "--runtime", "onnxruntime"], "has no nf4"),
        (["int8", copy, "--target", "v100"], "hree ways out"),
        (["int8", tmp_path / "none"], "hwnas train"),
    ):
        code, out, err = call("baseline", *wrong, *words)
        assert (code, out) == (2, "")
        assert said in err
        assert err.count("\n") == 1, err
