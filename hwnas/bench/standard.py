"""Standard NAS: a sub-network starts from the pre-trained weights and is fine-tuned alone.

Source: Klein et al. 2024, section 4.1.2.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.data import Sampler
from transformers import Trainer
from transformers.trainer_callback import PrinterCallback, TrainerCallback

from hwnas.errors import UsageError
from hwnas.tasks import EncodedDataset, collator
from hwnas.training.labels import LabelScale
from hwnas.training.losses import task_loss
from hwnas.training.options import TrainOptions
from hwnas.training.train import training_arguments, unwrap
from hwnas.training.trainer import group_by_length


class AloneTrainer(Trainer):
    """Fine-tunes one network by the task's labels alone.

    Args:
        regression: The task is a regression.
        lengths: Tokens of each training example.
        **keywords: As for `transformers.Trainer`.
    """

    def __init__(self, *, regression: bool, lengths: Sequence[int], **keywords: Any) -> None:
        super().__init__(**keywords)
        self._regression, self._lengths = regression, lengths

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return group_by_length(self, self._lengths)

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """One forward and backward pass; the loss, detached."""
        model.train()
        inputs = self._prepare_inputs(inputs)
        labels = inputs.pop("labels")
        with self.compute_loss_context_manager():
            loss = task_loss(model(**inputs).logits.float(), labels, regression=self._regression)
        loss = loss / self.current_gradient_accumulation_steps
        self.accelerator.backward(loss)
        return loss.detach()


def fine_tune(
    module: nn.Module,
    tokenizer: Any,
    dataset: EncodedDataset,
    options: TrainOptions,
    *,
    regression: bool,
    levels: int = 1,
    goes_on: Callable[[int], bool] = lambda level: True,
) -> int:
    """Fine-tune an extracted network in place, as `train_supernet` fine-tunes the whole one under `standard`.

    The whole network ends with the same weights either way. The training can be watched at levels of equal numbers of
    steps, and ended there. That changes neither rates nor order, so one that goes on to the end gives the same weights
    as one that nobody watched. No checkpoints are written: a fine-tuning that was interrupted starts anew. A loss that
    is not finite leaves a useless network, and does not raise.

    Args:
        module: A Hugging Face sequence-classification module, whole or from `extract`.
        tokenizer: Its tokenizer.
        dataset: The encoded training split.
        options: Steps, batches, rates and seed; what concerns several sub-networks does not count.
        regression: The task is a regression.
        levels: Equal parts of the training.
        goes_on: Called after each level but the last, counted from 1, with the module as it is then, which in a
            regression speaks of scaled labels; False ends the training there.

    Returns:
        How many levels it was trained for.

    Raises:
        UsageError: Options for what is not done here: a teacher, reordering, logging; more levels than steps.
    """
    for name, asked in (
        ("--teacher", options.teacher),
        ("--reorder", options.reorder),
        ("--report-to", options.integrations),
    ):
        if asked:
            raise UsageError(f"{name}: standard NAS fine-tunes each sub-network by the labels alone; leave it out.")
    total = options.steps(len(dataset))
    if not 1 <= levels <= total:
        raise UsageError(f"{levels} levels of {total} training steps: expected 1 to {total}.")
    labels = LabelScale.of(dataset, module) if regression else None
    if labels is not None:
        dataset = labels.start(module, tokenizer, dataset)
    watch = _Levels(module, {-(-total * level // levels): level for level in range(1, levels)}, goes_on)
    with tempfile.TemporaryDirectory(prefix="hwnas-", ignore_cleanup_errors=True) as folder:
        arguments = training_arguments(module.config, options, folder, total, pairs=dataset.pairs)
        trainer = AloneTrainer(
            regression=regression,
            lengths=dataset.lengths,
            model=module,
            args=arguments,
            train_dataset=dataset,
            data_collator=collator(tokenizer),
            callbacks=[watch],
        )
        trainer.remove_callback(PrinterCallback)
        try:
            trainer.train()
        finally:
            unwrap(trainer, module)
    if labels is not None:
        labels.leave(module)
    module.eval()
    return watch.ended or levels


class _Levels(TrainerCallback):  # type: ignore[misc]
    """Asks at the end of each level whether the training goes on.

    Args:
        module: What is trained.
        ends: Levels by the number of the step that they end with.
        goes_on: Whether it does.

    Attributes:
        ended: The level after which it did not; 0 if there was none.
    """

    def __init__(self, module: nn.Module, ends: dict[int, int], goes_on: Callable[[int], bool]) -> None:
        self._module, self._ends, self._goes_on = module, ends, goes_on
        self.ended = 0

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        level = self._ends.get(state.global_step)
        if level is None:
            return
        with _undisturbed(self._module):
            on = self._goes_on(level)
        if not on:
            self.ended, control.should_training_stop = level, True


@contextmanager
def _undisturbed(module: nn.Module) -> Iterator[None]:
    """The module in the middle of its training as it is at the end: without mixed precision; random states are kept."""
    forward = module.__dict__.pop("forward", None)
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        if forward is not None:
            module.__dict__["forward"] = forward
