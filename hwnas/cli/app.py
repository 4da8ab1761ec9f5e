"""The `hwnas` program: registers the commands and turns errors into one line and exit code 2."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from hwnas import __version__
from hwnas.cli import baseline, bench, build, compare, doctor, profile, run, search, space, table, targets, train
from hwnas.cli.console import err
from hwnas.errors import HwnasError

app = typer.Typer(
    name="hwnas",
    help="Prune fine-tuned transformers for the device they will run on.\n\n"
    "hwnas fine-tunes one weight-sharing super-network, measures on the device what physically smaller sub-networks "
    "cost, searches for the Pareto front of quality against latency, and builds an engine for each pick.\n\n"
    "`hwnas run` walks the whole road: train, profile, search, build.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        print(f"hwnas {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


for _module, _name in (
    (run, "run"),
    (train, "train"),
    (profile, "profile"),
    (search, "search"),
    (compare, "compare"),
    (build, "build"),
    (baseline, "baseline"),
    (space, "space"),
    (targets, "targets"),
    (doctor, "doctor"),
):
    app.command(_name)(getattr(_module, _name))
app.add_typer(table.table_app, name="table")
app.add_typer(bench.bench_app, name="bench")


_INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

_Refusal: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
"""What Typer raises of unknown commands and options, of values that are no numbers and of numbers out of range."""


def main() -> None:
    """Entry point of the `hwnas` program."""
    try:
        sys.exit(_called())
    except HwnasError as error:
        if os.environ.get("HWNAS_TRACEBACK"):
            raise
        _say_refused(str(error))
        sys.exit(2)
    except KeyboardInterrupt:
        _say_interrupted()
        sys.exit(_INTERRUPTED)
    except SystemExit as end:
        if end.code == _INTERRUPTED:  # Typer makes that of Ctrl-C itself
            _say_interrupted()
        raise


def _called() -> int:
    """Exit code of the command; Typer's own refusals are one line as well."""
    try:
        code = app(standalone_mode=False)
    except typer.Abort:
        return 1
    except _Refusal as error:
        context = getattr(error, "ctx", None)
        if type(error).__name__ == "NoArgsIsHelpError":  # a group without a command
            error.show()  # type: ignore[attr-defined]
        else:
            said = " ".join(error.format_message().split()).rstrip(".")  # type: ignore[attr-defined]
            see = f"; see `{context.command_path} --help`" if context is not None else ""
            _say_refused(f"{said}{see}.")
        return 2
    return code if isinstance(code, int) else 0


def _say_refused(why: str) -> None:
    err.print(f"error: {why}", style="bold red", markup=False, highlight=False)


def _say_interrupted() -> None:
    err.print("interrupted: run the same command again to go on from here.", style="yellow")
