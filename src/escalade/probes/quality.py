"""How good scores are on problems that the probe was not made from: ranks, probabilities, and whether to route by them.

Intervals are from a bootstrap over groups of near-duplicates (percentiles; Efron & Tibshirani 1993): a problem's
duplicates come and go with it. Ranks are compared inside folds: where folds were scored by different probes, a probe
that was fitted without the easier problems says less of them, and pairs across folds would tell of that
(Airola et al. 2011).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from escalade.evaluation.conditions import Strict
from escalade.probes.ridge import Floats
from escalade.statistics.columns import grouping
from escalade.statistics.intervals import stats
from escalade.wording import counted

RESAMPLES = 1000
SIMULATIONS = 200
LEVEL = 0.95
FEWEST = 10
"""Groups of each outcome: with fewer, all resamples look alike and an interval says more than is known."""
Ints = NDArray[np.int64]
_OfRanks = Callable[[Floats, Floats, Floats], tuple[Floats, Floats]]
_SHARED = 1.2
"""By which intervals of ranks are wider where scores are of several folds' probes. These share problems they were
trained on, which resamples of their scores do not know of (Bengio & Grandvalet 2004): at chance, without it, 3 to 4 %
of the intervals lay above 0.5 where 2.5 % are meant."""
_BLOCK = 500_000
"""Numbers of a block of resamples."""


class Measure(Strict):
    """A number with its 95 % interval; None where it is not defined, as the AUROC where all are right."""

    value: float | None
    low: float | None
    high: float | None

    def __str__(self) -> str:
        if self.value is None:
            return "unknown"
        if self.low is None or self.high is None:
            return f"{self.value:.3f}"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


class Quality(Strict):
    """What scores are worth on problems that are new to the probe."""

    problems: int
    groups: int
    """Of near-duplicates."""
    rarer: int
    """Groups that have a problem of the rarer outcome: whether right or wrong."""
    auroc: Measure
    """Chance that a problem whose majority is right (where only rates are known: a right sample's) is scored higher
    than one of the same fold whose is wrong."""
    spearman: Measure
    """Rank correlation of scores and success rates, the mean over folds."""
    ceiling: float | None
    """Spearman's correlation of the true chances with success rates of as many samples: no score can be expected to
    reach more. None where each problem was tried once."""
    brier: Measure
    """Mean squared error of the score as the chance of what the probe predicts, over single trials."""
    base_brier: float
    """Brier score of the mean success, the same for all."""
    ece: Measure
    """Expected calibration error over bins of equal mass; upward biased. Resamples add as much bias again, which is
    taken off its interval."""
    ece_by_chance: float
    """What a perfect score would have: mean over simulated trials."""

    @property
    def refusal(self) -> str | None:
        """Why not to route by these scores; None where they may be used."""
        if self.auroc.value is None or self.auroc.low is None:
            return "its AUROC is not defined: all the problems it was tried on came out alike"
        if self.rarer < FEWEST:
            return (
                f"it was tried on {self.problems} problems of which too few came out otherwise than the rest: "
                f"{counted(self.rarer, 'group')}, at least {FEWEST} are needed for an interval that can be trusted"
            )
        if self.auroc.low <= 0.5:
            return (
                f"held out, its AUROC is {self.auroc}: the interval touches 0.5, so the scores may be no better than "
                f"chance ({self.problems} problems in {self.groups} groups)"
            )
        return None


class Outcomes(NamedTuple):
    """How N problems came out, as a score is judged by it."""

    sorted_by: Floats
    """[N] What the AUROC tells apart: whether the majority was right, or the success rate."""
    rate: Floats
    """[N] Of what the probe predicts."""
    trials: Floats
    """[N]"""


def quality(
    scores: Floats,
    outcomes: Outcomes,
    groups: Sequence[Any],
    *,
    fold: Ints | None = None,
    ceiling: float = math.nan,
    seed: int = 0,
) -> Quality:
    """Return the quality of scores [N] in [0, 1].

    Args:
        scores: of problems that the probe has not seen.
        outcomes: of the same problems.
        groups: [N] of near-duplicates.
        fold: [N] which of several probes each score is from; None: all are of one.
        ceiling: of Spearman's correlation; NaN is unknown.
        seed: of the resamples.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> p = rng.random(500)
        >>> c = rng.binomial(5, p).astype(float)
        >>> found = quality(p, Outcomes((c > 2).astype(float), c / 5, np.full(500, 5.0)), range(500))
        >>> str(found.auroc), found.refusal
        ('0.931 [0.912, 0.950]', None)
    """
    sampled, bins = grouping(list(map(str, groups)), len(scores)), _bins(scores)
    once, folds = np.ones((1, len(scores))), np.zeros(len(scores), dtype=np.int64) if fold is None else fold
    plain = _Figures(*(float(values[0]) for values in _figures(scores, outcomes, bins, folds, once)))
    blocks = [_figures(scores, outcomes, bins, folds, w) for w in _resamples(sampled.codes, sampled.count, seed)]
    drawn = _Figures(*(np.concatenate(values) for values in zip(*blocks, strict=True)))
    wider = 1.0 if fold is None else _SHARED
    mean = float(np.average(outcomes.rate, weights=outcomes.trials))
    rng, trials = np.random.default_rng(seed), outcomes.trials.astype(np.int64)
    chance = [_error(scores, rng.binomial(trials, scores) / trials, bins, once)[0] for _ in range(SIMULATIONS)]
    return Quality(
        problems=len(scores),
        groups=sampled.count,
        rarer=min(len(np.unique(sampled.codes[there])) for there in (outcomes.sorted_by > 0, outcomes.sorted_by < 1)),
        ceiling=None if math.isnan(ceiling) else ceiling,
        base_brier=float(np.mean(outcomes.rate * (1 - mean) ** 2 + (1 - outcomes.rate) * mean**2)),
        ece_by_chance=float(np.mean(chance)),
        auroc=_measure(plain.auroc, drawn.auroc, wider, least=0.0),
        spearman=_measure(plain.spearman, drawn.spearman, wider, least=-1.0),
        brier=_measure(plain.brier, drawn.brier),
        ece=_measure(plain.ece, np.maximum(drawn.ece - (drawn.ece.mean() - plain.ece), 0.0)),
    )


class _Figures(NamedTuple):
    auroc: Any
    spearman: Any
    brier: Any
    ece: Any


def _bins(scores: Floats) -> Ints:
    """[N] the bin of each score, of about equal mass by rank; equal scores share one."""
    wanted = max(2, min(15, len(scores) // 50))
    place = np.floor(wanted * (stats().rankdata(scores) - 0.5) / len(scores))
    return np.asarray(np.unique(place, return_inverse=True)[1], dtype=np.int64)


def _resamples(groups: NDArray[np.intp], count: int, seed: int) -> Iterator[Floats]:
    """Blocks [B, N] of how often each problem is drawn, its group drawn as a whole."""
    rng, left = np.random.default_rng(seed), RESAMPLES
    while left:
        block = min(left, max(1, _BLOCK // len(groups)))
        drawn = rng.multinomial(count, np.full(count, 1 / count), size=block)
        yield drawn[:, groups].astype(np.float64)
        left -= block


def _figures(scores: Floats, outcomes: Outcomes, bins: Ints, fold: Ints, weights: Floats) -> _Figures:
    """The figures under each of the weights [B, N]; NaN where one is not defined."""
    rate, mass = outcomes.rate, weights.sum(axis=1)
    squares = rate * (1 - scores) ** 2 + (1 - rate) * scores**2
    return _Figures(
        _over_folds(_auroc, scores, outcomes.sorted_by, fold, weights),
        _over_folds(_spearman, scores, rate, fold, weights),
        weights @ squares / mass,
        _error(scores, rate, bins, weights),
    )


def _over_folds(figure: _OfRanks, scores: Floats, y: Floats, fold: Ints, weights: Floats) -> Floats:
    """[B] The figure of each fold, averaged by what it counts for; NaN where it is nowhere defined."""
    total, mass = np.zeros(len(weights)), np.zeros(len(weights))
    for one in np.unique(fold):
        rows = fold == one
        value, counts = figure(scores[rows], y[rows], weights[:, rows])
        total += value
        mass += counts
    return np.asarray(np.divide(total, mass, out=np.full(len(weights), np.nan), where=mass > 0))


def _error(scores: Floats, rate: Floats, bins: Ints, weights: Floats) -> Floats:
    """[B] sum over bins |sum w (p - y)| / sum w."""
    order = np.argsort(bins, kind="stable")
    gaps = np.add.reduceat((weights * (scores - rate))[:, order], _starts(bins[order]), axis=1)
    return np.asarray(np.abs(gaps).sum(axis=1) / weights.sum(axis=1))


def _auroc(scores: Floats, y: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """[B] pairs in their order and [B] all pairs, each problem counted as often as its weight says."""
    order = np.argsort(scores, kind="stable")
    starts = _starts(scores[order])
    good = np.add.reduceat((weights * y)[:, order], starts, axis=1)
    bad = np.add.reduceat((weights * (1 - y))[:, order], starts, axis=1)
    below = np.cumsum(bad, axis=1) - bad / 2
    return (good * below).sum(axis=1), good.sum(axis=1) * bad.sum(axis=1)


def _spearman(a: Floats, b: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """[B] `spearman` times the weight of all problems and [B] that weight, 0 where it is not defined."""
    x, y, mass = _ranks(a, weights), _ranks(b, weights), weights.sum(axis=1)
    middle = (mass[:, None] + 1) / 2
    x, y = x - middle, y - middle
    scale = np.sqrt((weights * x * x).sum(axis=1) * (weights * y * y).sum(axis=1))
    known = scale > 1e-9
    found = np.divide((weights * x * y).sum(axis=1), scale, out=np.zeros(len(weights)), where=known)
    return found * mass, mass * known


def _ranks(values: Floats, weights: Floats) -> Floats:
    """[B, N] mid-ranks where each value stands as often as its weight says."""
    _, codes = np.unique(values, return_inverse=True)
    order = np.argsort(codes, kind="stable")
    mass = np.add.reduceat(weights[:, order], _starts(codes[order]), axis=1)
    return np.asarray((np.cumsum(mass, axis=1) - (mass - 1) / 2)[:, codes])


def _starts(ordered: NDArray[Any]) -> NDArray[np.intp]:
    return np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))


def _measure(value: float, drawn: Floats, wider: float = 1.0, *, least: float = 0.0) -> Measure:
    """The value and what the middle 95 % of the resamples say, so much wider, and within [least, 1]."""
    known = drawn[~np.isnan(drawn)]
    if math.isnan(value):
        return Measure(value=None, low=None, high=None)
    if len(known) < len(drawn) / 2:
        return Measure(value=value, low=None, high=None)
    low, high = value + wider * (np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) - value)
    return Measure(value=value, low=float(max(low, least)), high=float(min(high, 1.0)))
