import itertools
from functools import cache

import pytest

from escalade.cascade.ballot import count, standing
from escalade.cascade.confidence import ESTIMATORS
from escalade.cascade.decide import Terms, confidence, cut, explored_k, settled, weights
from escalade.cascade.decide import look as look_at
from escalade.cascade.outcome import Decision, Look
from escalade.cascade.policy import Policy, Stop
from escalade.errors import SettingError
from escalade.samples.sample import Sample
from escalade.testing import votes
from tests.cascade.drive import POOL, parse_route

Votes = tuple[str | None, ...]


def look(
    answers: Votes | list[Sample],
    policy: Policy,
    *,
    k: int | None = None,
    score: float | None = None,
    threshold: float | None = None,
    last: bool = False,
    entropy: bool = False,
    may_explore: bool = True,
    aggregated: bool = False,
) -> Look | None:
    samples = answers if isinstance(answers, list) else votes(*answers)
    seats = len(samples) if k is None else k
    terms = Terms(
        k=seats,
        weight=1.0,
        single=seats == 1,
        score=score,
        model="S",
        threshold=policy.target if threshold is None else threshold,
        last=last,
        entropy_rule=entropy,
        may_explore=may_explore,
        aggregated=aggregated,
    )
    ballot, open_seats = count(samples, seats), seats - len(samples)
    found = settled(terms, standing(samples, seats), open_seats, policy)
    assert found == settled(terms, ballot, open_seats, policy)
    return look_at(terms, ballot, open_seats, policy) if found else None


def decision(answers: Votes | str, policy: Policy | None = None, **evidence: object) -> str:
    found = look(tuple(answers), policy or Policy(), **evidence)  # type: ignore[arg-type]
    assert found is not None
    return found.decision.value


# -- settled early, against every completion ------------------------------------------------------------------


@cache
def partial_ballots(drawn: int) -> list[Votes]:
    return list(itertools.combinations_with_replacement(("b", "c", "d", None), drawn))


@cache
def completions(r: int) -> list[Votes]:
    """All that r seats can add: classes that are there, new ones before and behind them, abstentions."""
    new = ("a", *(f"z{i}" for i in range(max(0, r - 1))))
    return list(itertools.combinations_with_replacement(("b", "c", "d", *new, None), r))


def settles_exactly(policy: Policy, k: int, **evidence: object) -> int:
    """Check every partial ballot of k seats; return how many of them are settled."""
    settled = 0
    for drawn in range(k):
        for answers in partial_ballots(drawn):
            ends = set()
            for rest in completions(k - drawn):
                whole = look((*answers, *rest), policy, **evidence)  # type: ignore[arg-type]
                assert whole is not None
                says = (whole.ballot.leader, whole.ballot.tie)
                free = whole.decision is Decision.ESCALATE and policy.stop == "verdict"
                ends.add((whole.decision, None if free else says))
                if len(ends) > 1 or whole.decision is Decision.EXPLORE:
                    break
            # Exploring draws the open seats as well: there is nothing to be saved by looking early.
            fixed = len(ends) == 1 and whole.decision is not Decision.EXPLORE
            found = look(answers, policy, k=k, **evidence)  # type: ignore[arg-type]
            assert (found is not None) == fixed, (answers, ends)
            if found is not None:
                settled += 1
                assert found.decision is whole.decision
                if found.decision is not Decision.ESCALATE:
                    assert found.ballot.leader == whole.ballot.leader and not whole.ballot.tie
    return settled


@pytest.mark.parametrize("stop", ["verdict", "exact"])
@pytest.mark.parametrize("name", ["share", "margin", "posterior", "entropy"])
@pytest.mark.parametrize("k", [2, 3, 4, 5])
def test_settled_exactly_when_no_completion_changes_decision_or_answer(name: str, stop: str, k: int) -> None:
    saved = 0
    for threshold in (0.0, 0.3, 0.5, 0.75, 0.9) if k < 5 else (0.5, 0.8):
        saved += settles_exactly(Policy(target=threshold, confidence=name, stop=stop), k)
    assert saved > 0 or (k, stop) == (2, "exact")


@pytest.mark.parametrize("stop", ["verdict", "exact"])
@pytest.mark.parametrize("k", [2, 3, 4, 5])
def test_the_entropy_rule_settles_exactly(stop: str, k: int) -> None:
    for bits, score, max_k in itertools.product((0.6, 1.0), (None, 0.6), (k, 8)):
        settles_exactly(Policy(stop=stop, entropy_bits=bits, max_k=max_k), k, score=score, entropy=True)
    settles_exactly(Policy(stop=stop, entropy_bits=0.73), k, may_explore=False, entropy=True)


def test_large_ballots_of_the_entropy_rule_settle_exactly() -> None:
    # Two dissenters of 8, abstentions or not: no completion is clean any more, and 8 is max_k.
    assert look((None, None), Policy(), k=8, entropy=True) is not None
    assert look((None, "b", "c"), Policy(), k=8, entropy=True) is not None
    assert look((None, "b"), Policy(), k=8, entropy=True) is None
    assert look((None,), Policy(), k=8, entropy=True) is None
    assert look(("b",) * 7, Policy(), k=8, entropy=True).decision is Decision.ACCEPT  # type: ignore[union-attr]
    assert look(("b",) * 6, Policy(), k=8, entropy=True) is None


@pytest.mark.parametrize("stop", ["verdict", "exact"])
@pytest.mark.parametrize("k", [2, 3, 4, 5])
def test_the_last_tier_settles_when_its_leader_is_fixed(stop: str, k: int) -> None:
    assert settles_exactly(Policy(stop=stop), k, last=True) > 0 or k == 2


@pytest.mark.parametrize("score", [None, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("entropy", [False, True])
@pytest.mark.parametrize("may_explore", [False, True])
def test_a_single_sample_settles_exactly(score: float | None, entropy: bool, may_explore: bool) -> None:
    policy = Policy()
    ends = set()
    for answer, mean in itertools.product(("a", "b", None), (None, -0.01, -3.0)):
        whole = look(votes(answer, logprobs=[mean]), policy, score=score, entropy=entropy, may_explore=may_explore)
        assert whole is not None
        ends.add((whole.decision, None if whole.decision is Decision.ESCALATE else whole.ballot.leader))
    found = look((), policy, k=1, score=score, entropy=entropy, may_explore=may_explore)
    fixed = len(ends) == 1 and ends == {(Decision.ESCALATE, None)}
    assert (found is not None) == fixed
    assert fixed == (score is not None and score < 0.9 and not (entropy and may_explore and score >= 0.5))


@pytest.mark.parametrize("name", ["score", "logprob"])
def test_estimators_beside_the_votes_settle_soundly(name: str) -> None:
    for k, threshold, score in itertools.product((1, 2, 3), (0.0, 0.5, 0.9), (None, 0.5)):
        policy = Policy(target=threshold, confidence=name)
        for drawn in range(k):
            for head in itertools.product(("b", "c", None), (None, -0.05, -2.0), repeat=drawn):
                answers, means = head[::2], head[1::2]
                found = look(votes(*answers, logprobs=means), policy, k=k, score=score)  # type: ignore[arg-type]
                if found is None:
                    continue
                for tail in itertools.product(("b", "z", None), (None, -0.05, -2.0), repeat=k - drawn):
                    whole = look(
                        votes(*answers, *tail[::2], logprobs=[*means, *tail[1::2]]),  # type: ignore[arg-type]
                        policy,
                        score=score,
                    )
                    assert whole is not None and whole.decision is found.decision
                    if found.decision is Decision.ACCEPT:
                        assert found.ballot.leader == whole.ballot.leader


def test_an_unknown_or_low_score_escalates_before_anything_is_drawn() -> None:
    policy = Policy(confidence="score")
    for score in (None, 0.5):
        found = look((), policy, k=4, score=score)
        assert found is not None and found.decision is Decision.ESCALATE
    assert look((), policy, k=4, score=0.95) is None
    assert look(("b", "b", "b"), policy, k=4, score=0.95).decision is Decision.ACCEPT  # type: ignore[union-attr]


@pytest.mark.parametrize("stop", ["none", "beta:0.95", "esc:4"])
def test_other_stop_rules_wait_for_the_whole_ballot(stop: str) -> None:
    assert look(("b", "c", "d"), Policy(stop=stop), k=4) is None
    assert look((), Policy(stop=stop), k=1, score=0.1) is None


def test_aggregated_ballots_are_whole_but_for_the_final_answer() -> None:
    assert look(("b",) * 4, Policy(), k=5, aggregated=True, threshold=0.5) is None
    assert look(("b",) * 3, Policy(), k=5, aggregated=True, last=True) is not None


# -- accept, escalate -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("k", "threshold", "need"), [(4, 0.75, 3), (4, 0.76, 4), (25, 0.28, 7), (10, 0.3, 3), (5, 0.9, 5)]
)
def test_V6_as_many_votes_as_needed_accept_and_one_less_does_not(k: int, threshold: float, need: int) -> None:
    policy = Policy(target=threshold, stop="none")
    assert policy.need(k) == need
    rest = [f"z{i}" for i in range(k)]
    assert decision(("b",) * need + tuple(rest[need:]), policy) == "accept"
    assert decision(("b",) * (need - 1) + tuple(rest[need - 1 :]), policy) == "escalate"


def test_abstentions_stay_in_the_denominator() -> None:
    assert decision(("b", "b", "b", None), Policy(target=0.75)) == "accept"
    assert decision(("b", "b", "b", None), Policy(target=0.76)) == "escalate"
    assert decision((None,) * 4, Policy(target=0.0)) == "escalate"


def test_P12_a_single_sample_has_no_vote_evidence() -> None:
    policy = Policy(target=0.8)

    def of(score: float | None, mean: float | None) -> tuple[str, str]:
        found = look(votes("b", logprobs=[mean]), policy, score=score)
        assert found is not None
        return found.decision.value, found.source

    assert of(0.85, -5.0) == ("accept", "score")
    assert of(0.75, -0.001) == ("escalate", "score")
    assert of(None, -0.1) == ("accept", "logprob")
    assert of(None, -0.5) == ("escalate", "logprob")
    assert of(None, None) == ("escalate", "")
    for name in ("margin", "posterior", "entropy"):
        policy = Policy(target=0.6, confidence=name)
        assert of(None, None) == ("escalate", ""), name


def test_a_score_that_meets_the_threshold_does_not_make_an_answer() -> None:
    assert decision((None,), Policy(target=0.5), score=0.99) == "escalate"


def test_every_estimator_is_known_to_a_look() -> None:
    for name in ESTIMATORS:
        policy = Policy(confidence=name, target=0.5)
        assert look(votes("b", "b", logprobs=[-0.1, -0.1]), policy, score=0.7).decision is Decision.ACCEPT  # type: ignore[union-attr]
        value, source = confidence(policy, count(votes("b", "b"), 2), single=False, score=None)
        assert (value is None) == (name in ("logprob", "score", "prior")) and source == ("" if value is None else name)


# -- the entropy rule -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ballot", "first_look"),
    [
        ("aaaa", "accept"),
        ("aaab", "explore"),
        ("aabb", "explore"),
        ("aabc", "explore"),
        ("aaaaa", "accept"),
        ("aaaab", "explore"),
        ("aaaaaab", "accept"),
        ("aaaaaaab", "accept"),
        ("aaaaaabb", "escalate"),
        ("aaaabbbb", "escalate"),
        ("abcd", "escalate"),
    ],
)
def test_the_ballot_table_of_the_entropy_rule(ballot: str, first_look: str) -> None:
    assert decision(ballot, entropy=True) == first_look


def test_abstentions_are_classes_of_their_own_to_the_entropy_rule() -> None:
    assert decision((*"aaaaaa", None), entropy=True) == "accept"
    assert decision((*"aaaaa", None, None), entropy=True) == "explore"
    assert decision((None, None), Policy(entropy_bits=5.0), entropy=True) == "escalate"  # there is no leader
    assert decision((None, None), entropy=True, score=0.5) == "explore"


def test_belief_is_the_larger_of_share_and_score() -> None:
    assert decision("abcd", entropy=True, score=0.5) == "explore"
    assert decision("abcd", entropy=True, score=0.49) == "escalate"
    assert decision("aabc", entropy=True, score=0.0) == "explore"
    assert decision("aabc", Policy(explore_floor=0.51), entropy=True) == "escalate"
    assert decision("aabc", Policy(max_k=4), entropy=True) == "escalate"
    assert decision("aabc", entropy=True, may_explore=False) == "escalate"


def test_a_single_sample_explores_by_its_score() -> None:
    assert decision(("a",), entropy=True, score=0.6) == "explore"
    assert decision((None,), entropy=True, score=0.6) == "explore"
    assert decision((None,), entropy=True, score=0.95) == "explore"
    assert decision(("a",), entropy=True, score=0.95) == "accept"
    assert decision(("a",), entropy=True, score=0.4) == "escalate"
    assert decision(("a",), entropy=True) == "escalate"


def test_how_far_exploring_goes() -> None:
    assert [explored_k(k, 8) for k in range(1, 8)] == [3, 4, 5, 6, 7, 8, 8]
    assert [explored_k(k, 32) for k in (8, 10, 21)] == [12, 15, 31]


# -- probabilistic stop rules ---------------------------------------------------------------------------------


def by_index(*answers: str | None) -> dict[int, Sample]:
    return dict(enumerate(votes(*answers)))


def test_V3_stop_rules_answer_whatever_they_are_asked() -> None:
    for stop in ("verdict", "exact", "none", "beta:0.95", "esc:2"):
        rule = Policy(stop=stop).stop_rule
        for answers in ((), (None, None, None), ("a",) * 6):
            assert cut(by_index(*answers), 4, rule, {}) in (None, 4, 2)
            for last, entropy, k in itertools.product((False, True), (False, True), (1, 2, 4)):
                look(answers[:k], Policy(stop=stop), k=k, last=last, entropy=entropy)
                beyond = look(answers, Policy(stop=stop), k=k, last=last, entropy=entropy)
                assert beyond is not None or len(answers) < k


def test_V7_unanimity_among_abstentions_is_none() -> None:
    assert cut(by_index(None, None, None, None), 8, Stop("esc", 2), {}) is None
    assert cut(by_index(*[None] * 8), 8, Stop("beta", 0.9), {}) is None
    assert cut(by_index("a", None, "a", "a"), 8, Stop("esc", 2), {}) == 4


def test_V12_probabilistic_rules_read_in_launch_order() -> None:
    samples = by_index("b", "a", "a", "a", "a", "a", "a", "a")
    short_first = {i: s for i, s in samples.items() if i > 0}
    assert cut(short_first, 8, Stop("beta", 0.9), {}) is None  # the first one launched is still out
    assert cut(short_first, 8, Stop("esc", 2), {}) is None
    assert cut(samples, 8, Stop("esc", 2), {}) == 4
    assert cut(samples, 8, Stop("beta", 0.9), {}) == 6
    assert cut(samples, 5, Stop("beta", 0.9), {}) is None


# -- weights --------------------------------------------------------------------------------------------------


def test_weights_of_votes() -> None:
    route = parse_route("mv_cascade_S_k4_t0.7_L_k1_t0.0", POOL)
    assert weights(route, Policy(), {}, {}) is None
    assert weights(route, Policy(aggregate="pooled"), {}, {}) == [1.0, 1.0]
    by_odds = weights(route, Policy(aggregate="weighted"), {"S": 0.5}, {"S": 0.9, "L": 0.9})
    assert by_odds is not None and by_odds == pytest.approx([0.05, 2.1972], abs=1e-4)
    assert weights(route, Policy(aggregate="weighted"), {"S": 0.1, "L": 1 - 1e-12}, {})[0] == 0.05  # type: ignore[index]
    with pytest.raises(SettingError, match=r"accuracy of L: set `accuracy`"):
        weights(route, Policy(aggregate="weighted"), {"S": 0.5}, {})
