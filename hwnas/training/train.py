"""Fine-tune one super-network: from examples to trained weights, resumable at any moment."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hwnas.errors import CheckpointError, UsageError
from hwnas.spaces import Space
from hwnas.tasks import EncodedDataset, collator
from hwnas.training.strategy import get_strategy

Progress = Callable[[int, int, str], None]
"""Called with (steps done, steps in all, short text)."""


@dataclass(frozen=True)
class TrainOptions:
    """How a super-network is fine-tuned.

    The paper trains 5 epochs with batches of 4 at 2e-5; larger batches at a larger rate take fewer, cheaper steps.

    Attributes:
        strategy: A name in `strategy_names()`.
        epochs: Passes over the training split.
        max_steps: Stop after this many steps instead, if given.
        batch_size: Examples in a step.
        learning_rate: Peak of AdamW's rate, which warms up for 6% of the steps and then falls linearly to zero. None
            takes `default_learning_rate`.
        weight_decay: AdamW's decoupled weight decay.
        k: Random sub-networks in a step, for strategies that draw some.
        temperature: Of the in-place distillation.
        seed: Seed of the order of examples, dropout, and the sub-networks that are drawn.
    """

    strategy: str = "full"
    epochs: float = 2.0
    max_steps: int | None = None
    batch_size: int = 16
    learning_rate: float | None = None
    weight_decay: float = 0.01
    k: int = 2
    temperature: float = 10.0
    seed: int = 0

    def __post_init__(self) -> None:
        get_strategy(self.strategy)
        bounds = {
            "--epochs": self.epochs > 0,
            "--max-steps": self.max_steps is None or self.max_steps > 0,
            "--batch-size": self.batch_size > 0,
            "--learning-rate": self.learning_rate is None
            or (self.learning_rate > 0 and math.isfinite(self.learning_rate)),
            "--temperature": self.temperature > 0 and math.isfinite(self.temperature),
        }
        for name, holds in bounds.items():
            if not holds:
                raise UsageError(f"{name} must be above 0.")
        if self.k < 0:
            raise UsageError("--k must be 0 or more.")

    def steps(self, examples: int) -> int:
        """Optimizer steps for a number of training examples."""
        if self.max_steps is not None:
            return self.max_steps
        return max(1, math.ceil(self.epochs * math.ceil(examples / self.batch_size)))

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        return asdict(self)


def default_learning_rate(config: Any, steps: int) -> float:
    """A peak rate by the width of a model and the length of a training.

    5e-5 above a hidden size of 512, such as BERT-base's. Narrow models, such as MiniLM, take more, and short trainings
    need it for the sub-networks to learn anything: 4e-4 up to 400 steps, then falling as 400 / steps, down to 5e-5.
    MiniLM trained for 1,800 steps at 4e-4 on SST-2 was, as a whole, no better than its smallest sub-network.
    """
    if int(config.hidden_size) > 512:
        return 5e-5
    return max(5e-5, 4e-4 * min(1.0, 400 / steps))


def train_supernet(
    model: Any,
    tokenizer: Any,
    dataset: EncodedDataset,
    space: Space,
    options: TrainOptions,
    checkpoints: Path,
    *,
    regression: bool,
    progress: Progress | None = None,
) -> float:
    """Fine-tune a model in place, going on from the newest whole checkpoint in a folder.

    A run that was killed and started again ends with the same weights, bit for bit, as one that was not, on the same
    machine with the same number of threads.

    Args:
        model: A Hugging Face sequence-classification module.
        tokenizer: Its tokenizer.
        dataset: The encoded training split.
        space: The search space that sub-networks are drawn from.
        options: See `TrainOptions`.
        checkpoints: Folder for checkpoints.
        regression: The task is a regression.
        progress: Called after every step.

    Returns:
        The mean loss of the last tenth of the steps made by this call, summed over a step's sub-networks; NaN if
        every step had been made before.

    Raises:
        CheckpointError: The newest checkpoint is damaged.
    """
    from transformers import TrainerCallback, TrainingArguments

    from hwnas.training.trainer import SuperNetTrainer, latest_checkpoint

    checkpoints.mkdir(parents=True, exist_ok=True)
    resume = latest_checkpoint(checkpoints)
    total = options.steps(len(dataset))
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        max_steps=total,
        per_device_train_batch_size=options.batch_size,
        learning_rate=options.learning_rate or default_learning_rate(model.config, total),
        weight_decay=options.weight_decay,
        warmup_steps=math.ceil(0.06 * total),
        lr_scheduler_type="linear",
        save_strategy="steps",
        save_steps=max(20, math.ceil(total / 10)),
        save_total_limit=2,  # the older one goes only when the newer one is whole
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=options.seed,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
    )
    losses: list[float] = []

    class Report(TrainerCallback):  # type: ignore[misc]
        """Passes the progress on."""

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if progress is not None:
                loss = f"loss {losses[-1]:.3f}" if losses else ""
                progress(state.global_step, total, loss)

    class Trainer(SuperNetTrainer):
        """Keeps the losses, for the progress display and the result."""

        def training_step(self, *positional: Any, **keywords: Any) -> Any:
            loss = super().training_step(*positional, **keywords)
            losses.append(float(loss))
            return loss

    trainer = Trainer(
        strategy=get_strategy(options.strategy),
        space=space,
        k=options.k,
        temperature=options.temperature,
        regression=regression,
        train_lengths=dataset.lengths,
        model=model,
        args=arguments,
        train_dataset=dataset,
        data_collator=collator(tokenizer),
        callbacks=[Report()],
    )
    _quiet(trainer)
    try:
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    except (ValueError, RuntimeError, OSError, EOFError) as error:
        if resume is not None and not losses:
            reason = str(error).strip().splitlines()[0][:300]
            raise CheckpointError(
                f"cannot go on from the checkpoint {resume} ({reason}); delete {checkpoints} to train from the start."
            ) from error
        raise
    tail = losses[-max(1, len(losses) // 10) :]
    return sum(tail) / len(tail) if tail else math.nan


def _quiet(trainer: Any) -> None:
    """No prints of the Trainer's own: progress goes to the callback."""
    from transformers.trainer_callback import PrinterCallback

    trainer.remove_callback(PrinterCallback)
