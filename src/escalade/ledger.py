"""The ledger: raw tokens, and exact money made of them with a price table.

Money is Decimal throughout. A price of 0 is a price; without a price, or without a count of tokens, a cost is
unknown and says so: it is never silently 0. Samples sum to tiers, tiers to problems, problems to the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from escalade.pool import Price

Billing = Literal["once", "cached", "each"]
_MILLION = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class Usage:
    """Raw token counts of one request; None is unknown."""

    prompt: int | None
    completion: int | None
    cached: int | None = None


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
        return Cost(self.known + other.known, self.unknown + other.unknown)

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.known - other.known, self.unknown - other.unknown)

    def __str__(self) -> str:
        amount = f"{self.known.normalize():f} USD"
        if not self.unknown:
            return amount
        return f"unknown ({self.unknown} requests without price or tokens; the others cost {amount})"


def total(costs: Iterable[Cost]) -> Cost:
    """Return the sum."""
    out = Cost()
    for cost in costs:
        out += cost
    return out


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
    payer = next((position for position, usage in enumerate(usages) if usage.prompt is not None), 0)
    if prompt_paid:
        payer = -1
    return [_one(usage, price, billing, pays=position == payer) for position, usage in enumerate(usages)]


def worst(prompt_bound: int, max_tokens: int, price: Price) -> Decimal:
    """Return the most that one request can cost, for reserving it before it is sent."""
    dearest = max(price.input, price.cached_input)
    return (prompt_bound * dearest + max_tokens * price.output) / _MILLION


def _one(usage: Usage, price: Price | None, billing: Billing, *, pays: bool) -> Cost:
    if price is None:
        return Cost(unknown=1)
    parts: list[tuple[int | None, Decimal]] = [(usage.completion, price.output)]
    if billing == "each":
        cached = usage.cached or 0
        parts += [(None if usage.prompt is None else usage.prompt - cached, price.input), (cached, price.cached_input)]
    elif pays:
        parts.append((usage.prompt, price.input))
    elif billing == "cached":
        parts.append((usage.prompt, price.cached_input))
    known = Decimal(0)
    for tokens, each in parts:
        if each == 0:
            continue
        if tokens is None:
            return Cost(unknown=1)
        known += tokens * each
    return Cost((known / _MILLION).normalize() + 0)
