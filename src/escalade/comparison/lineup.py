"""The line-up: which policies take part in a comparison, each under one name.

Routes and strategies that were asked for, the reference that all are held against, and the references that belong into
every table. What they come to is the business of `points` and `references`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from escalade.comparison.points import Panel, PolicyPoint
from escalade.comparison.references import EqualCost, References
from escalade.errors import InputError, SettingError, nearest
from escalade.evaluation.bank import Bank
from escalade.routes import Kind, Route, parse_route
from escalade.strategies import Strategy, get_strategy, load_strategy
from escalade.strategies import strategies as catalogue

Strategies = Literal["all"] | Sequence[str | Strategy]
"""Names, strategies, or all that can be evaluated."""


class LeftOut(NamedTuple):
    """A strategy of "all" that cannot be evaluated here."""

    name: str
    reason: str


def usual_routes(bank: Bank, references: References) -> list[str]:
    """Return routes to begin with: the pool's own, if recorded, votes, and cascades upwards to one sample.

    Example:
        >>> from escalade.cascade.policy import Policy
        >>> from escalade.evaluation.inventory import by_cost, inventory
        >>> bank = Bank.of_recording("shipped")
        >>> panel, shelves = Panel(bank, Policy()), inventory(bank)
        >>> usual_routes(bank, References(panel, shelves, by_cost(bank, shelves)))[-1]
        'mv_cascade_135M_k5_t0.7_0.5B_k5_t0.7_1.5B_k1_t0.0'
    """
    order = (
        references.order
        if references.priced
        else [p.tiers[0].model for p in sorted(references.singles, key=lambda p: p.accuracy)]
    )
    votes = {alias: tier for alias in order if (tier := references.vote_tier(alias)) is not None}
    found = [Route(Kind.VOTE, (tier,)) for tier in votes.values()]
    for place, top in enumerate(order):
        last = references.one(top).tiers[0]
        found += [Route(Kind.CASCADE, (votes[low], last)) for low in order[:place] if low in votes]
    below = [votes[alias] for alias in order[:-1] if alias in votes]
    if len(below) > 1:
        found.append(Route(Kind.CASCADE, (*below, references.one(order[-1]).tiers[0])))
    texts = list(dict.fromkeys(map(str, found)))
    if bank.pool.route is not None and references.recorded(bank.pool.route):
        texts = list(dict.fromkeys([bank.pool.route, *texts]))
    return texts


def compared_points(
    panel: Panel,
    routes: Sequence[str | Route],
    strategies: Strategies,
    targets: Sequence[float],
) -> tuple[list[PolicyPoint], list[LeftOut]]:
    """Return a point of each route, strategy and target, and which strategies of "all" cannot be evaluated.

    Raises:
        InputError: one that was named cannot be.

    Example:
        >>> from escalade.cascade.policy import Policy
        >>> panel = Panel(Bank.of_recording("shipped"), Policy())
        >>> points, left_out = compared_points(panel, ["mv_0.5B_k3_t0.7"], "all", [0.8, 0.9])
        >>> [point.name for point in points], left_out[0].name
        (['vote 0.5B k3', 'always_1.5B', 'mv_always_1.5B'], 'random')
    """
    points: list[PolicyPoint] = []
    left_out: list[LeftOut] = []
    for route in routes:
        points += [panel.of_route(route, target=target) for target in targets]
    chosen = catalogue() if strategies == "all" else [_strategy(each) for each in strategies]
    for each in chosen:
        try:
            points += [panel.of_strategy(each, target) for target in targets]
        except InputError as error:
            if strategies != "all":
                raise
            left_out.append(LeftOut(each.name, str(error).split("\n", 1)[0]))
    # What does not heed the target is one policy.
    kept = {(p.kind, p.name if p.kind == "strategy" else p.route, p.target): p for p in points}
    if not kept:
        raise SettingError(f"no strategy can be evaluated here; {left_out[0].name}: {left_out[0].reason}")
    return _named(list(kept.values())), left_out


def _strategy(given: str | Strategy) -> Strategy:
    if isinstance(given, Strategy):
        return given
    return load_strategy(given) if ".py" in given else get_strategy(given)


def _named(points: list[PolicyPoint]) -> list[PolicyPoint]:
    """Give each policy a name of its own: the routing string where short names are alike, the target where several."""
    routes: dict[str, set[str | None]] = {}
    targets: dict[tuple[str, str | None], int] = {}
    for point in points:
        routes.setdefault(point.name, set()).add(point.route if point.kind == "route" else None)
        key = (point.name, point.route if point.kind == "route" else None)
        targets[key] = targets.get(key, 0) + 1
    out: list[PolicyPoint] = []
    for point in points:
        name = point.name
        if point.kind == "route" and len(routes[point.name]) > 1:
            name = str(point.route)
        if targets[point.name, point.route if point.kind == "route" else None] > 1 and point.target is not None:
            name += f" @{point.target:g}"
        out.append(replace(point, name=name))
    return out


def reference_of(
    panel: Panel, references: References, compared: Sequence[PolicyPoint], name: str | None
) -> tuple[PolicyPoint, str]:
    """Return the policy that all are held against, and why it is that one.

    Raises:
        SettingError: the name is no policy's, no model's and no routing string. TableError: too few samples of it.

    Example:
        >>> from escalade.cascade.policy import Policy
        >>> from escalade.evaluation.inventory import by_cost, inventory
        >>> bank = Bank.of_recording("shipped")
        >>> panel, shelves = Panel(bank, Policy()), inventory(bank)
        >>> references = References(panel, shelves, by_cost(bank, shelves))
        >>> [reference_of(panel, references, [], name)[0].name for name in (None, "0.5B", "mv_0.5B_k8_t0.7")]
        ['1.5B', '0.5B', 'vote 0.5B k8']
    """
    singles = references.singles
    if name is None:
        if references.priced:
            point, why = max(singles, key=lambda p: p.cost_usd), "one sample of the dearest model"
        else:
            point, why = max(singles, key=lambda p: p.accuracy), "costs are unknown: the most accurate single sample"
        return point, why
    known = {**{p.tiers[0].model: p for p in singles}, **{p.name: p for p in (*singles, *compared)}}
    for point in compared:
        known.setdefault(point.route or point.name, point)
    if name in known:
        return known[name], "as asked"
    try:
        route = parse_route(name, panel.bank.pool)
    except InputError as error:
        raise SettingError(
            f"reference {name!r} is no policy here and no routing string: give one of {', '.join(known)}"
            f"{nearest(name, known)}"
        ) from error
    return panel.of_route(route, kind="reference"), "as asked"


class Known:
    """Points by what they come to: two policies that never differ are one, and it has one name."""

    def __init__(self, points: Sequence[PolicyPoint]) -> None:
        self._points: dict[tuple[bytes, bytes], PolicyPoint] = {}
        for point in sorted(points, key=lambda point: point.kind == "strategy"):
            self.named(point)

    def named(self, point: PolicyPoint) -> PolicyPoint:
        """Return the first point that came to the same."""
        return self._points.setdefault((point.correct.tobytes(), point.cost.tobytes()), point)


def rivals_of(references: References, point: PolicyPoint, known: Known) -> EqualCost:
    """Return what else a policy's money buys, under the names that are used here.

    Example:
        >>> from escalade.cascade.policy import Policy
        >>> from escalade.evaluation.inventory import by_cost, inventory
        >>> bank = Bank.of_recording("shipped")
        >>> panel, shelves = Panel(bank, Policy()), inventory(bank)
        >>> references = References(panel, shelves, by_cost(bank, shelves))
        >>> mine = panel.of_route("mv_1.5B_k5_t0.7")
        >>> known = Known([mine, *references.singles])
        >>> found = rivals_of(references, mine, known)
        >>> found.vote, found.mix.name, found.pair.name  # no vote for the money is better than itself
        (None, 'mix 1.5B / vote 1.5B k8 57 %', '135M k5 c1 > 1.5B')
    """
    if math.isnan(point.cost_usd):
        return EqualCost(None, None, None)
    found, own = references.at_cost(point.cost_usd), known.named(point)

    def other(rival: PolicyPoint | None) -> PolicyPoint | None:
        """The rival under the name it has here; None where it is the policy itself."""
        named = None if rival is None else known.named(rival)
        return None if named is None or named.same(own) else named

    return EqualCost(other(found.vote), other(found.mix), other(found.pair))


def everyone(
    references: References,
    compared: Sequence[PolicyPoint],
    reference: PolicyPoint,
    rivals: Mapping[str, EqualCost],
    known: Known,
) -> list[PolicyPoint]:
    """Return the compared policies, single samples, the best for a policy's money, and what the reference's buys.

    Example:
        >>> from escalade.cascade.policy import Policy
        >>> from escalade.evaluation.inventory import by_cost, inventory
        >>> bank = Bank.of_recording("shipped")
        >>> panel, shelves = Panel(bank, Policy()), inventory(bank)
        >>> references = References(panel, shelves, by_cost(bank, shelves))
        >>> mine = panel.of_route("mv_1.5B_k5_t0.7")
        >>> known = Known([mine, *references.singles])
        >>> rivals = {mine.name: rivals_of(references, mine, known)}
        >>> [point.name for point in everyone(references, [mine], references.singles[-1], rivals, known)]
        ['vote 1.5B k5', '135M', '0.5B', '1.5B', '135M k5 c1 > 1.5B', 'oracle']
    """
    wanted = [*references.singles, reference]
    if references.priced:
        wanted += [rival.vote for rival in rivals.values() if rival.vote is not None]
        wanted += [rival.pair for rival in rivals.values() if rival.pair is not None]
        at_reference = (references.mix(reference.cost_usd), references.oracle_at(reference.cost_usd))
        wanted += [known.named(point) for point in at_reference if point is not None]
    else:
        wanted += references.largest_votes()
    out = list(compared)
    for point in wanted:
        # A strategy that always takes a reference does not stand for it.
        if any(point is other or (other.kind != "strategy" and point.same(other)) for other in out):
            continue
        names = {other.name for other in out}
        if point.name in names and point.route is not None:
            point = replace(point, name=point.route if point.route not in names else f"{point.route} (share)")
        out.append(point)
    return out
