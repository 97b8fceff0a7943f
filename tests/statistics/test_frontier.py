"""Frontiers against brute force, and the areas under them: nobody is punished, nobody is given anything for nothing."""

import math
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from escalade.errors import InputError
from escalade.statistics.frontier import (
    Frontier,
    Point,
    aiq,
    cost_at_accuracy,
    frontier_gain,
    hull,
    oracle,
    staircase,
    step_frontier,
    unbeaten,
)


def some_points(rng: np.random.Generator, count: int) -> list[Point]:
    """On a coarse grid, so that ties of cost, of accuracy and of both are there."""
    grid = rng.integers(1, 9, (count, 2))
    return [Point(float(c), float(a) / 10, f"p{i}") for i, (c, a) in enumerate(grid)]


def test_the_step_frontier_has_the_points_that_none_beats() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        points = some_points(rng, int(rng.integers(1, 12)))
        found = step_frontier(points).points
        for p in points:
            beaten = any(q.cost <= p.cost and q.accuracy >= p.accuracy and q[:2] != p[:2] for q in points)
            first = all(q.name >= p.name for q in points if q[:2] == p[:2])
            assert (p in found) == (not beaten and first)
        shuffled = [points[i] for i in rng.permutation(len(points))]
        assert step_frontier(shuffled).points == found


def test_the_hull_is_the_best_mix_of_any_two_points() -> None:
    rng = np.random.default_rng(1)
    for _ in range(100):
        points = some_points(rng, int(rng.integers(1, 10)))
        curve = hull(points)
        for budget in rng.uniform(min(p.cost for p in points), 10, 10):
            mixes = [p.accuracy for p in points if p.cost <= budget]
            for p, q in product(points, points):
                if p.cost <= budget < q.cost:
                    share = (budget - p.cost) / (q.cost - p.cost)
                    mixes.append((1 - share) * p.accuracy + share * q.accuracy)
            assert curve.accuracy_at([budget])[0] == pytest.approx(max(mixes), abs=1e-12)


def test_v11_held_out_points_are_taken_as_they_are_and_the_best_of_equals_looks_better_than_it_is() -> None:
    rng = np.random.default_rng(2)
    seen = [
        Point(cost, accuracy) for cost, accuracy in zip(range(1, 41), rng.binomial(100, 0.7, 40) / 100, strict=True)
    ]
    honest = staircase(seen).mean_accuracy(1, 40, log=False)
    assert honest == pytest.approx(0.7, abs=0.02)
    assert step_frontier(seen).mean_accuracy(1, 40, log=False) > 0.74
    assert staircase([Point(1, 0.8), Point(2, 0.6)]).accuracy_at([2]).tolist() == [0.6]


def test_areas_are_those_of_quadrature() -> None:
    rng = np.random.default_rng(3)
    for _ in range(30):
        points = some_points(rng, 8)
        low = min(p.cost for p in points)
        for curve, log in product((staircase(points), step_frontier(points), hull(points)), (False, True)):
            high = low + float(rng.uniform(0.5, 12))
            edges = np.geomspace(low, high, 200_001) if log else np.linspace(low, high, 200_001)
            middles = np.sqrt(edges[1:] * edges[:-1]) if log else (edges[1:] + edges[:-1]) / 2
            expected = curve.accuracy_at(middles).mean()
            assert curve.mean_accuracy(low, high, log=log) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("log", [False, True])
def test_v10_a_router_without_a_point_below_its_cheapest_is_not_punished(log: bool) -> None:
    singles = [Point(1, 0.5), Point(10, 0.9)]
    zero = hull(singles)
    router = hull([Point(4, 0.85), Point(10, 0.9)])
    with_singles = hull([Point(4, 0.85), *singles])
    area = router.mean_accuracy(1, 10, log=log, below=zero)
    counted_as_nothing = router.mean_accuracy(4, 10, log=log) * (math.log(2.5) / math.log(10) if log else 6 / 9)
    extended_for_nothing = hull([Point(1, 0.85), Point(10, 0.9)]).mean_accuracy(1, 10, log=log)
    assert counted_as_nothing < zero.mean_accuracy(1, 10, log=log) < area
    assert area < with_singles.mean_accuracy(1, 10, log=log) < extended_for_nothing
    # Only what lies above the router's cheapest makes the difference.
    assert math.isnan(router.mean_accuracy(1, 10, log=log))
    assert math.isnan(router.mean_accuracy(0.5, 10, log=log, below=zero))
    beyond = hull([Point(20, 1.0)])
    assert beyond.mean_accuracy(1, 10, log=log, below=zero) == zero.mean_accuracy(1, 10, log=log)


def test_v10_the_single_models_as_a_router_gain_nothing_and_a_worse_router_loses() -> None:
    rng = np.random.default_rng(4)
    scores = rng.beta([0.5, 0.7, 0.9], [0.5, 0.3, 0.1], (200, 3))
    costs = np.array([1, 3, 10]) * rng.lognormal(0, 0.5, (200, 1))
    singles = [Point(c, a) for c, a in zip(costs.mean(axis=0), scores.mean(axis=0), strict=True)]
    best = oracle(scores, costs)
    assert frontier_gain(hull(singles), singles, best) == 0
    assert frontier_gain(hull(singles[1:]), singles, best) == pytest.approx(0, abs=1e-12)
    assert frontier_gain(best, singles, best) == 1
    assert frontier_gain(step_frontier(singles), singles, best) < 0
    worse = [Point(p.cost, p.accuracy - 0.05) for p in singles]
    assert frontier_gain(hull(worse), singles, best) < 0
    assert math.isnan(frontier_gain(hull(singles), singles, hull(singles)))
    assert aiq(singles, singles[0].cost, singles[2].cost) == pytest.approx(
        hull(singles).mean_accuracy(singles[0].cost, singles[2].cost, log=False)
    )


def test_the_oracle_is_the_best_choice_of_a_model_for_each_problem() -> None:
    rng = np.random.default_rng(5)
    for _ in range(40):
        n, m = 4, 3
        scores = rng.integers(0, 5, (n, m)) / 4
        costs = rng.integers(1, 6, (n, m)).astype(float)
        choices = [Point(costs[range(n), at].mean(), scores[range(n), at].mean()) for at in product(range(m), repeat=n)]
        # The hull of all choices is what random mixing of whole policies can reach: the same frontier.
        curve, best = hull(choices), oracle(scores, costs)
        budgets = rng.uniform(curve.costs[0], 6, 20)
        assert best.accuracy_at(budgets) == pytest.approx(curve.accuracy_at(budgets), abs=1e-12)
        assert best.costs[0] == pytest.approx(curve.costs[0])
        assert (best.costs[-1], best.accuracies[-1]) == pytest.approx((curve.costs[-1], curve.accuracies[-1]))


def test_the_oracle_over_right_and_wrong_ends_at_the_cheapest_model_that_is_right_else_the_cheapest() -> None:
    rng = np.random.default_rng(6)
    right = (rng.random((100, 3)) < [0.4, 0.6, 0.8]).astype(float)
    costs = np.tile([1.0, 3.0, 10.0], (100, 1))
    chosen = np.where(right.any(axis=1), right.argmax(axis=1), 0)
    best = oracle(right, costs)
    assert best.costs[-1] == pytest.approx(costs[range(100), chosen].mean())
    assert best.accuracies[-1] == pytest.approx(right.any(axis=1).mean())
    assert (best.costs[0], best.accuracies[0]) == (1, right[:, 0].mean())


def test_ten_thousand_points_and_five_thousand_problems_are_no_burden() -> None:
    rng = np.random.default_rng(7)
    points = [Point(c, a, str(i)) for i, (c, a) in enumerate(rng.uniform(0.1, 1, (10_000, 2)))]
    assert len(step_frontier(points).costs) >= len(hull(points).costs) > 1
    best = oracle(rng.random((5000, 4)), rng.uniform(1, 9, (5000, 4)))
    assert np.all(np.diff(best.costs) > 0)
    slopes = np.diff(best.accuracies) / np.diff(best.costs)
    assert np.all(slopes > 0)
    assert np.all(np.diff(slopes) < 1e-6)


FRONTIER = hull([Point(1, 0.5), Point(2, 0.6)])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: step_frontier([]), "`cost of the points` is empty"),
        (lambda: hull([Point(-1, 0.5)]), "`cost of the points` is -1 in row 0"),
        (lambda: staircase([Point(1, 50)]), "`accuracy of the points` is 50 in row 0: it must be a number from 0 to 1"),
        (lambda: step_frontier([Point(1, 0.5), Point(math.nan, 0.5)]), "`cost of the points` is nan in row 1"),
        (lambda: oracle([[1, 0]], [[1]]), r"`correct` has the shape \(1, 2\) and `costs` \(1, 1\)"),
        (lambda: oracle([1, 0], [1, 2]), r"`correct` has the shape \(2,\): give problems by models"),
        (lambda: oracle([[1, 0]], [[1, math.nan]]), "`costs` is nan in row 1"),
        (lambda: FRONTIER.mean_accuracy(2, 2, log=False), "costs from 2 to 2 are no range"),
        (lambda: FRONTIER.mean_accuracy(0, 2, log=True), "a cost of 0 has no logarithm"),
        (lambda: FRONTIER.accuracy_at([math.nan]), "`budgets` is nan in row 0"),
        (lambda: frontier_gain(FRONTIER, [Point(1, 0.5)], FRONTIER), "costs from 1 to 1 are no range"),
    ],
)
def test_what_is_no_frontier_is_refused(call: Callable[[], Frontier | float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


def test_v9_the_cost_of_an_accuracy_is_the_first_crossing_of_a_curve_that_falls_and_rises() -> None:
    accuracies, calls = [0.60, 0.70, 0.68, 0.75, 0.72, 0.80], [0, 20, 40, 60, 80, 100]
    curve = [Point(cost, accuracy) for cost, accuracy in zip(calls, accuracies, strict=True)]
    assert cost_at_accuracy(curve, 0.70) == 20
    assert np.interp(0.70, accuracies, calls) == pytest.approx(45.7, abs=0.1)  # what it must not be
    assert cost_at_accuracy(curve[::-1], 0.70) == 20
    assert cost_at_accuracy(curve, 0.71) == 60
    assert cost_at_accuracy(curve, 0.81) is None
    assert cost_at_accuracy(curve, 0.1) == 0
    with pytest.raises(InputError, match="`cost of the points` is empty"):
        cost_at_accuracy([], 0.5)


def test_an_accuracy_that_lacks_only_rounding_is_reached() -> None:
    assert cost_at_accuracy([Point(1, 0.1 + 0.2)], 0.3) == 1
    assert cost_at_accuracy([Point(1, 0.3)], 0.1 + 0.2) == 1


@given(st.lists(st.tuples(st.sampled_from([0.5, 1.0, 2.0, 3.5]), st.sampled_from([0.1, 0.2, 0.5, 0.9])), max_size=12))
def test_nothing_that_is_unbeaten_is_dominated_and_all_else_is(points: list[tuple[float, float]]) -> None:
    found = unbeaten([Point(*point) for point in points])
    for point, on in zip(points, found, strict=True):
        beaten = [other for other in points if other != point and other[0] <= point[0] and other[1] >= point[1]]
        assert on == (not beaten)
