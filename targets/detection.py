"""Which devices this machine has, which targets they are, and how a latency names them.

GPUs are found through NVML (package nvidia-ml-py, extra `nvidia`). No framework is imported and no CUDA context is
made, so this is cheap and disturbs nothing that runs on the device.

NVML goes by the bus, CUDA by itself puts the fastest GPU first. Once GPUs are found, CUDA is told to go by the bus
too, in this process and those it starts, unless `CUDA_DEVICE_ORDER` is set; it is too late where CUDA runs already.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwnas.errors import DeviceNotFoundError
from hwnas.targets.loading import load_targets, normalise
from hwnas.targets.target import Device, Target

_DRIVER_TRACES = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg")  # the last one under WSL


@dataclass(frozen=True)
class Detection:
    """What was found.

    Attributes:
        devices: The processor, then the GPUs in NVML's order.
        note: Why no GPU is listed, or why it is unknown whether there is one; None if GPUs were found.
    """

    devices: tuple[Device, ...]
    note: str | None


def detect() -> Detection:
    """This machine's devices, and a word on GPUs if there are none in the list."""
    import psutil

    cores = psutil.cpu_count(logical=True) or 1
    memory = int(psutil.virtual_memory().total)
    model = _cpu_model()
    name = model or platform.machine() or "unknown"
    processor = Device("cpu", name, None, None, memory, model, cores)
    gpus, note = _gpus(processor)
    return Detection((processor, *gpus), note)


def detect_devices() -> list[Device]:
    """This machine's devices: the processor always, then its GPUs if nvidia-ml-py is installed."""
    return list(detect().devices)


def is_device(target: Target, device: Device) -> bool:
    """Whether a device is the target. Any processor is a target of kind cpu."""
    if target.kind != device.kind:
        return False
    if target.kind == "cpu":
        return True
    named = normalise(device.name) in {normalise(alias) for alias in target.aliases}
    return named and device.compute_capability == target.compute_capability


def match_target(device: Device) -> Target | None:
    """The target that a device is, or None: a board with other facts than a target's is not that target."""
    return next((target for target in load_targets().values() if is_device(target, device)), None)


def require_device(target: Target) -> Device:
    """The first device of this machine that is the target.

    Raises:
        DeviceNotFoundError: There is none; names what was found and the three ways out.
    """
    found = detect()
    for device in found.devices:
        if is_device(target, device):
            return device
    note = f"; {found.note}" if found.note else ""
    raise DeviceNotFoundError(
        f"target {target.name} ({target.aliases[0]}) is not in this machine: found {', '.join(map(str, found.devices))}"
        f"{note}. Three ways out: run the same command on a machine with that device (copy the run folder there, or "
        "measure there with --table and bring the table's file here); send it to a fleet (in a later version); "
        "estimate from its datasheet (--estimate), which is no measurement."
    )


def fingerprint(device: Device) -> str:
    """Short text that names a device in a latency table; the same in every process.

    A processor by its model name and logical cores, a GPU by its name, compute capability and driver.
    """
    if device.kind == "cpu":
        return f"{device.name}, {device.cores} logical cores"
    capability = ".".join(map(str, device.compute_capability)) if device.compute_capability else "unknown"
    return f"{device.name}, compute capability {capability}, driver {device.driver or 'unknown'}"


def _gpus(processor: Device) -> tuple[list[Device], str | None]:
    """GPUs as NVML lists them, else why there are none."""
    if importlib.util.find_spec("pynvml") is None:
        if sys.platform == "linux" and not any(Path(trace).exists() for trace in _DRIVER_TRACES):
            return [], "no NVIDIA driver is loaded"
        return [], "GPUs unknown: nvidia-ml-py is not installed, pip install 'hwnas[nvidia]'"
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return [], f"NVML finds no driver: {error}"
    try:
        gpus = [_gpu(pynvml, index, processor) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError as error:
        return [], f"NVML cannot list the GPUs: {error}"
    finally:
        pynvml.nvmlShutdown()
    if gpus:
        os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    return gpus, None if gpus else "NVML lists no GPU"


def _gpu(nvml: Any, index: int, processor: Device) -> Device:
    """One GPU. With MIG on, the name says so: a part of a device is not the device."""
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    name = _decoded(nvml.nvmlDeviceGetName(handle))
    try:
        if nvml.nvmlDeviceGetMigMode(handle)[0] == nvml.NVML_DEVICE_MIG_ENABLE:
            name += " (MIG)"
    except nvml.NVMLError:  # a device without MIG
        pass
    try:
        memory = int(nvml.nvmlDeviceGetMemoryInfo(handle).total)
    except nvml.NVMLError:  # a device that shares the machine's memory has none of its own to report
        memory = processor.memory_bytes
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    driver = _decoded(nvml.nvmlSystemGetDriverVersion())
    return Device("gpu", name, (int(major), int(minor)), driver, memory, processor.cpu_model, processor.cores)


def _decoded(value: str | bytes) -> str:
    """Older versions of the package return bytes."""
    return value.decode() if isinstance(value, bytes) else value


def _cpu_model() -> str | None:
    """Model name of the processor, with single spaces; None if the system does not say."""
    if sys.platform == "linux":
        name = cpuinfo_name(Path("/proc/cpuinfo").read_text(errors="replace"))
    elif sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        name = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    else:
        name = platform.processor()
    return " ".join((name or "").split()) or None


def cpuinfo_name(text: str) -> str | None:
    """Model name from the text of Linux' `/proc/cpuinfo`.

    ARM kernels print no name; there it is the numbers of the implementer and the part.
    """
    entries: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        entries.setdefault(key.strip(), value.strip())
    if entries.get("model name"):
        return entries["model name"]
    if "CPU implementer" in entries and "CPU part" in entries:
        return f"{platform.machine()} implementer {entries['CPU implementer']} part {entries['CPU part']}"
    return None
