"""`hwnas compare`: how the best architectures of several devices differ."""

from __future__ import annotations

from typing import Annotated

import typer

from hwnas.cli import options
from hwnas.cli.console import out, print_json
from hwnas.cli.prepare import begun_run


def compare(
    run: options.BegunRun = None,
    front: Annotated[
        list[str] | None,
        typer.Option(
            "--front",
            help="Name of a search under RUN/search; give it several times. [default: those of the newest search, or "
            "the newest of each device]",
            show_default=False,
        ),
    ] = None,
    picture: Annotated[
        bool, typer.Option("--picture", help="Draw the fronts side by side too, as RUN/search/fronts.png.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Say how the best architectures of several devices differ at equal levels of error.

    At each level every device has a choice: the member of its front that is cheapest there among those with at most
    that validation error. The table says how wide and deep the choices are, and what the choice of one device costs on
    another beside that one's own. Nothing is searched or measured: `hwnas search --target A --target B` makes fronts.
    """
    from hwnas.pipeline.compare import fronts_to_compare
    from hwnas.report.compare import compare_fronts

    folder = begun_run(run)
    fronts = fronts_to_compare(folder, front)
    found = compare_fronts(list(fronts.values()))
    file = folder.search / "fronts.png"
    if picture:
        from hwnas.pipeline.compare import draw_together

        draw_together(list(fronts.values()), file)
    if as_json:
        print_json({"fronts": list(fronts), **found.to_json()})
        return
    from hwnas.cli.tables_compare import print_comparison

    print_comparison(found)
    if picture:
        out.print(f"side by side in {file}")
