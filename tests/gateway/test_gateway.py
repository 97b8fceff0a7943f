"""The gateway, without HTTP: many requests at once on a fake clock, whatever the engines, the store and clients do."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from escalade import serving
from escalade.cascade.policy import Policy
from escalade.climb import Answered, Task
from escalade.engines.base import Request
from escalade.errors import EngineError, RequestError, StoreError
from escalade.executor import Executor
from escalade.gateway.accounts import ANYBODY, Accounts
from escalade.gateway.gateway import Bounds, status_of
from escalade.gateway.menu import Menu
from escalade.ledger import Cost, total
from escalade.policies import KeptPolicy, PolicyFile
from escalade.problems import Problem
from escalade.routes import parse_route
from escalade.samples.sample import Generation
from escalade.samples.store import Attempt, Store, Stored
from escalade.testing import Script, ScriptedEngine, answering
from tests.gateway.driven import CASCADE, ROUTES, Asked, Driven, Honest, body, driven, key_of, pool, run, wild


def delays(seed: int, most: float = 3.0) -> Any:
    return lambda request: random.Random(f"{seed} {request.seed}").uniform(0, most)


def whole_ballots(route: str) -> KeptPolicy:
    """A policy that draws every sample of a ballot: then its cost does not depend on the order of arrival."""
    file = PolicyFile.model_validate({"name": "whole", "route": route, "settings": {"stop": "none"}})
    return KeptPolicy(Path("whole.toml"), file, "")


def in_a_batch(tasks: Sequence[Task], engine: ScriptedEngine, policy: Policy, **settings: Any) -> dict[str, Answered]:
    answered: list[Answered] = []
    executor = Executor(pool(), lambda model: engine, store=None, policy=policy, on_answer=answered.append, **settings)
    run(executor.run(tasks))
    return {item.problem.id: item for item in answered}


def owner(item: Answered) -> str | None:
    position = item.outcome.decided_by
    return None if position is None else item.tiers[position].tier.model


def words(error: RequestError) -> tuple[int, str]:
    return error.status, error.code


# -- answers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ROUTES)
def test_many_requests_at_once_are_answered_as_in_a_batch(route: str) -> None:
    async def serve() -> list[Asked]:
        async with driven(pool(), ScriptedEngine(wild(1), delays(1), slots=7)) as gateway:
            return await asyncio.gather(*(gateway.ask(route, f"Number {i}?") for i in range(60)))

    asked = run(serve())
    tasks = [Task(Problem(f"r{i + 1}", f"Number {i}?"), parse_route(route, pool())) for i in range(60)]
    batch = in_a_batch(tasks, ScriptedEngine(wild(1), delays(1), slots=7), Policy())
    for each in asked:
        other = batch[each.exchange.id]
        assert each.item.outcome.verdict == other.outcome.verdict
        assert owner(each.item) == owner(other)


@pytest.mark.parametrize("route", ROUTES[1:])
def test_whole_ballots_cost_what_they_cost_in_a_batch(route: str) -> None:
    async def serve() -> list[Asked]:
        engine = ScriptedEngine(wild(2), delays(2), slots=5)
        async with driven(Menu(pool(), [whole_ballots(route)], seed=3), engine) as gateway:
            return await asyncio.gather(*(gateway.ask("whole", f"Number {i}?") for i in range(40)))

    asked = run(serve())
    tasks = [Task(Problem(f"r{i + 1}", f"Number {i}?"), parse_route(route, pool())) for i in range(40)]
    batch = in_a_batch(tasks, ScriptedEngine(wild(2), slots=5), Policy(stop="none"), seed=3)
    for each in asked:
        other = batch[each.exchange.id]
        assert each.item.outcome.verdict == other.outcome.verdict
        assert each.item.cost == other.cost
        assert each.item.fresh_cost == other.fresh_cost


def test_requests_of_different_routes_do_not_disturb_each_other() -> None:
    async def serve() -> list[Asked]:
        async with driven(pool(), ScriptedEngine(wild(3), delays(3), slots=4)) as gateway:
            return await asyncio.gather(*(gateway.ask(ROUTES[i % 5], f"Number {i}?") for i in range(50)))

    async def alone(i: int) -> Asked:
        async with driven(pool(), ScriptedEngine(wild(3))) as gateway:
            return await gateway.ask(ROUTES[i % 5], f"Number {i}?")

    for i, each in enumerate(run(serve())):
        assert each.item.outcome.verdict == run(alone(i)).item.outcome.verdict


def test_one_prompt_asked_many_times_at_once_is_drawn_once() -> None:
    engine = Honest(wild(4), delays(4))

    async def serve() -> list[Asked]:
        async with driven(pool(), engine, store=Store(None)) as gateway:
            return await asyncio.gather(*(gateway.ask("mv_S_k4_t0.7") for _ in range(20)))

    asked = run(serve())
    assert max(Counter((r.model.alias, r.index) for r in engine.requests).values()) == 1
    assert len({each.item.outcome.verdict for each in asked}) == 1
    assert sum(each.item.fresh for each in asked) == len(engine.generated)


def test_what_the_store_has_is_not_paid_for_again() -> None:
    engine = Honest(wild(4))

    async def serve() -> tuple[Asked, Asked, Accounts]:
        async with driven(pool(), engine, store=Store(None)) as gateway:
            once = await gateway.ask("mv_S_k4_t0.7")
            await asyncio.sleep(1)
            return once, await gateway.ask("mv_S_k4_t0.7"), gateway.gateway.accounts

    first, second, accounts = run(serve())
    assert second.item.outcome.verdict == first.item.outcome.verdict
    assert (second.item.fresh, second.item.fresh_cost) == (0, Cost())
    assert accounts.today().requests == 2
    assert accounts.today().cost == first.item.fresh_cost


def test_tokens_of_today_are_those_that_engines_gave_today() -> None:
    # "Money and tokens are those spent now: what the store had was paid for before."
    engine = Honest(answering({"S": ["1"]}))

    async def serve() -> int:
        async with driven(pool(), engine, store=Store(None)) as gateway:
            for _ in range(3):
                await gateway.ask("mv_S_k1_t0.7")
                await asyncio.sleep(1)
            return gateway.gateway.accounts.today().tokens

    assert run(serve()) == sum((g.prompt_tokens or 0) + (g.completion_tokens or 0) for g in engine.generated)


def test_another_seed_is_another_sample() -> None:
    engine = ScriptedEngine(wild(5))

    async def serve() -> None:
        async with driven(Menu(pool(), seed=11), engine, store=Store(None)) as gateway:
            for seed in (1, 2, None, 11, 1, -1):
                await gateway.ask("mv_S_k1_t0.7", seed=seed)

    run(serve())
    assert len(engine.requests) == len({request.seed for request in engine.requests}) == 4  # the server's own is 11


def test_what_a_request_says_reaches_the_engine() -> None:
    engine = ScriptedEngine(answering({"S": ["1"]}))
    before = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "2 + 2?"},
        {"role": "assistant", "content": "4"},
    ]

    async def serve() -> None:
        async with driven(pool(), engine) as gateway:
            await gateway.ask("S", "And 3 more?", before=before, max_tokens=7, stop=["\n\n", "so"], temperature=0.5)
            await gateway.ask("S", max_tokens=7000)

    run(serve())
    first, second = engine.requests
    assert (first.max_tokens, first.stop, first.temperature) == (7, ("\n\n", "so"), 0.5)
    said = [(message["role"], message["content"]) for message in first.messages]
    assert said[:3] == [("system", "Be brief."), ("user", "2 + 2?"), ("assistant", "4")]
    assert said[3][0] == "user"
    assert "And 3 more?" in said[3][1]
    assert (second.max_tokens, second.stop, second.temperature) == (20, (), 0.0)  # the pool's limit is lower


def test_a_conversation_is_another_problem() -> None:
    engine = ScriptedEngine(wild(6))

    async def serve() -> None:
        async with driven(pool(), engine, store=Store(None)) as gateway:
            for content in ("Be brief.", "Be long.", "Be brief."):
                await gateway.ask("S", before=[{"role": "system", "content": content}])

    run(serve())
    assert len(engine.requests) == 2


def test_free_text_has_no_vote_and_a_note_says_so() -> None:
    engine = ScriptedEngine(wild(7))

    async def serve() -> Asked:
        async with driven(pool(), engine) as gateway:
            return await gateway.ask("mv_S_k4_t0.7", "Tell me a story.", escalade={"answer_kind": "free"})

    asked = run(serve())
    assert len(engine.requests) == 1
    assert asked.status == "last_tier"
    (note,) = asked.item.outcome.notes
    for word in ("S", "free text has no vote", "k=4 runs as k=1"):
        assert word in note


def test_choices_of_free_text_are_as_many_as_were_asked_for() -> None:
    engine = ScriptedEngine(wild(7))

    async def serve() -> Asked:
        async with driven(pool(), engine) as gateway:
            return await gateway.ask("S", "A story.", n=3, temperature=0.7, escalade={"answer_kind": "free"})

    assert len(run(serve()).item.tiers[0].samples) == 3


# -- hedging --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(10))
def test_hedging_changes_time_and_cost_and_no_verdict(seed: int) -> None:
    async def serve(**extra: Any) -> tuple[list[Asked], Honest, float]:
        engine = Honest(wild(seed), delays(seed))
        async with driven(pool(), engine) as gateway:
            begun = asyncio.get_running_loop().time()
            asked = await asyncio.gather(*(gateway.ask(CASCADE, f"Number {i}?", escalade=extra) for i in range(15)))
            took = asyncio.get_running_loop().time() - begun
            await asyncio.sleep(10)
            assert gateway.gateway.accounts.today().cost == total(each.item.fresh_cost for each in asked)
            return list(asked), engine, took

    (plain, few, slow), (hedged, many, fast) = run(serve()), run(serve(latency_target=0.001))
    assert [each.item.outcome.verdict for each in hedged] == [each.item.outcome.verdict for each in plain]
    assert fast <= slow
    assert len(many.requests) >= len(few.requests)
    notes = [note for each in hedged for note in each.item.outcome.notes]
    assert "L was begun before S had decided" in notes
    for each, engine in ((plain, few), (hedged, many)):  # every request is on somebody's bill
        charged = sum(len(use.usages) for one in each for use in one.item.tiers)
        assert charged == len(engine.requests)


def test_hedging_has_the_next_tier_there_when_it_is_wanted() -> None:
    script = answering({"S": ["1", "2", "3", "4"], "L": ["5"]})

    async def serve(**extra: Any) -> float:
        async with driven(pool(), ScriptedEngine(script, lambda request: 10.0)) as gateway:
            asked = await gateway.ask(CASCADE, escalade=extra)
            assert asked.item.outcome.answer == "5"
            return asyncio.get_running_loop().time()

    assert run(serve()) == pytest.approx(20)
    assert run(serve(latency_target=0.001)) == pytest.approx(10, abs=0.1)


# -- deadlines, budgets, clients that leave -------------------------------------------------------------------


def test_a_deadline_with_a_part_of_a_ballot_gives_the_best_answer() -> None:
    script = answering({"S": ["7", "8", "7", "9"], "L": ["5"]})

    def delay(request: Request) -> float:
        return 1.0 if request.index < 3 else 1000.0

    async def serve() -> tuple[Asked, float, RequestError | None]:
        policy = whole_ballots("mv_S_k4_t0.7")
        async with driven(Menu(pool(), [policy]), ScriptedEngine(script, delay)) as gateway:
            asked = await gateway.ask("whole", escalade={"deadline": 5})
            return asked, asyncio.get_running_loop().time(), gateway.gateway.failure(*asked.both)

    asked, seconds, failure = run(serve())
    assert seconds == pytest.approx(5)
    assert (asked.status, asked.item.outcome.answer, failure) == ("deadline", "7", None)


def test_a_deadline_before_anything_is_there_is_a_failure() -> None:
    async def serve() -> tuple[RequestError, int]:
        engine = ScriptedEngine(wild(1), lambda request: 1000.0)
        async with driven(pool(), engine) as gateway:
            error = await gateway.refused(CASCADE, escalade={"deadline": 5})
            await asyncio.sleep(0.1)
            return error, len(engine.cancelled)

    error, cancelled = run(serve())
    assert words(error) == (408, "deadline_exceeded")
    assert "out of its 5 s" in str(error)
    assert cancelled == 4


def test_a_deadline_holds_while_a_request_waits_for_its_turn() -> None:
    engine = ScriptedEngine(wild(1), lambda request: 1000.0, slots=1)

    async def serve() -> tuple[list[RequestError], float, int]:
        async with driven(pool(), engine) as gateway:
            others = [gateway.begin(body("S", f"Number {i}?")) for i in range(10)]
            errors = await asyncio.gather(
                *(gateway.refused("S", f"Late {i}?", escalade={"deadline": 5 + i}) for i in range(3))
            )
            seconds, left = asyncio.get_running_loop().time(), len(gateway.gateway.live)
            for other in others:
                gateway.gateway.leave(other)
            return list(errors), seconds, left

    errors, seconds, left = run(serve())
    assert [words(error) for error in errors] == [(408, "deadline_exceeded")] * 3
    assert (seconds, left) == (pytest.approx(7), 10)
    assert not any("Late" in str(request.messages) for request in engine.requests)


@pytest.mark.parametrize(
    ("extra", "seconds", "status"), [({}, 30, 504), ({"deadline": 7}, 7, 408), ({"deadline": 700}, 30, 504)]
)
def test_the_server_has_a_deadline_too(extra: dict[str, Any], seconds: float, status: int) -> None:
    async def serve() -> tuple[RequestError, float]:
        engine = ScriptedEngine(wild(1), lambda request: 10_000.0)
        async with driven(pool(), engine, bounds=Bounds(seconds=30)) as gateway:
            return await gateway.refused("S", escalade=extra), asyncio.get_running_loop().time()

    error, took = run(serve())
    assert words(error) == (status, "deadline_exceeded")
    assert took == pytest.approx(seconds)


def test_a_budget_of_a_request_ends_it() -> None:
    async def serve(budget: str) -> tuple[Asked, RequestError | None, Driven]:
        policy = whole_ballots("mv_S_k4_t0.7")
        script = answering({"S": ["7", "8"]}, prompt_tokens=15, completion_tokens=20)
        engine = Honest(script, lambda request: float(request.index), slots=1)
        async with driven(Menu(pool(), [policy]), engine) as gateway:
            asked = await gateway.ask("whole", escalade={"budget_usd": budget})
            return asked, gateway.gateway.failure(*asked.both), gateway

    # The first request may cost 15 + 20 at most by the engine's own bound, as its prompt is as long as that.
    none, failure, _ = run(serve("0.000001"))
    assert (none.status, none.item.outcome.answer) == ("budget", None)
    assert failure is not None
    assert words(failure) == (402, "budget_exhausted")
    some, failure, _ = run(serve("0.000070"))
    assert (some.status, failure) == ("budget", None)
    assert some.item.outcome.answer is not None
    assert some.item.cost.usd is not None
    assert 0 < some.item.cost.usd <= Decimal("0.000070")


def test_a_request_that_nobody_waits_for_is_cancelled_and_paid_for() -> None:
    script = answering({"S": ["1"]}, prompt_tokens=15, completion_tokens=20)
    engine = Honest(script, lambda request: 10.0)
    key = key_of(budget_usd="1")

    async def serve() -> tuple[Asked, Accounts]:
        async with driven(pool(), engine) as gateway:
            exchange = gateway.begin(body("mv_S_k4_t0.7"), key)
            await asyncio.sleep(5)
            gateway.gateway.leave(exchange)
            gateway.gateway.leave(exchange)
            item = await exchange.answered
            assert not gateway.gateway.live
            return Asked(exchange, item), gateway.gateway.accounts

    asked, accounts = run(serve())
    assert len(engine.cancelled) == 4
    assert (status_of(*asked.both), asked.exchange.code) == ("cancelled", 499)
    spent = (15 + 4 * 10) * Decimal("1e-6")  # half of the time, half of the tokens; the prompt once
    assert asked.item.fresh_cost == Cost(spent)
    account = accounts._accounts["alice"]
    assert (account.used, account.reserved, account.under_way) == (spent, 0, 0)
    assert accounts.today().statuses == {"cancelled": 1}


def test_one_that_leaves_while_it_waits_costs_nothing() -> None:
    engine = ScriptedEngine(wild(1), lambda request: 100.0, slots=1)

    async def serve() -> tuple[list[Answered], int]:
        async with driven(pool(), engine) as gateway:
            exchanges = [gateway.begin(body("S", f"Number {i}?")) for i in range(10)]
            await asyncio.sleep(1)
            for exchange in exchanges[1:]:
                gateway.gateway.leave(exchange)
            items = await asyncio.gather(*(exchange.answered for exchange in exchanges[1:]))
            left = len(gateway.gateway.live)
            await exchanges[0].answered
            return list(items), left

    items, left = run(serve())
    assert left == 1
    assert {item.fresh_cost for item in items} == {Cost()}
    assert len(engine.requests) == 1


def test_one_that_leaves_before_anything_was_done_costs_nothing() -> None:
    engine = ScriptedEngine(wild(1))

    async def serve() -> Answered:
        async with driven(pool(), engine) as gateway:
            exchange = gateway.begin(body(CASCADE))
            gateway.gateway.leave(exchange)
            return await exchange.answered

    assert run(serve()).fresh_cost == Cost()
    assert not engine.requests


# -- what is refused ------------------------------------------------------------------------------------------


def test_a_busy_server_says_so() -> None:
    async def serve() -> RequestError:
        engine = ScriptedEngine(wild(1), lambda request: 100.0)
        async with driven(pool(), engine, bounds=Bounds(requests=2)) as gateway:
            exchanges = [gateway.begin(body("S", f"Number {i}?")) for i in range(2)]
            error = await gateway.refused("S")
            for exchange in exchanges:
                await exchange.answered
            await gateway.ask("S")
            return error

    error = run(serve())
    assert words(error) == (429, "overloaded")
    assert error.retry_after is not None
    assert "2 requests under way" in str(error)


def test_a_server_that_is_about_to_stop_takes_nothing() -> None:
    async def serve() -> tuple[RequestError, Asked]:
        async with driven(pool(), ScriptedEngine(wild(1), lambda request: 1.0)) as gateway:
            assert gateway.gateway.ready
            exchange = gateway.begin(body("S"))
            gateway.gateway.closing = True
            assert not gateway.gateway.ready
            error = await gateway.refused("S")
            return error, Asked(exchange, await exchange.answered)

    error, asked = run(serve())
    assert words(error) == (503, "stopping")
    assert asked.status in ("last_tier", "no_answer")  # what was under way goes on


def test_messages_that_are_too_long_are_refused() -> None:
    engine = ScriptedEngine(wild(1))

    async def serve() -> RequestError:
        async with driven(pool(), engine, bounds=Bounds(prompt_bytes=20)) as gateway:
            await gateway.ask("S", "x" * 20)
            return await gateway.refused("S", "x" * 15, before=[{"role": "user", "content": "ß" * 3}])

    error = run(serve())
    assert (words(error), error.param) == ((400, "context_length_exceeded"), "messages")
    for word in ("21 bytes", "takes 20", "--max-prompt-bytes"):
        assert word in str(error)
    assert len(engine.requests) == 1


def test_an_engine_that_fails_is_a_bad_gateway() -> None:
    def script(request: Request) -> Generation:
        raise EngineError("the weights are on fire")

    async def serve() -> RequestError:
        async with driven(pool(), ScriptedEngine(script)) as gateway:
            return await gateway.refused(CASCADE)

    error = run(serve())
    assert words(error) == (502, "engine_error")
    assert "S: the weights are on fire" in str(error)


def test_an_engine_with_a_fault_of_its_own_does_not_stop_the_server() -> None:
    calls: list[Request] = []

    def script(request: Request) -> Generation:
        calls.append(request)
        if len(calls) == 1:
            raise ZeroDivisionError("division by zero")
        return Generation("\\boxed{1}", prompt_tokens=15, completion_tokens=5)

    async def serve() -> tuple[RequestError, Asked]:
        async with driven(pool(), ScriptedEngine(script)) as gateway:
            return await gateway.refused("S"), await gateway.ask("S")

    error, asked = run(serve())
    assert words(error)[0] == 502
    assert "ZeroDivisionError" in str(error)
    assert asked.item.outcome.answer == "1"


def test_a_request_that_an_engine_refuses_is_the_clients_fault() -> None:
    def script(request: Request) -> Generation:
        raise EngineError("the prompt has 9000 tokens, and there is room for 4096", refused=True)

    async def serve() -> RequestError:
        async with driven(pool(), ScriptedEngine(script)) as gateway:
            return await gateway.refused("S")

    error = run(serve())
    assert (words(error), error.param) == ((400, "refused_by_engine"), "messages")


def test_an_engine_that_is_down_is_unavailable_and_asked_again() -> None:
    up = [True]

    def script(request: Request) -> Generation:
        if not up[0]:
            raise EngineError("connection refused", unreachable=True)
        return Generation("\\boxed{1}", prompt_tokens=15, completion_tokens=5)

    async def serve() -> tuple[list[RequestError], list[Asked], list[bool]]:
        async with driven(pool("S"), ScriptedEngine(script)) as gateway:
            await gateway.ask("S", "First?")
            up[0] = False
            exchanges, ready = [], [gateway.gateway.ready]
            for i in range(30):
                exchanges.append(gateway.begin(body("S", f"Number {i}?")))
                await asyncio.sleep(1)
            ready.append(gateway.gateway.ready)
            failures = [gateway.gateway.failure(e, await e.answered) for e in exchanges]
            up[0] = True
            await asyncio.sleep(20)
            again = await asyncio.gather(*(gateway.ask("S", f"Again {i}?") for i in range(10)))
            ready.append(gateway.gateway.ready)
            return [f for f in failures if f is not None], list(again), ready

    failures, again, ready = run(serve())
    assert len(failures) == 30
    late = failures[10:]
    assert {words(error) for error in late} == {(503, "engine_unavailable")}
    assert all(error.retry_after is not None and "connection refused" in str(error) for error in late)
    assert [each.item.outcome.answer for each in again] == ["1"] * 10
    assert ready == [True, False, True]


def test_an_engine_that_was_away_for_a_moment_is_not_noticed() -> None:
    away: list[float] = [0.0, 2.0]

    async def serve() -> list[Asked]:
        loop = asyncio.get_running_loop()

        def script(request: Request) -> Generation:
            if away[0] <= loop.time() < away[1]:
                raise EngineError("connection refused", unreachable=True)
            return Generation("\\boxed{1}", prompt_tokens=15, completion_tokens=5)

        async with driven(pool("S"), ScriptedEngine(script)) as gateway:
            return list(await asyncio.gather(*(gateway.ask("mv_S_k4_t0.7", f"Number {i}?") for i in range(20))))

    assert {each.item.outcome.answer for each in run(serve())} == {"1"}


# -- budgets of keys ------------------------------------------------------------------------------------------


def test_who_has_too_little_left_for_a_sample_is_told_of_the_budget_of_the_key() -> None:
    async def serve() -> list[RequestError]:
        async with driven(pool(), Honest(wild(1))) as gateway:
            key = key_of(budget_usd="0.00001")
            extra: list[dict[str, Any]] = [{}, {"budget_usd": "1"}, {"budget_usd": "0.000001"}]
            return [await gateway.refused("S", key=key, escalade=each) for each in extra]

    errors = run(serve())
    assert [words(error) for error in errors] == [(429, "insufficient_quota")] * 2 + [(402, "budget_exhausted")]
    assert "0.00001 USD" in str(errors[0])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("budget", ["0.002", "0.0005", "0.00001"])
def test_a_keys_budget_is_never_overrun_however_many_ask_at_once(seed: int, budget: str) -> None:
    dice = random.Random(seed)
    key, other = key_of(budget_usd=budget), key_of("bob")
    engine = Honest(wild(seed), delays(seed, 20.0), slots=dice.choice([3, 64]))

    async def one(gateway: Driven, number: int) -> Answered | RequestError:
        await asyncio.sleep(dice.uniform(0, 100))
        try:
            exchange = gateway.begin(body(dice.choice(ROUTES), f"Number {number}?"), key)
        except RequestError as error:
            return error
        if dice.random() < 0.2:
            await asyncio.sleep(dice.uniform(0, 20))
            gateway.gateway.leave(exchange)
        return await exchange.answered

    async def serve() -> tuple[list[Answered | RequestError], Accounts]:
        async with driven(pool(), engine, bounds=Bounds(seconds=30)) as gateway:
            both = [one(gateway, i) for i in range(200)]
            found = list(await asyncio.gather(*both))
            await gateway.ask("S", key=other)
            return found, gateway.gateway.accounts

    found, accounts = run(serve())
    refused = [each for each in found if isinstance(each, RequestError)]
    answered = [each for each in found if isinstance(each, Answered)]
    assert {words(error) for error in refused} <= {(429, "insufficient_quota"), (429, "budget_reserved")}
    # What is left may be too little for any sample at all: then a request ends with what it has.
    assert refused or {item.outcome.status.value for item in answered} <= {"budget", "error"}
    spent = total(item.fresh_cost for item in answered)
    assert spent.unknown == 0
    assert spent.known <= Decimal(budget)
    account = accounts._accounts["alice"]
    assert (account.used, account.reserved, account.under_way) == (spent.known, 0, 0)
    # Samples that came too late for anybody are on the bill, too.
    assert len(engine.requests) - 1 == sum(len(use.usages) for item in answered for use in item.tiers)


def test_requests_without_a_key_are_on_nobodys_account() -> None:
    async def serve() -> Accounts:
        async with driven(pool(), ScriptedEngine(wild(1))) as gateway:
            await asyncio.gather(*(gateway.ask(CASCADE, f"Number {i}?") for i in range(20)))
            return gateway.gateway.accounts

    account = run(serve())._accounts[ANYBODY]
    assert (account.used, account.reserved, account.under_way) == (0, 0, 0)


def test_where_a_reservation_cannot_be_written_the_request_is_refused() -> None:
    class Stuck(Accounts):
        stuck = True

        def flush(self) -> None:
            if self.stuck and self._unwritten:
                raise StoreError("store x: requests cannot be recorded: database is locked")
            super().flush()

    async def serve() -> tuple[RequestError, Asked]:
        accounts = Stuck(None, alone=False, clock=asyncio.get_running_loop().time)
        async with driven(pool(), ScriptedEngine(wild(1)), accounts=accounts) as gateway:
            error = await gateway.refused("S", key=key_of(budget_usd="1"))
            assert not gateway.gateway.live
            assert not gateway.gateway.ready
            Stuck.stuck = False
            await asyncio.sleep(1)  # until what was refused is recorded
            assert gateway.gateway.ready
            return error, await gateway.ask("S", key=key_of(budget_usd="1", concurrent=1))

    error, asked = run(serve())
    assert words(error) == (503, "store_unavailable")
    assert error.retry_after is not None
    assert asked.exchange.ticket.reserved is not None


# -- a store that fails ---------------------------------------------------------------------------------------


class Moody(Store):
    """Cannot be written, or read, while it does not feel like it."""

    def __init__(self) -> None:
        super().__init__(None)
        self.writes = self.reads = True

    def write(self, samples: Iterable[Stored], attempts: Iterable[Attempt] = ()) -> list[Stored]:
        if not self.writes:
            raise StoreError("store x cannot be written: disk full")
        return super().write(samples, attempts)

    def read(self, key: Any, indexes: Sequence[int]) -> list[Stored]:
        if not self.reads:
            raise StoreError("store x cannot be read: disk I/O error")
        return super().read(key, indexes)


def fixed(request: Request) -> Generation:
    return Generation("\\boxed{1}", prompt_tokens=15, completion_tokens=5)


@pytest.mark.parametrize("script", [fixed, wild(8)])
def test_while_the_store_cannot_be_written_nothing_is_answered_and_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch, script: Script
) -> None:
    monkeypatch.setattr(serving, "STUCK", 1.0)
    store, engine = Moody(), Honest(script, delays(8, 0.5))

    async def serve() -> tuple[list[RequestError], RequestError, float, Asked]:
        async with driven(pool(), engine, store=store) as gateway:
            await gateway.ask("S", "First?")
            store.writes = False
            begun = asyncio.get_running_loop().time()
            errors = await asyncio.gather(*(gateway.refused(CASCADE, f"Number {i}?") for i in range(10)))
            took = asyncio.get_running_loop().time() - begun
            assert not gateway.gateway.ready
            meanwhile = await gateway.refused("S")
            store.writes = True
            await asyncio.sleep(2)
            assert gateway.gateway.ready
            assert not gateway.gateway.live
            return list(errors), meanwhile, took, await gateway.ask(CASCADE, "Last?")

    errors, meanwhile, took, last = run(serve())
    for error in (*errors, meanwhile):
        assert words(error) == (503, "store_unavailable")
        assert "disk full" in str(error)
        assert error.retry_after is not None
    assert 1.0 <= took < 2.5
    assert last.status != "error"
    drawn = {request.seed for request in engine.requests} - {request.seed for request in engine.cancelled}
    assert {stored.seed for stored in store.samples()} == drawn


def test_a_store_that_cannot_be_written_for_a_moment_is_not_noticed() -> None:
    store, engine = Moody(), Honest(fixed)

    async def serve() -> list[Asked]:
        async with driven(pool(), engine, store=store) as gateway:
            store.writes = False
            asked = [asyncio.create_task(gateway.ask(CASCADE, f"Number {i}?")) for i in range(10)]
            await asyncio.sleep(1)
            assert not any(each.done() for each in asked)
            store.writes = True
            return list(await asyncio.gather(*asked))

    assert {each.status for each in run(serve())} == {"accepted"}
    assert len(store) == len(engine.generated)


def test_a_deadline_holds_while_the_store_cannot_be_written() -> None:
    store = Moody()

    async def serve() -> tuple[RequestError, float]:
        async with driven(pool(), Honest(fixed, lambda request: 1000.0), store=store) as gateway:
            store.writes = False
            error = await gateway.refused("S", escalade={"deadline": 1})
            store.writes = True
            return error, asyncio.get_running_loop().time()

    error, seconds = run(serve())
    assert error.status in (503, 504)
    assert seconds < 10


def test_where_the_store_cannot_be_read_the_request_fails_and_the_server_goes_on() -> None:
    store = Moody()

    async def serve() -> tuple[RequestError, Asked]:
        async with driven(pool(), Honest(fixed), store=store) as gateway:
            store.reads = False
            error = await gateway.refused("S")
            store.reads = True
            return error, await gateway.ask("S")

    error, asked = run(serve())
    assert error.status >= 500
    assert "disk I/O error" in str(error)
    assert asked.item.outcome.answer == "1"


def test_what_is_under_way_when_the_server_ends_is_in_the_store() -> None:
    store, engine = Store(None), Honest(fixed, lambda request: 10.0 if request.index else 1.0)

    async def serve() -> None:
        async with driven(pool(), engine, store=store) as gateway:
            gateway.begin(body(CASCADE))
            await asyncio.sleep(5)

    run(serve())
    assert len(store) == 1
    assert [attempt.kind for attempt in store.attempts()] == ["cancelled"] * 3


def test_models_of_one_device_take_turns_under_steady_load() -> None:
    """A server's requests never end: the model that has the device must let it go for those that wait."""
    models = tuple(model.model_copy(update={"gpu": "0"}) for model in pool().models)
    shared = pool().model_copy(update={"models": models})

    async def serve() -> list[Asked]:
        engine = ScriptedEngine(answering({"S": ["1"], "L": ["2"]}), lambda r: 1.0, slots=2)
        async with driven(shared, engine) as gateway:
            steady = []

            async def load() -> None:
                for i in range(40):
                    steady.append(asyncio.ensure_future(gateway.ask("S", f"Steady {i}?")))
                    await asyncio.sleep(0.5)

            loading = asyncio.ensure_future(load())
            await asyncio.sleep(2)
            large = await gateway.ask("L", "One for L?", escalade={"deadline": 15})
            await loading
            return [large, *await asyncio.gather(*steady)]

    large, *steady = run(serve())
    assert large.item.outcome.answer == "2"
    assert len(steady) == 40
    assert {each.item.outcome.answer for each in steady} == {"1"}
