"""Signatures: ballots by their votes alone, whoever has them, as rows of numbers that tables are indexed by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np

from escalade.evaluation.lots import Bools, Ints


@dataclass(frozen=True, eq=False)
class Signatures:
    """All signatures of at most k votes in at most `parts` classes, fewest votes first."""

    votes: tuple[tuple[int, ...], ...]
    """Votes of the classes, the most first."""

    @cached_property
    def size(self) -> Ints:
        """[S] Votes in all."""
        return np.array([sum(votes) for votes in self.votes], dtype=np.int64)

    @cached_property
    def top(self) -> Ints:
        """[S] Votes of the leader."""
        return np.array([max(votes, default=0) for votes in self.votes], dtype=np.int64)

    @cached_property
    def tied(self) -> Bools:
        """[S] Whether two classes lead."""
        return np.array([len(votes) > 1 and votes[0] == votes[1] for votes in self.votes], dtype=np.bool_)

    @cached_property
    def place(self) -> dict[tuple[int, ...], int]:
        """The number of each signature."""
        return {votes: i for i, votes in enumerate(self.votes)}

    @cached_property
    def _adding(self) -> dict[int, Steps]:
        return {}

    def adding(self, t: int) -> Steps:
        """Return the signatures to which a class with t votes can be added, and what they become: no two the same."""
        if t not in self._adding:
            grown = (self.place.get(tuple(sorted((*votes, t), reverse=True))) for votes in self.votes)
            pairs = [(source, target) for source, target in enumerate(grown) if target is not None]
            source, target = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
            self._adding[t] = Steps(source, target)
        return self._adding[t]


class Steps(NamedTuple):
    """Signatures, and what each becomes with one more class."""

    source: Ints
    target: Ints


@lru_cache(maxsize=64)
def signatures(k: int, parts: int) -> Signatures:
    """Return the signatures of at most k votes in at most `parts` classes.

    Example:
        >>> signatures(3, 2).votes
        ((), (1,), (2,), (1, 1), (3,), (2, 1))
    """
    levels: list[list[tuple[int, ...]]] = [[()]]
    for size in range(1, k + 1):
        levels.append(list(_partitions(size, size, parts)))
    return Signatures(tuple(votes for level in levels for votes in level))


def _partitions(size: int, most: int, parts: int) -> Sequence[tuple[int, ...]]:
    if size == 0:
        return [()]
    if parts == 0:
        return []
    return [(t, *rest) for t in range(min(size, most), 0, -1) for rest in _partitions(size - t, t, parts - 1)]


def number_of(k: int, parts: int) -> int:
    """Return how many signatures of at most k votes in at most `parts` classes there are, without listing them.

    Example:
        >>> number_of(8, 8), number_of(16, 16), number_of(32, 4)
        (67, 915, 3396)
    """
    row = [1] + [0] * k
    for part in range(1, parts + 1):  # partitions into at most `parts` parts: into parts of at most that size
        for size in range(part, k + 1):
            row[size] += row[size - part]
    return sum(row)
