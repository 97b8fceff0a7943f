"""Hidden states of a model at the end of its prompt: what it has made of a problem before it writes a token.

The prompt is the one that the engine would be asked with: the pool's messages through the model's chat template, with
the words that begin an answer. Its last tokens are the template's own, the same for every problem, and have seen all of
it (arXiv 2602.09924).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from escalade.engines.base import chat_bound, open_engine
from escalade.engines.llamacpp.options import options_of
from escalade.errors import ProblemError, SettingError, nearest
from escalade.pool import Pool, PoolModel
from escalade.probes.checkpoint import CheckpointReader, source_of
from escalade.probes.layers import chosen_layers, last_positions
from escalade.probes.llama import Llama, Pooling, depth_of
from escalade.probes.shards import Progress, Row, Shards, gathered
from escalade.weights import require

READERS: Mapping[str, str] = {"llamacpp": "llamacpp", "transformers": "transformers", "vllm": "transformers"}
"""By engine: what reads the states of its models where no reader is named."""
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class States:
    """Hidden states of N prompts."""

    values: Floats
    """[N, L, P, D]."""
    layers: tuple[int, ...]
    """L numbers, as transformers numbers `hidden_states`: 0 is the embeddings, the depth what is behind the last block
    and the final norm."""
    positions: tuple[int, ...]
    """P numbers: -1 is the last token of the prompt, -2 the one before it."""
    prompt_tokens: NDArray[np.int64]
    """[N]: tokens of each prompt, all of which are computed."""
    identity: str
    """What answers: the fingerprint that the model's engine gives its samples."""
    reader: str
    """What read them: llamacpp, or transformers and its number format. States of two readers are alike, not equal."""


class Reader(Protocol):
    """Reads hidden states at certain layers and positions. Weights are loaded when they are needed."""

    name: str
    layers: tuple[int, ...]
    limit: int | None
    """The most tokens that a prompt may have; None where there is no limit."""

    def prompts(self, chats: Sequence[Sequence[Mapping[str, str]]]) -> list[list[int]]:
        """Return the tokens of chats; all that are to be read, in one call."""

    def read(self, prompts: Sequence[Sequence[int]]) -> Iterator[tuple[int, Floats]]:
        """Yield the place of each prompt and its states [L, P, D], in any order."""

    def close(self) -> None:
        """Free what was loaded."""


class LlamaReader:
    """The states behind the last block of a GGUF model, read by llama.cpp: it gives no others.

    Raises:
        SettingError: another layer is asked for.
        WeightsError: the weights are not there.
    """

    name = "llamacpp"

    def __init__(self, model: PoolModel, pool: Pool, *, layers: Sequence[int] | None, positions: Sequence[int]) -> None:
        self._options, self._path = options_of(model), require(model, pool=pool.name)
        depth = depth_of(self._path)
        self.layers = chosen_layers([depth] if layers is None else layers, depth, alias=model.alias)
        if self.layers != (depth,):
            raise SettingError(
                f"model {model.alias}: layers {list(self.layers)}: reader llamacpp gives layer {depth} only, the last; "
                "reader transformers gives all"
            )
        self.limit: int | None = self._options.context
        self._positions = tuple(positions)
        self._llama: Llama | None = None

    def prompts(self, chats: Sequence[Sequence[Mapping[str, str]]]) -> list[list[int]]:
        """Load the model and return their tokens."""
        pooling: Pooling = "last" if self._positions == (-1,) else "none"
        size = max(map(chat_bound, chats), default=0)
        self._llama = Llama(self._path, size=size, pooling=pooling, threads=self._options.threads)
        return [self._llama.tokens_of_chat(messages) for messages in chats]

    def read(self, prompts: Sequence[Sequence[int]]) -> Iterator[tuple[int, Floats]]:
        """Yield the place of each prompt and its states [1, P, D], in their order."""
        if self._llama is None:
            raise ValueError("the model is loaded by prompts()")
        self._llama.hold(max(map(len, prompts), default=0))
        for place, prompt in enumerate(prompts):
            yield place, self._llama.vectors(prompt)[None, list(self._positions)]

    def close(self) -> None:
        """Free the model."""
        if self._llama is not None:
            self._llama.close()


def identity_of(model: PoolModel, pool: Pool) -> str:
    """Return what answers: the fingerprint that the model's engine gives its samples; no weights are loaded.

    Raises:
        WeightsError: the weights are not there.
    """
    return open_engine(model.engine, pool, seed=0).fingerprint(model)


def read_states(
    model: PoolModel,
    pool: Pool,
    texts: Sequence[str],
    *,
    layers: Sequence[int] | None = None,
    positions: int = 2,
    reader: str | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> States:
    """Return the hidden states of a model at the end of the prompts that ask it these problems.

    Nothing is cut: a prompt that is too long is refused before any is computed. A text that is there twice is computed
    once.

    Args:
        model: of the pool.
        pool: says with which prompt the model is asked.
        texts: of the problems.
        layers: to be read; by default those at .5, .6, .7, .8 of the depth and the last (llamacpp: the last).
        positions: how many of the prompt's last tokens are read.
        reader: "llamacpp" (GGUF files, the last layer) or "transformers" (checkpoints, and GGUF files, whose weights
            it writes out as float32; all layers); by default the one that fits the model's engine.
        cache: folder in which states are kept; those that are there are not computed again.
        progress: is told how many texts are done, and how many there are.

    Raises:
        SettingError: an unknown reader or layer, or one that needs what is not installed.
        ProblemError: a prompt is longer than the model's context, or shorter than the positions.
        WeightsError: the weights are not there.
        StoreError: the cache is damaged or cannot be written.
        EngineError: the model failed.
    """
    last = last_positions(positions)
    source = _reader(model, pool, reader, layers=layers, positions=last)
    identity = identity_of(model, pool)
    prompt = pool.prompt_of(model)
    key = {
        "of": "states",
        "identity": identity,
        "reader": source.name,
        "prompt": prompt.fingerprint,
        "layers": source.layers,
        "positions": last,
    }

    def computed(missing: Mapping[int, str]) -> Iterator[tuple[int, Row]]:
        prompts = source.prompts([prompt.messages(text) for text in missing.values()])
        places = list(missing)
        for place, tokens in zip(places, prompts, strict=True):
            _check(place, len(tokens), source.limit, positions, model.alias)
        for number, values in source.read(prompts):
            yield places[number], Row(values, len(prompts[number]))

    try:
        rows = gathered(texts, computed, shards=None if cache is None else Shards(cache, key), progress=progress)
    finally:
        source.close()
    return States(
        values=np.stack([row.vector for row in rows]) if rows else np.zeros((0, 0, 0, 0), np.float32),
        layers=source.layers,
        positions=last,
        prompt_tokens=np.asarray([row.tokens for row in rows], dtype=np.int64),
        identity=identity,
        reader=source.name,
    )


def _reader(
    model: PoolModel, pool: Pool, name: str | None, *, layers: Sequence[int] | None, positions: Sequence[int]
) -> Reader:
    engine = model.engine.partition(":")[0]
    if name is None:
        name = READERS.get(engine, "transformers")
    if name == "llamacpp":
        if engine != "llamacpp":
            raise SettingError(
                f"model {model.alias}: reader llamacpp reads GGUF files, which models of engine llamacpp have; this "
                f"one is of engine {engine}: name reader transformers"
            )
        return LlamaReader(model, pool, layers=layers, positions=positions)
    if name == "transformers":
        return CheckpointReader(source_of(model, pool), layers=layers, positions=positions)
    if name == "vllm":
        raise SettingError(
            "reader 'vllm': vLLM's extraction (extract_hidden_states) needs a GPU, and is not part of this version; "
            "reader transformers reads the same checkpoint"
        )
    raise SettingError(f"reader {name!r} is unknown: there are llamacpp, transformers{nearest(name, READERS)}")


def _check(place: int, tokens: int, limit: int | None, positions: int, alias: str) -> None:
    if limit is not None and tokens > limit:
        raise ProblemError(
            f"problem {place} (counted from 0): its prompt has {tokens} tokens, {alias} takes {limit}: nothing is cut; "
            "raise option context of the model if it can do more, or leave the problem out"
        )
    if tokens < positions:
        raise ProblemError(
            f"problem {place} (counted from 0): its prompt has {tokens} tokens, fewer than the {positions} positions "
            "that are to be read: lower positions"
        )
