"""What is not measured per problem, modelled from aggregates: whether 72B is right, and what a sample costs.

Each model has the fewest numbers that the recorded aggregates fix; how well it predicts the others is printed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize
from scipy.special import expit, logit

from benchmarks.recorded.measured import MEASURED, SAMPLES, Floats, Measured
from escalade.errors import TableError
from escalade.routes import parse_route
from escalade.strategies import get_strategy

Largest = Literal["fitted", "flat", "nested"]
"""How 72B's right answers spread over problems: as fitted, evenly, or over those that 7B finds easiest."""
FITTED_ON = "cascade"
"""The strategy whose recorded cost fixes how much longer answers to hard problems are."""


def largest_right(measured: Measured, spread: Largest) -> Floats:
    """Return P(72B's greedy sample is right) of each problem; the mean is the recorded accuracy of always_72B.

    `fitted`: a logistic model of the next rung from the one below: 7B's greedy correctness on what is recorded of 1.5B
    (greedy correctness, logit of the score and, where counted, of (right + 1/2) / 9), then applied to 7B with its
    constant moved until the mean is the aggregate. `flat`: the aggregate for every problem, whatever 7B found.
    `nested`: 1 for the problems that 7B finds easiest, as many as the aggregate says, 0 for the others.
    """
    accuracy = _recorded(measured, "always_72B")[0]
    if spread == "flat":
        return np.full(measured.rows, accuracy)
    if spread == "nested":
        ease = [measured.scores["7B"], measured.greedy["7B"]]
        order = np.lexsort([*ease, measured.right["7B"]] if measured.counted else ease)
        easiest = np.zeros(measured.rows)
        easiest[order[measured.rows - round(accuracy * measured.rows) :]] = 1.0
        return easiest
    below, above = (_features(measured, alias) for alias in MEASURED)
    signs = 2.0 * measured.greedy["7B"] - 1.0

    def surprise(coefficients: Floats) -> float:
        # A ridge this small matters only where a small table is separated perfectly.
        return float(np.logaddexp(0, -signs * (below @ coefficients)).sum() + 1e-3 * coefficients @ coefficients)

    fit = minimize(surprise, np.zeros(below.shape[1]), method="BFGS")
    scale = above @ fit.x
    shift = brentq(lambda constant: float(expit(scale + constant).mean() - accuracy), -50, 50)
    fitted: Floats = expit(scale + shift)
    return fitted


def _features(measured: Measured, alias: str) -> Floats:
    score = np.clip(measured.scores[alias], 1e-6, 1 - 1e-6)
    columns = [np.ones(measured.rows), measured.greedy[alias].astype(np.float64), logit(score)]
    if measured.counted:
        columns.append(logit((measured.right[alias] + 0.5) / (SAMPLES + 1)))
    return np.stack(columns, axis=1)


@dataclass(frozen=True, slots=True, eq=False)
class Money:
    """USD per problem under the prices that the aggregates were recorded with."""

    greedy: Mapping[str, float]
    """By alias: one greedy sample with its prompt, on average."""
    sample: Mapping[str, float]
    """By alias: one more sample at T = 0.7; the line through one greedy sample and the recorded vote of 8."""
    length: Floats
    """How long the answers to each problem are beside the average; mean 1."""

    def of(self, alias: str, samples: Floats | float, *, greedy: bool, rows: NDArray[np.intp]) -> Floats:
        """Return what `samples` samples of a model cost on each of `rows`, the prompt paid once; 0 samples are free."""
        first = self.greedy[alias]
        if greedy:
            return np.asarray(samples * first * self.length[rows])
        more = self.sample[alias]
        return np.asarray((np.minimum(samples, 1.0) * (first - more) + samples * more) * self.length[rows])


def money(measured: Measured) -> Money:
    """Return the costs that the aggregates of a data set fix.

    always_M gives a greedy sample's cost, mv_always_M that of eight, and the recorded cost of `cascade` the slope in
    length = 1 + slope * (mean score - score), score the mean of both probes' scores: hard problems have long answers.
    """
    greedy = {alias: _recorded(measured, f"always_{alias}")[1] / measured.rows for alias in ("1.5B", "7B", "72B")}
    votes = {alias: _recorded(measured, f"mv_always_{alias}")[1] / measured.rows for alias in MEASURED}
    sample = {alias: (votes[alias] - greedy[alias]) / (SAMPLES - 1) for alias in MEASURED}
    score = np.mean([measured.scores[alias] for alias in MEASURED], axis=0)
    routes = get_strategy(FITTED_ON).routes(measured.scores)
    average = np.array([greedy[parse_route(route).tiers[0].model] for route in routes])
    excess = score.mean() - score
    if not (average * excess).sum():
        raise TableError(f"{measured.title}: all scores are alike, so that lengths of answers cannot be told from them")
    slope = (_recorded(measured, FITTED_ON)[1] - average.sum()) / (average * excess).sum()
    return Money(greedy, sample, np.asarray(1 + slope * excess))


def _recorded(measured: Measured, strategy: str) -> tuple[float, float]:
    if strategy not in measured.recorded:
        raise TableError(f"{measured.title}: no aggregate of {strategy}: there are {', '.join(measured.recorded)}")
    line = measured.recorded[strategy][0]
    return line.accuracy, line.cost
