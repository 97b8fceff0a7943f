"""Platt's scaling: probabilities that keep the order, whatever the fold says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from escalade.probes.platt import Platt, fit_platt


def test_counts_weigh_as_their_trials() -> None:
    f = np.array([-1.0, 0.0, 1.0, 2.0] * 50)
    counts = np.random.default_rng(0).binomial(4, 1 / (1 + np.exp(-(0.8 * f + 0.3)))).astype(float)
    together = fit_platt(f, counts, np.full(200, 4.0))
    single = np.concatenate([(np.arange(4) < c).astype(float) for c in counts])
    apart = fit_platt(np.repeat(f, 4), single, np.ones(800))
    assert together.slope == pytest.approx(apart.slope, rel=1e-3)
    assert together.intercept == pytest.approx(apart.intercept, abs=1e-3)
    assert together.slope == pytest.approx(0.8, abs=0.2)


def test_a_perfect_split_stays_finite() -> None:
    f = np.array([-2.0, -1.0, 1.0, 2.0])
    found = fit_platt(f, (f > 0).astype(float), np.ones(4))
    p = found.at(f)
    assert np.all((p > 0) & (p < 1))
    assert p[0] < 0.3 < 0.7 < p[-1]


@pytest.mark.parametrize("constant", [0.0, 1e9])
def test_what_says_the_same_of_all_gets_the_mean(constant: float) -> None:
    f = np.full(10, constant)
    p = fit_platt(f, np.array([1.0] * 3 + [0.0] * 7), np.ones(10)).at(f)
    assert p == pytest.approx(np.full(10, (3 * 4 / 5 + 7 / 9) / 10), abs=0.01)  # of Platt's targets


@given(st.integers(0, 500))
def test_the_order_is_never_turned_around(seed: int) -> None:
    rng = np.random.default_rng(seed)
    f = rng.normal(size=30)
    p = fit_platt(f, rng.integers(0, 6, 30).astype(float), np.full(30, 5.0)).at(np.sort(f))
    assert np.all(np.diff(p) >= 0)


def test_far_values_do_not_overflow() -> None:
    with np.errstate(all="raise", under="ignore"):
        assert Platt(1.0, 0.0).at(np.array([-1e6, 1e6])).tolist() == [0.0, 1.0]
