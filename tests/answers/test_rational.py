from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from escalade.answers.rational import LONGEST, Rational, ratio, read, write


@given(st.fractions())
def test_what_is_written_is_read_again(value: Fraction):
    written = write(Rational(value.numerator, value.denominator))
    assert written is not None
    assert read(written) == (value.numerator, value.denominator)


@given(st.integers(), st.integers())
def test_ratio_reduces(top: int, bottom: int):
    expected = (Fraction(top, bottom).numerator, Fraction(top, bottom).denominator) if bottom else None
    assert ratio(top, bottom) == expected


@pytest.mark.parametrize(
    "text", ["", ".", "+", "-", "1/0", "1/2/3", "1e31", "1e", "--1", "x", "1 5/3", "0x1f", "١", "1_0"]
)
def test_what_is_no_number(text: str):
    assert read(text) is None


def test_long_numbers_stay_unread():
    assert read("9" * LONGEST) is not None
    assert read("9" * (LONGEST + 1)) is None
    assert write(Rational(1, 2**3000)) is None
