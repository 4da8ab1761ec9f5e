"""`full`: the sandwich rule with in-place distillation."""

from __future__ import annotations

import numpy as np

from hwnas.spaces import Architecture, Space


class Full:
    """Klein et al. 2024, section 3.2, after Yu et al. 2020 (BigNAS)."""

    name = "full"
    distil = True

    def sub_networks(self, space: Space, rng: np.random.Generator, k: int) -> list[Architecture]:
        """The whole network, k random sub-networks, and the smallest."""
        return [space.largest(), *(space.sample(rng) for _ in range(k)), space.smallest()]


STRATEGY = Full()
