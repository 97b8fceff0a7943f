"""Servers that fail in every way, through the engine `openai`: every problem ends, and every token is in the store."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from escalade import dispatch, lanes
from escalade.cascade.policy import Policy
from escalade.climb import Answered, Task
from escalade.engines.openai.engine import Engine
from escalade.executor import Executor
from escalade.pool import Pool, PoolModel, Price
from escalade.problems import Problem
from escalade.routes import parse_route
from escalade.samples.store import Store
from tests.engines import server
from tests.engines.server import Exchange, Fault, Server, piece, serving
from tests.faults.conftest import Size

TOKENS = 6
"""Of an answer, at most."""
ENDS = 900.0
"""Seconds; a run that takes longer hangs."""
SLOW = "gave no whole answer in"


class Counting(Server):
    """Counts what it has sent to the end, and can come back where it was; `room` is how many requests it takes."""

    finished = 0
    finished_tokens = 0
    room = 10**9
    turned_away = 0

    async def _generate(self, exchange: Exchange) -> None:
        if self.under_way > self.room:
            self.turned_away += 1
            await exchange.answer(429, {"error": {"message": "too many requests"}})
            return
        own = Own(exchange)
        await super()._generate(own)
        self.finished += 1
        self.finished_tokens += own.tokens

    async def back(self) -> None:
        """Listen again, at the same port."""
        port = int(self.url.rpartition(":")[2].partition("/")[0])
        self._server = await asyncio.start_server(self._connection, "127.0.0.1", port, backlog=512)


class Own(Exchange):
    """An exchange that counts its tokens."""

    def __init__(self, exchange: Exchange) -> None:
        super().__init__(exchange.path, exchange.headers, exchange.body, exchange.reader, exchange.writer)
        self.tokens = 0

    async def event(self, data: object) -> None:
        """Send one event of a stream."""
        await super().event(data)
        self.tokens += isinstance(data, dict) and any(c.get("delta", {}).get("content") for c in data["choices"])


# -- faults ---------------------------------------------------------------------------------------------------


async def too_many(exchange: Exchange) -> None:
    await exchange.answer(429, {"error": {"message": "rate limit"}})


async def too_many_for_now(exchange: Exchange) -> None:
    await exchange.answer(429, {"error": {"message": "rate limit"}}, retry_after="0.05")


async def internal(exchange: Exchange) -> None:
    await exchange.answer(500, "<html><h1>500</h1></html>")


async def overloaded(exchange: Exchange) -> None:
    await exchange.answer(503, {"error": {"message": "loading"}})


async def dropped(exchange: Exchange) -> None:
    exchange.reset()


async def dropped_midway(exchange: Exchange) -> None:
    exchange.begin()
    await exchange.event(piece(exchange, "half"))
    exchange.reset()


async def slow(exchange: Exchange) -> None:
    """Sends a piece and nothing more, until the other side goes."""
    exchange.begin()
    await exchange.event(piece(exchange, "wait"))
    await exchange.reader.read()
    raise ConnectionResetError


async def garbage(exchange: Exchange) -> None:
    exchange.begin()
    await exchange.event("{not JSON, " + "[" * 3000)
    await exchange.end()


async def garbage_whole(exchange: Exchange) -> None:
    await exchange.answer(200, '{"choices": [{"mess')


async def no_choices(exchange: Exchange) -> None:
    exchange.begin()
    await exchange.event({"choices": [], "usage": {"prompt_tokens": -1, "completion_tokens": "many"}})
    await exchange.end()


async def no_end(exchange: Exchange) -> None:
    exchange.begin()
    await exchange.event(piece(exchange, "and so"))
    await exchange.end()


MIX: Sequence[Fault] = (
    *(too_many, too_many_for_now, internal, overloaded, dropped, dropped_midway),
    *(garbage, garbage_whole, no_choices, no_end),
)


# -- runs -----------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "BACKOFF", 0.005)
    monkeypatch.setattr(lanes, "PAUSE", 0.02)
    monkeypatch.setattr(lanes, "LONGEST_PAUSE", 0.1)
    monkeypatch.setattr(server, "WORDS", ["\\boxed{1}"] * 4 + ["\\boxed{2}"])


def pool(*urls: str, in_flight: int = 32, timeout: float = 60.0) -> Pool:
    """Model S at the first server, model L at the last one."""
    models = tuple(
        PoolModel(
            alias=alias,
            name="test/S",
            engine="openai",
            price=Price.model_validate({"input": "1", "output": "1"}),
            options={"base_url": url, "in_flight": in_flight, "timeout": timeout, "identity": alias},
        )
        for alias, url in zip(("S", "L"), (urls[0], urls[-1]), strict=True)
    )
    unlike = models[1].model_copy(update={"name": "test/L", "options": {**models[1].options, "served_model": "test/S"}})
    return Pool.model_validate({"name": "http", "models": (models[0], unlike), "max_tokens": TOKENS})


class Ran:
    """A run under way or done: its answers, its store, how long it took, what happened."""

    def __init__(self) -> None:
        self.answered: dict[str, Answered] = {}
        self.store = Store(None)
        self.seconds = 0.0
        self.events: list[tuple[str, dict[str, Any]]] = []

    @property
    def statuses(self) -> Counter[str]:
        """How many problems have which."""
        return Counter(item.outcome.status.value for item in self.answered.values())

    def tokens(self) -> int:
        """All that is in the store."""
        samples = sum(s.generation.completion_tokens or 0 for s in self.store.samples())
        return samples + sum(a.completion_tokens or 0 for a in self.store.attempts())

    def errors(self) -> list[str]:
        """What the store says of failed requests."""
        return [a.message for a in self.store.attempts() if a.kind == "error"]


async def answer(models: Pool, route: str, problems: int, *, stop: str = "none") -> Ran:
    """Answer so many problems; nothing may be left running."""
    ran, engine = Ran(), Engine("", models, seed=0)
    drive = Executor(
        models,
        lambda model: engine,
        store=ran.store,
        policy=Policy(stop=stop),
        on_answer=lambda item: ran.answered.__setitem__(item.problem.id, item),
        on_event=lambda name, facts: ran.events.append((name, dict(facts))),
    )
    before, started = asyncio.all_tasks(), time.monotonic()
    todo = [Task(Problem(f"p{i}", f"Number {i}?", "1"), parse_route(route, models)) for i in range(problems)]
    try:
        async with asyncio.timeout(ENDS):
            await drive.run(todo)
    finally:
        await engine.close()
    ran.seconds = time.monotonic() - started
    assert {task for task in asyncio.all_tasks() - before if "_connection" not in repr(task)} == set()
    assert len(ran.answered) == problems
    check(ran)
    return ran


def check(ran: Ran) -> None:
    """Errors stand on their own rows and say what was wrong; no key is there twice."""
    for item in ran.answered.values():
        if item.outcome.status.value == "error":
            assert item.outcome.notes, item.problem.id
            assert all(len(note) > 20 and ("server http://127.0.0.1" in note) for note in item.outcome.notes)
    places = [(s.key, s.index) for s in ran.store.samples()]
    assert len(places) == len(set(places))


@contextmanager
def later(coroutine: Any) -> Iterator[asyncio.Task[Any]]:
    """Something done beside a run; it is over with it."""
    task = asyncio.get_running_loop().create_task(coroutine)
    try:
        yield task
    finally:
        task.cancel()


@pytest.mark.parametrize("stop", ["none", "verdict"])
def test_every_fault_there_is_and_the_run_ends_with_all_tokens_in_the_store(stop: str, size: Size) -> None:
    async def main() -> None:
        at = Counting()
        await at.start()
        dice, requests = random.Random(stop), size(300, 10_000)
        # Slow ones are few: each takes the whole timeout.
        at.faults = [
            slow if dice.random() < 0.01 else dice.choice(MIX) if dice.random() < 0.4 else None for _ in range(requests)
        ]
        slow_ones = sum(fault is slow for fault in at.faults)
        try:
            models = pool(at.url, at.url, timeout=1.5)
            ran = await answer(models, "mv_cascade_S_k4_t0.7_L_k2_t0.5", requests // 5, stop=stop)
        finally:
            await at.stop()
        assert not at.open
        assert len(at.requests) >= requests * 0.9
        answers = ran.statuses
        assert answers["error"] <= sum(answers.values()) / 2
        # What the server has sent to the end is a sample, unless it was cancelled or too late by then.
        samples, late = len(ran.store), sum(SLOW in message for message in ran.errors())
        dropped = [attempt.key.problem for attempt in ran.store.attempts() if attempt.kind == "cancelled"]
        cancelled = len(dropped)
        if stop == "none":  # then only a problem that fails for good gives up what it has under way
            failed = {i.problem.fingerprint for i in ran.answered.values() if i.outcome.status.value == "error"}
            assert set(dropped) <= failed
        assert at.finished - cancelled - max(0, late - slow_ones) <= samples <= at.finished
        assert ran.tokens() + TOKENS * (max(0, late - slow_ones) + cancelled) >= at.finished_tokens
        said = " ".join(set(ran.errors()))
        for words in ("status 429", "status 500", "status 503", "broke the connection", "JSON", "without any choice"):
            assert words in said
        assert "no finish reason" in said
        print(f"\n{stop}: {len(at.requests)} requests in {ran.seconds:.1f} s, {dict(answers)}, {samples} samples")

    asyncio.run(main())


def test_a_server_that_dies_and_returns_is_waited_for(size: Size) -> None:
    async def main() -> None:
        at = Counting(pace=0.001)
        await at.start()
        problems = size(60, 1000)

        async def outages() -> None:
            for share in (0.2, 0.5, 0.8):
                while len(at.requests) < share * problems * 4:
                    await asyncio.sleep(0.005)
                await at.stop()
                await asyncio.sleep(0.3)
                await at.back()

        with later(outages()) as out:
            try:
                ran = await answer(pool(at.url, at.url), "mv_S_k4_t0.7", problems)
            finally:
                await at.stop()
            assert out.done()
        assert set(ran.statuses) <= {"last_tier", "no_answer"}
        assert any("cannot be reached" in message for message in ran.errors())
        assert {"left_alone"} <= {name for name, _ in ran.events}
        assert len(ran.store) == problems * 4
        # While it was down it was asked rarely: not by every request that waits, again and again.
        failed = sum(name == "failed" for name, _ in ran.events)
        assert failed <= 3 * (32 + 30 + dispatch.TRIES * 8)

    asyncio.run(main())


def test_a_server_that_never_returns_is_given_up_and_the_other_goes_on(
    size: Size, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "PATIENCE", 0.5)

    async def main() -> None:
        problems = size(60, 1000)
        async with serving() as well:
            at = Counting(pace=0.001)
            await at.start()

            async def end() -> None:
                while len(at.requests) < problems:
                    await asyncio.sleep(0.005)
                await at.stop()

            with later(end()) as out:
                ran = await answer(pool(well.url, at.url), "mv_cascade_S_k2_t0.7_L_k2_t0.5", problems)
                assert out.done()
            assert set(ran.statuses) <= {"error", "accepted", "last_tier", "fallback", "no_answer"}
            gone = [item for item in ran.answered.values() if item.outcome.status.value == "error"]
            assert gone
            assert all("no request has succeeded for 0.5 s" in " ".join(item.outcome.notes) for item in gone[-5:])
            assert len({s.problem_id for s in ran.store.samples() if s.model_name == "test/S"}) == problems
        print(f"\ngiven up: {dict(ran.statuses)} in {ran.seconds:.1f} s")

    asyncio.run(main())


def test_a_server_that_turns_away_what_is_above_its_room_is_asked_for_about_that_much(size: Size) -> None:
    async def main() -> None:
        at = Counting(pace=0.002)
        at.room = 6
        await at.start()
        problems = size(60, 1000)
        try:
            ran = await answer(pool(at.url, at.url, in_flight=64), "mv_S_k4_t0.7", problems)
        finally:
            await at.stop()
        assert set(ran.statuses) <= {"last_tier", "no_answer"}
        allowed = [facts["allowed"] for name, facts in ran.events if name == "turned_away"]
        assert max(allowed[64:], default=1) <= 3 * at.room  # the first 64 were sent before anything was known
        assert at.turned_away <= 64 + len(ran.store) * 0.5
        print(f"\nroom for 6 of 64: {at.turned_away} turned away for {len(ran.store)} samples")

    asyncio.run(main())
