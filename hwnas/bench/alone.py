"""Units of standard NAS: each sub-network is fine-tuned alone from the pre-trained weights, one or several at once.

Source: Klein et al. 2024, section 4.1.2; their MO-ASHA counts epochs, as this one does where no number of steps is set.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch

from hwnas.bench.exam import TEST, Exam
from hwnas.bench.folder import BenchFolder, Row
from hwnas.bench.journal import Journal
from hwnas.bench.parallel import quieten
from hwnas.bench.scale import Scale
from hwnas.bench.search import provenance
from hwnas.bench.spent import stopped
from hwnas.bench.supernet import Network, Report, pretrained
from hwnas.bench.trial_processes import Evaluate, Told, one_by_one, several_at_once
from hwnas.bench.trials import Trials
from hwnas.bench.units import Unit
from hwnas.search.cache import EvaluationCache
from hwnas.search.objectives import get_objective
from hwnas.search.schedulers import ETA, R_MIN, get_scheduler
from hwnas.search.search import FLOAT32, VALIDATION
from hwnas.search.searcher import MO_ASHA
from hwnas.slicing.extract import extract
from hwnas.spaces import Architecture
from hwnas.tasks import encode
from hwnas.training.options import TrainOptions

LEVELS = 9
"""Resource levels of MO-ASHA's trainings of a number of steps; those of a number of epochs have one an epoch."""

_PRELOAD = ("hwnas.bench.alone", "hwnas.bench.standard")
"""What takes processes seconds to import."""


def levels_of(method: str, options: TrainOptions, examples: int) -> int:
    """Resource levels of a whole training: equal shares of its steps, after each of which MO-ASHA sees a result.

    Args:
        method: Name of the searcher; all but MO-ASHA see the end only.
        options: Epochs, rounded to whole ones, or steps.
        examples: Of the training split.
    """
    if method != MO_ASHA:
        return 1
    wanted = LEVELS if options.max_steps is not None else max(1, round(options.epochs))
    return min(wanted, options.steps(examples))


def standard_unit(folder: BenchFolder, scale: Scale, unit: Unit, report: Report, *, at_once: int = 1) -> None:
    """Search with trainings, and write a row for each sub-network, in the order in which they ended.

    A sub-network that another search of the same task, space and seed has trained is not trained again: it would be
    the same training, whose seconds count here too. All sub-networks are tested, because their weights are gone
    afterwards. A search that was killed goes on where it was; trainings that had not ended start anew. With one trial
    at a time the seed determines everything but seconds; with several, the order in which they end is a matter of time,
    and what is proposed, or stopped, follows from it.

    Args:
        folder: Where it is kept.
        scale: Model, data and training.
        unit: Of standard NAS.
        report: Called as it goes on.
        at_once: Trials that are trained at once, each in a process with one thread.

    Raises:
        RunFolderError: The folder cannot be written, or its files are damaged.
        MissingExtraError: The searcher's library is not installed.
        Exception: Several trainings in a row failed; one that fails costs its share of the budget, and has no row.
    """
    network, exam, levels = _load(scale, unit)
    scheduler = get_scheduler(
        unit.method, network.space, objectives=2, evaluations=unit.evaluations, seed=unit.seed, levels=levels
    )
    cost = get_objective("parameters", network.model.config, None)
    asha = {"levels": levels, "r_min": R_MIN, "eta": ETA} if unit.method == MO_ASHA else {}
    about = {
        "task": unit.task,
        "space": unit.space,
        "seed": unit.seed,
        "weights": network.weights,
        "data": exam.task.fingerprint(),
        "scale": scale.to_json(),
    }
    with EvaluationCache(folder.trainings(unit), about) as cache, Journal(folder.order(unit)) as journal:
        trials = Trials(
            scheduler, network.space, cost, cache, journal,
            evaluations=unit.evaluations, levels=levels, splits=(VALIDATION, TEST), report=report,
            at_once=at_once,
        )  # fmt: skip
        if at_once == 1:
            one_by_one(trials, _evaluate(network, exam, scale, unit, levels))
        else:
            # What touches a GPU cannot be copied, and libraries look for one when they are imported.
            preload = () if torch.cuda.is_available() else _PRELOAD
            several_at_once(trials, set_up, (folder.path, unit), at_once, preload=preload)
    size = cost(network.space.largest())
    rows = [
        Row(
            number=done.number,
            architecture=done.architecture,
            precision=FLOAT32,
            error=done.error,
            test_error=done.test_error,
            parameters=done.parameters,
            share=done.parameters / size,
            seconds=done.seconds,
            searcher_seconds=done.searcher_seconds,
            elapsed=done.elapsed,
            spent=done.spent,
            flags=stopped(done.level, levels),
        )
        for done in trials.done
    ]
    shared = {**provenance(scale, unit, exam, network), **asha, "failed": trials.lost, "trials_at_once": at_once}
    folder.write(unit, rows, shared)


def set_up(payload: tuple[Path, Unit]) -> Evaluate:
    """Load in a process of its own what evaluations need; one thread.

    Args:
        payload: Path of the folder; the unit.
    """
    quieten()
    torch.set_num_threads(1)
    path, unit = payload
    scale = BenchFolder(path).scale()
    network, exam, levels = _load(scale, unit)
    return _evaluate(network, exam, scale, unit, levels)


def _load(scale: Scale, unit: Unit) -> tuple[Network, Exam, int]:
    """The pre-trained network, the examples, and the resource levels of a whole training."""
    task = scale.load(unit.task, unit.seed)
    network = pretrained(scale, task, unit)
    exam = Exam(task, network.tokenizer, scale, unit.seed)
    return network, exam, levels_of(unit.method, scale.options(unit.strategy, unit.seed), len(task.train))


def _evaluate(network: Network, exam: Exam, scale: Scale, unit: Unit, levels: int) -> Evaluate:
    """Fine-tunes sub-networks that are extracted from the pre-trained network."""
    from hwnas.bench.standard import fine_tune

    task = exam.task
    dataset = encode(task.train, network.tokenizer, scale.max_length, regression=task.is_regression)
    options = scale.options(unit.strategy, unit.seed)

    def evaluate(arch: Architecture, told: Told) -> tuple[float, float]:
        start, waited = time.perf_counter(), 0.0
        module = extract(network.model, arch)

        def goes_on(level: int) -> bool:
            nonlocal waited
            error = exam.error(VALIDATION, module)
            before = time.perf_counter()
            answer = told(level, error, before - start - waited)
            waited += time.perf_counter() - before
            return answer

        reached = fine_tune(
            module, network.tokenizer, dataset, options,
            regression=task.is_regression, levels=levels, goes_on=goes_on,
        )  # fmt: skip
        if reached == levels:
            goes_on(levels)
        seconds = time.perf_counter() - start - waited  # the test is no part of a search
        return exam.error(TEST, module), seconds

    return evaluate
