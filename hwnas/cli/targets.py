"""`hwnas targets`: the devices that hwnas knows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from hwnas.cli.console import out, print_json
from hwnas.cli.options import Json
from hwnas.errors import UsageError

if TYPE_CHECKING:
    from hwnas.targets import Target


def targets(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[list | show NAME | NAME]", help="Nothing or 'list' lists, a name shows its facts."),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the devices that can be a --target, or show the facts of one and the datasheet they come from.

    `hwnas targets` lists them, `hwnas targets a10g` (or `show a10g`) shows one. Memory is in GiB, bandwidth in
    10^9 bytes per second, peak rates in 10^12 dense operations per second. What a datasheet does not say is left
    out. A star marks the devices of this machine. A GPU is found with the extra 'nvidia'; `hwnas doctor` says more.
    """
    name = _wanted(words or [])
    from hwnas.targets import detect_devices, get_target, is_device, load_targets

    shown = list(load_targets().values()) if name is None else [get_target(name)]
    devices = detect_devices()
    here = {target.name for target in shown if any(is_device(target, device) for device in devices)}
    facts = [{**target.to_json(), "here": target.name in here} for target in shown]
    if as_json:
        print_json({"targets": facts} if name is None else facts[0])
    elif name is None:
        _print_list(shown, here)
    else:
        _print_facts(shown[0], bool(here))


def _wanted(words: list[str]) -> str | None:
    """The one target to show, or None to list them."""
    if words in ([], ["list"]):
        return None
    if len(words) == 1 and words[0] != "show":
        return words[0]
    if len(words) == 2 and words[0] == "show":
        return words[1]
    raise UsageError(
        f"'hwnas targets {' '.join(words)}': expected 'hwnas targets', 'hwnas targets list' or "
        "'hwnas targets show NAME'."
    )


def _print_list(shown: Iterable[Target], here: set[str]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("target", no_wrap=True)
    table.add_column("device", no_wrap=True)
    for title in ("capability", "GiB", "GB/s", "fp32", "fp16", "int8"):
        table.add_column(title, justify="right")
    for target in shown:
        capability = target.compute_capability
        table.add_row(
            f"{target.name}{' *' if target.name in here else ''}",
            target.aliases[0].removeprefix("NVIDIA ") if target.aliases else "any processor",
            "" if capability is None else f"{capability[0]}.{capability[1]}",
            *(_number(value) for value in (target.memory_gib, target.bandwidth_gb_s)),
            *(_number(target.peak_tflops.get(kind)) for kind in ("fp32", "fp16", "int8")),
        )
    out.print(table)
    out.print("fp32, fp16, int8: peak dense rates in TFLOPS (TOPS).  * a device of this machine", style="dim")


def _print_facts(target: Target, here: bool) -> None:
    capability = target.compute_capability
    rows: list[tuple[str, str]] = [
        ("target", target.name),
        ("in this machine", "yes" if here else "no"),
        ("names", ", ".join(target.aliases) or "any processor"),
        ("vendor", target.vendor),
        ("kind", target.kind),
        ("compute capability", "" if capability is None else f"{capability[0]}.{capability[1]}"),
        ("multiprocessors", _number(target.sms)),
        ("memory", _number(target.memory_gib, " GiB")),
        ("bandwidth", _number(target.bandwidth_gb_s, " GB/s")),
        *((f"peak {kind}", _number(rate, _unit(kind))) for kind, rate in target.peak_tflops.items()),
        ("power", _number(target.tdp_w, " W")),
        ("Ray accelerator", target.ray_accelerator or ""),
        ("source", target.source),
    ]
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for title, value in rows:
        if value:
            table.add_row(title, value)
    out.print(table)


def _unit(kind: str) -> str:
    return " TOPS" if kind.startswith("int") else " TFLOPS"


def _number(value: float | None, unit: str = "") -> str:
    """Without trailing zeros; nothing if unknown."""
    return "" if value is None else f"{value:,.10g}{unit}"
