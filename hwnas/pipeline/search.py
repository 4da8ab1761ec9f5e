"""The third station: from a trained super-network and latency tables to a front for every device."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from hwnas.compile.export import check_length
from hwnas.errors import NoMemberError, ProfilerError, RunFolderError, UsageError
from hwnas.latency.records import Setting
from hwnas.latency.table import LatencyTable
from hwnas.models import get_family
from hwnas.pipeline.baseline import baselines_beside
from hwnas.pipeline.compare import drop_overview, write_overview
from hwnas.pipeline.device import Device, check_estimated, tell_apart
from hwnas.pipeline.folder import RunFolder
from hwnas.pipeline.fronts import about_search, front_of_device
from hwnas.pipeline.judge import Judge
from hwnas.pipeline.members import Outcome, Workshop
from hwnas.pipeline.progress import Progress, silent
from hwnas.pipeline.reach import ESTIMATE, check_together, estimate_setting
from hwnas.pipeline.refine import Refinement, is_measurable
from hwnas.pipeline.search_options import (
    MEASURED_DURING,
    SearchOptions,
    device_name,
    narrowed,
    overview_name,
    search_name,
)
from hwnas.pipeline.spec import RunSpec
from hwnas.pipeline.train import SuperNet, load_data, load_supernet
from hwnas.report.plot import plot_all
from hwnas.search.cache import EvaluationCache
from hwnas.search.constraints import limits_of
from hwnas.search.experiment import write_front_experiment
from hwnas.search.front import Front, write_front
from hwnas.search.search import VALIDATION, Point, search_points
from hwnas.search.searcher import EXHAUSTIVE, Searcher, get_searcher
from hwnas.search.steering import Steered
from hwnas.spaces import Architecture, Space
from hwnas.tasks import worst_error
from hwnas.training.pretrained import load_config

__all__ = [
    "ESTIMATE",
    "SearchOptions",
    "Searched",
    "check_searcher",
    "estimate_setting",
    "search_devices",
    "search_name",
    "search_run",
]


@dataclass(frozen=True)
class Searched:
    """What a search gave.

    Attributes:
        fronts: One a device.
        places: Where each was written.
        overview: Where the fronts are side by side; None for one device.
    """

    fronts: tuple[Front, ...]
    places: tuple[Path, ...]
    overview: Path | None


def check_searcher(spec: RunSpec, options: SearchOptions) -> None:
    """Check that a method can search a run before the run is trained.

    Raises:
        UsageError: There is nothing to search, or more than the method can go through.
        ModelError: The model cannot be found or read.
    """
    config = load_config(spec.model)
    space = narrowed(spec.make_space(get_family(config).dimensions(config)), options.align)
    get_searcher(options.searcher, space, objectives=2, evaluations=options.evaluations, seed=options.seed)


def search_run(
    folder: RunFolder,
    setting: Setting | Sequence[Setting],
    table: LatencyTable,
    options: SearchOptions,
    *,
    supernet: SuperNet | None = None,
    progress: Progress | None = None,
) -> Front:
    """`search_devices` for one device; its front."""
    return search_devices(folder, [setting], table, options, supernet=supernet, progress=progress).fronts[0]


def search_devices(
    folder: RunFolder,
    devices: Sequence[Setting | Sequence[Setting]],
    table: LatencyTable,
    options: SearchOptions,
    *,
    names: Sequence[str] | None = None,
    supernet: SuperNet | None = None,
    progress: Progress | None = None,
) -> Searched:
    """Search a run's super-network once for several devices, and write front and pictures of each.

    The error of an architecture is found once, whatever it is judged for. Members are measured on the devices that are
    here. A search that was killed goes on where it was and ends with the same fronts, but for rows with doubts that
    were measured during it: with `options.remeasure` they are measured once more, and may say something else then.

    Args:
        folder: The run.
        devices: Where and how members are measured, for each device. Several settings, alike but for the precision,
            search all precisions into one front. Latencies in a setting of another machine are predicted, those in one
            of `estimate_setting` estimated, and neither is measured.
        table: The latency table; it must hold a profile of each setting for the objectives and limits that need one.
        options: How to search.
        names: What each device is called where it is asked for, such as `cpu` and `cpu@graviton`: limits for one device
            name it so. None for names of targets.
        supernet: The loaded super-network, if it is at hand.
        progress: Called as the work goes on.

    Raises:
        TableError: The table holds no profile for this network and a setting, or no values of an objective.
        RunFolderError: The run has no super-network, or cannot be written.
        UsageError: Settings that cannot be searched together, an objective that they do not have, or more tokens than
            the model has positions for.
        ProfilerError: The runtime refuses the unpruned network, or all that could be members.
        NoMemberError: Limits that nothing can meet, or that nothing evaluated meets; names what comes nearest. The
            fronts of devices whose limits are met have been written then.
    """
    say = progress or silent
    called: list[str | None] = [None] * len(devices) if names is None else [*names]
    plans = [_checked(entry, options, name) for entry, name in zip(devices, called, strict=True)]
    supernet = supernet or load_supernet(folder)
    for plan in plans:
        check_length(supernet.model, next(iter(plan.values())).sequence_length)
    supernet = replace(supernet, space=narrowed(supernet.space, options.align))
    space, whole = supernet.space, Architecture.full(supernet.space.dimensions)
    made = [
        Device(plan, options.costs, options.limits, supernet.model.config, table, name)
        for plan, name in zip(plans, called, strict=True)
    ]
    options = _for_devices(options, made)
    for device in made:
        device.check_reachable(space)
    task = load_data(folder)
    judge = Judge(supernet, task, folder.spec().max_length, options.examples, options.seed)
    during = options.measure_during
    if during is None:
        during = MEASURED_DURING if any(map(is_measurable, made)) else 0
    refinement = Refinement(supernet, made, table, judge, during, say, options.seed, options.remeasure)
    with EvaluationCache(folder.search / f"evaluations-{judge.digest}.jsonl", judge.about) as cache:
        workshops = [
            Workshop(
                supernet, device, table, judge, cache, say, options.seed, options.max_error_increase, options.remeasure
            )
            for device in made
        ]
        reference = None if whole in space else judge.known_error(whole, cache)
        searcher = _searcher(
            made, space, options, refinement, reference, {whole, space.largest()}, worst_error(task.metric)
        )
        keyed = {
            f"{number} {precision}": _Cost(device, precision)
            for number, device in enumerate(made)
            for precision in device.settings
        }
        found = search_points(
            searcher,
            keyed,
            judge.validation_error,
            cache,
            evaluations=options.evaluations,
            quantised=lambda key: keyed[key].device.quantised(keyed[key].precision),
            progress=lambda done, total, text: say("search", done, total, text),
        )
        if isinstance(searcher, Steered):
            refinement(searcher.found, refinement.most)
        error = judge.known_error(whole, cache)
        outcomes: list[Outcome | NoMemberError | ProfilerError] = []
        for number, workshop in enumerate(workshops):
            try:
                outcomes.append(workshop.outcome(_own(found, number, workshop, error), options.max_members))
            except (NoMemberError, ProfilerError) as failure:  # the fronts of other devices are not lost
                outcomes.append(failure)
    labels = [device.label for device in made] if len(made) > 1 else []
    searches = [device_name(options, device, labels) for device in made]
    shared = about_search(folder, supernet, task, judge, options)
    if isinstance(searcher, Steered) and searcher.skipped:
        shared["not_evaluated"] = searcher.skipped
    if refinement.most:
        shared["measured_during"] = refinement.measured
    if labels:
        shared["targets"] = [
            {"device": label, "search": name}
            for label, name, outcome in zip(labels, searches, outcomes, strict=True)
            if isinstance(outcome, Outcome)
        ]
    seconds = partial(cache.seconds, VALIDATION)
    fronts, places = [], []
    for workshop, outcome, name in zip(workshops, outcomes, searches, strict=True):
        if isinstance(outcome, Outcome):
            fronts.append(front_of_device(workshop, shared, outcome))
            places.append(folder.front(name))
    together = folder.front(overview_name(options, made))
    overview = together if len(fronts) > 1 else None
    try:
        if labels:
            drop_overview(together)
        for front, place in zip(fronts, places, strict=True):
            write_front(front, place)
            write_front_experiment(front, place, seconds, created=time.time())
            plot_all(front, place, baselines_beside(folder, front))
        if overview is not None:
            write_overview(fronts, overview)
    except OSError as failure:
        raise RunFolderError(f"cannot write to {folder.search} ({failure.strerror}).") from failure
    failures = [outcome for outcome in outcomes if not isinstance(outcome, Outcome)]
    if failures:
        there = [f"The front of {front.label} is in {place}." for front, place in zip(fronts, places, strict=True)]
        raise type(failures[0])(" ".join([*map(str, failures), *there])) from failures[0]
    return Searched(tuple(fronts), tuple(places), overview)


class _Cost:
    """The first cost on a device in a precision, as `search_points` asks for it."""

    def __init__(self, device: Device, precision: str) -> None:
        self.device, self.precision = device, precision
        about = device.objectives()[0]
        self.name, self.unit, self.provenance = about["name"], about["unit"], about["provenance"]

    def __call__(self, arch: Architecture) -> float:
        return self.device.costs(arch, self.precision)[0]


def _searcher(
    devices: Sequence[Device],
    space: Space,
    options: SearchOptions,
    refinement: Refinement,
    reference: float | None,
    always: set[Architecture],
    worst: float,
) -> Searcher:
    """The searcher; as it is where there is one cost and no condition, else told more, and steered."""
    told = _told(devices)
    inner = get_searcher(
        options.searcher, space, objectives=1 + len(told(space.smallest())), evaluations=options.evaluations,
        seed=options.seed,
    )  # fmt: skip
    limited = options.limits or options.max_error_increase is not None
    if len(told(space.smallest())) == 1 and not limited and not refinement.most:
        return inner
    steered: Steered

    def pause() -> None:
        refinement(steered.found, -(-refinement.most // 2))

    steered = Steered(
        inner,
        space,
        told,
        excess=lambda arch: min(device.excess(arch) for device in devices),
        max_error_increase=options.max_error_increase,
        reference=reference,
        always=always,
        pauses={max(3, options.evaluations // 2): pause} if refinement.most else None,
        seed=options.seed,
        worst=worst,
        patient=options.searcher == EXHAUSTIVE,
    )
    return steered


def _told(devices: Sequence[Device]) -> Callable[[Architecture], list[float]]:
    """The costs that a searcher is told: those of every device, what does not depend on the device once."""

    def costs(arch: Architecture) -> list[float]:
        found: dict[tuple[int, str], float] = {}
        for number, device in enumerate(devices):
            for name, value in device.lowest(arch).items():
                found[0 if name == "parameters" else number, name] = value
        return list(found.values())

    return costs


def _own(found: Sequence[Point], number: int, workshop: Workshop, error: float) -> list[Point]:
    """The points of one device at the costs that are known by now, the unpruned network among them.

    Args:
        found: The points of all devices.
        number: Which device.
        workshop: The device's.
        error: Validation error of the unpruned network as a view.
    """
    device, first = workshop.device, workshop.device.first.precision
    points = []
    for point in found:
        owner, _, precision = point.precision.partition(" ")
        if int(owner) == number:
            cost = device.costs(point.architecture, precision)[0]
            points.append(replace(point, precision=precision, cost=cost))
    if not any(workshop.is_whole(point) for point in points):
        whole = workshop.whole
        points.append(Point(whole, error, device.costs(whole, first)[0], first, device.quantised(first)))
    return points


def _checked(setting: Setting | Sequence[Setting], options: SearchOptions, called: str | None) -> dict[str, Setting]:
    """Settings of a device by precision, the first one first; whatever cannot be searched is refused."""
    settings = check_together([setting] if isinstance(setting, Setting) else list(setting))
    first = next(iter(settings.values()))
    if len(settings) > 1 and options.costs == ("parameters",):
        raise UsageError(
            "--objective parameters with several precisions: a network has as many parameters in each; expected one "
            "--precision, or --objective latency or memory."
        )
    if first.runtime == ESTIMATE:
        check_estimated(options.costs, limits_of(options.limits, (called or first.target,)))
    return settings


def _for_devices(options: SearchOptions, devices: Sequence[Device]) -> SearchOptions:
    """The options, with limits for one device under its label, which can stand in the name of a folder.

    Raises:
        UsageError: Devices that are the same, or a limit for a device that is none of them.
    """
    tell_apart(devices)
    labels = {device.called: device.label for device in devices}
    for limit in options.limits:
        if limit.target is not None and not any(limit in device.limits for device in devices):
            raise UsageError(f"{limit.option} is for {limit.target}, but the search is for {', '.join(labels)}.")
    return replace(
        options,
        limits=tuple(
            replace(limit, target=labels.get(limit.target, limit.target)) if limit.target else limit
            for limit in options.limits
        ),
    )
