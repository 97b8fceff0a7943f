"""Whatever happens to a gateway at once: engines, the store and clients fail by dice, and the books are right."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from escalade import serving
from escalade.climb import Answered
from escalade.engines.base import Request
from escalade.errors import EngineError, RequestError, StoreError
from escalade.gateway.accounts import ANYBODY, Accounts
from escalade.gateway.gateway import Bounds, Exchange
from escalade.gateway.metrics import Metrics
from escalade.ledger import total
from escalade.samples.sample import Generation
from escalade.samples.store import Attempt, Store, Stored
from tests.gateway.driven import ROUTES, Driven, Honest, body, driven, key_of, pool, run, wild

KEYS = [None, key_of("alice", budget_usd="0.002"), key_of("bob", budget_usd="1", concurrent=5)]
CODES = {
    (400, "refused_by_engine"),
    (402, "budget_exhausted"),
    (408, "deadline_exceeded"),
    (429, "insufficient_quota"),
    (429, "budget_reserved"),
    (429, "overloaded"),
    (429, "too_many_requests"),
    (502, "engine_error"),
    (503, "engine_unavailable"),
    (503, "store_unavailable"),
    (504, "deadline_exceeded"),
}


class Moody(Store):
    """Cannot be written while it does not feel like it."""

    def __init__(self) -> None:
        super().__init__(None)
        self.writes = True

    def write(self, samples: Iterable[Stored], attempts: Iterable[Attempt] = ()) -> list[Stored]:
        if not self.writes:
            raise StoreError("store x cannot be written: disk full")
        return super().write(samples, attempts)


@dataclass
class Ends:
    """Counts how often each request was told of."""

    begun: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    items: list[Answered] = field(default_factory=list)

    def watching(self) -> Any:
        ends = self

        class Watching:
            def begun(self, exchange: Exchange) -> None:
                ends.begun[exchange.id] += 1

            def done(self, exchange: Exchange, item: Answered) -> None:
                ends.ended[exchange.id] += 1
                ends.items.append(item)

            def event(self, name: str, facts: Mapping[str, Any]) -> None:
                """Not counted."""

        return Watching()


def faulty(seed: int, chance: float, now: Callable[[], float]) -> Callable[[Request], Generation]:
    """Fails by dice, a little differently at each try, and is down for a while."""
    good, dice = wild(seed), random.Random(seed)

    def script(request: Request) -> Generation:
        if 60 <= now() < 72 and request.model.alias == "L":
            raise EngineError("connection refused", unreachable=True)
        if dice.random() < chance:
            raise dice.choice(
                [
                    EngineError("broke off", retryable=True),
                    EngineError("too many", overloaded=True, retry_after=dice.choice([None, 1.0])),
                    EngineError("no such thing"),
                    EngineError("too long", refused=True),
                    ZeroDivisionError("division by zero"),
                ]
            )
        return good(request)

    return script


@pytest.mark.parametrize("stored", [True, False], ids=["with a store", "without"])
@pytest.mark.parametrize("seed", range(12))
def test_every_request_ends_once_and_the_books_are_right(
    seed: int, stored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "STUCK", 1.0)
    dice, ends, metrics, clock = random.Random(seed), Ends(), Metrics(), [lambda: 0.0]
    store = Moody() if stored else None
    script = faulty(seed, dice.choice([0.0, 0.02, 0.2]), lambda: clock[0]())
    engine = Honest(script, lambda r: random.Random(f"{seed} {r.seed}").uniform(0, 8), slots=dice.choice([2, 8, 64]))

    async def one(gateway: Driven, number: int) -> tuple[int, str] | str:
        await asyncio.sleep(dice.uniform(0, 100))
        extra: dict[str, Any] = {}
        if dice.random() < 0.2:
            extra["deadline"] = dice.choice([0.5, 3, 20])
        if dice.random() < 0.2:
            extra["latency_target"] = dice.choice([0.001, 5])
        if dice.random() < 0.2:
            extra["budget_usd"] = dice.choice(["0.0001", "0.00003"])
        fields = {"n": 3, "temperature": 0.7} if dice.random() < 0.1 else {}
        route = "S" if fields else dice.choice(ROUTES)
        asked = body(route, f"Number {dice.randrange(60)}?", escalade=extra, seed=dice.choice([None, 7]), **fields)
        try:
            exchange = gateway.begin(asked, dice.choice(KEYS))
            if dice.random() < 0.2:
                await asyncio.sleep(dice.choice([0, dice.uniform(0, 10)]))
                gateway.gateway.leave(exchange)
            item = await exchange.answered
            failure = gateway.gateway.failure(exchange, item)
        except RequestError as error:
            failure = error
        return "answered" if failure is None else (failure.status, failure.code)

    async def serve() -> tuple[list[tuple[int, str] | str], Accounts, dict[str, int]]:
        clock[0] = asyncio.get_running_loop().time
        bounds = Bounds(seconds=40, requests=60)
        async with driven(pool(), engine, store=store, bounds=bounds, watchers=[ends.watching(), metrics]) as gateway:
            many = [asyncio.create_task(one(gateway, i)) for i in range(150)]
            if store is not None:
                for pause in (20, dice.uniform(0, 0.9), 15, 3.0):
                    await asyncio.sleep(pause)
                    store.writes = not store.writes
            found = list(await asyncio.gather(*many))
            await asyncio.sleep(100)
            assert not gateway.gateway.live
            assert gateway.gateway.trouble is None
            metrics.text(gateway.gateway)
            counters = gateway.gateway.service.counters
            return found, gateway.gateway.accounts, {**counters.waiting, **counters.running}

    found, accounts, queues = run(serve())
    assert {each for each in found if isinstance(each, tuple)} <= CODES
    assert "answered" in found
    assert ends.begun == ends.ended
    assert set(ends.begun.values()) == {1}
    assert set(queues.values()) == {0}
    assert accounts.today().requests == len(ends.items)
    assert accounts.today().cost == total(item.fresh_cost for item in ends.items)
    for key in KEYS:
        account = accounts._accounts[ANYBODY if key is None else key.name]
        assert (account.under_way, account.reserved) == (0, Decimal(0))
        if key is not None and key.budget_usd is not None:
            assert account.used <= key.budget_usd
    # Whatever an engine has generated is on somebody's bill, and in the store.
    assert sum(item.fresh for item in ends.items) == len(engine.generated)
    if store is not None:
        assert len(store) == len(engine.generated)
