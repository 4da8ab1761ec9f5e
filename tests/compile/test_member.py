from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import BertTokenizerFast

import hwnas
from hwnas.compile.engine import ShapeProfile
from hwnas.compile.export import verify_onnx
from hwnas.compile.manifest import Number, Numbers, check_manifest
from hwnas.compile.member import build_member, hash_weights
from hwnas.errors import BuildError, RunFolderError, UnsupportedBuildError, UsageError
from hwnas.slicing.extract import extract
from hwnas.spaces.architecture import Architecture
from hwnas.targets import get_target

SHAPES = ShapeProfile(batch=(1, 1, 4), sequence_length=(1, 16, 64))
ARCH = Architecture(heads=(3, 0), units=(17, 40))
NUMBERS = Numbers(
    measured={"test_error": Number(0.25, "fraction", {"split": "test"})},
    predicted={"latency": Number(0.002, "seconds", {"predictor": "whole networks"})},
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> BertTokenizerFast:
    vocabulary = tmp_path_factory.mktemp("tokenizer") / "vocab.txt"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"word{index}" for index in range(195))]
    vocabulary.write_text("\n".join(words))
    return BertTokenizerFast(vocab=str(vocabulary))


@pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt-rtx is not installed (extra tensorrt-rtx)"
)
def test_member_for_a_gpu(bert: nn.Module, tokenizer: BertTokenizerFast, tmp_path: Path) -> None:
    folder, steps = tmp_path / "members" / "0", list[str]()

    def build(numbers: Numbers = NUMBERS) -> dict[str, object]:
        steps.clear()
        return build_member(
            bert,
            tokenizer,
            ARCH,
            folder,
            target=get_target("a10g"),
            precision="fp16",
            shapes=SHAPES,
            numbers=numbers,
            runtime="tensorrt-rtx",
            progress=steps.append,
        )

    manifest = build()
    assert steps == ["extract", "save", "export", "verify", "engine", "manifest"]
    assert [path.name for path in folder.parent.iterdir()] == ["0"]
    assert manifest == {**check_manifest(folder), "reused": False}
    assert {"model.onnx", "model.engine", "model.safetensors", "config.json"} <= set(check_manifest(folder)["files"])
    stored = check_manifest(folder)
    assert stored["architecture"] == ARCH.to_json()
    assert stored["engine"]["sha256"] == stored["files"]["model.engine"]["sha256"]
    assert stored["engine"]["capability_mask"] == 4
    assert stored["target"]["name"] == "a10g"
    assert stored["verification"]["passed"] is True
    assert stored["numbers"]["engine_latency_note"] == "not measured"

    # The folder alone gives the sub-network back, and its ONNX file agrees with it.
    loaded, loaded_tokenizer = hwnas.load(folder)
    batch = loaded_tokenizer(["word1 word2", "word3"], padding=True, return_tensors="pt")
    with torch.no_grad():
        torch.testing.assert_close(loaded.eval()(**batch).logits, extract(bert, ARCH).eval()(**batch).logits)
    assert verify_onnx(loaded, folder / "model.onnx", shapes=[(2, 5)]).passed

    # Again: nothing is built (the tokenizer's padding, changed by the call above, is no input).
    tokenizer(["word1 word2", "word3"], padding=True, truncation=True, max_length=9)
    times = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert build()["reused"] is True
    assert times == {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    # Other numbers: only the manifest changes.
    changed = build(Numbers(measured={"test_error": Number(0.5, "fraction", {"split": "test"})}))
    assert changed["reused"] is True
    assert steps == ["extract"]
    assert check_manifest(folder)["numbers"]["measured"]["test_error"]["value"] == 0.5
    assert check_manifest(folder)["created"] == stored["created"]
    assert (folder / "model.engine").stat().st_mtime_ns == times["model.engine"]

    # A damaged file: built again.
    (folder / "model.engine").write_bytes(b"damaged")
    assert build()["reused"] is False
    assert check_manifest(folder)["files"]["model.engine"]["bytes"] == stored["files"]["model.engine"]["bytes"]


@pytest.fixture
def attempt(bert: nn.Module, tokenizer: BertTokenizerFast) -> Callable[..., dict[str, object]]:
    def build(folder: Path, model: nn.Module = bert, **options: object) -> dict[str, object]:
        settings = {"target": get_target("cpu"), "precision": "fp32", "shapes": SHAPES, **options}
        return build_member(model, tokenizer, ARCH, folder, **settings)  # type: ignore[arg-type]

    return build


def test_refusals_come_before_any_work(attempt: Callable[..., dict[str, object]], tmp_path: Path) -> None:
    steps: list[str] = []
    with pytest.raises(UnsupportedBuildError, match="cannot serve h100"):
        attempt(
            tmp_path / "0", target=get_target("h100"), precision="fp16", runtime="tensorrt-rtx", progress=steps.append
        )
    with pytest.raises(UsageError, match="up to 65 tokens, but the model has positions for 64"):
        attempt(tmp_path / "0", shapes=ShapeProfile(sequence_length=(1, 16, 65)), progress=steps.append)
    assert steps == []
    assert list(tmp_path.iterdir()) == []


def test_other_folders_are_not_replaced(attempt: Callable[..., dict[str, object]], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(RunFolderError, match="exists and is no built member"):
        attempt(tmp_path / "mine")
    with pytest.raises(RunFolderError, match=r"cannot write .*; choose a folder that is writable"):
        attempt(tmp_path / "mine" / "thesis.tex" / "member")
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years of work"


def test_a_disk_that_is_full_is_one_line(
    attempt: Callable[..., dict[str, object]], tmp_path: Path, full_after: Callable[[int], AbstractContextManager[None]]
) -> None:
    with full_after(5_000), pytest.raises(RunFolderError, match="cannot write"):  # the weights are longer
        attempt(tmp_path / "cpu")
    assert list(tmp_path.iterdir()) == []


def test_two_builds_of_one_member_take_turns(attempt: Callable[..., dict[str, object]], tmp_path: Path) -> None:
    """One waits at the door and then finds the member there."""
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda _: attempt(tmp_path / "cpu"), range(2)))
    assert sorted(bool(manifest["reused"]) for manifest in made) == [False, True]
    assert made[0]["files"] == made[1]["files"] == check_manifest(tmp_path / "cpu")["files"]


def test_member_for_the_processor_and_a_failed_build(
    attempt: Callable[..., dict[str, object]], bert: nn.Module, tmp_path: Path
) -> None:
    folder = tmp_path / "cpu"
    folder.mkdir()
    manifest = attempt(folder)
    stored = check_manifest(folder)
    assert manifest == {**stored, "reused": False}
    assert (stored["engine"]["file"], stored["engine"]["runtime"]) == ("model.onnx", "onnxruntime")
    assert "model.engine" not in stored["files"]
    assert stored["numbers"] == Numbers().to_json()

    damaged = copy.deepcopy(bert)
    assert hash_weights(damaged) == hash_weights(bert)
    with torch.no_grad():
        damaged.classifier.weight.fill_(float("nan"))
    assert hash_weights(damaged) != hash_weights(bert)
    with pytest.raises(BuildError, match="the PyTorch module itself gives logits that are not finite"):
        attempt(folder, damaged)
    assert check_manifest(folder) == stored  # the old member is still there, whole
    assert [path.name for path in tmp_path.iterdir()] == ["cpu"]
