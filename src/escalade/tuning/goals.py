"""Goals: what is asked of a route, and which candidate it chooses on the problems that count.

Two goals:

    budget    the most accurate candidate with a mean cost of at most the budget
    accuracy  the cheapest candidate whose mean accuracy reaches a number, or that of a reference route

A candidate that is best on the problems it is chosen on is partly lucky. Against that, differences are judged by their
standard error s over problems, times a `caution` z: for a budget, by the lower bound g - z s of the gain g over the
best affordable single model, which is taken where no bound is above 0; for an accuracy a, by g - z s >= 0 with g = the
accuracy less a. What luck remains is for `escalade.tuning.tuning` to measure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from escalade.errors import SettingError
from escalade.evaluation.bank import Floats, Ints
from escalade.routes import Route
from escalade.tuning.candidates import Sort, Trials
from escalade.tuning.coins import ahead_of_coins
from escalade.wording import counted

CAUTION = {"budget": 1.0, "accuracy": 0.0}
"""Standard errors, where none are named: a cascade has to earn its place, an accuracy is taken as measured."""
ROUNDING = 1e-12
"""What sums of shares may be off by."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What is asked of a route: a budget (USD a problem, on average), or an accuracy (a number, or a reference's).

    Raises:
        SettingError: none or several of them, or one that is out of range.

    Example:
        >>> Goal(budget=0.001).sort, Goal(accuracy=0.84).sort
        ('budget', 'accuracy')
    """

    budget: float | None = None
    accuracy: float | Route | None = None
    caution: float | None = None
    """Standard errors by which a difference has to be clear; None takes the usual number of the goal."""

    def __post_init__(self) -> None:
        if (self.budget is None) == (self.accuracy is None):
            raise SettingError("a goal is a budget or an accuracy: give one of them")
        if self.budget is not None and not 0 <= self.budget < float("inf"):
            raise SettingError(f"budget is {self.budget!r}: give USD per problem, at least 0")
        if isinstance(self.accuracy, float | int) and not 0 <= self.accuracy <= 1:
            raise SettingError(f"accuracy is {self.accuracy!r}: give a number in [0, 1], as 0.84, or a route")
        if self.caution is not None and not 0 <= self.caution < float("inf"):
            raise SettingError(f"caution is {self.caution!r}: give a number of standard errors, at least 0")

    @property
    def sort(self) -> str:
        """Of which sort: budget or accuracy."""
        return "accuracy" if self.budget is None else "budget"

    @property
    def standard_errors(self) -> float:
        """The caution."""
        return CAUTION[self.sort] if self.caution is None else self.caution


class Choice(NamedTuple):
    """Which candidate a goal chooses."""

    place: int
    met: bool
    """Whether the goal was met; else it is the cheapest, or the most accurate."""


def choose(trials: Trials, counts: Ints, goal: Goal) -> Choice:
    """Return which candidate a goal chooses on some of the problems.

    Args:
        trials: what the candidates come to on N problems.
        counts: [N] how often each problem counts, 0 for those that have no say.
        goal: what is asked.

    A gate that is not ahead of a coin in its place (`escalade.tuning.coins`) is not chosen. Ties go to the cheaper,
    then to the simpler candidate, then to the first.

    Raises:
        SettingError: fewer than two problems count.

    Example:
        >>> from escalade.tuning.candidates import try_all
        >>> from escalade.evaluation.bank import Bank
        >>> trials = try_all(Bank.of_recording("shipped").subset(range(20)))
        >>> place, met = choose(trials, np.ones(20, dtype=int), Goal(accuracy=0.5))
        >>> bool(trials.correct[place].mean() >= 0.5), met
        (True, True)
    """
    n = int(counts.sum())
    if n < 2:
        raise SettingError(f"a choice on {counted(n, 'problem')} cannot be judged: give at least 2")
    weights = counts / n
    accuracy, cost, sorts = trials.correct @ weights, trials.cost @ weights, trials.sorts
    if goal.budget is not None:
        affordable = cost <= goal.budget * (1 + ROUNDING)
        if not affordable.any():
            return Choice(_first(cost, -accuracy, sorts), met=False)
        singles = affordable & (sorts <= Sort.VOTE)
        if not singles.any():
            return Choice(_first(-accuracy, cost, sorts, where=affordable), met=True)
        best = _first(-accuracy, cost, sorts, where=singles)
        gain = _lower_bounds(trials, weights, n, trials.correct[best], goal.standard_errors)
        better = ahead_of_coins(trials, affordable & (gain > ROUNDING), weights, n, goal.standard_errors)
        return Choice(_first(-gain, cost, sorts, where=better) if better.any() else best, met=True)
    if isinstance(goal.accuracy, Route):
        asked = trials.correct[trials.place(goal.accuracy)]
    else:
        asked = np.full(len(weights), goal.accuracy)
    gain = _lower_bounds(trials, weights, n, asked, goal.standard_errors)
    reached = ahead_of_coins(trials, gain >= -ROUNDING, weights, n, goal.standard_errors)
    if not reached.any():
        return Choice(_first(-gain, cost, sorts), met=False)
    return Choice(_first(cost, -accuracy, sorts, where=reached), met=True)


def best_single(trials: Trials, counts: Ints, cost: float) -> int:
    """Return the most accurate candidate of one model that costs at most so much; the cheapest where none does."""
    weights = counts / counts.sum()
    accuracy, costs, sorts = trials.correct @ weights, trials.cost @ weights, trials.sorts
    singles = sorts <= Sort.VOTE
    within = singles & (costs <= cost * (1 + ROUNDING))
    if not within.any():
        return _first(costs, -accuracy, sorts, where=singles)
    return _first(-accuracy, costs, sorts, where=within)


def dearest_single(trials: Trials) -> int:
    """Return the dearest candidate that is one sample of one model: the reference where none is named.

    Example:
        >>> from escalade.tuning.candidates import try_all
        >>> from escalade.evaluation.bank import Bank
        >>> trials = try_all(Bank.of_recording("shipped").subset(range(20)))
        >>> str(trials.candidates[dearest_single(trials)].route)
        'mv_1.5B_k1_t0.0'
    """
    cost = trials.cost.mean(axis=1)
    return _first(-cost, trials.sorts, where=trials.sorts == Sort.DIRECT)


def _lower_bounds(trials: Trials, weights: Floats, n: int, asked: Floats, z: float) -> Floats:
    """[C] mean of (correct - asked) less z of its standard errors."""
    mean = trials.correct @ weights - asked @ weights
    if z == 0:
        return np.asarray(mean)
    squares = (trials.correct**2) @ weights - 2 * trials.correct @ (weights * asked) + asked**2 @ weights
    variance = np.maximum(0.0, squares - mean**2) * n / (n - 1)
    return np.asarray(mean - z * np.sqrt(variance / n))


def _first(*keys: Floats | Ints, where: Any = None) -> int:
    """Return the place that is first by these keys, the first of them first."""
    places = np.arange(len(keys[0])) if where is None else np.flatnonzero(where)
    return int(places[np.lexsort([key[places] for key in reversed(keys)])[0]])
