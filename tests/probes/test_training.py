"""Training: what chooses, what scales and what tests are different problems."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from escalade.errors import SettingError
from escalade.probes.training import Block, Target, folds_of, nested, trained
from escalade.statistics.metrics import auroc, spearman
from tests.probes.planted import planted, shifted


@given(st.lists(st.integers(0, 30), min_size=40, max_size=120), st.integers(3, 6), st.integers(0, 9))
def test_groups_stay_together(groups: list[int], folds: int, seed: int) -> None:
    if len(set(groups)) < folds:
        return
    fold = folds_of(groups, folds, seed)
    assert set(fold.tolist()) == set(range(folds))
    for group in set(groups):
        assert len({f for f, g in zip(fold.tolist(), groups, strict=True) if g == group}) == 1


def test_single_problems_fill_folds_evenly() -> None:
    assert np.bincount(folds_of(range(103), 5, seed=3)).tolist() == [21, 21, 21, 20, 20]
    assert folds_of(range(50), 5, seed=3).tolist() != folds_of(range(50), 5, seed=4).tolist()


@pytest.mark.parametrize(("groups", "folds", "said"), [("aabb", 3, "2 groups"), ("abcd", 2, "at least 3")])
def test_what_cannot_be_dealt(groups: str, folds: int, said: str) -> None:
    with pytest.raises(SettingError, match=said):
        folds_of(list(groups), folds, seed=0)


def test_the_block_that_sees_is_found_and_its_scores_are_near_the_truth() -> None:
    made = planted(600, told=2)
    fold = folds_of(range(600), 5, 0)
    found = nested(made.blocks, made.target, fold)
    assert spearman(made.chance, found.scores) > 0.9
    assert np.abs(found.scores - made.chance).mean() < 0.1
    final = trained(made.blocks, made.target, fold, found.judged)
    assert [member.block for member in final.members] == [2]  # noise is not averaged with what sees
    assert spearman(made.chance, final.scores(made.blocks)) > 0.9


def test_blocks_that_see_alike_are_averaged_and_no_more_than_three() -> None:
    made = planted(400, blocks=5, told=0)
    rng = np.random.default_rng(1)
    alike = tuple(
        Block(f"copy {n}", (made.blocks[0].values + 0.3 * rng.normal(size=made.blocks[0].values.shape)).astype("f4"))
        for n in range(5)
    )
    fold = folds_of(range(400), 5, 0)
    final = trained(alike, made.target, fold, nested(alike, made.target, fold).judged)
    assert len(final.members) == len({member.block for member in final.members}) == 3
    assert final.members[0].judged == max(member.judged for member in final.members)


def test_a_folds_own_labels_have_no_part_in_its_scores() -> None:
    made = planted(200)
    fold = folds_of(range(200), 5, 0)
    before = nested(made.blocks, made.target, fold)
    for test in range(5):
        own = fold == test
        changed = made.target.successes.copy()
        changed[own] = shifted(changed[own], 7)
        after = nested(made.blocks, Target(changed, made.target.trials), fold)
        assert after.scores[own].tolist() == before.scores[own].tolist()
        assert after.scores[~own].tolist() != before.scores[~own].tolist()


def test_the_fold_that_scales_has_no_part_in_the_choice() -> None:
    made = planted(200)
    fold = folds_of(range(200), 5, 0)
    before = nested(made.blocks, made.target, fold)
    scale = fold == 1
    changed = made.target.successes.copy()
    changed[scale] = shifted(changed[scale], 7)
    after = nested(made.blocks, Target(changed, made.target.trials), fold)
    assert after.judged[0].tolist() == before.judged[0].tolist()  # fold 0 tested, fold 1 scaled


def test_more_trials_weigh_more() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 1)).astype(np.float32)
    k = np.where(np.arange(300) % 2 == 0, 50.0, 1.0)
    right = np.where(np.arange(300) % 2 == 0, x[:, 0] > 0, x[:, 0] < 0)  # the single trials say the contrary
    target = Target(right * k, k)
    assert auroc(x[:, 0] > 0, nested([Block("x", x)], target, folds_of(range(300), 5, 0)).scores) > 0.85


def test_labels_of_zero_and_one_are_fitted_by_their_likelihood() -> None:
    from sklearn.linear_model import LogisticRegression

    made = planted(400, k=1, blocks=1, told=0)
    fold = folds_of(range(400), 5, 0)
    final = trained(made.blocks, made.target, fold, nested(made.blocks, made.target, fold).judged)
    member, rows = final.members[0], fold != 0
    x, share = made.blocks[0].values[rows], made.target.rate[rows].mean()
    scaled = (x - x.mean(axis=0)) / x.std(axis=0)
    theirs = LogisticRegression(C=1 / (member.alpha * share * (1 - share)), max_iter=1000)
    theirs.fit(scaled, made.target.successes[rows])
    assert member.line.at(x) == pytest.approx(theirs.decision_function(scaled), abs=0.01)


def test_more_columns_than_problems_and_far_from_zero() -> None:
    rng = np.random.default_rng(0)
    n, d = 150, 400
    truth = rng.normal(size=n)
    x = (1e4 + rng.normal(size=(n, d)) + 2 * truth[:, None] * (np.arange(d) < 40)).astype(np.float32)
    target = Target(rng.binomial(8, 1 / (1 + np.exp(-2 * truth))).astype(float), np.full(n, 8.0))
    assert spearman(truth, nested([Block("x", x)], target, folds_of(range(n), 5, 0)).scores) > 0.8


def test_what_cannot_be_learned_is_refused() -> None:
    made = planted(60)
    fold = folds_of(range(60), 5, 0)
    with pytest.raises(SettingError, match=r"60 problems came out alike \(100 % right\)"):
        nested(made.blocks, Target(made.target.trials, made.target.trials), fold)
    values = made.blocks[0].values.copy()
    values[7, 3] = np.nan
    with pytest.raises(SettingError, match=r"layer 3.*problem 7 has one that is NaN"):
        Block("layer 3", values)
