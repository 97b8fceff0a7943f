"""Accounts: what a key may use, on a clock and a calendar of the test's own."""

import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal, localcontext
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from escalade.errors import RequestError, SettingError, StoreError
from escalade.gateway.accounts import ANYBODY, Accounts, Ticket, Used
from escalade.gateway.keys import Key, digest
from escalade.ledger import Cost

NOON = datetime(2026, 3, 14, 12, 0, 0, tzinfo=UTC)


@dataclass
class World:
    """A clock and a calendar, and requests with ids of their own."""

    seconds: float = 1000.0
    day: datetime = NOON
    asked: int = 0
    opened: list[Accounts] = field(default_factory=list)

    def open(self, path: Path | None = None, *, alone: bool = False) -> Accounts:
        accounts = Accounts(path, alone=alone, clock=lambda: self.seconds, now=lambda: self.day)
        self.opened.append(accounts)
        return accounts

    def admit(self, to: Accounts, key: Key | None, worst: str | Decimal | None = "1") -> Ticket:
        self.asked += 1
        return to.admit(f"r{self.asked}", key, "S", None if worst is None else Decimal(worst))


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    for accounts in made.opened:
        accounts.close()


@pytest.fixture(params=["a file", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "store.sqlite" if request.param == "a file" else None


def key_of(name: str = "alice", **settings: Any) -> Key:
    return Key(name=name, sha256=digest(name), **settings)


def used(usd: str | Decimal = "0", *, unknown: int = 0, status: str = "accepted", samples: int = 1) -> Used:
    return Used(status, Cost(Decimal(usd), unknown), 10, 5, samples, Decimal(usd))


def refused(what: Callable[[], object]) -> RequestError:
    with pytest.raises(RequestError) as caught:
        what()
    assert caught.value.status == 429
    return caught.value


def standing(accounts: Accounts, name: str = "alice") -> tuple[Decimal, Decimal, int]:
    account = accounts._accounts[name]
    return account.used, account.reserved, account.under_way


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Another process writes all the while."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


def rows(path: Path) -> list[tuple[Any, ...]]:
    with sqlite3.connect(path) as db:
        found = db.execute(
            "SELECT id, holder, reserved_usd, status, cost_usd FROM requests ORDER BY time, id"
        ).fetchall()
    db.close()
    return found


# -- how many, and how often ----------------------------------------------------------------------------------


def test_as_many_requests_at_once_as_a_key_may(world: World, place: Path | None) -> None:
    accounts, key = world.open(place), key_of(concurrent=2)
    first, _ = world.admit(accounts, key), world.admit(accounts, key)
    error = refused(lambda: world.admit(accounts, key))
    assert error.code == "too_many_requests"
    assert "key 'alice' has 2 requests under way" in str(error)
    world.admit(accounts, key_of("bob", concurrent=2))  # others are not concerned
    accounts.settle(first, used())
    world.admit(accounts, key)
    refused(lambda: world.admit(accounts, key))


def test_as_many_requests_a_minute_as_a_key_may(world: World, place: Path | None) -> None:
    accounts, key = world.open(place), key_of(requests_per_minute=3)
    for seconds in (1000.0, 1010.0, 1025.0):
        world.seconds = seconds
        accounts.settle(world.admit(accounts, key), used())
    world.seconds = 1030.0
    error = refused(lambda: world.admit(accounts, key))
    assert (error.code, error.retry_after) == ("rate_limit_exceeded", 30.0)
    assert "key 'alice' has sent 3 requests in the last minute" in str(error)
    world.seconds = 1059.0
    assert refused(lambda: world.admit(accounts, key)).retry_after == 1.0
    world.seconds = 1060.0
    world.admit(accounts, key)
    assert refused(lambda: world.admit(accounts, key)).retry_after == 10.0


def test_what_was_refused_does_not_count_as_sent(world: World) -> None:
    accounts, key = world.open(), key_of(requests_per_minute=1, concurrent=1)
    ticket = world.admit(accounts, key)
    for _ in range(5):
        refused(lambda: world.admit(accounts, key))
    accounts.settle(ticket, used())
    world.seconds += 60
    world.admit(accounts, key)


def test_those_without_a_key_have_no_limits(world: World) -> None:
    accounts = world.open()
    tickets = [world.admit(accounts, None, None) for _ in range(100)]
    assert {(t.holder, t.reserved) for t in tickets} == {(ANYBODY, None)}
    for ticket in tickets:
        accounts.settle(ticket, used("0.5"))
    assert accounts.today().cost == Cost(Decimal(50))


def test_a_server_without_keys_remembers_no_times_of_long_ago(world: World) -> None:
    accounts = world.open()
    for _ in range(1000):
        world.seconds += 60
        accounts.settle(world.admit(accounts, None, None), used())
    assert len(accounts._accounts[ANYBODY].starts) <= 2


# -- money ----------------------------------------------------------------------------------------------------


def test_the_worst_case_is_reserved_then_what_is_left_then_nothing(world: World, place: Path | None) -> None:
    accounts, key = world.open(place), key_of(budget_usd="5")
    assert world.admit(accounts, key, "3").reserved == Decimal(3)
    error = refused(lambda: world.admit(accounts, key, "3"))
    assert (error.code, error.retry_after) == ("budget_reserved", 1)
    for word in ("key 'alice'", "used 0 of its 5 USD a day", "requests under way may use 3 more"):
        assert word in str(error)
    assert world.admit(accounts, key, "2").reserved == Decimal(2)
    assert standing(accounts) == (Decimal(0), Decimal(5), 2)


def test_alone_a_request_gets_what_is_left_and_then_there_is_nothing(world: World, place: Path | None) -> None:
    accounts, key = world.open(place), key_of(budget_usd="5")
    accounts.settle(world.admit(accounts, key, "4"), used("4"))
    last = world.admit(accounts, key, "3")
    assert last.reserved == Decimal(1)
    accounts.settle(last, used("1"))
    error = refused(lambda: world.admit(accounts, key, "3"))
    assert error.code == "insufficient_quota"
    assert "key 'alice' has used 5 of its 5 USD a day" in str(error)


def test_a_request_that_takes_more_than_expected_gets_more_while_there_is_some(
    world: World, place: Path | None
) -> None:
    accounts, key = world.open(place), key_of(budget_usd="5")
    other, ticket = world.admit(accounts, key, "1"), world.admit(accounts, key, "1.5")
    assert accounts.extend(ticket) == Decimal(3)
    assert accounts.extend(ticket) == Decimal(4)  # what is left is less than it was expected to take
    assert accounts.extend(ticket) is None
    assert standing(accounts)[1] == Decimal(5)
    accounts.settle(ticket, used("2"))
    assert accounts.extend(other) == Decimal(2)
    assert standing(accounts) == (Decimal(2), Decimal(2), 1)


def test_of_an_unknown_worst_case_all_that_is_left_is_reserved(world: World) -> None:
    accounts, key = world.open(), key_of(budget_usd="5")
    accounts.settle(world.admit(accounts, key, "1"), used("1"))
    assert world.admit(accounts, key, None).reserved == Decimal(4)


def test_what_was_not_used_is_free_again(world: World, place: Path | None) -> None:
    accounts, key = world.open(place), key_of(budget_usd="5")
    ticket = world.admit(accounts, key, "5")
    refused(lambda: world.admit(accounts, key))
    accounts.settle(ticket, used("0.5"))
    assert standing(accounts) == (Decimal("0.5"), Decimal(0), 0)
    assert world.admit(accounts, key, "9").reserved == Decimal("4.5")


def test_an_unknown_cost_counts_at_the_most_it_can_be(world: World, place: Path | None) -> None:
    accounts, key = world.open(place), key_of(budget_usd="5")
    spent = used("0.5", unknown=1)._replace(charged=Decimal(2))
    accounts.settle(world.admit(accounts, key, "3"), spent)
    assert standing(accounts) == (Decimal(2), Decimal(0), 0)
    assert accounts.today().cost == Cost(Decimal("0.5"), unknown=1)
    assert world.admit(accounts, key, "9").reserved == Decimal(3)


@pytest.mark.parametrize(
    ("per", "day", "seconds", "words"),
    [
        ("day", NOON, 12 * 3600, "a day"),
        ("day", datetime(2026, 12, 31, 23, 59, 59, 500_000, tzinfo=UTC), 1, "a day"),
        ("day", datetime(2026, 3, 14, 1, 0, tzinfo=UTC).astimezone(), 23 * 3600, "a day"),
        ("month", NOON, (17 * 24 + 12) * 3600, "a month"),
        ("month", datetime(2024, 2, 28, tzinfo=UTC), 2 * 86_400, "a month"),
        ("month", datetime(2026, 12, 31, 23, 0, tzinfo=UTC), 3600, "a month"),
        ("ever", NOON, None, "in all"),
    ],
)
def test_who_has_used_a_budget_is_told_when_there_is_more(
    world: World, per: str, day: datetime, seconds: int | None, words: str
) -> None:
    world.day = day
    accounts, key = world.open(), key_of(budget_usd="5", per=per)
    accounts.settle(world.admit(accounts, key, "5"), used("5"))
    error = refused(lambda: world.admit(accounts, key))
    assert (error.code, error.retry_after) == ("insufficient_quota", seconds)
    assert f"has used 5 of its 5 USD {words}" in str(error)


@pytest.mark.parametrize(
    ("per", "later", "free"),
    [
        ("day", timedelta(hours=11, minutes=59), False),
        ("day", timedelta(hours=12), True),
        ("month", timedelta(days=17), False),
        ("month", timedelta(days=18), True),
        ("ever", timedelta(days=10_000), False),
    ],
)
def test_a_budget_is_whole_again_in_the_next_period(
    world: World, place: Path | None, per: str, later: timedelta, free: bool
) -> None:
    accounts, key = world.open(place), key_of(budget_usd="5", per=per)
    accounts.settle(world.admit(accounts, key, "5"), used("5"))
    world.day += later
    if free:
        assert world.admit(accounts, key, "9").reserved == Decimal(5)
    else:
        refused(lambda: world.admit(accounts, key))


def test_a_request_over_midnight_is_of_the_day_it_came(world: World, place: Path | None) -> None:
    accounts, key = world.open(place), key_of(budget_usd="5")
    ticket = world.admit(accounts, key, "3")
    world.day += timedelta(days=1)
    assert world.admit(accounts, key, "1").reserved == Decimal(1)
    accounts.settle(ticket, used("3"))
    assert standing(accounts) == (Decimal(0), Decimal(1), 1)
    assert world.admit(accounts, key, "4").reserved == Decimal(4)


def test_a_budget_of_nothing_lets_what_costs_nothing(world: World) -> None:
    accounts, key = world.open(), key_of(budget_usd="0")
    accounts.settle(world.admit(accounts, key, "0"), used("0"))
    assert refused(lambda: world.admit(accounts, key, "0.01")).code == "insufficient_quota"


def test_keys_have_budgets_of_their_own(world: World, place: Path | None) -> None:
    accounts = world.open(place)
    for name in ("alice", "bob"):
        assert world.admit(accounts, key_of(name, budget_usd="5"), "5").reserved == Decimal(5)


# -- the record -----------------------------------------------------------------------------------------------


def test_another_server_on_the_file_continues_the_sums(world: World, tmp_path: Path) -> None:
    path, key = tmp_path / "store.sqlite", key_of(budget_usd="5")
    first = world.open(path)
    first.settle(world.admit(first, key, "2"), used("1.25"))
    first.flush()
    second = world.open(path)
    assert world.admit(second, key, "9").reserved == Decimal("3.75")


def test_what_a_killed_server_had_reserved_counts_in_full(world: World, tmp_path: Path) -> None:
    path, key = tmp_path / "store.sqlite", key_of(budget_usd="5")
    first = world.open(path)
    first.settle(world.admit(first, key, "2"), used("0.5"))
    world.admit(first, key, "1")  # never settled
    second = world.open(path)
    ticket = world.admit(second, key, "9")
    assert ticket.reserved == Decimal("3.5")
    second.settle(ticket, used("3.5"))
    assert refused(lambda: world.admit(second, key, "1")).retry_after == 12 * 3600
    assert [(reserved, status) for _, _, reserved, status, _ in rows(path)][1] == ("1", None)


def test_a_reservation_is_on_disk_before_the_request_goes_on(world: World, tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    accounts = world.open(path)
    world.admit(accounts, key_of(budget_usd="5"), "2")
    assert rows(path) == [("r1", "alice", "2", None, None)]


def test_requests_of_every_holder_are_recorded(world: World, tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    accounts = world.open(path)
    for key in (None, key_of()):
        accounts.settle(world.admit(accounts, key, None), used("0.25"))
    accounts.close()
    world.opened.clear()
    assert rows(path) == [("r1", "", None, "accepted", "0.25"), ("r2", "alice", None, "accepted", "0.25")]


def test_where_the_file_is_locked_a_budgeted_request_is_refused_without_a_trace(world: World, tmp_path: Path) -> None:
    path, key = tmp_path / "store.sqlite", key_of(budget_usd="5", concurrent=1, requests_per_minute=1)
    accounts = world.open(path)
    with held(path):
        for _ in range(3):
            with pytest.raises(StoreError, match=r"store\.sqlite: requests cannot be recorded: .*locked"):
                world.admit(accounts, key, "5")
            assert standing(accounts) == (Decimal(0), Decimal(0), 0)
        world.admit(accounts, key_of("bob"), "5")  # nothing of its has to be on disk
    assert world.admit(accounts, key, "5").reserved == Decimal(5)
    # What was refused is what is tried to be written meanwhile: it came to nothing.
    assert [(row[0], row[3]) for row in rows(path)] == [(f"r{i}", "refused") for i in (1, 2, 3)] + [("r5", None)]
    assert accounts.today().requests == 0


def test_where_the_file_is_locked_nothing_settled_is_lost(world: World, tmp_path: Path) -> None:
    path, key = tmp_path / "store.sqlite", key_of(budget_usd="5")
    accounts = world.open(path)
    tickets = [world.admit(accounts, key, "1") for _ in range(3)]
    with held(path):
        for ticket in tickets:
            accounts.settle(ticket, used("0.5"))
        with pytest.raises(StoreError):
            accounts.flush()
        assert standing(accounts) == (Decimal("1.5"), Decimal(0), 0)
        assert accounts.today().cost == Cost(Decimal("1.5"))
    accounts.flush()
    assert rows(path) == [(f"r{i}", "alice", "1", "accepted", "0.5") for i in (1, 2, 3)]
    assert world.admit(world.open(path), key, "9").reserved == Decimal("3.5")


def test_a_server_that_has_its_budgets_in_a_file_has_it_alone(world: World, tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    first = world.open(path, alone=True)
    with pytest.raises(SettingError, match=r"another server keeps its budgets in .*store\.sqlite"):
        world.open(path, alone=True)
    world.open(path)  # one without budgets may be there
    world.open(tmp_path / "other.sqlite", alone=True)
    first.close()
    world.opened.remove(first)
    world.open(path, alone=True)


def test_a_file_that_is_no_store_is_refused(world: World, tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    path.write_bytes(b"no database at all, " * 100)
    with pytest.raises(StoreError):
        world.open(path)


# -- today ----------------------------------------------------------------------------------------------------


def test_today_is_summed(world: World, place: Path | None) -> None:
    accounts = world.open(place)
    for status, usd, unknown in (("accepted", "0.25", 0), ("accepted", "0.5", 0), ("error", "0", 1)):
        accounts.settle(world.admit(accounts, None), used(usd, unknown=unknown, status=status, samples=3))
    day = accounts.today()
    assert (day.date, day.requests, day.tokens, day.samples) == ("2026-03-14", 3, 45, 9)
    assert (day.cost, day.statuses) == (Cost(Decimal("0.75"), 1), {"accepted": 2, "error": 1})


@pytest.mark.parametrize("key", [None, key_of(budget_usd="5")], ids=["without a key", "with a budget"])
def test_today_is_the_same_after_a_restart(world: World, tmp_path: Path, key: Key | None) -> None:
    path = tmp_path / "store.sqlite"
    first = world.open(path)
    for usd, unknown in (("0.25", 0), ("0.125", 1)):
        first.settle(world.admit(first, key), used(usd, unknown=unknown))
    world.admit(first, key)  # under way still
    first.flush()
    assert world.open(path).today() == first.today()


def test_today_begins_anew_at_midnight(world: World, tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    accounts = world.open(path)
    accounts.settle(world.admit(accounts, None), used("0.25"))
    late = world.admit(accounts, None)
    world.day += timedelta(days=1)
    accounts.settle(late, used("0.5"))
    assert (accounts.today().date, accounts.today().requests) == ("2026-03-15", 0)
    accounts.settle(world.admit(accounts, None), used("1"))
    assert (accounts.today().requests, accounts.today().cost) == (1, Cost(Decimal(1)))
    accounts.flush()
    assert world.open(path).today() == accounts.today()


# -- never over -----------------------------------------------------------------------------------------------

Step = tuple[int, int, int, bool]
"""Which key, thousandths of a dollar at worst, how much of that is used, whether a cost is unknown."""
STEPS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 4000), st.integers(0, 100), st.booleans()), min_size=1, max_size=40
)
KEYS = [
    key_of(f"k{i}", budget_usd=budget, per=per)
    for i, (budget, per) in enumerate([("5", "day"), ("0.3", "month"), ("1.234567890123456789", "ever")])
]


def check_never_over(accounts: Accounts) -> None:
    for key in KEYS:
        spent, reserved, _ = standing(accounts, key.name)
        assert key.budget_usd is not None
        assert min(spent, reserved) >= 0
        assert spent + reserved <= key.budget_usd


@given(STEPS, st.randoms(use_true_random=False))
def test_no_order_of_requests_overruns_a_budget(steps: list[Step], dice: random.Random) -> None:
    world = World()
    accounts = world.open()
    under_way: list[tuple[Ticket, Used]] = []
    for number, thousandths, percent, unknown in steps:
        worst = Decimal(thousandths) / 1000
        try:
            ticket = world.admit(accounts, KEYS[number], worst)
        except RequestError as error:
            assert error.code in ("insufficient_quota", "budget_reserved")
        else:
            assert ticket.reserved is not None
            assert ticket.reserved <= worst
            under_way.append((ticket, used(ticket.reserved * percent / 100, unknown=int(unknown))))
        check_never_over(accounts)
        while under_way and dice.random() < 0.4:
            accounts.settle(*under_way.pop(dice.randrange(len(under_way))))
            check_never_over(accounts)
    for each in under_way:
        accounts.settle(*each)
    check_never_over(accounts)
    assert all(standing(accounts, key.name)[1:] == (0, 0) for key in KEYS)
    accounts.close()


@pytest.mark.parametrize("seed", range(8))
def test_the_record_has_what_the_accounts_have_whenever_it_is_read(seed: int, tmp_path: Path) -> None:
    dice, world, path = random.Random(seed), World(), tmp_path / "store.sqlite"
    accounts = world.open(path)
    under_way: list[Ticket] = []
    for _ in range(150):
        key = dice.choice(KEYS)
        with suppress(RequestError):
            under_way.append(world.admit(accounts, key, Decimal(dice.randrange(400)) / 1000))
        while under_way and dice.random() < 0.45:
            ticket = under_way.pop(dice.randrange(len(under_way)))
            assert ticket.reserved is not None
            accounts.settle(ticket, used(ticket.reserved * dice.randrange(101) / 100, unknown=int(dice.random() < 0.1)))
        if dice.random() < 0.2:
            accounts.flush()
        if dice.random() < 0.03:
            world.day += timedelta(hours=5)
    accounts.flush()
    for key in KEYS:
        spent, reserved, _ = standing(accounts, key.name)
        since = accounts._accounts[key.name].period or ""
        mine = [row for row in recorded(path, key.name) if row[0] >= since]
        ended = [(Decimal(r), Decimal(cost), unknown) for _, r, cost, unknown in mine if cost is not None]
        with localcontext(Context(prec=100)):
            assert sum((cost for _, cost, _ in ended), Decimal(0)) == spent
        open_now = [Decimal(r) for _, r, cost, _ in recorded(path, key.name) if cost is None]
        with localcontext(Context(prec=100)):
            assert sum(open_now, Decimal(0)) == reserved
    for accounts in world.opened:
        accounts.close()


def recorded(path: Path, name: str) -> list[tuple[str, str, str | None, int | None]]:
    db = sqlite3.connect(path)
    query = "SELECT time, reserved_usd, cost_usd, unknown FROM requests WHERE holder = ?"
    found = db.execute(query, (name,)).fetchall()
    db.close()
    return found


def test_money_of_many_digits_is_exact(world: World, tmp_path: Path) -> None:
    # A price may have 30 decimals, a token's 36.
    path, key = tmp_path / "store.sqlite", key_of(budget_usd="9")
    accounts = world.open(path)
    tiny = Decimal("1E-34")
    with localcontext(Context(prec=100)):
        tickets = [world.admit(accounts, key, 1 + tiny * i) for i in range(1, 4)]
    assert standing(accounts)[1] == Decimal("3.0000000000000000000000000000000006")
    for ticket in tickets:
        assert ticket.reserved is not None
        accounts.settle(ticket, used(ticket.reserved))
    assert standing(accounts)[:2] == (Decimal("3.0000000000000000000000000000000006"), 0)
