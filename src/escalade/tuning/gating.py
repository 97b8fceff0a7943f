"""Gating: which two routes a gate may stand between, and at which scores.

The family is fixed by what was recorded, by what routes cost and by the scores, never by which answers are right:
between any two of one sample of each model, votes of 3, 5 and 8, and cascades of two tiers with a few thresholds, the
cheaper one takes the problems whose score reaches one of at most 12 quantiles. What a gate comes to follows from what
its two routes do, problem by problem.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import NamedTuple

import numpy as np

from escalade.evaluation.bank import Bank, Floats
from escalade.gates import Gate
from escalade.routes import Kind, Route, Tier
from escalade.tuning.candidate import Candidate, at_the_gate, try_one

VOTES = (3, 5, 8)
"""Samples of a vote."""
LOW = (3, 5)
"""Samples of the lower tier of a cascade."""
TOP = (1, 3)
"""Samples of its last tier."""
CUTS = 3
"""Thresholds of a lower tier: of those that were tried without the lowest, this many from one end to the other."""
MOST = 12_000
"""Gates; where there would be more, those between the less simple routes are left out."""


class Pairing(NamedTuple):
    """A gate between two routes, by their places."""

    below: int
    """Of the problems whose score does not reach `at_least`."""
    above: int
    """Of the others: on average the cheaper one."""
    score: str
    at_least: float


@dataclass(frozen=True)
class Gates:
    """G gates between candidates on N problems."""

    bank: Bank
    parts: Sequence[Candidate]
    """What they stand between."""
    pairings: Sequence[Pairing]
    notes: tuple[str, ...] = ()

    @property
    def candidates(self) -> list[Candidate]:
        """[G] Each with the settings of its parts."""
        return [
            Candidate(
                self.parts[found.below].route,
                self.parts[found.below].policy,
                Gate(found.score, found.at_least, self.parts[found.above].route),
            )
            for found in self.pairings
        ]

    def fill(self, correct: Floats, cost: Floats) -> None:
        """Write what they come to into two arrays [G, N]: P(right), and USD."""
        tried = [try_one(self.bank, part) for part in self.parts] if self.pairings else []
        # Who decides by the same score behind the gate has paid for it already.
        whole = {
            alias: [
                one.cost + at_the_gate(self.bank, replace(part, gate=Gate(alias, 0.0, part.route)), part.route)
                for one, part in zip(tried, self.parts, strict=True)
            ]
            for alias in {found.score for found in self.pairings}
        }
        for place, (below, above, alias, at_least) in enumerate(self.pairings):
            takes = self.bank.scores(alias) >= at_least
            correct[place] = np.where(takes, tried[above].correct, tried[below].correct)
            cost[place] = np.where(takes, whole[alias][above], whole[alias][below])


def gates_between(bank: Bank, parts: Sequence[Candidate], cuts: Mapping[str, Sequence[float]]) -> Gates:
    """Return the gates that are to be tried between candidates of one policy.

    Args:
        bank: the recorded samples.
        parts: what they may stand between: those of `halves`.
        cuts: by alias, the scores that may have to be reached; those that all problems reach, or none, are no gate.

    Example:
        >>> gates_between(Bank.of_recording("shipped"), [], {}).candidates
        []
    """
    distinct: dict[str, list[float]] = {}
    for alias, values in cuts.items():
        reached = {int((bank.scores(alias) >= value).sum()): value for value in values}
        distinct[alias] = sorted(value for n, value in reached.items() if 0 < n < len(bank))
    if not any(distinct.values()):
        return Gates(bank, parts, ())
    cost = np.array([try_one(bank, part).cost.mean() for part in parts])
    found, notes = pairings([part.route for part in parts], cost, distinct)
    return Gates(bank, parts, found, tuple(notes))


def halves(routes: Sequence[Route]) -> list[int]:
    """Return the places of the routes that a gate may stand between, the simpler ones first.

    Of one sample each model has one route, the one of the lowest temperature; a cascade that ends with one sample
    ends with that.

    Example:
        >>> from escalade.routes import parse_route
        >>> texts = ["mv_7B_k1_t0.7", "mv_7B_k1_t0.0", "mv_7B_k3_t0.7", "mv_7B_k4_t0.7"]
        >>> halves([parse_route(text) for text in texts])
        [1, 2]
    """
    singles: dict[str, int] = {}
    votes: list[int] = []
    cascades: dict[tuple[Tier, Tier], list[int]] = {}
    for place, route in enumerate(routes):
        first, last = route.tiers[0], route.tiers[-1]
        if len(route.tiers) == 1 and first.k == 1:
            known = singles.setdefault(first.model, place)
            if first.temperature < routes[known].tiers[0].temperature:
                singles[first.model] = place
        elif len(route.tiers) == 1 and first.k in VOTES:
            votes.append(place)
        elif route.kind is Kind.CASCADE and len(route.tiers) == 2 and first.k in LOW and last.k in TOP:
            cascades.setdefault((Tier(first.model, first.k, first.temperature), last), []).append(place)
    ends = {routes[place].tiers[0] for place in singles.values()}
    few = [_few(places, routes) for (_, last), places in cascades.items() if last.k > 1 or last in ends]
    return [*singles.values(), *votes, *(place for places in few for place in places)]


def pairings(
    routes: Sequence[Route], cost: Floats, cuts: Mapping[str, Sequence[float]]
) -> tuple[list[Pairing], list[str]]:
    """Return every gate that is to be tried, and notes on those that are left out.

    Args:
        routes: what gates may stand between: `halves`.
        cost: [C] mean cost of each.
        cuts: by alias, the scores that are to be reached.

    Example:
        >>> from escalade.routes import parse_route
        >>> found, _ = pairings([parse_route("7B"), parse_route("72B")], np.array([2.0, 9.0]), {"7B": [0.5, 0.9]})
        >>> found
        [Pairing(below=1, above=0, score='7B', at_least=0.5), Pairing(below=1, above=0, score='7B', at_least=0.9)]
    """
    ranks = [_rank(route) for route in routes]
    thresholds = [(alias, value) for alias, values in cuts.items() for value in values]
    left_out: list[str] = []
    for allowed, without in _LEVELS:
        pairs = [pair for pair in _ordered(cost) if allowed(ranks[pair[0]], ranks[pair[1]])]
        if len(pairs) * len(thresholds) <= MOST:
            break
        left_out.append(f"{len(pairs) * len(thresholds):,} {without}")
    else:
        pairs = []
    notes = [f"gates are fewer: there are {', '.join(left_out)}, and {MOST:,} are the most"] if left_out else []
    return [Pairing(below, above, *cut) for cut in thresholds for below, above in pairs], notes


_LEVELS: tuple[tuple[Callable[[int, int], bool], str], ...] = (
    (lambda a, b: True, "in all"),
    (lambda a, b: min(a, b) < 2, "without those between two cascades"),
    (lambda a, b: max(a, b) < 2, "without cascades"),
    (lambda a, b: max(a, b) < 1, "between single samples"),
)
"""Which routes a gate may stand between, by their ranks: the first of these families that is not too large is taken."""


def _ordered(cost: Floats) -> Iterator[tuple[int, int]]:
    """Pairs of routes: the dearer one, below the gate, then the cheaper one."""
    for one, other in combinations(range(len(cost)), 2):
        if cost[one] != cost[other]:
            yield (one, other) if cost[one] > cost[other] else (other, one)


def _rank(route: Route) -> int:
    return 2 if len(route.tiers) > 1 else int(route.tiers[0].k > 1)


def _few(places: Sequence[int], routes: Sequence[Route]) -> list[int]:
    """A few of the cascades that differ in the threshold alone."""
    ranked = sorted(places, key=lambda place: routes[place].tiers[0].threshold or 0.0)
    ranked = ranked[1:] if len(ranked) > 1 else ranked
    return [ranked[i] for i in dict.fromkeys(np.round(np.linspace(0, len(ranked) - 1, CUTS)).astype(int).tolist())]
