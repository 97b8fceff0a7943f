"""Exact evaluation of routes on recorded samples: how fast, and how near to the machine that answers for real.

The bank is synthetic, 1,319 problems by three models with 16 samples each, so that it can be made anywhere; where the
recorded pools are (ESCALADE_DATA, else ../shared/data), `escalade.run` on `replay` with many seeds is averaged beside
the exact numbers. The peer is Monte Carlo: the machine itself, run on seeded draws. All samples are seeded.
"""

from __future__ import annotations

import itertools
import math
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

import escalade
from benchmarks import Figure
from escalade.cascade.policy import Policy
from escalade.evaluation.bank import Bank
from escalade.evaluation.exact import evaluate
from escalade.evaluation.replays import Player, replay
from escalade.pool import Pool, PoolModel, Price
from escalade.problems import Problem
from escalade.routes import Tier, parse_route
from escalade.samples.recorded import Rows
from escalade.samples.sample import Generation

PROBLEMS, ROUTES, SEED = 1319, 10_000, 20250401
CELLS = 1_000_000
"""Problems times routes, of the figure a minute."""
PEER_PROBLEMS, PEER_DRAWS = 60, 200
SEEDS = 200
"""Live runs of each recorded pool."""
MODELS = {"S": (0.45, "0.1"), "M": (0.65, "0.2"), "L": (0.85, "0.9")}
"""Chance that a sample of a middling problem is right, and USD per million tokens."""


class Ladder(NamedTuple):
    """A recorded pool, the route and policy that are run live on it, and how many of its problems."""

    recording: str
    route: str
    policy: Policy
    problems: int = 100


LADDERS = (
    Ladder("shipped", "mv_cascade_135M_k5_t0.7_0.5B_k5_t0.7_1.5B_k5_t0.7", Policy(target=0.6)),
    Ladder(
        "embedded_gsm8k_samples",
        "mv_cascade_SmolLM2-135M-Instruct_k3_t0.7_Qwen2.5-Coder-0.5B-Instruct_k5_t0.7_c0.6"
        "_Qwen2.5-Coder-1.5B-Instruct_k4_t0.7",
        Policy(target=0.8, confidence="entropy"),
    ),
    Ladder(
        "math100_ladder_samples",
        "mv_cascade_llama-3.1-8b-instruct_k5_t0.0_deepseek-r1-distill-llama-8b_k6_t0.8"
        "_r1-distill-llama-8b+qwq-32b_k3_t0.8",
        Policy(target=0.8, confidence="margin"),
    ),
    Ladder(
        "mot_gsm8k_date_samples",
        "mv_cascade_llama-2-13b_k8_t0.7_gpt-4_k3_t0.7",
        Policy(target=0.7, confidence="posterior"),
    ),
    Ladder("qwen25math_rm_example_samples", "", Policy()),
)


def main() -> list[Figure]:
    return [*speed(), nearness(), *live()]


def speed() -> list[Figure]:
    """10,000 routes on given tables, a million cells with their tables, and the machine in their place."""
    bank = synthetic(PROBLEMS)
    routes = list(itertools.islice(cascades(), ROUTES))
    start = time.perf_counter()
    for route, policy in routes[: math.ceil(CELLS / PROBLEMS)]:
        evaluate(bank, route, policy)
    million = time.perf_counter() - start
    for route, policy in routes:  # now all tables are there
        evaluate(bank, route, policy)
    start = time.perf_counter()
    for route, policy in routes:
        assert evaluate(bank, route, policy).exact
    given = time.perf_counter() - start

    few = bank.subset(range(PEER_PROBLEMS))
    some = routes[:: ROUTES // 4][:4]
    start = time.perf_counter()
    for route, policy in some:
        replay(few, route, policy, draws=PEER_DRAWS)
    peer = (time.perf_counter() - start) / (PEER_PROBLEMS * len(some))
    scaled = (
        f"peer: {PEER_DRAWS} draws through the machine on {PEER_PROBLEMS} problems and 4 routes, scaled up linearly"
    )
    cells = ROUTES * PROBLEMS
    return [
        Figure(
            f"a million cells, tables included (samples read, classed and graded before); {scaled}",
            million,
            peer * CELLS,
            peer * CELLS / million,
            "s",
            CELLS,
        ),
        Figure("million cells a minute, tables included", 60 / million, None, None, "10^6/min", CELLS),
        Figure(
            f"{ROUTES:,} thresholds and routes on {PROBLEMS:,} problems, given the tables; {scaled}",
            given,
            peer * cells,
            peer * cells / given,
            "s",
            cells,
        ),
    ]


def nearness() -> Figure:
    """The largest difference from all ordered draws through the machine."""
    worst, cases = 0.0, 0
    for seed, (route, n) in enumerate(
        [("mv_S_k5_t0.7", 8), ("mv_cascade_S_k5_t0.7_L_k1_t0.0", 7), ("mv_cascade_S_k2_t0.7_M_k2_t0.7_L_k2_t0.7", 4)]
    ):
        for stop, confidence in itertools.product(("verdict", "none"), ("share", "posterior", "entropy")):
            bank = synthetic(1, n=n, seed=f"{seed} {stop} {confidence}")
            policy = Policy(target=0.75, confidence=confidence, stop=stop)
            found = evaluate(bank, route, policy)
            correct, usd = enumerated(bank, route, policy)
            worst = max(worst, abs(float(found.correct[0]) - correct), abs(float(found.cost[0]) / usd - 1))
            cases += 1
    return Figure(
        "largest difference of accuracy, or of cost as a ratio, from all ordered draws", worst, None, None, "", cases
    )


def enumerated(bank: Bank, route: str, policy: Policy) -> tuple[float, float]:
    """P(right) and expected USD on the first problem: the machine on every ordered draw of every tier."""
    parsed = parse_route(route, bank.pool)
    player = Player(bank, 0, parsed, policy)
    lots = [range(len(player.shelves[tier.model, tier.temperature].samples)) for tier in parsed.tiers]
    orders = itertools.product(
        *(itertools.permutations(lot, tier.k) for lot, tier in zip(lots, parsed.tiers, strict=True))
    )
    runs = [player.play(dict(zip(player.places, order, strict=True))) for order in orders]
    return sum(run.right for run in runs) / len(runs), math.fsum(run.usd for run in runs) / len(runs)


def live() -> Iterator[Figure]:
    """`escalade.run` on replay, averaged over seeds, beside the exact numbers: in standard errors."""
    folder = Path(os.environ.get("ESCALADE_DATA", Path(__file__).parents[2] / "shared" / "data")) / "pools"
    for ladder in LADDERS:
        place = ladder.recording if ladder.recording == "shipped" else str(folder / f"{ladder.recording}.parquet")
        if place != "shipped" and not Path(place).exists():
            continue
        bank = Bank.of_recording(place)
        route = ladder.route or f"mv_{bank.pool.aliases[0]}_k5_t0.7"
        away = sigmas(bank, place, route, ladder.policy, ladder.problems, SEEDS)
        yield Figure(
            f"{ladder.recording}: mean of {SEEDS} live runs of {route}, accuracy, distance from the exact one in "
            "standard errors",
            away.accuracy,
            None,
            None,
            "sigma",
            away.problems,
        )
        yield Figure(
            f"{ladder.recording}: the same, samples a problem", away.samples, None, None, "sigma", away.problems
        )


class Distance(NamedTuple):
    """How far live runs are from the exact numbers, in standard errors of their mean."""

    accuracy: float
    samples: float
    problems: int


def sigmas(bank: Bank, place: str, route: str, policy: Policy, problems: int, seeds: int) -> Distance:
    """Run a route live with many seeds on the first problems that have enough samples, and compare the means.

    Counted are the samples that a machine was told of; an engine may have given one more while answers were compared.
    """
    parsed = parse_route(route, bank.pool)
    enough = np.logical_and.reduce([_counts(bank, tier) >= tier.k for tier in parsed.tiers])
    some = bank.subset(np.flatnonzero(enough)[:problems])
    exact = evaluate(some, parsed, policy)
    accuracy, samples = np.empty(seeds), np.empty(seeds)
    for seed in range(seeds):
        results = escalade.run(
            some.problems, route=route, pool=bank.pool, engine=f"replay:{place}", policy=policy, seed=seed
        )
        accuracy[seed] = np.mean([item.grade is not None and item.grade.outcome for item in results.answered])
        samples[seed] = np.mean([sum(trace.drawn for trace in item.outcome.tiers) for item in results.answered])
    return Distance(
        _distance(accuracy, float(exact.correct.mean())),
        _distance(samples, float(exact.samples.sum(axis=1).mean())),
        len(some),
    )


def _counts(bank: Bank, tier: Tier) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return bank.counts(tier.model, tier.temperature)


def _distance(means: np.ndarray[tuple[int], np.dtype[np.float64]], expected: float) -> float:
    error = float(means.std(ddof=1)) / math.sqrt(len(means))
    gap = float(means.mean()) - expected
    return gap / error if error > 1e-12 else (0.0 if abs(gap) < 1e-9 else math.inf)


def synthetic(problems: int, *, n: int = 16, seed: str = str(SEED)) -> Bank:
    """A bank of problems of all difficulties: right answers, a favourite wrong one, stray ones, silence; logprobs."""
    rng = random.Random(seed)
    rows: dict[tuple[str, str], Rows] = {}
    asked = tuple(Problem(f"p{number}", f"problem {number}", "1") for number in range(problems))
    for problem in asked:
        ease = rng.gauss(0, 1.5)
        for alias, (middling, _) in MODELS.items():
            chance = 1 / (1 + math.exp(-ease - math.log(middling / (1 - middling))))
            rows[problem.id, alias] = Rows((None,) * n, tuple(_generation(rng, chance) for _ in range(n)))
    models = tuple(
        PoolModel(alias=alias, name=f"synthetic/{alias}", price=Price.model_validate({"input": usd, "output": usd}))
        for alias, (_, usd) in MODELS.items()
    )
    return Bank(Pool(name="synthetic", models=models), asked, rows, "the synthetic bank")


def _generation(rng: random.Random, chance: float) -> Generation:
    if rng.random() < 0.03:
        answer = None
    elif rng.random() < chance:
        answer = "1"
    else:
        answer = "2" if rng.random() < 0.5 else str(rng.randrange(3, 12))
    return Generation(
        None,
        answer=answer,
        prompt_tokens=120,
        completion_tokens=rng.randrange(40, 400),
        mean_logprob=-rng.random(),
    )


def cascades() -> Iterator[tuple[str, Policy]]:
    """Routes and policies without end: one to three tiers, k up to 8, thresholds of their own, two confidences."""
    rng = random.Random(SEED)
    while True:
        aliases = [alias for alias in MODELS if rng.random() < 0.75] or ["L"]
        tiers = []
        for alias in aliases[:-1]:
            k = rng.choice([3, 4, 5, 8])
            tiers.append(f"{alias}_k{k}_t0.7_c{rng.randrange(30, 101) / 100}")
        tiers.append(f"{aliases[-1]}_k{rng.choice([1, 3, 5, 8])}_t0.7")
        yield f"mv_cascade_{'_'.join(tiers)}", Policy(confidence=rng.choice(["share", "margin"]))
