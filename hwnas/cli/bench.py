"""`hwnas bench`: the paper's experiments, run and drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hwnas.cli import options
from hwnas.cli.console import out, print_json

_WHAT, _SCALE = "What is run", "Scale"

bench_app = typer.Typer(
    name="bench",
    help="Run and draw the experiments of Klein et al. 2024.\n\n"
    "`hwnas bench ls` lists the figures. `hwnas bench run FIGURE` does what a figure needs, in several processes if "
    "asked to; after Ctrl-C or a crash the same command goes on. `hwnas bench plot FIGURE` draws what is there, "
    "`hwnas bench export TO` writes it for Syne Tune.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

FigureName = Annotated[
    str, typer.Argument(help="Number of a figure; `hwnas bench ls` lists them.", metavar="FIGURE", show_default=False)
]
Folder = Annotated[
    Path, typer.Option("--folder", help="Folder of super-networks and results; figures share what they can.")
]
Only = Annotated[
    str,
    typer.Option(
        "--only",
        help="Only these of what the figure compares (searchers, spaces or strategies), separated by commas.",
        rich_help_panel=_WHAT,
        show_default=False,
    ),
]
Method = Annotated[
    str | None,
    typer.Option(
        "--method",
        help="Another searcher, for figures that do not compare searchers.",
        rich_help_panel=_WHAT,
        show_default=False,
    ),
]
_DEFAULT = Path("runs") / "bench"


def _scale(*names: str, **keywords: Any) -> Any:
    return typer.Option(*names, rich_help_panel=_SCALE, **keywords)


@bench_app.command("run")
def run(
    figure: FigureName,
    budget: Annotated[
        int,
        typer.Option(
            "--budget",
            help="Sub-networks that every search evaluates; whole trainings that MO-ASHA spends on more of them.",
            rich_help_panel=_WHAT,
        ),
    ] = 100,
    tasks: Annotated[
        str, typer.Option("--tasks", help="Tasks, separated by commas.", rich_help_panel=_WHAT)
    ] = "sst2,rte,cola,mrpc,stsb",
    seeds: Annotated[int, typer.Option("--seeds", help="How many seeds, from 0.", rich_help_panel=_WHAT)] = 3,
    only: Only = "",
    method: Method = None,
    jobs: Annotated[
        int, typer.Option("--jobs", help="Processes that work at once, each with one thread.", rich_help_panel=_WHAT)
    ] = 1,
    trials_at_once: Annotated[
        int,
        typer.Option(
            "--trials-at-once",
            help="Sub-networks that a search of standard NAS trains at once, each in a process with one thread.",
            rich_help_panel=_WHAT,
        ),
    ] = 1,
    folder: Folder = _DEFAULT,
    model: options.Model = None,
    data_dir: options.DataDir = None,
    limit_train: options.LimitTrain = None,
    limit_test: options.LimitTest = None,
    max_length: options.MaxLength = 128,
    examples: Annotated[
        int, _scale("--examples", help="Validation examples that judge each sub-network; 0 takes all.")
    ] = 512,
    align: Annotated[
        str,
        _scale("--align", help="Steps of heads and of units in the search spaces, such as 3,384; none: every width."),
    ] = "none",
    epochs: options.Epochs = 2.0,
    max_steps: options.MaxSteps = None,
    batch_size: options.BatchSize = 16,
    learning_rate: options.LearningRate = None,
    k: options.RandomNetworks = 2,
    temperature: options.Temperature = 10.0,
    rounds: Annotated[int, _scale("--rounds", help="Rounds of timing, for figures with measured latencies.")] = 20,
    as_json: options.Json = False,
) -> None:
    """Do what a figure needs and the folder does not hold yet.

    A unit of work is one search on one task with one seed: its result is a CSV file in FOLDER/results, with model,
    steps, versions and commit in every row. Units of the same task, space, strategy and seed share one super-network,
    or in standard NAS the sub-networks that one of them has trained, and figures that compare the same share units.
    Nothing is done twice: after Ctrl-C or a crash the same command goes on with the next evaluation. Strategies are
    those of the figure.

    A folder is of one scale: other steps, another model or other data need another folder. More tasks, seeds,
    evaluations and figures go into the same one.
    """
    from hwnas.bench.figures import get_figure
    from hwnas.bench.folder import BenchFolder
    from hwnas.bench.run import run_figure
    from hwnas.bench.scale import Scale, paper_options
    from hwnas.cli.prepare import absolute, quiet
    from hwnas.cli.progress import reporter

    chosen = get_figure(figure)
    train = paper_options(
        epochs=epochs, max_steps=max_steps, batch_size=batch_size, learning_rate=learning_rate, k=k,
        temperature=temperature,
    )  # fmt: skip
    scale = Scale(
        model=model, data_dir=absolute(data_dir), limit_train=limit_train, limit_test=limit_test,
        max_length=max_length, examples=examples, align=_steps(align), rounds=rounds, train=train,
    )  # fmt: skip
    quiet()
    place = BenchFolder(folder)
    with reporter() as report:
        outcome = run_figure(
            place, chosen, scale, tasks=_names(tasks), seeds=seeds, evaluations=budget, only=_names(only),
            method=method, jobs=jobs, trials_at_once=trials_at_once, watch=report,
        )  # fmt: skip
    if as_json:
        done = [{"unit": unit.name, "file": str(place.results(unit))} for unit in outcome.units]
        print_json({"figure": figure, "folder": str(folder), "made": outcome.made, "units": done})
    else:
        out.print(
            f"figure {figure}: {len(outcome.units)} units done, {outcome.made} of them just now; results in "
            f"{place.path / 'results'}; `hwnas bench plot {figure} --folder {folder}` draws them",
            markup=False,
            highlight=False,
        )


@bench_app.command("ls")
def ls(folder: Folder = _DEFAULT, as_json: options.Json = False) -> None:
    """List the figures: what each compares, and how many of its units are done.

    With --json also what each follows, and what it lacks against the paper.

    A unit is one search, or one network, on one task with one seed; units that several figures need count for each.
    """
    from hwnas.bench.figures import FIGURES
    from hwnas.bench.folder import BenchFolder
    from hwnas.bench.units import unit_of

    place = BenchFolder(folder)
    units = [place.read(path)[0] for path in place.units()]
    model = place.scale().model if units else None
    rows = []
    for figure in FIGURES.values():
        series = figure.series()
        done = sum(
            any(unit_of(entry, unit.task, unit.seed, unit.evaluations) == unit for entry in series)
            for unit in (units if figure.is_of(model) else ())
        )
        rows.append(
            {
                "figure": figure.name,
                "compares": figure.title,
                "series": [entry.name for entry in series],
                "units_done": done,
                "source": figure.source,
                "missing": list(figure.missing),
            }
        )
    if as_json:
        print_json(rows)
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, title=f"figures; units done are those in {folder}", title_justify="left")
    for name in ("figure", "compares", "series", "units done"):
        table.add_column(name, justify="right" if name == "units done" else "left", overflow="fold")
    for row in rows:
        table.add_row(str(row["figure"]), str(row["compares"]), ", ".join(row["series"]), str(row["units_done"]))  # type: ignore[arg-type]
    out.print(table)


@bench_app.command("plot")
def plot(
    figure: FigureName,
    folder: Folder = _DEFAULT,
    to: Annotated[
        Path | None,
        typer.Option("--out", help="PNG file to write. [default: figure-FIGURE.png in the folder]", show_default=False),
    ] = None,
    over: Annotated[
        str, typer.Option("--over", help="What curves run over: evaluations, or time as in the paper.")
    ] = "evaluations",
    budget: Annotated[
        int | None,
        typer.Option(
            "--budget",
            help="Draw searches of so many evaluations. [default: the most that there are]",
            min=1,
            rich_help_panel=_WHAT,
            show_default=False,
        ),
    ] = None,
    only: Only = "",
    tasks: Annotated[
        str,
        typer.Option(
            "--tasks",
            help="Only these tasks, separated by commas. [default: all that are there]",
            rich_help_panel=_WHAT,
            show_default=False,
        ),
    ] = "",
    method: Method = None,
    as_json: options.Json = False,
) -> None:
    """Draw a figure of what the folder holds, as PNG, and write the numbers in it as CSV beside it.

    The scale is written on the picture: model, steps, evaluations, seeds. Tasks and seeds that not every series was
    run with are left out, and the picture says so.
    """
    from hwnas.bench.figures import get_figure
    from hwnas.bench.folder import BenchFolder
    from hwnas.bench.pictures import make_picture
    from hwnas.cli.prepare import quiet
    from hwnas.errors import RunFolderError
    from hwnas.report.bench import plot_picture

    chosen = get_figure(figure)
    quiet()
    picture = make_picture(
        BenchFolder(folder), chosen, only=_names(only), tasks=_names(tasks), method=method, evaluations=budget,
        over=over,  # type: ignore[arg-type]
    )  # fmt: skip
    path = to if to is not None else folder / f"figure-{figure}.png"
    try:
        plot_picture(picture, path)
    except OSError as error:
        raise RunFolderError(f"cannot write {path} ({error.strerror}); give another --out.") from error
    if as_json:
        print_json({"picture": str(path), "scale": picture.scale, "notes": list(picture.notes), "rows": picture.rows()})
    else:
        out.print(f"written to {path} and {path.with_suffix('.csv')}", markup=False, highlight=False)
        out.print(picture.scale, markup=False, highlight=False)
        for note in picture.notes:
            out.print(note, markup=False, highlight=False)


@bench_app.command("export")
def export(
    to: Annotated[Path, typer.Argument(help="Folder that gets a folder for each search.", metavar="TO")],
    folder: Folder = _DEFAULT,
    as_json: options.Json = False,
) -> None:
    """Write every search as an experiment of Syne Tune, for its own tools and plots.

    `syne_tune.experiments.load_experiment(NAME, local_path=TO)` reads one. Its metrics are the quality on the
    validation examples and the share of parameters that is pruned, both maximised; its times are those of the
    evaluations and of the searcher, without the training of a super-network.
    """
    from hwnas.bench.export import export_experiments
    from hwnas.bench.folder import BenchFolder

    places = export_experiments(BenchFolder(folder), to)
    if as_json:
        print_json({"experiments": [str(place) for place in places]})
    else:
        out.print(f"{len(places)} experiments written to {to}", markup=False, highlight=False)


def _steps(text: str) -> tuple[int, int]:
    from hwnas.errors import UsageError
    from hwnas.spaces import parse_align

    if text in ("target", "measured"):
        raise UsageError(f"--align {text}: a benchmark has no target; give two numbers such as 3,384 (heads, units).")
    return parse_align(text)


def _names(text: str) -> list[str]:
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
