"""One model's life: loaded at its first request, drawn from, put to rest between tiers, started anew when it died.

This module knows nothing of vLLM: what it drives is an `Llm`.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Callable

from escalade.engines.base import Progress, Request
from escalade.engines.vllm.llm import Died, Llm, Piece
from escalade.engines.vllm.options import Options
from escalade.errors import EngineError
from escalade.samples.sample import Generation

SEED_BITS = 31
"""Bits of an engine's own seed; those of requests have 63."""
_BROKEN = frozenset({"abort", "error"})


class Served:
    """A model that one engine of vLLM answers for, whichever of its starts that is.

    `load` gives a loaded model for a seed; it blocks, and is called in a thread.
    """

    def __init__(
        self, alias: str, options: Options, load: Callable[[int], Llm], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._alias, self._options, self._load, self._clock = alias, options, load, clock
        self._names = itertools.count()
        self._turn = asyncio.Lock()
        """Held by whatever starts the model or puts it to rest."""
        self._under_way = 0
        """Requests, those that wait for the model among them."""
        self._start: asyncio.Task[Llm] | None = None
        """The start that requests wait for or have waited for; None while the model is not there."""
        self._asleep: Llm | None = None
        self._dead: list[Llm] = []
        """What died and holds memory still."""
        self._starts = 0
        self._deaths = 0
        self._quiet_until = -math.inf
        """No further start before this time: the last one was after a death, or failed."""
        self._failure: EngineError | None = None
        """Why the last start failed."""

    async def generate(self, request: Request, progress: Progress) -> Generation:
        """Draw one sample. Cancelled, the request is stopped at once.

        Raises:
            EngineError: the model cannot be loaded, refuses the request, or died (then trying again can help).
        """
        self._under_way += 1
        try:
            llm = await self._running(request)
            try:
                return await self._draw(llm, request, progress)
            except Died as error:
                self._bury(llm)
                task = asyncio.current_task()
                if task is not None and task.cancelling():  # it died while the request was cancelled
                    raise asyncio.CancelledError from error
                raise EngineError(
                    f"vLLM's engine for {self._alias} died with all that was under way; it is started anew "
                    f"({self._hint()}its log says why)",
                    retryable=True,
                ) from error
        finally:
            self._under_way -= 1

    async def rest(self) -> None:
        """Free the GPUs, unless requests are under way; the next request brings the model back."""
        async with self._turn:
            start = self._start
            if self._options.sleep == 0 or self._under_way or start is None or not start.done():
                return
            llm, self._start = start.result(), None
            if not llm.can_sleep:
                await asyncio.to_thread(llm.shutdown)
                return
            self._asleep = llm
            try:
                await llm.sleep(self._options.sleep)
            except Died:
                self._asleep = None
                self._dead.append(llm)

    async def close(self) -> None:
        """End the model's processes; one that is being loaded is waited for, as nothing can stop that."""
        start, self._start = self._start, None
        if start is not None:
            await asyncio.wait([start])
            if start.exception() is None:
                self._dead.append(start.result())
        async with self._turn:
            if self._asleep is not None:
                self._dead.append(self._asleep)
                self._asleep = None
            await self._clear()

    async def _running(self, request: Request) -> Llm:
        """The loaded model. A request that is cancelled meanwhile does not undo a start."""
        if self._start is None:
            wait = self._quiet_until - self._clock()
            if self._asleep is None and wait > 0:
                if self._failure is not None:
                    raise EngineError(str(self._failure))
                raise EngineError(
                    f"vLLM's engine for {self._alias} died {self._deaths} times and is started anew once in "
                    f"{self._options.restart:g} s ({self._hint()}its log says why)",
                    retryable=True,
                    retry_after=wait,
                )
            self._start = asyncio.get_running_loop().create_task(self._bring(request.seed))
        return await asyncio.shield(self._start)

    async def _bring(self, seed: int) -> Llm:
        """Wake the model, or load it."""
        try:
            async with self._turn:
                return await self._wake() or await self._load_anew(seed)
        except BaseException as error:
            # Further requests fail alike for a while, and do not load the model in vain again.
            self._start = None
            if isinstance(error, EngineError):
                self._failure = error
                self._quiet_until = self._clock() + self._options.restart
            raise

    async def _wake(self) -> Llm | None:
        llm, self._asleep = self._asleep, None
        if llm is not None:
            try:
                await llm.wake(self._options.sleep)
            except Died:
                self._dead.append(llm)
                return None
        return llm

    async def _load_anew(self, seed: int) -> Llm:
        await self._clear()  # its memory is needed
        if self._deaths:
            self._quiet_until = self._clock() + self._options.restart
        # An engine that is started again with the seed it had would give the samples it gave.
        self._starts += 1
        llm = await asyncio.to_thread(self._load, (seed + self._starts) % 2**SEED_BITS)
        self._failure = None
        return llm

    async def _draw(self, llm: Llm, request: Request, progress: Progress) -> Generation:
        started = time.perf_counter()
        prompt = llm.prompt(request.messages)
        name = f"{self._alias}-{next(self._names)}"
        seed = request.seed if self._options.seed == "request" else None
        progress.prompt_tokens = len(prompt)
        pieces: list[str] = []
        last: Piece | None = None
        try:
            async for piece in llm.stream(name, prompt, request, seed):
                pieces.append(piece.text)
                progress.completion_tokens += piece.tokens
                if piece.cached is not None:
                    progress.cached_tokens = min(piece.cached, len(prompt))
                last = piece
        except asyncio.CancelledError:
            # vLLM stops what it streams by itself, but not what was cancelled on its way to it.
            await llm.abort(name)
            raise
        except EngineError:
            if last is None:  # refused: nothing was computed
                progress.prompt_tokens = None
            raise
        if last is None or last.finish is None or last.finish in _BROKEN:
            raise EngineError(f"vLLM gave up on a request to {self._alias} in its middle", retryable=True)
        mean = last.logprob / progress.completion_tokens if last.logprob is not None else math.nan
        return Generation(
            text="".join(pieces),
            finish_reason=last.finish,
            prompt_tokens=progress.prompt_tokens,
            cached_tokens=progress.cached_tokens,
            completion_tokens=progress.completion_tokens,
            mean_logprob=min(mean, 0.0) if math.isfinite(mean) else None,
            seconds=time.perf_counter() - started,
        )

    def _bury(self, llm: Llm) -> None:
        """Note a death; all that were under way come here, the first of them counts."""
        if self._start is not None and self._start.done() and self._start.result() is llm:
            self._start = None
            self._dead.append(llm)
            self._deaths += 1

    async def _clear(self) -> None:
        while self._dead:
            await asyncio.to_thread(self._dead.pop().shutdown)

    def _hint(self) -> str:
        return "if it does so again, option seed = 'engine' may help; " if self._options.seed == "request" else ""
