"""Losses of a super-network step against their definitions."""

from __future__ import annotations

import pytest
import torch

from hwnas.training.losses import distillation_loss, task_loss


def logits(seed: int, labels: int = 3) -> torch.Tensor:
    return torch.randn(5, labels, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 10.0])
def test_distillation_is_the_scaled_divergence(temperature: float) -> None:
    student, teacher = logits(0), logits(1)
    p, q = torch.softmax(teacher / temperature, -1), torch.softmax(student / temperature, -1)
    expected = temperature**2 * (p * (p.log() - q.log())).sum(-1).mean()
    got = distillation_loss(student, teacher, temperature=temperature, regression=False)
    torch.testing.assert_close(got, expected)


def test_the_temperature_is_used() -> None:
    values = {float(distillation_loss(logits(0), logits(1), temperature=t, regression=False)) for t in (1.0, 2.0, 10.0)}
    assert len(values) == 3


def test_the_gradient_keeps_its_size_when_the_temperature_grows() -> None:
    """Hinton et al. 2015, section 2: for large T the gradient is (student - teacher) / labels, both centred."""
    student, teacher = logits(0).requires_grad_(), logits(1)
    distillation_loss(student, teacher, temperature=1000.0, regression=False).backward()
    centred = [x - x.mean(-1, keepdim=True) for x in (student.detach(), teacher)]
    assert student.grad is not None
    torch.testing.assert_close(student.grad, (centred[0] - centred[1]) / 3 / 5, rtol=1e-2, atol=1e-4)


def test_the_teacher_gets_no_gradient() -> None:
    student, teacher = logits(0).requires_grad_(), logits(1).requires_grad_()
    for regression in (False, True):
        distillation_loss(student, teacher, temperature=2.0, regression=regression).backward()
    assert teacher.grad is None


def test_equal_predictions_cost_nothing() -> None:
    assert distillation_loss(logits(0), logits(0), temperature=10.0, regression=False) == pytest.approx(0, abs=1e-12)
    assert distillation_loss(logits(0, 1), logits(0, 1), temperature=10.0, regression=True) == 0


def test_task_losses() -> None:
    labels = torch.tensor([0, 2, 1, 1, 0])
    expected = -torch.log_softmax(logits(0), -1)[torch.arange(5), labels].mean()
    torch.testing.assert_close(task_loss(logits(0), labels, regression=False), expected)
    values = torch.tensor([0.0, 1.5, 2.0, 5.0, 3.0])
    expected = ((logits(0, 1)[:, 0] - values) ** 2).mean()
    torch.testing.assert_close(task_loss(logits(0, 1), values, regression=True), expected)
