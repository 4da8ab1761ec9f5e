"""Fine-tune one super-network: from examples to trained weights, resumable at any moment."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hwnas.errors import CheckpointError, UnknownNameError, UsageError
from hwnas.spaces import Architecture, Space
from hwnas.tasks import EncodedDataset, collator
from hwnas.training.labels import LabelScale
from hwnas.training.loggers import check_loggers, make_loggers, without_prints
from hwnas.training.losses import constant_loss
from hwnas.training.options import SCHEDULES, TrainOptions
from hwnas.training.order import put_in_order
from hwnas.training.pretrained import model_source
from hwnas.training.processes import agreed, count, is_first
from hwnas.training.strategy import get_strategy

__all__ = [
    "Progress",
    "TrainOptions",
    "default_learning_rate",
    "peak_learning_rate",
    "train_supernet",
    "training_arguments",
    "unwrap",
]

Progress = Callable[[int, int, str], None]
"""Called with (steps done, steps in all, short text)."""


def default_learning_rate(config: Any, steps: int, *, pairs: bool) -> float:
    """A peak rate by the width of a model, the length of a training, and whether examples are pairs of texts.

    5e-5 above a hidden size of 512, such as BERT-base's. Narrow models, such as MiniLM, take more: 1e-4 for pairs of
    texts, and for single texts 4e-4 up to 400 steps, then falling as (400 / steps)^2, down to 1e-4 at 800 steps.
    Shallow sub-networks need it: at 342 steps 1e-4 left small ones of `docstrings` at chance, and at 1,250 5e-5 the
    first half of the layers on SST-2. Above it the whole network lost: twice 1e-4 lost MRPC altogether, and RTE learnt
    nothing (docs/training.md).
    """
    if int(config.hidden_size) > 512:
        return 5e-5
    return 1e-4 if pairs else max(1e-4, min(4e-4, 4e-4 * (400 / steps) ** 2))


def peak_learning_rate(options: TrainOptions, config: Any, steps: int, *, pairs: bool) -> float:
    """The rate that was asked for, or the default one."""
    return options.learning_rate or default_learning_rate(config, steps, pairs=pairs)


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
    begin: Callable[[], None] | None = None,
    price: Callable[[Architecture], float] | None = None,
) -> float:
    """Fine-tune a model in place, going on from the newest whole checkpoint in a folder.

    A run that was killed and started again ends with the same weights, bit for bit, as one that was not, on the same
    machine with the same number of threads. Started in several processes by `accelerate launch`, the processes share
    the examples of every step and end with the same weights. They all write to the same folder of checkpoints.

    Args:
        model: A Hugging Face sequence-classification module.
        tokenizer: Its tokenizer.
        dataset: The encoded training split.
        space: The search space that sub-networks are drawn from.
        options: See `TrainOptions`.
        checkpoints: Folder for checkpoints.
        regression: The task is a regression.
        progress: Called after every step.
        begin: Called once everything is known to be usable, before anything is written; of several processes, in the
            first one.
        price: Cost of a sub-network, such as its latency, for `options.front` `current`; None takes its share of
            multiplications.

    Returns:
        The mean loss of the last tenth of the steps made by this call, summed over a step's sub-networks, of a
        regression in terms of scaled labels (see `LabelScale`); NaN if every step had been made before.

    Raises:
        CheckpointError: The newest checkpoint is damaged.
        UsageError: A teacher, a front, a budget, a precision or a logging integration that cannot be used, or a
            checkpoint of another number of processes.
        ModelError: The teacher cannot be read.
        HwnasError: The loss or a weight is not finite; the last whole checkpoint is kept.
    """
    import torch
    from transformers import TrainerCallback

    from hwnas.importance import Order, reorder
    from hwnas.training.distil import Distiller, load_teacher
    from hwnas.training.movement import MOVEMENT, Movement
    from hwnas.training.sampling import make_sampler
    from hwnas.training.seal import drop_unsealed, latest_checkpoint
    from hwnas.training.trainer import SuperNetTrainer

    # Whatever cannot be used is refused before anything is written.
    with agreed():
        check_loggers(options)
        _check_options(options)
        draws = make_sampler(model, space, options, price)
        teacher = None
        if options.teacher is not None:
            source = model_source(options.teacher)
            teacher = load_teacher(
                source,
                model,
                tokenizer,
                hidden=options.hidden > 0,
                attention=options.attention_weight > 0,
                longest=max(dataset.lengths),
            )
    with agreed():
        if begin is not None and is_first():
            begin()
        if is_first():
            drop_unsealed(checkpoints)
    with agreed():
        checkpoints.mkdir(parents=True, exist_ok=True)
        resume = latest_checkpoint(checkpoints)
        _check_count(resume)
        loggers = make_loggers(options)
    total = options.steps(len(dataset))
    labels = LabelScale.of(dataset, model) if regression else None
    if labels is not None:
        dataset = labels.start(model, tokenizer, dataset)
        if teacher is not None:
            labels.enter(teacher)
    arguments = training_arguments(
        model.config,
        options,
        checkpoints,
        total,
        pairs=dataset.pairs,
        save_strategy="steps",
        save_steps=max(20, math.ceil(total / 10)),
        save_total_limit=2,  # the older one goes only when the newer one is whole
        logging_strategy="steps" if options.integrations else "no",
        logging_steps=max(1, total // 100),
    )
    model.to(arguments.device)  # scores and scales of labels are found before the Trainer puts it there
    if resume is None and options.reorder is not None:
        put_in_order(model, tokenizer, dataset, options.reorder, regression=regression, seed=options.seed)
    moves = options.reorder_after == MOVEMENT
    movement = Movement(model, options.batch_size * options.accumulate * count()) if moves else None
    losses: list[float] = []  # of the steps
    parts: list[float] = []  # of the batches that the present step adds up, each divided by their number
    begun = False

    class Report(TrainerCallback):  # type: ignore[misc]
        """Keeps the loss of every step, and passes the progress on."""

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            losses.append(sum(parts))
            parts.clear()
            if progress is not None:
                progress(state.global_step, total, f"loss {losses[-1]:.3f}")

    class Trainer(SuperNetTrainer):
        """Keeps the losses, for the progress display and the result."""

        def training_step(self, *positional: Any, **keywords: Any) -> Any:
            nonlocal begun
            begun = True
            loss = super().training_step(*positional, **keywords)
            parts.append(float(loss))
            return loss

    trainer = Trainer(
        strategy=get_strategy(options.strategy),
        space=draws,
        k=options.k,
        temperature=options.temperature,
        regression=regression,
        train_lengths=dataset.lengths,
        random_share=options.random_share,
        whole_first=options.whole_first,
        whole_weight=options.whole,
        movement=movement,
        distiller=Distiller(
            temperature=options.temperature,
            regression=regression,
            hidden_weight=options.hidden,
            attention_weight=options.attention_weight,
            teacher=teacher,
            constant=constant_loss(dataset.labels, regression=regression),
        ),
        model=model,
        args=arguments,
        train_dataset=dataset,
        data_collator=collator(tokenizer),
        callbacks=[Report(), *loggers],
    )
    without_prints(trainer)
    try:
        if resume is not None and int(resume.name.rpartition("-")[2]) >= total:
            trainer._load_from_checkpoint(str(resume))  # `train` makes one step before it sees that none is left
        else:
            trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    except (ValueError, RuntimeError, OSError, EOFError) as error:
        # What fails once steps are made, or for want of memory, is no fault of the checkpoint.
        if resume is not None and not begun and not isinstance(error, torch.OutOfMemoryError):
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
            raise CheckpointError(
                f"cannot go on from the checkpoint {resume} ({reason}); delete {checkpoints} to train from the start."
            ) from error
        raise
    finally:
        unwrap(trainer, model)
    trainer.check_weights()  # where no step was left, those of the checkpoint
    if movement is not None:
        reorder(model, Order.of(movement.scores(), space.largest()))
    elif options.reorder_after is not None:
        put_in_order(
            model, tokenizer, dataset, options.reorder_after,
            regression=regression, seed=options.seed, within=space.largest(),
        )  # fmt: skip
    if labels is not None:
        labels.leave(model)
    tail = losses[-max(1, len(losses) // 10) :]
    return sum(tail) / len(tail) if tail else math.nan


def _check_options(options: TrainOptions) -> None:
    """Raise what only this machine and the registry of scores know of an option."""
    import torch

    from hwnas.importance import method_names

    for method in (options.reorder, options.reorder_after):
        if method is not None and method not in method_names():
            raise UnknownNameError("importance score", method, method_names())
    if options.precision == "fp16" and not torch.cuda.is_available():
        raise UsageError("--train-precision fp16 needs a GPU; on the processor train in fp32 or bf16.")


def _check_count(checkpoint: Path | None) -> None:
    """UsageError if a checkpoint was written by another number of processes: the rest would see other examples."""
    if checkpoint is None:
        return
    wrote = max(1, len(list(checkpoint.glob("rng_state_*.pth"))))
    if wrote != count():
        raise UsageError(
            f"the checkpoint {checkpoint} was written by {wrote} process{'es' * (wrote > 1)}, but now there "
            f"{'is 1' if count() == 1 else f'are {count()}'}; start as many, or delete {checkpoint.parent} to train "
            "from the start."
        )


def training_arguments(
    config: Any, options: TrainOptions, folder: Path | str, total: int, *, pairs: bool, **changes: Any
) -> Any:
    """What a `Trainer` is to do: nothing is logged and, unless `changes` say so, nothing saved.

    Args:
        config: Hugging Face configuration of the model.
        options: Batches, rates, arithmetic and seed.
        folder: Of the checkpoints.
        total: Steps in all.
        pairs: Whether examples are pairs of texts.
        **changes: Fields of `transformers.TrainingArguments`.
    """
    import torch
    from transformers import TrainingArguments

    on_gpu = torch.cuda.is_available()
    usual: dict[str, Any] = {
        "output_dir": str(folder),
        "max_steps": total,
        "per_device_train_batch_size": options.batch_size,
        "gradient_accumulation_steps": options.accumulate,
        "learning_rate": peak_learning_rate(options, config, total, pairs=pairs),
        "weight_decay": options.weight_decay,
        "warmup_steps": math.ceil(0.06 * total) if total > 1 else 0,
        "lr_scheduler_type": SCHEDULES[options.schedule],
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",  # the callbacks of the integrations are made by `make_loggers`
        "disable_tqdm": True,
        "seed": options.seed,
        "dataloader_pin_memory": False,
        "remove_unused_columns": False,
        "bf16": options.precision == "bf16",
        "fp16": options.precision == "fp16",
        "use_cpu": not on_gpu,
        "ddp_backend": "gloo" if not on_gpu and count() > 1 else None,
    }
    arguments = TrainingArguments(**{**usual, **changes})
    assert arguments.device is not None  # sets the number of devices up
    arguments._n_gpu = min(arguments.n_gpu, 1)  # one device a process; more devices by `accelerate launch`
    return arguments


def unwrap(trainer: Any, model: Any) -> None:
    """Take off what mixed precision wraps the model's forward in, in a way that copies of the model would share."""
    trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    model.__dict__.pop("forward", None)
