"""The store: the durable record of all samples ever paid for, in one SQLite file.

A sample is written once, before anything acts on it, under the key (problem, model, parameters, index), where each
of the first three is a fingerprint. What failed or was cancelled is kept beside it as an attempt, with the tokens it
used; a success wins over failures.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from escalade.errors import StoreError
from escalade.samples.sample import Generation
from escalade.samples.schema import ATTEMPT, GENERATION, REMEDY, SAMPLE, connect

LOST_RACE = "another process wrote the sample first"
"""The message of an attempt that keeps the tokens of a sample for which another one was kept."""
_REMEMBERED = 16_384
"""Keys whose numbers are kept in memory."""
_INSERT = (
    f"INSERT INTO samples (key_id, {', '.join(SAMPLE)}) VALUES (?{',?' * len(SAMPLE)}) "
    "ON CONFLICT (key_id, idx) DO NOTHING"
)
_MADE = 1 + len(SAMPLE) - len(GENERATION)
"""Where the generation begins in a row."""
_ATTEMPT = f"INSERT INTO attempts (key_id, {', '.join(ATTEMPT)}) VALUES (?{',?' * len(ATTEMPT)})"
_SAMPLES = f"SELECT {', '.join(SAMPLE)} FROM samples WHERE key_id = ?"
_ATTEMPTS = f"SELECT {', '.join(ATTEMPT)} FROM attempts WHERE key_id = ?"


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
    """A request that gave no sample, and what it used.

    Example:
        >>> key = Key("p", "m", "t0.7")
        >>> Attempt(key, 0, "error", "refused").paid
        False
        >>> Attempt(key, 0, "error", "broke off", completion_tokens=12).paid
        True
    """

    key: Key
    index: int
    kind: str
    """error or cancelled"""
    message: str
    job: str = ""
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None

    @property
    def paid(self) -> bool:
        """Whether it is paid for: it was cancelled at its engine, or it failed after tokens had been used."""
        return self.kind == "cancelled" or bool(self.prompt_tokens or self.completion_tokens)


class Question(NamedTuple):
    """The text that a problem's fingerprint stands for, and the gold answer it came with."""

    problem: str
    """The fingerprint."""
    text: str
    gold: str | None = None


class Store:
    """Samples in a SQLite file, or in memory only (path None).

    Args:
        path: of the file.
        patience: seconds to wait for another process that is writing.

    Raises:
        StoreError: the file is no store, of another version, or cannot be written.

    Example:
        >>> store = Store(None)
        >>> key = Key("p", "m", "t0.7")
        >>> _ = store.write([Stored(key, 0, 1, "p1", "m", 0.7, "job", Generation("4"))])
        >>> [stored.generation.text for stored in store.read(key, [0, 1])]
        ['4']
    """

    def __init__(self, path: Path | None, *, patience: float = 60.0) -> None:
        self.path = path
        self._db = connect(path, patience=patience)
        self._numbers: dict[Key, int] = {}
        """Of keys that are in the file; no key is ever removed from it."""

    def read(self, key: Key, indexes: Sequence[int]) -> list[Stored]:
        """Return those of the samples that are there, by index."""
        return [_stored(key, row) for row in self._select(_SAMPLES, key, indexes, "ORDER BY idx")]

    def paid_attempts(self, key: Key, indexes: Sequence[int]) -> list[Attempt]:
        """Return the attempts of these indexes that are paid for, though they gave no sample."""
        rows = self._select(_ATTEMPTS, key, indexes, "ORDER BY idx, rowid")
        return [attempt for attempt in (Attempt(key, *row) for row in rows) if attempt.paid]

    def _select(self, query: str, key: Key, indexes: Sequence[int], rest: str) -> list[Any]:
        if not indexes:
            return []
        with self._reading():
            number = self._number(key)
            if number is None:
                return []
            first, last = min(indexes), max(indexes)
            if last - first + 1 == len(indexes) == len(set(indexes)):
                return self._db.execute(f"{query} AND idx BETWEEN ? AND ? {rest}", (number, first, last)).fetchall()
            # As one JSON text, because SQLite has a limit of parameters.
            some = f"{query} AND idx IN (SELECT value FROM json_each(?)) {rest}"
            return self._db.execute(some, (number, json.dumps(list(indexes)))).fetchall()

    def _number(self, key: Key) -> int | None:
        """Return the number of a key, None where nothing is filed under it."""
        number = self._numbers.get(key)
        if number is None:
            query = "SELECT key_id FROM keys WHERE problem = ? AND model = ? AND params = ?"
            row = self._db.execute(query, key).fetchone()
            if row is None:
                return None
            number = int(row[0])
            if not self._db.in_transaction:  # else the key may be this transaction's, and go with it
                self._remember({key: number})
        return number

    def _remember(self, numbers: Mapping[Key, int]) -> None:
        if len(self._numbers) > _REMEMBERED:
            self._numbers.clear()
        self._numbers.update(numbers)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(f"store {self.path} cannot be read: {error}; {REMEDY}") from error

    def write(self, samples: Iterable[Stored], attempts: Iterable[Attempt] = ()) -> list[Stored]:
        """Make samples and attempts durable: when this returns, they survive the end of the process.

        A sample that another process wrote first stays as it is and is returned in the place of the one given,
        whose tokens are recorded as those of a cancelled request.

        Raises:
            StoreError: two samples of one key have the same seed, or the disk refuses.
        """
        given, extra = list(samples), list(attempts)
        try:
            with self._writing():
                new: dict[Key, int] = {}
                kept = self._insert(given, new)
                self._attempts(extra, new)
        except sqlite3.IntegrityError as error:
            raise StoreError(
                f"refused: two samples of one problem, model and temperature have one seed ({error})"
            ) from error
        self._remember(new)
        return kept

    def _insert(self, samples: Sequence[Stored], new: dict[Key, int]) -> list[Stored]:
        """Insert samples, all in one call where nobody was faster; return what stands in their places."""
        rows = [_row(self._numbered(s.key, new), s) for s in samples]
        before = self._db.total_changes
        self._db.execute("SAVEPOINT many")
        _insert_rows(self._db, rows)
        if self._db.total_changes - before == len(rows):
            self._db.execute("RELEASE many")
            return list(samples)
        self._db.execute("ROLLBACK TO many")
        self._db.execute("RELEASE many")
        return [self._insert_one(s, row, new) for s, row in zip(samples, rows, strict=True)]

    def _insert_one(self, s: Stored, row: tuple[Any, ...], new: dict[Key, int]) -> Stored:
        before = self._db.total_changes
        _insert_rows(self._db, [row])
        if self._db.total_changes > before:
            return s
        g = s.generation
        used = (g.prompt_tokens, g.cached_tokens, g.completion_tokens)
        lost = Attempt(s.key, s.index, "cancelled", LOST_RACE, s.job, *used)
        self._attempts([lost], new)
        query = f"{_SAMPLES} AND idx = ?"
        return _stored(s.key, self._db.execute(query, (new.get(s.key) or self._number(s.key), s.index)).fetchone())

    def _attempts(self, attempts: Sequence[Attempt], new: dict[Key, int]) -> None:
        rows = [
            (
                self._numbered(a.key, new),
                a.index,
                a.kind,
                _sayable(a.message),
                a.job,
                a.prompt_tokens,
                a.cached_tokens,
                a.completion_tokens,
            )
            for a in attempts
        ]
        if rows:
            self._db.executemany(_ATTEMPT, rows)

    def _numbered(self, key: Key, new: dict[Key, int]) -> int:
        """Return the number of a key, given to it now if it has none; `new` holds those of this transaction."""
        number = self._numbers.get(key) or new.get(key)
        if number is None:
            number = self._number(key)
            if number is None:
                insert = "INSERT INTO keys (problem, model, params) VALUES (?, ?, ?)"
                number = self._db.execute(insert, key).lastrowid
                assert number is not None
            new[key] = number
        return number

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction: all of it is on the disk behind the block, or nothing."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except sqlite3.IntegrityError:
            raise
        except (sqlite3.Error, OverflowError, UnicodeEncodeError) as error:
            raise StoreError(f"store {self.path} cannot be written: {error}; {REMEDY}") from error
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def keep_questions(self, questions: Iterable[Question]) -> None:
        """Keep the texts of problems, for exports; the first text and gold answer of a fingerprint stay."""
        with self._writing():
            self._db.executemany("INSERT OR IGNORE INTO problems VALUES (?, ?, ?)", list(questions))

    def questions(self) -> dict[str, Question]:
        """Return the texts that are kept, by fingerprint; those of imported samples are."""
        with self._reading():
            return {row[0]: Question(*row) for row in self._db.execute("SELECT problem, text, gold FROM problems")}

    def samples(self, key: Key | None = None) -> Iterator[Stored]:
        """Every sample, or every one of a key, in the order of keys and indexes."""
        last = Key("", "", "")  # one object for all samples of a key
        for problem, model, params, *row in self._every("samples", SAMPLE, key, "idx"):
            if (last.problem, last.model, last.params) != (problem, model, params):
                last = Key(problem, model, params)
            yield _stored(last, row)

    def attempts(self, key: Key | None = None) -> Iterator[Attempt]:
        """Every attempt, or every one of a key, in the order of keys and indexes, then as they were written."""
        for problem, model, params, *row in self._every("attempts", ATTEMPT, key, "idx, attempts.rowid"):
            yield Attempt(Key(problem, model, params), *row)

    def _every(self, table: str, columns: Sequence[str], key: Key | None, order: str) -> Iterator[Any]:
        where = "" if key is None else "WHERE problem = ? AND model = ? AND params = ?"
        query = (
            f"SELECT problem, model, params, {', '.join(columns)} FROM keys JOIN {table} USING (key_id) {where} "
            f"ORDER BY problem, model, params, {order}"
        )
        with self._reading():
            # Not `yield from`, which closes the cursor with the generator, perhaps behind the end of the connection.
            for row in self._db.execute(query, () if key is None else key):  # noqa: UP028
                yield row

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


def _row(number: int, s: Stored) -> tuple[Any, ...]:
    g = s.generation
    # Field by field: dataclasses.astuple copies deeply, and takes longer than SQLite.
    return (
        number,
        s.index,
        s.seed,
        s.problem_id,
        s.model_name,
        s.temperature,
        s.job,
        g.text,
        g.finish_reason,
        g.prompt_tokens,
        g.cached_tokens,
        g.completion_tokens,
        g.reasoning_tokens,
        g.mean_logprob,
        g.seconds,
        g.answer,
    )


def _insert_rows(db: sqlite3.Connection, rows: list[tuple[Any, ...]]) -> None:
    try:
        db.executemany(_INSERT, rows)
    except UnicodeEncodeError:
        # Half a surrogate pair, as a model cut off within a sign may give: kept as bytes, and read back as it was.
        db.executemany(_INSERT, [(*row[:_MADE], *map(_bytes_of_surrogates, row[_MADE:])) for row in rows])


def _bytes_of_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return value.encode("utf-8", "surrogatepass")
    return value


def _sayable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _stored(key: Key, row: Sequence[Any]) -> Stored:
    index, seed, problem_id, model_name, temperature, job, *made = row
    if type(made[0]) is bytes or type(made[-1]) is bytes or type(made[1]) is bytes:
        made = [value.decode("utf-8", "surrogatepass") if type(value) is bytes else value for value in made]
    return Stored(key, index, seed, problem_id, model_name, temperature, job, Generation(*made))
