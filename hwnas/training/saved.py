"""A trained super-network on the disk: whole and sealed, or not there."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwnas.training.seal import SEAL, check_seal, disk_errors, seal

_RECORD = "training.json"


@dataclass(frozen=True)
class Saved:
    """A trained super-network as it was read.

    Attributes:
        model: The Hugging Face module, in evaluation mode.
        tokenizer: Its tokenizer.
        record: What is known of its training. JSON types.
        weights: SHA-256 of its weights' file.
    """

    model: Any
    tokenizer: Any
    record: dict[str, Any]
    weights: str


def store_trained(place: Path, model: Any, tokenizer: Any, record: Mapping[str, Any]) -> None:
    """Write a trained super-network, so that it is there whole or not at all.

    Raises:
        OSError: It cannot be written.
    """
    temporary = place.with_name(f".{place.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True, exist_ok=True)
    with disk_errors():
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
    with (temporary / _RECORD).open("w", encoding="utf-8") as file:
        file.write(json.dumps(record, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    seal(temporary)
    os.rename(temporary, place)


def load_trained(place: Path) -> Saved:
    """Read a super-network that `store_trained` wrote.

    Raises:
        CheckpointError: A file is missing or differs from what was written.
    """
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    check_seal(place)
    return Saved(
        model=AutoModelForSequenceClassification.from_pretrained(place).eval(),
        tokenizer=AutoTokenizer.from_pretrained(place),
        record=json.loads((place / _RECORD).read_text(encoding="utf-8")),
        weights=str(json.loads((place / SEAL).read_text(encoding="utf-8"))["model.safetensors"]),
    )
