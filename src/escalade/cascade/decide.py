"""Decisions: what a ballot leads to, and whether the samples still out could change that.

The machine gathers the evidence; this module is the rules, as pure functions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from escalade.cascade.ballot import Ballot, Counted, standing
from escalade.cascade.confidence import (
    ESTIMATORS,
    PRIOR,
    Bounds,
    Estimator,
    beats_runner_up,
    entropy_bits,
    entropy_bounds,
    prior,
)
from escalade.cascade.outcome import Decision, Look
from escalade.cascade.policy import Policy, Stop
from escalade.errors import SettingError
from escalade.routes import Route
from escalade.samples.sample import Sample


@dataclass(frozen=True, slots=True)
class Terms:
    """What a decision at a tier rests on besides its ballot."""

    k: int
    """Seats of this tier."""
    weight: float
    """Votes that a seat of this tier carries in the ballot."""
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
    chosen = policy.estimator
    if single and chosen.from_votes:
        return ESTIMATORS["logprob" if score is None else "score"]
    if chosen.name == PRIOR:
        return prior(policy.prior_strength, score)
    return chosen


def settled(terms: Terms, ballot: Counted, open_seats: int, policy: Policy) -> bool:
    """Whether `look` decides: the seats of the tier that are still open can change neither decision nor answer.

    A tie that is still possible is a change as well: ties are recorded. Exploring is never settled early, as it
    draws the open seats too.
    """
    if open_seats <= 0:
        return True
    # Names of stop rules that are whole: the others have a number behind the name.
    if policy.stop not in ("verdict", "exact") or (terms.aggregated and not terms.last):
        return False
    r = open_seats * terms.weight
    leader_fixed = ballot.first - ballot.second > r + 1e-9
    if terms.last:
        return leader_fixed
    accepts, escalates = _certain(terms, ballot, r, policy)
    return (accepts and leader_fixed) or (escalates and (policy.stop == "verdict" or leader_fixed))


class _Certain(NamedTuple):
    """What holds whatever the open seats vote."""

    accepts: bool
    """The present leader is accepted, if he stays the leader."""
    escalates: bool


def _certain(terms: Terms, ballot: Counted, r: float, policy: Policy) -> _Certain:
    if terms.entropy_rule and not terms.single:
        entropy = entropy_bounds(ballot.counts, r)
        explores = _may_explore(terms, policy, (ballot.first + r) / ballot.k)
        return _Certain(_clean(entropy.high, policy), not _clean(entropy.low, policy) and not explores)
    low, high = _bounds(terms, ballot, r, policy)
    explores = terms.entropy_rule and _may_explore(terms, policy, high)
    k = ballot.k
    return _Certain(_reaches(low, k, terms), not _reaches(high, k, terms) and not explores)


def _bounds(terms: Terms, ballot: Counted, r: float, policy: Policy) -> Bounds:
    """Between what the confidence can end up; a score is known before anything is drawn."""
    estimator = _estimator(policy, single=terms.single, score=terms.score)
    if estimator.name == "score":
        known = -math.inf if terms.score is None else terms.score
        return Bounds(known, known)
    return estimator.bounds(ballot, r)


def escalation(terms: Terms, ballot: Ballot, policy: Policy) -> float:
    """Return P(the tier escalates | its ballot so far), for hedging.

    The leader's share p has a Beta(1 + a, 1 + d - a) posterior after a of d votes; of the r open seats he wins j with
    the beta-binomial P(j) = C(r, j) B(1 + a + j, 1 + d - a + r - j) / B(1 + a, 1 + d - a). The sum of P(j) over those j
    at which the whole ballot would escalate, the seats he does not win abstaining. 0.5 where nothing has been drawn,
    or votes have weights.

    Example:
        >>> from escalade.cascade.ballot import count
        >>> from escalade.testing import votes
        >>> terms = Terms(4, 1.0, False, None, "S", 0.9, False, False, True, False)
        >>> [round(escalation(terms, count(votes(*row), 4), Policy()), 2) for row in (["1"], ["1", "1"], ["1"] * 3)]
        [0.6, 0.4, 0.2]
    """
    drawn, won = ballot.drawn, ballot.first
    if drawn == 0 or terms.aggregated:
        return 0.5
    left = max(0, terms.k - drawn)
    a, b = 1 + won, 1 + drawn - won
    total = 0.0
    for j in range(left + 1):
        leader = ((ballot.leader or "", won + j), *ballot.votes[1:])
        whole = replace(ballot, drawn=terms.k, votes=leader, abstentions=(*ballot.abstentions, *[1.0] * (left - j)))
        if look(terms, whole, 0, policy).decision is Decision.ESCALATE:
            total += math.comb(left, j) * math.exp(_log_beta(a + j, b + left - j) - _log_beta(a, b))
    return min(1.0, total)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def look(terms: Terms, ballot: Ballot, open_seats: int, policy: Policy) -> Look:
    """Return the decision that a ballot leads to: the final one where it is `settled`."""
    value, source = confidence(policy, ballot, single=terms.single, score=terms.score)
    if terms.last:
        if ballot.leader is None:
            return Look(ballot, None, "", None, Decision.ABSTAIN, "last tier: no sample has an answer")
        return Look(ballot, value, source, None, Decision.ANSWER, f"last tier: {_votes(ballot)}")
    if terms.entropy_rule and not terms.single:
        return _entropy_look(terms, ballot, open_seats, policy)
    threshold = terms.threshold
    decision = Decision.ESCALATE
    if ballot.leader is None and open_seats <= 0:
        reason = f"no sample has an answer ({ballot.drawn} drawn)"
    elif value is None and terms.single:
        reason = "a single sample is no vote evidence, and there is no score and no logprob: unknown"
    elif value is None:
        lacking = "score" if policy.confidence == PRIOR else policy.confidence
        reason = f"no {lacking} known for {terms.model}"
    elif ballot.leader is not None and _reaches(value, ballot.k, terms):
        decision, reason = Decision.ACCEPT, f"{_said(terms, ballot, open_seats, value, source)} reaches {threshold:g}"
    else:
        reason = f"{_said(terms, ballot, open_seats, value, source)} below {threshold:g}"
    belief = 0.0 if value is None else value
    if terms.entropy_rule and decision is Decision.ESCALATE and _may_explore(terms, policy, belief):
        more = explored_k(terms.k, policy.max_k)
        belief = max(belief, terms.score or 0.0)
        decision, reason = Decision.EXPLORE, f"{reason}; belief {belief:.3g} is worth {more} samples"
    return Look(ballot, value, source, threshold, decision, reason)


def _entropy_look(terms: Terms, ballot: Ballot, open_seats: int, policy: Policy) -> Look:
    """The entropy rule: a clean ballot is accepted, a promising one explored, any other escalates."""
    bits, limit = entropy_bits(ballot.counts), policy.entropy_bits
    value, source = confidence(policy, ballot, single=False, score=terms.score)
    early = f", settled with {open_seats} undrawn" if open_seats else ""
    said = f"{_votes(ballot)}, entropy {bits:.2f} bits{early}"
    belief = max(ballot.share, terms.score or 0.0)
    if ballot.leader is not None and _clean(entropy_bounds(ballot.counts, open_seats * terms.weight).high, policy):
        decision = Decision.ACCEPT
        reason = f"{said}: clean whatever the rest says" if early else f"{said} <= {limit:g}: a clean ballot"
    elif _may_explore(terms, policy, ballot.share):
        more = explored_k(terms.k, policy.max_k)
        decision = Decision.EXPLORE
        reason = f"{said} > {limit:g}, belief {belief:.2f} >= {policy.explore_floor:g}: draw up to {more}"
    else:
        decision = Decision.ESCALATE
        why = "no more may be drawn" if belief >= policy.explore_floor else f"belief {belief:.2f} too low to explore"
        above = f"{said} > {limit:g}" if ballot.leader is not None else f"no sample has an answer{early}"
        reason = f"{above}, {why}"
    return Look(ballot, value, source, limit, decision, reason)


def _clean(bits: float, policy: Policy) -> bool:
    return bits <= policy.entropy_bits + 1e-9


def _may_explore(terms: Terms, policy: Policy, belief: float) -> bool:
    """Whether more is drawn at this tier: the belief, or the score, is worth it and there is room."""
    enough = max(belief, terms.score or 0.0) >= policy.explore_floor - 1e-9
    return enough and terms.may_explore and terms.k < policy.max_k


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
            votes = standing(row, len(row), names=names)
            if votes.first and beats_runner_up(votes.first, votes.second) >= stop.number:
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


def _reaches(value: float, k: float, terms: Terms) -> bool:
    # In votes, so that 7 of 25 reach 0.28: need = ceil(threshold * k - 1e-9).
    return value * k >= terms.threshold * k - 1e-9


def _votes(ballot: Ballot) -> str:
    if ballot.leader is None:
        return f"0 of {ballot.k:g} votes"
    return f"{ballot.first:.4g} of {ballot.k:.4g} votes for {ballot.leader}"


def _said(terms: Terms, ballot: Ballot, open_seats: int, value: float, source: str) -> str:
    if terms.single or source == "score":
        return f"{source} {value:.3g}" + (", before drawing," if ballot.drawn == 0 else "")
    cast = _votes(ballot) if source != PRIOR else f"{_votes(ballot)} and score {terms.score:.3g}"
    if open_seats:
        return f"{cast} with {open_seats} undrawn, {source}"
    return f"{cast}, {source} {value:.3g}"
