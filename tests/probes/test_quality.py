"""How good scores are: beside scikit-learn's and scipy's figures, with intervals that cover, and refusals that hold."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import brier_score_loss, roc_auc_score

from escalade.probes.quality import Outcomes, Quality, _figures, quality


def outcomes(n: int, k: int = 5, seed: int = 0) -> tuple[np.ndarray, Outcomes]:
    rng = np.random.default_rng(seed)
    p = rng.random(n).round(2)  # with ties
    c = rng.binomial(k, p).astype(float)
    return p, Outcomes((c > k / 2).astype(float), c / k, np.full(n, float(k)))


def test_figures_are_those_of_others() -> None:
    p, out = outcomes(200)
    found = quality(p, out, range(200))
    assert found.auroc.value == pytest.approx(roc_auc_score(out.sorted_by, p))
    assert found.spearman.value == pytest.approx(spearmanr(p, out.rate).statistic)
    trials = np.concatenate([(np.arange(5) < round(5 * r)).astype(int) for r in out.rate])
    assert found.brier.value == pytest.approx(brier_score_loss(trials, np.repeat(p, 5)))
    assert found.base_brier == pytest.approx(trials.var())


def test_a_weight_is_so_many_copies() -> None:
    p, out = outcomes(60)
    weights = np.random.default_rng(1).integers(0, 4, 60)
    bins = (np.arange(60) % 4)[np.argsort(np.argsort(p))]
    fold = np.arange(60) % 2
    weighted = _figures(p, out, bins, fold, weights[None].astype(float))
    copies = Outcomes(*(np.repeat(values, weights) for values in out))
    plain = _figures(
        np.repeat(p, weights), copies, np.repeat(bins, weights), np.repeat(fold, weights), np.ones((1, weights.sum()))
    )
    for mine, theirs in zip(weighted, plain, strict=True):
        assert mine[0] == pytest.approx(theirs[0])


def test_pairs_across_folds_do_not_count() -> None:
    p, out = outcomes(200)
    fold = np.arange(200) % 4
    told = quality(p, out, range(200), fold=fold)
    moved = quality(p / 2 + (fold == 1) / 2, out, range(200), fold=fold)  # the probe of one fold says more of all
    assert (moved.auroc, moved.spearman) == (told.auroc, told.spearman)
    parts = [roc_auc_score(out.sorted_by[fold == f], p[fold == f]) for f in range(4)]
    assert min(parts) <= told.auroc.value <= max(parts)  # type: ignore[operator]


def test_intervals_cover_the_truth() -> None:
    big, everything = outcomes(200_000, seed=99)
    truth = roc_auc_score(everything.sorted_by, big)
    covered = 0
    for seed in range(60):
        p, out = outcomes(150, seed=seed)
        found = quality(p, out, range(150), seed=seed).auroc
        assert found.low is not None and found.high is not None
        covered += found.low <= truth <= found.high
    assert covered >= 53  # of 60: 88 % at least, where 95 % are meant


def test_duplicates_do_not_narrow_the_interval() -> None:
    p, out = outcomes(60)
    once = quality(p, out, range(60)).auroc
    twice = Outcomes(*(np.tile(values, 4) for values in out))
    copied = quality(np.tile(p, 4), twice, np.tile(np.arange(60), 4)).auroc
    careless = quality(np.tile(p, 4), twice, range(240)).auroc

    def width(measure: object) -> float:
        return measure.high - measure.low  # type: ignore[attr-defined]

    assert width(copied) == pytest.approx(width(once), rel=0.1)
    assert width(careless) < 0.6 * width(once)


def test_chance_is_refused_and_says_why() -> None:
    _, out = outcomes(200)
    reason = quality(np.random.default_rng(5).random(200), out, range(200)).refusal
    assert reason is not None
    assert "AUROC is 0." in reason and "the interval touches 0.5" in reason and "200 problems in 200 groups" in reason


def test_scores_that_are_wrong_way_round_are_refused() -> None:
    p, out = outcomes(300)
    assert quality(1 - p, out, range(300)).refusal is not None


def test_where_all_came_out_alike_nothing_is_told() -> None:
    found = quality(np.linspace(0, 1, 30), Outcomes(np.ones(30), np.ones(30), np.ones(30)), range(30))
    assert found.auroc.value is None
    assert found.refusal is not None and "all the problems it was tried on came out alike" in found.refusal
    assert str(found.auroc) == "unknown"


@pytest.mark.parametrize("right", [1, 9, 31])
def test_a_handful_of_right_or_wrong_answers_is_not_enough(right: int) -> None:
    rate = (np.arange(40) < right).astype(float)
    found = quality(np.linspace(1, 0, 40), Outcomes(rate, rate, np.ones(40)), range(40))
    assert found.auroc.value == 1.0
    assert found.refusal is not None and f"{min(right, 40 - right)} group" in found.refusal
    assert Quality.model_validate_json(found.model_dump_json()) == found


def test_the_interval_of_the_calibration_error_is_around_it() -> None:
    for seed in range(20):
        p, out = outcomes(150, seed=seed)
        found = quality(p, out, range(150)).ece
        assert found.low is not None and found.value is not None and found.high is not None
        assert 0 <= found.low <= found.value <= found.high


def test_a_perfect_score_has_the_error_that_chance_gives() -> None:
    p, out = outcomes(2000, seed=3)
    found = quality(p, out, range(2000))
    assert found.ece.value == pytest.approx(found.ece_by_chance, abs=0.01)
