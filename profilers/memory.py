"""Peak memory of a network, measured in a process of its own.

`measure_memory` starts `python -P -m hwnas.profilers.memory FILE ...`, which loads the runtime, notes its resident
memory, loads the network, runs it, and prints by how much the peak exceeds the note.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import psutil

from hwnas.profilers.base import Failure, Workload, first_line

_RUNS = 3
_TIMEOUT = 600.0  # seconds


def environment(workload: Workload) -> dict[str, str]:
    """What a process of its own finds around it: CUDA numbers its devices as NVML does."""
    order = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"} if workload.device == "gpu" else {}
    return {**order, **os.environ}


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
        finished = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, check=False, env=environment(workload)
        )
    except subprocess.TimeoutExpired:
        return Failure("memory", f"no answer within {timeout:g} s")
    lines = finished.stdout.strip().splitlines()
    if finished.returncode != 0 or not lines:
        return Failure("memory", died(finished.returncode, finished.stderr))
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
        print(json.dumps({"failure": asdict(Failure("memory", explain(error)))}))
        return
    print(json.dumps({"bytes": max(0, after - before)}))


_DEVICE = ("cuda out of memory", "cuda error: out of memory", "cuda_error_out_of_memory", "cudaerrormemoryallocation",
           "cuda failure 2", "cublas_status_alloc_failed", "outofmemoryerror: cuda")  # fmt: skip
_HOST = ("std::bad_alloc", "cannot allocate memory", "can't allocate memory", "not enough memory", "memoryerror",
         "failed to allocate memory", "out of memory")  # fmt: skip


def out_of_memory(text: str) -> str | None:
    """`"out of device memory"` or `"out of memory"` if a runtime's message says so, else None."""
    small = text.lower()
    if any(sign in small for sign in _DEVICE):
        return "out of device memory"
    return "out of memory" if any(sign in small for sign in _HOST) else None


def died(code: int, said: str) -> str:
    """Why a process ended, in one line.

    Args:
        code: Its exit code, negative for a signal.
        said: What it wrote to standard error.
    """
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        what = f"the process was ended by {name}"
        if name == "SIGKILL":
            what += ", as the system does when memory runs out"
    else:
        what = f"the process ended with code {code}"
    telling = next((line for line in reversed(lines) if out_of_memory(line)), None)
    if telling is not None:
        return f"{out_of_memory(telling)}: {what} ({telling[:300]})"
    if code > 0 and lines:
        return lines[-1][:500]
    return f"{what} ({lines[-1][:300]})" if lines else what


def explain(error: BaseException) -> str:
    """The reason of a failure in one line; missing memory is called by its name."""
    line = first_line(error)
    kind = out_of_memory(f"{type(error).__name__}: {error}")
    return line if kind is None or line.lower().startswith(kind) else f"{kind}: {line}"


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
