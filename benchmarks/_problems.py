"""Problems that searchers are held against: tables of exhaustive evaluations, and objectives that are made up."""

from __future__ import annotations

import csv
import json
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import UsageError
from hwnas.search.archive import everything
from hwnas.spaces import Architecture, Dimensions, Space, get_space
from hwnas.spaces.align import Align
from hwnas.spaces.architecture import Kept

MINILM = Dimensions(layers=6, heads=12, units=1536, head_size=32, hidden_size=384)
BERT = Dimensions(layers=12, heads=12, units=3072, head_size=64, hidden_size=768)

SAMPLED = 2000
"""Members drawn for the scale of the objectives where a space is too large to be gone through."""

_SYNTHETIC: dict[str, tuple[str, Dimensions, Align, int]] = {
    "small, 6 layers": ("small", MINILM, (1, 64), 872),
    "small, 12 layers": ("small", BERT, (1, 128), 277),
    "layer, 12 layers": ("layer", BERT, (1, 1), 408),
    "medium, 4 layers": ("medium", Dimensions(4, 12, 1536, 32, 384), (6, 512), 1043),
    "medium, 3 layers": ("medium", Dimensions(3, 12, 1536, 32, 384), (3, 256), 1500),
    "medium, 6 layers": ("medium", MINILM, (1, 64), 872),
    "large, 6 layers": ("large", MINILM, (1, 1), 872),
}
"""Space, sizes, steps and validation examples: as many as SST-2, RTE, MRPC, CoLA and STS-B have, and again SST-2."""

_LISTED = 100_000
"""Members that are gone through at most."""

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """What a searcher is to minimise, and where.

    Attributes:
        space: Where.
        evaluate: Error and cost of a member.
        seconds: Mean seconds of an evaluation, where a table says so.
    """

    space: Space
    evaluate: Callable[[Architecture], tuple[float, float]]
    seconds: float | None = None

    @property
    def listed(self) -> bool:
        """Whether all members can be gone through, so that the true front is known."""
        return self.space.size <= _LISTED

    @cached_property
    def members(self) -> Points:
        """Objectives of all members, or of `SAMPLED` random ones and the start designs; (members, 2)."""
        if self.listed:
            chosen = dict.fromkeys(everything(self.space))
        else:
            rng = np.random.default_rng(0)
            drawn = [self.space.sample(rng) for _ in range(SAMPLED)]
            chosen = dict.fromkeys([*self.space.start_designs(), *drawn])
        return np.array([self.evaluate(arch) for arch in chosen])


class Synthetic:
    """SYNTHETIC error and seconds of a task that does not exist; no network was asked about them.

    The error rises from its floor to chance along a logistic curve, the less is kept. Layers have weights of their own,
    and of the heads and units of a layer the first weigh most, as they do when they are ordered by importance. A rugged
    part of up to a point, of its own for every network, stands for what training leaves to chance. Errors are whole
    examples. Seconds are a part for everything, one a layer, one a pair of heads and one for 64 units. All of it
    is drawn anew with the seed.

    Args:
        dimensions: Sizes of the super-network.
        examples: Of the validation set.
        seed: Seed of the task.
    """

    def __init__(self, dimensions: Dimensions, examples: int, seed: int) -> None:
        rng = np.random.default_rng([seed, 7])
        self._examples, self._seed = examples, seed
        weights = rng.lognormal(sigma=0.5, size=dimensions.layers)
        self._layers = weights / weights.sum()
        self._heads, self._units = (
            _falling(width, rng.uniform(0.2, 1.0)) for width in (dimensions.heads, dimensions.units)
        )
        self._head_share = rng.uniform(0.35, 0.65)
        self._floor, self._chance = rng.uniform(0.05, 0.2), rng.uniform(0.35, 0.5)
        self._middle, self._width = rng.uniform(0.3, 0.6), rng.uniform(0.08, 0.16)
        self._rugged = rng.uniform(0.002, 0.01)
        self._seconds = rng.uniform((1e-3, 2e-4, 1e-4, 4e-5), (4e-3, 8e-4, 3e-4, 1e-4))
        self._ends = self._curve(0.0), self._curve(1.0)

    def __call__(self, arch: Architecture) -> tuple[float, float]:
        """(error, seconds)."""
        heads, units = (
            [_kept(kept, of) for kept in layers]
            for layers, of in ((arch.heads, self._heads), (arch.units, self._units))
        )
        of_layers = self._head_share * np.array(heads) + (1.0 - self._head_share) * np.array(units)
        worst, best = self._ends
        lost = (self._curve(float(self._layers @ of_layers)) - best) / (worst - best)
        chance = zlib.crc32(repr((self._seed, arch.heads, arch.units)).encode()) / 2**31 - 1.0
        error = self._floor + (self._chance - self._floor) * lost + self._rugged * chance
        parts = (
            1,
            len(arch.kept_layers),
            sum(math.ceil(count / 2) for count in arch.head_counts),
            sum(math.ceil(count / 64) for count in arch.unit_counts),
        )
        return max(0, round(error * self._examples)) / self._examples, float(self._seconds @ parts)

    def _curve(self, kept: float) -> float:
        return 1.0 / (1.0 + math.exp((kept - self._middle) / self._width))


def _falling(width: int, power: float) -> Points:
    """Weights that fall by a power law and sum to 1; (width,)."""
    weights = np.arange(1, width + 1, dtype=np.float64) ** -power
    return weights / weights.sum()


def _kept(kept: Kept, weights: Points) -> float:
    """Weight of what is kept."""
    return float(weights[:kept].sum() if isinstance(kept, int) else weights[list(kept)].sum())


def synthetic(seed: int) -> dict[str, Problem]:
    """The made-up problems by name; another seed makes others."""
    return {
        f"{name} (synthetic)": Problem(
            get_space(where, dimensions, align=align), Synthetic(dimensions, examples, 100 * seed + index)
        )
        for index, (name, (where, dimensions, align, examples)) in enumerate(_SYNTHETIC.items())
    }


def read_tables(path: Path) -> dict[str, Problem]:
    """Tables of the evaluations of all members of a SMALL or LAYER space, by name.

    Args:
        path: `front.json` of a search with `--searcher exhaustive`, in one precision; or a CSV file with the columns
            layers, heads, units, error and cost, possibly evaluation_seconds, and possibly task and seed, of which
            each pair is a table: the rows of `exhaustive.py`.

    Raises:
        SystemExit: Members are missing, or it is no such space.
    """
    if path.suffix == ".json":
        points = json.loads(path.read_text(encoding="utf-8"))["points"]
        known = {
            Architecture.from_json(point["architecture"]): (float(point["error"]), float(point["cost"]))
            for point in points
        }
        return {str(path): Problem(space_of(str(path), known), known.__getitem__)}
    tables: dict[str, list[dict[str, str]]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            name = f"{row['task']}, seed {row['seed']}" if {"task", "seed"} <= row.keys() else str(path)
            tables.setdefault(name, []).append(row)
    return {name: _problem_of(name, rows) for name, rows in tables.items()}


def _problem_of(name: str, rows: Sequence[Mapping[str, str]]) -> Problem:
    known: dict[Architecture, tuple[float, float]] = {}
    most = max(int(row["layers"]) for row in rows)
    for row in rows:
        layers = int(row["layers"])
        heads, units = ((int(row[kind]),) * layers + (0,) * (most - layers) for kind in ("heads", "units"))
        known[Architecture(heads, units)] = float(row["error"]), float(row["cost"])
    seconds = [float(row["evaluation_seconds"]) for row in rows if row.get("evaluation_seconds")]
    return Problem(space_of(name, known), known.__getitem__, float(np.mean(seconds)) if seconds else None)


def space_of(name: str, known: Mapping[Architecture, tuple[float, float]]) -> Space:
    """The space of which these are the members."""
    layers = sorted({len(arch.kept_layers) for arch in known})
    heads, units = (
        sorted({count for arch in known for count in counts(arch) if count})
        for counts in (lambda arch: arch.head_counts, lambda arch: arch.unit_counts)
    )
    found = Dimensions(len(next(iter(known)).heads), heads[-1], units[-1], 1, heads[-1])
    for kind in ("layer", "small"):
        try:
            space = get_space(kind, found, min_layers=layers[0], align=(heads[0], units[0]))
        except UsageError:
            continue
        if space.size == len(known) and all(arch in known for arch in everything(space)):
            return space
    raise SystemExit(f"{name}: {len(known)} networks, which are not all the members of a SMALL or LAYER space.")
