"""The setting of measurements on this machine, and what it refuses."""

from __future__ import annotations

import os

from hwnas.errors import ProfilerError, UsageError
from hwnas.latency.records import Setting
from hwnas.profilers import TimingProtocol, get_profiler
from hwnas.targets import fingerprint, get_target, require_device


def make_setting(
    target: str,
    runtime: str,
    precision: str,
    batch: int,
    sequence_length: int,
    threads: int,
    *,
    protocol: TimingProtocol | None = None,
) -> Setting:
    """The setting of measurements on this machine.

    Args:
        target: Name of a target; it must be a device of this machine.
        runtime: Name of a profiler.
        precision: One that the runtime has.
        batch: Sequences in one run.
        sequence_length: Tokens in a sequence.
        threads: Processor threads that compute one run.
        protocol: How to time; None takes the defaults.

    Raises:
        UnknownTargetError, UnknownNameError: No such target, no such runtime.
        DeviceNotFoundError: The target is not this machine's device.
        ProfilerError: The runtime is not installed, or has no such precision or kind of device.
        UsageError: A number is out of range.
    """
    for name, value in (("batch", batch), ("sequence length", sequence_length), ("threads", threads)):
        if value < 1:
            raise UsageError(f"{name} {value}: expected 1 or more.")
    facts, profiler = get_target(target), get_profiler(runtime)
    device = require_device(facts)
    if facts.kind not in profiler.kinds:
        raise ProfilerError(
            f"runtime {runtime} does not run on a {facts.kind}, such as {facts.name}; it serves targets of the kind "
            f"{', '.join(profiler.kinds)}."
        )
    if precision not in profiler.precisions:
        raise ProfilerError(f"runtime {runtime} has no {precision} here; it has {', '.join(profiler.precisions)}.")
    processors = os.cpu_count() or 1
    if threads > processors:
        raise UsageError(f"threads {threads}: this machine has {processors} processors; ask for at most so many.")
    return Setting(
        target=facts.name,
        fingerprint=fingerprint(device),
        runtime=profiler.name,
        runtime_version=profiler.version(),
        precision=precision,
        batch=batch,
        sequence_length=sequence_length,
        threads=threads,
        protocol=(protocol or TimingProtocol()).key(),
    )
