"""Real ONNX Runtime sessions on tiny networks. No assertion here depends on how fast the machine is."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from hwnas.errors import (
    DeviceNotFoundError,
    ProfilerError,
    TableError,
    UnknownNameError,
    UnknownTargetError,
    UsageError,
)
from hwnas.latency import job as jobs
from hwnas.latency import measure as measuring
from hwnas.latency.keys import model_key, network_key
from hwnas.latency.networks import build_random
from hwnas.latency.profile import load_predictor, make_setting, measure, profile_model, step_sizes
from hwnas.latency.records import Measured
from hwnas.latency.table import LatencyTable
from hwnas.profilers import Failure, RawTiming, TimingProtocol
from hwnas.spaces import Architecture

FULL = Architecture((4, 4), (64, 64))
SIZE = {"max_networks": 8, "holdout": 2, "remeasure": False}  # a row with doubts would be measured again


@pytest.fixture(scope="module")
def profiled(bert, setting, tmp_path_factory):
    """A table after one profile, in several groups, with the report and the calls of its progress."""
    path, calls = tmp_path_factory.mktemp("profile") / "t.sqlite", []
    with pytest.MonkeyPatch.context() as patch, LatencyTable(path) as table:
        patch.setattr(measuring, "GROUP", 4)
        report = profile_model(bert, setting, table, progress=lambda *call: calls.append(call), **SIZE)
    return path, report, calls


def test_setting_is_of_this_machine(setting):
    assert (setting.target, setting.runtime, setting.precision) == ("cpu", "onnxruntime", "fp32")
    assert setting.fingerprint
    assert setting.runtime_version
    assert make_setting("cpu", "onnxruntime", "fp32", 1, 8, 1).protocol == TimingProtocol().key()


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"target": "cpus"}, UnknownTargetError, "did you mean 'cpu'"),
        ({"target": "a10g"}, DeviceNotFoundError, "Three ways out"),
        ({"runtime": "onnx"}, UnknownNameError, "onnxruntime"),
        ({"precision": "bf16"}, ProfilerError, "has no bf16 here; it has fp32, fp16"),
        ({"batch": 0}, UsageError, "batch 0"),
        ({"sequence_length": -1}, UsageError, "sequence length -1"),
        ({"threads": 0}, UsageError, "threads 0"),
        ({"threads": 100_000}, UsageError, "ask for at most"),
    ],
)
def test_setting_refusals(change, error, match):
    given = {"target": "cpu", "runtime": "onnxruntime", "precision": "fp32", "batch": 1, "sequence_length": 8}
    with pytest.raises(error, match=match) as caught:
        make_setting(**{**given, "threads": 1, **change})
    assert "\n" not in str(caught.value)


def test_profile_measures_design_and_holdout(bert, setting, profiled):
    path, report, calls = profiled
    with LatencyTable(path) as table:
        rows = table.rows(setting)
    assert (report.measured_now, report.reused, report.failures) == (10, 0, ())
    assert [role for _, role, _ in rows].count("design") == 8
    assert [role for _, role, _ in rows].count("holdout") == 2
    assert rows[0][0] == network_key(bert, FULL)
    assert len(report.rows) == 2
    for row in report.rows:
        assert row.error == row.predicted.seconds / row.measured.seconds - 1
        assert row.measured in [measured for _, role, measured in rows if role == "holdout"]
    sizes = np.abs([row.error for row in report.rows])
    assert (report.mean_error, report.worst_error) == (sizes.mean(), sizes.max())
    assert {stage for stage, _, _ in calls} == {"export", "time"}
    for stage in ("export", "time"):
        done = [(done, total) for name, done, total in calls if name == stage]
        assert done == sorted(done)
        assert done[-1][0] == done[-1][1]


def test_rows_carry_their_provenance(setting, profiled):
    path, _, _ = profiled
    with LatencyTable(path) as table:
        rows = [measured for _, _, measured in table.rows(setting)]
    for row in rows:
        assert 0 < row.low <= row.seconds <= row.high
        assert row.p5 <= row.p95
        assert row.rounds + row.discarded == 2  # the slowest third of all blocks is left out
        assert row.n == 2 * row.rounds == 2 * len(row.round_medians)
        assert row.peak_memory_bytes is not None
        assert row.date
        assert row.hwnas_version
    assert rows[0].weight_bytes == max(row.weight_bytes for row in rows)


def test_second_time_measures_nothing(bert, setting, profiled):
    path, report, _ = profiled
    before = sqlite3.connect(path).execute("SELECT * FROM hwnas_measurements").fetchall()
    with LatencyTable(path) as table:
        again = profile_model(bert, setting, table, progress=lambda *call: pytest.fail(str(call)), **SIZE)
        loaded = load_predictor(bert, setting, table)
    assert (again.measured_now, again.reused) == (0, 10)
    assert again.rows == report.rows
    assert again.predictor.to_json() == report.predictor.to_json() == loaded.to_json()
    assert sqlite3.connect(path).execute("SELECT * FROM hwnas_measurements").fetchall() == before


def test_report_is_json(profiled):
    _, report, _ = profiled
    data = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert data["measured_now"] == 10
    assert data["rows"][0]["measured"]["kind"] == "measured"
    assert data["rows"][0]["predicted"]["kind"] == "predicted"
    assert data["setting"]["target"] == "cpu"


def test_fit_is_stored_with_its_error(bert, setting, profiled):
    path, report, _ = profiled
    with LatencyTable(path) as table:
        fit = table.latest_fit(setting, model_key(bert))
    assert fit is not None
    assert (len(fit.design), len(fit.holdout)) == (8, 2)
    assert not set(fit.design) & set(fit.holdout)
    assert (fit.mean_error, fit.worst_error) == (report.mean_error, report.worst_error)


def test_design_in_steps_measures_where_the_fit_is_least_sure(bert, setting, profiled, tmp_path):
    """The second session's networks depend on the first one's rows; a second call finds the same ones."""
    path = tmp_path / "t.sqlite"
    shutil.copy(profiled[0], path)
    events, size = [], {**SIZE, "max_networks": 9, "steps": 2}
    with LatencyTable(path) as table:
        found = profile_model(bert, setting, table, observer=events.append, **size)
        assert len(table.latest_fit(setting, model_key(bert)).design) == 9
        again = profile_model(bert, setting, table, progress=lambda *call: pytest.fail(str(call)), **size)
    assert found.measured_now > 0
    assert again.measured_now == 0
    assert again.rows == found.rows
    assert next(event.text for event in events if event.stage == "fit").startswith("fit on 6 networks, off by ")
    assert found.coverage in (0.0, 0.5, 1.0)
    assert sum(found.ended.values()) == 11


def test_sizes_of_steps():
    assert step_sizes(18, 1) == [18]
    assert step_sizes(18, 2) == [12, 6]
    assert step_sizes(30, 3) == [12, 12, 6]
    assert step_sizes(24, 3) == [11, 9, 4]
    for networks, steps in ((18, 0), (8, 3), (30, 20)):
        with pytest.raises(UsageError, match=f"steps {steps}: "):
            step_sizes(networks, steps)


def test_members_reuse_rows_and_shapes(bert, setting, profiled):
    """Of five asked for, two are in the table, two are one shape, and modules of their own are accepted."""
    path, report, _ = profiled
    new = Architecture((3, 0), (20, 0))
    twin = Architecture((0, (0, 1, 3)), (0, 20))
    archs = [FULL, new, twin, Architecture((1, 0), (1, 0)), new]
    with LatencyTable(path) as table:
        before = table.rows(setting)
        modules = [build_random(bert, arch) for arch in archs]
        found = measure(bert, archs, setting, table, models=modules, remeasure=False)
        after = table.rows(setting)
    assert found[0] == before[0][2]
    assert found[1] is found[2] or found[1] == found[2] == found[4]
    assert after[: len(before)] == before
    assert [(network, role) for network, role, _ in after[len(before) :]] == [(network_key(bert, new), "member")]
    assert report.rows


def test_members_without_a_profile_bring_the_anchor(bert, setting, tmp_path):
    small = Architecture((1, 0), (8, 0))
    with LatencyTable(tmp_path / "t.sqlite") as table:
        (found,) = measure(bert, [small], setting, table)
        rows = {network: (role, measured) for network, role, measured in table.rows(setting)}
        assert rows.pop(network_key(bert, small)) == ("member", found)
        assert [role for role, _ in rows.values()] == ["anchor"]
        with pytest.raises(TableError, match=r"holds 2 measured networks.*run `hwnas profile --target cpu") as caught:
            load_predictor(bert, setting, table)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_measured(bert, setting, tmp_path, profiled):
    with LatencyTable(tmp_path / "t.sqlite") as table:
        with pytest.raises(UsageError, match="at most 32"):
            measure(bert, [FULL], replace(setting, sequence_length=64), table)
        with pytest.raises(ProfilerError, match=r"0\.0\.1, but .* is installed"):
            measure(bert, [FULL], replace(setting, runtime_version="0.0.1"), table)
        with pytest.raises(UsageError, match="2 architectures but 1 modules"):
            measure(bert, [FULL, FULL], setting, table, models=[build_random(bert, FULL)])
        with pytest.raises(ProfilerError, match=r"the spaces layer have 2 networks left"):
            profile_model(bert, setting, table, spaces=("layer",))
        assert table.rows(setting) == []


def test_failure_is_stored_and_tried_again(bert, setting, tmp_path, profiled, monkeypatch):
    """The runtime refuses a damaged file; the network that is measured along is kept."""
    path, _, _ = profiled
    arch, export = Architecture((2, 0), (11, 0)), jobs.Exporter.export

    def damaged(self, given, path, *, module=None):
        network = export(self, given, path, module=module)
        if given == arch:
            path.write_bytes(b"damaged")
        return network

    with LatencyTable(path) as table:
        with monkeypatch.context() as patch:
            patch.setattr(jobs.Exporter, "export", damaged)
            with pytest.raises(ProfilerError, match=r"1 of 1 networks.*1 x \(2 heads, 11 units\), failed at load"):
                measure(bert, [arch], setting, table)
        assert [(network, failure.stage) for network, failure in table.failures(setting)] == [
            (network_key(bert, arch), "load")
        ]
        assert table.get(setting, network_key(bert, arch)) is None
        assert isinstance(measure(bert, [arch], setting, table)[0], Measured)


def test_drift_is_flagged_and_nothing_is_corrected(measured):
    job = jobs.Job.__new__(jobs.Job)
    timing = RawTiming(rounds=[np.full(5, 0.0255)] * 6)
    assert job._drift(timing, None) == ()
    assert job._drift(timing, replace(measured, seconds=0.025)) == ()
    assert job._drift(timing, replace(measured, seconds=0.0245)) == ("drift",)
    assert job._drift(timing, replace(measured, seconds=0.0265)) == ("drift",)
    assert job._drift(Failure("run", "out of memory"), measured) == ("no_anchor",)


def test_groups_are_even_and_have_the_anchor_first():
    keys = measuring._order(dict.fromkeys("abcdefghij"), "g", 0)
    assert keys[0] == "g"
    assert sorted(keys) == list("abcdefghij")
    assert keys == measuring._order(dict.fromkeys("jihgfedcba"), "g", 0)
    groups = measuring._split(keys, 4)
    assert [len(group) for group in groups] == [4, 3, 3]
    assert [key for group in groups for key in group] == keys


SCRIPT = """
import sys
from transformers import BertConfig
from hwnas.latency import measure
from hwnas.latency.profile import profile_model
from hwnas.latency.records import Setting
from hwnas.latency.table import LatencyTable
import json
measure.GROUP = 3
with LatencyTable(sys.argv[1]) as table:
    setting = Setting.from_json(json.loads(sys.argv[3]))
    config = BertConfig(**json.loads(sys.argv[2]))
    profile_model(config, setting, table, max_networks=8, holdout=2)
"""


def test_killed_profile_keeps_its_rows_and_goes_on(bert, setting, tmp_path, profiled):
    path, count = tmp_path / "t.sqlite", "SELECT count(*) FROM hwnas_measurements"
    sizes = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_labels", "intermediate_size")
    config = json.dumps({name: getattr(bert, name) for name in (*sizes, "max_position_embeddings")})
    process = subprocess.Popen([sys.executable, "-P", "-c", SCRIPT, str(path), config, setting.key()])
    stored, deadline = 0, time.monotonic() + 120
    while not stored and time.monotonic() < deadline:
        assert process.poll() is None, "the profile ended before it could be killed"
        time.sleep(0.02)
        if path.exists():
            connection = sqlite3.connect(path, timeout=10)
            try:
                stored = connection.execute(count).fetchone()[0]
            except sqlite3.OperationalError:
                pass  # the table is being made
            finally:
                connection.close()
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    with LatencyTable(path) as table:
        kept = table.rows(setting)
        assert 0 < len(kept) < 10
        report = profile_model(bert, setting, table, **SIZE)
        assert (report.measured_now, report.reused) == (10 - len(kept), len(kept))
        assert table.rows(setting)[: len(kept)] == kept
        assert {network for network, _, _ in table.rows(setting)} == networks_of(profiled, setting)


def networks_of(profiled, setting):
    with LatencyTable(profiled[0]) as table:
        return {network for network, role, _ in table.rows(setting) if role in ("design", "holdout")}
