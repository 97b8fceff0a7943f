"""A candidate: a route and the settings it is to be run with, perhaps with a gate before it, and what it comes to.

With a gate, each problem is worth and costs what the route does that it goes by, and the score that the gate looks at
besides, which has to be made for every problem.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from escalade.cascade.policy import Policy
from escalade.errors import SettingError
from escalade.evaluation.bank import Bank, Bools, Floats
from escalade.evaluation.exact import evaluate
from escalade.evaluation.replays import DRAWS
from escalade.gates import Gate
from escalade.routes import Route, executed
from escalade.scoring import looked_at


class Sort(IntEnum):
    """How simple a candidate is: the lower, the simpler."""

    DIRECT = 0
    VOTE = 1
    PAIR = 2
    GATE = 3
    TRIPLE = 4


@dataclass(frozen=True, slots=True)
class Candidate:
    """A route and the settings it is to be run with."""

    route: Route
    """Of all problems, or of those that the gate does not take."""
    policy: Policy
    gate: Gate | None = None

    @property
    def way(self) -> str:
        """The routing string; with a gate, which problems go by which."""
        return str(self.route) if self.gate is None else self.gate.before(self.route)

    @property
    def sort(self) -> Sort:
        """How simple it is."""
        if self.gate is not None:
            return Sort.GATE
        tiers = self.route.tiers
        if len(tiers) == 1:
            return Sort.DIRECT if tiers[0].k == 1 else Sort.VOTE
        return Sort.PAIR if len(tiers) == 2 else Sort.TRIPLE

    @property
    def single(self) -> bool:
        """Whether it asks one model only."""
        return self.sort <= Sort.VOTE

    @property
    def routes(self) -> tuple[Route, ...]:
        """The route, and that of the gate where there is one."""
        return (self.route,) if self.gate is None else (self.route, self.gate.route)

    def ways(self, bank: Bank) -> Bools:
        """[N] Return which of `routes` each problem goes by, 0 or 1.

        Raises:
            ScoreError: the gate looks at a score that a problem does not have.
        """
        if self.gate is None:
            return np.zeros(len(bank), dtype=np.bool_)
        return np.array([self.gate.takes(problem) for problem in bank.problems], dtype=np.bool_)


class Tried(NamedTuple):
    """What a candidate comes to on N problems, in expectation over all draws."""

    correct: Floats
    """[N] P(right)."""
    cost: Floats
    """[N] USD, with what the scores cost that it decides by."""


def try_one(bank: Bank, candidate: Candidate, *, draws: int = DRAWS, seed: int = 0) -> Tried:
    """Return what a candidate comes to on the problems of a bank.

    Args:
        bank: the recorded samples.
        candidate: with or without a gate.
        draws, seed: of the Monte Carlo where there is no closed form.

    Raises:
        InputError: see `Candidate.ways` and `escalade.evaluation.exact.evaluate`.

    Example:
        >>> from escalade.routes import parse_route
        >>> bank = Bank.of_recording("shipped").subset(range(8))
        >>> found = try_one(bank, Candidate(parse_route("mv_0.5B_k3_t0.7", bank.pool), Policy()))
        >>> found.correct.shape, bool((found.cost > 0).all())
        ((8,), True)
    """
    parts = []
    for route in candidate.routes:
        found = evaluate(bank, route, candidate.policy, draws=draws, seed=seed)
        # Sums of chances may be 1 + 1e-16.
        parts.append((np.minimum(found.correct, 1.0), found.cost + at_the_gate(bank, candidate, route)))
    (correct, cost), (other, other_cost) = parts[0], parts[-1]
    by = candidate.ways(bank)
    return Tried(np.where(by, other, correct), np.where(by, other_cost, cost))


def scoring_of(bank: Bank, candidate: Candidate) -> Floats:
    """[N] Return what the scores cost that a candidate decides by, USD; what comes without a word on it costs nothing.

    Example:
        >>> from escalade.routes import parse_route
        >>> bank = Bank.of_recording("shipped")
        >>> scoring_of(bank, Candidate(parse_route("1.5B", bank.pool), Policy())).any()
        np.False_
    """
    paid = [
        spent_on_scores(bank, _looked_at(bank, candidate, route)) + at_the_gate(bank, candidate, route)
        for route in candidate.routes
    ]
    return np.where(candidate.ways(bank), paid[-1], paid[0])


def deciding_scores(bank: Bank, candidate: Candidate) -> frozenset[str]:
    """Return the models by whose scores problems are decided, the gate's included."""
    gate = () if candidate.gate is None else (candidate.gate.score,)
    found = {alias for route in candidate.routes for alias in _looked_at(bank, candidate, route)}
    return frozenset((*gate, *(alias for alias in found if scored(bank, alias))))


def at_the_gate(bank: Bank, candidate: Candidate, route: Route) -> Floats:
    """[N] Return what the gate's score costs besides those that a route behind it looks at, USD."""
    if candidate.gate is None or candidate.gate.score in _looked_at(bank, candidate, route):
        return np.zeros(len(bank))
    return spent_on_scores(bank, [candidate.gate.score])


def spent_on_scores(bank: Bank, aliases: Iterable[str]) -> Floats:
    """[N] Return what the scores of some models cost, USD.

    Raises:
        SettingError: of a score that says what it took the cost is unknown.
    """
    found = bank.scoring(sorted(aliases))
    if found is None:
        return np.zeros(len(bank))
    if np.isnan(found).any():
        bad = bank.problems[int(np.isnan(found).argmax())].id
        raise SettingError(
            f"what scores of {', '.join(sorted(aliases))} cost is unknown for problem {bad!r}: give the scores their "
            "cost (0 is one), or tune without scores"
        )
    return found


def scored(bank: Bank, alias: str) -> bool:
    """Return whether every problem has a score of a model."""
    return not bool(np.isnan(bank.scores(alias)).any())


def _looked_at(bank: Bank, candidate: Candidate, route: Route) -> tuple[str, ...]:
    return looked_at(executed(route, bank.pool).route, candidate.policy, bank.pool)
