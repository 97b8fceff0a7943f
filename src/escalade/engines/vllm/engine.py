"""The engine itself: one served model for each of the pool's, and what can be refused before anything is loaded."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial

from escalade.engines.base import Demand, Progress, Request, chat_bound
from escalade.engines.vllm.llm import HOTTEST, load, require_vllm
from escalade.engines.vllm.options import Options, options_of
from escalade.engines.vllm.served import Served
from escalade.errors import SettingError
from escalade.pool import Pool, PoolModel
from escalade.samples.sample import Generation
from escalade.weights.checkpoint import print_of_checkpoint, refuse_if_unreachable, require_checkpoint


class Engine:
    """Models of a pool through vLLM in this process, each loaded once, at its first request."""

    def __init__(self, argument: str, pool: Pool, *, seed: int) -> None:
        if argument:
            raise SettingError(
                f"engine vllm takes no argument, found {argument!r}: a model's folder is its option path; "
                "a vLLM server is asked with --engine openai:ADDRESS"
            )
        # The options of a model that another engine answers for may mean something there; they are read when asked.
        self._options = {m.alias: options_of(m) for m in pool.models if m.engine == "vllm"}
        self._served: dict[str, Served] = {}
        self._prints: dict[str, str] = {}

    def check(self, demands: Sequence[Demand]) -> None:
        """Refuse what is known not to work: no vLLM, unknown arguments, no weights, temperatures above 2."""
        for demand in demands:
            model = demand.model
            options = self._options_of(model)
            require_vllm(options, alias=model.alias)
            if demand.temperature > HOTTEST:
                raise SettingError(
                    f"the route asks {model.alias} at t{demand.temperature:g}, engine vllm takes 0 to {HOTTEST:g}: "
                    "change the route"
                )
            if options.path is not None:
                require_checkpoint(options.path, alias=model.alias)
            else:
                refuse_if_unreachable(model, options.revision, os.environ)

    def fingerprint(self, model: PoolModel) -> str:
        """What the checkpoint holds, or its name and revision at the hub; and the options that change samples."""
        if model.alias not in self._prints:
            options = self._options_of(model)
            if options.identity is not None:
                what = options.identity
            elif options.path is not None:
                what = print_of_checkpoint(require_checkpoint(options.path, alias=model.alias))
            else:
                what = f"{model.name}@{options.revision or 'main'}"
            self._prints[model.alias] = f"vllm:{what}:{options.mark}"
        return self._prints[model.alias]

    def in_flight(self, model: PoolModel) -> int:
        """As many as the option says."""
        return self._options_of(model).in_flight

    def prompt_bound(self, request: Request) -> int:
        """One token a byte, and room for the template."""
        bound, context = chat_bound(request.messages), self._options_of(request.model).context
        return bound if context is None else min(bound, context)

    async def sample(self, request: Request, progress: Progress) -> Generation:
        """Have the model generate one sample; the first request loads it."""
        return await self._of(request.model).generate(request, progress)

    async def rest(self, model: PoolModel) -> None:
        """Free the GPUs of a model that is not asked for a while."""
        if model.alias in self._served:
            await self._served[model.alias].rest()

    async def close(self) -> None:
        """End all processes."""
        while self._served:
            _, served = self._served.popitem()
            await served.close()

    def _of(self, model: PoolModel) -> Served:
        if model.alias not in self._served:
            options = self._options_of(model)
            self._served[model.alias] = Served(model.alias, options, partial(load, model, options))
        return self._served[model.alias]

    def _options_of(self, model: PoolModel) -> Options:
        if model.alias not in self._options:
            self._options[model.alias] = options_of(model)
        return self._options[model.alias]
