import math
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest

from escalade.errors import SettingError
from escalade.statistics.risk import (
    Floats,
    betting_p,
    betting_upper,
    binomial_p,
    binomial_upper,
    hoeffding_bentkus_p,
    hoeffding_bentkus_upper,
)

LEVELS = (0.01, 0.05, 0.1, 0.2, 0.5)
BINARY: list[Callable[..., Floats]] = [binomial_p, hoeffding_bentkus_p, betting_p]


def sequences(values: list[float], chances: list[float], n: int) -> tuple[Floats, Floats]:
    """All sequences of n independent losses, and how likely each is."""
    losses = np.array(list(product(values, repeat=n)))
    chance = np.array([math.prod(row) for row in product(chances, repeat=n)])
    return losses, chance


def test_the_binomial_p_value_is_the_sum_of_its_terms() -> None:
    for n, s, eps in ((10, 0, 0.3), (10, 3, 0.3), (40, 2, 0.05)):
        terms = sum(math.comb(n, i) * eps**i * (1 - eps) ** (n - i) for i in range(s + 1))
        assert float(binomial_p([1] * s + [0] * (n - s), eps)) == pytest.approx(terms, rel=1e-12)


@pytest.mark.parametrize("p_of", BINARY)
@pytest.mark.parametrize("eps", [0.1, 0.3, 0.6])
def test_a_p_value_is_valid_where_the_risk_is_just_eps(p_of: Callable[..., Floats], eps: float) -> None:
    losses, chance = sequences([0.0, 1.0], [1 - eps, eps], 11)
    found = p_of(losses, eps)
    for level in LEVELS:
        assert chance[found <= level].sum() <= level + 1e-12


@pytest.mark.parametrize("eps", [0.0, 0.1, 0.5])
def test_betting_is_valid_for_net_losses_of_every_order(eps: float) -> None:
    # P(1) - P(-1) is eps.
    losses, chance = sequences([-1.0, 0.0, 1.0], [0.2, 0.6 - eps, 0.2 + eps], 8)
    found = betting_p(losses, eps, low=-1.0)
    for level in LEVELS:
        assert chance[found <= level].sum() <= level + 1e-12


def test_each_bet_is_made_before_its_loss_is_seen() -> None:
    losses, eps, delta = np.random.default_rng(8).random(40) * 0.6, 0.4, 0.2
    total = squares = wealth = best = 0.0
    for t, place in enumerate(np.random.default_rng(5).permutation(40), start=1):
        variance = (0.25 + squares) / t
        bet = min(1.0, math.sqrt(2 * math.log(1 / delta) / (40 * variance)))
        wealth += math.log(1 + bet * (eps - losses[place]))
        best = max(best, wealth)
        total += losses[place]
        squares += (losses[place] - (0.5 + total) / (t + 1)) ** 2
    assert 0 < math.exp(-best) < 1
    assert float(betting_p(losses, eps, delta=delta, seed=5)) == pytest.approx(math.exp(-best), rel=1e-9)


def test_betting_is_valid_on_a_file_sorted_by_loss() -> None:
    eps, n = 0.1, 300
    rng = np.random.default_rng(1)
    losses = np.sort((rng.random((2000, n)) < eps).astype(float), axis=1)  # the harmless ones first
    passed = float((betting_p(losses, eps) <= 0.1).mean())
    assert passed <= 0.1 + 3 * math.sqrt(0.1 * 0.9 / 2000)


def test_the_betting_test_has_power() -> None:
    # 400 labels, a net loss of 0 where 6 % differ: eps = 5 % is shown nearly always.
    rng = np.random.default_rng(2)
    u = rng.random((500, 400))
    losses = np.where(u < 0.03, 1.0, np.where(u > 0.97, -1.0, 0.0))
    assert float((betting_p(losses, 0.05, low=-1.0) <= 0.1).mean()) > 0.9
    assert float((betting_p(losses, -0.05, low=-1.0) <= 0.1).mean()) == 0.0


def test_no_p_value_is_above_one() -> None:
    for p_of in BINARY:
        assert float(p_of([1.0] * 20, 0.1)) == pytest.approx(1.0, abs=1e-12)


def test_net_losses_are_losses_on_another_scale() -> None:
    net = np.random.default_rng(3).integers(-1, 2, size=60).astype(float)
    assert float(betting_p(net, 0.3, low=-1)) == pytest.approx(float(betting_p((net + 1) / 2, 0.65)), rel=1e-12)


def test_rows_are_tested_as_if_alone() -> None:
    losses = (np.random.default_rng(4).random((3, 4, 50)) < 0.1).astype(float)
    for p_of in BINARY:
        together = p_of(losses, 0.2)
        assert together.shape == (3, 4)
        assert float(together[2, 1]) == float(p_of(losses[2, 1], 0.2))


def test_a_bound_is_where_its_test_reaches_delta() -> None:
    binary = np.array([1.0] * 4 + [0.0] * 96)
    between = np.random.default_rng(5).random(100) / 4
    for losses, bound, p_of in (
        (binary, binomial_upper, binomial_p),
        (between, hoeffding_bentkus_upper, hoeffding_bentkus_p),
        (between, betting_upper, betting_p),
    ):
        upper = float(bound(losses, 0.1))
        assert losses.mean() < upper < 1
        assert float(p_of(losses, upper + 1e-6)) <= 0.1 < float(p_of(losses, upper - 1e-6))


def test_bounds_of_net_losses_may_be_below_zero() -> None:
    losses = np.array([-1.0] * 120 + [0.0] * 280)
    assert losses.mean() < float(betting_upper(losses, 0.1, low=-1.0)) < -0.2


@pytest.mark.parametrize("bound", [binomial_upper, hoeffding_bentkus_upper, betting_upper])
def test_nothing_but_losses_bounds_nothing(bound: Callable[..., Floats]) -> None:
    assert float(bound([1, 1, 1], 0.1)) == 1.0


def test_bounds_cover() -> None:
    rng = np.random.default_rng(6)
    losses = rng.beta(0.3, 2.7, size=(1000, 150))  # mean 0.1
    for bound in (hoeffding_bentkus_upper, betting_upper):
        missed = float((bound(losses, 0.1) < 0.1).mean())
        assert missed <= 0.1 + 3 * math.sqrt(0.09 / 1000)


def test_betting_bounds_are_tighter_than_hoeffding_bentkus_where_losses_vary_little() -> None:
    losses = np.full(200, 0.3)
    assert float(betting_upper(losses, 0.1)) < float(hoeffding_bentkus_upper(losses, 0.1)) - 0.01


def test_what_is_no_loss_is_refused_by_place() -> None:
    with pytest.raises(SettingError, match=r"loss at \[1, 2\] is nan: give a number in \[0, 1\]"):
        betting_p([[0, 0, 0], [0, 1, math.nan]], 0.1)
    with pytest.raises(SettingError, match=r"loss at \[0\] is -1.0: give a number in \[0, 1\]"):
        hoeffding_bentkus_p([-1.0, 0.0], 0.1)
    with pytest.raises(SettingError, match=r"loss at \[1\] is 0.5: the binomial test is for losses of 0 or 1"):
        binomial_p([0, 0.5], 0.1)
    with pytest.raises(SettingError, match="losses: there are none"):
        binomial_upper([], 0.1)
    with pytest.raises(SettingError, match="low is 1"):
        betting_p([1.0], 0.1, low=1)


@pytest.mark.parametrize("eps", [0.0, 1.0, -0.1, math.nan])
def test_a_tolerance_is_between_the_least_and_the_most_loss(eps: float) -> None:
    for p_of in BINARY:
        with pytest.raises(SettingError, match="eps is"):
            p_of([0, 1], eps)


@pytest.mark.parametrize("delta", [0.0, 1.0, math.nan])
def test_a_level_is_a_probability(delta: float) -> None:
    for bound in (binomial_upper, hoeffding_bentkus_upper, betting_upper):
        with pytest.raises(SettingError, match="delta is"):
            bound([0, 1], delta)
