import itertools
import random

from hypothesis import given
from hypothesis import strategies as st

from escalade.answers.canonical import sort_key
from escalade.answers.kinds import kind_of
from escalade.cascade.ballot import Ballot, Standing, count, standing
from escalade.samples.sample import Generation, read
from escalade.testing import votes

ANSWERS = st.sampled_from([None, "[invalid]", "1/2", "0.5", "2", "10", "9", "x"])
MEANS = st.sampled_from([None, -0.1, -0.3, -1.7])


def of(*answers: str | None, k: int | None = None) -> Ballot:
    return count(votes(*answers), len(answers) if k is None else k)


@given(st.lists(st.tuples(ANSWERS, MEANS), max_size=9), st.integers(0, 3), st.integers(0, 2**32))
def test_the_order_of_arrival_leaves_no_trace(
    samples: list[tuple[str | None, float | None]], out: int, seed: int
) -> None:
    row = votes(*(answer for answer, _ in samples), logprobs=[mean for _, mean in samples])
    mixed = random.Random(seed).sample(row, len(row))
    assert count(mixed, len(row) + out) == count(row, len(row) + out)


@given(st.lists(ANSWERS, max_size=9), st.integers(0, 3))
def test_seats_are_votes_abstentions_and_the_undrawn(answers: list[str | None], out: int) -> None:
    ballot = of(*answers, k=len(answers) + out)
    assert sum(n for _, n in ballot.votes) + ballot.abstained + out == ballot.k
    assert ballot.undrawn == out and ballot.drawn == len(answers)
    assert ballot.abstained == answers.count(None) + answers.count("[invalid]")
    assert (ballot.leader is None) == (not ballot.votes)
    assert ballot.tie == (len(ballot.tied) > 1)


@given(st.lists(ANSWERS, max_size=9), st.integers(0, 3), st.sampled_from([0.4, 1.0, 2.5]), st.booleans())
def test_a_standing_is_the_ballot_without_its_names(
    answers: list[str | None], out: int, weight: float, merged: bool
) -> None:
    row, k = votes(*answers), len(answers) + out
    names = {"9": "10", "10": "10", "2": "10"} if merged else {}
    for weights in (None, [weight] * len(row)):
        ballot = count(row, k, weights, names)
        assert standing(row, k, weights, names) == Standing(k, ballot.first, ballot.second, ballot.counts)


@given(st.lists(ANSWERS, min_size=1, max_size=9))
def test_without_logprobs_the_smallest_of_the_most_voted_leads(answers: list[str | None]) -> None:
    ballot = of(*answers)
    if ballot.votes:
        most = max(n for _, n in ballot.votes)
        assert ballot.leader == min((key for key, n in ballot.votes if n == most), key=sort_key)


def test_P19_abstentions_never_win_and_stay_in_the_denominator() -> None:
    samples = [read(i, Generation(None, answer="no answer"), kind=kind_of("math")) for i in range(3)]
    samples += [read(i, Generation(r"So \boxed{5}"), kind=kind_of("math")) for i in (3, 4)]
    ballot = count(samples, 5)
    assert (ballot.leader, ballot.share, ballot.abstained) == ("5", 0.4, 3)
    assert of(None, "", "[invalid]").leader is None


def test_P19_a_sample_without_a_box_abstains() -> None:
    samples = [
        read(i, Generation(text), kind=kind_of("math"))
        for i, text in enumerate(["no", "no", "no", r"\boxed{5}", r"\boxed{5}"])
    ]
    assert (count(samples, 5).leader, count(samples, 5).share) == ("5", 0.4)


def test_P20_a_tie_is_flagged_and_order_does_not_matter() -> None:
    assert of("3", "4") == of("4", "3")
    assert of("3", "4").leader == "3" and of("3", "4").tie and of("3", "4").tied == ["3", "4"]
    assert not of("3", "3", "4").tie and of("3", "3", "4").tied == ["3"]


def test_P21_equal_answers_are_one_class() -> None:
    ballot = of(r"\frac12", "0.5", "1/2", "2", "2")
    assert (ballot.leader, ballot.share) == ("0.5", 0.6)


def test_V1_placeholders_do_not_vote() -> None:
    ballot = of("[invalid]", "[invalid]", "[invalid]", "5", "5")
    assert (ballot.leader, ballot.first, ballot.k) == ("5", 2, 5)


def test_V2_a_plurality_leads() -> None:
    ballot = of("7", "7", "7", "1", "2", "3", "4", "5")
    assert (ballot.leader, ballot.share, ballot.tie) == ("7", 3 / 8, False)


def test_V7_a_cut_off_sample_abstains_whatever_stands_in_it() -> None:
    samples = [read(i, Generation(r"\boxed{1}", finish_reason="length"), kind=kind_of("math")) for i in range(4)]
    ballot = count(samples, 4)
    assert ballot.leader is None and ballot.abstained == 4 and ballot.share == 0.0


def test_ties_go_to_the_higher_mean_logprob() -> None:
    for order in itertools.permutations([("3", -2.0), ("3", -1.0), ("4", -0.5), ("4", -0.7), ("1", -0.01)]):
        ballot = count(votes(*(a for a, _ in order), logprobs=[m for _, m in order]), 5)
        assert (ballot.leader, ballot.tied, ballot.share) == ("4", ["4", "3"], 0.4)
        assert ballot.logprob == -0.6


def test_ties_go_to_the_smallest_answer_where_a_logprob_is_missing() -> None:
    ballot = count(votes("3", "3", "4", "4", logprobs=[-2.0, None, -0.5, -0.5]), 4)
    assert ballot.leader == "3" and ballot.tie
    # A class that is not tied has no say in it.
    ballot = count(votes("3", "3", "4", "4", "1", logprobs=[-2.0, -2.0, -0.5, -0.5, None]), 5)
    assert ballot.leader == "4"


def test_numbers_are_compared_by_value_and_come_before_text() -> None:
    assert of("10", "9").leader == "9"
    assert of("-3", "1/3").leader == "-3"
    assert of("b", "10").leader == "10"
    assert of("b", "a").leader == "a"


def test_equal_logprobs_leave_the_smallest_answer() -> None:
    assert count(votes("10", "9", logprobs=[-1.0, -1.0]), 2).leader == "9"


def test_weights_count_for_votes_seats_and_abstentions() -> None:
    ballot = count(votes("1", "1", "2", None), 3.5, [0.5, 0.5, 2.0, 0.5])
    assert (ballot.leader, ballot.first, ballot.second, ballot.abstained) == ("2", 2.0, 1.0, 0.5)
    assert ballot.counts == [2.0, 1.0, 0.5] and ballot.undrawn == 0
    # Sums that differ by rounding only are a tie.
    weights = [0.1, 0.2, 0.3]
    assert count(votes("1", "1", "2"), 0.6, weights).tied == ["1", "2"]


def test_an_empty_ballot_has_no_leader() -> None:
    ballot = count([], 0)
    assert (ballot.leader, ballot.first, ballot.second, ballot.share, ballot.counts) == (None, 0, 0, 0.0, [0])
