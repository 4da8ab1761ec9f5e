"""hwnas: hardware-aware neural architecture search that prunes fine-tuned transformers for the device they run on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from hwnas.slicing.extract import load as load

__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    """Import the heavy parts of the public interface only when they are used."""
    if name == "load":
        from hwnas.slicing.extract import load

        return load
    raise AttributeError(f"module 'hwnas' has no attribute {name!r}")
