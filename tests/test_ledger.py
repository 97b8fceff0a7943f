from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from escalade.ledger import Cost, Usage, charge, total, worst
from escalade.pool import Price

PRICE = Price(input="0.20", cached="0.10", output="0.30")  # type: ignore[arg-type] # as TOML gives it
BILLINGS = ("once", "cached", "each")

prices = st.builds(
    Price,
    input=st.decimals(0, 1000, places=6),
    cached=st.none() | st.decimals(0, 1000, places=6),
    output=st.decimals(0, 1000, places=6),
)
counts = st.integers(0, 10**7)


@st.composite
def usage_of_one_prompt(draw: st.DrawFn) -> list[Usage]:
    prompt = draw(counts)
    return [Usage(prompt, draw(counts), draw(st.none() | st.integers(0, prompt))) for _ in range(draw(counts) % 9)]


@pytest.mark.parametrize(
    ("billing", "expected"),
    [
        # The prompt of 100 tokens, then 50, 10 and 0 tokens of output at 0.30.
        ("once", ["20+15", "3", "0"]),
        ("cached", ["20+15", "10+3", "10+0"]),
        ("each", ["20+15", "16+3", "10+0"]),
    ],
)
def test_how_the_prompt_of_k_samples_is_billed(billing: str, expected: list[str]) -> None:
    usages = [Usage(100, 50), Usage(100, 10, 40), Usage(100, 0, 100)]
    exact = [Decimal(sum(map(int, text.split("+")))) / 1_000_000 for text in expected]
    assert [cost.usd for cost in charge(usages, PRICE, billing)] == exact  # type: ignore[arg-type]


def test_a_prompt_that_an_earlier_tier_paid_is_not_paid_again() -> None:
    usages = [Usage(100, 50), Usage(100, 10)]
    micro = {b: [c.known * 1_000_000 for c in charge(usages, PRICE, b, prompt_paid=True)] for b in BILLINGS}  # type: ignore[arg-type]
    assert micro == {"once": [15, 3], "cached": [25, 13], "each": [35, 23]}


def test_p17_a_price_of_0_is_a_price_and_no_price_is_unknown() -> None:
    free = Price(input=0, output=0)  # type: ignore[arg-type]
    assert total(charge([Usage(10, 5)] * 3, free, "each")).usd == 0
    assert total(charge([Usage(None, None)] * 3, free, "each")).usd == 0  # whatever it was, times 0
    nothing = total(charge([Usage(10, 5)] * 3, None, "once"))
    assert (nothing.usd, nothing.unknown) == (None, 3)
    assert str(nothing).startswith("unknown (3 requests")


@pytest.mark.parametrize(
    ("usages", "billing", "unknown"),
    [
        ([Usage(10, None), Usage(10, 5)], "once", 1),
        ([Usage(None, 5), Usage(None, 5)], "once", 1),
        ([Usage(None, 5), Usage(10, 5)], "once", 0),  # one prompt, and its length is known
        ([Usage(None, 5), Usage(10, 5)], "cached", 1),
        ([Usage(None, 5), Usage(10, 5)], "each", 1),
        ([Usage(None, 5, 3)], "each", 1),
    ],
)
def test_unknown_tokens_make_an_unknown_cost_never_0(usages: list[Usage], billing: str, unknown: int) -> None:
    cost = total(charge(usages, PRICE, billing))  # type: ignore[arg-type]
    assert cost.unknown == unknown
    assert (cost.usd is None) == bool(unknown)


def test_unknown_output_tokens_do_not_matter_where_output_is_free() -> None:
    price = Price(input=1, output=0)  # type: ignore[arg-type]
    assert total(charge([Usage(7, None)], price, "once")).usd == Decimal("0.000007")


def test_without_a_cached_price_cached_tokens_cost_as_much_as_others() -> None:
    price = Price(input="0.20", output="0.30")  # type: ignore[arg-type]
    assert charge([Usage(100, 0, 60)], price, "each") == charge([Usage(100, 0)], price, "each")


@given(usage_of_one_prompt(), prices, st.sampled_from(BILLINGS))
def test_money_is_exact(usages: list[Usage], price: Price, billing: str) -> None:
    def exact(position: int, u: Usage) -> Fraction:
        assert u.prompt is not None
        assert u.completion is not None
        cached = Fraction(price.cached_input)
        cost = u.completion * Fraction(price.output)
        if billing == "each":
            cost += (u.prompt - (u.cached or 0)) * Fraction(price.input) + (u.cached or 0) * cached
        elif position == 0:
            cost += u.prompt * Fraction(price.input)
        elif billing == "cached":
            cost += u.prompt * cached
        return cost / 1_000_000

    expected = [exact(i, u) for i, u in enumerate(usages)]
    costs = charge(usages, price, billing)  # type: ignore[arg-type]
    assert [Fraction(cost.known) for cost in costs] == expected
    assert Fraction(total(costs).known) == sum(expected)
    assert total(costs) - total(costs) == Cost()
    assert total(reversed(costs)) == total(costs)


@given(usage_of_one_prompt(), prices, st.sampled_from(BILLINGS))
def test_the_worst_is_an_upper_bound(usages: list[Usage], price: Price, billing: str) -> None:
    for usage, cost in zip(usages, charge(usages, price, billing), strict=True):  # type: ignore[arg-type]
        assert cost.known <= worst(usage.prompt or 0, usage.completion or 0, price)


@pytest.mark.parametrize(("cost", "text"), [("0.10", "0.1 USD"), ("0", "0 USD"), ("1E-7", "0.0000001 USD")])
def test_money_is_written_without_exponents(cost: str, text: str) -> None:
    assert str(Cost(Decimal(cost))) == text
