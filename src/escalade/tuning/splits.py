"""Splits: problems in parts, near-duplicates together, so that who chooses and who tests have nothing in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from escalade.evaluation.bank import Ints


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
