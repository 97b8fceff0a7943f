"""Metrics: what a Prometheus server is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from escalade.climb import Answered
from escalade.gateway.gateway import Exchange, Gateway, status_of
from escalade.gateway.live import decisions

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/models", "/health", "/ready", "/metrics", "/live", "/")


class Metrics:
    """Counters of a gateway; a watcher of it. Labels are models, statuses and paths that are served: few."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        made: dict[str, Any] = {"registry": registry, "namespace": "escalade"}
        self._http = Counter("http_requests", "Requests, by path and status.", ["path", "status"], **made)
        self._http_seconds = Histogram(
            "http_seconds", "Seconds that requests took.", ["path"], buckets=_SECONDS, **made
        )
        self._outcomes = Counter("outcomes", "Problems, by the status of their outcome.", ["status"], **made)
        self._decided = Counter("decided", "Answers, by the model whose tier decided.", ["model"], **made)
        self._decisions = Counter("decisions", "Looks at ballots, by what they led to.", ["model", "decision"], **made)
        self._samples = Counter("samples", "Samples generated.", ["model"], **made)
        self._cancelled = Counter("cancelled", "Requests to engines that were cancelled.", ["model"], **made)
        self._failed = Counter("failed", "Requests to engines that failed.", ["model"], **made)
        self._tokens = Counter("tokens", "Tokens of all requests to engines.", ["model", "kind"], **made)
        self._cost = Counter("cost_usd", "Money spent, where it is known.", **made)
        self._unknown = Counter("unknown_costs", "Requests to engines of unknown cost.", **made)
        self._live = Gauge("live_requests", "Requests under way or waiting.", **made)
        self._queue = Gauge("engine_requests", "Requests to engines, now.", ["model", "state"], **made)
        self._up = Gauge("engine_up", "Whether an engine is asked.", ["model"], **made)
        self._store = Gauge("store_up", "Whether the store can be written.", **made)

    def http(self, path: str, status: int, seconds: float) -> None:
        """A request is over."""
        known = path if path in _PATHS else "other"
        self._http.labels(known, str(status)).inc()
        self._http_seconds.labels(known).observe(seconds)

    def begun(self, exchange: Exchange) -> None:
        """Nothing to count yet."""

    def done(self, exchange: Exchange, item: Answered) -> None:
        """Count what a request came to."""
        outcome = item.outcome
        self._outcomes.labels(status_of(exchange, item)).inc()
        if outcome.decided_by is not None:
            self._decided.labels(item.tiers[outcome.decided_by].tier.model).inc()
        for trace in outcome.tiers:
            for decision in decisions(trace):
                self._decisions.labels(trace.tier.model, decision.value).inc()
        for use, usages in zip(item.tiers, item.fresh_usages, strict=False):
            for usage in usages:
                self._tokens.labels(use.tier.model, "prompt").inc(usage.prompt or 0)
                self._tokens.labels(use.tier.model, "completion").inc(usage.completion or 0)
        self._cost.inc(float(item.fresh_cost.known))
        self._unknown.inc(item.fresh_cost.unknown)

    def event(self, name: str, facts: Mapping[str, Any]) -> None:
        """Count what became of a request to an engine."""
        counter = {"sample": self._samples, "cancelled": self._cancelled, "failed": self._failed}.get(name)
        if counter is not None:
            counter.labels(facts["model"]).inc()

    def text(self, gateway: Gateway) -> bytes:
        """Return all of it in Prometheus's text format."""
        counters = gateway.service.counters
        self._live.set(len(gateway.live))
        self._store.set(gateway.trouble is None)
        for alias in gateway.menu.pool.aliases:
            self._queue.labels(alias, "waiting").set(counters.waiting.get(alias, 0))
            self._queue.labels(alias, "running").set(counters.running.get(alias, 0))
            self._up.labels(alias).set(gateway.service.down(alias) is None)
        return generate_latest(self._registry)
