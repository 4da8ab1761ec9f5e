"""Units that measure: members of a search's front, and the whole network in several precisions, on this processor."""

from __future__ import annotations

from dataclasses import replace

from hwnas.bench.exam import Exam
from hwnas.bench.figures import PRECISIONS
from hwnas.bench.folder import BenchFolder
from hwnas.bench.quantised import calibration, front_rows, setting_of, timed, whole_row
from hwnas.bench.scale import Scale
from hwnas.bench.search import provenance
from hwnas.bench.supernet import Report, load
from hwnas.bench.units import Unit
from hwnas.errors import BuildError, ProfilerError
from hwnas.latency.measure import measure
from hwnas.latency.table import LatencyTable
from hwnas.search.pareto import thin
from hwnas.search.search import FLOAT32
from hwnas.slicing.extract import extract

MEMBERS = 8
"""Most members of a front that are measured."""


def latency_unit(folder: BenchFolder, scale: Scale, unit: Unit, report: Report) -> None:
    """Measure a front and the whole network, and write a row for each.

    Members have the test errors of the search. Nothing else may run meanwhile. What the folder's table holds is taken
    from there.

    Raises:
        ProfilerError, BuildError: The runtime refuses a network in float32. A quantised one that it refuses, or that
            is too far from PyTorch's answers, has no row; the column `refused` says why.
        RunFolderError: The search that the unit starts from is not done.
    """
    assert unit.needs is not None
    _, searched, _ = folder.read(folder.results(unit.needs))
    task = scale.load(unit.task, unit.seed)
    network = load(folder, scale, unit)
    exam = Exam(task, network.tokenizer, scale, unit.seed)
    # The whole network is measured below, beside its quantised twins.
    members = [row for row in front_rows(searched) if row.share < 1]
    if members:
        errors = [(float(row.parameters), float(row.error or 0.0)) for row in members]
        members = [members[index] for index in thin(errors, MEMBERS)]
    config, rows, refused = network.model.config, [], []
    with LatencyTable(folder.table) as table:
        setting = setting_of(scale, FLOAT32)
        found = measure(
            config,
            [row.architecture for row in members],
            setting,
            table,
            models=[extract(network.model, row.architecture) for row in members],
            progress=lambda stage, done, total: report(done, total, stage),
            seed=unit.seed,
        )
        rows += [
            timed(replace(row, number=number, seconds=None, searcher_seconds=None, elapsed=None), latency, setting)
            for number, (row, latency) in enumerate(zip(members, found, strict=True))
        ]
        for name in (FLOAT32, *PRECISIONS):
            setting = setting_of(scale, name)
            report(0, 1, name)
            try:
                row = whole_row(folder, network, exam, scale, unit, setting, len(rows))
                (latency,) = measure(
                    config,
                    [row.architecture],
                    setting,
                    table,
                    models=[extract(network.model, row.architecture)],
                    seed=unit.seed,
                    calibration=calibration(network, exam, scale, unit, setting),
                )
            except (BuildError, ProfilerError) as error:
                if name == FLOAT32:
                    raise
                refused.append(f"{name} of {unit.task} seed {unit.seed} ({error})")  # the others stand without it
                continue
            rows.append(timed(row, latency, setting))
    folder.write(unit, rows, {**provenance(scale, unit, exam, network), "refused": "; ".join(refused)})
