"""What the options of `hwnas search` come to: devices with values of their own, and limits."""

from __future__ import annotations

import re

import pytest

from hwnas.cli.options import PRECISIONS, RUNTIMES
from hwnas.cli.search_options import read_increase, read_limits, read_requests
from hwnas.errors import UsageError
from hwnas.pipeline.reach import Request
from hwnas.profilers import profiler_names
from hwnas.profilers.base import PRECISIONS as BY_NAME
from hwnas.search.constraints import Limit


def test_devices_with_values_of_their_own() -> None:
    assert read_requests(None, None, None) == [Request("cpu")]
    assert read_requests(["cpu", "a10g", "cpu"], ["a10g=tensorrt"], ["fp32", "int8", "a10g=fp16"]) == [
        Request("cpu", ("fp32", "int8")),
        Request("a10g", ("fp16",), "tensorrt"),
    ]
    (named,) = read_requests(["cpu@Xeon"], ["onnxruntime"], None)
    assert (named.name, named.text, named.runtime) == ("cpu", "Xeon", "onnxruntime")
    with pytest.raises(UsageError, match="expected one runtime a device"):
        read_requests(["cpu"], ["torch", "onnxruntime"], None)
    with pytest.raises(UsageError, match="--precision l4=fp16: the devices asked for are cpu"):
        read_requests(["cpu"], None, ["l4=fp16"])


def test_limits() -> None:
    assert read_limits(None, None, None) == ()
    assert read_limits(["5ms", "cpu=10ms"], ["1GB"], ["2M", "a10g=10M"]) == (
        Limit("latency", 0.005),
        Limit("latency", 0.01, "cpu"),
        Limit("memory", 1e9),
        Limit("parameters", 2e6),
        Limit("parameters", 1e7, "a10g"),
    )


def test_the_limit_on_errors() -> None:
    assert read_increase(None) is None
    assert read_increase(["1%"]) == 0.01
    with pytest.raises(UsageError, match="--max-error-increase 1% and 2%: expected one limit"):
        read_increase(["1%", "2%"])


def test_help_names_every_runtime_and_precision() -> None:
    """Written down there, because the registries import libraries."""
    assert re.split(", | or ", PRECISIONS) == list(BY_NAME)
    assert re.split(", | or ", RUNTIMES) == list(profiler_names())
