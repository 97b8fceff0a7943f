from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from escalade.answers.polynomial import (
    MOST_TERMS,
    NAME,
    PRIME,
    Atom,
    Budget,
    I,
    Polynomial,
    TooMuchError,
    added,
    common_divisor,
    content,
    divided,
    factored,
    monomial,
    multiplied,
    scaled,
)

X, Y = Atom(NAME, "x"), Atom(NAME, "y")
ROOTED = Atom(PRIME, "2")


def powers(*coefficients: int) -> Polynomial:
    return {(((X, power),) if power else ()): value for power, value in enumerate(coefficients) if value}


SMALL = st.lists(st.integers(-9, 9), min_size=1, max_size=5).map(lambda values: powers(*values))


def test_monomials_give_their_numbers_off():
    assert monomial({ROOTED: Fraction(5, 2)}) == (4, ((ROOTED, Fraction(1, 2)),))
    assert monomial({ROOTED: Fraction(-1, 2)}) == (Fraction(1, 2), ((ROOTED, Fraction(1, 2)),))
    assert monomial({I: 7}) == (-1, ((I, 1),))
    assert monomial({X: 1, Y: 0}) == (1, ((X, 1),))
    assert monomial({ROOTED: 2005}) == (1, ((ROOTED, 2005),))


@given(SMALL, SMALL)
def test_products_divide_again(a: Polynomial, b: Polynomial):
    product = multiplied(a, b, Budget())
    if a and b:
        assert divided(product, b, Budget()) == a


@given(SMALL, SMALL, SMALL)
def test_products_distribute(a: Polynomial, b: Polynomial, c: Polynomial):
    left = multiplied(a, added(b, c), Budget())
    assert left == added(multiplied(a, b, Budget()), multiplied(a, c, Budget()))


@given(SMALL, SMALL)
def test_a_common_factor_is_found(a: Polynomial, b: Polynomial):
    factor = powers(1, 1)
    first, second = multiplied(a, factor, Budget()), multiplied(b, factor, Budget())
    if a and b:
        common = common_divisor(first, second, Budget(10_000))
        assert common is not None
        assert divided(common, factor, Budget()) is not None


def test_content():
    assert content(scaled(powers(4, 6), Fraction(1, 3))) == Fraction(2, 3)


@given(st.integers(1, 10**8))
def test_factors_multiply_back(number: int):
    product = 1
    for prime, times in factored(number, Budget()).items():
        product *= prime**times
    assert product == number


def test_what_is_too_much():
    with pytest.raises(TooMuchError):
        factored((10**9 + 7) * (10**9 + 9), Budget())
    with pytest.raises(TooMuchError):
        multiplied(powers(*[1] * 40), powers(*[1] * 40), Budget())
    with pytest.raises(TooMuchError):
        added({((Atom(NAME, f"x_{i}"), 1),): 1 for i in range(MOST_TERMS)}, powers(1))
