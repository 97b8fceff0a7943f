"""Ridge regression beside scikit-learn's, from rows and from the sums over folds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from escalade.probes.ridge import Line, inverse_scales, moments, ridge, ridge_of_rows, together

ALPHAS = [0.5, 30.0]


def rows(n: int, d: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(n, d)) * rng.uniform(0.5, 2, d) + rng.normal(size=d)).astype(np.float32)
    return x, x[:, 0] * 2 - 1 + rng.normal(size=n), rng.integers(1, 9, n).astype(float)


def theirs(x: np.ndarray, z: np.ndarray, w: np.ndarray, alpha: float) -> np.ndarray:
    scaler = StandardScaler().fit(x.astype(float), sample_weight=w)
    scaled = scaler.transform(x.astype(float))
    return Ridge(alpha=alpha).fit(scaled, z, sample_weight=w).predict(scaled)


@pytest.mark.parametrize(("n", "d"), [(60, 7), (12, 40)])
def test_it_is_scikit_learns_on_standardised_rows(n: int, d: int) -> None:
    x, z, w = rows(n, d)
    for fit in (ridge(moments(x, z, w), ALPHAS), ridge_of_rows(x, z, w, ALPHAS)):
        for line, alpha in zip(fit, ALPHAS, strict=True):
            assert np.allclose(line.at(x), theirs(x, z, w, alpha), atol=2e-4)


@given(st.integers(3, 30), st.integers(1, 40), st.integers(0, 99))
def test_rows_and_sums_give_one_line(n: int, d: int, seed: int) -> None:
    x, z, w = rows(n, d, seed)
    for few, many in zip(ridge_of_rows(x, z, w, ALPHAS), ridge(moments(x, z, w), ALPHAS), strict=True):
        assert np.allclose(few.at(x), many.at(x), atol=1e-3)


def test_sums_of_folds_are_the_sums_of_all() -> None:
    x, z, w = rows(90, 6)
    fold = np.arange(90) % 3
    parts = together([moments(x[fold == f], z[fold == f], w[fold == f]) for f in range(3)])
    for some, whole in zip(ridge(parts, ALPHAS), ridge(moments(x, z, w), ALPHAS), strict=True):
        assert np.allclose(some.weights, whole.weights, atol=1e-5)
        assert some.bias == pytest.approx(whole.bias, abs=1e-5)


@pytest.mark.parametrize("many", [False, True])
def test_a_column_that_does_not_vary_says_nothing(many: bool) -> None:
    x, z, w = rows(50, 4)
    x[:, 2] = 7.25
    line = (ridge(moments(x, z, w), [1.0]) if many else ridge_of_rows(x, z, w, [1.0]))[0]
    assert line.weights[2] == 0
    assert np.isfinite(line.weights).all()


def test_columns_behind_share_a_scale() -> None:
    found = inverse_scales(np.array([4.0, 1.0, 0.5, 1.5]), own=2)
    assert found[:2].tolist() == [0.5, 1.0]
    assert found[2] == found[3]  # a rare word is no louder than a frequent one
    assert (np.array([0.5, 1.5]) * found[2:] ** 2).sum() == pytest.approx(2)  # together as much as the two before


def test_a_line_is_in_the_units_of_x() -> None:
    assert Line(np.array([2.0, -1.0]), 0.5).at(np.array([[1, 2], [3, 4]], np.float32)).tolist() == [0.5, 2.5]
