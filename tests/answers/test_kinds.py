from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from escalade.answers.custom import anchored
from escalade.answers.extract import Answer
from escalade.answers.kinds import SHIPPED, Kind, Undecided, is_file, kind_of
from escalade.errors import AnswerKindError

OWN = """
from escalade.answers.kinds import Undecided

class Colour:
    version = "1"
    shades = {"scarlet": "red", "navy": "blue"}

    def extract(self, text):
        words = text.split()
        return words[-1] if words else None

    def key(self, answer):
        if answer == "odd":
            raise KeyError("odd")
        return answer.casefold()

    def equal(self, a, b):
        if "grue" in (a, b):
            raise Undecided("nobody knows")
        return self.shades.get(a, a) == self.shades.get(b, b)

class Deaf:
    def key(self, answer):
        return answer

class Short(Colour):
    def equal(self, a):
        return True

class Later(Colour):
    async def equal(self, a, b):
        return True

class Needy(Colour):
    def __init__(self, shade):
        pass

class Odd(Colour):
    version = ""
    def extract(self, text):
        return 5
    def key(self, answer):
        return 5
    def equal(self, a, b):
        return "yes"
    def surely_different(self, a, b):
        return a != b
    def accepted(self, gold):
        return gold if gold == "text" else (gold, "also", "")

ready = Colour()
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    file = tmp_path / "colours.py"
    file.write_text(OWN, encoding="utf-8")
    return file


def found(spec: str, text: str) -> tuple[str, str] | None:
    answer = kind_of(spec).extract(text)
    return None if answer is None else (answer.text, answer.rule)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("B", ("B", "letter")),
        ("b", None),
        ("(B)", ("B", "letter")),
        ("[B]", ("B", "letter")),
        ("B.", ("B", "letter")),
        ("B) 5 apples", ("B", "letter")),
        ("A. An apple", ("A", "letter")),
        ("B) 5 apples, as the rest is gone.\nThat is what remains.", ("B", "letter")),
        ("Let us see.\n\n(C)", ("C", "letter")),
        (r"so \boxed{\text{B}}", ("B", "boxed")),
        (r"$\boxed{\textbf{(E) }10}$", ("E", "boxed")),
        (r"\boxed{b}", ("B", "boxed")),
        (r"\boxed{(C)\ 25}", ("C", "boxed")),
        (r"\boxed{\text{Option B}}", ("B", "boxed")),
        (r"\boxed{A) 12}", ("A", "boxed")),
        (r"\boxed{K}", None),
        ("Answer: B", ("B", "phrase")),
        ("**Answer:** (B) The cat", ("B", "phrase")),
        ("the answer is (C)", ("C", "phrase")),
        ("The correct answer is **C) 5**.", ("C", "phrase")),
        ("the answer is b.", ("B", "phrase")),
        ("The answer is option A", ("A", "phrase")),
        ("The answer is: A", ("A", "phrase")),
        ("The answer is A because it must be.", ("A", "phrase")),
        ("The answer is I.", ("I", "phrase")),
        ("<answer>C</answer>", ("C", "phrase")),
        ("#### D", ("D", "hash")),
        ("option D", ("D", "option")),
        ("I think it is (B).", ("B", "option")),
        ("I choose B", ("B", "option")),
        ("A is correct, as it seems to me.", ("A", "option")),
        ("Option A is wrong. Option C is correct. Option D is wrong.", ("C", "option")),
        ("The answer is not (B). It's (C).", ("C", "option")),
        ("the answer is A and C", ("A,C", "phrase")),
        ("Answer: D, B and C", ("B,C,D", "phrase")),
        (r"\boxed{\text{A and C}}", ("A,C", "boxed")),
        (r"\boxed{AC}", ("A,C", "boxed")),
    ],
)
def test_choice(text: str, expected: tuple[str, str] | None):
    assert found("choice", text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A dog is here",
        "Answer: A dog",
        "The answer is a dog",
        r"\boxed{\text{A dog}}",
        "I think so",
        "I, for one, do not know",
        "Final answer: I am not sure",
        "A) one\nB) two\nC) three",
        "B or C",
        "The answer is B or C",
        "The answer is not B.",
        "The answer is 5",
        "Vitamin B12",
        "Plan A-frame houses",
        r"The answer is \boxed{B",
    ],
)
def test_what_is_no_choice(text: str):
    assert found("choice", text) is None


def test_choices_of_a_range_of_ones_own():
    assert found("choice:AB", r"\boxed{C}") is None
    assert found("choice:XYZ", "the answer is Z") == ("Z", "phrase")
    assert kind_of("choice:XYZ").key("(x)") == "X"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Yes, because it is.", ("yes", "word")),
        ("No.", ("no", "word")),
        ("TRUE", ("yes", "word")),
        ("It might be so.\nBut it is not.\n**No**", ("no", "word")),
        ("The answer is: yes.", ("yes", "phrase")),
        ("Yes at first. The answer is no", ("no", "phrase")),
        (r"\boxed{\text{False}}", ("no", "boxed")),
        ("Answer: that is true", ("yes", "phrase")),
        ("Answer: that is not true", None),
        ("Answer: yes or no", ("yes", "phrase")),
        ("Nobody knows. Yesterday was fine.", None),
        ("No-one was there", None),
        (r"Yes, as \boxed{no", None),
    ],
)
def test_yesno(text: str, expected: tuple[str, str] | None):
    assert found("yesno", text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Positive", ("positive", "named")),
        ("**Label:** NEGATIVE", ("negative", "named")),
        ("positive? No: the answer is negative.", ("negative", "phrase")),
        ("The answer is negative. It is not positive.", ("negative", "phrase")),
        ("It is very positive", ("very positive", "named")),
        ("It is not positive", None),
        (r"\boxed{\text{Very  Positive}}, not negative", ("very positive", "boxed")),
        ("the answer is: negatives", None),
        ("fine", None),
    ],
)
def test_labels(text: str, expected: tuple[str, str] | None):
    assert found("label:positive, negative, very positive", text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Eiffel Tower.", ("The Eiffel Tower", "whole")),
        ("The answer is **Paris**, the capital.", ("Paris", "phrase")),
        ("The answer is Paris. It lies on the Seine.", ("Paris", "phrase")),
        ("The answer is the U.S. Navy.", ("the U.S. Navy", "phrase")),
        (r"so \boxed{\text{a cat}}", (r"\text{a cat}", "boxed")),
        ("one line\nand another", None),
        ("word " * 30, None),
        (r"\boxed{Par", None),
        ("", None),
    ],
)
def test_text(text: str, expected: tuple[str, str] | None):
    assert found("text", text) == expected


def test_keys_of_texts():
    key = kind_of("text").key
    assert key("The Eiffel Tower.") == key('"eiffel   tower"') == key(r"\text{Eiffel Tower}") == "eiffel tower"
    assert key("a") == "a" and key("\N{LEFT DOUBLE QUOTATION MARK}A cat!\N{RIGHT DOUBLE QUOTATION MARK}") == "cat"
    assert [key(text) for text in ("", "None", "[invalid]", "n/a", "...", "?", '""')] == [None] * 7


def test_P19_nothing_is_accepted_where_the_gold_says_nothing():
    for spec in ("choice", "yesno", "label:a,b", "text"):
        assert kind_of(spec).accepted("") == () == kind_of(spec).accepted("None")
    assert kind_of("choice").accepted("(B) 5") == ("B",)


@pytest.mark.parametrize("spec", ["choice", "yesno", "label:good,very good", "text"])
@given(text=st.text(alphabet=st.sampled_from(list("ABCIabci yesnogdvrt().,:*\\{}boxed$#\n'-")), max_size=60))
def test_keys_of_words_are_their_own_keys(spec: str, text: str):
    kind = kind_of(spec)
    key = kind.key(text)
    assert key is None or kind.key(key) == key
    answer = kind.extract(text)
    assert answer is None or answer.text.strip()


@pytest.mark.parametrize("spec", ["choice", "yesno", "label:a,b", "text"])
def test_other_keys_are_other_answers(spec: str):
    kind = kind_of(spec)
    assert not kind.equal("A", "B") and kind.surely_different("A", "B") and kind.version


def test_kinds_of_mathematics():
    text = "That makes 12 apples and 7 pears"
    assert kind_of("math").extract(text) is None
    assert kind_of("number").extract(text) == Answer("7", "last_number")
    assert kind_of("math").key("5 cm") == kind_of("number").key("5") == "5" != kind_of("math-strict").key("5 cm")
    assert kind_of("math").surely_different("5", "6")
    assert kind_of("math").accepted("5.0") == kind_of("math-strict").accepted("5.0") == ("5",)
    assert kind_of("math").version.startswith("math, ")


def test_mathematics_asks_the_checker_and_says_where_it_cannot_tell(monkeypatch: pytest.MonkeyPatch):
    from escalade.answers import symbolic

    math = kind_of("math")
    assert math.equal(r"e^{i\pi}", "-1")
    assert not math.equal(r"\cos(1)", r"\sin(1)")
    with symbolic.Workers(size=1, seconds=0.3) as quick:
        monkeypatch.setattr(symbolic, "workers", lambda: quick)
        with pytest.raises(Undecided, match=r"no verdict within 0\.3 s"):
            math.equal(r"\sum_{k=1}^{10^9} \frac{\sin(k!)}{k}", "7")
        with pytest.raises(Undecided, match="memory or failed"):
            math.equal("x" * (symbolic.LONGEST + 1), "7")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("boxed", "no answer kind 'boxed': there are math, number, .*did you mean 'math'"),
        ("mth", "no answer kind 'mth': .*; did you mean 'math'"),
        ("", "answer kind '': give one of math, number"),
        ("math:5", "answer kind 'math:5': math takes no parameters; write 'math'"),
        ("yesno:", "answer kind 'yesno:': yesno takes no parameters"),
        ("choice:", "'' is no range of choices; write upper-case letters, each once, as in 'choice:ABCD'"),
        ("choice:abc", "'abc' is no range of choices"),
        ("choice:AAB", "'AAB' is no range of choices"),
        ("label", "at least two different labels, with commas between them, as in 'label:positive,negative,neutral'"),
        ("label:a", "at least two different labels"),
        ("label:a,A", "at least two different labels"),
        ("label:a,,b", "at least two different labels"),
        ("x.py", "give it as path/to/file.py:NAME"),
        ("none.py:X", "there is no file .*none.py"),
    ],
)
def test_a_wrong_spec_is_an_error_that_names_the_remedy(spec: str, said: str):
    with pytest.raises(AnswerKindError, match=said):
        kind_of(spec)


def test_a_kind_is_the_same_each_time(own: Path):
    assert kind_of("choice:AB") is kind_of("choice:AB")
    assert kind_of(f"{own}:Colour") is kind_of(f"{own}:Colour")
    assert [kind_of(spec).name for spec in SHIPPED if spec != "label"] == [spec for spec in SHIPPED if spec != "label"]


@pytest.mark.parametrize("name", ["Colour", "ready"])
def test_a_kind_of_ones_own(own: Path, name: str):
    kind: Kind = kind_of(f"{own}:{name}")
    assert kind.name == f"{own}:{name}" and kind.version == f"{own}:{name} 1"
    assert kind.extract("It is Scarlet") == Answer("Scarlet", "own") and kind.extract("") is None
    assert kind.key("Scarlet") == "scarlet" and kind.key("") is None
    assert kind.equal("scarlet", "red") and not kind.equal("navy", "red")
    assert not kind.surely_different("navy", "red")
    assert kind.accepted("Red") == ("red",) and kind.accepted("") == ()
    with pytest.raises(Undecided, match="nobody knows"):
        kind.equal("grue", "red")


def test_a_changed_file_is_another_kind(own: Path):
    before = kind_of(f"{own}:Colour")
    own.write_text(OWN.replace('version = "1"', 'version = "two"'), encoding="utf-8")
    assert before.version.endswith(" 1") and kind_of(f"{own}:Colour").version.endswith(" two")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Color", "there is no Color in it; it has Colour, .*did you mean 'Colour'"),
        ("Deaf", "Deaf lacks extract and equal; a kind has extract"),
        ("Short", r"equal\(a\) cannot be called with 2 texts"),
        ("Later", "equal is .*: make it a plain method"),
        ("Needy", r"Needy\(\) raised TypeError: .*without arguments"),
    ],
)
def test_a_kind_that_cannot_be_used_says_what_is_wrong(own: Path, name: str, said: str):
    with pytest.raises(AnswerKindError, match=said) as error:
        kind_of(f"{own}:{name}")
    assert str(own) in str(error.value)


def test_a_file_that_raises(tmp_path: Path):
    file = tmp_path / "broken.py"
    file.write_text("1 / 0\n", encoding="utf-8")
    for _ in range(2):
        with pytest.raises(AnswerKindError, match=r"broken.py raised ZeroDivisionError: division by zero"):
            kind_of(f"{file}:X")


def test_what_a_kind_raises_or_gives_in_error_names_kind_method_and_answer(own: Path):
    with pytest.raises(AnswerKindError, match=r"colours.py:Colour': key\('odd'\) raised KeyError: 'odd'"):
        kind_of(f"{own}:Colour").key("odd")
    odd = kind_of(f"{own}:Odd")
    assert odd.version == "" and odd.surely_different("a", "b") and odd.accepted("x") == ("x", "also")
    with pytest.raises(AnswerKindError, match=r"extract\('x{57}\.\.\.'\) gave 5: give a text, an Answer or None"):
        odd.extract("x" * 1000)
    with pytest.raises(AnswerKindError, match=r"key\('x'\) gave 5: give a text or None"):
        odd.key("x")
    with pytest.raises(AnswerKindError, match=r"equal\('a', 'b'\) gave 'yes': give True or False"):
        odd.equal("a", "b")
    with pytest.raises(AnswerKindError, match=r"accepted\('text'\) gave 'text': give a tuple of keys"):
        odd.accepted("text")


def test_relative_paths_start_where_the_spec_stands(own: Path, monkeypatch: pytest.MonkeyPatch):
    assert anchored("colours.py:Colour", own.parent) == f"{own}:Colour" == anchored(f"{own}:Colour", Path("elsewhere"))
    assert anchored("label:a,b.py", own.parent) == "label:a,b.py" and not is_file("label:a,b.py:c")
    monkeypatch.chdir(own.parent)
    assert kind_of("colours.py:Colour").name == f"{own}:Colour"
