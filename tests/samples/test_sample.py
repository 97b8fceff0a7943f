import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from escalade.answers.custom import Custom
from escalade.answers.kinds import kind_of
from escalade.samples.sample import Generation, read, sample_seed

MATH = kind_of("math")


def test_v7_what_was_cut_off_abstains_though_its_answer_is_kept() -> None:
    sample = read(0, Generation(r"so \boxed{5}, or rather", finish_reason="length"), kind=MATH)
    assert (sample.answer, sample.key) == ("5", None)
    assert read(0, Generation(None, finish_reason="length", answer="5"), kind=MATH).key is None
    assert read(0, Generation(r"so \boxed{5}", finish_reason="stop"), kind=MATH).key == "5"


@pytest.mark.parametrize("text", [None, "", "no answer here", r"\boxed{12", r"\boxed{}"])
def test_without_an_answer_a_sample_abstains(text: str | None) -> None:
    assert read(0, Generation(text), kind=MATH).key is None


def test_a_recorded_answer_is_not_looked_for_in_the_text() -> None:
    sample = read(3, Generation(r"\boxed{4}", answer="1/2"), kind=MATH, seed=9)
    assert (sample.index, sample.seed, sample.answer, sample.rule, sample.key) == (3, 9, "1/2", "recorded", "0.5")


def test_answer_and_key_are_those_of_the_kind() -> None:
    generation = Generation("That makes 12 apples and 7 pears")
    assert read(0, generation, kind=MATH).key is None
    sample = read(0, generation, kind=kind_of("number"))
    assert (sample.answer, sample.rule, sample.key) == ("7", "last_number", "7")
    sample = read(0, Generation("The answer is (B)."), kind=kind_of("choice"))
    assert (sample.answer, sample.rule, sample.key) == ("B", "phrase", "B")
    assert read(0, Generation(None, answer="b) 5"), kind=kind_of("choice")).key == "B"


class Broken:
    def extract(self, text: str) -> str:
        if "odd" in text:
            raise ValueError("odd")
        return text

    def key(self, answer: str) -> str:
        return answer.split("=")[1]


def test_what_a_kind_cannot_read_is_a_failure_of_the_sample() -> None:
    kind = Custom("own.py:Broken", "", Broken())
    sample = read(4, Generation("odd", completion_tokens=7), kind=kind, seed=2)
    assert (sample.index, sample.seed, sample.answer, sample.key) == (4, 2, None, None)
    assert sample.generation.completion_tokens == 7
    assert sample.failure == "answer kind 'own.py:Broken': extract('odd') raised ValueError: odd"
    sample = read(4, Generation("5"), kind=kind)
    assert sample.answer == "5" and sample.key is None
    assert sample.failure == "answer kind 'own.py:Broken': key('5') raised IndexError: list index out of range"
    assert read(4, Generation("x=5"), kind=kind).failure is None


def test_seeds_are_63_bits_and_no_two_are_alike() -> None:
    seeds = [
        sample_seed(run, problem, model, temperature, index)
        for run in range(3)
        for problem in ("a", "b", "1", "11")
        for model in ("1.5B", "7B")
        for temperature in (0.0, 0.7, 0.75)
        for index in range(40)
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 1 << 63 for seed in seeds)
    assert max(seeds).bit_length() == 63
    # Not from a counter: k samples of one tier are no neighbours.
    assert min(abs(a - b) for a, b in itertools.pairwise(seeds)) > 1 << 20


def test_seeds_do_not_change_between_versions() -> None:
    # Stores and recordings of older versions must go on giving the same samples.
    assert sample_seed(0, "e01", "7B", 0.7, 0) == 7443108679536173594
    assert sample_seed(0, "e01", "7B", 0, 1) == sample_seed(0, "e01", "7B", 0.0, 1)


@given(st.integers(), st.text(), st.text(), st.floats(0, 5), st.integers(0, 99))
def test_seeds_fit_a_signed_integer_of_64_bits(run: int, problem: str, model: str, t: float, index: int) -> None:
    assert 0 <= sample_seed(run, problem, model, t, index) < 1 << 63
