"""Jobs in processes: order, failures, and that no process outlives the one that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hwnas.bench.parallel import Job, run_jobs

WORK = """
import multiprocessing, os, time

def work(payload, report):
    path, kind = payload
    report(1, 2, kind)
    if kind == "raise":
        raise ValueError("no such thing")
    if kind == "die":
        os._exit(3)
    path.write_text(f"{os.getpid()} {time.monotonic()}")
    if kind == "wait":
        time.sleep(60)
    if kind == "lock":
        globals()["held"] = multiprocessing.Lock()  # as progress bars do
    time.sleep(0.1)
    path.with_suffix(".end").write_text(str(time.monotonic()))
"""

MAIN = """
import sys
from pathlib import Path
from hwnas.bench.parallel import Job, run_jobs
from slow import work

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    try:
        run_jobs([Job(name, (folder / name, sys.argv[2])) for name in "ab"], work, 2)
    except KeyboardInterrupt:
        sys.exit(130)
"""


def made(folder: Path) -> list[Job]:
    """Four that succeed, the last alone; one that fails and one that needs it; one whose process dies."""
    return [
        Job("a", (folder / "a", "ok")),
        Job("b", (folder / "b", "ok")),
        Job("bad", (folder / "bad", "raise")),
        Job("after bad", (folder / "after bad", "ok"), needs=("bad",)),
        Job("after a", (folder / "after a", "ok"), needs=("a",)),
        Job("alone", (folder / "alone", "ok"), alone=True),
    ]


@pytest.fixture
def slow(importable: Callable[..., Path]) -> Path:
    """A folder with a module that works for a while."""
    return importable("slow", WORK, MAIN)


def span(path: Path) -> tuple[float, float]:
    return float(path.read_text().split()[1]), float(path.with_suffix(".end").read_text())


@pytest.mark.parametrize("processes", [1, 2])
def test_jobs_that_fail_do_not_stop_the_others(slow: Path, processes: int) -> None:
    from slow import work  # type: ignore[import-not-found]

    seen: list[tuple[int, int, str]] = []
    jobs = made(slow) if processes == 1 else [Job("dies", (slow / "dies", "die")), *made(slow)]
    failures = run_jobs(jobs, work, processes, watch=lambda *event: seen.append(event))
    reasons = {failure.name: failure.reason for failure in failures}
    assert reasons["bad"] == "ValueError: no such thing"
    assert reasons["after bad"] == "it needs bad, which failed"
    assert ("code 3" in reasons["dies"]) if processes == 2 else ("dies" not in reasons)
    assert next(failure.trace for failure in failures if failure.name == "bad").startswith("Traceback")
    assert not (slow / "after bad").exists()
    assert span(slow / "after a")[0] >= span(slow / "a")[1]
    others = [span(slow / name) for name in ("a", "b", "after a")]
    assert span(slow / "alone")[0] >= max(end for _, end in others)
    pids = {(slow / name).read_text().split()[0] for name in ("a", "b", "after a", "alone")}
    assert (pids == {str(os.getpid())}) if processes == 1 else (str(os.getpid()) not in pids)
    assert seen[-1][:2] == (len(jobs), len(jobs))


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def test_processes_leave_nothing_behind(slow: Path) -> None:
    command = [sys.executable, "-P", str(slow / "main.py"), str(slow), "lock"]
    ended = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(slow)}, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, ""), "no warning of locks that were leaked"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_no_process_outlives_its_parent(slow: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-P", str(slow / "main.py"), str(slow), "wait"],
        env={**os.environ, "PYTHONPATH": str(slow)},
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # shells ignore it in what they run behind "&"
    ) as process:
        end = time.monotonic() + 60
        while not all((slow / name).exists() and (slow / name).read_text() for name in "ab"):
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            assert time.monotonic() < end
            time.sleep(0.02)
        pids = [int((slow / name).read_text().split()[0]) for name in "ab"]
        process.send_signal(number)
        assert process.wait(20) == (130 if number == signal.SIGINT else -signal.SIGKILL)
    while any(map(alive, pids)):
        assert time.monotonic() < end
        time.sleep(0.02)
