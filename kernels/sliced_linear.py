"""`sliced_linear`: a linear map by some rows and columns of a larger weight, without a smaller parameter.

The one operation that views of a super-network need. This is the eager PyTorch version.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional

Index = int | torch.Tensor | None
"""Which rows or columns: None all, an int n the first n, a tensor (n,) of int64 these, without repeats."""

_in_place: ContextVar[bool] = ContextVar("hwnas_accumulate_in_place", default=False)


@contextmanager
def accumulate_in_place() -> Iterator[None]:
    """Forward passes inside add their weights' gradients to `.grad` directly, in `backward()`, at the kept entries.

    Otherwise every backward pass makes a full gradient of zeros for each weight and adds it to the one there. Results
    are the same. Not for `torch.autograd.grad` (which would get None for weights and biases), second derivatives,
    or hooks on parameters, which are not called; weights and biases must be leaves.
    """
    token = _in_place.set(True)
    try:
        yield
    finally:
        _in_place.reset(token)


def sliced_linear(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    rows: Index = None,
    columns: Index = None,
) -> torch.Tensor:
    """x times the transposed sub-matrix of weight, plus the same rows of bias.

    Prefixes are views: nothing is copied. Gradients of weight and bias have their full shapes, with zeros outside
    the sub-matrix.

    Args:
        x: (..., columns kept).
        weight: (out, in).
        bias: (out,) or None.
        rows: Kept outputs.
        columns: Kept inputs; x holds those only, in the same order.

    Returns:
        (..., rows kept).

    Raises:
        RuntimeError: The last size of x is not the number of kept columns.
    """
    if rows is None and columns is None:
        return functional.linear(x, weight, bias)
    if not torch.is_grad_enabled():
        return functional.linear(x, select(weight, rows, columns), _kept(bias, rows))
    apply: Any = _SlicedLinear.apply
    result: torch.Tensor = apply(x, weight, bias, rows, columns)
    return result


def select(matrix: torch.Tensor, rows: Index, columns: Index) -> torch.Tensor:
    """The sub-matrix (rows kept, columns kept) of a matrix: a view for prefixes, a copy for indices."""
    if isinstance(rows, int):
        matrix = matrix[:rows]
    elif rows is not None:
        matrix = matrix.index_select(0, rows)
    if isinstance(columns, int):
        matrix = matrix[:, :columns]
    elif columns is not None:
        matrix = matrix.index_select(1, columns)
    return matrix


def _kept(bias: torch.Tensor | None, rows: Index) -> torch.Tensor | None:
    """The kept entries of a bias."""
    if bias is None or rows is None:
        return bias
    return bias[:rows] if isinstance(rows, int) else bias.index_select(0, rows)


class _SlicedLinear(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, rows: Index, columns: Index
    ) -> torch.Tensor:
        ctx.save_for_backward(x, weight, *(index for index in (rows, columns) if isinstance(index, torch.Tensor)))
        ctx.rows = None if isinstance(rows, torch.Tensor) else rows
        ctx.columns = None if isinstance(columns, torch.Tensor) else columns
        ctx.indexed = isinstance(rows, torch.Tensor), isinstance(columns, torch.Tensor)
        ctx.bias = None if bias is None else (bias.shape, bias.dtype)
        # The parameters themselves, whose .grad is added to.
        ctx.leaves = (weight, bias) if _in_place.get() else None
        return functional.linear(x, select(weight, rows, columns), _kept(bias, rows))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        x, weight, *tensors = ctx.saved_tensors
        indices = iter(tensors)
        rows: Index = next(indices) if ctx.indexed[0] else ctx.rows
        columns: Index = next(indices) if ctx.indexed[1] else ctx.columns
        grad_x = grad_weight = grad_bias = None
        # Under autocast the gradient has a smaller type than what was saved.
        if ctx.needs_input_grad[0]:
            grad_x = grad.matmul(select(weight, rows, columns).to(grad.dtype)).to(x.dtype)
        flat = grad.reshape(-1, grad.shape[-1])
        if ctx.leaves is not None:
            leaf, offset = ctx.leaves
            if ctx.needs_input_grad[1]:
                _add_product(_gradient(leaf), flat, x.reshape(-1, x.shape[-1]), rows, columns)
            if offset is not None and ctx.needs_input_grad[2]:
                kept_bias = flat.sum(0).to(offset.dtype)
                if isinstance(rows, torch.Tensor):
                    _gradient(offset).index_add_(0, rows, kept_bias)
                else:
                    _gradient(offset)[:rows].add_(kept_bias)
            return grad_x, None, None, None, None
        if ctx.needs_input_grad[1]:
            kept = flat.t().mm(x.reshape(-1, x.shape[-1]).to(grad.dtype))
            grad_weight = _scatter(torch.zeros_like(weight), kept, rows, columns)
        if ctx.bias is not None and ctx.needs_input_grad[2]:
            shape, dtype = ctx.bias
            grad_bias = grad.new_zeros(shape, dtype=dtype)
            kept_bias = flat.sum(0).to(dtype)
            if isinstance(rows, torch.Tensor):
                grad_bias.index_copy_(0, rows, kept_bias)
            else:
                grad_bias[:rows] = kept_bias
        return grad_x, grad_weight, grad_bias, None, None


def _gradient(leaf: torch.Tensor) -> torch.Tensor:
    """The gradient of a parameter, made if there is none yet."""
    if leaf.grad is None:
        leaf.grad = torch.zeros_like(leaf)
    return leaf.grad


def _add_product(full: torch.Tensor, grad: torch.Tensor, x: torch.Tensor, rows: Index, columns: Index) -> None:
    """Add grad^T x, (rows kept, columns kept), to a matrix at the kept entries."""
    if isinstance(rows, torch.Tensor) or isinstance(columns, torch.Tensor):
        product = grad.t().mm(x.to(grad.dtype)).to(full.dtype)
        if isinstance(rows, torch.Tensor) and isinstance(columns, torch.Tensor):
            full.index_put_((rows.unsqueeze(1), columns), product, accumulate=True)
        elif isinstance(rows, torch.Tensor):
            full[:, : product.shape[1]].index_add_(0, rows, product)
        else:
            assert isinstance(columns, torch.Tensor)
            full[: product.shape[0]].index_add_(1, columns, product)
        return
    part = full[:rows, :columns]
    if grad.dtype == x.dtype == full.dtype:
        part.addmm_(grad.t(), x)  # the product goes where it belongs, with no matrix in between
    else:
        part.add_(grad.t().mm(x.to(grad.dtype)))


def _scatter(full: torch.Tensor, kept: torch.Tensor, rows: Index, columns: Index) -> torch.Tensor:
    """Write the sub-matrix into a matrix of zeros."""
    if isinstance(rows, torch.Tensor) and isinstance(columns, torch.Tensor):
        full[rows.unsqueeze(1), columns] = kept.to(full.dtype)
    elif isinstance(rows, torch.Tensor):
        full[rows, :columns] = kept.to(full.dtype)
    elif isinstance(columns, torch.Tensor):
        full[:rows, columns] = kept.to(full.dtype)
    else:
        full[:rows, :columns] = kept
    return full
