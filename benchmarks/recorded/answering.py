"""What each route gives on each problem: by escalade's rules, and by the published executor's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.recorded.ladder import Largest, Money, largest_right, money
from benchmarks.recorded.measured import MEASURED, SAMPLES, Floats, Measured
from benchmarks.recorded.odds import Asked, odds
from benchmarks.recorded.pooled import Weighed, pooled
from benchmarks.recorded.urns import Spread, Urn, Wrong, fit_spread, urns
from escalade.cascade.policy import Policy
from escalade.errors import TableError
from escalade.pool import load_pool
from escalade.routes import Kind, Route, Tier, executed, parse_route
from escalade.strategies import get_strategy

TARGET = 0.90
"""The target confidence of the recorded runs."""
EXPLORE_FLOOR = Policy().explore_floor
POOL = load_pool("qwen2.5-math")
Rows = NDArray[np.intp]


class World(NamedTuple):
    """What is taken for true where nothing was measured. By default what was fitted."""

    wrong: Wrong = "fitted"
    largest: Largest = "fitted"
    across: Literal["half", "shared", "apart"] = "half"
    """Whether wrong answers of different models are the same, in pooled ballots; half: the mean of both."""
    unseen: Literal["score", "none", "all"] = "score"
    """How many of 8 samples are right where none were counted: as many as the score says, none, all."""


FITTED = World()


class Expected(NamedTuple):
    """Expectations over the draws, one number a problem."""

    right: Floats
    """P(the outcome is right); 0 or 1 where all that decides it was measured."""
    cost: Floats
    """USD, the samples of a tier asked for at once."""
    settled: Floats
    """USD, the samples of a tier asked for one by one and those left out that settling early saves."""
    largest: Floats
    """P(72B is asked)."""


@dataclass(frozen=True, eq=False)
class Basis:
    """A data set, and the few numbers fitted to its aggregates."""

    measured: Measured
    spread: dict[str, Spread]
    """By alias, how far wrong answers fall apart; of another data set where nothing was counted here."""

    @cached_property
    def money(self) -> Money:
        """Costs under the recorded prices."""
        return money(self.measured)

    @cached_property
    def largest(self) -> dict[Largest, Floats]:
        """P(72B right) of each problem, by how its right answers spread."""
        spreads: tuple[Largest, ...] = ("fitted", "flat", "nested")
        return {spread: largest_right(self.measured, spread) for spread in spreads}

    def corners(self) -> list[World]:
        """Return the worlds that bracket what is modelled about samples; 72B is as fitted in all of them."""
        unseen = ("score",) if self.measured.counted else ("none", "all")
        corners = product(("alike", "apart"), ("fitted",), ("shared", "apart"), unseen)
        return [World(*corner) for corner in corners]  # type: ignore[arg-type] # a product of literals

    def routes(self, strategy: str) -> NDArray[np.object_]:
        """Return the route of each problem, at the target of the recorded runs."""
        return get_strategy(strategy).routes(self.measured.scores, target=TARGET)

    def ours(self, routes: NDArray[np.object_], world: World = FITTED) -> Expected:
        """Return what escalade makes of these routes, one a problem."""
        return self._each(routes, world, self._ours)

    def published(self, routes: NDArray[np.object_], world: World = FITTED) -> Expected:
        """Return what the published executor's rules make of these routes, one a problem."""
        return self._each(routes, world, self._published)

    def _each(
        self, routes: NDArray[np.object_], world: World, rule: Callable[[Route, Rows, World], Expected]
    ) -> Expected:
        columns = np.zeros((len(Expected._fields), self.measured.rows))
        for text in dict.fromkeys(routes):
            rows = np.flatnonzero(routes == text)
            columns[:, rows] = rule(executed(parse_route(text, POOL), POOL).route, rows, world)
        columns[0] = np.clip(columns[0], 0.0, 1.0)  # sums of chances, right but for rounding
        return Expected(*columns)

    def _ours(self, route: Route, rows: Rows, world: World) -> Expected:
        reach, right, cost, settled, largest = (np.zeros(len(rows)) for _ in range(5))
        reach += 1.0
        for position, tier in enumerate(route.tiers):
            last = position == len(route.tiers) - 1
            if tier.model not in MEASURED:
                _only_last(route, last=last)
                right += reach * self.largest[world.largest][rows]
                largest += reach
                at_once = one_by_one = np.ones(len(rows))
                climbs = np.zeros(len(rows))
            else:
                answered, climbs, at_once, one_by_one = self._tier(tier, route.kind, rows, world, last=last)
                right += reach * answered
            greedy = _greedy(tier)
            cost += reach * self.money.of(tier.model, at_once, greedy=greedy, rows=rows)
            settled += reach * self.money.of(tier.model, one_by_one, greedy=greedy, rows=rows)
            reach = reach * climbs
        return Expected(right, cost, settled, largest)

    def _tier(
        self, tier: Tier, kind: Kind, rows: Rows, world: World, *, last: bool
    ) -> tuple[Floats, Floats, Floats, Floats]:
        """Return P(answers and is right), P(climbs) and the samples at once and one by one, of each row."""
        measured = self.measured
        greedy = _greedy(tier)
        score = measured.scores[tier.model][rows]
        threshold = TARGET if tier.threshold is None else tier.threshold
        # A decision asks of a score only on which side of a bound it is.
        bounds = [threshold] if tier.k == 1 else [EXPLORE_FLOOR] if kind is Kind.ENTROPY_CASCADE else []
        groups = [np.zeros(len(rows), np.intp)] if greedy else list(self._counts(tier.model, rows, world))
        sides = [(score >= bound).astype(np.intp) for bound in bounds]
        keys, group = np.unique(np.stack([*groups, *sides], axis=1), axis=0, return_inverse=True)
        table = np.zeros((len(keys), 4))
        for at, key in enumerate(keys):
            stand_in = float(key[-1]) if bounds else None  # 1 for the scores at or above the bound, 0 for those below
            asked = Asked(tier.k, tier.temperature, threshold, kind, last, stand_in)
            weighed = ((Urn(SAMPLES, ()), 1.0),) if greedy else self._urns(tier.model, key[0], key[1], world)
            for urn, weight in weighed:
                once, single = odds(urn, asked, at_once=True), odds(urn, asked, at_once=False)
                table[at] += np.multiply(weight, (once.right, once.climbs, once.drawn, single.drawn))
        right, climbs, at_once, one_by_one = table[group.reshape(-1)].T
        if greedy:
            right = right * measured.greedy[tier.model][rows]
        elif measured.counted and last and tier.k == SAMPLES:
            right = measured.majority[tier.model][rows].astype(np.float64)  # the very ballot that was measured
        return right, climbs, at_once, one_by_one

    def _published(self, route: Route, rows: Rows, world: World) -> Expected:
        votes = [tier for tier in route.tiers if tier.model in MEASURED]
        if not route.is_cascade or not votes or _greedy(votes[0]):
            # One vote of one: its share is 1, so the first tier answers. No cascade: the rules are the same.
            alone = Route(Kind.VOTE, route.tiers[:1]) if route.is_cascade else route
            plain = self._ours(alone, rows, world)
            return plain._replace(settled=plain.cost)
        keys, group = np.unique(
            np.stack([column for tier in votes for column in self._counts(tier.model, rows, world)], axis=1),
            axis=0,
            return_inverse=True,
        )
        ways = {"shared": (True,), "apart": (False,), "half": (True, False)}[world.across]
        table = np.zeros((len(keys), 3 + len(route.tiers)))
        for at, key in enumerate(keys):
            urns_of = tuple(
                self._urns(tier.model, key[2 * position], key[2 * position + 1], world)
                for position, tier in enumerate(votes)
            )
            found = [pooled(urns_of, votes[0].k, shared=shared) for shared in ways]
            table[at] = np.mean([(p.accepted, p.if_right, p.if_wrong, *p.reach) for p in found], axis=0)
        accepted, if_right, if_wrong, *reach = table[group.reshape(-1)].T
        top = self.largest[world.largest][rows]
        cost = sum(
            (
                share * self.money.of(tier.model, float(tier.k), greedy=_greedy(tier), rows=rows)
                for tier, share in zip(route.tiers, reach, strict=True)
            ),
            np.zeros(len(rows)),
        )
        return Expected(accepted + top * if_right + (1 - top) * if_wrong, cost, cost, reach[-1])

    def _counts(self, alias: str, rows: Rows, world: World) -> tuple[Rows, Rows]:
        """Return how many of 8 samples are right, and whether their majority is: 2 where that was not measured."""
        measured = self.measured
        if measured.counted:
            return measured.right[alias][rows], measured.majority[alias][rows].astype(np.intp)
        share = {"none": 0.0, "all": 1.0}.get(world.unseen, measured.scores[alias][rows])
        right = np.broadcast_to(np.rint(SAMPLES * np.asarray(share)), rows.shape).astype(np.intp)
        return right, np.full(len(rows), 2)

    def _urns(self, alias: str, right: np.intp, majority: np.intp, world: World) -> Weighed:
        known = None if majority == 2 else bool(majority)
        found = urns(int(right), known, world.wrong, self.spread[alias])
        if not found:
            raise TableError(
                f"{self.measured.title}: {alias} has {right} of {SAMPLES} samples right where its majority is "
                f"{'right' if known else 'wrong'}: these labels contradict each other"
            )
        return found


def basis_of(measured: Measured, other: Basis | None = None) -> Basis:
    """Return the basis of a data set; `other` lends its spreads where nothing was counted.

    Raises:
        TableError: nothing was counted and nothing is lent.
    """
    if measured.counted:
        return Basis(measured, {a: fit_spread(measured.right[a], measured.majority[a]) for a in MEASURED})
    if other is None:
        raise TableError(f"{measured.title} has no counts of samples: give the basis of a data set that has some")
    return Basis(measured, other.spread)


def _greedy(tier: Tier) -> bool:
    if tier.temperature not in (0.0, 0.7) or (tier.temperature == 0.0 and tier.k > 1):
        raise TableError(f"tier {tier} was not measured: there are one greedy sample and up to {SAMPLES} at t0.7")
    return tier.temperature == 0.0


def _only_last(route: Route, *, last: bool) -> None:
    if not last:
        raise TableError(f"route {route}: 72B below another tier was not measured")
