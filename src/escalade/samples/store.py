"""The store: the durable record of all samples ever paid for, in one SQLite file.

A sample is written once, before anything acts on it, under the key (problem, model, parameters, index), where each
of the first three is a fingerprint. What failed or was cancelled is kept beside it as an attempt, with the tokens it
used; a success wins over failures.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from escalade.errors import StoreError
from escalade.samples.sample import Generation

_VERSION = 1
_REMEDY = "name another file with --store"
_GENERATION = [field.name for field in fields(Generation)]
_SCHEMA = f"""
CREATE TABLE samples (
    problem TEXT NOT NULL, model TEXT NOT NULL, params TEXT NOT NULL, idx INTEGER NOT NULL,
    seed INTEGER NOT NULL, problem_id TEXT NOT NULL, model_name TEXT NOT NULL, temperature REAL NOT NULL,
    job TEXT NOT NULL,
    {", ".join(_GENERATION)},
    PRIMARY KEY (problem, model, params, idx),
    UNIQUE (problem, model, params, seed)
) WITHOUT ROWID;
CREATE TABLE attempts (
    problem TEXT NOT NULL, model TEXT NOT NULL, params TEXT NOT NULL, idx INTEGER NOT NULL,
    kind TEXT NOT NULL, message TEXT NOT NULL, job TEXT NOT NULL,
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
    job: str
    """Which route and settings paid for it."""
    generation: Generation


@dataclass(frozen=True, slots=True)
class Attempt:
    """A request that gave no sample, and what it used."""

    key: Key
    index: int
    kind: str
    """error or cancelled"""
    message: str
    job: str = ""
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
        >>> _ = store.write([Stored(key, 0, 1, "p1", "m", 0.7, "job", Generation("4"))])
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
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"store {name} cannot be opened: {error}; {_REMEDY}") from error
        try:
            self._open()
        except (sqlite3.Error, StoreError) as error:
            self._db.close()
            if isinstance(error, StoreError):
                raise
            raise StoreError(f"store {name} cannot be opened: {error}; {_REMEDY}") from error

    def _open(self) -> None:
        # The tables are counted first: another process may create them meanwhile, and their version with them.
        tables = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if tables and version != _VERSION:
            raise StoreError(f"{self.path} is no store of this version ({version}, expected {_VERSION}): {_REMEDY}")
        if not tables:
            self._create()
            if self.path is not None:
                self._write_ahead()
        self._db.execute("PRAGMA synchronous = FULL")

    def _write_ahead(self) -> None:
        """Have the file written ahead, which is faster; without it, it is as durable."""
        for _ in range(50):
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError:
                time.sleep(0.02)  # for this change alone SQLite does not wait while another process is at the file
            else:
                return

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
        columns = ", ".join(["idx", "seed", "problem_id", "model_name", "temperature", "job", *_GENERATION])
        rows = self._select(columns, "samples", key, indexes, "ORDER BY idx")
        return [
            Stored(key, i, seed, pid, name, t, job, Generation(*rest)) for i, seed, pid, name, t, job, *rest in rows
        ]

    def cancelled(self, key: Key, indexes: Sequence[int]) -> list[Attempt]:
        """Return the cancelled requests of these indexes: paid for, though they gave no sample."""
        columns = "idx, kind, message, job, prompt_tokens, cached_tokens, completion_tokens"
        rows = self._select(columns, "attempts", key, indexes, "AND kind = 'cancelled' ORDER BY idx, rowid")
        return [Attempt(key, *row) for row in rows]

    def _select(self, columns: str, table: str, key: Key, indexes: Sequence[int], rest: str) -> list[Any]:
        # As one JSON text, because SQLite has a limit of parameters.
        where = "problem = ? AND model = ? AND params = ? AND idx IN (SELECT value FROM json_each(?))"
        try:
            found = self._db.execute(
                f"SELECT {columns} FROM {table} WHERE {where} {rest}", (*key, json.dumps(list(indexes)))
            )
            return found.fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"store {self.path} cannot be read: {error}; {_REMEDY}") from error

    def write(self, samples: Iterable[Stored], attempts: Iterable[Attempt] = ()) -> list[Stored]:
        """Make samples and attempts durable: when this returns, they survive the end of the process.

        A sample that another process wrote first stays as it is and is returned in the place of the one given,
        whose tokens are recorded as those of a cancelled request.

        Raises:
            StoreError: two samples of one key have the same seed, or the disk refuses.
        """
        kept: list[Stored] = []
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for sample in samples:
                kept.append(self._write_sample(sample))
            for attempt in attempts:
                self._write_attempt(attempt)
            self._db.execute("COMMIT")
        except sqlite3.IntegrityError as error:
            raise StoreError(
                f"refused: two samples of one problem, model and temperature have one seed ({error})"
            ) from error
        except sqlite3.Error as error:
            raise StoreError(f"store {self.path} cannot be written: {error}; {_REMEDY}") from error
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        return kept

    def _write_sample(self, s: Stored) -> Stored:
        marks = ",".join("?" * (9 + len(_GENERATION)))
        row = (*s.key, s.index, s.seed, s.problem_id, s.model_name, s.temperature, s.job, *astuple(s.generation))
        insert = f"INSERT INTO samples VALUES ({marks}) ON CONFLICT (problem, model, params, idx) DO NOTHING"
        if self._db.execute(insert, row).rowcount:
            return s
        g = s.generation
        used = (g.prompt_tokens, g.cached_tokens, g.completion_tokens)
        self._write_attempt(
            Attempt(s.key, s.index, "cancelled", "another process wrote the sample first", s.job, *used)
        )
        return self.read(s.key, [s.index])[0]

    def _write_attempt(self, a: Attempt) -> None:
        row = (*a.key, a.index, a.kind, a.message, a.job, a.prompt_tokens, a.cached_tokens, a.completion_tokens)
        self._db.execute("INSERT INTO attempts VALUES (?,?,?,?,?,?,?,?,?,?)", row)

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
