"""The verdict on a route beside always_7B and beside a random mix of single models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from benchmarks.recorded.answering import Expected
from benchmarks.recorded.measured import Floats
from escalade.statistics.intervals import Difference, non_inferior, paired_difference

MARGIN = 0.01
"""Accuracy that may be lost where two routes still count as equally good."""
BASELINE = "7B"
SINGLES = ("1.5B", "7B", "72B")


class Kind(StrEnum):
    """What is said of a route; dearer and cheaper than always_7B."""

    BASELINE = "the baseline"
    LOSS = "loss"
    """Dearer, and no gain in accuracy shown."""
    NO_BETTER = "no better than a random mix"
    """Dearer with a gain, but not shown to beat the random mix of single models that costs as much."""
    BELOW = "worse than a random mix"
    """Dearer with a gain, and shown to be below that mix."""
    BETTER = "better than a random mix"
    STRONGEST = "dearer and more accurate: 72B alone"
    SAVING = "saving"
    """Cheaper, and shown to be less accurate by less than the margin at most."""
    WORSE = "cheaper and less accurate"
    OPEN = "cheaper, equal accuracy not shown"
    UNTOLD = "not told by what was measured"

    @property
    def loses(self) -> bool:
        """Whether always_7B is to be preferred, for its price or for its accuracy."""
        return self in (Kind.LOSS, Kind.WORSE)


class Point(NamedTuple):
    """A route's accuracy and its cost in USD for the whole data set."""

    accuracy: float
    cost: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """A route beside always_7B."""

    kind: Kind
    difference: Difference
    """Its accuracy less that of always_7B."""
    ratio: float
    """Its cost over that of always_7B; above 1 it is dearer."""
    settled_ratio: float
    """The same with samples asked for one by one."""
    beside_mix: Difference | None
    """Its accuracy less that of the random mix that costs as much; None where it is cheaper than every model."""
    ends: tuple[Kind, ...] = ()
    """What is said at the corners of what is modelled about samples, where it is anything else."""

    def at_the_ends(self, kinds: tuple[Kind, ...], *, told: bool) -> Verdict:
        """Return it with the verdicts of the corners. Untold: they disagree, and nothing measured stands behind it."""
        if not set(kinds) - {self.kind}:
            return self
        agreed = told or len({kind.loses for kind in (self.kind, *kinds)}) == 1
        return replace(self, ends=kinds, kind=self.kind if agreed else Kind.UNTOLD)


def point(found: Expected) -> Point:
    """Return the accuracy and cost of expectations."""
    return Point(float(found.right.mean()), float(found.cost.sum()))


def judge(found: Expected, baseline: Expected, singles: Mapping[str, Expected]) -> Verdict:
    """Return the verdict on a route: differences are paired by problem, and shown where 95 % intervals leave out 0."""
    difference = paired_difference(found.right, baseline.right)
    ratio = float(found.cost.sum() / baseline.cost.sum())
    settled = float(found.settled.sum() / baseline.cost.sum())
    known = {alias: (each.right, float(each.cost.sum())) for alias, each in singles.items()}
    mixed = mix(known, float(found.cost.sum()))
    beside = None if mixed is None else paired_difference(found.right, mixed)
    # Sums of products in another order differ in their last digits.
    if ratio > 1 + 1e-9:
        gains = difference.interval.low > 0
        alone = not (found.right != singles["72B"].right).any()
        kind = Kind.LOSS if not gains else Kind.STRONGEST if alone else _beside(beside)
    elif ratio > 1 - 1e-9 and not (found.right != baseline.right).any():
        kind = Kind.BASELINE
    elif non_inferior(found.right, baseline.right, MARGIN).shown:
        kind = Kind.SAVING
    else:
        kind = Kind.WORSE if difference.interval.high < 0 else Kind.OPEN
    return Verdict(kind, difference, ratio, settled, beside)


def _beside(mix: Difference | None) -> Kind:
    if mix is None or mix.interval.low <= 0 <= mix.interval.high:
        return Kind.NO_BETTER
    return Kind.BETTER if mix.interval.low > 0 else Kind.BELOW


def mix(singles: Mapping[str, tuple[Floats, float]], cost: float) -> Floats | None:
    """Return P(right) of each problem under the best random mix of single models that costs `cost`; None below all.

    With s = (cost - c_a) / (c_b - c_a), the best (1 - s) a + s b of all pairs with c_a <= cost < c_b; above the dearest
    model, the best one alone.

    Example:
        >>> right = {"S": (np.array([0.0, 1.0]), 1.0), "L": (np.array([1.0, 1.0]), 3.0)}
        >>> mix(right, 2.0).tolist(), mix(right, 9.0).tolist(), mix(right, 0.5)
        ([0.5, 1.0], [1.0, 1.0], None)
    """
    within = 1 + 1e-9
    mixes = [right for right, money in singles.values() if money <= cost * within]
    for low, cheap in singles.values():
        for high, dear in singles.values():
            if cheap <= cost * within < dear:
                part = max(0.0, (cost - cheap) / (dear - cheap))
                mixes.append(np.minimum(1.0, (1 - part) * low + part * high))
    return max(mixes, key=lambda right: float(right.mean()), default=None)
