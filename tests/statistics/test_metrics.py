"""Estimators against enumeration, against the library that has them, and on input they must refuse."""

import math
from itertools import combinations, permutations

import numpy as np
import pytest

from escalade.errors import InputError, SettingError, TableError
from escalade.statistics.metrics import (
    accuracy,
    auroc,
    brier,
    calibration_error,
    log_loss,
    majority_at_k,
    pass_at_k,
    risk_coverage,
    spearman,
)


def enumerated_majority(correct: int, others: list[int], k: int, abstentions: int) -> float:
    """Draw every k of the samples; class 0 is right, -1 an abstention; a tie is won by its share."""
    pool = [0] * correct + [c for c, size in enumerate(others, 1) for _ in range(size)] + [-1] * abstentions
    won = 0.0
    for drawn in combinations(pool, k):
        votes = {c: drawn.count(c) for c in set(drawn) - {-1}}
        if votes and votes.get(0, 0) == max(votes.values()):
            won += 1 / list(votes.values()).count(votes[0])
    return won / math.comb(len(pool), k)


def test_p18_pass_at_k_is_a_chance_over_draws_and_no_mean_correctness() -> None:
    for n in range(1, 8):
        for correct in range(n + 1):
            pool = [True] * correct + [False] * (n - correct)
            for k in range(1, n + 1):
                draws = [any(drawn) for drawn in combinations(pool, k)]
                assert pass_at_k(n, correct, k) == pytest.approx(sum(draws) / len(draws), abs=1e-12)
    counts = [8] * 80 + [4] * 17 + [0] * 3  # mean correctness .885, pass@8 .97
    assert np.mean([pass_at_k(8, c, 8) for c in counts]) == pytest.approx(0.97)
    assert math.isnan(pass_at_k(7, 7, 8))


@pytest.mark.parametrize(("n", "correct"), [(3, 4), (3, -1)])
def test_more_right_samples_than_samples_are_refused(n: int, correct: int) -> None:
    with pytest.raises(TableError, match=f"{correct} of {n} samples"):
        pass_at_k(n, correct, 2)


def test_majority_at_k_equals_enumeration() -> None:
    rng = np.random.default_rng(4)
    for _ in range(150):
        correct, abstentions = int(rng.integers(0, 5)), int(rng.integers(0, 3))
        others = rng.integers(0, 4, size=rng.integers(0, 4)).tolist()
        n = correct + abstentions + sum(others)
        for k in range(1, min(n, 6) + 1):
            exact = majority_at_k(correct, others, k, abstentions=abstentions)
            assert exact == pytest.approx(enumerated_majority(correct, others, k, abstentions), abs=1e-12)


def test_the_chances_of_all_classes_and_of_no_vote_at_all_make_one() -> None:
    sizes, abstentions, k = [20, 12, 12, 5, 3, 1], 14, 10
    chances = [majority_at_k(size, sizes[:i] + sizes[i + 1 :], k, abstentions=14) for i, size in enumerate(sizes)]
    nobody = math.comb(abstentions, k) / math.comb(sum(sizes) + abstentions, k)
    assert sum(chances) + nobody == pytest.approx(1, abs=1e-12)
    assert chances[1] == chances[2]


def test_majority_at_k_with_too_few_samples_is_not_a_number() -> None:
    assert math.isnan(majority_at_k(3, [2], 6))
    assert math.isnan(majority_at_k(3, [2], 0))
    assert majority_at_k(0, [2], 1, abstentions=5) == 0
    with pytest.raises(TableError, match="`others` has the count -1"):
        majority_at_k(3, [-1], 1)


def test_scores_of_confidence_are_those_of_scikit_learn() -> None:
    theirs = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    p = rng.choice([0.1, 0.2, 0.4, 0.6, 0.8, 0.95], 300)
    y = (rng.random(300) < p).astype(int)
    assert auroc(p, y) == pytest.approx(theirs.roc_auc_score(y, p), abs=1e-12)
    assert brier(p, y) == pytest.approx(theirs.brier_score_loss(y, p), abs=1e-12)
    assert log_loss(p, y) == pytest.approx(theirs.log_loss(y, p), abs=1e-12)


def test_auroc_of_one_class_and_of_ties() -> None:
    assert math.isnan(auroc([0.1, 0.9], [1, 1]))
    assert math.isnan(auroc([0.1, 0.9], [0, 0]))
    assert auroc([0.5] * 6, [1, 0, 1, 0, 0, 1]) == 0.5
    assert auroc([-3, 40], [0, 1]) == 1  # any number that rises with belief


def test_certainty_that_was_wrong_is_infinitely_bad() -> None:
    assert log_loss([1.0, 0.3], [0, 1]) == math.inf
    assert log_loss([1.0, 0.0], [1, 0]) == 0


def test_calibration_error_does_not_depend_on_the_order_of_rows() -> None:
    rng = np.random.default_rng(1)
    p = rng.integers(0, 6, 500) / 5  # shares of five votes: six values, 0 and 1 among them
    y = rng.random(500) < 0.8 * p + 0.1
    found = calibration_error(p, y, simulations=200)
    order = rng.permutation(500)
    assert calibration_error(p[order], y[order], simulations=200).value == pytest.approx(found.value, abs=1e-12)
    assert found.bins <= 6
    by_value = sum(abs(p[p == v] - y[p == v]).size * abs((p[p == v] - y[p == v]).mean()) for v in set(p)) / 500
    assert calibration_error(p, y, bins=500).value == pytest.approx(by_value, abs=1e-12)


def test_calibration_error_counts_confidences_of_zero() -> None:
    assert calibration_error([0.0] * 50 + [1.0] * 50, [1] * 50 + [1] * 50, bins=15).value == 0.5


def test_calibration_error_beside_that_of_a_perfect_confidence() -> None:
    rng = np.random.default_rng(2)
    p = rng.beta(2, 1, 400)
    perfect = [calibration_error(p, rng.random(400) < p, simulations=50).value for _ in range(100)]
    found = calibration_error(p, rng.random(400) < p**3)
    assert found.bins == 8
    assert found.expected == pytest.approx(np.mean(perfect), rel=0.1)
    assert found.value > 2 * found.expected
    assert calibration_error(p, p > 0.5, seed=3) == calibration_error(p, p > 0.5, seed=3)


def test_area_under_risk_and_coverage_is_the_mean_over_orders_within_ties() -> None:
    p, y = [0.9, 0.5, 0.5, 0.5, 0.1], [1.0, 0.0, 1.0, 1.0, 0.0]
    areas = []
    for tied in permutations(y[1:4]):
        wrong = np.cumsum(1 - np.array([y[0], *tied, y[4]]))
        areas.append(float(np.mean(wrong / np.arange(1, 6))))
    curve = risk_coverage(p, y)
    assert curve.area == pytest.approx(np.mean(areas), abs=1e-12)
    assert curve.coverage.tolist() == [0.2, 0.8, 1.0]
    assert curve.risk.tolist() == [0, 0.25, 0.4]


def test_risk_at_full_coverage_is_what_accuracy_lacks() -> None:
    rng = np.random.default_rng(3)
    p, y = rng.random(200), rng.random(200)
    assert risk_coverage(p, y).risk[-1] == pytest.approx(1 - accuracy(y), abs=1e-12)


def test_spearman_is_that_of_scipy() -> None:
    theirs = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(5)
    a = rng.integers(0, 9, 200) / 8
    b = a + rng.normal(0, 0.4, 200)
    assert spearman(a, b) == pytest.approx(theirs.spearmanr(a, b).statistic, abs=1e-12)
    assert math.isnan(spearman([1, 1, 1], [1, 2, 3]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: accuracy([]), "`correct` is empty"),
        (lambda: accuracy([1, math.nan, math.nan]), r"`correct` is nan in row 1 \(and in 1 further rows\)"),
        (lambda: accuracy([[1, 0]]), r"the shape \(1, 2\)"),
        (lambda: accuracy(["right"]), "no column of numbers"),
        (lambda: brier([0.5, 1.2], [0, 1]), "`confidence` is 1.2 in row 1: it must be a number from 0 to 1"),
        (lambda: brier([0.5], [0, 1]), "`confidence` has 1 rows and `correct` has 2"),
        (lambda: log_loss([0.5, 0.5], [0, 0.4]), "`correct` is 0.4 in row 1: a label is 0 or 1"),
        (lambda: auroc([math.inf], [1]), "`confidence` is inf in row 0: it must be a finite number"),
        (lambda: spearman([1, 2], [1]), "`a` has 2 rows and `b` has 1"),
        (lambda: risk_coverage([0.4], [-0.1]), "`correct` is -0.1 in row 0"),
    ],
)
def test_what_is_no_column_is_refused(call: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()  # type: ignore[operator]


def test_bins_and_simulations_are_at_least_one() -> None:
    with pytest.raises(SettingError, match="0 bins"):
        calibration_error([0.5], [1], bins=0)
