"""The store: the durable record of all samples ever paid for, in one SQLite file.

A sample is written once, before anything acts on it, under the key (problem, model, parameters, index), where each
of the first three is a fingerprint. What failed or was cancelled is kept beside it as an attempt, with the tokens it
used; a success wins over failures.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from escalade.errors import StoreError
from escalade.samples.sample import Generation

_VERSION = 1
_GENERATION = [field.name for field in fields(Generation)]
_SCHEMA = f"""
CREATE TABLE samples (
    problem TEXT NOT NULL, model TEXT NOT NULL, params TEXT NOT NULL, idx INTEGER NOT NULL,
    seed INTEGER NOT NULL, problem_id TEXT NOT NULL, model_name TEXT NOT NULL, temperature REAL NOT NULL,
    {", ".join(_GENERATION)},
    PRIMARY KEY (problem, model, params, idx),
    UNIQUE (problem, model, params, seed)
) WITHOUT ROWID;
CREATE TABLE attempts (
    problem TEXT NOT NULL, model TEXT NOT NULL, params TEXT NOT NULL, idx INTEGER NOT NULL,
    kind TEXT NOT NULL, message TEXT NOT NULL,
    prompt_tokens INTEGER, cached_tokens INTEGER, completion_tokens INTEGER
);
CREATE INDEX attempts_by_key ON attempts (problem, model, params, idx);
PRAGMA user_version = {_VERSION};
"""


class Key(NamedTuple):
    """What a set of samples shares: fingerprints of problem, of model, and of prompt and sampling parameters."""

    problem: str
    model: str
    params: str


@dataclass(frozen=True, slots=True)
class Stored:
    """A sample as the store keeps it."""

    key: Key
    index: int
    seed: int
    problem_id: str
    model_name: str
    temperature: float
    generation: Generation


@dataclass(frozen=True, slots=True)
class Attempt:
    """A request that gave no sample, and what it used."""

    key: Key
    index: int
    kind: str
    """error or cancelled"""
    message: str
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None


class Store:
    """Samples in a SQLite file, or in memory only (path None).

    Raises:
        StoreError: the file is no store, of another version, or cannot be written.

    Example:
        >>> store = Store(None)
        >>> key = Key("p", "m", "t0.7")
        >>> store.write([Stored(key, 0, 1, "p1", "m", 0.7, Generation("4"))])
        >>> [stored.generation.text for stored in store.read(key, [0, 1])]
        ['4']
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        name = ":memory:" if path is None else str(path)
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(name, timeout=60, isolation_level=None)
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            tables = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if path is not None and not tables:
                self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            if not tables:
                self._create()
            elif version != _VERSION:
                raise StoreError(
                    f"{name} is no store of this version (it says {version}, expected {_VERSION}): name another --store"
                )
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"store {name} cannot be opened: {error}; name another file with --store") from error

    def _create(self) -> None:
        # Two processes may find the file empty at once; the lock lets one of them create it.
        self._db.execute("BEGIN IMMEDIATE")
        try:
            if not self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                for statement in _SCHEMA.split(";"):
                    self._db.execute(statement)
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise

    def read(self, key: Key, indexes: Sequence[int]) -> list[Stored]:
        """Return those of the samples that are there, by index."""
        marks = ",".join("?" * len(indexes))
        rows = self._db.execute(
            f"SELECT idx, seed, problem_id, model_name, temperature, {', '.join(_GENERATION)} FROM samples "
            f"WHERE problem = ? AND model = ? AND params = ? AND idx IN ({marks}) ORDER BY idx",
            (*key, *indexes),
        )
        return [
            Stored(key, index, seed, problem_id, model_name, temperature, Generation(*rest))
            for index, seed, problem_id, model_name, temperature, *rest in rows
        ]

    def cancelled(self, key: Key, indexes: Sequence[int]) -> list[Attempt]:
        """Return the cancelled requests of these indexes: paid for, though they gave no sample."""
        marks = ",".join("?" * len(indexes))
        rows = self._db.execute(
            "SELECT idx, kind, message, prompt_tokens, cached_tokens, completion_tokens FROM attempts WHERE "
            f"problem = ? AND model = ? AND params = ? AND kind = 'cancelled' AND idx IN ({marks}) ORDER BY idx, rowid",
            (*key, *indexes),
        )
        return [Attempt(key, *row) for row in rows]

    def write(self, samples: Iterable[Stored], attempts: Iterable[Attempt] = ()) -> None:
        """Make samples and attempts durable: when this returns, they survive the end of the process.

        A sample that another process wrote first stays as it is.

        Raises:
            StoreError: two samples of one key have the same seed, or the disk refuses.
        """
        marks = ",".join("?" * (8 + len(_GENERATION)))
        insert = f"INSERT INTO samples VALUES ({marks}) ON CONFLICT (problem, model, params, idx) DO NOTHING"
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for s in samples:
                row = (*s.key, s.index, s.seed, s.problem_id, s.model_name, s.temperature, *astuple(s.generation))
                self._db.execute(insert, row)
            for a in attempts:
                row = (*a.key, a.index, a.kind, a.message, a.prompt_tokens, a.cached_tokens, a.completion_tokens)
                self._db.execute("INSERT INTO attempts VALUES (?,?,?,?,?,?,?,?,?)", row)
            self._db.execute("COMMIT")
        except sqlite3.IntegrityError as error:
            self._db.execute("ROLLBACK")
            raise StoreError(
                f"refused: two samples of one problem, model and temperature have one seed ({error})"
            ) from error
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise StoreError(f"store {self.path} cannot be written: {error}") from error

    def __len__(self) -> int:
        """Number of samples."""
        return int(self._db.execute("SELECT count(*) FROM samples").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
