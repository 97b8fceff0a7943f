"""Between two routes: what a random mix of them has, what an accuracy costs, how much of their gap is recovered.

The measures of RouteLLM (arXiv 2406.18665) over cost in the place of calls, and without interpolating a curve that
falls and rises again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from escalade.errors import SettingError
from escalade.statistics.columns import Column, column
from escalade.statistics.frontier import Point, columns_of, staircase

_ROUNDING = 1e-12
"""What an accuracy may lack of the one asked for and still count as reached."""


class Mix(NamedTuple):
    """Two routes mixed at random: `share` of the problems go to the dearer one."""

    cost: float
    accuracy: float
    share: float


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
    costs, accuracies = columns_of(points)
    reached = costs[accuracies >= accuracy - _ROUNDING]
    return float(reached.min()) if reached.size else None


def random_mix(cheap: Point, dear: Point, budget: float) -> Mix:
    """Return the random mix of two routes that spends the budget: a share of the problems goes to the dearer one.

    Raises:
        TableError: a cost or an accuracy out of range.
        SettingError: the second is not dearer than the first, or the budget is not between their costs.

    Example:
        >>> random_mix(Point(1, 0.5), Point(9, 0.9), 3)
        Mix(cost=3, accuracy=0.6, share=0.25)
    """
    columns_of([cheap, dear])
    if not cheap.cost < dear.cost:
        raise SettingError(f"a mix of costs {cheap.cost:g} and {dear.cost:g}: give the cheaper route first")
    if not cheap.cost <= budget <= dear.cost:
        raise SettingError(
            f"budget {budget:g} is not between the costs of the routes, {cheap.cost:g} and {dear.cost:g}"
        )
    share = (budget - cheap.cost) / (dear.cost - cheap.cost)
    return Mix(budget, cheap.accuracy + share * (dear.accuracy - cheap.accuracy), share)


def gap_recovered(accuracies: ArrayLike, weak: Point, strong: Point) -> Column:
    """Return the performance gap recovered, PGR = (r - r_weak) / (r_strong - r_weak), shape [M] (arXiv 2406.18665).

    NaN where the strong model is not better than the weak one: there is no gap.

    Raises:
        TableError: no accuracies, or one is NaN or outside [0, 1].

    Example:
        >>> gap_recovered([0.5, 0.8], Point(1, 0.5), Point(9, 0.9)).round(6)
        array([0.  , 0.75])
    """
    reached, gap = column("accuracies", accuracies, 0, 1), strong.accuracy - weak.accuracy
    return (reached - weak.accuracy) / gap if gap > 0 else np.full(len(reached), math.nan)


def average_gap_recovered(points: Sequence[Point], weak: Point, strong: Point) -> float:
    """Return APGR: the mean PGR over the cost between the weak and the strong model (arXiv 2406.18665).

    Published over the share of calls to the strong model; over cost here, so that a cascade that pays both models is
    charged for both. The trapezoid runs over the points by rising cost and from the weak to the strong model, which
    every policy has; points outside their costs do not count. A random mix of the two has 0.5. NaN where the strong
    model is not both dearer and better.

    Raises:
        TableError: no points, or a cost or an accuracy out of range.

    Example:
        >>> weak, strong = Point(1, 0.5), Point(9, 0.9)
        >>> round(average_gap_recovered([Point(5, 0.8)], weak, strong), 6)  # ((0 + .75)/2 + (.75 + 1)/2) / 2
        0.625
        >>> round(average_gap_recovered([Point(5, 0.7)], weak, strong), 6)
        0.5
    """
    if not (weak.cost < strong.cost and weak.accuracy < strong.accuracy):
        return math.nan
    columns_of(points)
    within = [point for point in points if weak.cost < point.cost < strong.cost]
    curve = staircase([weak, *within, strong])
    spans, recovered = np.diff(curve.costs), gap_recovered(curve.accuracies, weak, strong)
    return float(np.sum((recovered[1:] + recovered[:-1]) / 2 * spans) / (strong.cost - weak.cost))


def cost_share_at_gap(points: Sequence[Point], weak: Point, strong: Point, recovered: float) -> float:
    """Return CPT over cost: the least cost that recovers so much of the gap, as a share of the way from weak to strong.

    CPT(x) of arXiv 2406.18665 with cost in the place of calls, as a first crossing among the policy's own points. Above
    1: dearer than the strong model, a loss. Infinite where no point recovers so much; NaN where there is no gap or the
    strong model is not dearer.

    Raises:
        TableError: no points, or a cost or an accuracy out of range.

    Example:
        >>> weak, strong = Point(1, 0.5), Point(9, 0.9)
        >>> policy = [Point(3, 0.7), Point(5, 0.65), Point(11, 0.9)]
        >>> [round(cost_share_at_gap(policy, weak, strong, x), 3) for x in (0.5, 0.8, 1.1)]
        [0.25, 1.25, inf]
    """
    costs, accuracies = columns_of(points)
    if not (weak.cost < strong.cost and weak.accuracy < strong.accuracy):
        return math.nan
    reached = costs[gap_recovered(accuracies, weak, strong) >= recovered - _ROUNDING]
    return float((reached.min() - weak.cost) / (strong.cost - weak.cost)) if reached.size else math.inf
