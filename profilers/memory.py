"""Peak memory of a network, measured in a process of its own.

`measure_memory` starts `python -P -m hwnas.profilers.memory FILE ...`, which loads the runtime, notes its resident
memory, loads the network, runs it, and prints by how much the peak exceeds the note.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import psutil

from hwnas.profilers.base import Failure, Workload, first_line

_RUNS = 3
_TIMEOUT = 600.0  # seconds


def measure_memory(path: Path, runtime: str, workload: Workload, *, timeout: float = _TIMEOUT) -> int | Failure:
    """Bytes that loading and running a network adds to the peak of a fresh process.

    Weights, the runtime's copies of them while it loads, activations and inputs are in it; the interpreter and the
    runtime's libraries are not.

    Args:
        path: The ONNX file.
        runtime: Name of the profiler.
        workload: How the network is run.
        timeout: Seconds after which the process is ended and a failure returned.
    """
    command = [sys.executable, "-P", "-m", "hwnas.profilers.memory", str(path), runtime, json.dumps(asdict(workload))]
    try:
        finished = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return Failure("memory", f"no answer within {timeout:g} s")
    lines = finished.stdout.strip().splitlines()
    if finished.returncode != 0 or not lines:
        said = finished.stderr.strip().splitlines()
        return Failure("memory", said[-1][:500] if said else f"the process ended with code {finished.returncode}")
    answer = json.loads(lines[-1])
    return Failure(**answer["failure"]) if "failure" in answer else int(answer["bytes"])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure one network in this process and print JSON."""
    parser = argparse.ArgumentParser(prog="python -P -m hwnas.profilers.memory", description=main.__doc__)
    parser.add_argument("path", type=Path, help="ONNX file")
    parser.add_argument("runtime", help="name of the runtime")
    parser.add_argument("workload", help="fields of the workload as JSON")
    options = parser.parse_args(arguments)
    from hwnas.profilers import get_profiler

    workload = Workload(**json.loads(options.workload))
    profiler = get_profiler(options.runtime)
    profiler.version()  # loads the runtime's libraries
    gc.collect()
    _reset_peak()
    before = int(psutil.Process().memory_info().rss)
    try:
        with profiler.open(options.path, workload) as runner:
            runner.run(_RUNS)
            after = _peak_bytes()
    except Exception as error:  # runtimes share no base of their exceptions
        print(json.dumps({"failure": asdict(Failure("memory", first_line(error)))}))
        return
    print(json.dumps({"bytes": max(0, after - before)}))


def _reset_peak() -> None:
    """Let the kernel forget the peak so far, which importing may have set; does nothing where that is not allowed."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak_bytes() -> int:
    """Largest resident memory of this process so far, in bytes.

    Linux's `ru_maxrss` is of no use here: a child starts with its parent's. `VmHWM` belongs to the process alone.
    """
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    information = psutil.Process().memory_info()
    if hasattr(information, "peak_wset"):  # Windows
        return int(information.peak_wset)
    import resource

    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # bytes on macOS


if __name__ == "__main__":
    main()
