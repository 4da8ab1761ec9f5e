"""What each method does by itself, on cases that can be worked by hand; and the hypervolume."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas.errors import UsageError
from hwnas.search import evolution
from hwnas.search.archive import Archive, everything, layers_of, unit_scaled
from hwnas.search.bayesian import _spread
from hwnas.search.encodings import features, mutants, neighbour, neighbours
from hwnas.search.evolution import RegularizedEvolution, oldest_beaten, priorities
from hwnas.search.hypervolume import hypervolume
from hwnas.search.nsga2 import POPULATION
from hwnas.search.pareto import non_dominated
from hwnas.search.searcher import get_searcher
from hwnas.spaces import Architecture, Dimensions, Space, get_space, space_names

DIMENSIONS = Dimensions(layers=4, heads=4, units=16, head_size=2, hidden_size=8)


def space(name: str = "small") -> Space:
    return get_space(name, DIMENSIONS)


def values(arch: Architecture) -> tuple[float, float]:
    heads, units = sum(arch.head_counts), sum(arch.unit_counts)
    return 1.0 / (1 + heads), 3.0 * heads + units


def test_hypervolume_by_hand() -> None:
    # steps of 1 x 3, 2 x 2 and 3 x 1 under (4, 4), less what they share: 3 + 2 + 1
    stairs = [(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)]
    assert hypervolume(stairs, (4.0, 4.0)) == 6.0
    assert hypervolume([*stairs, (3.0, 3.0), (2.0, 2.0), (5.0, 0.0), (float("nan"), 0.0)], (4.0, 4.0)) == 6.0
    # boxes of 2 x 2 x 1 and 1 x 1 x 3 that share 1 x 1 x 1
    assert hypervolume([(0.0, 0.0, 2.0), (1.0, 1.0, 0.0)], (2.0, 2.0, 3.0)) == 6.0
    assert hypervolume([(1.0,), (0.5,)], (2.0,)) == 1.5
    assert hypervolume([], (4.0, 4.0)) == 0.0
    assert hypervolume([(4.0, 1.0), (5.0, 5.0)], (4.0, 4.0)) == 0.0


def test_hypervolume_of_what_does_not_fit() -> None:
    with pytest.raises(UsageError, match=r"shape \(1, 3\) with a reference of 2"):
        hypervolume([(1.0, 1.0, 1.0)], (2.0, 2.0))
    with pytest.raises(UsageError, match="finite"):
        hypervolume([(1.0, 1.0)], (2.0, float("inf")))


def test_scaling_is_the_same_in_every_unit() -> None:
    points = np.random.default_rng(0).random((50, 2)) * (1.0, 40.0) + (0.1, 7.0)
    for factor in (1e-3, 1e3, 1e9, 0.3):
        np.testing.assert_array_equal(unit_scaled(points * factor), unit_scaled(points))
    assert unit_scaled(np.array([[1.0, 5.0], [3.0, 5.0], [2.0, 5.0]])).tolist() == [[0.0, 0.0], [1.0, 0.0], [0.5, 0.0]]


def test_the_oldest_beaten_member_dies() -> None:
    front = [(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)]
    assert oldest_beaten([*front, (2.5, 2.5), (4.0, 4.0)]) == 3, "the older one of the two that are beaten"
    assert oldest_beaten([(1.5, 3.5), *front]) == 0
    assert oldest_beaten([*front, (2.0, 4.0)]) == 3, "the newest, where it alone is beaten"
    assert oldest_beaten(front) == 0, "the oldest, where none is"


def test_regularized_evolution_keeps_its_front(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four members; the first results are a front that later ones do not reach, until one beats all of it."""
    monkeypatch.setattr(evolution, "POPULATION", 4)
    archive = Archive(space(), objectives=2, seed=0)
    strategy = RegularizedEvolution(archive, seed=0)
    population = strategy._evolution.population

    def tell(number: int, *result: float) -> list[list[float]]:
        archive.results[number] = result
        strategy.learn(number)
        return sorted(member.results for member in population)

    archive.asked.extend(list(everything(space()))[:9])
    for number, result in enumerate([(1.0, 3.0), (3.0, 1.0), (9.0, 9.0), (8.0, 8.0)]):
        tell(number, *result)
    front = [[1.0, 3.0], [3.0, 1.0]]
    assert tell(4, 7.0, 7.0) == [*front, [7.0, 7.0], [8.0, 8.0]]
    assert tell(5, 6.0, 6.0) == [*front, [6.0, 6.0], [7.0, 7.0]]
    assert tell(6, 2.0, 2.0) == [[1.0, 3.0], [2.0, 2.0], [3.0, 1.0], [6.0, 6.0]]
    assert tell(7, 0.5, 4.0) == [[0.5, 4.0], [1.0, 3.0], [2.0, 2.0], [3.0, 1.0]]
    assert tell(8, 5.0, 5.0) == [[0.5, 4.0], [1.0, 3.0], [2.0, 2.0], [3.0, 1.0]], "beaten by a full front: not taken"
    assert tell(8, 4.0, 0.5) == [[0.5, 4.0], [2.0, 2.0], [3.0, 1.0], [4.0, 0.5]], "all unbeaten: the oldest dies"


POINTS = np.array([(5.0, 5.0), (0.0, 4.0), (2.0, 3.0), (4.0, 0.0), (1.0, 1.0), (1.0, 1.0)])


def test_layers_and_places_by_hand() -> None:
    """The front is (0, 4), (4, 0), (1, 1) twice; (2, 3) is behind it, (5, 5) behind all."""
    assert layers_of(POINTS).tolist() == [2, 0, 1, 0, 0, 0]
    # in the front the lowest first objective, then the one farthest from it, then the others
    assert priorities(POINTS).tolist() == [5, 0, 4, 1, 2, 3]
    assert priorities(POINTS * (1e9, 1e-3)).tolist() == [5, 0, 4, 1, 2, 3]
    assert priorities(np.array([[3.0], [1.0], [2.0]])).tolist() == [2, 0, 1]


def test_syne_tune_still_gives_places_in_the_wrong_order() -> None:
    """Why `priorities` is here: of these three, each dominating the next, the first one listed is the worst."""
    from syne_tune.optimizer.schedulers.multiobjective.multiobjective_priority import NonDominatedPriority

    chain = np.array([(3.0, 3.0), (1.0, 1.0), (2.0, 2.0)])
    assert priorities(chain).tolist() == [2, 0, 1]
    assert NonDominatedPriority()(chain).tolist() == [1, 2, 0]


def test_local_search_changes_one_entry_of_a_member_of_the_pareto_set() -> None:
    searcher = get_searcher("local_search", space(), objectives=2, evaluations=60, seed=3)
    vectors: list[tuple[int, ...]] = []
    told: list[tuple[float, float]] = []
    for number in range(60):
        trial = searcher.ask()
        assert trial is not None
        vector = space().encode(trial.architecture)
        if number >= 3:
            front = [vectors[index] for index in np.flatnonzero(non_dominated(told))]
            changed = [sum(a != b for a, b in zip(vector, member, strict=True)) for member in front]
            assert min(changed) == 1
        vectors.append(vector)
        told.append(values(trial.architecture))
        searcher.tell(trial.number, told[-1])


def test_local_search_without_results_looks_around_the_start_designs() -> None:
    searcher = get_searcher("local_search", space("medium"), objectives=2, evaluations=10, seed=3)
    vectors = [space("medium").encode(trial.architecture) for _ in range(10) if (trial := searcher.ask())]
    for vector in vectors[3:]:
        assert min(sum(a != b for a, b in zip(vector, start, strict=True)) for start in vectors[:3]) == 1


def test_nsga2_does_not_mind_the_order_within_a_generation() -> None:
    runs = []
    for backwards in (False, True):
        searcher = get_searcher("nsga2", space("medium"), objectives=2, evaluations=60, seed=0)
        found = []
        for _ in range(6):
            trials = [trial for _ in range(POPULATION) if (trial := searcher.ask())]
            found += [trial.architecture for trial in trials]
            for trial in reversed(trials) if backwards else trials:
                searcher.tell(trial.number, values(trial.architecture))
        runs.append(found)
    assert runs[0] == runs[1]


def test_what_is_left_of_a_space_is_found() -> None:
    archive = Archive(space("layer"), 2, 0)
    members = list(dict.fromkeys(everything(space("layer"))))
    assert len(members) == archive.size == 15
    for arch in members[:-1]:
        archive.add(arch)
    assert archive.fresh() == members[-1]
    archive.add(members[-1])
    assert archive.exhausted
    assert archive.fresh() is None


@pytest.mark.parametrize("where", space_names())
def test_models_see_numbers_from_0_to_1_and_mutants_reach_both_ends(where: str) -> None:
    there, bounds = space(where), np.array(list(space(where).bounds.values()))
    of_largest, of_middle = (
        features(there)(np.array([there.encode(arch)])) for arch in (there.largest(), there.middle())
    )
    assert of_largest.tolist() == [[1.0] * of_middle.shape[1]]
    seen = mutants(there)(np.array([there.encode(there.middle())]), 1500, np.random.default_rng(0))
    assert all(there.decode(vector) in there for vector in seen.tolist())
    np.testing.assert_array_equal(seen.min(axis=0), bounds[:, 0])
    np.testing.assert_array_equal(seen.max(axis=0), bounds[:, 1])


def test_all_neighbours_are_given_where_they_are_few() -> None:
    """SMALL with 1 to 3 layers, 1 to 2 heads and 1 to 4 units: each entry takes its other values, and its own."""
    there = get_space("small", Dimensions(layers=3, heads=2, units=4, head_size=2, hidden_size=4))
    rng, start = np.random.default_rng(0), np.array([[3, 2, 4], [1, 1, 1]])
    few = neighbours(there)(start, 18, 5, rng)
    of_first = [
        *([layers, 2, 4] for layers in (1, 2, 3)),
        [3, 1, 4],
        [3, 2, 4],
        *([3, 2, units] for units in range(1, 5)),
    ]
    assert few[:9].tolist() == of_first
    assert len(few) == 18
    drawn = neighbours(there)(start, 17, 400, rng)
    assert start.tolist() == [[3, 2, 4], [1, 1, 1]], "what it is given stays"
    assert (np.minimum(*((drawn != one).sum(axis=1) for one in start)) == 1).all()
    others = {tuple(row) for row in few.tolist()} - {(3, 2, 4), (1, 1, 1)}
    assert {tuple(row) for row in drawn.tolist()} == others, "every one but those that it is given"


@pytest.mark.parametrize("where", space_names())
def test_neighbours_differ_in_one_dimension_and_reach_every_value_of_it(where: str) -> None:
    there, rng = space(where), np.random.default_rng(0)
    start = np.array(there.encode(there.middle()))
    drawn = np.array([neighbour(there)(start, rng) for _ in range(1200)])
    if where == "large":  # 4 layers of 4 heads, and then of 16 units: the number kept in each is a dimension
        heads, units = np.split(drawn, [16], axis=1)
        drawn = np.hstack([heads.reshape(1200, 4, 4).sum(axis=2), units.reshape(1200, 4, 16).sum(axis=2)])
        start, high = np.array([2] * 4 + [8] * 4), np.array([4] * 4 + [16] * 4)
        assert len({tuple(row) for row in heads.tolist()}) > 20, "which heads are kept is left to chance"
        bounds = np.stack([np.zeros(8), high], axis=1)
    else:
        bounds = np.array(list(there.bounds.values()))
    assert ((drawn != start).sum(axis=1) == 1).all()
    np.testing.assert_array_equal(drawn.min(axis=0), bounds[:, 0])
    np.testing.assert_array_equal(drawn.max(axis=0), bounds[:, 1])


def test_evolution_in_large_changes_how_much_a_layer_keeps() -> None:
    there = space("large")
    searcher = get_searcher("regularized_evolution", there, objectives=2, evaluations=60, seed=0)
    counts: list[tuple[int, ...]] = []
    for number in range(60):
        trial = searcher.ask()
        assert trial is not None
        arch = trial.architecture
        new = (*arch.head_counts, *arch.unit_counts)
        if number >= evolution.POPULATION:  # one of 8 numbers differs from those of one before
            assert min(sum(a != b for a, b in zip(new, old, strict=True)) for old in counts) <= 1
        counts.append(new)
        searcher.tell(trial.number, values(arch))
    assert len(set(counts)) > 50


def test_a_subset_for_the_model_has_the_front() -> None:
    points = np.random.default_rng(0).random((300, 2))
    chosen = _spread(points, 60)
    assert chosen == sorted(set(chosen))
    assert 50 < len(chosen) <= 60
    assert set(np.flatnonzero(non_dominated(points)).tolist()) <= set(chosen)
    assert _spread(points[:60], 60) == list(range(60))


def test_exhaustive_search_goes_through_a_small_space_and_refuses_a_large_one() -> None:
    searcher = get_searcher("exhaustive", space(), objectives=2, evaluations=256, seed=0)
    found = [trial.architecture for _ in range(space().size) if (trial := searcher.ask())]
    assert set(found) == set(everything(space()))
    assert len(found) == space().size == 256
    assert searcher.ask() is None
    with pytest.raises(UsageError, match="holds 256 networks, more than the 255 evaluations"):
        get_searcher("exhaustive", space(), objectives=2, evaluations=255, seed=0)
