"""A pool where scores know the truth: S is right on easy problems alone, L on all, and each says one thing only."""

import random
from decimal import Decimal

from escalade.evaluation.bank import Bank
from escalade.problems import Problem, Scoring
from escalade.samples.recorded import Rows
from tests.evaluation.pools import made, pool

EASY, HARD = (0.7, 0.8, 0.9), (0.1, 0.2, 0.3, 0.4, 0.5)
SMALL = Decimal("0.3") * 10 / 10**6 + Decimal("0.7") * 20 / 10**6
"""One sample of S, USD: 10 tokens of prompt, 20 of completion."""
LARGE = Decimal(3) * 10 / 10**6 + Decimal(11) * 20 / 10**6
"""One sample of L."""
SCORING = 0.000001


def planted(
    *, easy: int = 20, hard: int = 40, alias: str = "L", shuffle: int | None = None, scoring: float | None = SCORING
) -> Bank:
    """Easy problems first; their scores, of one model, are above those of hard ones, unless shuffled by a seed."""
    n = easy + hard
    scores = [EASY[i % len(EASY)] if i < easy else HARD[i % len(HARD)] for i in range(n)]
    if shuffle is not None:
        random.Random(shuffle).shuffle(scores)
    paid = {} if scoring is None else {alias: Scoring(usd=Decimal(str(scoring)))}
    problems = tuple(Problem(f"p{i}", f"problem {i}", "1", {alias: scores[i]}, scoring=paid) for i in range(n))
    rows = {}
    for i in range(n):
        rows[f"p{i}", "S"] = Rows((None,) * 3, (made("1" if i < easy else "9"),) * 3)
        rows[f"p{i}", "L"] = Rows((None,) * 3, (made("1"),) * 3)
    return Bank(pool(), problems, rows, "planted")
