"""`hwnas search`: the Pareto front."""

from __future__ import annotations

from hwnas.cli import options
from hwnas.cli.console import out, print_json
from hwnas.cli.prepare import quiet, run_folder
from hwnas.cli.progress import reporter


def search(
    run: options.Run = None,
    objective: options.ObjectiveName = "latency",
    searcher: options.SearcherName = "random_search",
    evaluations: options.Evaluations = 100,
    examples: options.Examples = 512,
    max_members: options.MaxMembers = 10,
    target: options.TargetName = "cpu",
    runtime: options.Runtime = "onnxruntime",
    precision: options.Precision = "fp32",
    batch: options.Batch = 1,
    seq_len: options.SequenceLength = 128,
    threads: options.Threads = 1,
    table: options.Table = None,
    seed: options.Seed = 0,
    as_json: options.Json = False,
) -> None:
    """Find the sub-networks that no other beats in both validation error and cost.

    Sub-networks are judged inside the super-network's shared weights; their latency and memory come from the
    predictor of `hwnas profile`, their parameters are counted. At the end the members of the front are extracted,
    measured on this device and tested, and members that turn out to be dominated are left out.

    Writes front.json, front.csv and front.png under RUN/search. Evaluations are kept: after a crash, and with another
    target or objective, none is made twice.
    """
    from hwnas.latency.profile import make_setting
    from hwnas.latency.table import LatencyTable, default_table_path
    from hwnas.pipeline.search import SearchOptions, search_name, search_run

    setting = make_setting(target, runtime, precision, batch, seq_len, threads)
    quiet()
    choice = SearchOptions(
        objective=objective, searcher=searcher, evaluations=evaluations, examples=examples, max_members=max_members,
        seed=seed,
    )  # fmt: skip
    folder = run_folder(run)
    with LatencyTable(table or default_table_path()) as rows, reporter() as report:
        front = search_run(folder, setting, rows, choice, progress=report)
    if as_json:
        print_json(front.to_json())
    else:
        from hwnas.cli.tables import front_table

        out.print(front_table(front))
        out.print(f"written to {folder.front(search_name(choice, setting))}")
