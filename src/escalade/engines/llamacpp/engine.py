"""The engine: all models of a pool, each loaded at its first request, once while it stays loaded."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from escalade.engines.base import Demand, Progress, Request, chat_bound
from escalade.engines.llamacpp.gguf import Need, need_of
from escalade.engines.llamacpp.loaded import Loaded
from escalade.engines.llamacpp.options import GB, Options, options_of, settings_of
from escalade.engines.llamacpp.room import Room
from escalade.errors import SettingError
from escalade.pool import Pool, PoolModel
from escalade.samples.sample import Generation
from escalade.weights import hash_of, require


class _Weights(NamedTuple):
    """Where a model's weights are, and what it takes once it is loaded."""

    path: Path
    need: int
    """Bytes; 0 where memory has no limit."""


class Engine:
    """llama.cpp models of a pool. Where the pool limits their memory, they share it, see `Room`."""

    def __init__(self, argument: str, pool: Pool, *, seed: int) -> None:
        if argument:
            raise SettingError(f"engine llamacpp takes no argument, found {argument!r}: weights are named in the pool")
        self._pool = pool
        self._limit = settings_of(pool).limit
        # The options of a model that another engine answers for may mean something there; they are read when asked.
        self._options = {m.alias: options_of(m) for m in pool.models if m.engine == "llamacpp"}
        self._weights: dict[str, _Weights] = {}
        self._room: Room[Loaded] = Room(self._limit, Loaded.close)

    def check(self, demands: Sequence[Demand]) -> None:
        """Refuse models whose weights are not there, and those that alone take more memory than there may be."""
        for demand in demands:
            self._options_of(demand.model)
            self._weights_of(demand.model)

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
        """Generate one sample in a slot of the model, once there is room for it."""
        model = request.model
        weights = self._weights_of(model)
        load = partial(Loaded, model.alias, weights.path, self._options_of(model), bounded=self._limit is not None)
        async with self._room.using(model.alias, need=weights.need, load=load) as loaded:
            stop = threading.Event()
            loop = asyncio.get_running_loop()
            job = loop.run_in_executor(loaded.threads, loaded.generate, request, progress, stop)
            try:
                return await asyncio.shield(job)
            except asyncio.CancelledError:
                # The stream's callback sees the flag at the next token and ends the task in the server; only then is
                # the slot free and the count of tokens final.
                stop.set()
                await asyncio.wait([job])
                job.exception()
                raise

    async def rest(self, model: PoolModel) -> None:
        """Unload a model that is not asked for a while, unless requests are under way; the next one loads it anew."""
        await self._room.rest(model.alias)

    def metrics(self, model: PoolModel) -> str | None:
        """The own counters of a model's server, in Prometheus's text format; None where it is not loaded."""
        loaded = self._room.loaded(model.alias)
        return None if loaded is None else loaded.metrics()

    async def close(self) -> None:
        """Unload the models."""
        await self._room.close()

    def _weights_of(self, model: PoolModel) -> _Weights:
        if model.alias not in self._weights:
            path = require(model, pool=self._pool.name)
            self._weights[model.alias] = _Weights(path, self._need(model, path, self._limit))
        return self._weights[model.alias]

    def _need(self, model: PoolModel, path: Path, limit: int | None) -> int:
        if limit is None:
            return 0
        options = self._options_of(model)
        if options.memory is not None:
            need, of = int(options.memory * GB), "its option memory"
        else:
            parts = need_of(path, tokens=options.slots * options.context)
            need, of = parts.total, _parts(parts, options)
        if need > limit:
            raise SettingError(
                f"model {model.alias} takes {need / GB:.2f} GB ({of}), and the models of engine llamacpp may take "
                f"{limit / GB:.2f} GB: raise memory in [engines.llamacpp] of pool {self._pool.name}, lower slots or "
                "context of the model, or take a smaller file"
            )
        return need

    def _options_of(self, model: PoolModel) -> Options:
        if model.alias not in self._options:
            self._options[model.alias] = options_of(model)
        return self._options[model.alias]


def _parts(need: Need, options: Options) -> str:
    return (
        f"{need.weights / GB:.2f} of weights, {need.cache / GB:.2f} of cache for {options.slots} slots of "
        f"{options.context} tokens, {need.overhead / GB:.2f} besides"
    )
