"""`hwnas search`: the Pareto front, for one device or several."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwnas.cli import options
from hwnas.cli import search_options as own
from hwnas.cli.console import out, print_json
from hwnas.cli.prepare import begun_run, quiet
from hwnas.cli.progress import reporter
from hwnas.cli.space_choice import MEASURED
from hwnas.errors import MissingProfileError, TableError, UsageError

if TYPE_CHECKING:
    from hwnas.latency.records import Setting
    from hwnas.latency.table import LatencyTable
    from hwnas.pipeline.folder import RunFolder


def search(
    run: options.BegunRun = None,
    objective: own.Objectives = None,
    searcher: options.SearcherName = "local_search",
    evaluations: options.Evaluations = 100,
    examples: options.Examples = 512,
    max_members: options.MaxMembers = 10,
    align: own.Align = None,
    measure_during: own.MeasureDuring = None,
    remeasure: options.Remeasure = True,
    max_latency: own.MaxLatency = None,
    max_memory: own.MaxMemory = None,
    max_parameters: own.MaxParameters = None,
    max_error_increase: own.MaxErrorIncrease = None,
    target: own.Targets = None,
    runtime: own.Runtimes = None,
    precision: own.Precisions = None,
    batch: options.Batch = 1,
    seq_len: options.SequenceLength = 128,
    threads: options.Threads = 1,
    rounds: options.Rounds = 20,
    table: options.Table = None,
    estimate: own.Estimate = False,
    compare: own.Compare = False,
    seed: options.Seed = 0,
    as_json: options.Json = False,
) -> None:
    """Find the sub-networks that no other beats in both validation error and cost.

    Sub-networks are judged inside the super-network's shared weights; their latency, memory, energy and engine size
    come from the profile of `hwnas profile`, their parameters are counted. At the end the members of the front are
    extracted, measured on this device and tested, and members that turn out to be dominated or beyond a limit are left
    out.

    With several precisions every sub-network competes in each of them. Those on the front are run in their own
    precision and runtime to find their true errors, and are measured in it.

    With several targets every sub-network is judged once and each device gets a front of its own. Of a device that is
    not here, the latency table may hold a profile that was imported (`hwnas table import`): its latencies are then
    predicted, not measured.

    Writes front.json, front.csv, front.png and front-memory.png under RUN/search, with an experiment that Syne Tune
    reads, and for several devices a folder with fronts.png and comparison.json. Evaluations are kept: after a crash,
    and with another target or objective, none is made twice.
    """
    from dataclasses import replace

    from hwnas.latency.table import LatencyTable, default_table_path
    from hwnas.pipeline.baseline import baselines_beside
    from hwnas.pipeline.reach import Shape, find_settings
    from hwnas.pipeline.search import SearchOptions, search_devices
    from hwnas.profilers import TimingProtocol

    requests = own.read_requests(target, runtime, precision)
    if compare and len(requests) < 2:
        raise UsageError("--compare: expected two or more --target; `hwnas compare` compares fronts that are there.")
    shape = Shape(batch, seq_len, threads, TimingProtocol.of_rounds(rounds))
    folder = begun_run(run)
    find_settings(requests, shape, folder, None, estimate=estimate)  # what can be refused is, before anything is made
    choice = SearchOptions(
        objective=tuple(objective or ["latency"]), searcher=searcher, evaluations=evaluations, examples=examples,
        max_members=max_members, seed=seed, limits=own.read_limits(max_latency, max_memory, max_parameters),
        max_error_increase=own.read_increase(max_error_increase),
        align=None if align in (None, MEASURED) else _steps(align, folder, requests[0].name, requests[0].precisions[0]),
        measure_during=measure_during, remeasure=remeasure,
    )  # fmt: skip
    quiet()
    folder.spec()  # no table is made for a run that is not there
    with LatencyTable(table or default_table_path()) as rows, reporter() as report:
        settings = find_settings(requests, shape, folder, rows, estimate=estimate)
        try:
            if align == MEASURED:
                choice = replace(choice, align=_measured_steps(folder, settings[0][0], rows, table))
            found = search_devices(
                folder, settings, rows, choice, names=[request.target for request in requests], progress=report
            )
        except MissingProfileError as error:
            raise error.of(str(folder.path), table) from error
    if as_json and found.overview is None:
        print_json(found.fronts[0].to_json())
        return
    from hwnas.report.compare import compare_fronts

    if as_json:
        comparison = compare_fronts(found.fronts).to_json()
        print_json({"fronts": [front.to_json() for front in found.fronts], "comparison": comparison})
        return
    from hwnas.cli.tables import front_table
    from hwnas.cli.tables_compare import print_comparison

    for front, place in zip(found.fronts, found.places, strict=True):
        out.print(front_table(front, baselines_beside(folder, front)))
        out.print(f"written to {place}")
    if found.overview is not None:
        if compare:
            print_comparison(compare_fronts(found.fronts))
        out.print(f"side by side in {found.overview}")


def _steps(text: str, folder: RunFolder, target: str, precision: str) -> tuple[int, int]:
    """What `--align` asks for."""
    from hwnas.models import get_family
    from hwnas.pipeline.reach import config_of_run
    from hwnas.spaces import parse_align
    from hwnas.targets import get_target

    if text != "target":
        return parse_align(text)
    config = config_of_run(folder)
    head_size = get_family(config).dimensions(config).head_size
    return parse_align(text, target=get_target(target), precision=precision, head_size=head_size)


def _measured_steps(
    folder: RunFolder, setting: Setting, rows: LatencyTable, table: str | None
) -> tuple[int, int] | None:
    """The steps that the sweeps of a device in the table show; None where they show none, and nothing is narrowed."""
    from hwnas.latency.steps import load_steps
    from hwnas.pipeline.reach import ESTIMATE, config_of_run
    from hwnas.spaces.align import ANY

    if setting.runtime == ESTIMATE:
        raise UsageError(
            f"--align measured: nothing is measured on {setting.target}, which is estimated; use --align target, or "
            "give two numbers."
        )
    try:
        steps = load_steps(config_of_run(folder), setting, rows)
    except TableError as error:
        said = error.of(str(folder.path), table) if isinstance(error, MissingProfileError) else error
        raise UsageError(f"--align measured: no steps have been measured: {said}") from error
    return None if steps == ANY else steps
