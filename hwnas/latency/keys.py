"""By what super-networks and networks are told apart in tables: canonical JSON of what their latency depends on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from hwnas.errors import TableError
from hwnas.models import get_family
from hwnas.provenance import canonical
from hwnas.spaces.architecture import Architecture

_SIZES = ("layers", "heads", "units")  # in the key of a super-network, not in those of its sub-networks


def model_key(config: Any) -> str:
    """Canonical JSON of a super-network: what all its sub-networks share, and its sizes. It says whose a fit is.

    The sizes are layers, heads and units. Two super-networks that differ in them alone share the rows of sub-networks
    that both have, but a fit on those of the smaller one says little about the larger one.

    Args:
        config: A Hugging Face configuration.

    Raises:
        UnsupportedModelError: The family has no adapter.
    """
    sizes = get_family(config).dimensions(config)
    return canonical({**_model_facts(config), **{name: getattr(sizes, name) for name in _SIZES}})


def shared_key(config: Any) -> str:
    """Canonical JSON of what all sub-networks of a super-network share: `network_key` without the shape.

    Raises:
        UnsupportedModelError: The family has no adapter.
    """
    return canonical(_model_facts(config))


def split_model(model: str) -> tuple[str, tuple[int, int, int] | None]:
    """A `model_key` as what its sub-networks share, and its layers, heads and units.

    Keys of older tables do not say the sizes: then they are None, as for a text that is no key.
    """
    try:
        facts = json.loads(model)
        layers, heads, units = (int(facts.pop(name)) for name in _SIZES)
    except (ValueError, KeyError, TypeError, AttributeError):
        return model, None
    return canonical(facts), (layers, heads, units)


def largest_sizes(networks: Iterable[str]) -> tuple[int, int, int]:
    """The most layers, heads and units of networks, from their keys; TableError for a text that is no key."""
    shapes = [network_shape(network) for network in networks]
    heads, units = (max((pair[part] for shape in shapes for pair in shape), default=0) for part in (0, 1))
    return max(map(len, shapes), default=0), heads, units


def network_key(config: Any, arch: Architecture) -> str:
    """Canonical JSON of what is run: what `shared_key` holds, and (heads, units) of the layers that remain.

    Which heads, units and layers they are makes no difference, so architectures of one shape have one key.

    Args:
        config: Hugging Face configuration of the super-network.
        arch: The sub-network.

    Raises:
        UnsupportedModelError: The family has no adapter.
        UsageError: The architecture does not fit the configuration.
    """
    arch.check(get_family(config).dimensions(config))
    return canonical({**_model_facts(config), "shape": [list(pair) for pair in arch.shape]})


def network_shape(network: str) -> tuple[tuple[int, int], ...]:
    """(heads, units) of the remaining layers from a network key; TableError if it is none."""
    try:
        return tuple((int(heads), int(units)) for heads, units in json.loads(network)["shape"])
    except (ValueError, KeyError, TypeError) as error:
        raise TableError(f"not the key of a network: {network[:80]!r}; the table is damaged.") from error


def _model_facts(config: Any) -> dict[str, Any]:
    dimensions = get_family(config).dimensions(config)
    facts = {
        "model_type": str(config.model_type),
        "hidden_size": dimensions.hidden_size,
        "head_size": dimensions.head_size,
        "vocabulary": int(config.vocab_size),
        "labels": int(config.num_labels),
        "activation": str(getattr(config, "hidden_act", None) or config.activation),
        "positions": int(config.max_position_embeddings),
        "segments": int(getattr(config, "type_vocab_size", 0) or 0),
    }
    # Only families that have them: the keys of the others stay what they were.
    embedding = int(getattr(config, "embedding_size", None) or dimensions.hidden_size)
    if embedding != dimensions.hidden_size:
        facts["embedding_size"] = embedding
    queries = int(getattr(config, "num_attention_heads", dimensions.heads))
    if queries != dimensions.heads:
        facts["queries_per_group"] = queries // dimensions.heads
    return facts
