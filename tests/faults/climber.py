"""A run that can be killed at any moment, as a program: `python -m tests.faults.climber SETTINGS`, which are JSON.

The scripted engine's answers and token counts depend on the seed of a request alone, its delays do not. Every request
it begins, finishes or sees cancelled becomes a line of the witness file, written in one call, so that it outlives the
process. `ready` is printed before the first request, and the outcomes as JSON once there are all.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from escalade.cascade.policy import Policy
from escalade.climb import Answered, Task
from escalade.engines.base import Engine, Progress, Request
from escalade.executor import Executor
from escalade.pool import Pool, load_pool
from escalade.problems import Problem
from escalade.routes import parse_route
from escalade.samples.sample import Generation
from escalade.samples.store import Store
from escalade.testing import ScriptedEngine, pool_of

ROUTE = "mv_cascade_S_k6_t0.7_M_k4_t0.7_L_k2_t0.5"
PROMPT = 15
"""Tokens."""
SLOTS = 4
"""Of each model."""


@dataclass(frozen=True)
class Settings:
    """What the program is told."""

    store: str | None
    """File; None keeps nothing."""
    witness: str
    problems: int = 40
    dice: int = 0
    """Of the delays."""
    delay: float = 0.004
    """Seconds that a request takes at most."""
    stop: str = "none"
    weights: str | None = None
    """File of the real 135M, in the place of the scripted engine."""


def script(request: Request) -> Generation:
    """Answer by the seed alone; the larger a model, the more often with 1."""
    dice = random.Random(request.seed)
    right = {"S": 0.6, "M": 0.75, "L": 0.95}[request.model.alias]
    answer = "1" if dice.random() < right else dice.choice("23")
    return Generation(f"so \\boxed{{{answer}}}", "stop", PROMPT, 0, dice.randint(1, 20), None, -dice.random(), 0.0)


class Witnessed(ScriptedEngine):
    """Writes down what happens to every request."""

    file: int = -1

    async def sample(self, request: Request, progress: Progress) -> Generation:
        """Answer after a while."""
        self._write("begun", request)
        progress.prompt_tokens = PROMPT
        try:
            generation = await super().sample(request, progress)
        except asyncio.CancelledError:
            self._write("cancelled", request, progress.completion_tokens)
            raise
        self._write("finished", request, generation.completion_tokens or 0)
        return generation

    def _write(self, what: str, request: Request, tokens: int = 0) -> None:
        line = f"{what} {request.problem_id} {request.model.alias}@{request.temperature:g} {request.index} {tokens}\n"
        os.write(self.file, line.encode())


def scripted(settings: Settings) -> tuple[Pool, Engine, str]:
    """Return pool, engine and route of the made-up models."""
    dice = random.Random(settings.dice)
    engine = Witnessed(script, lambda request: dice.uniform(0, settings.delay), slots=SLOTS)
    engine.file = os.open(settings.witness, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    return pool_of("S", "M", "L", prices=["1", "2", "5"], max_tokens=20), engine, ROUTE


def real(settings: Settings) -> tuple[Pool, Engine, str]:
    """Return pool, engine and route of the 135M: one slot, as what shares a batch may change its last digits."""
    from escalade.engines.llamacpp import Engine as LlamaCpp

    tiny = load_pool("tiny")
    file = Path(settings.weights or "")
    options = {"slots": 1, "context": 512, "threads": 1}
    model = tiny["135M"].model_copy(update={"file": file, "options": options, "max_tokens": 12})
    pool = tiny.model_copy(update={"models": (model,), "route": None})
    return pool, LlamaCpp("", pool, seed=0), "mv_cascade_135M_k3_t0.7_135M_k1_t0.0"


def plain(item: Answered) -> dict[str, Any]:
    """What must be the same, killed or not."""
    outcome = item.outcome
    return {
        "status": outcome.status.value,
        "answer": outcome.answer,
        "decided_by": outcome.decided_by,
        "notes": list(outcome.notes),
        "costs": [str(use.cost) for use in item.tiers],
        "samples": [[sample.answer for sample in use.samples] for use in item.tiers],
    }


def main(settings: Settings) -> None:
    """Run, and print the outcomes."""
    pool, engine, route = (real if settings.weights else scripted)(settings)
    problems = [Problem(f"p{i}", f"What is {i} + 1?", "1") for i in range(settings.problems)]
    answered: list[Answered] = []
    store = None if settings.store is None else Store(Path(settings.store))
    executor = Executor(
        pool, lambda model: engine, store=store, policy=Policy(stop=settings.stop), on_answer=answered.append
    )

    async def work() -> None:
        try:
            await executor.run([Task(problem, parse_route(route, pool)) for problem in problems])
        finally:
            await engine.close()

    print("ready", flush=True)
    asyncio.run(work())
    if store is not None:
        store.close()
    print(json.dumps({item.problem.id: plain(item) for item in answered}), flush=True)


if __name__ == "__main__":
    main(Settings(**json.loads(sys.argv[1])))
