"""Limits of a run, and the purse that keeps them: money is reserved before it is spent.

A request is sent only when the most it can cost fits beside all that is spent and reserved; so no number of
requests in flight can overrun a limit.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from escalade.errors import SettingError


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run may use; None is no limit. What the store already has counts as used.

    Raises:
        SettingError: a limit below 0.
    """

    run_usd: Decimal | None = None
    problem_usd: Decimal | None = None
    tier_usd: Decimal | None = None
    """Of one tier of one problem."""
    problem_samples: int | None = None
    tier_seconds: float | None = None
    """A tier that takes longer escalates."""
    run_seconds: float | None = None

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            # Not `value < 0`, which a NaN would pass; a Decimal NaN cannot even be compared.
            if value is not None and (value != value or value < 0):
                raise SettingError(f"limit {name} is {value}: give a number >= 0")

    @property
    def money(self) -> bool:
        """Whether any of them is one of money."""
        return any(limit is not None for limit in (self.run_usd, self.problem_usd, self.tier_usd))


class Refusal(NamedTuple):
    """Why a request may not be sent, and whether it may be once others have ended."""

    reason: str
    waits: bool


class _Account:
    __slots__ = ("in_flight", "reserved", "spent")

    def __init__(self) -> None:
        self.spent = Decimal(0)
        self.reserved = Decimal(0)
        self.in_flight = 0


class Purse:
    """Money and samples used and reserved: by the run, by each problem, by each of its tiers."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._run = _Account()
        self._problems: dict[object, _Account] = defaultdict(_Account)
        self._tiers: dict[tuple[object, int], _Account] = defaultdict(_Account)
        self._samples: dict[object, int] = defaultdict(int)

    def reserve(self, problem: object, tier: int, amount: Decimal) -> Refusal | None:
        """Reserve money and one sample for a request; return why not where that would overrun a limit."""
        accounts = self._accounts(problem, tier)
        limits = (self.limits.run_usd, self.limits.problem_usd, self.limits.tier_usd)
        for name, account, limit in zip(("run", "problem", "tier"), accounts, limits, strict=True):
            if limit is not None and account.spent + account.reserved + amount > limit:
                reason = (
                    f"the limit of {limit} USD for the {name} is reached: {account.spent.normalize():f} spent, "
                    f"and the next request may cost {amount.normalize():f}"
                )
                return Refusal(reason, waits=account.in_flight > 0)
        most = self.limits.problem_samples
        if most is not None and self._samples[problem] + self._problems[problem].in_flight >= most:
            reason = f"the limit of {most} samples for the problem is reached"
            return Refusal(reason, waits=self._problems[problem].in_flight > 0)
        for account in accounts:
            account.reserved += amount
            account.in_flight += 1
        return None

    def release(self, problem: object, tier: int, amount: Decimal) -> None:
        """Give back what was reserved for a request that has ended."""
        for account in self._accounts(problem, tier):
            account.reserved -= amount
            account.in_flight -= 1

    def settle(self, problem: object, tier: int, spent: Decimal, samples: int) -> None:
        """Set what a tier has spent so far, and how many samples the problem has."""
        run, whole, own = self._accounts(problem, tier)
        more = spent - own.spent
        own.spent = spent
        whole.spent += more
        run.spent += more
        self._samples[problem] = samples

    def forget(self, problem: object) -> None:
        """Drop the accounts of a problem that is done; what it spent stays with the run."""
        self._problems.pop(problem, None)
        self._samples.pop(problem, None)
        for key in [key for key in self._tiers if key[0] is problem]:
            del self._tiers[key]

    def _accounts(self, problem: object, tier: int) -> tuple[_Account, _Account, _Account]:
        return self._run, self._problems[problem], self._tiers[problem, tier]
