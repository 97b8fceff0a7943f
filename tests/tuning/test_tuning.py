"""Tuning: the choice, and what it is worth on problems that had no say in it."""

import random
from typing import Any

import numpy as np
import pytest

from escalade.cascade.policy import Policy
from escalade.errors import SettingError
from escalade.routes import parse_route
from escalade.testing import pool_of
from escalade.tuning.candidates import Candidate, Sort, Trials, try_all
from escalade.tuning.splits import groups_of, parts_of
from escalade.tuning.tuning import Goal, best_single, choose, numbers, tune, tune_frontier
from tests.evaluation import pools

POOL = pool_of("S", "M", "L")
ROUTES = ["mv_S_k1_t0.7", "mv_L_k1_t0.7", "mv_S_k3_t0.7", "mv_cascade_S_k2_t0.7_L_k1_t0.7"]


def made(correct: Any, cost: Any, routes: list[str] = ROUTES) -> Trials:
    candidates = tuple(Candidate(parse_route(text, POOL), Policy()) for text in routes)
    return Trials(candidates, np.asarray(correct, dtype=float), np.asarray(cost, dtype=float))


def noise(seed: int, candidates: int = 400, problems: int = 60) -> Trials:
    """Cascades that are all alike, and no better than a single model: whichever is best is lucky."""
    rng = np.random.default_rng(seed)
    texts = [ROUTES[0], *[ROUTES[3]] * (candidates - 1)]
    correct = (rng.random((candidates, problems)) < 0.5).astype(float)
    correct[0] = 0.5
    return made(correct, np.ones((candidates, problems)), texts)


def all_of(trials: Trials) -> Any:
    return np.ones(trials.correct.shape[1], dtype=np.int64)


def test_a_budget_buys_the_most_accurate_within_it() -> None:
    trials = made([[0.2] * 8, [0.9] * 8, [0.4] * 8, [0.8] * 8], [[1] * 8, [9] * 8, [3] * 8, [5] * 8])
    assert [choose(trials, all_of(trials), Goal(budget=b)).place for b in (1, 2.9, 3, 5, 8.9, 9)] == [0, 0, 2, 3, 3, 1]
    assert choose(trials, all_of(trials), Goal(budget=0.5)) == (0, False)


def test_an_accuracy_is_reached_as_cheaply_as_can_be() -> None:
    trials = made([[0.2] * 8, [0.9] * 8, [0.4] * 8, [0.8] * 8], [[1] * 8, [9] * 8, [3] * 8, [5] * 8])
    assert [choose(trials, all_of(trials), Goal(accuracy=a)).place for a in (0.1, 0.4, 0.7, 0.85)] == [0, 2, 3, 1]
    assert choose(trials, all_of(trials), Goal(accuracy=0.95)) == (1, False)
    assert choose(trials, all_of(trials), Goal(accuracy=trials.candidates[2].route)).place == 2


def test_a_cascade_has_to_earn_its_place() -> None:
    single, cascade = [1, 0] * 10, [1, 0] * 9 + [1, 1]
    trials = made([[0] * 20, single, [0] * 20, cascade], np.ones((4, 20)))
    assert choose(trials, all_of(trials), Goal(budget=1)).place == 1  # it gains one standard error
    assert choose(trials, all_of(trials), Goal(budget=1, caution=0)).place == 3


def test_ties_go_to_the_cheaper_then_to_the_simpler() -> None:
    same = [[0.5] * 4] * 4
    assert (
        choose(made(same, [[2] * 4, [1] * 4, [1] * 4, [1] * 4]), np.ones(4, dtype=int), Goal(accuracy=0.5)).place == 1
    )


@pytest.mark.parametrize("seed", range(5))
def test_a_choice_is_that_of_brute_force(seed: int) -> None:
    trials = try_all(pools.bank(random.Random(seed), {"S": 4, "L": 3}, problems=15))
    rows = np.random.default_rng(seed).permutation(15)[:9]
    counts = np.bincount(rows, minlength=15)
    accuracy, cost = trials.correct[:, rows].mean(axis=1), trials.cost[:, rows].mean(axis=1)
    budget = float(np.median(cost))
    place, _ = choose(trials, counts, Goal(budget=budget, caution=0.0))
    assert cost[place] <= budget * (1 + 1e-9)
    assert accuracy[place] == pytest.approx(accuracy[cost <= budget].max())
    place, met = choose(trials, counts, Goal(accuracy=0.4))
    if met:
        assert cost[place] == pytest.approx(cost[accuracy >= 0.4 - 1e-12].min())
    single = best_single(trials, counts, budget)
    within = (trials.sorts <= Sort.VOTE) & (cost <= budget)
    assert not within.any() or accuracy[single] == pytest.approx(accuracy[within].max())


def test_V11_what_is_chosen_on_the_same_data_is_told_beside_what_is_not() -> None:
    tuned = tune(noise(0), Goal(budget=1, caution=0), repeats=5)
    assert tuned.in_sample.accuracy.value > 0.62
    assert tuned.held_out.accuracy.value == pytest.approx(0.5, abs=0.06)
    assert tuned.optimism == tuned.in_sample.accuracy.value - tuned.held_out.accuracy.value > 0.08


def test_V11_luck_is_no_win_over_a_single_model() -> None:
    gains = [tune(noise(seed), Goal(budget=1)).gain for seed in range(20)]
    assert sum(gain.interval.low > 0 for gain in gains) <= 2
    assert abs(np.mean([gain.value for gain in gains])) < 0.06


def test_held_out_numbers_come_from_choices_made_without_the_problem() -> None:
    # One problem alone makes the cascade look good; where it is held out, the single sample is chosen.
    correct = np.zeros((4, 10))
    correct[3, 0], correct[1, 1:3] = 1, 0.3
    tuned = tune(made(correct, np.ones((4, 10))), Goal(budget=1, caution=0), folds=10, repeats=1)
    assert tuned.in_sample.accuracy.value == pytest.approx(0.1)
    assert tuned.held_out.accuracy.value == pytest.approx(0.0)


def test_groups_are_never_parted() -> None:
    groups = [f"g{i % 7}" for i in range(50)]
    for seed in range(20):
        part = parts_of(groups, (0.6, 0.4), np.random.default_rng(seed))
        assert all(len({part[i] for i in range(50) if groups[i] == g}) == 1 for g in set(groups))
        assert len({g for g, p in zip(groups, part, strict=True) if p == 1}) == 3
    with pytest.raises(SettingError, match="2 groups of problems are too few for 5 folds"):
        tune(noise(1, problems=10), Goal(budget=1), groups=[0] * 5 + [1] * 5)


def test_near_duplicates_share_a_group_and_problems_without_a_text_have_their_own() -> None:
    bank = pools.bank(random.Random(1), {"S": 1}, problems=3)
    assert groups_of(bank)[0] == [0, 1, 2]
    assert "near-duplicates" in groups_of(bank)[1]


def test_what_cannot_be_met_is_said_with_what_comes_nearest() -> None:
    trials = made([[0.2] * 8, [0.9] * 8, [0.4] * 8, [0.8] * 8], [[1] * 8, [9] * 8, [3] * 8, [5] * 8])
    with pytest.raises(SettingError, match=r"at most 0.5 USD.*mv_S_k1_t0.7.*larger budget"):
        tune(trials, Goal(budget=0.5))
    with pytest.raises(SettingError, match=r"nearest is mv_L_k1_t0.7 \(accuracy 0.900"):
        tune(trials, Goal(accuracy=0.95))


@pytest.mark.parametrize(
    "wrong",
    [{}, {"budget": 1.0, "accuracy": 0.5}, {"budget": -1.0}, {"accuracy": 1.2}, {"budget": 1.0, "caution": -1.0}],
)
def test_goals_that_are_none(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingError):
        Goal(**wrong)


def test_a_frontier_rises_in_cost_and_in_accuracy() -> None:
    trials = try_all(pools.bank(random.Random(4), {"S": 4, "L": 3}, problems=30))
    found = tune_frontier(trials, points=4, repeats=1)
    costs = [tuned.in_sample.cost.value for tuned in found]
    assert costs == sorted(costs)
    assert len(found) >= 2


def test_intervals_of_costs_hold_the_mean_and_stay_within_what_was_seen() -> None:
    cost = np.array([0.0, 1.0, 2.0, 9.0])
    value, (low, high) = numbers(np.zeros(4), cost, None).cost
    assert 0 <= low < value == 3.0 < high <= 9
    assert numbers(np.zeros(4), np.zeros(4), None).cost == (0.0, (0.0, 0.0))
