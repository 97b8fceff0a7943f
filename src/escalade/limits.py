"""Limits of a run, and the purse that keeps them: what a request may use is reserved before it is sent.

A request is sent only when the most it can use fits beside all that is used and reserved; so no number of
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
    """What a run, a problem, and one tier of one problem may use; None is no limit.

    Tokens are those generated. What the store already has counts as used.

    Raises:
        SettingError: a limit below 0.
    """

    run_usd: Decimal | None = None
    problem_usd: Decimal | None = None
    tier_usd: Decimal | None = None
    run_tokens: int | None = None
    problem_tokens: int | None = None
    tier_tokens: int | None = None
    run_samples: int | None = None
    problem_samples: int | None = None
    tier_samples: int | None = None
    run_seconds: float | None = None
    problem_seconds: float | None = None
    tier_seconds: float | None = None
    """A tier that takes longer escalates."""

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

    @property
    def amounts(self) -> bool:
        """Whether any of them is one of money, tokens or samples."""
        tokens = (self.run_tokens, self.problem_tokens, self.tier_tokens)
        samples = (self.run_samples, self.problem_samples, self.tier_samples)
        return self.money or any(limit is not None for limit in (*tokens, *samples))


class Amount(NamedTuple):
    """What a request uses, or may use at most."""

    usd: Decimal
    tokens: int
    samples: int


NOTHING = Amount(Decimal(0), 0, 0)
_UNITS = ("USD", "tokens", "samples")


class Refusal(NamedTuple):
    """Why a request may not be sent, and whether it may be once others have ended."""

    reason: str
    waits: bool
    whole_run: bool
    """Whether the limit is one of the run: then no other problem may send it either."""


class _Account:
    __slots__ = ("before", "in_flight", "now", "outset", "reserved", "used")

    def __init__(self) -> None:
        self.used = NOTHING
        self.reserved = NOTHING
        self.before = self.now = NOTHING
        """Of a problem: used in earlier runs, and as far as this one has come; the larger of the two is used."""
        self.outset = NOTHING
        """Of a problem: used besides, before anything is drawn."""
        self.in_flight = 0


_ByAccount = tuple[tuple[str, tuple[Decimal | None, int | None, int | None]], ...]


class Purse:
    """What is used and reserved: by the run, by each problem, by each of its tiers."""

    def __init__(self, limits: Limits) -> None:
        self._limits = _by_account(limits)
        self._own: dict[object, _ByAccount] = {}
        self._run = _Account()
        self._problems: dict[object, _Account] = defaultdict(_Account)
        self._tiers: dict[object, dict[int, _Account]] = defaultdict(lambda: defaultdict(_Account))

    def allow(self, problem: object, limits: Limits) -> None:
        """Give a problem limits of its own; those of the run stay the run's."""
        self._own[problem] = (self._limits[0], *_by_account(limits)[1:])

    def reserve(self, problem: object, tier: int, amount: Amount) -> Refusal | None:
        """Reserve what a request may use; return why not where that would overrun a limit."""
        accounts = self._accounts(problem, tier)
        for (name, limits), account in zip(self._own.get(problem, self._limits), accounts, strict=True):
            taken = added(added(account.used, account.reserved), amount)
            for place, (unit, limit) in enumerate(zip(_UNITS, limits, strict=True)):
                if limit is not None and taken[place] > limit:
                    reason = (
                        f"the limit of {_written(limit)} {unit} for the {name} is reached: "
                        f"{_written(account.used[place])} used, and the next request may take {_written(amount[place])}"
                    )
                    return Refusal(reason, waits=account.in_flight > 0, whole_run=name == "run")
        for account in accounts:
            account.reserved = added(account.reserved, amount)
            account.in_flight += 1
        return None

    def release(self, problem: object, tier: int, amount: Amount) -> None:
        """Give back what was reserved for a request that has ended."""
        for account in self._accounts(problem, tier):
            account.reserved = _difference(account.reserved, amount)
            account.in_flight -= 1

    def charge(self, problem: object, used: Amount) -> None:
        """Count what a problem has used before anything is drawn for it, in whatever run."""
        whole = self._problems[problem]
        whole.outset = used
        self._recount(whole)

    def expect(self, problem: object, used: Amount) -> None:
        """Count what earlier runs have used for a problem, before this one has come upon it."""
        whole = self._problems[problem]
        whole.before = used
        self._recount(whole)

    def settle(self, problem: object, tier: int, used: Amount) -> None:
        """Set what a tier has used so far."""
        _, whole, own = self._accounts(problem, tier)
        whole.now = added(whole.now, _difference(used, own.used))
        own.used = used
        self._recount(whole)

    def _recount(self, whole: _Account) -> None:
        known = whole.used
        whole.used = added(whole.outset, _larger(whole.before, whole.now))
        self._run.used = added(self._run.used, _difference(whole.used, known))

    def forget(self, problem: object) -> None:
        """Drop the accounts of a problem that is done; what it used stays with the run."""
        self._problems.pop(problem, None)
        self._tiers.pop(problem, None)
        self._own.pop(problem, None)

    def _accounts(self, problem: object, tier: int) -> tuple[_Account, _Account, _Account]:
        return self._run, self._problems[problem], self._tiers[problem][tier]


def _by_account(limits: Limits) -> _ByAccount:
    return (
        ("run", (limits.run_usd, limits.run_tokens, limits.run_samples)),
        ("problem", (limits.problem_usd, limits.problem_tokens, limits.problem_samples)),
        ("tier", (limits.tier_usd, limits.tier_tokens, limits.tier_samples)),
    )


def added(a: Amount, b: Amount) -> Amount:
    """Return the sum."""
    return Amount(a.usd + b.usd, a.tokens + b.tokens, a.samples + b.samples)


def _larger(a: Amount, b: Amount) -> Amount:
    return Amount(max(a.usd, b.usd), max(a.tokens, b.tokens), max(a.samples, b.samples))


def _difference(a: Amount, b: Amount) -> Amount:
    return Amount(a.usd - b.usd, a.tokens - b.tokens, a.samples - b.samples)


def _written(value: Decimal | int) -> str:
    return f"{value.normalize():f}" if isinstance(value, Decimal) else str(value)
