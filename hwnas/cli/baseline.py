"""`hwnas baseline`: the whole network in another precision, beside the front."""

from __future__ import annotations

from typing import Annotated

import typer

from hwnas.cli import options
from hwnas.cli.console import out, print_json
from hwnas.cli.prepare import begun_run, device_setting, quiet
from hwnas.cli.progress import reporter


def baseline(
    name: Annotated[
        str,
        typer.Argument(
            help="int8, int8-dynamic, int4 (that is nf4), nf4, fp4, fp16, bf16 or fp32.",
            metavar="NAME",
            show_default=False,
        ),
    ],
    run: options.BegunRun = None,
    target: options.TargetName = "cpu",
    runtime: Annotated[
        str | None,
        typer.Option(
            "--runtime",
            help="Runtime that runs, judges and times the network. [default: bitsandbytes for 4 bits, torch for bf16, "
            "else onnxruntime]",
            rich_help_panel="Device",
            show_default=False,
        ),
    ] = None,
    batch: options.Batch = 1,
    seq_len: options.SequenceLength = 128,
    threads: options.Threads = 1,
    rounds: options.Rounds = 20,
    table: options.Table = None,
    examples: options.Examples = 512,
    seed: options.Seed = 0,
    as_json: options.Json = False,
) -> None:
    """Measure and test the whole network of a run, not pruned, in another precision.

    Latency and peak memory go into the same table as those of sub-networks. The errors are found by running the
    quantised network itself in its runtime, on all test examples and on the validation examples of a search with the
    same --examples and --seed. The ranges of int8 are found on training examples.

    Writes RUN/baselines and draws the pictures of the run's fronts again, with the baseline in them.
    """
    from hwnas.baselines.quantized import choose
    from hwnas.latency.table import LatencyTable, default_table_path
    from hwnas.pipeline.baseline import baseline_run, baselines_beside, fronts_beside

    precision, served_by = choose(name, runtime)
    setting = device_setting(target, served_by, precision, batch, seq_len, threads, rounds)
    folder = begun_run(run)
    folder.spec()
    quiet()
    with LatencyTable(table or default_table_path()) as rows, reporter() as report:
        result = baseline_run(folder, setting, rows, examples=examples, seed=seed, progress=report)
    if as_json:
        print_json(result.to_json())
        return
    from hwnas.cli.tables import baseline_table, front_table

    fronts = fronts_beside(folder, result)
    if fronts:
        _, front = fronts[-1]
        out.print(front_table(front, baselines_beside(folder, front)))
        out.print(f"pictures with this baseline: {', '.join(str(folder.front(found)) for found, _ in fronts)}")
    else:
        out.print(baseline_table(result))
        out.print("no front of this device and shape to draw it beside; `hwnas search` finds one.")
    out.print(f"written to {folder.path / 'baselines' / result.name}.json")
