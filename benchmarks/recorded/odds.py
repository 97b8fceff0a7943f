"""Odds of one tier: drawn without replacement from an urn, judged by the live machine, weighed exactly.

The samples of a tier are k of the 8 in the urn, so the chance of each ballot is a hypergeometric one: no simulation.
What a ballot leads to is asked of `escalade.cascade.machine.Machine`, fed with such samples.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from math import comb, prod
from typing import NamedTuple

from benchmarks.recorded.urns import Urn
from escalade.cascade.machine import Draw, Machine
from escalade.cascade.policy import Policy
from escalade.routes import Kind, Route, Tier
from escalade.samples.sample import Sample
from escalade.testing import votes

RIGHT = "0"
"""The answer that right samples give; the wrong classes answer 1, 2, ..."""
_MODEL = "M"
"""Decisions rest on samples, score and threshold, not on which model it is."""
Drawn = tuple[int, ...]
"""How many samples of each class of an urn have been drawn, the right one first."""


class Asked(NamedTuple):
    """A tier, and all that its decision rests on besides its samples."""

    k: int
    temperature: float
    threshold: float
    kind: Kind
    last: bool
    score: float | None
    """Of this tier's model; None where no decision of the tier looks at it."""


class Odds(NamedTuple):
    """What comes of a tier, over all draws: the first three add to 1."""

    right: float
    """P(it answers, and is right)."""
    wrong: float
    climbs: float
    drawn: float
    """Expected samples."""


class _Verdict(NamedTuple):
    """What the machine makes of the samples drawn so far."""

    answers: bool
    climbs: bool
    right: float
    """P(right) of the answer, 0 without one: 1 / number of tied leaders where the right one is among them."""
    seats: int
    """Samples the tier wants in all, more after exploring; it waits for the rest of them."""
    explores: bool
    """The samples drawn so far made it want more."""


@cache
def odds(urn: Urn, asked: Asked, *, at_once: bool) -> Odds:
    """Return the odds of a tier on a problem's urn.

    `at_once` draws all samples that are asked for; else they come one by one, and what a settled decision has made
    needless is left undrawn. The first three numbers are the same in both.

    Example:
        >>> asked = Asked(4, 0.7, 0.9, Kind.CASCADE, last=False, score=None)
        >>> odds(Urn(8, ()), asked, at_once=True)
        Odds(right=1.0, wrong=0.0, climbs=0.0, drawn=4.0)
        >>> [round(x, 4) for x in odds(Urn(6, (2,)), asked, at_once=False)]  # accepted where all 4 are right: 15/70
        [0.2143, 0.0, 0.7857, 2.9286]
    """
    right = wrong = climbs = expected = 0.0
    # A stage is what was drawn for one number of seats: exploring starts another.
    waiting: dict[tuple[Drawn, ...], float] = {((0,) * (1 + len(urn.wrong)),): 1.0}
    while waiting:
        following: dict[tuple[Drawn, ...], float] = defaultdict(float)
        for stages, chance in waiting.items():
            verdict = _verdict(_canonical(stages), asked)
            total = tuple(map(sum, zip(*stages, strict=True)))
            if verdict.answers or verdict.climbs:
                right += chance * verdict.right
                wrong += chance * (verdict.answers - verdict.right)
                climbs += chance * verdict.climbs
                expected += chance * sum(total)
                continue
            left = (urn.right - total[0], *(size - n for size, n in zip(urn.wrong, total[1:], strict=True)))
            for extra, likely in draws(left, verdict.seats - sum(total) if at_once else 1):
                started = (*stages, (0,) * len(total)) if verdict.explores else stages
                stage = tuple(map(sum, zip(started[-1], extra, strict=True)))
                following[(*started[:-1], stage)] += chance * likely
        waiting = following
    return Odds(right, wrong, climbs, expected)


@cache
def draws(left: Drawn, n: int) -> tuple[tuple[Drawn, float], ...]:
    """Return each way to draw n samples from classes that have `left` samples, with its probability.

    prod C(left_i, n_i) / C(sum left, n): the multivariate hypergeometric distribution.

    Example:
        >>> draws((2, 1), 2)
        (((1, 1), 0.6666666666666666), ((2, 0), 0.3333333333333333))
    """
    ways = comb(sum(left), n)
    return tuple((taken, prod(map(comb, left, taken)) / ways) for taken in _taken(left, n))


def _taken(left: Drawn, n: int) -> Iterator[Drawn]:
    if len(left) == 1:
        if n <= left[0]:
            yield (n,)
        return
    for first in range(max(0, n - sum(left[1:])), min(left[0], n) + 1):
        for rest in _taken(left[1:], n - first):
            yield (first, *rest)


def _canonical(stages: tuple[Drawn, ...]) -> tuple[Drawn, ...]:
    """The same draws with the wrong classes that were seen, in a fixed order: which class is which does not matter."""
    right, *wrong = zip(*stages, strict=True)
    seen = sorted((column for column in wrong if any(column)), reverse=True)
    return tuple(zip(right, *seen, strict=True))


@cache
def _verdict(stages: tuple[Drawn, ...], asked: Asked) -> _Verdict:
    tier = Tier(_MODEL, asked.k, asked.temperature)
    above = () if asked.last else (Tier(_MODEL, 1, 0.0),)
    scores = {} if asked.score is None else {_MODEL: asked.score}
    machine = Machine(Route(asked.kind, (tier, *above)), Policy(target=asked.threshold), scores=scores)
    actions = machine.start()
    seats, explores = asked.k, False
    answers = [str(answer) for stage in stages for answer, n in enumerate(stage) for _ in range(n)]
    for sample in _samples(tuple(answers)):
        actions = machine.feed(0, sample) if machine.wants(0, sample.index) else []
        more = [action for action in actions if isinstance(action, Draw) and action.tier == 0]
        explores = bool(more)
        seats = max((1 + index for action in more for index in action.indexes), default=seats)
    if machine.outcome is not None:
        ballot = machine.outcome.tiers[0].looks[-1].ballot
        right = 1 / len(ballot.tied) if RIGHT in ballot.tied else 0.0
        return _Verdict(True, False, right, seats, explores=False)
    return _Verdict(False, machine.wants(1, 0), 0.0, seats, explores)


@cache
def _samples(answers: tuple[str, ...]) -> tuple[Sample, ...]:
    return tuple(votes(*answers))
