"""Exact Gaussian processes at a fixed set of candidates, and the hypervolume that each may add, in closed form.

What BoTorch's `SingleTaskGP` predicts and its `ExpectedHypervolumeImprovement` of two objectives says, at a tenth of
their time: one Cholesky factor an objective, and no modules around it. Tests hold both against BoTorch. Everything is
float64, and larger is better.
"""

from __future__ import annotations

import math
from typing import Any

_LEAST_VARIANCE = 1e-12


class Predictions:
    """Posterior of independent processes with a squared exponential kernel of unit variance, the one of BoTorch.

    Args:
        x: (n, features) inputs of the results.
        y: (n, objectives) results.
        at: (points, features) inputs of the points to predict.
        lengthscales: (objectives, 1, features).
        noise: (objectives, 1), variances.
        constants: (objectives,), means of the processes.

    Attributes:
        mean: (points, objectives).

    Raises:
        torch.linalg.LinAlgError: A covariance is singular.

    Source: Rasmussen and Williams 2006, algorithm 2.1.
    """

    def __init__(self, x: Any, y: Any, at: Any, *, lengthscales: Any, noise: Any, constants: Any) -> None:
        import torch

        known, self._points, self._noise = x / lengthscales, at / lengthscales, noise
        covariance = _kernel(known, known)
        covariance.diagonal(dim1=1, dim2=2).add_(noise)
        root = torch.linalg.cholesky(covariance)
        self._half = torch.linalg.solve_triangular(root, _kernel(known, self._points), upper=False)
        residual = torch.linalg.solve_triangular(root, (y - constants).T.unsqueeze(2), upper=False)
        self.mean = constants + (self._half * residual).sum(dim=1).T
        self._variance = 1.0 - self._half.square().sum(dim=1)

    @property
    def variance(self) -> Any:
        """(points, objectives), without the noise."""
        return self._variance.clamp_min(_LEAST_VARIANCE).T

    def believe(self, index: int) -> None:
        """Take the mean at a point for a result there: no mean changes, and the variances fall (kriging believer)."""
        import torch

        own = self._half[:, :, index : index + 1]
        shared = _kernel(self._points[:, index : index + 1], self._points) - own.transpose(1, 2) @ self._half
        row = shared / (self._variance[:, index : index + 1].clamp_min(_LEAST_VARIANCE) + self._noise).sqrt().unsqueeze(1)
        self._half = torch.cat([self._half, row], dim=1)
        self._variance = self._variance - row.squeeze(1).square()


def expected_improvements(mean: Any, variance: Any, results: Any, reference: Any) -> Any:
    """Expected hypervolume that each of some independent normal points adds to results, two objectives, maximised.

    The space that the results leave is cut into strips along the first objective. In each of them the expectation is a
    product of two one-dimensional ones.

    Args:
        mean, variance: (points, 2).
        results: (n, 2); dominated ones and ones beyond the reference change nothing.
        reference: (2,), worse than what is to count.

    Returns:
        (points,).

    Source: Emmerich, Yang et al. 2016 (Infill criteria for multiobjective Bayesian optimization, in n log n).
    """
    import torch

    inside = results.maximum(reference)
    first, order = inside[:, 0].sort()
    highest = inside[order, 1].flip(0).cummax(0).values.flip(0)  # of those that are as good or better in the first
    lefts, levels = torch.cat([reference[:1], first]), torch.cat([highest, reference[1:]])
    deviation = variance.sqrt()
    beyond = _excess(mean[:, :1], deviation[:, :1], lefts)
    widths = beyond.clone()
    widths[:, :-1] -= beyond[:, 1:]
    return (widths * _excess(mean[:, 1:], deviation[:, 1:], levels)).sum(dim=1)


def _excess(mean: Any, deviation: Any, threshold: Any) -> Any:
    """Expectation of max(Y - threshold, 0) for a normal Y."""
    import torch

    z = (mean - threshold) / deviation
    density = torch.exp(-0.5 * z.square()) / math.sqrt(2.0 * math.pi)
    return deviation * (density + z * torch.special.ndtr(z))


def _kernel(a: Any, b: Any) -> Any:
    """Squared exponential covariances of scaled inputs; (objectives, n, features) and (objectives, m, features)."""
    squares = a.square().sum(dim=2).unsqueeze(2) + b.square().sum(dim=2).unsqueeze(1) - 2.0 * a @ b.transpose(1, 2)
    return squares.clamp_min_(0.0).mul_(-0.5).exp_()
