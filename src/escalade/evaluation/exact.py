"""Exact evaluation: what a route comes to on recorded samples, in expectation over all draws, without drawing.

Tiers of different models or temperatures draw independently, so that a route is a product of its rungs:

    reached_t = prod_{i<t} P(i escalates)        correct = sum_t reached_t P(t accepts and is right) + fall-back

where the last tier accepts whatever it answers. The fall-back, of probability P(all escalate and the last has no
answer), takes the executed tier with the highest confidence, then the cheaper, then the lower one. Expected costs are
sums of reached_t times what the tier spends, and of what a fall-back draws after an early escalation.

Where the order of draws matters or tiers share samples, `escalade.evaluation.replays` runs the machine in its place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from escalade.cascade.policy import Policy
from escalade.evaluation.bank import Bank
from escalade.evaluation.evaluation import Evaluation
from escalade.evaluation.lots import Floats
from escalade.evaluation.replays import DRAWS, replay
from escalade.evaluation.rungs import COMPLETION, PROMPT, SAMPLES, USD, Rung, rung
from escalade.evaluation.sheets import source
from escalade.job import most_samples
from escalade.pool import Pool
from escalade.routes import Kind, Route, executed, parse_route
from escalade.scoring import looked_at


def evaluate(
    bank: Bank, route: str | Route, policy: Policy | None = None, *, draws: int = DRAWS, seed: int = 0
) -> Evaluation:
    """Return what a route comes to on the problems of a bank: the mean of `escalade.run` over all seeds of a replay.

    Args:
        bank: the recorded samples.
        route: or its routing string.
        policy: the settings of decisions.
        draws, seed: of the Monte Carlo that stands in where the numbers are not closed; `Evaluation.exact` tells.

    Raises:
        RouteError: the string is not understood. TableError: too few samples were recorded.

    Example:
        >>> bank = Bank.of_recording("shipped")
        >>> found = evaluate(bank, "mv_cascade_0.5B_k5_t0.7_c0.8_1.5B_k3_t0.7")
        >>> round(float(found.correct.mean()), 4), round(float(found.samples.sum(axis=1).mean()), 3), found.exact
        (0.6014, 5.414, True)
    """
    policy = policy or Policy()
    parsed = parse_route(route, bank.pool) if isinstance(route, str) else route
    ran = executed(parsed, bank.pool).route
    for position, tier in enumerate(ran.tiers):
        bank.check(tier.model, tier.temperature, most_samples(ran, position, policy.max_k))
    rungs = _rungs(bank, ran, policy) if is_closed(ran, policy, scored=_scored(bank)) else None
    if rungs is None:
        return replay(bank, ran, policy, draws=draws, seed=seed)
    found = _composed(bank, ran, rungs)
    return replace(found, scoring=bank.scoring(looked_at(ran, policy, bank.pool)))


def is_closed(route: Route, policy: Policy, *, scored: frozenset[str] = frozenset()) -> bool:
    """Return whether a route as executed has its numbers in closed form, whatever the order of the draws.

    It has not where the stop rule is beta or esc, ballots are aggregated, the entropy rule may explore, the confidence
    of several votes is their logprob, or two tiers of one model and temperature share samples.

    Args:
        route: as executed.
        policy: the settings of decisions.
        scored: the models that have scores.

    Example:
        >>> route = parse_route("mv_cascade_1.5B_k4_t0.7_7B_k4_t0.7")
        >>> is_closed(route, Policy()), is_closed(route, Policy(stop="beta:0.95"))
        (True, False)
    """
    pools = {(tier.model, tier.temperature) for tier in route.tiers}
    if policy.stop_rule.name not in ("verdict", "exact", "none") or policy.aggregate != "last":
        return False
    if len(pools) < len(route.tiers):
        return False
    for tier in route.tiers[:-1]:
        if route.kind is Kind.ENTROPY_CASCADE and tier.temperature > 0 and tier.k < policy.max_k:
            return False
        own = policy.at(tier.model, tier.temperature, tier.k)
        if tier.k > 1 and source(own, single=False, scored=tier.model in scored) == "logprob":
            return False
    return True


def thresholds_of(route: Route, policy: Policy, pool: Pool) -> list[float]:
    """Return the threshold of each tier: its own, else the policy's or the pool's for its model, else the target."""
    known = {model.alias: model.threshold for model in pool.models if model.threshold is not None}
    known.update(policy.thresholds)
    return [known.get(tier.model, policy.target) if tier.threshold is None else tier.threshold for tier in route.tiers]


def _scored(bank: Bank) -> frozenset[str]:
    return bank.remembered(
        "scored", lambda: frozenset(alias for alias in bank.pool.aliases if not np.isnan(bank.root.scores(alias)).any())
    )


def _rungs(bank: Bank, route: Route, policy: Policy) -> list[Rung] | None:
    entropy_rule = route.kind is Kind.ENTROPY_CASCADE
    rungs: list[Rung] = []
    for position, (tier, threshold) in enumerate(
        zip(route.tiers, thresholds_of(route, policy, bank.pool), strict=True)
    ):
        last = position == len(route.tiers) - 1
        found = rung(bank, tier, policy, threshold, last=last, entropy_rule=entropy_rule)
        if found is None:
            return None
        rungs.append(found if bank.root is bank else found.of(bank.index))
    return rungs


def _composed(bank: Bank, route: Route, rungs: Sequence[Rung]) -> Evaluation:
    n, tiers = len(bank), len(rungs)
    reached, decided, spent = np.ones((tiers, n)), np.empty((tiers, n)), np.zeros((tiers, 4, n))
    correct = np.zeros(n)
    for t, of in enumerate(rungs):
        if t:
            reached[t] = reached[t - 1] * rungs[t - 1].escalated
        decided[t] = reached[t] * of.accepted
        correct += reached[t] * of.accepted_right
        spent[t] = _weighed(reached[t], of.spent)
    silent = rungs[-1].escalated
    none = silent.copy()
    if tiers > 1 and (reached[-1] * silent).max(initial=0.0) > 0:
        rows = np.flatnonzero(reached[-1] * silent > 0)
        below = [of.of(rows) for of in rungs[:-1]]
        fallen = _fall_back(below, _order(route, bank.pool))
        correct[rows] += silent[rows] * fallen.right.sum(axis=0)
        decided[:-1, rows] += silent[rows] * fallen.chosen
        for t, of in enumerate(below):
            others = math.prod((other.escalated for i, other in enumerate(below) if i != t), start=silent[rows])
            spent[t][:, rows] += _weighed(others, of.more)
            none[rows] *= np.maximum(0.0, of.escalated - of.candidates.chance.sum(axis=1))
    none[reached[-1] * silent <= 0] = 0.0
    spent_all = spent.sum(axis=0)
    return Evaluation(
        route,
        np.where(bank.has_gold, correct, np.nan),
        spent[:, USD].T,
        spent_all[PROMPT] + spent_all[COMPLETION],
        spent_all[COMPLETION],
        spent[:, SAMPLES].T,
        reached.T,
        decided.T,
        none,
        np.logical_and.reduce([of.exact for of in rungs]),
    )


def _weighed(chance: Floats, amounts: Floats) -> Floats:
    """What never happens costs nothing, even where its cost is unknown."""
    return np.where(chance > 0, chance * amounts, 0.0)


def _order(route: Route, pool: Pool) -> list[int]:
    """The tiers below the last, the one that a fall-back prefers at equal confidence first: the cheaper, the lower."""
    costs = pool.relative_costs()
    return sorted(range(len(route.tiers) - 1), key=lambda t: (costs.get(route.tiers[t].model, 0.0), t))


class _Fallen(NamedTuple):
    """Whom a fall-back chooses, given that the last tier has no answer."""

    chosen: Floats
    """[T, N] P(all escalate, and this tier is the surest that has an answer)."""
    right: Floats
    """[T, N] P(the same, and its answer is right)."""


def _fall_back(rungs: Sequence[Rung], order: Sequence[int]) -> _Fallen:
    if len(rungs) == 1:
        candidates = rungs[0].candidates
        return _Fallen(candidates.chance.sum(axis=1)[None], candidates.right.sum(axis=1)[None])
    n = len(rungs[0].accepted)
    confidences, chances, rights, owners = [], [], [], []
    for t in order:
        candidates = rungs[t].candidates
        confidences.append(np.broadcast_to(candidates.confidence, candidates.chance.shape))
        chances.append(candidates.chance)
        rights.append(candidates.right)
        owners.append(np.full(candidates.chance.shape[1], t))
    # A stable sort leaves the preferred tier first among equals.
    ranks = np.argsort(-np.hstack(confidences), axis=1, kind="stable")
    chance, right = (np.take_along_axis(np.hstack(part), ranks, axis=1) for part in (chances, rights))
    owner = np.concatenate(owners)[ranks]
    later = []
    for t, of in enumerate(rungs):
        mine = np.where(owner == t, chance, 0.0)
        behind = np.cumsum(mine[:, ::-1], axis=1)[:, ::-1] - mine
        later.append(behind + np.maximum(0.0, of.escalated - of.candidates.chance.sum(axis=1))[:, None])
    chosen, won = np.zeros((len(rungs), n)), np.zeros((len(rungs), n))
    for t in range(len(rungs)):
        mine = owner == t
        others = math.prod((later[i] for i in range(len(rungs)) if i != t), start=np.ones_like(chance))
        chosen[t] = np.where(mine, chance * others, 0.0).sum(axis=1)
        won[t] = np.where(mine, right * others, 0.0).sum(axis=1)
    return _Fallen(chosen, won)
