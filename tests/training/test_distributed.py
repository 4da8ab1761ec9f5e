"""`accelerate launch` on two processes of the processor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from hwnas.training.seal import latest_checkpoint

SCRIPT = """
import json, os, signal, sys
sys.path[:0] = [{tests!r}, {tests!r} + "/training"]
from pathlib import Path
from importlib.util import module_from_spec, spec_from_file_location
import conftest
from safetensors.torch import save_file
from hwnas.training.trainer import SuperNetTrainer
spec = spec_from_file_location("toy", {tests!r} + "/training/conftest.py")
toy = module_from_spec(spec)
spec.loader.exec_module(toy)
folder, rank, stop = Path(sys.argv[1]), os.environ["RANK"], int(sys.argv[2])
runs = {runs!r}
step = SuperNetTrainer.training_step
def spy(self, model, *rest):
    loss = step(self, model, *rest)
    if name == "ends" and self.state.global_step == 0:
        parameters = self.accelerator.unwrap_model(model).named_parameters()
        save_file({{key: value.grad for key, value in parameters}}, folder / name / ("gradient-" + rank))
    return loss
SuperNetTrainer.training_step = spy
for name in sys.argv[3:]:
    said = {{}}
    def progress(done, total, text):
        said[done] = text
        if name == "killed" and done == stop:
            os.kill(os.getpid(), signal.SIGKILL)
    dropout = runs[name]["dropout"]
    model = conftest.make_tiny("bert", hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout)
    toy.train_toy(model, folder / name / "checkpoints", progress=progress, **runs[name]["options"])
    save_file(model.state_dict(), folder / name / (rank + ".safetensors"))
    (folder / name / (rank + ".json")).write_text(json.dumps(said))
"""

# one sub-network in a step, which leaves most parameters without a gradient; 3 steps an epoch
RANDOM: dict[str, Any] = {
    "dropout": 0.1,
    "options": {"strategy": "random", "max_steps": 24, "batch_size": 4, "accumulate": 2},
}
RUNS: dict[str, dict[str, Any]] = {
    # both ends in every step: nothing is drawn, so that one process can be compared
    "ends": {"dropout": 0.0, "options": {"strategy": "full", "k": 0, "max_steps": 4}},
    "random": RANDOM,
    "killed": RANDOM,
    # what one process knows of the losses, all must know, or they would draw different networks
    "moving": {
        "dropout": 0.1,
        "options": {
            "max_steps": 22,
            "batch_size": 4,
            "front": "current",
            "front_share": 1.0,
            "reorder_after": "movement",
        },
    },
}
LAUNCH = (
    "-P -m accelerate.commands.launch --multi_gpu --num_processes 2 --num_machines 1 --mixed_precision no "
    "--dynamo_backend no --main_process_port 0"
)


def launch(folder: Path, stop: int, *names: str) -> tuple[int, str]:
    """Train in two processes; the exit code of the launcher and what it said."""
    script = folder / "train.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).resolve().parent.parent), runs=RUNS))
    done = subprocess.run(
        [sys.executable, *LAUNCH.split(), str(script), str(folder), str(stop), *names],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr[-2000:]


def weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    """What both processes ended with."""
    first, second = (load_file(folder / name / f"{rank}.safetensors") for rank in "01")
    assert all(torch.equal(first[key], second[key]) for key in first), name
    return first


def losses(folder: Path, name: str, rank: str = "0") -> dict[int, str]:
    """What a process said of the loss after each step that it made."""
    found = json.loads((folder / name / f"{rank}.json").read_text())
    return {int(step): text for step, text in found.items()}


def test_two_processes_end_with_the_same_weights_killed_or_not(
    tiny: Callable[..., Any], toy: Callable[..., float], tmp_path: Path, gradients: list[dict[str, torch.Tensor]]
) -> None:
    code, said = launch(tmp_path, 22, "ends", "moving", "random", "killed")
    assert code != 0, "both processes of the last training were killed in step 22"
    assert "SIGKILL" in said or "-9" in said, said
    trained = {name: weights(tmp_path, name) for name in ("ends", "random", "moving")}
    for name, last in (("ends", 4), ("random", 24)):
        checkpoint = tmp_path / name / "checkpoints" / f"checkpoint-{last}"
        assert (checkpoint / "hwnas.json").is_file()
        assert (checkpoint / "rng_state_1.pth").is_file()

    # Two processes with a batch each are one process that adds up two batches.
    alone = tiny("bert", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    before = {key: value.clone() for key, value in alone.state_dict().items()}
    toy(alone, tmp_path / "alone", strategy="full", k=0, max_steps=4, accumulate=2)
    for rank in "01":
        torch.testing.assert_close(
            load_file(tmp_path / "ends" / f"gradient-{rank}"), gradients[1], rtol=1e-3, atol=1e-5
        )
    for key, value in alone.state_dict().items():
        if key in trained["ends"]:
            torch.testing.assert_close(trained["ends"][key], value, rtol=0, atol=1e-4, msg=key)
    moved = max(float((before[key] - trained["ends"][key]).abs().max()) for key in trained["ends"])
    assert moved > 5e-4

    # Killed, and started again: the same losses from the checkpoint on, and the same weights, bit for bit.
    checkpoints = tmp_path / "killed" / "checkpoints"
    assert latest_checkpoint(checkpoints) == checkpoints / "checkpoint-20", "in the middle of an epoch"
    assert not (tmp_path / "killed" / "0.safetensors").exists()
    code, said = launch(tmp_path, -1, "killed")
    assert code == 0, said
    resumed = weights(tmp_path, "killed")
    assert all(torch.equal(resumed[key], value) for key, value in trained["random"].items())
    for rank in "01":
        curve = losses(tmp_path, "random", rank)
        assert losses(tmp_path, "killed", rank) == {step: curve[step] for step in (21, 22, 23, 24)}
    assert len(set(losses(tmp_path, "random").values())) > 12
