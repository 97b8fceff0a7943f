"""One GGUF model that gives vectors, through llama.cpp in this process.

The vectors are those behind the last block and the final norm; llama.cpp gives no others. It computes each text from
its first token: for vectors it does not use again what it has of an earlier text, not even where both begin alike.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from escalade.engines.llamacpp.gguf import read_header
from escalade.errors import EngineError, SettingError, WeightsError

Pooling = Literal["none", "mean", "cls", "last"]
_OF_HEADER: Mapping[int, Pooling] = {1: "mean", 2: "cls", 3: "last"}
_RANK = 4
_SMALLEST = 64
"""Tokens: a smaller context is not worth the name."""
_BYTES = 3
"""Of a token, seldom fewer: what a model is loaded for before its texts are counted."""


def depth_of(path: Path) -> int:
    """Return the number of a GGUF model's blocks, from its header.

    Raises:
        WeightsError: the file is no GGUF file, or its header has no such number.
    """
    header = read_header(path)
    return _number(header, f"{header.get('general.architecture')}.block_count", path)


def context_of(path: Path) -> int:
    """Return how many tokens a GGUF model was made for, from its header.

    Raises:
        WeightsError: the file is no GGUF file, or its header has no such number.
    """
    header = read_header(path)
    return _number(header, f"{header.get('general.architecture')}.context_length", path)


def pooling_of(path: Path) -> Pooling:
    """Return how a GGUF encoder makes one vector of a text's many, from its header; the mean where it does not say.

    Raises:
        WeightsError: the file is no GGUF file, or of a model that ranks pairs of texts and embeds none.
    """
    header = read_header(path)
    kind = header.get(f"{header.get('general.architecture')}.pooling_type")
    if kind == _RANK:
        raise WeightsError(f"{path} is of a model that ranks pairs of texts; it embeds none: name an encoder")
    return _OF_HEADER.get(kind, "mean") if isinstance(kind, int) else "mean"


class Llama:
    """A loaded GGUF model that gives vectors. Close it to free it.

    Args:
        path: of the weights.
        size: bytes of the longest text. All of a text is computed at once, so memory grows with it; the model is
            loaded for as many tokens as these bytes mostly are, and loaded anew by `hold` where they are more.
        pooling: how one vector is made of a text's many; "none" gives them all.
        threads: that compute; all cores where not given.

    Raises:
        EngineError: llama.cpp cannot load the file.
        SettingError: xllamacpp is not installed.
    """

    def __init__(self, path: Path, *, size: int, pooling: Pooling, threads: int | None = None) -> None:
        # Without this, threads that wait for each other spin on all cores and throughput collapses.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        try:
            import xllamacpp
        except ImportError as error:
            raise SettingError(f"{path}: GGUF files need xllamacpp: pip install 'escalade[local]'") from error
        self.path, self._pooling, self._threads = path, pooling, threads or os.cpu_count() or 2
        self._library = xllamacpp
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self._load(size // _BYTES)

    def _load(self, context: int) -> None:
        self.context = max(context, _SMALLEST)
        params = self._library.CommonParams()
        params.model.path = str(self.path)
        params.n_parallel = 1
        # A text is computed as one batch, and has to leave room for a token.
        params.n_batch = params.n_ubatch = self.context
        params.n_ctx = self.context + 1
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = self._threads
        params.embedding = True
        kinds = self._library.llama_pooling_type
        params.pooling_type = getattr(kinds, f"LLAMA_POOLING_TYPE_{self._pooling.upper()}")
        params.use_jinja = True
        params.warmup = False
        params.cache_ram_mib = 0
        params.verbosity = -1
        # The library always opens a port; it is bound to this machine only.
        params.hostnames = ["127.0.0.1"]
        params.port = 0
        params.ui = False
        try:
            self._server: Any = self._library.Server(params)
        except RuntimeError as error:
            raise EngineError(f"llama.cpp cannot load {self.path}: {error}") from error

    def hold(self, tokens: int) -> None:
        """Make room for a text of so many tokens."""
        if tokens > self.context:
            self.close()
            self._load(tokens)

    def tokens_of_chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Return the tokens of the prompt that the engine llamacpp makes of chat messages."""
        prompt = self._ask("/apply-template", {"messages": [dict(message) for message in messages]})["prompt"]
        return self.tokens_of(prompt)

    def tokens_of(self, text: str) -> list[int]:
        """Return the tokens of a text, with those that the model wants around it."""
        body = {"content": text, "add_special": True, "parse_special": True}
        ids: list[int] = self._ask("/tokenize", body)["tokens"]
        return ids

    def vectors(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Return vectors [T, D] of T tokens, not normalised; with pooling it is one vector [1, D].

        Raises:
            EngineError: llama.cpp failed, or gave numbers that are none.
        """
        answer = self._ask("/embeddings", {"input": list(tokens), "embd_normalize": -1})
        out = np.asarray(answer[0]["embedding"], dtype=np.float32)
        if out.ndim != 2 or not np.isfinite(out).all():
            raise EngineError(f"llama.cpp gave vectors for {self.path} that are not finite numbers")
        return out

    def close(self) -> None:
        """Free the model."""
        self._server = None

    def _ask(self, path: str, body: Mapping[str, Any]) -> Any:
        request = urllib.request.Request(
            self._server.listening_address + path,
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with self._opener.open(request) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                said = error.read().decode("utf-8", "replace")
            raise EngineError(f"llama.cpp failed on {self.path} at {path}: {said[:300]}") from error
        except (OSError, ValueError) as error:
            raise EngineError(f"llama.cpp failed on {self.path} at {path}: {error}") from error


def _number(header: Mapping[str, object], key: str, path: Path) -> int:
    value = header.get(key)
    if type(value) is not int or value < 1:
        raise WeightsError(f"{path}: its header has no number {key}: is it a file of a language model?")
    return value
