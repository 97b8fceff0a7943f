"""Estimators over problems and samples. They fail loudly (NaN) rather than give a wrong number."""

from __future__ import annotations

import math
from typing import NamedTuple


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Return the chance that at least one of k samples is right, from n samples of which `correct` are.

    1 - C(n - c, k) / C(n, k), unbiased (arXiv 2107.03374), in the stable form 1 - prod (1 - k/i) over
    i = n-c+1 .. n. NaN when n < k: too few samples to say.

    Example:
        >>> round(pass_at_k(8, 2, 1), 3), round(pass_at_k(8, 2, 4), 3), pass_at_k(3, 1, 4)
        (0.25, 0.786, nan)
    """
    if n < k or k < 1:
        return math.nan
    if n - correct < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / i for i in range(n - correct + 1, n + 1))


def wilson(successes: int, n: int, z: float = 1.959963984540054) -> Interval:
    """Return Wilson's interval for a share of n independent problems (Wilson 1927); 95 % by default.

    (s + z²/2n ± z sqrt(s(1-s)/n + z²/4n²)) / (1 + z²/n). NaN when n = 0.

    Example:
        >>> [round(x, 3) for x in wilson(5, 5)]
        [0.566, 1.0]
    """
    if n == 0:
        return Interval(math.nan, math.nan)
    share = successes / n
    centre = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return Interval(max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale))
