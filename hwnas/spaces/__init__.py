"""Search spaces over the sub-networks of one super-network. A new space is one file and one line in `_SPACES`."""

from __future__ import annotations

from hwnas.errors import UnknownNameError
from hwnas.models.dimensions import Dimensions
from hwnas.spaces.architecture import Architecture, Kept
from hwnas.spaces.base import Space
from hwnas.spaces.layer import LayerSpace
from hwnas.spaces.small import SmallSpace

_SPACES: dict[str, type[Space]] = {space.name: space for space in (SmallSpace, LayerSpace)}

__all__ = ["Architecture", "Dimensions", "Kept", "Space", "get_space", "space_names"]


def space_names() -> tuple[str, ...]:
    """Registered spaces."""
    return tuple(_SPACES)


def get_space(name: str, dimensions: Dimensions, *, min_layers: int = 1) -> Space:
    """The space of that name over a super-network; UnknownNameError lists the known ones."""
    if name not in _SPACES:
        raise UnknownNameError("space", name, _SPACES)
    return _SPACES[name](dimensions, min_layers=min_layers)
