"""Limits and the purse: every amount in every unit, at every level, before it is spent."""

import random
from decimal import Decimal
from typing import Any

import pytest

from escalade.errors import SettingError
from escalade.limits import NOTHING, Amount, Limits, Purse, Refusal

UNITS = {"usd": "USD", "tokens": "tokens", "samples": "samples"}
LEVELS = ("run", "problem", "tier")


def purse(**limits: Any) -> Purse:
    return Purse(Limits(**limits))


def usd(value: str | int) -> Amount:
    return Amount(Decimal(value), 0, 0)


def of(unit: str, value: int) -> Amount:
    """So much of one unit, and some of the others, which have no limit."""
    many = Amount(Decimal(7), 70, 700)
    return many._replace(**{unit: Decimal(value) if unit == "usd" else value})


@pytest.mark.parametrize("name", Limits.__slots__)
@pytest.mark.parametrize("value", [-1, Decimal("-0.01"), float("nan"), Decimal("NaN")])
def test_a_limit_below_0_or_no_number_is_refused(name: str, value: object) -> None:
    with pytest.raises(SettingError, match=f"limit {name} is .*: give a number >= 0"):
        Limits(**{name: value})  # type: ignore[arg-type]


def test_0_is_a_limit_and_none_is_none() -> None:
    assert not Limits().money
    assert not Limits().amounts
    assert not Limits(problem_samples=0, tier_seconds=0, run_seconds=0).money
    assert not Limits(tier_seconds=0, run_seconds=0, problem_seconds=0).amounts
    assert Limits(run_usd=Decimal(0)).money
    assert Limits(tier_tokens=0).amounts
    assert Limits(run_samples=0).amounts
    assert purse(run_usd=Decimal(0)).reserve("p", 0, usd(0)) is None
    assert purse(run_usd=Decimal(0)).reserve("p", 0, usd("1e-9")) is not None
    assert purse(run_tokens=0).reserve("p", 0, Amount(Decimal(5), 0, 1)) is None


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("level", LEVELS)
def test_what_is_reserved_counts_until_it_is_given_back(level: str, unit: str) -> None:
    full = purse(**{f"{level}_{unit}": 3})
    assert [full.reserve("p", 0, of(unit, 1)) for _ in range(3)] == [None] * 3  # exactly the limit is allowed
    refusal = full.reserve("p", 0, of(unit, 1))
    assert refusal == Refusal(
        f"the limit of 3 {UNITS[unit]} for the {level} is reached: 0 used, and the next request may take 1",
        waits=True,
        whole_run=level == "run",
    )
    full.release("p", 0, of(unit, 1))
    assert full.reserve("p", 0, of(unit, 1)) is None


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("level", LEVELS)
def test_what_is_used_counts_for_good_and_there_is_nothing_to_wait_for(level: str, unit: str) -> None:
    spent = purse(**{f"{level}_{unit}": 10})
    spent.settle("p", 0, of(unit, 9))
    refusal = spent.reserve("p", 0, of(unit, 2))
    assert refusal is not None
    assert not refusal.waits
    assert "9 used" in refusal.reason
    assert "may take 2" in refusal.reason
    other = spent.reserve("q", 0, of(unit, 2))
    assert (other is None) == (level != "run")
    next_tier = spent.reserve("p", 1, of(unit, 2))
    assert (next_tier is None) == (level == "tier")


def test_tiers_of_one_problem_have_their_own_money_and_share_the_problems() -> None:
    two = purse(problem_usd=Decimal(3), tier_usd=Decimal(2))
    assert two.reserve("p", 0, usd(2)) is None
    assert two.reserve("p", 0, usd(1)) is not None
    assert two.reserve("p", 1, usd(1)) is None
    assert two.reserve("p", 1, usd(1)) is not None


def test_a_refused_request_reserves_nothing_at_any_level() -> None:
    both = purse(run_usd=Decimal(5), tier_samples=1)
    assert both.reserve("p", 0, Amount(Decimal(1), 0, 1)) is None
    for _ in range(10):
        refusal = both.reserve("p", 0, Amount(Decimal(1), 0, 1))
        assert refusal is not None
        assert "samples for the tier" in refusal.reason
        assert not refusal.whole_run
    assert both.reserve("q", 0, Amount(Decimal(4), 0, 1)) is None


def test_settling_sets_what_a_tier_has_used_and_may_lower_it() -> None:
    one = purse(run_usd=Decimal(1))
    one.settle("p", 0, usd(1))
    assert one.reserve("q", 0, usd("0.5")) is not None
    one.settle("p", 0, usd("0.5"))
    assert one.reserve("q", 0, usd("0.5")) is None


def test_what_a_finished_problem_used_stays_with_the_run() -> None:
    one = purse(run_usd=Decimal(1), problem_usd=Decimal(1))
    one.settle("p", 0, Amount(Decimal("0.6"), 60, 4))
    one.forget("p")
    assert one.reserve("p", 0, usd("0.5")) is not None
    assert one.reserve("p", 0, usd("0.4")) is None


def test_what_earlier_runs_used_counts_before_it_is_come_upon_and_only_once() -> None:
    again = purse(run_usd=Decimal(10), problem_usd=Decimal(6))
    again.expect("p", usd(5))
    again.expect("q", usd(3))
    assert again.reserve("p", 0, usd(2)) is not None  # of the problem
    assert again.reserve("r", 0, usd(3)) is not None  # of the run
    again.settle("p", 0, usd(2))  # has found a part of it
    assert again.reserve("r", 0, usd(3)) is not None
    again.settle("p", 0, usd(6))  # all of it, and has used more
    refusal = again.reserve("r", 0, usd(2))
    assert refusal is not None
    assert "9 used" in refusal.reason
    again.forget("q")  # what was paid stays paid, even if it was not looked at
    assert again.reserve("r", 0, usd(2)) is not None
    assert again.reserve("r", 0, usd(1)) is None


def test_money_is_written_plainly() -> None:
    small = purse(tier_usd=Decimal("1E-7"))
    small.settle("p", 0, usd("1.0E-8"))
    refusal = small.reserve("p", 0, usd("2E+1"))
    assert refusal is not None
    assert refusal.reason == (
        "the limit of 0.0000001 USD for the tier is reached: 0.00000001 used, and the next request may take 20"
    )


@pytest.mark.parametrize("seed", range(30))
def test_whatever_happens_used_and_reserved_stay_within_every_limit(seed: int) -> None:
    """Requests use at most what was reserved for them; the sums are kept a second time here."""
    dice = random.Random(seed)
    bounds = {f"{level}_{unit}": dice.choice([None, dice.randint(0, 60)]) for level in LEVELS for unit in UNITS}
    both, under_way = purse(**bounds), list[tuple[str, int, Amount]]()
    used: dict[tuple[str, int], Amount] = {}
    for _ in range(400):
        if under_way and dice.random() < 0.45:
            problem, tier, most = under_way.pop(dice.randrange(len(under_way)))
            both.release(problem, tier, most)
            before, part = used.get((problem, tier), NOTHING), dice.choice([0, 1])
            used[problem, tier] = Amount(*(b + part * m for b, m in zip(before, most, strict=True)))
            both.settle(problem, tier, used[problem, tier])
            continue
        problem, tier = dice.choice("pqr"), dice.randrange(2)
        amount = Amount(Decimal(dice.randint(0, 5)), dice.randint(0, 5), 1)
        if both.reserve(problem, tier, amount) is None:
            under_way.append((problem, tier, amount))
        every = [*((p, t, a) for (p, t), a in used.items()), *under_way]
        for place, unit in enumerate(UNITS):
            groups = {"run": lambda p, t: 0, "problem": lambda p, t: p, "tier": lambda p, t: (p, t)}
            for level, group in groups.items():
                bound = bounds[f"{level}_{unit}"]
                sums: dict[object, Decimal | int] = {}
                for p, t, a in every:
                    sums[group(p, t)] = sums.get(group(p, t), 0) + a[place]
                assert bound is None or all(value <= bound for value in sums.values())
