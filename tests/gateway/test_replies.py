"""Replies: what is sent back of answers that real ballots gave, and receipts that add up."""

import json
import random
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from escalade import load_pool
from escalade.answers.kinds import kind_of
from escalade.engines.base import Request
from escalade.errors import EngineError, RequestError
from escalade.gateway.bodies import read_completion
from escalade.gateway.menu import Menu
from escalade.gateway.replies import (
    PIECE,
    chosen,
    chunks,
    error_body,
    event_line,
    json_bytes,
    pieces,
    progress,
    receipt_headers,
    receipt_of,
    reply,
    usage,
)
from escalade.policies import KeptPolicy, PolicyFile
from escalade.pool import Pool
from escalade.problems import Problem, Scoring
from escalade.samples.sample import Generation
from escalade.samples.store import Store
from escalade.testing import Script, ScriptedEngine, answering
from tests.gateway.driven import CASCADE, ROUTES, Asked, Honest, body, driven, pool, run, wild


def ask(script: Script, model: str, *, within: Menu | Pool | None = None, **fields: Any) -> Asked:
    async def serve() -> Asked:
        async with driven(within or pool(), Honest(script)) as gateway:
            return await gateway.ask(model, **fields)

    return run(serve())


def said(asked: Asked, *, receipt: bool = True) -> dict[str, Any]:
    whole = reply(*asked.both, 1_700_000_000, receipt=receipt)
    read: dict[str, Any] = json.loads(json_bytes(whole))
    assert read == whole
    return read


def streamed(asked: Asked, *, receipt: bool = True) -> list[dict[str, Any]]:
    lines = [event_line(chunk) for chunk in chunks(*asked.both, 1_700_000_000, receipt=receipt)]
    for line in lines:
        assert line.startswith(b"data: ")
        assert line.endswith(b"\n\n")
        assert line.count(b"\n") == 2
    return [json.loads(line[6:]) for line in lines]


def texts(found: Mapping[str, Any]) -> list[str]:
    return [choice["message"]["content"] for choice in found["choices"]]


# -- texts ----------------------------------------------------------------------------------------------------


def test_the_text_is_that_of_the_sample_that_won() -> None:
    asked = ask(answering({"S": ["1", "2", "3", "4"], "L": ["7"]}), CASCADE)
    found = said(asked)
    assert texts(found) == ["\\boxed{7}"]
    assert found["choices"][0]["finish_reason"] == "stop"
    assert found["choices"][0]["message"]["role"] == "assistant"
    assert (found["object"], found["model"], found["id"]) == ("chat.completion", CASCADE, "r1")
    assert found["created"] == 1_700_000_000
    assert found["escalade"]["decided_by"] == "L"


def test_the_winner_has_the_answer_of_the_outcome_whatever_the_ballot() -> None:
    for seed in range(60):
        asked = ask(wild(seed), ROUTES[seed % 5])
        outcome = asked.item.outcome
        (text,) = texts(said(asked))
        if outcome.answer is None:
            assert text == "Who knows?"
        else:
            (sample,) = chosen(*asked.both)
            assert sample.key in (outcome.answer, *outcome.equal)
            assert text == f"It is \\boxed{{{outcome.answer}}}."
            assert outcome.decided_by is not None
            assert sample in asked.item.tiers[outcome.decided_by].samples


def test_where_nobody_found_an_answer_the_last_tier_has_the_word() -> None:
    def script(request: Request) -> Generation:
        return Generation(f"{request.model.alias}{request.index} is at a loss.", prompt_tokens=15, completion_tokens=5)

    asked = ask(script, "mv_cascade_S_k4_t0.7_L_k2_t0.7")
    assert asked.status == "no_answer"
    assert texts(said(asked)) == ["L0 is at a loss."]
    assert said(asked)["escalade"]["decided_by"] is None


def test_choices_are_in_the_order_of_their_launch() -> None:
    def script(request: Request) -> Generation:
        reason = "length" if request.index == 2 else "stop"
        return Generation(f"{request.index}: \\boxed{{{request.index}}}", reason, 15, None, 5)

    async def serve() -> Asked:
        engine = ScriptedEngine(script, lambda request: 10.0 - request.index)
        async with driven(pool(), engine) as gateway:
            return await gateway.ask("S", n=5, temperature=0.7)

    found = said(run(serve()))
    assert [choice["index"] for choice in found["choices"]] == list(range(5))
    assert texts(found) == [f"{i}: \\boxed{{{i}}}" for i in range(5)]
    assert [choice["finish_reason"] for choice in found["choices"]] == ["stop", "stop", "length", "stop", "stop"]
    assert found["usage"]["completion_tokens"] == 25


def test_one_that_was_cut_off_says_so() -> None:
    asked = ask(lambda request: Generation("It is 1", "length", 15, None, 20), "S", escalade={"answer_kind": "free"})
    assert said(asked)["choices"][0]["finish_reason"] == "length"


def test_a_generation_without_a_text_is_an_empty_one() -> None:
    asked = ask(lambda request: Generation(None, answer="1", prompt_tokens=15, completion_tokens=1), "S")
    assert texts(said(asked)) == [""]
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in streamed(asked)) == ""


def test_half_a_surrogate_pair_of_a_model_is_sent_as_json_that_is_read() -> None:
    asked = ask(lambda request: Generation("\ud83d \\boxed{1}", "stop", 15, None, 5), "S")
    whole = json_bytes(reply(*asked.both, 0, receipt=True))
    assert json.loads(whole.decode())["choices"][0]["message"]["content"] == "\ud83d \\boxed{1}"
    for chunk in chunks(*asked.both, 0, receipt=True):
        json.loads(event_line(chunk)[6:].decode())


def test_a_completion_has_its_own_shape() -> None:
    async def serve() -> Asked:
        async with driven(pool(), Honest(wild(1))) as gateway:
            exchange = gateway.gateway.begin(read_completion(b'{"model": "S", "prompt": "1 + 1?"}'), "r1", None)
            return Asked(exchange, await exchange.answered)

    asked = run(serve())
    found = said(asked)
    assert found["object"] == "text_completion"
    text = asked.item.tiers[0].samples[0].generation.text
    assert found["choices"] == [{"index": 0, "text": text, "logprobs": None, "finish_reason": "stop"}]
    parts = streamed(asked)
    assert {part["object"] for part in parts} == {"text_completion"}
    assert "".join(part["choices"][0]["text"] for part in parts) == text


# -- streams --------------------------------------------------------------------------------------------------


@given(st.text(st.characters(codec="utf-8")) | st.text("ab \n", max_size=300))
def test_pieces_are_the_text(text: str) -> None:
    found = list(pieces(text))
    assert "".join(found) == text
    assert found == [""] if not text else all(found)
    for piece in found[:-1]:
        assert len(piece) >= PIECE
        assert piece[-1].isspace()
        assert not any(sign.isspace() for sign in piece[PIECE - 1 : -1])


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("seed", range(5))
def test_a_stream_says_what_a_whole_reply_says(seed: int, n: int) -> None:
    def script(request: Request) -> Generation:
        dice = random.Random(f"{seed} {request.seed}")
        words = " ".join("word" * dice.randint(1, 5) for _ in range(dice.randint(0, 80)))
        return Generation(f"{words} \\boxed{{1}}", prompt_tokens=15, completion_tokens=5)

    asked = ask(script, "S", n=n, temperature=0.7, stream=True, stream_options={"include_usage": True})
    whole, parts = said(asked), streamed(asked)
    by_choice: dict[int, str] = dict.fromkeys(range(n), "")
    for part in parts:
        assert {name: part[name] for name in ("id", "created", "model")} == {
            name: whole[name] for name in ("id", "created", "model")
        }
        assert part["object"] == "chat.completion.chunk"
        for choice in part["choices"]:
            by_choice[choice["index"]] += choice["delta"].get("content", "")
    assert [by_choice[i] for i in range(n)] == texts(whole)
    ends = [c for part in parts for c in part["choices"] if c["finish_reason"] is not None]
    assert [(end["index"], end["finish_reason"], end["delta"]) for end in ends] == [(i, "stop", {}) for i in range(n)]
    roles = [c["index"] for part in parts for c in part["choices"] if "role" in c["delta"]]
    assert roles == list(range(n))
    assert (parts[-1]["choices"], parts[-1]["usage"]) == ([], whole["usage"])
    assert [part["escalade"] for part in parts if "escalade" in part] == [whole["escalade"]]
    assert "escalade" in parts[-2]


def test_a_stream_has_neither_usage_nor_receipt_where_they_are_not_wanted() -> None:
    parts = streamed(ask(wild(1), "S", stream=True), receipt=False)
    assert all(part["choices"] and "usage" not in part and "escalade" not in part for part in parts)


def test_progress_has_no_choices() -> None:
    asked = ask(wild(1), CASCADE, stream=True)
    found = progress(asked.exchange, [{"model": "S"}], 7)
    assert found["choices"] == []
    assert found["escalade"] == {"object": "progress", "id": "r1", "route": CASCADE, "tiers": [{"model": "S"}]}


# -- tokens and money -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("billing", ["once", "cached", "each"])
def test_receipts_add_up_exactly(seed: int, route: str, billing: str) -> None:
    prices = ["0.1234567", "0.9000000001"]
    within = pool(prices=prices, billing=billing)
    engine = Honest(wild(seed), lambda request: random.Random(request.seed).random())

    async def serve() -> list[Asked]:
        async with driven(within, engine, store=Store(None)) as gateway:
            return [await gateway.ask(route, f"Number {i % 3}?", max_tokens=19) for i in range(6)]

    for asked in run(serve()):
        receipt = said(asked)["escalade"]
        tiers = sum((Decimal(tier["cost_usd"]) for tier in receipt["tiers"]), Decimal(0))
        assert tiers + Decimal(receipt["scoring_cost_usd"]) == Decimal(receipt["cost_usd"]) == asked.item.cost.usd
        assert Decimal(receipt["new_cost_usd"]) <= Decimal(receipt["cost_usd"])
        assert receipt["tiers_executed"] == len(receipt["tiers"])
        counts = said(asked)["usage"]
        prompt = [n for tier in receipt["tiers"] for n in tier["prompt_tokens"]]
        completion = [n for tier in receipt["tiers"] for n in tier["completion_tokens"]]
        assert (counts["prompt_tokens"], counts["completion_tokens"]) == (sum(prompt), sum(completion))
        assert counts["total_tokens"] == counts["prompt_tokens"] + counts["completion_tokens"]
        drawn = receipt["samples"]["used"] + sum(t["cancelled"] + t["broken_off"] for t in receipt["tiers"])
        assert drawn == len(completion)


def test_what_scores_cost_is_on_the_receipt() -> None:
    def scorer(problem: Problem) -> tuple[dict[str, float], dict[str, Scoring], dict[str, str]]:
        return {"1.5B": 0.5, "7B": 0.5}, {a: Scoring(usd=Decimal("0.000123")) for a in ("1.5B", "7B")}, {}

    menu = Menu(load_pool("qwen2.5-math").with_own_devices(), scorer=scorer)
    script = answering({"1.5B": ["1", "2", "3"], "7B": ["4", "5", "6"], "72B": ["7"]})
    receipt = said(ask(script, "auto:adaptive_k_sampling", within=menu))["escalade"]
    assert receipt["scoring_cost_usd"] == "0.000123"
    assert receipt["scores"] == {"1.5B": 0.5, "7B": 0.5}
    tiers = sum((Decimal(tier["cost_usd"]) for tier in receipt["tiers"]), Decimal(0))
    assert tiers + Decimal("0.000123") == Decimal(receipt["cost_usd"])


def test_a_cost_that_is_not_known_is_not_said_to_be_nothing() -> None:
    asked = ask(wild(1), "S", within=pool("S", prices=[None]))
    receipt = said(asked)["escalade"]
    assert (receipt["cost_usd"], receipt["new_cost_usd"]) == (None, None)
    assert "x-escalade-cost-usd" not in receipt_headers(*asked.both)


def test_cancelled_and_broken_off_requests_are_in_the_usage() -> None:
    tries: list[int] = []

    def script(request: Request) -> Generation:
        tries.append(request.index)
        if request.index == 1 and tries.count(1) == 1:
            raise EngineError("broke off", retryable=True)
        answer = request.index if request.index < 3 else 0
        return Generation(f"\\boxed{{{answer}}}", prompt_tokens=15, completion_tokens=20)

    async def serve() -> Asked:
        engine = Honest(script, lambda request: 10.0 if request.index == 3 else 1.0)
        async with driven(pool(), engine) as gateway:
            return await gateway.ask(CASCADE)

    asked = run(serve())
    usages = [each for use in asked.item.tiers for each in use.usages]
    assert sum(use.cancelled for use in asked.item.tiers) >= 1
    assert usage(asked.item)["prompt_tokens"] == sum(each.prompt or 0 for each in usages)
    assert usage(asked.item)["completion_tokens"] == sum(each.completion or 0 for each in usages)


def test_cached_and_reasoning_tokens_are_detailed() -> None:
    asked = ask(lambda request: Generation("\\boxed{1}", "stop", 15, 4, 9, 6), "mv_S_k3_t0.7")
    found = said(asked)["usage"]
    drawn = len(asked.item.tiers[0].samples)
    assert found["prompt_tokens_details"] == {"cached_tokens": 4 * drawn}
    assert found["completion_tokens_details"] == {"reasoning_tokens": 6 * drawn}


# -- receipts -------------------------------------------------------------------------------------------------


def test_a_receipt_says_who_decided_how_sure_and_why() -> None:
    receipt = receipt_of(*ask(answering({"S": ["1"], "L": ["7"]}), CASCADE).both)
    assert (receipt["status"], receipt["answer"], receipt["decided_by"]) == ("accepted", "1", "S")
    assert (receipt["confidence"], receipt["decision"]) == (1.0, "accept")
    assert "for 1" in receipt["reason"]
    assert (receipt["object"], receipt["id"], receipt["model"], receipt["route"]) == ("receipt", "r1", CASCADE, CASCADE)
    assert (receipt["policy"], receipt["certificate"], receipt["mismatches"]) == (None, None, [])
    (tier,) = receipt["tiers"]
    assert (tier["model"], tier["decided"], tier["drawn"]) == ("S", True, 4)
    assert tier["looks"][-1]["votes"] == [["1", 4]]


def test_a_receipt_names_the_policy() -> None:
    file = PolicyFile.model_validate({"name": "ours", "route": "mv_S_k3_t0.7"})
    menu = Menu(pool(), [KeptPolicy("ours.toml", file, "")])  # type: ignore[arg-type]
    receipt = said(ask(wild(1), "ours", within=menu))["escalade"]
    assert (receipt["policy"], receipt["model"], receipt["route"]) == ("ours", "ours", "mv_S_k3_t0.7")


def test_a_route_that_runs_otherwise_says_so() -> None:
    asked = ask(wild(1), "mv_72B_k8_t0.7", within=load_pool("qwen2.5-math").with_own_devices())
    receipt = said(asked)["escalade"]
    assert (receipt["route"], receipt["executed"]) == ("mv_72B_k8_t0.7", "mv_72B_k1_t0.0")
    assert any("greedy only" in note for note in receipt["notes"])


def test_the_receipt_may_be_left_out() -> None:
    assert "escalade" not in said(ask(wild(1), "S"), receipt=False)


def test_headers_have_the_receipts_headline() -> None:
    asked = ask(answering({"S": ["1"], "L": ["7"]}, prompt_tokens=15), CASCADE)
    headers = receipt_headers(*asked.both)
    assert headers == {
        "x-escalade-route": CASCADE,
        "x-escalade-status": "accepted",
        "x-escalade-tiers": "1",
        "x-escalade-decided-by": "S",
        "x-escalade-confidence": "1",
        "x-escalade-cost-usd": said(asked)["escalade"]["cost_usd"],
    }


def test_headers_of_no_answer_leave_out_what_there_is_not() -> None:
    asked = ask(lambda request: Generation("Who knows?", "stop", 15, None, 5), "S")
    headers = receipt_headers(*asked.both)
    assert headers["x-escalade-status"] == "no_answer"
    assert "x-escalade-decided-by" not in headers


# -- errors ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "invalid_request_error"),
        (404, "not_found_error"),
        (413, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "server_error"),
        (502, "server_error"),
        (503, "server_error"),
        (504, "server_error"),
    ],
)
def test_errors_have_the_type_that_clients_know(status: int, kind: str) -> None:
    error = RequestError("n is 0", status=status, code="some_code", param="n")
    assert error_body(error) == {"error": {"message": "n is 0", "type": kind, "param": "n", "code": "some_code"}}


def test_numbers_that_are_no_json_are_never_sent() -> None:
    with pytest.raises(ValueError, match=r"Out of range float values are not JSON compliant"):
        json_bytes({"confidence": float("nan")})


def test_scripts_are_read_as_the_kind_of_answer_that_is_asked_for() -> None:
    asked = ask(
        lambda request: Generation("So (C).", "stop", 15, None, 5), "S", escalade={"answer_kind": "choice:ABCD"}
    )
    assert said(asked)["escalade"]["answer"] == kind_of("choice:ABCD").key("C")
    assert body("S", escalade={"answer_kind": "choice:ABCD"}).extra.answer_kind == "choice:ABCD"
