"""Intervals keep their promise on synthetic truth, agree with one another, and refuse what they cannot use."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from escalade.errors import InputError
from escalade.statistics.intervals import (
    mcnemar,
    mean_score,
    non_inferior,
    paired_difference,
    wilson,
)

stats = pytest.importorskip("scipy.stats", reason="intervals need scipy: pip install 'escalade[evaluation]'")
Floats = NDArray[np.float64]
SIZES, MEANS = (50, 100, 300, 1319), (0.5, 0.8, 0.95)


def uneven(rng: np.random.Generator, mean: float, shape: tuple[int, int]) -> Floats:
    """Expected scores as they are in fact: most problems near 0 or 1."""
    return rng.beta(mean, 1 - mean, shape)


def shares(rng: np.random.Generator, mean: float, shape: tuple[int, int]) -> Floats:
    """Shares of eight samples of such problems."""
    return rng.binomial(8, uneven(rng, mean, shape)) / 8


def covered(found: list[tuple[float, float]], truth: float) -> float:
    return float(np.mean([low - 1e-12 <= truth <= high + 1e-12 for low, high in found]))


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("mean", MEANS)
def test_coverage_for_single_answers_counted_exactly(n: int, mean: float) -> None:
    chances = stats.binom.pmf(np.arange(n + 1), n, mean)
    likely = np.flatnonzero(chances > 1e-9)
    holds = [low <= mean <= high for low, high in (mean_score([1] * x + [0] * (n - x)).interval for x in likely)]
    assert chances[likely][holds].sum() == pytest.approx(0.95, abs=0.016)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize("scores", [uneven, shares])
def test_coverage_for_expected_scores(scores: Callable[..., Floats], n: int, mean: float) -> None:
    table = scores(np.random.default_rng([n, round(100 * mean)]), mean, (1000, n))
    found = [mean_score(row).interval for row in table]
    assert covered(found, mean) == pytest.approx(0.95, abs=0.015 + 0.014)  # two errors of simulation


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("mean", MEANS)
def test_coverage_for_paired_differences_of_expected_scores(n: int, mean: float) -> None:
    rng = np.random.default_rng([n, round(100 * mean)])
    first = uneven(rng, mean, (600, n))
    second = np.where(rng.random((600, n)) < 0.3, uneven(rng, mean, (600, n)), first)
    a, b = rng.binomial(8, first) / 8, rng.binomial(8, second) / 8
    found = [paired_difference(x, y).interval for x, y in zip(a, b, strict=True)]
    assert covered(found, 0.0) >= 0.95 - 0.033
    if n * (1 - mean) >= 15:  # above the promise where few problems differ
        assert covered(found, 0.0) <= 0.95 + 0.033


def test_rare_gains_are_covered_where_the_t_interval_is_not() -> None:
    rng, n, rate = np.random.default_rng(9), 100, 0.01
    a = (rng.random((1000, n)) < rate).astype(float)
    ours = [paired_difference(row, np.zeros(n)).interval for row in a]
    error = a.std(axis=1, ddof=1) / math.sqrt(n) * stats.t.ppf(0.975, n - 1)
    theirs = list(zip(a.mean(axis=1) - error, a.mean(axis=1) + error, strict=True))
    assert covered(ours, rate) > 0.94
    assert covered(theirs, rate) < 0.7


@pytest.mark.parametrize("discordant", [0.01, 0.02, 0.05])
def test_a_route_that_loses_the_margin_is_seldom_called_non_inferior(discordant: float) -> None:
    rng, n = np.random.default_rng(10), 300
    lost, gained = (discordant + 0.01) / 2, (discordant - 0.01) / 2
    u = rng.random((800, n))
    a, b = 1.0 - (u < lost), 1.0 - ((u >= lost) & (u < lost + gained))
    shown = [non_inferior(x, y, margin=0.01).shown for x, y in zip(a, b, strict=True)]
    assert np.mean(shown) < 0.05 + 0.02


def test_non_inferior_is_shown_with_enough_problems_only() -> None:
    rng = np.random.default_rng(11)
    b = (rng.random(4000) < 0.8).astype(float)
    a = np.where(rng.random(4000) < 0.004, 1 - b, b)
    many, few = non_inferior(a, b), non_inferior(a[:150], b[:150])
    assert many.shown
    assert not few.shown
    assert many.interval.low < many.lower < many.difference
    assert many.margin == 0.01
    assert not non_inferior(b - 0.2 * b, b).shown


def test_what_so_few_problems_may_have_missed_is_not_shown() -> None:
    a = b = np.ones(298)
    assert not non_inferior(a, b).shown
    assert non_inferior(a, b).lower > -0.01
    assert non_inferior(a, b).needed == 299
    assert non_inferior([1.0] * 299, [1.0] * 299).shown
    assert not non_inferior([1.0] * 299, [1.0] * 299, groups=[*range(298), 0]).shown
    assert non_inferior([1.0] * 20, [0.0] * 20).shown  # better beyond doubt


def test_an_interval_of_single_answers_is_wilsons_to_the_last_digit() -> None:
    for right in range(31):
        assert mean_score([1] * right + [0] * (30 - right)).interval == wilson(right, 30)


def test_an_interval_stays_within_the_possible_and_about_its_value() -> None:
    rng = np.random.default_rng(12)
    for _ in range(300):
        n = int(rng.integers(1, 40))
        a, b = rng.choice([0, 0.5, 1, rng.random()], n), rng.choice([0, 0.5, 1, rng.random()], n)
        value, (low, high) = mean_score(a)
        assert 0 <= low <= value <= high <= 1
        difference, (low, high), p = paired_difference(a, b)
        assert -1 <= low <= difference <= high <= 1
        assert 0 <= p <= 1


def test_rounding_is_no_difference() -> None:
    a = np.full(50, 0.3)
    assert paired_difference(a, np.full(50, 0.1 + 0.2)) == paired_difference(a, a)
    assert paired_difference(a, a).interval.high == pytest.approx(3.84 / 53.84, abs=1e-3)


def test_a_difference_turns_about_with_its_routes() -> None:
    rng = np.random.default_rng(13)
    a, b = rng.random(60), rng.random(60)
    there, back = paired_difference(a, b), paired_difference(b, a)
    assert there.value == pytest.approx(-back.value)
    assert there.interval == pytest.approx((-back.interval.high, -back.interval.low))
    assert there.p_value == pytest.approx(back.p_value)


def test_the_p_value_is_that_of_the_level_at_which_zero_leaves_the_interval() -> None:
    rng = np.random.default_rng(14)
    for groups in (None, rng.integers(0, 25, 80)):
        a, b = rng.random(80), rng.random(80) - 0.1 * (rng.random(80) < 0.5)
        b = b.clip(0, 1)
        p = paired_difference(a, b, groups).p_value
        outside = [paired_difference(a, b, groups, 1 - q).interval for q in (1.02 * p, 0.98 * p)]
        assert [low > 0 or high < 0 for low, high in outside] == [True, False]
    assert paired_difference([1, 0], [1, 0]).p_value == 1


def test_for_many_problems_the_difference_is_that_of_t() -> None:
    rng = np.random.default_rng(15)
    a, b = rng.random(3000), rng.random(3000)
    ours, theirs = paired_difference(a, b), stats.ttest_rel(a, b)
    t = theirs.confidence_interval(0.95)
    assert ours.interval == pytest.approx((t.low, t.high), abs=2e-4)
    assert ours.p_value == pytest.approx(theirs.pvalue, rel=0.02)


def test_copies_of_problems_in_groups_tell_no_more_than_the_problems() -> None:
    rng = np.random.default_rng(16)
    scores, other = rng.random(200), rng.random(200)
    groups = np.repeat(np.arange(200), 4)
    once, copied = mean_score(scores).interval, mean_score(np.repeat(scores, 4), groups).interval
    assert copied == pytest.approx(once, abs=1e-3)
    blind = mean_score(np.repeat(scores, 4)).interval
    assert blind.high - blind.low < 0.55 * (once.high - once.low)
    difference = paired_difference(scores, other).interval
    assert paired_difference(np.repeat(scores, 4), np.repeat(other, 4), groups).interval == pytest.approx(
        difference, abs=2e-3
    )


def test_groups_of_one_are_no_groups_and_one_group_is_no_sample() -> None:
    scores = [0.1, 0.6, 0.9, 1.0]
    assert mean_score(scores, ["a", "b", "c", "d"]) == mean_score(scores)
    alone = mean_score(scores, ["a"] * 4)
    assert alone.value == mean_score(scores).value
    assert all(math.isnan(end) for end in alone.interval)
    assert all(math.isnan(end) for end in paired_difference(scores, scores[::-1], [1] * 4).interval)
    assert not non_inferior([1.0] * 999, [0.0] * 999, groups=[1] * 999).shown


def test_groups_keep_the_coverage_that_problems_alone_would_lose() -> None:
    rng = np.random.default_rng(17)
    groups = np.repeat(np.arange(60), 5)
    found, blind = [], []
    for _ in range(600):
        scores = (rng.random(300) < rng.beta(0.8, 0.2, 60)[groups]).astype(float)
        found.append(mean_score(scores, groups).interval)
        blind.append(mean_score(scores).interval)
    assert covered(found, 0.8) == pytest.approx(0.95, abs=0.025)
    assert covered(blind, 0.8) < 0.8


def test_mcnemar_is_the_binomial_test() -> None:
    rng = np.random.default_rng(18)
    for _ in range(40):
        a, b = rng.integers(0, 2, 30), rng.integers(0, 2, 30)
        found = mcnemar(a, b)
        x, y = int(((a == 1) & (b == 0)).sum()), int(((a == 0) & (b == 1)).sum())
        assert (found.only_first, found.only_second) == (x, y)
        assert found.p_value == pytest.approx(stats.binomtest(x, x + y).pvalue if x + y else 1)
        assert found.mid_p_value <= found.p_value
    assert mcnemar([1, 0], [1, 0])[2:] == (1, 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_score([]), "`scores` is empty"),
        (lambda: mean_score([0.5, math.nan]), "`scores` is nan in row 1"),
        (lambda: mean_score([1, 1], groups=["a"]), r"`groups` has the shape \(1,\): give one group a problem"),
        (lambda: mean_score([1, 1], level=95), "level 95 is not between 0 and 1"),
        (lambda: paired_difference([1, 1], [1]), "`a` has 2 rows and `b` has 1"),
        (lambda: paired_difference([2, 1], [1, 1]), "`a` is 2 in row 0"),
        (lambda: non_inferior([1], [1], margin=1), "margin 1 is not between 0 and 1"),
        (lambda: mcnemar([1, 0.5], [1, 1]), "a label is 0 or 1, no expected score"),
    ],
)
def test_what_says_nothing_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
