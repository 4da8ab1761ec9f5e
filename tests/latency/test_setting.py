"""Settings that cannot be measured are refused before anything is exported."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from hwnas.errors import DeviceNotFoundError, ProfilerError, UnknownNameError, UsageError
from hwnas.latency.profile import make_setting, measure
from hwnas.latency.setting import check_first, check_here
from hwnas.latency.table import LatencyTable
from hwnas.spaces import Architecture
from hwnas.targets import Device, get_target


def test_a_precision_that_the_processor_lacks_is_refused_at_once() -> None:
    openvino = pytest.importorskip("openvino")
    has = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    lacking = [name for name, wanted in (("bf16", "BF16"), ("fp16", "FP16")) if wanted not in has]
    if not lacking:
        pytest.skip("this processor has every precision of OpenVINO")
    with pytest.raises(ProfilerError, match=f"no {lacking[0]} on this processor .it has .*FP32.*; use fp32 or int8"):
        make_setting("cpu", "openvino", lacking[0], 1, 8, 1)


def test_names_and_numbers_that_cannot_be() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown runtime 'foo'\. Known: bitsandbytes"):
        make_setting("cpu", "foo", "fp32", 1, 8, 1)
    with pytest.raises(UnknownNameError, match=r"unknown precision 'int3'; did you mean 'int8'\? Known"):
        make_setting("cpu", "onnxruntime", "int3", 1, 8, 1)
    with pytest.raises(ProfilerError, match="onnxruntime has no bf16 here; it has fp32"):
        make_setting("cpu", "onnxruntime", "bf16", 1, 8, 1)
    with pytest.raises(ProfilerError, match="tensorrt does not run on a cpu"):
        make_setting("cpu", "tensorrt", "fp16", 1, 8, 1)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot pin processes")
def test_no_more_threads_than_processors_that_may_be_used() -> None:
    """A container or `taskset` allows fewer than the machine has."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        with pytest.raises(UsageError, match=r"threads 2: hwnas may use 1 of this machine's processors; ask for"):
            make_setting("cpu", "onnxruntime", "fp32", 1, 8, 2)
        assert make_setting("cpu", "onnxruntime", "fp32", 1, 8, 1).threads == 1
    finally:
        os.sched_setaffinity(0, allowed)


def gpu(name: str, capability: tuple[int, int]) -> Device:
    return Device("gpu", name, capability, "570.1", 2**34, "some processor", 8)


def test_a_gpu_behind_another_one_is_not_measured_in_its_name() -> None:
    """On a machine with two kinds of GPU programs run on the first one that they see."""
    both, t4 = [gpu("NVIDIA A10G", (8, 6)), gpu("Tesla T4", (7, 5))], get_target("t4")
    said = r"GPU 1 .*see NVIDIA A10G first; set CUDA_VISIBLE_DEVICES=1"
    with pytest.raises(DeviceNotFoundError, match=said) as caught:
        check_first(t4, both, 0)
    assert "\n" not in str(caught.value)
    check_first(t4, both, 1)
    check_first(t4, both[::-1], 0)
    with pytest.raises(DeviceNotFoundError, match="GPU-8a5e, which does not say which kind that is; set CUDA_V"):
        check_first(t4, both, "GPU-8a5e")
    check_first(t4, both[1:] * 2, "GPU-8a5e")
    said = "DEVICE_ORDER=FASTEST_FIRST; set CUDA_DEVICE_ORDER=PCI_BUS_ID and CUDA_VISIBLE_DEVICES=1 and run"
    with pytest.raises(DeviceNotFoundError, match=said):
        check_first(t4, both, 1, "FASTEST_FIRST")
    check_first(t4, both[1:] * 2, 1, "FASTEST_FIRST")
    with pytest.raises(DeviceNotFoundError, match="are shown GPU 2, which is not there"):
        check_first(t4, both, 2)


def test_nothing_is_measured_in_the_setting_of_another_machine(bert, setting, tmp_path) -> None:
    """Such a setting comes with an imported table."""
    elsewhere = replace(setting, fingerprint="Neoverse-N1, 4 logical cores")
    with LatencyTable(tmp_path / "t.sqlite") as table:
        with pytest.raises(ProfilerError, match=r"is for Neoverse-N1, 4 logical cores, but this machine has "):
            measure(bert, [Architecture((4, 4), (64, 64))], elsewhere, table)
        assert table.settings() == []
    with pytest.raises(ProfilerError, match=r"onnxruntime 0\.1, but .* is installed"):
        check_here(replace(setting, runtime_version="0.1"))
    check_here(setting)
