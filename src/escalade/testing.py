"""Helpers for tests of code that uses escalade: a scripted engine and builders of samples.

The scripted engine is a real engine with the answers of a script in the place of a model's: it has requests in
flight, delays, failures and cancellation like any other.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from escalade.answers.kinds import kind_of
from escalade.engines.base import Demand, Progress, Request
from escalade.errors import EngineError
from escalade.pool import Pool, PoolModel, Price
from escalade.samples.sample import Generation, Sample, read

Result = TypeVar("Result")
Script = Callable[[Request], Generation]


def votes(*answers: str | None, logprobs: Sequence[float | None] | None = None) -> list[Sample]:
    """Return samples with these answers, in launch order; None abstains.

    Example:
        >>> [sample.key for sample in votes("1/2", None, "0.50")]
        ['0.5', None, '0.5']
    """
    means = logprobs if logprobs is not None else [None] * len(answers)
    return [
        read(i, Generation(None, answer=answer, mean_logprob=mean), kind=kind_of("math"))
        for i, (answer, mean) in enumerate(zip(answers, means, strict=True))
    ]


def pool_of(*aliases: str, prices: Sequence[str | None] | None = None, **settings: object) -> Pool:
    """Return a pool of models with these aliases; a price is USD per million tokens, in and out.

    Example:
        >>> pool_of("S", "L", prices=["0.1", "1"])["L"].price.output
        Decimal('1')
    """
    each = prices if prices is not None else ["1"] * len(aliases)
    models = tuple(
        PoolModel(
            alias=alias,
            name=f"test/{alias}",
            engine="scripted",
            price=None if price is None else Price.model_validate({"input": price, "output": price}),
        )
        for alias, price in zip(aliases, each, strict=True)
    )
    return Pool.model_validate({"name": "test", "models": models, **settings})


@dataclass
class ScriptedEngine:
    """An engine that answers from a script: a function of the request that returns a generation or raises.

    `delay` gives the seconds a request takes; a request that is cancelled has used the tokens of the time it had.
    `requests`, `cancelled`, `most_in_flight` and `rested` say what happened.
    """

    script: Script
    delay: Callable[[Request], float] = lambda request: 0.0
    slots: int | Mapping[str, int] = 64
    """Requests under way at once, of each model, or by its alias."""
    requests: list[Request] = field(default_factory=list)
    cancelled: list[Request] = field(default_factory=list)
    rested: list[str] = field(default_factory=list)
    most_in_flight: int = 0
    _now: int = 0

    def check(self, demands: Sequence[Demand]) -> None:
        """A script can give anything."""

    def fingerprint(self, model: PoolModel) -> str:
        """The model's name."""
        return f"scripted:{model.name}"

    def in_flight(self, model: PoolModel) -> int:
        """As many as there are slots."""
        return self.slots if isinstance(self.slots, int) else self.slots[model.alias]

    def prompt_bound(self, request: Request) -> int:
        """As a real tokenizer might."""
        return sum(len(m["content"]) for m in request.messages)

    async def sample(self, request: Request, progress: Progress) -> Generation:
        """Answer by the script, after the delay."""
        self.requests.append(request)
        self._now += 1
        self.most_in_flight = max(self.most_in_flight, self._now)
        delay, started = self.delay(request), asyncio.get_running_loop().time()
        try:
            await asyncio.sleep(delay)
            return self.script(request)
        except asyncio.CancelledError:
            self.cancelled.append(request)
            share = (asyncio.get_running_loop().time() - started) / delay if delay else 0.0
            progress.completion_tokens = max(1, int(share * self._tokens(request)))
            raise
        finally:
            self._now -= 1

    def _tokens(self, request: Request) -> int:
        try:
            return self.script(request).completion_tokens or 0
        except EngineError:
            return 0

    async def rest(self, model: PoolModel) -> None:
        """A script holds nothing; that it was told is in `rested`."""
        self.rested.append(model.alias)

    async def close(self) -> None:
        """Nothing to give back."""


def answering(table: dict[str, Sequence[str | None]], *, prompt_tokens: int = 10, completion_tokens: int = 5) -> Script:
    """Return a script that gives model alias -> answers by sample index (the last one again behind the end).

    Example:
        >>> script = answering({"S": ["1", "2"]})
    """

    def script(request: Request) -> Generation:
        row = table.get(request.model.alias)
        if row is None:
            raise EngineError(f"no script for {request.model.alias}")
        answer = row[min(request.index, len(row) - 1)]
        return Generation(
            None if answer is None else f"\\boxed{{{answer}}}",
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
        )

    return script


def simulate(coroutine: Coroutine[Any, Any, Result]) -> tuple[Result, float]:
    """Run a coroutine on a fake clock, and return its result and the seconds that passed there.

    Whenever nothing is left to do, the clock jumps to the next timer: an hour of scripted delays takes as long as the
    work between them. What waits for a thread or a socket waits for real, and the clock stands still meanwhile.

    Example:
        >>> simulate(asyncio.sleep(3600, "done"))
        ('done', 3600.0)
    """
    selector = _Jumping()
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = lambda: selector.now  # type: ignore[method-assign] # the loop's clock is made to be replaced
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(coroutine), selector.now


class _Jumping(selectors.DefaultSelector):
    """A selector that does not wait for timers: its clock jumps to them."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return super().select(None)
        ready = super().select(0)
        if not ready:
            self.now += max(0.0, timeout)
        return ready
