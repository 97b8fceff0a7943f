"""One loaded model.

Tokens and logprobs are counted here, from the stream: the server's own usage is wrong for n > 1, and a cancelled
request has none.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from escalade.engines.base import Progress, Request
from escalade.engines.llamacpp.options import Options
from escalade.errors import EngineError, SettingError
from escalade.samples.sample import Generation


class Loaded:
    """One loaded model and the threads that wait for its slots.

    Args:
        alias: of the model.
        path: of its weights.
        options: of the model.
        bounded: whether memory is limited: then weights are read, not mapped, and no caches of earlier prompts are
            kept, which else may take 8 GB.

    Raises:
        EngineError: llama.cpp cannot load the file.
        SettingError: xllamacpp is not installed.
    """

    def __init__(self, alias: str, path: Path, options: Options, *, bounded: bool) -> None:
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
        if bounded:
            # A mapped file stays in memory beside the copy that llama.cpp makes of weights it rearranges; what is read
            # takes its size, once.
            params.load_mode = xllamacpp.llama_load_mode.LLAMA_LOAD_MODE_NONE
            params.cache_ram_mib = 0
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
        codes: list[Any] = []

        def take(chunk: str) -> bool:
            body = json.loads(chunk)
            if "error" in body:
                failure.append(str(body["error"].get("message", body["error"])))
                codes.append(body["error"].get("code"))
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
        if request.stop:
            body["stop"] = list(request.stop)
        try:
            self._server.handle_chat_completions(json.dumps(body), take)
        except (ValueError, RuntimeError) as error:
            raise EngineError(f"llama.cpp refused a request to {self._alias}: {error}") from error
        if failure:
            raise EngineError(f"llama.cpp failed on {self._alias}: {failure[0]}", refused=codes[0] == 400)
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
