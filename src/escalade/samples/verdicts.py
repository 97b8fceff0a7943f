"""Verdicts: which pairs of answers were found equal, kept in the file of the store.

Any thread may ask; a verdict stands under the name of who gave it, with versions and settings, so that another checker
asks anew.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from escalade.errors import StoreError
from escalade.samples.schema import connect


class Verdict(NamedTuple):
    """Whether a judge found two answers equal."""

    judge: str
    """Kind of answer, versions, settings."""
    a: str
    b: str
    equal: bool
    undecided: str | None
    """Why, where it was."""


class Verdicts:
    """Verdicts in a SQLite file, beside the samples.

    Raises:
        StoreError: the file cannot be read or written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     verdicts = Verdicts(Path(folder) / "s.sqlite")
        ...     verdicts.remember("math 1", "2", "two", True, None)
        ...     verdicts.recall("math 1", "2", "two"), verdicts.recall("math 2", "2", "two")
        ...     verdicts.close()
        ((True, None), None)
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        try:
            self._db = connect(path, any_thread=True)
            self._db.execute("PRAGMA synchronous = NORMAL")  # a verdict lost in a crash is asked again
        except sqlite3.Error as error:
            raise StoreError(f"store {path} cannot be opened: {error}; name another file with --store") from error

    def recall(self, judge: str, a: str, b: str) -> tuple[bool, str | None] | None:
        """Return whether a and b were found equal and, where that was undecided, why; None where nobody asked."""
        query = "SELECT equal, undecided FROM verdicts WHERE judge = ? AND a = ? AND b = ?"
        row = self._execute(query, judge, a, b)
        return None if row is None else (bool(row[0]), row[1])

    def remember(self, judge: str, a: str, b: str, equal: bool, undecided: str | None) -> None:
        """Keep a verdict; the first one stays."""
        self._execute("INSERT OR IGNORE INTO verdicts VALUES (?, ?, ?, ?, ?)", judge, a, b, int(equal), undecided)

    def every(self) -> list[Verdict]:
        """Return all verdicts there are, whoever gave them."""
        with self._guarded():
            query = "SELECT judge, a, b, equal, undecided FROM verdicts ORDER BY judge, a, b"
            return [Verdict(j, a, b, bool(equal), why) for j, a, b, equal, why in self._db.execute(query)]

    def keep(self, verdicts: Iterable[Verdict]) -> int:
        """Keep many verdicts at once, the first of each pair stays; return how many are new."""
        with self._guarded():
            before = self._db.total_changes
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany("INSERT OR IGNORE INTO verdicts VALUES (?, ?, ?, ?, ?)", verdicts)
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
            return self._db.total_changes - before

    def _execute(self, statement: str, *values: object) -> tuple[int, str | None] | None:
        with self._guarded():
            try:
                row: tuple[int, str | None] | None = self._db.execute(statement, values).fetchone()
            except UnicodeEncodeError:  # half a surrogate pair in an answer: asked again each time
                return None
            return row

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            with self._lock:
                yield
        except (sqlite3.Error, UnicodeEncodeError) as error:
            raise StoreError(f"store {self.path}: verdicts cannot be kept: {error}") from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()
