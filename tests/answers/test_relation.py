import pytest

from escalade.answers.relation import Interval, alternatives, both_signs, interval, is_relation, merged, spread


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x<2", Interval("x", "(", r"-\infty", "2", ")")),
        ("2<x", Interval("x", "(", "2", r"\infty", ")")),
        (r"x\geq2", Interval("x", "[", "2", r"\infty", ")")),
        (r"3>x\geq-1", Interval("x", "[", "-1", "3", ")")),
        (r"0<\theta\leq\pi", Interval(r"\theta", "(", "0", r"\pi", "]")),
        ("1<x>2", None),
        ("1<2", None),
        ("x<y<z<1", None),
        ("x=1<2", None),
        ("e<3", None),
        ("<", None),
    ],
)
def test_interval(text: str, expected: Interval | None):
    assert interval(text) == expected


def test_merged():
    assert merged(["(0,1)", "(1,2)"]) == ["(0,1)", "(1,2)"]
    assert merged(["(1,2)", "(0,1]"]) == ["(0,2)"]
    assert merged([r"(-\infty,1)", r"[0,\infty)"]) == [r"(-\infty,\infty)"]
    assert merged(["[0,5]", "(1,2)", "[5,6)"]) == ["[0,6)"]
    assert merged([r"(0,\sqrt{2})", "(0,1)"]) == ["(0,1)", r"(0,\sqrt{2})"]


def test_signs_and_words():
    assert is_relation(r"x\le1")
    assert not is_relation(r"\left(1\right)")
    assert alternatives(r"x<1 \text{ or } x>2") == ["x<1", "x>2"]
    assert alternatives("for x<1") == ["for x<1"]
    assert both_signs(r"\pm1\pm2") is None
    assert spread([r"1\pm x", "3"]) == ["1+ x", "1- x", "3"]
