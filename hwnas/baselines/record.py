"""A baseline and its file in the run folder: `baselines/NAME.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwnas.errors import RunFolderError
from hwnas.files import write_at_once
from hwnas.latency.records import Measured, Setting

SCHEMA = 1
"""Version of the layout of `baselines/NAME.json`."""


@dataclass(frozen=True)
class Baseline:
    """The whole network, not pruned, in some precision and runtime.

    Attributes:
        setting: How it was measured; its precision and runtime say what it is.
        latency: Measured, with its interval and peak memory.
        validation_error: 1 - quality of the artifact in its runtime, on the validation examples of a search with the
            same `examples` and `seed`.
        test_error: 1 - quality of the artifact in its runtime, on all test examples.
        parameters: Parameters of the network.
        about: Task, model, metric, number and seed of the examples, calibration, versions. JSON types.
    """

    setting: Setting
    latency: Measured
    validation_error: float
    test_error: float
    parameters: int
    about: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name of the file, without ending."""
        return baseline_name(self.setting)

    @property
    def label(self) -> str:
        """Precision and runtime, for people."""
        return f"{self.setting.precision} {self.setting.runtime}"

    def to_json(self) -> dict[str, Any]:
        """JSON types; `from_json` inverts it."""
        return {
            "schema": SCHEMA,
            "name": self.name,
            "setting": self.setting.to_json(),
            "latency": self.latency.to_json(),
            "validation_error": self.validation_error,
            "test_error": self.test_error,
            "parameters": self.parameters,
            "about": dict(self.about),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Baseline:
        """Inverse of `to_json`."""
        return cls(
            setting=Setting.from_json(data["setting"]),
            latency=Measured.from_json(data["latency"]),
            validation_error=float(data["validation_error"]),
            test_error=float(data["test_error"]),
            parameters=int(data["parameters"]),
            about=dict(data["about"]),
        )

    def is_beside(self, setting: Mapping[str, Any]) -> bool:
        """Whether it was measured on the device and shape of another setting, so that latencies can be compared.

        In the other setting's runtime it must be of the same version: an old baseline says nothing about a new one.
        """
        mine = self.setting.to_json()
        names = (*_COMPARED, "runtime_version") if mine["runtime"] == setting["runtime"] else _COMPARED
        return all(mine[name] == setting[name] for name in names)

    def has_examples_of(self, about: Mapping[str, Any]) -> bool:
        """Whether its validation error is of the same examples as those of a front."""
        return all(self.about[name] == about.get(name) for name in ("validation_examples", "seed"))


_COMPARED = ("target", "fingerprint", "batch", "sequence_length", "threads", "protocol")


def baseline_name(setting: Setting) -> str:
    """Name of the file of a baseline, without ending."""
    return (
        f"{setting.precision}-{setting.runtime}-{setting.target}-b{setting.batch}-s{setting.sequence_length}"
        f"-t{setting.threads}"
    )


def write_baseline(baseline: Baseline, folder: Path) -> Path:
    """Write a baseline into a folder, at once; the file's path."""
    path = folder / f"{baseline.name}.json"
    write_at_once(path, json.dumps(baseline.to_json(), indent=1, allow_nan=False) + "\n")
    return path


def read_baselines(folder: Path) -> list[Baseline]:
    """All baselines in a folder, by name; none if the folder is not there.

    Raises:
        RunFolderError: A file is damaged, or newer than this hwnas.
    """
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data["schema"] > SCHEMA:
                raise RunFolderError(f"{path} was written by a newer hwnas; upgrade hwnas.")
            found.append(Baseline.from_json(data))
        except RunFolderError:
            raise
        except Exception as error:  # whatever a damaged file leads to
            raise RunFolderError(f"{path} is damaged ({error}); delete it and run `hwnas baseline` again.") from error
    return found
