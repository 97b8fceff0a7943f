"""A gateway without HTTP for tests: in the event loop of the test, every model a scripted engine."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from escalade.climb import Answered
from escalade.engines.base import Progress, Request
from escalade.errors import RequestError
from escalade.gateway.accounts import Accounts
from escalade.gateway.bodies import ChatBody, read_chat
from escalade.gateway.gateway import Exchange, Gateway
from escalade.gateway.keys import Key, digest
from escalade.gateway.menu import Menu
from escalade.pool import Pool
from escalade.samples.sample import Generation
from escalade.testing import Script, ScriptedEngine, pool_of, simulate

Result = TypeVar("Result")
CASCADE = "mv_cascade_S_k4_t0.7_L_k1_t0.0"
ROUTES = [
    "S",
    "mv_S_k4_t0.7",
    CASCADE,
    "mv_cascade_S_k3_t0.7_S_k5_t0.7_L_k2_t0.7",
    "mv_entropy_cascade_S_k4_t0.7_L_k3_t0.7",
]


def pool(*aliases: str, **settings: Any) -> Pool:
    return pool_of(*(aliases or ("S", "L")), **{"prices": ["1"] * len(aliases or "SL"), "max_tokens": 20, **settings})


def body(model: str, problem: str = "What is 1 + 1?", *, before: Iterable[Any] = (), **fields: Any) -> ChatBody:
    messages = [*before, {"role": "user", "content": problem}]
    return read_chat(json.dumps({"model": model, "messages": messages, **fields}).encode())


def key_of(name: str = "alice", **settings: Any) -> Key:
    return Key(name=name, sha256=digest(name), **settings)


def wild(seed: int, *, answers: tuple[str | None, ...] = ("1", "1", "1", "2", "3", None)) -> Script:
    """Answers and token counts that depend on the seed of the request alone."""

    def script(request: Request) -> Generation:
        dice = random.Random(f"{seed} {request.seed}")
        answer = dice.choice(answers)
        text = "Who knows?" if answer is None else f"It is \\boxed{{{answer}}}."
        return Generation(text, prompt_tokens=15, completion_tokens=dice.randint(1, 20))

    return script


@dataclass
class Honest(ScriptedEngine):
    """Keeps the prompt's tokens of requests under way up to date, as real engines do."""

    generated: list[Generation] = field(default_factory=list)

    async def sample(self, request: Request, progress: Progress) -> Generation:
        progress.prompt_tokens = 15
        generation = await super().sample(request, progress)
        self.generated.append(generation)
        return generation


@dataclass
class Driven:
    """Asks a gateway."""

    gateway: Gateway
    asked: int = 0

    def begin(self, body: ChatBody, key: Key | None = None) -> Exchange:
        self.asked += 1
        return self.gateway.begin(body, f"r{self.asked}", key)

    async def ask(self, model: str, problem: str = "What is 1 + 1?", *, key: Key | None = None, **more: Any) -> "Asked":
        exchange = self.begin(body(model, problem, **more), key)
        return Asked(exchange, await exchange.answered)

    async def refused(self, model: str, problem: str = "What is 1 + 1?", **more: Any) -> RequestError:
        """Ask what is not answered; return why, however late that is said."""
        try:
            asked = await self.ask(model, problem, **more)
        except RequestError as error:
            return error
        failure = self.gateway.failure(*asked.both)
        assert failure is not None, "it was answered"
        return failure


@dataclass
class Asked:
    exchange: Exchange
    item: Answered

    @property
    def both(self) -> tuple[Exchange, Answered]:
        return self.exchange, self.item

    @property
    def status(self) -> str:
        return self.item.outcome.status.value


@asynccontextmanager
async def driven(
    menu: Menu | Pool, engine: ScriptedEngine, *, accounts: Accounts | None = None, store: Any = None, **settings: Any
) -> AsyncIterator[Driven]:
    loop = asyncio.get_running_loop()
    mine = accounts or Accounts(None, alone=False, clock=loop.time)
    gateway = Gateway(
        menu if isinstance(menu, Menu) else Menu(menu),
        lambda model: engine,
        store=store,
        accounts=mine,
        **settings,
    )
    service = loop.create_task(gateway.service.serve())
    await asyncio.sleep(0)
    try:
        yield Driven(gateway)
    finally:
        service.cancel()
        await asyncio.wait([service])
        if accounts is None:
            mine.close()
    if not service.cancelled() and (error := service.exception()) is not None:
        raise error


def run(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run on a fake clock; what hangs is a failed test, not a hanging one."""

    async def within() -> Result:
        async with asyncio.timeout(1_000_000):
            return await coroutine

    return simulate(within())[0]
