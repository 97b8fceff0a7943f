"""A ballot: the samples of a tier as votes over classes of equal answers, with abstentions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import repeat

from escalade.answers.canonical import sort_key
from escalade.samples.sample import Sample


@dataclass(frozen=True, slots=True)
class Ballot:
    """Votes over classes of equal answers. The order in which samples arrived leaves no trace in it.

    `k` is the number of seats: samples asked for, those that abstained or are still out included. With
    weights (aggregate = "weighted"), votes and seats are sums of weights.
    """

    k: float
    drawn: int
    votes: tuple[tuple[str, float], ...]
    """(canonical key of the class, votes), the leader first."""
    abstentions: tuple[float, ...]
    """Weight of each sample without an answer."""
    tie: bool
    """Whether the leader shares its number of votes with another class."""
    logprob: float | None
    """Mean over the leader's samples of their mean token logprob, in nats; None where one has none."""

    @property
    def leader(self) -> str | None:
        """The class with most votes; None where nobody voted."""
        return self.votes[0][0] if self.votes else None

    @property
    def first(self) -> float:
        """Votes of the leader."""
        return self.votes[0][1] if self.votes else 0

    @property
    def second(self) -> float:
        """Votes of the runner-up."""
        return self.votes[1][1] if len(self.votes) > 1 else 0

    @property
    def share(self) -> float:
        """The leader's share of all k seats."""
        return self.first / self.k if self.k else 0.0

    @property
    def tied(self) -> list[str]:
        """The classes that share the most votes; the leader alone where there is no tie."""
        return [key for key, n in self.votes if _same(n, self.first)]

    @property
    def abstained(self) -> float:
        """Seats of the samples without an answer."""
        return sum(self.abstentions)

    @property
    def undrawn(self) -> float:
        """Seats that nobody has taken: samples still out, or never drawn."""
        return self.k - math.fsum(self.counts)

    @property
    def counts(self) -> list[float]:
        """Votes of each class, the leader first (0 where nobody voted); then each abstention, a class of its own."""
        return [*([n for _, n in self.votes] or [0]), *self.abstentions]


def count(
    samples: Iterable[Sample],
    k: float,
    weights: Iterable[float] | None = None,
    names: Mapping[str, str] | None = None,
) -> Ballot:
    """Return the ballot of `samples` for `k` seats.

    `names` gives the class of the keys that share one with other keys; any other key is a class of its own.

    Ties go to the class with the highest mean logprob where each of the tied classes has one, else to the
    smallest canonical answer.

    Example:
        >>> from escalade.testing import votes
        >>> ballot = count(votes("1/2", "0.5", "2", "[invalid]", "2"), k=5)
        >>> ballot.leader, ballot.first, ballot.tie, ballot.abstained
        ('0.5', 2, True, 1)
    """
    votes: dict[str, float] = {}
    logprobs: dict[str, list[float] | None] = {}
    abstentions: list[float] = []
    drawn = 0
    for sample, weight in zip(samples, repeat(1) if weights is None else weights, strict=False):
        drawn += 1
        key = sample.key
        if key is None:
            abstentions.append(weight)
            continue
        if names:
            key = names.get(key, key)
        votes[key] = votes.get(key, 0) + weight
        seen = logprobs.setdefault(key, [])
        if sample.generation.mean_logprob is None:
            logprobs[key] = None
        elif seen is not None:
            seen.append(sample.generation.mean_logprob)
    if not votes:
        return Ballot(k, drawn, (), tuple(abstentions), tie=False, logprob=None)
    if len(votes) == 1:
        ((leader, most),) = votes.items()
        return Ballot(k, drawn, ((leader, most),), tuple(abstentions), tie=False, logprob=_mean(logprobs[leader]))
    means = {key: _mean(seen) for key, seen in logprobs.items()}
    most = max(votes.values())
    tied = [key for key, n in votes.items() if _same(n, most)]
    by_logprob = len(tied) > 1 and all(means[key] is not None for key in tied)
    leader = min(tied, key=lambda key: (-(means[key] or 0.0) if by_logprob else 0.0, sort_key(key)))
    rest = sorted((key for key in votes if key != leader), key=lambda key: (-votes[key], sort_key(key)))
    ranked = tuple((key, votes[key]) for key in [leader, *rest])
    return Ballot(k, drawn, ranked, tuple(abstentions), tie=len(tied) > 1, logprob=means[leader])


def _mean(values: list[float] | None) -> float | None:
    # fsum rounds once, so that a mean cannot depend on the order of its terms.
    return None if values is None else math.fsum(values) / len(values)


def _same(a: float, b: float) -> bool:
    return a == b or math.isclose(a, b, rel_tol=1e-12)
