"""A made-up server that speaks OpenAI's HTTP API on loopback: seeded answers, counters, and faults on demand."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from escalade.samples.sample import Generation

Fault = Callable[["Exchange"], Any]
"""What is done in the place of an answer: a coroutine function that writes to the exchange."""
WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


def told(temperature: float, seed: int, tokens: int) -> Generation:
    """What a made-up model says."""
    dice = random.Random(seed if temperature > 0 else 0)
    length = dice.randint(tokens // 2, 2 * tokens)
    words = [dice.choice(WORDS) for _ in range(min(length, tokens))]
    finish = "length" if length > tokens else "stop"
    return Generation(" ".join(words), finish, 20, 0, len(words), None, -dice.random(), 0.0)


@dataclass
class Exchange:
    """One request and the connection it came on."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def answer(self, status: int, body: object, **headers: str) -> None:
        """Send a whole answer: JSON, or text as it is."""
        kind = "text/html" if isinstance(body, str) and body.startswith("<") else "application/json"
        content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        lines = [f"HTTP/1.1 {status} Said", f"content-length: {len(content)}", f"content-type: {kind}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + content)
        await self.writer.drain()

    def begin(self) -> None:
        """Begin a stream."""
        self.writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")

    async def event(self, data: object) -> None:
        """Send one event of a stream."""
        line = f"data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode()
        self.writer.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
        await self.writer.drain()

    async def end(self) -> None:
        """End a stream."""
        await self.event("[DONE]")
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()

    def reset(self) -> None:
        """Drop the connection, without a word."""
        self.writer.transport.abort()


@dataclass
class Server:
    """What the server does, and what it has seen."""

    pace: float = 0.0
    """Seconds a token."""
    models: tuple[str, ...] = ("test/S",)
    faults: list[Fault | None] = field(default_factory=list)
    """What befalls the next requests, one each; None is an answer."""
    always: Fault | None = None
    """What befalls all requests."""
    url: str = ""
    requests: list[Exchange] = field(default_factory=list)
    listings: int = 0
    generated: int = 0
    """Tokens."""
    under_way: int = 0
    most_under_way: int = 0
    abandoned: int = 0
    """Requests whose connection was closed in the middle."""
    open: int = 0
    """Connections."""
    _server: asyncio.Server | None = None
    handlers: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> None:
        """Listen on a free port of this machine."""
        self._server = await asyncio.start_server(self._connection, "127.0.0.1", 0, backlog=512)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    async def stop(self) -> None:
        """Stop listening, and drop all connections."""
        assert self._server is not None
        self._server.close()
        for handler in list(self.handlers):
            handler.cancel()
        if self.handlers:
            await asyncio.wait(self.handlers)
        await self._server.wait_closed()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.handlers.add(task)
        self.open += 1
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while True:
                    await self._exchange(reader, writer)
        finally:
            self.open -= 1
            self.handlers.discard(task)
            writer.close()
            with suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:] if line)}
        content = await reader.readexactly(int(headers.get("content-length", "0")))
        path = head[0].split()[1]
        exchange = Exchange(path, headers, json.loads(content) if content else {}, reader, writer)
        if path.partition("?")[0] == "/v1/models":
            self.listings += 1
            await exchange.answer(200, {"object": "list", "data": [{"id": name} for name in self.models]})
            return
        self.requests.append(exchange)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            fault = self.always or (self.faults.pop(0) if self.faults else None)
            if fault is not None:
                await fault(exchange)
            else:
                await self._generate(exchange)
        except ConnectionError:
            self.abandoned += 1
            raise
        finally:
            self.under_way -= 1

    async def _generate(self, exchange: Exchange) -> None:
        body = exchange.body
        if body["model"] not in self.models:
            error = {"message": f"The model `{body['model']}` does not exist.", "type": "NotFoundError", "code": 404}
            await exchange.answer(404, {"error": error})
            return
        if sum(len(m["content"]) for m in body.get("messages", [{"content": body.get("prompt", "")}])) > 4000:
            await exchange.answer(400, {"error": {"message": "This model's maximum context length is exceeded."}})
            return
        # A server without seeds draws its own.
        seed = body.get("seed", len(self.requests))
        answer = told(body["temperature"], seed, body.get("max_tokens", body.get("max_completion_tokens")))
        words = (answer.text or "").split(" ")
        stopped = next((at for at, word in enumerate(words) if word in body.get("stop", ())), None)
        if stopped is not None:
            words, answer = [*words[:stopped], ""], replace(answer, finish_reason="stop")
        usage = {"prompt_tokens": 20, "completion_tokens": 0, "prompt_tokens_details": {"cached_tokens": 16}}
        wanted = body.get("stream_options", {})
        exchange.begin()
        for number, word in enumerate(words):
            await asyncio.sleep(self.pace)
            if exchange.reader.at_eof():
                raise ConnectionResetError
            self.generated += 1
            usage["completion_tokens"] = number + 1
            event = piece(exchange, (" " if number else "") + word, logprob=answer.mean_logprob)
            await exchange.event(event | ({"usage": usage} if wanted.get("continuous_usage_stats") else {}))
        await exchange.event(piece(exchange, "", finish=answer.finish_reason))
        if wanted.get("include_usage"):
            await exchange.event({"choices": [], "usage": usage})
        await exchange.end()


def piece(
    exchange: Exchange, text: str, *, logprob: float | None = None, finish: str | None = None
) -> dict[str, object]:
    """Return an event with a piece of an answer, as the endpoint has it."""
    choice: dict[str, object] = {"index": 0, "finish_reason": finish}
    wanted = bool(exchange.body.get("logprobs")) and logprob is not None
    if exchange.path.endswith("/chat/completions"):
        choice["delta"] = {"content": text}
        choice["logprobs"] = {"content": [{"token": text, "logprob": logprob}]} if wanted else None
    else:
        choice["text"] = text
        choice["logprobs"] = {"tokens": [text], "token_logprobs": [logprob]} if wanted else None
    return {"object": "chunk", "choices": [choice]}


@asynccontextmanager
async def serving(**settings: Any) -> AsyncIterator[Server]:
    """A server, for the time of a block."""
    server = Server(**settings)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
