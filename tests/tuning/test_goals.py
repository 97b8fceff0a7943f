"""Goals: what is chosen is what was asked for, as cheaply and as simply as can be."""

import random
from typing import Any

import numpy as np
import pytest

from escalade.errors import SettingError
from escalade.tuning.candidates import Sort, Trials, try_all
from escalade.tuning.goals import Goal, best_single, choose
from tests.evaluation import pools
from tests.tuning.trials import made


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


@pytest.mark.parametrize(
    "wrong",
    [{}, {"budget": 1.0, "accuracy": 0.5}, {"budget": -1.0}, {"accuracy": 1.2}, {"budget": 1.0, "caution": -1.0}],
)
def test_goals_that_are_none(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingError):
        Goal(**wrong)
