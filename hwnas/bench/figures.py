"""What each figure of the paper compares. A new figure is one entry of `FIGURES`.

Sources: Klein et al. 2024 (arXiv 2405.02267) and the plots of the authors' code (github.com/whittle-org/plm_pruning,
folder `plotting`). `missing` says what the authors compare and this benchmark does not have.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from hwnas.errors import UnknownNameError, UsageError
from hwnas.search.searcher import EXHAUSTIVE, MO_ASHA, searcher_names
from hwnas.spaces import space_names
from hwnas.training.pretrained import EMBEDDED
from hwnas.training.strategy import strategy_names

Drawing = Literal["boxes", "ranks", "regret", "sizes", "points", "latency"]
"""`boxes`: hypervolume at the end, a box a series. `ranks`: average rank over time. `regret`: hypervolume regret over
time. `sizes`: test quality over the share of parameters pruned. `points`: every sub-network. `latency`: test quality
over measured latency."""

WEIGHT_SHARING, STANDARD, QUANTISED, LATENCY = "weight-sharing", "standard", "quantised", "latency"
"""Approaches: sub-networks judged as views of one super-network; each fine-tuned alone from the pre-trained weights;
the whole network in another precision; the front of a weight-sharing search and the whole network, timed."""

ALONE = "standard"
"""The strategy of units without a super-network."""

LABELS = {
    "random_search": "RS",
    "local_search": "LS",
    "regularized_evolution": "MO-REA",
    "nsga2": "NSGA-2",
    "ehvi": "EHVI",
    "qlognehvi": "qLogNEHVI",
    MO_ASHA: "MO-ASHA",
}
"""Names of searchers as the paper abbreviates them."""

PRECISIONS = ("int8", "int8-dynamic")
"""The quantised networks that pruned ones are compared with."""

_BEST = "ehvi"  # what the authors search with where they compare with baselines; standard NAS with MO-ASHA
_TRUTH = (EXHAUSTIVE,)  # enumerates a space, and is no method of the paper


@dataclass(frozen=True)
class Series:
    """One of the things that a figure compares.

    Attributes:
        label: Name in the picture.
        name: Name for users, one of what the figure compares.
        approach: `WEIGHT_SHARING`, `STANDARD`, `QUANTISED` or `LATENCY`.
        space: Name of the search space.
        strategy: Name of the super-network strategy; `ALONE` without a super-network.
        method: Name of the searcher, MO-ASHA included; of a quantised network the name of its precision.
    """

    label: str
    name: str
    approach: str = WEIGHT_SHARING
    space: str = "small"
    strategy: str = "full"
    method: str = "random_search"


@dataclass(frozen=True)
class Figure:
    """A figure of the paper.

    Attributes:
        name: Its number.
        title: What it compares.
        drawing: How it is drawn.
        make: Gives the series, from the names that are registered now.
        source: What it follows.
        missing: What the authors compare and this benchmark does not have.
        other_model: Whether it is another figure with another model than the embedded one.
    """

    name: str
    title: str
    drawing: Drawing
    make: Callable[[], tuple[Series, ...]]
    source: str
    missing: tuple[str, ...] = ()
    other_model: bool = False

    def is_of(self, model: str | None) -> bool:
        """Whether results of a model may be in it; None is the embedded one."""
        return not self.other_model or model not in (None, EMBEDDED)

    def check_model(self, model: str | None) -> None:
        """Check that it can be made with a model; None is the embedded one.

        Raises:
            UsageError: The figure is of another model than the embedded one.
        """
        if not self.is_of(model):
            raise UsageError(
                f"figure {self.name} is of another model than the embedded one: `hwnas bench run {self.name} --model "
                "MODEL --folder FOLDER`, in a folder of its own, makes its results."
            )

    def series(self, only: tuple[str, ...] = (), method: str | None = None) -> tuple[Series, ...]:
        """What it compares.

        Args:
            only: Names to leave it at; none for all.
            method: Another searcher, for figures that do not compare searchers.

        Raises:
            UnknownNameError: No such series, no such searcher.
            UsageError: A searcher for a figure that compares searchers.
        """
        made = self.make()
        if method is not None:
            if method not in searcher_names():
                raise UnknownNameError("searcher", method, searcher_names())
            if self.drawing in ("ranks", "regret", "points"):
                raise UsageError(f"--method {method}: figure {self.name} compares searchers; choose some with --only.")
            made = tuple(entry if entry.approach == QUANTISED else replace(entry, method=method) for entry in made)
        names = [entry.name for entry in made]
        for name in only:
            if name not in names:
                raise UnknownNameError(f"series of figure {self.name}", name, names)
        return tuple(entry for entry in made if not only or entry.name in only)


def _spaces() -> tuple[Series, ...]:
    return tuple(Series(name.capitalize(), name, space=name) for name in space_names())


def _strategies() -> tuple[Series, ...]:
    return tuple(Series(name, name, strategy=name) for name in strategy_names())


def _methods() -> tuple[Series, ...]:
    return tuple(Series(LABELS.get(name, name), name, method=name) for name in searcher_names() if name not in _TRUTH)


def _standard_methods() -> tuple[Series, ...]:
    asha = Series(LABELS[MO_ASHA], MO_ASHA, method=MO_ASHA)
    return tuple(replace(entry, approach=STANDARD, strategy=ALONE) for entry in (*_methods(), asha))


def _against_baselines() -> tuple[Series, ...]:
    return (
        Series("WS-NAS", "weight-sharing", method=_BEST),
        Series("S-NAS", "standard", STANDARD, strategy=ALONE, method=MO_ASHA),
        *(Series(f"unpruned, {name}", name, QUANTISED, method=name) for name in PRECISIONS),
    )


def _timed() -> tuple[Series, ...]:
    return (Series("WS-NAS", "weight-sharing", LATENCY, method=_BEST),)


_CODE = "plotting/{} of the authors' code"
_BASELINES = (
    "head pruning, retraining-free pruning and layer dropping, which the authors draw beside",
    "DistilBERT, which their code can draw",
)
_NUMBER = "Its content is taken from the authors' plots; the number could not be checked against the paper's text."

_ALL = (
    Figure(
        "4", "hypervolume of search spaces", "boxes", _spaces,
        f"{_CODE.format('plot_hypervolume_across_search_spaces.py')}: random search under the strategy full, a box "
        "over seeds for each space",
    ),
    Figure(
        "5a", "average ranks of searchers, weight-sharing NAS", "ranks", _methods,
        f"{_CODE.format('compute_ranks.py')}: 1000 bootstrap samples over seeds, averaged over tasks",
    ),
    Figure(
        "5b", "average ranks of searchers, standard NAS", "ranks", _standard_methods,
        f"{_CODE.format('compute_ranks.py')}; each sub-network is fine-tuned alone (src/run_from_scratch_nas.py)",
    ),
    Figure(
        "6", "hypervolume of super-network strategies", "boxes", _strategies,
        f"{_CODE.format('plot_hypervolume_across_checkpoints.py')}: random search in the space small, a box over seeds "
        "for each strategy",
    ),
    Figure(
        "7", "test quality over parameters pruned (BERT in the paper)", "sizes", _against_baselines,
        f"{_CODE.format('plot_error_over_size.py')}: of the sub-networks below a size, the best by validation",
        missing=_BASELINES,
    ),
    Figure(
        "8", "test quality over parameters pruned, another model (RoBERTa in the paper)", "sizes", _against_baselines,
        f"{_CODE.format('plot_error_over_size.py')} with the other model; give it with --model and another --folder",
        missing=_BASELINES, other_model=True,
    ),
    Figure(
        "9", "hypervolume regret of searchers, weight-sharing NAS", "regret", _methods,
        f"{_CODE.format('plot_hypervolume_across_methods.py')}, a panel for each task, which draws 4 - hypervolume "
        f"where this is the best of all runs - hypervolume. {_NUMBER}",
    ),
    Figure(
        "10", "hypervolume regret of searchers, standard NAS", "regret", _standard_methods,
        f"{_CODE.format('plot_hypervolume_across_methods.py')} for standard NAS, regret as in 9. {_NUMBER}",
    ),
    Figure(
        "11", "sub-networks that searchers evaluate", "points", _methods,
        f"{_CODE.format('plot_example_pareto.py')}: validation error over parameters, first seed. {_NUMBER}",
    ),
    Figure(
        "12", "latency: pruning against quantising", "latency", _timed,
        "Appendix F: sub-networks beside the unpruned network in other precisions, timed on this processor",
        missing=("the paper's GPU and its runtime; here ONNX Runtime on the processor, one thread, batch 1",),
    ),
)  # fmt: skip

FIGURES: dict[str, Figure] = {figure.name: figure for figure in _ALL}


def get_figure(name: str) -> Figure:
    """The figure of that number; UnknownNameError lists the known ones."""
    if name not in FIGURES:
        raise UnknownNameError("figure", name, FIGURES)
    return FIGURES[name]
