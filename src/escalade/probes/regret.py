"""Regret: what routing by scores loses, or gains, against always asking one model, at no more money.

The routed policy asks, of each problem, the model with the largest score less lambda times its mean cost (one sample
each). Against a model it is taken at the smallest lambda at which it costs no more than that model, its scores
included. A model without scores counts with its mean accuracy, the same on every problem.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from escalade.errors import SettingError
from escalade.evaluation.bank import Bank
from escalade.evaluation.exact import evaluate
from escalade.evaluation.inventory import Shelf, inventory
from escalade.probes.ridge import Floats
from escalade.probes.training import Ints
from escalade.statistics.intervals import Difference, paired_difference


class Regret(NamedTuple):
    """The routed policy beside one model, both in expectation over the draws of recorded samples."""

    alias: str
    accuracy: float
    """Of always asking this model."""
    usd: float
    """A problem."""
    routed_accuracy: float
    routed_usd: float
    """A problem, its scores included; NaN where no lambda makes it cheap enough: then it is the cheapest there is."""
    shares: dict[str, float]
    """Share of the problems that each model was asked."""
    loss: Difference
    """Accuracy of the model less that of the routed policy: below 0 routing gains."""
    oracle_loss: float
    """Accuracy of routing by the truth, at no more money, less that of the routed policy."""


def regrets(
    bank: Bank, scores: Mapping[str, Floats], scoring_usd: Floats, groups: list[str] | None = None
) -> list[Regret]:
    """Return the regret against every model of a bank, one sample each: the greedy one, where there is one.

    Args:
        bank: recorded samples of several models.
        scores: [N] by alias, of at least one of them.
        scoring_usd: [N] what the scores cost.
        groups: [N] of near-duplicates, for intervals.

    Raises:
        SettingError: fewer than two models, an unknown cost, or no scores of any of them.
    """
    shelves = _singles(bank)
    if len(shelves) < 2:
        raise SettingError(f"{bank.place} has samples of {len(shelves)} model: regret takes two or more")
    if not any(shelf.alias in scores for shelf in shelves):
        raise SettingError(
            f"no scores of {', '.join(shelf.alias for shelf in shelves)}: give a probe of at least one of them"
        )
    found = [evaluate(bank, shelf.vote(1)) for shelf in shelves]
    correct, cost = np.stack([e.correct for e in found]), np.stack([e.cost for e in found])
    if np.isnan(cost).any() or np.isnan(scoring_usd).any():
        raise SettingError("a cost is unknown: give a pool with prices, and samples and scores with counts of tokens")
    believed = np.stack(
        [scores.get(s.alias, np.full(len(bank), c.mean())) for s, c in zip(shelves, correct, strict=True)]
    )
    mean = cost.mean(axis=1)
    out: list[Regret] = []
    for place, shelf in enumerate(shelves):
        budget = float(mean[place])
        rows = np.arange(len(bank))
        routed = _within(believed, mean, cost, budget - float(scoring_usd.mean()))
        best = _within(correct, mean, cost, budget)
        right = correct[routed, rows]
        out.append(
            Regret(
                shelf.alias,
                float(correct[place].mean()),
                budget,
                float(right.mean()),
                float((cost[routed, rows] + scoring_usd).mean()),
                {s.alias: float((routed == i).mean()) for i, s in enumerate(shelves)},
                paired_difference(correct[place], right, groups),
                float(correct[best, rows].mean() - right.mean()),
            )
        )
    return out


def _within(believed: Floats, mean: Floats, cost: Floats, budget: float) -> Ints:
    """[N] which model: argmax of belief less lambda mean cost, at the smallest lambda within the budget."""
    rows = np.arange(believed.shape[1])

    def chosen(rate: float) -> Ints:
        return np.asarray((believed - rate * mean[:, None]).argmax(axis=0))

    def spent(rate: float) -> float:
        return float(cost[chosen(rate), rows].mean())

    # Choices change where two models tie on a problem: lambda = (p - p') / (c - c').
    turns = {0.0}
    for a in range(len(mean)):
        for b in range(a):
            if mean[a] != mean[b]:
                turns.update(((believed[a] - believed[b]) / (mean[a] - mean[b])).tolist())
    rates = sorted(rate * (1 + 1e-9) for rate in turns if rate >= 0)
    low, high = 0, len(rates)
    while low < high:
        middle = (low + high) // 2
        if spent(rates[middle]) <= budget + 1e-15:
            high = middle
        else:
            low = middle + 1
    return chosen(rates[min(low, len(rates) - 1)])


def _singles(bank: Bank) -> list[Shelf]:
    """One shelf a model: the coldest."""
    first: dict[str, Shelf] = {}
    for shelf in inventory(bank):
        if shelf.least >= 1:
            first.setdefault(shelf.alias, shelf)
    return list(first.values())
