"""Re-measuring, artifacts, full disks, settings: real runtimes on tiny networks, real SQLite."""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import replace

import pytest
import sqlalchemy as sa

from hwnas.errors import MissingExtraError, ProfilerError, TableError, UnknownNameError
from hwnas.latency import job as jobs
from hwnas.latency.events import ProfileEvent, Reporter
from hwnas.latency.job import less_doubtful
from hwnas.latency.keys import network_key
from hwnas.latency.measure import ATTEMPTS, Wanted, measure, measure_networks
from hwnas.latency.networks import Network
from hwnas.latency.profile import load_predictor, make_setting
from hwnas.latency.setting import other_settings, say_others, workload_of
from hwnas.latency.table import LatencyTable
from hwnas.profilers import Failure, get_profiler, profiler_names

FULL, SMALL, LEAST = ((4, 4), (64, 64)), ((2, 2), (16, 16)), ((2, 2), (8, 8))


@pytest.fixture
def archs():
    from hwnas.spaces import Architecture

    return [Architecture(*pair) for pair in (FULL, SMALL, LEAST)]


@pytest.fixture
def doubtful(bert, archs, measured, setting, tmp_path):
    """A table with a sound anchor, a row with two doubts, and one that was measured as often as it may be."""
    path = tmp_path / "t.sqlite"
    full, small, least = (network_key(bert, arch) for arch in archs)
    with LatencyTable(path) as table:
        table.put(setting, full, "design", replace(measured, flags=()))
        table.put(setting, small, "holdout", replace(measured, flags=("disturbed", "contended", "drift")))
        table.put(setting, least, "design", replace(measured, flags=("disturbed",), attempts=ATTEMPTS))
    return path


def test_a_doubtful_row_is_measured_once_more(bert, archs, setting, doubtful):
    calls = []
    with LatencyTable(doubtful) as table:
        before = {network: row for network, _, row in table.rows(setting)}
        found = measure(bert, archs, setting, table, progress=lambda *call: calls.append(call))
        rows = {network: (role, row) for network, role, row in table.rows(setting)}
        again = measure(bert, archs, setting, table, remeasure=False, progress=lambda *call: pytest.fail(str(call)))
    full, small, least = (network_key(bert, arch) for arch in archs)
    assert rows[full] == ("design", before[full])
    assert rows[least] == ("design", before[least])
    role, row = rows[small]
    assert (role, row.attempts) == ("holdout", 2)
    assert len(row.doubts) < len(before[small].doubts)  # as a rule none, but other programs may run
    assert row.seconds < 0.025  # the stored row was made up
    assert row.peak_memory_bytes == before[small].peak_memory_bytes
    assert "drift" in row.flags  # the anchor's stored row was made up too
    assert len(row.round_medians) == row.rounds == 2
    assert row.file_bytes is not None
    assert row.file_bytes > row.weight_bytes
    assert found == again == [before[full], row, before[least]]
    assert {stage for stage, _, _ in calls} == {"again"}
    assert calls[-1][1] == calls[-1][2]


def test_a_row_stays_where_its_network_cannot_be_exported_again(bert, archs, setting, doubtful, monkeypatch):
    exporting = jobs.Exporter.export
    full, small, _ = archs

    def refuse(self, arch, *positional, **keywords):
        if arch in (full, small):  # the anchor, whose row has no doubts, and the one that is measured once more
            raise ProfilerError("cannot be calibrated")
        return exporting(self, arch, *positional, **keywords)

    monkeypatch.setattr(jobs.Exporter, "export", refuse)
    with LatencyTable(doubtful) as table:
        before = {network: row for network, _, row in table.rows(setting)}
        found = measure(bert, archs, setting, table)
        assert table.failures(setting) == []
    keys = [network_key(bert, arch) for arch in archs]
    assert found == [before[keys[0]], replace(before[keys[1]], attempts=2), before[keys[2]]]


def test_rows_are_taken_as_they_are_if_asked_so(bert, archs, setting, doubtful):
    with LatencyTable(doubtful) as table:
        found = measure(bert, archs, setting, table, remeasure=False, progress=lambda *call: pytest.fail(str(call)))
    assert found[1].flags == ("disturbed", "contended", "drift")


def test_the_less_doubtful_row_stays(measured):
    old = replace(measured, flags=("disturbed",))
    worse = replace(measured, flags=("disturbed", "contended"), seconds=0.02)
    wider = replace(old, low=0.02, seconds=0.024)
    better = replace(wider, flags=("drift",))
    narrower = replace(old, high=0.02505, seconds=0.02501)
    assert less_doubtful(old, worse) == less_doubtful(old, wider) == replace(old, attempts=2)
    assert less_doubtful(old, better) == replace(better, attempts=2)
    assert less_doubtful(replace(old, attempts=2), narrower) == replace(narrower, attempts=3)
    assert less_doubtful(old, Failure("run", "out of memory")) == replace(old, attempts=2)


def test_modules_are_measured_too(bert, archs, setting, tmp_path):
    """PyTorch takes a module where ONNX Runtime takes an ONNX file."""
    protocol = jobs.TimingProtocol.from_key(setting.protocol)
    torch = make_setting("cpu", "torch", "fp32", 1, 8, 1, protocol=protocol)
    assert get_profiler("torch").artifact == "module"
    events = []
    with LatencyTable(tmp_path / "t.sqlite") as table:
        wanted, report = [Wanted(archs[0], "member")], Reporter(None, events.append)
        found, new = measure_networks(bert, wanted, torch, table, report=report, remeasure=False, memory=False)
        (row,) = found.values()
        assert (new, row.peak_memory_bytes) == (1, None)
        assert [found for _, _, found in table.rows(torch)] == [row]
    assert row.seconds > 0
    assert row.file_bytes is not None
    assert all(isinstance(event, ProfileEvent) for event in events)
    last = events[-1]
    assert (last.stage, last.done, last.seconds_left) == ("time", last.total, 0.0)
    assert last.text.endswith(" ms")


def test_a_full_disk_is_one_line_and_rows_stay(bert, archs, setting, tmp_path, monkeypatch):
    """Exports go to a device that is full, after the first group is stored."""
    monkeypatch.setattr("hwnas.latency.measure.GROUP", 1)
    export, calls = jobs.Exporter.export, []

    def exported(self, arch, path, *, module=None):
        calls.append(arch)
        if len(calls) > 2:
            with open("/dev/full", "wb", buffering=0) as full:
                full.write(b"no room")
        return export(self, arch, path, module=module)

    monkeypatch.setattr(jobs.Exporter, "export", exported)
    with LatencyTable(tmp_path / "t.sqlite") as table:
        with pytest.raises(ProfilerError, match=r"no room left on the disk of .* measured before is in") as caught:
            measure(bert, archs, setting, table)
        assert len(table.rows(setting)) >= 1
    assert "\n" not in str(caught.value)


def fill(table, setting, measured):
    for number in range(200):
        table.put(setting, f"network {number}", "design", measured)


def test_a_full_table_is_one_line_and_rows_stay(bert, archs, setting, measured, tmp_path):
    path = tmp_path / "t.sqlite"
    with LatencyTable(path) as table:
        table.put(setting, network_key(bert, archs[0]), "design", replace(measured, flags=()))
    pages = sqlite3.connect(path).execute("PRAGMA page_count").fetchone()[0]

    def limit(connection, _):
        connection.execute(f"PRAGMA max_page_count={pages}")

    sa.event.listen(sa.engine.Engine, "connect", limit)
    try:
        with LatencyTable(path) as table, pytest.raises(TableError, match="disk is full") as caught:
            fill(table, setting, measured)
    finally:
        sa.event.remove(sa.engine.Engine, "connect", limit)
    assert "\n" not in str(caught.value)
    with LatencyTable(path) as table:
        assert table.get(setting, network_key(bert, archs[0])) is not None


def test_unknown_and_missing_things_are_refused():
    with pytest.raises(UnknownNameError, match=r"unknown precision 'int3'.* Known: .*fp32.*int8"):
        make_setting("cpu", "onnxruntime", "int3", 1, 8, 1)
    with pytest.raises(ProfilerError, match=r"has no nf4 here; it has .*fp32"):
        make_setting("cpu", "onnxruntime", "nf4", 1, 8, 1)
    with pytest.raises(ProfilerError, match="does not run on a cpu"):
        make_setting("cpu", "tensorrt", "fp16", 1, 8, 1)
    missing = 0
    for name in profiler_names():
        profiler = get_profiler(name)
        try:
            profiler.version()
        except MissingExtraError:
            missing += 1
            if "cpu" in profiler.kinds:
                with pytest.raises(MissingExtraError, match="pip install"):
                    make_setting("cpu", name, profiler.precisions[0], 1, 8, 1)
    assert missing < len(profiler_names())


@pytest.mark.parametrize(("runtime", "artifact", "alone"), [("tensorrt", "engine", True), ("torch", "module", False)])
def test_nothing_else_uses_the_gpu_while_an_engine_is_built_on_it(
    bert, archs, setting, tmp_path, monkeypatch, runtime, artifact, alone
):
    """Full TensorRT times kernels as it builds; other exports go on beside the processes of the peak memory."""
    begun, lines = threading.Event(), []

    def export(arch, path):
        lines.append("export")
        if len(lines) > 1:
            begun.set()
        return Network(path, 1, traced=False, file_bytes=1)

    def memory(path):
        lines.append("after" if begun.wait(0.1 if alone else 30.0) else "before")  # the second export
        return 1

    with LatencyTable(tmp_path / "t.sqlite") as table:
        engines = replace(setting, runtime=runtime, target="a10g")
        job = jobs.Job(bert, engines, table, Reporter(), 0, "anchor")
        assert job.artifact == artifact
        monkeypatch.setattr(job, "_export", lambda item, path: export(item.arch, path))
        monkeypatch.setattr(job, "_memory", memory)
        items = {str(number): Wanted(arch, "design") for number, arch in enumerate(archs[:2])}
        networks, found = job._prepare(items, jobs.Part(0, 1, 0, 2), tmp_path, set(), {})
    assert [future.result() for future in found.values()] == [1, 1]
    assert list(networks) == ["0", "1"]
    assert lines == (["export", "before", "export", "after"] if alone else ["export", "export", "after", "after"])


def test_a_workload_knows_where_it_runs(bert, setting):
    assert workload_of(setting, bert).device == "cpu"
    assert workload_of(replace(setting, target="a10g"), bert, seed=3).device == "gpu"
    assert workload_of(setting, bert, seed=3).seed == 3


def test_other_versions_are_named_and_not_used(bert, archs, measured, setting, tmp_path):
    key = network_key(bert, archs[0])
    older, moved = replace(setting, runtime_version="1.0"), replace(setting, fingerprint="another")
    batch, protocol = replace(setting, batch=8), replace(setting, protocol="3")
    assert other_settings(setting, [setting, older, batch, moved, protocol]) == [older, moved, protocol]
    with LatencyTable(tmp_path / "t.sqlite") as table:
        assert say_others(setting, table) is None
        for other in (older, moved, batch, protocol):
            table.put(other, key, "design", measured)
        with pytest.raises(TableError) as caught:
            load_predictor(bert, setting, table)
    message = str(caught.value)
    assert f"1 row of onnxruntime 1.0, but {setting.runtime_version} is installed" in message
    assert f"1 row of another, but this is {setting.fingerprint}" in message
    assert f"1 row of measuring protocol 3, but this is {setting.protocol}" in message
    assert "numbers do not carry over; run `hwnas profile" in message
    assert "\n" not in message


def test_time_left_is_reckoned_from_the_rounds():
    now, events = [0.0], []
    report = Reporter(observer=events.append, clock=lambda: now[0])
    report.begin("export", 0)
    now[0] = 4.0
    report("export", 2, 6)
    assert events[-1].seconds_left is None
    report("export", 2, 2)
    report.begin("time", 0)
    now[0] = 14.0
    report("time", 5, 40, left=15)
    assert events[-1].seconds_left == 30.0
    report.say("fit", "fine")
    assert (events[-1].stage, events[-1].text) == ("fit", "fine")
