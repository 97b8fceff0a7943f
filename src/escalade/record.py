"""Recording: samples of every model of a pool for every problem, kept in a store and written as a recorded pool."""

from __future__ import annotations

from escalade.pool import Pool
from escalade.routes import Kind, Route, Tier


def recording_routes(pool: Pool, *, samples: int, temperature: float, greedy: bool) -> list[Route]:
    """Return the routes that together draw everything a recording holds: a whole vote per model, a greedy sample."""
    routes: list[Route] = []
    for model in pool.models:
        if greedy:
            routes.append(Route(Kind.GREEDY, (Tier(model.alias, 1, 0.0),), model.name))
        if samples and not model.greedy_only:
            routes.append(Route(Kind.VOTE, (Tier(model.alias, samples, temperature),)))
    return routes
