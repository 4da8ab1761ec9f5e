"""`hwnas space`: what the search spaces hold, and bounds of a space."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwnas.cli import bounds, options
from hwnas.cli.console import out, print_json
from hwnas.cli.prepare import device_setting, quiet, run_to_read
from hwnas.cli.space_choice import MEASURED, predictor_of, profiled, steps_of
from hwnas.errors import UsageError

if TYPE_CHECKING:
    from hwnas.importance import Bounds
    from hwnas.report.space import Distribution
    from hwnas.spaces import Space

_PANEL = "Space"
Names = Annotated[
    list[str] | None,
    typer.Option(
        "--space",
        help="Search space; give it several times. [default: all]",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
Samples = Annotated[
    int, typer.Option("--samples", help="Random sub-networks of each space.", min=2, rich_help_panel=_PANEL)
]
Shown = Annotated[int, typer.Option("--shown", help="Masks to draw of each space.", min=1, rich_help_panel=_PANEL)]
MinLayers = Annotated[
    int, typer.Option("--min-layers", help="Fewest layers that keep attention.", min=0, rich_help_panel=_PANEL)
]
Latency = Annotated[
    bool, typer.Option("--latency", help="Predict latencies too, from `hwnas profile`.", rich_help_panel=_PANEL)
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="Folder for the pictures. [default: RUN/space, or space-MODEL here without a run]",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]


def space(
    run: options.Run = None,
    model: options.Model = None,
    task: options.Task = "docstrings",
    data_dir: options.DataDir = None,
    space: Names = None,
    samples: Samples = 500,
    shown: Shown = 5,
    min_layers: MinLayers = 1,
    align: options.Align = "none",
    latency: Latency = False,
    budgets: bounds.Count = None,
    min_budget: bounds.Minimum = bounds.MINIMUM,
    max_budget: bounds.Maximum = bounds.MAXIMUM,
    cost: bounds.CostName = bounds.COST,
    score: bounds.Score = bounds.SCORE,
    score_examples: bounds.ScoreExamples = bounds.EXAMPLES,
    target: options.TargetName = "cpu",
    runtime: options.Runtime = "onnxruntime",
    precision: options.Precision = "fp32",
    batch: options.Batch = 1,
    seq_len: options.SequenceLength = 128,
    threads: options.Threads = 1,
    rounds: options.Rounds = 20,
    table: options.Table = None,
    out_dir: Out = None,
    seed: options.Seed = 0,
    as_json: options.Json = False,
) -> None:
    """Draw what the search spaces hold: masks of random members, and the distribution of their parameters.

    Writes masks.png and parameters.png, and with --latency also latency.png: predicted latencies of the same
    sub-networks, read off the latency table; nothing is measured. The model is that of RUN, else --model; given
    neither, that of the run that --task has by default, if there is one. The labels of --task count for the latency,
    because a table is of a model with its head.

    With --budgets it also finds bounds: for each budget the widest network by the importance of heads and units on
    training examples, and with them the space of all widths between those networks. It is drawn too and written to
    bounds.json, in which `hwnas train --bounds` and `hwnas run --bounds` train and search. The weights of the run are
    scored if it is trained, otherwise those that a training starts from.
    """
    from hwnas.models import get_family
    from hwnas.pipeline.profile import config_of
    from hwnas.report.space import plot_spaces, sample_space
    from hwnas.slicing.extract import parameter_counter
    from hwnas.spaces import get_space, space_names
    from hwnas.training.pretrained import EMBEDDED, load_config

    quiet()
    if budgets is None:
        bounds.refuse_unused(min_budget, max_budget, cost, score, score_examples)
    wanted = None if budgets is None else bounds.wanted(budgets, min_budget, max_budget, cost, score)
    timed = latency or (wanted is not None and cost == "latency")
    on_device = timed or align == MEASURED
    folder = run_to_read(run, model, task)
    if not folder.exists() and run is None and not on_device and wanted is None:
        config = load_config(model)
    else:
        config = config_of(folder, required=run is not None, model=model, task=task, data_dir=data_dir)
    name = Path((folder.spec().model if folder.exists() else model) or EMBEDDED).name
    dimensions = get_family(config).dimensions(config)
    setting = device_setting(target, runtime, precision, batch, seq_len, threads, rounds) if on_device else None
    said = f"{target}, {runtime} {precision}, batch {batch}, {seq_len} tokens, {threads} thread(s)" if on_device else ""
    subject = profiled(folder, config, model)
    predictor = predictor_of(config, setting, table, subject) if timed and setting is not None else None
    step = steps_of(align, target, precision, config, setting, table, subject)
    spaces: list[Space] = [
        get_space(each, dimensions, min_layers=min_layers, align=step) for each in dict.fromkeys(space or space_names())
    ]
    found_bounds: Bounds | None = None
    about: dict[str, Any] = {}
    if wanted is not None:
        found_bounds, about = bounds.find(
            folder, wanted,
            model=model, task=task, data_dir=data_dir, method=score, examples=score_examples, predictor=predictor,
            seq_len=seq_len, align=step, min_layers=min_layers, seed=seed,
        )  # fmt: skip
        spaces.append(found_bounds.space)
    shown_times = predictor if latency else None
    count = parameter_counter(config, dimensions)
    found = [
        sample_space(each, count, samples=samples, shown=shown, seed=seed, predictor=shown_times) for each in spaces
    ]
    place = out_dir or (Path(f"space-{name}") if run is None else run / "space")
    try:
        files = plot_spaces(found, place, count=count, title=name, predictor=shown_times, setting=said)
        if found_bounds is not None:
            about = {"model": name, "setting": said or None, **about}
            files.append(_write_bounds(place, {"about": about, **found_bounds.to_json()}))
    except OSError as error:
        raise UsageError(f"cannot write to {place} ({error.strerror}); give another folder with --out.") from error
    if as_json:
        report = {
            "model": name,
            "dimensions": dimensions.__dict__,
            "seed": seed,
            "setting": said or None,
            "spaces": [one.to_json() for one in found],
            "files": [str(file) for file in files],
        }
        if found_bounds is not None:
            report["bounds"] = {"about": about, **found_bounds.to_json()}
        print_json(report)
    else:
        print_spaces(found, name, step)
        if found_bounds is not None:
            bounds.print_bounds(found_bounds, about, files[-1])
        out.print(f"written to {', '.join(str(file) for file in files)}")


def _write_bounds(place: Path, content: dict[str, Any]) -> Path:
    """Write bounds.json at once, and say where."""
    from hwnas.files import write_at_once

    file = place / bounds.BOUNDS_FILE
    write_at_once(file, json.dumps(content, indent=1) + "\n")
    return file


def print_spaces(found: list[Distribution], name: str, step: tuple[int, int]) -> None:
    """One row a space: size, entries of the encoding, quantiles of parameters and latency."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    said = "" if step == (1, 1) else f", heads in steps of {step[0]} and units of {step[1]}"
    table = Table(title=f"Spaces over {name}{said}", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for title in ("space", "sub-networks", "entries", "parameters [10^6]\n5%, median, 95%"):
        table.add_column(title, justify="left" if title == "space" else "right", no_wrap=True)
    timed = any(one.seconds is not None for one in found)
    if timed:
        table.add_column("predicted \\[ms]\n5%, median, 95%", justify="right", no_wrap=True)
    for one in found:
        facts = one.to_json()
        size = f"10^{facts['log10_size']:.1f}" if facts["size"] is None else f"{facts['size']:,}"
        cells = [one.space.name, size, f"{facts['entries']:,}", _three(facts["parameters"], 1e-6)]
        if timed:
            cells.append(_three(facts["predicted_seconds"], 1e3))
        table.add_row(*cells)
    out.print(table)


def _three(quantiles: dict[str, float], scale: float) -> str:
    return ", ".join(f"{quantiles[level] * scale:.2f}" for level in ("0.05", "0.5", "0.95"))
