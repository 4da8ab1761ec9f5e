"""The embedded task: which library does this docstring come from?

It needs no data file and no hub: the texts are the docstrings of libraries that every installation of hwnas has. The
sources are parsed, never imported. The rows depend on the versions of these libraries and on nothing else of the
machine.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from platformdirs import user_cache_path

from hwnas.errors import DataError
from hwnas.tasks import prose as prose_module
from hwnas.tasks.prose import docstrings, first_sentence_key, prose, without_near_duplicates
from hwnas.tasks.task import TEST_SHARE, VALIDATION_SHARE, Example, TaskData, limited, split_off

LIBRARIES = ("matplotlib", "numpy", "sqlalchemy", "torch", "transformers")
"""The classes, by import name; each is a requirement of hwnas."""

CAP = 1000
"""Most rows per class."""

LEAST = 500
"""Fewest rows per class; with less, the installation is not usable for the task."""

_COLLECT = 1200  # texts to read per library: some are dropped because another library has them too
_SKIPPED_FOLDERS = frozenset({"test", "tests", "testing", "_vendor", "__pycache__"})
_LONGEST_FILE = 400_000  # bytes


def load_docstrings(*, seed: int = 0, limit_train: int | None = None, limit_test: int | None = None) -> TaskData:
    """Load the task `docstrings`; see `hwnas.tasks.load_task`.

    The test split is 20% of each class and the same for every seed. The rest is split 70/30 into train and
    validation. No two rows share a first sentence, and no two rows of a class share most of their words: no duplicate
    crosses a split. The first call parses sources for some seconds; the texts then stay in the user's cache folder.

    Raises:
        DataError: A library is missing or holds too few docstrings.
        UsageError: A limit below 1.
    """
    texts = library_texts()
    pool: list[Example] = []
    test: list[Example] = []
    for index, library in enumerate(LIBRARIES):
        rows = [Example(text, None, index) for text in texts[library]]
        held_out = round(TEST_SHARE * len(rows))
        test.extend(rows[:held_out])
        pool.extend(rows[held_out:])
    rng = np.random.default_rng(seed)
    kept = limited(pool, limit_train, rng, "limit of training rows")
    train, validation = split_off(kept, VALIDATION_SHARE, rng, stratified=True)
    order = np.random.default_rng(0).permutation(len(test))
    return TaskData(
        name="docstrings",
        kind="classification",
        label_names=LIBRARIES,
        metric="accuracy",
        train=train,
        validation=validation,
        test=limited([test[position] for position in order], limit_test, rng, "limit of test rows"),
        source=(
            f"docstrings of {', '.join(f'{name} {version}' for name, version in _versions().items())}: "
            f"20% held out as test, the rest split 70/30 with seed {seed}"
        ),
    )


def library_texts(cache_dir: Path | None = None) -> dict[str, list[str]]:
    """The texts of each library in a fixed order, from the cache if it holds them.

    Args:
        cache_dir: Folder of the cache; by default `platformdirs.user_cache_path("hwnas")`. A cache that cannot be
            read or written is no error: the sources are parsed again.

    Returns:
        A list of at most `CAP` different texts per library, sorted by the SHA-256 of their first sentence.

    Raises:
        DataError: A library is missing or holds too few docstrings.
    """
    key = _key()
    folder = cache_dir if cache_dir is not None else user_cache_path("hwnas")
    path = folder / f"docstrings-{key[:20]}.json"
    if (texts := _read_cache(path)) is not None:
        return texts
    texts = build_texts()
    with contextlib.suppress(OSError):
        _write_cache(path, texts)
    return texts


def build_texts() -> dict[str, list[str]]:
    """Read the texts from the installed sources; see `library_texts`. Takes some seconds."""
    with _no_garbage_collection():
        found = {library: _collect(_folder(library)) for library in LIBRARIES}
    owners = Counter(key for texts in found.values() for key in texts)
    result: dict[str, list[str]] = {}
    for library, texts in found.items():
        own = sorted((key for key in texts if owners[key] == 1), key=_digest)
        result[library] = without_near_duplicates(texts[key] for key in own)[:CAP]
        if len(result[library]) < LEAST:
            raise DataError(
                f"task docstrings: {library} has {len(result[library])} usable docstrings, expected {LEAST} or more; "
                f"reinstall {library} with its sources, or give your own data."
            )
    return result


def _collect(folder: Path) -> dict[str, str]:
    """First-sentence key -> text. Files come in an order that only their names decide, until there are enough."""
    files = [
        path
        for path in folder.rglob("*.py")
        if not _SKIPPED_FOLDERS.intersection(path.relative_to(folder).parts) and path.stat().st_size <= _LONGEST_FILE
    ]
    files.sort(key=lambda path: _digest(path.relative_to(folder).as_posix()))
    texts: dict[str, str] = {}
    for path in files:
        for docstring in docstrings(path.read_bytes()):
            text = prose(docstring)
            if text is not None:
                texts.setdefault(first_sentence_key(text), text)
        if len(texts) >= _COLLECT:
            break
    return texts


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Syntax trees are large and hold no cycles; looking for cycles takes a third of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _folder(library: str) -> Path:
    spec = importlib.util.find_spec(library)
    locations = list(spec.submodule_search_locations or ()) if spec is not None else []
    if not locations or not Path(locations[0]).is_dir():
        raise DataError(
            f"task docstrings: the library {library} is not installed as a folder of sources; pip install {library}."
        )
    return Path(locations[0])


def _versions() -> dict[str, str]:
    versions = {}
    for library in LIBRARIES:
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            raise DataError(f"task docstrings: {library} is not installed; pip install {library}.") from None
    return versions


def _key() -> str:
    """Changes with the version of a library, of Python, and with the code that makes the texts."""
    code = [Path(file).read_text(encoding="utf-8") for file in (__file__, str(prose_module.__file__))]
    return _digest(json.dumps([_versions(), sys.version_info[:2], code])).hex()


def _read_cache(path: Path) -> dict[str, list[str]] | None:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        texts: dict[str, list[str]] = stored["texts"]
        return texts if stored["sha256"] == _digest(json.dumps(texts)).hex() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_cache(path: Path, texts: dict[str, list[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(json.dumps({"sha256": _digest(json.dumps(texts)).hex(), "texts": texts}), "utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
