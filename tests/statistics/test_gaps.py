"""Costs at an accuracy, random mixes and recovered gaps."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from escalade.errors import InputError
from escalade.statistics.frontier import Point
from escalade.statistics.gaps import (
    average_gap_recovered,
    cost_at_accuracy,
    cost_share_at_gap,
    gap_recovered,
    random_mix,
)

WEAK, STRONG = Point(1, 0.5), Point(11, 0.9)


def test_v9_the_cost_of_an_accuracy_is_the_first_crossing_of_a_curve_that_falls_and_rises() -> None:
    accuracies, calls = [0.60, 0.70, 0.68, 0.75, 0.72, 0.80], [0, 20, 40, 60, 80, 100]
    curve = [Point(cost, accuracy) for cost, accuracy in zip(calls, accuracies, strict=True)]
    assert cost_at_accuracy(curve, 0.70) == 20
    assert np.interp(0.70, accuracies, calls) == pytest.approx(45.7, abs=0.1)  # what it must not be
    assert cost_at_accuracy(curve[::-1], 0.70) == 20
    assert cost_at_accuracy(curve, 0.71) == 60
    assert cost_at_accuracy(curve, 0.81) is None
    assert cost_at_accuracy(curve, 0.1) == 0


def test_v9_the_cost_to_recover_a_gap_is_the_first_crossing_too() -> None:
    policy = [Point(4, 0.8), Point(6, 0.74), Point(8, 0.86)]
    assert cost_share_at_gap(policy, WEAK, STRONG, 0.75) == pytest.approx(0.3)
    assert cost_share_at_gap(policy, WEAK, STRONG, 0.9) == pytest.approx(0.7)
    assert cost_share_at_gap(policy, WEAK, STRONG, 1) == math.inf


def test_an_accuracy_that_lacks_only_rounding_is_reached() -> None:
    assert cost_at_accuracy([Point(1, 0.1 + 0.2)], 0.3) == 1
    assert cost_at_accuracy([Point(1, 0.3)], 0.1 + 0.2) == 1


def test_a_cascade_dearer_than_the_strong_model_is_a_loss_and_not_capped() -> None:
    assert cost_share_at_gap([Point(12, 0.9)], WEAK, STRONG, 1) == pytest.approx(1.1)


def test_a_random_mix_lies_on_the_line_and_recovers_half_of_the_gap_on_average() -> None:
    mixes = [random_mix(WEAK, STRONG, budget) for budget in np.linspace(1, 11, 21)]
    assert [mix.share for mix in mixes] == pytest.approx(np.linspace(0, 1, 21))
    assert [mix.accuracy for mix in mixes] == pytest.approx(np.linspace(0.5, 0.9, 21))
    points = [Point(mix.cost, mix.accuracy) for mix in mixes]
    assert average_gap_recovered(points, WEAK, STRONG) == pytest.approx(0.5)
    assert gap_recovered([p.accuracy for p in points], WEAK, STRONG) == pytest.approx(np.linspace(0, 1, 21))


def test_the_average_gap_is_over_the_costs_between_the_two_models_with_both_ends() -> None:
    assert average_gap_recovered([Point(6, 0.9)], WEAK, STRONG) == pytest.approx(0.75)
    assert average_gap_recovered([Point(12, 1.0), Point(0.5, 0.9)], WEAK, STRONG) == pytest.approx(0.5)
    # The share of cost, not of calls: paying both models for half of the problems is dearer than half the way.
    half_the_calls = average_gap_recovered([Point(6, 0.8)], WEAK, STRONG)
    with_the_weak_one_paid = average_gap_recovered([Point(6.5, 0.8)], WEAK, STRONG)
    assert with_the_weak_one_paid < half_the_calls


@pytest.mark.parametrize("strong", [Point(11, 0.5), Point(11, 0.4)])
def test_without_a_gap_nothing_is_recovered(strong: Point) -> None:
    assert math.isnan(gap_recovered([0.6], WEAK, strong)[0])
    assert math.isnan(average_gap_recovered([Point(2, 0.6)], WEAK, strong))
    assert math.isnan(cost_share_at_gap([Point(2, 0.6)], WEAK, strong, 0.5))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: random_mix(STRONG, WEAK, 5), "a mix of costs 11 and 1: give the cheaper route first"),
        (lambda: random_mix(WEAK, STRONG, 12), "budget 12 is not between the costs of the routes, 1 and 11"),
        (lambda: random_mix(WEAK, Point(2, 1.5), 1.5), "`accuracy of the points` is 1.5 in row 1"),
        (lambda: cost_at_accuracy([], 0.5), "`cost of the points` is empty"),
        (lambda: gap_recovered([math.nan], WEAK, STRONG), "`accuracies` is nan in row 0"),
        (lambda: average_gap_recovered([Point(math.inf, 0.5)], WEAK, STRONG), "`cost of the points` is inf in row 0"),
    ],
)
def test_what_is_no_route_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
