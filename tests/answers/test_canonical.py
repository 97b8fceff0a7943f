import itertools
import random
import re
import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from escalade.answers import canonical
from escalade.answers.canonical import accepted, exact, key, sort_key

E12 = [
    "9^{9^{9^{9}}}",
    "2^{2^{40}}",
    "10^{10^8}+1",
    "1000000!",
    "99999999!",
    "(x+1)^{3000}",
    r"\int e^{x^2}\sin(x^3)dx",
    r"\frac{1}{" * 60 + "2" + "}" * 60,
    "{" * 200 + "1" + "}" * 200,
    "{" * 200,
    r"\sqrt{" * 100 + "2" + "}" * 100,
    "3^{200000000}",
    "1e999999999",
    "9" * 5000,
    "1/" + "3" * 5000,
]

SAME = [
    ["7", "7.0", "+7", "7.", "$7$", r"\(7\)", "(7)", "{7}", r"\{7\}", "14/2", "**7**", r"\boxed{7}", "007"],
    ["0", "-0", "0.0", "0/5", "-0.00"],
    ["0.5", ".5", "0.50", "1/2", r"\frac12", r"\frac{1}{2}", r"\dfrac{2}{4}", r"\tfrac12", r"\frac 12", "½"],
    ["-0.5", r"-\frac12", r"\frac{-1}2", r"\frac{1}{-2}", "-1/2", "−.5", "- 1/2"],
    ["1/3", "2/6", r"\frac{1}{3}", r"0.\overline{3}", "⅓"],
    ["1.5", "1 1/2", r"1\frac12", r"1\frac{1}{2}", r"1 \frac{1}{2}", "3/2", "1½"],
    [
        "1000",
        "1,000",
        "1{,}000",
        r"1\,000",
        "1 000",
        "1e3",
        r"1\times10^3",
        r"1 \cdot 10^{3}",
        r"1,\!000",
        "1.0E+3",
    ],
    ["111111100", r"111,\! 111,\! 100", "111,111,100"],
    [
        "5",
        "$5",
        r"\$5",
        "5 dollars",
        "£5",
        "5 USD",
        "5 cents",
        "5 cm",
        r"5 \text{cm}",
        r"5\text{ cm}",
        "5 m/s",
    ],
    [
        "12",
        "12 apples",
        "12 cm^2",
        r"12\,\mathrm{m}",
        "12^\\circ",
        r"12^{\circ}",
        "12°",
        "12 degrees",
        "12 sq ft",
    ],
    ["50", "50%", r"50\%", "50 percent"],
    ["5000000", "5 million", "$5 million", "5 million dollars"],
    ["4", "4th", r"4^{\text{th}}", r"4^{th}", "x = 4", "y=4", "x = 4 cm", r"\theta = 4", "n_1 = 4"],
    [r"3\sqrt{2}", r"3\sqrt2", r"3 \sqrt 2", "3√2", "3sqrt(2)", r"3\sqrt{2} \text{ cm}"],
    [r"\frac{3\pi}{4}", r"3\pi/4", r"\dfrac{3 \pi}4", "3π/4", "3pi/4"],
    [r"\frac{1+\sqrt{5}}{2}", r"(1+\sqrt5)/2"],
    [r"-\frac{\sqrt{3}}{3}", r"\frac{-\sqrt3}{3}", "-sqrt(3)/3"],
    ["2^10", "2^{10}", "2^(10)"],
    ["52_8", "52_{8}"],
    ["(1,2)", "(1, 2)", r"\left( 1 , 2 \right)", "(x,y) = (1,2)", "(2/2, 2.0)"],
    ["(0.5,3)", "(1/2,3)", r"\left(\frac12, 3\right)"],
    [r"[3,\infty)", r"x \in [3, \infty)", r"\left[3,\infty\right)"],
    [
        "{1,2}",
        "{1, 2}",
        r"\{2, 1\}",
        "2,1",
        "1, 2",
        "1 and 2",
        r"1 \text{ and } 2",
        "x=1, x=2",
        r"x=1 \text{ or } 2",
    ],
    ["{200,1000}", "1,000, 200", "{200, 1000}"],
    [r"(0,1)\cup(2,3)", r"(2,3) \cup (0,1)"],
    [r"\begin{pmatrix} 1/2 \\ -2 \end{pmatrix}", r"\begin{bmatrix}\frac12\\-2\end{bmatrix}"],
    ["sunday", "Sunday", r"\text{Sunday}", '"Sunday"', "SUNDAY."],
    ["b", "(B)", r"\text{(B)}", "B.", r"\textbf{B}"],
    ["no solution", r"\text{no  solution}", "No solution."],
    ["05/01/2021", "5/1/2021", "05/01/2021."],
    [r"\emptyset", r"\{\}", r"\varnothing", "∅"],
]


def test_the_table_of_what_counts_as_equal():
    for group in SAME:
        assert len({key(written) for written in group}) == 1, [(w, key(w)) for w in group]


def test_groups_of_the_table_are_distinct():
    keys = [key(group[0]) for group in SAME]
    assert None not in keys
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("7", "7"),
        ("-3", "-3"),
        (".50", "0.5"),
        ("2/6", "1/3"),
        ("-2/6", "-1/3"),
        ("1e-3", "0.001"),
        ("1/8", "0.125"),
    ],
)
def test_numbers_are_written_in_one_way(written: str, expected: str):
    assert key(written) == expected


def test_E8_equal_forms():
    pairs = [
        ("0.25", r"\frac14"),
        ("1000", "1,000"),
        ("5", "5.0"),
        (r"-\frac12", r"\frac{-1}2"),
        ("204", '"204"'),
    ]
    pairs += [(r"5 \text{cm}", r"5\text{ cm}"), (r"5 \text{cm}", "5")]
    for a, b in pairs:
        assert key(a) == key(b) is not None


def table() -> list[tuple[list[str], str, str]]:
    rows = [line.strip("| ").split(" | ") for line in (canonical.__doc__ or "").splitlines() if line.startswith("| `")]
    return [(re.findall(r"`([^`]*)`", row[0]), row[1].strip("`"), row[2].strip("`")) for row in rows]


@pytest.mark.parametrize("row", table(), ids=lambda row: row[0][0])
def test_the_table_holds_as_it_is_written(row: tuple[list[str], str, str]):
    writings, expected, strict = row
    for written in writings:
        if expected == "None":
            assert key(written) is key(written, strict=True) is None
        elif expected == "text":
            assert key(written) is not None
        else:
            assert key(written) == expected
            assert key(expected) == expected
        if strict not in ("text", "None"):
            assert key(written, strict=True) == (expected if strict == "same" else strict)
        again = key(written, strict=True)
        assert again is None or key(again, strict=True) == again


def test_E8_polynomials_are_multiplied_out():
    assert key("(x+1)^2") == key("x^2+2x+1") == "x^2+2x+1"


def test_E9_different_answers_stay_different():
    for a, b in [("1/2004!", "1/2006!"), ("2^{-99}", "2^{-98}"), ("1,2,...,n", "1,3,...,2n-1")]:
        assert None not in (key(a), key(b))
        assert key(a) != key(b)
    assert key(r"e^{i\pi}") == key(r"e^{\pi i}") != key("-1")


def test_E10_percent_tuples_and_sets_are_transitive():
    assert key("50") == key("50%")
    assert key("50%") != key("0.5")
    assert len({key("(1,2)"), key("{1,2}"), key("(2,1)"), key("[1,2]"), key("[1,2)")}) == 5


def test_E11_inequalities_are_intervals():
    assert key("x>2") == key("2<x") == key(r"(2,\infty)") == key(r"x \in (2, \infty)") == r"(2,\infty)"


@pytest.mark.parametrize("text", E12, ids=lambda text: text[:12])
def test_E12_nothing_is_evaluated(text: str):
    result = key(text)
    assert result is None or key(result) == result


def test_E14_model_text_is_never_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert isinstance(key("__import__('os').system('touch x')"), str)
    assert list(tmp_path.iterdir()) == []


NOTHING = ["", " ", "\n", "$$", "$", ".", "{}", "?", '""', "\\", r"\text{}", r"\boxed{}"]
PLACEHOLDERS = [
    "None",
    "none",
    "null",
    "NaN",
    "N/A",
    "[invalid]",
    "[...]",
    "[no answer]",
    "No answer",
    r"\text{None}",
]


@pytest.mark.parametrize("text", NOTHING + PLACEHOLDERS)
def test_P19_V1_placeholders_and_nothing_have_no_key(text: str):
    assert key(text) is None


@pytest.mark.parametrize("text", ["undefined", "no solution", "1/0", r"\frac{3}{0}", r"\emptyset", "<", "+", "0"])
def test_answers_that_are_no_placeholders(text: str):
    assert key(text) is not None


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("1/3", "0.33"),
        ("100, 100", "100,100"),
        ("1,00", "100"),
        ("1 2", "12"),
        ("5k", "5"),
        ("4 pm", "4 am"),
        ("23 May", "23 June"),
        ("2 thirds", "2"),
        ("2 thirds", "2/3"),
        (r"2\frac{5}{3}", "11/3"),
        ("x=1, y=2", "x=2, y=1"),
        ("5 million", "5 billion"),
        (r"\frac{a}{\frac{b}{c}}", "a/b/c"),
        (r"\frac{a}{b}/c", r"a/\frac{b}{c}"),
        (r"2\frac{-x}{3}", r"2-\frac{x}{3}"),
        (r"\frac{\sin x}{2}", r"\sin x/2"),
        (r"\frac{1}{2x}", r"\frac{1}{2}x"),
        (r"x^{\frac12}", "x^1/2"),
        (r"\Delta", r"\delta"),
        ("x²", "x2"),
        (r"\begin{vmatrix}1&2\\3&4\end{vmatrix}", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"),
        ("(1,234)", "1234"),
        ("1, 1, 2", "1, 2"),
        ("52_8", "52"),
    ],
)
def test_what_looks_alike_and_is_not(a: str, b: str):
    assert key(a) != key(b)


def written_forms(value: Fraction) -> list[str]:
    top, bottom = value.numerator, value.denominator
    forms = [
        f"{top}/{bottom}",
        f"{3 * top}/{3 * bottom}",
        rf"\frac{{{top}}}{{{bottom}}}",
        rf" $\dfrac{{{top}}}{{{bottom}}}$.",
    ]
    forms += [
        rf"\frac{{{-top}}}{{{-bottom}}}",
        rf"x = \tfrac{{{top}}}{{{bottom}}}",
        rf"{top}/{bottom} \text{{ cm}}",
    ]
    sign, magnitude = "-" if top < 0 else "", abs(value)
    whole, rest = divmod(magnitude.numerator, bottom)
    if rest and whole:
        forms += [f"{sign}{whole} {rest}/{bottom}", rf"{sign}{whole}\frac{{{rest}}}{{{bottom}}}"]
    if bottom == 1:
        forms += [
            f"{top}",
            f"{top}.0",
            f"{top}.",
            f"{top:,}",
            f"{top:,}".replace(",", "{,}"),
            rf"\${top:,}",
            f"{top}\\%",
        ]
        forms += [f"{top}e0", f"{top} apples", rf"{top}^\circ", f"({top})", rf"{top} \times 10^{{0}}"]
    return forms


@given(st.fractions(max_denominator=10**6))
def test_every_written_form_of_a_rational_has_one_key(value: Fraction):
    assert len({key(form) for form in written_forms(value)}) == 1


@given(st.integers(-(10**12), 10**12), st.integers(0, 12))
def test_decimals_are_exact(digits: int, places: int):
    value = Fraction(digits, 10**places)
    text = (
        f"{'-' if digits < 0 else ''}{abs(digits) // 10**places}.{abs(digits) % 10**places:0{places}}"
        if places
        else str(digits)
    )
    assert key(text) == key(f"{value.numerator}/{value.denominator}")
    assert sort_key(key(text) or "")[:2] == (0, value)


@given(st.fractions(), st.fractions())
def test_different_rationals_have_different_keys(a: Fraction, b: Fraction):
    assert (key(f"{a.numerator}/{a.denominator}") == key(f"{b.numerator}/{b.denominator}")) == (a == b)


PIECES = r"""
\frac \sqrt \text \left( \right) \{ \} { } ( ) [ ] , ; . ^ _ / - + = $ % \% \$ \, \! \circ \pi \cup \in \\
\begin{pmatrix} \end{pmatrix} & 1 2 10 000 0.5 x y apples cm and or none million th ! | ... e3 * ' "
"""
HOSTILE = st.lists(st.sampled_from([*PIECES.split(), " ", "\n"]), max_size=25).map("".join)


@given(st.one_of(HOSTILE, st.text(max_size=60)))
def test_any_text_has_a_key_that_is_its_own_key(text: str):
    result = key(text)
    assert result is None or (result and key(result) == result)


@given(st.lists(HOSTILE, min_size=2, max_size=5), st.randoms(use_true_random=False))
def test_the_order_of_a_set_does_not_matter(members: list[str], shuffler: random.Random):
    plain = [f"{i}" + "".join(c for c in member if c in "xy12+") for i, member in enumerate(members)]
    shuffled = plain.copy()
    shuffler.shuffle(shuffled)
    assert key(r"\{" + ",".join(plain) + r"\}") == key(r"\{" + ",".join(shuffled) + r"\}")


@pytest.mark.parametrize(
    "unit",
    ["{", "(", "[", r"\frac", r"\sqrt", r"\text{", "x=", "1,", "{1,", "(1,", " and ", "$", '"', "9^{", "1/"],
)
@pytest.mark.parametrize("size", [150, 1_000, 1_000_000])
def test_repetition_is_read_in_bounded_time(unit: str, size: int):
    text = (unit * size)[:size]
    for hostile in (text, text + "}" * min(size, 400), "1" + text + ")"):
        result = key(hostile)
        assert result is None or key(result) == result


def test_sort_key_orders_numbers_by_value_before_text():
    ordered = ["-2", "-1/3", "0", "0.5", "2", "10", "(1,2)", "a", "b"]
    for shuffled in itertools.islice(itertools.permutations(ordered), 0, 20000, 997):
        assert sorted(shuffled, key=sort_key) == ordered


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (r"1+2\sqrt{3", r"1+2\sqrt{3}"),
        ("5r^{5", "5r^5"),
        ("52_{8", "52_8"),
        (r"\frac{1", "1"),
        (r"x+1\text{with remainder of", "x+1"),
        ("y=2x", "x=2y"),
        ("x+2y=3", "x+2y=4"),
        (r"\sin 30^\circ", r"\sin 30"),
        ("(-1,1)", "[-1,1]"),
        (r"x\ge2", "x>2"),
        ("abc", "bca"),
        ("ab", "ba"),
        ("2e", "2"),
        (r"\sqrt{x^2}", "x"),
        (r"1\pm2", "1+2"),
        (r"\sin 2x", r"2\sin x"),
        ("4/2/10", "2/1/10"),
        ("2021-05-01", "2015"),
        ("2-3 hours", "3-4 hours"),
        (r"\frac{dy}{dx}", r"\frac{y}{x}"),
        ("P(A)", "A(P)"),
    ],
)
def test_algebra_keeps_apart(a: str, b: str):
    assert None not in (key(a), key(b))
    assert key(a) != key(b)


@pytest.mark.parametrize(
    "word",
    ["no solution", "sunday", "june20", "20 june", "10 am", "cat", "none of these", "ab", "log", "iii", "B and D"],
)
def test_words_stay_words(word: str):
    result = key(word)
    assert result is not None
    assert all(run in result for run in re.findall("[a-z]+", word.replace(" and ", " ").lower()))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("5 cm", "5"),
        ("5 cm", "5 m"),
        (r"\$5", "5"),
        ("50%", "50"),
        ("2,1", "1,2"),
        ("x=5", "5"),
        ("x=5", "y=5"),
        ("Ab", "ab"),
        ("X+1", "x+1"),
        ("x>2", "y>2"),
    ],
)
def test_strict_keys_keep_apart(a: str, b: str):
    assert None not in (key(a, strict=True), key(b, strict=True))
    assert key(a, strict=True) != key(b, strict=True)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("50%", "0.5"),
        ("1,000", "1000"),
        ("5cm", r"5\text{ cm}"),
        ("x=1/2", "x = 0.5"),
        ("2(k+1)", "2k+2"),
        ("2,1", "(2,1)"),
    ],
)
def test_strict_keys_are_keys_all_the_same(a: str, b: str):
    assert key(a, strict=True) == key(b, strict=True) is not None


@pytest.mark.parametrize(
    ("gold", "keys"),
    [
        ("7", ("7",)),
        ("4343_6", ("4343_6", "4343")),
        ("4343_{6}", ("4343_6", "4343")),
        (r"50\%", ("50", "0.5")),
        (r"12.5\%", ("12.5", "0.125")),
        ("y=2x", ("2x", "2x-y=0")),
        ("y=5", ("5",)),
        ("x+y=2", ("x+y-2=0",)),
        ("f(x)=2x", ("2x",)),
        (r"\text{(B)}", ("b",)),
        ("(1,2)", ("(1,2)",)),
        (r"\{1,2\}", ("{1,2}",)),
        ("none", ()),
    ],
)
def test_a_gold_accepts_what_it_asks_for(gold: str, keys: tuple[str, ...]):
    assert accepted(gold) == keys
    assert accepted(gold, strict=True) == tuple(k for k in [key(gold, strict=True)] if k is not None)


EXACT = ["7", "-0.5", "1/3", "sunday", "no solution", "05/01/2021", r"2\sqrt{3}", "x^2+1", "(1,2)", "[1,2x)", "{1,x}"]
EXACT += [
    "1, 1, 2",
    r"\begin{matrix}1\\2\end{matrix}",
    r"(0,1)\cup(2,3)",
    "x+2y-3=0",
    r"\infty",
    "4343_6",
    r"1+\sqrt{3",
]
OPEN = [
    r"\sin(x)",
    r"\sqrt{x}",
    "2^n",
    "2004!",
    r"(1,\sin(x))",
    r"(0,\sqrt{2})\cup(2,3)",
    "x^2-1=0",
    "1, 2, ..., n",
    "3:4",
]
OPEN += [r"\begin{vmatrix}1&2\\3&4\end{vmatrix}", r"\int xdx", r"e^{\pi i}", "", "(,)"]


@pytest.mark.parametrize(("text", "is_exact"), [*((t, True) for t in EXACT), *((t, False) for t in OPEN)])
def test_exact_keys(text: str, is_exact: bool):
    assert exact(text) == is_exact


HARD = [
    *E12,
    "(a+b+c+d+e)^{30}",
    "+".join(f"x^{{{i}}}" for i in range(99)),
    "+".join(["x"] * 200),
    r"\pm1," * 90,
    "x>1 or " * 60 + "x<0",
    "(((((x+1)^2+1)^2+1)^2+1)^2+1)^2",
    r"\frac{(x+1)^{32}}{(x+2)^{31}}",
    r"\frac{1}{\sqrt2+\sqrt3+\sqrt5+\sqrt7+\sqrt{11}+\sqrt{13}+i}",
]


@pytest.mark.parametrize("text", HARD, ids=lambda text: text[:12])
def test_E12_a_key_is_found_soon(text: str):
    begin = time.perf_counter()
    exact(key(text) or "")
    assert time.perf_counter() - begin < 0.1  # a few milliseconds; the rest is for busy machines


MORE_PIECES = r"""
\pm < > \le \or or = \sin \mathbb{R} a y k 3 * \binom x^2 2x e i \infty \ln | \sqrt{2} ab cm \text{cm} X B ^\circ
"""


@given(st.lists(st.sampled_from([*PIECES.split(), *MORE_PIECES.split(), " "]), max_size=14).map("".join))
def test_keys_of_formulas_are_their_own_keys(text: str):
    for strict in (False, True):
        result = key(text, strict=strict)
        assert result is None or key(result, strict=strict) == result
        assert exact(result or "") in (True, False)
