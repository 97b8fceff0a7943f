"""References: what every policy is held against, made from the single models of a bank.

One sample of each model; a model's vote for the same money; a coin between two policies of one tier; the best of a
small grid of cascades of two models; and the oracle. What is chosen among them is chosen on the very problems it is
evaluated on, and marked so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from escalade.comparison.points import Panel, PointTier, PolicyPoint
from escalade.errors import InputError
from escalade.evaluation.inventory import Shelf
from escalade.routes import Kind, Route, Tier
from escalade.statistics.frontier import Frontier, Point, hull, oracle

VOTES = (2, 3, 4, 5, 6, 7, 8, 10, 12, 16)
"""Numbers of samples of the votes that compete for the same money, as far as they were recorded."""
PAIR_FIRST, PAIR_SECOND = (3, 5, 8), (1, 3)
"""Numbers of samples of the first and of the second tier in the grid of cascades."""


class Mix(NamedTuple):
    """A coin between two policies, thrown for every problem."""

    cheap: PolicyPoint
    dear: PolicyPoint
    share: float
    """Of the problems that go to the dear one."""


@dataclass(frozen=True, slots=True)
class EqualCost:
    """What the money of a policy buys otherwise; None where all of a sort cost more."""

    vote: PolicyPoint | None
    """The most accurate vote (or single sample) of one model that costs no more."""
    mix: PolicyPoint | None
    """The best coin between two policies of one tier, at this very cost."""
    pair: PolicyPoint | None
    """The most accurate cascade of two models, of the grid, that costs no more."""


class References:
    """The references of one bank.

    Args:
        panel: makes points of routes.
        shelves: what was recorded.
        order: the models, the cheapest first.
    """

    def __init__(self, panel: Panel, shelves: Sequence[Shelf], order: Sequence[str]) -> None:
        self._panel = panel
        self._grid = panel.closed()
        self._shelves = [shelf for shelf in shelves if shelf.least > 0]
        known = {shelf.alias for shelf in self._shelves}
        self.order = [alias for alias in order if alias in known]
        """The models that every problem has samples of."""
        self.singles = [panel.of_route(self.one(alias), kind="reference") for alias in self.order]
        """One sample of each model, the cheapest first."""
        self.priced = all(not np.isnan(point.cost_usd) for point in self.singles)
        """Whether the costs of all models are known."""
        self._votes: list[PolicyPoint] | None = None
        self._pairs: list[PolicyPoint] | None = None
        self._chosen: dict[str, PolicyPoint] = {}

    def one(self, alias: str) -> Route:
        """Return the route of one sample of a model: greedy if recorded, else at the temperature of most samples."""
        model = self._panel.bank.pool[alias]
        mine = [shelf for shelf in self._shelves if shelf.alias == alias]
        if any(shelf.temperature == 0 for shelf in mine):
            return Route(Kind.GREEDY, (Tier(model.alias, 1, 0.0),), model.name)
        return max(mine, key=lambda shelf: shelf.least).vote(1)

    def vote_tier(self, alias: str, most: int = 5) -> Tier | None:
        """Return a tier of as many samples of a model as every problem has, `most` at most; None if fewer than two."""
        shelf = self._largest(alias)
        return None if shelf is None else Tier(alias, min(most, shelf.least), shelf.temperature)

    def largest_votes(self) -> list[PolicyPoint]:
        """Return a vote of each model, of up to 8 samples: what stands in where costs are unknown."""
        tiers = [tier for alias in self.order if (tier := self.vote_tier(alias, 8)) is not None]
        return [self._panel.of_route(Route(Kind.VOTE, (tier,)), kind="reference") for tier in tiers]

    def recorded(self, route: str) -> bool:
        """Return whether a route of the pool can be evaluated with what was recorded."""
        try:
            self._panel.of_route(route)
        except InputError:
            return False
        return True

    @property
    def votes(self) -> list[PolicyPoint]:
        """Votes of one model, of as many samples as every problem has."""
        if self._votes is None:
            self._votes = [
                self._grid.of_route(shelf.vote(k), kind="reference")
                for shelf in self._shelves
                for k in VOTES
                if k <= shelf.least and not self._panel.bank.pool[shelf.alias].greedy_only
            ]
        return self._votes

    @property
    def pairs(self) -> list[PolicyPoint]:
        """A grid of cascades of two models, the cheaper first: k, and each majority of it that may suffice."""
        if self._pairs is None:
            self._pairs = [
                self._grid.of_route(Route(Kind.CASCADE, (first, second)), kind="reference", in_sample=True)
                for place, dear in enumerate(self.order)
                for cheap in self.order[:place]
                for first in self._firsts(cheap)
                for second in self._seconds(dear)
            ]
        return self._pairs

    def _firsts(self, alias: str) -> list[Tier]:
        shelf = self._largest(alias)
        if shelf is None:
            return []
        ks = [k for k in PAIR_FIRST if k <= shelf.least] or [shelf.least]
        # Rounded down, so that j votes of k reach it.
        return [
            Tier(alias, k, shelf.temperature, math.floor(j / k * 10_000) / 10_000)
            for k in ks
            for j in range(k // 2 + 1, k + 1)
        ]

    def _seconds(self, alias: str) -> list[Tier]:
        shelf = self._largest(alias)
        votes = () if shelf is None else (k for k in PAIR_SECOND if 1 < k <= shelf.least)
        return [self.one(alias).tiers[0], *(Tier(alias, k, shelf.temperature) for k in votes if shelf is not None)]

    def _largest(self, alias: str) -> Shelf | None:
        """The shelf that has the most samples, at least two; None for a model that is greedy only."""
        mine = [s for s in self._shelves if s.alias == alias and s.least > 1]
        return None if self._panel.bank.pool[alias].greedy_only else max(mine, key=lambda s: s.least, default=None)

    def at_cost(self, budget: float) -> EqualCost:
        """Return what else a mean cost a problem, USD, buys."""
        single = [*self.singles, *self.votes]
        vote = _best(single, budget)
        if vote is not None and vote not in self.singles:
            vote = self._chosen.setdefault(vote.name, replace(vote, in_sample=True))
        return EqualCost(vote, self.mix(budget), _best(self.pairs, budget))

    def mix(self, budget: float) -> PolicyPoint | None:
        """Return the best coin between two policies of one tier that costs `budget`; None below the cheapest."""
        single = [*self.singles, *self.votes]
        named = [Point(p.cost_usd, p.accuracy, str(place)) for place, p in enumerate(single)]
        vertices = [(point.cost, single[int(point.name)]) for point in hull(named).points]
        below = [vertex for vertex in vertices if vertex[0] <= budget * (1 + 1e-12)]
        if not below:
            return None
        cheap = below[-1][1]
        above = vertices[len(below) : len(below) + 1]
        dear = above[0][1] if above else cheap
        gap = dear.cost_usd - cheap.cost_usd
        return mixed(Mix(cheap, dear, (budget - cheap.cost_usd) / gap if gap > 0 else 0.0))

    def oracle(self) -> Frontier:
        """Return the frontier of a policy that knows P(right) of one sample of each model, on every problem."""
        correct, costs = (np.stack([getattr(p, name) for p in self.singles], axis=1) for name in ("correct", "cost"))
        return oracle(correct, costs)

    def oracle_at(self, budget: float) -> PolicyPoint | None:
        """Return the oracle as a point, at the cost where it is most accurate within a budget; None below its cheapest.

        Its accuracy and cost are known as means alone: the arrays are those of the mean problem.
        """
        curve = self.oracle()
        if budget < curve.costs[0]:
            return None
        spent = min(budget, float(curve.costs[-1]))
        n = len(self.singles[0].correct)
        blank = np.full(n, math.nan)
        return replace(
            self.singles[0],
            name="oracle",
            route=None,
            correct=np.full(n, float(curve.accuracy_at([spent])[0])),
            cost=np.full(n, spent),
            tokens=blank,
            samples=np.ones(n),
            escalated=math.nan,
            tiers=(),
            pass_at_k=math.nan,
            majority_at_k=math.nan,
            in_sample=True,
            paired=False,
            candidate=False,
        )

    def zero(self) -> Frontier:
        """Return the zero router: the hull of single samples, which mixes models blindly."""
        return hull([Point(p.cost_usd, p.accuracy, p.name) for p in self.singles])


def mixed(mix: Mix) -> PolicyPoint:
    """Return the point of a coin between two policies: every expectation is the weighted one.

    Example:
        >>> from escalade.cascade.policy import Policy
        >>> from escalade.evaluation.bank import Bank
        >>> panel = Panel(Bank.of_recording("shipped"), Policy())
        >>> both = [panel.of_route(route) for route in ("0.5B", "1.5B")]
        >>> half = mixed(Mix(*both, 0.5))
        >>> half.name, [round(point.accuracy, 4) for point in (*both, half)]
        ('mix 0.5B / 1.5B 50 %', [0.4167, 0.65, 0.5333])
    """
    cheap, dear, share = mix

    def of(name: str) -> Any:
        return (1 - share) * getattr(cheap, name) + share * getattr(dear, name)

    tiers = [
        *(_scaled(tier, 1 - share) for tier in cheap.tiers),
        *(_scaled(tier, share) for tier in dear.tiers if share > 0),
    ]
    return replace(
        cheap,
        name=f"mix {cheap.name} / {dear.name} {share:.0%}".replace("%", " %") if share > 0 else f"mix {cheap.name}",
        kind="reference",
        route=None,
        target=None,
        correct=of("correct"),
        cost=of("cost"),
        tokens=of("tokens"),
        samples=of("samples"),
        escalated=of("escalated"),
        pass_at_k=of("pass_at_k"),
        majority_at_k=of("majority_at_k"),
        tiers=tuple(tiers),
        exact=cheap.exact and dear.exact,
        in_sample=True,
        candidate=False,
    )


def _scaled(tier: PointTier, share: float) -> PointTier:
    return replace(
        tier, **{name: share * getattr(tier, name) for name in ("reached", "decided", "samples", "cost_usd")}
    )


def _best(points: Sequence[PolicyPoint], budget: float) -> PolicyPoint | None:
    """The most accurate within a budget, the cheapest of equals."""
    within = [point for point in points if point.cost_usd <= budget * (1 + 1e-12)]
    return max(within, key=lambda point: (point.accuracy, -point.cost_usd), default=None)
