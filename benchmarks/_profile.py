"""Where the time of a training step goes, by PyTorch's profiler. See `subnetworks.py`."""

from __future__ import annotations

from collections import defaultdict

from _speed import Load, Row
from _step import STRATEGIES, make_step
from torch.profiler import ProfilerActivity, profile

KINDS = {
    "products of matrices": ("mm", "addmm", "addmm_", "bmm", "baddbmm", "index_add_"),
    "GELU, softmax, LayerNorm, tanh": (
        "gelu", "gelu_backward", "_softmax", "_softmax_backward_data", "_log_softmax", "_log_softmax_backward_data",
        "native_layer_norm", "native_layer_norm_backward", "tanh", "tanh_backward",
    ),
    "dropout": ("bernoulli_", "native_dropout", "native_dropout_backward", "dropout", "div_"),
    "zeros": ("fill_", "zero_"),
    "sums": ("add", "add_", "sum"),
    "copies": ("copy_", "cat", "index", "index_select"),
    "clipping and optimizer": ("_fused_adamw_", "linalg_vector_norm", "mul_"),
}  # fmt: skip
"""Operations of PyTorch by kind; all others are `other`, most of it Python and autograd."""

ONCE = ("embedding", "slice_backward", "select_backward", "index_put_")
"""Calls that are counted: tables that are read, and what autograd makes of a slice: a zeroed buffer of the whole."""


def kind_of(name: str) -> str:
    """The kind of an operation, by the profiler's name for it."""
    bare = name.removeprefix("aten::")
    if name.startswith("Optimizer.") or bare.startswith("_foreach_"):
        return "clipping and optimizer"
    return next((kind for kind, names in KINDS.items() if bare in names), "other")


def profile_rows(load: Load, steps: int, k: int = 2) -> list[Row]:
    """Seconds of a step of each strategy by kind of operation, and how often what should be rare is done in one.

    What an operation takes is without those that it calls. `ratio` is the share of the strategy's step. The profiler
    makes small operations slower than they are.
    """
    rows: list[Row] = []
    for name in STRATEGIES:
        once, _, _ = make_step(load, name, load.model(), k)
        for _ in range(3):
            once()
        with profile(activities=[ProfilerActivity.CPU]) as found:
            for _ in range(steps):
                once()
        seconds: dict[str, float] = defaultdict(float)
        calls: dict[str, float] = dict.fromkeys(ONCE, 0.0)
        for event in found.key_averages():
            seconds[kind_of(event.key)] += event.self_cpu_time_total / 1e6 / steps
            if event.key.removeprefix("aten::") in calls:
                calls[event.key.removeprefix("aten::")] += event.count / steps
        whole = sum(seconds.values())
        for kind in sorted(seconds, key=lambda one: -seconds[one]):
            row = {"way": f"{name}: {kind}", "seconds": seconds[kind], "ratio": seconds[kind] / whole}
            rows.append({"case": "profile of a training step", **row})
        for what, count in calls.items():
            rows.append({"case": "calls in a training step", "way": f"{name}: {what}", "calls": count})
    return rows
