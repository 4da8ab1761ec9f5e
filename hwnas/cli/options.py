"""Options that several commands share, spelled the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

_DATA, _SPACE, _TRAIN, _DEVICE = "Model and task", "Space", "Training", "Device"
_SEARCH, _BUILD = "Search", "Build"


def option(*names: str, panel: str | None = None, **keywords: Any) -> Any:
    """A `typer.Option` in a panel of the help."""
    return typer.Option(*names, rich_help_panel=panel, **keywords)


Run = Annotated[
    Path | None,
    typer.Argument(help="Run folder. [default: runs/TASK]", show_default=False, metavar="[RUN]"),
]
BegunRun = Annotated[
    Path | None,
    typer.Argument(help="Run folder. [default: the only one in runs]", show_default=False, metavar="[RUN]"),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
# A database holds no larger one.
Seed = Annotated[int, typer.Option("--seed", help="Seed of every random choice.", min=0, max=2**31 - 1)]

Model = Annotated[
    str | None,
    option(
        "--model",
        help="Hugging Face sequence-classification model: hub name or local folder. "
        "[default: the MiniLM of the extra 'demo']",
        panel=_DATA,
        show_default=False,
    ),
]
Task = Annotated[
    str,
    option("--task", help="'docstrings' (embedded), a GLUE task, or a name for the task in --train-file.", panel=_DATA),
]
DataDir = Annotated[
    Path | None,
    option(
        "--data-dir",
        help="Folder with one sub-folder a task. [default: $HWNAS_DATA, else the hub]",
        panel=_DATA,
        show_default=False,
    ),
]
TrainFile = Annotated[
    Path | None, option("--train-file", help="Your own examples: CSV, TSV, JSONL or Parquet.", panel=_DATA)
]
TestFile = Annotated[
    Path | None, option("--test-file", help="Your own test examples; else 20% are held out.", panel=_DATA)
]
Text = Annotated[str, option("--text", help="Column of the text in your files.", panel=_DATA)]
TextPair = Annotated[str | None, option("--text-pair", help="Column of the second text, if any.", panel=_DATA)]
Label = Annotated[str, option("--label", help="Column of the label.", panel=_DATA)]
Kind = Annotated[
    str | None, option("--kind", help="classification or regression, where labels could be either.", panel=_DATA)
]
Labels = Annotated[
    str | None, option("--labels", help="Class names in order, separated by commas; others are refused.", panel=_DATA)
]
LimitTrain = Annotated[
    int | None, option("--limit-train", help="Use at most so many training and validation rows.", panel=_DATA)
]
LimitTest = Annotated[int | None, option("--limit-test", help="Use at most so many test rows.", panel=_DATA)]
MaxLength = Annotated[int, option("--max-length", help="Tokens after which texts are cut.", panel=_DATA, min=8)]

SpaceName = Annotated[
    str | None,
    option(
        "--space",
        help="Search space: small, layer, medium or large. [default: small]",
        panel=_SPACE,
        show_default=False,
    ),
]
Align = Annotated[
    str,
    option(
        "--align",
        help="Steps of widths: none; target, what --target likes in --precision; measured, from the latency table; or "
        "two numbers, of heads and of units, such as 2,64.",
        panel=_SPACE,
    ),
]
BoundsFile = Annotated[
    Path | None,
    option(
        "--bounds",
        help="bounds.json of `hwnas space --budgets`: the bounded space to train and search in.",
        panel=_SPACE,
        show_default=False,
    ),
]
StrategyName = Annotated[
    str,
    option(
        "--strategy",
        help="Super-network strategy: full, kd, sandwich, random, random-linear or standard.",
        panel=_TRAIN,
    ),
]
Epochs = Annotated[float, option("--epochs", help="Passes over the training examples.", panel=_TRAIN)]
MaxSteps = Annotated[int | None, option("--max-steps", help="Train so many steps instead.", panel=_TRAIN)]
BatchSize = Annotated[
    int,
    option(
        "--batch-size", help="Examples in a batch; a step has one from each process, or --accumulate.", panel=_TRAIN
    ),
]
LearningRate = Annotated[
    float | None,
    option(
        "--learning-rate",
        help="Peak learning rate of AdamW. [default: by the model's width, steps, and texts an example; 5e-5 to 4e-4]",
        panel=_TRAIN,
        show_default=False,
    ),
]
Schedule = Annotated[
    str,
    option("--schedule", help="What the learning rate does after its peak: linear, cosine or constant.", panel=_TRAIN),
]
RandomNetworks = Annotated[
    int, option("--k", help="Random sub-networks in a step of 'sandwich', 'kd' and 'full'.", panel=_TRAIN)
]
Temperature = Annotated[
    float,
    option("--temperature", help="Temperature of the distillation of classes; a regression has none.", panel=_TRAIN),
]

RandomShare = Annotated[
    float,
    option(
        "--random-share",
        help="Probability of a random sub-network in 'random'; what that of 'random-linear' rises to.",
        panel=_TRAIN,
    ),
]
WholeFirst = Annotated[
    float,
    option(
        "--whole-first",
        help="Share of the steps, the first ones, that train the whole network alone before the strategy begins.",
        panel=_TRAIN,
    ),
]
WholeWeight = Annotated[
    float | None,
    option(
        "--whole-weight",
        help="Weight of the whole network's loss beside those of a step's other sub-networks: from 1 in the first step "
        "it rises late to this in the last. [default: 7 with kd and full without --teacher, else 1]",
        panel=_TRAIN,
        show_default=False,
    ),
]
Sampling = Annotated[
    str, option("--sampling", help="Draws of random sub-networks: space, encoding or cost.", panel=_TRAIN)
]
TrainFront = Annotated[
    str | None,
    option(
        "--front",
        help="What draws are near to: the front.json of a search, or 'current', the front of the training itself, by "
        "the latency table of the device.",
        panel=_TRAIN,
        show_default=False,
    ),
]
FrontShare = Annotated[float, option("--front-share", help="Probability of a draw near the front.", panel=_TRAIN)]
Budget = Annotated[
    float | None,
    option("--budget", help="Mean cost of a step, in passes of the whole network.", panel=_TRAIN, show_default=False),
]
Teacher = Annotated[
    str | None,
    option(
        "--teacher",
        help="Fine-tuned classifier with the same labels that teaches all sub-networks.",
        panel=_TRAIN,
        show_default=False,
    ),
]
HiddenWeight = Annotated[
    float | None,
    option(
        "--hidden-weight",
        help="Weight of the distillation of hidden states. [default: 0.2 where sub-networks learn from the whole "
        "network, 0 with --teacher]",
        panel=_TRAIN,
        show_default=False,
    ),
]
AttentionWeight = Annotated[
    float, option("--attention-weight", help="Weight of the distillation of attention relations.", panel=_TRAIN)
]
TrainPrecision = Annotated[
    str, option("--train-precision", help="Arithmetic of the training: fp32, bf16 or fp16.", panel=_TRAIN)
]
Accumulate = Annotated[int, option("--accumulate", help="Batches whose gradients a step adds up.", panel=_TRAIN)]
ReportTo = Annotated[
    str, option("--report-to", help="Logging integrations of transformers, separated by commas.", panel=_TRAIN)
]
LoggingDir = Annotated[
    Path | None,
    option(
        "--logging-dir", help="Folder of TensorBoard's files. [default: RUN/logs]", panel=_TRAIN, show_default=False
    ),
]
Reorder = Annotated[
    str | None,
    option(
        "--reorder",
        help="Importance score that orders heads and units before the training: first-order, removal, or movement (of "
        "a model that is not trained meanwhile).",
        panel=_TRAIN,
        show_default=False,
    ),
]
ReorderAfter = Annotated[
    str,
    option(
        "--reorder-after",
        help="The same after the training, by scores of the trained weights, or movement, by the sums over its steps; "
        "none leaves the order.",
        panel=_TRAIN,
    ),
]

RUNTIMES = "bitsandbytes, onnxruntime, openvino, tensorrt, tensorrt-rtx, torch or torch-compile"
"""Names of the profilers, for helps: nothing is imported for them."""

PRECISIONS = "fp32, fp16, bf16, int8, int8-dynamic, nf4 or fp4"
"""The same of precisions; a runtime has some of them."""

TargetName = Annotated[str, option("--target", help="Device; `hwnas targets` lists them.", panel=_DEVICE)]
Runtime = Annotated[
    str, option("--runtime", help=f"Runtime that runs and times the networks: {RUNTIMES}.", panel=_DEVICE)
]
Precision = Annotated[
    str,
    option(
        "--precision", help=f"Arithmetic of the timed networks, as the runtime has it: {PRECISIONS}.", panel=_DEVICE
    ),
]
FloatPrecision = Annotated[
    str, option("--precision", help="Arithmetic of the timed networks: fp32, fp16 or bf16.", panel=_DEVICE)
]
Batch = Annotated[int, option("--batch", help="Inputs per inference.", min=1, panel=_DEVICE)]
SequenceLength = Annotated[
    int, option("--seq-len", help="Tokens per input of the timed networks.", min=1, panel=_DEVICE)
]
Threads = Annotated[int, option("--threads", help="Processor threads of one inference.", min=1, panel=_DEVICE)]
Remeasure = Annotated[
    bool,
    typer.Option(
        "--remeasure/--no-remeasure",
        help="Measure rows again that were taken while the device was disturbed, up to 3 times in all.",
        rich_help_panel=_DEVICE,
    ),
]
Rounds = Annotated[
    int,
    option(
        "--rounds",
        help="Rounds of timing, and at most twice as many while intervals are wide. Rows of other rounds are others.",
        min=1,
        panel=_DEVICE,
    ),
]
Table = Annotated[
    str | None,
    option(
        "--table",
        help="Latency table: a SQLite file or a PostgreSQL URL. [default: in the user's cache folder]",
        panel=_DEVICE,
        show_default=False,
    ),
]
Networks = Annotated[
    int, option("--networks", help="Most networks to measure for the fit, 6 to 30.", min=6, max=30, panel=_DEVICE)
]
Holdout = Annotated[int, option("--holdout", help="Further random networks that judge the fit.", min=1, panel=_DEVICE)]

ObjectiveName = Annotated[
    str,
    option(
        "--objective",
        help="What to trade against the error: latency, memory, energy, parameters or engine-size.",
        panel=_SEARCH,
    ),
]
SearcherName = Annotated[
    str,
    option(
        "--searcher",
        help="random_search, local_search, regularized_evolution, nsga2, ehvi, qlognehvi or exhaustive.",
        panel=_SEARCH,
    ),
]
Evaluations = Annotated[int, option("--evaluations", help="Sub-networks to try.", min=3, panel=_SEARCH)]
Examples = Annotated[
    int, option("--examples", help="Validation examples that judge each; 0 takes all.", min=0, panel=_SEARCH)
]
MaxMembers = Annotated[
    int, option("--max-members", help="Most members of the front to extract and measure.", min=2, panel=_SEARCH)
]

BuildTarget = Annotated[str, option("--target", help="Device to build for; `hwnas targets` lists them.", panel=_BUILD)]
BuildPrecision = Annotated[
    str, option("--precision", help="Arithmetic of the engine: fp32, fp16 or bf16.", panel=_BUILD)
]
