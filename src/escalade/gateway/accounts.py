"""Accounts: what each key may use, has reserved and has used; and the record of requests that this is read from.

A request is admitted only where its worst case, or what is left, can be reserved; its own limit is then what was
reserved. So no number of requests under way overruns a budget. Reservations of budgeted keys are on disk before
anything is drawn: one that a killed server left behind counts as used in full.
"""

from __future__ import annotations

import math
import sqlite3
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, NamedTuple

from escalade import ledger
from escalade.errors import RequestError, SettingError, StoreError
from escalade.gateway.days import Day, Days
from escalade.gateway.keys import Key, Period
from escalade.ledger import Cost
from escalade.samples.schema import connect

try:
    import fcntl
except ImportError:  # not on Windows: there nothing tells that another server is at the store
    fcntl = None  # type: ignore[assignment]

REFUSED = "refused"
"""The status of a request that never began, as it could not be recorded."""
ANYBODY = ""
"""Whose requests those without a key are."""
PATIENCE = 0.05
"""Seconds for which another process that writes is waited for: everybody waits meanwhile."""
_MINUTE = 60.0
_TABLE = """
CREATE TABLE IF NOT EXISTS requests (
    id TEXT PRIMARY KEY, time TEXT NOT NULL, holder TEXT NOT NULL, model TEXT NOT NULL,
    reserved_usd TEXT, status TEXT, cost_usd TEXT, unknown INTEGER, prompt_tokens INTEGER, completion_tokens INTEGER,
    samples INTEGER, charged_usd TEXT
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS requests_by_time ON requests (time)
"""
_ROW = "INSERT OR REPLACE INTO requests VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


@dataclass(slots=True)
class Ticket:
    """A request that was admitted."""

    id: str
    key: Key | None
    model: str
    time: str
    """When it came, in UTC."""
    reserved: Decimal | None
    """USD; None where nothing limits it."""
    worst: Decimal | None = None
    """The most that was expected of it."""

    @property
    def holder(self) -> str:
        """Whose it is."""
        return ANYBODY if self.key is None else self.key.name


class Used(NamedTuple):
    """What a request came to. Money and tokens are those spent now: what the store had was paid for before.

    `charged` is what counts against a budget: what is unknown of the cost, at the most that it can be.
    """

    status: str
    cost: Cost
    prompt_tokens: int
    completion_tokens: int
    samples: int
    charged: Decimal


NOTHING_USED = Used("", Cost(), 0, 0, 0, Decimal(0))


@dataclass(slots=True)
class _Account:
    """What a holder has under way and has used."""

    under_way: int = 0
    reserved: Decimal = Decimal(0)
    period: str | None = None
    """Of which `used` is, as its times begin; None where it was not read yet."""
    used: Decimal = Decimal(0)
    """In this period."""
    starts: deque[float] = field(default_factory=deque)
    """When its requests of the last minute came."""


class Accounts:
    """The accounts of a server.

    Args:
        path: of the store, where requests are recorded; None keeps them in memory only.
        alone: whether no other server may record requests there, as it would not know of what is under way here.
        clock: seconds, for rates.
        now: the time, for budgets.

    Raises:
        StoreError: the file cannot be used.
        SettingError: another server has it alone.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        alone: bool,
        clock: Callable[[], float],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._path, self._clock, self._now = path, clock, now
        self._accounts: dict[str, _Account] = defaultdict(_Account)
        self._days = Days()
        self._unwritten: dict[str, tuple[Any, ...]] = {}
        """Rows that are to be written, by id; the newest of each."""
        self._lock = _locked(path) if alone and path is not None else None
        self._db = connect(path, patience=PATIENCE)
        with self._guarded():
            self._db.execute("PRAGMA synchronous = NORMAL")  # survives the end of the process, if not of the machine
            for statement in _TABLE.split(";"):
                self._db.execute(statement)
        self._read_day(_written(self._now())[:10])

    def admit(self, ident: str, key: Key | None, model: str, worst: Decimal | None) -> Ticket:
        """Admit a request, and reserve what it may cost; `worst` is the most it can, None is unknown.

        Raises:
            RequestError: the holder has as many requests as it may, or its budget is used up.
            StoreError: the reservation cannot be written.
        """
        time = _written(self._now())
        ticket = Ticket(ident, key, model, time, None, worst)
        account = self._accounts[ticket.holder]
        if key is not None:
            self._refuse_too_many(key, account)
            if key.budget_usd is not None:
                ticket.reserved = self._reserve(key, key.budget_usd, account, worst, time)
        if ticket.reserved is not None:
            try:
                self._write_reservation(ticket)
            except StoreError:
                # Its record is what is tried to be written until that can be.
                self._unwritten[ident] = (ident, time, ticket.holder, model, None, REFUSED, "0", 0, 0, 0, 0, "0")
                raise
            account.reserved = _more(account.reserved, ticket.reserved)
        account.under_way += 1
        if key is not None and key.requests_per_minute is not None:
            account.starts.append(self._clock())
        return ticket

    def extend(self, ticket: Ticket) -> Decimal | None:
        """Reserve more for a request that takes more than was expected.

        Return what it has now; None where nothing is left.
        """
        if ticket.key is None or ticket.key.budget_usd is None or ticket.reserved is None:
            return None
        account = self._accounts[ticket.holder]
        left = _less(_less(ticket.key.budget_usd, account.used), account.reserved)
        more = left if ticket.worst is None else min(left, ticket.worst)
        if more <= 0:
            return None
        before = ticket.reserved
        ticket.reserved = _more(before, more)
        try:
            self._write_reservation(ticket)
        except StoreError:
            ticket.reserved = before
            return None
        account.reserved = _more(account.reserved, more)
        return ticket.reserved

    def _write_reservation(self, ticket: Ticket) -> None:
        row = (ticket.id, ticket.time, ticket.holder, ticket.model, str(ticket.reserved), *[None] * 7)
        self._unwritten[ticket.id] = row
        try:
            self.flush()
        except StoreError:
            del self._unwritten[ticket.id]
            raise

    def _refuse_too_many(self, key: Key, account: _Account) -> None:
        if key.concurrent is not None and account.under_way >= key.concurrent:
            raise RequestError(
                f"key {key.name!r} has {account.under_way} requests under way, as many as it may",
                status=429,
                code="too_many_requests",
                retry_after=1,
            )
        since = self._clock() - _MINUTE
        while account.starts and account.starts[0] <= since:
            account.starts.popleft()
        if key.requests_per_minute is not None and len(account.starts) >= key.requests_per_minute:
            wait = account.starts[-key.requests_per_minute] - since
            raise RequestError(
                f"key {key.name!r} has sent {len(account.starts)} requests in the last minute, as many as it may",
                status=429,
                code="rate_limit_exceeded",
                retry_after=wait,
            )

    def _reserve(self, key: Key, budget: Decimal, account: _Account, worst: Decimal | None, time: str) -> Decimal:
        period = time[: _DIGITS[key.per]]
        if account.period != period:
            account.period, account.used = period, self._spent(key, period)
        left = _less(_less(budget, account.used), account.reserved)
        if worst is not None and left >= worst:
            return worst
        if account.reserved:  # what others do not use comes back
            raise RequestError(
                f"key {key.name!r} has used {account.used:f} of its {budget:f} USD {_PER[key.per]}, and its requests "
                f"under way may use {account.reserved:f} more: too little is left for another until they have ended",
                status=429,
                code="budget_reserved",
                retry_after=1,
            )
        if left > 0:
            return left
        raise self.used_up(key, f"has used {account.used:f} of its {budget:f} USD {_PER[key.per]}")

    def used_up(self, key: Key, why: str) -> RequestError:
        """Return what is said where a key's budget does not suffice."""
        wait = _until_next(self._now(), key.per)
        return RequestError(f"key {key.name!r} {why}", status=429, code="insufficient_quota", retry_after=wait)

    def settle(self, ticket: Ticket, used: Used) -> None:
        """Enter what a request came to; what it did not use is free again."""
        account = self._accounts[ticket.holder]
        account.under_way -= 1
        if ticket.reserved is not None:
            account.reserved = _less(account.reserved, ticket.reserved)
        if ticket.key is not None and account.period == ticket.time[: _DIGITS[ticket.key.per]]:
            account.used = _more(account.used, used.charged)
        tokens = used.prompt_tokens + used.completion_tokens
        self._days.count(ticket.holder, ticket.time[:10], used.status, used.cost, tokens, used.samples)
        reserved = None if ticket.reserved is None else str(ticket.reserved)
        self._unwritten[ticket.id] = (
            ticket.id,
            ticket.time,
            ticket.holder,
            ticket.model,
            reserved,
            used.status,
            str(used.cost.known),
            used.cost.unknown,
            used.prompt_tokens,
            used.completion_tokens,
            used.samples,
            str(used.charged),
        )

    def flush(self) -> None:
        """Write what is not written yet.

        Raises:
            StoreError: the file cannot be written now; nothing is lost by it.
        """
        if self._path is None:  # nobody will ever ask for them
            self._unwritten.clear()
        if not self._unwritten:
            return
        with self._guarded():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany(_ROW, list(self._unwritten.values()))
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
        self._unwritten.clear()

    def close(self) -> None:
        """Close the file.

        Raises:
            StoreError: what is left cannot be written.
        """
        try:
            self.flush()
        finally:
            self._db.close()
            if self._lock is not None:
                self._lock.close()

    def _spent(self, key: Key, period: str) -> Decimal:
        """What a key has used in a period; what was reserved by a server that was killed counts as used."""
        self.flush()
        with self._guarded():
            rows = self._db.execute(
                "SELECT coalesce(charged_usd, reserved_usd, '0') FROM requests "
                "WHERE holder = ? AND time >= ? AND time < ?",
                (key.name, period, period + "~"),
            ).fetchall()
        return ledger.total(Cost(Decimal(usd)) for (usd,) in rows).known

    def today(self, holder: str | None = None) -> Day:
        """The sums of today, in UTC: of everybody's requests, or of one holder's."""
        return self._days.of(_written(self._now())[:10], holder)

    def _read_day(self, date: str) -> None:
        with self._guarded():
            rows = self._db.execute(
                "SELECT holder, status, cost_usd, unknown, prompt_tokens + completion_tokens, samples FROM requests "
                "WHERE time >= ? AND status IS NOT NULL AND status != ?",
                (date, REFUSED),
            ).fetchall()
        for holder, status, usd, unknown, tokens, samples in rows:
            self._days.count(holder, date, status, Cost(Decimal(usd), unknown), tokens, samples)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(f"store {self._path}: requests cannot be recorded: {error}") from error


def _locked(path: Path) -> IO[bytes]:
    """A file beside the store that no other server has locked; the lock ends with the process."""
    place = path.with_name(path.name + "-serving")
    try:
        file = place.open("ab")
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise SettingError(
            f"another server keeps its budgets in {path}, and would not know of the requests under way here: name "
            "another with --store, or stop it"
        ) from None
    except OSError as error:
        raise StoreError(f"store {path}: {place} cannot be written: {error.strerror or error}") from error
    return file


def _more(amount: Decimal, by: Decimal) -> Decimal:
    """Exactly, as the ledger adds."""
    return (Cost(amount) + Cost(by)).known


def _less(amount: Decimal, by: Decimal) -> Decimal:
    return (Cost(amount) - Cost(by)).known


_PER: dict[Period, str] = {"day": "a day", "month": "a month", "ever": "in all"}
_DIGITS: dict[Period, int] = {"day": 10, "month": 7, "ever": 0}
"""Of a written time: all that is the same in one period."""


def _written(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _until_next(now: datetime, per: Period) -> float | None:
    """Seconds until the next period begins; None where there is none."""
    now = now.astimezone(UTC)
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if per == "day":
        return math.ceil(86_400 - (now - day).total_seconds())
    if per == "month":
        following = day.replace(year=day.year + day.month // 12, month=day.month % 12 + 1, day=1)
        return math.ceil((following - now).total_seconds())
    return None
