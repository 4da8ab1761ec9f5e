"""Estimates: the work against PyTorch's counts, the scale against published latencies, and no way into the table."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, RobertaConfig

from hwnas.cli import estimate_view
from hwnas.errors import TableError, UnknownNameError, UnknownTargetError, UsageError
from hwnas.latency.calibration import Calibration, leave_one_out, published, published_calibration, student_95
from hwnas.latency.estimate import NOTE, estimate_model, make_estimator, samples
from hwnas.latency.keys import network_key
from hwnas.latency.records import Estimated, EstimatedMemory, Measured, Setting
from hwnas.latency.roofline import FORMATS, ModelFacts, facts_of, least_seconds, operators, parameters, parse_network
from hwnas.latency.table import LatencyTable
from hwnas.models import get_family
from hwnas.provenance import canonical
from hwnas.slicing.extract import build_extracted
from hwnas.spaces.architecture import Architecture
from hwnas.targets import load_targets

BASE = BertConfig()
WHOLE = Architecture.full(get_family(BASE).dimensions(BASE))

ARCHS = (
    Architecture((4, 4), (64, 64)),
    Architecture((1, 3), (17, 64)),
    Architecture((0, 2), (40, 0)),
    Architecture((0, 4), (0, 5)),
    Architecture((0, 0), (0, 0)),
)


def counted(config, arch: Architecture, batch: int, tokens: int) -> int:
    """FLOPs that PyTorch counts while the extracted module runs with attention written out."""
    config._attn_implementation = "eager"
    module = build_extracted(config, arch)
    ids = torch.randint(2, config.vocab_size, (batch, tokens))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(input_ids=ids, attention_mask=torch.ones_like(ids))
    return int(counter.get_total_flops())


@pytest.mark.parametrize("family", ["bert", "roberta"])
@pytest.mark.parametrize("arch", ARCHS, ids=str)
def test_work_is_what_pytorch_counts(family, arch, request) -> None:
    config = request.getfixturevalue(family)
    facts = ModelFacts.from_config(config)
    for batch, tokens in ((1, 7), (3, 16)):
        work = operators(facts, arch.shape, batch, tokens, "fp16")
        assert sum(item.flops * item.count for item in work) == counted(config, arch, batch, tokens)
    module = build_extracted(config, arch)
    assert sum(parameters(facts, arch.shape)) == sum(parameter.numel() for parameter in module.parameters())
    assert parse_network(network_key(config, arch)) == (facts, arch.shape)


def test_widths_are_rounded_up_to_what_matrix_units_take(bert) -> None:
    facts = ModelFacts.from_config(bert)

    def padded(units: int, precision: str) -> int:
        return sum(item.padded_flops for item in operators(facts, ((4, units),), 1, 16, precision))

    assert padded(57, "fp16") == padded(64, "fp16") > padded(56, "fp16")
    assert padded(49, "int8") == padded(64, "int8") > padded(48, "int8")
    assert padded(57, "fp32") < padded(58, "fp32")


def test_kernels_and_bytes_of_a_layer() -> None:
    work = operators(ModelFacts.from_config(BASE), WHOLE.shape, 2, 128, "fp16")
    assert sum(item.kernels * item.count for item in work) == 7 * 12 + 3
    first = next(item for item in work if item.name == "feed-forward input")
    assert (first.count, first.bytes) == (12, 2 * (3072 * 768 + 256 * (768 + 3072)))
    assert first.flops == first.padded_flops == 2 * 256 * 3072 * 768
    l4 = load_targets()["l4"]
    compute, memory, _ = least_seconds([first], l4, "fp16")
    assert compute == pytest.approx([12 * first.flops / 121e12])
    assert memory == pytest.approx([12 * first.bytes / 300e9])


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8"])
def test_more_of_anything_is_never_faster(precision) -> None:
    estimator = make_estimator(BASE, "a100-80gb", precision, 8, 128, None)

    def seconds(layers: int, heads: int, units: int) -> float:
        arch = Architecture((heads,) * layers + (0,) * (12 - layers), (units,) * layers + (0,) * (12 - layers))
        return estimator.predict(arch).seconds

    for line in (
        [seconds(layers, 12, 3072) for layers in range(13)],
        [seconds(12, heads, 3072) for heads in range(13)],
        [seconds(12, 12, units) for units in (0, 1, 8, 9, 500, 512, 1536, 3071, 3072)],
    ):
        assert (np.diff(line) >= 0).all()
        assert line[-1] > line[0]


def test_a_faster_device_and_a_smaller_load_take_less() -> None:
    seconds = [
        make_estimator(BASE, name, "fp16", 8, 128, None).predict(WHOLE).seconds for name in ("t4", "l4", "l40s", "h100")
    ]
    assert seconds == sorted(seconds, reverse=True)
    same = {name: make_estimator(BASE, name, "fp16", 8, 128, None).predict(WHOLE).seconds for name in ("h100", "h200")}
    assert same["h200"] <= same["h100"] * 1.001
    by_batch = [make_estimator(BASE, "l4", "int8", batch, 128, None).predict(WHOLE).seconds for batch in (1, 8, 32)]
    assert by_batch == sorted(by_batch)


@pytest.mark.parametrize(("precision", "devices", "low"), [("fp16", 6, 0.85), ("int8", 5, 0.85)])
def test_the_interval_holds_published_latencies_of_a_device_left_out(precision, devices, low) -> None:
    errors = leave_one_out(precision)
    assert len(errors) == devices
    covered = sum(error.covered * error.rows for error in errors) / sum(error.rows for error in errors)
    assert low <= covered <= 1.0
    assert all(0.5 < error.bias < 1.5 for error in errors)
    calibration = published_calibration(precision)
    assert 1 <= calibration.compute < 4
    assert 1e-6 < calibration.overhead < 1e-5
    assert calibration.freedom == devices - 1


def test_the_published_rows_are_those_of_the_source() -> None:
    """Spot checks against the tables that `published.toml` names, and every device's row count."""
    found = {item.target.name: dict(zip(item.labels, item.seconds, strict=True)) for item in published("fp16")}
    assert found["t4"]["large", 128, 384] == pytest.approx(1.51835)
    assert found["a100-40gb"]["base", 1, 128] == pytest.approx(0.00064)
    assert found["v100"]["large", 64, 384] == pytest.approx(0.24445)
    assert {name: len(rows) for name, rows in found.items()} == {
        "a100-40gb": 40, "l4": 40, "l40s": 40, "t4": 40, "a30": 40, "v100": 39,
    }  # fmt: skip
    assert {item.target.name for item in published("int8")} == set(found) - {"v100"}
    assert published("nf4") == ()


def test_quantiles_of_student() -> None:
    for freedom, quantile in {1: 6.314, 4: 2.132, 6: 1.943, 10: 1.812, 30: 1.697, 1000: 1.646}.items():
        assert student_95(freedom) == pytest.approx(quantile, abs=2e-3)


def fill(table: LatencyTable, target: str, measured: Measured, factor: float, *, runtime: str = "torch") -> Setting:
    """Rows as another machine would bring them: `factor` times the published scale, in two batches."""
    for batch in (1, 8):
        setting = Setting(target, f"NVIDIA {target}", runtime, "2.13.0", "fp16", batch, 128, 1, "1")
        plain = make_estimator(BASE, "b200", "fp16", batch, 128, None)
        facts = load_targets()[target]
        for arch in samples(plain.dimensions).values():
            limits = least_seconds(plain._work(arch.shape), facts, "fp16")
            seconds = factor * float(plain.calibration.seconds(limits[0], limits[1], limits[2].sum()))
            row = replace(measured, seconds=seconds, flags=(), device_memory_bytes=round(factor * 2e8))
            table.put(setting, network_key(BASE, arch), "design", row)
    return setting


def test_measured_devices_move_the_scale(tmp_path, measured) -> None:
    alone = make_estimator(BASE, "b200", "fp16", 8, 128, None, runtime="torch").predict(WHOLE)
    assert "no GPU was measured with torch" in alone.basis
    with LatencyTable(tmp_path / "latency.sqlite") as table:
        fill(table, "h100", measured, 3.0)
        taught = make_estimator(BASE, "b200", "fp16", 8, 128, table, runtime="torch")
        estimated = taught.predict(WHOLE)
        assert estimated.seconds == pytest.approx(3 * alone.seconds, rel=1e-6)
        assert estimated.low < estimated.seconds < estimated.high
        assert "h100 (8 rows)" in estimated.basis
        one = math.log(estimated.high / estimated.seconds)
        assert one >= math.log(alone.high / alone.seconds)  # one device says less than six
        fill(table, "h200", measured, 3.2)
        two = make_estimator(BASE, "b200", "fp16", 8, 128, table, runtime="torch").predict(WHOLE)
        assert math.log(two.high / two.seconds) < one
        assert taught.predict_memory(WHOLE).low <= taught.predict_memory(WHOLE).bytes
        other = make_estimator(BASE, "b200", "fp16", 8, 128, table).predict(WHOLE)
        assert other == make_estimator(BASE, "b200", "fp16", 8, 128, None).predict(WHOLE)  # not of this runtime
        assert (
            make_estimator(BASE, "h200", "fp16", 8, 128, table, runtime="torch").predict(WHOLE).basis.count("8 rows")
            == 1
        )


def test_doubtful_rows_and_processors_teach_nothing(tmp_path, measured) -> None:
    doubtful = replace(measured, flags=("throttled",))
    with LatencyTable(tmp_path / "latency.sqlite") as table:
        for target, row in (("h100", doubtful), ("cpu", measured)):
            setting = Setting(target, target, "torch", "2.13.0", "fp16", 1, 128, 1, "1")
            table.put(setting, network_key(BASE, WHOLE), "design", row)
        found = make_estimator(BASE, "l4", "fp16", 1, 128, table, runtime="torch")
        assert found.predict(WHOLE) == make_estimator(BASE, "l4", "fp16", 1, 128, None, runtime="torch").predict(WHOLE)


def test_rows_of_networks_that_cannot_be_teach_nothing(tmp_path, measured) -> None:
    """An import takes any network key of the right form; the basis says which versions of the runtime taught."""
    with LatencyTable(tmp_path / "latency.sqlite") as table:
        setting = fill(table, "h100", measured, 3.0)
        expected = make_estimator(BASE, "b200", "fp16", 1, 128, table, runtime="torch").predict(WHOLE)
        assert "measured with torch 2.13.0 on h100 (8 rows)" in expected.basis
        row = replace(measured, flags=())
        facts = json.loads(network_key(BASE, WHOLE))
        lone = {"model_type": "bert", "shape": [[1, 1]]}
        for strange in (lone, {**facts, "hidden_size": 0}, {**facts, "positions": 64}):
            table.put(setting, canonical(strange), "design", row)
        assert make_estimator(BASE, "b200", "fp16", 1, 128, table, runtime="torch").predict(WHOLE) == expected
        table.put(replace(setting, runtime_version="2.9.1"), network_key(BASE, WHOLE), "design", row)
        assert "torch 2.13.0, 2.9.1 on" in make_estimator(BASE, "b200", "fp16", 1, 128, table, runtime="torch").basis


def test_a_report_says_what_it_is_and_nothing_is_stored(tmp_path, monkeypatch) -> None:
    path = tmp_path / "latency.sqlite"
    with LatencyTable(path) as table:
        report = estimate_model(BASE, "l4", "fp16", 1, 128, table)
        assert table.settings() == []
        setting = Setting("l4", "NVIDIA L4", "tensorrt", "10", "fp16", 1, 128, 1, "1")
        for value in (report.rows[0].latency, report.rows[0].memory):
            with pytest.raises((TableError, TypeError, KeyError)):
                table.put(setting, network_key(BASE, WHOLE), "design", value)  # type: ignore[arg-type]
        assert table.rows(setting) == []
    data = json.loads(json.dumps(report.to_json()))
    assert (data["kind"], data["note"]) == ("estimated", NOTE)
    for row in data["rows"]:
        assert row["latency"]["kind"] == row["memory"]["kind"] == "estimated"
        assert Estimated.from_json(row["latency"]).low < row["latency"]["seconds"] < row["latency"]["high"]
        assert 0 < row["memory"]["low"] <= row["memory"]["bytes"] <= row["memory"]["high"]
        with pytest.raises(TableError, match="expected a measurement"):
            Measured.from_json(row["latency"])
    printed = io.StringIO()
    monkeypatch.setattr(estimate_view, "out", Console(file=printed, width=120, soft_wrap=True))
    estimate_view.print_estimate(report)
    for words in ("Estimated, not measured: l4", "90% interval", "basis: roofline of l4", "nothing was stored"):
        assert words in printed.getvalue()


def test_samples_fit_any_model(bert) -> None:
    for config in (bert, BASE, RobertaConfig(num_hidden_layers=1, num_attention_heads=1, intermediate_size=1)):
        dimensions = get_family(config).dimensions(config)
        for arch in samples(dimensions).values():
            arch.check(dimensions)


def test_fp32_reaches_down_to_tf32() -> None:
    single = make_estimator(BASE, "a100-80gb", "fp32", 8, 128, None)
    estimated = single.predict(WHOLE)
    assert "TF32" in estimated.basis
    assert estimated.seconds / estimated.low > 2 * estimated.high / estimated.seconds
    volta = make_estimator(BASE, "v100", "fp32", 8, 128, None).predict(WHOLE)
    assert volta.seconds / volta.low == pytest.approx(volta.high / volta.seconds)


@pytest.mark.parametrize(
    ("target", "precision", "batch", "tokens", "kind", "words"),
    [
        ("cpu", "fp32", 1, 128, UsageError, "no facts to estimate from"),
        ("t4", "bf16", 1, 128, UsageError, "no peak rate for bf16"),
        ("v100", "int8", 1, 128, UsageError, "no peak rate for int8"),
        ("l4", "nf4", 1, 128, UnknownNameError, "bf16, fp16, fp32, int8"),
        ("l5", "fp16", 1, 128, UnknownTargetError, "l4"),
        ("l4", "fp16", 0, 128, UsageError, "batch 0"),
        ("l4", "fp16", 1, 513, UsageError, "at most 512 tokens"),
    ],
)
def test_refusals_are_one_line(target, precision, batch, tokens, kind, words) -> None:
    with pytest.raises(kind, match=words) as refused:
        make_estimator(BASE, target, precision, batch, tokens, None)
    assert "\n" not in str(refused.value)


def test_a_network_of_another_model_is_refused() -> None:
    estimator = make_estimator(BASE, "l4", "fp16", 1, 128, None)
    for ask in (estimator.predict, estimator.predict_memory):
        with pytest.raises(UsageError, match="belongs to another model"):
            ask(Architecture((1,), (1,)))


def test_every_gpu_target_can_be_estimated_in_fp16() -> None:
    for target in load_targets().values():
        if target.kind == "gpu":
            assert min(facts_of(target, "fp16")) > 0
            found = make_estimator(BASE, target.name, "fp16", 1, 128, None)
            assert isinstance(found.calibration, Calibration)
            assert isinstance(found.predict_memory(WHOLE), EstimatedMemory)
    assert set(FORMATS) == {"fp32", "fp16", "bf16", "int8"}
