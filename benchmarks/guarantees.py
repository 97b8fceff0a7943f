"""Promises kept: thresholds certified on labelled problems, beside thresholds set where the loss was just not too high.

Needs the recorded pools (folder named by ESCALADE_DATA, or ../shared/data). A cheap tier votes with five samples; at
what share of the votes is its answer taken, in the place of one sample of the dear tier, at a loss of at most eps?

The pool is the population: a problem drawn at random, a ballot and a sample of the dear tier drawn at random from its
recorded ones (200 such pairs a problem are drawn once, by seed; they are the population, so that its risks are known
exactly). Each of 1,000 resplits draws labelled problems from it, chooses a threshold by each rule, and is broken where
the chosen threshold's true risk exceeds eps. "draws" are independent ones, with replacement, which is what a promise
is about; "half" is a half of the problems without replacement, and "held out" the loss seen on the other half, which
is the noisy one: with a true risk of exactly eps it breaks every other time, whatever the rule.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from benchmarks import Figure
from escalade.answers.kinds import kind_of
from escalade.statistics.guarantees import cost_quantile, fixed_sequence, within_budget
from escalade.statistics.risk import betting_p, binomial_p

SEATS, DELTA, RESPLITS, PAIRS = 5, 0.1, 1_000, 200
LABELS = 1_000
"""Labelled problems of a user who has enough of them."""
_CHUNK = 50

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Loss = Literal["regret", "net"]


class Tier(NamedTuple):
    """Samples of one tier in a recorded pool, and what a unit of their length costs."""

    model: str
    variant: str
    temperature: float | None
    price: float


class Case(NamedTuple):
    """A pair of tiers of a recorded pool."""

    name: str
    file: str
    dataset: str
    low: Tier
    top: Tier


CASES = (
    Case("math100", "math100_ladder_samples", "math", Tier("llama-3.1-8b-instruct", "", 0.0, 0.2),
         Tier("r1-distill-llama-8b+qwq-32b", "", 0.8, 0.9)),
    Case("date", "mot_gsm8k_date_samples", "date", Tier("gpt-3.5-turbo", "cot1", None, 1),
         Tier("gpt-4", "cot1", None, 30)),
    Case("gsm8k", "mot_gsm8k_date_samples", "gsm8k", Tier("llama-2-13b", "pot1", None, 1),
         Tier("gpt-4", "pot1", None, 30)),
    Case("embedded gsm8k", "embedded_gsm8k_samples", "gsm8k", Tier("Qwen2.5-Coder-0.5B-Instruct", "", 0.7, 1),
         Tier("Qwen2.5-Coder-1.5B-Instruct", "", 0.7, 3)),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Population:
    """Pairs of a ballot and a sample of the dear tier, [problem, pair]."""

    votes: Ints
    """Votes of the leader."""
    right: NDArray[np.bool_]
    """Whether the leader is right."""
    top_right: NDArray[np.bool_]
    low_cost: Floats
    top_cost: Floats

    @property
    def size(self) -> int:
        """Problems."""
        return len(self.votes)

    def losses(self, loss: Loss) -> Floats:
        """[problem, pair, threshold] of needing 5, 4, .. 1 votes: from the safest to the boldest."""
        each = self.top_right.astype(float) - self.right
        accepted = self.votes[..., np.newaxis] >= np.arange(SEATS, 0, -1)
        lost = np.maximum(each, 0.0) if loss == "regret" else each
        return np.where(accepted, lost[..., np.newaxis], 0.0)

    def kept(self) -> Floats:
        """Share that stays at the cheap tier, by threshold."""
        accepted = self.votes[..., np.newaxis] >= np.arange(SEATS, 0, -1)
        return np.asarray(accepted.mean(axis=(0, 1)), dtype=np.float64)

    def costs(self) -> Floats:
        """[problem, pair, threshold] of needing 1, 2, .. 5 votes: from the cheapest to the dearest."""
        escalated = self.votes[..., np.newaxis] < np.arange(1, SEATS + 1)
        climbed: Floats = np.where(escalated, self.top_cost[..., np.newaxis], 0.0)
        return climbed + self.low_cost[..., np.newaxis]


def main() -> list[Figure]:
    figures: list[Figure] = []
    if not (_folder() / f"{CASES[0].file}.parquet").exists():
        print("no recorded pools: nothing is measured (name their folder in ESCALADE_DATA)", file=sys.stderr)
        return figures
    for number, case in enumerate(CASES):
        population = _population(case, np.random.default_rng(number))
        losses: tuple[Loss, ...] = ("regret", "net")
        for loss in losses:
            for eps in (0.02, 0.05):
                figures += _risk_figures(case.name, population, loss, eps, np.random.default_rng(100 + number))
        for alpha in (0.1, 0.05):
            figures += _budget_figures(case.name, population, alpha, np.random.default_rng(200 + number))
    for unit, limit in (("% broken", DELTA), ("% exceeded", 0.1), ("% exceeded at 0.05", 0.05)):
        mine = max(f.ours for f in figures if f.unit == unit)
        theirs = max(f.peer for f in figures if f.unit == unit and f.peer is not None)
        figures.append(Figure(f"worst of all ({100 * limit:g} % promised at most)", mine, theirs, None, unit, RESPLITS))
    return figures


def _risk_figures(name: str, population: Population, loss: Loss, eps: float, rng: np.random.Generator) -> list[Figure]:
    table, kept = population.losses(loss), population.kept()
    true = table.mean(axis=(0, 1))
    figures = []
    for how, labels in (("draws", population.size // 2), ("draws", LABELS), ("half", population.size // 2)):
        ours: list[Ints] = []
        naive: list[Ints] = []
        unseen: list[Floats] = []
        for problems, pairs, others in _resplits(population, how, labels, rng):
            seen = np.moveaxis(table[problems, pairs], 1, 2)  # [resplit, threshold, problem]
            tested = binomial_p(seen, eps) if loss == "regret" else betting_p(seen, eps, low=-1.0, delta=DELTA)
            ours.append(np.array([_place(fixed_sequence(p, DELTA)) for p in tested]))
            holds = seen.mean(axis=2) <= eps
            naive.append(np.where(holds.any(axis=1), SEATS - 1 - np.argmax(holds[:, ::-1], axis=1), -1))
            if others is not None:
                unseen.append(table[others, rng.integers(PAIRS, size=others.shape)].mean(axis=1))
        mine, theirs = np.concatenate(ours), np.concatenate(naive)
        what = f"{name}, {loss} <= {eps:g}, {labels} {'labels' if how == 'draws' else 'of a half'}"
        figures.append(_beside(what, _true(true, mine) > eps, _true(true, theirs) > eps, "% broken"))
        figures.append(_beside(f"{what}: kept at the cheap tier", _true(kept, mine), _true(kept, theirs), "%"))
        if unseen:
            held, row = np.concatenate(unseen), np.arange(RESPLITS)
            ours_above, naive_above = (np.where(c < 0, 0.0, held[row, c]) > eps + 1e-12 for c in (mine, theirs))
            figures.append(_beside(f"{what}: held out, with its own noise", ours_above, naive_above, "% above"))
    return figures


def _budget_figures(name: str, population: Population, alpha: float, rng: np.random.Generator) -> list[Figure]:
    table = population.costs()
    labels = population.size // 2
    budget = float(np.quantile(table[..., SEATS - 2], 1 - alpha))  # so that one route or another is just above alpha
    exceeds = (table > budget).mean(axis=(0, 1))
    split: list[float] = []
    plain: list[float] = []
    chosen: list[int] = []
    naive: list[int] = []
    for problems, pairs, _ in _resplits(population, "draws", labels, rng):
        for seen in np.moveaxis(table[problems, pairs], 1, 2):
            promised = cost_quantile(seen[-1], alpha)
            split.append(float((table[..., -1] > promised).mean()))
            plain.append(float((table[..., -1] > np.quantile(seen[-1], 1 - alpha)).mean()))
            chosen.append(_place(within_budget(seen, budget, alpha)))
            naive.append(int(((seen > budget).mean(axis=1) <= alpha).sum()) - 1)
    unit = "% exceeded" if alpha == 0.1 else "% exceeded at 0.05"
    mine, theirs = (_true(exceeds, np.array(c)) for c in (chosen, naive))
    return [
        _beside(f"{name}, budget promised at {alpha:g}", split, plain, unit),
        _beside(f"{name}, route chosen for a budget at {alpha:g}", mine, theirs, unit),
    ]


def _resplits(
    population: Population, how: str, labels: int, rng: np.random.Generator
) -> Iterator[tuple[Ints, Ints, Ints | None]]:
    """Yield labelled problems and pairs [resplit, label], and the other problems where problems are halved."""
    for _ in range(RESPLITS // _CHUNK):
        if how == "half":
            orders = rng.permuted(np.tile(np.arange(population.size), (_CHUNK, 1)), axis=1)
            problems, others = orders[:, :labels], orders[:, labels:]
        else:
            problems, others = rng.integers(population.size, size=(_CHUNK, labels)), None
        yield problems, rng.integers(PAIRS, size=problems.shape), others


def _population(case: Case, rng: np.random.Generator) -> Population:
    table = pd.read_parquet(_folder() / f"{case.file}.parquet")
    table = table[table["dataset"] == case.dataset]
    length = "n_chars" if "n_chars" in table else "completion_tokens"
    if table[length].isna().any():
        table = table.assign(**{length: table["text"].str.len()})
    low, top = (
        {str(problem): rows for problem, rows in _rows(table, tier).groupby("problem_id")}
        for tier in (case.low, case.top)
    )
    columns: list[tuple[Ints, Ints, Ints, Floats, Floats]] = []
    for problem in sorted(low.keys() & top.keys()):
        cheap, dear = low[problem], top[problem]
        if len(cheap) < SEATS:
            continue
        ballots = np.argsort(rng.random((PAIRS, len(cheap))), axis=1)[:, :SEATS]
        singles = rng.integers(len(dear), size=PAIRS)
        classes, right = _classes(cheap)
        votes, leader = _leaders(classes[ballots])
        lengths = cheap[length].to_numpy(float)[ballots].sum(axis=1)
        columns.append(
            (
                votes,
                (votes > 0) & (leader == right),
                dear["correct"].to_numpy(bool)[singles],
                lengths * case.low.price,
                dear[length].to_numpy(float)[singles] * case.top.price,
            )
        )
    votes_of, right_of, top_right, low_cost, top_cost = (np.array(column) for column in zip(*columns, strict=True))
    return Population(votes_of, right_of, top_right, low_cost, top_cost)


def _rows(table: pd.DataFrame, tier: Tier) -> pd.DataFrame:
    """Return the samples of a tier; "cot1|ambiguous" is cot1."""
    rows = table[table["model"] == tier.model]
    same = rows["temperature"].isna() if tier.temperature is None else rows["temperature"] == tier.temperature
    rows = rows[same]
    return rows[rows["variant"].str.split("|").str[0] == tier.variant] if tier.variant else rows


def _classes(samples: pd.DataFrame) -> tuple[Ints, int]:
    """Return the class of each sample (-1: abstains), and the right one's; right answers are one class."""
    kind = kind_of("math")
    keys = [
        " right" if right else None if answer is None or answer != answer else kind.key(str(answer))
        for answer, right in zip(samples["answer"], samples["correct"], strict=True)
    ]
    names = sorted({key for key in keys if key is not None} | {" right"})
    return np.array([-1 if key is None else names.index(key) for key in keys]), names.index(" right")


def _leaders(ballots: Ints) -> tuple[Ints, Ints]:
    """Return votes and class of each ballot's leader, [pair, seat] -> [pair]; a tie goes to a class at random.

    Which one is fixed by the order of the seats, and that is random.
    """
    same = (ballots[:, :, np.newaxis] == ballots[:, np.newaxis, :]) & (ballots >= 0)[:, :, np.newaxis]
    votes = same.sum(axis=2)
    first = votes.argmax(axis=1)
    rows = np.arange(len(ballots))
    return votes[rows, first], ballots[rows, first]


def _place(chosen: int | None) -> int:
    return -1 if chosen is None else chosen


def _true(of_threshold: Floats, chosen: Ints) -> Floats:
    """Return the value of each chosen threshold; nothing chosen keeps nothing, loses nothing and promises nothing."""
    return np.where(chosen < 0, 0.0, of_threshold[chosen])


def _beside(what: str, ours: ArrayLike, naive: ArrayLike, unit: str) -> Figure:
    mine, theirs = (100 * float(np.mean(np.asarray(values, dtype=np.float64))) for values in (ours, naive))
    return Figure(what, mine, theirs, None, unit, RESPLITS)


def _folder() -> Path:
    return Path(os.environ.get("ESCALADE_DATA", Path(__file__).parents[2] / "shared" / "data")) / "pools"
