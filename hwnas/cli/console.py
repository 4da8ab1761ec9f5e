"""Where the command line prints: results to standard output, progress and errors to standard error."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console

out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True)
if not out.is_terminal:
    out = Console(soft_wrap=True, width=120)  # a file or a pipe has no width of its own


def print_json(value: Any) -> None:
    """Print one JSON document to standard output, without colour or wrapping."""
    print(json.dumps(value, indent=2, sort_keys=False, allow_nan=False))
