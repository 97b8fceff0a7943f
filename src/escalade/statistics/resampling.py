"""Intervals by resampling problems: of a ratio of costs, which have long tails, and a second opinion on a difference.

Seeded: one seed, one interval. The pairs stay together, and so do problems of one group.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from escalade.errors import SettingError, TableError
from escalade.statistics.columns import Column, column, grouping, level_of, same_length
from escalade.statistics.intervals import Interval, stats


class Ratio(NamedTuple):
    """A ratio of summed costs with its interval; above 1 the first is dearer."""

    value: float
    interval: Interval


def bootstrap_difference(
    a: ArrayLike,
    b: ArrayLike,
    groups: ArrayLike | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Return the BCa bootstrap interval of the mean of a - b (Efron 1987), problems or groups drawn anew in pairs.

    A second opinion on `paired_difference`; too narrow where fewer than about ten problems differ. NaN where all
    differences are equal: nothing to resample.

    Raises:
        TableError: no scores, unequal lengths, or one is NaN or outside [0, 1].

    Example:
        >>> low, high = bootstrap_difference([1, 1, 1, 0] * 25, [1, 0, 1, 0] * 25)
        >>> 0.16 < low < 0.18, 0.33 < high < 0.36
        (True, True)
    """
    first, second = column("a", a, 0, 1), column("b", b, 0, 1)
    same_length(a=first, b=second)
    sampled = grouping(groups, len(first))
    sizes, sums = sampled.sums(np.ones(len(first))), sampled.sums(first - second)
    _check(level, resamples)
    if np.ptp(sums / sizes) == 0:
        return Interval(math.nan, math.nan)
    found = stats().bootstrap(
        (sums, sizes),
        lambda x, y, axis=-1: x.sum(axis=axis) / y.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, 1_000_000 // len(sums)),
        confidence_level=level,
        method="BCa",
        rng=np.random.default_rng(seed),
    )
    return Interval(float(found.confidence_interval.low), float(found.confidence_interval.high))


def cost_ratio(
    a: ArrayLike,
    b: ArrayLike,
    groups: ArrayLike | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Ratio:
    """Return sum(a) / sum(b), expected costs [N] of two routes on the same problems (any one unit), with its interval.

    Studentised bootstrap of R = ln(sum a / sum b) over problems or groups (Efron & Tibshirani 1993, 12.5): with
    s = sqrt(sum (a / mean a - b / mean b)²) / N and t = (R' - R) / s' of each resample, the ends are
    exp(R - s t_high) and exp(R - s t_low). Costs have long tails: on synthetic lognormal costs its 95 % interval covers
    92 to 98 % from N = 100 on, where BCa and percentile come to 84 to 94 %; with 50 problems of which 3 % go up a tier
    it is 78 %: so few dear problems are too few. An end is 0 or infinite where the resamples do not bound it, and both
    are NaN below two problems or groups.

    Raises:
        TableError: no costs, unequal lengths, one is NaN, infinite or negative, or one of the sums is 0.

    Example:
        >>> value, (low, high) = cost_ratio([1, 1, 1, 5] * 25, [4, 4, 4, 4] * 25)
        >>> value, 0.41 < low < 0.43, 0.58 < high < 0.60
        (0.5, True, True)
        >>> cost_ratio([1, 2, 3], [2, 4, 6])
        Ratio(value=0.5, interval=Interval(low=0.5, high=0.5))
    """
    first, second = column("a", a, 0), column("b", b, 0)
    same_length(a=first, b=second)
    for name, costs in (("a", first), ("b", second)):
        if not costs.any():
            raise TableError(f"`{name}` costs 0 on every problem: a ratio to nothing says nothing, compare the sums")
    _check(level, resamples)
    sampled = grouping(groups, len(first))
    over, under, n = sampled.sums(first), sampled.sums(second), sampled.count
    value = float(over.sum() / under.sum())
    if n < 2:
        return Ratio(value, Interval(math.nan, math.nan))
    over, under = over / over.mean(), under / under.mean()
    if np.abs(over - under).max() < 1e-12:  # but for rounding, a multiple of one another: no resample would differ
        return Ratio(value, Interval(value, value))
    terms = np.stack([over, under, over * over, over * under, under * under], axis=1)
    x, y, xx, xy, yy = (_resampled_sums(terms, resamples, seed) / n).T
    with np.errstate(divide="ignore", invalid="ignore"):  # a resample may cost nothing, or hold one problem only
        shift = np.log(x / y)
        t = shift / np.sqrt(np.maximum(xx / x**2 - 2 * xy / (x * y) + yy / y**2, 0) / n)
    t = np.where(np.isfinite(t), t, np.where(shift == 0, 0, np.where(shift < 0, -np.inf, np.inf)))
    t_low, t_high = np.quantile(t, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    spread = float(np.linalg.norm(over - under)) / n
    return Ratio(value, Interval(value * _exp(-spread * t_high), value * _exp(-spread * t_low)))


def _check(level: float, resamples: int) -> None:
    level_of(level)
    if resamples < 100:
        raise SettingError(f"resamples {resamples} is too few for an interval: 1000 or more are usual")


def _resampled_sums(terms: Column, resamples: int, seed: int) -> Column:
    """Draw all n rows anew, with replacement, and return the sums of each column, [resamples, columns]."""
    n, rng = len(terms), np.random.default_rng(seed)
    sums = []
    for start in range(0, resamples, block := max(1, 2_000_000 // n)):  # in blocks, so that memory stays flat
        size = min(block, resamples - start)
        drawn = rng.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
        sums.append(np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n) @ terms)
    return np.concatenate(sums)


def _exp(x: float) -> float:
    return math.exp(x) if x < 700 else math.inf
