"""Where a benchmark is kept: super-networks, evaluations, and a CSV file for every unit that is done.

FOLDER/bench.json          the scale, which all results in the folder share
FOLDER/supernets/NAME      trained super-networks
FOLDER/evaluations/UNIT    errors of the unit's sub-networks, each on the disk before the next is sought; standard
                           NAS has a file for each task, space and seed, and for each unit the order of what came
FOLDER/results/UNIT.csv    a row for each sub-network; a unit is done when it is there
FOLDER/failures/UNIT.txt   what went wrong, until the unit is done
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hwnas.bench.scale import Scale
from hwnas.bench.units import Unit
from hwnas.errors import HwnasError, RunFolderError
from hwnas.files import is_temporary, write_at_once
from hwnas.locks import lock
from hwnas.provenance import git_commit, versions
from hwnas.spaces import Architecture
from hwnas.targets import detect_devices, fingerprint
from hwnas.training.pretrained import EMBEDDED

SCHEMA = 1
"""Version of the layout of `bench.json` and of the rows."""

_PACKAGES = ("torch", "transformers", "syne-tune", "botorch", "pymoo", "moocore", "onnxruntime")


@dataclass(frozen=True)
class Row:
    """One sub-network of a unit. Fields that a unit has no value for are None.

    Attributes:
        number: Counts the unit's proposals from 0. Rows are in the order in which evaluations ended.
        architecture: The sub-network.
        precision: Precision of the network that errors and latency are of.
        error: 1 - quality on the validation examples.
        test_error: 1 - quality on the test split; found for the front, and for the whole network.
        parameters: Parameters of the extracted module.
        share: Parameters as a share of the whole network's.
        seconds: What the evaluation took; 0 where the sub-network had been proposed before.
        searcher_seconds: What the searcher took to propose it and to take in its result.
        elapsed: Seconds of all evaluations and of the searcher up to here.
        spent: Evaluations up to here, in whole ones: those that failed count, and of one that was stopped its share.
        latency, latency_low, latency_high: Measured seconds for one input, with the 95% interval.
        flags: What speaks against the measurement, separated by spaces; `stopped:1/9` of a training that was stopped.
        setting: Where the network was run for its errors or timed, as JSON: device, runtime and its version, precision,
            batch, tokens, threads, protocol. Empty for views, which PyTorch runs, and in rows of earlier versions.
        runs: Timed runs.
    """

    number: int
    architecture: Architecture
    precision: str
    error: float | None
    test_error: float | None
    parameters: int
    share: float
    seconds: float | None = None
    searcher_seconds: float | None = None
    elapsed: float | None = None
    spent: float | None = None
    latency: float | None = None
    latency_low: float | None = None
    latency_high: float | None = None
    flags: str = ""
    setting: str = ""
    runs: float | None = None


_WHOLE = ("number", "parameters")
_TEXT = ("precision", "flags", "setting")
_LATER = ("spent", "setting", "runs")
"""Columns that rows of earlier versions lack."""


class BenchFolder:
    """The folder of a benchmark and the places in it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def table(self) -> Path:
        """The latency table of figures with measured latencies."""
        return self.path / "latencies.sqlite"

    def supernet(self, name: str) -> Path:
        """Where a trained super-network is."""
        return self.path / "supernets" / name

    def checkpoints(self, name: str) -> Path:
        """Where a super-network's checkpoints are while it trains."""
        return self.path / "checkpoints" / name

    def evaluations(self, unit: Unit) -> Path:
        """The file of a unit's errors."""
        return self.path / "evaluations" / f"{unit.name}.jsonl"

    def trainings(self, unit: Unit) -> Path:
        """The file of what standard NAS has trained, which units of the same task, space and seed share."""
        return self.path / "evaluations" / f"{unit.task}-{unit.approach}-{unit.space}-seed{unit.seed}.jsonl"

    def order(self, unit: Unit) -> Path:
        """The file of the order in which a unit of standard NAS heard of its results."""
        return self.evaluations(unit).with_suffix(".order.jsonl")

    def results(self, unit: Unit) -> Path:
        """The file of a unit's rows."""
        return self.path / "results" / f"{unit.name}.csv"

    def failure(self, name: str) -> Path:
        """Where it is said why a unit failed."""
        return self.path / "failures" / f"{name}.txt"

    def done(self, unit: Unit) -> bool:
        """Whether a unit's rows are there."""
        return self.results(unit).is_file()

    def scale(self) -> Scale:
        """The scale of the results in the folder.

        Raises:
            RunFolderError: There is none, it is damaged, or newer than this hwnas.
        """
        file = self.path / "bench.json"
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
            if data["schema"] > SCHEMA:
                raise RunFolderError(f"{file} was written by a newer hwnas; upgrade hwnas.")
            return Scale.from_json(data["scale"])
        except FileNotFoundError as error:
            raise RunFolderError(
                f"{self.path} is no folder of a benchmark; `hwnas bench run FIGURE --folder {self.path}` makes one."
            ) from error
        except RunFolderError:
            raise
        except OSError as error:
            raise RunFolderError(f"cannot read {file} ({error.strerror}).") from error
        except (ValueError, KeyError, TypeError, HwnasError) as error:
            raise RunFolderError(f"{file} is damaged ({error}); give another --folder.") from error

    def check(self, scale: Scale) -> None:
        """Check that results of a scale can be kept here; writes nothing.

        Raises:
            RunFolderError: The folder is of another scale, or holds something else; the message names the first
                difference.
        """
        if (self.path / "bench.json").is_file():
            difference = self.scale().difference(scale)
            if difference is not None:
                name, old, new = difference
                raise RunFolderError(
                    f"{self.path} holds results with {name} {old!r}, not {new!r}; give another --folder, or the same "
                    "options."
                )
            return
        if self.path.exists() and (not self.path.is_dir() or any(map(_is_foreign, self.path.iterdir()))):
            raise RunFolderError(f"{self.path} holds something else; give an empty or a new --folder.")

    def begin(self, scale: Scale) -> None:
        """Write the scale, unless it is there; errors as of `check`, or the folder cannot be written."""
        self.check(scale)
        if (self.path / "bench.json").is_file():
            return
        try:
            content = {"schema": SCHEMA, "scale": scale.to_json()}
            write_at_once(self.path / "bench.json", json.dumps(content, indent=1) + "\n")
        except OSError as error:
            raise RunFolderError(f"cannot write to {self.path} ({error.strerror}); give another --folder.") from error

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other runs out of the folder; the lock ends with the process, however it ends.

        Raises:
            RunFolderError: Another run works in it, or it cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            file = (self.path / ".lock").open("w")
        except OSError as error:
            raise RunFolderError(f"cannot write to {self.path} ({error.strerror}); give another --folder.") from error
        with file:
            try:
                free = lock(file.fileno(), wait=False)
            except OSError as error:
                raise RunFolderError(f"cannot lock {self.path} ({error.strerror}); give another --folder.") from error
            if not free:
                raise RunFolderError(
                    f"another `hwnas bench run` works in {self.path}; wait for it, or give another --folder."
                )
            yield

    def write(self, unit: Unit, rows: Sequence[Row], about: Mapping[str, Any]) -> None:
        """Write a unit's rows at once; with them the unit is done.

        Args:
            unit: The unit.
            rows: Its rows.
            about: Metric, steps, numbers of examples and so on, the same in every row. JSON types.
        """
        provenance = {
            **about,
            **versions(_PACKAGES),
            "machine": "; ".join(map(fingerprint, detect_devices())),
            "commit": git_commit(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "schema": SCHEMA,
        }
        text = io.StringIO()
        names = [entry.name for entry in fields(Unit)] + [entry.name for entry in fields(Row)] + list(provenance)
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            cells = {entry.name: getattr(row, entry.name) for entry in fields(Row)}
            cells["architecture"] = json.dumps(row.architecture.to_json(masks=True), separators=(",", ":"))
            writer.writerow({**asdict(unit), **cells, **provenance})
        write_at_once(self.results(unit), text.getvalue())
        self.failure(unit.name).unlink(missing_ok=True)

    def read(self, path: Path) -> tuple[Unit, list[Row], dict[str, str]]:
        """A unit, its rows, and what all rows share as text.

        Raises:
            RunFolderError: The file is damaged, or newer than this hwnas.
        """
        try:
            with path.open(encoding="utf-8", newline="") as file:
                lines = list(csv.DictReader(file))
            if int(lines[0]["schema"]) > SCHEMA:
                raise RunFolderError(f"{path} was written by a newer hwnas; upgrade hwnas.")
            first = {entry.name: lines[0][entry.name] for entry in fields(Unit)}
            unit = Unit(**{**first, "seed": int(first["seed"]), "evaluations": int(first["evaluations"])})  # type: ignore[arg-type]
            return unit, [_row(line) for line in lines], {str(key): str(value) for key, value in lines[0].items()}
        except RunFolderError:
            raise
        except (OSError, ValueError, KeyError, TypeError, IndexError, HwnasError) as error:
            raise RunFolderError(f"{path} is damaged ({error}); delete it and run the figure again.") from error

    def units(self) -> list[Path]:
        """The files of all units that are done, by name."""
        return sorted((self.path / "results").glob("*.csv"))


def _is_foreign(path: Path) -> bool:
    """Whether something in a folder without a scale is not what a run that was killed at once leaves there."""
    return path.name != ".lock" and not is_temporary(path)


def model_name(scale: Scale) -> str:
    """The model's name for pictures."""
    return Path(scale.model or EMBEDDED).name


def _row(line: Mapping[str, str]) -> Row:
    cells: dict[str, Any] = {}
    for entry in fields(Row):
        text = line.get(entry.name, "") if entry.name in _LATER else line[entry.name]
        if entry.name == "architecture":
            cells[entry.name] = Architecture.from_json(json.loads(text))
        elif entry.name in _TEXT:
            cells[entry.name] = text
        elif entry.name in _WHOLE:
            cells[entry.name] = int(text)
        else:
            cells[entry.name] = float(text) if text else None
    return Row(**cells)
