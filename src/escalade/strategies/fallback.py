"""The fallback of strategies: the cascade that answers where the scores that a strategy needs are refused."""

from __future__ import annotations

from escalade.pool import Pool
from escalade.routes import Kind, Route, Tier, parse_route

K, TEMPERATURE = 4, 0.7
"""Of the votes below the last tier."""


def fallback_route(pool: Pool) -> Route:
    """Return the pool's own route, if it is a cascade; else one up its models, from votes to one sample of the dearest.

    Of more than three models it takes the cheapest, the one in the middle and the dearest. Models that are greedy only
    draw one greedy sample. Without costs the order is that of the pool.

    Example:
        >>> from escalade.pool import load_pool
        >>> for name in ("qwen2.5-math", "embedded"):
        ...     print(fallback_route(load_pool(name)))
        mv_cascade_1.5B_k4_t0.7_7B_k4_t0.7_72B_k1_t0.0
        mv_cascade_0.5B_k5_t0.7_1.5B_k3_t0.7
    """
    own = None if pool.route is None else parse_route(pool.route, pool)
    if own is not None and own.is_cascade:
        return own
    costs = pool.relative_costs()
    order = sorted(pool.aliases, key=lambda alias: costs.get(alias, 0.0))
    if len(order) > 3:
        order = [order[0], order[len(order) // 2], order[-1]]
    votes = [Tier(a, 1, 0.0) if pool[a].greedy_only else Tier(a, K, TEMPERATURE) for a in order[:-1]]
    return Route(Kind.CASCADE, (*votes, Tier(order[-1], 1, 0.0)))
