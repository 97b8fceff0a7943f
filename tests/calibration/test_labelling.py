"""Labelled ballots: every one that recorded samples can make, with its chance and how often its leader is right."""

import itertools
import random
from collections import defaultdict
from dataclasses import replace
from datetime import date

import pytest

from escalade.calibration.labelling import fit_bank, labelled_ballots
from escalade.calibration.shapes import Shape
from escalade.cascade.policy import Policy
from escalade.errors import SettingError
from escalade.evaluation.conditions import Conditions
from escalade.evaluation.exact import evaluate
from escalade.evaluation.replays import replay
from escalade.policies import calibrated
from tests.evaluation import pools

NOWHERE = Conditions(models={}, grader={})
DAY = date(2026, 1, 1)


def test_ballots_are_those_of_all_draws() -> None:
    said = ["1", "1", "2", None, "0.5", "1"]
    bank = pools.single({"S": said}, gold="1")
    found = labelled_ballots(bank, "S", 0.7, [3])
    counted: dict[Shape, list[int]] = defaultdict(list)
    for drawn in itertools.permutations(said, 3):
        votes = sorted((drawn.count(a) for a in {"1", "2", "0.5"} if a in drawn), reverse=True)
        right = bool(votes) and drawn.count("1") == votes[0] and votes.count(votes[0]) == 1
        counted[Shape(tuple(votes), 3)].append(right)
    chances = dict(zip(found.shapes, found.weights, strict=True))  # type: ignore[arg-type]
    assert chances.keys() == counted.keys()
    for shape, rights in counted.items():
        assert chances[shape] == pytest.approx(len(rights) / 120)
    unanimous = dict(zip(found.shapes, found.right, strict=True))  # type: ignore[arg-type]
    assert unanimous[Shape((3,), 3)] == 1.0
    assert unanimous[Shape((2, 1), 3)] == pytest.approx(1.0)


def test_a_calibration_decides_alike_in_closed_form_and_in_the_machine() -> None:
    bank = pools.bank(random.Random(3), {"S": 5, "L": 4}, problems=24, answers=("1", "2", "3"))
    fitted = fit_bank(bank, NOWHERE, DAY, sizes=[3, 4]).calibration
    policy = Policy(confidence="calibrated", calibration=calibrated(fitted))
    cuts = sorted({fitted.probability("S", 0.7, Shape(v, 4)) for v in ((4,), (3, 1), (2, 1), (1,))})
    closed_before = None
    for low, high in itertools.pairwise(cuts):
        route = f"mv_cascade_S_k4_t0.7_c{(low + high) / 2:.4f}_L_k3_t0.7"
        closed, played = evaluate(bank, route, policy), replay(bank, route, policy, draws=300, seed=1)
        assert closed.exact
        assert closed.correct.mean() == pytest.approx(played.correct.mean(), abs=0.02)
        assert closed.cost.sum() == pytest.approx(played.cost.sum(), rel=0.02)
        assert closed_before is None or closed.reached[:, 1].mean() >= closed_before
        closed_before = closed.reached[:, 1].mean()


def test_V11_problems_are_known_by_their_texts() -> None:
    bank = pools.bank(random.Random(3), {"S": 5}, problems=12)
    fitted = fit_bank(bank, NOWHERE, DAY, sizes=[3]).calibration
    under_others = [replace(problem, id=f"q{problem.id}") for problem in bank.problems]
    others = [replace(problem, text=f"another {problem.text}") for problem in bank.problems]
    assert fitted.fitted_on([*under_others, *others]) == [True] * 12 + [False] * 12


def test_tiers_with_too_few_samples_are_left_out_by_name() -> None:
    bank = pools.bank(random.Random(3), {"S": 5, "L": 2}, problems=12)
    found = fit_bank(bank, NOWHERE, DAY, sizes=[3, 8])
    assert [tier.name for tier in found.calibration.tiers] == ["S at t=0.7"]
    assert found.left_out == ("L at t=0.7: 2 samples of each problem, the smallest ballot takes 3",)
    with pytest.raises(SettingError, match=r"no tier of random can be calibrated: S at t=0.7: 5 samples"):
        fit_bank(bank, NOWHERE, DAY, sizes=[9])
    with pytest.raises(SettingError, match=r"sizes of ballots are \[0\]"):
        fit_bank(bank, NOWHERE, DAY, sizes=[0])
