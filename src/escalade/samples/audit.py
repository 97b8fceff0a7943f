"""Audits: what a store holds, in numbers, and whether all of it is sound."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from escalade.errors import StoreError
from escalade.samples.merging import GAVE_WAY
from escalade.samples.schema import connect
from escalade.samples.store import LOST_RACE

_COUNTS = ("prompt_tokens", "cached_tokens", "completion_tokens")
_MANY = 1000
"""So many findings of one sort are named at most."""


class Group(NamedTuple):
    """Samples of one model, temperature and job; tokens are of those that say them."""

    model: str
    temperature: float
    job: str
    samples: int
    problems: int
    prompt_tokens: int
    completion_tokens: int
    uncounted: int
    """Samples that do not say how many tokens they have."""


class Tries(NamedTuple):
    """Requests that gave no sample."""

    kind: str
    """error or cancelled"""
    requests: int
    prompt_tokens: int
    completion_tokens: int


class Repeats(NamedTuple):
    """Texts that a model gave again for one problem at a temperature above 0."""

    model: str
    temperature: float
    samples: int
    repeated: int
    """Samples whose text stands under another seed of the same problem, model and parameters before."""


@dataclass(frozen=True)
class Survey:
    """What a store holds."""

    path: Path
    bytes: int
    samples: int
    problems: int
    keys: int
    verdicts: int
    texts: int
    """Problems whose text is kept."""
    groups: tuple[Group, ...]
    tries: tuple[Tries, ...]
    repeats: tuple[Repeats, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers for JSON."""
        nested = {name: [row._asdict() for row in getattr(self, name)] for name in ("groups", "tries", "repeats")}
        return {**asdict(self), "path": str(self.path), **nested}


def survey(path: Path) -> Survey:
    """Count what a store holds.

    Equal texts under two seeds at a temperature above 0 are a hint that an engine does not heed its seeds, or that
    answers are very short.

    Raises:
        StoreError: the file is not there, or is no store.
    """
    db = _open(path)
    try:
        groups = db.execute(
            "SELECT model_name, temperature, job, count(*), count(DISTINCT problem), total(prompt_tokens), "
            "total(completion_tokens), sum(prompt_tokens IS NULL OR completion_tokens IS NULL) "
            "FROM samples JOIN keys USING (key_id) GROUP BY model_name, temperature, job ORDER BY 1, 2, 3"
        )
        tries = db.execute(
            "SELECT kind, count(*), total(prompt_tokens), total(completion_tokens) FROM attempts GROUP BY kind"
        )
        repeats = db.execute(
            "SELECT model_name, temperature, sum(n), sum(n - 1) FROM "
            "(SELECT model_name, temperature, count(*) AS n FROM samples WHERE temperature > 0 AND text IS NOT NULL "
            "GROUP BY key_id, text) GROUP BY model_name, temperature ORDER BY 1, 2"
        )
        return Survey(
            path,
            sum(file.stat().st_size for file in (path, path.with_name(path.name + "-wal")) if file.exists()),
            _one(db, "SELECT count(*) FROM samples"),
            _one(db, "SELECT count(DISTINCT problem) FROM samples JOIN keys USING (key_id)"),
            _one(db, "SELECT count(*) FROM keys"),
            _one(db, "SELECT count(*) FROM verdicts"),
            _one(db, "SELECT count(*) FROM problems"),
            tuple(Group(m, t, j, n, p, int(a), int(b), u) for m, t, j, n, p, a, b, u in groups),
            tuple(Tries(kind, n, int(a), int(b)) for kind, n, a, b in tries),
            tuple(Repeats(*row) for row in repeats),
        )
    except sqlite3.Error as error:
        raise StoreError(f"store {path} cannot be read: {error}; escalade store verify {path} says more") from error
    finally:
        db.close()


def findings(path: Path) -> list[str]:
    """Return what is wrong with a store, one sentence each; nothing where all is sound.

    Looked at are: SQLite's own structures, whether every row can be read, has its key, an index and a seed of its own
    and values of the right types, and whether samples are there that attempts speak of.

    Raises:
        StoreError: the file is not there.
    """
    if not path.exists():
        raise StoreError(f"store {path} is not there: check the path")
    try:
        db = _open(path)
    except StoreError as error:
        return [str(error)]
    try:
        found = [f"SQLite: {row[0]}" for row in db.execute("PRAGMA integrity_check") if row[0] != "ok"]
        for check in (_lone, _twice, _untrue, _odd_samples, _odd_attempts, _odd_keys):
            found += [finding for finding, _ in zip(check(db), range(_MANY), strict=False)]
        return found
    except (sqlite3.Error, UnicodeError) as error:
        return [f"a row cannot be read: {error}"]
    finally:
        db.close()


def _open(path: Path) -> sqlite3.Connection:
    if not path.exists():
        raise StoreError(f"store {path} is not there: check the path")
    return connect(path)


def _one(db: sqlite3.Connection, query: str) -> int:
    return int(db.execute(query).fetchone()[0])


def _lone(db: sqlite3.Connection) -> Iterator[str]:
    for table in ("samples", "attempts"):
        query = f"SELECT key_id, idx FROM {table} WHERE key_id NOT IN (SELECT key_id FROM keys)"
        for key, index in db.execute(query):
            yield f"{table}: index {index} of key {key}: there is no such key"


def _twice(db: sqlite3.Connection) -> Iterator[str]:
    for column, name in (("idx", "index"), ("seed", "seed")):
        # Not by the indexes of the table: they may be what is broken.
        query = (
            f"SELECT key_id, {column}, count(*), min(problem_id), min(model_name) FROM samples NOT INDEXED "
            f"GROUP BY key_id, {column} HAVING count(*) > 1"
        )
        for key, value, count, problem, model in db.execute(query):
            yield f"samples: {count} of key {key} ({model}, problem {problem!r}) have the {name} {value}"


def _untrue(db: sqlite3.Connection) -> Iterator[str]:
    query = (
        "SELECT key_id, idx, message FROM attempts AS a WHERE "
        "(message = ? AND NOT EXISTS (SELECT 1 FROM samples AS s WHERE s.key_id = a.key_id AND s.idx = a.idx)) OR "
        "(message LIKE ? AND NOT EXISTS (SELECT 1 FROM samples AS s WHERE s.key_id = a.key_id))"
    )
    for key, index, message in db.execute(query, (LOST_RACE, f"{GAVE_WAY}%")):
        yield f"attempts: index {index} of key {key} says {message!r}, and there is no such sample"


def _odd_samples(db: sqlite3.Connection) -> Iterator[str]:
    query = (
        "SELECT key_id, idx, seed, problem_id, model_name, temperature, job, text, finish_reason, answer, "
        "prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens, mean_logprob, seconds, params "
        "FROM samples LEFT JOIN keys USING (key_id) ORDER BY key_id"
    )
    for key, index, seed, problem, model, temperature, job, text, finish, answer, *rest in db.execute(query):
        at = f"samples: index {index} of key {key} ({model}, problem {problem!r})"
        *counts, logprob, seconds, params = rest
        if type(index) is not int or index < 0 or type(seed) is not int:
            yield f"{at}: index and seed must be whole numbers, the index not below 0; the seed is {seed!r}"
        if not all(isinstance(value, str) for value in (problem, model, job, finish)):
            yield f"{at}: problem id, model, job and finish reason must be texts"
        if not all(value is None or isinstance(value, str | bytes) for value in (text, answer)):
            yield f"{at}: text and answer must be texts"
        for value in (text, answer):
            if isinstance(value, bytes):
                value.decode("utf-8", "surrogatepass")
        if any(count is not None and (type(count) is not int or count < 0) for count in counts):
            yield f"{at}: token counts must be whole numbers from 0 on, or unknown; they are {counts}"
        if not all(value is None or isinstance(value, int | float) for value in (logprob, seconds)):
            yield f"{at}: mean_logprob and seconds must be numbers, or unknown"
        if not isinstance(temperature, int | float) or not 0 <= temperature < float("inf"):
            yield f"{at}: the temperature is {temperature!r}"
        elif (stated := _temperature(params)) is not None and stated != temperature:
            yield f"{at}: its temperature is {temperature!r}, that of its key {stated!r}"


def _odd_attempts(db: sqlite3.Connection) -> Iterator[str]:
    for key, index, kind, message, *counts in db.execute(
        f"SELECT key_id, idx, kind, message, {', '.join(_COUNTS)} FROM attempts ORDER BY rowid"
    ):
        if kind not in ("error", "cancelled") or not isinstance(message, str):
            yield f"attempts: index {index} of key {key} is of the kind {kind!r}, which is neither error nor cancelled"
        if any(count is not None and (type(count) is not int or count < 0) for count in counts):
            yield f"attempts: index {index} of key {key}: token counts must be whole numbers from 0 on: {counts}"


def _odd_keys(db: sqlite3.Connection) -> Iterator[str]:
    query = (
        "SELECT min(key_id), count(*), problem, model FROM keys NOT INDEXED GROUP BY problem, model, params "
        "HAVING count(*) > 1"
    )
    for key, count, problem, model in db.execute(query):
        yield f"keys: {count} of them, {key} among them, are the same: problem {problem}, model {model}"


def _temperature(params: Any) -> float | None:
    """The temperature that a key's parameters say, where they are ours."""
    try:
        said = json.loads(params)
        return float(said["temperature"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
