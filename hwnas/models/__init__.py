"""Architecture families. A new one is one file with a `FAMILY` object, and one line in `_MODULES`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from hwnas.errors import UnsupportedModelError

if TYPE_CHECKING:
    from hwnas.models.family import Family

__all__ = ["family_names", "get_family"]

_MODULES = {"bert": "hwnas.models.bert", "roberta": "hwnas.models.roberta"}


def family_names() -> tuple[str, ...]:
    """The `model_type` of every family that has an adapter."""
    return tuple(sorted(_MODULES))


def get_family(config: Any) -> Family:
    """The family of a Hugging Face configuration.

    Raises:
        UnsupportedModelError: The family has no adapter, or the model is a decoder; the message names those there are.
    """
    model_type = str(getattr(config, "model_type", None))
    if model_type not in _MODULES:
        raise UnsupportedModelError(
            f"models of the family {model_type!r} have no adapter; there are adapters for {', '.join(family_names())}."
        )
    if getattr(config, "is_decoder", False):
        raise UnsupportedModelError(f"this {model_type} model is a decoder; hwnas prunes encoders.")
    family: Family = importlib.import_module(_MODULES[model_type]).FAMILY
    return family
