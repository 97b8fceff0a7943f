"""What the gateway adds to a call of a model, whether it loses or leaks anything, and how fast it lets go of requests.

The real server in a process of its own on loopback, with engines that answer at once. `overhead`: one sample a request,
beside a bare ASGI application on the same uvicorn that sends as many bytes; 50 clients send 400 requests/s in all at
random times, then each as soon as it is answered. `endurance`: 500 clients for a minute, an engine that takes 20 ms,
a store on disk. `disconnect`: from a client's close of its connection until the last of its four samples is cancelled
at the engine, idle and amid other requests. Every request has a text of its own, so nothing comes from the store.

`python -m benchmarks.gateway PART [SECONDS or TIMES]` runs one part; the whole takes three and a half minutes.
"""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import json
import random
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import linear_regression, median, quantiles
from typing import Any, NamedTuple

import uvicorn
from starlette.types import Receive, Scope, Send

from benchmarks import Figure
from escalade.cli.serving import new_loop
from escalade.collector import fewer_collections
from escalade.engines.base import Progress, Request
from escalade.gateway.journal import Journal
from escalade.gateway.menu import Menu
from escalade.gateway.server import IDLE_SECONDS, Settings, listen, serve
from escalade.samples.sample import Generation
from escalade.testing import ScriptedEngine, pool_of

CLIENTS, RATE, OTHERS = 50, 400.0, 200.0
"""Requests a second of all clients; fewer beside the requests that are left."""
WARM_UP, SECONDS, ROUNDS = 1.0, 15.0, 3
"""Of each load, in rounds: the servers take turns, so what else the machine does falls on all of them."""
ADDED, GONE = {"p50": 3.0, "p99": 15.0}, 50.0
"""Targets, in ms: what the gateway may add, and how long a request that was left may be under way at an engine."""
ENDURING, ENDURANCE_SECONDS = 500, 60.0
SAMPLE_SECONDS, SLOTS = 0.02, 512
SETTLED, PATIENCE = 10.0, 30.0
"""Seconds after which memory is looked at, and for which an answer is waited for."""
TIMES, K, LONG_SECONDS = 50, 4, 30.0
"""Of requests that are left: how many, their samples, and what a sample takes."""
SINGLE, VOTE = "S", f"mv_L_k{K}_t0.7"

_HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: "
_NUMBERS = itertools.count()
Part = Callable[..., Coroutine[Any, Any, list[Figure]]]


def main() -> list[Figure]:
    return [figure for part in PARTS for figure in run(part)]


def run(part: str, *given: float) -> list[Figure]:
    with fewer_collections(), tempfile.TemporaryDirectory() as folder, asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(PARTS[part](f"{folder}/s.sqlite", *given))


async def overhead(store: str, seconds: float = SECONDS) -> list[Figure]:
    figures = []
    async with started("gateway", "0") as without, started("gateway", "0", store) as with_store:
        reply = await (await connect(without.port)).ask(template(SINGLE) % next(_NUMBERS))
        async with started("plain", str(reply.size)) as plain:
            for what, rate in ((f"{RATE:g} requests/s", RATE), ("as fast as answered", None)):
                loads = [Load(server.port) for server in (plain, without, with_store)]
                for number, load in itertools.product(range(ROUNDS), loads):
                    await Load(load.port).run(CLIENTS, WARM_UP, rate)
                    await load.run(CLIENTS, seconds / ROUNDS, rate, seed=number)
                    load.refuse_failures()
                for name, load in zip(("no store", "a store"), loads[1:], strict=True):
                    figures += _beside(f"{what}, {name}", load, loads[0], targets=rate is not None)
    return figures


def _beside(what: str, ours: Load, peer: Load, *, targets: bool) -> list[Figure]:
    n, figures = ours.sent, []
    for (name, target), ms, base in zip(ADDED.items(), ours.percentiles, peer.percentiles, strict=True):
        figures.append(Figure(f"{what}: {name}; peer: bare ASGI", ms, base, base / ms, "ms", n))
        if targets:
            added = ms - base
            figures.append(Figure(f"{what}: {name} added; peer: target", added, target, target / added, "ms", n))
    a, b = ours.per_second, peer.per_second
    return [*figures, Figure(f"{what}: throughput; peer: bare ASGI", a, b, b / a, "1/s", n)]


async def endurance(store: str, seconds: float = ENDURANCE_SECONDS) -> list[Figure]:
    async with started("gateway", str(SAMPLE_SECONDS), store) as server:
        load, looks = Load(server.port), []
        running = asyncio.ensure_future(load.run(ENDURING, seconds))
        try:
            await asyncio.wait([running], timeout=min(SETTLED, seconds / 4))
            while not running.done():
                looks.append((load.sent / 1000, server.mb))
                await asyncio.wait([running], timeout=2)
        finally:
            running.cancel()
        running.result()
    n, first, last = load.sent, looks[0], looks[-1]
    slope = linear_regression(*zip(*looks, strict=True)).slope
    statuses = [Figure(f"answered {s}; peer: sent", m, n, n / m, "requests", n) for s, m in load.statuses.items()]
    return [
        Figure(f"{ENDURING} clients for {seconds:g} s: throughput", load.per_second, None, None, "1/s", n),
        *statuses,
        Figure("lost; peer: target", load.lost, 0, None, "requests", n),
        Figure("memory at the end; peer: after warm-up", last[1], first[1], first[1] / last[1], "MB", n),
        Figure("memory, slope by 1,000 requests", slope, None, None, "MB", round(1000 * (last[0] - first[0]))),
    ]


async def disconnect(store: str, times: float = TIMES) -> list[Figure]:
    figures = []
    async with started("gateway", "0", store) as server:
        for what, rate in (("idle", 0.0), (f"amid {OTHERS:g} requests/s", OTHERS)):
            others = Load(server.port)
            running = asyncio.ensure_future(others.run(CLIENTS if rate else 0, LONG_SECONDS * times, rate))
            try:
                await asyncio.sleep(WARM_UP)
                taken = [await _leave(server, stream=number % 2 == 1, seed=number) for number in range(round(times))]
            finally:
                running.cancel()
            for name, ms in (("p50", median(taken)), ("most", max(taken))):
                figures.append(Figure(f"left, {what}: {name}; peer: target", ms, GONE, GONE / ms, "ms", len(taken)))
            if rate:
                others.refuse_failures(under_way=CLIENTS)
    return figures


async def _leave(server: Server, *, stream: bool, seed: int) -> float:
    """Ask for samples that take long, close the connection, and return the milliseconds until all are cancelled."""
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", server.port))
        await loop.sock_sendall(client, template(VOTE, stream=stream) % next(_NUMBERS))
        assert [await server.line() for _ in range(K)] == ["began"] * K
        if stream:
            await loop.sock_recv(client, 65_536)
        await asyncio.sleep(random.Random(seed).uniform(0.01, 0.04))
        closed = time.monotonic_ns()
    return (max([int(await server.line()) for _ in range(K)]) - closed) / 1e6


PARTS: dict[str, Part] = {"overhead": overhead, "endurance": endurance, "disconnect": disconnect}


def template(model: str, *, stream: bool = False) -> bytes:
    """Return a request that lacks the number in its problem's text."""
    problem = {"role": "user", "content": "What is %09d plus 1?"}
    body = json.dumps({"model": model, "stream": stream, "messages": [problem]}).encode()
    return _HEAD + b"%d\r\n\r\n" % len(body % 0) + body


class Reply(NamedTuple):
    """What came of a request."""

    status: int
    size: int
    time: float


class Connection(asyncio.Protocol):
    """An HTTP connection that is kept; asyncio sets TCP_NODELAY."""

    def __init__(self) -> None:
        self._got, self._size, self._end = bytearray(), 0, 0
        self._reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment] # uvloop's has another base

    def ask(self, request: bytes) -> asyncio.Future[Reply]:
        self._reply = asyncio.get_running_loop().create_future()
        if self.transport.is_closing():
            self._reply.set_exception(ConnectionResetError())
        else:
            self.transport.write(request)
        return self._reply

    def data_received(self, data: bytes) -> None:
        self._got += data
        if not self._end and (head := self._got.find(b"\r\n\r\n") + 4) > 3:
            self._size = int(self._got[:head].partition(b"content-length: ")[2].partition(b"\r\n")[0])
            self._end = head + self._size
        if self._end and len(self._got) >= self._end:
            if not self._reply.done():
                self._reply.set_result(Reply(int(self._got[9:12]), self._size, time.perf_counter()))
            self._got, self._end = bytearray(), 0

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._reply.done():
            self._reply.set_exception(ConnectionResetError())


async def connect(port: int) -> Connection:
    return (await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port))[1]


@dataclass
class Load:
    """Clients of a server, and what came of their requests."""

    port: int
    sent: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    milliseconds: list[float] = field(default_factory=list)
    seconds: float = 0.0
    lost = property(lambda self: self.sent - self.statuses.total())
    per_second = property(lambda self: self.statuses.total() / self.seconds)

    @property
    def percentiles(self) -> list[float]:
        """The 50th and 99th, in ms."""
        return quantiles(self.milliseconds, n=100, method="inclusive")[49::49]

    def refuse_failures(self, *, under_way: int = 0) -> None:
        if self.lost > under_way or set(self.statuses) != {200}:
            raise RuntimeError(f"of {self.sent} requests {self.lost} are lost, the others {dict(self.statuses)}")

    async def run(self, clients: int, seconds: float, rate: float | None = None, *, seed: int = 0) -> None:
        """Send so many requests a second in all, at random times; None sends each once the one before is answered."""
        begun, each = time.perf_counter(), None if rate is None or not clients else rate / clients
        async with asyncio.TaskGroup() as group:
            for client in range(clients):
                group.create_task(self._ask(begun + seconds, each, random.Random(f"{seed} {client}")))
        self.seconds += time.perf_counter() - begun

    async def _ask(self, until: float, rate: float | None, dice: random.Random) -> None:
        request, connection, due = template(SINGLE), await connect(self.port), time.perf_counter()
        while True:
            due = time.perf_counter() if rate is None else due + dice.expovariate(rate)
            if due >= until:
                return connection.transport.close()
            begun = due  # of a request that has to wait for the one before
            if (pause := due - time.perf_counter()) > 0:
                await asyncio.sleep(pause)
                begun = time.perf_counter()
            self.sent += 1
            try:
                async with asyncio.timeout(PATIENCE):
                    reply = await connection.ask(request % next(_NUMBERS))
            except OSError:  # TimeoutError, too
                connection = await connect(self.port)
            else:
                self.statuses[reply.status] += 1
                self.milliseconds.append((reply.time - begun) * 1e3)


@dataclass
class Server:
    """A server in a process of its own."""

    process: asyncio.subprocess.Process
    port: int = 0

    async def line(self) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            return (await self.process.stdout.readline()).decode().strip()

    @property
    def mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024


@asynccontextmanager
async def started(*what: str) -> AsyncIterator[Server]:
    """Start a server, and stop it in the end."""
    command = sys.executable, "-m", "benchmarks.gateway", "serve", *what
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        server = Server(process)
        server.port = int(await server.line())
        yield server
        process.terminate()
        await asyncio.wait_for(process.wait(), PATIENCE)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


class Engine(ScriptedEngine):
    """Answers after the delay, or at once; L takes long. Requests are not kept: they would be memory that grows."""

    async def sample(self, request: Request, progress: Progress) -> Generation:
        if request.model.alias == "L":
            print("began", flush=True)
            try:
                await asyncio.sleep(LONG_SECONDS)
            except asyncio.CancelledError:
                print(time.monotonic_ns(), flush=True)
                raise
        elif seconds := self.delay(request):
            await asyncio.sleep(seconds)
        return Generation("\\boxed{1}", prompt_tokens=15, completion_tokens=20)


async def serve_here(kind: str, first: str, store: str | None = None) -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: no server outlives a benchmark that is killed
    with listen("127.0.0.1", 0) as own:
        port = own.getsockname()[1]
        say = partial(print, port, flush=True)
        if kind == "plain":
            say()
            await plain(int(first)).serve(sockets=[own])
            return
        engine = Engine(lambda request: Generation(None), lambda request: float(first), SLOTS)
        settings = Settings(Menu(pool_of("S", "L")), port=port, store=None if store is None else Path(store), grace=0.2)
        await serve(settings, own, journal=Journal(), engine_of=lambda model: engine, on_ready=say)


def plain(size: int) -> uvicorn.Server:
    body, head = b"x" * size, [(b"content-type", b"application/json"), (b"content-length", b"%d" % size)]

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": body})

    return uvicorn.Server(uvicorn.Config(
        application, http="httptools", ws="none", lifespan="off", interface="asgi3", access_log=False, log_config=None,
        server_header=False, proxy_headers=False, timeout_keep_alive=IDLE_SECONDS, backlog=2048,
    ))  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(serve_here(*sys.argv[2:]))
    else:
        from benchmarks.__main__ import show

        show(f"gateway {sys.argv[1]}", run(sys.argv[1], *map(float, sys.argv[2:])))
