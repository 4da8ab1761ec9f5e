"""How a super-network is fine-tuned: every option, with its bounds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hwnas.errors import UnknownNameError, UsageError
from hwnas.training.moving_front import CURRENT
from hwnas.training.processes import count
from hwnas.training.strategy import get_strategy, strategy_names

PRECISIONS = ("fp32", "bf16", "fp16")
"""Arithmetic of the training; weights and optimizer are float32 always."""

SAMPLINGS = ("space", "encoding", "cost")
"""Distributions of random sub-networks; see `hwnas.training.sampling`."""

SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}
"""What the learning rate does after its peak (it falls to zero in a line, or as a cosine does, or stays), and
transformers' name for it."""

HIDDEN_WEIGHT = 0.2
"""Weight of the hidden states where sub-networks learn from the whole network, unless another is given: measured with
`benchmarks/layers.py` and `benchmarks/quality.py`, see docs/training.md."""

WHOLE_WEIGHT = 7.0
"""Weight of the whole network's loss in the last step where sub-networks learn from it, unless another is given:
measured with `benchmarks/quality.py`, see docs/training.md."""

REORDER_AFTER = "first-order"
"""Importance score by which heads and units are put in order after a training: measured with `benchmarks/ordered.py`
and `benchmarks/reordering.py`, see docs/training.md."""

K, TEMPERATURE = 2, 10.0
"""Random sub-networks in a step, and the distillation's temperature, unless others are given."""

BUDGETED = ("sandwich", "full", "kd")
"""Strategies whose steps train the whole network and random ones: they have a cost that can be budgeted."""

ALTERNATING = ("random", "random-linear")
"""Strategies whose steps train one network, a random one or the whole."""


@dataclass(frozen=True)
class TrainOptions:
    """How a super-network is fine-tuned.

    The paper trains 5 epochs with batches of 4 at 2e-5; larger batches at a larger rate take fewer, cheaper steps.

    Attributes:
        strategy: A name in `strategy_names()`.
        epochs: Passes over the training split.
        max_steps: Stop after this many steps instead, if given.
        batch_size: Examples in one forward pass of one process. A step has `accumulate` such batches in each process.
        learning_rate: Peak of AdamW's rate, which warms up for 6% of the steps. None takes `default_learning_rate`.
        schedule: What it does after the peak: a name in `SCHEDULES`.
        weight_decay: AdamW's decoupled weight decay.
        k: Random sub-networks in a step, for strategies that draw some.
        temperature: Of the distillation.
        seed: Seed of the order of examples, dropout, and the sub-networks that are drawn.
        random_share: Probability that a step of `random` trains a random sub-network and not the whole one; what
            that of `random-linear` rises to.
        whole_first: Share of the steps, the first ones, that train the whole network alone, whatever the strategy.
        whole_weight: Weight of the whole network's loss in the last step, where others are trained in it too; in the
            first step it is 1, and it rises, or falls, late: see `SuperNetTrainer`. 1 is the paper's. None takes
            `WHOLE_WEIGHT` where sub-networks learn from the whole network, and 1 elsewhere.
        sampling: A name in `SAMPLINGS`.
        front: A front to draw near to: the `front.json` of a search, or a list of architectures; or `current`, that of
            the training itself, which moves with it.
        front_share: Probability that a draw is a mutation of a member of `front`.
        budget: Mean cost of a step, 1.0 being a pass of the whole network: random sub-networks are drawn so that
            steps of `sandwich`, `full` and `kd` meet it. None leaves them as they come.
        teacher: Folder or hub name of a fine-tuned classifier with the same labels and vocabulary, from which all
            sub-networks learn instead of from the whole network.
        hidden_weight: Weight of the distillation of hidden states; from the whole network of the same step it is
            multiplied by what that has learnt, see `trust_in`. None takes `HIDDEN_WEIGHT` there, and 0 elsewhere.
        attention_weight: Weight of the distillation of attention relations.
        precision: A name in `PRECISIONS`.
        accumulate: Batches whose gradients a step adds up.
        report_to: Logging integrations of transformers, separated by commas.
        logging_dir: Folder for the files of TensorBoard.
        reorder: Importance score by which heads and units are put in order before the first step, if given.
        reorder_after: The same after the last step, by scores of the trained weights; `movement` by what the steps
            have summed up. Heads and units within the largest network of the space change places among themselves:
            the others were trained in the whole network alone. None leaves the order.
    """

    strategy: str = "full"
    epochs: float = 2.0
    max_steps: int | None = None
    batch_size: int = 16
    learning_rate: float | None = None
    schedule: str = "linear"
    weight_decay: float = 0.01
    k: int = K
    temperature: float = TEMPERATURE
    seed: int = 0
    random_share: float = 1.0
    whole_first: float = 0.0
    whole_weight: float | None = None
    sampling: str = "space"
    front: str | None = None
    front_share: float = 0.0
    budget: float | None = None
    teacher: str | None = None
    hidden_weight: float | None = None
    attention_weight: float = 0.0
    precision: str = "fp32"
    accumulate: int = 1
    report_to: str = "none"
    logging_dir: str | None = None
    reorder: str | None = None
    reorder_after: str | None = REORDER_AFTER

    def __post_init__(self) -> None:
        get_strategy(self.strategy)
        for kind, name, known in (
            ("sampling", self.sampling, SAMPLINGS),
            ("schedule", self.schedule, tuple(SCHEDULES)),
            ("training precision", self.precision, PRECISIONS),
        ):
            if name not in known:
                raise UnknownNameError(kind, name, known)
        above = {
            "--epochs": self.epochs,
            "--max-steps": self.max_steps,
            "--batch-size": self.batch_size,
            "--learning-rate": self.learning_rate,
            "--temperature": self.temperature,
            "--whole-weight": self.whole_weight,
            "--accumulate": self.accumulate,
            "--budget": self.budget,
        }
        for name, value in above.items():
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise UsageError(f"{name} must be above 0.")
        at_least = {
            "--k": self.k,
            "--weight-decay": self.weight_decay,
            "--hidden-weight": self.hidden_weight,
            "--attention-weight": self.attention_weight,
        }
        for name, value in at_least.items():
            if value is not None and not (value >= 0 and math.isfinite(value)):
                raise UsageError(f"{name} must be 0 or more.")
        shares = {
            "--random-share": self.random_share,
            "--front-share": self.front_share,
            "--whole-first": self.whole_first,
        }
        for name, share in shares.items():
            if not 0 <= share <= 1:
                raise UsageError(f"{name} must be from 0 to 1.")
        self._check_pairs()

    def _check_pairs(self) -> None:
        """Options that have no effect without another."""
        if self.front_share > 0 and self.front is None:
            raise UsageError("--front-share needs --front, the front.json of a search or 'current'.")
        if self.front is not None and self.front_share == 0:
            raise UsageError("--front has no effect without --front-share above 0.")
        one = self.strategy in ALTERNATING
        if self.whole_first and self.strategy == "standard":
            raise UsageError("--whole-first has no effect with standard, whose steps train the whole network anyway.")
        if one and self.random_share == 0 and (self.sampling != "space" or self.front is not None):
            raise UsageError("--sampling and --front have no effect with --random-share 0, which draws no networks.")
        if self.random_share != 1 and not one:
            raise UsageError(
                f"--random-share has no effect with {self.strategy}; it needs a strategy of {', '.join(ALTERNATING)}."
            )
        if self.k != K and self.strategy not in BUDGETED:
            raise UsageError(
                f"--k has no effect with {self.strategy}, whose steps train one network; it needs a strategy of "
                f"{', '.join(BUDGETED)}."
            )
        if self.temperature != TEMPERATURE and not self._learns:
            raise UsageError(
                f"--temperature needs a teacher, and the strategy {self.strategy} has none; use kd or full, or give "
                "--teacher."
            )
        mixed = self.strategy in BUDGETED and self.k > 0  # the whole network and random ones in a step
        if self.front == CURRENT and not mixed:
            raise UsageError(
                f"--front current needs a strategy of {', '.join(BUDGETED)} and --k above 0, whose steps show what "
                "random sub-networks lack to the whole one."
            )
        if self.budget is not None and not mixed:
            raise UsageError(f"--budget needs a strategy of {', '.join(BUDGETED)} and --k above 0.")
        if (self.sampling != "space" or self.front is not None) and not (one or mixed):
            raise UsageError(
                f"--sampling and --front have no effect with {self.strategy}"
                f"{' and --k 0' if self.strategy in BUDGETED else ''}, which draws no sub-networks."
            )
        alone = self.strategy not in BUDGETED or (self.strategy == "kd" and self.k == 0)
        if self.whole_weight not in (None, 1) and alone:
            raise UsageError(
                "--whole-weight has no effect where a step trains one network: use sandwich, full, kd (--k above 0)."
            )
        if self.logging_dir is not None and "tensorboard" not in self.integrations:
            raise UsageError("--logging-dir needs --report-to tensorboard.")
        if (self.hidden_weight or self.attention_weight) and not self._learns:
            raise UsageError(
                f"--hidden-weight and --attention-weight need a teacher, and the strategy {self.strategy} has none; "
                "use kd or full, or give --teacher."
            )

    @property
    def hidden(self) -> float:
        """`hidden_weight`, that by default included."""
        if self.hidden_weight is not None:
            return self.hidden_weight
        return HIDDEN_WEIGHT if self._whole_teaches else 0.0

    @property
    def whole(self) -> float:
        """`whole_weight`, that by default included."""
        if self.whole_weight is not None:
            return self.whole_weight
        return WHOLE_WEIGHT if self._whole_teaches else 1.0

    @property
    def _learns(self) -> bool:
        alone = self.strategy == "kd" and self.k == 0  # no sub-network learns
        return self.teacher is not None or (get_strategy(self.strategy).distil and not alone)

    @property
    def _whole_teaches(self) -> bool:
        return self.teacher is None and self._learns

    @property
    def integrations(self) -> tuple[str, ...]:
        """The names in `report_to`."""
        names = (name.strip() for name in self.report_to.split(","))
        return tuple(name for name in names if name and name != "none")

    def steps(self, examples: int, processes: int | None = None) -> int:
        """Optimizer steps for a number of training examples.

        Args:
            examples: How many.
            processes: Processes that share them; None asks the launcher's environment.
        """
        if self.max_steps is not None:
            return self.max_steps
        shared = count() if processes is None else processes
        batches = math.ceil(math.ceil(examples / self.batch_size) / shared)
        return max(1, math.ceil(self.epochs * math.ceil(batches / self.accumulate)))

    def to_json(self) -> dict[str, Any]:
        """JSON types; `from_json` inverts it."""
        return asdict(self)

    def under(self, strategy: str, *, seed: int) -> TrainOptions:
        """The same under another strategy and seed, with what that strategy reads."""
        return TrainOptions(**_without_unread({**asdict(self), "strategy": strategy, "seed": seed}))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TrainOptions:
        """Inverse of `to_json`, also of an earlier version's: without hidden states, equal weights, heads and units as
        they came, and with options that its strategy does not read."""
        earlier = {"hidden_weight": 0.0, "whole_weight": 1.0, "reorder_after": None}
        return cls(**_without_unread({**earlier, **data}))


def _without_unread(data: dict[str, Any]) -> dict[str, Any]:
    """Options without what their strategy does not read; an unknown strategy's as they are."""
    strategy = data.get("strategy", TrainOptions.strategy)
    unread: dict[str, Any] = {}
    if strategy in strategy_names():
        if strategy == "standard":
            unread["whole_first"] = 0.0
        if strategy not in BUDGETED:
            unread["k"] = K
        if data.get("teacher") is None and not get_strategy(strategy).distil:
            unread["temperature"] = TEMPERATURE
    return {**data, **unread}
