"""Frontiers of cost and accuracy: which routes are worth their money, and how much of the possible a policy reaches.

A point is a route's mean cost a problem (any one unit) and its accuracy. A frontier says what accuracy a budget buys:

    staircase      the points as they are: of those within the budget, the dearest. For points chosen on other data.
    step_frontier  the points that none beats. Chosen on the data it is drawn from, it is in-sample.
    hull           the same with random mixing between neighbours allowed: non-decreasing and concave.
    oracle         the most that any policy over single models could reach, knowing each problem's expected scores.

Below its cheapest point a frontier says nothing (NaN). An area over a range that begins there takes what `below`, the
frontier of the single models, has to offer: whoever has no policy that cheap uses a single model. So a policy is
neither punished for having no point below its cheapest (accuracy 0) nor given its cheapest accuracy for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from escalade.errors import SettingError, TableError
from escalade.statistics.columns import Column, column

_ROUNDING = 1e-12
"""Relative difference of two costs, or difference of two accuracies, that are one but for rounding."""


class Point(NamedTuple):
    """A route's mean cost a problem and its accuracy."""

    cost: float
    accuracy: float
    name: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Frontier:
    """The accuracy that each budget buys: by steps, or with `mixing` on straight lines between neighbours."""

    costs: Column
    """Rising, shape [M], M >= 1."""
    accuracies: Column
    names: tuple[str, ...]
    mixing: bool

    @property
    def points(self) -> list[Point]:
        """The points by rising cost."""
        return [Point(*each) for each in zip(self.costs.tolist(), self.accuracies.tolist(), self.names, strict=True)]

    def accuracy_at(self, budgets: ArrayLike) -> Column:
        """Return the accuracy at each budget, shape [B]: NaN below the cheapest point, the last one's beyond it.

        Raises:
            TableError: no budget, or one is NaN.

        Example:
            >>> points = [Point(1, 0.5), Point(3, 0.7)]
            >>> step_frontier(points).accuracy_at([0.5, 2, 9]), hull(points).accuracy_at([0.5, 2, 9])
            (array([nan, 0.5, 0.7]), array([nan, 0.6, 0.7]))
        """
        wanted = column("budgets", budgets)
        if self.mixing:
            return np.asarray(np.interp(wanted, self.costs, self.accuracies, left=math.nan))
        place = np.searchsorted(self.costs, wanted, side="right") - 1
        return np.where(place < 0, math.nan, self.accuracies[np.maximum(place, 0)])

    def mean_accuracy(self, low: float, high: float, *, log: bool, below: Frontier | None = None) -> float:
        """Return the area under the frontier from cost `low` to `high`, divided by the width: its mean accuracy.

        1/(high - low) Int A(c) dc, or over the logarithm of cost 1/ln(high/low) Int A(c) dc/c; in closed form. Where
        the frontier has no point yet, A is that of `below`; NaN where that has none either or is not given.

        Raises:
            SettingError: not 0 <= low < high < infinity, or low = 0 over the logarithm.

        Example:
            >>> frontier = step_frontier([Point(1, 0.5), Point(10, 0.7)])
            >>> frontier.mean_accuracy(1, 100, log=True)  # half of the decades at .5, half at .7
            0.6
            >>> round(frontier.mean_accuracy(1, 19, log=False), 12), frontier.mean_accuracy(0.1, 19, log=True)
            (0.6, nan)
            >>> round(hull([Point(1, 0.5), Point(3, 0.7)]).mean_accuracy(1, 3, log=False), 12)
            0.6
        """
        _check_range(low, high, log)
        width = math.log(high / low) if log else high - low
        near = low * (1 + _ROUNDING)
        first = float(self.costs[0])
        if first <= near:
            return self._area(max(low, first), high, log) / width
        if below is None or below.costs[0] > near:
            return math.nan
        area = below._area(max(low, float(below.costs[0])), min(high, first), log)
        return (area + (self._area(first, high, log) if first < high else 0.0)) / width

    def _area(self, low: float, high: float, log: bool) -> float:
        """Int A(c) dc or dc/c over a range that begins at a point or behind one."""
        inside = np.unique(self.costs[(self.costs > low) & (self.costs < high)])
        edges = np.concatenate([[low], inside, [high]])
        left, right = edges[:-1], edges[1:]
        start = self.accuracy_at(left)
        slope = (self.accuracy_at(right) - start) / (right - left) if self.mixing else np.zeros(len(left))
        if log:  # Int (start + slope (c - left)) dc/c
            return float(np.sum((start - slope * left) * np.log(right / left) + slope * (right - left)))
        return float(np.sum((start + slope * (right - left) / 2) * (right - left)))


def staircase(points: Sequence[Point]) -> Frontier:
    """Return the points as they are: a budget buys the dearest point within it, better or worse than a cheaper one.

    This is the held-out curve of policies that were chosen on other data; picking among them here would be in-sample.
    Of several points of one cost the most accurate counts, of equal ones the first by name.

    Raises:
        TableError: no points, or a cost or an accuracy out of range.

    Example:
        >>> staircase([Point(3, 0.6, "c"), Point(1, 0.5, "a"), Point(2, 0.7, "b")]).names
        ('a', 'b', 'c')
    """
    return _sorted(points)


def step_frontier(points: Sequence[Point]) -> Frontier:
    """Return the points that none beats: no other is as cheap or cheaper and as accurate or more.

    Of equal points the first by name. Chosen on the data it is drawn from, the frontier is in-sample: its accuracies
    are too high by what luck decides between neighbours.

    Raises:
        TableError: no points, or a cost or an accuracy out of range.

    Example:
        >>> points = [Point(1, 0.5, "a"), Point(2, 0.7, "c"), Point(2, 0.7, "b"), Point(3, 0.7, "d")]
        >>> step_frontier(points).names
        ('a', 'b')
    """
    every = _sorted(points)
    best = np.maximum.accumulate(every.accuracies)
    return _kept(every, np.flatnonzero(np.diff(best, prepend=-1.0) > 0), mixing=False)


def unbeaten(points: Sequence[Point]) -> list[bool]:
    """Say of each point whether it is on the step frontier; of equal points all are.

    Raises:
        TableError: a cost or an accuracy out of range.

    Example:
        >>> unbeaten([Point(1, 0.5), Point(2, 0.7), Point(3, 0.6), Point(2, 0.7)])
        [True, True, False, True]
    """
    if not points:
        return []
    best = {point[:2] for point in step_frontier(points).points}
    return [(float(point.cost), float(point.accuracy)) in best for point in points]


def cost_at_accuracy(points: Sequence[Point], accuracy: float) -> float | None:
    """Return the cost of the cheapest point with at least this accuracy; None where there is none.

    The first crossing along rising cost: nothing is interpolated, so a curve that falls and rises again cannot mislead.

    Raises:
        TableError: no points, or a cost or an accuracy out of range.

    Example:
        >>> curve = [Point(0, 0.6), Point(20, 0.7), Point(40, 0.68), Point(60, 0.75), Point(80, 0.72), Point(100, 0.8)]
        >>> cost_at_accuracy(curve, 0.7), cost_at_accuracy(curve, 0.85)  # numpy.interp(0.7, ...) would say 45.7
        (20.0, None)
    """
    every = _sorted(points)
    reached = every.costs[every.accuracies >= accuracy - _ROUNDING]
    return float(reached.min()) if reached.size else None


def hull(points: Sequence[Point]) -> Frontier:
    """Return the non-decreasing convex hull: the best accuracy at each budget when routes are mixed at random.

    From the cheapest point to the most accurate by falling positive slopes (arXiv 2403.12031). Its vertices are picked
    on the data it is drawn from: in-sample, as `step_frontier`.

    Raises:
        TableError: no points, or a cost or an accuracy out of range.

    Example:
        >>> hull([Point(1, 0.5, "a"), Point(2, 0.55, "b"), Point(3, 0.7, "c"), Point(5, 0.7, "d")]).names
        ('a', 'c')
    """
    steps = step_frontier(points)
    kept: list[int] = []
    for place in range(len(steps.costs)):
        while len(kept) > 1 and _slope(steps, kept[-2], kept[-1]) <= _slope(steps, kept[-2], place):
            kept.pop()
        kept.append(place)
    return _kept(steps, np.array(kept), mixing=True)


def oracle(correct: ArrayLike, costs: ArrayLike) -> Frontier:
    """Return the frontier of an oracle that knows the expected score of each model on each problem.

    It takes one model a problem and gets the most right at each budget: maximise mean of correct[i, m(i)] with mean of
    costs[i, m(i)] <= budget, exactly, but that one problem at the edge is mixed. Each problem's models form a concave
    hull; all its steps, of all problems, are taken by falling slope (fractional knapsack; Sinha & Zoltners 1979). It
    begins at the cheapest model on every problem and ends at the cheapest of the most accurate: with scores of 0 and 1
    the cheapest model that is right, else the cheapest. It cannot foresee the luck of a draw (an expected score of
    0.7 counts 0.7), takes no votes of several models, and is out of reach: no policy knows the scores.

    Args:
        correct: expected scores in [0, 1], shape [N, M] of problems and models.
        costs: expected costs, shape [N, M].

    Raises:
        TableError: empty, of different shapes, a score outside [0, 1], a cost that is NaN, infinite or negative.

    Example:
        >>> frontier = oracle([[1, 1], [0, 1], [0, 0]], [[1, 10], [1, 10], [1, 10]])
        >>> frontier.costs.tolist(), frontier.accuracies.round(3).tolist()  # only the second problem is worth 10
        ([1.0, 4.0], [0.333, 0.667])
    """
    scores, prices = _table("correct", correct, 1.0), _table("costs", costs, math.inf)
    if scores.shape != prices.shape:
        raise TableError(f"`correct` has the shape {scores.shape} and `costs` {prices.shape}: give both as [N, M]")
    rows = np.arange(len(scores))
    at = np.lexsort((-scores, prices), axis=1)[:, 0]
    start_cost, start_score = prices[rows, at].mean(), scores[rows, at].mean()
    dearer: list[Column] = []
    better: list[Column] = []
    for _ in range(scores.shape[1] - 1):  # each problem takes the steepest of the steps that are left to it
        cost = prices - prices[rows, at][:, None]
        gain = scores - scores[rows, at][:, None]
        slope = np.where((cost > 0) & (gain > 0), gain / np.where(cost > 0, cost, 1.0), 0.0)
        steepest = slope.max(axis=1, keepdims=True)
        if not (moves := np.flatnonzero(steepest[:, 0] > 0)).size:
            break
        best = np.argmax(np.where(slope == steepest, gain, -1.0), axis=1)
        dearer.append(cost[moves, best[moves]])
        better.append(gain[moves, best[moves]])
        at[moves] = best[moves]
    step_costs, step_gains = (np.concatenate([np.empty(0), *steps]) for steps in (dearer, better))
    order = np.argsort(-step_gains / step_costs, kind="stable")
    climbed = np.concatenate([[0.0], np.cumsum(step_costs[order])]) / len(rows)
    gained = np.concatenate([[0.0], np.cumsum(step_gains[order])]) / len(rows)
    return Frontier(start_cost + climbed, start_score + gained, ("oracle",) * len(climbed), mixing=True)


def aiq(points: Sequence[Point], low: float, high: float, below: Frontier | None = None) -> float:
    """Return the average improvement in quality of a router's points, with mixing, over costs low to high.

    1/(high - low) Int A(c) dc under the non-decreasing convex hull (arXiv 2403.12031). All routers that are compared
    take one range. Where the range begins below the router's cheapest point, A is that of `below` (the hull of the
    single models) up to there: neither 0 nor the router's own first accuracy, which it does not have for that money.
    NaN where `below` is not given or begins later.

    Raises:
        TableError: no points, or a cost or an accuracy out of range.
        SettingError: not 0 <= low < high.

    Example:
        >>> singles = hull([Point(1, 0.5), Point(5, 0.9)])
        >>> router = [Point(3, 0.8), Point(5, 0.9)]
        >>> round(aiq(router, 1, 5, singles), 6)  # (.5 + .7)/2 for half of the range, (.8 + .9)/2 for the other
        0.725
        >>> round(singles.mean_accuracy(1, 5, log=False), 6), aiq(router, 1, 5)
        (0.7, nan)
    """
    return hull(points).mean_accuracy(low, high, log=False, below=below)


def frontier_gain(policy: Frontier, singles: Sequence[Point], best: Frontier) -> float:
    """Return how much of the way from mixed single models to the oracle a policy goes.

    G = (A_policy - A_zero) / (A_oracle - A_zero), A the mean accuracy over the logarithm of cost between the cheapest
    and the dearest single model, zero the hull of `singles` (the "zero router", which mixes blindly), `best` the
    `oracle`. 0: no better than mixing blindly; 1: the oracle; negative: a loss. Below the policy's cheapest point it is
    given zero's accuracy, and so no gain. Single models by steps are below 0: a staircase cannot mix. Take
    `hull(points)` as policy to let it mix, and `staircase` of held-out points for an honest number.
    NaN where the oracle gains nothing.

    Raises:
        TableError: no points, or a cost or an accuracy out of range.
        SettingError: the single models cost the same, or one costs nothing: there is no range of log cost.

    Example:
        >>> singles = [Point(1, 0.5), Point(100, 0.9)]
        >>> perfect = oracle([[1, 1], [0, 1], [0, 1], [1, 0.6]], [[1, 100]] * 4)
        >>> frontier_gain(hull(singles), singles, perfect), frontier_gain(perfect, singles, perfect)
        (0.0, 1.0)
        >>> round(frontier_gain(step_frontier([Point(1, 0.5), Point(10, 0.8)]), singles, perfect), 3)
        0.736
    """
    zero = hull(singles)
    low, high = min(point.cost for point in singles), max(point.cost for point in singles)
    base = zero.mean_accuracy(low, high, log=True)
    reach = best.mean_accuracy(low, high, log=True, below=zero) - base
    gain = policy.mean_accuracy(low, high, log=True, below=zero) - base
    return gain / reach if reach > 0 else math.nan


def _sorted(points: Sequence[Point]) -> Frontier:
    """Sort by cost; of one cost keep the most accurate, of equal points the first by name."""
    costs = column("cost of the points", [point.cost for point in points], 0)
    accuracies = column("accuracy of the points", [point.accuracy for point in points], 0, 1)
    names = [point.name for point in points]
    by_name = {name: place for place, name in enumerate(sorted(set(names)))}
    order = np.lexsort((np.array([by_name[name] for name in names]), -accuracies, costs))
    order = order[np.diff(costs[order], prepend=-1.0) > 0]
    return Frontier(costs[order], accuracies[order], tuple(names[place] for place in order), mixing=False)


def _kept(frontier: Frontier, places: NDArray[np.intp], *, mixing: bool) -> Frontier:
    names = tuple(frontier.names[place] for place in places)
    return Frontier(frontier.costs[places], frontier.accuracies[places], names, mixing)


def _slope(frontier: Frontier, first: int, second: int) -> float:
    rise = frontier.accuracies[second] - frontier.accuracies[first]
    return float(rise / (frontier.costs[second] - frontier.costs[first]))


def _table(name: str, values: ArrayLike, high: float) -> Column:
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or not table.size:
        raise TableError(f"`{name}` has the shape {table.shape}: give problems by models, [N, M]")
    return column(name, table.ravel(), 0, high).reshape(table.shape)


def _check_range(low: float, high: float, log: bool) -> None:
    if not 0 <= low < high < math.inf:
        raise SettingError(f"costs from {low:g} to {high:g} are no range: two different costs, the lower one first")
    if log and low == 0:
        raise SettingError("a cost of 0 has no logarithm: begin the range at the cheapest cost above 0")
