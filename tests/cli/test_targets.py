"""`hwnas targets`: the list, one target, and what it says to a wrong word."""

from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner, Result

from hwnas.cli import targets
from hwnas.errors import UnknownTargetError, UsageError
from hwnas.targets import get_target, target_names

app = typer.Typer()
app.command("targets")(targets.targets)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.mark.parametrize("arguments", [(), ("list",)])
def test_lists_all(arguments: tuple[str, ...]) -> None:
    result = call(*arguments)
    assert result.exit_code == 0
    first = [line.split()[0] for line in result.stdout.splitlines()[1:-1]]
    assert first == list(target_names())
    assert "cpu *" in result.stdout


@pytest.mark.parametrize("arguments", [("a10g",), ("show", "a10g")])
def test_shows_one_with_its_source(arguments: tuple[str, ...]) -> None:
    result = call(*arguments)
    assert result.exit_code == 0
    text = " ".join(result.stdout.split())
    for part in (
        "NVIDIA A10G",
        "8.6",
        "24 GiB",
        "600 GB/s",
        "70 TFLOPS",
        "140 TOPS",
        "300 W",
        get_target("a10g").source,
    ):
        assert part in text


def test_unknown_facts_are_left_out() -> None:
    text = call("show", "cpu").stdout
    assert "any processor" in text
    for word in ("memory", "bandwidth", "power", "None"):
        assert word not in text.split("source")[0]


def test_json() -> None:
    every = json.loads(call("--json").stdout)["targets"]
    assert [entry["name"] for entry in every] == list(target_names())
    assert next(entry for entry in every if entry["name"] == "cpu")["here"] is True
    one = json.loads(call("show", "t4", "--json").stdout)
    assert one == next(entry for entry in every if entry["name"] == "t4")
    assert one["peak_tflops"] == {"fp32": 8.1, "fp16": 65.0, "int8": 130.0, "int4": 260.0}


def test_an_unknown_target_is_an_error() -> None:
    assert isinstance(call("a11g").exception, UnknownTargetError)


@pytest.mark.parametrize("arguments", [("show",), ("show", "a10g", "t4"), ("a10g", "t4")])
def test_too_few_or_many_words(arguments: tuple[str, ...]) -> None:
    error = call(*arguments).exception
    assert isinstance(error, UsageError)
    assert "hwnas targets show NAME" in str(error)
