"""Tiny configurations, a short protocol, databases, and a table with something of everything."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from transformers import BertConfig, RobertaConfig

from hwnas.latency.profile import make_setting
from hwnas.latency.records import Setting
from hwnas.latency.table import Fit, LatencyTable
from hwnas.profilers import Failure, TimingProtocol
from hwnas.provenance import canonical

FAST = TimingProtocol(
    rounds=2, max_rounds=2, processes=1, runs=2, block_seconds=0.0, warmup_window=1, warmup_seconds=0.01, calm=1e9
)  # fmt: skip
SIZES = {"vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_labels": 3}


@pytest.fixture(scope="session")
def bert():
    return BertConfig(**SIZES, intermediate_size=64, max_position_embeddings=32)


@pytest.fixture(scope="session")
def roberta():
    return RobertaConfig(**SIZES, intermediate_size=64, max_position_embeddings=34, type_vocab_size=1, pad_token_id=1)


@pytest.fixture(scope="session")
def setting() -> Setting:
    return make_setting("cpu", "onnxruntime", "fp32", 1, 8, 1, protocol=FAST)


_MODEL = {"model_type": "bert", "hidden_size": 32, "head_size": 8, "vocabulary": 100, "labels": 3}


@pytest.fixture(scope="session")
def networks() -> list[str]:
    """Network keys of eight sub-networks of one model."""
    return [canonical({**_MODEL, "shape": [[4, 64], [heads, 16]]}) for heads in range(8)]


@pytest.fixture
def filled(tmp_path, filled_once) -> Path:
    """A SQLite table of one's own with two settings, rows, flags, a failure and a fit."""
    return Path(shutil.copy(filled_once, tmp_path / "filled.sqlite"))


@pytest.fixture(scope="session")
def filled_once(tmp_path_factory, setting, measured, networks) -> Path:
    """The same, not to be changed."""
    path = tmp_path_factory.mktemp("filled") / "filled.sqlite"
    with LatencyTable(path) as table:
        for index, network in enumerate(networks[:6]):
            row = replace(measured, seconds=0.025 + index / 1e5, flags=measured.flags if index == 1 else ())
            table.put(setting, network, "design" if index < 4 else "holdout", row)
        full = replace(
            measured, p99=0.03, file_bytes=1, device_memory_bytes=0, energy_joules=0.5, discarded=1, attempts=2,
            round_medians=(0.1 + 0.2, 0.025), telemetry={"clock": [1.5, None], "why": {"heat": True}},
            load=None, mhz=2100.5, commit="=1+1",
        )  # fmt: skip
        table.put(replace(setting, batch=8, fingerprint="=cmd|' /C calc'!A0"), networks[0], "member", full)
        table.put_failure(setting, networks[7], Failure("load", "@no: out of memory, \u00b5"), measured.date)
        table.put_fit(
            setting,
            Fit(canonical(_MODEL), 0, tuple(networks[:4]), tuple(networks[4:6]), 0.01, 0.02, measured.date, "0.1.0"),
        )
    return path


@pytest.fixture(params=["file", "url", "postgresql"])
def database(request, tmp_path):
    """What to give to `LatencyTable`: an empty database of each kind."""
    if request.param == "file":
        return tmp_path / "new" / "latency.sqlite"
    if request.param == "url":
        return f"sqlite:///{tmp_path / 'latency.sqlite'}"
    url = request.getfixturevalue("postgres")
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for name in ("fits", "failures", "measurements", "settings", "meta", "revision"):
            connection.execute(sa.text(f"DROP TABLE IF EXISTS hwnas_{name}"))
    engine.dispose()
    return url


@pytest.fixture(scope="session")
def postgres():
    """URL of a PostgreSQL server: $HWNAS_TEST_POSTGRES, whose hwnas tables are dropped, or one of our own."""
    if "HWNAS_TEST_POSTGRES" in os.environ:
        yield os.environ["HWNAS_TEST_POSTGRES"]
        return
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("PostgreSQL: psycopg is not installed")
    server, initdb = _binaries()
    # A server refuses to run as root, and nobody may enter pytest's folders.
    options = {"user": "nobody"} if os.getuid() == 0 else {}
    with tempfile.TemporaryDirectory(prefix="hwnas-pg-", ignore_cleanup_errors=True) as folder:
        data = Path(folder) / "data"
        data.mkdir()
        if options:
            for path in (folder, data):
                shutil.chown(path, "nobody")
        try:
            subprocess.run(
                [initdb, "-D", data, "-U", "hwnas", "-A", "trust", "-E", "UTF8"],
                check=True, capture_output=True, cwd=folder, **options,
            )  # fmt: skip
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"PostgreSQL: initdb fails here ({error})")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        process = subprocess.Popen(
            [server, "-D", data, "-p", str(port), "-c", "listen_addresses=127.0.0.1", "-k", folder, "-F"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder, **options,
        )  # fmt: skip
        url = f"postgresql+psycopg://hwnas@127.0.0.1:{port}/postgres"
        try:
            _wait(url)
            yield url
        finally:
            process.send_signal(signal.SIGINT)  # a fast shutdown: it does not wait for connections
            process.wait(30)


def _binaries() -> tuple[str, str]:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = shutil.which("initdb") or (str(found[-1]) if found else None)
    server = Path(initdb).resolve().with_name("postgres") if initdb else None
    if initdb is None or server is None or not server.exists():
        pytest.skip("PostgreSQL: neither HWNAS_TEST_POSTGRES nor a server of its own")
    return str(server), initdb


def _wait(url: str) -> None:
    import time

    engine = sa.create_engine(url)
    for attempt in range(100):
        try:
            engine.connect().close()
            break
        except sa.exc.OperationalError:
            if attempt == 99:
                raise
            time.sleep(0.1)
    engine.dispose()
