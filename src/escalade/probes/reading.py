"""Reading features: the blocks that a probe is trained on, and the same features of other problems."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from escalade.errors import ScoreError, SettingError
from escalade.pool import Pool, PoolModel
from escalade.probes.encoders import embed
from escalade.probes.probe import Probe, Reading
from escalade.probes.ridge import Floats
from escalade.probes.states import States, identity_of, read_states
from escalade.probes.text import NAMES, TextFeatures
from escalade.probes.training import Block
from escalade.problems import Problem

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Source:
    """What features are read from: the text, a model of the pool, or an encoder."""

    model: PoolModel | None = None
    """Whose hidden states; None with an encoder or text."""
    encoder: str | None = None
    reader: str | None = None
    layers: tuple[int, ...] | None = None
    positions: int = 2
    cache: Path | None = None
    """Folder where states and embeddings are kept, so that none is computed twice."""


class Place(NamedTuple):
    """Where in a model a block was read."""

    layer: int
    position: int


@dataclass(frozen=True, eq=False)
class Features:
    """What was read of N problems."""

    blocks: tuple[Block, ...]
    reading: Reading | None
    """None: the text alone."""
    tokens: NDArray[np.int64] | None
    """[N] Tokens that the model or the encoder read; None is unknown."""
    text: TextFeatures | None = None
    places: tuple[Place | None, ...] = field(default=())
    """Of each block, where it is one of hidden states."""


def texts_of(problems: Sequence[Problem]) -> list[str]:
    """Return the texts of problems.

    Raises:
        SettingError: one has none.
    """
    bare = next((problem.id for problem in problems if not problem.text), None)
    if bare is not None:
        raise SettingError(f"problem {bare!r} has no text to read features of: give --problems FILE")
    return [problem.text for problem in problems]


def features_of(texts: Sequence[str], pool: Pool, source: Source, progress: Progress | None = None) -> Features:
    """Return the features of the problems that a probe is trained on.

    Raises:
        InputError, EngineError: the source cannot be read; see `read_states` and `embed`.
    """
    if source.model is not None:
        states = _states(texts, pool, source.model, source, progress)
        places = [Place(layer, position) for layer in states.layers for position in states.positions]
        shape = states.values.shape
        grid = [states.values[:, i, j] for i in range(shape[1]) for j in range(shape[2])]
        blocks = [Block(_name(place), values) for place, values in zip(places, grid, strict=True)]
        reading = Reading(
            model=source.model.name,
            identity=states.identity,
            reader=states.reader,
            prompt=pool.prompt_of(source.model).fingerprint,
        )
        return Features(tuple(blocks), reading, states.prompt_tokens, places=tuple(places))
    if source.encoder is not None:
        embedded = embed(source.encoder, texts, cache=source.cache, progress=progress)
        reading = Reading(model=source.encoder, identity=embedded.identity)
        return Features((Block("embedding", embedded.values),), reading, embedded.prompt_tokens, places=(None,))
    found = TextFeatures.of(texts)
    block = Block("text", found.values(texts), own=len(NAMES))
    return Features((block,), None, np.zeros(len(texts), dtype=np.int64), found, (None,))


class Raw(NamedTuple):
    """What a probe says of N problems before it is scaled."""

    values: Floats
    """About a logit."""
    tokens: NDArray[np.int64] | None
    """Tokens read for it; None is unknown."""


def raw_scores(
    probe: Probe,
    texts: Sequence[str],
    pool: Pool,
    *,
    encoder: str | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Raw:
    """Return what a probe says of problems.

    Args:
        probe: a probe.
        texts: of the problems.
        pool: has the model whose hidden states are read.
        encoder: where the encoder is now; None takes the one that the probe names.
        cache: folder where states and embeddings are kept.
        progress: is told how many texts are read, and how many there are.

    Raises:
        ScoreError: what reads the features is not what read them in training.
        InputError, EngineError: see `read_states` and `embed`.
    """
    about = probe.about
    if about.reading is None:
        return Raw(probe.raw_of_texts(texts), np.zeros(len(texts), dtype=np.int64))
    if about.features == "embedding":
        embedded = embed(encoder or about.reading.model, texts, cache=cache, progress=progress)
        _same("encoder", probe, embedded.identity)
        return Raw(probe.raw_of([embedded.values] * len(probe.lines)), embedded.prompt_tokens)
    model = next((model for model in pool.models if model.name == about.reading.model), None)
    if model is None:
        raise ScoreError(
            f"probe {about.name!r} reads the hidden states of {about.reading.model}, which pool {pool.name!r} does not "
            f"have (it has {', '.join(model.name for model in pool.models)})"
        )
    if pool.prompt_of(model).fingerprint != about.reading.prompt:
        raise ScoreError(
            f"probe {about.name!r} was trained on hidden states at the end of another prompt than pool {pool.name!r} "
            f"asks {model.alias} with: take the pool it was trained with, or train it anew"
        )
    _same(f"model {model.alias}", probe, identity_of(model, pool))
    places = [Place(member.layer or 0, member.position or -1) for member in about.members]
    layers, depth = tuple(sorted({place.layer for place in places})), -min(place.position for place in places)
    reader = (about.reading.reader or "").split()[0] or None
    source = Source(model, reader=reader, layers=layers, positions=depth, cache=cache)
    states = _states(texts, pool, model, source, progress)
    chosen = [
        states.values[:, states.layers.index(place.layer), states.positions.index(place.position)] for place in places
    ]
    return Raw(probe.raw_of(chosen), states.prompt_tokens)


def _states(texts: Sequence[str], pool: Pool, model: PoolModel, source: Source, progress: Progress | None) -> States:
    if source.encoder is not None:
        raise SettingError("hidden states are of a model, embeddings of an encoder: name one of them")
    return read_states(
        model,
        pool,
        texts,
        layers=source.layers,
        positions=source.positions,
        reader=source.reader,
        cache=source.cache,
        progress=progress,
    )


def _same(what: str, probe: Probe, identity: str) -> None:
    reading = probe.about.reading
    if reading is not None and reading.identity != identity:
        raise ScoreError(
            f"probe {probe.about.name!r}: {what} is not what read the features in training (its fingerprint was "
            f"{reading.identity:.16}, now it is {identity:.16}): take the same weights, or train the probe anew"
        )


def _name(place: Place) -> str:
    return f"layer {place.layer}, position {place.position}"
