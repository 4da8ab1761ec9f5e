"""The setting of measurements on this machine, what it refuses, and what a table holds for other settings."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hwnas.errors import DeviceNotFoundError, ProfilerError, UnknownNameError, UsageError
from hwnas.latency.records import Setting
from hwnas.latency.table import LatencyTable
from hwnas.profilers import TimingProtocol, Workload, get_profiler
from hwnas.profilers.base import PRECISIONS, Profiler
from hwnas.profilers.nvml import visible_device
from hwnas.targets import Device, Target, detect_devices, fingerprint, get_target, is_device, require_device


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
        UnknownTargetError, UnknownNameError: No such target, no such runtime, no such precision.
        DeviceNotFoundError: The target is not this machine's device, or not the GPU that programs see first.
        MissingExtraError: The runtime is not installed.
        ProfilerError: The runtime, or the device in it, has no such precision, or not this kind of device.
        UsageError: A number is out of range.
    """
    for name, value in (("batch", batch), ("sequence length", sequence_length), ("threads", threads)):
        if value < 1:
            raise UsageError(f"{name} {value}: expected 1 or more.")
    facts, profiler = get_target(target), get_profiler(runtime)
    if precision not in PRECISIONS:
        raise UnknownNameError("precision", precision, PRECISIONS)
    device = require_device(facts)
    if facts.kind == "gpu":
        gpus = [found for found in detect_devices() if found.kind == "gpu"]
        check_first(facts, gpus, visible_device(os.environ), os.environ.get("CUDA_DEVICE_ORDER", "PCI_BUS_ID"))
    if facts.kind not in profiler.kinds:
        raise ProfilerError(
            f"runtime {runtime} does not run on a {facts.kind}, such as {facts.name}; it serves targets of the kind "
            f"{', '.join(profiler.kinds)}."
        )
    if precision not in profiler.precisions:
        raise ProfilerError(f"runtime {runtime} has no {precision} here; it has {', '.join(profiler.precisions)}.")
    version, check = version_on(profiler, facts.kind), getattr(profiler, "check", None)
    if check is not None:
        check(precision)
    processors = allowed_processors()
    if threads > processors:
        raise UsageError(
            f"threads {threads}: hwnas may use {processors} of this machine's processors; ask for at most so many."
        )
    return Setting(
        target=facts.name,
        fingerprint=fingerprint(device),
        runtime=profiler.name,
        runtime_version=version,
        precision=precision,
        batch=batch,
        sequence_length=sequence_length,
        threads=threads,
        protocol=(protocol or TimingProtocol()).key(),
    )


def allowed_processors() -> int:
    """Processors that this process may use, which can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def version_on(profiler: Profiler, kind: str) -> str:
    """Version of an installed runtime on a kind of device, with those of the libraries that it runs with there.

    Args:
        profiler: The runtime. Its method `libraries(kind)`, if it has one, says versions that are not part of its own.
        kind: `"cpu"` or `"gpu"`.

    Raises:
        MissingExtraError: The runtime is not installed.
    """
    libraries = getattr(profiler, "libraries", None)
    version = profiler.version()
    return version if libraries is None else f"{version} {libraries(kind)}".rstrip()


def check_here(setting: Setting) -> None:
    """Refuse to measure in the setting of another device, driver or version: its rows would not be what they say.

    Raises:
        ProfilerError: Runtime, device or driver are not those of the setting.
        DeviceNotFoundError: The target is not in this machine.
        MissingExtraError: The runtime is not installed.
    """
    target = get_target(setting.target)
    version = version_on(get_profiler(setting.runtime), target.kind)
    if version != setting.runtime_version:
        raise ProfilerError(
            f"the setting is for {setting.runtime} {setting.runtime_version}, but {version} is installed; "
            "make a new setting."
        )
    here = fingerprint(require_device(target))
    if here != setting.fingerprint:
        raise ProfilerError(
            f"the setting is for {setting.fingerprint}, but this machine has {here}; make a new setting."
        )


def check_first(target: Target, gpus: Sequence[Device], first: int | str, order: str = "PCI_BUS_ID") -> None:
    """Refuse a target that is in this machine, but behind another GPU: programs run on the one that they see first.

    Args:
        target: A GPU of this machine.
        gpus: All of them, in the order of the bus.
        first: The one that programs see first, from `visible_device`.
        order: How CUDA numbers them, `CUDA_DEVICE_ORDER`.

    Raises:
        DeviceNotFoundError: Another GPU comes first, or it cannot be told which of several kinds does: it is given
            by its UUID, or CUDA does not number by the bus. Says how to put the target first.
    """
    absent = isinstance(first, int) and first >= len(gpus)
    if not absent and all(is_device(target, gpu) for gpu in gpus):
        return
    index = next((number for number, gpu in enumerate(gpus) if is_device(target, gpu)), 0)
    cure = f"CUDA_VISIBLE_DEVICES={index}"
    if absent:
        seen = f"are shown GPU {first}, which is not there"
    elif order != "PCI_BUS_ID":
        seen, cure = f"go by CUDA_DEVICE_ORDER={order}", f"CUDA_DEVICE_ORDER=PCI_BUS_ID and {cure}"
    elif isinstance(first, str):
        seen = f"go by CUDA_VISIBLE_DEVICES={first}, which does not say which kind that is"
    elif is_device(target, gpus[first]):
        return
    else:
        seen = f"see {gpus[first].name} first"
    raise DeviceNotFoundError(
        f"target {target.name} is GPU {index} of this machine, but programs {seen}; set {cure} and run the same "
        "command again."
    )


def workload_of(setting: Setting, config: Any, seed: int = 0) -> Workload:
    """How a network of a super-network is run in a setting.

    Args:
        setting: The setting.
        config: Hugging Face configuration of the super-network.
        seed: Seed of the token ids.

    Raises:
        UnknownTargetError: The setting is of a target without facts.
    """
    return Workload(
        precision=setting.precision,
        batch=setting.batch,
        sequence_length=setting.sequence_length,
        threads=setting.threads,
        vocabulary=int(config.vocab_size),
        seed=seed,
        device=get_target(setting.target).kind,
    )


def other_settings(setting: Setting, settings: Sequence[Setting]) -> list[Setting]:
    """Those settings that ask for the same and differ in what a machine has: runtime, device, driver, protocol."""

    def asked(of: Setting) -> Setting:
        return replace(of, runtime_version="", fingerprint="", protocol="")

    return [other for other in settings if other != setting and asked(other) == asked(setting)]


def say_others(setting: Setting, table: LatencyTable) -> str | None:
    """What a table holds for other versions of the runtime, drivers, devices or protocols, in half a sentence.

    Returns:
        Such as `"it holds 28 rows of onnxruntime 1.30.0, but 1.31.1 is installed: numbers do not carry over"`; None
        if it holds none.
    """
    said = []
    for other in other_settings(setting, table.settings()):
        count = len(table.rows(other))
        if count == 0:
            continue
        if other.runtime_version != setting.runtime_version:
            held = f"{other.runtime} {other.runtime_version}, but {setting.runtime_version} is installed"
        elif other.fingerprint != setting.fingerprint:
            held = f"{other.fingerprint}, but this is {setting.fingerprint}"
        else:
            held = f"measuring protocol {other.protocol}, but this is {setting.protocol}"
        said.append(f"{count} row{'s' * (count != 1)} of {held}")
    return f"it holds {'; '.join(said)}: numbers do not carry over" if said else None
