from decimal import Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from escalade.ledger import Billing, Cost, Seconds, Usage, charge, seconds, stamp, total, worst
from escalade.pool import Price, load_pool
from escalade.testing import pool_of

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


wide = st.builds(
    Price,
    input=st.decimals(0, 10**9, places=12) | st.decimals(0, 1, places=30) | st.just(Decimal("1E+3")),
    cached=st.none() | st.decimals(0, 1000, places=12),
    output=st.decimals(0, 1000, places=12) | st.just(Decimal("10")),
)
unsure = st.none() | counts


@st.composite
def any_usages(draw: st.DrawFn) -> list[Usage]:
    rows = draw(st.lists(st.tuples(unsure, unsure, unsure), max_size=8))
    return [
        Usage(prompt, completion, cached if prompt is None or cached is None else min(cached, prompt))
        for prompt, completion, cached in rows
    ]


def by_decimals(usages: list[Usage], price: Price, billing: Billing, *, prompt_paid: bool) -> list[Cost]:
    """The same in plain decimals, part by part."""
    payer = next((position for position, usage in enumerate(usages) if usage.prompt is not None), 0)
    out: list[Cost] = []
    with localcontext(prec=100):
        for position, usage in enumerate(usages):
            cached = usage.cached or 0
            parts = [(usage.completion, price.output)]
            if billing == "each":
                rest = None if usage.prompt is None else usage.prompt - cached
                parts += [(rest, price.input), (cached, price.cached_input)]
            elif position == payer and not prompt_paid:
                parts.append((usage.prompt, price.input))
            elif billing == "cached":
                parts.append((usage.prompt, price.cached_input))
            paid = [(tokens, each) for tokens, each in parts if each]
            if any(tokens is None for tokens, _ in paid):
                out.append(Cost(unknown=1))
            else:
                known = sum((tokens * each for tokens, each in paid if tokens is not None), Decimal(0))
                out.append(Cost((known / 1_000_000).normalize() + 0))
    return out


@given(any_usages(), wide, st.sampled_from(BILLINGS), st.booleans())
def test_units_give_what_decimals_give_to_the_last_digit(
    usages: list[Usage], price: Price, billing: Billing, paid: bool
) -> None:
    costs = charge(usages, price, billing, prompt_paid=paid)
    expected = by_decimals(usages, price, billing, prompt_paid=paid)
    assert [(str(cost.known), cost.unknown) for cost in costs] == [(str(c.known), c.unknown) for c in expected]


def test_equal_prices_written_otherwise_cost_the_same() -> None:
    one, other = (Price(input=text, output=text) for text in ("0.5", "0.500000000000000"))  # type: ignore[arg-type]
    usages = [Usage(3, 7)]
    assert str(charge(usages, one, "once")) == str(charge(usages, other, "once"))


def test_an_engine_cannot_have_cached_more_than_the_prompt() -> None:
    dear = Price(input=1, cached=0, output=0)  # type: ignore[arg-type]
    assert charge([Usage(10, 0, 25)], dear, "each") == [Cost()]


def test_large_sums_stay_exact() -> None:
    one, small = Cost(Decimal(10) ** 12), Cost(Decimal("1E-18"))
    assert Fraction((one + small).known) == 10**12 + Fraction(1, 10**18) == Fraction(total([one, small]).known)
    assert one + small - one == small and str(one + small) == "1000000000000.000000000000000001 USD"


@given(st.lists(st.tuples(st.sampled_from("SML"), st.none() | st.floats(0, 1e6)), max_size=20))
def test_seconds_sum_per_group_in_any_order_and_unknown_ones_are_counted(spent: list[tuple[str, float | None]]) -> None:
    found = seconds(spent)
    assert found == seconds(reversed(spent)) and set(found) == {group for group, _ in spent}
    for group, sums in found.items():
        values = [value for name, value in spent if name == group]
        assert sums.unknown == values.count(None)
        assert (sums.whole is None) == (None in values)
        assert sums.known == pytest.approx(sum(value for value in values if value is not None))
    assert Seconds().whole == 0


def test_a_stamp_says_billing_and_each_price_exactly() -> None:
    said = stamp(load_pool("qwen2.5-math"))
    assert (said["billing"], said["prices_as_of"]) == ("once", "2025-01-04")
    assert said["prices"]["72B"] == {"from": None, "input": "0.9", "cached": "0.45", "output": "0.9"}
    assert stamp(pool_of("S", "L", prices=[None, "1E-7"]))["prices"] == {
        "S": None,
        "L": {"from": None, "input": "0.0000001", "cached": "0.0000001", "output": "0.0000001"},
    }


@given(usage_of_one_prompt(), prices, st.sampled_from(BILLINGS))
def test_the_worst_is_an_upper_bound(usages: list[Usage], price: Price, billing: str) -> None:
    for usage, cost in zip(usages, charge(usages, price, billing), strict=True):  # type: ignore[arg-type]
        assert cost.known <= worst(usage.prompt or 0, usage.completion or 0, price)


@pytest.mark.parametrize(("cost", "text"), [("0.10", "0.1 USD"), ("0", "0 USD"), ("1E-7", "0.0000001 USD")])
def test_money_is_written_without_exponents(cost: str, text: str) -> None:
    assert str(Cost(Decimal(cost))) == text
