"""Coins: what two routes come to where a coin chooses between them in the place of a score, for the same money.

Any two routes can be mixed, and a mix of a cheap and a dear one beats each single model at its cost without knowing
anything. So a score that chooses between two, at a gate or as the confidence of a single sample, has to be worth more:

    coin = share * dearer route + (1 - share) * cheaper route       its mean cost that of the score's choice

Where that costs more than the dearer route alone, scoring included, the share is 1.
"""

from __future__ import annotations

import numpy as np

from escalade.evaluation.bank import Bools, Floats, Ints
from escalade.tuning.candidates import Sort, Trials

CAUTION = 2.0
"""Standard errors by which a gate has to be ahead of its coin, at least: a useless score is a coin."""
_AT_ONCE = 1000


def coin(trials: Trials, place: int, weights: Floats) -> Floats:
    """[N] Return what a coin in the place of a score comes to, P(right); without a score, what the candidate does.

    Args:
        trials: what the candidates come to on N problems.
        place: which of them.
        weights: [N] of the problems that settle its share, summing to 1.
    """
    dearer, cheaper = trials.sides[place]
    share = _shares(trials, np.array([place]), weights)[0]
    return np.asarray(share * trials.correct[dearer] + (1 - share) * trials.correct[cheaper])


def ahead_of_coins(trials: Trials, where: Bools, weights: Floats, n: int, caution: float) -> Bools:
    """[C] Return those of some candidates that have no gate, or one that is ahead of its coin.

    Args:
        trials: what C candidates come to on N problems.
        where: [C] the candidates.
        weights: [N] of the problems, summing to 1.
        n: how many problems these stand for.
        caution: standard errors by which it has to be ahead; at least `CAUTION`.
    """
    out = where.copy()
    gates = np.flatnonzero(where & (trials.sorts == Sort.GATE))
    shares = _shares(trials, gates, weights)
    for start in range(0, len(gates), _AT_ONCE):
        some, share = gates[start : start + _AT_ONCE], shares[start : start + _AT_ONCE, None]
        dearer, cheaper = trials.sides[some].T
        ahead = trials.correct[some] - share * trials.correct[dearer] - (1 - share) * trials.correct[cheaper]
        mean = ahead @ weights
        variance = np.maximum(0.0, ahead**2 @ weights - mean**2) / (n - 1)
        out[some] = mean - max(caution, CAUTION) * np.sqrt(variance) > 1e-12
    return out


def _shares(trials: Trials, gates: Ints, weights: Floats) -> Floats:
    """Of the dearer route, for the money that the gates cost."""
    cost, (dear, cheap) = trials.cost[gates] @ weights, (trials.cost[side] @ weights for side in trials.sides[gates].T)
    between = dear > cheap
    share = (cost - cheap) / np.where(between, dear - cheap, 1.0)
    return np.where(between, np.clip(share, 0.0, 1.0), 1.0)
