"""The engine openai against a made-up server on loopback: what it sends, what it makes of answers and of faults."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from escalade.engines.base import Demand, Progress, Request, open_engine
from escalade.engines.llamacpp.options import Options as LocalOptions
from escalade.engines.openai import Engine
from escalade.engines.openai.options import Options, access_of
from escalade.engines.openai.reading import Reading
from escalade.errors import EngineError, SettingError
from escalade.pool import Pool, PoolModel
from escalade.samples.sample import Generation, sample_seed
from tests.engines.conftest import Await
from tests.engines.server import Exchange, Server, piece, serving

KEY = "sk-0123456789abcdefSECRET"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("OPENAI_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def model_of(options: dict[str, Any] | None = None, **settings: Any) -> PoolModel:
    whole = {"alias": "S", "name": "test/S", "engine": "openai", "options": options or {}, **settings}
    return PoolModel.model_validate(whole)


def engine_of(options: dict[str, Any] | None = None, **settings: Any) -> tuple[Engine, PoolModel]:
    model = model_of(options, **settings)
    return Engine("", Pool(name="mine", models=(model,)), seed=0), model


def request(model: PoolModel, index: int = 0, *, temperature: float = 0.7, tokens: int = 12) -> Request:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    seed = sample_seed(0, "p0", model.name, temperature, index)
    return Request("p0", messages, model, temperature, tokens, index, seed)


@asynccontextmanager
async def both(
    options: dict[str, Any] | None = None, *, of_server: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[tuple[Server, Engine, PoolModel]]:
    """A server, an engine that asks it, and its model."""
    async with serving(**(of_server or {})) as server:
        engine, model = engine_of({"base_url": server.url, **(options or {})}, **settings)
        try:
            yield server, engine, model
        finally:
            await engine.close()


def asked(
    wait: Await,
    options: dict[str, Any] | None = None,
    *,
    fault: Callable[[Exchange], Any] | None = None,
    of_server: dict[str, Any] | None = None,
    temperature: float = 0.7,
    **settings: Any,
) -> tuple[Generation | EngineError, Exchange, Progress]:
    """Ask once; what came of it, the request as it arrived, and what is known of tokens."""

    async def once() -> tuple[Generation | EngineError, Exchange, Progress]:
        async with both(options, of_server=of_server, **settings) as (server, engine, model):
            server.always = fault
            progress = Progress()
            try:
                outcome: Generation | EngineError = await engine.sample(
                    request(model, temperature=temperature), progress
                )
            except EngineError as error:
                outcome = error
            return outcome, server.requests[-1], progress

    found: tuple[Generation | EngineError, Exchange, Progress] = wait(once())
    return found


def failed(wait: Await, fault: Callable[[Exchange], Any], options: dict[str, Any] | None = None) -> EngineError:
    outcome, _, _ = asked(wait, options, fault=fault)
    assert isinstance(outcome, EngineError), outcome
    return outcome


def streamed(wait: Await, *events: object, options: dict[str, Any] | None = None) -> Generation | EngineError:
    """What is made of a stream of these events."""

    async def stream(exchange: Exchange) -> None:
        exchange.begin()
        for event in events:
            await exchange.event(event)
        await exchange.end()

    return asked(wait, options, fault=stream)[0]


def says(status: int, body: object, **headers: str) -> Callable[[Exchange], Any]:
    async def fault(exchange: Exchange) -> None:
        await exchange.answer(status, body, **headers)

    return fault


# -- what is sent ---------------------------------------------------------------------------------------------------


def test_one_request_is_one_sample_with_a_seed_of_its_own(wait: Await) -> None:
    outcome, seen, _ = asked(wait)
    assert isinstance(outcome, Generation)
    assert seen.path == "/v1/chat/completions"
    body = seen.body
    assert (body["n"], body["model"], body["max_tokens"], body["temperature"], body["top_p"]) == (
        1,
        "test/S",
        12,
        0.7,
        1.0,
    )
    assert body["seed"] == sample_seed(0, "p0", "test/S", 0.7, 0) % 2**31
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert "top_k" not in body


def test_nothing_is_told_of_this_machine(wait: Await, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_ADMIN_KEY"):
        monkeypatch.setenv(name, "of-this-person")
    _, seen, _ = asked(wait)
    assert set(seen.headers) == {
        "host",
        "accept",
        "accept-encoding",
        "connection",
        "content-type",
        "content-length",
        "user-agent",
    }
    assert seen.headers["user-agent"] == "escalade"
    assert "of-this-person" not in str(seen.headers)


def test_options_of_a_model_are_sent(wait: Await, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY + "\n")  # as from a file
    monkeypatch.setenv("TEAM", "blue")
    options = {
        "api_key_env": "MY_KEY",
        "headers": {"X-Team": "env:TEAM", "X-Plain": "yes"},
        "served_model": "tuned",
        "seed": False,
        "logprobs": False,
        "token_limit": "max_completion_tokens",
        "extra_body": {"min_p": 0.0, "chat_template_kwargs": {"enable_thinking": False}},
    }
    _, seen, _ = asked(wait, options, of_server={"models": ("tuned",)}, top_p=0.8, top_k=20)
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert (seen.headers["x-team"], seen.headers["x-plain"]) == ("blue", "yes")
    body = seen.body
    assert (body["model"], body["top_p"], body["top_k"], body["min_p"]) == ("tuned", 0.8, 20, 0.0)
    assert body["max_completion_tokens"] == 12
    assert not {"seed", "logprobs", "top_logprobs", "max_tokens"} & set(body)
    assert body["chat_template_kwargs"] == {"enable_thinking": False}


@pytest.mark.parametrize("name", ["Authorization", "authorization"])
def test_a_header_of_ones_own_goes_in_the_place_of_the_key(
    name: str, wait: Await, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "Basic dTpw")
    for _ in range(2):
        _, seen, _ = asked(wait, {"headers": {name: "env:TOKEN"}})
        assert seen.headers["authorization"] == "Basic dTpw"
        monkeypatch.setenv("OPENAI_API_KEY", KEY)


def test_a_query_of_the_address_goes_with_every_request(wait: Await) -> None:
    async def once() -> str:
        async with serving() as server:
            engine, model = engine_of({"base_url": server.url + "?api-version=2"})
            await engine.sample(request(model), Progress())
            await engine.close()
            return server.requests[0].path

    assert wait(once()) == "/v1/chat/completions?api-version=2"


def test_base_models_are_sent_one_text(wait: Await) -> None:
    outcome, seen, _ = asked(wait, {"endpoint": "completion"})
    assert isinstance(outcome, Generation)
    assert seen.path == "/v1/completions"
    assert seen.body["prompt"] == "Be brief.\n\nWhy?"
    assert seen.body["logprobs"] == 1
    assert outcome.text
    assert outcome.mean_logprob is not None


@pytest.mark.parametrize("bits", [16, 31, 63])
def test_seeds_are_cut_to_what_a_server_takes(bits: int, wait: Await) -> None:
    _, seen, _ = asked(wait, {"seed_bits": bits})
    assert seen.body["seed"] == sample_seed(0, "p0", "test/S", 0.7, 0) % 2**bits


def test_v8_seeds_of_a_tier_stay_apart_when_cut(wait: Await) -> None:
    seeds = {sample_seed(0, f"p{n}", "test/S", 0.7, i) % 2**31 for n in range(40) for i in range(64)}
    assert len(seeds) == 40 * 64


def test_a_proxy_of_the_environment_gets_nothing_meant_for_this_machine(
    wait: Await, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    outcome, _, _ = asked(wait)
    assert isinstance(outcome, Generation)


# -- what is made of answers ----------------------------------------------------------------------------------------


def test_tokens_are_those_of_the_servers_usage(wait: Await) -> None:
    outcome, _, progress = asked(wait)
    assert isinstance(outcome, Generation)
    assert outcome.text is not None
    assert (outcome.prompt_tokens, outcome.cached_tokens) == (20, 16)
    assert outcome.completion_tokens == progress.completion_tokens == len(outcome.text.split(" "))


def test_a_server_that_refuses_to_count_is_asked_without(wait: Await) -> None:
    async def refuse(exchange: Exchange) -> None:
        if "stream_options" in exchange.body:
            await exchange.answer(400, {"error": {"message": "Unknown field: stream_options"}})
            return
        exchange.begin()
        for word in ("a", " b"):
            await exchange.event(piece(exchange, word, logprob=-0.5))
        await exchange.event(piece(exchange, "", finish="stop"))
        await exchange.end()

    async def thrice(logprobs: bool) -> tuple[list[Generation], int]:
        async with both({"logprobs": logprobs}, of_server={"always": refuse}) as (server, engine, model):
            drawn = [await engine.sample(request(model, i), Progress()) for i in range(3)]
            return drawn, len(server.requests)

    counted, requests = wait(thrice(True))
    assert requests == 4  # refused once, then remembered
    assert [g.completion_tokens for g in counted] == [2, 2, 2]  # as many as there are logprobs
    assert {g.prompt_tokens for g in counted} == {None}
    uncounted, _ = wait(thrice(False))
    assert {g.completion_tokens for g in uncounted} == {None}  # unknown, and never guessed


@pytest.mark.parametrize(
    ("reason", "ours"),
    [("stop", "stop"), ("eos", "stop"), ("length", "length"), ("max_tokens", "length"), ("content_filter",) * 2],
)
def test_finish_reasons(reason: str, ours: str, wait: Await) -> None:
    outcome = streamed(wait, {"choices": [{"index": 0, "delta": {"content": "4"}, "finish_reason": reason}]})
    assert isinstance(outcome, Generation)
    assert (outcome.text, outcome.finish_reason) == ("4", ours)


def test_what_a_model_thinks_is_not_its_text_but_is_counted(wait: Await) -> None:
    outcome = streamed(
        wait,
        {"choices": [{"index": 0, "delta": {"reasoning_content": "2 and 2"}}]},
        {"choices": [{"index": 0, "delta": {"content": "4"}, "finish_reason": "stop"}]},
        {
            "choices": [],
            "usage": {
                "prompt_tokens": 9,
                "completion_tokens": 7,
                "prompt_tokens_details": None,
                "completion_tokens_details": {"reasoning_tokens": 5},
            },
        },
    )
    assert isinstance(outcome, Generation)
    assert (outcome.text, outcome.completion_tokens, outcome.reasoning_tokens) == ("4", 7, 5)
    assert (outcome.cached_tokens, outcome.mean_logprob) == (None, None)


def test_a_server_that_does_not_stream(wait: Await) -> None:
    body = {
        "choices": [
            {
                "index": 0,
                "message": {"content": "4"},
                "finish_reason": "stop",
                "logprobs": {"content": [{"logprob": -0.25}, {"logprob": -0.75}]},
            }
        ],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2},
    }
    outcome, _, _ = asked(wait, fault=says(200, body))
    assert isinstance(outcome, Generation)
    assert (outcome.text, outcome.prompt_tokens, outcome.completion_tokens) == ("4", 9, 2)
    assert outcome.mean_logprob == -0.5


@pytest.mark.parametrize("value", ["NaN", "-Infinity", "null", '"x"', "[]", "1" + "0" * 400])
def test_a_logprob_that_is_none_makes_the_mean_unknown(value: str, wait: Await) -> None:
    event = '{"choices": [{"delta": {"content": "4"}, "finish_reason": "stop", "logprobs": {"content": '
    outcome = streamed(wait, event + f'[{{"logprob": -0.5}}, {{"logprob": {value}}}]}}}}]}}')
    assert isinstance(outcome, Generation)
    assert (outcome.text, outcome.mean_logprob) == ("4", None)


@pytest.mark.parametrize("count", [-1, 1.5, True, "many", 10**30, None, [1]])
def test_a_count_that_is_none_is_unknown(count: object, wait: Await) -> None:
    usage = {"prompt_tokens": count, "completion_tokens": count, "prompt_tokens_details": {"cached_tokens": count}}
    done = {"choices": [{"delta": {"content": "4"}, "finish_reason": "stop"}]}
    outcome = streamed(wait, done, {"choices": [], "usage": usage})
    assert isinstance(outcome, Generation)
    assert (outcome.prompt_tokens, outcome.cached_tokens, outcome.completion_tokens) == (None, None, None)


def test_halves_of_characters_can_be_stored(wait: Await) -> None:
    halves = [json.dumps({"choices": [{"delta": {"content": half}}]}) for half in ("\ud83d", "\ude00 \ud83d")]
    outcome = streamed(wait, *halves, {"choices": [{"delta": {}, "finish_reason": "stop"}]})
    assert isinstance(outcome, Generation)
    assert outcome.text == "\U0001f600 �"


def test_other_choices_than_the_first_were_not_asked_for(wait: Await) -> None:
    choices = [
        {"index": 1, "delta": {"content": "no"}, "finish_reason": "length"},
        {"index": 0, "delta": {"content": "yes"}, "finish_reason": "stop"},
    ]
    outcome = streamed(wait, {"choices": choices})
    assert isinstance(outcome, Generation)
    assert (outcome.text, outcome.finish_reason) == ("yes", "stop")


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "stop", "abort", "\ud800"])
_NAMES = st.sampled_from(
    "choices delta message content text index finish_reason logprobs logprob usage token_logprobs "  # noqa: SIM905
    "prompt_tokens completion_tokens prompt_tokens_details cached_tokens".split()
)
_JSON = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=5), max_leaves=30
)
_EVENTS = st.fixed_dictionaries(
    {},
    optional={
        "choices": _JSON
        | st.lists(
            st.fixed_dictionaries(
                {},
                optional={"delta": _JSON, "text": _SCALARS, "finish_reason": _SCALARS, "logprobs": _JSON},
            ),
            max_size=2,
        ),
        "usage": st.dictionaries(_NAMES, _SCALARS | st.dictionaries(_NAMES, _SCALARS)),
    },
)


@given(st.lists(_EVENTS | _JSON, max_size=4))
def test_whatever_a_server_sends_is_a_generation_that_can_be_kept_or_an_error(events: list[object]) -> None:
    progress = Progress()
    reading = Reading(progress)
    try:
        for event in events:
            reading.take(event)
        generation = reading.generation(seconds=1.0)
    except EngineError:
        generation = Generation(None)
    assert (generation.text or "").encode() is not None
    assert generation.finish_reason.encode()
    assert generation.mean_logprob is None or generation.mean_logprob <= 0
    counts = (generation.prompt_tokens, generation.cached_tokens, generation.completion_tokens)
    for count in (*counts, generation.reasoning_tokens, progress.completion_tokens):
        assert count is None or 0 <= count < 2**53
    if generation.cached_tokens is not None:
        assert generation.prompt_tokens is not None
        assert generation.cached_tokens <= generation.prompt_tokens


# -- faults ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "seconds"), [("7", 7.0), ("0.25", 0.25), ("-3", 0.0), ("soon", None), ("nan", None)])
def test_too_many_requests_say_how_long_to_wait(value: str, seconds: float | None, wait: Await) -> None:
    error = failed(wait, says(429, {"error": {"message": "slow down"}}, retry_after=value))
    assert (error.retryable, error.retry_after) == (True, seconds)
    assert "status 429: slow down" in str(error)


def test_an_account_without_money_is_not_asked_again(wait: Await) -> None:
    error = failed(wait, says(429, {"error": {"message": "no money", "code": "insufficient_quota"}}, retry_after="1"))
    assert (error.retryable, error.retry_after) == (False, None)


@pytest.mark.parametrize("status", [408, 409, 500, 502, 503, 529])
def test_statuses_that_pass(status: int, wait: Await) -> None:
    error = failed(wait, says(status, "<html><body>Bad gateway</body></html>"))
    assert error.retryable
    assert f"status {status}: an HTML page" in str(error)


@pytest.mark.parametrize("status", [302, 400, 403, 404, 422])
def test_statuses_that_stay(status: int, wait: Await) -> None:
    error = failed(wait, says(status, {"detail": "no\n\x1b[31m" + "x" * 1000}, location="http://127.0.0.1:9/"))
    assert not error.retryable
    assert len(str(error)) < 700
    assert str(error).isprintable()


def test_no_request_is_tried_again_by_the_sdk(wait: Await) -> None:
    async def count() -> int:
        async with both(of_server={"always": says(500, {})}) as (server, engine, model):
            with pytest.raises(EngineError):
                await engine.sample(request(model), Progress())
            return len(server.requests)

    assert wait(count()) == 1


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.", "token_limit = 'max_completion"),
        ("logprobs are not supported with reasoning models", "logprobs = false"),
        ("temperature does not support 0.7", "option temperatures"),
        ("seed: Input should be less than 4294967296", "seed = false, or a smaller seed_bits"),
    ],
)
def test_what_is_refused_names_the_option_that_helps(said: str, remedy: str, wait: Await) -> None:
    assert remedy in str(failed(wait, says(400, {"error": {"message": said}})))


def test_a_key_that_is_refused_is_never_shown(wait: Await, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    monkeypatch.setenv("TOKEN", f"Bearer {KEY}2")
    options = {"api_key_env": "MY_KEY", "headers": {"X-Token": "env:TOKEN"}}

    async def echo(exchange: Exchange) -> None:
        said = f"Incorrect API key provided: {exchange.headers['authorization']} or {exchange.headers['x-token']}"
        await exchange.answer(401, {"error": {"message": said}})

    error = failed(wait, echo, options)
    assert not error.retryable
    assert KEY not in str(error)
    assert "environment variable MY_KEY: its value is refused" in str(error)
    # What a traceback shows of it, too.
    assert error.__cause__ is None
    assert error.__suppress_context__
    unset = failed(wait, says(401, {"error": {"message": "who are you?"}}))
    assert "environment variable OPENAI_API_KEY: it is not set" in str(unset)


def test_a_key_is_in_no_repr_and_no_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    options = {"base_url": "http://127.0.0.1:1/v1", "api_key_env": "MY_KEY", "headers": {"X-Key": "env:MY_KEY"}}
    engine, model = engine_of(options)
    engine.check([Demand(model, 0.7, 1, ["p"])])
    access = access_of(Options.model_validate(options), os.environ, alias="S")
    assert access.key == KEY
    shown = [repr(model), repr(engine), repr(access), engine.fingerprint(model), repr(vars(engine))]
    assert KEY not in "".join(shown)


@pytest.mark.parametrize("value", ["sk-a\nb", "sk-é", "a\x00b"])
def test_a_key_that_cannot_be_sent_is_not_shown_either(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options = Options.model_validate({"base_url": "http://127.0.0.1:1/v1"})
    with pytest.raises(SettingError, match="OPENAI_API_KEY has signs that cannot be sent") as caught:
        access_of(options, {"OPENAI_API_KEY": value}, alias="S")
    assert value not in str(caught.value)


def test_a_wrong_model_name_is_told_those_there_are_once(wait: Await) -> None:
    async def twice() -> tuple[list[str], int]:
        served = {"models": ("qwen-7b", "qwen-1.5b")}
        async with both({"served_model": "qwen-7B"}, of_server=served) as (server, engine, model):
            said = []
            for _ in range(2):
                with pytest.raises(EngineError) as caught:
                    await engine.sample(request(model), Progress())
                assert not caught.value.retryable
                said.append(str(caught.value))
            return said, server.listings

    said, listings = wait(twice())
    assert "it has qwen-7b, qwen-1.5b; did you mean 'qwen-7b'?; name one in option served_model" in said[0]
    assert said[0] == said[1]
    assert listings == 1


def test_a_connection_lost_in_the_middle_of_a_stream(wait: Await) -> None:
    async def lose(exchange: Exchange) -> None:
        exchange.begin()
        await exchange.event(piece(exchange, "one", logprob=-0.1))
        await asyncio.sleep(0.02)
        exchange.reset()

    outcome, _, progress = asked(wait, fault=lose)
    assert isinstance(outcome, EngineError)
    assert outcome.retryable
    assert "broke the connection" in str(outcome)
    assert progress.completion_tokens == 1


def test_a_stream_that_ends_too_early(wait: Await) -> None:
    outcome = streamed(wait, {"choices": [{"index": 0, "delta": {"content": "The answer is"}}]})
    assert isinstance(outcome, EngineError)
    assert outcome.retryable
    assert "no finish reason" in str(outcome)


@pytest.mark.parametrize("late", ["head", "body"])
def test_an_answer_that_takes_too_long(late: str, wait: Await) -> None:
    async def slow(exchange: Exchange) -> None:
        if late == "body":
            exchange.begin()
            await exchange.event(piece(exchange, "one"))
        while not exchange.reader.at_eof():
            await asyncio.sleep(0.005)
        raise ConnectionResetError

    async def once() -> tuple[EngineError, int]:
        async with both({"timeout": 0.15}, of_server={"always": slow}) as (server, engine, model):
            with pytest.raises(EngineError) as caught:
                async with asyncio.timeout(5):
                    await engine.sample(request(model), Progress())
            while not server.abandoned:
                await asyncio.sleep(0.005)
            return caught.value, server.under_way

    error, under_way = wait(once())
    assert error.retryable
    assert "no whole answer in 0.15 s; raise option timeout" in str(error)
    assert under_way == 0


GARBAGE = [
    "{",
    "no JSON",
    "[1, 2]",
    "7",
    '{"choices": 7}',
    '{"choices": [7]}',
    '{"choices": [{"delta": 7}]}',
    '{"choices": [{"delta": {"content": {"a": 1}}}]}',
    '{"choices": [{"delta": {"content": "x"}, "finish_reason": "abort"}]}',
    '{"choices": []}',
    "{}",
    "[" * 100_000,
    '{"choices": [{"delta": {"content": "x"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": %s}}'
    % ("9" * 5000),
]


@pytest.mark.parametrize("event", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_in_a_stream(event: str, wait: Await) -> None:
    outcome = streamed(wait, event)
    assert isinstance(outcome, EngineError)
    assert outcome.retryable


@pytest.mark.parametrize("body", ["{", "[]", "<html>Welcome</html>", '{"error": {"message": "busy"}}', ""])
def test_garbage_as_a_whole_answer(body: str, wait: Await) -> None:
    error = failed(wait, says(200, body))
    assert error.retryable
    if "html" in body:
        assert "an HTML page; base_url mostly ends in /v1" in str(error)


@pytest.mark.parametrize(("code", "retryable"), [(400, False), (500, True), (None, True), ("overloaded", True)])
def test_an_error_in_the_middle_of_a_stream(code: object, retryable: bool, wait: Await) -> None:
    outcome = streamed(wait, {"error": {"message": "out of memory", "code": code}})
    assert isinstance(outcome, EngineError)
    assert outcome.retryable is retryable
    assert "in the middle of its answer: out of memory" in str(outcome)


def test_a_server_that_never_stops_is_stopped(wait: Await, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("escalade.engines.openai.reading.LONGEST", 1000)

    async def endless(exchange: Exchange) -> None:
        exchange.begin()
        while not exchange.reader.at_eof():
            await exchange.event(piece(exchange, "x" * 100))

    error = failed(wait, endless)
    assert not error.retryable
    assert "more than 1000 characters" in str(error)


def test_nobody_listens(wait: Await) -> None:
    with socket.socket() as taken:  # bound, and never listening
        taken.bind(("127.0.0.1", 0))
        engine, model = engine_of({"base_url": f"http://127.0.0.1:{taken.getsockname()[1]}/v1"})

        async def once() -> None:
            try:
                await engine.sample(request(model), Progress())
            finally:
                await engine.close()

        with pytest.raises(
            EngineError, match=r"cannot be reached \(.*\): is it running, and is the address right"
        ) as caught:
            wait(once())
    assert caught.value.retryable


def test_p13_a_server_that_closes_loses_only_what_it_had_under_way(wait: Await) -> None:
    async def outage() -> tuple[list[object], Generation]:
        async with both(of_server={"pace": 0.02}) as (server, engine, model):
            jobs = [asyncio.ensure_future(engine.sample(request(model, i), Progress())) for i in range(8)]
            while server.generated < 20:
                await asyncio.sleep(0.005)
            address = server.url
            await server.stop()
            ended = await asyncio.gather(*jobs, return_exceptions=True)
            again = Server()
            again._server = await asyncio.start_server(
                again._connection, "127.0.0.1", int(address.rpartition(":")[2].partition("/")[0])
            )
            try:
                return ended, await engine.sample(request(model), Progress())
            finally:
                await again.stop()

    ended, after = wait(outage())
    assert all(isinstance(end, EngineError) and end.retryable for end in ended)
    assert after.text  # the same client goes on when the server is back


# -- cancelling, closing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("continuous", [False, True])
def test_cancelling_stops_the_server_and_tells_what_was_used(continuous: bool, wait: Await) -> None:
    async def cancelled() -> tuple[Progress, int, int]:
        async with both({"continuous_usage": continuous}, of_server={"pace": 0.003}) as (server, engine, model):
            progress = Progress()
            job = asyncio.ensure_future(engine.sample(request(model, tokens=4000), progress))
            while progress.completion_tokens < 5:
                await asyncio.sleep(0.001)
            job.cancel()
            with pytest.raises(asyncio.CancelledError):
                await job
            used = progress.completion_tokens
            while not server.abandoned:
                await asyncio.sleep(0.001)
            generated = server.generated
            await asyncio.sleep(0.05)
            assert server.generated == generated, "the server went on"
            assert server.open == 0
            return progress, used, generated

    progress, used, generated = wait(cancelled())
    assert 5 <= used == progress.completion_tokens <= generated <= used + 5
    assert (progress.prompt_tokens, progress.cached_tokens) == ((20, 16) if continuous else (None, None))


def test_cancelling_before_the_server_says_anything(wait: Await) -> None:
    async def silent(exchange: Exchange) -> None:
        while not exchange.reader.at_eof():
            await asyncio.sleep(0.001)
        raise ConnectionResetError

    async def cancelled() -> None:
        async with both(of_server={"always": silent}) as (server, engine, model):
            job = asyncio.ensure_future(engine.sample(request(model), Progress()))
            while not server.under_way:
                await asyncio.sleep(0.001)
            job.cancel()
            with pytest.raises(asyncio.CancelledError):
                await job
            while server.under_way:
                await asyncio.sleep(0.001)
            assert server.abandoned == 1

    wait(cancelled())


def test_after_closing_nothing_is_left(wait: Await) -> None:
    async def before_and_after() -> None:
        async with serving(pace=0.001) as server:
            engine, model = engine_of({"base_url": server.url, "in_flight": 50})
            tasks = asyncio.all_tasks()
            jobs = [asyncio.ensure_future(engine.sample(request(model, i), Progress())) for i in range(50)]
            await asyncio.gather(*jobs[:40])
            for job in jobs[40:]:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)
            assert server.open > 0  # kept for the next requests
            await engine.close()
            # The server's own tasks end a little later; one of ours that stayed would have this wait run out.
            while server.open or server.handlers or asyncio.all_tasks() != tasks:
                await asyncio.sleep(0.001)
            await engine.close()  # twice does no harm

    threads = {thread for thread in threading.enumerate() if not thread.name.startswith("asyncio")}
    wait(before_and_after())
    assert {t for t in threading.enumerate() if not t.name.startswith(("asyncio", "AnyIO"))} <= threads


def test_p25_there_is_one_client_for_all_requests_of_a_model(wait: Await) -> None:
    async def many() -> tuple[int, int]:
        async with both({"in_flight": 4}) as (server, engine, model):
            for temperature in (0.0, 0.3, 0.7):
                for index in range(4):
                    await engine.sample(request(model, index, temperature=temperature), Progress())
            return len(engine._clients), server.open

    assert wait(many()) == (1, 1)


# -- refused before anything is asked ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"url": "http://x"}, r"option 'url' of engine openai: unknown; known are base_url.*"),
        ({"base_ur": "http://x"}, r"did you mean 'base_url'\?"),
        ({"base_url": "x"}, r"option 'base_url' of engine openai: is no address of a server"),
        ({"base_url": "ftp://x/v1"}, r"is no address of a server; such as http://127.0.0.1:8000/v1"),
        ({"base_url": "http://x:99999/v1"}, r"is no address of a server"),
        ({"base_url": "http://x /v1"}, r"is no address of a server"),
        ({"base_url": "http://a..b/v1"}, r"is no address of a server"),
        ({"base_url": "http://[::1/v1"}, r"is no address of a server"),
        ({"base_url": "http://me:hidden@x/v1"}, r"must not hold a name or password: name an environment variable"),
        ({"base_url": "http://x/v1/chat/completions"}, r"is that of an endpoint; give the part before it"),
        ({"headers": {"Authorization": "Bearer hidden"}}, r"Authorization is a secret .*write 'env:NAME'"),
        ({"headers": {"X y": "z"}}, r"'X y' cannot be the name of a header"),
        ({"headers": {"X": "a\nb"}}, r"the value of X is empty, or has signs that cannot be sent"),
        ({"extra_body": {"seed": 1, "n": 4}}, r"n, seed cannot be set here"),
        ({"extra_body": {"x": float("nan")}}, r"cannot be sent as JSON"),
        ({"in_flight": 0}, r"option 'in_flight' .*greater than or equal to 1"),
        ({"timeout": float("inf")}, r"option 'timeout'"),
        ({"seed_bits": 64}, r"option 'seed_bits' .*less than or equal to 63"),
        ({"endpoint": "responses"}, r"option 'endpoint' .*'chat' or 'completion'"),
    ],
)
def test_options_are_checked_at_once(options: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=r"model S: .*" + said) as caught:
        engine_of(options)
    assert "hidden" not in str(caught.value)


def test_a_server_must_be_named_and_its_key_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(options: dict[str, Any], temperature: float = 0.7) -> str:
        engine, model = engine_of(options)
        with pytest.raises(SettingError) as caught:
            engine.check([Demand(model, temperature, 1, ["p"])])
        return str(caught.value)

    assert "needs the address of a server: set its option base_url" in refused({})
    hosted = {"base_url": "https://api.example.com/v1"}
    assert "set the environment variable OPENAI_API_KEY" in refused(hosted)
    assert "set the environment variable MINE" in refused({**hosted, "api_key_env": "MINE"})
    assert "header X-A needs the environment variable GONE" in refused({**hosted, "headers": {"X-A": "env:GONE"}})
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert "at t0.7, its server takes t1 (option temperatures)" in refused({**hosted, "temperatures": [1.0]})
    for options in (
        {**hosted, "temperatures": [1.0, 0.7]},
        {**hosted, "headers": {"api-key": "env:OPENAI_API_KEY"}, "api_key_env": "UNSET"},
    ):
        engine, model = engine_of(options)
        engine.check([Demand(model, 0.7, 1, ["p"])])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.8.8.8"])
def test_a_server_on_this_machine_needs_no_key(host: str) -> None:
    engine, model = engine_of({"base_url": f"http://{host}:8000/v1"})
    engine.check([Demand(model, 0.7, 1, ["p"])])


def test_the_argument_is_the_address_for_all_models_of_any_engine() -> None:
    other = PoolModel(alias="L", name="test/L", engine="llamacpp", options={"slots": 4})
    mine = model_of({"in_flight": 3})
    pool = Pool(name="mine", models=(mine, other))
    engine = open_engine("openai:http://127.0.0.1:8000/v1", pool, seed=0)
    assert (engine.in_flight(mine), engine.in_flight(other)) == (3, 32)
    assert engine.fingerprint(other).startswith("openai:http://127.0.0.1:8000/v1 test/L:")
    with pytest.raises(SettingError, match="is no address of a server"):
        open_engine("openai:here", pool, seed=0)


def test_fingerprints_tell_servers_apart_unless_they_are_said_to_be_one() -> None:
    def mark(port: int = 1, **options: Any) -> str:
        engine, model = engine_of({"base_url": f"http://127.0.0.1:{port}/v1?key=hidden", **options})
        return engine.fingerprint(model)

    assert mark() == mark(in_flight=2, timeout=5, logprobs=False, headers={"X": "y"}, continuous_usage=True)
    different = [
        mark(),
        mark(2),
        mark(served_model="other"),
        mark(endpoint="completion"),
        mark(seed=False),
        mark(seed_bits=63),
        mark(extra_body={"min_p": 0.1}),
        mark(identity="Qwen at 1a2b3c"),
    ]
    assert len(set(different)) == len(different)
    assert mark(1, identity="Qwen") == mark(2, identity="Qwen", served_model="qwen")
    assert "hidden" not in "".join(different)


def test_the_sdk_is_imported_only_when_it_is_used() -> None:
    code = """
import sys
from escalade import load_pool
from escalade.engines.base import open_engine
pool = load_pool("tiny")
engine = open_engine("openai:http://127.0.0.1:8000/v1", pool, seed=0)
engine.fingerprint(pool.models[0])
assert not {"openai", "httpx2", "httpx"} & set(sys.modules)
sys.modules["openai"] = None
from escalade.errors import SettingError
try:
    engine.check([])
except SettingError as error:
    print(error)
try:
    import escalade.engines.openai.client
except SettingError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("pip install 'escalade[openai]'") == 2


def test_the_body_is_json_a_server_can_read(wait: Await) -> None:
    _, seen, _ = asked(wait, {"extra_body": {"stop": ["\n\n"]}}, temperature=0.0)
    assert seen.body["stop"] == ["\n\n"]
    assert seen.body["temperature"] == 0.0
    json.dumps(seen.body, allow_nan=False)


@pytest.mark.parametrize("options", [Options, LocalOptions])
def test_every_option_is_explained(options: type[BaseModel]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "engines.md").read_text(encoding="utf-8")
    for name in options.model_fields:
        assert f"`{name}`" in page, name
