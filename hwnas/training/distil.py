"""What sub-networks learn from a teacher: its predictions, its hidden states, its attention relations."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn

from hwnas.errors import ModelError, UsageError
from hwnas.models.positions import learnt_positions
from hwnas.slicing.plan import describe
from hwnas.spaces import Architecture
from hwnas.training.losses import distillation_loss, hidden_loss, relation_loss, trust_in
from hwnas.training.pretrained import lacking_weights


@dataclass
class Seen:
    """What one pass showed.

    Attributes:
        logits: (batch, labels), float32.
        hidden: Output (batch, tokens, width) of every layer.
        projections: Queries, keys and values, (batch, tokens, heads times their size) each, of every layer that has
            attention.
        trust: How far its hidden states are to be learnt from, 0 to 1; see `hwnas.training.losses.trust_in`.
    """

    logits: torch.Tensor
    hidden: list[torch.Tensor] = field(default_factory=list)
    projections: dict[int, list[torch.Tensor]] = field(default_factory=dict)
    trust: torch.Tensor | float = 1.0

    def detached(self, trust: torch.Tensor | float = 1.0) -> Seen:
        """The same without gradients: a teacher, trusted so far."""
        return Seen(
            self.logits.detach(),
            [state.detach() for state in self.hidden],
            {index: [map_.detach() for map_ in maps] for index, maps in self.projections.items()},
            trust,
        )


class Distiller:
    """The teaching of one training.

    Args:
        temperature: Of the predictions.
        regression: The task has no classes.
        hidden_weight: Weight of the hidden states' loss, where the teacher has learnt the task; see `Seen.trust`.
        attention_weight: Weight of the attention relations' loss.
        teacher: A fine-tuned model that teaches all sub-networks; None lets the first sub-network of a step teach.
        constant: Task loss of the best constant answer; None takes that of classes alike in number, and 1 for a
            regression.
    """

    def __init__(
        self,
        *,
        temperature: float,
        regression: bool,
        hidden_weight: float = 0.0,
        attention_weight: float = 0.0,
        teacher: nn.Module | None = None,
        constant: float | None = None,
    ) -> None:
        self.temperature, self.regression, self.constant = temperature, regression, constant
        self.hidden_weight, self.attention_weight = hidden_weight, attention_weight
        self.teacher = None if teacher is None else teacher.eval().requires_grad_(False)

    @contextmanager
    def watch(self, model: nn.Module) -> Iterator[Seen]:
        """Inside, passes of a model leave hidden states and projections in what is yielded, if they are needed."""
        seen, handles = Seen(torch.empty(0)), []
        if self.hidden_weight or self.attention_weight:
            family, _ = describe(model)
            for index, layer in enumerate(family.encoder_layers(model)):
                if self.hidden_weight:
                    handles.append(layer.register_forward_hook(partial(_keep_hidden, seen)))
                for name in family.projections if self.attention_weight else ():
                    map_ = layer.get_submodule(name)
                    handles.append(map_.register_forward_hook(partial(_keep_projection, seen, index)))
        try:
            yield seen
        finally:
            for handle in handles:
                handle.remove()

    def ask_teacher(self, inputs: dict[str, Any]) -> Seen | None:
        """What the external teacher says of a batch; None without one."""
        if self.teacher is None:
            return None
        known = inspect.signature(self.teacher.forward).parameters
        self.teacher.to(inputs["input_ids"].device)
        with torch.no_grad(), self.watch(self.teacher) as seen:
            output = self.teacher(**{name: value for name, value in inputs.items() if name in known})
        seen.logits = output.logits.float()
        return seen.detached()

    def teacher_from(self, seen: Seen, loss: torch.Tensor) -> Seen:
        """What the whole network of a step teaches, from its pass and its task loss."""
        even = 1.0 if self.regression else math.log(max(2, seen.logits.shape[1]))
        return seen.detached(trust_in(loss.detach(), even if self.constant is None else self.constant))

    def loss(self, student: Seen, teacher: Seen, arch: Architecture, mask: torch.Tensor) -> torch.Tensor:
        """The distillation loss of one sub-network.

        Args:
            student: What its pass showed.
            teacher: What the teacher's showed, detached.
            arch: The sub-network.
            mask: (batch, tokens), 1 where there is no padding.
        """
        loss = distillation_loss(
            student.logits, teacher.logits, temperature=self.temperature, regression=self.regression
        )
        if self.hidden_weight:
            pairs = matching_layers(arch.kept_layers, len(teacher.hidden))
            states = [hidden_loss(student.hidden[mine], teacher.hidden[other], mask) for mine, other in pairs]
            if states:
                loss = loss + self.hidden_weight * teacher.trust * torch.stack(states).mean()
        # The last layer that has attention, as in MiniLM.
        if self.attention_weight and student.projections and teacher.projections:
            mine, other = student.projections[max(student.projections)], teacher.projections[max(teacher.projections)]
            relations = [relation_loss(*pair, mask) for pair in zip(mine, other, strict=True)]
            loss = loss + self.attention_weight * torch.stack(relations).mean()
        return loss


def matching_layers(kept: Sequence[int], layers: int) -> list[tuple[int, int]]:
    """For each kept layer of a student the layer of a teacher of which it shall give the hidden state.

    The m-th of M kept layers follows layer ceil(m N / M) of N (TinyBERT, section 3.1, with its uniform mapping): the
    last one always the teacher's last. Indices count from 0.
    """
    return [(layer, -(-(place * layers) // len(kept)) - 1) for place, layer in enumerate(kept, start=1)]


def load_teacher(
    name: str, model: Any, tokenizer: Any, *, hidden: bool, attention: bool = False, longest: int = 0
) -> nn.Module:
    """A fine-tuned classifier, checked to speak of the same labels and tokens as a model.

    Args:
        name: Folder or hub name.
        model: The super-network.
        tokenizer: Its tokenizer.
        hidden: Its hidden states are to be learnt from.
        attention: Its attention relations are to be learnt from.
        longest: Tokens of the longest input that it is to be asked about.

    Raises:
        ModelError: It cannot be read, or is a sub-network that hwnas extracted.
        UsageError: It lacks weights, such as those of a classifier, or has positions for fewer tokens; or its labels,
            its vocabulary or, if they count, the width of its hidden states differ.
        UnsupportedModelError: Its hidden states or relations count and its family has no adapter.
    """
    from transformers import AutoTokenizer

    teacher = _read_teacher(name)
    theirs, ours = _labels(teacher.config), _labels(model.config)
    named = not any(label.startswith("LABEL_") for label in (*theirs, *ours))  # the names of labels without names
    if len(theirs) != len(ours) or (named and _plain(theirs) != _plain(ours)):
        raise UsageError(
            f"the teacher {name} has the labels {', '.join(theirs)}, but the task has {', '.join(ours)}; expected the "
            "same in the same order."
        )
    same = teacher.config.vocab_size == model.config.vocab_size
    if same and hasattr(tokenizer, "get_vocab"):
        with suppress(OSError, ValueError):  # a teacher without a tokenizer: the size has to do
            same = AutoTokenizer.from_pretrained(name).get_vocab() == tokenizer.get_vocab()
    if not same:
        raise UsageError(f"the teacher {name} has another vocabulary than the model; expected the same tokenizer.")
    positions = learnt_positions(teacher)
    if positions is not None and longest > positions:
        raise UsageError(
            f"the teacher {name} takes inputs of at most {positions} tokens, and the longest has {longest}; lower "
            "--max-length, or give another teacher."
        )
    if hidden or attention:
        describe(teacher)
    if hidden:
        width, expected = describe(teacher)[1].hidden_size, describe(model)[1].hidden_size
        if width != expected:
            raise UsageError(
                f"the teacher {name} is {width} wide and the model {expected}; hidden states can only be learnt at "
                "the same width; leave out --hidden-weight."
            )
    teacher.config.pad_token_id = model.config.pad_token_id  # by which a decoder finds the token that it classifies
    teacher.config.use_cache = False
    return teacher  # type: ignore[no-any-return]


def _read_teacher(name: str) -> Any:
    """The model, with every weight as it was stored: `from_pretrained` makes random ones of those that it misses."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    try:
        config = AutoConfig.from_pretrained(name)
        if getattr(config, "hwnas_architecture", None):
            raise ModelError(f"the teacher {name} is an extracted sub-network of hwnas; expected a whole model.")
        teacher, found = AutoModelForSequenceClassification.from_pretrained(
            name, config=config, dtype=torch.float32, output_loading_info=True
        )
    except ModelError:
        raise
    except Exception as error:  # damaged files raise whatever their parser raises
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise ModelError(f"cannot load the teacher {name!r} ({reason}); expected a fine-tuned classifier.") from error
    if lacking := lacking_weights(found):
        raise UsageError(f"the teacher {name} lacks {lacking}; expected a fine-tuned classifier, not an encoder alone.")
    return teacher


def _labels(config: Any) -> list[str]:
    return [str(config.id2label[index]) for index in range(config.num_labels)]


def _plain(labels: Sequence[str]) -> list[str]:
    """Names of labels without what authors differ in: POSITIVE is positive."""
    return [label.strip().casefold() for label in labels]


def _keep_hidden(seen: Seen, _: nn.Module, __: Any, output: Any) -> None:
    seen.hidden.append(output[0] if isinstance(output, tuple) else output)


def _keep_projection(seen: Seen, index: int, _: nn.Module, __: Any, output: torch.Tensor) -> None:
    seen.projections.setdefault(index, []).append(output)
