"""Trials made by hand."""

from typing import Any

import numpy as np

from escalade.cascade.policy import Policy
from escalade.routes import parse_route
from escalade.testing import pool_of
from escalade.tuning.candidates import Candidate, Trials

POOL = pool_of("S", "M", "L")
ROUTES = ["mv_S_k1_t0.7", "mv_L_k1_t0.7", "mv_S_k3_t0.7", "mv_cascade_S_k2_t0.7_L_k1_t0.7"]


def made(correct: Any, cost: Any, routes: list[str] = ROUTES) -> Trials:
    candidates = tuple(Candidate(parse_route(text, POOL), Policy()) for text in routes)
    return Trials(candidates, np.asarray(correct, dtype=float), np.asarray(cost, dtype=float))
