"""How much each head and each unit matters, from gradients on training data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from hwnas.errors import UnknownNameError, UsageError
from hwnas.importance.owners import find_owners


@dataclass(frozen=True)
class _Method:
    """How a score comes from the products w g of a head's or unit's weights and their gradients.

    Attributes:
        of_weight: What a product counts, element by element.
        of_sum: What the sum over the weights counts.
        outputs_alone: The sum runs only over the weights that the output of the head or unit is multiplied with.
    """

    of_weight: Callable[[torch.Tensor], torch.Tensor] = torch.clone
    of_sum: Callable[[torch.Tensor], torch.Tensor] = torch.clone
    outputs_alone: bool = False


_METHODS = {
    "first-order": _Method(of_weight=torch.abs),
    "movement": _Method(of_weight=torch.neg),
    "removal": _Method(of_sum=torch.abs, outputs_alone=True),
}


def method_names() -> tuple[str, ...]:
    """Ways to score."""
    return tuple(_METHODS)


@dataclass(frozen=True)
class Scores:
    """Importance of every head and unit of a super-network: more is more important.

    Attributes:
        heads: Per layer, one number a head.
        units: Per layer, one number a unit.
        head_weights, unit_weights: How many weights a head and a unit own; 1 leaves numbers as they are where they
            are compared per weight.
        method: A name in `method_names()`.
        examples: Training examples that they come from.

    Raises:
        UsageError: The layers of heads and of units differ, or a number is not finite.
    """

    heads: tuple[tuple[float, ...], ...]
    units: tuple[tuple[float, ...], ...]
    head_weights: int = 1
    unit_weights: int = 1
    method: str = "first-order"
    examples: int = 0

    def __post_init__(self) -> None:
        if len(self.heads) != len(self.units):
            raise UsageError(f"scores of heads for {len(self.heads)} layers, but of units for {len(self.units)}.")
        if not all(math.isfinite(value) for layer in (*self.heads, *self.units) for value in layer):
            raise UsageError("scores that are not finite: the loss or the weights are not; train at a lower rate.")

    def to_json(self) -> dict[str, Any]:
        """JSON types; `from_json` inverts it."""
        return {
            "heads": [list(layer) for layer in self.heads],
            "units": [list(layer) for layer in self.units],
            "head_weights": self.head_weights,
            "unit_weights": self.unit_weights,
            "method": self.method,
            "examples": self.examples,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Scores:
        """Inverse of `to_json`; UsageError if `data` are not scores."""
        try:
            heads, units = (
                tuple(tuple(float(value) for value in layer) for layer in data[name]) for name in ("heads", "units")
            )
            rest = (int(data["head_weights"]), int(data["unit_weights"]), str(data["method"]), int(data["examples"]))
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"not scores: expected lists of numbers 'heads' and 'units' ({error}).") from error
        return cls(heads, units, *rest)


class Accumulator:
    """Adds up scores of a model over several gradients, whose weights may move in between.

    For movement scores as published, call `add` in a training, after each backward pass and before the step, as
    `hwnas.training.movement` does. `score` adds up over a model that stands still.

    Args:
        model: A Hugging Face sequence-classification module.
        method: A name in `method_names()`.

    Raises:
        UnknownNameError: No method has that name.
        UnsupportedModelError: The model's heads and units cannot be told apart.
    """

    def __init__(self, model: nn.Module, method: str = "first-order") -> None:
        if method not in _METHODS:
            raise UnknownNameError("score", method, _METHODS)
        self.method = method
        dimensions, self._layers = find_owners(model)
        shapes = (dimensions.layers, dimensions.heads), (dimensions.layers, dimensions.units)
        self._sums = [torch.zeros(shape, dtype=torch.float64) for shape in shapes]
        self._examples = 0

    @property
    def parameters(self) -> list[torch.Tensor]:
        """The weights that are scored, each once."""
        owned = (one for layer in self._layers for one in (*layer.heads, *layer.units))
        return list({id(one.linear.weight): one.linear.weight for one in owned}.values())

    @torch.no_grad()
    def add(self, examples: int, gradients: Mapping[torch.Tensor, torch.Tensor] | None = None) -> None:
        """Add the scores of one gradient of a mean loss, times its number of examples.

        Args:
            examples: Examples that the loss is the mean of.
            gradients: Gradient by weight; None takes each weight's `.grad`. A weight without one adds nothing.
        """
        method = _METHODS[self.method]
        for index, layer in enumerate(self._layers):
            for sums, owned in zip(self._sums, (layer.heads, layer.units), strict=True):
                found = torch.zeros_like(sums[index])
                for one in owned:
                    weight = one.linear.weight
                    gradient = weight.grad if gradients is None else gradients.get(weight)
                    if gradient is not None and not (method.outputs_alone and one.axis == 0):
                        values = method.of_weight(weight.double() * gradient.double()).sum(dim=1 - one.axis)
                        found.index_add_(0, one.owner, values.cpu())
                sums[index] += examples * method.of_sum(found)
        self._examples += examples

    def state(self) -> dict[str, Any]:
        """What was added so far, for `restore`: tensors and numbers."""
        return {"heads": self._sums[0].clone(), "units": self._sums[1].clone(), "examples": self._examples}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state` of the same method and a model of the same sizes; ValueError if the sizes differ."""
        sums = [state["heads"], state["units"]]
        if [one.shape for one in sums] != [one.shape for one in self._sums]:
            raise ValueError("sums of scores of another model")
        self._sums, self._examples = [one.clone() for one in sums], int(state["examples"])

    def scores(self) -> Scores:
        """The mean over all examples added so far.

        Raises:
            UsageError: There are none, or a score is not finite.
        """
        if self._examples == 0:
            raise UsageError("no examples to score with: give at least one batch of training examples.")
        heads, units = (tuple(tuple(row) for row in (sums / self._examples).tolist()) for sums in self._sums)
        head_weights, unit_weights = (
            sum(one.linear.weight.numel() for one in owned) // len(values[0])
            for owned, values in ((self._layers[0].heads, heads), (self._layers[0].units, units))
        )
        return Scores(heads, units, head_weights, unit_weights, self.method, self._examples)


def score(
    model: nn.Module,
    batches: Iterable[Mapping[str, torch.Tensor]],
    *,
    method: str = "first-order",
    regression: bool | None = None,
) -> Scores:
    """Score the heads and units of a model on training examples, without training it.

    A head owns its rows of query, key and value and its columns of the attention output; a unit its row of the first
    and its column of the second feed-forward matrix. Biases have no part. With weights w and the gradient g of a
    batch's mean loss, `first-order` sums |w g|, `movement` -w g: above 0 where a step would move weights away from 0.
    Since nothing is trained here, that is the movement of a model that stands still, the one that a next step would
    make; `hwnas.training.movement` sums it up while a model trains. `removal` is |sum of w g| over the weights that the
    output h of the head or unit goes into, its columns of the attention output or of the second feed-forward matrix.
    That is |h dL/dh|, to first order the size of the change of a batch's loss if the head or unit is removed.

    Args:
        model: A Hugging Face sequence-classification module. It runs in evaluation mode, so without dropout; its state
            and gradients stay as they are.
        batches: Padded batches of TRAINING examples with `labels`, as `hwnas.tasks.batches` gives them. Scores from
            validation or test examples would make a search see what it is judged on.
        method: A name in `method_names()`.
        regression: Mean squared error instead of cross-entropy; None tells by whether labels are floats.

    Returns:
        Means over the examples: one batch twice scores as once.

    Raises:
        UnknownNameError: No method has that name.
        UsageError: There are no batches, or the loss is not finite.
        UnsupportedModelError: The model's heads and units cannot be told apart.

    Source: |w g|: Molchanov et al. 2019, Importance Estimation for Neural Network Pruning. -w g: Sanh et al. 2020,
    Movement Pruning, there summed up while the weights train: see `Accumulator`. Sums by head and unit: Munoz et al.
    2024 (EFTNAS). |h dL/dh|: Hou et al. 2020 (DynaBERT), section 2.1, which for a unit adds the products of the first
    matrix to it; without a bias and with a ReLU they are the same once more.
    """
    total = Accumulator(model, method)
    weights = total.parameters
    device, was_training = weights[0].device, model.training
    frozen = [weight for weight in weights if not weight.requires_grad]
    for weight in frozen:
        weight.requires_grad_(True)
    model.eval()
    try:
        for batch in batches:
            inputs = {name: value.to(device) for name, value in batch.items()}
            labels = inputs.pop("labels")
            with torch.enable_grad():
                loss = _loss(model(**inputs).logits, labels, regression)
            if not math.isfinite(float(loss.detach())):
                raise UsageError(f"the loss of a training batch is {float(loss.detach())}; train at a lower rate.")
            found = torch.autograd.grad(loss, weights, allow_unused=True)
            pairs = zip(weights, found, strict=True)
            total.add(len(labels), {weight: gradient for weight, gradient in pairs if gradient is not None})
    finally:
        model.train(was_training)
        for weight in frozen:
            weight.requires_grad_(False)
    return total.scores()


def _loss(logits: torch.Tensor, labels: torch.Tensor, regression: bool | None) -> torch.Tensor:
    """The mean loss of the task; layering keeps `hwnas.training.losses` out of reach here."""
    if labels.is_floating_point() if regression is None else regression:
        return functional.mse_loss(logits.float().squeeze(-1), labels.float())
    return functional.cross_entropy(logits.float(), labels)
