"""Ladders: models of a pool that stand for those that the published strategies are written for.

The published rules speak of 1.5B, 7B and 72B. A pool names three models of its own for them, the cheapest first; one
may stand for several. Scores and costs are handed in under the published aliases, and routes are translated back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

from escalade.errors import PoolError
from escalade.pool import Pool, load_pool
from escalade.routes import Kind, Route, Tier, parse_route

LADDER = ("1.5B", "7B", "72B")
"""The aliases that the published strategies are written for."""


def rungs_of(pool: Pool) -> dict[str, str]:
    """Return which alias of a pool stands for which published one; {} where the pool names none.

    Raises:
        PoolError: the cheapest does not come first.

    Example:
        >>> rungs_of(load_pool("embedded")), rungs_of(load_pool("qwen2.5-math"))
        ({'1.5B': '0.5B', '7B': '1.5B', '72B': '1.5B'}, {})
    """
    if pool.ladder is None:
        return {}
    costs = pool.relative_costs()
    for low, high in pairwise(pool.ladder if costs else ()):
        if costs[low] > costs[high]:
            raise PoolError(f"ladder of pool {pool.name!r}: {low} is dearer than {high}; write the cheapest first")
    return dict(zip(LADDER, pool.ladder, strict=True))


def translated(text: str, rungs: Mapping[str, str], pool: Pool) -> Route:
    """Return the route of a pool that a published routing string stands for.

    Neighbouring tiers that have become the same (model, k, temperature) are one tier: it would draw nothing new.

    Example:
        >>> pool = load_pool("embedded")
        >>> print(translated("mv_cascade_1.5B_k4_t0.7_7B_k1_t0.0_72B_k1_t0.0", rungs_of(pool), pool))
        mv_cascade_0.5B_k4_t0.7_1.5B_k1_t0.0
        >>> print(translated("72B", rungs_of(pool), pool))
        Qwen/Qwen2.5-Coder-1.5B-Instruct
    """
    route = parse_route(text, load_pool("qwen2.5-math"))
    tiers: list[Tier] = []
    for tier in route.tiers:
        mine = replace(tier, model=rungs[tier.model])
        if not tiers or mine != tiers[-1]:
            tiers.append(mine)
    name = pool[tiers[0].model].name if route.kind is Kind.GREEDY else None
    return Route(route.kind, tuple(tiers), name)


def said_of(rungs: Mapping[str, str], pool: Pool) -> str:
    """Say which models stand for which.

    Example:
        >>> pool = load_pool("embedded")
        >>> said_of(rungs_of(pool), pool)
        'in the published strategies 0.5B, 1.5B, 1.5B of pool embedded stand for 1.5B, 7B, 72B'
    """
    return f"in the published strategies {', '.join(rungs.values())} of pool {pool.name} stand for {', '.join(rungs)}"


def ladder_costs(rungs: Mapping[str, str], pool: Pool) -> dict[str, float]:
    """Return what a sample of each rung costs relative to the first, by published alias; {} where it is not known.

    The models' `cost`, else their prices of output.

    Example:
        >>> pool = load_pool("embedded")
        >>> ladder_costs(rungs_of(pool), pool)
        {'1.5B': 1.0, '7B': 3.125, '72B': 3.125}
    """
    models = {published: pool[alias] for published, alias in rungs.items()}
    costs = {published: model.cost for published, model in models.items() if model.cost is not None}
    if len(costs) < len(rungs):
        costs = {p: float(model.price.output) for p, model in models.items() if model.price is not None}
    if len(costs) < len(rungs) or not rungs or min(costs.values()) <= 0:
        return {}
    first = costs[LADDER[0]]
    return {published: cost / first for published, cost in costs.items()}
