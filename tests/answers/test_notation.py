import pytest
from hypothesis import given
from hypothesis import strategies as st

from escalade.answers.notation import DEEPEST, ascii_signs, normal


@pytest.mark.parametrize(
    ("written", "spelled"),
    [
        (r"\dfrac12", r"\frac{1}{2}"),
        (r"\frac{ 1 }2", r"\frac{1}{2}"),
        (r"\frac9{19}", r"\frac{9}{19}"),
        (r"\sqrt 13", r"\sqrt{13}"),
        (r"\sqrt[3]{x}", r"\sqrt[3]{x}"),
        (r"x^{2} + y ^ {10}", "x^2+y^10"),
        (r"x^{n+1}", "x^{n+1}"),
        (r"\left( 1 , 2 \right)", "(1,2)"),
        (r"\text{red} \text{ blue}", "red blue"),
        (r"\sin x", r"\sin x"),
        (r"2 x y", "2xy"),
        ("1 2", "1 2"),
        (r"1 \le x \leqslant 2", r"1\leq x\leq2"),
        (r"58^\circ", r"58\degree"),
        ("}a{", "a"),
    ],
)
def test_normal(written: str, spelled: str):
    assert normal(written) == spelled
    assert normal(spelled) == spelled


def test_signs_beyond_ascii():
    assert normal(ascii_signs("−3×π≤∞")) == r"-3\cdot\pi\leq\infty"


def test_deep_nesting_is_copied():
    deep = "{" * (DEEPEST + 5) + "x" + "}" * (DEEPEST + 5)
    assert "x" in normal(deep)


@given(st.text(alphabet=st.sampled_from(list("\\{}[]()^_/ abfrcsqt12+-")), max_size=80))
def test_never_raises(text: str):
    normal(text)
