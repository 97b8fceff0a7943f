import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from escalade.answers import classes, equal, grade

ANSWERS = st.one_of(
    st.sampled_from(
        [
            None,
            "",
            "None",
            "1/2",
            "0.5",
            r"\frac12",
            "50%",
            "50",
            "(1,2)",
            "{1,2}",
            "2,1",
            "(2,1)",
            "x",
            "[invalid]",
        ]
    ),
    st.text(alphabet=st.sampled_from(list("0123456789,./()x \\{}")), max_size=6),
)


def test_P19_no_answer_never_wins_and_never_equals_gold():
    assert classes([None, None, None, "5", "5"]) == [None, None, None, 0, 0]
    for answer, gold in [(None, None), (None, "None"), ("None", "None"), ("", ""), (None, ""), (" ", "")]:
        assert not grade(answer, gold)


def test_P21_a_half_is_one_class():
    assert classes([r"\frac12", "0.5", "1/2", "2", "2"]) == [0, 0, 0, 1, 1]


def test_V1_placeholders_abstain():
    assert classes(["[invalid]"] * 3 + ["5", "5"]) == [None, None, None, 0, 0]


def test_V2_singletons_are_classes_of_their_own():
    assert classes(["7", "7", "7", "1", "2", "3", "4", "5"]) == [0, 0, 0, 1, 2, 3, 4, 5]


def test_V7_cut_off_samples_are_not_unanimous():
    assert classes([None, None, None]) == [None, None, None]


def test_E10_classes_do_not_depend_on_order():
    answers = ["50", "50%", "0.5", "(1,2)", "{1,2}", "(2,1)"]
    forward, backward = classes(answers), classes(answers[::-1])[::-1]
    for i in range(len(answers)):
        for j in range(len(answers)):
            assert (forward[i] == forward[j]) == (backward[i] == backward[j])


def test_E11_equality_is_symmetric_for_relations_and_intervals():
    assert equal("x>2", "(2,oo)") == equal("(2,oo)", "x>2")


def test_no_answers_have_no_classes():
    assert classes([]) == []


@pytest.mark.parametrize(
    ("answer", "gold", "correct"),
    [
        ("7.0", "7", True),
        (r"48^\circ", "48", True),
        (r"\$1,000", "1000", True),
        ("8", "7", False),
        ("7", None, False),
    ],
)
def test_grade(answer: str | None, gold: str | None, correct: bool):
    assert grade(answer, gold) is correct


@given(st.lists(ANSWERS, max_size=8))
def test_equality_is_an_equivalence_and_agrees_with_classes(answers: list[str | None]):
    ids = classes(answers)
    known = [i for i in ids if i is not None]
    assert list(dict.fromkeys(known)) == list(range(len(set(known))))
    for i, a in zip(ids, answers, strict=True):
        for j, b in zip(ids, answers, strict=True):
            same = i is not None and i == j
            assert grade(a, b) or not same  # a gold may accept more: 50 answers 50%, and 0.5 does
            if a is not None and b is not None:
                assert equal(a, b) is same


NUMBERS = st.sampled_from(
    ["0", "1", "2", "-1", "1/2", r"\sqrt{2}", r"\sqrt{3+2\sqrt{2}}", r"\pi", "e", "i", "x", "x+1"]
)


@st.composite
def formulas(draw: st.DrawFn) -> str:
    a, b = draw(NUMBERS), draw(NUMBERS)
    shape = draw(
        st.sampled_from(
            [
                "{a}",
                "({a})+({b})",
                "({a})({b})",
                r"\frac{{{a}}}{{{b}}}",
                "({a})^2",
                r"\sqrt{{{a}}}",
                r"\cos({a}\pi)",
                r"\ln({a})",
                r"e^{{{a}}}",
                r"({a},{b})",
                r"\{{{a},{b}\}}",
            ]
        )
    )
    return shape.format(a=a, b=b)


@settings(max_examples=60)
@given(st.lists(formulas(), min_size=3, max_size=5))
def test_equality_of_formulas_is_an_equivalence(written: list[str]):
    ids = classes(written)
    for i, a in enumerate(written):
        assert (ids[i] is None) or equal(a, a)
        for j, b in enumerate(written):
            assert equal(a, b) == equal(b, a) == (ids[i] is not None and ids[i] == ids[j])


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (r"e^{i\pi}", "-1"),
        (r"\sin 30^\circ", r"\frac12"),
        (r"\cos 58^\circ", r"\sin 32^\circ"),
        (r"\sqrt{3+2\sqrt2}", r"1+\sqrt2"),
        (r"\log_2 8", "3"),
        (r"\sum_{k=1}^{10} k", "55"),
        (r"\left(\sin\frac{\pi}{6}, 1\right)", "(0.5, 1)"),
        (r"\sin^2 x", r"1-\cos^2 x"),
        (r"\frac{a}{b}+\frac{c}{d}", r"\frac{ad+bc}{bd}"),
        ("x>2", r"(2,\infty)"),
    ],
)
def test_E8_E9_E11_equal_beyond_notation(a: str, b: str):
    assert equal(a, b) and equal(b, a)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (r"\frac{1}{2004!}", r"\frac{1}{2006!}"),
        ("2^{-99}", "2^{-98}"),
        ("1,2,...,n", "1,3,...,2n-1"),
        (r"\sqrt{x^2}", "x"),
        (r"e^{\pi\sqrt{163}}", "262537412640768744"),
        (r"\cos 13", r"\cos 13^\circ"),
        ("(-36,104)", "-36104"),
        ("9 a.m.", r"9\text{ p.m.}"),
        ("0.333333", "1/3"),
    ],
)
def test_E9_not_equal(a: str, b: str):
    assert not equal(a, b) and not equal(b, a)
