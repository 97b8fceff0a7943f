"""Tests of a risk: is the expected loss of a rule at most eps, seen on n problems that were drawn at random?

Each test gives a p-value for H: E L > eps, one that is valid in finite samples: where H holds, P(p <= u) <= u for
every u. A small one is evidence that the risk is at most eps. Inverting a test gives an upper confidence bound.

| losses | test |
|---|---|
| 0 or 1 | `binomial_p`: exact |
| in [low, 1] | `betting_p`: adapts to the variance of the losses |
| in [0, 1] | `hoeffding_bentkus_p`: looser, depends on their mean alone |

All work on the last axis: losses [..., n] give [...]. The n problems must be independent draws from those that the
promise is about; near-duplicates of a problem are one draw, not several.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from escalade.errors import SettingError
from escalade.statistics.intervals import stats

Floats = NDArray[np.float64]

_HALVINGS = 50


def binomial_p(losses: ArrayLike, eps: float) -> Floats:
    """Return the exact p-value of H: P(loss) > eps, for losses of 0 or 1: P(Bin(n, eps) <= sum of losses).

    Raises:
        SettingError: a loss is neither 0 nor 1, there is none, or eps is not in (0, 1).

    Example:
        >>> losses = [0] * 114
        >>> round(float(binomial_p(losses, 0.02)), 4), round(float(binomial_p([1, *losses], 0.02)), 4)
        (0.0999, 0.3278)
    """
    table = _binary(losses)
    _check_eps(eps, 0.0)
    return np.asarray(stats().binom.cdf(table.sum(axis=-1), table.shape[-1], eps), dtype=np.float64)


def hoeffding_bentkus_p(losses: ArrayLike, eps: float) -> Floats:
    """Return the Hoeffding-Bentkus p-value of H: E L > eps, for losses in [0, 1] (arXiv 2110.01052).

    min(exp(-n h(min(m, eps), eps)), e P(Bin(n, eps) <= ceil(n m)), 1), with m the mean loss and
    h(a, b) = a ln(a/b) + (1-a) ln((1-a)/(1-b)).

    Raises:
        SettingError: a loss is no number in [0, 1], there is none, or eps is not in (0, 1).

    Example:
        >>> round(float(hoeffding_bentkus_p([0.0] * 113 + [0.5], 0.02)), 3)
        0.355
    """
    table = _checked(losses, 0.0)
    _check_eps(eps, 0.0)
    return _hoeffding_bentkus_p(table.sum(axis=-1), table.shape[-1], eps)


def betting_p(losses: ArrayLike, eps: float, *, low: float = 0.0, delta: float = 0.1, seed: int = 0) -> Floats:
    """Return the p-value of H: E L > eps by betting against it, for losses in [low, 1] (arXiv 2010.09686).

    p = min(1, 1 / max_t prod_{i<=t} (1 + b_i (e - x_i))), where x = (L - low) / (1 - low) and e is eps on that scale.
    Where H holds, the product is a non-negative supermartingale, so Ville's inequality makes p valid, for any
    bets b_i in [0, 1] that are chosen before x_i is seen. These are the plug-in bets for level `delta`:
    b_i = min(1, sqrt(2 ln(1/delta) / (n v_{i-1}))), with v_t = (1/4 + sum_{i<=t} (x_i - m_i)^2) / (t + 1) and
    m_t = (1/2 + sum_{i<=t} x_i) / (t + 1). `delta` only tunes them.

    The losses are bet on in an order shuffled by `seed`, the same for each rule, so that a file which is sorted in
    some way (by difficulty, say) cannot make p invalid. The seed belongs to the promise: trying several voids it.

    Raises:
        SettingError: a loss is no number in [low, 1], there is none, or eps is not in (low, 1).

    Example:
        A net loss is -1 where the cheaper tier alone is right, 1 where the dearer one alone is.

        >>> net = [0] * 270 + [-1] * 20 + [1] * 10
        >>> round(float(betting_p(net, 0.02, low=-1)), 3), round(float(betting_p([0] * 114, 0.02)), 3)
        (0.018, 0.11)
    """
    table = _checked(losses, low)
    _check_eps(eps, low)
    check_level("delta", delta)
    x, bets = _bets(table, low, delta, seed)
    return _betting_p(x, bets, (eps - low) / (1 - low))


def binomial_upper(losses: ArrayLike, delta: float) -> Floats:
    """Return the bound that P(loss) exceeds with probability at most delta: Clopper and Pearson's, one-sided.

    The largest eps with P(Bin(n, eps) <= s) > delta, s the sum of losses: BetaInv(1 - delta; s + 1, n - s).

    Raises:
        SettingError: a loss is neither 0 nor 1, there is none, or delta is not in (0, 1).

    Example:
        >>> round(float(binomial_upper([0] * 114, 0.1)), 4), float(binomial_upper([1, 1], 0.1))
        (0.02, 1.0)
    """
    table = _binary(losses)
    check_level("delta", delta)
    n, total = table.shape[-1], table.sum(axis=-1)
    clear = stats().beta.ppf(1 - delta, total + 1, np.maximum(n - total, 1))
    return np.asarray(np.where(total == n, 1.0, clear), dtype=np.float64)


def hoeffding_bentkus_upper(losses: ArrayLike, delta: float) -> Floats:
    """Return the bound that E L exceeds with probability at most delta, by inverting `hoeffding_bentkus_p`.

    Raises:
        SettingError: a loss is no number in [0, 1], there is none, or delta is not in (0, 1).

    Example:
        >>> round(float(hoeffding_bentkus_upper([0.0] * 113 + [0.5], 0.1)), 4)
        0.033
    """
    table = _checked(losses, 0.0)
    check_level("delta", delta)
    total, n = table.sum(axis=-1), table.shape[-1]
    return _bisect(lambda eps: _hoeffding_bentkus_p(total, n, eps), delta, table.shape[:-1])


def betting_upper(losses: ArrayLike, delta: float, *, low: float = 0.0, seed: int = 0) -> Floats:
    """Return the bound that E L exceeds with probability at most delta, by inverting `betting_p`.

    The bets do not depend on eps, so p falls with eps, and bisection finds where it reaches delta; the bound is
    rounded up.

    Raises:
        SettingError: a loss is no number in [low, 1], there is none, or delta is not in (0, 1).

    Example:
        >>> round(float(betting_upper([0] * 270 + [-1] * 20 + [1] * 10, 0.1, low=-1)), 4)
        0.0049
    """
    table = _checked(losses, low)
    check_level("delta", delta)
    x, bets = _bets(table, low, delta, seed)
    bound = _bisect(lambda e: _betting_p(x, bets, e[..., np.newaxis]), delta, table.shape[:-1])
    return low + (1 - low) * bound


def _hoeffding_bentkus_p(total: Floats, n: int, eps: float | Floats) -> Floats:
    binom = stats().binom
    mean = np.minimum(total / n, eps)
    # (b/a)^a is 1 where a is 0, and so needs no case of its own as a ln(a/b) does.
    hoeffding = ((eps / np.where(mean > 0, mean, 1.0)) ** mean * ((1 - eps) / (1 - mean)) ** (1 - mean)) ** n
    # 1e-9: a sum of 3 must not become 4 by rounding.
    bentkus = np.e * binom.cdf(np.ceil(total - 1e-9), n, eps)
    return np.asarray(np.minimum(np.minimum(hoeffding, bentkus), 1.0), dtype=np.float64)


def _bets(table: Floats, low: float, delta: float, seed: int) -> tuple[Floats, Floats]:
    n = table.shape[-1]
    order = np.random.default_rng(seed).permutation(n)
    x = (table[..., order] - low) / (1 - low)
    t = np.arange(1, n + 1)
    means = (0.5 + np.cumsum(x, axis=-1)) / (t + 1)
    variances = (0.25 + np.cumsum((x - means) ** 2, axis=-1)) / (t + 1)
    before = np.concatenate([np.full((*x.shape[:-1], 1), 0.25), variances[..., :-1]], axis=-1)
    return x, np.minimum(1.0, np.sqrt(2 * np.log(1 / delta) / (n * before)))


def _betting_p(x: Floats, bets: Floats, eps: float | Floats) -> Floats:
    # A bet of 1 lost in full leaves nothing where eps is 0: log of 0 is the right word for that.
    with np.errstate(divide="ignore"):
        wealth = np.cumsum(np.log1p(bets * (eps - x)), axis=-1).max(axis=-1)
    return np.asarray(np.exp(-np.maximum(wealth, 0.0)), dtype=np.float64)


def _bisect(p_of: Callable[[Floats], Floats], delta: float, shape: tuple[int, ...]) -> Floats:
    """Return the least eps in [0, 1] from which on p <= delta, from above; 1 where there is none."""
    low, high = np.zeros(shape), np.ones(shape)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        passes = p_of(middle) <= delta
        low, high = np.where(passes, low, middle), np.where(passes, middle, high)
    return high


def _checked(losses: ArrayLike, low: float) -> Floats:
    table = np.asarray(losses, dtype=np.float64)
    if table.ndim == 0 or table.shape[-1] == 0:
        raise SettingError("losses: there are none; give at least one problem")
    if not low < 1:
        raise SettingError(f"low is {low!r}: give the least loss there can be, below 1")
    bad = ~((table >= low) & (table <= 1))
    if bad.any():
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        raise SettingError(
            f"loss at {list(place)} is {float(table[place])!r}: give a number in [{low:g}, 1]; a problem whose loss "
            "is unknown has to be left out by name, not by a NaN"
        )
    return table


def _binary(losses: ArrayLike) -> Floats:
    table = _checked(losses, 0.0)
    between = (table > 0) & (table < 1)
    if between.any():
        place = tuple(int(i) for i in np.argwhere(between)[0])
        raise SettingError(
            f"loss at {list(place)} is {float(table[place])!r}: the binomial test is for losses of 0 or 1; "
            "use betting_p for losses in between"
        )
    return table


def _check_eps(eps: float, low: float) -> None:
    if not low < eps < 1:
        raise SettingError(f"eps is {eps!r}: give a tolerated loss in ({low:g}, 1)")


def check_level(name: str, value: float) -> None:
    """Check that a level is a number between 0 and 1, exclusive.

    Raises:
        SettingError: it is not; names it.
    """
    if not 0 < value < 1:
        raise SettingError(f"{name} is {value!r}: give a number in (0, 1)")
