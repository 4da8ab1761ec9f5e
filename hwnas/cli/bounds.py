"""The part of `hwnas space` that finds bounds: its options, the calls, and what is printed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwnas.cli.console import out
from hwnas.errors import UsageError

if TYPE_CHECKING:
    from hwnas.importance import Bounds
    from hwnas.latency.predictor import Predictor
    from hwnas.pipeline.folder import RunFolder
    from hwnas.pipeline.space import Budgets
    from hwnas.pipeline.spec import RunSpec

_PANEL = "Bounds"
BOUNDS_FILE = "bounds.json"
MINIMUM, MAXIMUM, COST, SCORE, EXAMPLES = "50%", "100%", "latency", "first-order", 512
"""Usual values of the options."""

Count = Annotated[
    int | None,
    typer.Option(
        "--budgets",
        help="Find bounds of every block's width from so many budgets, evenly spread, and write bounds.json.",
        min=2,
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
Minimum = Annotated[
    str,
    typer.Option(
        "--min-budget",
        help="Smallest budget: a share of the whole network such as 50%, or a number of --cost.",
        rich_help_panel=_PANEL,
    ),
]
Maximum = Annotated[str, typer.Option("--max-budget", help="Largest budget, in the same way.", rich_help_panel=_PANEL)]
CostName = Annotated[
    str,
    typer.Option(
        "--cost",
        help="What is budgeted: latency, in ms, from the table of `hwnas profile`; or macs, in millions.",
        rich_help_panel=_PANEL,
    ),
]
Score = Annotated[
    str,
    typer.Option(
        "--score",
        help="Importance score of heads and units: first-order, removal, or movement (of a model that is not trained "
        "meanwhile).",
        rich_help_panel=_PANEL,
    ),
]
ScoreExamples = Annotated[
    int,
    typer.Option("--score-examples", help="Training examples to score on; 0 takes all.", min=0, rich_help_panel=_PANEL),
]


def refuse_unused(minimum: str, maximum: str, cost: str, score: str, examples: int) -> None:
    """UsageError if an option was given that has no effect without --budgets."""
    given = {
        "--min-budget": minimum != MINIMUM,
        "--max-budget": maximum != MAXIMUM,
        "--cost": cost != COST,
        "--score": score != SCORE,
        "--score-examples": examples != EXAMPLES,
    }
    for name, changed in given.items():
        if changed:
            raise UsageError(f"{name} has no effect without --budgets, the number of budgets to find bounds for.")


def wanted(count: int, minimum: str, maximum: str, cost: str, score: str) -> Budgets:
    """The budgets that the options describe; what cannot be is refused before anything is loaded."""
    from hwnas.errors import UnknownNameError
    from hwnas.importance import method_names
    from hwnas.pipeline.space import Budgets

    if score not in method_names():
        raise UnknownNameError("importance score", score, method_names())
    return Budgets(count, minimum, maximum, cost)


def find(
    folder: RunFolder,
    budgets: Budgets,
    *,
    model: str | None,
    task: str,
    data_dir: Path | None,
    method: str,
    examples: int,
    predictor: Predictor | None,
    seq_len: int,
    align: tuple[int, int],
    min_layers: int,
    seed: int,
) -> tuple[Bounds, dict[str, Any]]:
    """Bounds by scores of training data, and what is to be known of them.

    A run that has begun says model, examples, length and seed of the split; its trained weights are scored if there
    are some. Without a run, examples are as long as the model takes, at most as long as a run has them by default.

    Args:
        folder: The run, if it has begun.
        budgets: The budgets.
        model, task, data_dir: What to score without a run.
        method: Name of the score.
        examples: Training examples to score on; 0 for all.
        predictor: For budgets of latency.
        seq_len: Tokens, for budgets of multiply-adds.
        align, min_layers: Of the space.
        seed: Seed of the draw of examples, and of the head without a run.
    """
    from hwnas.cli.progress import reporter
    from hwnas.models import get_family
    from hwnas.pipeline.space import COSTS, bounds_from, scored_model, training_scores
    from hwnas.pipeline.spec import DataSpec, RunSpec
    from hwnas.pipeline.train import load_data

    if folder.exists():
        spec, examples_of = folder.spec(), load_data(folder)
    else:
        data = DataSpec(task=task, data_dir=None if data_dir is None else str(data_dir))
        spec = RunSpec(model=model, data=data, seed=seed)
        examples_of = data.load(seed)
    with reporter() as report:
        module, tokenizer, weights = scored_model(
            folder, model=spec.model, task=examples_of, seed=spec.seed, progress=report
        )
        scores = training_scores(
            module, tokenizer, examples_of,
            max_length=min(spec.max_length, int(tokenizer.model_max_length)),
            method=method, examples=examples, seed=seed,
        )  # fmt: skip
        report("score", 1, 1, f"{scores.examples} training examples")
    found = bounds_from(
        scores,
        get_family(module.config).dimensions(module.config),
        budgets,
        predictor=predictor,
        sequence_length=seq_len,
        align=align,
        min_layers=min_layers,
    )
    about = {
        "options": _options(spec),
        "task": examples_of.name,
        "weights": weights,
        "score": scores.method,
        "training_examples": scores.examples,
        "cost": budgets.cost,
        "unit": COSTS[budgets.cost][1],
        "sequence_length": seq_len,
    }
    return found, about


def _options(spec: RunSpec) -> str:
    """Model and data of a spec as options of `hwnas train`; columns and limits are left out."""
    own = spec.data.train_file
    data = f"--task {spec.data.task}" if own is None else f"--train-file {own}"
    return data if spec.model is None else f"--model {spec.model} {data}"


def print_bounds(found: Bounds, about: dict[str, Any], file: Path) -> None:
    """A row a budget, a row a layer, and what to do with them."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from hwnas.training.movement import MOVEMENT

    title = f"Bounds by {about['score']} scores of {about['training_examples']} training examples"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for name in (f"budget [{about['unit']}]", "cost", "widest network"):
        table.add_column(name.replace("[", "\\["), justify="left" if name == "widest network" else "right")
    for budget, cost, network in zip(found.budgets, found.costs, found.networks, strict=True):
        table.add_row(f"{budget:,.4g}", f"{cost:,.4g}", str(network))
    out.print(table)
    pairs = zip(found.space.head_bounds, found.space.unit_bounds, strict=True)
    for layer, (heads, units) in enumerate(pairs):
        out.print(f"layer {layer}: {heads[0]} to {heads[1]} heads, {units[0]} to {units[1]} units", highlight=False)
    # Movement scores of what has not been trained say nothing.
    order = "first-order" if about["score"] == MOVEMENT else about["score"]
    out.print(
        f"train in them: hwnas train NEW_RUN {about['options']} --bounds {file} --reorder {order}", highlight=False
    )
    out.print(
        f"the bounds say how many, not which: they come from scores of the {about['weights']} weights, but --reorder "
        "scores what NEW_RUN starts from, so its first heads and units need not be those kept here",
        highlight=False,
    )
