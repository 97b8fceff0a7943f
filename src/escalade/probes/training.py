"""Training: which features, which penalty and which scale, each chosen on problems that the others have not seen.

Problems are dealt into folds, groups of near-duplicates whole. Each fold in turn is held out for the test, the next one
for Platt's scaling; on the others, a ridge regression is fitted for every block of features (a layer at a position) and
every penalty, judged by leaving each of these folds out, and the best three blocks are fitted again and averaged. The
probe that is kept is made the same way, with no fold left out for a test.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from escalade.errors import SettingError
from escalade.probes.platt import Platt, fit_platt
from escalade.probes.ridge import ALPHAS, Floats, Line, Matrix, inverse_scales, moments, ridge, ridge_of_rows, together
from escalade.statistics.intervals import stats

FOLDS = 5
MEMBERS = 3
"""Blocks whose predictions are averaged, at most."""
ALIKE = 0.9
"""Of the best block's correlation: what a block must reach to be averaged with it."""
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Block:
    """One matrix of features.

    Raises:
        SettingError: a value is NaN or infinite.
    """

    name: str
    """As "layer 12, position -1"."""
    values: Matrix
    """[N, D]"""
    own: int | None = None
    """Columns from here on share one scale; None: each has its own."""

    def __post_init__(self) -> None:
        bad = np.flatnonzero(~np.isfinite(self.values).all(axis=1))
        if bad.size:
            raise SettingError(
                f"features ({self.name}): problem {bad[0]} has one that is NaN or infinite; read them anew, "
                "in float32 if they overflowed"
            )

    @cached_property
    def mean(self) -> Floats:
        """[D] Of all problems."""
        return np.asarray(self.values.mean(axis=0, dtype=np.float64))

    @cached_property
    def inverse(self) -> Floats:
        """[D] Scales of all problems, 1 where a column does not vary."""
        found = inverse_scales(self.values.var(axis=0, dtype=np.float64), self.own)
        return np.asarray(np.where(found > 0, found, 1.0))

    def near_zero(self, rows: NDArray[np.bool_] | slice = slice(None)) -> Matrix:
        """Return rows of the features at about unit scale around 0, so that sums in float32 lose no digits."""
        return np.asarray((self.values[rows] - self.mean) * self.inverse, dtype=np.float32)


class Target(NamedTuple):
    """What is to be predicted: c successes of k trials of each problem, [N] each."""

    successes: Floats
    trials: Floats

    @property
    def rate(self) -> Floats:
        """c / k"""
        return np.asarray(self.successes / self.trials)

    @property
    def binary(self) -> bool:
        """Whether each problem was tried once."""
        return bool((self.trials == 1).all())

    @property
    def logit(self) -> Floats:
        """Empirical logit, ln((c + 1/2) / (k - c + 1/2)) (Haldane 1955)."""
        return np.asarray(np.log((self.successes + 0.5) / (self.trials - self.successes + 0.5)))

    @property
    def weight(self) -> Floats:
        """Trials, 1 on average."""
        return np.asarray(self.trials / self.trials.mean())

    def of(self, rows: NDArray[np.bool_]) -> Target:
        """Return the targets of some of the problems."""
        return Target(self.successes[rows], self.trials[rows])


class Member(NamedTuple):
    """One line of a probe, and how it was found."""

    block: int
    """Place of its block."""
    alpha: float
    judged: float
    """Spearman's correlation with the success rate, on problems left out."""
    line: Line


class Trained(NamedTuple):
    """Lines whose mean Platt's scaling turns into a probability."""

    members: tuple[Member, ...]
    platt: Platt

    def raw(self, blocks: Sequence[Block]) -> Floats:
        """Return the mean of the lines, about a logit, [N]."""
        said = [member.line.at(blocks[member.block].values) for member in self.members]
        return np.asarray(np.mean(said, axis=0))

    def scores(self, blocks: Sequence[Block]) -> Floats:
        """Return P(right) [N]."""
        return self.platt.at(self.raw(blocks))


def folds_of(groups: Sequence[Any], folds: int, seed: int) -> Ints:
    """[N] the fold of each problem: groups whole, folds of about equal size.

    Raises:
        SettingError: fewer than three folds, or fewer groups than folds.

    Example:
        >>> folds_of(["a", "b", "a", "c"], 3, seed=0).tolist()
        [0, 2, 0, 1]
    """
    if folds < 3:
        raise SettingError(f"folds are {folds}: give at least 3, one to test, one to scale, one or more to fit")
    _, number, sizes = np.unique(np.array([str(g) for g in groups]), return_inverse=True, return_counts=True)
    if len(sizes) < folds:
        raise SettingError(
            f"{len(number)} labelled problems in {len(sizes)} groups of near-duplicates cannot fill {folds} folds: "
            "label more problems"
        )
    shuffled = np.random.default_rng(seed).permutation(len(sizes))
    filled, fold = np.zeros(folds), np.empty(len(sizes), dtype=np.int64)
    for group in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:  # the largest first, into the emptiest
        fold[group] = int(np.argmin(filled))
        filled[fold[group]] += sizes[group]
    return np.asarray(fold[number])


@dataclass(frozen=True, eq=False)
class Nested:
    """What came of every fold held out in turn."""

    scores: Floats
    """[N] P(right) of each problem, by a probe that was made without its fold."""
    judged: Floats
    """[F, B, A] How well a block with a penalty did, with fold F held out and the next one not looked at."""


def nested(blocks: Sequence[Block], target: Target, fold: Ints) -> Nested:
    """Return each problem's score by a probe made without its fold, of B blocks with A penalties.

    Raises:
        SettingError: all problems of the folds that a probe is fitted on came out alike.
    """
    _refuse_alike(target)
    judged = _judged(blocks, target, fold)
    out = np.empty(len(fold))
    for test, scale in _turns(fold):
        fitted = _fitted(blocks, target, fold, (test, scale), judged[test])
        trained = _scaled(blocks, target, fold == scale, fitted)
        out[fold == test] = trained.scores([_rows(block, fold == test) for block in blocks])
    return Nested(out, judged)


def trained(blocks: Sequence[Block], target: Target, fold: Ints, judged: Floats) -> Trained:
    """Return the probe of all folds: fitted on all but the first, which scales it.

    `judged` is that of `nested`; of it only what was found without a look at the first fold is used.
    """
    last = int(fold.max())
    fitted = _fitted(blocks, target, fold, (0,), judged[[last, 0]].mean(axis=0))
    return _scaled(blocks, target, fold == 0, fitted)


def _refuse_alike(target: Target, which: str = "problems") -> None:
    rate = target.rate
    if np.ptp(rate) == 0:
        said = f"all {len(rate)} {which} came out alike ({100 * rate[0]:.0f} % right)"
        raise SettingError(
            f"{said}: there is nothing to predict; label more problems, of which some are answered well and some badly"
        )


def _turns(fold: Ints) -> list[tuple[int, int]]:
    """Which fold is held out for the test, and which for the scale."""
    last = int(fold.max())
    return [*pairwise(range(last + 1)), (last, 0)]


def _judged(blocks: Sequence[Block], target: Target, fold: Ints) -> Floats:
    """[F, B, A] Spearman's correlation of what is predicted, each fold left out in turn, with the success rate."""
    count = int(fold.max()) + 1
    out = np.full((count, len(blocks), len(ALPHAS)), -1.0)
    rank = stats().rankdata
    for place, block in enumerate(blocks):
        x, own = block.near_zero(), block.own
        lines_of = _lines_of(x, target, fold, own)
        predicted: dict[frozenset[int], Floats] = {}
        for test, scale in _turns(fold):
            rest = frozenset(range(count)) - {test, scale}
            rows = np.isin(fold, list(rest))
            said = np.empty((len(fold), len(ALPHAS)))
            for left in rest:
                kept = rest - {left}
                if kept not in predicted:
                    lines = lines_of(kept)
                    biases = np.array([line.bias for line in lines])
                    predicted[kept] = x @ np.stack([line.weights for line in lines], axis=1).astype(np.float32) + biases
                said[fold == left] = predicted[kept][fold == left]
            ranks = rank(said[rows], axis=0)
            out[test, place] = _correlations(ranks, rank(target.rate[rows]))
    return out


def _lines_of(x: Matrix, target: Target, fold: Ints, own: int | None) -> Callable[[frozenset[int]], list[Line]]:
    """What gives the lines of every penalty that are fitted on certain folds."""
    z, w = target.logit, target.weight

    def of_rows(kept: frozenset[int]) -> list[Line]:
        rows = np.isin(fold, list(kept))
        return ridge_of_rows(x[rows], z[rows], w[rows], ALPHAS, own)

    if len(x) < x.shape[1]:
        return of_rows
    of_fold = [moments(x[fold == f], z[fold == f], w[fold == f]) for f in range(int(fold.max()) + 1)]
    return lambda kept: ridge(together([of_fold[f] for f in sorted(kept)]), ALPHAS, own)


def _correlations(a: Floats, b: Floats) -> Floats:
    """Pearson's correlation of each column of a [N, A] with b [N]; -1 where one is constant."""
    a, b = a - a.mean(axis=0), b - b.mean()
    scale = np.sqrt((a**2).sum(axis=0) * (b @ b))
    return np.asarray(np.divide(b @ a, scale, out=np.full(a.shape[1], -1.0), where=scale > 0))


class _Choice(NamedTuple):
    block: int
    alpha: float
    judged: float


def _best(judged: Floats) -> list[_Choice]:
    """The blocks that did best, each with the penalty it did best with, the largest where several did."""
    alphas = judged.shape[1] - 1 - judged[:, ::-1].argmax(axis=1)
    best = judged[np.arange(len(judged)), alphas]
    first, *others = np.argsort(-best, kind="stable")[:MEMBERS]
    order = [first, *(b for b in others if best[b] >= ALIKE * best[first])]
    return [_Choice(int(b), ALPHAS[alphas[b]], float(best[b])) for b in order]


def _fitted(
    blocks: Sequence[Block], target: Target, fold: Ints, apart: Sequence[int], judged: Floats
) -> tuple[Member, ...]:
    """The best blocks, fitted on all folds but those apart."""
    rows = ~np.isin(fold, apart)
    here = target.of(rows)
    _refuse_alike(here, "problems of the folds that a probe is fitted on")
    members: list[Member] = []
    for choice in _best(judged):
        block = blocks[choice.block]
        x = block.near_zero(rows)
        line = ridge_of_rows(x, here.logit, here.weight, [choice.alpha], block.own)[0]
        if here.binary:
            line = _logistic(x, here, choice.alpha, block.own)
        weights = line.weights * block.inverse
        bias = float(line.bias - block.mean @ weights)
        members.append(Member(choice.block, choice.alpha, choice.judged, Line(weights, bias)))
    return tuple(members)


def _logistic(x: Matrix, target: Target, alpha: float, own: int | None) -> Line:
    """The logistic regression of labels 0 and 1 with the ridge's penalty, in the units of its likelihood.

    Near p the likelihood bends p (1 - p) times as much as the ridge's square does.
    """
    from sklearn.linear_model import LogisticRegression

    inverse = inverse_scales(x.var(axis=0, dtype=np.float64), own)
    share = float(target.rate.mean())
    model = LogisticRegression(C=1 / (alpha * share * (1 - share)), max_iter=1000)
    model.fit(x * inverse, target.successes.astype(np.int64))
    return Line(np.asarray(model.coef_[0] * inverse, dtype=np.float64), float(model.intercept_[0]))


def _scaled(blocks: Sequence[Block], target: Target, rows: NDArray[np.bool_], members: tuple[Member, ...]) -> Trained:
    plain = Trained(members, Platt(1.0, 0.0))
    f = plain.raw([_rows(block, rows) for block in blocks])
    return plain._replace(platt=fit_platt(f, target.successes[rows], target.trials[rows]))


def _rows(block: Block, rows: NDArray[np.bool_]) -> Block:
    return Block(block.name, block.values[rows], block.own)
