"""Exact Gaussian processes at a fixed set of candidates, and the hypervolume that each may add, in closed form.

The model is BoTorch's `SingleTaskGP`, and the improvement its `ExpectedHypervolumeImprovement` of two or three
objectives, each at a tenth of their time: one Cholesky factor an objective, and no modules around it. Tests hold all of
it against BoTorch. Everything is float64, and larger is better.
"""

from __future__ import annotations

import math
from typing import Any

from hwnas.search.boxes import added, below, boxes_left, still_free

_LEAST_VARIANCE = 1e-12
_LEAST_LENGTHSCALE = 2.5e-2
_LEAST_NOISE = 1e-4
_JITTER = 1e-7


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

    def covariance(self, some: Any, others: Any) -> Any:
        """Covariances between points, given by indices or slices; (objectives, some, others)."""
        shared = self._half[:, :, some].transpose(1, 2) @ self._half[:, :, others]
        return _kernel(self._points[:, some], self._points[:, others]) - shared

    def believe(self, index: int) -> None:
        """Take the mean at a point for a result there: no mean changes, and the variances fall (kriging believer)."""
        import torch

        own = self._half[:, :, index : index + 1]
        shared = _kernel(self._points[:, index : index + 1], self._points) - own.transpose(1, 2) @ self._half
        row = shared / (self._variance[:, index : index + 1].clamp_min(_LEAST_VARIANCE) + self._noise).sqrt().unsqueeze(
            1
        )
        self._half = torch.cat([self._half, row], dim=1)
        self._variance = self._variance - row.squeeze(1).square()


def fit(x: Any, y: Any, start: Any = None, *, steps: int) -> dict[str, Any]:
    """Hyperparameters of greatest posterior density, those of `Predictions`, by L-BFGS-B on their logarithms.

    Priors and bounds are BoTorch's own (Hvarfner et al. 2024): lengthscales around sqrt(features), noise around 0.7%.
    Gradients are in closed form (Rasmussen and Williams 2006, equation 5.9), a third of the time of automatic ones.

    Args:
        x: (n, features).
        y: (n, objectives), of unit variance.
        start: What this returned before, to go on from; None for the priors' modes.
        steps: Most iterations.

    Returns:
        `lengthscales`, `noise` and `constants`.
    """
    import torch
    from scipy.optimize import minimize

    objectives, features = y.shape[1], x.shape[1]
    centre, spread = math.sqrt(2.0) + 0.5 * math.log(features), math.sqrt(3.0)
    least = [math.log(_LEAST_LENGTHSCALE)] * objectives * features + [math.log(_LEAST_NOISE)] * objectives
    if start is None:
        scales, noises = torch.full((objectives * features,), centre - spread**2), torch.full((objectives,), -5.0)
        first = torch.cat([scales.double(), noises.double(), torch.zeros(objectives, dtype=torch.float64)])
    else:
        first = torch.cat([start["lengthscales"].log().ravel(), start["noise"].log().ravel(), start["constants"]])

    def unpacked(values: Any) -> tuple[Any, Any, Any]:
        scales, noise, constants = values.split([objectives * features, objectives, objectives])
        return scales.view(objectives, 1, features), noise.view(objectives, 1), constants

    def loss(numbers: Any) -> tuple[float, Any]:
        scales, noise, constants = unpacked(torch.from_numpy(numbers))
        known, variance = x / scales.exp(), noise.exp()
        kernel = _kernel(known, known)
        root = torch.linalg.cholesky(kernel + torch.diag_embed(variance.expand(-1, len(x))))
        residual = (y - constants).T.unsqueeze(2)
        inverse = torch.cholesky_inverse(root)
        weights = inverse @ residual
        total = 0.5 * (residual * weights).sum() + root.diagonal(dim1=1, dim2=2).log().sum()
        total = total + (0.5 * ((scales - centre) / spread).square() + scales).sum()
        total = total + (0.5 * (noise + 4.0).square() + noise).sum()
        outer = inverse - weights @ weights.transpose(1, 2)
        of_kernel = outer * kernel
        apart = known.square() * of_kernel.sum(dim=2, keepdim=True) - known * (of_kernel @ known)
        of_scales = apart.sum(dim=1, keepdim=True) + (scales - centre) / spread**2 + 1.0
        of_noise = 0.5 * variance * outer.diagonal(dim1=1, dim2=2).sum(dim=1, keepdim=True) + noise + 5.0
        gradient = torch.cat([of_scales.ravel(), of_noise.ravel(), -weights.sum(dim=(1, 2))])
        return float(total) / len(x), (gradient / len(x)).numpy()

    bounds = [(low, None) for low in least] + [(None, None)] * objectives
    found = minimize(loss, first.numpy(), jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": steps})
    scales, noise, constants = unpacked(torch.from_numpy(found.x))
    return {"lengthscales": scales.exp(), "noise": noise.exp(), "constants": constants}


def expected_improvements(mean: Any, variance: Any, results: Any, reference: Any) -> Any:
    """Expected hypervolume that each of some independent normal points adds to results, all maximised.

    The space that the results leave is cut into strips along the first objective, or with three objectives into boxes.
    In each of them the expectation is a product of one-dimensional ones.

    Args:
        mean, variance: (points, objectives), 2 or 3 objectives.
        results: (n, objectives); dominated ones and ones beyond the reference change nothing.
        reference: (objectives,), worse than what is to count.

    Returns:
        (points,).

    Source: Emmerich, Yang et al. 2016 (Infill criteria for multiobjective Bayesian optimization, in n log n); Yang et
    al. 2017 (three objectives).
    """
    import torch

    if mean.shape[1] == 3:
        return _improvements_of_three(mean, variance, results, reference)
    inside = results.maximum(reference)
    first, order = inside[:, 0].sort()
    highest = inside[order, 1].flip(0).cummax(0).values.flip(0)  # of those that are as good or better in the first
    lefts, levels = torch.cat([reference[:1], first]), torch.cat([highest, reference[1:]])
    deviation = variance.sqrt()
    beyond = _excess(mean[:, :1], deviation[:, :1], lefts)
    widths = beyond.clone()
    widths[:, :-1] -= beyond[:, 1:]
    return (widths * _excess(mean[:, 1:], deviation[:, 1:], levels)).sum(dim=1)


def noisy_choices(
    mean: Any, covariance: Any, baseline: list[int], points: list[int], reference: Any, normals: Any, count: int
) -> list[int]:
    """The points that add most hypervolume to a front that is uncertain itself, one after the other.

    Args:
        mean, covariance, baseline, points, reference, normals: As for `noisy_improvements`; each point that was chosen
            is part of the baseline of the next choice, so normals have to be as many more.
        count: How many are chosen, at most all.

    Returns:
        Indices, some of `points`, in the order of their choice.
    """
    there, left, free = list(baseline), list(points), None
    chosen: list[int] = []
    while left and len(chosen) < count:
        known, new = _joint_samples(mean, covariance, there, left, normals)
        if mean.shape[1] == 3:
            free = still_free(free, known.mT.numpy(), reference.numpy())
            gain = sum(below(*boxes, one) for boxes, one in zip(free, new.mT.numpy(), strict=True))
        else:
            gain = _improvements(known, new, reference)
        chosen.append(left.pop(int(gain.argmax())))
        there.append(chosen[-1])
    return chosen


def noisy_improvements(
    mean: Any, covariance: Any, baseline: list[int], points: list[int], reference: Any, normals: Any
) -> Any:
    """Mean hypervolume that each of some points adds to a front that is uncertain itself, over joint samples.

    It orders points as qLogNEHVI does, whose logarithm and smoothing are there for gradients.

    Args:
        mean: (n, objectives), two or more, maximised.
        covariance: (objectives, n, n).
        baseline: Indices of the points whose values, sampled, are what there is.
        points: Indices of the points to look at.
        reference: (objectives,).
        normals: (samples, objectives, at least baseline + 1), standard normal; the same ones give comparable results.

    Returns:
        (len(points),).

    Source: Daulton et al. 2021 (Parallel Bayesian optimization of multiple noisy objectives).
    """
    return _improvements(*_joint_samples(mean, covariance, baseline, points, normals), reference)


def _joint_samples(mean: Any, covariance: Any, baseline: list[int], points: list[int], normals: Any) -> tuple[Any, Any]:
    """Values of the baseline, (samples, objectives, baseline), and with them of each point, (..., points).

    A point that is added to the baseline leaves the values of those before it as they are.
    """
    import torch

    of_them = covariance[:, baseline]
    root = torch.linalg.cholesky(of_them[:, :, baseline] + _JITTER * torch.eye(len(baseline)).double())
    cross = torch.linalg.solve_triangular(root, of_them[:, :, points], upper=False)
    variance = covariance.diagonal(dim1=1, dim2=2)[:, points]
    deviation = (variance - cross.square().sum(dim=1)).clamp_min(_LEAST_VARIANCE).sqrt()
    of_baseline, own = normals[:, :, : len(baseline)], normals[:, :, -1:]
    there = mean[baseline].T + torch.einsum("oij,soj->soi", root, of_baseline)
    return there, mean[points].T + torch.einsum("soj,ojp->sop", of_baseline, cross) + deviation * own


def _improvements(there: Any, new: Any, reference: Any) -> Any:
    """Mean hypervolume that each new point adds to those there; arguments of `_joint_samples`, (points,)."""
    import torch

    if there.shape[1] > 2:
        return torch.from_numpy(added(there.mT.numpy(), new.mT.numpy(), reference.numpy()))
    first, order = there[:, 0].maximum(reference[0]).sort(dim=1)
    second = there[:, 1].maximum(reference[1]).gather(1, order)
    highest = second.flip(1).cummax(dim=1).values.flip(1)
    ends = reference.expand(len(there), 2)
    lefts, levels = torch.cat([ends[:, :1], first], dim=1), torch.cat([highest, ends[:, 1:]], dim=1)
    beyond = (new[:, 0].unsqueeze(2) - lefts.unsqueeze(1)).clamp_min(0.0)
    widths = torch.cat([beyond[..., :-1] - beyond[..., 1:], beyond[..., -1:]], dim=2)
    return (widths * (new[:, 1].unsqueeze(2) - levels.unsqueeze(1)).clamp_min(0.0)).sum(dim=2).mean(dim=0)


def _improvements_of_three(mean: Any, variance: Any, results: Any, reference: Any) -> Any:
    """See `expected_improvements`."""
    import torch

    lower, upper = (torch.from_numpy(ends) for ends in boxes_left(results.numpy(), reference.numpy()))
    deviation, gain = variance.sqrt(), torch.ones((), dtype=mean.dtype)
    for column in range(3):
        at, spread = mean[:, column : column + 1], deviation[:, column : column + 1]
        length = _excess(at, spread, lower[:, column])
        bounded = upper[:, column].isfinite()
        length[:, bounded] -= _excess(at, spread, upper[bounded, column])
        gain = gain * length
    return gain.sum(dim=1)


def _excess(mean: Any, deviation: Any, threshold: Any) -> Any:
    """Expectation of max(Y - threshold, 0) for a normal Y."""
    import torch

    z = (mean - threshold) / deviation
    density = torch.exp(-0.5 * z.square()) / math.sqrt(2.0 * math.pi)
    return deviation * (density + z * torch.special.ndtr(z))


def _kernel(a: Any, b: Any) -> Any:
    """Squared exponential covariances of scaled inputs; (objectives, n, features) and (objectives, m, features)."""
    squares = a.square().sum(dim=2).unsqueeze(2) + b.square().sum(dim=2).unsqueeze(1) - 2.0 * a @ b.transpose(1, 2)
    return (-0.5 * squares.clamp_min(0.0)).exp()
