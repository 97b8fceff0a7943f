"""Shards: vectors of texts on disk, so that what was computed once is not computed again.

    <folder>/<key>/<name>.safetensors

`key` is a hash of all that the vectors depend on besides the text. A shard holds vectors of some texts; it is renamed
into place when it is whole, and named after what it holds. So any number of processes may write at once, and one that
was interrupted leaves what it had finished. Nothing in here is ever run or unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from escalade.errors import EngineError, SettingError, StoreError

Floats = NDArray[np.float32]
Progress = Callable[[int, int], None]
"""Is told how many texts are done, and how many there are."""
FLUSH = 64
"""Texts of a shard: so many are computed again, at the most, after a crash."""


class Row(NamedTuple):
    """What is kept of one text."""

    vector: Floats
    """Of any shape, the same for all texts of a key."""
    tokens: int
    """Tokens that were read for it; -1 where that is not known."""


def text_hash(text: str) -> str:
    """Return the hash that a text is kept under; of a problem with a text it is `Problem.fingerprint`.

    Example:
        >>> text_hash("What is 2 + 2?")
        '38d46ad3618826cf660df542bcf13a3b'
    """
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class Shards:
    """The vectors of one key.

    Args:
        folder: the cache as a whole.
        key: all that the vectors depend on besides the text, as plain values.

    Raises:
        StoreError: a shard is damaged, or not of this key.
        SettingError: safetensors is not installed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     shards = Shards(Path(folder), {"model": "M"})
        ...     shards.keep({"a": Row(np.ones((2, 3), np.float32), 7)})
        ...     again = Shards(Path(folder), {"model": "M"}).rows
        >>> again["a"].vector.shape, again["a"].tokens
        ((2, 3), 7)
    """

    def __init__(self, folder: Path, key: Mapping[str, Any]) -> None:
        try:
            import safetensors.numpy
        except ImportError as error:
            raise SettingError("a cache of vectors needs safetensors: pip install 'escalade[probes]'") from error
        self._files = safetensors
        self._key = json.dumps(key, sort_keys=True)
        self.folder = folder.expanduser() / hashlib.sha256(self._key.encode()).hexdigest()[:32]
        self.rows: dict[str, Row] = {}
        """By the hash of the text."""
        for path in sorted(self.folder.glob("*.safetensors")):
            self.rows |= self._read(path)

    def keep(self, rows: Mapping[str, Row]) -> None:
        """Write a shard. It is on the disk when this returns.

        Raises:
            StoreError: it cannot be written.
        """
        if not rows:
            return
        tensors: dict[str, NDArray[Any]] = {
            "vectors": np.ascontiguousarray(np.stack([row.vector for row in rows.values()]), dtype=np.float32),
            "tokens": np.asarray([row.tokens for row in rows.values()], dtype=np.int64),
        }
        texts = list(rows)
        digest = _digest(tensors, texts)
        told = {"key": self._key, "texts": json.dumps(texts), "sha256": digest}
        path = self.folder / f"{digest[:32]}.safetensors"
        partial = path.with_name(f".{path.stem}.{os.getpid()}.partial")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                with partial.open("wb") as file:
                    file.write(self._files.numpy.save(tensors, metadata=told))
                    file.flush()
                    os.fsync(file.fileno())
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"cache {self.folder} cannot be written: {error.strerror or error}") from error
        self.rows |= rows

    def _read(self, path: Path) -> dict[str, Row]:
        remedy = "delete it, and what it held is computed again"
        try:
            with self._files.safe_open(path, framework="numpy") as file:
                told = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in ("vectors", "tokens")}
            texts = json.loads(told["texts"])
        except (OSError, ValueError, KeyError, self._files.SafetensorError) as error:
            raise StoreError(f"shard {path} is damaged ({error}): {remedy}") from error
        if told.get("key") != self._key:
            raise StoreError(f"shard {path} is not of this cache's key: {remedy}")
        if len(texts) != len(tensors["vectors"]) or told.get("sha256") != _digest(tensors, texts):
            raise StoreError(f"shard {path} is damaged (its sha256 is another): {remedy}")
        rows = zip(tensors["vectors"], tensors["tokens"].tolist(), strict=True)
        return {text: Row(vector, tokens) for text, (vector, tokens) in zip(texts, rows, strict=True)}


def gathered(
    texts: Sequence[str],
    compute: Callable[[Mapping[int, str]], Iterator[tuple[int, Row]]],
    *,
    shards: Shards | None,
    progress: Progress | None,
) -> list[Row]:
    """Return what is kept of each text, in order; what is missing is computed, and kept as it comes.

    Args:
        texts: any number of which may be equal: those are computed once.
        compute: is given texts by their places, and yields a place and what it made of that text, in any order. It is
            not called where nothing is missing.
        shards: of a cache; None keeps nothing.
        progress: is told.

    Raises:
        EngineError: the vectors are not of one shape.
        StoreError: they cannot be kept.

    Example:
        >>> def length(texts: Mapping[int, str]) -> Iterator[tuple[int, Row]]:
        ...     yield from ((place, Row(np.full(1, len(text), np.float32), -1)) for place, text in texts.items())
        >>> [float(row.vector[0]) for row in gathered(["a", "bcd", "a"], length, shards=None, progress=None)]
        [1.0, 3.0, 1.0]
    """
    hashes = [text_hash(text) for text in texts]
    rows = {} if shards is None else dict(shards.rows)
    first = {mark: place for place, mark in reversed(list(enumerate(hashes)))}
    missing = {place: texts[place] for place in sorted(first.values()) if hashes[place] not in rows}
    there = len(texts) - len(missing)
    if progress is not None:
        progress(there, len(texts))
    fresh: dict[str, Row] = {}
    shapes = {rows[mark].vector.shape for mark in hashes if mark in rows}
    try:
        for done, (place, row) in enumerate(compute(missing) if missing else (), start=1):
            shapes.add(row.vector.shape)
            if len(shapes) > 1:
                raise EngineError(
                    f"problem {place} (counted from 0): vectors of {len(shapes)} shapes are of different models: "
                    f"{', '.join(map(str, sorted(shapes)))}; is the cache of another one of that name?"
                )
            fresh[hashes[place]] = rows[hashes[place]] = row
            if shards is not None and len(fresh) == FLUSH:
                shards.keep(fresh)
                fresh = {}
            if progress is not None:
                progress(there + done, len(texts))
    finally:  # an interrupted one keeps what it has
        if shards is not None:
            shards.keep(fresh)
    return [rows[mark] for mark in hashes]


def _digest(tensors: Mapping[str, NDArray[Any]], texts: Sequence[str]) -> str:
    digest = hashlib.sha256(json.dumps(list(texts)).encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tensors[name].shape}".encode())
        digest.update(np.ascontiguousarray(tensors[name]).tobytes())
    return digest.hexdigest()
