"""What a sub-network costs: as a view, as an extracted module, under the mask; and a `full` training step.

    python benchmarks/subnetworks.py [--parts forward evaluation step memory profile] [--out FILE.json]
    python benchmarks/subnetworks.py --space large --parts forward step
    python benchmarks/subnetworks.py --device cuda --dtype bf16 --shape bert-base --batch 32 --length 128

- forward: half width (half the heads, half the units, every layer) and half depth (the first half of the layers).
  The goal is a view's time within 15% of its share of FLOPs. In LARGE every second head and unit is kept, by index.
- evaluation: the same 200 random sub-networks of a space, SMALL by default, on the same validation examples of a task,
  as views and under the mask. Batches are sorted by length, as searches have them; the share of FLOPs is that of the
  batch in the middle.
- step: a training step of `full` against one of `standard`, k = 2, new random sub-networks in every step. The goal is
  1.1 times the FLOPs of its passes.
- memory: peak memory of such a step, in processes of their own. The goal is 1.15 times that of `standard`.
- profile: where the time of such a step goes, by PyTorch's profiler, and calls that should be rare in it.

All ways take turns in a new order every round. A ratio is the median over rounds of the ratio to the whole network in
the same round; that of training steps, which draw anew in every round, is the ratio of all rounds together, and their
quotient the median over rounds of a round's ratio over the share of FLOPs that was drawn in it.
FLOPs are counted by PyTorch, those of attention included. The README's figures are of 2 threads.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import fields
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from _profile import profile_rows
from _speed import DTYPES, SHAPES, Flops, Load, Row, judged, measure, summary
from _step import memory_rows, step_rows
from rich.console import Console
from rich.table import Table

from hwnas.cli.prepare import quiet
from hwnas.files import write_at_once
from hwnas.models import get_family
from hwnas.slicing.extract import extract
from hwnas.slicing.mask import masked
from hwnas.slicing.supernet import view
from hwnas.spaces import Architecture, get_space, space_names
from hwnas.tasks import TaskData, batches, drawn, encode, load_task
from hwnas.training.evaluate import predict
from hwnas.training.pretrained import load_pretrained

PARTS = ("forward", "evaluation", "step", "memory", "profile")
FORWARD_GOAL = 1.15
"""Time of a view over the whole network's, divided by its share of FLOPs, at most."""


def forward_rows(load: Load, rounds: int) -> list[Row]:
    """The whole network against a sub-network of half its width, and one of half its depth, three ways."""
    model, batch = load.model(), load.inputs()
    flops = Flops(model, batch)
    model = model.to(DTYPES[load.dtype])
    size = get_family(model.config).dimensions(model.config)
    kept = size.layers // 2
    dropped = (0,) * (size.layers - kept)
    heads, units = size.heads // 2, size.units // 2
    by_index = load.space == "large"
    half = [tuple(range(0, 2 * count, 2)) if by_index else count for count in (heads, units)]
    cuts = {
        "half width": Architecture(*((kept_of_layer,) * size.layers for kept_of_layer in half)),
        "half depth": Architecture((size.heads,) * kept + dropped, (size.units,) * kept + dropped),
    }

    def run(module: Any, context: Any = nullcontext) -> Callable[[], None]:
        def once() -> None:
            with torch.inference_mode(), context():
                module(**batch)

        return once

    rows = []
    for name, arch in cuts.items():
        small = extract(model, arch).eval()
        said = "every second head and unit" if by_index and name == "half width" else arch
        ways = {
            "whole network": run(model),
            "view": run(model, lambda arch=arch: view(model, arch)),
            "extracted module": run(small),
            "mask": run(model, lambda arch=arch: masked(model, arch)),
        }
        share = flops.share(arch)
        # A mask leaves the products whole; a layer that is dropped is not run under the mask either.
        extra: dict[str, Row] = {
            "whole network": {"flops_ratio": 1.0},
            "view": {"flops_ratio": share, "goal": FORWARD_GOAL},
            "extracted module": {"flops_ratio": share},
            "mask": {"flops_ratio": 1.0 if name == "half width" else share},
        }
        seconds = measure(ways, rounds, load.finish)
        rows += summary(f"forward, {name} ({said})", seconds, "whole network", extra)
    return rows


def evaluation_rows(load: Load, networks: int, task: TaskData, examples: int) -> list[Row]:
    """Sub-networks a second, as searches evaluate them; predictions of both ways are compared, too.

    No more than `examples` of the task's validation examples are taken; 0 takes all.
    """
    model = load.model()
    _, tokenizer = load_pretrained(None, num_labels=2, regression=False)
    chosen = drawn(task.validation, examples, np.random.default_rng(0))
    encoded = encode(chosen, tokenizer, load.length, regression=task.is_regression)
    data = list(batches(encoded, tokenizer, load.batch))
    for batch in data:  # the network has two labels, which may be none of the task's; logits alone are compared
        batch["labels"] = torch.zeros_like(batch["labels"])
    middle = {name: value.to(load.device) for name, value in data[len(data) // 2].items() if name != "labels"}
    flops = Flops(model, middle)
    model = model.to(DTYPES[load.dtype])
    space, rng = get_space(load.space, get_family(model.config).dimensions(model.config)), np.random.default_rng(0)
    archs = [space.sample(rng) for _ in range(networks)]

    def by_mask(arch: Architecture) -> np.ndarray:
        with masked(model, arch):
            return predict(model, data)[0]

    ways = {"mask": by_mask, "view": lambda arch: predict(model, data, arch)[0]}
    for way in ways.values():
        way(archs[0])
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    difference = 0.0
    for arch in archs:
        logits = {}
        for name in rng.permutation(list(ways)):
            load.finish()
            start = perf_counter()
            logits[name] = ways[name](arch)
            load.finish()
            seconds[name].append(perf_counter() - start)
        difference = max(difference, float(np.abs(logits["view"] - logits["mask"]).max()))
    share = {"view": float(np.mean([flops.share(arch) for arch in archs]))}
    rows = []
    for name, values in seconds.items():
        low, median, high = (float(value) for value in np.quantile(values, [0.2, 0.5, 0.8]))
        row = {
            "case": f"evaluation of {networks} sub-networks on {len(chosen)} validation examples of {task.name}",
            "way": name,
            "seconds": median,
            "p20": low,
            "p80": high,
            "ratio": sum(values) / sum(seconds["mask"]),
            "networks_per_second": networks / sum(values),
            "largest_difference_of_logits": difference,
        }
        # Layers that are dropped are not run under the mask either, so its FLOPs are not those of the whole network.
        rows.append(judged({**row, **({"flops_ratio": share[name]} if name in share else {})}))
    return rows


def show(rows: list[Row]) -> None:
    """The rows as a table."""
    table = Table("case", "way", "median", "p20 to p80 [ms]", "ratio", "FLOPs", "quotient", "goal")
    for row in rows:
        timed = "seconds" in row
        if timed:
            first = f"{row['seconds'] * 1e3:.1f} ms"
        else:
            first = f"{row['bytes'] / 2**20:.1f} MiB" if "bytes" in row else f"{row['calls']:g} calls"
        if "networks_per_second" in row:
            first += f", {row['networks_per_second']:.1f}/s"
        table.add_row(
            row["case"],
            row["way"],
            first,
            f"{row['p20'] * 1e3:.1f} to {row['p80'] * 1e3:.1f}" if "p20" in row else "",
            *(f"{row[name]:.3f}" if name in row else "" for name in ("ratio", "flops_ratio", "quotient")),
            f"<= {row['goal']:g}" if "goal" in row else "",
        )
    Console(width=150).print(table)


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file for the rows")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=tuple(DTYPES), default="fp32")
    parser.add_argument("--shape", choices=SHAPES, default="minilm")
    parser.add_argument("--batch", type=int, default=32, help="examples in a batch")
    parser.add_argument("--length", type=int, default=64, help="tokens of an example")
    parser.add_argument("--space", choices=space_names(), default="small", help="that sub-networks are drawn from")
    parser.add_argument("--rounds", type=int, default=40, help="of forward passes; of steps half as many, or 10")
    parser.add_argument("--networks", type=int, default=200, help="sub-networks that are evaluated")
    parser.add_argument("--task", default="sst2", help="whose validation examples they are evaluated on")
    parser.add_argument("--examples", type=int, default=512, help="how many examples; 0 takes all")
    parser.add_argument("--data-dir", type=Path, help="folder with one sub-folder a task (default: $HWNAS_DATA)")
    parser.add_argument("--k", type=int, default=2, help="random sub-networks in a step")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--smoke", action="store_true", help="a small batch and few rounds: does everything run?")
    options = parser.parse_args()
    quiet()
    if options.smoke:
        options.batch, options.length, options.rounds, options.networks, options.examples = 4, 16, 3, 5, 8
        options.task = "docstrings"  # which needs no data
    load = Load(**{field.name: getattr(options, field.name) for field in fields(Load)})
    steps = 3 if options.smoke else max(10, options.rounds // 2)
    parts: dict[str, Callable[[], list[Row]]] = {
        "forward": lambda: forward_rows(load, options.rounds),
        "evaluation": lambda: evaluation_rows(
            load, options.networks, load_task(options.task, data_dir=options.data_dir), options.examples
        ),
        "step": lambda: step_rows(load, steps, options.k),
        "memory": lambda: memory_rows(load, 2 if options.smoke else 5, options.k),
        "profile": lambda: profile_rows(load, steps, options.k),
    }
    rows: list[Row] = []
    for part in options.parts:
        found = parts[part]()
        show(found)
        rows += found
    if options.out:
        write_at_once(options.out, json.dumps({"about": load.about(options.rounds), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
