import datetime
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from escalade.calibration import calibrator
from escalade.calibration.calibration import Calibration, TierCalibration
from escalade.calibration.calibrator import LabelledBallots, TierKey, fit
from escalade.calibration.curves import Logistic, Platt, Table
from escalade.calibration.shapes import Shape
from escalade.errors import SettingError
from escalade.evaluation.conditions import Conditions
from escalade.evaluation.identity import digests, fingerprint
from escalade.problems import Problem
from tests.calibration.completions import ballots

DATA = Path(os.environ.get("ESCALADE_DATA", Path(__file__).parents[3] / "shared" / "data")) / "pools"
DAY = datetime.date(2026, 1, 31)
KEY = TierKey("S", 0.7)
NONE = Conditions(models={}, grader={})


def fitted(rows: LabelledBallots, **options: Any) -> Calibration:
    return fit({KEY: rows}, NONE, DAY, **options)


def tier(rows: LabelledBallots, **options: Any) -> TierCalibration:
    return fitted(rows, **options).tiers[0]


def drawn(
    problems: int, rng: np.random.Generator, truth: Logistic | Platt, ks: tuple[int, ...] = (3, 5, 8)
) -> LabelledBallots:
    """Ballots of each problem at several k, right with the probability that `truth` gives."""
    shapes: list[Shape] = []
    names: list[str] = []
    for i in range(problems):
        difficulty = rng.dirichlet(np.array([2.0, 0.7, 0.5, 0.4]))
        for k in ks:
            counts = rng.multinomial(k, difficulty)
            votes = tuple(sorted((int(n) for n in counts[:3] if n), reverse=True))
            shapes.append(Shape(votes, k))
            names.append(f"p{i}")
    chance = np.array([truth.probability(shape) if shape.votes else 0.0 for shape in shapes])
    return LabelledBallots(shapes, (rng.random(len(shapes)) < chance).astype(float), names)


TRUTH = Logistic(intercept=-0.5, share_logit=0.9, margin=0.3, entropy=-0.6, abstained=-0.5, log_k=0.2)


def test_it_finds_the_probabilities_that_made_the_labels() -> None:
    found = fitted(drawn(4000, np.random.default_rng(0), TRUTH))
    curve = found.tiers[0].curve
    assert isinstance(curve, Logistic)
    for votes in ((5,), (4, 1), (3, 2), (3, 1), (2, 2, 1), (2, 1)):
        shape = Shape(votes, 5)
        assert found.probability("S", 0.7, shape) == pytest.approx(TRUTH.probability(shape), abs=0.04)


@pytest.mark.parametrize(("problems", "curve"), [(49, Table), (50, Platt), (149, Platt), (150, Logistic)], ids=str)
def test_the_curve_is_as_rich_as_the_labels_allow(problems: int, curve: type) -> None:
    rows = drawn(problems, np.random.default_rng(1), Platt(intercept=0, share_logit=1), ks=(5,))
    rows = LabelledBallots(
        [shape if shape.votes else Shape((1,), 5) for shape in rows.shapes], rows.right, rows.problems
    )
    found = tier(rows)
    assert isinstance(found.curve, curve)
    assert found.labels == problems


@pytest.mark.parametrize("problems", [40, 100, 300])
def test_labels_against_the_votes_do_not_turn_the_curve(problems: int) -> None:
    # The more votes, the wronger: no curve may say so, as settling early rests on the opposite.
    rows = drawn(problems, np.random.default_rng(2), TRUTH)
    share = np.array([max(shape.votes, default=0) / shape.k for shape in rows.shapes])
    right = (share < 0.6) & (share > 0)
    curve = tier(LabelledBallots(rows.shapes, right, rows.problems)).curve
    for shape in (one for k in (3, 5, 8) for one in ballots(k) if sum(one.votes) < k):
        more = Shape((shape.votes[0] + 1, *shape.votes[1:]), shape.k)
        assert curve.probability(more) >= curve.probability(shape) - 1e-12


@pytest.mark.parametrize("right", [0.0, 1.0])
@pytest.mark.parametrize("problems", [20, 80, 200])
def test_labels_that_are_all_alike_make_nothing_certain(problems: int, right: float) -> None:
    rows = drawn(problems, np.random.default_rng(3), TRUTH)
    voted = np.array([bool(shape.votes) for shape in rows.shapes])
    found = fitted(LabelledBallots(rows.shapes, right * voted, rows.problems))
    p = found.probability("S", 0.7, Shape((4, 1), 5))
    if problems >= 50:  # the targets: (N+ + 1)/(N+ + 2) and 1/(N- + 2)
        assert abs(p - right) == pytest.approx(1 / (found.tiers[0].labels + 2), rel=1e-3)
    assert 0 < abs(p - right) < 0.2
    assert np.isfinite(found.tiers[0].quality.log_loss)


def test_each_problem_weighs_one() -> None:
    rows = drawn(200, np.random.default_rng(4), TRUTH)
    right = np.asarray(rows.right)
    # The first hundred problems ten times over.
    often = [i for i, name in enumerate(rows.problems) for _ in range(10 if int(name[1:]) < 100 else 1)]
    repeated = LabelledBallots([rows.shapes[i] for i in often], right[often], [rows.problems[i] for i in often])
    once, again = fitted(rows), fitted(repeated)
    for shape in ballots(5):
        assert again.probability("S", 0.7, shape) == pytest.approx(once.probability("S", 0.7, shape), abs=1e-5)


def test_weights_divide_a_problem_among_its_rows() -> None:
    shapes = [Shape((5,), 5), Shape((2, 2), 5)] * 30
    problems = [f"p{i // 2}" for i in range(60)]
    right = [1.0, 0.0] * 30
    leading = LabelledBallots(shapes, right, problems, weights=[3.0, 1.0] * 30)
    curve = tier(leading).curve
    assert isinstance(curve, Table)
    # Of the weight of 30 problems, 7.5 wrong in the bin of .417, 22.5 right in that of .917, which begins at .8.
    assert curve.p == pytest.approx((1 / (7.5 + 2), (22.5 + 1) / (22.5 + 2)))
    assert curve.upto == (0.8, 1.0)


def test_a_label_may_be_a_share_of_draws() -> None:
    shapes, names = [Shape((3, 2), 5)] * 60, [f"p{i}" for i in range(60)]
    found = fitted(LabelledBallots(shapes, [0.75] * 60, names))
    drawn_out = fitted(LabelledBallots(shapes * 4, [1.0] * 180 + [0.0] * 60, names * 4))
    shape = Shape((3, 2), 5)
    assert found.probability("S", 0.7, shape) == pytest.approx(drawn_out.probability("S", 0.7, shape), abs=1e-6)
    assert found.tiers[0].quality.brier == pytest.approx(drawn_out.tiers[0].quality.brier, abs=1e-6)


def test_quality_is_of_problems_it_has_not_seen() -> None:
    # Labels are noise by problem: a curve that knew the problems would do better than a coin.
    rng = np.random.default_rng(5)
    rows = drawn(120, rng, TRUTH)
    coin = {f"p{i}": float(rng.integers(2)) for i in range(120)}
    voted = [bool(shape.votes) for shape in rows.shapes]
    labels = [coin[name] * v for name, v in zip(rows.problems, voted, strict=True)]
    assert tier(LabelledBallots(rows.shapes, labels, rows.problems)).quality.brier > 0.245


def test_groups_stay_in_one_fold() -> None:
    names = [f"p{i}" for i in range(60)]
    groups = {name: f"g{i // 6}" for i, name in enumerate(names)}
    folds = calibrator._folds(names, groups, 5, 0, "S")
    assert sorted(np.bincount(folds)) == [12] * 5
    assert all(len(set(folds[i : i + 6])) == 1 for i in range(0, 60, 6))
    rows = LabelledBallots([Shape((3, 2), 5)] * 60, [1.0] * 60, names)
    with pytest.raises(SettingError, match="60 labelled problems in 4 groups: give at least 5"):
        fitted(rows, groups={name: f"g{i % 4}" for i, name in enumerate(names)})


def test_a_probability_that_keeps_its_word_errs_as_by_chance() -> None:
    few, many = (tier(drawn(n, np.random.default_rng(6), TRUTH, ks=(5,))).quality for n in (160, 1500))
    assert many.brier < many.share_brier
    assert many.ece < 2 * many.ece_by_chance < 0.1
    assert many.ece_by_chance < few.ece_by_chance


def test_a_probability_that_breaks_its_word_errs_more_than_by_chance() -> None:
    # Half the problems are right whatever the votes, half wrong, in groups that no other fold has seen.
    rng = np.random.default_rng(10)
    rows = drawn(400, rng, TRUTH, ks=(5,))
    voted = np.array([bool(shape.votes) for shape in rows.shapes])
    group = np.array([int(name[1:]) % 5 for name in rows.problems])
    labels = LabelledBallots(rows.shapes, (group < 2) & voted, rows.problems)
    quality = tier(labels, groups={name: f"g{int(name[1:]) % 5}" for name in rows.problems}).quality
    assert quality.ece > 3 * quality.ece_by_chance


def test_ballots_without_a_vote_teach_nothing() -> None:
    rows = drawn(60, np.random.default_rng(7), TRUTH)
    silent = LabelledBallots(
        [*rows.shapes, *[Shape((), 5)] * 9], [*np.asarray(rows.right), *[0.0] * 9], [*rows.problems, *["p0"] * 9]
    )
    assert tier(silent) == tier(rows)
    with pytest.raises(SettingError, match=r"row 1 \(problem q\) is right without a vote"):
        fitted(LabelledBallots([Shape((2,), 3), Shape((), 3)], [1, 1], ["p", "q"]))
    with pytest.raises(SettingError, match="no ballot has a vote"):
        fitted(LabelledBallots([Shape((), 3)], [0], ["p"]))


def test_the_same_labels_give_the_same_calibration_in_any_order() -> None:
    rows = drawn(160, np.random.default_rng(8), TRUTH)
    order = np.random.default_rng(9).permutation(len(rows.shapes))
    mixed = LabelledBallots(
        [rows.shapes[i] for i in order], np.asarray(rows.right)[order], [rows.problems[i] for i in order]
    )
    first, second = fitted(rows), fitted(mixed)
    assert fitted(rows) == first
    assert second.data == first.data
    for shape in ballots(5):
        p = first.probability("S", 0.7, shape)
        assert second.probability("S", 0.7, shape) == pytest.approx(p, abs=1e-5)


def test_bins_of_a_table_that_fall_are_pooled() -> None:
    shapes = [Shape((5,), 5)] * 10 + [Shape((3, 2), 5)] * 10
    curve = tier(LabelledBallots(shapes, [0.0] * 10 + [1.0] * 10, [f"p{i}" for i in range(20)])).curve
    assert isinstance(curve, Table)
    assert curve.p == pytest.approx((0.5, 0.5))


def test_the_fingerprint_is_of_all_problems_of_all_tiers() -> None:
    one = LabelledBallots([Shape((2,), 2)] * 6, [1.0] * 6, [f"a{i}" for i in range(6)])
    two = LabelledBallots([Shape((3,), 4)] * 6, [1.0] * 6, [f"b{i}" for i in range(6)])
    texts = [Problem(ident, f"What is {ident}?") for ident in one.problems]
    found = fit({KEY: one, TierKey("L", 1.0): two}, NONE, DAY, problems=texts)
    assert found.problems == digests([*texts, *(Problem(ident, "") for ident in two.problems)])
    assert [(t.name, t.least_k, t.most_k) for t in found.tiers] == [("S at t=0.7", 2, 2), ("L at t=1", 4, 4)]
    assert found.data == fingerprint(reversed(found.problems))
    assert found.date == DAY


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (LabelledBallots([Shape((2,), 2)], [1, 0], ["p"]), r"have \[1, 2, 1, 1\] rows"),
        (LabelledBallots([], [], []), r"have \[0, 0, 0, 0\] rows"),
        (LabelledBallots([Shape((2,), 2)], [np.nan], ["p"]), r"right of row 0 \(problem p\) is nan"),
        (LabelledBallots([Shape((2,), 2)], [2], ["p"]), r"right of row 0 \(problem p\) is 2\.0"),
        (LabelledBallots([Shape((2,), 2)], [1], ["p"], [np.inf]), r"weight of row 0 \(problem p\) is inf"),
        (LabelledBallots([Shape((2,), 2)], [1], ["p"], [0.0]), "all weights of problem p are 0"),
        (LabelledBallots([Shape((2,), 2)], [1], ["p"]), "1 labelled problem in 1 group:"),
    ],
)
def test_rows_that_cannot_be_fitted_are_refused(rows: LabelledBallots, said: str) -> None:
    with pytest.raises(SettingError, match=said):
        fitted(rows)


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(SettingError, match="tiers: there are none"):
        fit({}, NONE, DAY)
    with pytest.raises(SettingError, match="folds is 1"):
        fitted(drawn(10, np.random.default_rng(0), TRUTH), folds=1)


def recorded(k: int, redraws: int) -> LabelledBallots:
    """BBH date by GPT-3.5: ballots of k of the 40 recorded samples of each problem."""
    path = DATA / "mot_gsm8k_date_samples.parquet"
    if not path.exists():
        pytest.skip(f"no recorded pool {path}: name its folder in ESCALADE_DATA")
    table = pd.read_parquet(path, columns=["dataset", "problem_id", "model", "variant", "answer", "correct"])
    table = table[(table["dataset"] == "date") & (table["model"] == "gpt-3.5-turbo") & (table["variant"] == "cot1")]
    rng = np.random.default_rng(0)
    shapes: list[Shape] = []
    right: list[bool] = []
    problems: list[str] = []
    for problem, rows in table.groupby("problem_id"):
        answers = np.where(rows["correct"], "right", rows["answer"].astype(str))
        for _ in range(redraws):
            found, counts = np.unique(rng.choice(answers, k, replace=False), return_counts=True)
            order = np.argsort(-counts, kind="stable")
            shapes.append(Shape(tuple(int(n) for n in counts[order]), k))
            right.append(found[order[0]] == "right")
            problems.append(str(problem))
    return LabelledBallots(shapes, right, problems)


def test_on_recorded_samples_it_is_nearer_the_truth_than_the_share() -> None:
    quality = tier(recorded(5, redraws=3)).quality
    assert quality.brier < quality.share_brier - 0.02
    assert quality.ece < 0.08
