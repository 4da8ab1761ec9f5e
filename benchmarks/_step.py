"""What a training step of a strategy costs: its time, its share of FLOPs, its peak memory. See `subnetworks.py`."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import torch
from _speed import Flops, Load, Row, judged, measure, summary
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from hwnas.cli.prepare import quiet
from hwnas.models import get_family
from hwnas.profilers.memory import peak_bytes
from hwnas.spaces import Architecture, get_space
from hwnas.training.strategy import Draws, Strategy, get_strategy

STRATEGIES = ("standard", "full")
STEP_GOAL = 1.1
"""Seconds of a step over those of `standard`, divided by one plus its sub-networks' share of FLOPs, at most."""

MEMORY_GOAL = 1.15
"""Peak memory of a step over that of `standard`, at most."""


class Recorder:
    """A strategy that keeps what it draws, step by step.

    Attributes:
        steps: The sub-networks of every step.
    """

    def __init__(self, strategy: Strategy) -> None:
        self.name, self.distil, self._strategy = strategy.name, strategy.distil, strategy
        self.steps: list[list[Architecture]] = []

    def sub_networks(self, draws: Draws, rng: np.random.Generator, k: int, **keywords: Any) -> list[Architecture]:
        """What the strategy draws."""
        self.steps.append(self._strategy.sub_networks(draws, rng, k, **keywords))
        return self.steps[-1]


def make_step(load: Load, name: str, model: Any, k: int) -> tuple[Callable[[], None], Recorder, Any]:
    """The step that `hwnas train` makes: the trainer's own, with its clipping and its optimizer.

    Args:
        load: What runs; with `bf16` the passes run under autocast.
        name: The strategy.
        model: The super-network, which is trained.
        k: Random sub-networks in a step, new in every step.

    Returns:
        A function that makes one step, what the strategy drew, and the optimizer.
    """
    from transformers import TrainingArguments

    from hwnas.training.distil import Distiller
    from hwnas.training.options import TrainOptions
    from hwnas.training.trainer import SuperNetTrainer

    strategy = Recorder(get_strategy(name))
    with tempfile.TemporaryDirectory() as folder:  # the trainer wants one, and nothing is written into it
        arguments = TrainingArguments(
            output_dir=folder, report_to="none", use_cpu=load.device == "cpu", bf16=load.dtype == "bf16"
        )
        assert arguments.device is not None  # sets the number of devices up
        arguments._n_gpu = min(arguments.n_gpu, 1)
        trainer: Any = SuperNetTrainer(
            strategy=strategy,
            space=get_space(load.space, get_family(model.config).dimensions(model.config)),
            k=k,
            temperature=10.0,
            regression=False,
            distiller=Distiller(temperature=10.0, regression=False, hidden_weight=TrainOptions(strategy=name).hidden),
            train_lengths=[load.length] * load.batch,
            model=model,
            args=arguments,
        )
    trainer.current_gradient_accumulation_steps = 1
    optimizer = trainer.create_optimizer()
    net = trainer.accelerator.prepare_model(model)
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 2, (load.batch,), generator=generator).to(load.device)
    batch = {**load.inputs(), "labels": labels}

    def once() -> None:
        trainer.training_step(net, dict(batch))
        trainer.accelerator.clip_grad_norm_(net.parameters(), trainer.args.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()

    return once, strategy, optimizer


def step_rows(load: Load, rounds: int, k: int = 2) -> list[Row]:
    """Seconds of a step of each strategy, in turns, and the share of FLOPs of what was drawn in the counted steps.

    Steps of one strategy differ by what they draw, so `ratio` is that of the sums, as `flops_ratio` is a mean, and the
    quotient with a goal is the median over rounds of a round's ratio over the share that was drawn in it.
    """
    flops = Flops(load.model(), load.inputs())
    steps = {name: make_step(load, name, load.model(), k) for name in STRATEGIES}
    seconds = measure({name: step[0] for name, step in steps.items()}, rounds, load.finish)
    rows = summary("training step", seconds, STRATEGIES[0])
    for row in rows:
        name = str(row["way"])
        shares = np.array([sum(map(flops.share, archs)) for archs in steps[name][1].steps[-rounds:]])
        ratios = seconds[name] / seconds[STRATEGIES[0]]
        row |= {"ratio": float(seconds[name].sum() / seconds[STRATEGIES[0]].sum()), "flops_ratio": float(shares.mean())}
        if name != STRATEGIES[0]:
            row |= {"goal": STEP_GOAL, "quotient": float(np.median(ratios / shares))}
    return rows


def memory_rows(load: Load, steps: int, k: int = 2) -> list[Row]:
    """Peak memory of a step of each strategy, each in a process of its own.

    `bytes` is what PyTorch's allocator held at the peak, with weights and the optimizer's state; `step_bytes` is what
    the step added to them. `rss_*` is the process's resident memory before the first step and at its peak.
    """
    rows: list[Row] = []
    for name in STRATEGIES:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            found = pool.submit(_memory, load, name, steps, k).result()
        reference = rows[0]["bytes"] if rows else found["bytes"]
        row = {"case": "memory of a training step", "way": name, **found, "ratio": found["bytes"] / reference}
        rows.append(judged({**row, "flops_ratio": 1.0, "goal": MEMORY_GOAL}) if rows else row)
    return rows


def _memory(load: Load, name: str, steps: int, k: int) -> Row:
    quiet()
    once, _, optimizer = make_step(load, name, load.model(), k)
    before = _resident()
    for _ in range(steps):  # makes the optimizer's state, too
        once()
    resident = peak_bytes()
    tensors = [tensor for group in optimizer.param_groups for tensor in group["params"]]
    tensors += [value for state in optimizer.state.values() for value in state.values() if torch.is_tensor(value)]
    held = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    if load.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        for _ in range(steps):
            once()
        peak = int(torch.cuda.max_memory_allocated())
    else:
        peak = held + max(_growth(once) for _ in range(steps))
    return {"bytes": peak, "step_bytes": peak - held, "rss_before_bytes": before, "rss_peak_bytes": resident}


def _growth(once: Callable[[], None]) -> int:
    """Bytes that a call holds at its peak above those held before, from the records of the processor's allocator."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        once()
    results: Any = profiler.profiler.kineto_results  # type: ignore[union-attr]
    events = [event for event in results.events() if event.name() == "[memory]"]
    events = sorted((event for event in events if event.device_type() == DeviceType.CPU), key=lambda e: e.start_ns())
    return int(np.cumsum([0, *(event.nbytes() for event in events)]).max())


def _resident() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)
