"""What the benchmarks of trained super-networks share: trainings that are each made once, and their rows in a CSV file.

A unit is one training of one task, variant and seed; `--jobs` of them are made at a time. Its rows are written at once,
and a unit whose rows are in the file is not made again, so a command that was killed is started again as it was. A
training that was cut short goes on from its last checkpoint. Options that change a result are part of what a unit is.
"""

from __future__ import annotations

import argparse
import csv
import fcntl
import hashlib
import io
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hwnas.bench.parallel import Job, Report, run_jobs
from hwnas.errors import HwnasError
from hwnas.files import write_at_once
from hwnas.provenance import git_commit, versions

Row = dict[str, Any]
Work = Callable[["Unit", Path, argparse.Namespace], list[Row]]
"""Trains one unit in a folder, with the command's options, and says what it found: one or more rows."""

EPOCHS = {"sst2": 2.0, "stsb": 3.0}
USUAL_EPOCHS = 5.0
"""5 epochs as in Klein et al. 2024; 2 of SST-2, which are more steps than 5 of any other task here, and 3 of STS-B."""

TRAIN_ROWS = {"sst2": 20_000}
"""Examples for the weights; other tasks have all."""

MAX_LENGTH = 128
"""Tokens; that of `hwnas train` and of the GLUE benchmarks. Batches are padded to their own longest example alone."""


@dataclass(frozen=True)
class Unit:
    """One training, and all that its result depends on but the code.

    Attributes:
        task: Name of the task.
        variant: What is compared.
        seed: Seed of the split, the head's weights, the order of examples and the sub-networks.
        epochs, max_steps, learning_rate, batch_size: As in `TrainOptions`.
        train_rows: Examples for the weights, at most.
        max_length: Longest input in tokens.
        judge: Validation examples that networks are judged on, at most; 0 for all.
        test_rows: Test examples, at most.
        model: As for `hwnas train`.
        precision: Of the training.
        more: Options of the benchmark's own that a result depends on.
    """

    task: str
    variant: str
    seed: int
    epochs: float
    max_steps: int | None
    learning_rate: float | None
    batch_size: int
    train_rows: int | None
    max_length: int
    judge: int
    test_rows: int | None
    model: str
    precision: str
    more: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        """What tells it from others, as a CSV file has it."""
        return tuple("" if value is None else str(value) for value in asdict(self).values())

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.task} {self.variant} seed {self.seed}"

    @property
    def folder(self) -> str:
        """Name of a folder of its own."""
        digest = hashlib.sha256("\n".join(self.key).encode()).hexdigest()[:10]
        return f"{self.name.replace(' ', '-')}-{digest}"


FIELDS = tuple(Unit.__dataclass_fields__)


def parse(
    name: str,
    description: str | None,
    *,
    tasks: Sequence[str],
    variants: Sequence[str],
    smoke: Sequence[str],
    train_rows: int | None = None,
    learning_rate: float | None = None,
    judge: int = 1000,
    seeds: Sequence[int] = (0, 1, 2),
    more: Callable[[argparse.ArgumentParser], None] | None = None,
) -> argparse.Namespace:
    """The command's options.

    Args:
        name: Of the benchmark: of its file of rows, and of its folder of work.
        description: The file's docstring.
        tasks, variants: The usual ones.
        smoke: The variants of `--smoke`.
        train_rows, learning_rate, judge: The usual numbers, see `Unit`.
        seeds: The usual ones.
        more: Adds options of the benchmark's own.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(tasks))
    parser.add_argument("--variants", nargs="+", default=None, help=f"default: {' '.join(variants)}")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(seeds))
    parser.add_argument("--epochs", type=float, help=f"default: {USUAL_EPOCHS:g}, 2 for sst2, 3 for stsb")
    parser.add_argument("--max-steps", type=int, help="stop after this many steps instead")
    usual_rate = "that of hwnas train, by steps and model" if learning_rate is None else f"{learning_rate:g}"
    parser.add_argument("--learning-rate", type=float, default=learning_rate, help=f"default: {usual_rate}")
    parser.add_argument("--batch-size", type=int, default=16)
    usual_rows = "all, 20,000 for sst2" if train_rows is None else f"{train_rows:,}"
    parser.add_argument("--train-rows", type=int, default=train_rows, help=f"default: {usual_rows}")
    parser.add_argument("--max-length", type=int, default=MAX_LENGTH, help="tokens of the longest input")
    parser.add_argument("--judge", type=int, default=judge, help="validation examples, at most; 0 for all")
    parser.add_argument("--test-rows", type=int, help="default: all")
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--precision", default="fp32", help="of the training")
    parser.add_argument("--data-dir", type=Path, help="default: HWNAS_DATA, or the hub")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time")
    parser.add_argument("--threads", type=int, default=1, help="of each training")
    parser.add_argument("--work", type=Path, default=Path("runs/benchmarks"), help="folder for checkpoints")
    parser.add_argument(
        "--keep",
        action="store_true",
        help="keep trained weights for other benchmarks that need the same",
    )
    parser.add_argument("--out", type=Path, help=f"CSV file of the rows; default: benchmarks/results/{name}.csv")
    parser.add_argument("--only-table", action="store_true", help="train nothing, show what the file holds")
    parser.add_argument("--smoke", action="store_true", help="few steps on few examples: does everything run?")
    if more is not None:
        more(parser)
    options = parser.parse_args()
    options.kept = options.work / "trained" if options.keep else None
    options.work = options.work / name
    if options.smoke:
        options.tasks, options.seeds = options.tasks[:1], options.seeds[:1]
        options.variants, options.max_steps = options.variants or list(smoke), options.max_steps or 4
        options.train_rows, options.judge, options.test_rows = 64, 32, 32
        if options.out is None:
            options.out = options.work / "smoke.csv"
            if not options.only_table:
                options.out.unlink(missing_ok=True)
    options.variants = options.variants or list(variants)
    options.out = options.out or Path(__file__).resolve().parent / "results" / f"{name}.csv"
    return options


def make_units(options: argparse.Namespace, more: str = "") -> list[Unit]:
    """All that the options ask for; one seed of everything before the next."""
    return [
        Unit(
            task=task,
            variant=variant,
            seed=seed,
            epochs=options.epochs or EPOCHS.get(task, USUAL_EPOCHS),
            max_steps=options.max_steps,
            learning_rate=options.learning_rate,
            batch_size=options.batch_size,
            train_rows=options.train_rows or TRAIN_ROWS.get(task),
            max_length=options.max_length,
            judge=options.judge,
            test_rows=options.test_rows,
            model=options.model,
            precision=options.precision,
            more=more,
        )
        for seed in options.seeds
        for task in options.tasks
        for variant in options.variants
    ]


def run_units(units: Iterable[Unit], work: Work, options: argparse.Namespace) -> bool:
    """Make the units that are not in the file, `--jobs` at a time; False if one failed."""
    wanted = list(units)
    made = {key_of(row) for row in read_rows(options.out)}
    todo = [unit for unit in wanted if unit.key not in made]
    tell(f"{len(wanted)} trainings, {len(wanted) - len(todo)} of them in {options.out}")
    start, known = time.monotonic(), 0

    def watch(ended: int, total: int, text: str) -> None:
        nonlocal known
        if ended > known:
            known, minutes = ended, (time.monotonic() - start) / 60
            tell(f"{ended}/{total} {text}; {minutes:.1f} min, {minutes / ended * (total - ended):.1f} left")

    jobs = [Job(unit.name, (work, unit, options)) for unit in todo]
    failures = run_jobs(jobs, _make, options.jobs, watch=watch)
    for failure in failures:
        tell(f"{failure.trace}{failure.name} failed; the same command tries again.")
    return not failures


def _make(payload: tuple[Work, Unit, argparse.Namespace], report: Report) -> None:
    """One unit; in a process of its own unless one is made at a time."""
    import torch

    from hwnas.cli.prepare import quiet

    work, unit, options = payload
    quiet()
    torch.set_num_threads(options.threads)
    versions_of = {name: value for name, value in versions().items() if name in ("hwnas", "torch", "transformers")}
    facts = {"threads": options.threads, "commit": git_commit(), **versions_of}
    folder = options.work / unit.folder
    with locked(folder):
        # Another command may have made it while this one waited.
        if unit.key not in {key_of(row) for row in read_rows(options.out)}:
            rows = work(unit, folder, options)
            add_rows(options.out, [{**asdict(unit), **row, **facts} for row in rows])
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Inside, no other process holds the folder; it is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        folder.mkdir(parents=True, exist_ok=True)  # who held it may have removed it
        yield
    finally:
        os.close(handle)


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file; none if it is not there."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def key_of(row: dict[str, str]) -> tuple[str, ...]:
    """The key of the unit that a row is of."""
    return tuple(row.get(name, "") for name in FIELDS)


def setting_of(row: dict[str, str]) -> tuple[str, ...]:
    """All of a unit but variant and seed: rows compare within one setting."""
    return tuple(row.get(name, "") for name in FIELDS if name not in ("variant", "seed"))


def add_rows(path: Path, rows: Sequence[Row]) -> None:
    """Add rows to a CSV file, all or none; commands that write to one file take turns."""
    with locked(path.parent):
        old: list[Row] = list(read_rows(path))
        columns = list(dict.fromkeys([*(old[0] if old else ()), *(name for row in rows for name in row)]))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
        writer.writeheader()
        writer.writerows([*old, *rows])
        write_at_once(path, text.getvalue())


def tell(text: str) -> None:
    """A line of progress on standard error."""
    print(text, file=sys.stderr, flush=True)


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Mean and standard deviation of a sample, as text."""
    import numpy as np

    if not len(values):
        return "-"
    deviation = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{deviation}"


def describe_setting(row: dict[str, str]) -> str:
    """A title for rows of one setting."""
    steps = f"{row['max_steps']} steps" if row["max_steps"] else f"{float(row['epochs']):g} epochs"
    batches = f"batches of {row['batch_size']}{asked_rate(row)}"
    return f"{row['task']}, {row['model']}, {row['train_examples']} examples, {steps}, {batches}"


def asked_rate(row: dict[str, str]) -> str:
    """What a title says of `--learning-rate`; nothing where it was the usual one."""
    return f", rate {float(row['learning_rate']):.3g}" if row["learning_rate"] else ""


def by_setting(rows: Iterable[dict[str, str]]) -> dict[tuple[str, ...], list[dict[str, str]]]:
    """Rows of one setting together."""
    groups: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for row in rows:
        groups.setdefault(setting_of(row), []).append(row)
    return groups


def start(main: Callable[[], bool]) -> None:
    """Run a command; it says whether all went well. An error of hwnas is one line."""
    try:
        sys.exit(0 if main() else 1)
    except HwnasError as error:
        sys.exit(f"error: {error}")
