import pytest

from escalade.answers import key
from escalade.answers.worker import Shape, decide, shape

SAME = [
    (r"(\sin(\frac{\pi}{6}),1)", "(0.5,1)"),
    (r"[0,\sqrt{4})", "[0,2)"),
    (r"{1,\sin 30\degree}", "{0.5,1}"),
    (r"{0.5,\sin 30\degree}", r"{0.5,\cos 60\degree}"),
    ("1, 1, 2", r"1, 2, \tan 45\degree"),
    (r"(0,\log_2 8)\cup(5,6)", r"(0,3)\cup(5,6)"),
    (r"\begin{matrix}\sin 30\degree&1\end{matrix}", r"\begin{matrix}0.5&1\end{matrix}"),
    ("2x+4y=6", "x+2y=3"),
    ("2x<4", "x<2"),
    ("4>2x", "x<2"),
    ("-x<-2", "x>2"),
    ("x\\leq y", "y\\geq x"),
    (r"1, 2, ..., \log_2 8", "1, 2, ..., 3"),
    (r"\sum_{k=1}^{10}k", "55"),
    (r"\sum_{k=1}^{4}0.5k", "5"),
    (r"\sum_{k=1}^{\infty}\frac{1}{k^2}", r"\frac{\pi^2}{6}"),
    (r"\sum_{k=0}^{n}\binom{n}{k}", "2^n"),
    (r"\int_0^1x^2dx", "1/3"),
    (r"\prod_{k=1}^{5}k", "120"),
    (r"\lim_{x\rightarrow 0}\frac{\sin x}{x}", "1"),
    (r"\sum_{n=0}^\infty\frac{1}{n!}", "e"),
    (r"\sum_{k=1}^4\frac{1}{2}k", "5"),
    (r"3i\sum_{k=1}^{2}k", "9i"),
]
APART = [
    ("(0.5,1)", r"(1,\sin 30\degree)"),
    (r"[0,\sqrt{4})", "(0,2)"),
    ("(1,2)", "{1,2}"),
    ("1, 1, 2", r"1, 2, \sqrt{4}"),
    ("2x<4", "-x<-2"),
    ("x<2", "x\\leq 2"),
    ("x^2+1=0", "x^4+1=0"),
    ("x=1", "y=1"),
    ("1, 2, ..., n", "1, 3, ..., 2n-1"),
    ("sunday", "dayusn"),
    ("sunday", "5"),
    ("4343_6", "4343"),
    ("june20", "20e"),
    (r"\sum_{k=1}^{10}k", "56"),
    (r"\sum_{k=1}^{10}k", "55.0000001"),
    (r"\sum_{k=1}^{10}k", "sunday"),
    (r"2\frac{1}{2}\sum_{k=1}^{2}k", "7.5"),
    (r"2\frac{1}{2}\sum_{k=1}^{2}k", "3"),
    (r"\lim_{x\rightarrow 0}\frac{\sin x}{x}", "2"),
    (r"\begin{matrix}1&2\end{matrix}", r"\begin{matrix}1\\2\end{matrix}"),
]


def test_pairs_that_are_one_answer():
    for a, b in SAME:
        assert decide(a, b) is True, (a, b)
        assert decide(b, a) is True, (b, a)


def test_E9_pairs_that_are_two_answers():
    for a, b in APART:
        assert decide(a, b) is False, (a, b)
        assert decide(b, a) is False, (b, a)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7", Shape("", ("7",))),
        ("((1,2),3)", Shape("()", ("(1,2)", "3"))),
        ("[1,2)", Shape("[)", ("1", "2"))),
        ("(1+2)(3+4)", Shape("", ("(1+2)(3+4)",))),
        ("(1,2", Shape("", ("(1,2",))),
        (r"\max(1,2)", Shape("", (r"\max(1,2)",))),
        ("f(x,y)=3", Shape("=", ("f(x,y)", "3"))),
        ("1<x<2", Shape("< <", ("1", "x", "2"))),
        ("1, 2, ..., n", Shape("row", ("1", "2", "...", "n"))),
        ("=", Shape("", ("=",))),
        ("", Shape("", ("",))),
        (r"\begin{matrix}1&2\\3&4\end{matrix}", Shape("matrix [2, 2]", ("1", "2", "3", "4"))),
    ],
)
def test_shapes(text: str, expected: Shape):
    assert shape(text) == expected


def test_shapes_of_what_canonical_writes():
    for written, kind in [("2, 1", "set"), ("1, 1, 2", "list"), (r"(2,3)\cup(0,1)", "union"), (r"\{2;1\}", "set")]:
        assert shape(key(written) or "").kind == kind


@pytest.mark.parametrize(
    "text", ["(" * 300, "{" * 300 + ",", "(1,(1," * 200, "[1," * 100 + "2" + "]" * 100, "=" * 500, "\\"]
)
def test_E12_odd_shapes_are_taken_apart_within_bounds(text: str):
    assert decide(text, text + "1") in (False, None)
