"""The table of measured latencies: SQLite by default, any other database by its SQLAlchemy URL.

Only measurements are stored, each as soon as it exists, and how far a fit on them was off on networks it never saw.
Predictions are not.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import sqlalchemy as sa

from hwnas.errors import TableError
from hwnas.latency import schema
from hwnas.latency.records import Measured, Setting, canonical
from hwnas.profilers.base import Failure

_BUSY = 30.0  # seconds to wait for another process that writes


@dataclass(frozen=True)
class Fit:
    """A fit that was made on rows of the table.

    Attributes:
        model: `model_key` of the super-network.
        seed: Seed of design and holdout.
        design: Network keys of the rows fitted.
        holdout: Network keys of the rows it was judged on.
        mean_error: Mean of |predicted / measured - 1| on the holdout, None without one.
        worst_error: Largest of them.
        date: UTC, ISO 8601.
        hwnas_version: Version of hwnas.
    """

    model: str
    seed: int
    design: tuple[str, ...]
    holdout: tuple[str, ...]
    mean_error: float | None
    worst_error: float | None
    date: str
    hwnas_version: str


class LatencyTable:
    """Measured latencies by setting and network; a context manager.

    Args:
        path_or_url: A SQLite file, made with its folder if it is not there, or an SQLAlchemy URL.

    Raises:
        TableError: The file is damaged, is something else, cannot be written, or a newer hwnas made it; or the
            database cannot be reached. The file is left as it is.
    """

    def __init__(self, path_or_url: str | Path) -> None:
        self._url, self.name = _locate(path_or_url)
        self._path = _sqlite_path(self._url)
        if self._path is not None:
            _check_file(self._path)
        try:
            self._engine = sa.create_engine(self._url, connect_args={"timeout": _BUSY} if self._is_sqlite else {})
        except (sa.exc.SQLAlchemyError, ImportError) as error:
            raise TableError(
                f"{self.name}: this database has no driver here ({_said(error)}); install one, such as "
                "psycopg[binary] for postgresql+psycopg://, or give a file with --table."
            ) from error
        if self._is_sqlite:
            sa.event.listen(self._engine, "connect", _prepare_sqlite)
        try:
            self._open()
        except TableError:
            self.close()
            raise

    def __enter__(self) -> LatencyTable:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def get(self, setting: Setting, network: str) -> Measured | None:
        """The measurement of a network, None if there is none."""
        query = (
            sa.select(schema.measurements)
            .join(schema.settings)
            .where(schema.settings.c.key == setting.key(), schema.measurements.c.network == network)
        )
        with self._begin() as connection:
            row = connection.execute(query).mappings().first()
        return None if row is None else _measured(dict(row))

    def put(self, setting: Setting, network: str, role: str, measured: Measured) -> None:
        """Store a measurement in a transaction of its own, in place of an older one.

        Args:
            setting: How it was measured.
            network: `network_key` of what was run.
            role: Why it was measured: `"design"`, `"holdout"`, `"member"` or `"anchor"`.
            measured: The measurement.
        """
        values = {key: value for key, value in measured.to_json().items() if key != "kind"}
        self._replace(schema.measurements, setting, {"network": network}, {**values, "role": role})

    def rows(self, setting: Setting) -> list[tuple[str, str, Measured]]:
        """(network, role, measurement) of a setting, in the order they were first stored."""
        query = (
            sa.select(schema.measurements)
            .join(schema.settings)
            .where(schema.settings.c.key == setting.key())
            .order_by(schema.measurements.c.id)
        )
        with self._begin() as connection:
            return [(row["network"], row["role"], _measured(dict(row))) for row in connection.execute(query).mappings()]

    def settings(self) -> list[Setting]:
        """All settings that something was stored for, oldest first."""
        query = sa.select(schema.settings.c.key).order_by(schema.settings.c.id)
        with self._begin() as connection:
            return [Setting.from_json(json.loads(key)) for key in connection.execute(query).scalars()]

    def put_failure(self, setting: Setting, network: str, failure: Failure, date: str) -> None:
        """Store that a network could not be measured; it is tried again when it is asked for again."""
        values = {"stage": failure.stage, "reason": failure.reason, "date": date}
        self._replace(schema.failures, setting, {"network": network}, values)

    def failures(self, setting: Setting) -> list[tuple[str, Failure]]:
        """(network, what went wrong) of a setting, oldest first."""
        query = (
            sa.select(schema.failures)
            .join(schema.settings)
            .where(schema.settings.c.key == setting.key())
            .order_by(schema.failures.c.id)
        )
        with self._begin() as connection:
            found = connection.execute(query).mappings().all()
        return [(row["network"], Failure(row["stage"], row["reason"])) for row in found]

    def put_fit(self, setting: Setting, fit: Fit) -> None:
        """Store a fit, in place of an older one of the same model and seed; it becomes the newest."""
        values = {
            "design": list(fit.design),
            "holdout": list(fit.holdout),
            "design_size": len(fit.design),
            "holdout_size": len(fit.holdout),
            "mean_error": fit.mean_error,
            "worst_error": fit.worst_error,
            "date": fit.date,
            "hwnas_version": fit.hwnas_version,
        }
        self._replace(schema.fits, setting, {"model": fit.model, "seed": fit.seed}, values)

    def latest_fit(self, setting: Setting, model: str) -> Fit | None:
        """The newest fit of a model in a setting, None if there is none."""
        query = (
            sa.select(schema.fits)
            .join(schema.settings)
            .where(schema.settings.c.key == setting.key(), schema.fits.c.model == model)
            .order_by(schema.fits.c.id.desc())
        )
        with self._begin() as connection:
            row = connection.execute(query).mappings().first()
        if row is None:
            return None
        values = {name: row[name] for name in Fit.__dataclass_fields__}
        return Fit(**{**values, "design": tuple(row["design"]), "holdout": tuple(row["holdout"])})

    @property
    def path(self) -> Path | None:
        """The file of the table; None if it is in a database."""
        return self._path

    @property
    def _is_sqlite(self) -> bool:
        return self._url.get_backend_name() == "sqlite"

    def _open(self) -> None:
        """Make the tables where there are none, and compare the schema's version."""
        with self._begin() as connection:
            schema.metadata.create_all(connection)
            version = connection.execute(sa.select(schema.meta.c.value).where(schema.meta.c.name == "schema")).scalar()
            if version is None:
                connection.execute(sa.insert(schema.meta).values(name="schema", value=str(schema.VERSION)))
            elif version != str(schema.VERSION):
                raise TableError(
                    f"{self.name} has schema {version}, this hwnas reads {schema.VERSION}; install the hwnas that "
                    "made it, or give another file with --table."
                )
            elif self._path is not None:
                # A file that can be read but not written would otherwise be found out after the first measurement.
                connection.execute(sa.update(schema.meta).where(schema.meta.c.name == "schema").values(value=version))

    @contextmanager
    def _begin(self) -> Iterator[sa.Connection]:
        """A transaction; whatever the database says against it becomes a TableError."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except sa.exc.IntegrityError:
            raise
        except sa.exc.SQLAlchemyError as error:
            said = _said(error)
            if any(sign in said for sign in _NOT_WRITABLE):
                raise TableError(_read_only(self.name)) from error
            hint = _MOVE if self._path is not None else "check the URL given with --table."
            raise TableError(f"{self.name}: the database says: {said}; {hint}") from error

    def _replace(self, table: sa.Table, setting: Setting, where: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        """Store one row in place of an older one with the same key; tries again if another process was first."""
        for attempt in range(3):
            try:
                with self._begin() as connection:
                    number = _setting_id(connection, setting)
                    matches = [table.c.setting == number, *(table.c[name] == value for name, value in where.items())]
                    connection.execute(sa.delete(table).where(*matches))
                    connection.execute(sa.insert(table).values(setting=number, **where, **values))
                return
            except sa.exc.IntegrityError as error:
                if attempt == 2:
                    raise TableError(f"{self.name}: another process keeps writing the same row; try again.") from error


def default_table_path() -> Path:
    """The table in the user's cache folder."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("hwnas", appauthor=False)) / "latency.sqlite"


_NOT_WRITABLE = ("readonly", "read-only", "unable to open database file")
_MOVE = "move the file away, or give another one with --table."


def _locate(path_or_url: str | Path) -> tuple[sa.URL, str]:
    """The URL, and how to name it in a message: without its password."""
    if isinstance(path_or_url, str) and "://" in path_or_url:
        try:
            url = sa.make_url(path_or_url)
        except sa.exc.ArgumentError as error:
            raise TableError(
                "--table: expected a file, or an SQLAlchemy URL such as postgresql+psycopg://..."
            ) from error
        path = _sqlite_path(url)
        return url, str(path) if path is not None else url.render_as_string(hide_password=True)
    path = Path(path_or_url).expanduser()
    return sa.URL.create("sqlite", database=str(path)), str(path)


def _sqlite_path(url: sa.URL) -> Path | None:
    """The file of a SQLite URL; None for another database or one in memory."""
    if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        return None
    return Path(str(url.database).removeprefix("file:"))


def _prepare_sqlite(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _check_file(path: Path) -> None:
    """Look at a file without changing it; TableError unless it is not there, empty, or a sound table of ours."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            return
        if not path.is_file():
            raise TableError(f"{path} is not a file; give one with --table.")
        if path.stat().st_size == 0:
            return
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=_BUSY)
        try:
            names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            sound = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        finally:
            connection.close()
    except OSError as error:
        raise TableError(
            f"{path} cannot be used ({error.strerror or error}); give another file with --table."
        ) from error
    except sqlite3.OperationalError as error:
        if any(sign in str(error) for sign in _NOT_WRITABLE):
            raise TableError(_read_only(str(path))) from error
        raise TableError(f"{path} cannot be opened ({error}); give another file with --table.") from error
    except sqlite3.DatabaseError as error:
        raise TableError(f"{path} is damaged or is no latency table ({error}); {_MOVE}") from error
    if sound != "ok":
        raise TableError(f"{path} is damaged ({str(sound).splitlines()[0]}); {_MOVE}")
    if names and schema.meta.name not in names:
        raise TableError(f"{path} is a database of something else (table {min(names)!r}); {_MOVE}")


def _read_only(name: str) -> str:
    return f"{name} cannot be written; allow writing to it and its folder, or give another file with --table."


def _said(error: BaseException) -> str:
    """The first line of what the driver said."""
    original = getattr(error, "orig", None) or error
    lines = [line.strip() for line in str(original).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(original).__name__


def _setting_id(connection: sa.Connection, setting: Setting) -> int:
    key = setting.key()
    number = connection.execute(sa.select(schema.settings.c.id).where(schema.settings.c.key == key)).scalar()
    if number is None:
        statement = sa.insert(schema.settings).values(key=canonical(setting.to_json()), **setting.to_json())
        number = connection.execute(statement).inserted_primary_key[0]  # type: ignore[index]
    return int(number)


def _measured(row: Mapping[str, Any]) -> Measured:
    return Measured.from_json({"kind": "measured", **row})
