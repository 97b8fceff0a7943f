"""Candidates: each rule of decision once, of what was recorded, at what it comes to."""

import random
from dataclasses import replace

import numpy as np
import pytest

from escalade.cascade.policy import Policy
from escalade.errors import SettingError
from escalade.evaluation.bank import Bank
from escalade.evaluation.exact import evaluate
from escalade.routes import Kind, parse_route
from escalade.tuning.candidates import MOST, VOTES, Sort, Trials, try_all
from tests.evaluation import pools


@pytest.fixture(scope="module")
def bank() -> Bank:
    return pools.bank(random.Random(5), {"S": 6, "M": 5, "L": 3}, problems=12)


@pytest.fixture(scope="module")
def trials(bank: Bank) -> Trials:
    return try_all(bank)


def test_every_number_of_votes_is_a_threshold_once(trials: Trials) -> None:
    of_four = [
        c.route.tiers[0]
        for c in trials.candidates
        if c.sort is Sort.PAIR
        and c.policy.confidence == "share"
        and c.route.kind is Kind.CASCADE
        and (c.route.tiers[0].model, c.route.tiers[0].k, c.route.tiers[1].model, c.route.tiers[1].k) == ("S", 4, "L", 1)
    ]
    assert [Policy().need(4, tier.threshold) for tier in of_four] == [1, 2, 3, 4]


@pytest.mark.parametrize("k", [k for k in VOTES if k <= 8])
def test_short_thresholds_ask_for_the_votes_that_they_stand_for(k: int) -> None:
    from escalade.tuning.candidates import _just_below

    assert [Policy().need(k, _just_below(votes / k)) for votes in range(1, k + 1)] == list(range(1, k + 1))


def test_cascades_climb_in_the_order_of_cost_and_may_leave_a_tier_out(trials: Trials) -> None:
    climbs = {tuple(tier.model for tier in c.route.tiers) for c in trials.candidates}
    assert climbs == {("S",), ("M",), ("L",), ("S", "M"), ("S", "L"), ("M", "L"), ("S", "M", "L")}


def test_no_candidate_asks_for_more_than_was_recorded(trials: Trials) -> None:
    most = {"S": 6, "M": 5, "L": 3}
    assert all(tier.k <= most[tier.model] for c in trials.candidates for tier in c.route.tiers)


def test_numbers_are_those_of_the_evaluation(bank: Bank, trials: Trials) -> None:
    for place in random.Random(1).sample(range(len(trials.candidates)), 40):
        candidate = trials.candidates[place]
        found = evaluate(bank, candidate.route, candidate.policy)
        np.testing.assert_allclose(trials.correct[place], found.correct, atol=1e-12)
        np.testing.assert_array_equal(trials.cost[place], found.cost)


def test_routes_that_are_named_come_first_and_are_found(bank: Bank) -> None:
    route = parse_route("mv_cascade_S_k3_t0.7_c0.5_M_k2_t0.7_c0.9_L_k2_t0.7", bank.pool)
    trials = try_all(bank, also=[route])
    assert trials.place(route) == 0
    with pytest.raises(SettingError, match="not among"):
        trials.place(parse_route("mv_L_k3_t0.3", bank.pool))


def test_single_samples_have_thresholds_of_scores_and_of_logprobs() -> None:
    scored = try_all(pools.bank(random.Random(2), {"S": 2, "L": 2}, problems=8, scores=True), [Policy()])
    firsts = {c.route.tiers[0] for c in scored.candidates if c.sort is Sort.PAIR and c.route.tiers[0].k == 1}
    assert len({tier.threshold for tier in firsts}) > 3
    bare = try_all(pools.bank(random.Random(2), {"S": 2, "L": 2}, problems=8), [Policy()])
    assert not [c for c in bare.candidates if c.sort is Sort.PAIR and c.route.tiers[0].k == 1]


def test_priors_are_tried_where_scores_are_known() -> None:
    of = pools.bank(random.Random(7), {"S": 4, "M": 3, "L": 2}, problems=10, scores=True)
    policy = Policy(confidence="prior", prior_strength=2.0)
    trials = try_all(of, [Policy(), policy])
    places = [n for n, c in enumerate(trials.candidates) if c.policy == policy]
    assert len({c.route.tiers[0].threshold for n in places if (c := trials.candidates[n]).route.tiers[0].k == 3}) > 3
    for place in random.Random(1).sample(places, 30):
        found = evaluate(of, trials.candidates[place].route, policy)
        np.testing.assert_allclose(trials.correct[place], found.correct, atol=1e-12)
        np.testing.assert_array_equal(trials.cost[place], found.cost)
    # Thresholds tell ballots apart that a share cannot: the same votes, another score.
    shares = {tuple(trials.correct[n]) for n, c in enumerate(trials.candidates) if c.policy != policy}
    assert any(tuple(trials.correct[n]) not in shares for n in places)


def test_a_prior_without_scores_is_refused_by_name() -> None:
    of = pools.bank(random.Random(7), {"S": 4, "L": 2}, problems=4, scores=True)
    problems = list(of.problems)
    problems[2] = replace(problems[2], scores={"L": 0.5})
    with pytest.raises(SettingError, match=r"'prior' needs a score of S for every problem, and 'p2' has none"):
        try_all(replace(of, problems=tuple(problems), _worked_out={}), [Policy(confidence="prior")])
    # The dearest model never hands on: nothing rests on its score.
    without = tuple(replace(p, scores={"S": 0.5}) for p in of.problems)
    assert try_all(replace(of, problems=without, _worked_out={}), [Policy(confidence="prior")]).candidates


def test_without_a_price_or_a_gold_answer_nothing_is_tried() -> None:
    made = pools.bank(random.Random(3), {"S": 2, "L": 2}, problems=4)
    free = made.pool.model_copy(
        update={"models": tuple(model.model_copy(update={"price": None}) for model in made.pool.models)}
    )
    with pytest.raises(SettingError, match="no price"):
        try_all(Bank(free, made.problems, made.rows, made.place))
    with pytest.raises(SettingError, match="'p0' has no gold answer"):
        try_all(pools.single({"S": ["1", "2"], "L": ["1", "1"]}, gold=None))


def test_there_is_an_end_to_candidates(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("escalade.tuning.candidates.MOST", 300)
    trials = try_all(bank, [Policy()])
    assert not any(c.sort is Sort.TRIPLE for c in trials.candidates)
    assert "left out" in trials.notes[0]
    assert MOST > 300


@pytest.mark.parametrize("stop", ["beta:0.95", "esc:4"])
def test_a_stop_rule_without_closed_form_is_refused(bank: Bank, stop: str) -> None:
    with pytest.raises(SettingError, match=f"stop rule '{stop}' can only be simulated"):
        try_all(bank, [Policy(stop=stop)])
