"""Options of `hwnas search` alone, and what they come to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from hwnas.cli.options import PRECISIONS, RUNTIMES, option
from hwnas.errors import UsageError

if TYPE_CHECKING:
    from hwnas.pipeline.reach import Request
    from hwnas.search.constraints import Limit

_DEVICE, _SEARCH, _LIMITS = "Device", "Search", "Limits"


Objectives = Annotated[
    list[str] | None,
    option(
        "--objective",
        help="What to trade against the error: latency, memory, energy, parameters or engine-size. Given several "
        "times, the front is in the error and all of them. [default: latency]",
        panel=_SEARCH,
        show_default=False,
    ),
]
Targets = Annotated[
    list[str] | None,
    option(
        "--target",
        help="Device; `hwnas targets` lists them. Given several times, one search gives each a front. NAME@TEXT is the "
        "device of that target in the latency table whose fingerprint holds TEXT. [default: cpu]",
        panel=_DEVICE,
        show_default=False,
    ),
]
Runtimes = Annotated[
    list[str] | None,
    option(
        "--runtime",
        help=f"Runtime that runs and times the networks: {RUNTIMES}. TARGET=NAME for one device. "
        "[default: onnxruntime, and of a device elsewhere the one it was profiled with]",
        panel=_DEVICE,
        show_default=False,
    ),
]
Precisions = Annotated[
    list[str] | None,
    option(
        "--precision",
        help=f"Arithmetic of the networks: {PRECISIONS}, as the runtime has it. Given several times, precision and "
        "architecture are searched together; TARGET=NAME for one device. [default: fp32]",
        panel=_DEVICE,
        show_default=False,
    ),
]
Estimate = Annotated[
    bool,
    option(
        "--estimate",
        help="Do without the device: estimate latencies, measure none. --runtime and --threads do not count. With "
        "several devices, only those that are neither here nor profiled in the table.",
        panel=_DEVICE,
    ),
]
Compare = Annotated[
    bool, option("--compare", help="Say how the best architectures of the devices differ.", panel=_DEVICE)
]
Align = Annotated[
    str | None,
    option(
        "--align",
        help="Narrow the run's space to widths in steps: target, what the first --target likes in --precision; "
        "measured, the steps of its sweeps in the latency table; or two numbers, of heads and of units, such as 2,64.",
        panel=_SEARCH,
        show_default=False,
    ),
]
MeasureDuring = Annotated[
    int | None,
    option(
        "--measure-during",
        help="Measure at most so many networks during the search: those whose predicted interval leaves open whether "
        "they are on the front. [default: 4 where the device is in this machine and the latency an objective, else 0]",
        panel=_SEARCH,
        min=0,
        show_default=False,
    ),
]
MaxLatency = Annotated[
    list[str] | None,
    option(
        "--max-latency",
        help="Most a member may take, such as 5ms; TARGET=5ms for one device.",
        panel=_LIMITS,
        show_default=False,
    ),
]
MaxMemory = Annotated[
    list[str] | None,
    option(
        "--max-memory",
        help="Most peak memory of a member, such as 200MB; TARGET=200MB for one device.",
        panel=_LIMITS,
        show_default=False,
    ),
]
MaxParameters = Annotated[
    list[str] | None,
    option(
        "--max-parameters",
        help="Most parameters of a member, such as 10M; TARGET=10M for one device.",
        panel=_LIMITS,
        show_default=False,
    ),
]
MaxErrorIncrease = Annotated[
    list[str] | None,
    option(
        "--max-error-increase",
        help="Most that a member's validation error may exceed the unpruned network's: 1% or 0.01 is one point of "
        "accuracy.",
        panel=_LIMITS,
        show_default=False,
    ),
]


def read_requests(
    targets: Sequence[str] | None, runtimes: Sequence[str] | None, precisions: Sequence[str] | None
) -> list[Request]:
    """The devices that the options ask for.

    Raises:
        UsageError: `TARGET=...` of a device that is not asked for, or several runtimes for one.
    """
    from hwnas.pipeline.reach import Request

    names = list(dict.fromkeys(targets or ["cpu"]))
    by_runtime = _by_target("--runtime", runtimes or [], names)
    by_precision = _by_target("--precision", precisions or [], names)
    found = []
    for name in names:
        if len(by_runtime[name]) > 1:
            raise UsageError(f"--runtime {', '.join(by_runtime[name])} for {name}: expected one runtime a device.")
        found.append(
            Request(name, tuple(by_precision[name]) or ("fp32",), next(iter(by_runtime[name]), None))
        )  # fmt: skip
    return found


def read_limits(
    max_latency: Sequence[str] | None, max_memory: Sequence[str] | None, max_parameters: Sequence[str] | None
) -> tuple[Limit, ...]:
    """The limits on costs; UsageError if one cannot be read."""
    from hwnas.search.constraints import parse_limit

    given = {"latency": max_latency, "memory": max_memory, "parameters": max_parameters}
    return tuple(parse_limit(cost, text) for cost, texts in given.items() for text in texts or ())


def read_increase(max_error_increase: Sequence[str] | None) -> float | None:
    """The limit on errors, None without one; UsageError if it cannot be read, or if there are several."""
    from hwnas.search.constraints import parse_increase

    if not max_error_increase:
        return None
    if len(max_error_increase) > 1:
        raise UsageError(f"--max-error-increase {' and '.join(max_error_increase)}: expected one limit.")
    return parse_increase(max_error_increase[0])


def _by_target(option: str, values: Sequence[str], names: Sequence[str]) -> dict[str, list[str]]:
    """The values for each device: its own if it has some, else those for all; each once."""
    own: dict[str, list[str]] = {name: [] for name in names}
    shared = []
    for value in values:
        name, found, rest = value.rpartition("=")
        if not found:
            shared.append(value)
        elif name in own:
            own[name].append(rest)
        else:
            raise UsageError(f"{option} {value}: the devices asked for are {', '.join(names)}.")
    return {name: list(dict.fromkeys(mine or shared)) for name, mine in own.items()}
