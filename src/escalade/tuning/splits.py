"""Splits: problems in parts, near-duplicates together, so that who chooses and who tests have nothing in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from escalade.evaluation.bank import Bank, Ints
from escalade.evaluation.groups import near_duplicates


def groups_of(bank: Bank) -> tuple[list[int], str]:
    """Return the group of near-duplicates of each problem, and a note of how they were found.

    Problems without a text are a group each.

    Example:
        >>> groups, note = groups_of(Bank.of_recording("shipped"))
        >>> len(groups), note
        (60, '60 problems in 60 groups of near-duplicates')
    """
    texts = [problem.text for problem in bank.problems]
    if not all(texts):
        return list(range(len(texts))), (
            f"{sum(not text for text in texts)} of {len(texts)} problems have no text, so that near-duplicates cannot "
            "be found: each problem counts as a group of its own (give texts with --problems, or --group COLUMN)"
        )
    found = near_duplicates(texts)
    return found, f"{len(texts)} problems in {len(set(found))} groups of near-duplicates"


def parts_of(groups: Sequence[Any], shares: Sequence[float], rng: np.random.Generator) -> Ints:
    """[N] the part of each problem, groups whole, parts of about these shares of the groups.

    Example:
        >>> parts_of(["a", "b", "a", "c"], (0.5, 0.5), np.random.default_rng(0)).tolist()
        [1, 0, 1, 0]
    """
    _, number = np.unique(np.array([str(group) for group in groups]), return_inverse=True)
    count = int(number.max()) + 1
    ends = np.round(np.cumsum(shares) / np.sum(shares) * count)
    return np.asarray(np.searchsorted(ends, rng.permutation(count), side="right"), dtype=np.int64)[number]
