"""Regret: worked out by hand, and never better than routing by the truth."""

import numpy as np
import pytest

from escalade.errors import SettingError
from escalade.evaluation.bank import Bank
from escalade.probes.regret import regrets
from tests.tuning.planted import LARGE, SMALL, planted

N, EASY = 60, 20
S, L = float(SMALL), float(LARGE)


def bank() -> Bank:
    """S is right on the first 20 of 60 problems, L on all."""
    return planted(easy=EASY, hard=N - EASY)


def test_scores_that_know_save_what_there_is_to_save() -> None:
    known = {"S": np.where(np.arange(N) < EASY, 0.9, 0.1), "L": np.full(N, 0.95)}
    small, large = regrets(bank(), known, np.zeros(N))
    assert (small.alias, large.alias) == ("S", "L")
    assert (small.accuracy, large.accuracy) == (pytest.approx(EASY / N), 1.0)
    assert large.routed_accuracy == 1.0
    assert large.usd == pytest.approx(L)
    assert large.routed_usd <= large.usd
    assert large.loss.value == 0
    assert small.routed_usd == pytest.approx(S)  # no money but for S
    assert small.routed_accuracy == pytest.approx(EASY / N)


def test_between_two_models_money_goes_where_it_helps() -> None:
    chances = {"S": np.where(np.arange(N) < EASY, 0.9, 0.1), "L": np.full(N, 0.95)}
    by_truth = regrets(bank(), chances, np.zeros(N))[1]
    assert by_truth.shares["S"] + by_truth.shares["L"] == pytest.approx(1)
    wrong = {"S": chances["S"][::-1].copy(), "L": chances["L"]}
    misled = regrets(bank(), wrong, np.full(N, 0.3 * L))[1]  # scoring takes money away, so that some must go to S
    assert misled.routed_usd <= misled.usd + 1e-12
    assert misled.loss.value > 0
    assert misled.oracle_loss > 0


def test_what_scores_cost_counts() -> None:
    known = {"S": np.where(np.arange(N) < EASY, 0.9, 0.1)}
    free = regrets(bank(), known, np.zeros(N))[1]
    paid = regrets(bank(), known, np.full(N, S / 2))[1]
    assert paid.usd == free.usd
    assert paid.routed_usd <= paid.usd + 1e-12


def test_what_it_takes_is_said() -> None:
    with pytest.raises(SettingError, match="no scores of S, L"):
        regrets(bank(), {"M": np.zeros(N)}, np.zeros(N))
    with pytest.raises(SettingError, match="a cost is unknown"):
        regrets(bank(), {"S": np.zeros(N)}, np.full(N, np.nan))
