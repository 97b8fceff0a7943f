"""Rungs: what one tier comes to on every problem once it is entered, in closed form.

A rung is linear algebra: a decision is a mask over the signatures of ballots (`escalade.evaluation.sheets`), its
probability the sum of theirs (`escalade.evaluation.draws`). Thresholds that decide alike share a rung. A prior decides
as a share does whose threshold is the number of votes that the problem's score leaves to be won.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from escalade.cascade.confidence import PRIOR
from escalade.cascade.policy import Policy
from escalade.evaluation.bank import Bank
from escalade.evaluation.draws import Draws, Spending, draws_of
from escalade.evaluation.lots import Bools, Floats, Ints
from escalade.evaluation.sheets import (
    Case,
    Sheet,
    priors,
    reaches,
    sheet,
    source,
    turning_points,
    without_thresholds,
)
from escalade.routes import Tier

SAMPLES, PROMPT, COMPLETION, USD = range(4)
"""The quantities that are spent."""


class Candidates(NamedTuple):
    """The answers that a tier has when it escalates, by confidence: what a fall-back chooses from."""

    confidence: Floats
    """[V] or, where it differs between problems, [N, V]; unknown counts as -1, as in a fall-back."""
    chance: Floats
    """[N, V] P(escalates with an answer of this confidence)."""
    right: Floats
    """[N, V] P(the same, and the answer is right)."""


@dataclass(frozen=True, slots=True)
class Rung:
    """What a tier comes to on N problems once it is entered."""

    accepted: Floats
    """[N] P(accepts; at the last tier: answers)."""
    accepted_right: Floats
    """[N] P(accepts, and the answer is right)."""
    spent: Floats
    """[4, N] Expected samples, prompt tokens, completion tokens and USD until the tier is settled."""
    more: Floats
    """[4, N] The same, of what a fall-back draws after it escalated early; 0 where it does not escalate."""
    candidates: Candidates
    exact: Bools
    """[N]"""

    @property
    def escalated(self) -> Floats:
        """[N] P(escalates; at the last tier: has no answer)."""
        return np.maximum(0.0, 1.0 - self.accepted)

    def of(self, index: Ints) -> Rung:
        """Return the rung of some of the problems."""
        confidence, chance, right = self.candidates
        if confidence.ndim == 2:
            confidence = confidence[index]
        return Rung(
            self.accepted[index],
            self.accepted_right[index],
            self.spent[:, index],
            self.more[:, index],
            Candidates(confidence, chance[index], right[index]),
            self.exact[index],
        )


def rung(bank: Bank, tier: Tier, policy: Policy, threshold: float, *, last: bool, entropy_rule: bool) -> Rung | None:
    """Return what a tier comes to on the problems of a bank's root; None where its ballots are too many to list.

    Problems that have fewer than k samples are NaN.

    Example:
        >>> bank = Bank.of_recording("shipped")
        >>> found = rung(bank, Tier("0.5B", 4, 0.7), Policy(), 0.75, last=False, entropy_rule=False)
        >>> round(float(found.accepted.mean()), 3), round(float(found.spent[SAMPLES].mean()), 3)
        (0.302, 3.028)
    """
    draws = draws_of(bank, tier.model, tier.temperature, tier.k)
    if draws is None:
        return None
    rules = without_thresholds(policy).at(tier.model, tier.temperature, tier.k)
    if rules.confidence == PRIOR and tier.k > 1:
        return _of_priors(bank, tier, rules, threshold, last=last, entropy_rule=entropy_rule)
    by = source(rules, single=tier.k == 1, scored=_scored(bank, tier))
    case = Case(tier.model, tier.k, threshold, None, last, entropy_rule)
    place = ("rung", tier.temperature, _key(rules))
    if last:
        return bank.remembered(
            (*place, case._replace(threshold=0.0)), lambda: _of_votes(bank, tier, draws, case, rules)
        )
    if entropy_rule and tier.k > 1:
        found = bank.remembered(
            (*place, case._replace(threshold=0.0)), lambda: _of_votes(bank, tier, draws, case, rules)
        )
        return replace(found, candidates=_all_as_sure(bank, tier, found)) if by == "score" else found
    if by in ("score", ""):
        return _of_scores(bank, tier, draws, case, rules)
    if by == "logprob":
        return _of_logprobs(bank, tier, draws, case, rules)
    points = bank.remembered(
        ("points", tier.model, tier.temperature, tier.k, _key(rules)),
        lambda: turning_points(draws.signatures, tier.k, rules),
    )
    below = int((~reaches(points, tier.k, threshold)).sum())
    return bank.remembered(
        (*place, case._replace(threshold=-1.0 - below)), lambda: _of_votes(bank, tier, draws, case, rules)
    )


def _key(rules: Policy) -> str:
    return repr(rules)


def _scored(bank: Bank, tier: Tier) -> bool:
    return not bool(np.isnan(bank.root.scores(tier.model)).any())


def _of_votes(bank: Bank, tier: Tier, draws: Draws, case: Case, rules: Policy) -> Rung:
    found = sheet(draws.signatures, case, rules)
    chance, right = draws.ballots(tier.k), draws.right
    leaves = ~found.accepts & (draws.signatures.size > 0)
    known = np.nan_to_num(found.confidence, nan=-1.0)
    values = np.unique(known[leaves])
    groups = (known == values[:, None]) & leaves
    candidates = Candidates(values, chance.T @ groups.T.astype(float), right.T @ groups.T.astype(float))
    spent, more = _spent(bank, tier, draws, found)
    accepts = found.accepts.astype(float)
    return Rung(accepts @ chance, accepts @ right, spent, more, candidates, draws.exact)


def _of_scores(bank: Bank, tier: Tier, draws: Draws, case: Case, rules: Policy) -> Rung:
    """A tier whose confidence is the score, whatever the ballot says."""
    scores = bank.root.scores(tier.model)
    enough = reaches(scores, tier.k, case.threshold)

    def of(*, reached: bool) -> Rung:
        stand_in = case._replace(score=1.0 if reached else 0.0, threshold=0.5)
        place = ("rung", tier.temperature, _key(rules), stand_in)
        return bank.remembered(place, lambda: _of_votes(bank, tier, draws, stand_in, rules))

    high, low = of(reached=True), of(reached=False)
    above, below = _all_as_sure(bank, tier, high), _all_as_sure(bank, tier, low)
    either = enough[:, None]
    return Rung(
        np.where(enough, high.accepted, low.accepted),
        np.where(enough, high.accepted_right, low.accepted_right),
        np.where(enough, high.spent, low.spent),
        np.where(enough, high.more, low.more),
        Candidates(
            above.confidence,
            np.where(either, above.chance, below.chance),
            np.where(either, above.right, below.right),
        ),
        draws.exact,
    )


def _all_as_sure(bank: Bank, tier: Tier, found: Rung) -> Candidates:
    """The candidates of a rung, all with the model's score as their confidence."""
    scores = np.nan_to_num(bank.root.scores(tier.model), nan=-1.0)[:, None]
    _, chance, right = found.candidates
    return Candidates(scores, chance.sum(axis=1)[:, None], right.sum(axis=1)[:, None])


def _of_priors(
    bank: Bank, tier: Tier, rules: Policy, threshold: float, *, last: bool, entropy_rule: bool
) -> Rung | None:
    """A tier whose confidence is a share shrunk to the score: each problem has the rung of the votes that it needs.

    r votes are needed where (s p + r) / (s + k) is the first to reach the threshold. Then the prior decides as a share
    does at r / k, settled early or not: either asks for r votes of the leader, won or still to be won. Where not even k
    reach it, r is k + 1, and no share does.
    """
    k = tier.k
    known = bank.remembered(
        ("priors", tier.model, k, rules.prior_strength),
        # Without a score -1, as a fall-back takes it: no threshold is as low.
        lambda: np.nan_to_num(priors(bank.root.scores(tier.model), k, rules.prior_strength), nan=-1.0),
    )
    n = len(known)
    need = np.zeros(n, dtype=np.int64) if last or entropy_rule else (~reaches(known, k, threshold)).sum(axis=1)

    def mixed() -> Rung | None:
        accepted, right, exact = np.empty(n), np.empty(n), np.empty(n, dtype=np.bool_)
        spent, more = np.empty((4, n)), np.empty((4, n))
        chance, chance_right = np.zeros((n, k)), np.zeros((n, k))
        for r in np.unique(need).tolist():
            found = rung(bank, tier, replace(rules, confidence="share"), r / k, last=last, entropy_rule=entropy_rule)
            if found is None:
                return None
            rows = np.flatnonzero(need == r)
            of = found.of(rows)
            accepted[rows], right[rows], exact[rows] = of.accepted, of.accepted_right, of.exact
            spent[:, rows], more[:, rows] = of.spent, of.more
            # A share is a leader's votes of k: 1 to k, as nobody falls back on a ballot without an answer.
            votes = np.rint(of.candidates.confidence * k).astype(np.int64) - 1
            chance[np.ix_(rows, votes)], chance_right[np.ix_(rows, votes)] = of.candidates.chance, of.candidates.right
        return Rung(accepted, right, spent, more, Candidates(known[:, 1:], chance, chance_right), exact)

    place = ("rung", tier.model, k, tier.temperature, _key(rules), last, entropy_rule, need.tobytes())
    return bank.remembered(place, mixed)


def _of_logprobs(bank: Bank, tier: Tier, draws: Draws, case: Case, rules: Policy) -> Rung:
    """One sample, whose confidence is its logprob."""
    lot = bank.lot(tier.model, tier.temperature)
    place = ("rung", tier.temperature, _key(rules), case._replace(threshold=1.0))
    base = bank.remembered(place, lambda: _of_votes(bank, tier, draws, case, rules))
    votes, share = lot.classes >= 0, 1.0 / np.where(lot.n > 0, lot.n, np.nan)[:, None]
    confidence = np.minimum(1.0, np.exp(lot.logprob))
    accepts = votes & reaches(confidence, 1, case.threshold)
    leaves = votes & ~accepts
    candidates = Candidates(np.nan_to_num(confidence, nan=-1.0), leaves * share, (leaves & lot.right) * share)
    return replace(
        base,
        accepted=(accepts * share).sum(axis=1),
        accepted_right=((accepts & lot.right) * share).sum(axis=1),
        candidates=candidates,
    )


def _spent(bank: Bank, tier: Tier, draws: Draws, found: Sheet) -> tuple[Floats, Floats]:
    """[4, N] twice: what is spent until the tier is settled, and what a fall-back adds after it escalated early."""
    lot = draws.lot

    def listed() -> tuple[Floats, Floats]:
        quantities = np.stack([np.ones(lot.prompt.shape), lot.prompt, lot.completion, lot.usd])
        there = np.arange(lot.prompt.shape[1]) < lot.n[:, None]
        return np.where(there, quantities, 0.0), np.where(there, lot.opening_usd, 0.0).sum(axis=1) / np.maximum(
            lot.n, 1
        )

    quantities, opening = bank.remembered(("quantities", tier.model, tier.temperature), listed)
    whole = np.where(lot.n >= tier.k, tier.k * quantities.sum(axis=2) / np.maximum(lot.n, 1), np.nan)
    sizes = draws.signatures.size
    always = sizes <= np.arange(tier.k)[:, None]
    if (found.unsettled == always).all():
        spent, more = whole, np.zeros_like(whole)
    else:
        place = ("spending", tier.model, tier.temperature, tier.k)
        spending: Spending = bank.remembered(place, lambda: draws.spending(quantities))
        spent = draws.drawn_next(spending, found.unsettled)
        more = draws.drawn_next(spending, found.left_early)
    # The first sample of a ballot opens the prompt; a tier draws one or is decided before, on every problem alike.
    if found.unsettled[0, 0]:
        spent[USD] += opening
    elif found.left_early[0, 0]:
        more[USD] += opening
    return spent, more
