"""Racing: a network that is worse than a cheaper one is stopped before it has seen all validation examples.

Of two networks the one that costs no less and makes at least as many errors, on all N examples, is not on the front. So
the examples of a network come in a random order of its own, and after each of them the hypothesis "it makes fewer
errors than that rival" bounds the mean of what is still to come. A bet against the hypothesis is paid out: while it is
true, the capital is a supermartingale, so the probability that it ever grows from 1 to 1 / level is `level` at most,
however often one looks (Ville's inequality). What is bet on are differences to a guess of every example's error, which
may be anything that is known before: other networks' errors on the same examples make the differences small.

Source: I. Waudby-Smith and A. Ramdas, Confidence sequences for sampling without replacement, NeurIPS 2020; Estimating
means of bounded random variables by betting, Journal of the Royal Statistical Society B 86(1), 2024, section 5.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Wrong = NDArray[np.bool_]
"""Which examples a network gets wrong, shape (n,)."""

Guess = NDArray[np.float64]
"""How wrong a network is thought to be on each example, in [0, 1], shape (N,)."""

_STAKES = np.array([[0.05], [0.1], [0.2], [0.4], [0.8]])  # shares of the capital that are at risk; the mean counts
_ROOM = 1e-9  # below it a mean is out of reach
_PARTS = 8  # that all examples are divided into: more would see a loss sooner, and pad more
_BATCH = 64


class Race:
    """One network against the errors of a rival.

    Args:
        limit: Errors of the rival on all examples: a network on the front has fewer.
        guess: In the order in which examples come, shape (N,); zeros if nothing is known.
        level: Probability, at most, of stopping a network that would have fewer errors than the limit.

    Attributes:
        seen: Examples so far.
        stopped: Whether it has lost.
    """

    def __init__(self, limit: int, guess: Guess, level: float) -> None:
        self._guess, self._needed = guess, math.log(1 / level)
        self._most = float(guess.max(initial=0.0))
        self._left = limit - 1 - float(guess.sum())  # what differences may still add up to on the front
        self._capital = np.zeros((len(_STAKES), 1))  # logarithms
        self._sum = 0.0
        self.seen, self.stopped = 0, False

    @property
    def estimate(self) -> float:
        """Error on all examples: the mean guess, and the mean difference so far. Exact when all were seen."""
        return float(self._guess.mean()) + self._sum / max(1, self.seen)

    def see(self, wrong: Wrong) -> bool:
        """The next examples, shape (n,); whether the network has lost."""
        ahead = len(self._guess) - np.arange(self.seen, self.seen + len(wrong))
        differences = wrong - self._guess[self.seen : self.seen + len(wrong)]
        before = np.concatenate([[0.0], np.cumsum(differences)])
        mean = (self._left - before[:-1]) / ahead  # at most, of the differences from here on, if it is on the front
        room = mean + self._most
        ratio = np.divide(differences - mean, room, out=np.zeros(len(wrong)), where=room > _ROOM)
        capital = self._capital + np.cumsum(np.log1p(_STAKES * ratio), axis=1)
        self._left, self._sum, self.seen = self._left - before[-1], self._sum + before[-1], self.seen + len(wrong)
        self._capital = capital[:, -1:]
        rest = len(self._guess) - self.seen
        beyond = (room < -_ROOM).any() or self._left + rest * self._most < -_ROOM
        highest = np.logaddexp.reduce(capital, axis=0).max(initial=-np.inf) - math.log(len(_STAKES))
        self.stopped = self.stopped or bool(beyond) or bool(highest >= self._needed)
        return self.stopped


def parts(examples: int) -> Iterator[slice]:
    """After how many examples a race is looked at: slices of its order, each of whole batches but the last."""
    size = -(-examples // (_PARTS * _BATCH)) * _BATCH
    for start in range(0, examples, size):
        yield slice(start, min(examples, start + size))
