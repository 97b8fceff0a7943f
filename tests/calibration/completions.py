"""All ballots of so many seats, and all ways to fill the open ones: brute force for tests."""

from collections.abc import Iterator
from functools import cache

from escalade.calibration.shapes import Shape


@cache
def partitions(n: int, most: int) -> list[tuple[int, ...]]:
    if n == 0:
        return [()]
    return [(first, *rest) for first in range(min(n, most), 0, -1) for rest in partitions(n - first, first)]


def ballots(k: int) -> Iterator[Shape]:
    """All shapes of k seats with a leader."""
    for voted in range(1, k + 1):
        yield from (Shape(votes, k) for votes in partitions(voted, voted))


def completions(shape: Shape, open_seats: int) -> set[Shape]:
    """Every way to fill the open seats in which the leader stays first or tied; brute force."""
    if not open_seats:
        return {shape}
    votes, k = shape
    grown = {shape} | {Shape((*votes[:i], votes[i] + 1, *votes[i + 1 :]), k) for i in range(len(votes))}
    grown |= {Shape((*votes, 1), k)}
    return {one for more in grown for one in completions(more, open_seats - 1)}


def led(shape: Shape, open_seats: int) -> set[Shape]:
    """Those of the completions in which the leader, the class that comes first, has no fewer votes than another."""
    found = {one for one in completions(shape, open_seats) if one.votes[0] == max(one.votes)}
    return {Shape(tuple(sorted(one.votes, reverse=True)), one.k) for one in found}
