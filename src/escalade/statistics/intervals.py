"""Intervals and tests over problems, the unit that is sampled: of a mean score and of a paired difference.

A problem's score is its expected correctness under a route, in [0, 1]; a run's single answers, 0 or 1, are the special
case. Intervals of means and of differences are score intervals: Wilson's, with the number of problems that would be as
informative were every score 0 or 1. They need no resampling, have no seed, stay inside the possible, and keep their
promise where the t interval and the bootstrap break it: near 1, and for two routes that seldom differ.
Problems that share a source (paraphrases, one stem) get one group, and groups are the unit then (arXiv 2411.00640).
"""

from __future__ import annotations

import math
from statistics import NormalDist
from types import ModuleType
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from escalade.errors import SettingError
from escalade.statistics.columns import Column, Grouping, column, grouping, labels, level_of, same_length

_Z_95 = NormalDist().inv_cdf(0.975)
# How much of an imagined problem each end of the scale gets when the spread of scores is judged: a tail that so few
# problems did not show must not pass for none. 1/4 keeps the coverage of 95 % intervals (tests/statistics).
_IMAGINED = 0.25
_ROUNDING = 1e-12
"""Expected scores that differ by less are one, summed in another order."""


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


class Mean(NamedTuple):
    """A mean over problems with its interval."""

    value: float
    interval: Interval


class Difference(NamedTuple):
    """A mean difference of paired scores, its interval, and the two-sided p-value of "no difference"."""

    value: float
    interval: Interval
    p_value: float


class NonInferiority(NamedTuple):
    """Whether a route was shown to lose less than a margin; "not shown" may be for want of problems."""

    difference: float
    interval: Interval
    lower: float
    """One-sided lower bound of the difference at the same level as the two-sided interval."""
    margin: float
    needed: int
    """Problems, or groups, without which less than the margin is shown only by a lower bound above 0."""
    shown: bool


class McNemar(NamedTuple):
    """Problems that only the first, or only the second, gets right, and the p-values of "as many of each"."""

    only_first: int
    only_second: int
    p_value: float
    mid_p_value: float


def stats() -> ModuleType:
    """Return `scipy.stats`, imported only where it is used.

    Raises:
        SettingError: scipy is not there.

    Example:
        >>> float(stats().norm.cdf(0))
        0.5
    """
    try:
        from scipy import stats as module
    except ImportError as error:
        raise SettingError("intervals and tests need scipy: pip install 'escalade[evaluation]'") from error
    return module


def wilson(successes: int, n: int, z: float = _Z_95) -> Interval:
    """Return Wilson's interval for a share of n independent problems (Wilson 1927); 95 % by default.

    (s + z²/2n ± z sqrt(s(1-s)/n + z²/4n²)) / (1 + z²/n). NaN when n = 0.

    Example:
        >>> [round(x, 3) for x in wilson(5, 5)]
        [0.566, 1.0]
    """
    if n == 0:
        return Interval(math.nan, math.nan)
    return _wilson(successes / n, n, z)


def mean_score(scores: ArrayLike, groups: ArrayLike | None = None, level: float = 0.95) -> Mean:
    """Return the mean of expected scores in [0, 1], shape [N], with its interval.

    Wilson's interval with m, the number of 0/1 scores that would be as informative, in the place of N:
    m = N / (r d), where r = var / (mean (1 - mean)) is the spread of the scores as a share of the largest possible
    (judged with half an imagined problem added, a quarter at 0 and a quarter at 1), and d >= 1 is the design effect of
    the groups: cluster-robust variance of the mean over its plain one, with t of (groups - 1) degrees of freedom in
    the place of z (Korn & Graubard 1998; Dean & Pagano 2015). For scores of 0 and 1 without groups r = d = 1 and this
    is `wilson`. Coverage of the 95 % interval on synthetic truth, N from 50 to 1319, means .5, .8, .95: 93.5 to 96.7 %,
    and 98 % for nearly equal scores close to 1 at N = 50. With groups 94 to 96 % from 100 groups on; 20 to 40 groups
    are few, and for means of .95 it is 88 to 90 %. NaN where all problems are one group.

    Raises:
        TableError: no scores, or one is NaN or outside [0, 1].

    Example:
        >>> mean_score([1, 1, 1, 0]) == (0.75, wilson(3, 4))
        True
        >>> value, (low, high) = mean_score([0.25, 0.75, 0.75, 0.75])
        >>> value, round(low, 3), round(high, 3)
        (0.625, 0.367, 0.827)
    """
    values = column("scores", scores, 0, 1)
    sampled = grouping(groups, len(values))
    return Mean(
        float(values.mean()), _Score.of(values, 1.0, sampled).interval(_quantile(sampled, (1 + level_of(level)) / 2))
    )


def paired_difference(a: ArrayLike, b: ArrayLike, groups: ArrayLike | None = None, level: float = 0.95) -> Difference:
    """Return the mean of a - b, expected scores [N] of two routes on the same problems, with interval and p-value.

    With gains g = max(a - b, 0) and losses l = max(b - a, 0), each with a score interval as in `mean_score` (imagined
    at 0 and at the largest |a - b| seen, 1 if none), and their correlation c over problems or groups:
    low = g - l - sqrt((g - g_low)² + (l_high - l)² - 2c (g - g_low)(l_high - l)), high with the ends exchanged
    (recovery of variances, Newcombe 1998, method 10; Zou & Donner 2008). The p-value is that of the level at which
    the interval touches 0, so that p < 1 - level exactly where it leaves 0 out.

    Coverage of the 95 % interval on synthetic truth, N from 50 to 1319: 94 to 97 %, and above where the routes differ
    on fewer than about ten problems. There the t interval falls to 40 % (N = 50, 1 % of the problems gained) and the
    BCa bootstrap with it. Two routes that never differed in N problems still may: about ± 3.8/N.

    Raises:
        TableError: no scores, unequal lengths, or one is NaN or outside [0, 1].

    Example:
        >>> value, (low, high), p = paired_difference([1, 1, 1, 1, 0, 1], [1, 0, 0, 1, 0, 1])
        >>> round(value, 3), round(low, 3), round(high, 3), round(p, 3)
        (0.333, -0.123, 0.7, 0.142)
    """
    pair = _Pair.of(a, b, groups)
    quantile = _quantile(pair.sampled, (1 + level_of(level)) / 2)
    return Difference(pair.value, pair.interval(quantile), pair.p_value())


def non_inferior(
    a: ArrayLike, b: ArrayLike, margin: float = 0.01, level: float = 0.95, groups: ArrayLike | None = None
) -> NonInferiority:
    """Return whether a is shown to be worse than b by less than `margin`, expected scores [N] on the same problems.

    Shown where the one-sided lower bound of the mean of a - b at `level` is above -margin, and there are at least
    `needed` = ln(1 - level) / ln(1 - margin) problems or groups (299 for one point at 95 %): with fewer, whole losses
    as rare as the margin could all have been missed. Where the bound is above 0 any number will do. The bound is that
    of `paired_difference`. Simulated at the limit (a truly worse by one point, N from 100 to 1319), "shown" is said in
    0 to 5 % of the cases, in up to 7 % where the loss sits on 1 or 2 % of the problems.

    Raises:
        TableError: as `paired_difference`.
        SettingError: the margin is not in (0, 1).

    Example:
        >>> same = [1.0] * 298
        >>> non_inferior(same, same).shown, non_inferior([*same, 1], [*same, 1]).shown
        (False, True)
        >>> found = non_inferior([1, 0] * 60, [0, 0, 1, 0] * 30)
        >>> found.difference, round(found.lower, 3), found.needed, found.shown
        (0.25, 0.187, 299, True)
    """
    if not 0 < margin < 1:
        raise SettingError(f"margin {margin} is not between 0 and 1: one point of accuracy is 0.01")
    pair = _Pair.of(a, b, groups)
    interval = pair.interval(_quantile(pair.sampled, (1 + level_of(level)) / 2))
    lower = pair.interval(_quantile(pair.sampled, level)).low
    needed = problems_needed(margin, level)
    shown = lower > 0 or (lower > -margin and pair.sampled.count >= needed)
    return NonInferiority(pair.value, interval, lower, margin, needed, shown)


def problems_needed(margin: float, level: float) -> int:
    """Return from how many problems on a loss as rare as `margin` would have been seen: ln(1-level) / ln(1-margin).

    Example:
        >>> problems_needed(0.01, 0.95), problems_needed(0.05, 0.95)
        (299, 59)
    """
    return math.ceil(math.log(1 - level) / math.log(1 - margin))


def mcnemar(a: ArrayLike, b: ArrayLike) -> McNemar:
    """Return McNemar's exact test for two columns of 0/1, [N], on the same problems (McNemar 1947).

    With x problems that only a gets right and y that only b does, p = min(1, 2 P(Bin(x + y, 1/2) <= min(x, y))); the
    mid-p value counts the observed min(x, y) by half and has more power (Lancaster 1961). p = 1 where none differ.

    Raises:
        TableError: no labels, unequal lengths, or a value other than 0 and 1: expected scores are compared by
            `paired_difference`.

    Example:
        >>> first, second, p, mid = mcnemar([1] * 10 + [0] * 2, [1] * 2 + [0] * 8 + [1] * 2)
        >>> first, second, round(p, 6), round(mid, 6)  # 2 (1 + 10 + 45) / 1024 and 2 (1 + 10 + 45/2) / 1024
        (8, 2, 0.109375, 0.06543)
    """
    first, second = labels("a", a), labels("b", b)
    same_length(a=first, b=second)
    only_first, only_second = int(np.sum(first > second)), int(np.sum(first < second))
    discordant = stats().binom(only_first + only_second, 0.5)
    fewer = min(only_first, only_second)
    p_value = min(1.0, 2 * float(discordant.cdf(fewer)))
    mid = min(1.0, 2 * float(discordant.cdf(fewer)) - float(discordant.pmf(fewer)))
    return McNemar(only_first, only_second, p_value, mid)


class _Score(NamedTuple):
    """What a score interval needs to know of values in [0, 1]."""

    mean: float
    informative: float
    """How many values of 0 and 1 would tell as much; NaN where it cannot be known."""

    @classmethod
    def of(cls, values: Column, top: float, sampled: Grouping) -> _Score:
        """Judge the spread with a quarter of an imagined value at 0 and one at `top`, the largest thought possible."""
        n, mean = len(values), float(values.mean())
        weight = n + 2 * _IMAGINED
        middle = (n * mean + _IMAGINED * top) / weight
        largest = middle * (1 - middle)
        # What the spread lacks of the largest: written so, it is 0 to the last digit where every value is 0 or 1.
        lacking = (float(values @ (1 - values)) + _IMAGINED * top * (1 - top)) / weight
        return cls(mean, n * (largest / (largest - lacking)) / _design_effect(values - mean, sampled))

    def interval(self, quantile: float) -> Interval:
        if math.isnan(self.informative):
            return Interval(math.nan, math.nan)
        return _wilson(self.mean, self.informative, quantile)


class _Pair(NamedTuple):
    """What the interval of a paired difference needs to know."""

    value: float
    gain: _Score
    loss: _Score
    correlation: float
    sampled: Grouping

    @classmethod
    def of(cls, a: ArrayLike, b: ArrayLike, groups: ArrayLike | None) -> _Pair:
        first, second = column("a", a, 0, 1), column("b", b, 0, 1)
        same_length(a=first, b=second)
        sampled = grouping(groups, len(first))
        difference = first - second
        difference[np.abs(difference) < _ROUNDING] = 0.0
        gains, losses = np.maximum(difference, 0), np.maximum(-difference, 0)
        top = float(np.abs(difference).max()) or 1.0
        up, down = sampled.sums(gains - gains.mean()), sampled.sums(losses - losses.mean())
        scale = math.sqrt(float(up @ up) * float(down @ down))
        correlation = float(up @ down) / scale if scale else 0.0
        gain, loss = (_Score.of(values, top, sampled) for values in (gains, losses))
        return cls(float(difference.mean()), gain, loss, correlation, sampled)

    def interval(self, quantile: float) -> Interval:
        gain, loss = self.gain.interval(quantile), self.loss.interval(quantile)
        below = (self.gain.mean - gain.low, loss.high - self.loss.mean)
        above = (gain.high - self.gain.mean, self.loss.mean - loss.low)
        return Interval(self.value - self._length(*below), self.value + self._length(*above))

    def _length(self, x: float, y: float) -> float:
        squared = x * x + y * y - 2 * self.correlation * x * y
        return 0.0 if squared < 0 else math.sqrt(squared)  # below 0 by rounding only; NaN stays NaN

    def p_value(self) -> float:
        """Halve the range of quantiles in which the interval begins to hold 0."""
        if self.value == 0 or math.isnan(self.gain.informative):
            return 1.0 if self.value == 0 else math.nan
        outside, inside = 0.0, 1.0
        while not self._holds_zero(inside):
            outside, inside = inside, 2 * inside
        for _ in range(50):
            middle = (outside + inside) / 2
            outside, inside = (outside, middle) if self._holds_zero(middle) else (middle, inside)
        return _tail(self.sampled, inside)

    def _holds_zero(self, quantile: float) -> bool:
        low, high = self.interval(quantile)
        return low <= 0 <= high


def _wilson(share: float, n: float, z: float) -> Interval:
    centre = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return Interval(max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale))


def _design_effect(residuals: Column, sampled: Grouping) -> float:
    """Cluster-robust variance of the mean over the plain one, at least 1: groups make no interval narrower."""
    n, count = len(residuals), sampled.count
    if count == n:
        return 1.0
    if count == 1:
        return math.nan
    sums, plain = sampled.sums(residuals), float(residuals @ residuals) / (n - 1)
    return max(1.0, float(sums @ sums) / (count - 1) * count / n / plain) if plain else 1.0


def _quantile(sampled: Grouping, probability: float) -> float:
    if sampled.count == len(sampled.codes):
        return NormalDist().inv_cdf(probability)
    return float(stats().t.ppf(probability, sampled.count - 1)) if sampled.count > 1 else math.nan


def _tail(sampled: Grouping, quantile: float) -> float:
    """Two-sided tail beyond the quantile: the inverse of `_quantile`."""
    if sampled.count == len(sampled.codes):
        return math.erfc(quantile / math.sqrt(2))
    return 2 * float(stats().t.sf(quantile, sampled.count - 1))
