"""What the wrong samples of a problem said, modelled: counts tell how many were right, not what the others answered.

An urn holds the 8 samples of one problem: those that are right, and the sizes of the classes of equal wrong answers.
The measured majority excludes many urns: where it was right, no wrong class is larger than the right one. Abstentions
count as wrong classes of one sample each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from benchmarks.recorded.measured import SAMPLES, Counts, Flags

Wrong = Literal["fitted", "alike", "apart"]
"""How wrong answers fall into classes: fitted to the majorities, or as much alike or apart as the majority allows."""


class Urn(NamedTuple):
    """The samples of one model on one problem."""

    right: int
    wrong: tuple[int, ...]
    """Sizes of the classes of equal wrong answers, largest first."""


def partitions(n: int, largest: int | None = None) -> Iterator[tuple[int, ...]]:
    """Yield the ways to write n as a sum, each with its largest part first, in falling order.

    Example:
        >>> list(partitions(3))
        [(3,), (2, 1), (1, 1, 1)]
    """
    if n == 0:
        yield ()
        return
    for part in range(min(n, largest or n), 0, -1):
        for rest in partitions(n - part, part):
            yield (part, *rest)


def chance(sizes: tuple[int, ...], concentration: float) -> float:
    """Return the probability of these class sizes under Ewens' formula, concentration > 0.

    n! / (c (c+1) ... (c+n-1)) * prod over sizes j of c^a_j / (j^a_j a_j!), a_j classes of size j (Ewens 1972). Near 0
    all samples are of one class, for large c each is of its own.

    Example:
        >>> round(sum(chance(sizes, 0.7) for sizes in partitions(6)), 12), round(chance((6,), 1e-9), 6)
        (1.0, 1.0)
    """
    n = sum(sizes)
    rising = math.prod(concentration + i for i in range(n))
    repeats = math.prod(math.factorial(sizes.count(size)) for size in set(sizes))
    return math.factorial(n) * concentration ** len(sizes) / (rising * math.prod(sizes) * repeats)


def majority_chance(urn: Urn) -> float:
    """Return P(the majority of all samples of the urn is right); ties are broken evenly.

    Example:
        >>> majority_chance(Urn(3, (3, 2))), majority_chance(Urn(2, (3, 3))), majority_chance(Urn(0, (1,) * 8))
        (0.5, 0.0, 0.0)
    """
    top = urn.wrong[0] if urn.wrong else 0
    if urn.right != top:
        return float(urn.right > top)
    return 1 / (1 + urn.wrong.count(top))


class Spread(NamedTuple):
    """How far the wrong answers of a model fall apart: ln concentration is normal over problems."""

    mean: float
    deviation: float

    def weights(self) -> NDArray[np.float64]:
        """Return the weight of each concentration of the grid; they add to 1."""
        density = np.exp(-0.5 * ((np.log(_GRID) - self.mean) / self.deviation) ** 2)
        weights: NDArray[np.float64] = density / density.sum()
        return weights


_GRID = np.exp(np.linspace(-8.0, 8.0, 65))
"""Concentrations over which the normal distribution of their logarithm is summed."""


@cache
def urns(right: int, majority: bool | None, wrong: Wrong, spread: Spread) -> tuple[tuple[Urn, float], ...]:
    """Return the urns that a count and a majority leave possible, with their probabilities.

    `alike` and `apart` give the one urn whose wrong answers agree most and least; `fitted` gives Ewens' formula, its
    concentration spread over problems, given the majority (None: not measured, so nothing is excluded). Empty where the
    count contradicts the majority.

    Example:
        >>> urns(2, True, "alike", Spread(0, 1)), urns(2, False, "apart", Spread(0, 1))
        (((Urn(right=2, wrong=(2, 2, 2)), 1.0),), ((Urn(right=2, wrong=(2, 1, 1, 1, 1)), 1.0),))
    """
    weights = spread.weights()
    weighed: list[tuple[Urn, float]] = []
    for urn, chances in _chances(right):
        likely = 1.0
        if majority is not None:
            likely = majority_chance(urn) if majority else 1 - majority_chance(urn)
        if likely > 0:
            weighed.append((urn, float(weights @ chances) * likely))
    if not weighed:
        return ()
    if wrong != "fitted":
        return ((weighed[0 if wrong == "alike" else -1][0], 1.0),)
    total = math.fsum(weight for _, weight in weighed)
    return tuple((urn, weight / total) for urn, weight in weighed)


@cache
def _chances(right: int) -> tuple[tuple[Urn, NDArray[np.float64]], ...]:
    """Every urn with this many right samples, and its chance at each concentration of the grid."""
    return tuple(
        (Urn(right, sizes), np.array([chance(sizes, float(concentration)) for concentration in _GRID]))
        for sizes in partitions(SAMPLES - right)
    )


def majority_rate(right: int, spread: Spread) -> float:
    """Return P(majority of 8 right) where `right` samples are right and wrong ones are spread so.

    Example:
        >>> [round(majority_rate(right, Spread(0.5, 2.0)), 2) for right in (0, 2, 4, 8)]
        [0.0, 0.23, 0.86, 1.0]
    """
    return float(spread.weights() @ _rates(right))


@cache
def _rates(right: int) -> NDArray[np.float64]:
    rates: NDArray[np.float64] = np.sum([majority_chance(urn) * each for urn, each in _chances(right)], axis=0)
    return rates


def fit_spread(right: Counts, majority: Flags) -> Spread:
    """Return the spread under which the measured majorities are the most likely, given the counts.

    Only counts from 1 to 4 of 8 tell: below and above, the majority is settled by the count.
    """
    told = range(1, SAMPLES // 2 + 1)
    asked = [int((right == c).sum()) for c in told]
    won = [int(majority[right == c].sum()) for c in told]

    def surprise(numbers: NDArray[np.float64]) -> float:
        spread = Spread(float(numbers[0]), math.exp(numbers[1]))
        rates = np.clip([majority_rate(c, spread) for c in told], 1e-9, 1 - 1e-9)
        return -float(np.dot(won, np.log(rates)) + np.dot(np.subtract(asked, won), np.log(1 - rates)))

    fit = minimize(surprise, np.zeros(2), method="L-BFGS-B", bounds=[(-5.0, 5.0), (math.log(0.2), math.log(4.0))])
    return Spread(float(fit.x[0]), math.exp(fit.x[1]))
