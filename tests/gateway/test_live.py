"""Live: what the page is told of a gateway, and that no prompt and no answer is in it."""

import asyncio
import json
import random
from typing import Any

import pytest

from escalade import __version__
from escalade.engines.base import Request
from escalade.errors import EngineError
from escalade.gateway.gateway import RECENT, Bounds
from escalade.gateway.live import SHOWN, Live, tiers_of
from escalade.gateway.menu import Menu
from escalade.gateway.replies import json_bytes
from escalade.policies import KeptPolicy, PolicyFile
from escalade.samples.sample import Generation
from escalade.testing import Script, ScriptedEngine, answering
from tests.gateway.driven import CASCADE, ROUTES, Driven, Honest, body, driven, key_of, pool, run

SECRET = "Xylophon"
"""In every prompt."""
ANSWERS = ["987654321", "876543210", "765432109", None]
"""In every answer; too long to stand in a view by chance."""
REQUEST = {"id", "key", "model", "route", "seconds", "stream", "tiers"}
RECENTLY = REQUEST | {"status", "decided_by", "cost_usd", "code"}
TIER = {
    "model",
    "k",
    "temperature",
    "asked",
    "drawn",
    "votes",
    "abstained",
    "decision",
    "confidence",
    "threshold",
    "reason",
    "hedged",
}


def secretive(seed: int) -> Script:
    def script(request: Request) -> Generation:
        dice = random.Random(f"{seed} {request.seed}")
        answer = ANSWERS[0] if dice.random() < 0.7 else dice.choice(ANSWERS)
        text = "Who knows?" if answer is None else f"\\boxed{{{answer}}}"
        return Generation(text, prompt_tokens=15, completion_tokens=5)

    return script


def view(live: Live, gateway: Driven) -> dict[str, Any]:
    """What the page gets; and what must not be in it is not."""
    raw = json_bytes(live.view(gateway.gateway)).decode()
    assert SECRET not in raw
    for answer in ANSWERS:
        assert answer is None or answer not in raw
    found: dict[str, Any] = json.loads(raw)
    return found


def test_an_idle_server_has_a_view() -> None:
    async def serve() -> dict[str, Any]:
        live = Live()
        async with driven(
            pool("S", "L", prices=["0.1", None]), ScriptedEngine(secretive(1)), watchers=[live]
        ) as gateway:
            return view(live, gateway)

    found = run(serve())
    assert {name: found[name] for name in ("pool", "version", "route", "waiting", "trouble")} == {
        "pool": "test",
        "version": __version__,
        "route": None,
        "waiting": 0,
        "trouble": None,
    }
    assert found["since"].endswith("Z")
    assert found["since"] <= found["now"]
    small, large = found["models"]
    assert small == {
        "alias": "S",
        "name": "test/S",
        "engine": "scripted",
        "price": {"input": "0.1", "output": "0.1"},
        "waiting": 0,
        "running": 0,
        "allowed": 64,
        "given_up": None,
    }
    assert large["price"] is None
    today = {"requests": 0, "cost_usd": "0", "unknown": 0, "tokens": 0, "samples": 0, "statuses": {}}
    assert (found["today"], found["requests"], found["recent"], found["tiers"]) == (today, [], [], [])


@pytest.mark.parametrize("seed", range(6))
def test_no_view_has_a_prompt_or_an_answer_in_it(seed: int) -> None:
    live, looks = Live(), []
    engine = Honest(secretive(seed), lambda request: random.Random(request.seed).uniform(0.5, 20))

    async def serve() -> None:
        async with driven(pool(), engine, watchers=[live]) as gateway:
            extra: dict[str, Any] = {"latency_target": 1.0} if seed % 2 else {"deadline": 17}
            for i in range(25):
                if i % 4 == 1:
                    extra = {**extra, "answer_kind": "free"}
                problem, before = f"{SECRET} {i}?", [{"role": "system", "content": SECRET}]
                exchange = gateway.begin(body(ROUTES[i % 5], problem, before=before, escalade=extra, user=SECRET))
                if i % 7 == 3:
                    asyncio.get_running_loop().call_later(3, gateway.gateway.leave, exchange)
            while gateway.gateway.live:
                looks.append(view(live, gateway))
                await asyncio.sleep(0.7)
            looks.append(view(live, gateway))

    run(serve())
    assert len(looks) > 10
    for found in looks:
        for request in found["requests"]:
            assert set(request) == REQUEST
        for request in found["recent"]:
            assert set(request) == RECENTLY
        for request in (*found["requests"], *found["recent"]):
            assert request["tiers"]
            for tier in request["tiers"]:
                assert set(tier) == TIER
                assert sum(tier["votes"]) + tier["abstained"] <= tier["drawn"] <= max(tier["asked"], tier["k"])
    decided = {tier["decision"] for found in looks for r in found["recent"] for tier in r["tiers"]}
    assert decided & {"accept", "answer"}


def test_a_ballot_is_seen_as_it_fills() -> None:
    script = answering({"S": ["1", "2", "1", "1"], "L": ["5"]})
    engine = ScriptedEngine(script, lambda request: 1.0 + request.index if request.model.alias == "S" else 10.0)
    live = Live()

    async def serve() -> list[list[dict[str, Any]]]:
        menu = Menu(pool(), [KeptPolicy("ours.toml", _whole(), "")])  # type: ignore[arg-type]
        async with driven(menu, engine, watchers=[live]) as gateway:
            exchange = gateway.begin(body("whole"), key_of())
            seen = [tiers_of(gateway.gateway, exchange)]
            for seconds in (1.5, 1.0, 2.0, 20.0):
                await asyncio.sleep(seconds)
                if exchange.id in gateway.gateway.live:
                    seen.append(tiers_of(gateway.gateway, exchange))
                    (request,) = live.view(gateway.gateway)["requests"]
                    assert (request["key"], request["model"], request["route"]) == ("alice", "whole", CASCADE)
                    assert request["tiers"] == seen[-1]
            (recent,) = live.view(gateway.gateway)["recent"]
            assert (recent["status"], recent["decided_by"]) == ("last_tier", "L")
            seen.append(recent["tiers"])
            return seen

    seen = run(serve())
    small = [tiers[0] for tiers in seen]
    assert [tier["votes"] for tier in small] == [[], [1], [1, 1], [3, 1], [3, 1]]
    assert [tier["drawn"] for tier in small] == [0, 1, 2, 4, 4]
    assert [tier["decision"] for tier in small] == [None, None, None, "escalate", "escalate"]
    assert (small[-1]["confidence"], small[-1]["threshold"]) == (0.75, 0.9)
    assert small[-1]["reason"] == "3 of 4 votes, share 0.75 below 0.9"
    assert [tiers[1]["decision"] for tiers in seen] == [None, None, None, None, "answer"]
    assert [tiers[1]["drawn"] for tiers in seen] == [0, 0, 0, 0, 1]


def _whole() -> PolicyFile:
    return PolicyFile.model_validate({"name": "whole", "route": CASCADE, "settings": {"stop": "none"}})


def test_a_tier_that_was_begun_ahead_is_said_to_be() -> None:
    script = answering({"S": ["1", "2", "1", "1"], "L": ["5"]})
    engine = ScriptedEngine(script, lambda request: 10.0 if request.model.alias == "S" else 1.0)

    async def serve() -> list[dict[str, Any]]:
        async with driven(pool(), engine) as gateway:
            exchange = gateway.begin(body(CASCADE, escalade={"latency_target": 0.001}))
            await asyncio.sleep(5)
            return tiers_of(gateway.gateway, exchange)

    small, large = run(serve())
    assert (small["hedged"], large["hedged"], large["drawn"]) == (False, True, 1)


def test_decisions_are_counted_by_model() -> None:
    tables: dict[str, dict[str, list[str | None]]] = {
        "accepted": {"S": ["1"], "L": ["2"]},
        "escalated": {"S": ["1", "2", "3", "4"], "L": ["2"]},
        "abstained": {"S": [None], "L": [None]},
    }
    live = Live()

    def script(request: Request) -> Generation:
        word = str(request.messages[-1]["content"]).split("'")[1]
        return answering(tables[word])(request)

    async def serve() -> dict[str, Any]:
        async with driven(pool(), ScriptedEngine(script), watchers=[live]) as gateway:
            for word, times in (("accepted", 3), ("escalated", 2), ("abstained", 1)):
                for i in range(times):
                    await gateway.ask(CASCADE, f"A '{word}' problem, number {i}?")
            found: dict[str, Any] = live.view(gateway.gateway)
            return found

    found = run(serve())
    assert {row.pop("model"): row for row in found["tiers"]} == {
        "S": {"asked": 6, "accepted": 3, "explored": 0, "escalated": 3, "last": 0},
        "L": {"asked": 3, "accepted": 0, "explored": 0, "escalated": 0, "last": 3},
    }
    assert found["today"]["statuses"] == {"accepted": 3, "last_tier": 2, "no_answer": 1}
    assert found["today"]["requests"] == 6


def test_exploring_is_counted() -> None:
    live = Live()
    script = answering({"S": ["1", "1", "1", "2", "1", "1", "1", "1"], "L": ["2"]})

    async def serve() -> dict[str, Any]:
        async with driven(pool(), ScriptedEngine(script), watchers=[live]) as gateway:
            await gateway.ask("mv_entropy_cascade_S_k4_t0.7_L_k3_t0.7")
            found: dict[str, Any] = live.view(gateway.gateway)
            return found

    (small, *_) = run(serve())["tiers"]
    assert small["asked"] == 1
    assert small["explored"] >= 1


def test_many_live_requests_are_counted_and_some_are_shown() -> None:
    live = Live()

    async def serve() -> tuple[dict[str, Any], dict[str, Any]]:
        engine = ScriptedEngine(secretive(1), lambda request: 10.0, slots=4)
        async with driven(pool(), engine, watchers=[live]) as gateway:
            exchanges = [gateway.begin(body("S", f"{SECRET} {i}?")) for i in range(SHOWN + 30)]
            await asyncio.sleep(1)
            busy = view(live, gateway)
            for exchange in exchanges:
                await exchange.answered
            return busy, view(live, gateway)

    busy, done = run(serve())
    assert ([r["id"] for r in busy["requests"]], busy["waiting"]) == ([f"r{i + 1}" for i in range(SHOWN)], 30)
    assert (busy["models"][0]["running"], busy["models"][0]["allowed"]) == (4, 4)
    assert (done["requests"], done["waiting"]) == ([], 0)
    assert [r["id"] for r in done["recent"]] == [f"r{SHOWN + 30 - i}" for i in range(RECENT)]


def test_those_that_left_and_those_that_failed_are_seen_as_such() -> None:
    live = Live()

    def script(request: Request) -> Generation:
        raise EngineError("the weights are on fire")

    async def serve() -> dict[str, Any]:
        engine = ScriptedEngine(script, lambda request: 10.0)
        async with driven(pool(), engine, watchers=[live], bounds=Bounds(seconds=100)) as gateway:
            left = gateway.begin(body(CASCADE, f"{SECRET}?"))
            await asyncio.sleep(1)
            gateway.gateway.leave(left)
            await left.answered
            await gateway.refused("S", f"{SECRET} 2?")
            return view(live, gateway)

    found = run(serve())
    failed, left = found["recent"]
    assert (left["status"], left["code"], left["decided_by"]) == ("cancelled", 499, None)
    assert (failed["status"], failed["decided_by"]) == ("error", None)
    assert found["today"]["statuses"] == {"cancelled": 1, "error": 1}


def test_what_an_engine_says_of_one_prompt_is_told_to_nobody_else() -> None:
    live = Live()

    def script(request: Request) -> Generation:
        if SECRET in request.messages[-1]["content"]:
            raise EngineError(
                f"answered with an error: cannot read {request.messages[-1]['content']!r}", retryable=True
            )
        raise EngineError("connection refused", unreachable=True)

    async def serve() -> tuple[dict[str, Any], list[str]]:
        async with driven(pool("S"), ScriptedEngine(script), watchers=[live]) as gateway:
            secrets = [gateway.begin(body("S", f"{SECRET} {i}?")) for i in range(3)]
            others: list[str] = []
            for i in range(20):
                await asyncio.sleep(1)
                secrets.append(gateway.begin(body("S", f"{SECRET} {i + 3}?")))
                others.append(str(await gateway.refused("S", f"Number {i}?")))
            found: dict[str, Any] = live.view(gateway.gateway)
            for exchange in secrets:
                await exchange.answered
            return found, others

    found, others = run(serve())
    assert not [said for said in others if SECRET in said]
    assert SECRET not in json.dumps(found)


def test_policies_and_strategies_are_served() -> None:
    live = Live()

    async def serve() -> dict[str, Any]:
        menu = Menu(pool(), [KeptPolicy("ours.toml", _whole(), "")])  # type: ignore[arg-type]
        async with driven(menu, ScriptedEngine(secretive(1)), watchers=[live]) as gateway:
            return view(live, gateway)

    found = run(serve())
    assert found["policies"] == [{"name": "whole", "route": CASCADE, "certificate": None}]
    assert found["strategies"] == []
