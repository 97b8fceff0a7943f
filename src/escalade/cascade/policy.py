"""The settings of decisions: thresholds, confidence, stop rule, aggregation, the entropy rule's numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from escalade.cascade.confidence import CALIBRATED, ESTIMATORS, PRIOR, Calibrated, Estimator
from escalade.errors import SettingError, nearest

AGGREGATES = ("last", "pooled", "weighted")
STOPS = ("verdict", "exact", "none", "beta:P", "esc:W")
_NUMBERED = re.compile(r"(beta|esc):([0-9]+(?:\.[0-9]+)?)", re.ASCII)


class Stop(NamedTuple):
    """A stop rule: its name and, for beta and esc, its number."""

    name: Literal["verdict", "exact", "none", "beta", "esc"]
    number: float = 0.0


@dataclass(frozen=True, slots=True)
class Policy:
    """How ballots become decisions.

    Raises:
        SettingError: a value out of range or a name that is unknown.

    Example:
        >>> Policy(target=0.8).need(5)
        4
    """

    target: float = 0.90
    """Target confidence: the threshold of tiers that have none of their own."""
    confidence: str = "share"
    stop: str = "verdict"
    aggregate: str = "last"
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """Threshold per model alias, behind a tier's own `_c` and before the target."""
    entropy_bits: float = 0.6
    """A ballot of at most this entropy (bits) is clean: about one dissenter in seven."""
    explore_floor: float = 0.5
    """Belief, max(share, score), from which the entropy rule draws more at the same tier."""
    max_k: int = 8
    """Up to how many samples of one tier exploring goes."""
    prior_strength: float = 4.0
    """Votes that a model's score counts as, where confidence = "prior"; 0 makes it the share."""
    calibration: Calibrated | None = None
    """What confidence = "calibrated" is read from."""

    def __post_init__(self) -> None:
        for name, value, top in (
            ("target", self.target, 1.0),
            ("entropy_bits", self.entropy_bits, float("inf")),
            ("explore_floor", self.explore_floor, 1.0),
            *((f"threshold of {alias}", value, 1.0) for alias, value in self.thresholds.items()),
        ):
            if not 0 <= value <= top:
                raise SettingError(f"{name} is {value!r}: give a number in [0, {top:g}]")
        if not 0 <= self.prior_strength < math.inf:
            raise SettingError(f"prior_strength is {self.prior_strength!r}: give a number of votes, 0 or more")
        if self.max_k < 1:
            raise SettingError(f"max_k is {self.max_k!r}: give an integer >= 1")
        for name, chosen, known in (
            ("confidence", self.confidence, (*ESTIMATORS, CALIBRATED)),
            ("aggregate", self.aggregate, AGGREGATES),
        ):
            if chosen not in known:
                hint = nearest(chosen, known)
                raise SettingError(f"{name} {chosen!r} is unknown: there are {', '.join(known)}{hint}")
        if (self.confidence == CALIBRATED) != (self.calibration is not None):
            lack = "needs a calibration" if self.calibration is None else "reads no calibration"
            raise SettingError(
                f"confidence {self.confidence!r} {lack}: give confidence 'calibrated' and a calibration's file "
                "(escalade calibrate), or neither"
            )
        if self.calibration is not None and self.aggregate != "last":
            raise SettingError(
                f"aggregate is {self.aggregate!r}: a calibration is of one tier's own ballots; use aggregate 'last'"
            )
        if self.confidence == PRIOR and self.aggregate != "last":
            raise SettingError(
                f"aggregate is {self.aggregate!r}: a score is the prior of its own model's votes, and these ballots "
                "mix models; use aggregate 'last'"
            )
        _ = self.stop_rule

    def at(self, model: str, temperature: float, k: int) -> Policy:
        """Return the policy as it holds at one tier: a calibration is that of this tier.

        Raises:
            SettingError: the tier has several samples and the calibration lacks it.
        """
        if self.calibration is None:
            return self
        return replace(self, calibration=self.calibration.only(model, temperature, k=k))

    @property
    def estimator(self) -> Estimator:
        """The estimator of confidence; a calibrated one after `at`."""
        return ESTIMATORS[self.confidence] if self.calibration is None else self.calibration.estimator

    @property
    def stop_rule(self) -> Stop:
        """The stop rule that `stop` writes."""
        if self.stop in ("verdict", "exact", "none"):
            return Stop(self.stop)  # type: ignore[arg-type] # the literal was just compared
        if written := _NUMBERED.fullmatch(self.stop):
            name, number = written[1], float(written[2])
            if name == "beta" and 0.5 < number < 1:
                return Stop("beta", number)
            if name == "esc" and number >= 2 and number.is_integer():
                return Stop("esc", number)
        raise SettingError(
            f"stop rule {self.stop!r} is unknown: give {', '.join(STOPS)}, with P in (0.5, 1) and W an integer >= 2"
        )

    def need(self, k: float, threshold: float | None = None) -> int:
        """Return how many of k votes reach a threshold: ceil(threshold * k - 1e-9)."""
        value = self.target if threshold is None else threshold
        return math.ceil(value * k - 1e-9)
