"""Timing in a process of its own: one for each runtime, pinned to as many processors as it may use threads.

`time_in_process` starts `python -P -m hwnas.profilers.worker` and writes the job to it as one line of JSON. The worker
answers with lines of JSON: failures as they happen, a line a round, and the timings. Where it is, it notes in a file
that outlives it. A worker that dies fails the network it was at, and the others start again in a new one. The worker
ends when its standard input does, so it never outlives its parent.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import numpy as np

from hwnas.errors import ProfilerError
from hwnas.profilers.base import Failure, RawTiming, Runner, Workload
from hwnas.profilers.blocks import merge
from hwnas.profilers.memory import died, environment, explain
from hwnas.profilers.protocol import TimingProtocol, time_networks
from hwnas.profilers.telemetry import CpuMonitor, Monitor

_SILENCE = 900.0  # seconds without a sign of life after which a worker is ended
_NOTE = 32  # bytes of a note: the stage and the number of the network
_POISONED = ("illegal memory access", "device-side assert", "unspecified launch failure", "launch timed out",
             "misaligned address", "illegal instruction", "hardware exception")  # fmt: skip
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def time_in_process(
    runtime: str,
    networks: Mapping[str, Path],
    workload: Workload,
    protocol: TimingProtocol,
    *,
    seed: int = 0,
    notify: Callable[[int, int], None] | None = None,
    observe: Callable[[str, float], None] | None = None,
) -> dict[str, RawTiming | Failure]:
    """Load networks and time them like `time_networks`, in processes of their own, `protocol.processes` in turn.

    On a processor such a process and its threads are pinned to the last `workload.threads` processors that this process
    may use; where the system cannot pin, they are not.

    Args:
        runtime: Name of the profiler.
        networks: Their files.
        workload: How they are run.
        protocol: The protocol's parameters.
        seed: Seed of the order within rounds.
        notify: Called between rounds with (rounds done, rounds planned); starts over if the process had to.
        observe: Called between rounds with the network that ran last and its block's median in seconds.

    Returns:
        For each network its timing, or why there is none: the stage `"load"` or `"run"` and a reason in one line.

    Raises:
        ProfilerError: The process ended before it came to a network.
    """
    share, parts = protocol.share(), []
    left = dict(networks)
    for number in range(max(1, protocol.processes)):

        def tell(done: int, planned: int, before: int = number) -> None:
            if notify is not None:
                rest = (protocol.processes - before - 1) * planned
                notify(before * share.max_rounds + done, before * share.max_rounds + planned + rest)

        part: dict[str, RawTiming | Failure] = {}
        while len(part) < len(left):
            waiting = {key: path for key, path in left.items() if key not in part}
            part.update(_session(runtime, waiting, workload, share, seed + 1000 * number, tell, observe))
        parts.append(part)
        left = {key: path for key, path in left.items() if isinstance(part[key], RawTiming)}
    merged = merge(parts, protocol, probed=workload.device == "cpu")
    return {key: merged[key] for key in networks}


def _session(
    runtime: str,
    networks: Mapping[str, Path],
    workload: Workload,
    protocol: TimingProtocol,
    seed: int,
    notify: Callable[[int, int], None] | None,
    observe: Callable[[str, float], None] | None,
) -> dict[str, RawTiming | Failure]:
    """What one worker finds out about the networks: about all, or about at least one more if it dies."""
    keys = list(networks)
    found: dict[str, RawTiming | Failure] = {}
    finished = False
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hwnas-worker-")))
        note, said = folder / "note", stack.enter_context((folder / "stderr").open("w+b"))
        job = {
            "runtime": runtime,
            "paths": [str(path) for path in networks.values()],
            "workload": asdict(workload),
            "protocol": asdict(protocol),
            "seed": seed,
            "note": str(note),
        }
        worker = _Worker(job, _environment(workload), said)
        stack.callback(worker.end)
        for message in worker.messages(note):
            if "round" in message:
                if observe is not None and "last" in message:
                    observe(keys[message["last"][0]], message["last"][1])
                if notify is not None:
                    notify(*message["round"])
            elif "failure" in message:
                found[keys[message["network"]]] = Failure(**message["failure"])
            elif "timing" in message:
                found[keys[message["network"]]] = _timing_from(message["timing"])
            finished = finished or "finished" in message
        if finished or len(found) == len(keys):
            return found
        code, text = worker.end(patience=10.0), _tail(said)
    reason = f"no sign of life for {_SILENCE:g} s" if worker.silent else died(code, text)
    stage, index = _noted(worker.last_note)
    if index is None:
        raise ProfilerError(f"the process that measures with {runtime} ended before it loaded a network: {reason}")
    # A network that reported its own failure poisoned the device for the others: they start again without it.
    found.setdefault(keys[index], Failure(stage, reason))
    return found


class _Worker:
    """A started process and the lines it writes."""

    def __init__(self, job: Mapping[str, Any], environment: Mapping[str, str], said: IO[bytes]) -> None:
        self.silent, self.last_note = False, b""
        command = [sys.executable, "-P", "-m", "hwnas.profilers.worker"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, env=dict(environment)
        )
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        assert self._process.stdin is not None
        self._stdin = self._process.stdin
        with suppress(BrokenPipeError):  # it died at once; its exit code says more
            self._stdin.write(json.dumps(job).encode() + b"\n")
            self._stdin.flush()

    def messages(self, note: Path) -> Iterator[dict[str, Any]]:
        """What the process writes until it ends; ends it if it gives no sign of life."""
        heard = time.monotonic()
        while True:
            try:
                line = self._lines.get(timeout=1.0)
            except queue.Empty:
                noted = _read(note)
                if noted != self.last_note:
                    self.last_note, heard = noted, time.monotonic()
                elif time.monotonic() - heard > _SILENCE:
                    self.silent = True
                    self.end()
                continue
            if line is None:
                self.last_note = _read(note)
                return
            heard = time.monotonic()
            yield json.loads(line)

    def end(self, patience: float = 0.0) -> int:
        """End the process if it does not end by itself within some seconds, and return its exit code."""
        try:
            code = self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        with suppress(OSError):
            self._stdin.close()
        return code

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            for line in stream:
                if line.endswith(b"\n"):  # a process that dies may leave half a line
                    self._lines.put(line)
        self._lines.put(None)


def _environment(workload: Workload) -> dict[str, str]:
    """The worker's environment: so many threads in every library."""
    return {**environment(workload), **dict.fromkeys(_THREADS, str(workload.threads))}


def _read(note: Path) -> bytes:
    return note.read_bytes() if note.exists() else b""


def _noted(note: bytes) -> tuple[str, int | None]:
    """Stage and number of the network that a note names."""
    words = note.decode().split()
    return (words[0], int(words[1])) if len(words) == 2 else ("load", None)


def _tail(said: IO[bytes]) -> str:
    """The end of what a worker wrote to standard error."""
    size = said.seek(0, os.SEEK_END)
    said.seek(max(0, size - 65536))
    return said.read().decode(errors="replace")


def _timing_to(timing: RawTiming) -> dict[str, Any]:
    """JSON types; `_timing_from` inverts it."""
    return {**asdict(timing), "rounds": [block.tolist() for block in timing.rounds]}


def _timing_from(data: Mapping[str, Any]) -> RawTiming:
    rounds = [np.array(block, dtype=np.float64) for block in data["rounds"]]
    return RawTiming(**{**data, "rounds": rounds, "flags": tuple(data["flags"])})


def main() -> None:
    """Do the job on standard input and write what comes of it, as lines of JSON, to standard output."""
    lines = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no answer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    workload, protocol = Workload(**job["workload"]), TimingProtocol(**job["protocol"])
    if workload.device == "cpu":
        pin(workload.threads)
    with open(job["note"], "wb", buffering=0) as note:
        _work(job, workload, protocol, lambda **message: print(json.dumps(message), file=lines), note.fileno())
    lines.close()


def _work(
    job: Mapping[str, Any],
    workload: Workload,
    protocol: TimingProtocol,
    say: Callable[..., None],
    note: int,
) -> None:
    from hwnas.profilers import get_profiler
    from hwnas.profilers.nvml import GpuMonitor, open_gpu

    def at(stage: str, key: str) -> None:
        os.lseek(note, 0, os.SEEK_SET)
        os.write(note, f"{stage} {key}".ljust(_NOTE).encode())

    def failed(key: str, failure: Failure) -> None:
        say(network=int(key), failure=asdict(failure))
        if any(sign in failure.reason.lower() for sign in _POISONED):
            os._exit(1)  # after such an error every call to the device fails: a new process is needed

    profiler = get_profiler(job["runtime"])
    keys = [str(number) for number in range(len(job["paths"]))]
    with ExitStack() as stack:
        monitor: Monitor
        why = None
        if workload.device == "gpu":
            gpu = stack.enter_context(open_gpu())
            why = gpu if isinstance(gpu, str) else None
            monitor = CpuMonitor(keys, protocol.calm, lambda: 0.0) if isinstance(gpu, str) else GpuMonitor(gpu, keys)
        else:
            monitor = CpuMonitor(keys, protocol.calm)
        runners: dict[str, Runner] = {}
        for key, path in zip(keys, job["paths"], strict=True):
            at("load", key)
            try:
                runners[key] = stack.enter_context(profiler.open(Path(path), workload))
            except Exception as error:  # runtimes share no base of their exceptions
                failed(key, Failure("load", explain(error)))
        last: dict[str, Any] = {}
        timings = time_networks(
            runners,
            protocol,
            seed=job["seed"],
            monitor=monitor,
            at=lambda key: at("run", key),
            failed=failed,
            observe=lambda key, seconds: last.update({"last": [int(key), seconds]}),
            notify=lambda done, total: say(round=[done, total], **last),
            finish=False,
        )
        for key, timing in timings.items():
            if isinstance(timing, RawTiming):
                if why is not None:
                    timing.telemetry = {**timing.telemetry, "gpu": why}
                say(network=int(key), timing=_timing_to(timing))
        say(finished=True)


def pin(threads: int) -> tuple[int, ...]:
    """Keep all threads of this process on the last processors that it may use, as many as given.

    Returns:
        Numbers of those processors; none where the system cannot pin.
    """
    if not hasattr(os, "sched_setaffinity"):
        return ()
    chosen = sorted(os.sched_getaffinity(0))[-threads:]
    for task in Path("/proc/self/task").glob("*"):  # libraries may have started threads already
        with suppress(OSError):
            os.sched_setaffinity(int(task.name), chosen)
    os.sched_setaffinity(0, chosen)
    return tuple(chosen)


def _end_with_parent() -> None:
    """End this process when the other end of its standard input is gone."""
    while os.read(0, 1024):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
