"""Tuned routes on problems that had no say in them, beside the best single model at equal cost; certificates kept.

Needs the recorded pools (folder named by ESCALADE_DATA, or ../shared/data). Prices are USD per million characters (for
embedded_gsm8k per million tokens); problems count by groups of near-duplicates.

halves        50 random halves of each pool, five budgets: chosen on one half, told on the other. The single model is
              chosen on the same half, at a cost of at most that of the tuned route.
largest tier  math100: the cheapest route that is as accurate as one sample of the largest tier, in-sample, in 10 x 5
              parts and on halves; the cost is the ratio to that sample's.
certificates  whole procedure (path, split, tests) on labels drawn anew with replacement from the pool, whose own
              losses are the truth: how often the certified policy loses more than promised, or costs more.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmarks import Figure
from escalade.evaluation.bank import Bank
from escalade.evaluation.groups import groups_of
from escalade.evaluation.sources import open_bank
from escalade.pool import Pool, PoolModel, Price
from escalade.routes import parse_route
from escalade.tuning.candidates import Sort, Trials, try_all
from escalade.tuning.certificate import certify, realised
from escalade.tuning.goals import Goal, best_single, choose
from escalade.tuning.splits import parts_of
from escalade.tuning.tuning import tune

HALVES, BUDGETS = 50, 5


class Case(NamedTuple):
    """Models of a recorded pool, the cheapest first, each with its price; one prompt of several."""

    name: str
    file: str
    dataset: str | None
    variant: str | None
    models: tuple[tuple[str, str, str], ...]
    """Alias, name, price."""
    reference: str


CASES = (
    Case("math100", "math100_ladder_samples", None, None, (("8B", "llama-3.1-8b-instruct", "0.2"),
         ("R8B", "deepseek-r1-distill-llama-8b", "0.2"), ("32B", "r1-distill-llama-8b+qwq-32b", "0.9")),
         "mv_32B_k1_t0.8"),
    Case("date", "mot_gsm8k_date_samples", "date", "cot1", (("13B", "llama-2-13b", "0.3"),
         ("3.5", "gpt-3.5-turbo", "2"), ("4", "gpt-4", "60")), "mv_4_k1_t0.7"),
    Case("gsm8k", "mot_gsm8k_date_samples", "gsm8k", "pot1", (("13B", "llama-2-13b", "0.3"), ("4", "gpt-4", "60")),
         "mv_4_k1_t0.7"),
    Case("embedded", "embedded_gsm8k_samples", None, None, (("135M", "SmolLM2-135M-Instruct", "0.05"),
         ("0.5B", "Qwen2.5-Coder-0.5B-Instruct", "0.1"), ("1.5B", "Qwen2.5-Coder-1.5B-Instruct", "0.3")),
         "mv_1.5B_k1_t0.7"),
)  # fmt: skip


def main() -> list[Figure]:
    figures: list[Figure] = []
    if not (_folder() / f"{CASES[0].file}.parquet").exists():
        print("no recorded pools: nothing is measured (name their folder in ESCALADE_DATA)", file=sys.stderr)
        return figures
    for case in CASES:
        bank = _bank(case)
        trials = try_all(bank)
        groups, note = groups_of(bank.problems)
        print(f"{case.name}: {note}, {len(trials.candidates):,} candidates", file=sys.stderr)
        figures += _half_figures(case, trials, groups)
        if case.name == "math100":
            figures += _largest_tier(case, bank, trials, groups)
        for labels, eps, resplits in ((300, 0.05, 150), (1_000, 0.02, 25)):
            figures += _certificate_figures(case, bank, trials, labels, eps, resplits)
    worst = min(f.ours for f in figures if f.unit == "points over single")
    figures.append(Figure("worst of all (at least -0.5 wanted)", worst, None, None, "points over single", HALVES))
    return figures


def _half_figures(case: Case, trials: Trials, groups: list[int]) -> list[Figure]:
    cost, sorts = trials.cost.mean(axis=1), trials.sorts
    direct = cost[sorts == Sort.DIRECT]
    figures = []
    for budget in np.geomspace(1.2 * direct.min(), 2 * direct.max(), BUDGETS):
        rows = []
        for seed in range(HALVES):
            part = parts_of(groups, (0.5, 0.5), np.random.default_rng(seed))
            counts, other = (part == 0).astype(np.int64), part == 1
            place, _ = choose(trials, counts, Goal(budget=float(budget)))
            single = best_single(trials, counts, float(trials.cost[place] @ counts / counts.sum()))
            mine, theirs = trials.correct[place, other].mean(), trials.correct[single, other].mean()
            optimism = trials.correct[place] @ counts / counts.sum() - mine
            rows.append((mine, theirs, optimism, trials.cost[place, other].mean()))
        mine, theirs, optimism, spent = 100 * np.mean(rows, axis=0)
        at = f"{case.name}, budget {budget:.2g} USD (held out {spent / 100:.2g})"
        figures += [
            Figure(f"{at}: right held out, beside single", mine, theirs, None, "%", HALVES),
            Figure(f"{at}: gain", mine - theirs, None, None, "points over single", HALVES),
            Figure(f"{at}: optimism", optimism, None, None, "points", HALVES),
        ]
    return figures


def _largest_tier(case: Case, bank: Bank, trials: Trials, groups: list[int]) -> list[Figure]:
    reference = parse_route(case.reference, bank.pool)
    against = trials.place(reference)
    figures = []
    for caution in (0.0, 0.5):
        goal = Goal(accuracy=reference, caution=caution)
        tuned = tune(trials, goal, groups=groups, reference=reference)
        said = f"math100, as accurate as {case.reference}, caution {caution:g}"
        inside, held, top = tuned.in_sample, tuned.held_out, tuned.reference_numbers
        rows = []
        for seed in range(HALVES):
            part = parts_of(groups, (0.5, 0.5), np.random.default_rng(seed))
            place, _ = choose(trials, (part == 0).astype(np.int64), goal)
            other = part == 1
            right = (trials.correct[place, other].mean(), trials.correct[against, other].mean())
            rows.append((*right, trials.cost[place, other].mean(), trials.cost[against, other].mean()))
        mine, theirs, spent, most = np.mean(rows, axis=0)
        for how, ours, peer, ratio in (
            ("in-sample", inside.accuracy.value, top.accuracy.value, inside.cost.value / top.cost.value),
            ("10 x 5 parts", held.accuracy.value, top.accuracy.value, tuned.cost_to_reference.value),
            ("halves", mine, theirs, spent / most),
        ):
            figures.append(Figure(f"{said}, {how}: right", 100 * ours, 100 * peer, None, "%", tuned.problems))
            figures.append(Figure(f"{said}, {how}: cost", 100 * ratio, 100.0, None, "% of cost", tuned.problems))
        shown = float(tuned.against_reference.shown)
        figures.append(
            Figure(f"{said}: non-inferior at 1 point (1 shown, 0 not)", shown, None, None, "verdict", tuned.groups)
        )
    return figures


def _certificate_figures(
    case: Case, bank: Bank, trials: Trials, labels: int, eps: float, resplits: int
) -> list[Figure]:
    reference = parse_route(case.reference, bank.pool)
    against = trials.place(reference)
    truth = trials.correct[against].mean() - trials.correct.mean(axis=1)
    cost = trials.cost.mean(axis=1) / trials.cost[against].mean()
    places = {id(candidate): place for place, candidate in enumerate(trials.candidates)}
    broken: list[bool] = []
    over: list[float] = []
    ratios: list[float] = []
    everyone = np.arange(len(bank))
    for seed in range(resplits):
        drawn = np.random.default_rng(seed).integers(len(bank), size=labels)
        found = certify(bank.subset(drawn), trials.of(drawn), reference, eps, seed=seed)
        if found.chosen is None:
            broken.append(False)
            ratios.append(1.0)
            continue
        place = places[id(found.chosen)]
        broken.append(bool(truth[place] > eps))
        ratios.append(float(cost[place]))
        if len(over) < 30:
            spent = realised(bank, everyone, [found.chosen], seed=10_000 + seed).usd[0]
            over.append(float((spent > found.cost.budget).mean()))
    said = f"{case.name}, loss <= {eps:g}, {labels:,} labels"
    figures = [
        Figure(f"{said}: broken (10 promised at most)", 100 * float(np.mean(broken)), None, None, "% broken", resplits),
        Figure(f"{said}: cost, reference where none is certified", 100 * float(np.mean(ratios)), 100.0, None,
               "% of cost", resplits),
    ]  # fmt: skip
    if over:
        mean = 100 * float(np.mean(over))
        figures.append(Figure(f"{said}: over budget (10 promised at most)", mean, None, None, "% exceeded", len(over)))
    return figures


def _bank(case: Case) -> Bank:
    table = pd.read_parquet(_folder() / f"{case.file}.parquet")
    if case.dataset is not None:
        table = table[table["dataset"] == case.dataset]
    if case.variant is not None:
        own = (table["variant"].str.split("|").str[0] == case.variant) & table["temperature"].isna()
        table = table[own].assign(temperature=0.7)
    if table["completion_tokens"].isna().any() and "n_chars" not in table:
        table = table.assign(n_chars=table["text"].str.len())
    table = _with_texts(table)
    pool = Pool(
        name=case.name,
        models=tuple(
            PoolModel(alias=alias, name=name, engine="replay", price=Price.model_validate({"input": p, "output": p}))
            for alias, name, p in case.models
        ),
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{case.name}.parquet"
        table.to_parquet(path)
        counted = "n_chars" if "n_chars" in table else None
        return open_bank(path, pool=pool, complete=True, cost_column=counted).bank


def _with_texts(table: pd.DataFrame) -> pd.DataFrame:
    """Add the problems' texts, which near-duplicates are found by."""
    if table["problem"].notna().all():
        return table
    known = pd.concat(pd.read_parquet(_folder() / f"{name}.parquet") for name in ("problems", "mot_problems"))
    texts = known.dropna(subset=["problem"]).drop_duplicates(["dataset", "problem_id"])
    by_id = texts.set_index(["dataset", "problem_id"])["problem"]
    keys = pd.MultiIndex.from_frame(table[["dataset", "problem_id"]])
    return table.assign(problem=by_id.reindex(keys).to_numpy())


def _folder() -> Path:
    default = Path(__file__).parents[2] / "shared" / "data"
    return Path(os.environ.get("ESCALADE_DATA", default)) / "pools"
