from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from escalade.answers import numeric
from escalade.answers.formula import Name, Node, Number, Power, Product, Sum, parse

EQUAL = [
    (r"e^{i\pi}", "-1"),
    (r"\cos 58\degree", r"\sin 32\degree"),
    (r"\frac{x^2-1}{x-1}", "x+1"),
    (r"\log_2 8", "3"),
    (r"\sqrt{3+2\sqrt{2}}", r"1+\sqrt{2}"),
    (r"\sqrt{x^2}", "|x|"),
    ("x-x+1", "1"),
    (r"\sqrt{2}\sqrt{3}-\sqrt{6}", "0"),
    (r"\sqrt[3]{-8}", "-2"),
    (r"\sqrt[3]{x^3}", "x"),
    ("n!", "n(n-1)!"),
    (r"\binom{n}{2}", r"\frac{n(n-1)}{2}"),
    ("(-1)^{2n}", "1"),
    (r"\cos(n\pi)", "(-1)^n"),
    (r"\log 8", r"3\log 2"),
    (r"\sin^2 x+\cos^2 x", "1"),
    (r"\arctan 1", r"\frac{\pi}{4}"),
    ("2^{2005}", r"4^{1002}\cdot2"),
    (r"\lfloor\pi\rfloor", "3"),
    (r"\lceil-2.5\rceil", "-2"),
    (r"\lfloor\sqrt{2}\sqrt{2}\rfloor", "2"),
    (r"\gcd(12,18)", r"\max(1,6)"),
    (r"2\infty", r"\infty"),
    (r"\frac{1}{\infty}", "0"),
    ("1000000!", r"1000000\cdot999999!"),
]
DIFFERENT = [
    (r"\sqrt{x^2}", "x"),
    ("1/2004!", "1/2006!"),
    ("2^{-99}", "2^{-98}"),
    (r"e^{\pi\sqrt{163}}", "262537412640768744"),
    ("1+e^{-5000}", "1"),
    (r"\tanh 1000", "1"),
    ("e^{10^{-80}}", "1"),
    (r"\cos(10^{-100})", "1"),
    (r"\pi", "3." + "14159265358979323846264338327950288419716939937510582097494459230781640628620899"),
    ("10^{100}+e", "10^{100}+2.718281828459045"),
    ("2^{30000}+1", "2^{30000}"),
    ("x", "y"),
    ("x", "-x"),
    (r"\infty", "5"),
    (r"\infty", r"-\infty"),
    ("(x+1)^{3000}", "1"),
    ("3^{200000000}", "3^{200000001}"),
]
UNDECIDED = [
    ("9^{9^{9^{9}}}", "1"),
    ("10^{10^8}+1", "10^{10^8}"),
    (r"\log 100", "2"),
    (r"\tan 90\degree", "1"),
    (r"\frac{1}{\sqrt{2}\sqrt{3}-\sqrt{6}}", "1"),
    (r"\frac{1}{x-x}", "1"),
    (r"\gcd(x,2)", "1"),
    (r"\max(i,1)", "1"),
    (r"\infty-\infty", "0"),
    (r"\sin(10^{10^{10}})", "0"),
    ("(10^{20})!", "1"),
]


def read(text: str) -> Node:
    node = parse(text)
    assert node is not None, text
    return node


@pytest.mark.parametrize(
    ("pairs", "expected"), [(EQUAL, True), (DIFFERENT, False), (UNDECIDED, None)], ids=["equal", "different", "open"]
)
def test_E9_equality_by_value(pairs: list[tuple[str, str]], expected: bool | None):
    for a, b in pairs:
        assert numeric.same(read(a), read(b)) is expected, (a, b)
        assert numeric.same(read(b), read(a)) is expected, (b, a)


@pytest.mark.parametrize(
    ("a", "b", "signed", "expected"),
    [
        ("2x+4y-6", "x+2y-3", True, True),
        ("x-1", "1-x", True, False),
        ("x-1", "1-x", False, True),
        (r"\sin(2x)", r"\sin x\cos x", True, True),
        ("x^2+1", "x^4+1", False, False),
        ("x-x", "x", False, False),
        ("x", "x-x", False, None),
    ],
)
def test_proportional(a: str, b: str, signed: bool, expected: bool | None):
    assert numeric.proportional(read(a), read(b), signed=signed) is expected


def test_coordinates_depend_on_the_name_alone_and_cover_signs_and_integers():
    for name in ("x", "n", r"\theta", "k_1", "N"):
        values = [numeric.coordinate(name, j) for j in range(numeric.POINTS)]
        assert values[0] > 0 > values[1]
        assert len(set(values)) > numeric.NEEDED
        assert all(v.denominator == 1 for v in values) == (name in ("n", "k_1"))


numbers = st.fractions(min_value=-20, max_value=20, max_denominator=30).map(Number)
formulas = st.recursive(
    numbers | st.sampled_from("xyn").map(Name),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map(tuple).map(Sum)
        | st.lists(inner, min_size=1, max_size=3).map(tuple).map(Product)
        | st.tuples(inner, st.integers(-3, 3).map(Fraction).map(Number)).map(lambda two: Power(*two))
    ),
    max_leaves=6,
)


@settings(max_examples=100, deadline=None)
@given(formulas, formulas)
def test_adding_what_is_taken_away_again_changes_no_value(a: Node, b: Node):
    back = Sum((a, b, Product((Number(Fraction(-1)), b))))
    assert numeric.same(a, back) in (True, None)
    assert numeric.same(a, Sum((a, Number(Fraction(1, 10**30))))) in (False, None)
    assert numeric.same(a, b) == numeric.same(b, a)
