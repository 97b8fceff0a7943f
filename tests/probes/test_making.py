"""A probe and its record: the record is what new problems show, and chance is refused."""

import datetime

import numpy as np
import pytest

from escalade.errors import SettingError
from escalade.evaluation.groups import groups_of
from escalade.probes.making import Grouped, Made, make_probe
from escalade.probes.quality import Outcomes, quality
from escalade.probes.reading import Source, features_of
from escalade.probes.training import Block, Target, folds_of, nested
from escalade.statistics.metrics import auroc
from tests.probes.planted import POOL, Planted, features, labels, planted

DAY = datetime.date(2026, 1, 1)
COPIES = 4


def texts_of(count: int) -> list[str]:
    """Texts that share no five words."""
    return [" ".join(f"{word}{n}" for word in "abcdefg") for n in range(count)]


def made(data: Planted, *, label: str | None = None, seed: int = 0) -> Made:
    texts = texts_of(len(data.chance))
    kind = "majority" if label == "majority" else None
    grouped = Grouped(range(len(texts)), "each on its own")
    told = labels(data.target, texts)
    return make_probe(told, features(data.blocks), grouped, POOL, name="planted", day=DAY, label=kind, seed=seed)


def with_copies(groups: int, seed: int, copies: int = COPIES) -> tuple[list[str], np.ndarray, Target]:
    """Premises, each asked in several ways; the chance is the premise's, and one feature says a little of it."""
    rng = np.random.default_rng(seed)
    told = rng.normal(size=groups)
    chance = np.repeat(1 / (1 + np.exp(-(0.8 * told + 4 * rng.normal(size=groups)))), copies)
    premise = rng.standard_normal((groups, 700), dtype=np.float32)
    premise[:, 0] = 8 * told
    values = np.repeat(premise, copies, axis=0) + 0.3 * rng.standard_normal((groups * copies, 700), dtype=np.float32)
    words = [" ".join(map(str, rng.integers(10**6, 10**7, 12))) for _ in range(groups)]
    texts = [f"{premise} way {way}?" for premise in words for way in range(copies)]
    target = Target(rng.binomial(5, chance).astype(float), np.full(len(chance), 5.0))
    return texts, values, target


def test_duplicates_do_not_flatter_the_record_and_random_folds_show_what_they_would_have_done() -> None:
    texts, values, target = with_copies(600, seed=0)
    told = labels(target, texts)
    grouped = Grouped(*groups_of(told.problems))
    assert grouped.by == "2,400 problems in 600 groups of near-duplicates"
    probe = make_probe(told, features([Block("made", values)]), grouped, POOL, name="copies", day=DAY).probe
    _, new, fresh = with_copies(5_000, seed=1, copies=1)
    truth = auroc(probe.raw_of([new] * len(probe.lines)), (fresh.rate > 0.5).astype(float))
    kept, parted = probe.about.held_out.auroc.value, probe.about.random_folds.auroc.value
    assert kept == pytest.approx(truth, abs=0.03)
    assert parted is not None and parted > truth + 0.3
    assert probe.about.held_out.groups == 600


def test_shuffled_labels_are_refused() -> None:
    refused = 0
    for seed in range(200):
        data = planted(80, 5, blocks=1, told=0, seed=seed)
        shuffled = data.target.successes[np.random.default_rng(seed).permutation(80)]
        target = Target(shuffled, data.target.trials)
        fold = folds_of(range(80), 5, seed)
        said = nested(data.blocks, target, fold).scores
        outcomes = Outcomes((target.rate > 0.5).astype(float), target.rate, target.trials)
        refused += quality(said, outcomes, range(80), fold=fold, seed=seed).refusal is not None
    assert refused >= 190


def test_the_same_again_is_the_same_probe() -> None:
    data = planted(150)
    assert made(data).probe.sha256 == made(data).probe.sha256
    assert made(data).probe.sha256 != made(data, seed=1).probe.sha256


def test_what_it_says_of_itself() -> None:
    data = planted(200)
    found = made(data)
    about = found.probe.about
    assert (about.features, about.label, about.k, about.temperature, about.alias) == ("embedding", "rate", 5, 0.7, "S")
    assert about.model.name == POOL["S"].name
    assert [member.features for member in about.members] == ["block 1"]
    assert about.held_out.refusal is None
    assert about.prior_strength is not None and about.prior_strength > 2
    assert about.held_out.ceiling is not None and about.held_out.spearman.value is not None
    assert about.held_out.spearman.value < about.held_out.ceiling
    assert all(found.probe.seen(labels(data.target, texts_of(200)).problems))
    assert np.corrcoef(found.held_out, data.chance)[0, 1] > 0.8


def test_a_majority_is_predicted_as_such() -> None:
    data = planted(200)
    about = made(data, label="majority").probe.about
    assert about.label == "majority"
    assert about.prior_strength is None


def test_text_alone_can_be_enough() -> None:
    rng = np.random.default_rng(0)
    hard = rng.integers(0, 2, 300)
    texts = [
        f"Tom has {n} apples" + " and loses a third of them" * 2 * h + f" on day {n * 7}."
        for n, h in enumerate(hard.tolist())
    ]
    target = Target(rng.binomial(5, np.where(hard, 0.2, 0.8)).astype(float), np.full(300, 5.0))
    told = labels(target, texts)
    grouped = Grouped(range(300), "each on its own")
    probe = make_probe(told, features_of(texts, POOL, Source()), grouped, POOL, name="t", day=DAY).probe
    assert probe.about.features == "text"
    assert probe.about.held_out.auroc.value is not None and probe.about.held_out.auroc.value > 0.85
    easy, difficult = probe.platt.at(probe.raw_of_texts([texts[int(np.argmin(hard))], texts[int(np.argmax(hard))]]))
    assert easy > 0.6 > 0.4 > difficult


def test_too_few_problems_are_refused() -> None:
    with pytest.raises(SettingError, match="4 labelled problems in 4 groups of near-duplicates cannot fill 5 folds"):
        made(planted(4))
