"""`hwnas train`: the super-network."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from hwnas.cli import options
from hwnas.cli.console import print_json
from hwnas.cli.prepare import absolute, device_setting, front_of, print_training, quiet, run_folder, run_spec
from hwnas.cli.progress import Report, reporter
from hwnas.cli.space_choice import with_law, with_space
from hwnas.errors import HwnasError


def train(
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
    precision: options.Precision = "fp32",
    batch: options.Batch = 1,
    seq_len: options.SequenceLength = 128,
    threads: options.Threads = 1,
    rounds: options.Rounds = 20,
    table: options.Table = None,
    seed: options.Seed = 0,
    as_json: options.Json = False,
) -> None:
    """Fine-tune one weight-sharing super-network on a task.

    The strategy 'full' trains the whole network, the smallest and k random sub-networks in every step, the small ones
    also on the predictions of the whole one (Klein et al. 2024, section 3.2); 'standard' trains the whole network
    alone. The training set is split 70/30 into train and validation; the official development set is the test.

    Checkpoints are written as it goes: after Ctrl-C or a crash the same command goes on, and ends with the same
    weights.

    With --align the widths of sub-networks are multiples of steps, with --bounds they are within bounds; whatever is
    done with the run afterwards keeps to that. The options of the device matter to --align target and measured and to
    --front current alone; of these the last two need its profile in the latency table, which `hwnas profile` makes.

    Several processes may train one run: `accelerate launch --num_processes N --multi_gpu --module hwnas train RUN ...`.
    """
    from hwnas.pipeline.train import train_run
    from hwnas.training.processes import agreed, is_everywhere, is_first

    quiet()
    try:
        with agreed():
            spec = run_spec(
                model=model, task=task, data_dir=data_dir, train_file=train_file, test_file=test_file, text=text,
                text_pair=text_pair, label=label, kind=kind, labels=labels, limit_train=limit_train,
                limit_test=limit_test, max_length=max_length, space="small", strategy=strategy, epochs=epochs,
                max_steps=max_steps, batch_size=batch_size, learning_rate=learning_rate, schedule=schedule, k=k,
                temperature=temperature, seed=seed, random_share=random_share, whole_first=whole_first,
                whole_weight=whole_weight, sampling=sampling, front=front_of(train_front), front_share=front_share,
                budget=budget, teacher=teacher, hidden_weight=hidden_weight, attention_weight=attention_weight,
                precision=train_precision,
                accumulate=accumulate, report_to=report_to, logging_dir=absolute(logging_dir), reorder=reorder,
                reorder_after=reorder_after,
            )  # fmt: skip
            spec = with_space(
                spec, space, align, bounds, target=target, runtime=runtime, precision=precision, batch=batch,
                seq_len=seq_len, threads=threads, rounds=rounds, table=table,
            )  # fmt: skip
            folder = run_folder(run, spec.data.task)
            spec = with_law(
                spec, folder, lambda: device_setting(target, runtime, precision, batch, seq_len, threads, rounds), table
            )
        shown: AbstractContextManager[Report | None] = reporter() if is_first() else nullcontext()
        with shown as report:
            supernet = train_run(folder, spec, progress=report)
    except HwnasError as error:
        if is_everywhere(error) and not is_first():
            raise SystemExit(2) from error  # the first process tells it
        raise
    if not is_first():
        return
    if as_json:
        print_json({"run": str(folder.path), "reused": supernet.reused, **supernet.record})
    else:
        print_training(supernet, folder)
