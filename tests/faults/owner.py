"""Engines that watch: one keeps its owner's own books, the other knows which model has its device."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from escalade.engines.base import Progress, Request
from escalade.errors import EngineError
from escalade.samples.sample import Generation
from escalade.testing import ScriptedEngine

PROMPT = 15
"""Tokens."""
LONGEST = 20
"""Tokens of an answer."""


def answers(request: Request) -> Generation:
    """Answer by the seed alone."""
    dice = random.Random(request.seed)
    text = f"\\boxed{{{dice.choice('111123')}}}" if dice.random() < 0.9 else "no idea"
    return Generation(text, prompt_tokens=PROMPT, completion_tokens=dice.randint(1, LONGEST))


@dataclass
class Owned(ScriptedEngine):
    """Bills every token, those of requests that were cancelled or broke off too; some fail before they used any."""

    fails: float = 0.0
    """Share of requests."""
    billed: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """By problem: tokens of prompts and of answers, and samples given."""
    by_model: Counter[str] = field(default_factory=Counter)
    """Tokens of prompts and answers together, by alias."""
    broken_off: int = 0
    """Requests that failed after they had used tokens, those that were cancelled before they could among them."""

    async def sample(self, request: Request, progress: Progress) -> Generation:
        """Answer, and bill."""
        dice = random.Random(f"{request.seed} {len(self.requests)}")
        if dice.random() < self.fails:
            self.requests.append(request)
            await self._fail(request, progress, dice)
        progress.prompt_tokens = PROMPT
        try:
            generation = await super().sample(request, progress)
        except asyncio.CancelledError:
            self._bill(request, progress.completion_tokens)
            raise
        self._bill(request, generation.completion_tokens or 0)
        self.billed[request.problem_id]["samples"] += 1
        return generation

    async def _fail(self, request: Request, progress: Progress, dice: random.Random) -> None:
        """Fail, half of the time before anything was used, half of the time within the answer."""
        if dice.random() < 0.5:
            await asyncio.sleep(self.delay(request))
            raise EngineError("not now", retryable=True)
        progress.prompt_tokens = PROMPT
        progress.completion_tokens = dice.randint(0, answers(request).completion_tokens or 0)
        try:
            await asyncio.sleep(self.delay(request))
            raise EngineError("broke off", retryable=True)
        finally:
            self._bill(request, progress.completion_tokens)
            self.broken_off += 1

    def _bill(self, request: Request, tokens: int) -> None:
        self.billed[request.problem_id]["tokens"] += tokens
        self.by_model[request.model.alias] += PROMPT + tokens


@dataclass
class OneDevice(ScriptedEngine):
    """Knows which model is in its memory: each is loaded when it is asked and another one was before."""

    loads: Counter[str] = field(default_factory=Counter)
    active: Counter[str] = field(default_factory=Counter)
    together: list[str] = field(default_factory=list)
    """Where two models were active at once, which ones."""
    order: list[str] = field(default_factory=list)
    """Models as they became active."""

    async def sample(self, request: Request, progress: Progress) -> Generation:
        """Answer; what is asked must be the only model that is asked."""
        alias = request.model.alias
        if not self.active[alias] and (not self.order or self.order[-1] != alias):
            self.order.append(alias)
            self.loads[alias] += 1
        self.active[alias] += 1
        if len(busy := [name for name, count in self.active.items() if count]) > 1:
            self.together.append(" ".join(busy))
        try:
            return await super().sample(request, progress)
        finally:
            self.active[alias] -= 1


def within(seed: str, longest: float) -> Callable[[Request], float]:
    """Return delays of up to so many seconds, other ones for each request."""
    return lambda request: random.Random(f"{seed} {request.seed}").uniform(0, longest)
