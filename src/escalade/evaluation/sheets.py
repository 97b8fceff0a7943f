"""Sheets: what the rules of decisions say to every ballot that a tier can have, signature by signature.

The rules are those of `escalade.cascade.decide`, asked once a signature; nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from escalade.cascade import decide
from escalade.cascade.ballot import Ballot
from escalade.cascade.decide import Terms
from escalade.cascade.outcome import Decision
from escalade.cascade.policy import Policy
from escalade.evaluation.lots import Bools, Floats
from escalade.evaluation.signatures import Signatures


class Case(NamedTuple):
    """All but the ballot that a decision at a tier rests on."""

    model: str
    k: int
    threshold: float
    score: float | None
    last: bool
    entropy_rule: bool


@dataclass(frozen=True, slots=True)
class Sheet:
    """What is decided at each of S signatures of up to k votes."""

    accepts: Bools
    """[S] Whether the whole ballot is accepted; at the last tier, whether it has an answer."""
    confidence: Floats
    """[S] Of the whole ballot; NaN is unknown."""
    unsettled: Bools
    """[k, S] Whether a further sample is drawn after j draws."""
    left_early: Bools
    """[k, S] Whether the tier has escalated after j draws."""


def sheet(known: Signatures, case: Case, policy: Policy) -> Sheet:
    """Return what `policy` decides in a case.

    Example:
        >>> from escalade.evaluation.signatures import signatures
        >>> found = sheet(signatures(2, 2), Case("S", 2, 0.9, None, last=False, entropy_rule=False), Policy())
        >>> found.accepts.tolist(), found.unsettled.any(axis=1).tolist()
        ([False, False, True, False], [True, True])
    """
    shape, terms = (case.k, len(known.votes)), _terms(case)
    accepts, values = np.zeros(shape[1], dtype=np.bool_), np.full(shape[1], np.nan)
    unsettled, left_early = np.zeros(shape, dtype=np.bool_), np.zeros(shape, dtype=np.bool_)
    for place, j, ballot in _ballots(known, case.k, whole_only=policy.stop_rule.name == "none"):
        if not decide.settled(terms, ballot, case.k - j, policy):
            unsettled[j, place] = True
            continue
        decision = decide.look(terms, ballot, case.k - j, policy).decision
        if j < case.k:
            left_early[j, place] = decision is Decision.ESCALATE
        else:
            accepts[place] = decision in (Decision.ACCEPT, Decision.ANSWER)
            value = decide.confidence(policy, ballot, single=case.k == 1, score=case.score).value
            values[place] = np.nan if value is None else value
    if policy.stop_rule.name == "none":
        unsettled[:] = np.array(known.size) <= np.arange(case.k)[:, None]
    return Sheet(accepts, values, unsettled, left_early)


def turning_points(known: Signatures, k: int, policy: Policy) -> Floats:
    """Return, in rising order, all confidences and bounds of confidences that a threshold may be compared with.

    Thresholds between the same two of them decide alike.

    Example:
        >>> from escalade.evaluation.signatures import signatures
        >>> turning_points(signatures(4, 4), 4, Policy()).tolist()
        [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    found: set[float] = set()
    estimator = policy.estimator
    for _, j, ballot in _ballots(known, k, whole_only=False):
        found.update(estimator.bounds(ballot, k - j))
        if j == k:
            value = decide.confidence(policy, ballot, single=False, score=None).value
            found.update(() if value is None else (value,))
    return np.array(sorted(found))


def reaches(confidence: Floats, k: int, threshold: float) -> Bools:
    """Return which confidences reach a threshold, counted in votes as `escalade.cascade.decide` does.

    Example:
        >>> reaches(np.array([0.28, 0.279, np.nan]), 25, 0.28).tolist()
        [True, False, False]
    """
    return np.asarray(confidence * k >= threshold * k - 1e-9)


def priors(scores: Floats, k: int, strength: float) -> Floats:
    """[N, k + 1] Return the confidence `prior` in a leader of 0..k votes, by the scores [N]; NaN without a score.

    Example:
        >>> priors(np.array([0.9, 0.1]), 2, 2.0).round(2).tolist()
        [[0.45, 0.7, 0.95], [0.05, 0.3, 0.55]]
    """
    return np.asarray((strength * scores[:, None] + np.arange(k + 1)) / (strength + k))


def source(policy: Policy, *, single: bool, scored: bool) -> str:
    """Return what a tier's confidence rests on: score, logprob, or the name of an estimator of votes; "" if nothing.

    Example:
        >>> source(Policy(), single=False, scored=True), source(Policy(), single=True, scored=True)
        ('share', 'score')
    """
    ballot = Ballot(2 - single, 2 - single, (("0", 2 - single),), (), tie=False, logprob=0.0)
    return decide.confidence(policy, ballot, single=single, score=0.5 if scored else None).source


def without_thresholds(policy: Policy) -> Policy:
    """Return what of a policy decides besides its thresholds."""
    return replace(policy, target=1.0, thresholds={})


def _ballots(known: Signatures, k: int, *, whole_only: bool) -> Iterator[tuple[int, int, Ballot]]:
    """Every signature by its place, after every number of draws that can give it, as a ballot of k seats."""
    for place, (votes, size, tie) in enumerate(zip(known.votes, known.size.tolist(), known.tied.tolist(), strict=True)):
        ranked = tuple((str(i), float(n)) for i, n in enumerate(votes))
        for j in range(k if whole_only else size, k + 1):
            yield place, j, Ballot(k, j, ranked, (1.0,) * (j - size), tie, logprob=None)


def _terms(case: Case) -> Terms:
    return Terms(
        k=case.k,
        weight=1.0,
        single=case.k == 1,
        score=case.score,
        model=case.model,
        threshold=case.threshold,
        last=case.last,
        entropy_rule=case.entropy_rule,
        may_explore=False,
        aggregated=False,
    )
