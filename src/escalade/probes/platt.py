"""Platt's scaling: from what a probe says to a probability (Platt 1999), never downwards."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from escalade.errors import SettingError
from escalade.probes.ridge import Floats


class Platt(NamedTuple):
    """p = 1 / (1 + exp(-(slope f + intercept))), slope >= 0."""

    slope: float
    intercept: float

    def at(self, f: Floats) -> Floats:
        """Return p [N] of f [N].

        Example:
            >>> Platt(2.0, 0.0).at(np.array([0.0, 1.0])).round(3).tolist()
            [0.5, 0.881]
        """
        return np.asarray(np.exp(-np.logaddexp(0.0, -(self.slope * f + self.intercept))))


def fit_platt(f: Floats, successes: Floats, trials: Floats) -> Platt:
    """Return the scaling of f [N] that makes c successes of k trials likeliest.

    Targets are Platt's, (N₊ + 1)/(N₊ + 2) and 1/(N₋ + 2), N counted over trials. A slope below 0 would turn the
    probe's order around on the evidence of one fold: it is 0 then, and the probability the mean.

    Raises:
        SettingError: scipy is not installed.

    Example:
        >>> f = np.linspace(-3, 3, 400)
        >>> good = (np.random.default_rng(0).random(400) < 1 / (1 + np.exp(-2 * f))).astype(float)
        >>> 1.5 < fit_platt(f, good, np.ones(400)).slope < 2.5, fit_platt(f, 1 - good, np.ones(400)).slope
        (True, 0.0)
    """
    try:
        from scipy.optimize import minimize
    except ImportError as error:
        raise SettingError("training a probe needs scipy: pip install 'escalade[probes]'") from error
    good = float(successes.sum())
    bad = float(trials.sum()) - good
    high, low = (good + 1) / (good + 2), 1 / (bad + 2)
    targets = low + (high - low) * successes / trials
    middle, spread = float(np.mean(f)), float(np.std(f)) or 1.0
    x, total = (f - middle) / spread, float(trials.sum())

    def loss(c: Floats) -> tuple[float, Floats]:
        z = c[0] * x + c[1]
        value = float(trials @ (np.logaddexp(0.0, z) - targets * z)) / total
        slope = trials * (np.exp(-np.logaddexp(0.0, -z)) - targets) / total
        return value, np.array([slope @ x, slope.sum()])

    start = np.log((good + 1) / (bad + 1))
    found = minimize(
        loss,
        np.array([0.0, start]),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, None), (None, None)],
        options={"maxiter": 1000, "ftol": 1e-14, "gtol": 1e-9},
    )
    slope = float(found.x[0]) / spread
    return Platt(slope, float(found.x[1]) - slope * middle)
