"""Bootstrap intervals: their coverage, their seed, and what they refuse."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from escalade.errors import InputError
from escalade.statistics.intervals import paired_difference
from escalade.statistics.resampling import bootstrap_difference, cost_ratio

pytest.importorskip("scipy.stats", reason="intervals need scipy: pip install 'escalade[evaluation]'")


def test_coverage_for_the_cost_of_a_cascade_with_long_tails() -> None:
    rng, n, held = np.random.default_rng(1), 200, []
    truth = (0.1 + 0.2 * 0.9) / 0.9
    for seed in range(300):
        length = np.exp(rng.normal(0, 0.8, n))
        escalated = rng.random(n) < 0.2
        _, (low, high) = cost_ratio(length * (0.1 + 0.9 * escalated), 0.9 * length, resamples=500, seed=seed)
        held.append(low <= truth <= high)
    assert np.mean(held) == pytest.approx(0.95, abs=0.015 + 0.025)


def test_a_ratio_and_its_inverse_have_inverse_intervals() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.exponential(1, 100), rng.exponential(2, 100)
    there, back = cost_ratio(a, b), cost_ratio(b, a)
    assert there.value == pytest.approx(1 / back.value)
    assert there.interval == pytest.approx((1 / back.interval.high, 1 / back.interval.low), rel=0.01)
    assert cost_ratio(1000 * a, b).interval == pytest.approx([1000 * end for end in there.interval])


def test_one_seed_one_interval() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.random(50), rng.random(50)
    assert cost_ratio(a, b, seed=5) == cost_ratio(a, b, seed=5) != cost_ratio(a, b, seed=6)
    assert (
        bootstrap_difference(a, b, seed=5) == bootstrap_difference(a, b, seed=5) != bootstrap_difference(a, b, seed=6)
    )


def test_price_zero_is_a_price() -> None:
    free = cost_ratio([0.0] * 39 + [3.0], [1.0, 2.0] * 20)
    assert free.value == pytest.approx(0.05)
    assert 0 <= free.interval.low < 0.05 < free.interval.high


def test_the_bootstrap_agrees_with_the_score_interval_where_many_differ() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.random(400), rng.random(400)
    assert bootstrap_difference(a, b) == pytest.approx(paired_difference(a, b).interval, abs=0.004)


def test_groups_are_drawn_whole() -> None:
    rng = np.random.default_rng(5)
    a, b, groups = rng.random(150), rng.random(150), np.repeat(np.arange(150), 4)
    costs = (np.repeat(a, 4), np.repeat(b, 4))
    assert cost_ratio(*costs, groups).interval == pytest.approx(cost_ratio(a, b).interval)
    assert bootstrap_difference(*costs, groups) == pytest.approx(bootstrap_difference(a, b))


def test_nothing_to_resample_is_not_a_number() -> None:
    assert all(math.isnan(end) for end in bootstrap_difference([1, 1, 0], [1, 1, 0]))
    assert all(math.isnan(end) for end in cost_ratio([1], [2]).interval)
    assert all(math.isnan(end) for end in cost_ratio([1, 2], [2, 1], groups=["a", "a"]).interval)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cost_ratio([1, 2], [0, 0]), "`b` costs 0 on every problem"),
        (lambda: cost_ratio([0, 0], [1, 2]), "`a` costs 0 on every problem"),
        (lambda: cost_ratio([1, -2], [1, 1]), "`a` is -2 in row 1"),
        (lambda: cost_ratio([1, math.nan], [1, 1]), "`a` is nan in row 1"),
        (lambda: cost_ratio([1, 2], [1, 1], resamples=10), "resamples 10 is too few"),
        (lambda: bootstrap_difference([1, 0], [1]), "`a` has 2 rows and `b` has 1"),
    ],
)
def test_what_says_nothing_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
