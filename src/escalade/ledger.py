"""The ledger: raw tokens, and exact money made of them with a price table; seconds of engines.

Money is Decimal at the edge and an integer number of small units inside, exact for every price a pool can have. A
price of 0 is a price; without a price, or without a count of tokens, a cost is unknown and says so: it is never
silently 0. Requests sum to tiers, tiers and scores to problems, problems to the run.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypeVar

from escalade.pool import Pool, Price
from escalade.prices import DECIMALS, DatedPrice

Billing = Literal["once", "cached", "each"]

_Group = TypeVar("_Group", bound=Hashable)
_EXACT = Context(prec=100)
"""A count of 19 digits times a price of at most 10 digits and 30 decimals has 59 digits."""
_DECIMALS = 12
"""Of a price per million tokens, at least; 6 more make the unit of money, usually 1e-18 USD."""
_UNITS = tuple(Decimal((0, (1,), -decimals)) for decimals in range(DECIMALS + 7))


@dataclass(frozen=True, slots=True)
class Usage:
    """Raw token counts of one request; None is unknown."""

    prompt: int | None
    completion: int | None
    cached: int | None = None
    """How many of the prompt's tokens the engine had cached; where an engine says nothing, none are charged as such."""


@dataclass(frozen=True, slots=True)
class Cost:
    """An exact sum of money in USD, and of how many requests the cost is unknown.

    Example:
        >>> str(Cost(Decimal("0.1")) + Cost(Decimal("0.2")))
        '0.3 USD'
        >>> (Cost(Decimal("0.1")) + Cost(Decimal(0), unknown=2)).usd is None
        True
    """

    known: Decimal = Decimal(0)
    unknown: int = 0

    @property
    def usd(self) -> Decimal | None:
        """The whole cost, or None where a part of it is unknown."""
        return None if self.unknown else self.known

    def __add__(self, other: Cost) -> Cost:
        return Cost(_EXACT.add(self.known, other.known), self.unknown + other.unknown)

    def __sub__(self, other: Cost) -> Cost:
        return Cost(_EXACT.subtract(self.known, other.known), self.unknown - other.unknown)

    def __str__(self) -> str:
        amount = f"{self.known.normalize(_EXACT):f} USD"
        if not self.unknown:
            return amount
        return f"unknown ({self.unknown} requests without price or tokens; the others cost {amount})"


_UNKNOWN = Cost(unknown=1)


@dataclass(frozen=True, slots=True)
class Seconds:
    """Time that engines were at work, and for how many samples they did not say."""

    known: float = 0.0
    unknown: int = 0

    @property
    def whole(self) -> float | None:
        """All seconds, or None where a part of them is unknown."""
        return None if self.unknown else self.known


def total(costs: Iterable[Cost]) -> Cost:
    """Return the sum."""
    known, unknown, add = Decimal(0), 0, _EXACT.add
    for cost in costs:
        known = add(known, cost.known)
        unknown += cost.unknown
    return Cost(known, unknown)


def charge(usages: Sequence[Usage], price: Price | None, billing: Billing, *, prompt_paid: bool = False) -> list[Cost]:
    """Return the cost of each request of one tier, in launch order: they have one prompt.

    `once`: one request pays the prompt, the first that knows its length; the others pay nothing for it. `cached`:
    the others pay the price of cached input. `each`: every request pays its prompt, what the engine had cached at
    the cached price. With `prompt_paid` an earlier tier has paid the prompt of samples that this one shares.

    Example:
        >>> from escalade.pool import Price
        >>> price = Price(input="0.20", cached="0.10", output="0.20")
        >>> [str(c.usd) for c in charge([Usage(100, 50), Usage(100, 10)], price, "once")]
        ['0.00003', '0.000002']
    """
    if price is None:
        return [_UNKNOWN] * len(usages)
    rates = _rates(price.input, price.cached_input, price.output)
    if billing == "each":
        return [_each(usage, rates) for usage in usages]
    payer = -1 if prompt_paid else _payer(usages)
    later = rates.cached if billing == "cached" else 0
    output, decimals = rates.output, rates.decimals
    out: list[Cost] = []
    for position, usage in enumerate(usages):
        rate = rates.input if position == payer else later
        # What costs nothing need not be known.
        if (rate and usage.prompt is None) or (output and usage.completion is None):
            out.append(_UNKNOWN)
        else:
            out.append(_cost((usage.prompt or 0) * rate + (usage.completion or 0) * output, decimals))
    return out


def worst(prompt_bound: int, max_tokens: int, price: Price) -> Decimal:
    """Return the most that one request can cost, for reserving it before it is sent."""
    rates = _rates(price.input, price.cached_input, price.output)
    units = prompt_bound * max(rates.input, rates.cached) + max_tokens * rates.output
    return _cost(units, rates.decimals).known


def seconds(spent: Iterable[tuple[_Group, float | None]]) -> dict[_Group, Seconds]:
    """Return the engine-seconds of each group of samples, such as a tier or a model; None is unknown, never 0.

    Samples that an engine generates side by side count each with their own time. The order of the samples does not
    change a sum.

    Example:
        >>> seconds([("S", 0.5), ("S", 0.25), ("L", 2.0), ("L", None)])
        {'S': Seconds(known=0.75, unknown=0), 'L': Seconds(known=2.0, unknown=1)}
    """
    groups: dict[_Group, list[float | None]] = {}
    for group, value in spent:
        groups.setdefault(group, []).append(value)
    return {
        group: Seconds(math.fsum(v for v in values if v is not None), values.count(None))
        for group, values in groups.items()
    }


def stamp(pool: Pool) -> dict[str, Any]:
    """Return what money is computed with, as plain values: how prompts are billed, and each model's price in force.

    Prices are exact, as text, in USD per million tokens; `from` is the first day of a dated one.

    Example:
        >>> from escalade.pool import load_pool
        >>> stamp(load_pool("qwen2.5-math"))["prices"]["7B"]
        {'from': None, 'input': '0.2', 'cached': '0.1', 'output': '0.2'}
    """
    return {
        "billing": pool.billing,
        "prices_as_of": pool.prices_as_of,
        "prices": {model.alias: None if model.price is None else _plain(model.price) for model in pool.models},
    }


def _plain(price: Price) -> dict[str, str | None]:
    return {
        "from": price.from_.isoformat() if isinstance(price, DatedPrice) else None,
        "input": f"{price.input:f}",
        "cached": f"{price.cached_input:f}",
        "output": f"{price.output:f}",
    }


class _Rates(NamedTuple):
    """What a token costs, in units of 10 ** -decimals USD."""

    input: int
    cached: int
    output: int
    decimals: int


@lru_cache(maxsize=1024)
def _rates(fresh: Decimal, cached: Decimal, output: Decimal) -> _Rates:
    digits = max(_DECIMALS, *(-int(price.as_tuple().exponent) for price in (fresh, cached, output)))
    units = [int(price.scaleb(digits, _EXACT)) for price in (fresh, cached, output)]
    return _Rates(units[0], units[1], units[2], digits + 6)


def _payer(usages: Sequence[Usage]) -> int:
    for position, usage in enumerate(usages):
        if usage.prompt is not None:
            return position
    return 0


def _each(usage: Usage, rates: _Rates) -> Cost:
    prompt, cached = usage.prompt, usage.cached or 0
    if prompt is not None:
        cached = min(cached, prompt)  # else an engine that miscounts would be paid for
    units = cached * rates.cached
    if rates.input:
        if prompt is None:
            return _UNKNOWN
        units += (prompt - cached) * rates.input
    if rates.output:
        if usage.completion is None:
            return _UNKNOWN
        units += usage.completion * rates.output
    return _cost(units, rates.decimals)


@lru_cache(maxsize=4096)  # a tier is charged again after each of its samples
def _cost(units: int, decimals: int) -> Cost:
    known = _EXACT.normalize(_EXACT.multiply(units, _UNITS[decimals]))
    return Cost(_EXACT.add(known, 0))  # adding 0 writes 1E+1 as 10
