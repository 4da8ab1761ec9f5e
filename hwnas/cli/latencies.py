"""How `hwnas table` prints settings, rows and comparisons; times in milliseconds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from hwnas.cli.console import out

if TYPE_CHECKING:
    from hwnas.latency.entries import Entry
    from hwnas.latency.records import Measured, Setting
    from hwnas.latency.table import Summary
    from hwnas.latency.upkeep import Comparison


def overview_table(summaries: Sequence[Summary], name: str) -> Table:
    """One line for each setting; a star marks settings with doubtful rows."""
    table = _table(name, "target", "device", "runtime", "precision")
    for column in ("batch", "tokens", "threads", "rows", "failed", "fit error\nmean, worst", "newest\n(UTC)"):
        table.add_column(column, justify="right")
    for summary in summaries:
        setting = summary.setting
        error = "-" if summary.mean_error is None else f"{summary.mean_error:.2%}, {summary.worst_error or 0:.2%}"
        table.add_row(
            escape(setting.target),
            escape(setting.fingerprint),
            escape(f"{setting.runtime} {setting.runtime_version}"),
            escape(setting.precision),
            str(setting.batch),
            str(setting.sequence_length),
            str(setting.threads),
            f"{summary.rows}{'*' if summary.doubtful else ''}",
            str(summary.failures),
            error,
            summary.date[:10],
        )
    if any(summary.doubtful for summary in summaries):
        table.caption, table.caption_justify = "* some rows were measured on a disturbed device", "left"
    return table


def print_rows(entries: Sequence[Entry]) -> None:
    """The measured rows of each setting, the fastest first, then its failures and fits."""
    from hwnas.latency.entries import FailureEntry, FitEntry, MeasuredEntry

    for setting, held in groupby(entries, key=lambda entry: entry.setting):
        here = list(held)
        rows = sorted((e for e in here if isinstance(e, MeasuredEntry)), key=lambda e: e.measured.seconds)
        measured = {entry.network for entry in rows}  # some failed at first
        many = len({_model(entry.network) for entry in rows}) > 1
        table = _table(_title(setting), "network", "role")
        for column in ("measured\n\\[ms]", "95% interval\n\\[ms]", "sequences\n\\[1/s]", "peak\n[MiB]"):
            table.add_column(column, justify="right", no_wrap=True)
        for column in ("flags", "date"):
            table.add_column(column)
        for entry in rows:
            row = entry.measured
            name = f"{_model(entry.network)}: {network_name(entry.network)}" if many else network_name(entry.network)
            table.add_row(
                escape(name),
                escape(entry.role),
                _milliseconds(row),
                f"{row.low * 1e3:.3f} to {row.high * 1e3:.3f}",
                f"{row.throughput(setting.batch):.1f}",
                "-" if row.peak_memory_bytes is None else f"{row.peak_memory_bytes / 2**20:.1f}",
                escape(", ".join(row.flags)),
                row.date[:10],
            )
        if any(entry.measured.doubts for entry in rows):
            table.caption, table.caption_justify = "* measured on a disturbed device", "left"
        out.print(table)
        for item in here:
            if isinstance(item, FailureEntry) and item.network not in measured:
                told = f"{item.failure.stage}: {item.failure.reason}"
                out.print(f"not measured: {network_name(item.network)}, {told}", markup=False, highlight=False)
            elif isinstance(item, FitEntry) and item.fit.mean_error is not None:
                fit = item.fit
                told = (
                    f"fit of {fit.date[:10]}, seed {fit.seed}, on {len(fit.design)} networks: mean error "
                    f"{fit.mean_error:.2%}, worst {fit.worst_error or 0:.2%}, on {len(fit.holdout)} that it never saw"
                )
                out.print(told, markup=False, highlight=False)


def going_table(entries: Sequence[Entry]) -> Table:
    """What a pruning takes, by setting."""
    from hwnas.latency.upkeep import counts

    table = _table("What goes", "setting")
    for column in ("rows", "failures", "fits"):
        table.add_column(column, justify="right")
    by_setting: dict[Setting, list[Entry]] = {}
    for entry in entries:
        by_setting.setdefault(entry.setting, []).append(entry)
    for setting, held in by_setting.items():
        table.add_row(escape(_title(setting)), *map(str, counts(held).values()))
    return table


def print_comparison(found: Comparison, first: str, second: str) -> None:
    """The pairs of each setting and the share of them that agree."""
    for setting, held in groupby(found.pairs, key=lambda pair: pair.setting):
        table = _table(_title(setting), "network")
        for column in ("first\n\\[ms]", "second\n\\[ms]", "ratio", "intervals"):
            table.add_column(column, justify="right", no_wrap=True)
        for pair in sorted(held, key=lambda pair: pair.first.seconds):
            table.add_row(
                escape(network_name(pair.network)),
                _milliseconds(pair.first),
                _milliseconds(pair.second),
                f"{pair.ratio:.4f}",
                "overlap" if pair.agree else "apart",
            )
        out.print(table)
    facts = found.summary()
    if not found.pairs:
        told = "no row of the same setting and network in both"
    else:
        told = (
            f"{facts['agree']} of {facts['pairs']} rows agree within their intervals ({facts['share']:.1%}); "
            f"difference of the medians {facts['mean_difference']:.2%} on average, "
            f"at most {facts['worst_difference']:.2%}"
        )
        if facts["doubtful"]:
            told += f"; rows measured on a disturbed device (*) in {facts['doubtful']} of the pairs"
    out.print(told, highlight=False)
    out.print(f"only in {first}: {found.only_first}; only in {second}: {found.only_second}", markup=False)


def network_name(network: str) -> str:
    """A network's key for people: ``4 x (6 heads, 512 units)``; the key's start if it is of another form."""
    from hwnas.errors import HwnasError
    from hwnas.latency.keys import network_shape
    from hwnas.spaces.architecture import Architecture

    try:
        shape = network_shape(network)
        return str(Architecture(tuple(heads for heads, _ in shape), tuple(units for _, units in shape)))
    except HwnasError:
        return network[:40]


def _model(network: str) -> str:
    """The model that a network is of, for people."""
    try:
        facts = json.loads(network)
        return f"{facts['model_type']}-{facts['hidden_size']}"
    except (ValueError, KeyError, TypeError):
        return "?"


def _title(setting: Setting) -> str:
    return (
        f"{setting.target} ({setting.fingerprint}), {setting.runtime} {setting.runtime_version} {setting.precision}, "
        f"batch {setting.batch}, {setting.sequence_length} tokens, {setting.threads} thread(s), "
        f"protocol {setting.protocol}"
    )


def _milliseconds(row: Measured) -> str:
    return f"{row.seconds * 1e3:.3f}{'*' if row.doubts else ''}"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=escape(title), title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
