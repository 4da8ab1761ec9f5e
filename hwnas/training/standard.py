"""`standard`: ordinary fine-tuning of the whole network; sub-networks only share its weights afterwards."""

from __future__ import annotations

import numpy as np

from hwnas.spaces import Architecture, Space


class Standard:
    """Klein et al. 2024, section 3.2, the reference strategy."""

    name = "standard"
    distil = False

    def sub_networks(self, space: Space, rng: np.random.Generator, k: int) -> list[Architecture]:
        """The whole network."""
        return [space.largest()]


STRATEGY = Standard()
