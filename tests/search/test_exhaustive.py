"""Exhaustive enumeration: all of a space, each once; and its refusal."""

from __future__ import annotations

import pytest

from hwnas.errors import UsageError
from hwnas.search.archive import Archive
from hwnas.search.exhaustive import make
from hwnas.spaces import Architecture, Dimensions, Space, get_space

DIMENSIONS = Dimensions(layers=3, heads=4, units=16, head_size=2, hidden_size=8)


def proposals(space: Space) -> list[Architecture]:
    archive = Archive(space, 2, 0)
    strategy = make("exhaustive", archive, space.size, 0)
    for arch in dict.fromkeys(space.start_designs()):
        archive.add(arch)
    while (arch := strategy.propose()) is not None:
        archive.add(arch)
    return archive.asked


@pytest.mark.parametrize("space", [get_space("small", DIMENSIONS, align=(2, 8)), get_space("layer", DIMENSIONS)])
def test_every_architecture_comes_once(space: Space) -> None:
    found = proposals(space)
    assert len(found) == len(set(found)) == space.size
    assert all(arch in space for arch in found)


def test_all_of_a_space_by_hand() -> None:
    """Two depths' worth of 2 or 4 heads and 8 or 16 units."""
    space = get_space("small", Dimensions(layers=2, heads=4, units=16, head_size=2, hidden_size=8), align=(2, 8))
    kept = [(arch.shape[0], len(arch.shape)) for arch in proposals(space)]
    assert sorted(kept) == sorted(((h, u), n) for h in (2, 4) for u in (8, 16) for n in (1, 2))


def test_a_space_that_is_too_large_is_refused() -> None:
    with pytest.raises(UsageError, match=r"the space small, which holds 192 networks, more than the 100 evaluations"):
        make("exhaustive", Archive(get_space("small", DIMENSIONS), 2, 0), 100, 0)
    with pytest.raises(UsageError, match=r"holds about 10\^1\d networks"):
        make("exhaustive", Archive(get_space("large", DIMENSIONS), 2, 0), 100, 0)
