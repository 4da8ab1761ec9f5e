"""How random sub-networks are drawn: the space's own way, evenly by cost, near a front, or to meet a budget."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from torch import nn

from hwnas.errors import HwnasError, UsageError
from hwnas.slicing.plan import describe
from hwnas.spaces import Architecture, Space
from hwnas.spaces.blocks import blocks
from hwnas.training.moving_front import CURRENT, MovingFront
from hwnas.training.options import TrainOptions
from hwnas.training.strategy import Draws, get_strategy

POOL = 32
"""Candidates of which one is drawn where the cost of a draw counts."""

Draw = Callable[[np.random.Generator], Architecture]
Cost = Callable[[Architecture], float]


class Sampler:
    """A search space with another distribution of its draws.

    Its upper end is the whole network even where the space ends below it: the whole network is what the others learn
    from and are compared with.

    Args:
        space: The search space, whose lower end stays what it is.
        draw: Draws one architecture.
        front: What the draws are near to, if that moves with the training.
    """

    def __init__(self, space: Space, draw: Draw, front: MovingFront | None = None) -> None:
        self.space, self._draw, self.front = space, draw, front

    def largest(self) -> Architecture:
        """The whole network."""
        return Architecture.full(self.space.dimensions)

    def smallest(self) -> Architecture:
        """The lower end."""
        return self.space.smallest()

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draw one at random."""
        return self._draw(rng)


def make_sampler(model: nn.Module, space: Space, options: TrainOptions, price: Cost | None = None) -> Draws:
    """Where the random sub-networks of a training come from.

    - `sampling` `space`: the paper's sampler of the space.
    - `encoding`: every entry of the encoding evenly and independently.
    - `cost`: a cost is drawn evenly between the ends, then the nearest of 32 draws of the space is taken. Where it
      is beyond all of them, that one is moved towards the end of the space, by the share of the way that is missing.
    - `front_share`: with this probability a mutation of a member of a front instead. The front of a search is read
      here, once, and stays what it is; with `front` `current` it is that of the training itself, and moves.
    - `budget`: of 32 such draws, one is chosen with a weight exp(-b cost), with b such that the mean cost of a step
      is the budget. Where they do not reach so far, some are moved towards an end of the space first.

    Args:
        model: The super-network.
        space: The search space.
        options: Of the training.
        price: Cost by which the front of the training is one, such as a latency; None takes `linear_cost`.

    Raises:
        UsageError: The front cannot be read or is of another space; or a budget outside of what steps can cost.
    """
    cost = linear_cost(model)
    own: Draw = space.sample
    draw = own
    if options.sampling == "encoding":
        draw = _even(space)
    elif options.sampling == "cost":
        draw = _even_cost(space, cost)
    moving = None
    if options.front == CURRENT:
        moving = MovingFront(space, price or cost)
        draw = near_front(draw, space, moving.members, options.front_share)
    elif options.front is not None and options.front_share > 0:
        members = read_front(Path(options.front), space, reorder=options.reorder)
        draw = near_front(draw, space, members, options.front_share)
    if options.budget is not None:
        draw = budgeted(draw, space, cost, _cost_of_a_draw(space, cost, options))
    whole = space.largest() == Architecture.full(space.dimensions)
    return space if draw is own and whole else Sampler(space, draw, moving)


def linear_cost(model: nn.Module) -> Cost:
    """Multiplications in the linear maps of a sub-network's layers, as a share of the whole network's.

    What grows with the square of the sequence is left out: at 128 tokens 4% of MiniLM.
    """
    family, dimensions = describe(model)
    layer = family.encoder_layers(model)[0]

    def size(*names: str) -> int:
        return sum(cast(nn.Linear, layer.get_submodule(name)).weight.numel() for name in names)

    head = size(*family.projections, family.attention_output) / dimensions.heads
    unit = size(*family.feed_forward_inputs, family.feed_forward_output) / dimensions.units
    whole = dimensions.layers * (head * dimensions.heads + unit * dimensions.units)
    return lambda arch: (head * sum(arch.head_counts) + unit * sum(arch.unit_counts)) / whole


Members = Sequence[Architecture]


def near_front(draw: Draw, space: Space, members: Members | Callable[[], Members], share: float) -> Draw:
    """Mutations of a front's members with a probability, other draws else. A front that moves is asked for each draw.

    A mutation moves one entry of the encoding, and every other one with a probability of 1 / entries, so about two in
    the mean. Each moves by a normal step of a tenth of its range. In LARGE, whose entries are single heads and units,
    what moves is how many a layer keeps, and random ones come or go.
    """
    low, high = np.array(list(space.bounds.values())).T
    parts, layers = blocks(space), space.dimensions.layers
    least = [space.head_levels[0]] * layers + [space.unit_levels[0]] * layers
    movable = np.flatnonzero(high > low)

    def near(rng: np.random.Generator) -> Architecture:
        if rng.random() >= share:
            return draw(rng)
        front = members() if callable(members) else members
        if not front or not len(movable):
            return draw(rng)
        vector = np.array(space.encode(front[int(rng.integers(len(front)))]))
        if parts:
            return space.decode(_with_other_counts(vector, parts, least, rng).tolist())
        moved = rng.random(len(vector)) < 1 / len(vector)
        moved[movable[int(rng.integers(len(movable)))]] = True
        step = rng.normal(0.0, np.maximum(1.0, (high - low) / 10))
        step = np.sign(step) * np.minimum(np.maximum(1, np.abs(np.rint(step))), high - low)
        # An entry at a bound moves inwards: otherwise half of all mutations would be none.
        step = np.where((vector + step < low) | (vector + step > high), -step, step)
        return space.decode(np.clip(vector + moved * step, low, high).astype(int).tolist())

    return near


def _with_other_counts(
    vector: npt.NDArray[np.integer[Any]],
    parts: Sequence[npt.NDArray[np.int64]],
    least: Sequence[int],
    rng: np.random.Generator,
) -> npt.NDArray[np.integer[Any]]:
    """A vector of zeros and ones (entries,) that has more or fewer ones in one part, and perhaps in others; by at least
    so many."""
    moved = rng.random(len(parts)) < 1 / len(parts)
    moved[int(rng.integers(len(parts)))] = True
    vector = vector.copy()
    for part, fewest in (pair for pair, moves in zip(zip(parts, least, strict=True), moved, strict=True) if moves):
        kept, left = part[vector[part] == 1], part[vector[part] == 0]
        step = rng.normal(0.0, max(1.0, len(part) / 10))
        count = min(max(fewest, round(abs(step))), len(part))
        grows = step > 0 if count <= min(len(kept), len(left)) else len(left) >= len(kept)
        pool = left if grows else kept
        vector[rng.choice(pool, size=min(count, len(pool)), replace=False)] ^= 1
    return vector


def budgeted(draw: Draw, space: Space, cost: Cost, target: float) -> Draw:
    """Draws whose mean cost is a target, by exponential tilting of a pool of ordinary draws.

    A target beyond the mean of the cheapest or of the dearest quarter of a pool would be missed, or leave the weight
    with a few of them: MEDIUM's draws crowd around half the cost. Then a quarter of the pool, moved towards that end of
    the space, takes its place, by shares of the way that are spread about the one whose cost is the target.

    Args:
        draw: Ordinary draws.
        space: The space that they are members of.
        cost: Cost of a network.
        target: The mean wanted, from the cost of the space's lower end to that of its upper end.
    """
    ends = [(np.array(space.encode(end)), cost(end)) for end in (space.smallest(), space.largest())]

    def chosen(rng: np.random.Generator) -> Architecture:
        pool = [draw(rng) for _ in range(POOL)]
        costs = np.array([cost(arch) for arch in pool])
        rising, few = np.sort(costs), POOL // 4
        if not rising[:few].mean() <= target <= rising[-few:].mean():
            mean = costs.mean()
            end, spent = ends[int(target > mean)]
            share = min(1.0, (target - mean) / (spent - mean)) if spent != mean else 1.0
            spread = min(share, 1 - share)
            shares = np.clip(np.linspace(share - spread, share + spread, few), 0, 1)
            pool = [_towards(space, arch, end, part, rng) for arch, part in zip(pool, shares, strict=False)]
            costs = np.array([cost(arch) for arch in pool])
        return pool[int(rng.choice(len(pool), p=tilt(costs, target)))]

    return chosen


def _towards(
    space: Space, arch: Architecture, end: npt.NDArray[np.integer[Any]], share: float, rng: np.random.Generator
) -> Architecture:
    """A member of a space moved by a share of the way to another's vector (entries,), fractions rounded by chance."""
    own = np.array(space.encode(arch))
    return space.decode(np.floor(own + share * (end - own) + rng.random(len(own))).astype(int).tolist())


def tilt(costs: np.ndarray, target: float) -> np.ndarray:
    """Probabilities proportional to exp(-b cost) with which the mean cost is a target, or as near as can be.

    Args:
        costs: (n,).
        target: The mean wanted.

    Returns:
        Probabilities (n,).
    """
    spread = np.ptp(costs)
    if spread == 0:
        return np.full(len(costs), 1 / len(costs))
    scaled = (costs - costs.min()) / spread
    wanted = (target - costs.min()) / spread

    def weights(b: float) -> np.ndarray:
        exponents = -b * scaled
        raw: np.ndarray = np.exp(exponents - exponents.max())
        normalised: np.ndarray = raw / raw.sum()
        return normalised

    low, high = -200.0, 200.0  # far enough that one draw has all the weight
    for _ in range(60):
        middle = (low + high) / 2
        if float(weights(middle) @ scaled) > wanted:
            low = middle
        else:
            high = middle
    return weights((low + high) / 2)


def read_front(path: Path, space: Space, *, reorder: str | None = None) -> list[Architecture]:
    """The architectures of a `front.json`, or of a JSON list of architectures, in a search space.

    Args:
        path: The file.
        space: The space.
        reorder: Score by which the training to come puts heads and units in order first, if it does.

    Raises:
        UsageError: The file cannot be read, holds none, or holds one that is not in the space; or one names heads or
            units by their numbers in another order than that of the training to come.
    """
    reordered = False
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
        entries = data["members"] if isinstance(data, dict) else data
        reordered = isinstance(data, dict) and bool(data.get("about", {}).get("reordered", True))
        members = [Architecture.from_json(entry.get("architecture", entry)) for entry in entries]
        if not members:
            raise ValueError("no members")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, HwnasError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(
            f"--front {path} cannot be used ({reason}); expected the front.json of a search, or a JSON list of "
            "architectures."
        ) from error
    for member in members:
        if member not in space:
            raise UsageError(
                f"--front {path}: {member} is not in the space {space.name} of this model; expected the front of a "
                "search in this space, of a model with as many layers, heads and units."
            )
    named = any(not isinstance(kept, int) for member in members for kept in (*member.heads, *member.units))
    if named and (reordered or reorder is not None):
        raise UsageError(
            f"--front {path} names heads and units by their numbers, and those of its run were put in another order "
            "than this training begins with; use --front current, or the front of a run with --reorder-after none, "
            "without --reorder here and there."
        )
    return members


def _even(space: Space) -> Draw:
    bounds = list(space.bounds.values())
    return lambda rng: space.decode([int(rng.integers(low, high + 1)) for low, high in bounds])


def _even_cost(space: Space, cost: Cost) -> Draw:
    ends = [(np.array(space.encode(end)), cost(end)) for end in (space.smallest(), space.largest())]

    def draw(rng: np.random.Generator) -> Architecture:
        wanted = rng.uniform(ends[0][1], ends[1][1])
        pool = [space.sample(rng) for _ in range(POOL)]
        costs = np.array([cost(arch) for arch in pool])
        nearest = int(np.abs(costs - wanted).argmin())
        if costs.min() <= wanted <= costs.max():
            return pool[nearest]
        end, spent = ends[int(wanted > costs[nearest])]
        share = (wanted - costs[nearest]) / (spent - costs[nearest])
        return _towards(space, pool[nearest], end, min(1.0, share), rng)

    return draw


def _cost_of_a_draw(space: Space, cost: Cost, options: TrainOptions) -> float:
    """What a random sub-network may cost in the mean, so that a step meets the budget."""
    assert options.budget is not None
    if options.whole_first == 1:
        raise UsageError("--budget has no effect with --whole-first 1, where every step trains the whole network.")
    ends = Sampler(space, lambda _: space.smallest())
    fixed = sum(map(cost, get_strategy(options.strategy).sub_networks(ends, np.random.default_rng(0), 0)))
    least, most = cost(space.smallest()), cost(space.largest())
    first, later = options.whole_first, 1 - options.whole_first  # shares of the steps
    wanted = ((options.budget - first) / later - fixed) / options.k
    bounds = [first + later * (fixed + options.k * end) for end in (least, most)]
    slack = 1e-3 / options.k  # the ends of the range can be asked for as the message rounds them
    if not least - slack <= wanted <= most + slack:
        raise UsageError(
            f"--budget {options.budget:g}: in the space {space.name} a step of {options.strategy} with --k {options.k} "
            f"costs from {bounds[0]:.3f} to {bounds[1]:.3f} passes of the whole network; give a number "
            "in between, or another --k."
        )
    return min(max(wanted, least), most)
