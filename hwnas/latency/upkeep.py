"""Which entries of a latency table are to go, and how far two tables agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

from hwnas.errors import UsageError
from hwnas.latency.contents import with_fits
from hwnas.latency.entries import Entry, FailureEntry, FitEntry, MeasuredEntry, Selection
from hwnas.latency.records import Measured, Setting
from hwnas.profilers import TimingProtocol


@dataclass(frozen=True)
class Pruning:
    """What is to go: entries for which every condition given holds.

    Attributes:
        selection: Settings they are of.
        older_than: Days since they were measured.
        old_protocol: Measured by another version of the measuring protocol than this hwnas has.
        flagged: Measured rows with a flag that speaks of a disturbed device (`Measured.doubts`), or any flag with
            `any_flag`.
        any_flag: See `flagged`.
        failures: Failures, instead of measured rows.
    """

    selection: Selection = Selection()  # noqa: RUF009  # frozen
    older_than: float | None = None
    old_protocol: bool = False
    flagged: bool = False
    any_flag: bool = False
    failures: bool = False

    def choose(self, entries: Sequence[Entry], now: datetime | None = None) -> list[Entry]:
        """The entries that are to go, with the fits that stand on a row that goes.

        Args:
            entries: All of a table.
            now: The date that `older_than` counts from; None takes today's.

        Raises:
            UsageError: No condition was given, which would mean everything; or two that exclude each other.
        """
        if self == Pruning():
            raise UsageError(
                "prune: say what is to go: --older-than, --runtime-version, --old-protocol, --failures, --flagged, "
                "--any-flag, or a setting such as --target."
            )
        if self.failures and (self.flagged or self.any_flag):
            raise UsageError("prune: a failure has no flags; give --failures or --flagged, not both.")
        before = None
        if self.older_than is not None:
            try:
                before = (now or datetime.now(UTC)) - timedelta(days=self.older_than)
            except (OverflowError, ValueError) as error:
                raise UsageError(f"--older-than {self.older_than:g}: expected days, fewer than since year 1") from error
        ours = TimingProtocol().key().split(" ")[0]
        going = [entry for entry in entries if self._takes(entry, before, ours)]
        return going if self.failures else with_fits(going, entries)

    def _takes(self, entry: Entry, before: datetime | None, protocol: str) -> bool:
        flags: Sequence[str] = ()
        if isinstance(entry, MeasuredEntry):
            flags = entry.measured.flags if self.any_flag else tuple(entry.measured.doubts)
        return (
            isinstance(entry, FailureEntry if self.failures else MeasuredEntry)
            and self.selection.takes(entry.setting)
            and (before is None or datetime.fromisoformat(entry.date) < before)
            and not (self.old_protocol and entry.setting.protocol.split(" ")[0] == protocol)
            and (bool(flags) or not (self.flagged or self.any_flag))
        )


@dataclass(frozen=True)
class Pair:
    """One network in one setting, measured twice.

    Attributes:
        setting: The setting.
        network: Network key.
        first, second: The two measurements.
    """

    setting: Setting
    network: str
    first: Measured
    second: Measured

    @property
    def ratio(self) -> float:
        """Second latency / first."""
        return self.second.seconds / self.first.seconds

    @property
    def agree(self) -> bool:
        """Whether the two 95% intervals share a point."""
        return self.first.low <= self.second.high and self.second.low <= self.first.high

    @property
    def doubtful(self) -> bool:
        """Whether either was measured on a disturbed device."""
        return bool(self.first.doubts or self.second.doubts)


@dataclass(frozen=True)
class Comparison:
    """How far two tables agree.

    Attributes:
        pairs: Networks that both have in one setting.
        only_first, only_second: Measured rows that one of them has alone.
    """

    pairs: tuple[Pair, ...]
    only_first: int
    only_second: int

    def summary(self) -> dict[str, Any]:
        """Counts and shares over all pairs; shares and ratios are None without pairs."""
        sizes = [abs(pair.ratio - 1) for pair in self.pairs]
        sound = [pair for pair in self.pairs if not pair.doubtful]
        return {
            "pairs": len(self.pairs),
            "agree": sum(pair.agree for pair in self.pairs),
            "share": _share(self.pairs),
            "share_without_doubtful": _share(sound),
            "doubtful": len(self.pairs) - len(sound),
            "median_ratio": median(pair.ratio for pair in self.pairs) if self.pairs else None,
            "mean_difference": sum(sizes) / len(sizes) if sizes else None,
            "worst_difference": max(sizes, default=None),
            "only_first": self.only_first,
            "only_second": self.only_second,
        }

    def to_json(self) -> dict[str, Any]:
        """JSON types; seconds."""
        pairs = [
            {
                "setting": asdict(pair.setting),
                "network": pair.network,
                "first": _interval(pair.first),
                "second": _interval(pair.second),
                "ratio": pair.ratio,
                "agree": pair.agree,
                "doubtful": pair.doubtful,
            }
            for pair in self.pairs
        ]
        return {"summary": self.summary(), "pairs": pairs}


def compare(first: Sequence[Entry], second: Sequence[Entry]) -> Comparison:
    """Compare the measured rows of two tables, those of the same setting and network."""
    left, right = _rows(first), _rows(second)
    pairs = tuple(Pair(*key, row, right[key]) for key, row in left.items() if key in right)
    return Comparison(pairs, len(left) - len(pairs), len(right) - len(pairs))


def counts(entries: Sequence[Entry]) -> dict[str, int]:
    """How many rows, failures and fits there are among entries."""
    kinds: Mapping[str, type] = {"rows": MeasuredEntry, "failures": FailureEntry, "fits": FitEntry}
    return {name: sum(isinstance(entry, kind) for entry in entries) for name, kind in kinds.items()}


def _rows(entries: Sequence[Entry]) -> dict[tuple[Setting, str], Measured]:
    return {(e.setting, e.network): e.measured for e in entries if isinstance(e, MeasuredEntry)}


def _share(pairs: Sequence[Pair]) -> float | None:
    return sum(pair.agree for pair in pairs) / len(pairs) if pairs else None


def _interval(row: Measured) -> dict[str, Any]:
    return {"seconds": row.seconds, "low": row.low, "high": row.high, "flags": list(row.flags), "date": row.date}
