"""The embedded task: size, balance, no leaks, no duplicates, independent of the machine; and its cache."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from hwnas.errors import DataError
from hwnas.tasks import TaskData, docstrings, load_task
from hwnas.tasks.prose import CODE, LIBRARY, first_sentence_key, prose, without_near_duplicates
from hwnas.tasks.prose import docstrings as docstrings_of


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def texts(cache: Path) -> dict[str, list[str]]:
    return docstrings.library_texts(cache)


@pytest.fixture
def task(cache: Path, texts: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> TaskData:
    monkeypatch.setattr(docstrings, "user_cache_path", lambda name: cache)
    return load_task("docstrings")


def test_size_and_balance(task: TaskData) -> None:
    everything = task.train + task.validation + task.test
    assert task.num_labels == len(task.label_names) >= 4
    assert len(everything) >= 4000
    counts = Counter(example.label for example in everything)
    assert min(counts.values()) >= docstrings.LEAST
    assert max(counts.values()) <= docstrings.CAP
    assert len(task.test) == pytest.approx(0.2 * len(everything), abs=6)
    assert len(task.validation) == pytest.approx(0.3 * 0.8 * len(everything), abs=6)
    assert (task.kind, task.metric, task.has_pairs) == ("classification", "accuracy", False)


def test_no_name_of_a_library_is_left(texts: dict[str, list[str]]) -> None:
    names = re.compile(
        r"torch|numpy|pandas|matplotlib|sql ?alchemy|transformers|hugging ?face|\b(?:np|pd|plt|mpl)\b", re.IGNORECASE
    )
    everything = [text for texts_of in texts.values() for text in texts_of]
    assert [text for text in everything if names.search(text)] == []
    markup = re.compile(r">>>|`|\w_\w|[a-z]\w\.[a-z]\w+\.[a-z]|:[a-z]+:|\bimport \w+ as\b")
    assert len([text for text in everything if markup.search(text)]) <= 0.002 * len(everything)


def test_no_duplicates(task: TaskData) -> None:
    everything = [example.text for example in task.train + task.validation + task.test]
    assert len({first_sentence_key(text) for text in everything}) == len(everything)


def test_texts_are_prose_of_reasonable_length(texts: dict[str, list[str]]) -> None:
    words = [len(text.split()) for texts_of in texts.values() for text in texts_of]
    assert min(words) >= 5
    assert max(words) <= 160


def test_seed_moves_train_and_validation_only(task: TaskData) -> None:
    other = load_task("docstrings", seed=1)
    assert other.test == task.test
    assert other.train != task.train
    assert set(other.train + other.validation) == set(task.train + task.validation)
    assert load_task("docstrings").fingerprint() == task.fingerprint()


def test_limits(task: TaskData) -> None:
    part = load_task("docstrings", limit_train=600, limit_test=90)
    assert len(part.train) + len(part.validation) == 600
    assert len(part.test) == 90
    assert set(part.test) <= set(task.test)
    assert {example.label for example in part.train} == set(range(task.num_labels))


def test_damaged_cache_is_built_again(
    cache: Path, texts: dict[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (stored,) = cache.iterdir()
    assert docstrings.library_texts(cache) == texts
    damaged = tmp_path / stored.name
    damaged.write_text(stored.read_text("utf-8").replace("array", "arrow", 1), "utf-8")
    monkeypatch.setattr(docstrings, "build_texts", lambda: texts)
    assert docstrings.library_texts(tmp_path) == texts
    assert damaged.read_bytes() == stored.read_bytes()
    damaged.write_text("{", "utf-8")
    assert docstrings.library_texts(tmp_path) == texts
    assert [path.name for path in tmp_path.iterdir()] == [stored.name]


def test_cache_that_cannot_be_written_is_no_error(
    texts: dict[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docstrings, "build_texts", lambda: texts)
    (tmp_path / "file").write_text("")
    assert docstrings.library_texts(tmp_path / "file" / "folder") == texts


def test_rows_do_not_depend_on_the_install_path(tmp_path: Path) -> None:
    source = docstrings._folder("onnx")
    copies = [tmp_path / "a" / "onnx", tmp_path / "other place" / "deep" / "onnx"]
    for copy in copies:
        shutil.copytree(
            source, copy, ignore=lambda folder, names: [n for n in names if n.endswith((".so", ".onnx", ".pb"))]
        )
    first, second = (docstrings._collect(copy) for copy in copies)
    assert list(first.items()) == list(second.items())
    assert len(first) > 20


def test_missing_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docstrings, "LIBRARIES", ("no_such_library",))
    with pytest.raises(DataError, match="no_such_library is not installed; pip install"):
        load_task("docstrings")


def test_sources_are_not_imported(cache: Path, texts: dict[str, list[str]]) -> None:
    code = (
        "import sys; from pathlib import Path; import hwnas.tasks; from hwnas.tasks import docstrings as d;"
        f"d.library_texts(Path({str(cache)!r})); d._folder('torch');"
        "print([m for m in ('torch', 'transformers', 'pandas', 'matplotlib', 'sqlalchemy') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        (
            "Return the values of a frame, sorted by the given key of the caller."
            "\n\nParameters\n----------\nkey : str\n    The key.",
            "Return the values of a frame, sorted by the given key of the caller.",
        ),
        (
            "sort(x, dim=0) -> Tensor\n\nSorts the :class:`~torch.Tensor` as ``np.sort`` does in NumPy and returns it."
            "\n\n>>> torch.sort(x)",
            f"Sorts the {CODE} as {CODE} does in {LIBRARY} and returns it.",
        ),
        (
            "Create the engine that is used by all of the tests of this folder::\n\n    engine = create_engine('sqlite://')\n",
            "Create the engine that is used by all of the tests of this folder",
        ),
        ("Example:\n\n```python\nmodel = the model of the house that is on the hill\n```", None),
        ("Too short to say anything at all.", None),
        ("\u03b1 is not a letter that an English text of this length would have in it.", None),
    ],
)
def test_prose(docstring: str, expected: str | None) -> None:
    assert prose(docstring) == expected


def test_docstrings_of_a_source() -> None:
    source = (
        b'"""module"""\nif True:\n    class A:\n        """class"""\n        def f(self):\n            """method"""\n'
        b'            return "\\d"\ntry:\n    pass\nexcept E:\n    async def g():\n        "async"\nx = """no"""\n'
    )
    assert list(docstrings_of(source)) == ["module", "class", "method", "async"]
    assert list(docstrings_of(b"def (")) == []
    assert list(docstrings_of(b"\x00")) == []


def test_near_duplicates_keep_the_first() -> None:
    first = "Return the sum of all elements over the given axis of the array"
    near = "Return the mean of all elements over the given axis of the array"
    far = "Draw a line between two points of the figure"
    assert without_near_duplicates([first, near, far, first]) == [first, far]
