"""Certificates: what is certified holds, what cannot be is said, and who chose has no say in the test."""

import random
from typing import Any

import numpy as np
import pytest

from escalade.cascade.policy import Policy
from escalade.errors import SettingError
from escalade.evaluation.bank import Bank
from escalade.routes import Route, parse_route
from escalade.tuning.candidates import Candidate, Trials, try_all
from escalade.tuning.certificate import BETTING_FROM, _parts, certify, examine, realised
from tests.evaluation import pools

TOP = "mv_L_k1_t0.7"


@pytest.fixture(scope="module")
def bank() -> Bank:
    return pools.bank(random.Random(8), {"S": 4, "L": 3}, problems=80, answers=("1", "2"))


@pytest.fixture(scope="module")
def trials(bank: Bank) -> Trials:
    return try_all(bank, [Policy()])


@pytest.fixture(scope="module")
def top(bank: Bank) -> Route:
    return parse_route(TOP, bank.pool)


def test_policies_of_a_path_get_cheaper(bank: Bank, trials: Trials, top: Route) -> None:
    found = certify(bank, trials, top, 0.3)
    cost = {id(c): trials.cost[i].mean() for i, c in enumerate(trials.candidates)}
    costs = [cost[id(each)] for each in found.path]
    assert costs[0] < trials.cost[trials.place(top)].mean()
    assert len(found.path) == len(found.p_values) == len(found.losses)


def test_the_test_ends_at_the_first_failure(bank: Bank, trials: Trials, top: Route) -> None:
    found = certify(bank, trials, top, 0.3)
    passed = [p <= 1 - found.level for p in found.p_values]
    expected = passed.index(False) if False in passed else len(passed)
    assert (0 if found.place is None else found.place + 1) == expected


def test_certifying_problems_have_no_say_in_the_path(bank: Bank, trials: Trials, top: Route) -> None:
    found = certify(bank, trials, top, 0.3, seed=4)
    planning, certifying = _parts(list(range(80)), None, 4)
    assert not set(planning) & set(certifying)
    assert len(planning) == found.planning == 48
    spoilt = trials.correct.copy()
    spoilt[:, certifying] = np.random.default_rng(0).random((len(spoilt), len(certifying)))
    again = certify(bank, Trials(trials.candidates, spoilt, trials.cost), top, 0.3, seed=4)
    assert [str(c.route) for c in again.path] == [str(c.route) for c in found.path]


def test_who_saw_the_calibration_does_not_certify() -> None:
    groups = [i // 2 for i in range(40)]
    _, certifying = _parts(groups, [i < 9 for i in range(40)], 0)
    assert min(certifying) >= 10  # 9 shares its group with 8, which was seen
    assert len({groups[i] for i in certifying}) == len(certifying) == 8
    with pytest.raises(SettingError, match="nothing was fitted on"):
        _parts(groups, [True] * 40, 0)


def test_promises_hold_over_resplits(bank: Bank, trials: Trials, top: Route) -> None:
    truth = trials.correct[trials.place(top)].mean() - trials.correct.mean(axis=1)
    places = {id(c): i for i, c in enumerate(trials.candidates)}
    eps, certified, broken = 0.2, 0, 0
    for seed in range(50):
        drawn = np.random.default_rng(seed).integers(80, size=150)
        found = certify(bank.subset(drawn), trials.of(drawn), top, eps, seed=seed)
        if found.chosen is not None:
            certified += 1
            broken += truth[places[id(found.chosen)]] > eps
    assert certified >= 10
    assert broken <= 9  # promised: 5 of 50; more than 9 have a chance of 2 %


def test_many_labels_are_bet_on_in_expectation(bank: Bank, trials: Trials, top: Route) -> None:
    drawn = np.random.default_rng(0).integers(80, size=int(BETTING_FROM / 0.4) + 10)
    found = certify(bank.subset(drawn), trials.of(drawn), top, 0.1)
    assert found.kind == "net loss, betting"
    assert found.labels >= BETTING_FROM
    assert found.chosen is None or found.bound <= 0.1


def test_what_cannot_be_certified_says_how_many_labels_it_would_take(bank: Bank, trials: Trials, top: Route) -> None:
    found = certify(bank, trials, top, 0.001)
    assert found.chosen is None
    assert np.isnan(found.bound)
    assert found.needed is None or found.needed > 80


def test_draws_are_seeded_and_shared(bank: Bank) -> None:
    def of(text: str) -> Candidate:
        return Candidate(parse_route(text, bank.pool), Policy())

    rows = np.arange(30)
    never = of("mv_cascade_S_k1_t0.7_L_k1_t0.7")  # a single sample without a score: always the top tier's answer
    first = realised(bank, rows, [of(TOP), never], seed=1)
    silent = [not any(s.key for s in bank.lot("L", 0.7).samples[i]) for i in rows]
    same = first.right[0] == first.right[1]
    assert all(s or q for s, q in zip(same, silent, strict=True)) or same.mean() > 0.85
    again = realised(bank, rows, [of(TOP), never], seed=1)
    np.testing.assert_array_equal(first.right, again.right)
    assert (realised(bank, rows, [of(TOP)], seed=2).right != first.right[:1]).any()
    twice = realised(bank, np.array([3] * 40), [of(TOP)], seed=0)
    assert len(set(twice.usd[0].tolist())) > 1


def test_realised_draws_average_to_the_expected(bank: Bank, trials: Trials, top: Route) -> None:
    rows = np.repeat(np.arange(20), 60)
    found = realised(bank, rows, [trials.candidates[trials.place(top)]], seed=0)
    assert found.right.mean() == pytest.approx(trials.correct[trials.place(top), :20].mean(), abs=0.04)
    assert found.usd.mean() == pytest.approx(trials.cost[trials.place(top), :20].mean(), rel=0.05)


def test_the_budget_holds_for_whichever_is_chosen(bank: Bank, trials: Trials, top: Route) -> None:
    found = certify(bank, trials, top, 0.3, alpha=0.1)
    fresh = realised(bank, np.arange(80), list(found.path), seed=99)
    assert ((fresh.usd > found.cost.budget).mean(axis=1) <= 0.25).all()
    assert np.isinf(certify(bank, trials, top, 0.3, alpha=0.01).cost.budget)  # 32 labels promise nothing at 1 %


def test_other_data_test_the_one_policy(bank: Bank, trials: Trials, top: Route) -> None:
    place = trials.place(top)
    same = examine(bank, trials, place, place, 0.05, budget=0.0)
    assert same.holds
    assert (same.loss, same.over_budget, same.labels) == (0.0, 1.0, 80)
    worse = examine(bank, trials, trials.place(parse_route("mv_S_k1_t0.7", bank.pool)), place, 0.02)
    assert not worse.holds


@pytest.mark.parametrize("wrong", [{"max_loss": 0}, {"max_loss": 1.5}, {"level": 1.0}, {"alpha": 0.0}])
def test_numbers_out_of_range(bank: Bank, trials: Trials, top: Route, wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=next(iter(wrong))):
        certify(bank, trials, top, **{"max_loss": 0.1, **wrong})


def test_a_reference_that_nothing_undercuts(bank: Bank, trials: Trials) -> None:
    with pytest.raises(SettingError, match="nothing to certify"):
        certify(bank, trials, parse_route("mv_S_k1_t0.7", bank.pool), 0.1)


def test_unknown_costs_are_not_within_a_budget() -> None:
    priced = Bank.of_recording("shipped")
    models = tuple(model.model_copy(update={"price": None}) for model in priced.pool.models)
    bank = Bank.of_recording("shipped", pool=priced.pool.model_copy(update={"models": models}))
    one = Candidate(parse_route("mv_1.5B_k1_t0.7", priced.pool), Policy())
    trials = Trials((one,), np.ones((1, len(bank))), np.full((1, len(bank)), np.nan))
    assert np.isnan(examine(bank, trials, 0, 0, 0.3, budget=1.0).over_budget)
    trials = Trials((one,), np.ones((1, len(priced))), np.ones((1, len(priced))))
    assert examine(priced, trials, 0, 0, 0.3, budget=1.0).over_budget == 0.0
