"""Bayesian optimisation of several objectives with Gaussian processes: EHVI and qLogNEHVI, as BoTorch defines them.

`ehvi`: expected hypervolume improvement in closed form (Emmerich et al. 2006; Yang et al. 2019; in Klein et al. 2024).
`qlognehvi`: the same over a front that is uncertain itself, sampled (Daulton et al. 2021; Ament et al. 2023, without
the logarithm, which serves gradients).

Syne Tune 0.16 has an EHVI that fails on BoTorch 0.18 (single against double precision) and, where it runs, puts a
reference point of fixed value on the wrong side. So model and acquisition functions are BoTorch's, behind Syne Tune's
searcher interface: computed by `hwnas.search.gaussian`, which tests hold against BoTorch, and the improvements over
more than three objectives by BoTorch itself. What is different from a textbook run keeps it cheap:

- The acquisition function is not climbed by gradients but evaluated on candidates, which are architectures: those that
  differ from one of the front in one entry, as in local search. So nothing has to be rounded, and nothing is proposed
  twice. On five real exhaustive fronts that was worth 0.9 points of their hypervolume against random ones and mutants
  of the front, among which a model that knows little of far regions goes there (docs/search.md). In LARGE, where one
  entry is one of thousands of heads and units, they are random ones and mutants in many entries.
- Hyperparameters are fitted anew when there are 1.5 times as many results, on `FIT_POINTS` of them.
- The more results there are, the more proposals are made at once, 1 to 12. EHVI takes the prediction of those before in
  a batch for their result (kriging believer, Ginsbourger et al. 2010), and so of trials that nothing was told of yet;
  qLogNEHVI samples them, and looks at the candidates that EHVI likes best.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from hwnas.errors import UsageError
from hwnas.search.archive import Archive, Strategy, Values, everything, layers_of
from hwnas.search.encodings import Vectors, features, mutants, neighbours, vector_type
from hwnas.search.gaussian import Predictions, expected_improvements, fit, noisy_choices
from hwnas.spaces import Architecture
from hwnas.spaces.blocks import blocks

FIRST = 10
"""Results before the first model; until then random architectures are proposed."""

FIT_POINTS = 96
"""Most results that hyperparameters are fitted on."""

MODEL_POINTS = 500
"""Most results that a model predicts from."""

_CANDIDATES = 256
_MOST_CANDIDATES = 384
_MUTANTS = 96
_REFRESHED = 8
_SCREENED = 32
_GROWTH = 1.5
_FIT_STEPS = 25
_SAMPLES = 16
_MOST_PENDING = 64


class _Candidate(NamedTuple):
    """An encoding that may be proposed, its bytes, by which it is known, and what a model sees of it."""

    vector: Vectors
    key: bytes
    inputs: Values


class BayesianOptimisation:
    """Proposes what promises most hypervolume by two or more Gaussian processes, one an objective.

    Objectives are scaled to [0, 1], then to unit variance. The reference point is a tenth of the front's range beyond
    its worst values. Inputs are the entries of the encoding, scaled to [0, 1]; for LARGE, which has thousands, the
    shares of heads and units kept in each layer, so that which ones are kept is left to chance.

    Args:
        name: `ehvi` or `qlognehvi`.
        archive: What was proposed and told.
        seed: Seed of candidates and Monte Carlo samples.

    Raises:
        UsageError: Fewer than two objectives.
    """

    def __init__(self, name: str, archive: Archive, seed: int) -> None:
        if archive.objectives < 2:
            raise UsageError(f"searcher {name}: {archive.objectives} objective, expected 2 or more.")
        self._acquire = self._ehvi if name == "ehvi" else self._qlognehvi
        self._archive, self._seed = archive, seed
        self._features, self._neighbours = features(archive.space), neighbours(archive.space)
        self._mutants = mutants(archive.space) if blocks(archive.space) else None
        self._type = vector_type(archive.space)
        self._rng = np.random.default_rng([seed, 1])
        self._asked: list[_Candidate] = []
        self._seen: set[bytes] = set()
        self._all: list[_Candidate] = []
        self._random: deque[_Candidate] = deque(maxlen=_CANDIDATES - _MUTANTS)
        self._queue: deque[Architecture] = deque()
        self._fitted: dict[str, Any] = {}
        self._fitted_on = 0

    def propose(self) -> Architecture | None:
        """See `Strategy.propose`."""
        return self._next() or (self._next() if self._fill() else None)

    def learn(self, number: int) -> None:
        """See `Strategy.learn`; results are read off the archive, in the order of their numbers."""

    def _next(self) -> Architecture | None:
        """The first one waiting that was not proposed meanwhile."""
        while self._queue:
            arch = self._queue.popleft()
            if arch not in self._archive:
                return arch
        return None

    def _fill(self) -> bool:
        """Let a model choose the next ones; whether it could."""
        archive, told = self._archive, self._archive.told()
        if len(told) < FIRST:
            return False
        new = self._entered([self._vector(arch) for arch in archive.asked[len(self._asked) :]])
        self._asked.extend(new)
        self._seen.update(candidate.key for candidate in new)
        candidates = self._candidates()
        if not candidates:
            return False
        with _one_thread():
            chosen = self._chosen(told, np.array([candidate.inputs for candidate in candidates]))
        self._seen.update(candidates[index].key for index in chosen)  # some decode to what was proposed
        self._queue.extend(archive.space.decode(candidates[index].vector.tolist()) for index in chosen)
        return bool(chosen)

    def _vector(self, arch: Architecture) -> Vectors:
        return np.array(self._archive.space.encode(arch), dtype=self._type)

    def _entered(self, vectors: Sequence[Vectors]) -> list[_Candidate]:
        """Encodings with what a model sees of them."""
        if not len(vectors):
            return []
        inputs = self._features(np.stack(vectors))
        return [_Candidate(vector, vector.tobytes(), seen) for vector, seen in zip(vectors, inputs, strict=True)]

    def _candidates(self) -> list[_Candidate]:
        """Encodings not proposed before, different ones: all of a small space, else what is near the front."""
        archive, space = self._archive, self._archive.space
        if archive.size <= _CANDIDATES:
            self._all = self._all or self._entered([self._vector(arch) for arch in everything(space)])
            drawn = self._all
        else:
            front = np.stack([self._asked[number].vector for number in archive.front_numbers()])
            if self._mutants is None:
                drawn = self._entered(list(self._neighbours(front, _MOST_CANDIDATES, _CANDIDATES, self._rng)))
            else:
                count = _REFRESHED if self._random else self._random.maxlen or 0
                new = [space.sample_vector(self._rng).astype(self._type) for _ in range(count)]
                self._random.extend(self._entered(new))
                drawn = [*self._random, *self._entered(list(self._mutants(front, _MUTANTS, self._rng)))]
        different = {candidate.key: candidate for candidate in drawn}
        return [candidate for key, candidate in different.items() if key not in self._seen]

    def _chosen(self, told: list[int], candidates: Values) -> list[int]:
        """Indices of the candidates to evaluate next, best first; none if the models cannot be computed."""
        import torch

        scaled = self._archive.scaled(told)
        kept = _spread(scaled, MODEL_POINTS)
        spread = scaled.std(axis=0)
        outcomes = (scaled.mean(axis=0) - scaled) / np.where(spread > 0, spread, 1.0)  # BoTorch maximises
        x = torch.from_numpy(np.array([self._asked[told[index]].inputs for index in kept]))
        y = torch.from_numpy(outcomes[kept])
        pending = [self._asked[number].inputs for number in self._archive.pending()[-_MOST_PENDING:]]
        count = min(_batch(len(told)), len(candidates))
        layers = layers_of(scaled[kept])
        try:
            self._fit(x, y, _spread(scaled[kept], FIT_POINTS))
            front = y[torch.from_numpy(layers == 0)]
            span = front.amax(dim=0) - front.amin(dim=0)
            reference = front.amin(dim=0) - 0.1 * torch.where(span > 0, span, 1.0)
            waiting = torch.from_numpy(np.array(pending).reshape(-1, x.shape[1]))
            with torch.no_grad():
                return self._acquire(x, y, layers, reference, waiting, torch.from_numpy(candidates), count)
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
            # nearly equal inputs can make a covariance singular
            return []

    def _fit(self, x: Any, y: Any, chosen: list[int]) -> None:
        """Fit hyperparameters if it is time to, from those of the last time on."""
        if not self._fitted or len(y) >= _GROWTH * self._fitted_on:
            self._fitted = fit(x[chosen], y[chosen], self._fitted or None, steps=_FIT_STEPS)
            self._fitted_on = len(y)

    def _ehvi(
        self, x: Any, y: Any, layers: Any, reference: Any, pending: Any, candidates: Any, count: int
    ) -> list[int]:
        import torch

        known, results = self._believed(x, y, layers, pending, candidates)
        gain = _gains(known.mean, known.variance, results, reference)[: len(candidates)]
        liked = gain.topk(min(2 * _SCREENED, len(candidates))).indices  # the others do not gain by what is believed
        chosen = [int(liked[0])]
        while len(chosen) < count:
            known.believe(chosen[-1])
            results = torch.cat([results, known.mean[chosen[-1]][None]])
            gain = _gains(known.mean[liked], known.variance[liked], results, reference)
            gain[torch.isin(liked, torch.tensor(chosen))] = -torch.inf
            chosen.append(int(liked[gain.argmax()]))
        return chosen

    def _qlognehvi(
        self, x: Any, y: Any, layers: Any, reference: Any, pending: Any, candidates: Any, count: int
    ) -> list[int]:
        import torch

        kept = x[torch.from_numpy(layers < 2)]
        known = Predictions(x, y, torch.cat([candidates, pending, kept]), **self._fitted)
        gain = _gains(known.mean, known.variance, y[torch.from_numpy(layers == 0)], reference)[: len(candidates)]
        liked = gain.topk(min(_SCREENED, len(candidates))).indices
        some = torch.cat([liked, torch.arange(len(candidates), len(known.mean))])
        mean, covariance = known.mean[some], known.covariance(some, some)
        baseline = list(range(len(liked), len(some)))
        generator = torch.Generator().manual_seed(self._seed)
        shape = _SAMPLES, y.shape[1], len(x) + _MOST_PENDING + 13
        normals = torch.randn(shape, dtype=torch.float64, generator=generator)
        chosen = noisy_choices(mean, covariance, baseline, list(range(len(liked))), reference, normals, count)
        return [int(liked[index]) for index in chosen]

    def _believed(self, x: Any, y: Any, layers: Any, pending: Any, candidates: Any) -> tuple[Predictions, Any]:
        """Predictions of candidates and then of pending trials, whose means are taken for results; the front."""
        import torch

        known = Predictions(x, y, torch.cat([candidates, pending]), **self._fitted)
        for index in range(len(candidates), len(known.mean)):
            known.believe(index)
        return known, torch.cat([y[torch.from_numpy(layers == 0)], known.mean[len(candidates) :]])


class _Known:
    """A model whose predictions at the candidates are at hand; all that an analytic acquisition function asks for.

    Args:
        mean, variance: (candidates, 1, objectives).
    """

    def __init__(self, mean: Any, variance: Any) -> None:
        self.mean, self.variance = mean, variance

    def posterior(self, x: Any, **options: Any) -> _Known:
        """Itself: the predictions at the candidates."""
        return self


def _gains(mean: Any, variance: Any, results: Any, reference: Any) -> Any:
    """Expected hypervolume improvements of (points, objectives) predictions over results, maximised; (points,)."""
    if mean.shape[1] <= 3:
        return expected_improvements(mean, variance, results, reference)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # BoTorch's imports use what PyTorch calls deprecated
        from botorch.acquisition.multi_objective.analytic import ExpectedHypervolumeImprovement
        from botorch.utils.multi_objective.box_decompositions.non_dominated import FastNondominatedPartitioning

        partitioning = FastNondominatedPartitioning(ref_point=reference, Y=results)
        known = _Known(mean.unsqueeze(1), variance.unsqueeze(1))
        return ExpectedHypervolumeImprovement(known, reference.tolist(), partitioning)(mean.unsqueeze(1))


def _batch(results: int) -> int:
    """How many proposals one model makes."""
    return 1 if results < 60 else 2 if results < 120 else 5 if results < 200 else 12


def _spread(scaled: Values, most: int) -> list[int]:
    """Indices of at most so many points, rising: half of them the best layers, the others evenly over the rest."""
    count = len(scaled)
    if count <= most:
        return list(range(count))
    order = np.argsort(layers_of(scaled), kind="stable")
    rest = np.sort(order[most // 2 :])
    others = rest[np.linspace(0, len(rest) - 1, most - most // 2).round().astype(np.int64)]
    return sorted({*order[: most // 2].tolist(), *others.tolist()})


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread of PyTorch, however many there are outside: the same numbers every time."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def make(name: str, archive: Archive, evaluations: int, seed: int) -> Strategy:
    """The strategy."""
    return BayesianOptimisation(name, archive, seed)
