"""Predictions and expected improvements in closed form, against BoTorch and by hand."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch

from hwnas.search.boxes import boxes_left
from hwnas.search.gaussian import Predictions, expected_improvements, fit, noisy_choices, noisy_improvements


def points(count: int, width: int, seed: int) -> Any:
    return torch.rand(count, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def model() -> Any:
    """Two outcomes over three features, with hyperparameters that differ between them."""
    from botorch.models import SingleTaskGP

    x = points(12, 3, 0)
    y = torch.stack([x.sum(dim=1), (3 * x[:, 0]).sin() - x[:, 1]], dim=1)
    made = SingleTaskGP(x, (y - y.mean(dim=0)) / y.std(dim=0), outcome_transform=None)
    made.covar_module.lengthscale = torch.tensor([[[0.3, 0.5, 2.0]], [[1.0, 0.4, 0.2]]])
    made.likelihood.noise = torch.tensor([[1e-3], [2e-2]])
    made.mean_module.initialize(raw_constant=torch.tensor([0.3, -0.2]))
    return made.eval()


def predicted(model: Any, at: Any) -> Predictions:
    with torch.no_grad():
        return Predictions(
            model.train_inputs[0][0],
            model.train_targets.T,
            at,
            lengthscales=model.covar_module.lengthscale,
            noise=model.likelihood.noise,
            constants=model.mean_module.constant,
        )


def test_predictions_are_those_of_botorch(model: Any) -> None:
    at = torch.cat([points(20, 3, 1), model.train_inputs[0][0][:2]])
    found = predicted(model, at)
    with torch.no_grad():
        posterior = model.posterior(at)
    torch.testing.assert_close(found.mean, posterior.mean, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(found.variance, posterior.variance, rtol=1e-6, atol=1e-9)


def test_what_is_believed_moves_no_mean_and_lowers_variances_as_a_result_would(model: Any) -> None:
    at = points(9, 3, 2)
    found = predicted(model, at)
    means = found.mean.clone()
    found.believe(4)
    found.believe(7)
    x, y = model.train_inputs[0][0], model.train_targets.T
    with torch.no_grad():
        anew = Predictions(
            torch.cat([x, at[[4, 7]]]),
            torch.cat([y, means[[4, 7]]]),
            at,
            lengthscales=model.covar_module.lengthscale,
            noise=model.likelihood.noise,
            constants=model.mean_module.constant,
        )
    torch.testing.assert_close(found.mean, means)
    torch.testing.assert_close(anew.mean, means, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(found.variance, anew.variance, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("objectives", [2, 3])
def test_improvements_are_those_of_botorch(objectives: int) -> None:
    from botorch.acquisition.multi_objective.analytic import ExpectedHypervolumeImprovement
    from botorch.utils.multi_objective.box_decompositions.non_dominated import FastNondominatedPartitioning

    from hwnas.search.bayesian import _Known

    results, mean = points(30, objectives, 3) * 2 - 1, points(40, objectives, 4) * 3 - 1
    variance = points(40, objectives, 5) + 1e-3
    reference = torch.tensor([-0.5, -0.2, -0.9], dtype=torch.float64)[:objectives]
    partitioning = FastNondominatedPartitioning(ref_point=reference, Y=results)
    known: Any = _Known(mean.unsqueeze(1), variance.unsqueeze(1))
    expected = ExpectedHypervolumeImprovement(known, reference.tolist(), partitioning)(mean.unsqueeze(1))
    found = expected_improvements(mean, variance, results, reference)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


def test_improvements_of_certain_points_by_hand() -> None:
    """Over (3, 1) and (1, 2) from (0, 0): what a point dominates beyond the stairs."""
    results = torch.tensor([[3.0, 1.0], [1.0, 2.0], [1.0, 0.5], [-1.0, 9.0]], dtype=torch.float64)
    mean = torch.tensor([[2.0, 2.0], [4.0, 3.0], [1.0, 1.0], [2.0, 1.5], [4.0, -1.0]], dtype=torch.float64)
    found = expected_improvements(mean, torch.full_like(mean, 1e-16), results, torch.zeros(2, dtype=torch.float64))
    assert found.tolist() == pytest.approx([1.0, 8.0, 0.0, 0.5, 0.0], abs=1e-6)


@pytest.mark.parametrize("objectives", [2, 3, 4])
@pytest.mark.parametrize("seed", range(5))
def test_points_are_chosen_one_after_the_other(objectives: int, seed: int) -> None:
    """Each as if what was chosen before it were part of the front, by moocore where there are three objectives."""
    baseline, left = list(range(12, 30)), list(range(12))
    mean = points(30, objectives, seed) * 2 - 1
    factors = torch.stack([points(30, 6, 10 * seed + column) for column in range(objectives)]) - 0.5
    covariance = 0.3 * factors @ factors.mT + 0.01 * torch.eye(30, dtype=torch.float64)
    reference = torch.full((objectives,), -0.8, dtype=torch.float64)
    normals = torch.randn(16, objectives, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    found = noisy_choices(mean, covariance, baseline, left, reference, normals, 7)
    for index in found:
        gain = noisy_improvements(mean, covariance, baseline, left, reference, normals)
        assert float(gain[left.index(index)]) == pytest.approx(float(gain.max()), abs=1e-12)
        baseline.append(left.pop(left.index(index)))
    assert sorted(noisy_choices(mean, covariance, baseline, left, reference, normals, 99)) == left


def test_boxes_by_hand() -> None:
    """Around (1, 1, 1) from the origin: above it, beside it on either side; then with (2, 0.5, 0.5), and no other."""
    lower, upper = boxes_left(np.array([[1.0, 1.0, 1.0], [-1.0, 5.0, 5.0], [1.0, 1.0, 1.0]]), np.zeros(3))
    inf = float("inf")
    assert sorted(zip(lower.tolist(), upper.tolist(), strict=True)) == [
        ([0.0, 0.0, 1.0], [1.0, inf, inf]),
        ([0.0, 1.0, 0.0], [1.0, inf, 1.0]),
        ([1.0, 0.0, 0.0], [inf, inf, inf]),
    ]
    lower, upper = boxes_left(np.array([[2.0, 0.5, 0.5], [1.0, 1.0, 1.0], [0.5, 0.5, 0.2]]), np.zeros(3))
    assert sorted(zip(lower.tolist(), upper.tolist(), strict=True)) == [
        ([0.0, 0.0, 1.0], [1.0, inf, inf]),
        ([0.0, 1.0, 0.0], [1.0, inf, 1.0]),
        ([1.0, 0.0, 0.5], [2.0, inf, inf]),
        ([1.0, 0.5, 0.0], [2.0, inf, 0.5]),
        ([2.0, 0.0, 0.0], [inf, inf, inf]),
    ]
    lower, upper = boxes_left(np.zeros((0, 3)), np.zeros(3))
    assert (lower.tolist(), upper.tolist()) == ([[0.0] * 3], [[inf] * 3])


def test_hyperparameters_are_at_least_as_likely_as_those_that_botorch_fits(model: Any) -> None:
    """By BoTorch's own measure: the likelihood per result, priors included."""
    from botorch.models import SingleTaskGP
    from botorch.optim.fit import fit_gpytorch_mll_scipy
    from gpytorch.mlls import ExactMarginalLogLikelihood

    x, y = points(40, 3, 6), points(40, 2, 7) * 0.05
    y = y + torch.stack([x.sum(dim=1), (5 * x[:, 0]).sin() * x[:, 1]], dim=1)
    y = (y - y.mean(dim=0)) / y.std(dim=0)

    def likelihood(model: Any) -> float:
        measure = ExactMarginalLogLikelihood(model.likelihood, model.train()).train()
        with torch.no_grad():
            return float(measure(model(*model.train_inputs), model.train_targets).sum())

    theirs = SingleTaskGP(x, y, outcome_transform=None)
    before = likelihood(theirs)
    fit_gpytorch_mll_scipy(ExactMarginalLogLikelihood(theirs.likelihood, theirs).train(), options={"maxiter": 200})
    found = fit(x, y, steps=25)
    ours = SingleTaskGP(x, y, outcome_transform=None)
    ours.covar_module.lengthscale, ours.likelihood.noise = found["lengthscales"], found["noise"]
    ours.mean_module.initialize(raw_constant=found["constants"])
    assert likelihood(ours) > likelihood(theirs) - 0.01 * (likelihood(theirs) - before)
    again = fit(x, y, found, steps=25)
    assert (again["lengthscales"] / found["lengthscales"]).log().abs().max() < 0.2


@pytest.mark.parametrize("objectives", [2, 3])
def test_noisy_improvements_are_those_of_botorch(model: Any, objectives: int) -> None:
    """Both sample; of many samples the means agree."""
    from botorch.acquisition.multi_objective.monte_carlo import qNoisyExpectedHypervolumeImprovement
    from botorch.models import ModelListGP
    from botorch.sampling import SobolQMCNormalSampler

    x, at = model.train_inputs[0][0], points(6, 3, 8)
    which = [0, 1, 0][:objectives]  # the third outcome is the first again, but for what is drawn
    one_by_one = ModelListGP(*(model.subset_output([outcome]) for outcome in which)).eval()
    reference = torch.full((objectives,), -2.0, dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of small gradients, which are not asked for here
        theirs = qNoisyExpectedHypervolumeImprovement(
            one_by_one, reference.tolist(), x, SobolQMCNormalSampler(torch.Size([1024]), seed=0), cache_root=False
        )
    known = predicted(model, torch.cat([at, x]))
    normals = torch.randn(4000, objectives, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = theirs(at.unsqueeze(1))
        mean, covariance = known.mean[:, which], known.covariance(slice(None), slice(None))[which]
        found = noisy_improvements(mean, covariance, list(range(6, 18)), list(range(6)), reference, normals)
    torch.testing.assert_close(found, expected, rtol=0.1, atol=0.02)
