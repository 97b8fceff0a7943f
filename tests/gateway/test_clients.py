"""Clients that know nothing of escalade, unchanged, against the command with a real llama.cpp model."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.gateway.command import Command, command

pytestmark = pytest.mark.model
CASCADE = "mv_cascade_135M_k2_t0.7_135M_k1_t0.0"


@pytest.fixture(scope="module")
def server(smallest_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    folder = tmp_path_factory.mktemp("serve")
    (folder / "one.toml").write_text(
        f'prompt = "concise"\nmax_tokens = 40\nroute = "{CASCADE}"\n\n[[models]]\nalias = "135M"\n'
        f'name = "SmolLM2-135M-Instruct"\nfile = "{smallest_model}"\nsha256 = "{smallest_model.stem}"\n'
        "price = { input = 1, output = 1 }\ntop_k = 50\n",
        encoding="utf-8",
    )
    with command(folder, "--pool", "one.toml", "--store", "s.sqlite") as served:
        yield served


@pytest.fixture
def client(server: Command) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def asked(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def test_openai_sync(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(model=CASCADE, messages=asked("What is 2 plus 3?"))
    receipt: Any = reply.model_extra["escalade"]
    assert reply.choices[0].message.content
    assert reply.usage is not None
    assert reply.usage.total_tokens > reply.usage.completion_tokens > 0
    tokens = sum(sum(tier["prompt_tokens"]) + sum(tier["completion_tokens"]) for tier in receipt["tiers"])
    assert tokens == reply.usage.total_tokens
    assert sum(Decimal(tier["cost_usd"]) for tier in receipt["tiers"]) == Decimal(receipt["cost_usd"]) > 0
    assert [model.id for model in client.models.list()] == ["auto", "135M", "SmolLM2-135M-Instruct"]
    text = client.completions.create(model="135M", prompt="What is 2 plus 3?", max_tokens=8)
    assert (text.choices[0].finish_reason, text.usage.completion_tokens) == ("length", 8)


def test_openai_streaming(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="auto", messages=asked("What is 4 plus 3?"))
    options: Any = {"include_usage": True, "include_progress": True}
    text, last, progress = "", None, 0
    with client.chat.completions.create(
        model="auto", messages=asked("What is 4 plus 3?"), stream=True, stream_options=options
    ) as stream:
        for chunk in stream:
            progress += not chunk.choices and chunk.usage is None
            text += "".join(choice.delta.content or "" for choice in chunk.choices)
            last = chunk
    assert text == whole.choices[0].message.content
    assert last is not None
    assert last.usage == whole.usage
    assert progress > 0


def test_openai_async_and_many_at_once(server: Command) -> None:
    async def go() -> list[Any]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
            asking = [
                client.chat.completions.create(model=CASCADE, messages=asked(f"What is {i} plus 1?")) for i in range(6)
            ]
            streams = await client.chat.completions.create(
                model=CASCADE, messages=asked("What is 0 plus 1?"), stream=True
            )
            text = "".join([c.choices[0].delta.content or "" async for c in streams if c.choices])
            replies = await asyncio.gather(*asking)
            assert text == replies[0].choices[0].message.content
            return list(replies)

    assert len({reply.id for reply in asyncio.run(go())}) == 6


def test_openai_errors_are_those_of_its_own_server(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="no model '7B'"):
        client.chat.completions.create(model="7B", messages=asked("?"))
    with pytest.raises(openai.BadRequestError, match="models here call no tools"):
        client.chat.completions.create(
            model="135M", messages=asked("?"), tools=[{"type": "function", "function": {"name": "f"}}]
        )
    with pytest.raises(openai.BadRequestError, match="position 3") as refused:
        client.chat.completions.create(model="mv_9B_k2_t0.7", messages=asked("?"))
    assert refused.value.param == "model"
    long = "one two three " * 1500
    with pytest.raises(openai.BadRequestError, match="context") as too_long:
        client.chat.completions.create(model="135M", messages=asked(long))
    assert too_long.value.code == "refused_by_engine"


def test_stop_seed_n_and_a_conversation_reach_the_model(client: openai.OpenAI) -> None:
    three = client.chat.completions.create(
        model="135M", messages=asked("Name a colour."), n=3, temperature=1.0, seed=5, max_tokens=12
    )
    again = client.chat.completions.create(
        model="135M", messages=asked("Name a colour."), n=3, temperature=1.0, seed=5, max_tokens=12
    )
    texts = [choice.message.content for choice in three.choices]
    assert len(texts) == 3
    assert texts == [choice.message.content for choice in again.choices]
    other = client.chat.completions.create(
        model="135M", messages=asked("Name a colour."), n=3, temperature=1.0, seed=6, max_tokens=12
    )
    assert texts != [choice.message.content for choice in other.choices]
    short = client.completions.create(model="135M", prompt="Count from 1 to 9.", stop=["3"])
    assert "3" not in short.choices[0].text
    said: list[Any] = [
        {"role": "system", "content": "You are a pirate."},
        *asked("Hello"),
        {"role": "assistant", "content": "Ahoy!"},
    ]
    free = client.chat.completions.create(
        model="135M", messages=[*said, *asked("Who are you?")], extra_body={"escalade": {"answer_kind": "free"}}
    )
    alone = client.chat.completions.create(
        model="135M", messages=asked("Who are you?"), extra_body={"escalade": {"answer_kind": "free"}}
    )
    assert free.choices[0].message.content != alone.choices[0].message.content
    receipt: Any = free.model_extra["escalade"]
    assert receipt["status"] == "last_tier"
    assert 0 < receipt["confidence"] < 1


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_curl(server: Command) -> None:
    body = json.dumps({"model": "auto", "messages": asked("What is 6 plus 3?")})
    line = ["curl", "-sS", f"{server.url}/v1/chat/completions", "-H", "Content-Type: application/json", "-d", body]
    whole = json.loads(subprocess.run(line, capture_output=True, check=True, timeout=60).stdout)
    assert whole["escalade"]["route"] == CASCADE
    stream = subprocess.run(
        [*line[:-1], body.replace('"model"', '"stream": true, "model"')], capture_output=True, check=True, timeout=60
    ).stdout.decode()
    assert stream.startswith(": climbing")
    assert stream.endswith("data: [DONE]\n\n")


def test_pydantic_ai(server: Command) -> None:
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    async def go() -> tuple[str, str]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
            model = OpenAIChatModel(CASCADE, provider=OpenAIProvider(openai_client=client))
            agent = Agent(model, instructions="Answer with a number.")
            whole = await agent.run("What is 7 plus 3?")
            async with agent.run_stream("What is 7 plus 3?") as stream:
                streamed = "".join([part async for part in stream.stream_text(delta=True)])
            return str(whole.output), streamed

    whole, streamed = asyncio.run(go())
    assert whole == streamed != ""
