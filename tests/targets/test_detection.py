"""Which device is which target, and what is said when it is not here."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import psutil
import pytest

from hwnas.errors import DeviceNotFoundError
from hwnas.targets import (
    Device,
    detect,
    detect_devices,
    fingerprint,
    get_target,
    is_device,
    load_targets,
    match_target,
    require_device,
)
from hwnas.targets.detection import cpuinfo_name

GPUS = [target for target in load_targets().values() if target.kind == "gpu"]


def gpu(name: str, capability: tuple[int, int] | None) -> Device:
    return Device("gpu", name, capability, "570.124.06", 24 * 2**30, "AMD EPYC 7R32", 8)


def test_the_processor_comes_first() -> None:
    device = detect_devices()[0]
    assert device.kind == "cpu"
    assert device.compute_capability is None
    assert device.driver is None
    assert device.name
    assert device.memory_bytes == psutil.virtual_memory().total
    assert device.cores == psutil.cpu_count()


def test_any_processor_is_the_target_cpu() -> None:
    device = detect_devices()[0]
    assert match_target(device) == get_target("cpu")
    assert require_device(get_target("cpu")) == device
    assert match_target(dataclasses.replace(device, name="some other processor")) == get_target("cpu")


@pytest.mark.parametrize("target", GPUS, ids=lambda target: target.name)
def test_every_alias_finds_its_target(target: object) -> None:
    found = get_target(target.name)  # type: ignore[attr-defined]
    for alias in found.aliases:
        assert match_target(gpu(alias, found.compute_capability)) == found
        older = alias.removeprefix("NVIDIA ")  # drivers before 465
        assert match_target(gpu(older, found.compute_capability)) == found


@pytest.mark.parametrize(
    ("name", "capability"),
    [
        ("NVIDIA A10", (8, 6)),
        ("NVIDIA A100-PCIE-40GB", (8, 0)),
        ("NVIDIA H100 PCIe", (9, 0)),
        ("NVIDIA L40", (8, 9)),
        ("NVIDIA GeForce RTX 4090 D", (8, 9)),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", (8, 9)),
        ("NVIDIA A100-SXM4-40GB (MIG)", (8, 0)),
        ("NVIDIA A10G", (8, 0)),
        ("NVIDIA A10G", None),
    ],
)
def test_a_board_with_other_facts_is_no_target(name: str, capability: tuple[int, int] | None) -> None:
    assert match_target(gpu(name, capability)) is None


def test_a_processor_is_no_gpu_and_the_reverse() -> None:
    a10g = gpu("NVIDIA A10G", (8, 6))
    assert is_device(get_target("a10g"), a10g)
    assert not is_device(get_target("cpu"), a10g)
    assert not is_device(get_target("a10g"), dataclasses.replace(a10g, kind="cpu"))


def test_a_missing_device_names_what_is_here_and_three_ways_out() -> None:
    found = detect()
    here = {target.name for target in GPUS if any(is_device(target, device) for device in found.devices)}
    target = next(target for target in GPUS if target.name not in here)
    with pytest.raises(DeviceNotFoundError) as caught:
        require_device(target)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"target {target.name} ({target.aliases[0]}) is not in this machine")
    for device in found.devices:
        assert device.name in message
    for way in ("on a machine with that device", "fleet", "estimate"):
        assert way in message
    assert (found.note or "") in message


@pytest.mark.skipif(detect().note is not None, reason="needs an NVIDIA GPU, its driver and nvidia-ml-py")
def test_gpus_as_nvml_lists_them() -> None:
    for device in detect_devices()[1:]:
        assert device.kind == "gpu"
        assert device.compute_capability is not None
        assert device.driver
        assert device.memory_bytes > 2**30
        target = match_target(device)
        if target is not None:
            assert require_device(target).name == device.name


def test_without_gpus_the_note_says_why() -> None:
    found = detect()
    assert (found.note is None) == any(device.kind == "gpu" for device in found.devices)


def test_a_fingerprint_is_the_same_in_every_process_and_costs_no_framework() -> None:
    code = (
        "import sys; from hwnas.targets import detect_devices, fingerprint;"
        "print(*map(fingerprint, detect_devices()), sep='\\n');"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'onnxruntime')))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [fingerprint(device) for device in detect_devices()]


def test_fingerprints() -> None:
    assert fingerprint(gpu("NVIDIA A10G", (8, 6))) == "NVIDIA A10G, compute capability 8.6, driver 570.124.06"
    cpu = Device("cpu", "AMD EPYC 7R32", None, None, 2**34, "AMD EPYC 7R32", 8)
    assert fingerprint(cpu) == "AMD EPYC 7R32, 8 logical cores"
    assert fingerprint(dataclasses.replace(cpu, memory_bytes=2**35)) == fingerprint(cpu)


def test_cpuinfo() -> None:
    x86 = "processor\t: 0\nmodel name\t: Intel(R) Xeon(R) CPU\n\nprocessor\t: 1\nmodel name\t: B\n"
    assert cpuinfo_name(x86) == "Intel(R) Xeon(R) CPU"
    arm = "processor\t: 0\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: 0xd40\n"
    assert str(cpuinfo_name(arm)).endswith("implementer 0x41 part 0xd40")
    assert cpuinfo_name("") is None
