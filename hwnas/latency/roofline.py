"""The work of a sub-network, operator by operator, and the least time that a device's facts allow for it.

Time of an operator = max(FLOPs / rate, bytes / bandwidth), plus a fixed time for each kernel that is launched.
Source of the model: S. Williams, A. Waterman, D. Patterson, Roofline: an insightful visual performance model for
multicore architectures, Communications of the ACM 52(4), 2009.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from hwnas.errors import TableError, UnknownNameError, UnsupportedModelError, UsageError
from hwnas.latency.keys import model_key, network_shape
from hwnas.models import get_family
from hwnas.targets import Target

Array = npt.NDArray[np.float64]
Shape = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Format:
    """How a precision is held and computed in.

    Attributes:
        rate: The entry of `Target.peak_tflops` that matrix products run at.
        weight_bytes: Bytes of one weight of a matrix.
        table_bytes: Bytes of one entry of embeddings, biases and LayerNorms.
        activation_bytes: Bytes of one activation.
        multiple: Matrix units take widths of this multiple; others cost as much as the next one up. Source: NVIDIA,
            Matrix Multiplication Background User's Guide (DU-09799-001), section 2.2, Tensor Core requirements.
    """

    rate: str
    weight_bytes: int
    table_bytes: int
    activation_bytes: int
    multiple: int


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "fp32": Format("fp32", 4, 4, 4, 1),
        "fp16": Format("fp16", 2, 2, 2, 8),
        "bf16": Format("bf16", 2, 2, 2, 8),
        "int8": Format("int8", 1, 2, 1, 16),
    }
)
"""Precisions that an estimate can be made for."""


def get_format(precision: str) -> Format:
    """The format of a precision; UnknownNameError lists those that can be estimated."""
    if precision not in FORMATS:
        raise UnknownNameError("precision of an estimate", precision, FORMATS)
    return FORMATS[precision]


@dataclass(frozen=True)
class ModelFacts:
    """What all sub-networks of one super-network share.

    Attributes:
        hidden_size: Width of the residual stream.
        head_size: Width of one head.
        vocabulary, positions, segments: Rows of the three embedding tables.
        labels: Outputs of the classifier.
        embedding_size: Width of the embeddings; 0 says the hidden size.
        plain: Whether layers are BERT's: no gates, no grouped queries.
    """

    hidden_size: int
    head_size: int
    vocabulary: int
    positions: int
    segments: int
    labels: int
    embedding_size: int = 0
    plain: bool = True

    @classmethod
    def from_key(cls, key: str) -> ModelFacts:
        """From the text of `model_key` or `network_key`; TableError if it is neither."""
        try:
            data = json.loads(key)
            numbers = {name: int(data[name]) for name in _NUMBERS}
            if min(value for name, value in numbers.items() if name != "segments") < 1:
                raise ValueError
            embedding = int(data.get("embedding_size", 0))
            return cls(**numbers, embedding_size=embedding, plain=_is_plain(str(data["model_type"])))
        except (ValueError, KeyError, TypeError) as error:
            raise TableError(f"not the key of a network: {key[:80]!r}; the table is damaged.") from error

    @classmethod
    def from_config(cls, config: Any) -> ModelFacts:
        """From a Hugging Face configuration; UnsupportedModelError if the family has no adapter or other layers."""
        facts = cls.from_key(model_key(config))
        if not facts.plain:
            raise UnsupportedModelError(
                f"models of the family {config.model_type!r} cannot be estimated; expected BERT's layers: "
                "profile on the device itself."
            )
        return replace(facts, embedding_size=int(getattr(config, "embedding_size", 0) or 0))


_NUMBERS = ("hidden_size", "head_size", "vocabulary", "positions", "segments", "labels")


def _is_plain(model_type: str) -> bool:
    """Whether a family's layers are BERT's; a family of a newer hwnas is taken for another kind."""
    try:
        family = get_family(SimpleNamespace(model_type=model_type))
    except UnsupportedModelError:
        return False
    return not any(getattr(family, name, None) for name in ("decoder", "feed_forward_gates", "groups_name"))


def parse_network(network: str) -> tuple[ModelFacts, tuple[tuple[int, int], ...]]:
    """Facts and (heads, units) of the remaining layers from a `network_key`; TableError if it is none."""
    return ModelFacts.from_key(network), network_shape(network)


@dataclass(frozen=True)
class Operator:
    """One operator, and how often it is there.

    Attributes:
        name: What it is.
        flops: Operations of its matrix products, a multiply-add counts two; 0 for what is bound by memory anyway.
        padded_flops: The same with every width rounded up to the format's multiple.
        bytes: Weights and activations read, and activations written.
        kernels: Kernels that are launched for it; 0 if it is fused into the one before.
        count: How often it is there.
    """

    name: str
    flops: int
    padded_flops: int
    bytes: int
    kernels: int
    count: int = 1


def operators(facts: ModelFacts, shape: Shape, batch: int, sequence_length: int, precision: str) -> list[Operator]:
    """The operators of a BERT-like classifier in the order they run, equal layers folded.

    Query, key and value are one product; scores, softmax and context are one kernel that keeps the scores on the
    chip; biases and the activation are part of the product before: as compilers of encoders fuse them.

    Args:
        facts: The super-network.
        shape: (heads, units) of the layers that remain.
        batch: Sequences in one run.
        sequence_length: Tokens in a sequence.
        precision: One of `FORMATS`.

    Raises:
        UnknownNameError: The precision cannot be estimated.
        UsageError: Batch or sequence length is below 1, or there are more tokens than positions.
    """
    style = get_format(precision)
    if batch < 1 or sequence_length < 1:
        raise UsageError(f"batch {batch}, sequence length {sequence_length}; expected 1 or more of each.")
    if sequence_length > facts.positions:
        raise UsageError(f"sequence length {sequence_length}; this model takes at most {facts.positions} tokens.")
    tokens, hidden, wide = batch * sequence_length, facts.hidden_size, style.activation_bytes

    def matrix(name: str, rows: int, columns: int, depth: int, count: int = 1) -> Operator:
        moved = (columns * depth) * style.weight_bytes + rows * (columns + depth) * wide
        return Operator(name, *_products(1, rows, columns, depth, style), moved, 1, count)

    narrow = facts.embedding_size or hidden
    found = [Operator("embeddings and LayerNorm", 0, 0, tokens * narrow * (3 * style.table_bytes + wide), 1)]
    if narrow != hidden:
        found.append(matrix("embeddings to hidden size", tokens, hidden, narrow))
    for (heads, units), count in Counter(tuple(pair) for pair in shape).items():
        width = heads * facts.head_size
        normalise = Operator("residual and LayerNorm", 0, 0, 3 * tokens * hidden * wide, 1, count)
        if heads:
            pairs = batch * heads
            scores = _products(pairs, sequence_length, sequence_length, facts.head_size, style)
            context = _products(pairs, sequence_length, facts.head_size, sequence_length, style)
            found += [
                matrix("query, key and value", tokens, 3 * width, hidden, count),
                Operator("attention scores", *scores, 2 * tokens * width * wide, 1, count),
                Operator("attention context", *context, 2 * tokens * width * wide, 0, count),
                matrix("attention output", tokens, hidden, width, count),
                normalise,
            ]
        if units:
            found += [
                matrix("feed-forward input", tokens, units, hidden, count),
                matrix("feed-forward output", tokens, hidden, units, count),
                normalise,
            ]
    found += [matrix("pooler", batch, hidden, hidden), matrix("classifier", batch, facts.labels, hidden)]
    return found


def least_seconds(work: Sequence[Operator], target: Target, precision: str) -> tuple[Array, Array, Array]:
    """What the facts allow at best, per operator: seconds of compute, seconds of memory, kernels; each shape (n,).

    Repeated operators are counted as often as they are there.

    Raises:
        UsageError: The target lacks the bandwidth, or the peak rate of the precision; says which.
    """
    rate, bandwidth = facts_of(target, precision)
    counts = np.array([item.count for item in work], dtype=np.float64)
    compute = np.array([item.padded_flops for item in work], dtype=np.float64) / rate
    memory = np.array([item.bytes for item in work], dtype=np.float64) / bandwidth
    kernels = np.array([item.kernels for item in work], dtype=np.float64)
    return compute * counts, memory * counts, kernels * counts


def facts_of(target: Target, precision: str) -> tuple[float, float]:
    """Peak rate in operations per second and bandwidth in bytes per second.

    Raises:
        UnknownNameError: The precision cannot be estimated.
        UsageError: The target does not say one of them.
    """
    style = get_format(precision)
    if target.kind != "gpu":
        raise UsageError(
            f"target {target.name} has no facts to estimate from (no peak rates, no bandwidth); name a GPU with "
            "--target, or measure on the processor itself."
        )
    if target.bandwidth_gb_s is None:
        raise UsageError(f"target {target.name} has no bandwidth_gb_s in its file, which an estimate needs.")
    if style.rate not in target.peak_tflops:
        known = [name for name, form in FORMATS.items() if form.rate in target.peak_tflops]
        raise UsageError(
            f"target {target.name} has no peak rate for {style.rate}, which an estimate needs; it has rates for "
            f"{', '.join(known) or 'no precision'}."
        )
    return target.peak_tflops[style.rate] * 1e12, target.bandwidth_gb_s * 1e9


def parameters(facts: ModelFacts, shape: Shape) -> tuple[int, int]:
    """(weights of matrices, entries of embeddings, biases and LayerNorms) of the extracted sub-network."""
    hidden = facts.hidden_size
    narrow = facts.embedding_size or hidden
    weights = hidden * hidden + hidden * facts.labels
    rest = (facts.vocabulary + facts.positions + facts.segments + 2) * narrow + hidden + facts.labels
    if narrow != hidden:
        weights, rest = weights + narrow * hidden, rest + hidden
    for heads, units in shape:
        width = heads * facts.head_size
        weights += 4 * hidden * width + 2 * hidden * units
        rest += (3 * width + 3 * hidden if heads else 0) + (units + 3 * hidden if units else 0)
    return weights, rest


def memory_parts(
    facts: ModelFacts, shape: Shape, batch: int, sequence_length: int, precision: str
) -> tuple[int, int, int]:
    """Bytes of (weights, activations alive at the busiest operator, attention scores if they are written out)."""
    style = get_format(precision)
    matrices, rest = parameters(facts, shape)
    widest = max((max(4 * heads * facts.head_size, units + facts.hidden_size) for heads, units in shape), default=0)
    alive = batch * sequence_length * (2 * facts.hidden_size + widest) * style.activation_bytes
    heads = max((pair[0] for pair in shape), default=0)
    scores = batch * heads * sequence_length**2 * style.activation_bytes
    return matrices * style.weight_bytes + rest * style.table_bytes, alive, scores


def _products(pairs: int, rows: int, columns: int, depth: int, style: Format) -> tuple[int, int]:
    """FLOPs of `pairs` products (rows x depth) (depth x columns), exact and with widths rounded up."""
    padded = [-(-size // style.multiple) * style.multiple for size in (rows, columns, depth)]
    return 2 * pairs * rows * columns * depth, 2 * pairs * padded[0] * padded[1] * padded[2]
