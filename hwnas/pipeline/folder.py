"""The run folder: what was asked for (`run.json`) and what each station left there.

run.json              the model, the task, how to train; written once
space.json            the bounded space, if the run has one; written once
checkpoints/          while the super-network trains
logs/                 of TensorBoard, if the training reports to it and no other folder is given
supernet/             the trained super-network, its tokenizer, and a record of the training
profile/              pictures of latency tables; may be there before the run begins
baselines/            a file per baseline
search/               evaluations; a folder per search with front.json, front.csv, front.png
build/                a folder per target and precision with a folder per built member
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hwnas.errors import RunFolderError
from hwnas.files import is_temporary, write_at_once
from hwnas.latency.records import Setting
from hwnas.pipeline.spec import RunSpec, digest_of, first_difference
from hwnas.training.seal import SEAL

SCHEMA = 2
"""Version of the layout of `run.json`. Version 1 knows no steps of widths and no bounds."""

PROFILE = "profile"
SPACE = "space.json"


class RunFolder:
    """A run folder and the places in it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def checkpoints(self) -> Path:
        """Where the super-network's checkpoints are while it trains."""
        return self.path / "checkpoints"

    @property
    def supernet(self) -> Path:
        """Where the trained super-network is."""
        return self.path / "supernet"

    @property
    def space_file(self) -> Path:
        """Where the bounded space is, if the run has one."""
        return self.path / SPACE

    @property
    def search(self) -> Path:
        """Where searches are."""
        return self.path / "search"

    def front(self, name: str) -> Path:
        """The folder of one search."""
        return self.search / name

    def profile_picture(self, setting: Setting) -> Path:
        """The picture of a profile in a setting."""
        name = (
            f"{setting.target}-{setting.runtime}-{setting.precision}-b{setting.batch}-s{setting.sequence_length}"
            f"-t{setting.threads}.png"
        )
        return self.path / PROFILE / name

    def build(self, target: str, precision: str) -> Path:
        """Where members built for a target are."""
        return self.path / "build" / f"{target}-{precision}"

    def exists(self) -> bool:
        """Whether a run has begun here."""
        return os.path.isfile(self.path / "run.json")  # false, too, where one may not look

    def check(self, spec: RunSpec) -> None:
        """Check that a run can begin here, or that the one that has begun is of this spec.

        Raises:
            RunFolderError: The folder cannot be written, holds something else, or belongs to a run with another spec;
                the message names the first difference.
        """
        if self.exists():
            found = first_difference(self.spec(), spec)
            if found is not None:
                name, old, new = found
                raise RunFolderError(
                    f"{self.path} is a run with {name} {old!r}, not {new!r}; give another folder, or the same options."
                )
            self._check_writable()
            return
        if self.path.is_dir() and any(
            path.name not in (PROFILE, SPACE) and not is_temporary(path) for path in self.path.iterdir()
        ):
            raise RunFolderError(f"{self.path} holds something else; give an empty or a new folder.")
        self._check_writable()

    def begin(self, spec: RunSpec, data_fingerprint: str, files: Mapping[str, str] | None = None) -> None:
        """Write what is asked for, or check that it was asked for before, of the same data.

        Args:
            spec: What is asked for.
            data_fingerprint: SHA-256 of the examples.
            files: SHA-256 of what else the training reads, by the name of the option that gives it.

        Raises:
            RunFolderError: As for `check`, or the data or the files have changed.
        """
        files = files or {}
        self.check(spec)
        if self.exists():
            self.check_data(data_fingerprint)
            began = self._read().get("files", {})  # earlier versions kept none
            for name, digest in files.items():
                if began.get(name, digest) != digest:
                    raise RunFolderError(
                        f"the contents of --{name} have changed since the run in {self.path} began; restore them, or "
                        "start a new run folder."
                    )
            return
        plain = spec.to_json()
        content = {"schema": SCHEMA, "data_fingerprint": data_fingerprint, "spec": plain}
        if files:
            content["files"] = dict(files)
        try:
            if spec.bounds is not None:
                write_at_once(self.space_file, json.dumps(spec.bounds, indent=1) + "\n")
                plain["bounds"] = digest_of(spec.bounds)
            write_at_once(self.path / "run.json", json.dumps(content, indent=1) + "\n")
        except OSError as error:
            raise RunFolderError(
                f"cannot write to {self.path} ({error.strerror}); give a run folder that you own."
            ) from error

    def check_data(self, fingerprint: str) -> None:
        """RunFolderError if the run's examples are not those that it began with."""
        if fingerprint != self._read()["data_fingerprint"]:
            raise RunFolderError(
                f"the data of the run in {self.path} have changed since it began (other files, or upgraded packages "
                "that the task docstrings reads); restore them, or start a new run folder."
            )

    def spec(self) -> RunSpec:
        """The spec of the run.

        Raises:
            RunFolderError: There is none, it is damaged, or newer than this hwnas.
        """
        try:
            plain = dict(self._read()["spec"])
            if plain.get("bounds") is not None:
                plain["bounds"] = self._bounds(plain["bounds"])
            return RunSpec.from_json(plain)
        except (KeyError, TypeError, ValueError) as error:
            raise RunFolderError(f"{self.path / 'run.json'} is damaged ({error}); start a new run folder.") from error

    def _read(self) -> dict[str, Any]:
        file = self.path / "run.json"
        try:
            data: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            newer = data["schema"] > SCHEMA
        except FileNotFoundError as error:
            raise RunFolderError(f"{self.path} is no run folder; `hwnas train {self.path}` makes one.") from error
        except OSError as error:
            raise RunFolderError(f"cannot read {file} ({error.strerror}).") from error
        except (ValueError, KeyError, TypeError) as error:
            raise RunFolderError(f"{file} is damaged ({error}); start a new run folder.") from error
        if newer:
            raise RunFolderError(f"{file} was written by a newer hwnas; upgrade hwnas.")
        return data

    def _bounds(self, digest: str) -> dict[str, Any]:
        """The bounded space that the run began with; RunFolderError if the file is another one by now."""
        try:
            bounds: dict[str, Any] = json.loads(self.space_file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunFolderError(f"{self.space_file} cannot be read ({error}); start a new run folder.") from error
        if digest_of(bounds) != digest:
            raise RunFolderError(
                f"{self.space_file} is not what the run began with; restore it, or start a new run folder."
            )
        return bounds

    def weights(self) -> str | None:
        """SHA-256 of the trained super-network's weights, as they were written; None if there is none to be read."""
        try:
            return str(json.loads((self.supernet / SEAL).read_text(encoding="utf-8"))["model.safetensors"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def fronts(self) -> list[str]:
        """Names of the searches that have ended."""
        return sorted(path.parent.name for path in self.search.glob("*/front.json"))

    def require_fronts(self) -> list[str]:
        """The same; RunFolderError if the run, or a front in it, is not there yet."""
        self.spec()
        names = self.fronts()
        if not names:
            raise RunFolderError(f"{self.path} has no front yet; `hwnas search {self.path}` finds one.")
        return names

    def _check_writable(self) -> None:
        """RunFolderError if the folder cannot be written or made; makes nothing."""
        place = self.path
        while not place.exists() and place != place.parent:
            place = place.parent
        if not place.is_dir():
            raise RunFolderError(f"cannot write to {self.path}: {place} is a file; give another run folder.")
        if not os.access(place, os.W_OK | os.X_OK):
            raise RunFolderError(f"cannot write to {self.path}: {place} is read-only; give a run folder that you own.")
