"""Ridge regression from sums over folds, so that leaving one out is a subtraction and not another pass over the data.

A fold is kept as its moments: the weighted sums of x, xx', xz and z. The moments of several folds add up, and centred,
scaled and penalised they give the coefficients (Hoerl & Kennard 1970) that a fit on their rows would give, exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from escalade.errors import SettingError

Floats = NDArray[np.float64]
Matrix = NDArray[np.float32]
ALPHAS = (1.0, 10.0, 100.0, 1_000.0, 10_000.0)
"""Penalties that are tried, on standardised features."""
_CONSTANT = 1e-10
"""A feature whose variance is less, beside its mean square, does not vary."""


class Line(NamedTuple):
    """z = x @ weights + bias, in the units of x."""

    weights: Floats
    """[D]"""
    bias: float

    def at(self, x: Matrix) -> Floats:
        """Return z [N] of rows x [N, D]."""
        return np.asarray(x @ self.weights + self.bias, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Moments:
    """Weighted sums over rows: of 1, x [D], xx' [D, D], xz [D] and z."""

    n: float
    x: Floats
    xx: Floats
    xz: Floats
    z: float

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.n + other.n, self.x + other.x, self.xx + other.xx, self.xz + other.xz, self.z + other.z)


def moments(x: Matrix, z: Floats, w: Floats) -> Moments:
    """Return the moments of rows x [N, D] with targets z [N] and weights w [N].

    x is to be of about unit scale around 0: products are taken in float32, and summed in float64 in blocks of rows.
    """
    xx = np.zeros((x.shape[1], x.shape[1]))
    for start in range(0, len(x), 4096):
        rows = x[start : start + 4096]
        xx += (rows * w[start : start + 4096, None].astype(np.float32)).T @ rows
    return Moments(float(w.sum()), x.T @ w, xx, x.T @ (w * z), float(w @ z))


def together(folds: Sequence[Moments]) -> Moments:
    """Return the moments of all rows of several folds."""
    return reduce(Moments.__add__, folds)


def ridge(rows: Moments, alphas: Sequence[float], own: int | None = None) -> list[Line]:
    """Return the line of each penalty: argmin of sum w (z - b - x'c)² + alpha |c|², x standardised, b not penalised.

    Scales are those of `inverse_scales`. A column that does not vary has weight 0.

    Raises:
        SettingError: scipy is not installed.

    Example:
        >>> x = np.array([[0.0], [1.0], [2.0], [3.0]], dtype=np.float32)
        >>> line = ridge(moments(x, np.array([1.0, 3.0, 5.0, 7.0]), np.ones(4)), [1e-9])[0]
        >>> round(float(line.weights[0]), 6), round(line.bias, 6)
        (2.0, 1.0)
    """
    mean = rows.x / rows.n
    inverse = _inverse(mean, np.diag(rows.xx) / rows.n, own)
    centred = rows.xx - rows.n * np.outer(mean, mean)
    centred *= inverse
    centred *= inverse[:, None]
    target = (rows.xz - rows.z * mean) * inverse
    return [_line(solved * inverse, mean, rows.z / rows.n) for solved in _solved(centred, target, alphas)]


def ridge_of_rows(x: Matrix, z: Floats, w: Floats, alphas: Sequence[float], own: int | None = None) -> list[Line]:
    """Return the same lines from rows x [N, D], targets z [N] and weights w [N]; made for fewer rows than columns.

    Then it is solved for a weight of each row: c = X'(XX' + alpha)⁻¹ z, with N equations in the place of D.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x, z, w = rng.normal(size=(5, 9)).astype(np.float32), rng.normal(size=5), np.array([1.0, 2, 1, 3, 1])
        >>> few, many = ridge_of_rows(x, z, w, [2.0])[0], ridge(moments(x, z, w), [2.0])[0]
        >>> bool(np.allclose(few.weights, many.weights, atol=1e-5))
        True
    """
    if len(x) >= x.shape[1]:
        return ridge(moments(x, z, w), alphas, own)
    n = float(w.sum())
    mean, middle = np.asarray(w @ x, dtype=np.float64) / n, float(w @ z) / n
    inverse = _inverse(mean, np.asarray(w @ np.square(x), dtype=np.float64) / n, own)
    root = np.sqrt(w)
    scaled = (x - mean) * inverse * root[:, None]
    return [
        _line(scaled.T @ solved * inverse, mean, middle)
        for solved in _solved(scaled @ scaled.T, root * (z - middle), alphas)
    ]


def _inverse(mean: Floats, square: Floats, own: int | None) -> Floats:
    variance = square - mean**2
    return inverse_scales(np.where(variance > _CONSTANT * np.maximum(square, 1e-12), variance, 0.0), own)


def _solved(matrix: Floats, target: Floats, alphas: Sequence[float]) -> Iterator[Floats]:
    """(matrix + alpha)⁻¹ target for each alpha."""
    try:
        from scipy import linalg
    except ImportError as error:
        raise SettingError("training a probe needs scipy: pip install 'escalade[probes]'") from error
    diagonal = np.diag_indices_from(matrix)
    plain = matrix[diagonal]
    for alpha in alphas:
        matrix[diagonal] = plain + alpha
        yield linalg.cho_solve(linalg.cho_factor(matrix, lower=True, check_finite=False), target)


def _line(weights: Floats, mean: Floats, middle: float) -> Line:
    return Line(weights, float(middle - mean @ weights))


def inverse_scales(variance: Floats, own: int | None = None) -> Floats:
    """Return what to multiply each column with, [D]: 0 where its variance is 0.

    Columns up to `own` (all, if None) get variance 1 each. Those behind share one scale, which gives them together the
    variance of as many columns as vary among the others, of 1 where there are none: a word that two problems have
    would weigh too much with a scale of its own.

    Example:
        >>> inverse_scales(np.array([4.0, 0.0, 0.09, 0.16]), own=2).round(3).tolist()
        [0.5, 0.0, 2.0, 2.0]
    """
    own = len(variance) if own is None else own
    scale = np.sqrt(variance)
    shared = float(variance[own:].sum())
    scale[own:] = np.where(variance[own:] > 0, np.sqrt(shared / max(1, int((variance[:own] > 0).sum()))), 0.0)
    return np.divide(1.0, scale, out=np.zeros(len(scale)), where=scale > 0)
