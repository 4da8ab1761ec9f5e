"""`sliced_linear` against eager PyTorch: forward and all gradients."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from hwnas.kernels.sliced_linear import Index, accumulate_in_place, select, sliced_linear

OUT, IN = 13, 11
SELECTIONS: dict[str, Index] = {
    "all": None,
    "prefix": 5,
    "one": 1,
    "indices": torch.tensor([9, 2, 7]),
    "last": torch.tensor([10]),
}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("columns", SELECTIONS)
@pytest.mark.parametrize("rows", SELECTIONS)
def test_equals_a_linear_map_by_the_sub_matrix(rows: str, columns: str, bias: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(OUT, IN, generator=generator, dtype=torch.float64, requires_grad=True)
    offset = torch.randn(OUT, generator=generator, dtype=torch.float64, requires_grad=True) if bias else None
    kept_rows, kept_columns = SELECTIONS[rows], SELECTIONS[columns]
    width = select(weight, None, kept_columns).shape[1]
    x = torch.randn(2, 3, width, generator=generator, dtype=torch.float64, requires_grad=True)
    inputs = [tensor for tensor in (x, weight, offset) if tensor is not None]

    result = sliced_linear(x, weight, offset, kept_rows, kept_columns)
    expected = x @ select(weight, kept_rows, kept_columns).T
    if offset is not None:
        expected = expected + select(offset.unsqueeze(0), None, kept_rows).squeeze(0)
    torch.testing.assert_close(result, expected)

    seed = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    for got, wanted in zip(
        torch.autograd.grad(result, inputs, seed), torch.autograd.grad(expected, inputs, seed), strict=True
    ):
        torch.testing.assert_close(got, wanted)


def test_numerical_gradients() -> None:
    weight = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(6, dtype=torch.float64, requires_grad=True)
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *a: sliced_linear(*a, torch.tensor([4, 0]), 3), (x, weight, bias))


def test_a_prefix_copies_nothing() -> None:
    weight = torch.randn(OUT, IN)
    assert select(weight, 5, 7).data_ptr() == weight.data_ptr()


def test_frozen_weights_get_no_gradient() -> None:
    weight, x = torch.randn(OUT, IN), torch.randn(2, 4, requires_grad=True)
    sliced_linear(x, weight, None, 5, 4).sum().backward()
    torch.testing.assert_close(x.grad, weight[:5, :4].sum(0).expand(2, 4))


def test_autocast_gives_gradients_of_the_parameters_type() -> None:
    weight = torch.randn(OUT, IN, requires_grad=True)
    bias = torch.randn(OUT, requires_grad=True)
    x = torch.randn(3, 4, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = sliced_linear(x, weight, bias, torch.tensor([1, 5]), 4)
    assert result.dtype is torch.bfloat16
    result.float().sum().backward()
    assert weight.grad is not None
    assert weight.grad.dtype is torch.float32
    assert bias.grad is not None
    torch.testing.assert_close(bias.grad, torch.zeros(OUT).index_fill(0, torch.tensor([1, 5]), 3.0))


def test_a_wrong_width_is_refused() -> None:
    with pytest.raises(RuntimeError):
        sliced_linear(torch.randn(2, 6), torch.randn(OUT, IN), None, 5, 4)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("columns", SELECTIONS)
@pytest.mark.parametrize("rows", SELECTIONS)
def test_gradients_added_in_place_are_the_same(rows: str, columns: str, autocast: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(OUT, IN, generator=generator, requires_grad=True)
    bias = torch.randn(OUT, generator=generator, requires_grad=True)
    kept = SELECTIONS[rows], SELECTIONS[columns]
    x = torch.randn(7, select(weight, None, kept[1]).shape[1], generator=generator)
    gradients = []
    for context in (nullcontext, accumulate_in_place):
        weight.grad = bias.grad = None
        for _ in range(2):  # makes the gradient, then adds to it
            with context(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
                result = sliced_linear(x, weight, bias, *kept)
            (result.float() ** 2).sum().backward()
        gradients.append((weight.grad, bias.grad))
    for plain, added in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, added)


class Largest(TorchDispatchMode):
    """The most elements that an operation gave meanwhile, new or not."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor) and not func.is_view and "_(" not in str(func._schema):
            self.elements = max(self.elements, made.numel())
        return made


def test_a_slice_s_gradient_makes_nothing_of_the_full_size() -> None:
    """Once there is a gradient, a backward pass adds to its slice; otherwise zeros of the weight's size are made."""
    weight, x = torch.randn(64, 64, requires_grad=True), torch.randn(3, 4)
    largest = []
    for context in (nullcontext, accumulate_in_place):
        weight.grad = torch.zeros_like(weight)
        place = weight.grad.data_ptr()
        with context():
            result = sliced_linear(x, weight, None, 5, 4).sum()
        with Largest() as seen:
            result.backward()
        assert weight.grad.data_ptr() == place
        largest.append(seen.elements)
    assert largest[0] >= weight.numel() > 100 > largest[1]
