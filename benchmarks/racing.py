"""What early stopping of hopeless evaluations saves: races on recorded answers of a super-network's sub-networks.

    python benchmarks/racing.py record runs/sst2 --out sst2.npz [--networks 100] [--examples 4096] [--threads 1]
    python benchmarks/racing.py judge sst2.npz ... [--out benchmarks/results/racing.json]

`record` evaluates random members of SMALL, after the start designs, on validation examples of a run, and keeps which
examples each gets wrong. `judge` replays evaluations on these records, on validation sets of several sizes drawn from
them (those marked * with replacement, because they are larger than what was recorded). Each network races the best one
known that has no more parameters (`_racing.py`), and is stopped when it has lost. Three kinds of searches:

- young: random search from its start; rivals are what was evaluated in full before. Level: (1 - confidence) / networks.
- late: the front is known when a network comes, as towards the end of a long search. Level: (1 - confidence) / 500.
- close: the same, of the half of the networks that are nearest to the front, such as adaptive searchers propose.

Time is counted in padded tokens times a network's measured seconds per padded token: batches of 64 in full evaluations,
of 16 in races, each part of a race sorted by length by itself. `no padding` counts examples instead, for what could be
saved at best. Guesses of a race: none; the rival's errors; the mean of the 8 networks nearest in parameters. `certain`
stops only what has lost whatever follows.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _racing import Race, parts
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from hwnas.files import write_at_once
from hwnas.provenance import git_commit, versions
from hwnas.search.pareto import non_dominated

BATCH = 64
RACE_BATCH = 16
KINDS = ("young", "late", "close")
GUESSES = ("certain", "none", "rival", "near")
_LONG = 500  # evaluations of a long search
_NEAR = 8


@dataclass(frozen=True)
class Record:
    """Answers of M networks on N examples.

    Attributes:
        name: Of the task.
        wrong: (M, N).
        lengths: Tokens of each example, (N,).
        parameters: (M,).
        seconds: For all examples, (M,).
    """

    name: str
    wrong: NDArray[np.bool_]
    lengths: NDArray[np.int64]
    parameters: NDArray[np.int64]
    seconds: NDArray[np.float64]

    def excess(self) -> NDArray[np.float64]:
        """By how much each network's error exceeds the least of those that have no more parameters, (M,)."""
        errors = self.wrong.mean(axis=1)
        return np.array(
            [error - errors[self.parameters <= size].min() for error, size in zip(errors, self.parameters, strict=True)]
        )

    def part(self, networks: NDArray[np.int64]) -> Record:
        """These networks alone."""
        return Record(self.name, self.wrong[networks], self.lengths, self.parameters[networks], self.seconds[networks])


def padded(lengths: NDArray[np.int64], batch: int = BATCH) -> int:
    """Tokens of examples in batches of similar lengths, padding included."""
    ordered = np.sort(lengths)[::-1]
    return int(
        sum(int(ordered[start]) * len(ordered[start : start + batch]) for start in range(0, len(ordered), batch))
    )


def record(options: argparse.Namespace) -> None:
    """Evaluate networks of a run and write what each gets wrong."""
    import torch

    from hwnas.cli.prepare import quiet
    from hwnas.pipeline.folder import RunFolder
    from hwnas.pipeline.train import load_data, load_supernet
    from hwnas.search.objectives import get_objective
    from hwnas.slicing.supernet import view
    from hwnas.tasks import collator, encode

    quiet()
    torch.set_num_threads(options.threads)
    folder = RunFolder(options.run)
    supernet, task = load_supernet(folder), load_data(folder)
    if task.metric != "accuracy":
        raise SystemExit(f"{task.name} is judged by {task.metric}; expected accuracy, which is a mean over examples.")
    rng = np.random.default_rng(options.seed)
    order = rng.permutation(len(task.validation))[: options.examples]
    data = encode(
        [task.validation[index] for index in order], supernet.tokenizer, folder.spec().max_length, regression=False
    )
    archs = list(supernet.space.start_designs())
    while len(archs) < options.networks:
        arch = supernet.space.sample(rng)
        if arch not in archs:
            archs.append(arch)
    cost = get_objective("parameters", supernet.model.config, None)
    lengths = np.array(data.lengths)
    by_length = np.argsort(-lengths, kind="stable")
    collate, model = collator(supernet.tokenizer), supernet.model.eval()
    batches = [
        (chosen, collate([data[int(index)] for index in chosen]))
        for chosen in (by_length[start : start + BATCH] for start in range(0, len(by_length), BATCH))
    ]
    wrong, seconds = np.zeros((len(archs), len(data)), dtype=np.bool_), np.zeros(len(archs))
    for number, arch in enumerate(archs):
        start = time.perf_counter()
        with torch.inference_mode(), view(model, arch):
            for chosen, batch in batches:
                inputs: dict[str, Any] = {name: value for name, value in batch.items() if name != "labels"}
                wrong[number, chosen] = (model(**inputs).logits.argmax(dim=1) != batch["labels"]).numpy()
        seconds[number] = time.perf_counter() - start
        Console(stderr=True).print(
            f"{number + 1}/{len(archs)} {arch}: {wrong[number].mean():.4f} in {seconds[number]:.1f} s", highlight=False
        )
    np.savez_compressed(
        options.out, name=task.name, wrong=np.packbits(wrong, axis=1), examples=len(data), lengths=lengths,
        parameters=np.array([int(cost(arch)) for arch in archs]), seconds=seconds,
    )  # fmt: skip


def read(path: Path) -> Record:
    """What `record` has written."""
    with np.load(path) as data:
        wrong = np.unpackbits(data["wrong"], axis=1, count=int(data["examples"])).astype(np.bool_)
        return Record(str(data["name"]), wrong, data["lengths"], data["parameters"], data["seconds"])


def search(of: Record, kind: str, guess: str, confidence: float, rng: np.random.Generator) -> dict[str, float]:
    """The evaluations of one search: what was saved, how many were stopped, and how many of the front among them."""
    count, examples = of.wrong.shape
    level = (1 - confidence) / (count if kind == "young" else _LONG)
    totals, whole, excess = of.wrong.sum(axis=1), padded(of.lengths), of.excess()
    front = non_dominated(np.stack([of.parameters, totals], axis=1).astype(np.float64))
    chosen = [
        int(index) for index in (np.flatnonzero(excess <= np.median(excess)) if kind == "close" else range(count))
    ]
    spent = plain = 0.0
    stopped = lost = seen = 0
    errors: list[float] = []
    done: list[int] = []
    for network in chosen:
        known = done if kind == "young" else [index for index in range(count) if index != network]
        rivals = [index for index in known if of.parameters[index] <= of.parameters[network]]
        if not rivals:
            spent, plain = spent + of.seconds[network], plain + of.seconds[network]
            done.append(network)
            continue
        rival = min(rivals, key=lambda index: totals[index])
        order = rng.permutation(examples)
        race = Race(
            int(totals[rival]), _guess(of, guess, rival, known, network)[order], 1e-300 if guess == "certain" else level
        )
        for part in parts(examples):
            taken = order[part]
            spent += padded(of.lengths[taken], RACE_BATCH) / whole * of.seconds[network]
            plain += len(taken) / examples * of.seconds[network]
            if race.see(of.wrong[network, taken]):
                break
        if race.seen == examples:
            done.append(network)
            continue
        stopped, lost, seen = stopped + 1, lost + int(front[network]), seen + race.seen
        errors.append(abs(race.estimate - totals[network] / examples))
    everything = float(of.seconds[chosen].sum())
    return {
        "networks": len(chosen),
        "saved": 1 - spent / everything,
        "saved_without_padding": 1 - plain / everything,
        "stopped": stopped / len(chosen),
        "seen_by_stopped": seen / stopped / examples if stopped else 1.0,
        "front": int(front.sum()),
        "front_stopped": lost,
        "estimate_off": float(np.mean(errors)) if errors else 0.0,
    }


def _guess(of: Record, name: str, rival: int, known: Sequence[int], network: int) -> NDArray[np.float64]:
    if name in ("certain", "none"):
        return np.zeros(of.wrong.shape[1])
    if name == "rival":
        return of.wrong[rival].astype(np.float64)
    near = sorted(known, key=lambda index: abs(int(of.parameters[index] - of.parameters[network])))[:_NEAR]
    found: NDArray[np.float64] = of.wrong[near].mean(axis=0)
    return found


def replay(held: Record, kind: str, examples: int, guess: str, confidence: float, seed: int) -> dict[str, float]:
    """One search on a validation set drawn from a record."""
    rng = np.random.default_rng(seed)
    count, size = held.wrong.shape
    of = held.part(np.array([0, 1, 2, *(3 + rng.permutation(count - 3))], dtype=np.int64))  # start designs come first
    taken = rng.integers(size, size=examples) if examples > size else rng.permutation(size)[:examples]
    of = Record(of.name, of.wrong[:, taken], of.lengths[taken], of.parameters, of.seconds)
    return search(of, kind, guess, confidence, rng)


def judge(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Searches over all records, sizes of validation sets, guesses and confidences; means over seeds."""
    rows = []
    for path in options.records:
        held = read(path)
        for examples in sorted({size or held.wrong.shape[1] for size in options.sizes}):
            for kind in KINDS:
                for confidence in options.confidences:
                    for guess in options.guesses:
                        found = [replay(held, kind, examples, guess, confidence, seed) for seed in range(options.seeds)]
                        means = {name: float(np.mean([row[name] for row in found])) for name in found[0]}
                        rows.append(
                            {
                                "task": held.name, "searches": kind, "examples": examples,
                                "resampled": examples > held.wrong.shape[1], "confidence": confidence, "guess": guess,
                                "seeds": options.seeds, **means,
                                "front_stopped": sum(int(row["front_stopped"]) for row in found),
                            }
                        )  # fmt: skip
    return rows


def show(rows: Sequence[dict[str, Any]]) -> None:
    """One line a setting."""
    table = Table(title="time that racing saves (means over seeds)", title_justify="left")
    for name in ("task", "examples", "searches", "networks", "confidence", "guess", "saved", "no padding", "stopped",
                 "of examples", "estimate off", "front stopped (all seeds)"):  # fmt: skip
        table.add_column(name, justify="left" if name in ("task", "searches", "guess") else "right")
    for row in rows:
        table.add_row(
            row["task"], f"{row['examples']}{'*' if row['resampled'] else ''}", row["searches"],
            f"{row['networks']:g}", f"{row['confidence']:g}", row["guess"], f"{row['saved']:.1%}",
            f"{row['saved_without_padding']:.1%}", f"{row['stopped']:.0%}", f"{row['seen_by_stopped']:.0%}",
            f"{row['estimate_off']:.4f}", str(row["front_stopped"]),
        )  # fmt: skip
    Console(width=150).print(table)


def main() -> None:
    """Record, or replay, print and write down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    first = commands.add_parser("record", help="evaluate networks of a run")
    first.add_argument("run", type=Path)
    first.add_argument("--out", type=Path, required=True, help="npz file")
    first.add_argument("--networks", type=int, default=100)
    first.add_argument("--examples", type=int, default=4096)
    first.add_argument("--threads", type=int, default=1)
    first.add_argument("--seed", type=int, default=0)
    second = commands.add_parser("judge", help="replay searches")
    second.add_argument("records", type=Path, nargs="+")
    second.add_argument("--sizes", type=int, nargs="+", default=[512, 2048, 0, 20_000], help="0: all")
    second.add_argument("--confidences", type=float, nargs="+", default=[0.99])
    second.add_argument("--guesses", nargs="+", choices=GUESSES, default=list(GUESSES))
    second.add_argument("--seeds", type=int, default=10)
    second.add_argument("--out", type=Path, help="JSON file for the figures")
    options = parser.parse_args()
    if options.command == "record":
        record(options)
        return
    rows = judge(options)
    show(rows)
    if options.out is not None:
        data = {
            "about": "replayed searches on recorded answers of sub-networks; time in padded tokens",
            "commit": git_commit(),
            "versions": {name: value for name, value in versions().items() if name in ("hwnas", "torch")},
            "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
            "rows": rows,
        }
        write_at_once(options.out, json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main()
