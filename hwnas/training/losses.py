"""Losses of a super-network step."""

from __future__ import annotations

import torch
from torch.nn import functional


def task_loss(logits: torch.Tensor, labels: torch.Tensor, *, regression: bool) -> torch.Tensor:
    """Cross-entropy, or for a regression the mean squared error.

    Args:
        logits: (batch, labels), or (batch, 1) for a regression.
        labels: (batch,), integers, or floats for a regression.
        regression: Which of the two.

    Returns:
        The mean over the batch, a scalar.
    """
    if regression:
        return functional.mse_loss(logits.squeeze(-1), labels.to(logits.dtype))
    return functional.cross_entropy(logits, labels)


def distillation_loss(
    student: torch.Tensor, teacher: torch.Tensor, *, temperature: float, regression: bool
) -> torch.Tensor:
    """How far a sub-network's predictions are from the super-network's, which get no gradient.

    For a classification T^2 KL(softmax(teacher / T) || softmax(student / T)): equation 2 of Klein et al. 2024, with
    the factor of Hinton et al. 2015, section 2, that keeps the gradient's size when T is large (at T = 10 it would
    otherwise be a hundredth). A regression has no temperature: the mean squared difference.

    Args:
        student, teacher: Logits (batch, labels).
        temperature: T.
        regression: The task has no classes.

    Returns:
        The mean over the batch, a scalar.
    """
    teacher = teacher.detach()
    if regression:
        return functional.mse_loss(student, teacher)
    divergence = functional.kl_div(
        functional.log_softmax(student / temperature, dim=-1),
        functional.log_softmax(teacher / temperature, dim=-1),
        reduction="batchmean",
        log_target=True,
    )
    return temperature**2 * divergence
