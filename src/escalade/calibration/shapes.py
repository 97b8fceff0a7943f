"""The shape of a ballot: how many votes each class has, and how many seats; not what the classes say.

Also what a calibration sees of a shape, and the least and most favourable shapes that open seats can still lead to.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from escalade.cascade.ballot import Ballot, Counted
from escalade.cascade.confidence import entropy_bits
from escalade.errors import SettingError


class Shape(NamedTuple):
    """Votes by class, most first, of k seats; seats without a vote abstained, or were never filled."""

    votes: tuple[int, ...]
    k: int


class Features(NamedTuple):
    """What a calibration sees of a ballot of k seats: a votes for the leader, b for the runner-up, z abstentions."""

    share_logit: float
    """ln((a + 1/2) / (k - a + 1/2)): the logit of the smoothed share (a + 1/2) / (k + 1)"""
    margin: float
    """(a - b) / k"""
    entropy: float
    """H / ln k, in [0, 1], each abstention a class of its own; 0 for one seat"""
    abstained: float
    """z / k"""
    log_k: float
    """ln k"""


def shape_of(ballot: Ballot) -> Shape:
    """Return the shape of a ballot; seats that are not drawn count as abstentions, as they win nothing.

    Raises:
        SettingError: votes or seats are no whole numbers (aggregate = "weighted").

    Example:
        >>> from escalade.cascade.ballot import count
        >>> from escalade.testing import votes
        >>> shape_of(count(votes("7", "3", "7", None), k=5))
        Shape(votes=(2, 1), k=5)
    """
    *votes, k = _whole((*(n for _, n in ballot.votes), ballot.k))
    return Shape(tuple(votes), k)


def readings(ballot: Counted) -> tuple[Shape, Shape]:
    """Return the shapes with the most and with the fewest abstentions that a ballot may have.

    They are one where it is known who abstained, as in a whole `Ballot`. A `Standing` lists abstentions as classes of
    their own: each single vote behind the runner-up's may then be one.

    Raises:
        SettingError: votes or seats are no whole numbers (aggregate = "weighted").

    Example:
        >>> from escalade.cascade.ballot import standing
        >>> from escalade.testing import votes
        >>> readings(standing(votes("7", "7", "3", "4", None), k=6))
        (Shape(votes=(2, 1), k=6), Shape(votes=(2, 1, 1, 1), k=6))
    """
    if isinstance(ballot, Ballot):
        shape = shape_of(ballot)
        return shape, shape
    numbers = _whole((*ballot.counts, ballot.k))
    votes, k = tuple(n for n in numbers[:-1] if n), numbers[-1]
    if not ballot.first:
        return Shape((), k), Shape((), k)
    if not ballot.second:
        return Shape(votes[:1], k), Shape(votes[:1], k)
    return Shape((votes[0], votes[1], *(n for n in votes[2:] if n > 1)), k), Shape(votes, k)


@lru_cache(maxsize=65536)
def features(shape: Shape) -> Features:
    """Return what a calibration sees of a shape.

    Raises:
        SettingError: no votes, votes that are not ordered from the most, or more votes than seats.

    Example:
        >>> [round(x, 3) for x in features(Shape((4, 1), 6))]
        [0.588, 0.5, 0.484, 0.167, 1.792]
    """
    votes, k = shape
    if not votes or min(votes) < 1 or list(votes) != sorted(votes, reverse=True) or sum(votes) > k:
        raise SettingError(
            f"ballot with votes {list(votes)} of {k} seats: give the votes of each class, most first, at least one "
            "vote, together no more than the seats"
        )
    first, second, abstained = votes[0], votes[1] if len(votes) > 1 else 0, k - sum(votes)
    return Features(
        math.log((first + 0.5) / (k - first + 0.5)),
        (first - second) / k,
        entropy_bits([*votes, *[1] * abstained]) / math.log2(k) if k > 1 else 0.0,
        abstained / k,
        math.log(k),
    )


def best_completion(shape: Shape, open_seats: int) -> Shape:
    """Return the shape where every open seat votes for the leader.

    No completion has a higher share, a higher margin, a lower entropy or fewer abstentions.

    Raises:
        SettingError: more open seats than seats without a vote.

    Example:
        >>> best_completion(Shape((2, 1), 5), 2)
        Shape(votes=(4, 1), k=5)
    """
    _check_room(shape, open_seats)
    votes, k = shape
    if not open_seats:
        return shape
    return Shape((votes[0] + open_seats, *votes[1:]) if votes else (open_seats,), k)


def worst_completions(shape: Shape, open_seats: int) -> Iterator[Shape]:
    """Yield the shapes among which the least favourable one is, while the present leader stays first (or tied).

    No open seat votes for the leader; the runner-up gains some or none, up to a tie; the others abstain. Any other
    completion has a higher share, or the same margin as one of these with a lower entropy or fewer abstentions.

    Raises:
        SettingError: more open seats than seats without a vote, or no votes.

    Example:
        >>> [shape.votes for shape in worst_completions(Shape((2, 1), 6), 3)]
        [(2, 1), (2, 2)]
    """
    _check_room(shape, open_seats)
    votes, k = shape
    if not votes:
        raise SettingError(f"ballot of {k} seats without a vote: it has no leader who could stay")
    second = votes[1] if len(votes) > 1 else 0
    for rival in range(second, min(votes[0], second + open_seats) + 1):
        yield Shape((votes[0], rival, *votes[2:]) if rival else votes, k)


def _whole(numbers: Sequence[float]) -> list[int]:
    whole = [round(n) for n in numbers]
    if any(n != m for n, m in zip(numbers, whole, strict=True)):
        raise SettingError(
            f"ballot has votes and seats {list(numbers)}: a calibration is of one tier's whole votes; "
            "use aggregate 'last'"
        )
    return whole


def _check_room(shape: Shape, open_seats: int) -> None:
    if not 0 <= open_seats <= shape.k - sum(shape.votes):
        raise SettingError(
            f"{open_seats} open seats in a ballot of {shape.k} with votes {list(shape.votes)}: give at most the seats "
            "without a vote"
        )
