"""The beta-binomial: the likelihood maximised is the right one, and what was simulated is found again."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from escalade.errors import TableError
from escalade.statistics.beta_binomial import STRONGEST, WEAKEST, ceiling, fit_strength
from escalade.statistics.metrics import spearman


def simulated(s: float, n: int, k: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Scores, and successes of k trials whose chances spread around them."""
    rng = np.random.default_rng(seed)
    p = rng.beta(1.5, 1.0, n)
    return p, rng.binomial(k, rng.beta(s * p, s * (1 - p)))


def log_likelihood(s: float, p: float, c: int, k: int) -> float:
    """By products of rising factors: C(k, c) (sp)...(sp+c-1) (s(1-p))...(s(1-p)+k-c-1) / (s ... s+k-1)."""
    a, b = s * p, s * (1 - p)
    ways = math.log(math.comb(k, c))
    up = sum(math.log(a + i) for i in range(c)) + sum(math.log(b + i) for i in range(k - c))
    return ways + up - sum(math.log(s + i) for i in range(k))


# -- the strength of scores -----------------------------------------------------------------------------------


@pytest.mark.parametrize("s", [0.5, 2.0, 8.0, 40.0])
def test_the_strength_that_was_simulated_is_found(s: float) -> None:
    found = [fit_strength(p, c, np.full(3000, 8)) for p, c in (simulated(s, 3000, 8, seed) for seed in range(6))]
    assert np.median(found) == pytest.approx(s, rel=0.12)


def test_no_strength_of_a_fine_grid_is_likelier() -> None:
    p, c = simulated(3.0, 40, 5, seed=1)
    trials = [5] * 20 + [1] * 5 + [3] * 15
    c = np.minimum(c, trials)

    def total(s: float) -> float:
        return sum(log_likelihood(s, *row) for row in zip(p.tolist(), c.tolist(), trials, strict=True))

    best = total(fit_strength(p, c, trials))
    assert all(total(s) <= best + 1e-9 for s in np.geomspace(WEAKEST, STRONGEST, 400).tolist())


def test_scores_that_are_the_chances_are_as_strong_as_can_be() -> None:
    rng = np.random.default_rng(0)
    p = np.repeat(np.linspace(0.1, 0.9, 9), 200)
    assert fit_strength(p, rng.binomial(40, p), np.full(len(p), 40)) > 300
    assert fit_strength([0.5] * 40, [5, 5] * 20, [10] * 40) == pytest.approx(STRONGEST)  # spread less than coins do


def test_scores_that_say_nothing_are_weak() -> None:
    assert fit_strength([0.5] * 100, [0, 10] * 50, [10] * 100) == pytest.approx(WEAKEST)


def test_scores_of_0_and_1_are_borne() -> None:
    agreeing = fit_strength([0.0, 1.0, 0.4, 0.6], [0, 5, 2, 3], [5] * 4)
    assert WEAKEST <= fit_strength([0.0, 1.0, 0.4, 0.6], [5, 0, 2, 3], [5] * 4) <= agreeing <= STRONGEST


def test_one_trial_tells_nothing_of_the_strength() -> None:
    assert math.isnan(fit_strength([0.2, 0.9, 0.5], [0, 1, 1], [1, 1, 1]))
    assert fit_strength([0.2, 0.9, 0.5], [0, 1, 4], [1, 1, 5]) > 0


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        (([0.5, math.nan], [1, 1], [2, 2]), r"`scores` is nan in row 1"),
        (([0.5, 1.3], [1, 1], [2, 2]), r"`scores` is 1.3 in row 1"),
        (([0.5], [1, 1], [2, 2]), r"`scores` has 1 rows and `successes` has 2"),
        (([0.5, 0.5], [1, 1], [2]), r"`successes` has 2 rows and `trials` has 1"),
        (([0.5, 0.5], [1, 3], [2, 2]), r"`successes` is 3 of 2 trials in row 1"),
        (([0.5, 0.5], [1, 0.5], [2, 2]), r"`successes` is 0.5 in row 1: it must be a whole number"),
        (([0.5, 0.5], [1, -1], [2, 2]), r"`successes` is -1 in row 1"),
        (([0.5, 0.5], [0, 0], [2, 0]), r"`trials` is 0 in row 1"),
        (([], [], []), r"is empty"),
    ],
)
def test_P22_columns_that_are_wrong_are_named(columns: tuple[list[float], ...], says: str) -> None:
    with pytest.raises(TableError, match=says):
        fit_strength(*columns)


# -- the ceiling of label noise -------------------------------------------------------------------------------


@pytest.mark.parametrize(("a", "b"), [(2.0, 3.0), (0.4, 0.3), (5.0, 1.0)])
@pytest.mark.parametrize("k", [3, 12])
def test_a_ceiling_is_what_the_known_chances_reach(a: float, b: float, k: int) -> None:
    rng = np.random.default_rng([k, int(10 * a)])
    reached, said = [], []
    for seed in range(2):
        theta = rng.beta(a, b, 2000)
        c = rng.binomial(k, theta)
        reached.append(spearman(theta, c / k))
        said.append(ceiling(c, np.full(2000, k), seed))
    assert np.mean(said) == pytest.approx(np.mean(reached), abs=0.02)


def test_a_ceiling_heeds_how_many_trials_each_problem_has() -> None:
    rng = np.random.default_rng(3)
    trials = rng.choice([1, 4, 16], 3000)
    theta = rng.beta(1.0, 2.0, 3000)
    c = rng.binomial(trials, theta)
    assert ceiling(c, trials) == pytest.approx(spearman(theta, c / trials), abs=0.03)


def test_equal_chances_leave_nothing_to_predict() -> None:
    c = np.random.default_rng(0).binomial(10, 0.6, 2000)
    assert ceiling(c, np.full(2000, 10)) < 0.25


def test_a_ceiling_is_the_same_for_the_same_seed() -> None:
    c, k = [0, 1, 5, 3, 2, 5], [5] * 6
    assert ceiling(c, k, 1) == ceiling(c, k, 1) != ceiling(c, k, 2)


def test_where_the_spread_cannot_be_told_there_is_no_ceiling() -> None:
    assert math.isnan(ceiling([0, 1, 1, 0], [1] * 4))
    assert math.isnan(ceiling([5, 5, 5], [5] * 3)) and math.isnan(ceiling([0, 0], [3, 7]))
    with pytest.raises(TableError, match="`successes` is 6 of 5 trials in row 0"):
        ceiling([6], [5])
