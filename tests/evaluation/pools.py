"""Small random banks, and all ordered draws of them run through the machine: what exact evaluation must equal."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from escalade import ledger
from escalade.answers.grader import Grader
from escalade.answers.kinds import kind_of
from escalade.cascade.machine import Draw, Machine
from escalade.cascade.policy import Policy
from escalade.climb import usage_of
from escalade.evaluation.bank import Bank
from escalade.pool import Pool
from escalade.problems import Problem
from escalade.routes import Route, Tier, executed, parse_route
from escalade.samples.recorded import Rows
from escalade.samples.sample import Generation, Sample, read
from escalade.testing import pool_of

ANSWERS = ("1", "2", "3", "0.5")
KIND = kind_of("math")


def generation(rng: random.Random, *, silence: float, logprobs: bool, answers: Sequence[str] = ANSWERS) -> Generation:
    """A sample with a seeded answer, perhaps none, and token counts."""
    answer = None if rng.random() < silence else rng.choice(answers)
    return Generation(
        None,
        answer=answer,
        prompt_tokens=rng.randrange(5, 15),
        cached_tokens=rng.randrange(0, 5),
        completion_tokens=rng.randrange(1, 40),
        # A coarse grid, so that means of two classes can be equal.
        mean_logprob=-rng.randrange(0, 5) / 8 if logprobs else None,
    )


def made(answer: str | None, logprob: float | None = None) -> Generation:
    """A sample with this answer."""
    return Generation(None, answer=answer, prompt_tokens=10, completion_tokens=20, mean_logprob=logprob)


def single(answers: Mapping[str, Sequence[str | tuple[str, float] | None]], *, gold: str | None) -> Bank:
    """A bank of one problem with these answers, by alias; an answer may come with its logprob."""
    rows = {
        ("p0", alias): Rows((None,) * len(row), tuple(made(*x) if isinstance(x, tuple) else made(x) for x in row))
        for alias, row in answers.items()
    }
    return Bank(pool(), (Problem("p0", "problem 0", gold),), rows, "made by hand")


def pool(billing: str = "once", costs: Sequence[float] = (1.0, 2.0, 9.0)) -> Pool:
    """S, M and L, with prices that tell input, cached input and output apart."""
    base = pool_of("S", "M", "L", billing=billing)
    models = tuple(
        model.model_copy(
            update={"cost": cost, "price": model.price.model_copy(update={"input": p, "cached": c, "output": o})}  # type: ignore[union-attr]
        )
        for model, cost, (p, c, o) in zip(base.models, costs, _PRICES, strict=True)
    )
    return base.model_copy(update={"models": models})


def _decimals(*texts: str) -> tuple[ledger.Decimal, ...]:
    return tuple(map(ledger.Decimal, texts))


_PRICES = (_decimals("0.3", "0.1", "0.7"), _decimals("1.1", "0.2", "2.5"), _decimals("3", "1.5", "11"))


def bank(
    rng: random.Random,
    sizes: Mapping[str, int],
    *,
    problems: int = 1,
    billing: str = "once",
    silence: float = 0.25,
    logprobs: bool = False,
    scores: bool = False,
    answers: Sequence[str] = ANSWERS,
) -> Bank:
    """A bank of random samples: so many of each alias for every problem."""
    asked, rows = [], {}
    for number in range(problems):
        said = {alias: round(rng.random(), 2) for alias in sizes} if scores else {}
        asked.append(Problem(f"p{number}", f"problem {number}", rng.choice(answers), said))
        for alias, n in sizes.items():
            made = tuple(generation(rng, silence=silence, logprobs=logprobs, answers=answers) for _ in range(n))
            rows[f"p{number}", alias] = Rows((None,) * n, made)
    return Bank(pool(billing), tuple(asked), rows, "random")


@dataclass
class Expected:
    """Means over all ordered draws."""

    correct: float
    cost: float
    tokens: float
    completion: float
    samples: list[float]
    reached: list[float]
    decided: list[float]
    no_answer: float


def brute_force(of: Bank, row: int, route: str | Route, policy: Policy) -> Expected:
    """Run the machine on every ordered draw of every tier, sample by sample in launch order, and average."""
    ran = executed(parse_route(route, of.pool) if isinstance(route, str) else route, of.pool).route
    problem = of.problems[row]
    lots = [of.rows[problem.id, tier.model].generations for tier in ran.tiers]
    read_lots = [[read(0, made, kind=KIND) for made in lot] for lot in lots]
    orders = [itertools.permutations(range(len(lot)), tier.k) for lot, tier in zip(lots, ran.tiers, strict=True)]
    runs = [_run(of, problem, ran, policy, read_lots, order) for order in itertools.product(*orders)]
    columns = [
        [math.fsum(values) / len(runs) for values in zip(*parts, strict=True)] for parts in zip(*runs, strict=True)
    ]
    (correct, cost, tokens, completion, no_answer), samples, reached, decided = columns
    return Expected(correct, cost, tokens, completion, samples, reached, decided, no_answer)


def _run(
    of: Bank,
    problem: Problem,
    route: Route,
    policy: Policy,
    lots: Sequence[Sequence[Sample]],
    order: Sequence[Sequence[int]],
) -> tuple[list[float], ...]:
    thresholds = {model.alias: model.threshold for model in of.pool.models if model.threshold is not None}
    machine = Machine(route, policy, scores=problem.scores, thresholds=thresholds, costs=of.pool.relative_costs())
    drawn: list[list[Sample]] = [[] for _ in route.tiers]
    wishes: list[tuple[int, int]] = []
    tally: dict[str, int] = {}
    grader = _GRADER
    actions = machine.start()
    while machine.outcome is None:
        wishes += [(a.tier, i) for a in actions if isinstance(a, Draw) for i in a.indexes]
        tier, index = wishes.pop(0)
        actions = []
        if machine.wants(tier, index):
            found = lots[tier][order[tier][index]]
            sample = Sample(index, found.generation, None, found.answer, found.rule, found.key)
            drawn[tier].append(sample)
            if sample.key is not None:
                tally[sample.key] = tally.get(sample.key, 0) + 1
                machine.names = grader.names(KIND, tally) or {}
            actions = machine.feed(tier, sample)
    outcome = machine.outcome
    right = any(grader.right(KIND, key, problem.gold) for key in (outcome.answer, *outcome.equal))
    cost = sum(_cost(of.pool, tier, row) for tier, row in zip(route.tiers, drawn, strict=True))
    made = [sample.generation for row in drawn for sample in row]
    completion = sum(g.completion_tokens or 0 for g in made)
    tiers = range(len(route.tiers))
    return (
        [right, cost, completion + sum(g.prompt_tokens or 0 for g in made), completion, outcome.answer is None],
        [float(len(row)) for row in drawn],
        [float(t < len(outcome.tiers)) for t in tiers],
        [float(outcome.decided_by == t) for t in tiers],
    )


_GRADER = Grader()


def _cost(of: Pool, tier: Tier, samples: Sequence[Sample]) -> float:
    usages = [usage_of(sample.generation) for sample in samples]
    return float(ledger.total(ledger.charge(usages, of[tier.model].price, of.billing)).known)
