"""Real GGUF models through llama.cpp (xllamacpp), in this process: k samples in parallel slots, our own seeds.

Tokens and logprobs are counted here, from the stream: the server's own usage is wrong for n > 1, and a cancelled
request has none. A model is loaded at its first request, once.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from escalade.engines.base import Demand, Progress, Request, chat_bound
from escalade.errors import EngineError, SettingError
from escalade.pool import Pool, PoolModel
from escalade.samples.sample import Generation
from escalade.weights import hash_of, require


class Options(BaseModel):
    """Options of a model served by llama.cpp."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    slots: int = Field(default=8, ge=1)
    """Requests under way at once."""
    context: int = Field(default=2048, ge=64)
    """Tokens of prompt and answer together, per slot."""
    threads: int = Field(default_factory=lambda: os.cpu_count() or 2, ge=1)


class Engine:
    """llama.cpp models of a pool, each loaded once."""

    def __init__(self, argument: str, pool: Pool, *, seed: int) -> None:
        if argument:
            raise SettingError(f"engine llamacpp takes no argument, found {argument!r}: weights are named in the pool")
        self._pool = pool
        # The options of a model that another engine answers for may mean something there; they are read when asked.
        self._options = {m.alias: _options(m) for m in pool.models if m.engine == "llamacpp"}
        self._models: dict[str, asyncio.Task[_Model]] = {}
        self._under_way: Counter[str] = Counter()
        self._turn = asyncio.Lock()
        """Held by whatever loads a model or frees one."""

    def check(self, demands: Sequence[Demand]) -> None:
        """Refuse models whose weights are not there."""
        for demand in demands:
            self._options_of(demand.model)
            require(demand.model, pool=self._pool.name)

    def fingerprint(self, model: PoolModel) -> str:
        """The weights' sha256: identity is the hash, not the place. Known from the pool, the file need not be there."""
        if model.sha256 is not None:
            return f"gguf:{model.sha256}"
        return f"gguf:{hash_of(require(model, pool=self._pool.name)).sha256}"

    def in_flight(self, model: PoolModel) -> int:
        """As many as there are slots."""
        return self._options_of(model).slots

    def prompt_bound(self, request: Request) -> int:
        """One token a byte, and room for the template."""
        return min(chat_bound(request.messages), self._options_of(request.model).context)

    async def sample(self, request: Request, progress: Progress) -> Generation:
        """Generate one sample in a slot of the model."""
        alias = request.model.alias
        self._under_way[alias] += 1
        try:
            model = await self._model(request.model)
            stop = threading.Event()
            loop = asyncio.get_running_loop()
            job = loop.run_in_executor(model.threads, model.generate, request, progress, stop)
            try:
                return await asyncio.shield(job)
            except asyncio.CancelledError:
                # The stream's callback sees the flag at the next token and ends the task in the server; only then is
                # the slot free and the count of tokens final.
                stop.set()
                await asyncio.wait([job])
                job.exception()
                raise
        finally:
            self._under_way[alias] -= 1

    async def rest(self, model: PoolModel) -> None:
        """Unload a model that is not asked for a while, unless requests are under way; the next one loads it anew."""
        async with self._turn:
            loading = self._models.get(model.alias)
            if self._under_way[model.alias] or loading is None or not loading.done() or loading.exception() is not None:
                return
            del self._models[model.alias]
            await asyncio.to_thread(loading.result().close)

    def metrics(self, model: PoolModel) -> str | None:
        """The own counters of a model's server, in Prometheus's text format; None where it is not loaded."""
        loading = self._models.get(model.alias)
        if loading is None or not loading.done() or loading.exception() is not None:
            return None
        return loading.result().metrics()

    async def close(self) -> None:
        """Unload the models."""
        for loading in self._models.values():
            if not loading.done():
                await asyncio.wait([loading])
            if loading.exception() is None:
                await asyncio.to_thread(loading.result().close)
        self._models.clear()

    async def _model(self, model: PoolModel) -> _Model:
        """The model, loaded once: a request that is cancelled meanwhile does not undo it, a failure stays one."""
        if model.alias not in self._models:
            load = self._load(model.alias, require(model, pool=self._pool.name), self._options_of(model))
            self._models[model.alias] = asyncio.get_running_loop().create_task(load)
        return await asyncio.shield(self._models[model.alias])

    async def _load(self, alias: str, path: Path, options: Options) -> _Model:
        async with self._turn:
            return await asyncio.to_thread(_Model, alias, path, options)

    def _options_of(self, model: PoolModel) -> Options:
        if model.alias not in self._options:
            self._options[model.alias] = _options(model)
        return self._options[model.alias]


class _Model:
    """One loaded model and the threads that wait for its slots."""

    def __init__(self, alias: str, path: Path, options: Options) -> None:
        # Without this, threads that wait for each other spin on both cores and throughput collapses.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        try:
            import xllamacpp
        except ImportError as error:
            raise SettingError("engine llamacpp needs xllamacpp: pip install 'escalade[local]'") from error
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx = options.context * options.slots
        params.n_parallel = options.slots
        params.cpuparams.n_threads = options.threads
        params.cpuparams_batch.n_threads = options.threads
        params.use_jinja = True
        params.verbosity = -1
        # The library always opens a port; it is bound to this machine only, and nothing here uses it.
        params.hostnames = ["127.0.0.1"]
        params.port = 0
        params.ui = False
        params.endpoint_metrics = True
        try:
            self._server: Any = xllamacpp.Server(params)
        except RuntimeError as error:
            raise EngineError(f"llama.cpp cannot load {alias} from {path}: {error}") from error
        self._alias = alias
        self.threads = ThreadPoolExecutor(options.slots, thread_name_prefix=f"llamacpp-{alias}")

    def generate(self, request: Request, progress: Progress, stop: threading.Event) -> Generation:
        """Stream one completion, counting as it goes; runs in a thread of its own."""
        started = time.perf_counter()
        pieces: list[str] = []
        logprobs: list[float] = []
        finish: list[str] = []
        failure: list[str] = []

        def take(chunk: str) -> bool:
            body = json.loads(chunk)
            if "error" in body:
                failure.append(str(body["error"].get("message", body["error"])))
                return True
            for choice in body.get("choices", ()):
                pieces.append(choice["delta"].get("content") or "")
                for token in (choice.get("logprobs") or {}).get("content") or ():
                    logprobs.append(token["logprob"])
                    progress.completion_tokens += 1
                if choice.get("finish_reason"):
                    finish.append(choice["finish_reason"])
            timings = body.get("timings")
            if timings:
                progress.cached_tokens = timings["cache_n"]
                progress.prompt_tokens = timings["cache_n"] + timings["prompt_n"]
            return stop.is_set()

        model = request.model
        body = {
            "messages": list(request.messages),
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "top_p": model.top_p if model.top_p is not None else 1.0,
            "top_k": model.top_k or 0,
            "min_p": 0.0,
            # llama.cpp takes 32 bits; -1 there means "any seed".
            "seed": request.seed % (2**32 - 1),
            "stream": True,
            "timings_per_token": True,  # so that a cancelled request knows its prompt tokens too
            "logprobs": True,
            "top_logprobs": 1,
        }
        try:
            self._server.handle_chat_completions(json.dumps(body), take)
        except (ValueError, RuntimeError) as error:
            raise EngineError(f"llama.cpp refused a request to {self._alias}: {error}") from error
        if failure:
            raise EngineError(f"llama.cpp failed on {self._alias}: {failure[0]}")
        if not finish and not stop.is_set():
            raise EngineError(f"llama.cpp ended a stream of {self._alias} without a finish reason", retryable=True)
        mean = math.fsum(logprobs) / len(logprobs) if logprobs else None
        return Generation(
            text="".join(pieces),
            finish_reason=finish[-1] if finish else "cancelled",
            prompt_tokens=progress.prompt_tokens,
            cached_tokens=progress.cached_tokens,
            completion_tokens=progress.completion_tokens,
            mean_logprob=mean,
            seconds=time.perf_counter() - started,
        )

    def metrics(self) -> str:
        """The server's own counters, in Prometheus's text format."""
        return str(self._server.handle_metrics())

    def close(self) -> None:
        """End the threads and free the model."""
        self.threads.shutdown(wait=True)
        self._server = None


def _options(model: PoolModel) -> Options:
    try:
        return Options.model_validate(dict(model.options))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise SettingError(f"model {model.alias}: option {place!r} of engine llamacpp: {first['msg']}") from error
