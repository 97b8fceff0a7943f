"""Scoring: which scores a problem is charged with, and what they cost.

A score is charged where a strategy that chose the route needs it, or where a decision of the route may look at it;
whether the tier is reached plays no part, as scores are there before anything is drawn. Scores that come without a
word on their cost are not charged.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from escalade import ledger
from escalade.cascade.policy import Policy
from escalade.pool import Pool
from escalade.problems import Problem, Scoring
from escalade.routes import Kind, Route


@dataclass(frozen=True, slots=True)
class ScoreCharge:
    """One score that a problem is charged with."""

    alias: str
    """Of the model that it is the score of."""
    scoring: Scoring
    cost: ledger.Cost


def cost_of(scoring: Scoring, pool: Pool) -> ledger.Cost:
    """Return what a score cost: its tokens by the price of the model that read them, else what is recorded.

    Where there is neither, it is unknown.

    Example:
        >>> from decimal import Decimal
        >>> from escalade.pool import load_pool
        >>> pool = load_pool("qwen2.5-math")
        >>> print(cost_of(Scoring(tokens=120, model="7B"), pool), cost_of(Scoring(usd=Decimal(0)), pool), sep=", ")
        0.000024 USD, 0 USD
        >>> cost_of(Scoring(tokens=120, model="an encoder"), pool).usd is None
        True
    """
    if scoring.model is not None and scoring.model in pool and (price := pool[scoring.model].price) is not None:
        (cost,) = ledger.charge([ledger.Usage(scoring.tokens, 0)], price, "once")
        if cost.usd is not None:
            return cost
    return ledger.Cost(unknown=1) if scoring.usd is None else ledger.Cost(scoring.usd)


def charges(problem: Problem, aliases: Iterable[str], pool: Pool) -> tuple[ScoreCharge, ...]:
    """Return the charges for the scores of some models, each once; a score without a word on its cost has none."""
    return tuple(
        ScoreCharge(alias, scoring, cost_of(scoring, pool))
        for alias in dict.fromkeys(aliases)
        if alias in problem.scores and (scoring := problem.scoring.get(alias)) is not None
    )


def total(given: Iterable[ScoreCharge]) -> ledger.Cost:
    """Return the sum."""
    return ledger.total(each.cost for each in given)


def looked_at(route: Route, policy: Policy, pool: Pool) -> tuple[str, ...]:
    """Return the models whose scores the decisions of a route, as executed, may look at.

    They are those of tiers below the last that have one sample, or any number under confidence "score" or "prior" or
    the entropy rule, which believes a score; and all that vote by their scores under aggregate "weighted".

    Example:
        >>> from escalade.pool import load_pool
        >>> from escalade.routes import parse_route
        >>> route, pool = parse_route("mv_cascade_1.5B_k4_t0.7_7B_k1_t0.0_72B_k1_t0.0"), load_pool("qwen2.5-math")
        >>> looked_at(route, Policy(), pool), looked_at(route, Policy(confidence="score"), pool)
        (('7B',), ('1.5B', '7B'))
    """
    found: dict[str, None] = {}
    entropy = route.kind is Kind.ENTROPY_CASCADE
    for tier in route.tiers[:-1]:
        single = tier.k == 1 and policy.confidence != "logprob"
        if single or entropy or policy.confidence in ("score", "prior"):
            found[tier.model] = None
    if policy.aggregate == "weighted":
        found.update(dict.fromkeys(tier.model for tier in route.tiers if pool[tier.model].accuracy is None))
    return tuple(found)
