"""Units that search with weights shared in a super-network."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hwnas.bench.exam import TEST, Exam
from hwnas.bench.folder import BenchFolder, Row, model_name
from hwnas.bench.scale import Scale
from hwnas.bench.supernet import Network, Report, load
from hwnas.bench.trials import SECONDS
from hwnas.bench.units import Unit
from hwnas.errors import UsageError
from hwnas.search.cache import EvaluationCache
from hwnas.search.objectives import get_objective
from hwnas.search.pareto import non_dominated
from hwnas.search.patience import NO_FAILURE, PATIENCE, PATIENCE_AT_FIRST
from hwnas.search.search import FLOAT32, VALIDATION
from hwnas.search.searcher import Searcher, get_searcher
from hwnas.spaces import Architecture
from hwnas.spaces.align import ANY
from hwnas.training.train import peak_learning_rate

Evaluate = Callable[[Architecture], Mapping[str, float]]
"""Errors of a sub-network by split; the validation error is among them."""


def search_unit(folder: BenchFolder, scale: Scale, unit: Unit, report: Report) -> None:
    """Search, and write a row for each proposal.

    Members of the front and the whole network are tested. A search that was killed goes on where it was.

    Raises:
        RunFolderError: The folder cannot be written.
        CheckpointError: The super-network is not there, or damaged.
        MissingExtraError: The searcher's library is not installed.
        Exception: Several evaluations in a row failed; one that fails costs its proposal, and has no row.
    """
    task = scale.load(unit.task, unit.seed)
    network = load(folder, scale, unit)
    exam = Exam(task, network.tokenizer, scale, unit.seed)
    evaluate = _shared(network, exam)
    searcher = get_searcher(
        unit.method, network.space, objectives=2, evaluations=unit.evaluations, seed=unit.seed
    )  # fmt: skip
    cost = get_objective("parameters", network.model.config, None)
    about = {
        "unit": unit.name,
        "weights": network.weights,
        "data": task.fingerprint(),
        "scale": scale.to_json(),
    }
    with EvaluationCache(folder.evaluations(unit), about) as cache:
        rows = run_search(searcher, evaluate, cost, cache, evaluations=unit.evaluations, report=report)
        whole = network.space.largest()
        size = cost(whole)
        tested = []
        for row, of_front in zip(rows, _front(rows), strict=True):
            error = cache.get(TEST, row["architecture"])
            if error is None and (of_front or row["architecture"] == whole):
                start = time.perf_counter()
                error = exam.error(TEST, network.model, row["architecture"])
                cache.put(TEST, row["architecture"], error, time.perf_counter() - start)
            tested.append(Row(**row, precision=FLOAT32, test_error=error, share=row["parameters"] / size))
    failed = min(unit.evaluations, network.space.size) - len(rows)
    folder.write(unit, tested, {**provenance(scale, unit, exam, network), "failed": failed})


def run_search(
    searcher: Searcher,
    evaluate: Evaluate,
    cost: Callable[[Architecture], float],
    cache: EvaluationCache,
    *,
    evaluations: int,
    report: Report = lambda *_: None,
) -> list[dict[str, Any]]:
    """Ask, evaluate, tell, until the evaluations are spent.

    What the cache holds is not evaluated again, but its seconds count as they were. A sub-network that the same search
    had proposed before costs no time. An evaluation that fails costs its proposal and has no row: the searcher is told,
    the report says how many there were, and another run tries again. If the first three fail, or ten in a row, the last
    failure is raised.

    Args:
        searcher: A new searcher of two objectives.
        evaluate: Errors of a sub-network.
        cost: The second objective.
        cache: Where errors are kept.
        evaluations: Number of proposals.
        report: Called after each.

    Returns:
        number, architecture, error, parameters, seconds, searcher_seconds, elapsed and spent of each proposal that did
        not fail, in order; fewer than asked for where the whole space was proposed.

    Raises:
        UsageError: Every sub-network of a space failed.
        Exception: What the evaluation raised when too many failed.
    """
    rows: list[dict[str, Any]] = []
    seen: set[Architecture] = set()
    elapsed, failed, in_a_row = 0.0, 0, 0
    for number in range(evaluations):
        start = time.perf_counter()
        trial = searcher.ask()
        if trial is None:
            break
        arch, own = trial.architecture, time.perf_counter() - start
        error, seconds = cache.get(VALIDATION, arch), cache.get(SECONDS, arch)
        if error is None or seconds is None:
            start = time.perf_counter()
            try:
                found = evaluate(arch)
            except NO_FAILURE:
                raise
            except Exception:  # whatever an architecture may lead to; the next one may do
                elapsed += own + time.perf_counter() - start
                failed, in_a_row = failed + 1, in_a_row + 1
                if in_a_row >= (PATIENCE if rows else PATIENCE_AT_FIRST):
                    raise
                searcher.tell(trial.number, None)
                report(number + 1, evaluations, f"{failed} failed")
                continue
            error, seconds = found[VALIDATION], time.perf_counter() - start
            for split in sorted(set(found) - {VALIDATION}):
                cache.put(split, arch, found[split], seconds)
            cache.put(SECONDS, arch, seconds, seconds)
            cache.put(VALIDATION, arch, error, seconds)
        in_a_row = 0
        seconds = 0.0 if arch in seen else seconds
        seen.add(arch)
        size = cost(arch)
        start = time.perf_counter()
        searcher.tell(trial.number, (error, size))
        own += time.perf_counter() - start
        elapsed += own + seconds
        rows.append(
            {
                "number": number,
                "architecture": arch,
                "error": error,
                "parameters": int(size),
                "seconds": seconds,
                "searcher_seconds": own,
                "elapsed": elapsed,
                "spent": float(number + 1),
            }
        )
        report(number + 1, evaluations, f"error {error:.4f}" + (f", {failed} failed" if failed else ""))
    if not rows:
        raise UsageError(f"all of the {failed} sub-networks of the space failed; there is nothing to compare.")
    return rows


def provenance(scale: Scale, unit: Unit, exam: Exam, network: Network) -> dict[str, Any]:
    """What all rows of a unit share: model, metric, steps, examples, training. JSON types."""
    import torch

    options = scale.options(unit.strategy, unit.seed)
    about = exam.about()
    steps = options.steps(about["train_examples"])
    return {
        "model": model_name(scale),
        **about,
        "steps": steps,
        "batch_size": options.batch_size,
        "learning_rate": peak_learning_rate(options, network.model.config, steps, pairs=exam.task.has_pairs),
        "weights": network.weights,
        "k": options.k,
        "temperature": options.temperature,
        "max_length": scale.max_length,
        "align": "" if scale.align == ANY else f"{scale.align[0]},{scale.align[1]}",
        "training_seconds": network.seconds,
        "threads": torch.get_num_threads(),
    }


def _shared(network: Network, exam: Exam) -> Evaluate:
    """Errors of views in the super-network's weights."""
    return lambda arch: {VALIDATION: exam.error(VALIDATION, network.model, arch)}


def _front(rows: list[dict[str, Any]]) -> np.ndarray:
    """Which rows no other dominates, (n,)."""
    return non_dominated([(row["parameters"], row["error"]) for row in rows])
