"""Ways of training that the benchmarks compare, by name: parts joined by `+`, such as `full+hidden-0.2+rate-1e-4`."""

from __future__ import annotations

from typing import Any

from _common import Unit

from hwnas.errors import UnknownNameError, UsageError
from hwnas.training.strategy import strategy_names

LONGER = 3
PARTS: dict[str, dict[str, Any]] = {
    **{name: {"strategy": name} for name in strategy_names()},
    "layer-space": {"space": "layer"},
    "reorder": {"reorder": "first-order"},
    "reorder-after": {"reorder_after": "first-order"},
    "hidden": {"hidden_weight": 1.0},
    "attention": {"attention_weight": 1.0},
    "front": {"front_share": 0.5},
    "moving-front": {"front": "current", "front_share": 0.5},
    "cost": {"sampling": "cost"},
    "k4": {"k": 4},
    "whole-first": {"whole_first": 0.4},
    "cosine": {"schedule": "cosine"},
    "constant": {"schedule": "constant"},
    "longer": {},
}
NUMBERS = {"rate-": "learning_rate", "hidden-": "hidden_weight", "whole-weight-": "whole_weight"}
"""Parts that end in a number, and the option that it is."""


def changes(variant: str, unit: Unit | None = None) -> dict[str, Any]:
    """The training options of a variant, and `space`.

    Raises:
        UnknownNameError: It has a part that is not known.
        UsageError: A part whose number is none.
    """
    found: dict[str, Any] = {"strategy": "full"}
    for part in variant.split("+"):
        prefix = next((prefix for prefix in NUMBERS if part.startswith(prefix)), None)
        if prefix is not None:
            try:
                found[NUMBERS[prefix]] = float(part.removeprefix(prefix))
            except ValueError as error:
                raise UsageError(f"variant {variant}: {part} has no number; expected rate-1e-4 or the like.") from error
        elif part not in PARTS:
            raise UnknownNameError("part of a variant", part, (*PARTS, *(f"{prefix}X" for prefix in NUMBERS)))
        found.update(PARTS.get(part, {}))
        if part == "longer" and unit is not None:
            found["epochs"] = LONGER * unit.epochs
            found["max_steps"] = None if unit.max_steps is None else LONGER * unit.max_steps
    return found
