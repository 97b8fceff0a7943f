"""Probes beside scikit-learn; honesty on planted problems; the text alone beside published hidden states.

training    7,500 problems, 20 blocks of 1,536 numbers: nested folds twice (near-duplicates together, and random), the
            record with its intervals, the probe. The peer chooses block and penalty by GridSearchCV over the same folds
            (StandardScaler, Ridge), neither nested nor scaled: measured on 2 blocks, multiplied.
scoring     1,000,000 texts by a probe of text features. The peer is scikit-learn's own pipeline (TfidfVectorizer with
            the same words, Ridge): measured on 50,000 texts, multiplied.
honesty     planted near-duplicates, whose truth is the AUROC on new premises; labels dealt out anew, to be refused.
recorded    the published system's measurements on GSM8K and MATH (folder named by ESCALADE_DATA, or ../shared/data): a
            probe of the text alone, folds grouped, beside the published probes of hidden states, by the same figures.
"""

from __future__ import annotations

import datetime
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import Figure
from escalade.evaluation.groups import groups_of
from escalade.pool import load_pool
from escalade.probes.judging import judge
from escalade.probes.labels import Labels
from escalade.probes.making import Grouped, Made, make_probe, quality_of
from escalade.probes.probe import Reading
from escalade.probes.quality import Measure
from escalade.probes.reading import Features, Source, features_of
from escalade.probes.ridge import ALPHAS
from escalade.probes.text import TextFeatures
from escalade.probes.training import FOLDS, Block, Target, folds_of
from escalade.problems import Problem
from escalade.statistics.metrics import auroc

PROBLEMS, BLOCKS, WIDTH = 7_500, 20, 1_536
TEXTS, PEER_TEXTS = 1_000_000, 50_000
SHUFFLES, WORLDS = 200, 5
POOL = load_pool("qwen2.5-math")
DAY = datetime.date(2026, 1, 1)
_WORDS = [a + b + c for a in ("ba", "ke", "li", "mo", "su") for b in ("dra", "fen", "gil", "hop") for c in "nrtkmslp"]


def main() -> list[Figure]:
    return [*_training(), *_scoring(), *_duplicates(), *_shuffled(), *_recorded()]


def _training() -> list[Figure]:
    ours, peak = _apart(_train_ours)
    peer, _ = _apart(_train_peer)
    return [
        Figure("training, 20 blocks of 1,536", ours, peer, peer / ours, "s", PROBLEMS),
        Figure("training, peak memory (the features are 0.92)", peak, None, None, "GB", PROBLEMS),
    ]


def _train_ours() -> float:
    blocks, target = _states(BLOCKS)
    start = time.perf_counter()
    _made(target, _embedding(blocks), [f"problem {n}" for n in range(PROBLEMS)], range(PROBLEMS))
    return time.perf_counter() - start


def _train_peer() -> float:
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GridSearchCV, PredefinedSplit
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    few = 2
    blocks, target = _states(few)
    folds = PredefinedSplit(folds_of(range(PROBLEMS), FOLDS, 0))
    start = time.perf_counter()
    for block in blocks:
        search = GridSearchCV(make_pipeline(StandardScaler(), Ridge()), {"ridge__alpha": list(ALPHAS)}, cv=folds)
        search.fit(block.values, target.logit)
    return (time.perf_counter() - start) * BLOCKS / few


def _states(count: int) -> tuple[list[Block], Target]:
    """Numbers like hidden states: some columns are loud, a few directions say how likely success is."""
    rng = np.random.default_rng(0)
    truth = rng.standard_normal(PROBLEMS)
    loud = rng.lognormal(0, 1, WIDTH).astype(np.float32)
    blocks = []
    for block in range(count):
        values = rng.standard_normal((PROBLEMS, WIDTH), dtype=np.float32)
        values[:, :8] += (0.05 * block * truth[:, None]).astype(np.float32)
        blocks.append(Block(f"block {block}", values * loud))
    successes = rng.binomial(5, 1 / (1 + np.exp(-truth))).astype(float)
    return blocks, Target(successes, np.full(PROBLEMS, 5.0))


def _scoring() -> list[Figure]:
    ours, peak = _apart(_score_ours)
    peer, _ = _apart(_score_peer)
    return [
        Figure("scoring texts", ours, peer, peer / ours, "s", TEXTS),
        Figure("scoring texts, peak memory (with the texts)", peak, None, None, "GB", TEXTS),
    ]


def _score_ours() -> float:
    known = list(_stories(2_000, 0))
    target = Target(np.arange(2_000) % 6 / 1.0, np.full(2_000, 5.0))
    probe = _made(target, features_of(known, POOL, Source()), known, range(2_000)).probe
    texts = list(_stories(TEXTS, 1))
    start = time.perf_counter()
    scores = probe.platt.at(probe.raw_of_texts(texts))
    taken = time.perf_counter() - start
    assert scores.shape == (TEXTS,)
    return taken


def _score_peer() -> float:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline

    known = list(_stories(2_000, 0))
    words = list(TextFeatures.of(known).words)
    pattern = r"\\?[^\W\d_]+|[-+*/=^<>%$]"
    counter = TfidfVectorizer(token_pattern=pattern, ngram_range=(1, 2), sublinear_tf=True, vocabulary=words)
    model = make_pipeline(counter, Ridge()).fit(known, np.arange(2_000) % 6)
    texts = list(_stories(PEER_TEXTS, 1))
    start = time.perf_counter()
    model.predict(texts)
    return (time.perf_counter() - start) * TEXTS / PEER_TEXTS


def _stories(count: int, seed: int) -> Iterator[str]:
    """Texts of 45 words and six numbers, about as long as those of GSM8K."""
    rng = np.random.default_rng(seed)
    numbers = rng.integers(2, 5_000, size=(count, 6))
    words = rng.integers(len(_WORDS), size=(count, 39))
    for row in range(count):
        said = [_WORDS[word] for word in words[row]]
        for place, number in zip(range(3, 39, 6), numbers[row].tolist(), strict=True):
            said[place] += f" {number}"
        yield f"{' '.join(said[:20])}. {' '.join(said[20:])}?"


def _duplicates() -> list[Figure]:
    """Each premise is asked four times, and its chance is its own: what the words of others say of it is little."""
    found: list[tuple[float, ...]] = []
    for seed in range(WORLDS):
        texts, target = _premises(1_500, 4, seed)
        grouped = Grouped(*groups_of(_problems(texts)))
        made = _made(target, features_of(texts, POOL, Source()), texts, grouped.groups)
        new, fresh = _premises(6_000, 1, 100 + seed)
        truth = auroc(made.probe.raw_of_texts(new), (fresh.rate > 0.5).astype(float))
        about = made.probe.about
        found.append((_value(about.held_out.auroc) - truth, _value(about.random_folds.auroc) - truth))
    kept, parted = np.array(found).T
    said = "planted duplicates: AUROC less the truth, ours / random folds"
    return [
        Figure(f"{said}, mean", *_both(kept.mean(), parted.mean()), "AUROC", WORLDS),
        Figure(f"{said}, largest", *_both(np.abs(kept).max(), np.abs(parted).max()), "AUROC", WORLDS),
    ]


def _premises(count: int, copies: int, seed: int) -> tuple[list[str], Target]:
    rng = np.random.default_rng(seed)
    long = rng.integers(2, size=count)
    chance = 1 / (1 + np.exp(-(0.5 - long + 3 * rng.standard_normal(count))))
    texts = []
    for premise in range(count):
        said = " ".join(rng.choice(_WORDS, 16 + 4 * int(long[premise])))
        texts += [f"{said} {number}?" for number in rng.integers(2, 99, copies)]
    return texts, Target(rng.binomial(5, np.repeat(chance, copies)).astype(float), np.full(count * copies, 5.0))


def _shuffled() -> list[Figure]:
    """Labels of 120 problems dealt out anew: nothing is left to be predicted."""
    refused = 0
    for seed in range(SHUFFLES):
        rng = np.random.default_rng(seed)
        values = rng.standard_normal((120, 16), dtype=np.float32)
        target = Target(rng.binomial(5, rng.beta(0.7, 0.7, 120)).astype(float), np.full(120, 5.0))
        texts = [f"problem {n}" for n in range(120)]
        made = _made(target, _embedding([Block("made", values)]), texts, range(120), seed)
        refused += made.probe.about.held_out.refusal is not None
    return [Figure("shuffled labels refused (at least 95 wanted)", 100 * refused / SHUFFLES, None, None, "%", SHUFFLES)]


def _recorded() -> list[Figure]:
    folder = Path(os.environ.get("ESCALADE_DATA", Path(__file__).parents[2] / "shared" / "data")) / "pools"
    if not (folder / "kw_wide_math_test.parquet").exists():
        print("no recorded pools: text is not held beside hidden states (name their folder in ESCALADE_DATA)",
              file=sys.stderr)  # fmt: skip
        return []
    figures: list[Figure] = []
    made: dict[tuple[str, str], Made] = {}
    told: dict[tuple[str, str], tuple[Labels, Grouped]] = {}
    for data, dataset in (("gsm8k", "gsm8k"), ("math", "math")):
        table = pd.read_parquet(folder / f"kw_wide_{data}_test.parquet")
        problems = _problems(table["problem"].tolist())
        grouped = Grouped(*groups_of(problems))
        print(f"{data}: {grouped.by}", file=sys.stderr)
        features = features_of(table["problem"].tolist(), POOL, Source())
        for alias, short in (("1.5B", "m1.5b"), ("7B", "m7b")):
            labels = _labels_of(table, problems, alias, short)
            own = make_probe(labels, features, grouped, POOL, name=data, day=DAY)
            made[data, alias], told[data, alias] = own, (labels, grouped)
            about = own.probe.about
            what = f"{data} {alias}"
            for column in (name for name in map(str, table) if name.startswith("probe[") and f"_{short}_" in name):
                if not _of_these_labels(column, dataset, labels.k):
                    continue
                scores = np.clip(table[column].to_numpy(dtype=float), 0, 1)
                theirs = quality_of(scores, labels, "rate", grouped.groups)
                print(f"{what}: {column}: AUROC {theirs.auroc}, Spearman {theirs.spearman}", file=sys.stderr)
                ours = about.held_out
                figures += [
                    Figure(f"{what}: AUROC, text / {column}", *_both(_value(ours.auroc), _value(theirs.auroc)), "AUROC",
                           len(labels)),
                    Figure(f"{what}: Spearman, text / {column}", *_both(_value(ours.spearman), _value(theirs.spearman)),
                           "Spearman", len(labels)),
                ]  # fmt: skip
            said = (f"AUROC grouped {about.held_out.auroc}, random folds {about.random_folds.auroc}; Spearman "
                    f"{about.held_out.spearman}; Brier {about.held_out.brier} (of the mean "
                    f"{about.held_out.base_brier:.3f}); ECE {about.held_out.ece} (by chance "
                    f"{about.held_out.ece_by_chance:.3f}); refused: {about.held_out.refusal}")  # fmt: skip
            print(f"{what}: text: {said}", file=sys.stderr)
    for (data, alias), one in made.items():
        for (other, also), (labels, grouped) in told.items():
            if alias == also and data != other:
                scores = one.probe.platt.at(one.probe.raw_of_texts([p.text for p in labels.problems]))
                found = judge(one.probe, labels, scores, grouped.groups, other).quality
                print(f"text probe of {data} on {other}, {alias}: AUROC {found.auroc}", file=sys.stderr)
                value = _value(found.auroc)
                figures.append(Figure(f"text, trained on {data}, on {other}, {alias}", value, None, None, "AUROC",
                                      found.problems))  # fmt: skip
    return figures


def _labels_of(table: pd.DataFrame, problems: tuple[Problem, ...], alias: str, short: str) -> Labels:
    """Eight samples at t=0.7 and their vote where they are there (MATH), else the greedy sample (GSM8K)."""
    votes = f"mv_{short}_k8_t0.7"
    k, temperature = (8, 0.7) if votes in table else (1, 0.0)
    counts = table[f"c_{short}_k{k}_t{temperature}"].to_numpy(dtype=float)
    majority = table[votes].to_numpy(dtype=float) if votes in table else counts
    return Labels(problems, counts, np.full(len(table), float(k)), majority, alias, temperature, "recorded")


def _of_these_labels(column: str, dataset: str, k: int) -> bool:
    """Whether a published probe was trained on this data set, for labels of as many samples."""
    return column.startswith(f"probe[{dataset}]") and column.endswith("_k8_t0.7" if k == 8 else "_k1_t0.0")


def _made(target: Target, features: Features, texts: list[str], groups: Any, seed: int = 0) -> Made:
    majority = (target.rate > 0.5).astype(float)
    labels = Labels(_problems(texts), target.successes, target.trials, majority, "1.5B", 0.7, "made")
    return make_probe(labels, features, Grouped(groups, "made"), POOL, name="made", day=DAY, seed=seed)


def _embedding(blocks: list[Block]) -> Features:
    return Features(tuple(blocks), Reading(model="made", identity="made"), None, places=(None,) * len(blocks))


def _problems(texts: list[str]) -> tuple[Problem, ...]:
    return tuple(Problem(str(row), text, "1") for row, text in enumerate(texts))


def _both(ours: float, peer: float) -> tuple[float, float, float | None]:
    return float(ours), float(peer), None


def _value(measure: Measure) -> float:
    return float("nan") if measure.value is None else measure.value


def _apart(work: Callable[[], float]) -> tuple[float, float]:
    """Seconds of a piece of work in a process of its own, and the most memory that it had, GB."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_told, args=(work, there))
    process.start()
    there.close()
    seconds, peak = here.recv()
    process.join()
    return seconds, peak


def _told(work: Callable[[], float], to: Connection) -> None:
    seconds = work()
    to.send((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9))
