"""Successes of k trials whose chance differs from problem to problem: the beta-binomial, fitted by maximum likelihood.

    theta_i ~ Beta(s m_i, s (1 - m_i))        c_i | theta_i ~ Binomial(k_i, theta_i)

with m_i the mean that is expected of problem i and s, in trials, how closely the chances keep to it. How far theta
spreads can be told only where problems have several trials: with k_i = 1, c_i is 1 with the chance m_i for every s.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from escalade.errors import TableError
from escalade.statistics.columns import Column, column, same_length
from escalade.statistics.intervals import stats
from escalade.statistics.metrics import spearman

WEAKEST, STRONGEST = 0.1, 1000.0
"""Between which a strength is looked for, in trials."""
ROUNDS = 200
"""Simulations of a ceiling."""
_EDGE = 1e-6
"""How near to 0 or 1 an expected mean may be: no number of trials shows that a chance is 0."""
_GRID = 41


def fit_strength(scores: ArrayLike, successes: ArrayLike, trials: ArrayLike) -> float:
    """Return the strength s in [0.1, 1000] of scores as priors: how many trials a score is worth.

    The s that maximises prod_i BetaBinomial(c_i; k_i, s p_i, s (1 - p_i)) for scores p [N], successes c [N] of trials
    k [N]. Scores are held to [1e-6, 1 - 1e-6]. NaN where each problem has one trial, which tells nothing of s.

    Raises:
        TableError: a column is empty, of another length or out of range, or a count is no whole number.
        SettingError: scipy is not there.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> p = rng.uniform(0.05, 0.95, 4000)
        >>> c = rng.binomial(5, rng.beta(6 * p, 6 * (1 - p)))
        >>> round(fit_strength(p, c, np.full(4000, 5)))
        6
        >>> fit_strength([0.2, 0.7], [0, 1], [1, 1])
        nan
    """
    p = column("scores", scores, 0, 1)
    c, k = _counted(successes, trials)
    same_length(scores=p, successes=c)
    if k.max() <= 1:
        return math.nan
    p = np.clip(p, _EDGE, 1 - _EDGE)

    def loss(log_s: float) -> float:
        s = math.exp(log_s)
        return -float(stats().betabinom.logpmf(c, k, s * p, s * (1 - p)).sum())

    return math.exp(_least(loss, math.log(WEAKEST), math.log(STRONGEST)))


def ceiling(successes: ArrayLike, trials: ArrayLike, seed: int = 0) -> float:
    """Return the Spearman correlation with success rates c / k that a perfect predictor of theta would reach.

    A Beta(a, b) is fitted to successes c [N] of trials k [N] by maximum likelihood of the beta-binomial; then theta and
    c are drawn from it 200 times, with the same k, and the correlations of theta with c / k are averaged. What is
    missing to 1 is the noise of the labels. NaN where each problem has one trial, as then nothing tells how far theta
    spreads, and where all rates are equal.

    Raises:
        TableError: a column is empty, of another length or out of range, or a count is no whole number.
        SettingError: scipy is not there.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> c = rng.binomial(5, rng.beta(1.0, 1.0, 1000))
        >>> round(ceiling(c, np.full(1000, 5)), 2)
        0.85
        >>> ceiling([0, 1, 1], [1, 1, 1])
        nan
    """
    c, k = _counted(successes, trials)
    if k.max() <= 1 or len(np.unique(c / k)) == 1:
        return math.nan
    a, b = _fitted_beta(c, k)
    rng, whole = np.random.default_rng(seed), k.astype(np.int64)
    found = np.empty(ROUNDS)
    for place in range(ROUNDS):
        theta = rng.beta(a, b, len(k))
        found[place] = spearman(theta, rng.binomial(whole, theta) / k)
    told = found[~np.isnan(found)]
    return float(told.mean()) if len(told) else math.nan


def _counted(successes: ArrayLike, trials: ArrayLike) -> tuple[Column, Column]:
    k = column("trials", trials, 1)
    c = column("successes", successes, 0)
    same_length(successes=c, trials=k)
    for name, counts in (("trials", k), ("successes", c)):
        broken = np.flatnonzero(counts != np.rint(counts))
        if broken.size:
            raise TableError(f"`{name}` is {counts[broken[0]]:g} in row {broken[0]}: it must be a whole number")
    over = np.flatnonzero(c > k)
    if over.size:
        raise TableError(
            f"`successes` is {c[over[0]]:g} of {k[over[0]]:g} trials in row {over[0]}: give no more than those"
        )
    return c, k


def _fitted_beta(c: Column, k: Column) -> tuple[float, float]:
    """a and b of the Beta that theta is drawn from: the best that is found from the mean rate and several strengths."""
    from scipy import optimize

    # Many problems have the same counts; each pair is worked out once.
    (successes, trials), times = np.unique(np.stack([c, k]), axis=1, return_counts=True)
    edge, start = math.log((1 - _EDGE) / _EDGE), math.log(c.sum() / (k - c).sum())

    def beta_of(at: Column) -> tuple[float, float]:
        s, m = math.exp(at[1]), 1 / (1 + math.exp(-at[0]))
        return s * m, s * (1 - m)

    def loss(at: Column) -> float:
        return -float(times @ stats().betabinom.logpmf(successes, trials, *beta_of(at)))

    bounds = [(-edge, edge), (math.log(WEAKEST), math.log(STRONGEST))]
    found = [optimize.minimize(loss, [start, math.log(s)], bounds=bounds) for s in (0.3, 3.0, 30.0, 300.0)]
    return beta_of(min(found, key=lambda each: float(each.fun)).x)


def _least(loss: Callable[[float], float], low: float, high: float) -> float:
    """Where a function of one number is least: on a grid, then between its neighbours."""
    from scipy import optimize

    grid = np.linspace(low, high, _GRID)
    best = int(np.argmin([loss(x) for x in grid.tolist()]))
    around = (float(grid[max(0, best - 1)]), float(grid[min(_GRID - 1, best + 1)]))
    found = optimize.minimize_scalar(loss, bounds=around, method="bounded", options={"xatol": 1e-6})
    return float(min((float(grid[best]), float(found.x)), key=loss))
