"""Rows of a comparison: each policy held against one reference, problem by problem.

Numbers of a row are of the kind that `escalade.statistics.intervals` explains; this module chooses none of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from escalade.comparison.points import PointTier, PolicyPoint
from escalade.evaluation.bank import Floats
from escalade.statistics.intervals import (
    Interval,
    mcnemar,
    mean_score,
    non_inferior,
    paired_difference,
)
from escalade.statistics.resampling import cost_ratio

UNKNOWN = Interval(math.nan, math.nan)


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """One policy in a comparison; costs in USD a problem, NaN is unknown or does not apply."""

    name: str
    kind: str
    """route, strategy or reference."""
    route: str | None
    target: float | None
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    cost_usd: float
    cost_low: float
    cost_high: float
    tokens: float
    samples: float
    difference: float
    """Accuracy less that of the reference."""
    difference_low: float
    difference_high: float
    p_value: float
    """Of "no difference": McNemar's exact test where all outcomes are 0 or 1, else that of the paired interval."""
    cost_ratio: float
    """Cost over that of the reference; a saving only where `non_inferior`."""
    cost_ratio_low: float
    cost_ratio_high: float
    non_inferior: bool | None
    """Whether it is shown to lose less than the margin; None for the reference itself and the oracle."""
    exact: bool
    on_frontier: bool
    escalated: float
    """Share of the problems that go beyond the first tier."""
    tiers: tuple[PointTier, ...]
    in_sample: bool
    """Whether it was chosen on the problems it is evaluated on."""
    pass_at_k: float
    majority_at_k: float
    test: str | None
    """mcnemar or paired."""
    lower_bound: float
    """One-sided lower bound of the difference, which decides non-inferiority."""
    accuracy_error: float
    """Monte Carlo standard error; 0 where the numbers are exact."""
    cost_error: float
    scoring_usd: float = 0.0
    """What of the cost is for scores; with the tiers it makes the whole."""

    @property
    def money(self) -> str:
        """What it does to the cost, in words: a saving only where it is shown to be no worse, a loss always.

        A saving whose interval holds a loss is one perhaps.

        Example:
            >>> from dataclasses import replace
            >>> blank = PolicyRow("a", "route", *[None] * 2, *[math.nan] * 8, *[math.nan] * 4, 1.13, *[math.nan] * 2,
            ...     True, True, True, 0.0, (), False, *[math.nan] * 2, None, *[math.nan] * 3)
            >>> blank.money, replace(blank, cost_ratio=0.8, non_inferior=False).money
            ('costs 1.13 times as much', 'not shown')
            >>> [replace(blank, cost_ratio=0.8, cost_ratio_high=high).money for high in (0.9, 1.1)]
            ['saves 20 %', 'perhaps saves 20 %']
        """
        if math.isnan(self.cost_ratio) or self.non_inferior is None:
            return "-"
        if self.cost_ratio > 1:
            return f"costs {_times(self.cost_ratio)} times as much"
        if not self.non_inferior:
            return "not shown"
        if self.cost_ratio == 1:
            return "costs the same"
        return f"{'' if self.cost_ratio_high < 1 else 'perhaps '}saves {(1 - self.cost_ratio) * 100:.0f} %"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; NaN as None."""
        return {name: _plain(value) for name, value in asdict(self).items()}


class Judge:
    """Holds policies against a reference.

    Args:
        reference: the policy that all are compared with.
        margin: what a policy may lose to pass for no worse, in accuracy.
        level: of all intervals.
        groups: [N] which problems share a source; None makes each its own.
        seed: of the bootstrap of costs.
    """

    def __init__(
        self, reference: PolicyPoint, *, margin: float, level: float, groups: Sequence[Any] | None, seed: int
    ) -> None:
        self.reference, self.margin, self.level = reference, margin, level
        self._groups, self._seed = groups, seed
        self._money: dict[bytes, tuple[Interval, tuple[float, Interval]]] = {}

    def row(self, point: PolicyPoint, *, on_frontier: bool) -> PolicyRow:
        """Return the row of a policy."""
        accuracy = mean_score(point.correct, self._groups, self.level).interval if point.paired else UNKNOWN
        difference, test, p_value = UNKNOWN, None, math.nan
        bound, shown = math.nan, None
        if point.paired and not point.same(self.reference):
            found = paired_difference(point.correct, self.reference.correct, self._groups, self.level)
            difference, p_value, test = found.interval, found.p_value, "paired"
            if self._groups is None and _whole(point.correct) and _whole(self.reference.correct):
                p_value, test = mcnemar(point.correct, self.reference.correct).p_value, "mcnemar"
            verdict = non_inferior(point.correct, self.reference.correct, self.margin, self.level, self._groups)
            bound, shown = verdict.lower, verdict.shown
        cost, (ratio, ratio_interval) = self._costs(point) if point.paired else (UNKNOWN, (math.nan, UNKNOWN))
        return PolicyRow(
            name=point.name,
            kind=point.kind,
            route=point.route,
            target=point.target,
            accuracy=point.accuracy,
            accuracy_low=accuracy.low,
            accuracy_high=accuracy.high,
            cost_usd=point.cost_usd,
            cost_low=cost.low,
            cost_high=cost.high,
            tokens=float(point.tokens.mean()),
            samples=float(point.samples.mean()),
            difference=point.accuracy - self.reference.accuracy,
            difference_low=difference.low,
            difference_high=difference.high,
            p_value=p_value,
            cost_ratio=ratio,
            cost_ratio_low=ratio_interval.low,
            cost_ratio_high=ratio_interval.high,
            non_inferior=shown,
            exact=point.exact,
            on_frontier=on_frontier,
            escalated=point.escalated,
            tiers=point.tiers,
            in_sample=point.in_sample,
            pass_at_k=point.pass_at_k,
            majority_at_k=point.majority_at_k,
            test=test,
            lower_bound=bound,
            accuracy_error=point.correct_error,
            cost_error=point.cost_error,
            scoring_usd=point.scoring_usd,
        )

    def difference(self, point: PolicyPoint, other: PolicyPoint) -> tuple[float, Interval]:
        """Return the accuracy of one policy less that of another, with its interval."""
        found = paired_difference(point.correct, other.correct, self._groups, self.level)
        return found.value, found.interval

    def _costs(self, point: PolicyPoint) -> tuple[Interval, tuple[float, Interval]]:
        """The interval of the mean cost, and the ratio to the reference's with its own."""
        if math.isnan(point.cost_usd):
            return UNKNOWN, (math.nan, UNKNOWN)
        key = point.cost.tobytes()
        if key not in self._money:
            self._money[key] = self._interval(point.cost), self._ratio(point.cost)
        return self._money[key]

    def _interval(self, cost: Floats) -> Interval:
        if not cost.any():
            return Interval(0.0, 0.0)
        # The mean is a ratio as well: to one unit of money a problem.
        found = cost_ratio(cost, np.ones(len(cost)), self._groups, self.level, seed=self._seed)
        return found.interval

    def _ratio(self, cost: Floats) -> tuple[float, Interval]:
        own = self.reference.cost
        if np.isnan(own).any() or not own.any():
            return math.nan, UNKNOWN
        if not cost.any():
            return 0.0, Interval(0.0, 0.0)
        found = cost_ratio(cost, own, self._groups, self.level, seed=self._seed)
        # A mix is made to cost as much as the reference: what rounding leaves of that is no loss.
        return 1.0 if math.isclose(found.value, 1.0, rel_tol=1e-9) else found.value, found.interval


def _times(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio >= 1.005 else f"{ratio:.4f}"


def _whole(correct: Floats) -> bool:
    return bool(np.isin(correct, (0.0, 1.0)).all())


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value
