"""Live: what the page and progress events show of requests and of the server, as plain values; no prompt, no answer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from escalade import __version__
from escalade.cascade.ballot import Ballot
from escalade.cascade.outcome import Decision, Look, TierTrace
from escalade.climb import Answered, Climb
from escalade.gateway.gateway import Exchange, Gateway, status_of
from escalade.routes import Kind, Tier, executed

SHOWN = 50
"""Live requests that are listed; the others are counted."""
_DECIDED = {
    Decision.ACCEPT: "accepted",
    Decision.EXPLORE: "explored",
    Decision.ESCALATE: "escalated",
    Decision.ANSWER: "last",
    Decision.ABSTAIN: "last",
}


class Live:
    """What there is to see of a gateway; a watcher of it, which counts decisions by model."""

    def __init__(self) -> None:
        self.since = datetime.now(UTC)
        self._decisions: dict[str, dict[str, int]] = defaultdict(
            lambda: {"asked": 0, "accepted": 0, "explored": 0, "escalated": 0, "last": 0}
        )

    def begun(self, exchange: Exchange) -> None:
        """Nothing to count."""

    def done(self, exchange: Exchange, item: Answered) -> None:
        """Count the decisions of a request."""
        for trace in item.outcome.tiers:
            if not trace.looks:
                continue
            counts = self._decisions[trace.tier.model]
            counts["asked"] += 1
            for decision in decisions(trace):
                if decision in _DECIDED:
                    counts[_DECIDED[decision]] += 1

    def event(self, name: str, facts: Mapping[str, Any]) -> None:
        """Nothing to count."""

    def view(self, gateway: Gateway, holder: str | None = None) -> dict[str, Any]:
        """Return all that the page shows: of everybody, or of one holder's requests only."""
        menu, service, day = gateway.menu, gateway.service, gateway.accounts.today(holder)
        counters = service.counters
        models = [
            {
                "alias": model.alias,
                "name": model.name,
                "engine": model.engine,
                "price": None
                if model.price is None
                else {"input": f"{model.price.input:f}", "output": f"{model.price.output:f}"},
                "waiting": counters.waiting.get(model.alias, 0),
                "running": counters.running.get(model.alias, 0),
                "allowed": counters.allowed.get(model.alias, 0),
                "given_up": service.down(model.alias),
            }
            for model in menu.pool.models
        ]
        live = [each for each in gateway.live.values() if holder is None or each.ticket.holder == holder]
        recent = [each for each in gateway.recent if holder is None or each[0].ticket.holder == holder]
        return {
            "pool": menu.pool.name,
            "version": __version__,
            "since": _written(self.since),
            "now": _written(datetime.now(UTC)),
            "route": menu.pool.route,
            "models": models,
            "strategies": [f"auto:{strategy.name}" for strategy in menu.strategies],
            "policies": [
                {"name": dish.name, "route": str(dish.route), "certificate": dish.certificate}
                for dish in menu.dishes.values()
            ],
            "requests": [self._request(gateway, exchange) for exchange in live[:SHOWN]],
            "waiting": max(0, len(live) - SHOWN),
            "recent": [_recent(exchange, item) for exchange, item in recent],
            "today": {
                "requests": day.requests,
                "cost_usd": f"{day.cost.known:f}",
                "unknown": day.cost.unknown,
                "tokens": day.tokens,
                "samples": day.samples,
                "statuses": dict(day.statuses),
            },
            "tiers": [{"model": alias, **counts} for alias, counts in self._decisions.items()],
            "trouble": gateway.trouble,
        }

    def _request(self, gateway: Gateway, exchange: Exchange) -> dict[str, Any]:
        seconds = gateway.now() - exchange.begun
        return _facts(exchange, tiers_of(gateway, exchange), seconds)


def decisions(trace: TierTrace) -> list[Decision]:
    """Return what a tier decided: to draw more, as often as it did, and what came of it in the end.

    A fall-back looks once more at ballots that had decided; that decides nothing anew.
    """
    explored = [look.decision for look in trace.looks[:-1] if look.decision is Decision.EXPLORE]
    return [*explored, *(look.decision for look in trace.looks[-1:])]


def tiers_of(gateway: Gateway, exchange: Exchange) -> list[dict[str, Any]]:
    """Return where each tier of a request under way stands."""
    climb = gateway.climb(exchange)
    if climb is None:
        route = executed(exchange.plan.route, gateway.menu.pool).route
        return [_tier(tier) for tier in route.tiers]
    return [_standing(climb, position) for position in range(len(climb.route.tiers))]


def _standing(climb: Climb, position: int) -> dict[str, Any]:
    machine, tier = climb.machine, climb.route.tiers[position]
    looks = machine.looks(position)
    bits = climb.route.kind is Kind.ENTROPY_CASCADE
    if position == machine.position:
        return _tier(tier, machine.ballot, looks[-1] if looks else None, bits=bits)
    if looks:
        return _tier(tier, looks[-1].ballot, looks[-1], bits=bits)
    return _tier(tier, drawn=machine.drawn(position), hedged=machine.drawn(position) > 0)


def _tier(
    tier: Tier,
    ballot: Ballot | None = None,
    look: Look | None = None,
    *,
    drawn: int = 0,
    hedged: bool = False,
    bits: bool = False,
) -> dict[str, Any]:
    """`bits` says that votes are judged by their entropy, whose threshold is nothing to hold a confidence against."""
    return {
        "model": tier.model,
        "k": tier.k,
        "temperature": tier.temperature,
        "asked": tier.k if ballot is None else int(ballot.k),
        "drawn": drawn if ballot is None else ballot.drawn,
        "votes": [] if ballot is None else [int(n) if n == int(n) else n for _, n in ballot.votes],
        "abstained": 0 if ballot is None else len(ballot.abstentions),
        "decision": None if look is None else look.decision.value,
        "confidence": None if look is None else look.confidence,
        "threshold": None if look is None or (bits and tier.k > 1) else look.threshold,
        "reason": _words(look),
        "hedged": hedged,
    }


def _words(look: Look | None) -> str:
    """A decision's reason, without the answer that it may name."""
    if look is None:
        return ""
    leader = look.ballot.leader
    return look.reason if not leader else look.reason.replace(f" for {leader}", "")


def tiers_in(item: Answered) -> list[dict[str, Any]]:
    """Return where each tier of a request that is done stood in the end."""
    route = item.executed or item.route
    tiers = [] if route is None else [_tier(tier) for tier in route.tiers]
    for position, trace in enumerate(item.outcome.tiers):
        look = trace.looks[-1] if trace.looks else None
        ballot, hedged = None if look is None else look.ballot, look is None and trace.drawn > 0
        bits = route is not None and route.kind is Kind.ENTROPY_CASCADE
        tiers[position] = _tier(trace.tier, ballot, look, drawn=trace.drawn, hedged=hedged, bits=bits)
    return tiers


def _recent(exchange: Exchange, item: Answered) -> dict[str, Any]:
    owner, usd = item.outcome.decided_by, item.cost.usd
    return {
        **_facts(exchange, tiers_in(item), exchange.seconds or 0.0),
        "status": status_of(exchange, item),
        "decided_by": None if owner is None else item.tiers[owner].tier.model,
        "cost_usd": None if usd is None else f"{usd:f}",
        "code": exchange.code,
    }


def _facts(exchange: Exchange, tiers: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    return {
        "id": exchange.id,
        "key": exchange.ticket.key.name if exchange.ticket.key is not None else None,
        "model": exchange.body.model,
        "route": str(exchange.plan.route),
        "seconds": round(seconds, 3),
        "stream": bool(exchange.body.stream),
        "tiers": tiers,
    }


def _written(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
