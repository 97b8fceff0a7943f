"""A real server on loopback for tests: uvicorn, the application and the gateway, in the event loop of the test."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from escalade.gateway.gateway import Watcher
from escalade.gateway.journal import Journal
from escalade.gateway.menu import Menu
from escalade.gateway.server import Settings, listen, serve
from escalade.pool import Pool
from escalade.testing import ScriptedEngine

PROBLEM = "What is 17 times 23?"
CHAT = "/v1/chat/completions"


def asking(model: str, problem: str = PROBLEM, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": problem}], **more}


@dataclass
class Served:
    url: str
    client: httpx2.AsyncClient
    stop: asyncio.Event
    lines: list[str] = field(default_factory=list)
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    async def chat(self, model: str, problem: str = PROBLEM, *, key: str | None = None, **more: Any) -> httpx2.Response:
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        return await self.client.post(CHAT, json=asking(model, problem, **more), headers=headers)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


@asynccontextmanager
async def served(
    pool: Pool,
    engine: ScriptedEngine,
    *,
    store: Path | None = None,
    menu: Menu | None = None,
    port: int = 0,
    watchers: Sequence[Watcher] = (),
    **settings: Any,
) -> AsyncIterator[Served]:
    """A server whose every model is the scripted engine; its port is a free one, or the one given."""
    socket = listen("127.0.0.1", port)
    port = socket.getsockname()[1]
    stop, ready = asyncio.Event(), asyncio.Event()
    url = f"http://127.0.0.1:{port}"
    many = httpx2.Limits(max_connections=None)
    found = Served(url, httpx2.AsyncClient(base_url=url, timeout=30, limits=many), stop)
    journal = Journal(
        lambda name, facts: found.events.append((name, dict(facts))),
        prompts=settings.pop("log_prompts", False),
        lines=found.lines.append,
    )
    whole = Settings(menu or Menu(pool), port=port, store=store, **{"grace": 0.2, **settings})
    server = asyncio.get_running_loop().create_task(
        serve(
            whole,
            socket,
            journal=journal,
            engine_of=lambda model: engine,
            watchers=watchers,
            on_ready=ready.set,
            stop=stop,
        )
    )
    waiting = asyncio.get_running_loop().create_task(ready.wait())
    await asyncio.wait({server, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if server.done():
        waiting.cancel()
        server.result()
    try:
        async with found.client:
            yield found
    finally:
        stop.set()
        await asyncio.wait_for(server, 30)


@contextmanager
def served_apart(pool: Pool, engine: ScriptedEngine, **settings: Any) -> Iterator[str]:
    """The same in a thread of its own, for clients that block; gives the address."""
    address: Future[str] = Future()
    done = threading.Event()

    async def run() -> None:
        async with served(pool, engine, **settings) as server:
            address.set_result(server.url)
            while not done.is_set():
                await asyncio.sleep(0.02)

    def work() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:
            if not address.done():
                address.set_exception(error)
            raise

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield address.result(30)
    finally:
        done.set()
        thread.join(30)


async def until(true: Callable[[], object], seconds: float = 10) -> None:
    """Wait for something that will surely happen; what does not fails the test."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.005)


def events_of(text: str) -> list[Any]:
    """The data of server-sent events, comments left out; [DONE] as it is."""
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]
