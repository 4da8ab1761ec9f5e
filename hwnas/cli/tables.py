"""Tables that several commands print; times in milliseconds, each said to be measured, predicted or estimated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table

if TYPE_CHECKING:
    from hwnas.baselines.record import Baseline
    from hwnas.latency.profile import ProfileReport
    from hwnas.pipeline.build import Built
    from hwnas.search.front import Front, Latency, Member


_FURTHER = {"energy": (1e3, "mJ"), "engine-size": (1e-6, "MB")}


def front_table(front: Front, baselines: Sequence[Baseline] = ()) -> Table:
    """Members of a front, the unpruned network, and baselines that were measured in the same setting."""
    setting, quality = front.about["setting"], front.about["quality"]
    said = "" if front.how == "measured" else f"latencies {front.latencies}:"
    runtime = " ".join(part for part in (said, "" if front.estimated else setting["runtime"]) if part)
    threads = "" if front.estimated else f", {setting['threads']} thread(s)"
    table = _table(
        f"Front of {front.about['task']} on {front.label}: {runtime} {' + '.join(front.precisions)}, "
        f"batch {setting['batch']}, {setting['sequence_length']} tokens{threads}"
    )
    table.add_column("#", justify="right")
    table.add_column("sub-network")
    for name in (
        "val.\nerror",
        "test\nerror",
        f"{front.how}\n\\[ms]",
        f"{'95% interval' if front.how == 'measured' else 'interval'}\n\\[ms]",
        "predicted\n\\[ms]",
        "speed-\nup",
        "peak\n[MiB]",
        "param.\n[10^6]",
        *(_heading(front, name, unit) for name, (_, unit) in _further(front).items()),
    ):
        table.add_column(name, justify="right", no_wrap=True)
    several = len(front.precisions) > 1
    for index, member in enumerate(front.members):
        table.add_row(str(index), *_cells(front, member, f"{member.precision}: " if several else ""))
    table.add_section()
    unpruned = f"unpruned, {front.unpruned.precision}" if several or baselines else "unpruned"
    table.add_row("", *_cells(front, front.unpruned, name=unpruned))
    for baseline in baselines:
        table.add_row("", *_baseline_cells(baseline, front))
    if constant := front.about.get("constant_answer"):
        errors = (f"{constant[f'{split}_error']:.4f}" for split in ("validation", "test"))
        table.add_row("", "always the same answer", *errors)
    flags = sorted(
        {flag for member in (*front.members, front.unpruned) for flag in member.flags}
        | {flag for baseline in baselines for flag in baseline.latency.flags}
    )
    notes = [f"error = 1 - {quality}"]
    if flags:
        notes.append(f"* flagged: {', '.join(flags)}")
    if any(not baseline.has_examples_of(front.about) for baseline in baselines):
        notes.append("- judged on other validation examples")
    table.caption = "; ".join(notes)
    table.caption_justify = "left"
    return table


def baseline_table(baseline: Baseline) -> Table:
    """A baseline that there is no front for."""
    setting = baseline.setting
    table = _table(
        f"Baseline of {baseline.about['task']} on {setting.target}: batch {setting.batch}, {setting.sequence_length} "
        f"tokens, {setting.threads} thread(s)"
    )
    for name in ("network", "val.\nerror", "test\nerror", "measured\n\\[ms]", "95% interval\n\\[ms]", "peak\n[MiB]"):
        table.add_column(name, justify="left" if name == "network" else "right", no_wrap=True)
    cells = _baseline_cells(baseline, None)
    table.add_row(*cells[:5], cells[7])
    flags = ", ".join(baseline.latency.flags)
    table.caption = f"error = 1 - {baseline.about['quality']}" + (f"; * flagged: {flags}" if flags else "")
    table.caption_justify = "left"
    return table


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))


def _cells(front: Front, member: Member, before: str = "", *, name: str | None = None) -> list[str]:
    predicted = member.predicted
    return [
        name or f"{before}{member.architecture}",
        f"{member.validation_error:.4f}",
        f"{member.test_error:.4f}",
        *_times(member.latency, member.flags),
        "-" if predicted is None else f"{predicted.seconds * 1000:.2f}",
        f"{front.speed_up(member):.2f}x",
        _mebibytes(member.peak_memory_bytes),
        f"{member.parameters / 1e6:.2f}",
        *(f"{member.costs[name] * scale:.3g}" for name, (scale, _) in _further(front).items()),
    ]


def _heading(front: Front, name: str, unit: str) -> str:
    """Of a column of costs; it says so if they, or some of them, were not measured."""
    known = front.costs_are(name)
    said = "" if known in ("measured", "counted") else f"{known.replace(', ', ',' + chr(10))}\n"
    return f"{name}\n{said}\\[{unit}]"


def _further(front: Front) -> dict[str, tuple[float, str]]:
    """Costs of a front that have no column in every table: factor to the unit shown, and the unit."""
    names = [str(objective["name"]) for objective in front.objectives]
    return {name: shown for name, shown in _FURTHER.items() if name in names}


def _baseline_cells(baseline: Baseline, front: Front | None) -> list[str]:
    """The same columns for a baseline; its validation error only if it is of the front's examples."""
    latency = baseline.latency
    comparable = front is None or baseline.has_examples_of(front.about)
    return [
        f"unpruned, {baseline.label}",
        f"{baseline.validation_error:.4f}" if comparable else "-",
        f"{baseline.test_error:.4f}",
        *_times(latency, latency.flags),
        "-",
        "-" if front is None else f"{front.unpruned.latency.seconds / latency.seconds:.2f}x",
        _mebibytes(latency.peak_memory_bytes),
        f"{baseline.parameters / 1e6:.2f}",
    ]


def _times(latency: Latency, flags: tuple[str, ...]) -> tuple[str, str]:
    return (
        f"{latency.seconds * 1000:.2f}{'*' if flags else ''}",
        f"{latency.low * 1000:.2f} to {latency.high * 1000:.2f}",
    )


def _mebibytes(size: int | None) -> str:
    return "-" if size is None else f"{size / 2**20:.1f}"


def holdout_table(report: ProfileReport) -> Table:
    """Predicted against measured, on networks that the fit never saw."""
    table = _table("Networks that the fit never saw")
    table.add_column("network")
    for name in ("measured\n\\[ms]", "predicted\n\\[ms]", "error"):
        table.add_column(name, justify="right")
    for row in report.rows:
        table.add_row(
            row.arch,
            f"{row.measured.seconds * 1000:.2f}",
            f"{row.predicted.seconds * 1000:.2f}",
            f"{row.error:+.2%}",
        )
    return table


def build_table(built: list[Built], root: Path) -> Table:
    """What was built, and where."""
    place = built[0].folder.parent
    table = _table(f"Built in {place.relative_to(root) if place.is_relative_to(root) else place}")
    table.add_column("#", justify="right")
    table.add_column("folder", overflow="fold")
    table.add_column("engine")
    table.add_column("size\n[MB]", justify="right")
    table.add_column("ONNX against\nPyTorch")
    table.add_column("state")
    for member in built:
        engine, checked = member.manifest["engine"], member.manifest["verification"]
        table.add_row(
            str(member.index),
            member.folder.name,
            f"{engine['file']} ({engine['runtime']})",
            f"{engine['bytes'] / 1e6:.1f}",
            f"max error {checked['max_abs_error']:.1e}",
            "kept" if member.manifest["reused"] else "new",
        )
    return table
