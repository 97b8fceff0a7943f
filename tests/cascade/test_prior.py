"""A model's score as the prior of its ballots: bounds, settling, and what it does without a score."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from escalade.cascade.ballot import count
from escalade.cascade.confidence import ESTIMATORS, prior
from escalade.cascade.decide import confidence
from escalade.cascade.outcome import Decision, Status
from escalade.cascade.policy import Policy
from escalade.errors import SettingError
from escalade.testing import votes
from tests.cascade.drive import run
from tests.cascade.test_decide import look, settles_exactly

CHANCE = st.floats(0, 1)
STRENGTH = st.one_of(st.just(0.0), st.floats(0.01, 200))
EASY = Policy(target=0.75, confidence="prior", prior_strength=10)


def known(strength: float, score: float, answers: str, k: int | None = None) -> float:
    ballot = count(votes(*answers), len(answers) if k is None else k)
    value, source = confidence(Policy(confidence="prior", prior_strength=strength), ballot, single=False, score=score)
    assert value is not None and source == "prior"
    return value


def test_a_share_is_shrunk_to_the_score() -> None:
    assert known(4, 0.9, "aaab") == pytest.approx((3.6 + 3) / 8)
    assert known(10, 0.3, "aaaaa") == pytest.approx((3 + 5) / 15)
    assert known(4, 0.5, "a", k=4) == pytest.approx((2 + 1) / 8)  # seats nobody took are not won


@given(CHANCE, st.text("abc", min_size=1, max_size=8), st.integers(0, 4))
def test_without_strength_it_is_the_share_to_the_last_digit(score: float, answers: str, open_seats: int) -> None:
    ballot = count(votes(*answers), len(answers) + open_seats)
    shrunk, share = prior(0.0, score), ESTIMATORS["share"]
    assert shrunk.value(ballot) == share.value(ballot)
    assert shrunk.bounds(ballot, open_seats) == share.bounds(ballot, open_seats)


@given(STRENGTH, CHANCE, st.lists(st.sampled_from(["b", "c", None]), max_size=4), st.integers(1, 3))
def test_bounds_are_the_least_and_the_most_of_all_completions(
    strength: float, score: float, drawn: list[str | None], r: int
) -> None:
    if not any(drawn):
        return
    estimator, k = prior(strength, score), len(drawn) + r
    before = count(votes(*drawn), k)
    reached = set()
    for rest in itertools.product(("b", "c", "d", "z", None), repeat=r):
        after = count(votes(*drawn, *rest), k)
        value = estimator.value(after)
        assert value is not None and 0.0 <= value <= 1.0 + 1e-12
        if after.leader == before.leader:
            reached.add(value)
        assert value <= estimator.bounds(before, r).high
    assert estimator.bounds(before, r) == (min(reached), max(reached))


@given(STRENGTH, st.tuples(CHANCE, CHANCE).map(sorted), st.integers(2, 8), st.data())
def test_P23_a_higher_score_and_a_vote_more_are_never_less_sure(
    strength: float, scores: list[float], k: int, data: st.DataObject
) -> None:
    low, high = scores
    won = data.draw(st.integers(1, k - 1))
    answers = "a" * won
    assert known(strength, low, answers, k) <= known(strength, high, answers, k)
    assert known(strength, low, answers, k) < known(strength, low, answers + "a", k)


# -- settled early --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", ["verdict", "exact"])
@pytest.mark.parametrize("k", [2, 3, 4, 5])
def test_settled_exactly_when_no_completion_changes_decision_or_answer(stop: str, k: int) -> None:
    saved = 0
    for strength, score in itertools.product((1.0, 10.0), (None, 0.0, 0.4, 0.95) if k < 5 else (0.4, 0.95)):
        for threshold in (0.3, 0.5, 0.75, 0.9) if k < 5 else (0.6, 0.8):
            policy = Policy(target=threshold, confidence="prior", prior_strength=strength, stop=stop)
            saved += settles_exactly(policy, k, score=score)
    assert saved > 0 or (k, stop) == (2, "exact")


def test_an_easy_problem_stops_as_soon_as_its_answer_is_fixed() -> None:
    share = Policy(target=0.75)
    # 2-0 of 3 and 3-0 of 5: nobody can overtake any more, and the score makes up for the votes still out.
    for answers, k in ((("a", "a"), 3), (("a", "a", "a"), 5)):
        found = look(answers, EASY, k=k, score=0.95)
        assert found is not None and found.decision is Decision.ACCEPT and found.source == "prior"
        assert look(answers, share, k=k) is None
    # 2-0 of 5 would be accepted whatever comes, but three votes can still make it another answer.
    assert prior(10, 0.95).bounds(count(votes("a", "a"), 5), 3).low >= 0.75
    assert look(("a", "a"), EASY, k=5, score=0.95) is None
    assert look(("a", "a", "b", "c", "d"), EASY, score=0.95).decision is Decision.ACCEPT  # type: ignore[union-attr]


def test_agreement_on_a_hard_problem_counts_less() -> None:
    policy = Policy(target=0.75, confidence="prior", prior_strength=4)
    assert look(("a",) * 5, policy, score=0.3).decision is Decision.ESCALATE  # type: ignore[union-attr]
    assert look(("a",) * 5, policy, score=0.5).decision is Decision.ACCEPT  # type: ignore[union-attr]


def test_a_score_that_no_ballot_makes_up_for_hands_on_before_anything_is_drawn() -> None:
    found = look((), EASY, k=5, score=0.3)
    assert found is not None and found.decision is Decision.ESCALATE
    assert found.reason == "0 of 5 votes and score 0.3 with 5 undrawn, prior below 0.75"
    made = run("mv_cascade_S_k5_t0.7_L_k2_t0.7", "aaaaa", "bb", policy=EASY, scores={"S": 0.3})
    assert made.drawn == [0, 2] and made.outcome.answer == "b"


def test_a_fall_back_takes_whom_score_and_votes_make_surest() -> None:
    route, silent = "mv_cascade_S_k3_t0.7_M_k3_t0.7_L_k1_t0.0", [None]
    rows = (["1", "1", "2"], ["3", "3", "3"], silent)
    policy = Policy(confidence="prior", prior_strength=4)
    both = run(route, *rows, policy=policy, scores={"S": 0.9, "M": 0.1})
    assert both.outcome.status is Status.FALLBACK and both.outcome.answer == "1"
    assert both.outcome.confidence == pytest.approx((3.6 + 2) / 7)
    assert run(route, *rows, policy=policy, scores={"S": 0.5, "M": 0.4}).outcome.answer == "3"
    assert run(route, *rows, policy=policy, scores={"M": 0.1}).outcome.answer == "3"  # unknown is below any


# -- no score, one sample, wrong settings ---------------------------------------------------------------------


def test_without_a_score_it_is_unknown_and_says_so() -> None:
    for answers, policy in (((), EASY), (("a",) * 5, Policy(target=0.0, confidence="prior", stop="none"))):
        found = look(answers, policy, k=5)
        assert found is not None and found.decision is Decision.ESCALATE
        assert (found.confidence, found.source, found.reason) == (None, "", "no score known for S")


def test_P12_the_confidence_of_a_single_sample_is_the_score() -> None:
    policy = Policy(target=0.8, confidence="prior", prior_strength=100)

    def of(score: float | None, mean: float | None) -> tuple[str, str, float | None]:
        found = look(votes("b", logprobs=[mean]), policy, score=score)
        assert found is not None
        return found.decision.value, found.source, found.confidence

    assert of(0.85, -5.0) == ("accept", "score", 0.85)
    assert of(0.75, -0.001) == ("escalate", "score", 0.75)
    assert of(None, -0.1) == ("accept", "logprob", math.exp(-0.1))
    assert of(None, None) == ("escalate", "", None)


@pytest.mark.parametrize("strength", [math.nan, -1.0, -1e-9, math.inf, -math.inf])
def test_P22_a_strength_that_is_no_number_of_votes_is_refused(strength: float) -> None:
    with pytest.raises(SettingError, match=rf"prior_strength is {strength!r}: give a number of votes, 0 or more"):
        Policy(prior_strength=strength)


@pytest.mark.parametrize("aggregate", ["pooled", "weighted"])
def test_a_score_is_no_prior_of_votes_of_several_models(aggregate: str) -> None:
    with pytest.raises(SettingError, match=rf"aggregate is '{aggregate}'.*use aggregate 'last'"):
        Policy(confidence="prior", aggregate=aggregate)
