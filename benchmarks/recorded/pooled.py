"""The published executor's rule for cascades, as its code has it, weighed exactly.

All samples of all tiers so far are one ballot; its leader's share is compared with 0.90, whatever target was asked for;
a single sample has a share of 1 and is accepted; ties go to the answer seen first, so to the weaker tier's; the prefix
`entropy_` changes nothing. The routes' last tier is 72B: one more vote among many.
"""

from __future__ import annotations

import math
from collections import defaultdict
from functools import cache
from itertools import zip_longest
from typing import NamedTuple

from benchmarks.recorded.odds import Drawn, draws
from benchmarks.recorded.urns import Urn

TARGET = 0.90
"""The share from which the published executor accepts, always."""
Weighed = tuple[tuple[Urn, float], ...]


class Pooled(NamedTuple):
    """What comes of a pooled cascade of votes with a greedy 72B above them."""

    accepted: float
    """P(a tier of votes is accepted, and its answer is right)."""
    if_right: float
    """P(72B is asked, and the final answer is right), where 72B is right."""
    if_wrong: float
    """The same where 72B is wrong."""
    reach: tuple[float, ...]
    """P(each tier is asked), 72B's last."""


@cache
def pooled(tiers: tuple[Weighed, ...], k: int, *, shared: bool) -> Pooled:
    """Return what comes of tiers of k votes each, pooled, then 72B.

    `shared`: the most frequent wrong answers of all tiers are the same answer, the second most frequent too, and so on,
    and 72B's wrong answer is the most frequent of them. Else no wrong answer of one model is one of another.

    Example:
        >>> eight = ((Urn(8, ()), 1.0),)
        >>> pooled((eight, eight), 4, shared=True)
        Pooled(accepted=1.0, if_right=0.0, if_wrong=0.0, reach=(1.0, 0.0, 0.0))
        >>> pooled((((Urn(0, (8,)), 1.0),), eight), 4, shared=True)  # unanimous, so accepted, and wrong
        Pooled(accepted=0.0, if_right=0.0, if_wrong=0.0, reach=(1.0, 0.0, 0.0))
    """
    accepted = 0.0
    reach: list[float] = []
    # Votes of each class by tier, the right one first: ((right, wrong 1, ...) of tier 1, the same of tier 2, ...).
    waiting: dict[tuple[Drawn, ...], float] = {(): 1.0}
    for weighed in tiers:
        reach.append(math.fsum(waiting.values()))
        following: dict[tuple[Drawn, ...], float] = defaultdict(float)
        for below, chance in waiting.items():
            for votes, likely in _ballots(weighed, k):
                ballot = (*below, votes)
                totals = _totals(ballot, shared=shared)
                if max(totals) / sum(totals) >= TARGET:
                    accepted += chance * likely * _right_share(ballot, shared=shared)
                else:
                    following[ballot] += chance * likely
        waiting = following
    reach.append(math.fsum(waiting.values()))
    if_right = math.fsum(chance * _right_share((*ballot, (1,)), shared=shared) for ballot, chance in waiting.items())
    if_wrong = math.fsum(chance * _right_share((*ballot, (0, 1)), shared=shared) for ballot, chance in waiting.items())
    return Pooled(accepted, if_right, if_wrong, tuple(reach))


@cache
def _ballots(weighed: Weighed, k: int) -> tuple[tuple[Drawn, float], ...]:
    """Votes of the right class and of the wrong ones, the most frequent first, with their probabilities."""
    found: dict[Drawn, float] = defaultdict(float)
    for urn, weight in weighed:
        for (right, *wrong), likely in draws((urn.right, *urn.wrong), k):
            found[(right, *sorted((n for n in wrong if n), reverse=True))] += weight * likely
    return tuple(found.items())


def _columns(ballot: tuple[Drawn, ...], *, shared: bool) -> list[tuple[int, ...]]:
    """Votes for each answer, by tier; the right one first."""
    right = tuple(votes[0] for votes in ballot)
    if shared:
        return [right, *zip_longest(*(votes[1:] for votes in ballot), fillvalue=0)]
    apart = [
        tuple(n if position == tier else 0 for position in range(len(ballot)))
        for tier, votes in enumerate(ballot)
        for n in votes[1:]
    ]
    return [right, *apart]


def _totals(ballot: tuple[Drawn, ...], *, shared: bool) -> list[int]:
    return [sum(column) for column in _columns(ballot, shared=shared)]


def _right_share(ballot: tuple[Drawn, ...], *, shared: bool) -> float:
    """P(the right answer leads): among the tied, the one seen first does.

    In the first tier that voted for any of them, each of the tied is as likely to be first as it has votes there.
    """
    columns = _columns(ballot, shared=shared)
    top = max(sum(column) for column in columns)
    if sum(columns[0]) < top:
        return 0.0
    tied = [column for column in columns if sum(column) == top]
    for votes in zip(*tied, strict=True):
        if any(votes):
            return float(votes[0] / sum(votes))
    return 0.0
