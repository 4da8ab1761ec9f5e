"""Tables that several commands print; times in milliseconds, each said to be measured or predicted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table

if TYPE_CHECKING:
    from hwnas.latency.profile import ProfileReport
    from hwnas.pipeline.build import Built
    from hwnas.search.front import Front, Member


def front_table(front: Front) -> Table:
    """Members of a front and the unpruned network."""
    setting, quality = front.about["setting"], front.about["quality"]
    table = _table(
        f"Front of {front.about['task']} on {setting['target']}: {setting['runtime']} {setting['precision']}, "
        f"batch {setting['batch']}, {setting['sequence_length']} tokens, {setting['threads']} thread(s)"
    )
    table.add_column("#", justify="right")
    table.add_column("sub-network")
    for name in (
        "val.\nerror",
        "test\nerror",
        "measured\n[ms]",
        "95% interval\n[ms]",
        "predicted\n[ms]",
        "speed-\nup",
        "param.\n[10^6]",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for index, member in enumerate(front.members):
        table.add_row(str(index), *_cells(front, member))
    table.add_section()
    table.add_row("", *_cells(front, front.unpruned, "unpruned"))
    flags = sorted({flag for member in (*front.members, front.unpruned) for flag in member.latency.flags})
    table.caption = f"error = 1 - {quality}" + (f"; * flagged: {', '.join(flags)}" if flags else "")
    table.caption_justify = "left"
    return table


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))


def _cells(front: Front, member: Member, name: str | None = None) -> list[str]:
    latency, predicted = member.latency, member.predicted
    return [
        name or str(member.architecture),
        f"{member.validation_error:.4f}",
        f"{member.test_error:.4f}",
        f"{latency.seconds * 1000:.2f}{'*' if latency.flags else ''}",
        f"{latency.low * 1000:.2f} to {latency.high * 1000:.2f}",
        "-" if predicted is None else f"{predicted.seconds * 1000:.2f}",
        f"{front.speed_up(member):.2f}x",
        f"{member.parameters / 1e6:.2f}",
    ]


def holdout_table(report: ProfileReport) -> Table:
    """Predicted against measured, on networks that the fit never saw."""
    table = _table("Networks that the fit never saw")
    table.add_column("network")
    for name in ("measured\n[ms]", "predicted\n[ms]", "error"):
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
