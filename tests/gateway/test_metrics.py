"""Metrics: what Prometheus reads, and that its counts are those of what happened."""

import asyncio
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from escalade.engines.base import Request
from escalade.errors import EngineError
from escalade.gateway.metrics import Metrics
from escalade.samples.sample import Generation
from escalade.samples.store import Store
from escalade.testing import ScriptedEngine, answering
from tests.gateway.driven import CASCADE, Driven, Honest, body, driven, pool, run, wild


class Read:
    """Metrics as Prometheus reads them."""

    def __init__(self, text: bytes) -> None:
        self.samples = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text.decode())
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        return self.samples.get((f"escalade_{name}", tuple(sorted(labels.items()))), 0.0)

    def total(self, name: str) -> float:
        return sum(value for (each, _), value in self.samples.items() if each == f"escalade_{name}")


def read(metrics: Metrics, gateway: Driven) -> Read:
    return Read(metrics.text(gateway.gateway))


def test_an_idle_server_has_metrics() -> None:
    metrics = Metrics()

    async def serve() -> Read:
        async with driven(pool(), ScriptedEngine(wild(1)), watchers=[metrics]) as gateway:
            return read(metrics, gateway)

    found = run(serve())
    assert (found("live_requests"), found("store_up"), found("cost_usd_total")) == (0, 1, 0)
    for alias in ("S", "L"):
        assert found("engine_up", model=alias) == 1
        assert found("engine_requests", model=alias, state="running") == 0


@pytest.mark.parametrize("seed", range(4))
def test_counts_are_those_of_what_happened(seed: int) -> None:
    metrics, engine = Metrics(), Honest(wild(seed), lambda request: 1.0 + request.index)

    async def serve() -> tuple[Read, list[Any]]:
        async with driven(pool(), engine, watchers=[metrics]) as gateway:
            routes = [CASCADE, "mv_entropy_cascade_S_k4_t0.7_L_k3_t0.7", "S"]
            asked = await asyncio.gather(*(gateway.ask(routes[i % 3], f"Number {i}?") for i in range(30)))
            await asyncio.sleep(10)
            return read(metrics, gateway), list(asked)

    found, asked = run(serve())
    outcomes = [each.item.outcome for each in asked]
    for status in {outcome.status.value for outcome in outcomes}:
        assert found("outcomes_total", status=status) == sum(o.status.value == status for o in outcomes)
    assert found.total("outcomes_total") == 30
    for alias in ("S", "L"):
        owners = [
            e.item.tiers[e.item.outcome.decided_by].tier.model for e in asked if e.item.outcome.answer is not None
        ]
        assert found("decided_total", model=alias) == owners.count(alias)
        assert found("samples_total", model=alias) == sum(
            len(use.samples) for each in asked for use in each.item.tiers if use.tier.model == alias
        )
        assert found("cancelled_total", model=alias) == sum(r.model.alias == alias for r in engine.cancelled)
        for kind in ("prompt", "completion"):
            usages = [u for e in asked for use in e.item.tiers if use.tier.model == alias for u in use.usages]
            assert found("tokens_total", model=alias, kind=kind) == sum(getattr(u, kind) or 0 for u in usages)
        # A second look of a fall-back decides nothing anew.
        mine = [trace.looks for o in outcomes for trace in o.tiers if trace.tier.model == alias and trace.looks]
        looks = [look.decision.value for each in mine for look in each if look.decision.value == "explore"]
        looks += [each[-1].decision.value for each in mine if each[-1].decision.value != "explore"]
        for decision in ("accept", "explore", "escalate", "answer", "abstain"):
            assert found("decisions_total", model=alias, decision=decision) == looks.count(decision)
    assert found("cost_usd_total") == pytest.approx(float(sum(each.item.fresh_cost.known for each in asked)))
    assert found("unknown_costs_total") == 0
    assert found.total("samples_total") == len(engine.generated)


def test_what_the_store_had_counts_neither_as_samples_nor_as_tokens_nor_as_money() -> None:
    metrics, engine = Metrics(), Honest(answering({"S": ["1"]}))

    async def serve() -> Read:
        async with driven(pool(), engine, watchers=[metrics], store=Store(None)) as gateway:
            for _ in range(3):
                await gateway.ask("mv_S_k1_t0.7")
                await asyncio.sleep(1)
            return read(metrics, gateway)

    found = run(serve())
    assert found("outcomes_total", status="last_tier") == 3
    assert found("samples_total", model="S") == len(engine.generated) == 1
    assert found("cost_usd_total") == pytest.approx(15e-6)
    # "Tokens of all requests to engines": there was one request.
    assert found("tokens_total", model="S", kind="prompt") == 10
    assert found("tokens_total", model="S", kind="completion") == 5


def test_what_failed_and_what_was_left_is_counted() -> None:
    metrics, up = Metrics(), [False]

    def script(request: Request) -> Generation:
        if not up[0]:
            raise EngineError("the weights are on fire")
        return Generation("\\boxed{1}", prompt_tokens=15, completion_tokens=5)

    async def serve() -> Read:
        engine = ScriptedEngine(script, lambda request: 10.0)
        async with driven(pool(), engine, watchers=[metrics]) as gateway:
            await gateway.refused("S", "First?")
            up[0] = True
            exchange = gateway.begin(body("mv_S_k3_t0.7", "Second?"))
            await asyncio.sleep(1)
            gateway.gateway.leave(exchange)
            await exchange.answered
            return read(metrics, gateway)

    found = run(serve())
    assert found("failed_total", model="S") == 1
    assert found("cancelled_total", model="S") == 3
    assert (found("outcomes_total", status="error"), found("outcomes_total", status="cancelled")) == (1, 1)
    # A scripted engine does not know the prompt's tokens of what it left; one of the three would have paid them.
    assert found("unknown_costs_total") == 1


def test_gauges_say_what_is_now() -> None:
    metrics = Metrics()

    async def serve() -> tuple[Read, Read]:
        engine = ScriptedEngine(wild(1), lambda request: 10.0, slots=2)
        async with driven(pool(), engine, watchers=[metrics]) as gateway:
            exchanges = [gateway.begin(body("mv_S_k2_t0.7", f"Number {i}?")) for i in range(3)]
            await asyncio.sleep(1)
            busy = read(metrics, gateway)
            for exchange in exchanges:
                await exchange.answered
            return busy, read(metrics, gateway)

    busy, idle = run(serve())
    assert busy("live_requests") == 3
    assert busy("engine_requests", model="S", state="running") == 2
    assert busy("engine_requests", model="S", state="waiting") == 4
    assert (idle("live_requests"), idle("engine_requests", model="S", state="waiting")) == (0, 0)


def test_an_engine_that_was_given_up_is_down() -> None:
    metrics, up = Metrics(), [True]

    def script(request: Request) -> Generation:
        if not up[0]:
            raise EngineError("connection refused", unreachable=True)
        return Generation("\\boxed{1}", prompt_tokens=15, completion_tokens=5)

    async def serve() -> list[Read]:
        async with driven(pool(), ScriptedEngine(script), watchers=[metrics]) as gateway:
            await gateway.ask("S", "First?")
            up[0] = False
            exchanges = []
            for i in range(30):
                exchanges.append(gateway.begin(body("S", f"Number {i}?")))
                await asyncio.sleep(1)
            down = read(metrics, gateway)
            up[0] = True
            await asyncio.sleep(20)
            await gateway.ask("S", "Again?")
            return [down, read(metrics, gateway)]

    down, again = run(serve())
    assert (down("engine_up", model="S"), down("engine_up", model="L")) == (0, 1)
    assert again("engine_up", model="S") == 1


def test_requests_over_http_are_counted_by_path_and_status() -> None:
    metrics = Metrics()

    async def serve() -> Read:
        async with driven(pool(), ScriptedEngine(wild(1))) as gateway:
            metrics.http("/v1/chat/completions", 200, 0.3)
            metrics.http("/v1/chat/completions", 200, 3.0)
            metrics.http("/v1/chat/completions", 429, 0.001)
            for i in range(100):
                metrics.http(f"/wp-admin/{i}", 404, 0.001)  # anybody's words are no labels
            return read(metrics, gateway)

    found = run(serve())
    chat = "/v1/chat/completions"
    assert found("http_requests_total", path=chat, status="200") == 2
    assert found("http_requests_total", path=chat, status="429") == 1
    assert found("http_requests_total", path="other", status="404") == 100
    assert found("http_seconds_count", path=chat) == 3
    assert found("http_seconds_sum", path=chat) == pytest.approx(3.301)
    assert found("http_seconds_bucket", path=chat, le="0.5") == 2
