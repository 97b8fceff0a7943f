"""One data set's account: every strategy computed once, by both rules, in the fitted world and at the corners."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.recorded.answering import Basis, Expected, World
from benchmarks.recorded.measured import Recorded
from benchmarks.recorded.verdicts import BASELINE, SINGLES, Kind, Point, Verdict, judge, point
from escalade.pool import load_pool
from escalade.routes import Route, executed, parse_route
from escalade.strategies import strategies

UNSEEN_AT_MOST = 0.10
"""A strategy is not computed where more of its problems than this need samples that were never counted."""


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """One strategy on one data set."""

    name: str
    routes: NDArray[np.object_]
    kinds: tuple[Route, ...]
    """The distinct routes, as executed."""
    runs: tuple[Recorded, ...]
    """What its authors recorded, the run compared with first; empty where they did not."""
    unseen: float
    """Share of problems whose route needs samples that were never counted on this data set."""
    ours: Expected
    published: Expected
    corners: tuple[tuple[World, Expected, Expected], ...]
    """Ours and theirs in each corner of what is modelled about samples; empty where nothing of it matters."""
    verdict: Verdict
    implied: float | None
    """72B's accuracy on the problems sent there, as the record implies; None where it implies nothing."""
    turned: Kind | None
    """What the verdict would be if 72B were as accurate there as that; None where nothing is implied."""

    @property
    def computed(self) -> bool:
        """Whether enough was measured to compute it."""
        return self.unseen <= UNSEEN_AT_MOST

    @property
    def pools(self) -> bool:
        """Whether the published rule makes anything else of these routes than ours."""
        return any(route.is_cascade for route in self.kinds)


@dataclass(frozen=True, slots=True, eq=False)
class Account:
    """A data set with all its strategies."""

    basis: Basis
    lines: tuple[Line, ...]
    singles: dict[str, Expected]
    """One greedy sample of each model on every problem, by alias."""

    @property
    def baseline(self) -> Expected:
        """What every strategy is judged beside."""
        return self.singles[BASELINE]

    @property
    def points(self) -> dict[str, Point]:
        """Accuracy and cost of each model alone."""
        return {alias: point(found) for alias, found in self.singles.items()}

    def line(self, name: str) -> Line:
        """Return the line of a strategy."""
        return next(line for line in self.lines if line.name == name)


def account_of(basis: Basis) -> Account:
    """Return the account of a data set, at the target of the recorded runs."""
    singles = {alias: everywhere(basis, alias) for alias in SINGLES}
    # Strategies that users have registered are none of the published ones.
    names = [each.name for each in strategies() if each.rule.__module__.startswith("escalade.")]
    return Account(basis, tuple(_line(basis, name, singles) for name in names), singles)


def everywhere(basis: Basis, route: str) -> Expected:
    """Return what one route gives on every problem."""
    return basis.ours(np.full(basis.measured.rows, route, dtype=object))


def _line(basis: Basis, name: str, singles: dict[str, Expected]) -> Line:
    pool = load_pool("qwen2.5-math")
    routes = basis.routes(name)
    kinds = {text: executed(parse_route(text, pool), pool).route for text in dict.fromkeys(routes)}
    sampling = {text: any(tier.temperature > 0 for tier in route.tiers) for text, route in kinds.items()}
    unseen = 0.0 if basis.measured.counted else float(np.mean([sampling[text] for text in routes]))
    ours, published = basis.ours(routes), basis.published(routes)
    worlds = basis.corners() if any(sampling.values()) and unseen <= UNSEEN_AT_MOST else []
    # Only their rule asks whether models share wrong answers.
    apart = {world: basis.ours(routes, world) for world in worlds if world.across == "apart"}
    corners = tuple((w, apart[w._replace(across="apart")], basis.published(routes, w)) for w in worlds)
    baseline = singles[BASELINE]
    verdict = judge(ours, baseline, singles)
    ends = tuple(dict.fromkeys(judge(each, baseline, singles).kind for _, each, _ in corners))
    verdict = verdict.at_the_ends(ends, told=unseen == 0)
    runs = basis.measured.recorded.get(name, ())
    there = _implied(name, ours, runs) if not unseen and not any(route.is_cascade for route in kinds.values()) else None
    turned = None if there is None else judge(_as_implied(ours, there), baseline, singles).kind
    return Line(name, routes, tuple(kinds.values()), runs, unseen, ours, published, corners, verdict, there, turned)


def _implied(name: str, ours: Expected, runs: tuple[Recorded, ...]) -> float | None:
    """Return what a recorded accuracy says 72B's accuracy is on the problems that a strategy sends there.

    (recorded accuracy * N - right answers of 1.5B and 7B on their problems) / problems of 72B. None without a record,
    for `random`, whose recorded problems were others, and where all or no problems go there.
    """
    top = ours.largest == 1
    if not runs or name == "random" or not top.any() or top.all():
        return None
    return (runs[0].accuracy * len(top) - float(ours.right[~top].sum())) / int(top.sum())


def _as_implied(ours: Expected, accuracy: float) -> Expected:
    """Return expectations with 72B as accurate on its problems, on average, as given."""
    top = ours.largest == 1
    shift = np.where(top, accuracy - ours.right[top].mean(), 0.0)
    return ours._replace(right=np.clip(ours.right + shift, 0.0, 1.0))
