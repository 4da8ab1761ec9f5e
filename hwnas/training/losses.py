"""Losses of a super-network step."""

from __future__ import annotations

import numpy as np
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


def constant_loss(labels: np.ndarray, *, regression: bool) -> float:
    """The least task loss of a constant answer: the entropy of the classes in nats, or the variance of the values.

    Args:
        labels: (n,), class indices or values.
        regression: Which of the two.
    """
    if regression:
        return float(np.var(labels))
    shares = np.unique(labels, return_counts=True)[1] / len(labels)
    return float(-(shares * np.log(shares)).sum())


def trust_in(loss: torch.Tensor, constant: float) -> torch.Tensor:
    """How much of a task a teacher has learnt, by its task loss: 0 where it is no better than a constant, 1 at no loss.

    Args:
        loss: Of the teacher.
        constant: Of the best constant answer, from `constant_loss`; 0 leaves nothing to learn, and nothing to trust.
    """
    return (1.0 - loss / constant).clamp(0.0, 1.0) if constant > 0 else torch.zeros_like(loss)


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


def hidden_loss(student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of hidden states over the tokens that are no padding (TinyBERT, equation 8).

    Args:
        student, teacher: (batch, tokens, width).
        mask: (batch, tokens), 1 for tokens.

    Returns:
        A scalar.
    """
    # Zeros instead of a choice of rows: that copies them, and adds its gradient to zeros row by row.
    difference = (student.float() - teacher.detach().float()).masked_fill(mask.unsqueeze(-1) == 0, 0.0)
    return difference.square().sum() / (mask.sum() * student.shape[-1])


def relation_loss(student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Divergence between the relations of tokens to each other in a teacher and in a student.

    A relation is softmax(A A^T / sqrt(width)) of queries, keys or values A: of one relation head (MiniLMv2, section
    3.1), so that the student may have any number of heads. Attention scores themselves are not at hand with fused
    attention, and a student with fewer heads has no score for each of the teacher's.

    Args:
        student: (batch, tokens, its width).
        teacher: (batch, tokens, its width).
        mask: (batch, tokens), 1 for tokens.

    Returns:
        KL(teacher || student), the mean over tokens, a scalar.
    """
    hidden = ~mask.bool()

    def relation(states: torch.Tensor) -> torch.Tensor:
        states = states.float()
        scores = states @ states.transpose(1, 2) / states.shape[-1] ** 0.5
        return functional.log_softmax(scores.masked_fill(hidden.unsqueeze(1), -1e4), dim=-1)

    divergence = functional.kl_div(relation(student), relation(teacher.detach()), reduction="none", log_target=True)
    return divergence.sum(-1)[mask.bool()].mean()
