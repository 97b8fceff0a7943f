"""vLLM's own API (AsyncLLM): what of it is used, in our words. The only module that imports vllm.

Nothing is imported before a model is loaded, which happens in a thread. vLLM starts processes of its own (`spawn`).
"""

from __future__ import annotations

import dataclasses
import gc
import importlib.util
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

from escalade.engines.base import Request
from escalade.engines.transformers import prompt_ids
from escalade.engines.vllm.guard import Guard
from escalade.engines.vllm.options import Options
from escalade.errors import EngineError, SettingError, nearest
from escalade.pool import PoolModel

HOTTEST = 2.0
"""The highest temperature that vLLM takes."""
_END = 20.0
"""Seconds for vLLM's processes to end by themselves; then they are killed."""
_MISSING = "engine vllm needs vLLM: pip install 'escalade[vllm]'"


class Died(Exception):  # noqa: N818 - an event in the life of a model, no error of the package's tree
    """The process that generates is gone; all that was under way with it."""


class Piece(NamedTuple):
    """What came of a request since the last piece."""

    text: str
    tokens: int
    logprob: float | None
    """Sum over all tokens so far, in nats."""
    cached: int | None
    """Prompt tokens that were in the prefix cache."""
    finish: str | None
    """Why it ended; None while it goes on."""


class Llm(Protocol):
    """One loaded model."""

    can_sleep: bool

    def prompt(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Return the prompt's tokens; an EngineError where there is no way to write these messages."""

    def stream(self, name: str, prompt: Sequence[int], request: Request, seed: int | None) -> AsyncIterator[Piece]:
        """Generate; raises Died, or an EngineError where vLLM refuses the request."""

    async def abort(self, name: str) -> None:
        """Stop a request, if it is under way."""

    async def sleep(self, level: int) -> None:
        """Free the GPUs."""

    async def wake(self, level: int) -> None:
        """Undo that."""

    def shutdown(self) -> None:
        """End its processes; waits for them."""


def require_vllm(options: Options, *, alias: str) -> None:
    """Refuse what can be known before a model is loaded; vLLM is imported only where `args` name something of it.

    Raises:
        SettingError: vLLM is not installed, or does not know one of `args`.
    """
    if importlib.util.find_spec("vllm") is None:
        raise SettingError(_MISSING)
    if not options.args:
        return
    _prepare()
    from vllm.engine.arg_utils import AsyncEngineArgs

    known = {field.name for field in dataclasses.fields(AsyncEngineArgs)}
    for name in options.args:
        if name not in known:
            near = nearest(name, known)
            raise SettingError(f"model {alias}: option args of engine vllm: its AsyncEngineArgs know no {name!r}{near}")


def load(model: PoolModel, options: Options, seed: int) -> Llm:
    """Load a model; blocks until it is ready, so it runs in a thread.

    Raises:
        SettingError: vLLM is not installed. EngineError: it cannot load the model; says why.
    """
    _prepare()
    try:
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.platforms import current_platform
        from vllm.v1.engine.async_llm import AsyncLLM
    except ImportError as error:
        raise SettingError(f"{_MISSING} ({error})") from error
    place = str(options.path.expanduser().absolute()) if options.path is not None else model.name
    can_sleep = options.sleep > 0 and bool(current_platform.is_sleep_mode_available())
    args: dict[str, Any] = {
        "model": place,
        "revision": options.revision,
        "seed": seed,
        "tensor_parallel_size": options.gpus,
        "gpu_memory_utilization": options.memory,
        "dtype": options.dtype,
        "quantization": options.quantization,
        "max_num_seqs": options.in_flight,
        "enable_sleep_mode": can_sleep,
        # k samples have one prompt: its keys and values are computed once.
        "enable_prefix_caching": True,
        "disable_log_stats": True,
    }
    if options.context is not None:
        args["max_model_len"] = options.context
    if options.seed == "request" and current_platform.is_cpu():
        # A prompt computed in parts makes vLLM turn back the request's generator, which on a CPU kills the engine
        # ("CPU Generator does not use offset").
        args["enable_chunked_prefill"] = False
    try:
        return _Loaded(
            AsyncLLM.from_engine_args(AsyncEngineArgs(**args | dict(options.args))), model, options, can_sleep
        )
    except EngineError:
        raise
    except Exception as error:  # vLLM raises what its many parts raise
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        said = f"{type(error).__name__}: {lines[0][:500] if lines else 'no word'}"
        raise EngineError(f"vLLM cannot load {model.alias} from {place}: {said} (its log says more)") from error


def _prepare() -> None:
    """Set what vLLM reads from the environment: nobody is told of a run, and standard output stays ours."""
    os.environ.update(VLLM_NO_USAGE_STATS="1", VLLM_DO_NOT_TRACK="1", HF_HUB_DISABLE_TELEMETRY="1")
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    # This process has threads, and a fork of one of those may never come back.
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")


class _Loaded:
    """An AsyncLLM with its tokenizer."""

    def __init__(self, llm: Any, model: PoolModel, options: Options, can_sleep: bool) -> None:
        from vllm import SamplingParams
        from vllm.exceptions import VLLMClientError, VLLMServerError
        from vllm.sampling_params import RequestOutputKind
        from vllm.v1.engine.exceptions import EngineDeadError

        self.can_sleep = can_sleep
        self._llm = llm
        self._guard = Guard([process.pid for process in llm.engine_core.resources.engine_manager.processes])
        self._model, self._chat = model, options.chat
        self._tokenizer = llm.get_tokenizer()
        self._params, self._delta = SamplingParams, RequestOutputKind.DELTA
        self._dead, self._refused, self._failed = EngineDeadError, VLLMClientError, VLLMServerError

    def prompt(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        return prompt_ids(self._tokenizer, messages, chat=self._chat, alias=self._model.alias)

    async def stream(
        self, name: str, prompt: Sequence[int], request: Request, seed: int | None
    ) -> AsyncIterator[Piece]:
        model = self._model
        try:
            # Settings of a sampler that come with a checkpoint (generation_config.json) are not used.
            params = self._params(
                n=1,
                temperature=request.temperature,
                top_p=model.top_p if model.top_p is not None else 1.0,
                top_k=model.top_k or 0,
                max_tokens=request.max_tokens,
                seed=seed,
                stop=list(request.stop) or None,
                logprobs=0,  # that of the sampled token, and no others
                output_kind=self._delta,
            )
            # As vLLM's own renderer writes it; plain prompts are on their way out there.
            ready = {"type": "token", "prompt_token_ids": list(prompt)}
            async for output in self._llm.generate(ready, params, name):
                part = output.outputs[0]
                cached = output.num_cached_tokens
                yield Piece(part.text, len(part.token_ids), part.cumulative_logprob, cached, part.finish_reason)
        except self._dead as error:
            raise Died(str(error)) from error
        except self._refused as error:
            raise EngineError(f"vLLM refused a request to {model.alias}: {error}", refused=True) from error
        except self._failed as error:
            said = error.__cause__ or error
            raise EngineError(f"vLLM failed on {model.alias}: {said}", retryable=True) from error

    async def abort(self, name: str) -> None:
        with suppress(self._dead):  # then there is nothing to stop
            await self._llm.abort(name)

    async def sleep(self, level: int) -> None:
        try:
            await self._llm.sleep(level)
        except Exception as error:  # whatever it is, the model is in no state to go on
            raise Died(str(error)) from error

    async def wake(self, level: int) -> None:
        try:
            if level < 2:
                await self._llm.wake_up()
                return
            await self._llm.wake_up(tags=["weights"])
            await self._llm.collective_rpc("reload_weights")
            await self._llm.wake_up(tags=["kv_cache"])
        except Exception as error:
            raise Died(str(error)) from error

    def shutdown(self) -> None:
        llm, self._llm = self._llm, None
        if llm is not None:
            llm.shutdown(timeout=_END)
            self._guard.release()
            del llm
            gc.collect()  # what is left of it would complain when Python ends
