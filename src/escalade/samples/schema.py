"""The file of the store: its tables, how it is created, and how files of older versions become files of this one.

A key is long and shared by many samples; each stands once, in `keys`, and samples and attempts name it by number. So
what one moment of a run writes lies together in the file, however large the file has become.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from escalade.errors import StoreError
from escalade.samples.sample import Generation

VERSION = 2
REMEDY = "name another file with --store"
GENERATION = tuple(field.name for field in fields(Generation))
"""Columns of a generation, in the order of its fields."""
SAMPLE = ("idx", "seed", "problem_id", "model_name", "temperature", "job", *GENERATION)
"""Columns of a sample behind the number of its key."""
ATTEMPT = ("idx", "kind", "message", "job", "prompt_tokens", "cached_tokens", "completion_tokens")
"""Columns of an attempt behind the number of its key."""
SCHEMA = f"""
CREATE TABLE keys (
    key_id INTEGER PRIMARY KEY,
    problem TEXT NOT NULL, model TEXT NOT NULL, params TEXT NOT NULL,
    UNIQUE (problem, model, params)
);
CREATE TABLE samples (
    key_id INTEGER NOT NULL, idx INTEGER NOT NULL, seed INTEGER NOT NULL,
    problem_id TEXT NOT NULL, model_name TEXT NOT NULL, temperature REAL NOT NULL,
    job TEXT NOT NULL,
    {", ".join(GENERATION)},
    UNIQUE (key_id, idx),
    UNIQUE (key_id, seed)
);
CREATE TABLE attempts (
    key_id INTEGER NOT NULL, idx INTEGER NOT NULL,
    kind TEXT NOT NULL, message TEXT NOT NULL, job TEXT NOT NULL,
    prompt_tokens INTEGER, cached_tokens INTEGER, completion_tokens INTEGER
);
CREATE INDEX attempts_by_key ON attempts (key_id, idx);
CREATE TABLE IF NOT EXISTS verdicts (
    judge TEXT NOT NULL, a TEXT NOT NULL, b TEXT NOT NULL, equal INTEGER NOT NULL, undecided TEXT,
    PRIMARY KEY (judge, a, b)
) WITHOUT ROWID;
CREATE TABLE problems (problem TEXT PRIMARY KEY, text TEXT NOT NULL, gold TEXT) WITHOUT ROWID;
PRAGMA user_version = {VERSION}
"""
_PAGES = 4000
"""Written ahead before they are moved to their places: many samples then share the move of a page."""
_OLD_KEY = "problem, model, params"
# Of version 1, where every row had the three texts of its key.
_RENEW = f"""
DROP INDEX attempts_by_key;
ALTER TABLE samples RENAME TO samples_1;
ALTER TABLE attempts RENAME TO attempts_1;
{SCHEMA};
INSERT INTO keys ({_OLD_KEY}) SELECT {_OLD_KEY} FROM samples_1 UNION SELECT {_OLD_KEY} FROM attempts_1;
INSERT INTO samples SELECT key_id, {", ".join(SAMPLE)} FROM samples_1 JOIN keys USING ({_OLD_KEY})
    ORDER BY key_id, idx;
INSERT INTO attempts SELECT key_id, {", ".join(ATTEMPT)} FROM attempts_1 JOIN keys USING ({_OLD_KEY})
    ORDER BY attempts_1.rowid;
DROP TABLE samples_1;
DROP TABLE attempts_1
"""


def connect(path: Path | None, *, any_thread: bool = False, patience: float = 60.0) -> sqlite3.Connection:
    """Open the file of a store (None: in memory), create it where it is not there, renew it where it is older.

    Another process that is writing is waited for, `patience` seconds at most. Every transaction is on the disk before
    its COMMIT returns.

    Raises:
        StoreError: the file is no store, of a later version, or cannot be opened.
    """
    name = ":memory:" if path is None else str(path)
    try:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(name, timeout=patience, isolation_level=None, check_same_thread=not any_thread)
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"store {name} cannot be opened: {error}; {REMEDY}") from error
    try:
        _prepare(db, path)
    except BaseException as error:
        db.close()
        if isinstance(error, sqlite3.Error):
            raise StoreError(f"store {name} cannot be opened: {error}; {REMEDY}") from error
        raise
    return db


def _prepare(db: sqlite3.Connection, path: Path | None) -> None:
    # The tables are counted first: another process may create them meanwhile, and their version with them.
    tables, version = _count(db), _version(db)
    if tables and version not in (1, VERSION):
        raise StoreError(f"{path} is no store of this version ({version}, expected {VERSION}): {REMEDY}")
    if not tables:
        _alone(db, SCHEMA, lambda: not _count(db))
        if path is not None:
            _write_ahead(db)
    elif version == 1:
        _alone(db, _RENEW, lambda: _version(db) == 1)
    db.execute("PRAGMA synchronous = FULL")
    db.execute(f"PRAGMA wal_autocheckpoint = {_PAGES}")


def _count(db: sqlite3.Connection) -> int:
    # Files in which only verdicts were kept have no version; they become stores.
    return int(db.execute("SELECT count(*) FROM sqlite_master WHERE tbl_name != 'verdicts'").fetchone()[0])


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _alone(db: sqlite3.Connection, script: str, needed: Callable[[], bool]) -> None:
    """Run a script as one transaction, if it is still needed once no other process can do it."""
    db.execute("BEGIN IMMEDIATE")
    try:
        if needed():
            for statement in script.split(";"):
                db.execute(statement)
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise


def _write_ahead(db: sqlite3.Connection) -> None:
    """Have the file written ahead, which is faster; without it, it is as durable."""
    for _ in range(50):
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            time.sleep(0.02)  # for this change alone SQLite does not wait while another process is at the file
        else:
            return
