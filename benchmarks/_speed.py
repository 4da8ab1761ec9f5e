"""What the benchmarks of speed share: the network and the batch, timing in turns, counted operations."""

from __future__ import annotations

import platform
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from hwnas.provenance import git_commit, versions
from hwnas.slicing.supernet import view
from hwnas.spaces import Architecture
from hwnas.training.pretrained import load_pretrained

Row = dict[str, Any]
Batch = dict[str, torch.Tensor]

SHAPES = ("minilm", "bert-base")
"""`minilm`: the embedded model with its weights; `bert-base`: 12 layers of 768, with random weights."""

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Load:
    """What runs.

    Attributes:
        shape: A name in `SHAPES`.
        batch: Examples in a batch.
        length: Tokens of each example; none is padded.
        device: `cpu` or `cuda`.
        dtype: A name in `DTYPES`. Forward passes alone run in it throughout; training steps keep weights in float32.
        threads: Threads of PyTorch's operations on the processor.
        space: Name of the space that sub-networks are drawn from.
    """

    shape: str = "minilm"
    batch: int = 32
    length: int = 64
    device: str = "cpu"
    dtype: str = "fp32"
    threads: int = 1
    space: str = "small"

    def model(self) -> Any:
        """The network, with two labels, in float32 and evaluation mode on the device."""
        torch.set_num_threads(self.threads)
        torch.manual_seed(0)
        if self.shape == "minilm":
            model, _ = load_pretrained(None, num_labels=2, regression=False)
        else:
            from transformers import AutoModelForSequenceClassification, BertConfig

            model = AutoModelForSequenceClassification.from_config(BertConfig(num_labels=2))
        return model.eval().to(self.device)

    def inputs(self, examples: int | None = None) -> Batch:
        """Random tokens on the device: a batch, or as many examples as are asked for."""
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(1000, 20000, (examples or self.batch, self.length), generator=generator).to(self.device)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    def finish(self) -> None:
        """Wait until the device has done what it was given."""
        if self.device == "cuda":
            torch.cuda.synchronize()

    def about(self, rounds: int) -> Row:
        """What the result says of itself."""
        name = torch.cuda.get_device_name() if self.device == "cuda" else platform.processor() or platform.machine()
        return {
            "device": name,
            "threads": self.threads,
            "rounds": rounds,
            "shape": self.shape,
            "batch": self.batch,
            "length": self.length,
            "dtype": self.dtype,
            "space": self.space,
            "versions": versions(),
            "commit": git_commit(),
        }


def measure(
    ways: dict[str, Callable[[], Any]], rounds: int, finish: Callable[[], None], *, warm_up: int = 2, seed: int = 0
) -> dict[str, np.ndarray]:
    """Seconds of every way, (rounds,) each, in interleaved order after the warm-up rounds."""
    rng = np.random.default_rng(seed)
    names = list(ways)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds + warm_up):
        for index in rng.permutation(len(names)):
            finish()
            start = perf_counter()
            ways[names[index]]()
            finish()
            if turn >= warm_up:
                seconds[names[index]].append(perf_counter() - start)
    return {name: np.array(values) for name, values in seconds.items()}


def summary(
    case: str, seconds: dict[str, np.ndarray], reference: str, extra: dict[str, Row] | None = None
) -> list[Row]:
    """One row for each way, with its ratio to the reference, taken round by round."""
    rows = []
    for name, values in seconds.items():
        low, median, high = (float(value) for value in np.quantile(values, [0.2, 0.5, 0.8]))
        ratio = float(np.median(values / seconds[reference]))
        row = {"case": case, "way": name, "seconds": median, "p20": low, "p80": high, "ratio": ratio}
        rows.append(judged({**row, **(extra or {}).get(name, {})}))
    return rows


def judged(row: Row) -> Row:
    """The row with the quotient of its ratio and its share of FLOPs, where it has a goal for that."""
    return {**row, "quotient": row["ratio"] / row["flops_ratio"]} if "goal" in row else row


class Flops:
    """Counts the floating-point operations of sub-networks, attention included, as shares of the whole network's.

    They are counted as views on one example, since the share is the same for every batch of examples of one length.
    """

    def __init__(self, model: Any, batch: Batch) -> None:
        self._model, self._one = model, {name: value[:1] for name, value in batch.items()}
        self._known: dict[Architecture, int] = {}
        self._whole = self._count(nullcontext())

    def share(self, arch: Architecture) -> float:
        """FLOPs of a sub-network over those of the whole."""
        if arch not in self._known:
            self._known[arch] = self._count(view(self._model, arch))
        return self._known[arch] / self._whole

    def _count(self, context: AbstractContextManager[Any]) -> int:
        # Attention is counted as matrix products: the processor's fused attention is not counted at all.
        with context, torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            self._model(**self._one)
        return int(counter.get_total_flops())
