"""Tuning: what a choice is worth on problems that had no say in it."""

import random

import numpy as np
import pytest

from escalade.errors import SettingError
from escalade.evaluation.groups import groups_of
from escalade.tuning.candidates import Trials, try_all
from escalade.tuning.goals import Goal
from escalade.tuning.splits import parts_of
from escalade.tuning.tuning import numbers, tune, tune_frontier
from tests.evaluation import pools
from tests.tuning.trials import ROUTES, made


def noise(seed: int, candidates: int = 400, problems: int = 60) -> Trials:
    """Cascades that are all alike, and no better than a single model: whichever is best is lucky."""
    rng = np.random.default_rng(seed)
    texts = [ROUTES[0], *[ROUTES[3]] * (candidates - 1)]
    correct = (rng.random((candidates, problems)) < 0.5).astype(float)
    correct[0] = 0.5
    return made(correct, np.ones((candidates, problems)), texts)


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
    with pytest.raises(SettingError, match="the problems are 2 groups, too few for 5 folds"):
        tune(noise(1, problems=10), Goal(budget=1), groups=[0] * 5 + [1] * 5)


def test_near_duplicates_share_a_group_and_problems_without_a_text_have_their_own() -> None:
    bank = pools.bank(random.Random(1), {"S": 1}, problems=3)
    assert groups_of(bank.problems)[0] == [0, 1, 2]
    assert "near-duplicates" in groups_of(bank.problems)[1]


def test_what_cannot_be_met_is_said_with_what_comes_nearest() -> None:
    trials = made([[0.2] * 8, [0.9] * 8, [0.4] * 8, [0.8] * 8], [[1] * 8, [9] * 8, [3] * 8, [5] * 8])
    with pytest.raises(SettingError, match=r"at most 0.5 USD.*mv_S_k1_t0.7.*larger budget"):
        tune(trials, Goal(budget=0.5))
    with pytest.raises(SettingError, match=r"nearest is mv_L_k1_t0.7 \(accuracy 0.900"):
        tune(trials, Goal(accuracy=0.95))


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
