"""The gateway over HTTP: what clients see, what engines are asked, and what never leaves the process."""

import asyncio
import json
import socket
import sqlite3
import time
from collections.abc import Awaitable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from escalade.engines.base import Request
from escalade.errors import EngineError, SettingError, StoreError
from escalade.gateway.gateway import Bounds
from escalade.gateway.keys import Key, digest
from escalade.gateway.menu import Menu
from escalade.gateway.server import Settings
from escalade.samples.sample import Generation
from escalade.samples.schema import connect
from escalade.samples.store import Store
from escalade.testing import ScriptedEngine, answering, pool_of
from tests.gateway.served import CHAT, PROBLEM, asking, events_of, served, until

POOL = pool_of("S", "L", prices=["1", "10"], max_tokens=20)
CASCADE = "mv_cascade_S_k4_t0.7_L_k1_t0.0"
SURE = answering({"S": ["391"], "L": ["391"]})
UNSURE = answering({"S": ["1", "2", "3", "4"], "L": ["391"]})
LONG = 600.0


def run(coroutine: Awaitable[Any]) -> Any:
    async def whole() -> Any:
        return await asyncio.wait_for(coroutine, 60)

    return asyncio.run(whole())


# -- answers --------------------------------------------------------------------------------------------------


def test_a_routing_string_is_a_model_name() -> None:
    async def go() -> None:
        async with served(POOL, ScriptedEngine(UNSURE)) as server:
            reply = await server.chat(CASCADE)
            body = reply.json()
            assert reply.status_code == 200
            assert body["object"] == "chat.completion"
            assert body["choices"][0]["message"] == {"role": "assistant", "content": r"\boxed{391}", "refusal": None}
            # Two samples of S settle that it escalates; the two others were under way, and used something.
            receipt = body["escalade"]
            assert (receipt["status"], receipt["decided_by"], receipt["answer"]) == ("last_tier", "L", "391")
            assert [tier["decision"] for tier in (t["looks"][-1] for t in receipt["tiers"])] == ["escalate", "answer"]
            tokens = [sum(t["prompt_tokens"]) + sum(t["completion_tokens"]) for t in receipt["tiers"]]
            assert sum(tokens) == body["usage"]["total_tokens"]
            costs = [Decimal(tier["cost_usd"]) for tier in receipt["tiers"]]
            assert sum(costs) == Decimal(receipt["cost_usd"]) == Decimal(reply.headers["x-escalade-cost-usd"])
            assert reply.headers["x-escalade-route"] == CASCADE
            assert reply.headers["x-escalade-decided-by"] == "L"

    run(go())


def test_receipts_are_off_by_header() -> None:
    async def go() -> None:
        async with served(POOL, ScriptedEngine(SURE)) as server:
            headers = {"X-Escalade-Receipt": "off"}
            reply = await server.client.post(CHAT, json=asking(CASCADE), headers=headers)
            assert "escalade" not in reply.json()
            assert [name for name in reply.headers if name.startswith("x-escalade")] == []
            stream = await server.client.post(CHAT, json=asking(CASCADE, stream=True), headers=headers)
            assert all("escalade" not in chunk for chunk in events_of(stream.text)[:-1])

    run(go())


def test_a_stream_gives_the_text_that_was_decided_on_then_usage_then_done() -> None:
    async def go() -> None:
        async with served(POOL, ScriptedEngine(UNSURE)) as server:
            options = {"include_usage": True}
            reply = await server.chat(CASCADE, stream=True, stream_options=options)
            assert reply.headers["content-type"].startswith("text/event-stream")
            assert reply.text.startswith(": climbing\n\n")
            *chunks, usage, done = events_of(reply.text)
            assert done == "[DONE]"
            assert usage["choices"] == []
            assert usage["usage"]["total_tokens"] > 0
            text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
            assert text == r"\boxed{391}"
            assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
            assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
            assert chunks[-1]["escalade"]["decided_by"] == "L"

    run(go())


def test_a_stream_says_how_it_climbs_where_that_is_wanted_and_comments_keep_it_open() -> None:
    async def go() -> None:
        engine = ScriptedEngine(UNSURE, lambda r: 0.15 * (r.index + 1) if r.model.alias == "S" else 0.3)
        async with served(POOL, engine, keep_alive=0.05) as server:
            options = {"include_progress": True}
            reply = await server.chat(CASCADE, stream=True, stream_options=options)
            told = [chunk["escalade"] for chunk in events_of(reply.text)[:-1] if not chunk["choices"]]
            assert {each["object"] for each in told} == {"progress"}
            first = [each["tiers"][0] for each in told]
            assert first[0]["drawn"] == 0
            assert [1] in [tier["votes"] for tier in first]
            assert first[-1]["decision"] == "escalate"
            assert told[-1]["tiers"][1]["decision"] == "answer"
            quiet = await server.chat(CASCADE, "Another one?", stream=True)
            assert quiet.text.count(": climbing") > 3
            assert not [chunk for chunk in events_of(quiet.text)[:-1] if not chunk["choices"]]

    run(go())


def test_a_stream_that_fails_says_so_and_ends() -> None:
    def broken(request: Request) -> Generation:
        raise EngineError("the disk of the model is on fire")

    async def go() -> None:
        async with served(POOL, ScriptedEngine(broken)) as server:
            reply = await server.chat("S", stream=True)
            error, done = events_of(reply.text)
            assert "on fire" in error["error"]["message"]
            assert error["error"]["type"] == "server_error"
            assert done == "[DONE]"

    run(go())


def test_completions_answer_a_prompt() -> None:
    async def go() -> None:
        async with served(POOL, ScriptedEngine(SURE)) as server:
            reply = await server.client.post("/v1/completions", json={"model": "S", "prompt": PROBLEM})
            body = reply.json()
            assert (body["object"], body["choices"][0]["text"]) == ("text_completion", r"\boxed{391}")
            stream = await server.client.post("/v1/completions", json={"model": "S", "prompt": PROBLEM, "stream": True})
            *chunks, _ = events_of(stream.text)
            assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == r"\boxed{391}"

    run(go())


def test_what_is_served_is_listed() -> None:
    async def go() -> None:
        pool = pool_of("S", "L", route="mv_S_k3_t0.7")
        async with served(pool, ScriptedEngine(SURE)) as server:
            names = [model["id"] for model in (await server.client.get("/v1/models")).json()["data"]]
            assert names == ["auto", "S", "test/S", "L", "test/L"]
            one = (await server.client.get("/v1/models/test/L")).json()
            assert (one["id"], one["escalade"]["name"]) == ("test/L", "test/L")
            assert (await server.client.get("/v1/models/nope")).status_code == 404
            assert (await server.chat("auto")).json()["escalade"]["route"] == "mv_S_k3_t0.7"

    run(go())


def test_the_open_api_document_names_every_path_and_error() -> None:
    async def go() -> None:
        async with served(POOL, ScriptedEngine(SURE)) as server:
            document = (await server.client.get("/openapi.json")).json()
            assert set(document["paths"]) >= {CHAT, "/v1/completions", "/v1/models", "/health", "/ready", "/metrics"}
            assert "429" in document["paths"][CHAT]["post"]["responses"]
            text = json.dumps(document)
            used = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
            assert used <= set(document["components"]["schemas"])

    run(go())


# -- errors ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, "no JSON"),
        (b"\xff\xfe", 400, "not UTF-8: byte 0 is 0xff"),
        (b"[" * 100_000, 400, "no JSON"),
        (json.dumps(asking("7B")).encode(), 404, "no model '7B'"),
        (json.dumps(asking("mv_S_k0_t0.7")).encode(), 400, "position 5"),
        (json.dumps(asking("S", temprature=1)).encode(), 400, "did you mean 'temperature'"),
        (json.dumps(asking("mv_S_k100000_t0.7")).encode(), 400, "100000 samples, and this server takes 256"),
        (json.dumps(asking("S", "x" * 70_000)).encode(), 400, "--max-prompt-bytes"),
        (b'{"model": "S", "x": "' + b"a" * 2_000_000 + b'"}', 413, "--max-body-bytes"),
    ],
)
def test_a_body_that_cannot_be_used_is_refused_and_the_connection_goes_on(body: bytes, status: int, said: str) -> None:
    async def go() -> None:
        async with served(POOL, ScriptedEngine(SURE)) as server:
            reply = await server.client.post(CHAT, content=body, headers={"content-type": "application/json"})
            assert reply.status_code == status
            assert said in reply.json()["error"]["message"]
            assert (await server.chat("S")).status_code == 200

    run(go())


def test_a_type_that_pages_of_other_sites_may_send_is_refused() -> None:
    async def go() -> None:
        engine = ScriptedEngine(SURE)
        async with served(POOL, engine) as server:
            body = json.dumps(asking("S")).encode()
            for headers in ({"content-type": "text/plain"}, {}):
                assert (await server.client.post(CHAT, content=body, headers=headers)).status_code == 415
            reply = await server.client.post(CHAT, json=asking("S"), headers={"host": "evil.example"})
            assert reply.status_code == 421
            assert "evil.example" in reply.json()["error"]["message"]
            assert not engine.requests

    run(go())


def test_unknown_paths_and_methods_answer_as_the_api_does() -> None:
    async def go() -> None:
        async with served(POOL, ScriptedEngine(SURE)) as server:
            missing = await server.client.get("/v2/chat")
            assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
            wrong = await server.client.get(CHAT)
            assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "not_allowed")

    run(go())


def test_an_engine_that_fails_is_502_one_that_refuses_the_request_is_400_and_one_that_is_down_503(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("escalade.lanes.PATIENCE_SERVING", 0.0)
    monkeypatch.setattr("escalade.lanes.PAUSE", 0.05)
    monkeypatch.setattr("escalade.dispatch.BACKOFF", 0.001)
    up = [False]

    def script(request: Request) -> Generation:
        if request.model.alias == "L":
            raise EngineError("too long for L", refused=True) if "long" in str(request.messages) else EngineError("bad")
        if not up[0]:
            raise EngineError("S is not there", unreachable=True)
        return SURE(request)

    async def go() -> None:
        async with served(POOL, ScriptedEngine(script)) as server:
            assert (await server.chat("L")).status_code == 502
            refused = await server.chat("L", "a long one")
            assert (refused.status_code, refused.json()["error"]["code"]) == (400, "refused_by_engine")
            down = await server.chat("S")
            assert (down.status_code, down.json()["error"]["code"]) == (503, "engine_unavailable")
            assert int(down.headers["retry-after"]) >= 1
            assert "S is not there" in down.json()["error"]["message"]
            up[0] = True
            async with asyncio.timeout(20):
                while (await server.chat("S")).status_code != 200:
                    await asyncio.sleep(0.05)
            assert (await server.client.get("/ready")).json()["ready"]

    run(go())


def test_an_error_of_the_servers_own_is_logged_told_and_the_server_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*given: Any, **named: Any) -> None:
        raise ZeroDivisionError

    async def go() -> None:
        async with served(POOL, ScriptedEngine(SURE)) as server:
            with monkeypatch.context() as patch:
                patch.setattr("escalade.gateway.app.reply", broken)
                failed = await server.chat("S")
            assert failed.status_code == 500
            assert failed.headers["x-request-id"] in failed.json()["error"]["message"]
            assert (await server.chat("S")).status_code == 200

    run(go())
    assert "ZeroDivisionError" in caplog.text
    assert "17 times" not in caplog.text


# -- leaving --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_cancels_every_sample_at_its_engine(stream: bool) -> None:
    async def go() -> None:
        engine = ScriptedEngine(SURE, lambda r: LONG)
        async with served(POOL, engine) as server:
            body = json.dumps(asking(CASCADE, stream=stream)).encode()
            _reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            await until(lambda: len(engine.requests) == 4)
            writer.close()
            await until(lambda: len(engine.cancelled) == 4)
            await until(lambda: [name for name, _ in server.events if name == "reply"])
            assert dict(server.events)["reply"]["status"] == "cancelled"
            # It was charged for what it had used.
            assert Decimal(dict(server.events)["reply"]["cost_usd"]) > 0

    run(go())


def test_a_server_that_stops_lets_requests_end_and_tells_those_that_take_too_long(tmp_path: Path) -> None:
    async def go() -> None:
        engine = ScriptedEngine(SURE, lambda r: 0.3 if r.model.alias == "S" else LONG)
        async with served(POOL, engine, store=tmp_path / "s.sqlite", grace=1.0) as server:
            short = asyncio.ensure_future(server.chat("S"))
            long = asyncio.ensure_future(server.chat("L"))
            await until(lambda: len(engine.requests) == 2)
            server.stop.set()
            await until(lambda: short.done())
            assert (await short).status_code == 200
            failed = await long
            assert (failed.status_code, failed.json()["error"]["code"]) == (503, "stopping")
        with Store(tmp_path / "s.sqlite") as store:
            assert len(store) == 1
            assert [attempt.kind for attempt in store.attempts()] == ["cancelled"]

    run(go())


# -- keys and bounds ------------------------------------------------------------------------------------------

ALICE = Key(name="alice", sha256=digest("esc-alice"))


def test_with_keys_nothing_is_told_to_strangers() -> None:
    async def go() -> None:
        async with served(POOL, ScriptedEngine(SURE), keys=[ALICE]) as server:
            for path in ("/v1/models", "/v1/models/S", "/metrics", "/live"):
                assert (await server.client.get(path)).status_code == 401
            for path in ("/health", "/ready", "/openapi.json", "/"):
                assert (await server.client.get(path)).status_code == 200
            missing, wrong = await server.chat("S"), await server.chat("S", key="esc-bob")
            assert [reply.json()["error"]["code"] for reply in (missing, wrong)] == [
                "missing_api_key",
                "invalid_api_key",
            ]
            assert missing.headers["www-authenticate"] == "Bearer"
            assert (await server.chat("S", key="esc-alice")).status_code == 200
            # Another host is nothing strange to who has a key: a proxy may stand between.
            headers = {"host": "models.example", "authorization": "Bearer esc-alice"}
            assert (await server.client.get("/v1/models", headers=headers)).status_code == 200

    run(go())


def test_a_public_address_needs_keys_and_a_budget_needs_prices() -> None:
    with pytest.raises(SettingError, match=r"0\.0\.0\.0 can be reached from other machines.*--keys"):
        Settings(Menu(POOL), host="0.0.0.0")
    Settings(Menu(POOL), host="0.0.0.0", keys=[ALICE])
    Settings(Menu(POOL), host="::1")
    capped = ALICE.model_copy(update={"budget_usd": Decimal(1)})
    with pytest.raises(SettingError, match="'alice' has a budget, but L of pool 'test' has no price"):
        Settings(Menu(pool_of("S", "L", prices=["1", None])), keys=[capped])


def test_a_budget_is_never_overrun_by_requests_at_once() -> None:
    # One sample reserves about 60 tokens at 1 USD a million, and uses 15.
    budget = Decimal("0.001")
    key = ALICE.model_copy(update={"budget_usd": budget})

    async def go() -> None:
        engine = ScriptedEngine(SURE, lambda r: 0.002)
        async with served(POOL, engine, keys=[key]) as server:
            replies = await asyncio.gather(*(server.chat("S", f"Number {i}?", key="esc-alice") for i in range(300)))
            codes = [reply.status_code for reply in replies]
            assert set(codes) == {200, 429}
            spent = sum(Decimal(r.json()["escalade"]["new_cost_usd"]) for r in replies if r.status_code == 200)
            assert spent <= budget
            refused = next(reply for reply in replies if reply.status_code == 429)
            # While others have reserved what is left, trying again helps; once it is used, it does not.
            assert refused.json()["error"]["code"] in ("budget_reserved", "insufficient_quota")
            async with asyncio.timeout(20):
                while (last := await server.chat("S", f"Again {time.time()}?", key="esc-alice")).status_code == 200:
                    pass
            assert last.json()["error"]["code"] == "insufficient_quota"
            assert last.headers["x-should-retry"] == "false"

    run(go())


def test_rates_and_concurrency_hold_under_load() -> None:
    key = ALICE.model_copy(update={"requests_per_minute": 20, "concurrent": 5})

    async def go() -> None:
        engine = ScriptedEngine(SURE, lambda r: 0.05)
        async with served(POOL, engine, keys=[key]) as server:
            replies = await asyncio.gather(*(server.chat("S", f"Number {i}?", key="esc-alice") for i in range(60)))
            assert engine.most_in_flight <= 5
            for _ in range(5):
                replies += await asyncio.gather(
                    *(server.chat("S", f"Once more {i}?", key="esc-alice") for i in range(5))
                )
            assert [reply.status_code for reply in replies].count(200) == 20
            codes = {reply.json()["error"]["code"] for reply in replies if reply.status_code == 429}
            assert codes == {"too_many_requests", "rate_limit_exceeded"}
            assert all(int(r.headers["retry-after"]) >= 1 for r in replies if r.status_code == 429)

    run(go())


def test_the_queue_is_bounded() -> None:
    async def go() -> None:
        engine = ScriptedEngine(SURE, lambda r: 0.2, slots=2)
        async with served(POOL, engine, bounds=Bounds(requests=10)) as server:
            replies = await asyncio.gather(*(server.chat("S", f"Number {i}?") for i in range(30)))
            codes = [reply.status_code for reply in replies]
            assert (codes.count(200), codes.count(429)) == (10, 20)
            refused = next(reply for reply in replies if reply.status_code == 429)
            assert refused.json()["error"]["code"] == "overloaded"
            assert int(refused.headers["retry-after"]) >= 1

    run(go())


# -- what is kept and what is told ----------------------------------------------------------------------------


def test_no_key_and_no_prompt_is_logged_unless_asked() -> None:
    async def go(prompts: bool) -> str:
        async with served(POOL, ScriptedEngine(UNSURE), keys=[ALICE], log_prompts=prompts) as server:
            await server.chat(CASCADE, "How many swans?", key="esc-alice", user="u-1")
            await server.chat("nope\n\x1b[2J", "How many swans?", key="esc-alice")
            live = (await server.client.get("/live", headers={"authorization": "Bearer esc-alice"})).text
            assert "swans" not in live
            assert "391" not in live
        return json.dumps([server.lines, server.events])

    said = run(go(False))
    assert "swans" not in said
    assert "391" not in said
    assert "u-1" in said
    assert "\x1b" not in said
    told = run(go(True))
    assert "swans" in told
    for text in (said, told):
        assert "esc-alice" not in text


def test_what_the_store_has_is_not_drawn_again_and_a_seed_draws_anew(tmp_path: Path) -> None:
    async def go() -> None:
        engine = ScriptedEngine(SURE)
        async with served(POOL, engine, store=tmp_path / "s.sqlite") as server:
            first, again = [(await server.chat("mv_S_k3_t0.7")).json()["escalade"] for _ in range(2)]
            assert (first["answer"], first["cost_usd"]) == (again["answer"], again["cost_usd"])
            assert (first["samples"]["new"], again["samples"]["new"]) == (first["samples"]["used"], 0)
            assert Decimal(again["new_cost_usd"]) == 0
            assert (await server.chat("mv_S_k3_t0.7", seed=7)).json()["escalade"]["samples"]["new"] > 0
        async with served(POOL, ScriptedEngine(SURE), store=tmp_path / "s.sqlite") as server:
            assert (await server.client.get("/live")).json()["today"]["requests"] == 3

    run(go())


def test_a_store_that_cannot_be_written_is_503_loses_nothing_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("escalade.serving.STUCK", 0.2)
    monkeypatch.setattr("escalade.serving.AGAIN", 0.02)
    broken = [False]
    write = Store.write

    def full(self: Store, *given: Any) -> Any:
        if broken[0]:
            raise StoreError("store s.sqlite cannot be written: database or disk is full")
        return write(self, *given)

    monkeypatch.setattr(Store, "write", full)

    async def go() -> None:
        engine = ScriptedEngine(SURE)
        async with served(POOL, engine, store=tmp_path / "s.sqlite") as server:
            broken[0] = True
            waited = await server.chat("S")
            assert (waited.status_code, waited.json()["error"]["code"]) == (503, "store_unavailable")
            assert "disk is full" in waited.json()["error"]["message"]
            at_once = await server.chat("S", "Another?")
            assert at_once.status_code == 503
            assert len(engine.requests) == 1
            assert (await server.client.get("/ready")).status_code == 503
            assert (await server.client.get("/health")).status_code == 200
            broken[0] = False
            async with asyncio.timeout(20):
                while (await server.client.get("/ready")).status_code != 200:
                    await asyncio.sleep(0.02)
            reply = await server.chat("S")
            assert reply.json()["escalade"]["samples"]["new"] == 0, "the sample that was paid for is there"

    run(go())


def test_a_store_that_another_process_has_locked_is_waited_for(tmp_path: Path) -> None:
    async def go() -> None:
        async with served(POOL, ScriptedEngine(SURE), store=tmp_path / "s.sqlite") as server:
            await server.chat("S", "First?")
            other = sqlite3.connect(tmp_path / "s.sqlite", isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            asked = asyncio.ensure_future(server.chat("S", "Second?"))
            async with asyncio.timeout(20):
                while (await server.client.get("/ready")).status_code != 503:
                    await asyncio.sleep(0.02)
            assert not asked.done()
            other.execute("ROLLBACK")
            other.close()
            assert (await asked).status_code == 200

    run(go())


def test_a_disk_that_is_full_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite itself refuses, as on a full disk: the file may not grow."""
    monkeypatch.setattr("escalade.serving.STUCK", 0.2)
    monkeypatch.setattr("escalade.serving.AGAIN", 0.02)
    opened: list[sqlite3.Connection] = []

    def connecting(path: Path | None, **settings: Any) -> sqlite3.Connection:
        opened.append(connect(path, **settings))
        return opened[-1]

    monkeypatch.setattr("escalade.samples.store.connect", connecting)

    async def go() -> None:
        engine = ScriptedEngine(lambda request: Generation("x" * 20_000 + "\\boxed{1}", completion_tokens=5))
        async with served(POOL, engine, store=tmp_path / "s.sqlite") as server:
            (db,) = opened
            db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0] + 8}")
            replies = [await server.chat("S", f"Number {i}?") for i in range(6)]
            codes = [reply.status_code for reply in replies]
            assert codes[0] == 200 and codes[-1] == 503
            assert "full" in replies[-1].json()["error"]["message"]
            drawn = len(engine.requests)
            db.execute("PRAGMA max_page_count = 1000000")
            async with asyncio.timeout(20):
                while (await server.client.get("/ready")).status_code != 200:
                    await asyncio.sleep(0.02)
            again = [await server.chat("S", f"Number {i}?") for i in range(6)]
            assert [reply.status_code for reply in again] == [200] * 6
            assert len(engine.requests) == 6, "no sample was drawn twice"
            assert drawn < 6
        with Store(tmp_path / "s.sqlite") as store:
            assert len(store) == 6

    run(go())


def test_a_client_that_does_not_take_its_reply_is_left_and_the_server_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("escalade.gateway.http.BODY_SECONDS", 0.3)

    async def go() -> None:
        engine = ScriptedEngine(lambda request: Generation("word " * 4_000_000 + "\\boxed{1}", completion_tokens=5))
        async with served(POOL, engine) as server:
            slow = socket.socket()
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect(("127.0.0.1", server.port))
            body = json.dumps(asking("S", stream=True)).encode()
            head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            slow.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            await until(lambda: any(" 499 " in line for line in server.lines), 30)
            assert (await server.client.get("/health")).status_code == 200
            slow.close()

    run(go())


def test_a_body_of_ten_megabytes_is_told_that_it_is_too_large(tmp_path: Path) -> None:
    async def go() -> None:
        async with served(POOL, ScriptedEngine(SURE)) as server:
            body = json.dumps(asking("S", "a" * 10_000_000)).encode()
            headers = {"content-type": "application/json"}
            for more in ({}, {"expect": "100-continue"}):
                reply = await server.client.post(CHAT, content=body, headers={**headers, **more})
                assert (reply.status_code, reply.json()["error"]["code"]) == (413, "body_too_large")
            assert (await server.chat("S")).status_code == 200

    run(go())


def test_a_thousand_idle_connections_keep_nobody_out() -> None:
    async def go() -> None:
        async with served(POOL, ScriptedEngine(SURE)) as server:
            idle = []
            for _ in range(1000):
                one = socket.socket()
                one.setblocking(False)
                await asyncio.get_running_loop().sock_connect(one, ("127.0.0.1", server.port))
                idle.append(one)
            try:
                assert (await server.chat("S")).status_code == 200
            finally:
                for one in idle:
                    one.close()

    run(go())


def test_connections_that_send_no_request_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("escalade.gateway.http.HEADER_SECONDS", 0.1)

    async def go() -> None:
        async with served(POOL, ScriptedEngine(SURE)) as server:
            for sent in (b"", b"POST / HTTP/1.1\r\nHost: loc"):
                reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
                writer.write(sent)
                assert await asyncio.wait_for(reader.read(), 10) == b""
                writer.close()

    run(go())


def test_a_client_that_sends_its_body_too_slowly_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("escalade.gateway.http.BODY_SECONDS", 0.1)

    async def go() -> None:
        async with served(POOL, ScriptedEngine(SURE)) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            writer.write(f"{head}Content-Length: 100\r\n\r\n{{".encode())
            assert (await asyncio.wait_for(reader.readline(), 10)).startswith(b"HTTP/1.1 408")
            writer.close()

    run(go())


def test_a_wish_for_another_protocol_is_overlooked() -> None:
    async def go() -> None:
        async with served(POOL, ScriptedEngine(SURE)) as server:
            body = json.dumps(asking("S")).encode()
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            for _ in range(2):
                writer.write(
                    f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\n"
                    "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nContent-Type: application/json\r\n"
                    f"Content-Length: {len(body)}\r\n\r\n".encode()
                    + body
                )
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
                assert head.startswith(b"HTTP/1.1 200")
                await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
            writer.close()

    run(go())


def test_a_key_sees_its_own_requests_and_an_observer_everybodys() -> None:
    bob = Key(name="bob", sha256=digest("esc-bob"))
    eve = Key(name="eve", sha256=digest("esc-eve"), observer=True)

    async def go() -> None:
        async with served(POOL, ScriptedEngine(SURE), keys=[ALICE, bob, eve]) as server:
            for name in ("alice", "alice", "bob"):
                assert (await server.chat("S", key=f"esc-{name}")).status_code == 200

            async def get(path: str, name: str) -> Any:
                return await server.client.get(path, headers={"authorization": f"Bearer esc-{name}"})

            for name, seen in (("alice", ["alice"] * 2), ("bob", ["bob"]), ("eve", ["bob", "alice", "alice"])):
                view = (await get("/live", name)).json()
                assert [each["key"] for each in view["recent"]] == seen
                assert view["today"]["requests"] == len(seen)
            assert (await get("/metrics", "eve")).status_code == 200
            assert (await get("/metrics", "bob")).status_code == 403

    run(go())


def test_where_there_are_keys_nothing_is_told_of_what_stands_behind() -> None:
    def broken(request: Request) -> Generation:
        raise EngineError("server http://10.0.0.7:8000/v1 answered with status 500: boom")

    async def go(**settings: Any) -> str:
        async with served(POOL, ScriptedEngine(broken), **settings) as server:
            whole = await server.chat("S", key="esc-alice")
            streamed = await server.chat("S", "Another?", key="esc-alice", stream=True)
            assert whole.status_code == 502
            assert " 502 " in server.lines[-1], "a stream that failed is no 200 in the log"
            return whole.text + streamed.text

    assert "10.0.0.7" not in run(go(keys=[ALICE]))
    assert "10.0.0.7" in run(go())


def test_a_budget_that_cannot_be_kept_is_refused() -> None:
    async def go() -> None:
        pool = pool_of("S", "L", prices=["1", None])
        async with served(pool, ScriptedEngine(SURE)) as server:
            reply = await server.chat("L", escalade={"budget_usd": 1})
            assert (reply.status_code, reply.json()["error"]["param"]) == (400, "escalade.budget_usd")
            assert "has no price" in reply.json()["error"]["message"]
            assert (await server.chat("S", escalade={"budget_usd": 1})).status_code == 200

    run(go())


def test_a_key_with_money_is_not_refused_as_some_requests_broke_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("escalade.dispatch.BACKOFF", 0.001)
    key = ALICE.model_copy(update={"budget_usd": Decimal(5)})
    tries: dict[int, int] = {}

    class Breaking(ScriptedEngine):
        async def sample(self, request: Request, progress: Any) -> Generation:
            tries[request.index] = tries.get(request.index, 0) + 1
            if tries[request.index] < 3:
                progress.prompt_tokens, progress.completion_tokens = 50, 20
                raise EngineError("broke off near its end", retryable=True)
            return await super().sample(request, progress)

    async def go() -> None:
        async with served(POOL, Breaking(answering({"S": ["1", "2", "3"]})), keys=[key]) as server:
            reply = await server.chat("mv_S_k3_t0.7", key="esc-alice")
            assert reply.status_code == 200, reply.text
            assert reply.json()["escalade"]["status"] == "last_tier"
            assert reply.json()["usage"]["completion_tokens"] > 100

    run(go())


def test_tokens_that_are_not_known_are_charged_at_the_most_there_can_be_of_them() -> None:
    key = ALICE.model_copy(update={"budget_usd": Decimal(1)})

    def silent(request: Request) -> Generation:
        unknown = request.index == 1
        return Generation("\\boxed{1}", prompt_tokens=None if unknown else 10, completion_tokens=5)

    async def go() -> None:
        pool = pool_of("S", "L", prices=["1", "100"], max_tokens=20, billing="each")
        async with served(pool, ScriptedEngine(silent), keys=[key]) as server:
            route = "mv_cascade_S_k2_t0.7_L_k1_t0.0"
            receipt = (await server.chat(route, key="esc-alice")).json()["escalade"]
            assert receipt["cost_usd"] is None
            charged = Decimal(receipt["charged_usd"])
            # Two samples of S: 15 tokens, and 5 behind a prompt of at most a token a byte and the template.
            assert Decimal("0.000020") < charged < Decimal("0.000300"), "L was never asked, and is not charged"

    run(go())
