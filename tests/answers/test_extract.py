import pytest
from hypothesis import given
from hypothesis import strategies as st

from escalade.answers.extract import Answer, extract, places
from escalade.answers.kinds import kind_of

MEGABYTE = 1_000_000


def found(text: str, **options: bool) -> str | None:
    answer = extract(text, **options)
    return None if answer is None else answer.text


def test_E1_a_box_without_braces_gives_way_to_a_later_one():
    assert extract(r"text \boxed 5 and later \boxed{7}") == Answer("7", "boxed")


def test_E2_a_dangling_box_is_passed_over():
    assert found(r"\boxed{7} ... \boxed") == "7"


def test_E3_a_space_before_the_brace():
    assert found(r"\boxed {5}") == "5"


def test_E4_nested_box_gives_the_inner_answer():
    assert found(r"\boxed{x=\boxed{3}}") == "3"


def test_E5_fbox_is_a_box():
    assert found(r"\fbox{3}") == "3"


def test_E6_a_box_cut_off_at_the_end_abstains():
    assert extract(r"\boxed{12") is None
    assert extract(r"\boxed{3}, or rather \boxed{12", last_number=True) is None
    assert extract(r"#### 4 and \boxed{\frac{1}{2}") is None
    assert places(r"The answer is \boxed{12") is None


@pytest.mark.parametrize(
    "text",
    [
        r"The answer is \box",
        "The answer is 3.\n\nThe final answer is \\boxed",
        r"The final answer is $\frac{1}{2",
        r"The final answer is \(12",
        r"The final answer is: \[ 12 ",
        r"#### \frac{1}{2",
    ],
)
def test_E6_a_text_cut_off_inside_its_answer_abstains(text: str):
    assert extract(text, last_number=True) is None


def test_E7_boxed_in_prose_is_nothing():
    assert extract("I boxed the parcels") is None
    assert extract(r"put the result in \boxed and stop") is None


def test_a_complete_box_after_an_unclosed_one_counts():
    assert found(r"\boxed{12 is wrong, so \boxed{7}") == "7"


def test_places_where_an_answer_is_stated():
    text = "#### A. First\nAnswer: (A)?\nAnswer:\n\n**(B)**, as"
    assert places(text) == (Answer("(B)**, as", "phrase"), Answer("(A)?", "phrase"))
    first, *rest = places(text + "\n#### D\n") or ()
    assert first == Answer("D", "hash") and len(rest) == 2
    assert (places(text + r" \boxed{C}") or ())[0] == Answer("C", "boxed")
    assert places("nothing") == ()


@pytest.mark.parametrize("empty", [r"\boxed{}", r"\boxed{ }", r"\boxed{\boxed{}}", r"\boxed{$$}", r"\boxed{.}"])
def test_an_empty_box_is_no_answer(empty: str):
    assert extract(empty) is None
    assert found(r"\boxed{5} and " + empty) == "5"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"$\boxed{5}$", "5"),
        (r"\(\boxed{5}.\)", "5"),
        (r"\boxed{**5**}", "5"),
        (r"\boxed{$5$}", "5"),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed\frac12", r"\frac12"),
        (r"\boxed\text{A}", r"\text{A}"),
        (r"\boxed 1,000 cows", "1,000"),
    ],
)
def test_what_a_box_holds(text: str, answer: str):
    assert extract(text) == Answer(answer, "boxed")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("a\n#### 42\n", "42"),
        ("#### 41\n#### 42", "42"),
        ("#### $1,000", "1,000"),
        ("#### 42\n#### Explanation", "42"),
        ("#### 1. First step", None),
        ("#### Step 1", None),
        ("#### B", "B"),
    ],
)
def test_hash(text: str, answer: str | None):
    assert extract(text) == (None if answer is None else Answer(answer, "hash"))


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("the answer is 42", "42"),
        ("The final answer is: 42.", "42"),
        ("ANSWER: 42", "42"),
        ("**Answer:** 42", "42"),
        ("**Final Answer**: $42$", "42"),
        ("Answer:\n\n42", "42"),
        ("The answer is 1. No: the answer is 2.", "2"),
        ("the answer is 42 because it must", "42"),
        ("the answer is 42 apples.", "42 apples"),
        ("The answer is 42 apples, which he ate on the way home from the market.", "42"),
        ("The answer is 4 pm because the train was so very late", "4 pm"),
        ("The answer is 5 * 3 = 15.", "15"),
        ("The answer is 2x + 3.", "2x + 3"),
        ("The final answer is $x = 42$. I hope it is correct.", "x = 42"),
        ("The answer is $42 and $3", "42"),
        ("The answer is $1,000.", "1,000"),
        (r"the answer is \(\frac{1}{2}\).", r"\frac{1}{2}"),
        ("The answer is (B).", "(B)"),
        ("The answer is Sunday.", "Sunday"),
        ("The answer is a matter that a great many people would have a great many opinions about", None),
        ("The answer is 3. The answer is", "3"),
        (r"The final answer is: $$\frac{1}{2}$$", r"\frac{1}{2}"),
        ("The answer is\n\\[\n12\n\\]", "12"),
        ("The answer is simply 4/19/1969.", "4/19/1969"),
        ("Answer - 42", "42"),
        ("**Final answer** \N{EN DASH} 42", "42"),
        ("**Answer:** B", "B"),
        ("So it is 5.\nA: 42", "42"),
        ("Explain: today is May 1, 2021.\nA: 05/01/2021\n", "05/01/2021"),
        ("A: There are five of them left in the box.", None),
        ("A: 5 apples\nB: 6 apples", None),
        ("A: 5 apples\nB: 6 apples\nA: 6", "6"),
        ("Answer: She has 3 + 4 = <<3+4=7>>7 left of all of those that she had.\nans = 7", "7"),
        ("days = 3 * 4\nans = days + 1", None),
        ("# The answer is 3 + 4\nans = days + 4", None),
        ("ans = 0\nfor day in days:\n    ans += 1", None),
        ("```\nans = 7\n```", "7"),
        ("ans = '05/01/2021'", "'05/01/2021'"),
        ("ans == 5", None),
        ("<think>2 + 2</think><answer>\n4\n</answer>", "4"),
        ("<answer>42</answer>", "42"),
        ("re-answering - 3", None),
        ("### Final Answer\n\n42\n", "42"),
        ("**Answer**\n**42 apples**", "42 apples"),
        ("I gave my answer\nand left with 3 apples, which is what anybody would have done in the circumstances", None),
    ],
)
def test_phrase(text: str, answer: str | None):
    assert extract(text) == (None if answer is None else Answer(answer, "phrase"))


@pytest.mark.parametrize(
    ("text", "answer"),
    [("42", "42"), ("$1,000", "1,000"), ("3/4", "3/4"), ("50%", "50%"), (" 5 cm\n", "5 cm")],
)
def test_number(text: str, answer: str):
    assert extract(text) == Answer(answer, "number")


@pytest.mark.parametrize("text", ["", " ", "no", "12 is what I think it might be, perhaps", "1 2 3"])
def test_no_answer(text: str):
    assert extract(text) is None


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("10-3 is 7", "7"),
        ("first -5 and then -3.", "-3"),
        ("it makes $1,234.50 in all", "1,234.50"),
        (r"so \frac{1}{2} of it", r"\frac{1}{2}"),
        ("x3", None),
        ("nothing", None),
    ],
)
def test_last_number_only_when_asked_for(text: str, answer: str | None):
    assert extract(text) is None
    assert found(text, last_number=True) == answer


def test_rules_in_order_of_authority():
    text = "the answer is 3\n#### 2\n"
    assert extract(text + r"\boxed{1}") == Answer("1", "boxed")
    assert extract(text) == Answer("2", "hash")
    assert extract("the answer is 3 of 4", last_number=True) == Answer("3 of 4", "phrase")


@given(
    st.text(alphabet=st.sampled_from(list("\\{}boxedfan swri:#$*.,/0123456789-()\n")), max_size=200),
    st.booleans(),
)
def test_never_raises_and_never_answers_with_nothing(text: str, last_number: bool):
    answer = extract(text, last_number=last_number)
    assert answer is None or answer.text.strip()


@given(st.text(), st.integers())
def test_a_closing_box_is_always_found(text: str, value: int):
    assert found(text.replace("\\", "") + rf" \boxed{{{value}}}") == str(value)


@pytest.mark.parametrize(
    "text",
    [
        r"\boxed{" * (MEGABYTE // 7) + "}" * (MEGABYTE // 7),
        r"\boxed{" * (MEGABYTE // 7) + "5" + "}" * (MEGABYTE // 7),
        r"\boxed{" + ". " * (MEGABYTE // 2) + "}",
        r"\boxed\a{" * (MEGABYTE // 9),
        r"\boxed " * (MEGABYTE // 7),
        r"\boxed" + " " * MEGABYTE + "x",
        "#" * MEGABYTE,
        "####\n" * (MEGABYTE // 5),
        "answer is " * (MEGABYTE // 10),
        "1" + ",111" * (MEGABYTE // 4) + "1",
        "1" * MEGABYTE,
        "1/" * (MEGABYTE // 2),
        "\\" * MEGABYTE,
        "-" * MEGABYTE,
        "A: x\n" * (MEGABYTE // 5),
        "A: x\nB: y\n" * (MEGABYTE // 10),
        "ans = '\n" * (MEGABYTE // 8),
        "\n" * MEGABYTE,
        "the answer is $" * (MEGABYTE // 15),
        r"the answer is \(" * (MEGABYTE // 16),
        "answer " * (MEGABYTE // 7),
        "answer" + " " * MEGABYTE,
        "<answer>" * (MEGABYTE // 8),
        "option A " * (MEGABYTE // 9),
        "(A) or " * (MEGABYTE // 7),
        "(A), " * (MEGABYTE // 5),
        "A, " * (MEGABYTE // 3),
        "not yes " * (MEGABYTE // 8),
        "the " * (MEGABYTE // 4),
        "\n(A)" * (MEGABYTE // 4),
        "the correct answer option is " * (MEGABYTE // 29),
    ],
    ids=lambda text: text[:8],
)
@pytest.mark.parametrize("spec", ["number", "choice", "yesno", "label:good,very good", "text"])
def test_a_megabyte_of_hostile_text_is_read(spec: str, text: str):
    kind = kind_of(spec)
    kind.extract(text)  # quadratic work on this would take hours
    kind.extract("The answer is " + text)
