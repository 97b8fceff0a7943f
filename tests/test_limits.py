from decimal import Decimal

import pytest

from escalade.errors import SettingError
from escalade.limits import Limits, Purse


def purse(**limits: object) -> Purse:
    return Purse(Limits(**limits))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", Limits.__slots__)
@pytest.mark.parametrize("value", [-1, Decimal("-0.01"), float("nan"), Decimal("NaN")])
def test_a_limit_below_0_or_no_number_is_refused(name: str, value: object) -> None:
    with pytest.raises(SettingError, match=f"limit {name} is .*: give a number >= 0"):
        Limits(**{name: value})  # type: ignore[arg-type]


def test_0_is_a_limit_and_none_is_none() -> None:
    assert not Limits().money
    assert not Limits(problem_samples=0, tier_seconds=0, run_seconds=0).money
    assert Limits(run_usd=Decimal(0)).money
    assert purse(run_usd=Decimal(0)).reserve("p", 0, Decimal(0)) is None
    assert purse(run_usd=Decimal(0)).reserve("p", 0, Decimal("1e-9")) is not None


@pytest.mark.parametrize("name", ["run", "problem", "tier"])
def test_what_is_reserved_counts_until_it_is_given_back(name: str) -> None:
    full = purse(**{f"{name}_usd": Decimal("0.3")})
    assert [full.reserve("p", 0, Decimal("0.1")) for _ in range(3)] == [None] * 3  # exactly the limit is allowed
    refusal = full.reserve("p", 0, Decimal("0.1"))
    assert refusal is not None
    assert refusal.waits
    assert refusal.reason == (
        f"the limit of 0.3 USD for the {name} is reached: 0 spent, and the next request may cost 0.1"
    )
    full.release("p", 0, Decimal("0.1"))
    assert full.reserve("p", 0, Decimal("0.1")) is None


def test_with_nothing_in_flight_there_is_nothing_to_wait_for() -> None:
    spent = purse(problem_usd=Decimal(1))
    spent.settle("p", 0, Decimal("0.95"), samples=1)
    refusal = spent.reserve("p", 1, Decimal("0.1"))
    assert refusal is not None
    assert not refusal.waits
    assert "0.95 spent" in refusal.reason
    assert spent.reserve("q", 0, Decimal("0.1")) is None


def test_tiers_of_one_problem_have_their_own_money_and_share_the_problems() -> None:
    two = purse(problem_usd=Decimal(3), tier_usd=Decimal(2))
    assert two.reserve("p", 0, Decimal(2)) is None
    assert two.reserve("p", 0, Decimal(1)) is not None
    assert two.reserve("p", 1, Decimal(1)) is None
    assert two.reserve("p", 1, Decimal(1)) is not None


def test_settling_sets_what_a_tier_has_spent_and_may_lower_it() -> None:
    one = purse(run_usd=Decimal(1))
    one.settle("p", 0, Decimal(1), samples=1)
    assert one.reserve("q", 0, Decimal("0.5")) is not None
    one.settle("p", 0, Decimal("0.5"), samples=1)
    assert one.reserve("q", 0, Decimal("0.5")) is None


def test_what_a_finished_problem_spent_stays_with_the_run() -> None:
    one = purse(run_usd=Decimal(1), problem_usd=Decimal(1))
    one.settle("p", 0, Decimal("0.6"), samples=4)
    one.forget("p")
    assert one.reserve("p", 0, Decimal("0.5")) is not None
    assert one.reserve("p", 0, Decimal("0.4")) is None


def test_samples_in_flight_count() -> None:
    three = purse(problem_samples=3)
    three.settle("p", 0, Decimal(0), samples=2)
    assert three.reserve("p", 0, Decimal(0)) is None
    refusal = three.reserve("p", 0, Decimal(0))
    assert refusal is not None
    assert (refusal.reason, refusal.waits) == ("the limit of 3 samples for the problem is reached", True)
    assert three.reserve("q", 0, Decimal(0)) is None
    three.release("p", 0, Decimal(0))
    three.settle("p", 0, Decimal(0), samples=3)
    refusal = three.reserve("p", 0, Decimal(0))
    assert refusal is not None
    assert not refusal.waits
