import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from escalade.calibration.calibration import Calibration, Quality, TierCalibration, read_calibration
from escalade.calibration.curves import Curve
from escalade.calibration.shapes import Shape
from escalade.cascade.ballot import count, standing
from escalade.errors import SettingError
from escalade.evaluation.conditions import Conditions, ModelConditions
from escalade.evaluation.identity import digests, fingerprint
from escalade.problems import Problem
from escalade.testing import votes
from tests.calibration.completions import ballots, led
from tests.calibration.curves import CURVES, LOGISTIC, PLATT

QUALITY = Quality(folds=5, brier=0.16, log_loss=0.5, bins=4, ece=0.08, ece_by_chance=0.05, share_brier=0.2)
MODELS = {
    alias: ModelConditions(name=f"a/{alias}", weights=f"{alias}:w1", prompt="p1", max_tokens=512, top_p=0.9)
    for alias in "SL"
}
KNOWN = digests([Problem("p1", "1 + 1?"), Problem("p2", "2 + 2?")])
CONDITIONS = Conditions(models=MODELS, grader={"escalade": "0.1.0", "math": "1"})


def tier(curve: Curve, alias: str = "S", temperature: float = 0.7) -> TierCalibration:
    return TierCalibration(
        alias=alias, temperature=temperature, least_k=3, most_k=8, labels=200, curve=curve, quality=QUALITY
    )


def calibration(*tiers: TierCalibration) -> Calibration:
    return Calibration(
        date=date(2026, 1, 31),
        data=fingerprint(KNOWN),
        conditions=CONDITIONS,
        tiers=tiers or (tier(LOGISTIC),),
        problems=KNOWN,
    )


@pytest.mark.parametrize("curve", CURVES)
def test_bounds_are_exact(curve: Curve) -> None:
    found = calibration(tier(curve))
    for shape in (one for k in range(1, 7) for one in ballots(k)):
        for open_seats in range(shape.k - sum(shape.votes) + 1):
            ends = [curve.probability(one) for one in led(shape, open_seats)]
            low, high = found.bounds("S", 0.7, shape, open_seats)
            assert low == pytest.approx(min(ends), abs=1e-12)
            assert high == pytest.approx(max(ends), abs=1e-12)


def test_bounds_before_the_first_vote() -> None:
    found = calibration(tier(PLATT))
    assert found.bounds("S", 0.7, Shape((), 5), 3) == (0.0, PLATT.probability(Shape((3,), 5)))
    assert found.bounds("S", 0.7, Shape((), 5), 0) == (0.0, 0.0)


def test_the_estimator_speaks_of_ballots() -> None:
    estimator = calibration().estimator("S", 0.7)
    drawn = votes("7", "7", "3", None)
    ballot = count(drawn, k=5)
    assert estimator.name == "calibrated"
    assert estimator.from_votes
    assert estimator.value(ballot) == LOGISTIC.probability(Shape((2, 1), 5))
    assert estimator.bounds(ballot, 1.0) == calibration().bounds("S", 0.7, Shape((2, 1), 5), 1)


def test_bounds_of_a_standing_hold_whoever_abstained() -> None:
    estimator = calibration().estimator("S", 0.7)
    for answers in (["7", "7", "3", None], ["7", "7", "3", "4"], ["7", "7", None, None], ["7", "3", None, None]):
        drawn = votes(*answers)
        exact = estimator.bounds(count(drawn, k=6), 2)
        safe = estimator.bounds(standing(drawn, k=6), 2)
        assert safe.low <= exact.low <= exact.high <= safe.high


def test_a_tier_without_a_calibration_is_named() -> None:
    found = calibration(tier(LOGISTIC), tier(PLATT, "L", 1.0))
    assert found.tier("L", 1.0).curve == PLATT
    with pytest.raises(SettingError, match=r"no calibration of S at t=1: there are S at t=0\.7, L at t=1"):
        found.probability("S", 1.0, Shape((2,), 2))
    with pytest.raises(SettingError, match="no calibration of M"):
        found.estimator("M", 0.7)


def test_a_file_reads_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    for curve in CURVES:
        written = calibration(tier(curve), tier(PLATT, "L", 1.0))
        written.write(path)
        assert read_calibration(path) == written
    assert {"2026-01-31", "a/S", "platt"} <= set(path.read_text().replace(",", "").replace('"', " ").split())


def edited(path: Path, edit: Callable[[dict[str, Any]], Any]) -> Path:
    calibration().write(path)
    body = json.loads(path.read_text())
    edit(body)
    path.write_text(json.dumps(body))
    return path


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda b: b.update(extra=1), r"extra: unknown key \(it is 1\)"),
        (lambda b: b["tiers"][0].update(treshold=1), "treshold: unknown key"),
        (lambda b: b["tiers"][0]["curve"].update(run="os.system"), "run: unknown key"),
        (lambda b: b["tiers"][0]["curve"].pop("entropy"), "entropy: missing"),
        (lambda b: b["tiers"][0]["curve"].update(margin=-0.5), "greater than or equal to 0"),
        (lambda b: b["tiers"][0]["curve"].update(entropy=0.5), "less than or equal to 0"),
        (lambda b: b["tiers"][0]["curve"].update(margin="0.5"), "valid number"),
        (lambda b: b["tiers"][0]["curve"].update(method="pickle"), "does not match any of the expected tags"),
        (lambda b: b["tiers"][0].update(temperature=-1), "greater than or equal to 0"),
        (lambda b: b.update(tiers=[]), "at least 1 item"),
        (lambda b: b["tiers"].append(b["tiers"][0]), r"S at t=0\.7 is there more than once"),
        (lambda b: b["problems"].pop(), "data is not the fingerprint of the problems"),
        (lambda b: b.update(format="escalade calibration 3"), "escalade calibration 2"),
        (lambda b: b["conditions"]["models"]["S"].update(top=1), "unknown key"),
    ],
)
def test_a_file_that_is_not_understood_as_a_whole_is_refused(
    tmp_path: Path, edit: Callable[[dict[str, Any]], Any], said: str
) -> None:
    with pytest.raises(SettingError, match=said):
        read_calibration(edited(tmp_path / "c.json", edit))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_a_number_that_is_not_finite_is_refused(tmp_path: Path, number: str) -> None:
    path = tmp_path / "c.json"
    calibration().write(path)
    path.write_text(path.read_text().replace('"intercept": -1.0', f'"intercept": {number}'))
    assert number in path.read_text()
    with pytest.raises(SettingError, match=r"is no number|finite"):
        read_calibration(path)


def test_a_key_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    calibration().write(path)
    path.write_text(path.read_text().replace('"intercept": -1.0', '"intercept": -1.0, "intercept": 5.0'))
    with pytest.raises(SettingError, match="key 'intercept' is there twice"):
        read_calibration(path)


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path(self.path),)

    def __init__(self, path: Path) -> None:
        self.path = str(path)


def test_loading_runs_no_code(tmp_path: Path) -> None:
    path, planted = tmp_path / "c.json", tmp_path / "planted"
    path.write_bytes(pickle.dumps(Hostile(planted)))
    with pytest.raises(SettingError, match="cannot be read"):
        read_calibration(path)
    assert not planted.exists()


@pytest.mark.parametrize("text", ["", "[" * 100_000, "[1]", "{"])
def test_what_is_no_calibration_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(SettingError, match=r"calibration .*c\.json"):
        read_calibration(path)
    with pytest.raises(SettingError, match=r"calibration .*none\.json cannot be read"):
        read_calibration(tmp_path / "none.json")


def changed(**change: Any) -> Conditions:
    return Conditions(models={**MODELS, "S": MODELS["S"].model_copy(update=change)}, grader=CONDITIONS.grader)


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (changed(name="b/S"), "S: the model was a/S, now it is b/S"),
        (changed(weights="S:w2"), "S: the fingerprint of what answers was S:w1, now it is S:w2"),
        (changed(prompt="p2"), "S: the prompt was p1, now it is p2"),
        (changed(max_tokens=64), "S: the token limit was 512, now it is 64"),
        (changed(top_p=None), "S: the top_p was 0.9, now it is not set"),
        (changed(top_k=20), "S: the top_k was not set, now it is 20"),
        (
            Conditions(models=MODELS, grader={"escalade": "0.2.0", "math": "1"}),
            "the grader's escalade was 0.1.0, now it is 0.2.0",
        ),
        (
            Conditions(models=MODELS, grader={"escalade": "0.1.0", "math": "1", "choice": "3"}),
            "the grader's choice was not set, now it is 3",
        ),
    ],
)
def test_each_difference_is_said(now: Conditions, said: str) -> None:
    assert calibration().mismatches(now) == [said]


def test_what_is_the_same_or_unknown_is_no_difference() -> None:
    assert calibration().mismatches(CONDITIONS) == []
    assert calibration().mismatches(changed(weights=None, prompt=None, max_tokens=None)) == []
    # L has no calibration here, and a model that the run does not have is not used.
    other = Conditions(models={"L": ModelConditions(name="b/L")}, grader=CONDITIONS.grader)
    assert calibration().mismatches(other) == []


def test_a_number_of_samples_that_was_not_fitted_is_said() -> None:
    said = calibration().mismatches(CONDITIONS, [("S", 0.7, 8), ("S", 0.7, 16)])
    assert said == ["S at t=0.7: calibrated on ballots of 3 to 8 samples, now they have 16"]


def test_a_run_can_use_a_calibration_without_heavy_libraries() -> None:
    code = "import escalade.calibration.calibration, sys; print([m for m in ('numpy', 'scipy') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_V11_problems_that_it_was_fitted_on_are_known() -> None:
    asked = [Problem("p2", "3 + 3?"), Problem("q2", "2 + 2?"), Problem("p1", "1 + 1?")]
    assert calibration().fitted_on(asked) == [False, True, True]
    with pytest.raises(SettingError, match="2 problems of the calibration are known by theirs"):
        calibration().fitted_on([Problem("p1", "")])


def test_a_file_that_knows_problems_by_their_ids_decides_and_does_not_tell_them(tmp_path: Path) -> None:
    found = read_calibration(edited(tmp_path / "c.json", lambda b: b.update(format="escalade calibration 1")))
    assert found.probability("S", 0.7, Shape((4, 1), 5)) == calibration().probability("S", 0.7, Shape((4, 1), 5))
    with pytest.raises(SettingError, match=r"by their ids \(escalade calibration 1\).*fit it anew"):
        found.fitted_on([Problem("p1", "1 + 1?")])


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"calibration .*nowhere/c\.json cannot be written: .*; name another"):
        calibration(tier(LOGISTIC)).write(tmp_path / "nowhere" / "c.json")
