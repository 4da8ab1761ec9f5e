"""`hwnas build`: engines of members of the front."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli import options
from hwnas.cli.console import out, print_json
from hwnas.cli.prepare import begun_run, quiet
from hwnas.cli.progress import reporter
from hwnas.errors import UsageError


def build(
    run: options.BegunRun = None,
    pick: Annotated[
        str | None,
        typer.Option(
            "--pick", help="Members by index, separated by commas, or 'all'. [default: all]", show_default=False
        ),
    ] = None,
    max_latency: Annotated[
        float | None,
        typer.Option("--max-latency", help="Build the best member measured at most this slow, in milliseconds."),
    ] = None,
    max_error_increase: Annotated[
        float | None,
        typer.Option(
            "--max-error-increase",
            help="Build the fastest member whose validation error exceeds the whole network's by at most this (0.01 is "
            "one point of accuracy).",
        ),
    ] = None,
    front: Annotated[
        str | None, typer.Option("--front", help="Name of the search under RUN/search. [default: the newest]")
    ] = None,
    target: options.BuildTarget = "a10g",
    precision: options.BuildPrecision = "fp16",
    runtime: Annotated[
        str | None,
        typer.Option(
            "--runtime",
            help="onnxruntime, tensorrt or tensorrt-rtx. [default: what serves the target]",
            rich_help_panel="Build",
        ),
    ] = None,
    batch: Annotated[
        str | None,
        typer.Option(
            "--batch",
            help="Smallest, usual and largest batch. [default: 1, the front's, 8]",
            show_default=False,
            rich_help_panel="Build",
        ),
    ] = None,
    seq_len: Annotated[
        str | None,
        typer.Option(
            "--seq-len",
            help="Shortest, usual and longest input in tokens. [default: 1, the front's, the front's]",
            show_default=False,
            rich_help_panel="Build",
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Build members of the front for a device: weights, ONNX file, engine and manifest in a folder each.

    NVIDIA targets get a real TensorRT engine. TensorRT-RTX builds it without a GPU for the T4, A100, A10G, L4, L40S
    and RTX cards; full TensorRT is used where it is installed and the device is there. Before anything is called
    done, the ONNX file's outputs are compared with PyTorch's. The manifest holds hashes, versions, and the numbers
    that go with the engine, measured and predicted ones apart.

    In Python, `model, tokenizer = hwnas.load(folder)` loads a built member again.
    """
    from hwnas.compile.engine import plan_build
    from hwnas.pipeline.build import build_run, find_front
    from hwnas.targets import get_target

    plan_build(get_target(target), precision, runtime=runtime)
    batches, lengths = _triple("--batch", batch), _triple("--seq-len", seq_len)
    folder = begun_run(run)
    name, found = find_front(folder, front)
    picks = found.pick(
        _indices(pick),
        max_latency=None if max_latency is None else max_latency / 1000,
        max_error_increase=max_error_increase,
    )
    quiet()
    with reporter() as report:
        built = build_run(
            folder, found, picks, target=target, precision=precision, batch=batches, sequence_length=lengths,
            runtime=runtime, progress=report,
        )  # fmt: skip
    if as_json:
        print_json(
            {
                "front": name,
                "built": [
                    {"index": member.index, "folder": str(member.folder), "manifest": member.manifest}
                    for member in built
                ],
            }
        )
    else:
        from hwnas.cli.tables import build_table

        out.print(build_table(built, Path.cwd()))


def _indices(pick: str | None) -> list[int] | None:
    if pick is None or pick == "all":
        return None
    try:
        return [int(part) for part in pick.split(",")]
    except ValueError as error:
        raise UsageError(f"--pick {pick}: expected indices such as 0,3 or 'all'.") from error


def _triple(name: str, text: str | None) -> tuple[int, int, int] | None:
    if text is None:
        return None
    try:
        smallest, usual, largest = (int(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"{name} {text}: expected three numbers min,usual,max such as 1,8,32.") from error
    return smallest, usual, largest
