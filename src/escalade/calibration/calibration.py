"""A calibration: P(a ballot's leader is right), per tier, as fitted on labelled problems and kept in a JSON file.

A tier is a model and a temperature; its curve (`curves`) is fitted by `calibrator`. As no curve is lowered by a vote
more for the leader, the bounds of a ballot with open seats are exact without trying every way to fill them.

The file is text to be reviewed: numbers and names, nothing in it is run. This module knows neither numpy nor any
engine, so that a run can use a calibration at no cost.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from escalade.calibration.curves import Curve, Logistic, Platt, Table
from escalade.calibration.shapes import Shape, best_completion, readings, shape_of, worst_completions
from escalade.cascade.ballot import Ballot, Counted
from escalade.cascade.confidence import Bounds, Estimator
from escalade.complaints import complaints
from escalade.errors import SettingError
from escalade.evaluation.conditions import Conditions, Strict
from escalade.evaluation.identity import among, fingerprint

if TYPE_CHECKING:  # problems are read with pandas
    from escalade.problems import Problem

Count = Annotated[int, Field(ge=1)]


class Quality(Strict):
    """How good a curve is on problems it was not fitted on: cross-validated, each problem (and group) in one fold."""

    folds: Count
    brier: float
    """mean (p - y)^2"""
    log_loss: float
    """mean -ln of what was given to what came, in nats"""
    bins: Count
    ece: float
    """mean |p - y| over bins of equal mass; to be read beside the next number"""
    ece_by_chance: float
    """ece of a perfect calibration of as many problems: its mean where each problem is right with chance p, all its
    ballots together"""
    share_brier: float
    """Brier score of the plain share in the place of p, for comparison"""


class TierCalibration(Strict):
    """The curve of one tier, what it was fitted on, and how good it is."""

    alias: str
    temperature: Annotated[float, Field(ge=0)]
    least_k: Count
    most_k: Count
    """Seats of the ballots it was fitted on, from and to."""
    labels: Count
    """Labelled problems."""
    curve: Annotated[Curve, Field(discriminator="method")]
    quality: Quality

    @property
    def name(self) -> str:
        """As in messages: alias and temperature."""
        return _name(self.alias, self.temperature)


class Calibration(Strict):
    """Curves by tier, and the fingerprint of what they were fitted on.

    Raises:
        SettingError: read from a file that is not understood as a whole.

    Example:
        >>> quality = Quality(folds=5, brier=0.16, log_loss=0.5, bins=4, ece=0.08, ece_by_chance=0.05, share_brier=0.2)
        >>> curve = Platt(intercept=-0.5, share_logit=1.0)
        >>> tier = TierCalibration(
        ...     alias="7B", temperature=0.7, least_k=2, most_k=8, labels=60, curve=curve, quality=quality
        ... )
        >>> known = ("c97c3a9c",)
        >>> calibration = Calibration(
        ...     date=date(2026, 1, 31), problems=known, data=fingerprint(known),
        ...     conditions=Conditions(models={}, grader={}), tiers=(tier,),
        ... )
        >>> round(calibration.probability("7B", 0.7, Shape((4, 1), 5)), 3)
        0.645
        >>> bounds = calibration.bounds("7B", 0.7, Shape((3,), 5), open_seats=2)
        >>> [round(p, 3) for p in bounds]
        [0.459, 0.87]
    """

    format: Literal["escalade calibration 1", "escalade calibration 2"] = "escalade calibration 2"
    """The first has digests of ids in the place of those of texts."""
    date: date
    data: str
    """sha256 over the digests of the labelled problems"""
    conditions: Conditions
    tiers: Annotated[tuple[TierCalibration, ...], Field(min_length=1)]
    problems: tuple[str, ...]
    """Digest of each labelled problem: thresholds must be chosen on others."""

    @field_validator("tiers")
    @classmethod
    def _each_once(cls, value: tuple[TierCalibration, ...]) -> tuple[TierCalibration, ...]:
        names = [tier.name for tier in value]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} is there more than once")
        return value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if fingerprint(self.problems) != self.data:
            raise ValueError("data is not the fingerprint of the problems: one of them was changed by hand; fit anew")
        return self

    def tier(self, alias: str, temperature: float) -> TierCalibration:
        """Return the calibration of one tier.

        Raises:
            SettingError: there is none.
        """
        for tier in self.tiers:
            if tier.alias == alias and math.isclose(tier.temperature, temperature, abs_tol=1e-9):
                return tier
        raise SettingError(
            f"no calibration of {_name(alias, temperature)}: there are {', '.join(tier.name for tier in self.tiers)}; "
            "fit one on samples of this tier (escalade calibrate)"
        )

    def probability(self, alias: str, temperature: float, shape: Shape) -> float:
        """Return P(the ballot's leader is right).

        Raises:
            SettingError: no calibration of this tier.
            SettingError: votes that are no ballot.
        """
        return self.tier(alias, temperature).curve.probability(shape)

    def bounds(self, alias: str, temperature: float, shape: Shape, open_seats: int) -> Bounds:
        """Return the least and the most the probability can become, whatever the open seats vote.

        That is as long as the present leader stays the leader, as the bounds of `cascade.confidence` are; exact. A
        ballot without a vote may end up without one: then the least is 0, the confidence of no answer.

        Raises:
            SettingError: no calibration of this tier.
            SettingError: votes that are no ballot, or more open seats than it has.
        """
        return _bounds(self.tier(alias, temperature).curve, shape, open_seats)

    def estimator(self, alias: str, temperature: float) -> Estimator:
        """Return this tier's estimator of confidence, named "calibrated", for ballots of that tier alone.

        Its bounds are exact where the ballot says who abstained, else those of the least favourable reading.

        Raises:
            SettingError: no calibration of this tier.
        """
        curve = self.tier(alias, temperature).curve

        def value(ballot: Ballot) -> float:
            return curve.probability(shape_of(ballot))

        def bounds(ballot: Counted, r: float) -> Bounds:
            most, fewest = readings(ballot)
            return Bounds(_bounds(curve, most, round(r)).low, _bounds(curve, fewest, round(r)).high)

        return Estimator("calibrated", value, bounds)

    def mismatches(self, now: Conditions, ballots: Iterable[tuple[str, float, int]] = ()) -> list[str]:
        """Return plain sentences of what differs now from what was calibrated; none where all that is known agrees.

        `ballots` are (alias, temperature, k) of the tiers that will be asked for: a k outside the range that was
        fitted is said, as the curve then reaches beyond its evidence.
        """
        out = self.conditions.differences(now, sorted({tier.alias for tier in self.tiers}))
        for alias, temperature, k in ballots:
            tier = self.tier(alias, temperature)
            if not tier.least_k <= k <= tier.most_k:
                fitted = f"{tier.least_k} to {tier.most_k}" if tier.least_k < tier.most_k else f"{tier.least_k}"
                out.append(f"{tier.name}: calibrated on ballots of {fitted} samples, now they have {k}")
        return out

    def fitted_on(self, problems: Sequence[Problem]) -> list[bool]:
        """[N] Whether this was fitted on each problem: thresholds chosen on those are in-sample.

        Raises:
            SettingError: that cannot be told: a problem has no text, or the file is of the first format.
        """
        if self.format == "escalade calibration 1":
            raise SettingError(
                f"the calibration of {self.date} knows the problems it was fitted on by their ids ({self.format}), "
                "which others may have: fit it anew (escalade calibrate)"
            )
        return among(problems, self.problems, "the calibration")

    def write(self, path: Path) -> None:
        """Write the file: JSON, one key a line.

        Raises:
            SettingError: it cannot be written.
        """
        text = json.dumps(self.model_dump(mode="json"), indent=1, allow_nan=False) + "\n"
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise SettingError(
                f"calibration {path} cannot be written: {error.strerror or error}; name another"
            ) from error


def read_calibration(path: Path) -> Calibration:
    """Read a calibration's file. Nothing in it is run.

    Raises:
        SettingError: no such file, no JSON, a key unknown, missing or there twice, a number that is not finite,
            or a curve that more votes would lower.
    """
    try:
        text = path.read_text(encoding="utf-8")
        body = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except (OSError, ValueError, RecursionError) as error:
        raise SettingError(f"calibration {path} cannot be read: {error}; fit it anew (escalade calibrate)") from error
    if not isinstance(body, dict):
        raise SettingError(f"calibration {path} is no JSON object: fit it anew (escalade calibrate)")
    try:
        return Calibration.model_validate_json(text)
    except ValidationError as error:
        wrong = "; ".join(complaints(error, body, _KEYS_OF, Calibration))
        raise SettingError(f"calibration {path}: {wrong}; correct it, or fit it anew (escalade calibrate)") from error


_KEYS_OF: Mapping[str, type[Strict]] = {
    "tiers": TierCalibration,
    "logistic": Logistic,
    "platt": Platt,
    "table": Table,
    "quality": Quality,
    "conditions": Conditions,
}


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key {next(name for name in names if names.count(name) > 1)!r} is there twice")
    return out


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


@lru_cache(maxsize=65536)
def _bounds(curve: Curve, shape: Shape, open_seats: int) -> Bounds:
    best = best_completion(shape, open_seats)
    high = curve.probability(best) if best.votes else 0.0
    if not shape.votes:
        return Bounds(0.0, high)
    return Bounds(min(curve.probability(worst) for worst in worst_completions(shape, open_seats)), high)


def _name(alias: str, temperature: float) -> str:
    return f"{alias} at t={temperature:g}"
