"""The engine itself: which client answers for a model, and what can be refused before anything is asked."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from escalade.engines.base import Demand, Progress, Request, chat_bound
from escalade.engines.openai.options import Options, access_of, options_of
from escalade.errors import SettingError
from escalade.pool import Pool, PoolModel
from escalade.samples.sample import Generation

if TYPE_CHECKING:
    from escalade.engines.openai.client import Client


class Engine:
    """Models of a pool behind OpenAI-compatible servers, one client for each."""

    def __init__(self, argument: str, pool: Pool, *, seed: int) -> None:
        self._argument = argument
        self._clients: dict[str, Client] = {}
        # The options of a model that another engine answers for may mean something there; they are read when asked.
        mine = (model for model in pool.models if model.engine.partition(":")[0] == "openai")
        self._options = {model.alias: options_of(model, argument) for model in mine}

    def check(self, demands: Sequence[Demand]) -> None:
        """Refuse models without a server or a key, and temperatures that a server does not take. Nothing is sent."""
        if any(importlib.util.find_spec(name) is None for name in ("openai", "httpx2")):
            raise SettingError("engine openai needs the SDK of that name: pip install 'escalade[openai]'")
        for demand in demands:
            options = self._options_of(demand.model)
            access_of(options, os.environ, alias=demand.model.alias)
            if options.temperatures is not None and demand.temperature not in options.temperatures:
                taken = ", ".join(f"t{temperature:g}" for temperature in options.temperatures)
                raise SettingError(
                    f"the route asks {demand.model.alias} at t{demand.temperature:g}, its server takes {taken} "
                    "(option temperatures): change the route"
                )

    def fingerprint(self, model: PoolModel) -> str:
        """Address and name of the model, or its `identity`, and the options that change samples."""
        return self._options_of(model).print_of(model)

    def in_flight(self, model: PoolModel) -> int:
        """As many as the option says."""
        return self._options_of(model).in_flight

    def prompt_bound(self, request: Request) -> int:
        """One token a byte, and room for the template."""
        return chat_bound(request.messages)

    async def sample(self, request: Request, progress: Progress) -> Generation:
        """Have the model's server generate one sample."""
        alias = request.model.alias
        if alias not in self._clients:
            from escalade.engines.openai.client import Client

            self._clients[alias] = Client(request.model, self._options_of(request.model))
        return await self._clients[alias].generate(request, progress)

    async def rest(self, model: PoolModel) -> None:
        """The server is somebody else's."""

    async def close(self) -> None:
        """Close all connections."""
        while self._clients:
            _, client = self._clients.popitem()
            await client.close()

    def _options_of(self, model: PoolModel) -> Options:
        if model.alias not in self._options:
            self._options[model.alias] = options_of(model, self._argument)
        options = self._options[model.alias]
        if options.base_url is None:
            raise SettingError(
                f"model {model.alias}: engine openai needs the address of a server: set its option base_url, "
                "or give one for all models: --engine openai:http://127.0.0.1:8000/v1"
            )
        return options
