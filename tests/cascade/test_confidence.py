import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from escalade.cascade.ballot import count
from escalade.cascade.confidence import ESTIMATORS, beats_runner_up, entropy_bits, entropy_bounds
from escalade.testing import votes


def value(name: str, answers: str, k: int | None = None) -> float:
    ballot = count(votes(*(None if a == "-" else a for a in answers)), len(answers) if k is None else k)
    found = ESTIMATORS[name].value(ballot)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("ballot", "bits"),
    [
        *[("4-0", 0), ("3-1", 0.81), ("2-2", 1), ("2-1-1", 1.5), ("5-0", 0), ("4-1", 0.72)],
        *[("6-1", 0.59), ("7-1", 0.54), ("6-2", 0.81), ("4-4", 1)],
    ],
)
def test_entropy_in_bits(ballot: str, bits: float) -> None:
    assert round(entropy_bits([float(n) for n in ballot.split("-")]), 2) == bits


@given(st.lists(st.integers(0, 9), max_size=9))
def test_entropy_lies_between_none_and_that_of_a_level_ballot(counts: list[int]) -> None:
    classes = sum(n > 0 for n in counts)
    assert 0 <= entropy_bits(counts) <= math.log2(max(1, classes)) + 1e-12
    assert entropy_bits(counts) == entropy_bits(sorted(counts))


def test_entropy_bounds_where_nobody_voted_yet() -> None:
    # An abstention is no class that others can join: three more votes leave 3-1, not 4-0.
    assert entropy_bounds([0, 1.0], 3).low == entropy_bits([3, 1])
    assert entropy_bounds([0], 3) == (0.0, entropy_bits([1, 1, 1]))


def test_share_and_margin() -> None:
    assert value("share", "aab-") == 0.5 and value("margin", "aab-") == 0.25
    assert value("share", "aab-", k=8) == 0.25 and value("margin", "aab-", k=8) == 0.125


def test_V5_a_tie_is_not_surer_than_a_clear_plurality() -> None:
    assert value("share", "aaaabbbb") < value("share", "aaaaabcd")
    assert value("margin", "aaaabbbb") < value("margin", "aaaaabcd")
    assert value("posterior", "aaaabbbb") < value("posterior", "aaaaabcd")


def test_V4_the_posterior_of_many_votes_is_exact() -> None:
    assert round(beats_runner_up(600, 500), 4) == 0.9987
    assert beats_runner_up(0, 0) == 0.5 and beats_runner_up(7, 7) == 0.5
    assert 0.0 < beats_runner_up(1, 900) < 1e-200 and beats_runner_up(5000, 0) == 1.0


@given(st.integers(0, 60), st.integers(0, 60))
def test_V4_the_posterior_is_the_tail_of_a_binomial(a: int, b: int) -> None:
    n = a + b + 1
    assert beats_runner_up(a, b) == float(Fraction(sum(math.comb(n, i) for i in range(a + 1)), 2**n))
    assert beats_runner_up(a, b) <= beats_runner_up(a + 1, b) and beats_runner_up(a, b + 1) <= beats_runner_up(a, b)


def test_entropy_confidence_counts_undrawn_seats_as_not_won() -> None:
    assert value("entropy", "aaaa") == 1.0
    assert value("entropy", "a", k=8) == 0.0  # out of time after one of eight
    assert value("entropy", "aaa-") == value("entropy", "aaab") == value("entropy", "aaa", k=4)
    assert round(value("entropy", "aaab"), 3) == 0.189


def test_logprob_is_the_exp_of_the_mean() -> None:
    ballot = count(votes("a", "a", "b", logprobs=[-0.1, -0.3, -9.0]), 3)
    assert ESTIMATORS["logprob"].value(ballot) == pytest.approx(math.exp(-0.2))
    assert ESTIMATORS["logprob"].value(count(votes("a", "a", logprobs=[-0.1, None]), 2)) is None


@given(
    st.sampled_from(["share", "margin", "posterior", "entropy"]),
    st.lists(st.sampled_from("abc-"), max_size=6),
    st.lists(st.sampled_from("abcdef-"), max_size=5),
)
def test_bounds_hold_for_whatever_the_open_seats_say(name: str, drawn: list[str], rest: list[str]) -> None:
    k = len(drawn) + len(rest)
    here, there = ("".join(drawn).replace("-", "")), "".join([*drawn, *rest])
    if not here:
        return
    before = count(votes(*(None if a == "-" else a for a in drawn)), k)
    after = count(votes(*(None if a == "-" else a for a in there)), k)
    low, high = ESTIMATORS[name].bounds(before, len(rest))
    final = ESTIMATORS[name].value(after)
    assert final is not None and final <= high + 1e-12
    if after.leader == before.leader:
        assert low - 1e-12 <= final
    assert 0.0 <= final <= 1.0
