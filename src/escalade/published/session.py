"""A session: engines and a store that several jobs of one pool share, so that each model is loaded once."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from escalade.answers.grader import Grader
from escalade.climb import Answered
from escalade.engines.base import Demand, Engine, Progress, Request
from escalade.executor import Executor
from escalade.job import Engines, Job
from escalade.pool import Pool, PoolModel
from escalade.results import Results
from escalade.samples.sample import Generation
from escalade.samples.store import Store
from escalade.samples.verdicts import Verdicts

Extract = Callable[[str], Any]
"""From a generated text to its answer, or None."""


class Session:
    """Answers jobs one after the other, in one event loop, with the same engines and store.

    Args:
        pool: the models of all jobs.
        engine: answers in the place of the pool's engines: a name, or an engine that is open already (and is left
            open). None takes the pool's own.
        store: file that keeps every sample; jobs that want the same samples share them. None keeps nothing.
        seed: of the session.
        extract: a person's own function from a text to its answer, in the place of ours.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        engine: str | Engine | None = None,
        store: str | Path | None = None,
        seed: int = 0,
        extract: Extract | None = None,
    ) -> None:
        self._seed, self._extract = seed, extract
        self._given = None if engine is None or isinstance(engine, str) else engine
        self._named = Engines(pool, engine if isinstance(engine, str) else None, seed)
        self._wrapped: dict[int, Engine] = {}
        self._path = store
        self._store: Store | None = None
        self._verdicts: Verdicts | None = None

    async def __aenter__(self) -> Self:
        if self._path is not None:
            self._store = Store(Path(self._path))
            self._verdicts = Verdicts(Path(self._path))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._named.close()
        if self._store is not None:
            self._store.close()
        if self._verdicts is not None:
            self._verdicts.close()

    def engine_of(self, model: PoolModel) -> Engine:
        """Return the engine that answers for a model."""
        engine = self._given if self._given is not None else self._named.of(model)
        if self._extract is None:
            return engine
        return self._wrapped.setdefault(id(engine), Extracting(engine, self._extract))

    async def answer(self, job: Job) -> Results:
        """Answer one job; results come in the order of its tasks, whose ids need not differ.

        Raises:
            InputError: an engine refuses what the job may ask of it.
        """
        for demand in job.demands():
            self.engine_of(demand.model).check([demand])
        answered: dict[int, Answered] = {}

        def take(item: Answered) -> None:
            answered[id(item.problem)] = item

        started = time.perf_counter()
        grader = Grader(self._verdicts)
        executor = Executor(
            job.pool,
            self.engine_of,
            store=self._store,
            policy=job.policy,
            limits=job.limits,
            seed=job.seed,
            on_answer=take,
            grader=grader,
        )
        await executor.run(job.tasks)
        done = tuple(answered[id(task.problem)] for task in job.tasks)
        return Results(job, done, time.perf_counter() - started, grading=grader.report())


class Extracting:
    """An engine whose generations carry the answers that a person's own function finds in them.

    A text in which the function finds None abstains; where it raises, the request has failed and says why.
    """

    def __init__(self, engine: Engine, extract: Extract) -> None:
        self._engine, self._extract = engine, extract
        # Stored samples carry their answers: another function must not be given those of this one.
        code = getattr(extract, "__code__", None)
        told = (getattr(extract, "__module__", ""), getattr(extract, "__qualname__", repr(type(extract))))
        body = b"" if code is None else code.co_code + repr([c for c in code.co_consts if _plain(c)]).encode()
        self._mark = hashlib.sha256(repr(told).encode() + body).hexdigest()[:16]

    def check(self, demands: Sequence[Demand]) -> None:
        """As the engine does."""
        self._engine.check(demands)

    def fingerprint(self, model: PoolModel) -> str:
        """The engine's, and the function."""
        return f"{self._engine.fingerprint(model)} answers by {self._mark}"

    def in_flight(self, model: PoolModel) -> int:
        """As many as the engine has."""
        return self._engine.in_flight(model)

    def prompt_bound(self, request: Request) -> int:
        """As the engine says."""
        return self._engine.prompt_bound(request)

    async def sample(self, request: Request, progress: Progress) -> Generation:
        """Return the engine's generation with the answer the function finds."""
        generation = await self._engine.sample(request, progress)
        if generation.text is None:
            return generation
        found = self._extract(generation.text)
        # An empty answer is one that abstains; None would have the text read by our own rules.
        return replace(generation, answer="" if found is None else str(found))

    async def rest(self, model: PoolModel) -> None:
        """As the engine does."""
        await self._engine.rest(model)

    async def close(self) -> None:
        """Close the engine."""
        await self._engine.close()


def _plain(constant: object) -> bool:
    return constant is None or isinstance(constant, str | bytes | int | float)
