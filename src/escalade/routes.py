"""Routes and their routing strings: parse <-> format.

    route   := plain | mv | cascade
    plain   := an alias or full model name of the pool           one greedy sample: k=1, t=0.0
    mv      := "mv_" tier                                        majority vote on one tier
    cascade := "mv_" [ "entropy_" ] "cascade_" tier ("_" tier)*
    tier    := MODEL "_k" K "_t" T [ "_c" C ]
    MODEL   := pool alias        K := integer >= 1        T := decimal >= 0        C := decimal in (0, 1]

A string is wholly understood or refused. This module knows nothing of samples or of how a route is executed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from escalade.answers.kinds import has_votes, kind_of
from escalade.errors import RouteError, nearest
from escalade.pool import ALIAS, THRESHOLD, Pool, load_pool

_K = re.compile(r"k[0-9]{1,18}", re.ASCII)
_T = re.compile(r"t[0-9]+(?:\.[0-9]+)?", re.ASCII)
_OWN = re.compile(r"c(?:[0-9.+-]|$)", re.ASCII)
"""How a word begins that is meant for a threshold; any other is meant for a model, as in claude."""


class Kind(StrEnum):
    """The four kinds of route."""

    GREEDY = "greedy"
    VOTE = "vote"
    CASCADE = "cascade"
    ENTROPY_CASCADE = "entropy_cascade"


_PREFIX = {Kind.VOTE: "mv_", Kind.CASCADE: "mv_cascade_", Kind.ENTROPY_CASCADE: "mv_entropy_cascade_"}


@dataclass(frozen=True, slots=True)
class Tier:
    """One rung: a model of the pool (by alias), k samples, a temperature, perhaps a threshold of its own."""

    model: str
    k: int
    temperature: float
    threshold: float | None = None

    def __str__(self) -> str:
        own = "" if self.threshold is None else f"_c{_decimal(self.threshold)}"
        return f"{self.model}_k{self.k}_t{_decimal(self.temperature)}{own}"


@dataclass(frozen=True, slots=True)
class Route:
    """How one problem is to be answered: a rule and its tiers. `str` gives the canonical routing string."""

    kind: Kind
    tiers: tuple[Tier, ...]
    name: str | None = None
    """Full name of the model of a plain route; None for the others."""

    @property
    def is_cascade(self) -> bool:
        """Whether the route has the rule of a cascade, of either kind, be it of one tier only."""
        return self.kind in (Kind.CASCADE, Kind.ENTROPY_CASCADE)

    def __str__(self) -> str:
        if self.kind is Kind.GREEDY:
            return self.name or self.tiers[0].model
        return _PREFIX[self.kind] + "_".join(map(str, self.tiers))


class Executed(NamedTuple):
    """A route as it will run in a pool, and what had to change."""

    route: Route
    notes: tuple[str, ...]


def parse_route(text: str, pool: Pool | None = None) -> Route:
    """Return the route that a routing string describes, in a pool (the published Qwen2.5-Math pool if none).

    Raises:
        RouteError: with the position, the offending text and what was expected.

    Example:
        >>> route = parse_route("mv_cascade_1.5B_k4_t0.7_72B_k1_t0")
        >>> route.kind.value, [tier.k for tier in route.tiers]
        ('cascade', [4, 1])
        >>> str(route)
        'mv_cascade_1.5B_k4_t0.7_72B_k1_t0.0'
    """
    pool = pool or load_pool("qwen2.5-math")
    if not isinstance(text, str):
        raise RouteError(repr(text), 0, repr(text), "a routing string")
    if text in pool:
        model = pool[text]
        return Route(Kind.GREEDY, (Tier(model.alias, 1, 0.0),), model.name)
    if not text.startswith("mv_"):
        raise RouteError(text, 0, text, f"a routing string; {pool.unknown(text)}")
    for kind in (Kind.ENTROPY_CASCADE, Kind.CASCADE):
        if text.startswith(_PREFIX[kind]):
            return Route(kind, _tiers(text, len(_PREFIX[kind]), pool, one=False))
    if text.startswith("mv_entropy_"):
        rest = text[len("mv_entropy_") :]
        raise RouteError(text, len("mv_entropy_"), rest, 'a cascade ("cascade_") after "mv_entropy_"')
    return Route(Kind.VOTE, _tiers(text, len("mv_"), pool, one=True))


def is_cascade_marker(text: str) -> bool:
    """Return whether a routing string has the form of a cascade, well-formed or not.

    Example:
        >>> is_cascade_marker("mv_cascade_7B_k5_t0.7"), is_cascade_marker("my_mv_cascade_model")
        (True, False)
    """
    return text.startswith((_PREFIX[Kind.CASCADE], _PREFIX[Kind.ENTROPY_CASCADE]))


def executed(route: Route, pool: Pool, *, votes: bool | None = None) -> Executed:
    """Return the route as `pool` lets it run: greedy-only models draw one greedy sample, in votes and tiers alike.

    Where answers cannot agree (`votes`; None takes the pool's kind of answers) each tier draws one sample.

    Example:
        >>> pool = load_pool("qwen2.5-math")
        >>> executed(parse_route("mv_72B_k8_t0.7", pool), pool).notes
        ('72B is greedy only in this pool: k=8 t=0.7 runs as k=1 t=0.0',)
    """
    tiers: list[Tier] = []
    notes: list[str] = []
    if votes is None:
        votes = has_votes(kind_of(pool.answer_kind))
    for tier in route.tiers:
        if not votes and tier.k > 1:
            notes.append(f"{tier.model}: free text has no vote: k={tier.k} runs as k=1")
            tier = replace(tier, k=1)
        written = f"k={tier.k} t={_decimal(tier.temperature)}"
        if pool[tier.model].greedy_only and (tier.k, tier.temperature) != (1, 0.0):
            notes.append(f"{tier.model} is greedy only in this pool: {written} runs as k=1 t=0.0")
            tier = replace(tier, k=1, temperature=0.0)
        elif tier.k > 1 and tier.temperature == 0.0:
            notes.append(f"{tier.model} {written}: greedy samples are alike, so that their agreement says little")
        if tier.threshold is not None and len(tiers) == len(route.tiers) - 1:
            notes.append(f"{tier.model}: the last tier answers whatever its confidence; its threshold plays no part")
        elif tier.threshold is not None and route.kind is Kind.ENTROPY_CASCADE and tier.k > 1:
            notes.append(f"{tier.model}: the entropy rule has a threshold in bits; its own plays no part")
        tiers.append(tier)
    return Executed(replace(route, tiers=tuple(tiers)), tuple(dict.fromkeys(notes)))


def _tiers(text: str, start: int, pool: Pool, *, one: bool) -> tuple[Tier, ...]:
    words: list[tuple[int, str]] = []
    position = start
    for word in text[start:].split("_"):
        words.append((position, word))
        position += len(word) + 1
    words.append((len(text), ""))

    def refuse(at: int, expected: str) -> RouteError:
        where, word = words[at]
        return RouteError(text, where, word, expected)

    tiers: list[Tier] = []
    at = 0
    while at < len(words) - 1:
        if tiers and one:
            raise RouteError(text, words[at][0] - 1, text[words[at][0] - 1 :], "the end: a vote has one tier")
        _, model = words[at]
        if not ALIAS.fullmatch(model):
            raise refuse(at, "a model alias")
        if model not in pool.aliases:
            known = ", ".join(pool.aliases)
            raise refuse(at, f"a model of pool {pool.name!r} ({known}{nearest(model, pool.aliases)})")
        k = words[min(at + 1, len(words) - 1)]
        if not _K.fullmatch(k[1]) or int(k[1][1:]) < 1:
            raise refuse(min(at + 1, len(words) - 1), f"the number of samples of {model}, as in k4 (an integer >= 1)")
        t_at = min(at + 2, len(words) - 1)
        temperature = _number(words[t_at][1], _T)
        if temperature is None:
            raise refuse(t_at, f"the temperature of {model}, as in t0.7 (a decimal >= 0, no sign, no exponent)")
        at += 3
        threshold = None
        if _OWN.match(words[at][1]) and words[at][1] not in pool.aliases:
            threshold = _number(words[at][1], THRESHOLD)
            if threshold is None or not 0 < threshold <= 1:
                raise refuse(at, f"the threshold of {model}, as in c0.8 (a decimal in (0, 1])")
            at += 1
        tiers.append(Tier(model, int(k[1][1:]), temperature, threshold))
    return tuple(tiers)


def _number(word: str, shape: re.Pattern[str]) -> float | None:
    """Return the number behind a word's letter, or None where it has another shape or a float cannot hold it."""
    if not shape.fullmatch(word):
        return None
    value = float(word[1:])
    vanished = value == 0.0 and word[1:].strip("0.") != ""
    return None if vanished or value == float("inf") else value


def _decimal(value: float) -> str:
    """Write a float as a plain decimal with at least one digit behind the point."""
    text = f"{Decimal(repr(float(value))):f}"
    return text if "." in text else text + ".0"
