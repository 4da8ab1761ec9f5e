from __future__ import annotations

import json
from pathlib import Path

import pytest

from hwnas.compile.manifest import (
    FILE_NAME,
    Number,
    Numbers,
    check_manifest,
    read_manifest,
    write_manifest,
)
from hwnas.errors import CheckpointError, UsageError
from hwnas.provenance import git_commit, hash_json, versions

LATENCY = Number(0.0123, "seconds", {"device": "cpu", "runtime": "onnxruntime"}, low=0.012, high=0.0125)


@pytest.fixture
def member(tmp_path: Path) -> Path:
    (tmp_path / "weights").write_bytes(b"weights")
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "vocab.txt").write_text("a\nb\n")
    write_manifest(tmp_path, {"precision": "fp16"})
    return tmp_path


def test_round_trip(member: Path) -> None:
    manifest = check_manifest(member)
    assert manifest == read_manifest(member)
    assert manifest["schema"] == 1
    assert manifest["precision"] == "fp16"
    assert manifest["created"].endswith("+00:00")
    assert manifest["versions"] == versions()
    assert manifest["versions"]["torch"]
    assert set(manifest["files"]) == {"weights", "tokenizer/vocab.txt"}
    assert manifest["files"]["weights"]["bytes"] == 7
    assert [path.name for path in member.glob(".*")] == []
    commit = git_commit()
    assert commit is None or len(commit.removesuffix("-dirty")) == 40


def test_changed_files_are_named(member: Path) -> None:
    (member / "weights").write_bytes(b"weightz")
    with pytest.raises(CheckpointError, match=r"differs from its manifest in weights \(hash\); build the member again"):
        check_manifest(member)
    (member / "weights").write_bytes(b"longer than it was")
    (member / "tokenizer" / "vocab.txt").unlink()
    with pytest.raises(
        CheckpointError, match=r"tokenizer/vocab.txt \(missing\), weights \(18 bytes, not 7\)|weights .*vocab"
    ):
        check_manifest(member)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"schema": 1, "files": 3}', "\x00"])
def test_damaged_manifests(member: Path, content: str) -> None:
    (member / FILE_NAME).write_text(content)
    with pytest.raises(CheckpointError, match="build the member again") as error:
        read_manifest(member)
    assert "\n" not in str(error.value)


def test_no_manifest_and_a_newer_one(member: Path) -> None:
    manifest = read_manifest(member)
    (member / FILE_NAME).write_text(json.dumps({**manifest, "schema": 99}))
    with pytest.raises(CheckpointError, match="has schema 99, this hwnas reads 1"):
        read_manifest(member)
    (member / FILE_NAME).unlink()
    with pytest.raises(CheckpointError, match=r"holds no manifest\.json"):
        check_manifest(member)


def test_measured_and_predicted_stay_apart() -> None:
    numbers = Numbers(measured={"latency": LATENCY}, predicted={"latency": Number(0.0121, "seconds", {"table": "x"})})
    data = numbers.to_json()
    assert data["measured"]["latency"]["provenance"] == {"device": "cpu", "runtime": "onnxruntime"}
    assert data["predicted"]["latency"]["value"] == 0.0121
    assert (data["engine_latency"], data["engine_latency_note"]) == (None, "not measured")
    assert Numbers(engine_latency=LATENCY).to_json()["engine_latency"]["low"] == 0.012
    with pytest.raises(UsageError, match="without provenance"):
        Number(1.0, "seconds", {})


def test_hash_does_not_depend_on_order() -> None:
    assert hash_json({"a": 1, "b": [2]}) == hash_json({"b": [2], "a": 1}) != hash_json({"a": 1, "b": [3]})
