"""Guarantees: rules chosen on labelled problems so that a promise about new problems holds.

Two kinds of promise. `learn_then_test` promises that the *risk* of the chosen rule (its expected loss on all problems)
is at most eps, except with probability delta over the draw of the labelled problems. `conformal_risk` and the budgets
promise an expectation over that draw as well: on average over all such draws, the next problem's loss is at most eps.

Both take rules in the order of a walk, from the safest to the boldest, that was fixed without looking at these
problems: the grid itself, or an order found on other problems. Losses are [m, n]: rule by problem. The two losses
of accepting a cheaper tier's answer in the place of a dearer one's:

    regret  1 where accepted, the cheaper wrong, the dearer right; else 0            grows along the walk
    net     where accepted: right by the dearer - right by the cheaper, in {-1,0,1}  counts rescues; need not grow

Both may be expected ones, over all draws of a problem's samples: net is then the difference of two expected scores.

What voids a promise: other problems than those the labels were drawn from, another model, prompt, sampling or grader;
choosing a calibration, an order or a seed on the same labels; testing again until it passes.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from escalade.errors import SettingError
from escalade.statistics.intervals import stats
from escalade.statistics.risk import (
    Floats,
    betting_p,
    betting_upper,
    binomial_p,
    binomial_upper,
    check_level,
    hoeffding_bentkus_p,
    hoeffding_bentkus_upper,
)

TestName = Literal["binomial", "betting", "hoeffding-bentkus"]
_MOST_LABELS = 10_000_000


class Certified(NamedTuple):
    """Which rule of a walk holds its promise."""

    chosen: int | None
    """Place in the walk of the boldest certified rule; None where not even the safest could be certified."""
    p_values: NDArray[np.float64]
    """[m]"""
    risks: NDArray[np.float64]
    """[m] mean loss on the labelled problems: in-sample, not what is promised."""
    bound: float
    """Upper confidence bound on the chosen rule's risk, at 1 - delta, by the same test; NaN where none is chosen."""
    problems: int


def fixed_sequence(p_values: ArrayLike, delta: float) -> int | None:
    """Return the last hypothesis rejected by a walk that stops at the first p-value above delta; None for none.

    Tested in a fixed order, the chance that any rejected hypothesis is true is at most delta, with no correction
    for their number (arXiv 2110.01052): the first true one must be rejected for that.

    Raises:
        SettingError: a p-value is no number in [0, 1], there is none, or delta is not in (0, 1).

    Example:
        >>> fixed_sequence([0.01, 0.04, 0.2, 0.03], 0.1), fixed_sequence([0.3, 0.01], 0.1)
        (1, None)
    """
    values = np.asarray(p_values, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise SettingError(f"p_values has the shape {list(values.shape)}: give one p-value per rule, in walk order")
    if not ((values >= 0) & (values <= 1)).all():
        place = int(np.argmin((values >= 0) & (values <= 1)))
        raise SettingError(f"p-value at {place} is {float(values[place])!r}: give a number in [0, 1]")
    check_level("delta", delta)
    passed = int(np.argmin(np.append(values <= delta, False)))
    return passed - 1 if passed else None


def learn_then_test(
    losses: ArrayLike, eps: float, delta: float, *, test: TestName = "binomial", low: float = 0.0, seed: int = 0
) -> Certified:
    """Return the boldest rule whose risk is certified to be at most eps: P(its risk > eps) <= delta.

    Learn then Test (arXiv 2110.01052): a p-value per rule for H: its risk > eps, and `fixed_sequence`.
    `losses` is [m, n], rules in walk order. `low` (net losses: -1) and `seed` are of the betting test.

    Raises:
        SettingError: losses of the wrong shape or out of range for the test, eps or delta out of range.

    Example:
        Three thresholds seen on 300 problems, with 0, 2 and 9 regrets.

        >>> losses = [[1] * s + [0] * (300 - s) for s in (0, 2, 9)]
        >>> certified = learn_then_test(losses, eps=0.02, delta=0.1)
        >>> certified.chosen, certified.p_values.round(3).tolist(), round(certified.bound, 4)
        (1, [0.002, 0.06, 0.918], 0.0176)
    """
    table = _walk(losses)
    check_level("delta", delta)
    if test != "betting" and low != 0.0:
        raise SettingError(f"low is {low!r}: losses below 0 need the test 'betting'")
    if test == "betting":
        p_values = betting_p(table, eps, low=low, delta=delta, seed=seed)
    elif test == "binomial":
        p_values = binomial_p(table, eps)
    elif test == "hoeffding-bentkus":
        p_values = hoeffding_bentkus_p(table, eps)
    else:
        raise SettingError(f"test {test!r} is unknown: there are binomial, betting, hoeffding-bentkus")
    chosen = fixed_sequence(p_values, delta)
    bound = math.nan
    if chosen is not None:
        row = table[chosen]
        if test == "betting":
            bound = float(betting_upper(row, delta, low=low, seed=seed))
        else:
            bound = float((binomial_upper if test == "binomial" else hoeffding_bentkus_upper)(row, delta))
    return Certified(chosen, p_values, table.mean(axis=1), bound, table.shape[1])


def conformal_risk(losses: ArrayLike, eps: float) -> int | None:
    """Return the boldest rule whose expected loss on the next problem is at most eps; None for none.

    Conformal risk control (arXiv 2208.02814), for losses in [0, 1] that no problem's bolder rule lowers: the last
    rule with (sum of losses + 1) / (n + 1) <= eps. The promise is one on average over draws of the labelled problems,
    weaker than that of `learn_then_test`; where None is returned nothing is promised and nothing may be accepted.

    Raises:
        SettingError: losses of the wrong shape, out of range or falling along the walk; eps not in (0, 1).

    Example:
        >>> losses = [[1] * s + [0] * (300 - s) for s in (0, 2, 9)]
        >>> conformal_risk(losses, 0.02), conformal_risk(losses, 0.04), conformal_risk(losses, 0.003)
        (1, 2, None)
    """
    table = _walk(losses)
    check_level("eps", eps)
    if not ((table >= 0) & (table <= 1)).all():
        raise SettingError("losses: conformal risk control needs numbers in [0, 1]")
    falls = np.argwhere(np.diff(table, axis=0) < 0)
    if falls.size:
        rule, problem = (int(i) for i in falls[0])
        raise SettingError(
            f"losses: problem {problem} loses less under rule {rule + 1} than under the safer rule {rule}; conformal "
            "risk control needs losses that grow along the walk (regret does): else use learn_then_test"
        )
    holds = table.sum(axis=1) + 1 <= eps * (table.shape[1] + 1) + 1e-9
    passed = int(np.argmin(np.append(holds, False)))
    return passed - 1 if passed else None


def labels_needed(eps: float, delta: float, rate: float = 0.0) -> int:
    """Return how many labelled problems the binomial test needs to pass when a share rate * eps of them is lost.

    The least n with P(Bin(n, eps) <= ceil(rate eps n)) <= delta; with no loss (rate 0) that is
    ln(delta) / ln(1 - eps), rounded up.

    Raises:
        SettingError: eps or delta not in (0, 1), rate not in [0, 1), or more than ten million are needed.

    Example:
        >>> [labels_needed(eps, 0.1) for eps in (0.01, 0.02, 0.05)], labels_needed(0.02, 0.1, rate=0.5)
        ([230, 114, 45], 398)
    """
    check_level("eps", eps)
    check_level("delta", delta)
    if not 0 <= rate < 1:
        raise SettingError(f"rate is {rate!r}: give the observed risk as a share of eps, in [0, 1)")
    # Fewer do not even pass without a loss.
    first, count = max(1, math.floor(math.log(delta) / math.log1p(-eps))), 1024
    while first <= _MOST_LABELS:
        n = np.arange(first, first + count)
        passes = np.asarray(stats().binom.cdf(np.ceil(rate * eps * n - 1e-9), n, eps)) <= delta
        if passes.any():
            return int(n[np.argmax(passes)])
        first, count = first + count, 2 * count
    raise SettingError(
        f"more than {_MOST_LABELS:,} labels are needed to show a loss of {eps:g} when {rate:g} of it is observed: "
        "tolerate more"
    )


def cost_quantile(costs: ArrayLike, alpha: float) -> float:
    """Return the budget B that the next problem's cost stays within with probability at least 1 - alpha.

    The ceil((n + 1)(1 - alpha))-th smallest of n costs (split conformal); infinite where n < 1/alpha - 1, as
    no finite budget can then be promised. For one route that was chosen on other problems; `within_budget` chooses.

    Raises:
        SettingError: a cost is negative or no number, there is none, or alpha is not in (0, 1).

    Example:
        >>> cost_quantile([3, 1, 4, 1, 5, 9, 2, 6, 5], 0.1), cost_quantile([3, 1, 4], 0.1)
        (9.0, inf)
    """
    table = _costs(costs, 1)
    check_level("alpha", alpha)
    rank = math.ceil((table.size + 1) * (1 - alpha) - 1e-9)
    return math.inf if rank > table.size else float(np.sort(table)[rank - 1])


def within_budget(costs: ArrayLike, budget: float, alpha: float) -> int | None:
    """Return the dearest route of a walk with P(the next problem costs more than the budget) <= alpha; None for none.

    `costs` is [m, n]: routes from the cheapest to the dearest, by problem, no problem's cost falling along the walk (as
    with thresholds that rise). `conformal_risk` with the loss 1 where the budget is exceeded, so that choosing
    is paid for; a route passes where `cost_quantile` of its costs is within the budget.

    Raises:
        SettingError: as `conformal_risk`; a budget that is negative or no number.

    Example:
        >>> costs = [[1.0] * 19, [1.0] * 18 + [5.0], [1.0] * 15 + [5.0] * 4]
        >>> within_budget(costs, 2.0, 0.1), within_budget(costs, 5.0, 0.1), within_budget(costs, 0.5, 0.1)
        (1, 2, None)
    """
    table = _costs(costs, 2)
    if not budget >= 0:
        raise SettingError(f"budget is {budget!r}: give USD per problem, at least 0")
    return conformal_risk(table > budget, alpha)


def _walk(losses: ArrayLike) -> Floats:
    table = np.asarray(losses, dtype=np.float64)
    if table.ndim != 2 or 0 in table.shape:
        raise SettingError(
            f"losses has the shape {list(table.shape)}: give [rules in walk order, problems], none empty"
        )
    return table


def _costs(costs: ArrayLike, dimensions: int) -> Floats:
    table = np.asarray(costs, dtype=np.float64)
    if table.ndim != dimensions or 0 in table.shape:
        wanted = "[problems]" if dimensions == 1 else "[routes from cheapest to dearest, problems]"
        raise SettingError(f"costs has the shape {list(table.shape)}: give {wanted}, none empty")
    bad = ~((table >= 0) & (table < math.inf))
    if bad.any():
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        raise SettingError(
            f"cost at {list(place)} is {float(table[place])!r}: give USD, at least 0; an unknown cost promises nothing"
        )
    return table
