"""Confidence of a ballot: the number that is compared with a tier's threshold.

Each estimator gives a value for a whole ballot, and bounds for a ballot with seats still open: the least and the
most it can become, whatever the open seats vote, as long as the present leader stays the leader. Settled-early
stopping rests on these bounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from escalade.cascade.ballot import Ballot, Counted
from escalade.errors import SettingError


class Bounds(NamedTuple):
    """Between what a confidence can end up once the open seats are filled; -inf where it may end up unknown."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Estimator:
    """A named estimator of confidence."""

    name: str
    value: Callable[[Ballot], float | None]
    """Confidence in [0, 1] of a whole ballot that has a leader; None is unknown, and unknown escalates."""
    bounds: Callable[[Counted, float], Bounds]
    """Bounds for a ballot with r open seats."""
    from_votes: bool = True
    """Whether it rests on agreement: then a single sample says nothing."""


def entropy_bits(counts: Sequence[float]) -> float:
    """Return the entropy of vote shares, in bits: H = -sum p_i log2 p_i.

    Example:
        >>> round(entropy_bits([6, 1]), 2), entropy_bits([4, 4])
        (0.59, 1.0)
    """
    total = math.fsum(counts)
    if total == 0:
        return 0.0
    return max(0.0, -math.fsum(n / total * math.log2(n / total) for n in sorted(counts) if n > 0))


def entropy_bounds(counts: Sequence[float], r: float) -> Bounds:
    """Return the least and the most entropy that `r` more votes can leave.

    `counts` has the leader's votes first, 0 where nobody voted yet. By majorisation: all of them for the leader
    give the least, each of them for a class of its own the most.
    """
    open_seats = round(r)
    leader, *others = counts
    return Bounds(entropy_bits([leader + open_seats, *others]), entropy_bits([*counts, *[1.0] * open_seats]))


def beats_runner_up(first: float, second: float) -> float:
    """Return P(the leader's true share exceeds the runner-up's), given their votes a and b.

    P(p > 1/2 | a, b) with p ~ Beta(a+1, b+1), which is P(Bin(a+b+1, 1/2) <= a): exact, without quadrature
    (adaptive consistency, arXiv 2305.11860). Fractional votes (weights) are rounded down for the leader.

    Example:
        >>> round(beats_runner_up(4, 0), 3), round(beats_runner_up(600, 500), 4)
        (0.969, 0.9987)
    """
    a, b = math.floor(first), math.ceil(second)
    n = a + b + 1
    term, below = 1, 1
    for i in range(1, a + 1):
        term = term * (n - i + 1) // i
        below += term
    return below / (1 << n)


def _share(ballot: Ballot) -> float:
    return ballot.share


def _share_bounds(ballot: Counted, r: float) -> Bounds:
    return Bounds(ballot.first / ballot.k, (ballot.first + r) / ballot.k)


def _margin(ballot: Ballot) -> float:
    return (ballot.first - ballot.second) / ballot.k


def _margin_bounds(ballot: Counted, r: float) -> Bounds:
    gap = ballot.first - ballot.second
    return Bounds(max(0.0, (gap - r) / ballot.k), (gap + r) / ballot.k)


def _posterior(ballot: Ballot) -> float:
    return beats_runner_up(ballot.first, ballot.second)


def _posterior_bounds(ballot: Counted, r: float) -> Bounds:
    low = beats_runner_up(ballot.first, ballot.second + r)
    return Bounds(low, beats_runner_up(ballot.first + r, ballot.second))


def _entropy(ballot: Ballot) -> float:
    # Seats never drawn (out of time or money) are not won: else one sample of eight would look unanimous.
    return max(0.0, 1.0 - entropy_bounds(ballot.counts, ballot.undrawn).high)


def _entropy_confidence_bounds(ballot: Counted, r: float) -> Bounds:
    least, most = entropy_bounds(ballot.counts, r)
    return Bounds(max(0.0, 1.0 - most), max(0.0, 1.0 - least))


def _logprob(ballot: Ballot) -> float | None:
    return None if ballot.logprob is None else min(1.0, math.exp(ballot.logprob))


def _anything(ballot: Counted, r: float) -> Bounds:
    return Bounds(-math.inf, 1.0)


def _no_value(ballot: Ballot) -> float | None:
    return None


def _never(ballot: Counted, r: float) -> Bounds:
    return Bounds(-math.inf, -math.inf)


PRIOR = "prior"
"""The confidence that shrinks a share to the model's score."""


def prior(strength: float, score: float | None) -> Estimator:
    """Return the estimator of confidence that takes a model's score as the prior of its ballots.

    With theta ~ Beta(s p, s (1 - p)) for the model's chance on this problem, p its score and s the prior's strength
    in votes, and the leader's a of k votes counted as successes, the confidence is the posterior mean

        E[theta | a of k] = (s p + a) / (s + k)

    a share shrunk to the score: s = 0 is the share. Unknown, and unknown for good, where the score is.

    Example:
        >>> from escalade.cascade.ballot import Standing
        >>> ballot = Standing(k=5, first=2, second=0, counts=[2])
        >>> [round(bound, 3) for bound in prior(10.0, 0.95).bounds(ballot, 3)]  # 2-0, three seats open
        [0.767, 0.967]
    """
    if score is None:
        return Estimator(PRIOR, _no_value, _never, from_votes=False)
    votes = strength * score

    def value(ballot: Ballot) -> float:
        return (votes + ballot.first) / (strength + ballot.k)

    def bounds(ballot: Counted, r: float) -> Bounds:
        seats = strength + ballot.k
        return Bounds((votes + ballot.first) / seats, (votes + (ballot.first + r)) / seats)

    return Estimator(PRIOR, value, bounds)


ESTIMATORS: Mapping[str, Estimator] = {
    estimator.name: estimator
    for estimator in (
        Estimator("share", _share, _share_bounds),
        Estimator("margin", _margin, _margin_bounds),
        Estimator("posterior", _posterior, _posterior_bounds),
        Estimator("entropy", _entropy, _entropy_confidence_bounds),
        Estimator("logprob", _logprob, _anything, from_votes=False),
        # The score is no matter of votes: `decide.confidence` puts it in the place of this value.
        Estimator("score", _no_value, _anything, from_votes=False),
        # So it does with `prior`, which needs a score and a strength.
        Estimator(PRIOR, _no_value, _never),
    )
}
"""Estimators by name: share (votes/k), margin ((first-second)/k), posterior, entropy (max(0, 1-H)), logprob, score,
prior (share and score)."""

CALIBRATED = "calibrated"
"""The confidence that is not one estimator, but one for each tier, fitted on labelled samples."""


@dataclass(frozen=True, slots=True)
class Calibrated:
    """Fitted estimators, one a tier; two are equal where their fingerprints and their tiers are.

    Example:
        >>> fitted = Calibrated("5f0c", (("7B", 0.7),), (ESTIMATORS["share"],))
        >>> fitted.only("7B", 0.7, k=5).estimator.name, fitted.only("72B", 0.0, k=1).tiers
        ('share', ())
    """

    fingerprint: str
    tiers: tuple[tuple[str, float], ...]
    """Model alias and temperature of each estimator."""
    estimators: tuple[Estimator, ...] = field(repr=False, compare=False)

    def only(self, alias: str, temperature: float, *, k: int) -> Calibrated:
        """Return what there is for one tier of k samples; nothing is a lack of several samples only.

        Raises:
            SettingError: the tier has several samples and no estimator.
        """
        for tier, estimator in zip(self.tiers, self.estimators, strict=True):
            if tier[0] == alias and math.isclose(tier[1], temperature, abs_tol=1e-9):
                return Calibrated(self.fingerprint, (tier,), (estimator,))
        if k > 1:
            known = ", ".join(f"{name} at t={t:g}" for name, t in self.tiers) or "none"
            raise SettingError(
                f"no calibration of {alias} at t={temperature:g}: there are {known}; fit one on samples of this tier "
                "(escalade calibrate)"
            )
        return Calibrated(self.fingerprint, (), ())

    @property
    def estimator(self) -> Estimator:
        """The estimator of the one tier that this is of; where it has none, its confidence is unknown."""
        return self.estimators[0] if len(self.estimators) == 1 else _UNKNOWN


_UNKNOWN = Estimator(CALIBRATED, _no_value, _anything)
