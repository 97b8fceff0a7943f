"""Calibrated confidence in the machine: free to stop early, of each tier its own, refused where nothing was fitted."""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import date

import pytest

from escalade.calibration.calibration import Calibration, Quality, TierCalibration
from escalade.calibration.curves import Curve, Logistic, Platt, Table
from escalade.cascade.confidence import ESTIMATORS, Calibrated
from escalade.cascade.policy import Policy
from escalade.errors import SettingError
from escalade.evaluation.conditions import Conditions
from escalade.evaluation.identity import fingerprint
from escalade.policies import calibrated
from tests.cascade.drive import run
from tests.cascade.test_machine import case

QUALITY = Quality(folds=5, brier=0.2, log_loss=0.5, bins=2, ece=0.1, ece_by_chance=0.1, share_brier=0.2)
STEEP = Platt(intercept=0.0, share_logit=1.0)


def curve(rng: random.Random) -> Curve:
    kind = rng.randrange(3)
    if kind == 0:
        return Platt(intercept=rng.uniform(-2, 2), share_logit=rng.uniform(0, 2))
    if kind == 1:
        low, high = sorted((rng.random(), rng.random()))
        return Table(upto=(0.5, 1.0), p=(low, high))
    return Logistic(
        intercept=rng.uniform(-2, 2),
        share_logit=rng.uniform(0, 2),
        margin=rng.uniform(0, 2),
        entropy=-rng.uniform(0, 2),
        abstained=-rng.uniform(0, 2),
        log_k=rng.uniform(-1, 1),
    )


def fitted(tiers: Sequence[tuple[str, float, Curve]], least_k: int = 2) -> Calibrated:
    known = tuple(
        TierCalibration(alias=alias, temperature=t, least_k=least_k, most_k=8, labels=60, curve=each, quality=QUALITY)
        for alias, t, each in tiers
    )
    seen = ("0123abcd",)
    conditions = Conditions(models={}, grader={})
    return calibrated(
        Calibration(date=date(2026, 1, 1), data=fingerprint(seen), problems=seen, conditions=conditions, tiers=known)
    )


@pytest.mark.parametrize("stop", ["verdict", "exact"])
@pytest.mark.parametrize("least_k", [1, 2])
def test_settled_early_is_free(stop: str, least_k: int) -> None:
    saved = 0
    for seed in range(400):
        rng = random.Random(seed)
        own = fitted([(a, t, curve(rng)) for a in "SML" for t in (0.0, 0.7)], least_k)
        some = case(seed)
        some = replace(some, settings={**some.settings, "confidence": "calibrated", "calibration": own})
        full, early = some.run("none"), some.run(stop, seed)
        assert early.outcome.verdict == full.outcome.verdict, seed
        saved += sum(full.drawn) - sum(early.drawn)
    assert saved > 50


def test_each_tier_is_judged_by_its_own_curve() -> None:
    sure, unsure = Platt(intercept=3.0, share_logit=0.0), Platt(intercept=-3.0, share_logit=0.0)
    route = "mv_cascade_S_k3_t0.7_M_k3_t0.7_L_k1_t0.0"
    rows = (["1", "1", "1"], ["2", "2", "3"], ["4"])
    for first, second, owner in ((sure, unsure, 0), (unsure, sure, 1), (unsure, unsure, 2)):
        own = fitted([("S", 0.7, first), ("M", 0.7, second)])
        found = run(route, *rows, policy=Policy(confidence="calibrated", calibration=own))
        assert found.outcome.decided_by == owner


def test_a_single_sample_is_known_where_single_samples_were_fitted() -> None:
    route, rows = "mv_cascade_S_k1_t0.7_L_k1_t0.0", (["1"], ["2"])
    sure = [("S", 0.7, Platt(intercept=3.0, share_logit=0.0))]
    for least_k, owner in ((2, 1), (1, 0)):
        own = fitted(sure, least_k)
        found = run(route, *rows, policy=Policy(confidence="calibrated", calibration=own))
        assert found.outcome.decided_by == owner


def test_a_tier_that_was_not_fitted_is_refused() -> None:
    policy = Policy(confidence="calibrated", calibration=fitted([("S", 0.7, STEEP)]))
    with pytest.raises(SettingError, match=r"no calibration of M at t=0.7: there are S at t=0.7"):
        run("mv_cascade_S_k3_t0.7_M_k3_t0.7", ["1"] * 3, ["1"] * 3, policy=policy)


def test_a_calibration_and_its_confidence_go_together() -> None:
    own = fitted([("S", 0.7, STEEP)])
    with pytest.raises(SettingError, match="needs a calibration"):
        Policy(confidence="calibrated")
    with pytest.raises(SettingError, match="reads no calibration"):
        Policy(calibration=own)
    with pytest.raises(SettingError, match="use aggregate 'last'"):
        Policy(confidence="calibrated", calibration=own, aggregate="pooled")


def test_equal_calibrations_make_equal_policies() -> None:
    one, same = fitted([("S", 0.7, STEEP)]), fitted([("S", 0.7, STEEP)])
    other = fitted([("S", 0.7, Platt(intercept=0.1, share_logit=1.0))])
    assert Policy(confidence="calibrated", calibration=one) == Policy(confidence="calibrated", calibration=same)
    assert one != other
    assert repr(one) == repr(same) != repr(other)
    assert Policy().at("S", 0.7, 3).estimator is ESTIMATORS["share"]
