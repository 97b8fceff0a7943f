import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from escalade.answers.formula import DEEPEST, MOST_TOKENS, Call, Name, Number, Power, Product, Sum, letters, parse
from escalade.answers.notation import normal

X, Y = Name("x"), Name("y")


def number(value: int, below: int = 1) -> Number:
    return Number(Fraction(value, below))


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("x", X),
        ("0.5", number(1, 2)),
        ("2x", Product((number(2), X))),
        ("x-2", Sum((X, number(-2)))),
        ("-x^2", Product((number(-1), Power(X, number(2))))),
        (r"\frac{x}{2}", Product((X, Power(number(2), number(-1))))),
        ("x/y", Product((X, Power(Y, number(-1))))),
        (r"\sqrt{x}", Power(X, number(1, 2))),
        (r"\sqrt[3]{x}", Power(X, number(1, 3))),
        ("x!", Call("factorial", (X,))),
        ("|x|", Call("abs", (X,))),
        ("|x||y|", Product((Call("abs", (X,)), Call("abs", (Y,))))),
        (r"\lfloor x\rfloor", Call("floor", (X,))),
        (r"\binom{5}{2}", Call("binomial", (number(5), number(2)))),
        (r"\sin^2x", Power(Call("sin", (X,)), number(2))),
        (r"\sin^{-1}(x)", Call("arcsin", (X,))),
        (r"\sin2x\cos y", Product((Call("sin", (Product((number(2), X)),)), Call("cos", (Y,))))),
        (r"\log_2 8", Call("log", (number(8), number(2)))),
        (r"\log x", Call("log", (X,))),
        (r"\max(1,x)", Call("max", (number(1), X))),
        (r"\sin30\degree", Call("sin", (Product((number(30), Name(r"\degree"))),))),
        ("x_1y", Product((Name("x_1"), Y))),
        (r"\alpha\pi", Product((Name(r"\alpha"), Name(r"\pi")))),
        ("x(x+1)", Product((X, Sum((X, number(1)))))),
        ("ab+1", Sum((Product((Name("a"), Name("b"))), number(1)))),
        ("xy", Product((X, Y))),
    ],
)
def test_what_is_read(text: str, node: object):
    assert parse(text) == node
    assert normal(text) == text


@pytest.mark.parametrize(
    "text",
    r"""
x=2 x<2 1\pm~x 4343_6 f(x) f^{-1}(x) \phi(n) two~words sunday ab 12am 3cm cost+1 x2 1~2 1/2x \sin~x/2 \sin(x)^2
2\frac{1}{3} x^2^3 3!! \int~x \sum_{k=1}^n~k \lim~x 1,2 {|} (x|x) (|) + - | ^2 x^ \frac{1} \frac{1}{2 x_{ab} ... 1...2
\sqrt[n]{x} \sqrt[1]{x} \sqrt[0]{x} . x. [x] x' 50% \unknown \log_2 \max~x || \sin 1+-2 \sin\sin~x 2^.
""".replace("~", "\0").split(),
)
def test_what_is_left_alone(text: str):
    assert parse(text.replace("\0", " ")) is None


def test_letters():
    assert letters(parse(r"2\pi rx_1+e^{i}") or X) == {"r", "x_1"}


@pytest.mark.parametrize("unit", ["(", "{", "\\frac{", "\\sqrt{", "|", "-", "x^{", "\\sin", "x", "1+", "\\max("])
@pytest.mark.parametrize("size", [DEEPEST, MOST_TOKENS, 100_000])
def test_repetition_is_read_in_bounded_time(unit: str, size: int):
    begin = time.perf_counter()
    for text in (unit * size, unit * size + "1", unit * size + "1" + "}" * size, unit * size + "1" + ")" * size):
        parse(text)
    assert time.perf_counter() - begin < 0.2


PIECES = r"""
\frac \sqrt \sin \log _2 \lfloor \rfloor \binom { } ( ) [ ] | ^ _ + - / \cdot ! . , 1 23 0.5 x yz \pi \degree ² ٣ é
"""


@given(st.one_of(st.lists(st.sampled_from([*PIECES.split(), " "]), max_size=30).map("".join), st.text(max_size=40)))
def test_never_raises(text: str):
    parse(text)
