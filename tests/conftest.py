"""Shared by all tests: real parts only, no network, the raw folders of the repository kept off `sys.path`."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from hwnas.latency.records import Measured

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["OMP_NUM_THREADS"] = "1"  # small tensors: more threads only wait for each other

ROOT = Path(__file__).resolve().parent.parent
# `python -m pytest` puts the repository root on sys.path; its folder `kernels/` would then shadow a module that
# transformers imports.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]

TINY = {
    "vocab_size": 120,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 20,
    "max_position_embeddings": 40,
    "initializer_range": 0.2,
    "num_labels": 3,
}

OWN: dict[str, dict[str, Any]] = {
    "roberta": {"type_vocab_size": 1, "pad_token_id": 1},
    "xlm-roberta": {"type_vocab_size": 1, "pad_token_id": 1},
    "distilbert": {"n_layers": 3, "n_heads": 4, "dim": 24, "hidden_dim": 20},
    "electra": {"embedding_size": 16},
    # 8 query heads of 4 in 4 groups
    "qwen2": {"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 4, "pad_token_id": 0, "use_cache": False},
}


def make_tiny(family: str, seed: int = 0, **changes: Any) -> Any:
    """A small random sequence classifier of a family, in evaluation mode."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    torch.manual_seed(seed)
    config = AutoConfig.for_model(family, **{**TINY, **OWN.get(family, {}), **changes})
    model = AutoModelForSequenceClassification.from_config(config).eval()
    for name, parameter in model.named_parameters():  # fresh biases are zeros, which would hide mistakes with them
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.2)
    return model


@pytest.fixture(scope="session")
def tiny() -> Callable[..., Any]:
    """Builds small random sequence classifiers: `tiny("bert", seed=0, num_labels=2)`."""
    return make_tiny


WORDS = ("good", "fine", "great", "nice", "bad", "poor", "awful", "sad", "the", "film", "was", "plot", "very", "a")


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small random BERT encoder and a tokenizer of a few words, as `--model` takes it."""
    from transformers import BertTokenizerFast

    folder = tmp_path_factory.mktemp("tiny-bert")
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]))
    tokenizer = BertTokenizerFast(str(vocabulary), model_max_length=40)
    make_tiny("bert", num_labels=2).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def measured() -> Measured:
    """What a latency table says of one network, with doubts."""
    from hwnas.latency.records import Measured

    return Measured(
        seconds=0.025, low=0.0249, high=0.0252, n=66, median=0.025, p5=0.0245, p95=0.026, rounds=6, round_spread=0.004,
        peak_memory_bytes=2**33, weight_bytes=90_000_000, flags=("contended", "drift"), load=0.5, mhz=None,
        date="2026-01-01T00:00:00+00:00", commit=None, hwnas_version="0.1.0",
    )  # fmt: skip


@pytest.fixture(scope="session")
def tiny_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 rows of `text,label`: a word of praise or blame decides, among others that do not."""
    import random

    draw = random.Random(0)
    file = tmp_path_factory.mktemp("data") / "reviews.csv"
    rows = []
    for number in range(240):
        label = number % 2
        words = [draw.choice(WORDS[8:]) for _ in range(draw.randint(2, 9))]
        words.insert(draw.randint(0, len(words)), draw.choice(WORDS[4:8] if label else WORDS[:4]))
        rows.append(f"{' '.join(words)} {number},{'blame' if label else 'praise'}")
    file.write_text("text,label\n" + "\n".join(rows) + "\n")
    return file


@contextmanager
def _full_after(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope="session")
def full_after() -> Callable[[int], AbstractContextManager[None]]:
    """`with full_after(size):` no file may grow beyond some bytes."""
    return _full_after


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs `hwnas ...` in this process: exit code, standard output, standard error."""
    from hwnas.cli.app import main

    def run(*words: Any) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["hwnas", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        captured = capsys.readouterr()
        return int(end.value.code or 0), captured.out, captured.err

    return run
