"""Curves from the votes of a ballot to P(its leader is right), as a calibration's file has them.

    logistic   p = sigmoid(c0 + c . (logit of smoothed share, margin, entropy, abstentions, ln k))
    platt      p = sigmoid(c0 + c1 . logit of smoothed share)
    table      p by bins of the smoothed share (a + 1/2) / (k + 1)

A vote more for the leader at equal k never lowers p: each such vote raises share and margin and lowers entropy and
abstentions, and coefficients of other signs are refused. Settling early rests on this.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from escalade.calibration.shapes import Shape, features
from escalade.evaluation.conditions import Strict

Positive = Annotated[float, Field(ge=0)]
Negative = Annotated[float, Field(le=0)]
Probability = Annotated[float, Field(ge=0, le=1)]


class Logistic(Strict):
    """p = sigmoid(intercept + sum of coefficient * feature), with the signs that more votes must have."""

    method: Literal["logistic"] = "logistic"
    intercept: float
    share_logit: Positive
    margin: Positive
    entropy: Negative
    abstained: Negative
    log_k: float

    def probability(self, shape: Shape) -> float:
        """Return P(the leader is right)."""
        seen = features(shape)
        return _sigmoid(
            self.intercept
            + self.share_logit * seen.share_logit
            + self.margin * seen.margin
            + self.entropy * seen.entropy
            + self.abstained * seen.abstained
            + self.log_k * seen.log_k
        )


class Platt(Strict):
    """p = sigmoid(intercept + share_logit * logit of the smoothed share)."""

    method: Literal["platt"] = "platt"
    intercept: float
    share_logit: Positive

    def probability(self, shape: Shape) -> float:
        """Return P(the leader is right)."""
        return _sigmoid(self.intercept + self.share_logit * features(shape).share_logit)


class Table(Strict):
    """p of the first bin whose upper edge is at least the smoothed share (a + 1/2) / (k + 1)."""

    method: Literal["table"] = "table"
    upto: tuple[Probability, ...]
    """Upper edges of the bins, rising, the last 1."""
    p: tuple[Probability, ...]
    """Probability per bin, not falling."""

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if len(self.upto) != len(self.p) or not self.upto or self.upto[-1] != 1:
            raise ValueError("table needs as many values in p as in upto, and the last edge 1")
        if list(self.upto) != sorted(set(self.upto)) or list(self.p) != sorted(self.p):
            raise ValueError("table needs edges that rise and probabilities that do not fall")
        return self

    def probability(self, shape: Shape) -> float:
        """Return P(the leader is right)."""
        features(shape)  # refuses what is no ballot
        return self.p[bisect_left(self.upto, (shape.votes[0] + 0.5) / (shape.k + 1))]


Curve = Logistic | Platt | Table


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
