"""A ballot: the samples of a tier as votes over classes of equal answers, with abstentions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import repeat
from typing import NamedTuple, Protocol

from escalade.answers.canonical import sort_key
from escalade.samples.sample import Sample


class Counted(Protocol):
    """How many votes there are, whoever has them: a `Standing`, or a whole `Ballot`."""

    @property
    def k(self) -> float:
        """Seats."""

    @property
    def first(self) -> float:
        """Votes of the leader."""

    @property
    def second(self) -> float:
        """Votes of the runner-up."""

    @property
    def counts(self) -> list[float]:
        """Votes of each class, the most first (0 where nobody voted); then each abstention, a class of its own."""


class Standing(NamedTuple):
    """How the votes of a ballot stand, without its leader's name: what early settling rests on, told cheaply."""

    k: float
    first: float
    second: float
    counts: list[float]


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
    drawn = list(samples)
    votes, abstentions = _add_up(drawn, weights, names)
    if not votes:
        return Ballot(k, len(drawn), (), tuple(abstentions), tie=False, logprob=None)
    most = max(votes.values())
    tied = [key for key, n in votes.items() if _same(n, most)]
    means = {key: _mean_logprob(drawn, key, names) for key in tied}
    leader = tied[0]
    if len(tied) > 1:
        by_logprob = None not in means.values()
        leader = min(tied, key=lambda key: (-(means[key] or 0.0) if by_logprob else 0.0, sort_key(key)))
    rest = [key for key in votes if key != leader]
    if len(rest) > 1:
        rest.sort(key=lambda key: (-votes[key], sort_key(key)))
    ranked = tuple((key, votes[key]) for key in [leader, *rest])
    return Ballot(k, len(drawn), ranked, tuple(abstentions), tie=len(tied) > 1, logprob=means[leader])


def standing(
    samples: Iterable[Sample],
    k: float,
    weights: Iterable[float] | None = None,
    names: Mapping[str, str] | None = None,
) -> Standing:
    """Return how the votes of the ballot that `count` makes of the same arguments stand.

    Example:
        >>> from escalade.testing import votes
        >>> standing(votes("1/2", "0.5", "2", None), k=5)
        Standing(k=5, first=2, second=1, counts=[2, 1, 1])
    """
    votes, abstentions = _add_up(samples, weights, names)
    counts = sorted(votes.values(), reverse=True) or [0]
    return Standing(k, counts[0], counts[1] if len(counts) > 1 else 0, counts + abstentions)


def _add_up(
    samples: Iterable[Sample], weights: Iterable[float] | None, names: Mapping[str, str] | None
) -> tuple[dict[str, float], list[float]]:
    """Return the votes of each class, and the weight of each abstention."""
    votes: dict[str, float] = {}
    abstentions: list[float] = []
    for sample, weight in zip(samples, repeat(1) if weights is None else weights, strict=False):
        key = sample.key
        if key is None:
            abstentions.append(weight)
        else:
            if names:
                key = names.get(key, key)
            votes[key] = votes.get(key, 0) + weight
    return votes, abstentions


def _mean_logprob(samples: Iterable[Sample], leader: str, names: Mapping[str, str] | None) -> float | None:
    """Return the mean over the samples of a class of their mean logprobs; None where one has none."""
    logprobs: list[float] = []
    for sample in samples:
        key = sample.key
        if key is not None and (names.get(key, key) if names else key) == leader:
            if sample.generation.mean_logprob is None:
                return None
            logprobs.append(sample.generation.mean_logprob)
    # fsum rounds once, so that a mean cannot depend on the order of its terms.
    return math.fsum(logprobs) / len(logprobs)


def _same(a: float, b: float) -> bool:
    return a == b or math.isclose(a, b, rel_tol=1e-12)
