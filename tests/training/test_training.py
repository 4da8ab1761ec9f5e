"""Strategies, the trainer's step, checkpoints, and resuming after a kill."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hwnas.errors import CheckpointError, UnknownNameError, UsageError
from hwnas.models import get_family
from hwnas.slicing.plan import Planner
from hwnas.slicing.supernet import view
from hwnas.spaces import Space, get_space
from hwnas.tasks import EncodedDataset
from hwnas.training.losses import distillation_loss, task_loss
from hwnas.training.seal import drop_unsealed, latest_checkpoint
from hwnas.training.strategy import get_strategy, strategy_names
from hwnas.training.train import TrainOptions, default_learning_rate, train_supernet
from hwnas.training.trainer import LengthGroupedSampler, SuperNetTrainer


def space_of(model: Any, name: str = "small") -> Space:
    return get_space(name, get_family(model.config).dimensions(model.config))


def data(examples: int = 48, *, regression: bool = False) -> EncodedDataset:
    rng = np.random.default_rng(0)
    ids = [rng.integers(5, 120, rng.integers(2, 12)).tolist() for _ in range(examples)]
    labels = [len(row) / 4 if regression else min(2, len(row) // 4) for row in ids]
    return EncodedDataset({"input_ids": ids, "attention_mask": [[1] * len(row) for row in ids]}, labels)


class Tokenizer:
    """All that padding needs."""

    pad_token_id = 0


def test_standard_trains_the_whole_network_alone(tiny: Callable[..., Any]) -> None:
    space = space_of(tiny("bert"))
    strategy = get_strategy("standard")
    assert strategy.sub_networks(space, np.random.default_rng(0), 2) == [space.largest()]
    assert not strategy.distil


@pytest.mark.parametrize("k", [0, 2, 5])
def test_full_is_the_sandwich_rule(tiny: Callable[..., Any], k: int) -> None:
    space = space_of(tiny("bert"))
    drawn = get_strategy("full").sub_networks(space, np.random.default_rng(0), k)
    assert len(drawn) == k + 2
    assert drawn[0] == space.largest()
    assert drawn[-1] == space.smallest()
    assert all(arch in space for arch in drawn)


def test_an_unknown_strategy_lists_the_known() -> None:
    with pytest.raises(UnknownNameError, match="full, kd, random"):
        TrainOptions(strategy="fancy")


@pytest.mark.parametrize("changes", [{"epochs": 0}, {"k": -1}, {"temperature": float("nan")}, {"max_steps": 0}])
def test_options_out_of_range_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="must be"):
        TrainOptions(**changes)


@pytest.mark.parametrize(
    ("regression", "weight", "step"),
    [(False, 1.0, 0), (True, 1.0, 0), (False, 3.0, 0), (False, 3.0, 4), (True, 5.0, 8)],
)
@pytest.mark.parametrize("name", [*strategy_names(), "the whole one twice"])
def test_a_step_adds_up_the_gradients_of_its_sub_networks(
    tiny: Callable[..., Any], tmp_path: Path, name: str, regression: bool, weight: float, step: int
) -> None:
    """The whole network's weight rises over the 9 steps, from 1 in the first to `weight` in the last.

    A random draw that is the whole network once more is a student as any other. The loss that is told has no weights.
    """
    from transformers import TrainingArguments

    plain: dict[str, Any] = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = tiny("bert", num_labels=1 if regression else 3, **plain)
    space = space_of(model)
    strategy: Any = SimpleNamespace(distil=True, sub_networks=lambda space, *_, **__: [space.largest()] * 2)
    strategy = get_strategy(name) if name in strategy_names() else strategy
    trainer = SuperNetTrainer(
        strategy=strategy,
        space=space,
        k=2,
        temperature=3.0,
        regression=regression,
        train_lengths=[3],
        whole_weight=weight,
        model=model,
        args=TrainingArguments(output_dir=str(tmp_path), seed=5, report_to="none", use_cpu=True),
    )
    trainer.current_gradient_accumulation_steps = 1
    trainer.state.global_step, trainer.state.max_steps = step, 9
    ids = torch.randint(5, 120, (4, 7), generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0.5, 1.0, 2.0, 0.0]) if regression else torch.tensor([0, 2, 1, 0])
    loss = trainer.training_step(model, {"input_ids": ids, "labels": labels})
    got = {key: value.grad.clone() for key, value in model.named_parameters() if value.grad is not None}

    model.zero_grad()
    expected: Any = 0.0
    told: Any = 0.0
    archs = strategy.sub_networks(space, np.random.default_rng((5, step, 0)), 2, progress=step / 8)
    with torch.no_grad():
        teacher = model(input_ids=ids).logits
    for number, arch in enumerate(archs):
        with view(model, arch):
            output = model(input_ids=ids).logits
        own = 1 + (weight - 1) * (step / 8) ** 4 if len(archs) > 1 and number == 0 else 1.0
        part = task_loss(output, labels, regression=regression)
        if number and strategy.distil:
            part = part + distillation_loss(output, teacher, temperature=3.0, regression=regression)
        expected, told = expected + own * part, told + part.detach()
    expected.backward()
    torch.testing.assert_close(loss, told)
    for key, value in model.named_parameters():
        if value.grad is not None:
            torch.testing.assert_close(got[key], value.grad, msg=key)


@pytest.mark.parametrize("changes", [{}, {"reorder_after": "movement"}])
def test_a_training_that_was_killed_after_its_last_step_makes_no_other(
    tiny: Callable[..., Any], toy: Callable[..., float], tmp_path: Path, changes: dict[str, Any]
) -> None:
    """Eight steps of six an epoch at a constant rate: one more would be seen in the weights and in the folder."""
    models = tiny("bert"), tiny("bert")
    for model in models:
        toy(model, tmp_path, max_steps=8, schedule="constant", learning_rate=1e-2, **changes)
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-8"]
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_training_of_one_step_trains(tiny: Callable[..., Any], toy: Callable[..., float], tmp_path: Path) -> None:
    before, after = tiny("bert"), tiny("bert")
    toy(after, tmp_path, max_steps=1, learning_rate=1e-2)
    assert not torch.equal(before.classifier.weight, after.classifier.weight)


def test_modules_are_looked_up_once_for_all_steps(
    tiny: Callable[..., Any], toy: Callable[..., float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step makes four views; none of them walks through the model again."""
    made, init = [], Planner.__init__

    def count(self: Planner, model: torch.nn.Module) -> None:
        made.append(model)
        init(self, model)

    monkeypatch.setattr(Planner, "__init__", count)
    found = []
    for steps in (1, 3):
        made.clear()
        toy(tiny("bert"), tmp_path / str(steps), max_steps=steps, k=2)
        found.append(len(made))
    assert found[0] == found[1]


def test_the_sampler_gives_every_example_once_in_batches_of_similar_length() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, 1000)
    sampler = LengthGroupedSampler(lengths.tolist(), 16, seed=3)
    first = list(sampler)
    assert sorted(first) == list(range(1000))
    assert first == list(sampler)
    sampler.set_epoch(1)
    assert first != list(sampler)
    whole = np.array(first[:992]).reshape(-1, 16)
    assert np.ptp(lengths[whole], axis=1).mean() < 10
    assert np.abs(np.diff(lengths[whole].mean(axis=1))).mean() > 20, "batches come in a random order"


def test_training_lowers_the_loss_of_every_sub_network(tiny: Callable[..., Any], tmp_path: Path) -> None:
    from hwnas.tasks import batches
    from hwnas.training.evaluate import evaluate_error

    model = tiny("bert")
    space, examples = space_of(model), data(96)
    held = list(batches(examples, Tokenizer(), 32))
    before = [evaluate_error(model, held, "accuracy", arch) for arch in space.start_designs()]
    options = TrainOptions(max_steps=60, batch_size=16, learning_rate=3e-3)
    train_supernet(model, Tokenizer(), examples, space, options, tmp_path, regression=False)
    after = [evaluate_error(model, held, "accuracy", arch) for arch in space.start_designs()]
    assert all(late < early - 0.1 for early, late in zip(before, after, strict=True)), (before, after)


SCRIPT = """
import os, signal, sys
from pathlib import Path
sys.path.append({tests!r})
import test_training as t
from conftest import make_tiny
from hwnas.training.train import TrainOptions, default_learning_rate, train_supernet
model = make_tiny("bert")
stop, curve = int(sys.argv[2]), open(Path(sys.argv[1]) / f"losses{{sys.argv[2]}}", "w", buffering=1)
def progress(done, total, text):
    print(done, text, file=curve)
    if done == stop:
        os.kill(os.getpid(), signal.SIGKILL)
train_supernet(model, t.Tokenizer(), t.data(), t.space_of(model), TrainOptions(max_steps=45, batch_size=8, k=1),
               Path(sys.argv[1]) / "checkpoints", regression=False, progress=progress)
model.save_pretrained(Path(sys.argv[1]) / "result")
"""


def start(folder: Path, stop: int) -> int:
    folder.mkdir(exist_ok=True)
    here = Path(__file__).resolve().parent
    code = f"import sys; sys.path.insert(0, {str(here.parent)!r})\n" + SCRIPT.format(tests=str(here))
    return subprocess.run([sys.executable, "-P", "-c", code, str(folder), str(stop)], check=False).returncode


def losses(folder: Path, stop: int) -> dict[int, str]:
    """What a training said of the loss after each step that it made."""
    lines = [line.split(maxsplit=1) for line in (folder / f"losses{stop}").read_text().splitlines()]
    return {int(step): said for step, said in lines if "loss" in said}


def test_a_killed_training_has_the_same_losses_and_ends_with_the_same_weights(tmp_path: Path) -> None:
    assert start(tmp_path / "whole", stop=-1) == 0
    # 30 is in the middle of an epoch of 6 steps and 10 steps after the checkpoint at 20.
    assert start(tmp_path / "killed", stop=30) == -9
    assert latest_checkpoint(tmp_path / "killed" / "checkpoints") == tmp_path / "killed/checkpoints/checkpoint-20"
    assert start(tmp_path / "killed", stop=-1) == 0
    curve = losses(tmp_path / "whole", -1)
    assert list(curve) == list(range(1, 46))
    assert len(set(curve.values())) > 20
    assert losses(tmp_path / "killed", 30) == {step: curve[step] for step in range(1, 31)}
    assert losses(tmp_path / "killed", -1) == {step: curve[step] for step in range(21, 46)}
    whole, killed = (load_file(tmp_path / name / "result" / "model.safetensors") for name in ("whole", "killed"))
    assert whole.keys() == killed.keys()
    assert all(torch.equal(whole[name], killed[name]) for name in whole)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., Any]) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    model = tiny("bert")
    options = TrainOptions(max_steps=25, batch_size=8, k=0)
    train_supernet(model, Tokenizer(), data(), space_of(model), options, folder, regression=False)
    return folder


def test_checkpoints_are_safetensors_and_sealed(trained: Path) -> None:
    names = sorted(path.name for path in trained.iterdir())
    assert names == ["checkpoint-20", "checkpoint-25"]
    files = {path.name for path in (trained / "checkpoint-25").iterdir()}
    assert {"model.safetensors", "optimizer.pt", "hwnas.json"} <= files
    assert not {name for name in files if name.endswith(".bin") and "model" in name}


def test_a_checkpoint_cut_short_is_passed_over(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "copy")
    (tmp_path / "copy/checkpoint-25/hwnas.json").unlink()
    assert latest_checkpoint(tmp_path / "copy") == tmp_path / "copy/checkpoint-20"
    drop_unsealed(tmp_path / "copy")
    assert {path.name for path in (tmp_path / "copy").glob("checkpoint-*")} == {"checkpoint-20"}


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "hwnas.json"])
def test_a_damaged_checkpoint_is_one_clear_error(
    trained: Path, tmp_path: Path, name: str, tiny: Callable[..., Any]
) -> None:
    shutil.copytree(trained, tmp_path / "copy")
    file = tmp_path / "copy/checkpoint-25" / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(bytes(content))
    model = tiny("bert")
    with pytest.raises(CheckpointError, match=r"checkpoint-25.* delete"):
        train_supernet(
            model, Tokenizer(), data(), space_of(model), TrainOptions(max_steps=25), tmp_path / "copy", regression=False
        )


@pytest.mark.parametrize(
    ("place", "raised", "expected"),
    [
        ("_load_optimizer_and_scheduler", ValueError("other parameters"), CheckpointError),
        ("_load_optimizer_and_scheduler", torch.OutOfMemoryError("too large"), torch.OutOfMemoryError),
        ("training_step", RuntimeError("too large"), RuntimeError),
    ],
)
def test_only_what_loading_says_is_the_fault_of_a_checkpoint(
    trained: Path,
    tmp_path: Path,
    tiny: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    raised: Exception,
    expected: type[Exception],
) -> None:
    """Nobody is told to delete a checkpoint for what the first step after it comes to."""
    shutil.copytree(trained / "checkpoint-20", tmp_path / "checkpoint-20")

    def fail(*_: Any, **__: Any) -> None:
        raise raised

    monkeypatch.setattr(SuperNetTrainer, place, fail)
    model, options = tiny("bert"), TrainOptions(max_steps=25, batch_size=8, k=0)
    with pytest.raises(expected) as caught:
        train_supernet(model, Tokenizer(), data(), space_of(model), options, tmp_path, regression=False)
    assert ("delete" in str(caught.value)) == (expected is CheckpointError)


@pytest.mark.parametrize(
    ("width", "steps", "rate", "of_pairs"),
    [
        (384, 100, 4e-4, 1e-4),
        (384, 400, 4e-4, 1e-4),
        (384, 800, 1e-4, 1e-4),
        (384, 600, 1.7778e-4, 1e-4),
        (384, 10**5, 1e-4, 1e-4),
        (768, 9, 5e-5, 5e-5),
    ],
)
def test_the_default_rate_follows_width_steps_and_texts(width: int, steps: int, rate: float, of_pairs: float) -> None:
    from transformers import BertConfig

    config = BertConfig(hidden_size=width)
    assert default_learning_rate(config, steps, pairs=False) == pytest.approx(rate, rel=1e-4)
    assert default_learning_rate(config, steps, pairs=True) == pytest.approx(of_pairs)
