"""Peak memory of a network, measured in a process of its own.

`measure_memory` starts `python -P -m hwnas.profilers.memory FILE ...`, which loads the runtime, runs a tiny network in
it, notes its resident memory, loads the network, runs it, and prints by how much the peak exceeds the note.
`free_memory` says how much there is to take.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import psutil

from hwnas.profilers.base import Failure, Profiler, Workload, first_line
from hwnas.profilers.tiny import TOKENS, VOCABULARY, write_onnx

_RUNS = 3
_TIMEOUT = 600.0  # seconds


def environment(workload: Workload) -> dict[str, str]:
    """What a process of its own finds around it: CUDA numbers its devices as NVML does."""
    order = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"} if workload.device == "gpu" else {}
    return {**order, **os.environ}


def measure_memory(path: Path, runtime: str, workload: Workload, *, timeout: float = _TIMEOUT) -> int | Failure:
    """Bytes that loading and running a network adds to the peak of a fresh process.

    Weights, the runtime's copies of them while it loads, activations and inputs are in it; the interpreter, the
    runtime's libraries and, of a PyTorch module, those of its model are not.

    Args:
        path: The network's file.
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
    parser.add_argument("path", type=Path, help="ONNX file, engine or saved PyTorch module")
    parser.add_argument("runtime", help="name of the runtime")
    parser.add_argument("workload", help="fields of the workload as JSON")
    options = parser.parse_args(arguments)
    from hwnas.profilers import get_profiler

    workload = Workload(**json.loads(options.workload))
    profiler = get_profiler(options.runtime)
    profiler.version()  # loads the runtime
    load_libraries(profiler, options.path, workload)
    gc.collect()
    _reset_peak()
    before = int(psutil.Process().memory_info().rss)
    try:
        with profiler.open(options.path, workload) as runner:
            runner.run(_RUNS)
            after = peak_bytes()
    except Exception as error:  # runtimes share no base of their exceptions
        print(json.dumps({"failure": asdict(Failure("memory", explain(error)))}))
        return
    print(json.dumps({"bytes": max(0, after - before)}))


def load_libraries(profiler: Profiler, path: Path, workload: Workload) -> None:
    """Load what a runtime loads with its first network only: plug-ins, kernels, CUDA, the classes of a saved module.

    A tiny network does that, and a saved module is read without its weights besides. What goes wrong meanwhile is not
    said: opening the network says it.

    Args:
        profiler: The runtime.
        path: The network that is to be measured.
        workload: How it is run.
    """
    tiny = replace(workload, batch=1, sequence_length=TOKENS, vocabulary=VOCABULARY)
    with tempfile.TemporaryDirectory(prefix="hwnas-", ignore_cleanup_errors=True) as folder:
        file = Path(folder) / "tiny"
        with suppress(Exception):  # runtimes share no base of their exceptions
            if profiler.artifact == "module":
                import torch

                from hwnas.profilers.tiny_module import write_module

                write_module(file)
                torch.load(str(path), map_location="meta", mmap=True, weights_only=False)
            elif profiler.artifact == "onnx":
                write_onnx(file)
            elif workload.device == "gpu":
                from hwnas.profilers.cuda import Gpu

                Gpu(profiler.name)  # an engine takes long to build
                return
            with profiler.open(file, tiny) as runner:
                runner.run(1)


def free_memory(groups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """Bytes that this process can take: what the machine has available, or less where a control group allows less.

    Args:
        groups: Where the control groups are.
        own: Linux's file that names those of this process.
    """
    try:
        named = own.read_text()
    except OSError:
        named = ""
    return min([int(psutil.virtual_memory().available), *_left(groups, named)])


def _left(groups: Path, named: str) -> Iterator[int]:
    """What each control group of a process leaves it, in bytes: its own group's limit and those of all above it.

    Source: the kernel's documentation of control groups, `cgroup-v2.rst` and `cgroup-v1/memory.rst`. A file system
    cache that nobody has used lately is given back when memory is needed, so it counts as left.
    """
    for line in named.splitlines():
        _, controllers, place = line.split(":", 2)
        if not controllers:
            root, files, cache = groups, ("memory.max", "memory.current"), "inactive_file"
        elif "memory" in controllers.split(","):
            root, files = groups / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")
            cache = "total_inactive_file"
        else:
            continue
        group = root / place.lstrip("/")  # in a container it may not be there: its root is the container's group then
        for folder in (group, *group.parents):
            try:
                limit, used = ((folder / name).read_text() for name in files)
                if limit.strip() != "max":
                    counted = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
                    yield max(0, int(limit) - int(used) + int(counted.get(cache, 0)))
            except (OSError, ValueError):
                pass  # it has no limit
            if folder == root:
                break


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


def peak_bytes() -> int:
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
