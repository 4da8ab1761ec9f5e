"""The Hugging Face `Trainer` with a step that trains several sub-networks, and checkpoints that can be trusted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import Sampler as TorchSampler
from transformers import Trainer, TrainerCallback

from hwnas.errors import HwnasError
from hwnas.slicing.supernet import Views
from hwnas.spaces import Architecture
from hwnas.training.distil import Distiller
from hwnas.training.losses import task_loss
from hwnas.training.movement import Movement
from hwnas.training.passes import shared_passes
from hwnas.training.processes import everywhere
from hwnas.training.sampling import Sampler
from hwnas.training.seal import SEAL, disk_errors, seal
from hwnas.training.strategy import Draws, Strategy

RISE = 4
"""Power of the progress by which the whole network's loss comes to weigh what it does in the last step."""


class LengthGroupedSampler(TorchSampler[int]):
    """Shuffled batches of similar lengths, so that little is padded; the order depends on seed and epoch alone.

    Args:
        lengths: Tokens of each example.
        batch_size: Examples in a batch.
        seed: Seed.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self.lengths, self.batch_size, self.seed, self.epoch = np.asarray(lengths), batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order is iterated next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng((self.seed, self.epoch))
        order = rng.permutation(len(self.lengths))
        chunk = 32 * self.batch_size
        batches: list[Any] = []
        for start in range(0, len(order), chunk):
            part = order[start : start + chunk]
            part = part[np.argsort(self.lengths[part], kind="stable")]
            batches += [part[at : at + self.batch_size] for at in range(0, len(part), self.batch_size)]
        # A short batch must stay last: the data loader cuts the sequence into batches of equal size.
        whole = [batch for batch in batches if len(batch) == self.batch_size]
        rest = [batch for batch in batches if len(batch) != self.batch_size]
        for index in rng.permutation(len(whole)):
            yield from whole[index].tolist()
        for batch in rest:
            yield from batch.tolist()


class _Epochs(TrainerCallback):  # type: ignore[misc]
    """Tells a sampler which epoch begins: accelerate does not reach it where an epoch of several processes goes on."""

    def __init__(self, sampler: LengthGroupedSampler) -> None:
        self.sampler = sampler

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **keywords: Any) -> None:
        """`state.epoch` is whole where an epoch ended, and has the share that was done where it was left."""
        self.sampler.set_epoch(int(state.epoch or 0))


def group_by_length(trainer: Trainer, lengths: Sequence[int]) -> LengthGroupedSampler:
    """The sampler of a trainer, which is told the epochs; lengths are tokens of each training example."""
    sampler = LengthGroupedSampler(lengths, trainer.args.train_batch_size, trainer.args.seed)
    trainer.add_callback(_Epochs(sampler))
    return sampler


class SuperNetTrainer(Trainer):
    """Trains a super-network by a strategy.

    A step's passes run on the bare model, one after the other, and never through a wrapper for several processes:
    such wrappers expect one backward pass in a step, and a gradient for every parameter. Instead the gradients are
    averaged over the processes when all passes of the step are done. All processes draw the same sub-networks.

    Args:
        strategy: Which sub-networks a step trains.
        space: The search space, or a `Sampler` over it.
        k: Number of random sub-networks in a step.
        temperature: Of the distillation.
        regression: The task is a regression.
        train_lengths: Tokens of each training example.
        random_share: As for `Strategy.sub_networks`.
        distiller: How sub-networks are taught; None: by the predictions of a step's first one.
        whole_first: Share of the steps, the first ones, that train the whole network alone.
        whole_weight: Weight w of the whole network's loss in the last step, where it trains others too. After a share p
            of the steps it is 1 + (w - 1) p^4: first small networks need the steps, at the end the whole one does.
        movement: Movement scores that are summed up, and kept in checkpoints.
        **keywords: As for `transformers.Trainer`.
    """

    def __init__(
        self,
        *,
        strategy: Strategy,
        space: Draws,
        k: int,
        temperature: float,
        regression: bool,
        train_lengths: Sequence[int],
        random_share: float = 1.0,
        distiller: Distiller | None = None,
        whole_first: float = 0.0,
        whole_weight: float = 1.0,
        movement: Movement | None = None,
        **keywords: Any,
    ) -> None:
        super().__init__(**keywords)
        self.strategy, self.space, self.k, self.random_share = strategy, space, k, random_share
        self.regression, self.train_lengths = regression, train_lengths
        self.distiller = distiller or Distiller(temperature=temperature, regression=regression)
        self.whole_first, self.whole_weight = whole_first, whole_weight
        if movement is not None:
            self.add_callback(movement)
        self.front = space.front if isinstance(space, Sampler) else None
        self._kept = [part for part in (movement, self.front) if part is not None]
        self._views, self._micro_step = Views(self.accelerator.unwrap_model(self.model)), (-1, 0)

    def _get_train_sampler(self, train_dataset: Any = None) -> TorchSampler[int]:
        return group_by_length(self, self.train_lengths)

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """One forward and backward pass for every sub-network of the step; gradients add up.

        Returns:
            The loss summed over the step's sub-networks, each with the weight 1, detached, for the log.

        Raises:
            HwnasError: The loss is not finite. Nothing has been changed by this step.
        """
        model.train()
        net = self.accelerator.unwrap_model(model)
        inputs = self._prepare_inputs(inputs)
        labels = inputs.pop("labels")
        total, reference = torch.zeros((), device=labels.device), 0.0
        archs = self.sub_networks()
        weighed = self.space.largest() if len(archs) > 1 else None
        mask = inputs.get("attention_mask")
        mask = torch.ones_like(inputs["input_ids"]) if mask is None else mask
        with self.accelerator.autocast():
            teacher = self.distiller.ask_teacher(inputs)
        with shared_passes(net, inputs) if len(archs) > 1 else nullcontext(inputs) as shared:
            for place, arch in enumerate(archs):
                is_whole = place == 0 and arch == weighed  # a random draw may be the whole network once more
                with self._views(arch), self.compute_loss_context_manager(), self.distiller.watch(net) as seen:
                    seen.logits = net(**shared).logits.float()
                loss = task_loss(seen.logits, labels, regression=self.regression)
                if self.front is not None and weighed is not None:
                    if is_whole:
                        reference = self._of_all(loss.detach())
                    else:
                        self.front.tell(arch, self._of_all(loss.detach()) - reference)
                if teacher is not None:
                    loss = loss + self.distiller.loss(seen, teacher, arch, mask)
                elif self.strategy.distil:
                    teacher = self.distiller.teacher_from(seen, loss)
                loss = loss / self.current_gradient_accumulation_steps
                weight = 1 + (self.whole_weight - 1) * self._progress() ** RISE if is_whole else 1.0
                self.accelerator.backward(weight * loss)
                total += loss.detach()
        value = self._of_all(total)
        if not math.isfinite(value):
            raise self._diverged(f"the loss of training step {self.state.global_step + 1} is {value}")
        if self.args.world_size > 1 and self.accelerator.sync_gradients:
            average_gradients(net)
        return torch.full_like(total, value / self.args.world_size) if self.args.world_size > 1 else total

    def sub_networks(self) -> list[Architecture]:
        """Those that this step trains; called once in a batch."""
        generator, done = self._step_generator(), self.state.global_step / max(1, self.state.max_steps)
        if done < self.whole_first:
            return [self.space.largest()]
        return self.strategy.sub_networks(
            self.space, generator, self.k, progress=self._progress(), random_share=self.random_share
        )

    def check_weights(self) -> None:
        """Check that the weights may be kept: a gradient can overflow where the loss does not.

        Raises:
            HwnasError: One is not finite.
        """
        for name, parameter in self.accelerator.unwrap_model(self.model).named_parameters():
            if not bool(torch.isfinite(parameter).all()):
                raise self._diverged(f"after training step {self.state.global_step} {name} is not finite")

    def _diverged(self, what: str) -> HwnasError:
        """The error that ends a training. Its options belong to its run folder, so that others need a new one."""
        fp32 = " or in fp32" if self.args.bf16 or self.args.fp16 else ""
        place = Path(str(self.args.output_dir))
        sealed = any((path / SEAL).is_file() for path in place.glob("checkpoint-*"))
        kept = f"; the last whole checkpoint in {place} is kept" if sealed else ""
        return everywhere(
            HwnasError(
                f"{what}; train in a new run folder with a lower --learning-rate (now {self.args.learning_rate:g})"
                f"{fp32}{kept}."
            )
        )

    def _of_all(self, loss: torch.Tensor) -> float:
        """The loss summed over the processes: what is not finite in one is not finite in all, and all stop."""
        if self.args.world_size > 1:
            loss = loss.clone()
            torch.distributed.all_reduce(loss)
        return float(loss)

    def _progress(self) -> float:
        """0 in the first step, 1 in the last."""
        return min(1.0, self.state.global_step / max(1, self.state.max_steps - 1))

    def _step_generator(self) -> np.random.Generator:
        """A generator of this step alone, so that a resumed run, and every process, draws what any other would."""
        step, micro = self._micro_step
        self._micro_step = (self.state.global_step, micro + 1 if step == self.state.global_step else 0)
        return np.random.default_rng((self.args.seed, *self._micro_step))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        for part in self._kept:
            part.load(Path(resume_from_checkpoint))

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        self.check_weights()
        with disk_errors():
            super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()  # every process writes its own random state
        if self.args.should_save:
            folder = Path(self.args.output_dir or ".") / f"checkpoint-{self.state.global_step}"
            with disk_errors():
                for part in self._kept:
                    part.save(folder)
            seal(folder)
        self.accelerator.wait_for_everyone()


def average_gradients(model: nn.Module, bucket: int = 2**23) -> None:
    """Average the gradients of all processes of the default group, in place.

    Parameters without a gradient must be the same in all processes, as they are where all train the same sub-networks.

    Args:
        model: The module.
        bucket: Numbers that are sent at once.
    """
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    start = 0
    while start < len(gradients):
        end, size = start + 1, gradients[start].numel()
        while end < len(gradients) and size + gradients[end].numel() <= bucket:
            size, end = size + gradients[end].numel(), end + 1
        part = gradients[start:end]
        flat = torch.cat([gradient.reshape(-1) for gradient in part])
        torch.distributed.all_reduce(flat)
        flat /= torch.distributed.get_world_size()
        means = torch.split(flat, [gradient.numel() for gradient in part])  # type: ignore[no-untyped-call]
        for gradient, mean in zip(part, means, strict=True):
            gradient.copy_(mean.view_as(gradient))
        start = end
