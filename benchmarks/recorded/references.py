"""What strategies are held against besides single models: the best pairs of two tiers, and an oracle."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, floor
from typing import NamedTuple

import numpy as np

from benchmarks.recorded.account import Account, everywhere
from benchmarks.recorded.measured import MEASURED, SAMPLES, Flags
from benchmarks.recorded.verdicts import Point, Verdict, judge, point

SCORE_BOUNDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98)
"""Bounds on the score that pairs are tried with."""
CHEAPEST = "cheapest that is as accurate as always_7B"
FOR_ITS_MONEY = "most accurate for the money of always_7B"
FOR_MONEY_OF_72B = "most accurate for the money of always_72B"


class Pair(NamedTuple):
    """The best pair for an aim, chosen on all problems, and what such choices give on problems they did not see."""

    aim: str
    route: str
    seen: Point
    held_out: Point
    """Chosen on each half of the problems and scored on the other, added up; NaN where a half allows none."""
    verdict: Verdict


def pairs(*, counted: bool) -> Iterator[str]:
    """Yield the routing strings of all pairs tried: a bound on votes or on the score at the first tier, and one above.

    Example:
        >>> routes = list(pairs(counted=False))
        >>> len(routes), routes[0]
        (33, 'mv_cascade_1.5B_k1_t0.0_c0.5_7B_k1_t0.0')
    """
    above = {"1.5B": ["7B_k1_t0.0", "72B_k1_t0.0"], "7B": ["72B_k1_t0.0"]}
    if counted:
        above["1.5B"].append(f"7B_k{SAMPLES}_t0.7")
    for model, tops in above.items():
        first = [f"{model}_k1_t0.0_c{bound:g}" for bound in SCORE_BOUNDS]
        if counted:
            # Written with two digits, rounded down: need = ceil(c k) is the same.
            first += [
                f"{model}_k{k}_t0.7_c{floor(100 * need / k) / 100:g}"
                for k in range(2, SAMPLES + 1)
                for need in range(ceil(k / 2), k + 1)
            ]
        for top in tops:
            yield from (f"mv_cascade_{tier}_{top}" for tier in first)


def best_pairs(account: Account) -> list[Pair]:
    """Return the best pair for each of the three aims; an aim that no pair reaches is left out."""
    basis, baseline, dearest = account.basis, account.baseline, account.singles["72B"]
    names = list(pairs(counted=basis.measured.counted))
    found = [everywhere(basis, name) for name in names]
    right, cost = np.array([each.right for each in found]), np.array([each.cost for each in found])
    even: Flags = np.arange(basis.measured.rows) % 2 == 0

    def choose(rows: Flags, aim: str) -> int | None:
        accuracy, money = right[:, rows].mean(axis=1), cost[:, rows].sum(axis=1)
        if aim == CHEAPEST:
            allowed, merit = accuracy >= baseline.right[rows].mean(), -money
        else:
            limit = baseline if aim == FOR_ITS_MONEY else dearest
            allowed, merit = money <= limit.cost[rows].sum(), accuracy
        return int(np.argmax(np.where(allowed, merit, -np.inf))) if allowed.any() else None

    out: list[Pair] = []
    for aim in (CHEAPEST, FOR_ITS_MONEY, FOR_MONEY_OF_72B):
        chosen = choose(np.ones_like(even), aim)
        if chosen is None:
            continue
        held_out = np.zeros(2)
        for rows in (even, ~even):
            at = choose(rows, aim)
            held_out += np.nan if at is None else (right[at, ~rows].sum() / len(even), cost[at, ~rows].sum())
        verdict = judge(found[chosen], baseline, account.singles)
        out.append(Pair(aim, names[chosen], point(found[chosen]), Point(*map(float, held_out)), verdict))
    return out


def oracle(account: Account) -> Point:
    """Return the point of one who knows which of 1.5B and 7B is right: the cheapest right one, else 1.5B."""
    small, medium = (account.singles[alias] for alias in MEASURED)
    takes = (small.right == 0) & (medium.right == 1)
    right, cost = np.maximum(small.right, medium.right), np.where(takes, medium.cost, small.cost)
    return Point(float(right.mean()), float(cost.sum()))
