"""Decisions: what a ballot leads to, and whether the samples still out could change that.

The machine gathers the evidence; this module is the rules, as pure functions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from escalade.cascade.ballot import Ballot, count
from escalade.cascade.confidence import (
    ESTIMATORS,
    Bounds,
    Estimator,
    beats_runner_up,
    entropy_bits,
    entropy_bounds,
)
from escalade.cascade.outcome import Decision, Look
from escalade.cascade.policy import Policy, Stop
from escalade.errors import SettingError
from escalade.routes import Route
from escalade.samples.sample import Sample


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that a decision at a tier may rest on."""

    ballot: Ballot
    k: int
    """Seats of this tier."""
    open_seats: int
    open_weight: float
    """Votes that the open seats carry in the ballot."""
    single: bool
    """Whether the ballot is one sample: then its share says nothing."""
    score: float | None
    model: str
    threshold: float
    last: bool
    entropy_rule: bool
    may_explore: bool
    """More samples at this tier could differ from those it has."""
    aggregated: bool


class Confidence(NamedTuple):
    """A confidence and what it is; None is unknown."""

    value: float | None
    source: str


def confidence(policy: Policy, ballot: Ballot, *, single: bool, score: float | None) -> Confidence:
    """Return the confidence in a ballot's leader.

    A single sample carries no vote evidence: there the model's score is the confidence, else the sample's
    logprob, else it is unknown.
    """
    estimator = _estimator(policy, single=single, score=score)
    if estimator.name == "score":
        value = score
    elif ballot.leader is None:
        value = 0.0 if estimator.from_votes else None
    else:
        value = estimator.value(ballot)
    return Confidence(value, "" if value is None else estimator.name)


def _estimator(policy: Policy, *, single: bool, score: float | None) -> Estimator:
    chosen = ESTIMATORS[policy.confidence]
    if single and chosen.from_votes:
        return ESTIMATORS["logprob" if score is None else "score"]
    return chosen


def _bounds(evidence: Evidence, policy: Policy) -> Bounds:
    """Between what the confidence can end up; a score is known before anything is drawn."""
    estimator = _estimator(policy, single=evidence.single, score=evidence.score)
    if estimator.name == "score":
        known = -math.inf if evidence.score is None else evidence.score
        return Bounds(known, known)
    return estimator.bounds(evidence.ballot, evidence.open_weight)


def settle(evidence: Evidence, policy: Policy) -> Look | None:
    """Return the look that decides, or None while the open seats could change the decision or the answer.

    A tie that is still possible is a change as well: ties are recorded. Exploring is never settled early, as it
    draws the open seats too.
    """
    if evidence.open_seats <= 0:
        return _look(evidence, policy)
    stop = policy.stop_rule.name
    if stop not in ("verdict", "exact") or (evidence.aggregated and not evidence.last):
        return None
    ballot = evidence.ballot
    leader_fixed = ballot.first - ballot.second > evidence.open_weight + 1e-9
    if evidence.last:
        settled = leader_fixed
    else:
        accepts, escalates = _certain(evidence, policy)
        settled = (accepts and leader_fixed) or (escalates and (stop == "verdict" or leader_fixed))
    return _look(evidence, policy) if settled else None


class _Certain(NamedTuple):
    """What holds whatever the open seats vote."""

    accepts: bool
    """The present leader is accepted, if he stays the leader."""
    escalates: bool


def _certain(evidence: Evidence, policy: Policy) -> _Certain:
    ballot, r = evidence.ballot, evidence.open_weight
    if evidence.entropy_rule and not evidence.single:
        entropy = entropy_bounds(ballot.counts, r)
        explores = _may_explore(evidence, policy, (ballot.first + r) / ballot.k)
        return _Certain(_clean(entropy.high, policy), not _clean(entropy.low, policy) and not explores)
    low, high = _bounds(evidence, policy)
    explores = evidence.entropy_rule and _may_explore(evidence, policy, high)
    return _Certain(_reaches(low, evidence), not _reaches(high, evidence) and not explores)


def _look(evidence: Evidence, policy: Policy) -> Look:
    ballot = evidence.ballot
    value, source = confidence(policy, ballot, single=evidence.single, score=evidence.score)
    if evidence.last:
        if ballot.leader is None:
            return Look(ballot, None, "", None, Decision.ABSTAIN, "last tier: no sample has an answer")
        return Look(ballot, value, source, None, Decision.ANSWER, f"last tier: {_votes(evidence)}")
    if evidence.entropy_rule and not evidence.single:
        return _entropy_look(evidence, policy)
    threshold = evidence.threshold
    decision = Decision.ESCALATE
    if ballot.leader is None and evidence.open_seats <= 0:
        reason = f"no sample has an answer ({ballot.drawn} drawn)"
    elif value is None and evidence.single:
        reason = "a single sample is no vote evidence, and there is no score and no logprob: unknown"
    elif value is None:
        reason = f"no {policy.confidence} known for {evidence.model}"
    elif ballot.leader is not None and _reaches(value, evidence):
        decision, reason = Decision.ACCEPT, f"{_said(evidence, value, source)} reaches {threshold:g}"
    else:
        reason = f"{_said(evidence, value, source)} below {threshold:g}"
    belief = 0.0 if value is None else value
    if evidence.entropy_rule and decision is Decision.ESCALATE and _may_explore(evidence, policy, belief):
        more = explored_k(evidence.k, policy.max_k)
        belief = max(belief, evidence.score or 0.0)
        decision, reason = Decision.EXPLORE, f"{reason}; belief {belief:.3g} is worth {more} samples"
    return Look(ballot, value, source, threshold, decision, reason)


def _entropy_look(evidence: Evidence, policy: Policy) -> Look:
    """The entropy rule: a clean ballot is accepted, a promising one explored, any other escalates."""
    ballot = evidence.ballot
    bits, limit = entropy_bits(ballot.counts), policy.entropy_bits
    value, source = confidence(policy, ballot, single=False, score=evidence.score)
    settled = f", settled with {evidence.open_seats} undrawn" if evidence.open_seats else ""
    said = f"{_votes(evidence)}, entropy {bits:.2f} bits{settled}"
    belief = max(ballot.share, evidence.score or 0.0)
    if ballot.leader is not None and _clean(entropy_bounds(ballot.counts, evidence.open_weight).high, policy):
        decision = Decision.ACCEPT
        reason = f"{said}: clean whatever the rest says" if settled else f"{said} <= {limit:g}: a clean ballot"
    elif _may_explore(evidence, policy, ballot.share):
        more = explored_k(evidence.k, policy.max_k)
        decision = Decision.EXPLORE
        reason = f"{said} > {limit:g}, belief {belief:.2f} >= {policy.explore_floor:g}: draw up to {more}"
    else:
        decision = Decision.ESCALATE
        why = "no more may be drawn" if belief >= policy.explore_floor else f"belief {belief:.2f} too low to explore"
        above = f"{said} > {limit:g}" if ballot.leader is not None else f"no sample has an answer{settled}"
        reason = f"{above}, {why}"
    return Look(ballot, value, source, limit, decision, reason)


def _clean(bits: float, policy: Policy) -> bool:
    return bits <= policy.entropy_bits + 1e-9


def _may_explore(evidence: Evidence, policy: Policy, belief: float) -> bool:
    """Whether more is drawn at this tier: the belief, or the score, is worth it and there is room."""
    enough = max(belief, evidence.score or 0.0) >= policy.explore_floor - 1e-9
    return enough and evidence.may_explore and evidence.k < policy.max_k


def explored_k(k: int, max_k: int) -> int:
    """Return how many samples exploring goes up to: k' = min(max(k + 2, floor(1.5 k)), max_k).

    Example:
        >>> [explored_k(k, 8) for k in (2, 4, 5, 6, 7)]
        [4, 6, 7, 8, 8]
    """
    return min(max(k + 2, 3 * k // 2), max_k)


def cut(samples: Mapping[int, Sample], k: int, stop: Stop, names: Mapping[str, str]) -> int | None:
    """Return after how many samples, in launch order, a probabilistic stop rule ends a tier; None if it does not.

    beta:P ends when P(leader beats runner-up) >= P (arXiv 2305.11860); esc:W when a whole window of W
    samples agrees (arXiv 2401.10480). In launch order, because rules that stop at the first agreement among
    those that have arrived prefer short answers.
    """
    if stop.name not in ("beta", "esc"):
        return None
    row: list[Sample] = []
    for index in range(k):
        if index not in samples:
            return None
        row.append(samples[index])
        if stop.name == "beta":
            ballot = count(row, len(row), names=names)
            if ballot.votes and beats_runner_up(ballot.first, ballot.second) >= stop.number:
                return len(row)
        elif len(row) % int(stop.number) == 0:
            window = {sample.key and names.get(sample.key, sample.key) for sample in row[-int(stop.number) :]}
            if len(window) == 1 and None not in window:
                return len(row)
    return None


def weights(
    route: Route, policy: Policy, accuracies: Mapping[str, float], scores: Mapping[str, float]
) -> list[float] | None:
    """Return the weight of one vote per tier where ballots are aggregated, None where each tier has its own.

    pooled: 1 each. weighted: the log-odds of the model's calibrated accuracy (pool key `accuracy`, else its
    score), at least 0.05, so that no vote counts against the answer it is cast for.

    Raises:
        SettingError: weighted, and a model has neither.
    """
    if policy.aggregate == "last":
        return None
    if policy.aggregate == "pooled":
        return [1.0] * len(route.tiers)
    out: list[float] = []
    for tier in route.tiers:
        accuracy = accuracies.get(tier.model, scores.get(tier.model))
        if accuracy is None:
            raise SettingError(
                f"aggregate 'weighted' needs the accuracy of {tier.model}: set `accuracy` of the model in the "
                "pool file, or give scores"
            )
        odds = min(max(accuracy, 1e-6), 1 - 1e-6)
        out.append(max(math.log(odds / (1 - odds)), 0.05))
    return out


def _reaches(value: float, evidence: Evidence) -> bool:
    # In votes, so that 7 of 25 reach 0.28: need = ceil(threshold * k - 1e-9).
    k = evidence.ballot.k
    return value * k >= evidence.threshold * k - 1e-9


def _votes(evidence: Evidence) -> str:
    ballot = evidence.ballot
    if ballot.leader is None:
        return f"0 of {ballot.k:g} votes"
    return f"{ballot.first:.4g} of {ballot.k:.4g} votes for {ballot.leader}"


def _said(evidence: Evidence, value: float, source: str) -> str:
    if evidence.single or source == "score":
        return f"{source} {value:.3g}" + (", before drawing," if evidence.ballot.drawn == 0 else "")
    if evidence.open_seats:
        return f"{_votes(evidence)} with {evidence.open_seats} undrawn, {source}"
    return f"{_votes(evidence)}, {source} {value:.3g}"
