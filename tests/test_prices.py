"""Prices with dates: which is in force, what of a table of them is refused, and the file it may have."""

from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from escalade import pool as pools
from escalade.errors import PoolError
from escalade.pool import Pool, PoolModel, Price, load_pool
from escalade.prices import DatedPrice, in_force, ordered

MODEL = '[[models]]\nalias = "S"\nname = "acme/small"\n'
TWO = """
[[models.prices]]
from = 2026-03-01
input = 0.2
output = 0.4
[[models.prices]]
from = "2026-01-01"
input = 0.1
cached = 0.05
output = 0.4
"""


def load(folder: Path, text: str, as_of: date | None = None, prices: str | None = None) -> Pool:
    (folder / "pool.toml").write_text(text, encoding="utf-8")
    if prices is not None:
        (folder / "prices.toml").write_text(prices, encoding="utf-8")
    return load_pool(folder / "pool.toml", as_of=as_of)


def entry(start: str, end: str | None = None) -> DatedPrice:
    return DatedPrice.model_validate({"from": start, "until": end, "input": 1, "output": 1})


@pytest.mark.parametrize(
    ("day", "price"), [("2026-01-01", "0.1"), ("2026-02-28", "0.1"), ("2026-03-01", "0.2"), ("2031-01-01", "0.2")]
)
def test_the_entry_of_the_day_is_in_force(tmp_path: Path, day: str, price: str) -> None:
    pool = load(tmp_path, MODEL + TWO, date.fromisoformat(day))
    assert pool["S"].price is not None and f"{pool['S'].price.input}" == price
    assert pool.prices_as_of == day
    assert load(tmp_path, f'prices_as_of = "{day}"\n{MODEL}{TWO}') == pool
    assert load(tmp_path, f"prices_as_of = {day}\n{MODEL}{TWO}") == pool


def test_without_a_day_it_is_today(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock(pools.datetime):  # type: ignore[name-defined,misc]
        @classmethod
        def now(cls, tz: object = None) -> pools.datetime:  # type: ignore[name-defined]
            return cls(2026, 2, 3)

    monkeypatch.setattr(pools, "datetime", Clock)
    pool = load(tmp_path, MODEL + TWO)
    assert pool.prices_as_of == "2026-02-03" and pool["S"].price is not None and pool["S"].price.cached is not None


def test_a_day_asked_for_goes_before_the_day_of_the_file(tmp_path: Path) -> None:
    pool = load(tmp_path, 'prices_as_of = "2026-01-15"\n' + MODEL + TWO, date(2026, 5, 1))
    assert isinstance(pool["S"].price, DatedPrice) and pool["S"].price.from_ == date(2026, 3, 1)


def test_a_price_without_a_date_stays_as_it_was(tmp_path: Path) -> None:
    text = 'prices_as_of = "spring"\n' + MODEL + "price = { input = 0.1, output = 0.4 }"
    pool = load(tmp_path, text, date(2026, 5, 1))
    assert type(pool["S"].price) is Price and pool.prices_as_of == "spring"


def test_the_price_in_force_goes_with_the_pool(tmp_path: Path) -> None:
    pool = load(tmp_path, MODEL + TWO, date(2026, 2, 1))
    again = Pool.model_validate_json(pool.model_dump_json(exclude_defaults=True))
    assert again.prices_as_of == "2026-02-01" and again["S"].price is not None and pool["S"].price is not None
    assert again["S"].price.model_dump() == {k: v for k, v in pool["S"].price if k in Price.model_fields}


def test_a_pool_built_in_code_has_its_price_in_force() -> None:
    model = PoolModel(alias="S", name="s", prices=(entry("2026-01-01"),))
    assert Pool(name="p", models=(model,), prices_as_of="2026-01-02")["S"].price == entry("2026-01-01")


@pytest.mark.parametrize(
    ("added", "said"),
    [
        (
            "prices_as_of = 2025-12-31",
            "model 'S' has no price in force on 2025-12-31: its first price is in force from",
        ),
        ('prices_as_of = "spring"', "'spring' is no date: write YYYY-MM-DD"),
    ],
)
def test_a_day_without_a_price_is_refused_with_model_and_day(tmp_path: Path, added: str, said: str) -> None:
    with pytest.raises(PoolError, match=said):
        load(tmp_path, added + "\n" + MODEL + TWO)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("from = 2026-01-01\ninput = 1\noutput = 1\ninptu = 2", "known are input, cached, output, from, until; did"),
        ("input = 1\noutput = 1", r"models.0.prices.0.from \(alias 'S'\): missing; it must be given"),
        ("from = 2026\ninput = 1\noutput = 1", "from .*is no date: write 2026-01-31"),
        ("from = 2026-01-01T10:00:00\ninput = 1\noutput = 1", "from .*is no date"),
        ("from = '1.1.2026'\ninput = 1\noutput = 1", "'1.1.2026' is no date"),
        ("from = 2026-01-01\nuntil = 2025-01-01\ninput = 1\noutput = 1", "ends before it begins"),
        (
            "from = 2026-01-01\nuntil = 2026-02-01\ninput = 1\noutput = 1",
            "has no price in force on 2026-05-01: its last",
        ),
        ("from = 2026-01-01\ninput = 1e-31\noutput = 1", "more than 30 decimals"),
        ("from = 2026-01-01\ninput = 1e10\noutput = 1", "less than or equal to 1000000000"),
        ("from = 2026-01-01\ninput = 1e999999999\noutput = 1", "finite number"),
    ],
)
def test_what_is_wrong_in_an_entry_is_said_with_its_place(tmp_path: Path, lines: str, said: str) -> None:
    with pytest.raises(PoolError, match=said):
        load(tmp_path, MODEL + "[[models.prices]]\n" + lines, date(2026, 5, 1))


def test_price_and_prices_are_not_both_given(tmp_path: Path) -> None:
    with pytest.raises(PoolError, match=r"models.0 \(alias 'S'\): price and prices are both given"):
        load(tmp_path, MODEL + "price = { input = 1, output = 1 }" + TWO)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([("2026-01-01", None), ("2026-01-01", None)], "overlap: on 2026-01-01 both are in force"),
        ([("2026-01-01", "2026-03-01"), ("2026-03-01", None)], "overlap: on 2026-03-01 both"),
        ([("2026-03-01", None), ("2026-01-01", "2026-02-27")], "no price is in force from 2026-02-28 to 2026-02-28"),
    ],
)
def test_overlaps_and_gaps_are_refused_with_their_days(entries: list[tuple[str, str | None]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ordered([entry(*days) for days in entries])


@given(st.sets(st.dates(date(2020, 1, 1), date(2022, 1, 1)), min_size=1, max_size=6), st.randoms(), st.dates())
def test_one_entry_is_in_force_on_each_day_from_the_first_on(starts: set[date], random: object, day: date) -> None:
    entries = [entry(start.isoformat()) for start in starts]
    random.shuffle(entries)  # type: ignore[attr-defined]
    table = ordered(entries)
    expected = [start for start in sorted(starts) if start <= day]
    if expected:
        assert in_force("S", table, day).from_ == expected[-1]
    else:
        with pytest.raises(ValueError, match=f"model 'S' has no price in force on {day}"):
            in_force("S", table, day)


FILED = 'prices = "prices.toml"\nprices_as_of = "2026-02-01"\n' + MODEL
TABLE = """
[[prices]]
model = "acme/small"
from = 2026-01-01
input = 0.1
output = 0.4
[[prices]]
model = "another/pool"
from = 2026-01-01
input = 7
output = 7
"""


def test_a_file_of_prices_serves_several_pools(tmp_path: Path) -> None:
    pool = load(tmp_path, FILED, prices=TABLE)
    assert pool["S"].price is not None and str(pool["S"].price.output) == "0.4" and pool.prices is None


@pytest.mark.parametrize(
    ("model", "table", "said"),
    [
        ("", None, "price file .*prices.toml cannot be read: No such file"),
        ("", "[[prices", "is not TOML in UTF-8"),
        ("", "", r"it has no entry; it is a list of \[\[prices\]\]"),
        ("", "price = 1", "key 'price' is unknown"),
        ("", "[[prices]]\nfrom = 2026-01-01", "prices.0 names no model: add model ="),
        (
            "",
            TABLE.replace("small", "smal"),
            r"no price of model 'S' \(acme/small\): add an entry; did you mean 'acme/smal'",
        ),
        ("", TABLE.replace("output", "outptu"), "unknown key .*did you mean 'output'"),
        ("price = { input = 1, output = 1 }", TABLE, "has a price in the pool file and in .*give one of them"),
        ("", TABLE.replace("2026-01-01", "2027-01-01"), "model 'S' has no price in force on 2026-02-01"),
    ],
)
def test_what_is_wrong_in_a_file_of_prices(tmp_path: Path, model: str, table: str | None, said: str) -> None:
    with pytest.raises(PoolError, match=said):
        load(tmp_path, FILED + model, prices=table)


def test_a_file_of_prices_is_not_left_unread() -> None:
    with pytest.raises(ValueError, match="is read from pool files only: use load_pool"):
        Pool.model_validate({"name": "p", "prices": "x.toml", "models": [{"alias": "S", "name": "s"}]})
