"""`hwnas profile`: the latency table of a device."""

from __future__ import annotations

from typing import Any

from hwnas.cli import options
from hwnas.cli.console import out, print_json
from hwnas.cli.prepare import quiet, run_folder
from hwnas.cli.progress import reporter


def profile(
    run: options.Run = None,
    model: options.Model = None,
    task: options.Task = "docstrings",
    data_dir: options.DataDir = None,
    target: options.TargetName = "cpu",
    runtime: options.Runtime = "onnxruntime",
    precision: options.Precision = "fp32",
    batch: options.Batch = 1,
    seq_len: options.SequenceLength = 128,
    threads: options.Threads = 1,
    table: options.Table = None,
    networks: options.Networks = 18,
    holdout: options.Holdout = 10,
    seed: options.Seed = 0,
    as_json: options.Json = False,
) -> None:
    """Measure what sub-networks cost on this device, and fit a predictor.

    At most 30 whole networks, chosen to tell the costs of embeddings and head, of attention heads and of feed-forward
    units apart, are exported with random weights (a latency does not depend on them) and timed in interleaved rounds.
    Then further random networks, which the fit never sees, are measured, and the predictor's error on those is
    printed and stored.

    Every row goes into the latency table as it is measured: what is there is never measured again, and after a crash
    the same command goes on. With a run folder the run's model is profiled, else --model with the labels of --task.
    """
    from hwnas.latency.profile import make_setting, profile_model
    from hwnas.latency.table import LatencyTable, default_table_path
    from hwnas.pipeline.profile import config_of

    setting = make_setting(target, runtime, precision, batch, seq_len, threads)
    quiet()
    folder = run_folder(run, task)
    config = config_of(folder, required=run is not None, model=model, task=task, data_dir=data_dir)
    with LatencyTable(table or default_table_path()) as rows, reporter() as report:
        result = profile_model(
            config, setting, rows, seed=seed, max_networks=networks, holdout=holdout, progress=report
        )
    if as_json:
        print_json(result.to_json())
    else:
        print_profile(result)


def print_profile(result: Any) -> None:
    """The holdout's table and one line on what was measured."""
    from hwnas.cli.tables import holdout_table

    out.print(holdout_table(result))
    flags = ", ".join(f"{name} {count}" for name, count in result.flags.items())
    out.print(
        f"{result.measured_now} networks measured now, {result.reused} taken from the table"
        + (f"; flags: {flags}" if flags else "")
    )
    for name, failure in result.failures:
        out.print(f"not measured: {name}, {failure.stage}: {failure.reason}", markup=False)
    if result.mean_error is not None:
        out.print(
            f"prediction error on {len(result.rows)} networks that the fit never saw: mean {result.mean_error:.2%}, "
            f"worst {result.worst_error:.2%}"
        )
