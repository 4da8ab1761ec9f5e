"""From the points of a search to the members of a front: extracted, measured in their own precision, tested."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hwnas.errors import HwnasError, NoMemberError, ProfilerError
from hwnas.latency.job import Wanted
from hwnas.latency.keys import network_key
from hwnas.latency.measure import measure_networks
from hwnas.latency.records import Measured
from hwnas.latency.table import LatencyTable
from hwnas.pipeline.device import Device
from hwnas.pipeline.judge import TEST, VIEW, Judge
from hwnas.pipeline.progress import Progress
from hwnas.pipeline.reach import MEASURED
from hwnas.pipeline.train import SuperNet
from hwnas.search.cache import EvaluationCache
from hwnas.search.constraints import show, show_increase
from hwnas.search.front import Latency, Member
from hwnas.search.pareto import non_dominated, thin
from hwnas.search.search import Point, settle
from hwnas.slicing.extract import extract, parameter_count
from hwnas.spaces import Architecture

ROUNDS = 3
"""Times that members beyond a limit when measured are replaced by others, before they are only left out."""


@dataclass(frozen=True)
class Outcome:
    """What a search came to on one device.

    Attributes:
        points: Its points, those on the front with their true errors.
        members: Members of the front by rising latency.
        unpruned: The whole network.
        beyond: Points that broke a limit when they were measured, with what was measured.
        refused: Points that could not be measured, or not run in their precision, and why.
    """

    points: tuple[Point, ...]
    members: tuple[Member, ...]
    unpruned: Member
    beyond: Mapping[Point, Latency]
    refused: Mapping[Point, str]


@dataclass(frozen=True)
class Workshop:
    """What turns points into members of one device's front.

    Attributes:
        supernet: The super-network.
        device: Costs and limits there.
        table: The latency table.
        judge: Finds errors.
        cache: Keeps errors.
        say: Progress.
        seed: Seed of measurements.
        max_error_increase: Most that a validation error may exceed the unpruned network's; None for no limit.
        remeasure: Whether rows taken while the device was disturbed are measured again.
    """

    supernet: SuperNet
    device: Device
    table: LatencyTable
    judge: Judge
    cache: EvaluationCache
    say: Progress
    seed: int
    max_error_increase: float | None = None
    remeasure: bool = True

    @property
    def whole(self) -> Architecture:
        """The unpruned network."""
        return Architecture.full(self.supernet.space.dimensions)

    def is_whole(self, point: Point) -> bool:
        """Whether a point is the unpruned network that speed-ups refer to."""
        return point.architecture == self.whole and point.precision == self.device.first.precision

    def front(self, points: Sequence[Point], without: Collection[Point] = ()) -> list[Point]:
        """The points that no other dominates in error and costs, among those that can meet the limits; by first cost.

        The unpruned network is one of them only if it is in the space.
        """
        able = [point for point in self._able(points) if point not in without]
        values = [(*self.device.costs(point.architecture, point.precision), point.error) for point in able]
        chosen = non_dominated(values)
        return sorted((point for point, on in zip(able, chosen, strict=True) if on), key=lambda point: point.cost)

    def settle(self, points: list[Point], without: Collection[Point], refused: dict[Point, str]) -> list[Point]:
        """The points with the true errors of all that are on the front without some, and of the whole network.

        Args:
            points: The points.
            without: Some that are off the front.
            refused: Takes those that the runtime refuses in their precision, which are left out, and why.
        """

        def evaluate(point: Point) -> float:
            (error,) = self.judge.artifact_errors(
                point.architecture,
                self.device.settings[point.precision],
                self.cache,
                module=lambda: extract(self.supernet.model, point.architecture),
            )
            return error

        return settle(
            points,
            evaluate,
            always=self.is_whole,
            front=lambda points: self.front(points, without),
            refused=lambda point, failure: refused.update({point: str(failure)}),
            progress=lambda done, total, text: self.say("run in precision", done, total, text),
        )

    def outcome(self, points: list[Point], keep: int) -> Outcome:
        """Settle, extract, measure and test the front and the whole network; the front again, by what was measured.

        What breaks a limit when it is measured, and what the runtime refuses, leaves. Others take its place, and get
        their true errors and are measured too.

        Args:
            points: All points of the device.
            keep: Most members.

        Raises:
            NoMemberError: Nothing that was evaluated meets the limits; names what comes nearest.
            ProfilerError: The runtime refuses the whole network, or all that could be members.
        """
        beyond: dict[Point, Latency] = {}
        refused: dict[Point, str] = {}
        points = self.settle(points, (), refused)
        whole = next(point for point in points if self.is_whole(point))
        for replaced in range(ROUNDS + 1):
            front = self.front(points, without={*beyond, *refused})
            if not front:
                raise self._none(points, whole, beyond, refused)
            costs = [(*self.device.costs(point.architecture, point.precision), point.error) for point in front]
            front = [front[index] for index in thin(costs, keep)]
            chosen = front if whole in front else [*front, whole]
            modules = {
                arch: extract(self.supernet.model, arch)
                for arch in dict.fromkeys(point.architecture for point in chosen)
            }
            latencies, failures = self._latencies(chosen, modules)
            if whole in failures:
                raise ProfilerError(f"the unpruned network could not be measured: {failures[whole]}")
            refused |= failures
            broken = {
                point: latencies[point]
                for point in front
                if point not in refused and self.device.is_beyond(point.architecture, point.precision, latencies[point])
            }
            if not broken and not failures:
                break
            beyond |= broken
            points = self.settle(
                points, {*beyond, *refused}, refused
            )  # what they dominated comes up, and may be stand-ins
            if replaced == ROUNDS:
                break
        front = [point for point in front if point not in beyond and point not in refused]
        if not front:
            raise self._none(points, whole, beyond, refused)
        chosen = front if whole in front else [*front, whole]
        members = []
        for number, point in enumerate(chosen):
            self.say("test", number, len(chosen), f"{point.precision}: {point.architecture}")
            members.append(self._member(point, modules[point.architecture], latencies[point]))
        kept = [
            member for member, on in zip(members, non_dominated(self._final(members[: len(front)])), strict=False) if on
        ]
        return Outcome(
            points=tuple(points),
            members=tuple(sorted(kept, key=lambda member: (member.latency.seconds, member.cost))),
            unpruned=members[chosen.index(whole)],
            beyond=beyond,
            refused=refused,
        )

    def _none(
        self, points: Sequence[Point], whole: Point, beyond: Mapping[Point, Latency], refused: Mapping[Point, str]
    ) -> HwnasError:
        """The error that says why there is no member."""
        if refused and not beyond:
            point, reason = next(iter(refused.items()))
            return ProfilerError(
                f"{len(refused)} networks of the front could not be run on {self.device.label}, and no other is left; "
                f"the first, {point.architecture} in {point.precision}: {reason}"
            )
        return NoMemberError(self._nearest(points, whole, beyond))

    def _able(self, points: Sequence[Point]) -> list[Point]:
        """The points that can be members: in the space, and within the limits as far as is known."""
        able = list(points)
        if self.whole not in self.supernet.space:
            able = [point for point in able if point.architecture != self.whole]
        if self.device.limits:
            able = [point for point in able if self.device.excess(point.architecture, point.precision) == 0]
        if self.max_error_increase is not None:
            most = next(point.error for point in points if self.is_whole(point)) + self.max_error_increase + 1e-12
            able = [point for point in able if point.error <= most]
        return able

    def _final(self, members: Sequence[Member]) -> list[tuple[float, ...]]:
        """What decides which members stay: costs as they are known in the end, and the error."""
        if self.device.extended:
            return [(*member.costs.values(), member.validation_error) for member in members]
        timed = self.device.names == ("latency",)
        return [(member.latency.seconds if timed else member.cost, member.validation_error) for member in members]

    def _latencies(
        self, chosen: list[Point], modules: Mapping[Architecture, Any]
    ) -> tuple[dict[Point, Latency], dict[Point, str]]:
        """Latencies of points, measured in their own precision where the device is here; and what failed, and why."""
        found: dict[Point, Latency] = {}
        failed: dict[Point, str] = {}
        if self.device.how != MEASURED:
            return {point: self.device.latency(point.architecture, point.precision) for point in chosen}, failed
        config = self.supernet.model.config
        for precision, setting in self.device.settings.items():
            mine = [point for point in chosen if point.precision == precision]
            rows, _ = measure_networks(
                config,
                [Wanted(point.architecture, "member", modules[point.architecture]) for point in mine],
                setting,
                self.table,
                progress=lambda stage, done, total: self.say(stage, done, total, ""),
                seed=self.seed,
                remeasure=self.remeasure,
                calibration=self.judge.calibration(setting),
            )
            for point in mine:
                row = rows[network_key(config, point.architecture)]
                if isinstance(row, Measured):
                    found[point] = row
                else:
                    failed[point] = f"{row.stage}: {row.reason}"
        return found, failed

    def _member(self, point: Point, module: Any, latency: Latency) -> Member:
        arch, precision = point.architecture, point.precision
        if self.device.quantised(precision):
            setting = self.device.settings[precision]
            (test_error,) = self.judge.artifact_errors(arch, setting, self.cache, splits=(TEST,), module=lambda: module)
            judged_in = f"{setting.runtime} {precision}"
        else:
            test_error = self.judge.test_error(arch, module, self.cache)
            judged_in = VIEW
        values = self.device.final(self.device.values(arch, precision), latency) if self.device.extended else {}
        return Member(
            architecture=arch,
            validation_error=point.error,
            test_error=test_error,
            latency=latency,
            predicted=self.device.predicted(arch, precision),
            parameters=parameter_count(module),
            cost=point.cost,
            precision=precision,
            judged_in=judged_in,
            costs={name: values[name] for name in self.device.names} if values else {},
        )

    def _nearest(self, points: Sequence[Point], whole: Point, beyond: Mapping[Point, Latency]) -> str:
        """Why there is no member, and what comes nearest."""
        device, limits = self.device, " and ".join(limit.option for limit in self.device.limits)
        within = [
            point for point in points if point not in beyond and device.excess(point.architecture, point.precision) == 0
        ]
        if within and self.max_error_increase is not None:
            best = min(within, key=lambda point: point.error)
            increase = best.error - whole.error
            also = f" among those that meet {limits}" if limits else ""
            said = " in float32" if best.stand_in else ""
            return (
                f"no evaluated network meets --max-error-increase {show_increase(self.max_error_increase)} on "
                f"{device.label}; the nearest{also} is {best.architecture}, whose validation error{said} is "
                f"{increase:+.4f} against the unpruned network's: ask for {show_increase(increase)} or more, loosen "
                "the other limits, or raise --evaluations."
            )
        if not beyond:
            return f"no evaluated network meets {limits} on {device.label}; raise --evaluations, or loosen the limits."
        ends = {
            point: device.final(device.values(point.architecture, point.precision), latency)
            for point, latency in beyond.items()
        }
        shares = {
            point: max(device.limits, key=lambda limit, costs=costs: costs[limit.cost] / limit.most)  # type: ignore[misc]
            for point, costs in ends.items()
        }
        best = min(ends, key=lambda point: ends[point][shares[point].cost] / shares[point].most)
        limit = shares[best]
        return (
            f"no evaluated network meets {limits} on {device.label} when it is measured; the nearest, "
            f"{best.architecture}, has a {limit.cost} of {show(limit.cost, ends[best][limit.cost], up=True)}: ask for "
            "that or more, or raise --evaluations."
        )
