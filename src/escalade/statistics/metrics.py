"""Estimators over problems and samples. They fail loudly (NaN) rather than give a wrong number.

Of samples: pass@k and majority@k. Of problems, columns [N]: accuracy, and how far a confidence can be believed (Brier,
log loss, calibration error), ranks right above wrong (AUROC) and says which answers to keep (risk and coverage).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from escalade.errors import SettingError, TableError
from escalade.statistics.columns import Column, column, labels, same_length
from escalade.statistics.intervals import stats


class CalibrationError(NamedTuple):
    """A calibration error and what it would be were the confidence perfect."""

    value: float
    bins: int
    """Bins in use: equal confidences share one, so they may be fewer than asked for."""
    expected: float
    """Mean value under perfect calibration, above 0 because a bin's share of right answers is noisy."""


class RiskCoverage(NamedTuple):
    """Share of wrong answers among those kept, for every threshold of a confidence."""

    thresholds: Column
    """Distinct confidences, falling, shape [M]: an answer is kept from the threshold on."""
    coverage: Column
    """Share of problems kept, rising to 1."""
    risk: Column
    """Share of wrong answers among them."""
    area: float
    """AURC: mean risk over coverages 1/N, 2/N, ... 1, ties kept in random order."""


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Return the chance that at least one of k samples is right, from n samples of which `correct` are.

    1 - C(n - c, k) / C(n, k), unbiased (arXiv 2107.03374), in the stable form 1 - prod (1 - k/i) over
    i = n-c+1 .. n. NaN when n < k: too few samples to say.

    Raises:
        TableError: not 0 <= correct <= n.

    Example:
        >>> round(pass_at_k(8, 2, 1), 3), round(pass_at_k(8, 2, 4), 3), pass_at_k(3, 1, 4)
        (0.25, 0.786, nan)
    """
    if not 0 <= correct <= n:
        raise TableError(f"pass@k: {correct} of {n} samples cannot be right: give 0 <= correct <= n")
    if n < k or k < 1:
        return math.nan
    if n - correct < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / i for i in range(n - correct + 1, n + 1))


def majority_at_k(correct: int, others: Sequence[int], k: int, *, abstentions: int = 0) -> float:
    """Return the chance that the right class leads a vote of k samples, drawn without replacement from a pool.

    With n_c samples in the right class, `others` the sizes of the wrong classes and n samples in all,
    sum over t >= 1, s >= 0 of C(n_c, t) W_t(s, k - t) / (s + 1) / C(n, k), where W_t(s, r) counts the ways to draw r of
    the remaining samples with no wrong class above t votes and exactly s of them at t. Exact: counted in integers.

    Ties are broken uniformly at random and abstentions never win, as in the published numbers; a route's own ballot
    breaks ties by rule. NaN when n < k. The draws are hypergeometric: near k = n they hardly differ from one another,
    so n >= 2k is advised where the number is reported.

    Raises:
        TableError: a count is negative.

    Example:
        >>> majority_at_k(2, [1], 3)
        1.0
        >>> majority_at_k(1, [1], 2, abstentions=1)  # of AB, A-, B-: a half, one, none
        0.5
        >>> majority_at_k(1, [2], 4)
        nan
    """
    for name, count in [("correct", correct), ("abstentions", abstentions), *(("others", size) for size in others)]:
        if count < 0:
            raise TableError(f"majority@k: `{name}` has the count {count}: give numbers of samples, 0 or more")
    n = correct + sum(others) + abstentions
    if n < k or k < 1:
        return math.nan
    unit = math.lcm(*range(1, len(others) + 2))  # makes every 1 / (s + 1) an integer
    won = 0
    for t in range(1, min(correct, k) + 1):
        ways = _ways(others, abstentions, t, k - t)
        won += math.comb(correct, t) * sum(count * unit // (s + 1) for s, count in enumerate(ways))
    return won / (unit * math.comb(n, k))


def _ways(others: Sequence[int], abstentions: int, t: int, r: int) -> list[int]:
    """Count the draws of r samples with no wrong class above t and exactly s at t, for s = 0, 1, ..."""
    # A class smaller than t restricts nothing: together with the abstentions such samples are one heap.
    large = [size for size in others if size >= t]
    heap = abstentions + sum(size for size in others if size < t)
    table = [[math.comb(heap, drawn) for drawn in range(r + 1)]]
    for size in large:
        below = [math.comb(size, votes) for votes in range(t)]
        level = math.comb(size, t)
        grown = [[0] * (r + 1) for _ in range(min(len(table) + 1, r // t + 1))]
        for s, row in enumerate(table):
            for drawn, count in enumerate(row):
                if not count:
                    continue
                for votes in range(min(t - 1, r - drawn) + 1):
                    grown[s][drawn + votes] += count * below[votes]
                if drawn + t <= r:
                    grown[s + 1][drawn + t] += count * level
        table = grown
    return [row[r] for row in table]


def accuracy(correct: ArrayLike) -> float:
    """Return the mean of a problem's correctness, 0/1 or expected in [0, 1], shape [N].

    Raises:
        TableError: no problems, or one is NaN or outside [0, 1].

    Example:
        >>> accuracy([1, 0, 0.5, 1])
        0.625
    """
    return float(column("correct", correct, 0, 1).mean())


def brier(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Return the Brier score, mean (p - y)² of confidences p and labels y, shape [N] (Brier 1950); 0 is best.

    Raises:
        TableError: no problems, unequal lengths, a confidence that is NaN or outside [0, 1], a label not 0 or 1.

    Example:
        >>> brier([1.0, 0.5, 0.5], [1, 1, 0])  # (0 + 1/4 + 1/4) / 3
        0.16666666666666666
    """
    p, y = _judged(confidence, correct)
    return float(np.mean((p - y) ** 2))


def log_loss(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Return the mean of -ln(p) of right and -ln(1 - p) of wrong answers, in nats, shape [N] (Good 1952); 0 is best.

    Infinite where a wrong answer was held for certain, or a right one for impossible: nothing is clipped.

    Raises:
        TableError: as `brier`.

    Example:
        >>> round(log_loss([0.5, 1.0], [0, 1]), 4)  # ln(2) / 2
        0.3466
        >>> log_loss([1.0, 0.5], [0, 1])
        inf
    """
    p, y = _judged(confidence, correct)
    with np.errstate(divide="ignore"):
        return float(np.mean(-np.log(np.where(y == 1, p, 1 - p)))) + 0.0


def calibration_error(
    confidence: ArrayLike, correct: ArrayLike, bins: int | None = None, simulations: int = 1000, seed: int = 0
) -> CalibrationError:
    """Return the expected calibration error with equal-mass bins, and its value under perfect calibration.

    Sum over bins of (N_b / N) |mean p - mean y|, shape [N] (Naeini et al. 2015; equal mass: arXiv 1909.10155). By
    default min(15, N // 50) bins, at least 1. Bins are of equal mass by rank, and equal confidences share the bin of
    their mean rank, so the order of rows does not matter. It is biased upwards, more so with few problems: `expected`
    is its mean over simulated labels y ~ Bernoulli(p), and only what exceeds it speaks against the confidence.

    Raises:
        TableError: as `brier`.
        SettingError: fewer than one bin or simulation.

    Example:
        >>> p = [0.25] * 100 + [0.75] * 100
        >>> found = calibration_error(p, [1] * 30 + [0] * 70 + [1] * 75 + [0] * 25, bins=2)
        >>> round(found.value, 3), found.bins, round(found.expected, 2)  # about sqrt(2/pi * 0.1875/100)
        (0.025, 2, 0.03)
    """
    p, y = _judged(confidence, correct)
    wanted = max(1, min(15, len(p) // 50)) if bins is None else bins
    if wanted < 1 or simulations < 1:
        raise SettingError(f"{wanted} bins and {simulations} simulations: both must be at least 1")
    order = np.argsort(p, kind="stable")
    p, y = p[order], y[order]
    place = np.floor(wanted * (stats().rankdata(p) - 0.5) / len(p))
    starts = np.flatnonzero(np.diff(place, prepend=-1.0))
    value = _binned_gap(p - y, starts)
    rng, total, left = np.random.default_rng(seed), 0.0, simulations
    while left:  # in blocks, so that memory stays flat
        block = min(left, max(1, 1_000_000 // len(p)))
        drawn = rng.random((block, len(p))) < p
        total += float(_binned_gap(p - drawn, starts).sum())
        left -= block
    return CalibrationError(float(value), len(starts), total / simulations)


def _binned_gap(gaps: Column, starts: NDArray[np.intp]) -> Column:
    """Return sum over bins |sum of p - y| / N, over the last axis."""
    return np.asarray(np.abs(np.add.reduceat(gaps, starts, axis=-1)).sum(axis=-1) / gaps.shape[-1])


def auroc(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Return the chance that a right answer has a higher confidence than a wrong one, ties counting half, shape [N].

    (R - n₁(n₁+1)/2) / (n₁ n₀) with R the sum of the mid-ranks of the n₁ right ones (Mann & Whitney 1947; Hanley &
    McNeil 1982). The confidence may be any number that rises with belief. Correctness may be expected, y in [0, 1]: the
    problem then counts y among the right and 1 - y among the wrong. NaN where all are right or all are wrong.

    Raises:
        TableError: no problems, unequal lengths, a confidence that is NaN or infinite, correctness outside [0, 1].

    Example:
        >>> auroc([0.9, 0.5, 0.5, 0.1], [1, 1, 0, 0])  # pairs: 1, 1, a half, 1
        0.875
        >>> auroc([0.9, 0.1], [0.75, 0.25])  # (0.75 (0.75 + 0.25 / 2) + 0.25 * 0.75 / 2) / (1 * 1)
        0.75
    """
    p, y = column("confidence", confidence), column("correct", correct, 0, 1)
    same_length(confidence=p, correct=y)
    right = float(y.sum())
    wrong = len(y) - right
    if not right or not wrong:
        return math.nan
    _, codes = np.unique(p, return_inverse=True)
    good, bad = np.bincount(codes, weights=y), np.bincount(codes, weights=1 - y)
    below = np.cumsum(bad) - bad / 2
    return float(good @ below) / (right * wrong)


def risk_coverage(confidence: ArrayLike, correct: ArrayLike) -> RiskCoverage:
    """Return the risk of the answers kept against the share kept, and its area (El-Yaniv & Wiener 2010).

    Columns [N]; correctness 0/1 or expected in [0, 1]. A threshold keeps all answers of one confidence or none, so
    equal confidences make one point. AURC = 1/N sum over j of (wrong among the j kept) / j (arXiv 1805.08206), where
    within a tie the wrong ones come evenly.

    Raises:
        TableError: no problems, unequal lengths, a confidence that is NaN or infinite, correctness outside [0, 1].

    Example:
        >>> curve = risk_coverage([0.9, 0.9, 0.4, 0.2], [1, 0, 1, 0])
        >>> curve.thresholds.tolist(), curve.coverage.tolist(), curve.risk.tolist()
        ([0.9, 0.4, 0.2], [0.5, 0.75, 1.0], [0.5, 0.3333333333333333, 0.5])
        >>> round(curve.area, 4)  # (1/2 + 1/2 + 1/3 + 1/2) / 4
        0.4583
    """
    p, y = column("confidence", confidence), column("correct", correct, 0, 1)
    same_length(confidence=p, correct=y)
    n = len(p)
    thresholds, codes, sizes = np.unique(-p, return_inverse=True, return_counts=True)
    kept, wrong = np.cumsum(sizes), np.cumsum(np.bincount(codes, weights=1 - y))
    each = np.arange(1, n + 1)
    evenly = np.interp(each, np.concatenate([[0], kept]), np.concatenate([[0.0], wrong]))
    return RiskCoverage(-thresholds, kept / n, wrong / kept, float(np.mean(evenly / each)))


def spearman(a: ArrayLike, b: ArrayLike) -> float:
    """Return Spearman's rank correlation of two columns [N], ties at their mean rank; NaN where one is constant.

    Raises:
        TableError: no problems, unequal lengths, or a value that is NaN or infinite.

    Example:
        >>> spearman([0.1, 0.4, 0.8, 0.9], [1, 3, 2, 4])  # 1 - 6 * 2 / (4 * 15)
        0.8
    """
    first, second = column("a", a), column("b", b)
    same_length(a=first, b=second)
    x, y = (np.asarray(stats().rankdata(values)) - (len(first) + 1) / 2 for values in (first, second))
    scale = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / scale if scale else math.nan


def _judged(confidence: ArrayLike, correct: ArrayLike) -> tuple[Column, Column]:
    p, y = column("confidence", confidence, 0, 1), labels("correct", correct)
    same_length(confidence=p, correct=y)
    return p, y
