"""Curves of calibrations for tests: one of each kind, and logistics with coefficients at random."""

import numpy as np

from escalade.calibration.curves import Curve, Logistic, Platt, Table

LOGISTIC = Logistic(intercept=-1.0, share_logit=0.8, margin=0.5, entropy=-1.2, abstained=-0.7, log_k=0.1)
PLATT = Platt(intercept=-0.5, share_logit=1.0)
TABLE = Table(upto=(0.4, 0.7, 1.0), p=(0.2, 0.5, 0.9))


def random_logistic(rng: np.random.Generator) -> Logistic:
    c = rng.exponential(1.0, 4) * rng.integers(0, 2, 4)
    return Logistic(
        intercept=float(rng.normal()),
        share_logit=float(c[0]),
        margin=float(c[1]),
        entropy=float(-c[2]),
        abstained=float(-c[3]),
        log_k=float(rng.normal()),
    )


CURVES: list[Curve] = [LOGISTIC, PLATT, TABLE, *(random_logistic(np.random.default_rng(seed)) for seed in range(6))]
