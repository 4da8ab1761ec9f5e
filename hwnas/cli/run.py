"""`hwnas run`: the whole road."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hwnas.cli import options
from hwnas.cli import search_options as own
from hwnas.cli.console import out, print_json
from hwnas.cli.prepare import absolute, device_setting, front_of, print_training, quiet, run_folder, run_spec
from hwnas.cli.profile import observer, print_profile
from hwnas.cli.progress import reporter
from hwnas.cli.space_choice import needs_law, with_law, with_space
from hwnas.errors import UsageError


def run(
    run: options.Run = None,
    model: options.Model = None,
    task: options.Task = "docstrings",
    data_dir: options.DataDir = None,
    train_file: options.TrainFile = None,
    test_file: options.TestFile = None,
    text: options.Text = "text",
    text_pair: options.TextPair = None,
    label: options.Label = "label",
    kind: options.Kind = None,
    labels: options.Labels = None,
    limit_train: options.LimitTrain = None,
    limit_test: options.LimitTest = None,
    max_length: options.MaxLength = 128,
    space: options.SpaceName = None,
    align: options.Align = "none",
    bounds: options.BoundsFile = None,
    strategy: options.StrategyName = "full",
    epochs: options.Epochs = 2.0,
    max_steps: options.MaxSteps = None,
    batch_size: options.BatchSize = 16,
    learning_rate: options.LearningRate = None,
    schedule: options.Schedule = "linear",
    k: options.RandomNetworks = 2,
    temperature: options.Temperature = 10.0,
    random_share: options.RandomShare = 1.0,
    whole_first: options.WholeFirst = 0.0,
    whole_weight: options.WholeWeight = None,
    sampling: options.Sampling = "space",
    train_front: options.TrainFront = None,
    front_share: options.FrontShare = 0.0,
    budget: options.Budget = None,
    teacher: options.Teacher = None,
    hidden_weight: options.HiddenWeight = None,
    attention_weight: options.AttentionWeight = 0.0,
    train_precision: options.TrainPrecision = "fp32",
    accumulate: options.Accumulate = 1,
    report_to: options.ReportTo = "none",
    logging_dir: options.LoggingDir = None,
    reorder: options.Reorder = None,
    reorder_after: options.ReorderAfter = "first-order",
    target: options.TargetName = "cpu",
    runtime: options.Runtime = "onnxruntime",
    precision: options.FloatPrecision = "fp32",
    batch: options.Batch = 1,
    seq_len: options.SequenceLength = 128,
    threads: options.Threads = 1,
    rounds: options.Rounds = 20,
    remeasure: options.Remeasure = True,
    table: options.Table = None,
    networks: options.Networks = 18,
    holdout: options.Holdout = 10,
    objective: options.ObjectiveName = "latency",
    searcher: options.SearcherName = "local_search",
    evaluations: options.Evaluations = 100,
    examples: options.Examples = 512,
    max_members: options.MaxMembers = 10,
    measure_during: own.MeasureDuring = None,
    build_target: Annotated[
        str, typer.Option("--build-target", help="Device to build engines for.", rich_help_panel="Build")
    ] = "a10g",
    build_precision: Annotated[
        str, typer.Option("--build-precision", help="Arithmetic of the engines.", rich_help_panel="Build")
    ] = "fp16",
    smoke: Annotated[
        bool,
        typer.Option(
            "--smoke",
            help="A tiny budget of its own, whatever else was asked for, that shows that every station works; its "
            "numbers mean nothing else.",
        ),
    ] = False,
    seed: options.Seed = 0,
    as_json: options.Json = False,
) -> None:
    """Walk the whole road in one run folder: train, profile, search, build.

    With no options: the embedded MiniLM, the embedded task 'docstrings', latency on this machine's processor, and
    TensorRT engines for an A10G of three members of the front, the fastest, the middle one and the most accurate.
    Every station is also a command of its own, which can be called on the same run folder afterwards.

    Stop it at any moment: the same command goes on where it was.
    """
    from hwnas.compile.engine import PRECISIONS as FLOATS
    from hwnas.compile.engine import plan_build
    from hwnas.latency.table import LatencyTable, default_table_path
    from hwnas.pipeline.build import build_run
    from hwnas.pipeline.profile import config_of_spec, draw_profile, profile_run, spaces_of
    from hwnas.pipeline.search import SearchOptions, check_searcher, search_name, search_run
    from hwnas.pipeline.train import train_run
    from hwnas.search.objectives import needs_profile
    from hwnas.targets import get_target
    from hwnas.training.processes import count

    if count() > 1:
        raise UsageError(
            f"hwnas run is one process, but WORLD_SIZE is {count()}; start `hwnas train` of this folder with the "
            "launcher, and then hwnas run without it."
        )
    if smoke:
        if max_steps is not None or limit_train is not None:
            raise UsageError("--smoke sets its own budget; leave out --max-steps and --limit-train.")
        max_steps, limit_train, limit_test = 12, 600, 200
        networks, holdout, evaluations, examples, max_members, rounds = 8, 3, 12, 64, 3, 4
    # Whatever cannot work at the end is refused before anything begins.
    if precision not in FLOATS:
        raise UsageError(
            f"--precision {precision}: networks are built in {', '.join(FLOATS)}; search quantised ones with "
            "`hwnas search --precision`."
        )
    plan_build(get_target(build_target), build_precision)
    setting = device_setting(target, runtime, precision, batch, seq_len, threads, rounds)
    needs_profile(objective)
    quiet()
    spec = run_spec(
        model=model, task=task, data_dir=data_dir, train_file=train_file, test_file=test_file, text=text,
        text_pair=text_pair, label=label, kind=kind, labels=labels, limit_train=limit_train, limit_test=limit_test,
        max_length=max_length, space="small", strategy=strategy, epochs=epochs, max_steps=max_steps,
        batch_size=batch_size, learning_rate=learning_rate, schedule=schedule, k=k, temperature=temperature,
        seed=seed, random_share=random_share, whole_first=whole_first, whole_weight=whole_weight,
        sampling=sampling, front=front_of(train_front), front_share=front_share, budget=budget,
        teacher=teacher, hidden_weight=hidden_weight, attention_weight=attention_weight,
        precision=train_precision, accumulate=accumulate, report_to=report_to, logging_dir=absolute(logging_dir),
        reorder=reorder, reorder_after=reorder_after,
    )  # fmt: skip
    spec = with_space(
        spec, space, align, bounds, target=target, runtime=runtime, precision=precision, batch=batch, seq_len=seq_len,
        threads=threads, rounds=rounds, table=table,
    )  # fmt: skip
    choice = SearchOptions(
        objective=objective, searcher=searcher, evaluations=evaluations, examples=examples, max_members=max_members,
        measure_during=measure_during, seed=seed, remeasure=remeasure,
    )  # fmt: skip
    check_searcher(spec, choice)
    folder = run_folder(run, spec.data.task)
    with LatencyTable(table or default_table_path()) as rows:

        def profile(config: Any) -> Any:
            with reporter() as report:
                return profile_run(
                    config, setting, rows, seed=seed, max_networks=networks, holdout=holdout,
                    spaces=spaces_of(folder, spec.space), observer=observer(report), remeasure=remeasure,
                )  # fmt: skip

        if needs_law(spec, folder):
            profile(config_of_spec(spec))
        spec = with_law(spec, folder, lambda: setting, table)
        with reporter() as report:
            supernet = train_run(folder, spec, progress=report)
        if not as_json:
            print_training(supernet, folder)
        profiled = profile(supernet.model.config)
        with reporter() as report:
            drawn = draw_profile(supernet.model.config, setting, rows, profiled, folder.profile_picture(setting))
        if not as_json:
            print_profile(profiled)
            out.print(f"picture of heads, units and layers: {drawn}", highlight=False)
        with reporter() as report:
            front = search_run(folder, setting, rows, choice, supernet=supernet, progress=report)
    place = folder.front(search_name(choice, setting))
    last = len(front.members) - 1
    picks = sorted({0, last // 2, last})
    if not as_json:
        from hwnas.cli.tables import build_table, front_table

        out.print(front_table(front))
        out.print(f"written to {place}")
    with reporter() as report:
        built = build_run(
            folder, front, picks, target=build_target, precision=build_precision, supernet=supernet, progress=report,
        )  # fmt: skip
    if as_json:
        print_json(
            {
                "run": str(folder.path),
                "training": supernet.record,
                "profile": profiled.to_json(),
                "front": front.to_json(),
                "built": [{"index": member.index, "folder": str(member.folder)} for member in built],
            }
        )
    else:
        out.print(build_table(built, Path.cwd()))
