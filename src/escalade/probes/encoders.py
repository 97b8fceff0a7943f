"""Embeddings: one vector of a problem's text from an encoder, which need not be a model of the pool.

An encoder is named by where it is:

    encoder.gguf                                a GGUF file, through llama.cpp in this process
    path/to/folder                              a folder of the library sentence-transformers
    http://127.0.0.1:8080/v1#bge-small          a server that has the OpenAI API's /embeddings, and its model's name
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from escalade.errors import EngineError, ProblemError, SettingError, WeightsError
from escalade.probes.llama import Llama, context_of, pooling_of
from escalade.probes.served import Served
from escalade.probes.shards import Progress, Row, Shards, gathered
from escalade.weights import hash_of
from escalade.weights.checkpoint import print_of_checkpoint

BATCH = 32
"""Texts that sentence-transformers embeds at once, of like length."""
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Embeddings of N texts."""

    values: Floats
    """[N, D], each of length 1 where the encoder or its server makes it so."""
    identity: str
    """What embeds: its sha256 and pooling, its folder's hash, or a server's address and the model's name there."""
    prompt_tokens: NDArray[np.int64] | None
    """[N]; None where a server does not say."""


class Encoder(Protocol):
    """Embeds texts, each for itself."""

    identity: str

    def embed(self, texts: Mapping[int, str]) -> Iterator[tuple[int, Row]]:
        """Yield the place of each text and its vector [D], in any order.

        Raises:
            ProblemError: a text is longer than the encoder takes.
        """


def embed(
    encoder: str | Path,
    texts: Sequence[str],
    *,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Embeddings:
    """Return the embeddings of texts. A text that is there twice is embedded once; nothing is cut.

    Args:
        encoder: a GGUF file, a folder of sentence-transformers, or a server's address with the name of its model
            behind a #. A server's key is read from OPENAI_API_KEY; one on this machine needs none.
        texts: of the problems, without any prompt.
        cache: folder in which embeddings are kept; those that are there are not computed again.
        progress: is told how many texts are done, and how many there are.

    Raises:
        SettingError: the name is none of the three, or what it needs is not installed or not set.
        WeightsError: the file or folder is not there, or is no encoder's.
        ProblemError: a text is longer than the encoder takes.
        EngineError: the encoder failed.
        StoreError: the cache is damaged or cannot be written.
    """
    opened = open_encoder(str(encoder))
    shards = None if cache is None else Shards(cache, {"of": "embeddings", "identity": opened.identity})
    rows = gathered(texts, opened.embed, shards=shards, progress=progress)
    tokens = [row.tokens for row in rows]
    return Embeddings(
        values=np.stack([row.vector for row in rows]) if rows else np.zeros((0, 0), np.float32),
        identity=opened.identity,
        prompt_tokens=None if -1 in tokens else np.asarray(tokens, dtype=np.int64),
    )


def open_encoder(name: str) -> Encoder:
    """Return the encoder of this name; nothing is loaded or asked yet.

    Raises:
        SettingError: the name is none of the three.
        WeightsError: the file or folder is not there, or is no encoder's.
    """
    if name.startswith(("http://", "https://")):
        return Served(name)
    path = Path(name).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise WeightsError(f"encoder {name}: no such file")
        return Gguf(path)
    if path.is_dir():
        return Folder(path)
    raise SettingError(
        f"encoder {name!r} is no .gguf file, no folder that is there, and no address of a server with its model's name "
        "behind a # (http://127.0.0.1:8080/v1#bge-small)"
    )


class Gguf:
    """A GGUF file through llama.cpp, with the pooling that its header says, the mean where it says none."""

    def __init__(self, path: Path) -> None:
        self._path, self._pooling, self._limit = path, pooling_of(path), context_of(path)
        self.identity = f"gguf:{hash_of(path).sha256}:{self._pooling}"

    def embed(self, texts: Mapping[int, str]) -> Iterator[tuple[int, Row]]:
        """Yield vectors of length 1."""
        llama = Llama(self._path, size=max(len(text.encode()) for text in texts.values()), pooling=self._pooling)
        try:
            tokens = {place: llama.tokens_of(text) for place, text in texts.items()}
            for place, ids in tokens.items():
                _check(place, len(ids), self._limit, str(self._path))
            llama.hold(max(map(len, tokens.values())))
            for place, ids in tokens.items():
                vector = llama.vectors(ids)[0]
                yield place, Row(vector / (np.linalg.norm(vector) or 1.0), len(ids))
        finally:
            llama.close()


class Folder:
    """A folder of the library sentence-transformers, on the CPU or whatever device the library takes by itself."""

    def __init__(self, folder: Path) -> None:
        if not (folder / "modules.json").is_file():
            raise WeightsError(f"encoder {folder}: no modules.json in it, so it is no folder of sentence-transformers")
        self._folder = folder
        inner = sorted(path for path in folder.rglob("*") if path.is_dir() and not path.name.startswith("."))
        prints = [f"{path.relative_to(folder)} {print_of_checkpoint(path)}" for path in (folder, *inner)]
        self.identity = f"sentence-transformers:{hashlib.sha256(chr(10).join(prints).encode()).hexdigest()}"

    def embed(self, texts: Mapping[int, str]) -> Iterator[tuple[int, Row]]:
        """Yield vectors as the folder's modules make them."""
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise SettingError(
                f"encoder {self._folder} needs the library: pip install 'escalade[encoders]' ({error})"
            ) from error
        try:
            encoder = SentenceTransformer(str(self._folder))
            tokenizer, limit = encoder.tokenizer, encoder.max_seq_length
            prompt = encoder.prompts.get(encoder.default_prompt_name) or ""  # the library puts it before each text
            counts = {
                place: len(tokenizer(prompt + text, truncation=False)["input_ids"]) for place, text in texts.items()
            }
        except Exception as error:  # the library raises what its many parts raise
            raise EngineError(f"sentence-transformers cannot load {self._folder}: {error}") from error
        for place, count in counts.items():
            _check(place, count, limit, str(self._folder))
        places = sorted(texts, key=lambda place: counts[place])
        for start in range(0, len(places), BATCH):
            batch = places[start : start + BATCH]
            try:
                vectors = encoder.encode(
                    [texts[place] for place in batch], batch_size=BATCH, show_progress_bar=False, convert_to_numpy=True
                )
            except Exception as error:
                raise EngineError(f"sentence-transformers failed on {self._folder}: {error}") from error
            for place, vector in zip(batch, vectors, strict=True):
                yield place, Row(_vector(vector, str(self._folder)), counts[place])


def _check(place: int, tokens: int, limit: int | None, encoder: str) -> None:
    if limit is not None and tokens > limit:
        raise ProblemError(
            f"problem {place} (counted from 0): its text has {tokens} tokens, encoder {encoder} takes {limit}: nothing "
            "is cut; take an encoder for longer texts, or leave the problem out"
        )


def _vector(given: object, encoder: str) -> Floats:
    """A vector [D] out of what an encoder gave."""
    try:
        vector = np.asarray(given, dtype=np.float32)
    except (TypeError, ValueError):
        vector = np.zeros(0, np.float32)
    if vector.ndim != 1 or not vector.size or not np.isfinite(vector).all():
        raise EngineError(f"encoder {encoder} gave what is no vector of finite numbers")
    return vector
