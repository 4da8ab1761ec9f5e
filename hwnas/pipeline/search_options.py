"""How to search, and the names of the folders that searches are written to."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from hwnas.errors import UsageError
from hwnas.latency.records import Setting
from hwnas.pipeline.device import Device
from hwnas.pipeline.reach import PREDICTED
from hwnas.search.constraints import Limit, parse_limit, show, show_increase
from hwnas.search.objectives import cost_names
from hwnas.search.searcher import require_searcher
from hwnas.spaces import BoundedSpace, Space, get_space
from hwnas.spaces.align import ANY, Align

_USUAL = "onnxruntime"
"""The runtime that names of folders leave out."""

_LONGEST, _DIGEST = 200, 10
"""Bytes of a folder's name at most, of which file systems take 255, and letters of the digest that ends a cut one."""

MEASURED_DURING = 4
"""Networks that are measured during a search, unless another number is given."""

_WORDS = {"examples": "examples", "max_members": "members", "measure_during": "during"}
"""Options that a front depends on, and their words in names of folders, which leave out usual values."""


@dataclass(frozen=True)
class SearchOptions:
    """How to search.

    Attributes:
        objective: Name of the cost, or names of several: latency, memory, energy, parameters, engine-size.
        searcher: Name of the searcher.
        evaluations: Sub-networks to propose, the start designs included; at least 3.
        examples: Validation examples that each is judged on, drawn with the seed; 0 for all.
        max_members: Most members of the front to extract and measure; at least 2.
        seed: Seed of the searcher and of the examples.
        limits: Limits on costs that members meet, each for one device or for all.
        max_error_increase: Most that a member's validation error may exceed the unpruned network's; None for no limit.
        align: Steps of heads and units that narrow the run's space; None leaves it as it is.
        measure_during: Most networks to measure during the search. None takes `MEASURED_DURING` where the latency is
            among the costs and a device is in this machine, else 0.
        remeasure: Whether rows taken while the device was disturbed are measured again; see `measure`.

    Raises:
        UnknownNameError: No objective or searcher has that name.
        MissingExtraError: The searcher's library is not installed.
        UsageError: A number out of range.
    """

    objective: str | tuple[str, ...] = "latency"
    searcher: str = "local_search"
    evaluations: int = 100
    examples: int = 512
    max_members: int = 10
    seed: int = 0
    limits: tuple[Limit, ...] = ()
    max_error_increase: float | None = None
    align: tuple[int, int] | None = None
    measure_during: int | None = None
    remeasure: bool = True

    def __post_init__(self) -> None:
        cost_names(self.objective)
        require_searcher(self.searcher)
        if self.evaluations < 3:
            raise UsageError(f"--evaluations {self.evaluations}: expected 3 or more, the start designs.")
        if self.max_members < 2:
            raise UsageError(f"--max-members {self.max_members}: expected 2 or more.")
        if self.examples < 0:
            raise UsageError(f"--examples {self.examples}: expected 0 (all) or more.")
        if self.measure_during is not None and self.measure_during < 0:
            raise UsageError(f"--measure-during {self.measure_during}: expected 0 or more.")

    @property
    def costs(self) -> tuple[str, ...]:
        """Names of the costs, each once."""
        return cost_names(self.objective)


def search_name(
    options: SearchOptions,
    setting: Setting | Sequence[Setting],
    *,
    device: str | None = None,
    beside: Sequence[str] = (),
) -> str:
    """Name of a search's folder: the objectives, what it is for, and how it searched.

    Args:
        options: How.
        setting: What it is for.
        device: Name of the device where it is not the target's.
        beside: Names of all devices of the search, if there are several.
    """
    settings = [setting] if isinstance(setting, Setting) else list(setting)
    first, precisions = settings[0], "+".join(entry.precision for entry in settings)
    runtime = "" if first.runtime == _USUAL else f"{first.runtime}-"
    return _short(
        f"{'+'.join(options.costs)}-{device or first.target}-{runtime}{precisions}-b{first.batch}"
        f"-s{first.sequence_length}{_threads(settings)}-{options.searcher}-{options.evaluations}-seed{options.seed}"
        f"{_conditions(options, first)}{'-of-' + '+'.join(beside) if beside else ''}"
    )


def device_name(options: SearchOptions, device: Device, beside: Sequence[str]) -> str:
    """Name of the folder of one device's front; `beside` are the labels of all, if there are several."""
    where = f"{device.label}-predicted" if device.how == PREDICTED else device.label
    return search_name(options, list(device.settings.values()), device=where, beside=beside)


def overview_name(options: SearchOptions, devices: Sequence[Device]) -> str:
    """Name of the folder where the fronts of several devices are side by side."""
    first = devices[0].first
    settings = [setting for device in devices for setting in device.settings.values()]
    precisions = "+".join(dict.fromkeys(setting.precision for setting in settings))
    runtimes = "".join(f"{name}-" for name in dict.fromkeys(setting.runtime for setting in settings) if name != _USUAL)
    return _short(
        f"{'+'.join(options.costs)}-{'+'.join(device.label for device in devices)}-{runtimes}{precisions}"
        f"-b{first.batch}-s{first.sequence_length}{_threads(settings)}-{options.searcher}-{options.evaluations}"
        f"-seed{options.seed}{_conditions(options, first)}"
    )


def _short(name: str) -> str:
    """The name, cut where a file system would not take it; then it ends with a digest of the whole."""
    if len(name.encode()) <= _LONGEST:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGEST]
    return f"{name.encode()[: _LONGEST - _DIGEST - 1].decode(errors='ignore')}-{digest}"


def _threads(settings: Sequence[Setting]) -> str:
    """Of one inference, where some device takes more than one."""
    threads = max(setting.threads for setting in settings)
    return f"-t{threads}" if threads > 1 else ""


def _conditions(options: SearchOptions, setting: Setting) -> str:
    """What else tells a search's folder apart: options that are not as usual, steps and limits; empty without any."""
    rounds = setting.rounds()
    given = {word: (getattr(options, name), getattr(SearchOptions, name)) for name, word in _WORDS.items()}
    parts = [f"{word}-{value}" for word, (value, usual) in given.items() if value != usual]
    parts += [] if rounds is None else [f"rounds-{rounds}"]
    parts += [] if options.align is None else [f"align-{options.align[0]}-{options.align[1]}"]
    for limit in options.limits:
        where = f"{limit.target}-" if limit.target else ""
        shown = show(limit.cost, limit.most)
        if not math.isclose(parse_limit(limit.cost, shown).most, limit.most):  # it has more digits than are shown
            shown = f"{limit.most:.10g}"
        parts.append(f"max-{limit.cost}-{where}{shown.replace(' ', '')}")
    if options.max_error_increase is not None:
        parts.append(f"max-error-{show_increase(options.max_error_increase).replace('%', 'pc')}")
    return "".join(f"-{part}" for part in parts)


def narrowed(space: Space, align: Align | None) -> Space:
    """A space in steps, which are multiples of its own: the super-network was trained in no others.

    Args:
        space: The space of a run.
        align: Steps of heads and units; None leaves the space's.

    Raises:
        UsageError: The space has bounds, or no block is as wide as steps that are multiples of both.
    """
    if align is None:
        return space
    heads, units = (math.lcm(own, wanted) for own, wanted in zip(space.align, align, strict=True))
    if (heads, units) == space.align:
        return space
    if space.name == BoundedSpace.name:
        raise UsageError("--align: the bounded space of this run has steps of its own; leave --align out.")
    if heads > space.dimensions.heads or units > space.dimensions.units:
        own, wanted = (",".join(map(str, steps)) for steps in (space.align, align))
        common = (
            "" if space.align == ANY else f": the run has steps of {own}, and multiples of both are {heads},{units}"
        )
        raise UsageError(
            f"--align {wanted}{common}: a layer has {space.dimensions.heads} heads and {space.dimensions.units} units, "
            "so that steps leave nothing to choose; give smaller ones."
        )
    return get_space(space.name, space.dimensions, min_layers=space.min_layers, align=(heads, units))
