"""Every error hwnas raises on purpose.

    HwnasError
    ├── UsageError                 options that contradict each other or are out of range
    │   └── UnknownNameError       a name nobody registered; lists the names there are
    │       └── UnknownTargetError a target without a TOML file
    ├── MissingExtraError          an optional package is not installed; names the extra
    ├── DataError                  a task or a user's data file: missing column, bad label, no rows
    ├── ModelError                 a model that cannot be loaded
    │   └── UnsupportedModelError  a family without an adapter; lists the families there are
    ├── CheckpointError            a checkpoint or saved sub-network that is damaged or does not fit
    ├── RunFolderError             a run folder that is read-only, damaged, or of another run
    ├── DeviceNotFoundError        the target asked for is not this machine's device
    ├── TableError                 a latency table that is damaged, newer than this hwnas, or too small
    │   └── MissingProfileError    a latency table without a profile; names the command that makes one
    ├── ProfilerError              a runtime that refused a network or a setting
    ├── BuildError                 an export or an engine that failed or does not agree with its source
    │   └── UnsupportedBuildError  a combination of target, precision and runtime that cannot exist
    └── NoMemberError              no member of the front meets the condition; names the nearest

The command line prints the message as one line and exits with code 2. A message says what was got, what was
expected and what to do next. Errors are raised, never logged.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HwnasError(Exception):
    """Base of all errors that hwnas raises on purpose; the message is one line for the user."""


class UsageError(HwnasError):
    """Options or arguments that contradict each other or are out of range."""


class UnknownNameError(UsageError):
    """A name that nobody registered.

    Args:
        kind: What the name should have been, e.g. ``"target"``.
        name: What was given.
        known: The registered names.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind, self.name, self.known = kind, name, sorted(known)
        close = difflib.get_close_matches(name, self.known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else "."
        super().__init__(f"unknown {kind} {name!r}{hint} Known: {', '.join(self.known)}.")


class UnknownTargetError(UnknownNameError):
    """A target without a TOML file in ``targets/``."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__("target", name, known)


class MissingExtraError(HwnasError):
    """An optional package is not installed.

    Args:
        package: The package that is missing.
        extra: The extra of hwnas that installs it.
        purpose: What needs it.
    """

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        self.package, self.extra = package, extra
        super().__init__(f"{purpose} needs {package}, which is not installed: pip install 'hwnas[{extra}]'.")


class DataError(HwnasError):
    """A task or a data file that cannot be used."""


class ModelError(HwnasError):
    """A model that cannot be loaded."""


class UnsupportedModelError(ModelError):
    """A model family without an adapter."""


class CheckpointError(HwnasError):
    """A checkpoint or a saved sub-network that is damaged or does not fit."""


class RunFolderError(HwnasError):
    """A run folder that is read-only, damaged, or belongs to another run."""


class DeviceNotFoundError(HwnasError):
    """The target asked for is not the device of this machine."""


class TableError(HwnasError):
    """A latency table that is damaged, newer than this hwnas, or too small for the question."""


class MissingProfileError(TableError):
    """A latency table without what a profile leaves there.

    Args:
        reason: What the table lacks.
        options: Options of the `hwnas profile` that measures it.
        subject: The run or the model that is profiled, as it is given to `hwnas profile`; none for the embedded model.
        table: The table, as it was given to `--table`; None for the default one.
    """

    def __init__(self, reason: str, options: str, *, subject: str = "", table: str | None = None) -> None:
        self.reason, self.options = reason, options
        words = ("hwnas profile", subject, options, "" if table is None else f"--table {table}")
        super().__init__(f"{reason}; run `{' '.join(filter(None, words))}` first.")

    def of(self, subject: str, table: str | None) -> MissingProfileError:
        """The same with the command that profiles this very run or model into this very table."""
        return MissingProfileError(self.reason, self.options, subject=subject, table=table)


class ProfilerError(HwnasError):
    """A runtime that refused a network or a setting."""


class BuildError(HwnasError):
    """An export or an engine that failed, or whose outputs differ from its source."""


class UnsupportedBuildError(BuildError):
    """A combination of target, precision and runtime that cannot exist."""


class NoMemberError(HwnasError):
    """No member of the front meets the condition asked for."""
