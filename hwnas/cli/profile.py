"""`hwnas profile`: the latency table of a device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwnas.cli import options
from hwnas.cli.console import out, print_json
from hwnas.cli.prepare import device_setting, quiet, run_to_read
from hwnas.cli.progress import Report, reporter
from hwnas.errors import UsageError

if TYPE_CHECKING:
    from hwnas.latency.events import ProfileEvent

_PANEL = "Profile"

NumLabels = Annotated[
    int | None,
    typer.Option(
        "--num-labels",
        help="Labels of the network, instead of those of --task: for data of your own before a run has begun. 1 for a "
        "regression.",
        min=1,
        show_default=False,
        rich_help_panel="Model and task",
    ),
]
Steps = Annotated[
    int,
    typer.Option(
        "--steps",
        help="Sessions to spread the networks over: later ones measure where the fit is least sure.",
        min=1,
        rich_help_panel=_PANEL,
    ),
]
Sweep = Annotated[
    bool,
    typer.Option(
        "--sweep",
        help="Also measure networks that differ in one of heads, units and layers only, for the picture and for "
        "`--align measured`.",
        rich_help_panel=_PANEL,
    ),
]
Picture = Annotated[
    Path | None,
    typer.Option(
        "--picture",
        help="File of the picture of latency against heads, units and layers. [default: RUN/profile/SETTING.png, or "
        "profile-MODEL/SETTING.png]",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
Estimate = Annotated[
    bool,
    typer.Option(
        "--estimate",
        help="For a GPU out of reach: estimate TensorRT engines from its datasheet, measure and store nothing. "
        "--runtime and --threads do not count.",
        rich_help_panel=_PANEL,
    ),
]


def profile(
    run: options.Run = None,
    model: options.Model = None,
    task: options.Task = "docstrings",
    data_dir: options.DataDir = None,
    num_labels: NumLabels = None,
    target: options.TargetName = "cpu",
    runtime: options.Runtime = "onnxruntime",
    precision: options.Precision = "fp32",
    batch: options.Batch = 1,
    seq_len: options.SequenceLength = 128,
    threads: options.Threads = 1,
    rounds: options.Rounds = 20,
    table: options.Table = None,
    networks: options.Networks = 18,
    holdout: options.Holdout = 10,
    steps: Steps = 1,
    remeasure: options.Remeasure = True,
    sweep: Sweep = False,
    picture: Picture = None,
    estimate: Estimate = False,
    seed: options.Seed = 0,
    as_json: options.Json = False,
) -> None:
    """Measure what sub-networks cost on this device, and fit a predictor.

    At most 30 whole networks, chosen to tell the costs of embeddings and head, of attention heads and of feed-forward
    units apart, are exported with random weights (a latency does not depend on them) and timed in interleaved rounds,
    in four processes, one after another. Then further random networks, which the fit never sees, are measured, and the
    predictor's error on those is printed and stored. A picture shows latency against heads, units and layers.

    Every row goes into the latency table as it is measured: what is there is not measured again, unless the device was
    disturbed, and after a crash the same command goes on. With a run folder the run's model is profiled, else --model
    with --num-labels or the labels of --task.

    With --estimate the device need not be here: a roofline from the target's datasheet, scaled by what is known of
    other devices, with its uncertainty. An estimate is never stored and never becomes a measurement.
    """
    from hwnas.latency.table import LatencyTable, default_table_path
    from hwnas.pipeline.profile import config_of

    if estimate:
        from hwnas.targets import get_target

        get_target(target)
    setting = None if estimate else device_setting(target, runtime, precision, batch, seq_len, threads, rounds)
    if run is not None and model is not None:
        raise UsageError(f"--model {model}: the model of {run} is profiled; leave one of them out.")
    quiet()
    if num_labels is not None and run is None:
        from hwnas.training.pretrained import EMBEDDED

        model = model or EMBEDDED
    folder = run_to_read(run, model, task)
    config = config_of(
        folder, required=run is not None, model=model, task=task, data_dir=data_dir, num_labels=num_labels
    )
    if setting is None:
        _estimate(config, target, precision, batch, seq_len, table, as_json)
        return
    from hwnas.pipeline.profile import draw_profile, profile_run, spaces_of

    with LatencyTable(table or default_table_path()) as rows, reporter() as report:
        result = profile_run(
            config,
            setting,
            rows,
            sweep=sweep,
            spaces=spaces_of(folder),
            seed=seed,
            max_networks=networks,
            holdout=holdout,
            steps=steps,
            remeasure=remeasure,
            observer=observer(report),
        )
        place = folder.profile_picture(setting)
        if run is None and model is not None:
            place = Path(f"profile-{Path(model).name}") / place.name
        drawn = draw_profile(config, setting, rows, result, picture or place)
    if as_json:
        print_json({**result.to_json(), "picture": str(drawn)})
    else:
        print_profile(result)
        out.print(f"picture of heads, units and layers: {drawn}", highlight=False)


def observer(report: Report) -> Any:
    """Shows each event of a profile: what was measured last, the fit, and the time left."""

    def observe(event: ProfileEvent) -> None:
        left = "" if event.seconds_left is None else f"{_clock(event.seconds_left)} left"
        report(event.stage, event.done, event.total, ", ".join(part for part in (left, event.text) if part))

    return observe


def print_profile(result: Any) -> None:
    """The holdout's table and what was measured."""
    from hwnas.cli.tables import holdout_table

    out.print(holdout_table(result))
    flags = ", ".join(f"{name} {count}" for name, count in result.flags.items())
    repeated = f", {result.repeated} of them more than once" if result.repeated else ""
    out.print(
        f"{result.measured_now} networks measured now, {result.reused} taken from the table{repeated}"
        + (f"; flags: {flags}" if flags else "")
    )
    for name, failure in result.failures:
        out.print(f"not measured: {name}, {failure.stage}: {failure.reason}", markup=False)
    if result.mean_error is not None:
        out.print(
            f"prediction error on {len(result.rows)} networks that the fit never saw: mean {result.mean_error:.2%}, "
            f"worst {result.worst_error:.2%}; {result.coverage:.0%} within the predicted 90% interval"
        )


def _estimate(
    config: Any, target: str, precision: str, batch: int, length: int, table: str | None, as_json: bool
) -> None:
    from hwnas.cli.estimate_view import print_estimate
    from hwnas.latency.estimate import estimate_model
    from hwnas.latency.table import table_if_there

    with table_if_there(table) as rows:
        found = estimate_model(config, target, precision, batch, length, rows)
    if as_json:
        print_json(found.to_json())
    else:
        print_estimate(found)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
