"""Fits calibrations: from labelled ballots of a tier to its curve, with its quality on problems it has not seen.

Each problem weighs 1, however many ballots of it there are (pools are redrawn at several k). The curve is as rich as
the labels allow: a logistic from 150 labelled problems, Platt's from 50, below that a table shrunken towards one half.
A coefficient whose sign would let a vote more for the leader lower the probability is held at zero.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from escalade.calibration.calibration import Calibration, Quality, TierCalibration
from escalade.calibration.curves import Curve, Logistic, Platt, Table
from escalade.calibration.shapes import Features, Shape, features
from escalade.errors import SettingError
from escalade.evaluation.conditions import Conditions
from escalade.evaluation.identity import digests, fingerprint
from escalade.problems import Problem
from escalade.wording import counted

LOGISTIC_FROM = 150
"""Labelled problems from which the logistic is fitted."""
PLATT_FROM = 50
"""Labelled problems from which Platt's curve is fitted."""
EDGES = (0.2, 0.4, 0.6, 0.8, 1.0)
"""Upper edges of a table's bins of the smoothed share."""
_PENALTY = 1.0
_CHANCES = 200
_BOUNDS = {"share_logit": (0.0, None), "margin": (0.0, None), "entropy": (None, 0.0), "abstained": (None, 0.0)}

Floats = NDArray[np.float64]
Method = Literal["logistic", "platt", "table"]


class TierKey(NamedTuple):
    """A model of the pool and a temperature."""

    alias: str
    temperature: float


@dataclass(frozen=True, slots=True)
class LabelledBallots:
    """Ballots of one tier, a row each."""

    shapes: Sequence[Shape]
    """[n]"""
    right: ArrayLike
    """[n] in [0, 1]: whether the leader was right, or the share of equal draws in which it was"""
    problems: Sequence[str]
    """[n] ids"""
    weights: ArrayLike | None = None
    """[n] how much a row counts among those of its problem; None: as much as the others"""


class _Rows(NamedTuple):
    """Rows that have a leader, ready to fit."""

    x: Floats
    """[n, 5] features"""
    y: Floats
    w: Floats
    """Weights that sum to 1 for each problem."""
    problem: NDArray[np.int64]
    """[n] number of the row's problem"""
    names: list[str]
    """Ids of problems."""
    shapes: list[Shape]

    def take(self, which: NDArray[np.bool_]) -> _Rows:
        shapes = [self.shapes[i] for i in np.flatnonzero(which)]
        return _Rows(self.x[which], self.y[which], self.w[which], self.problem[which], self.names, shapes)


def fit(
    tiers: Mapping[TierKey, LabelledBallots],
    conditions: Conditions,
    day: datetime.date,
    *,
    problems: Iterable[Problem] = (),
    groups: Mapping[str, str] | None = None,
    folds: int = 5,
    seed: int = 0,
) -> Calibration:
    """Return the calibration of each tier.

    logistic: minimises  sum_i w_i (-t_i ln p_i - (1 - t_i) ln(1 - p_i)) + |c|^2 / 2  over standardised features, c held
    to the signs of `Logistic`, targets t as in Platt's. platt: the same over the logit of the smoothed share alone and
    without a penalty, with targets (N+ + 1)/(N+ + 2) and 1/(N- + 2) in the place of 1 and 0 (Platt 1999). table:
    (N+ + 1)/(N + 2) per bin of the smoothed share that has ballots, bins that fall pooled. N+, N- and N are sums of
    weights.

    Ballots without a vote have no leader and confidence 0; they are left out. `groups` names the group of problems
    that belong together (near-duplicates, one source): a group is in one fold of the cross-validation, which
    shuffles by `seed`. `problems` have the texts that the file knows the labelled ones by, again; those that are not
    there are known by their ids.

    Raises:
        SettingError: columns of unequal lengths, a label or weight out of range, a problem whose weights are all 0,
            a right answer of a ballot without a vote, fewer problems than folds, or scipy is not there.

    Example:
        >>> shapes = [Shape((5,), 5), Shape((3, 2), 5), Shape((2, 2, 1), 5), Shape((4, 1), 5)] * 10
        >>> ballots = LabelledBallots(shapes, [1, 1, 0, 1] * 10, [f"p{i}" for i in range(40)])
        >>> day = datetime.date(2026, 1, 31)
        >>> calibration = fit({TierKey("7B", 0.7): ballots}, Conditions(models={}, grader={}), day)
        >>> tier = calibration.tiers[0]
        >>> tier.curve.method, round(calibration.probability("7B", 0.7, Shape((5,), 5)), 3)
        ('table', 0.917)
    """
    if not tiers:
        raise SettingError("tiers: there are none; give labelled ballots of at least one")
    if folds < 2:
        raise SettingError(f"folds is {folds!r}: give an integer >= 2")
    fitted: list[TierCalibration] = []
    seen: set[str] = set()
    for (alias, temperature), ballots in tiers.items():
        place = f"{alias} at t={temperature:g}"
        rows = _rows(ballots, place)
        number = len(rows.names)
        method: Method = "logistic" if number >= LOGISTIC_FROM else "platt" if number >= PLATT_FROM else "table"
        seats = [shape.k for shape in rows.shapes]
        fitted.append(
            TierCalibration(
                alias=alias,
                temperature=temperature,
                least_k=min(seats),
                most_k=max(seats),
                labels=number,
                curve=_curve(method, rows),
                quality=_quality(method, rows, _folds(rows.names, groups or {}, folds, seed, place), seed),
            )
        )
        seen.update(ballots.problems)
    texts = {problem.id: problem for problem in problems}
    digested = digests(texts.get(ident, Problem(ident, "")) for ident in seen)
    return Calibration(
        date=day, data=fingerprint(digested), conditions=conditions, tiers=tuple(fitted), problems=digested
    )


def _rows(ballots: LabelledBallots, place: str) -> _Rows:
    shapes, problems = list(ballots.shapes), list(ballots.problems)
    y = np.asarray(ballots.right, dtype=np.float64)
    w = np.ones(len(shapes)) if ballots.weights is None else np.asarray(ballots.weights, dtype=np.float64)
    lengths = [len(shapes), y.size, len(problems), w.size]
    if len(set(lengths)) > 1 or not shapes:
        raise SettingError(f"{place}: shapes, right, problems and weights have {lengths} rows: give as many of each")
    for name, column, top in (("right", y, 1.0), ("weight", w, math.inf)):
        bad = ~((column >= 0) & (column <= top) & np.isfinite(column))
        if bad.any():
            row = int(np.argmax(bad))
            raise SettingError(
                f"{place}: {name} of row {row} (problem {problems[row]}) is {float(column[row])!r}: give a number in "
                f"[0, {top:g}]"
            )
    voted = np.array([bool(shape.votes) for shape in shapes])
    if (~voted & (y > 0)).any():
        row = int(np.argmax(~voted & (y > 0)))
        raise SettingError(f"{place}: row {row} (problem {problems[row]}) is right without a vote: no leader can be")
    if not voted.any():
        raise SettingError(f"{place}: no ballot has a vote, so there is nothing to calibrate")
    names, number = np.unique(np.array(problems)[voted], return_inverse=True)
    total = np.bincount(number, weights=w[voted])
    if (total == 0).any():
        raise SettingError(f"{place}: all weights of problem {names[int(np.argmin(total))]} are 0: leave it out")
    kept = [shape for shape in shapes if shape.votes]
    x = np.array([features(shape) for shape in kept], dtype=np.float64)
    return _Rows(x, y[voted], w[voted] / total[number], number.astype(np.int64), [str(name) for name in names], kept)


def _curve(method: Method, rows: _Rows) -> Curve:
    if method == "table":
        return _table(rows)
    good = float(rows.w @ rows.y)
    bad = float(rows.w.sum()) - good
    high, low = (good + 1) / (good + 2), 1 / (bad + 2)
    targets = low + (high - low) * rows.y
    used: tuple[str, ...] = Features._fields if method == "logistic" else ("share_logit",)
    x = rows.x[:, [Features._fields.index(name) for name in used]]
    mean = np.average(x, axis=0, weights=rows.w)
    spread = np.sqrt(np.average((x - mean) ** 2, axis=0, weights=rows.w))
    varies = spread > 1e-9  # a feature that does not vary, as ln k at one k, has coefficient 0
    scale = np.where(varies, spread, 1.0)
    fitted = _logistic((x - mean) / scale * varies, targets, rows.w, used, _PENALTY if method == "logistic" else 0.0)
    slopes = fitted[1:] / scale * varies
    named = {name: float(slope) + 0.0 for name, slope in zip(used, slopes, strict=True)}
    named["intercept"] = float(fitted[0] - slopes @ mean)
    return (Logistic if method == "logistic" else Platt).model_validate(named)


def _logistic(x: Floats, targets: Floats, w: Floats, names: Sequence[str], penalty: float) -> Floats:
    """Return intercept and coefficients of the penalised logistic, each within the signs it may have."""

    def loss(c: Floats) -> tuple[float, Floats]:
        z = c[0] + x @ c[1:]
        value = float(w @ (np.logaddexp(0.0, z) - targets * z)) + penalty / 2 * float(c[1:] @ c[1:])
        slope = w * (np.exp(-np.logaddexp(0.0, -z)) - targets)
        return value, np.concatenate([[slope.sum()], x.T @ slope + penalty * c[1:]])

    limits = [(None, None), *(_BOUNDS.get(name, (None, None)) for name in names)]
    found = _optimize().minimize(
        loss,
        np.zeros(len(limits)),
        jac=True,
        method="L-BFGS-B",
        bounds=limits,
        options={"maxiter": 1000, "ftol": 1e-13, "gtol": 1e-9},
    )
    return np.asarray(found.x, dtype=np.float64)


def _table(rows: _Rows) -> Table:
    shares = np.array([(shape.votes[0] + 0.5) / (shape.k + 1) for shape in rows.shapes])
    which = np.searchsorted(EDGES, shares)
    total = np.bincount(which, weights=rows.w, minlength=len(EDGES))
    good = np.bincount(which, weights=rows.w * rows.y, minlength=len(EDGES))
    held = np.flatnonzero(total)
    pooled = _optimize().isotonic_regression((good + 1)[held] / (total + 2)[held], weights=total[held] + 2).x
    # An empty bin belongs to the one below it, whose probability is no higher than that of the one above.
    upto = [EDGES[above - 1] for above in held[1:]] + [1.0]
    return Table(upto=tuple(upto), p=tuple(float(p) for p in pooled))


def _optimize() -> ModuleType:
    try:
        from scipy import optimize
    except ImportError as error:
        raise SettingError("fitting a calibration needs scipy: pip install 'escalade[evaluation]'") from error
    return optimize


def _folds(names: list[str], groups: Mapping[str, str], folds: int, seed: int, place: str) -> NDArray[np.int64]:
    """Return the fold of each problem; a group is in one fold."""
    group, number = np.unique(np.array([groups.get(name, name) for name in names]), return_inverse=True)
    if len(group) < folds:
        raise SettingError(
            f"{place}: {counted(len(names), 'labelled problem')} in {counted(len(group), 'group')}: give at least "
            f"{folds}, one a fold"
        )
    fold = np.random.default_rng(seed).permutation(len(group)) % folds
    return fold[number].astype(np.int64)


def _quality(method: Method, rows: _Rows, fold_of: NDArray[np.int64], seed: int) -> Quality:
    fold = fold_of[rows.problem]
    folds = int(fold_of.max()) + 1
    p = np.empty(len(rows.y))
    for held in range(folds):
        out = fold == held
        curve = _curve(method, rows.take(~out))
        unseen = [rows.shapes[i] for i in np.flatnonzero(out)]
        known = {shape: curve.probability(shape) for shape in set(unseen)}
        p[out] = [known[shape] for shape in unseen]
    y, w = rows.y, rows.w / rows.w.sum()
    share = np.array([shape.votes[0] / shape.k for shape in rows.shapes])
    bins = min(15, max(2, len(rows.names) // 50))
    chances = np.random.default_rng(seed).random((_CHANCES, len(rows.names)))
    return Quality(
        folds=folds,
        brier=_brier(p, y, w),
        log_loss=float(-w @ (y * np.log(p) + (1 - y) * np.log1p(-p))),
        bins=bins,
        ece=_ece(p, y, w, bins),
        ece_by_chance=float(np.mean([_ece(p, (u[rows.problem] < p).astype(float), w, bins) for u in chances])),
        share_brier=_brier(share, y, w),
    )


def _brier(p: Floats, y: Floats, w: Floats) -> float:
    """Return sum w ((p - y)^2), y a share of draws: their mean squared error, not that of their mean."""
    return float(w @ (y * (1 - p) ** 2 + (1 - y) * p**2))


def _ece(p: Floats, y: Floats, w: Floats, bins: int) -> float:
    """Return sum over bins of |sum w (p - y)|, bins of equal weight; equal p are in one bin."""
    _, which = np.unique(p, return_inverse=True)
    mass = np.bincount(which, weights=w)
    middle = np.cumsum(mass) - mass / 2
    chosen = np.minimum((middle * bins).astype(np.int64), bins - 1)[which]
    return float(np.abs(np.bincount(chosen, weights=w * (p - y), minlength=bins)).sum())
