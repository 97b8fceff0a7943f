"""A climb: one problem on its way up its route, the samples it has and wants, and what they cost.

This is bookkeeping only: it neither asks engines nor reads the store.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from escalade import ledger
from escalade.cascade.machine import Machine
from escalade.cascade.outcome import Outcome
from escalade.cascade.policy import Policy
from escalade.engines.base import Progress
from escalade.errors import InputError, RouteError
from escalade.limits import NOTHING, Amount, Limits
from escalade.pool import Pool, PoolModel
from escalade.problems import Problem
from escalade.routes import Route, Tier
from escalade.samples.sample import Generation, Sample
from escalade.samples.store import Attempt, Key
from escalade.scoring import ScoreCharge, total


@dataclass(frozen=True, slots=True)
class Own:
    """What one task has of its own, in the place of what its run has; None takes the run's."""

    policy: Policy | None = None
    limits: Limits | None = None
    """Those of a problem and of a tier; what is the run's stays the run's."""
    seed: int | None = None
    max_tokens: int | None = None
    """Of each sample, where it is less than the pool allows."""
    stop: tuple[str, ...] = ()
    """Texts before which a sample ends."""
    choices: int = 1
    """Samples that are all wanted: more than one do not vote, but are given as they are."""
    latency: float | None = None
    """Seconds in which an answer is hoped for: the next tier is then begun before the current one is decided, once
    P(escalate | ballot so far) > 1 - t / latency, t seconds after the problem began (hedging)."""


NOTHING_OWN = Own()


@dataclass(frozen=True, slots=True)
class Task:
    """One problem and how it is to be answered; a row whose route could not be read carries the error instead."""

    problem: Problem
    route: Route | None
    error: InputError | None = None
    notes: tuple[str, ...] = ()
    """What is to be said of its route: why it is not the one that was asked for."""
    scoring: tuple[ScoreCharge, ...] = ()
    """The scores that it is charged with."""
    own: Own = NOTHING_OWN

    @property
    def text(self) -> str:
        """The routing string, canonical where it could be read."""
        if self.route is not None:
            return str(self.route)
        return self.error.route if isinstance(self.error, RouteError) else ""


@dataclass(frozen=True, slots=True)
class TierUse:
    """What one tier of one problem used: samples, those that came too late too, and requests that gave none."""

    tier: Tier
    samples: tuple[Sample, ...]
    """All that were drawn, in launch order; those of an earlier tier that were used again are not among them."""
    cancelled: int
    broken_off: int
    """Requests that failed after they had used tokens; each try counts."""
    usages: tuple[ledger.Usage, ...]
    """Of the samples, then of the cancelled requests, then of those that broke off."""
    costs: tuple[ledger.Cost, ...]
    """Of the same requests."""

    @property
    def cost(self) -> ledger.Cost:
        """What the tier cost."""
        return ledger.total(self.costs)


@dataclass(frozen=True, slots=True)
class Grade:
    """What of a problem is right, by its gold answer."""

    outcome: bool
    samples: tuple[tuple[bool, ...], ...]
    """Of each tier, in the order of its samples; one that abstains is never right."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One problem, answered."""

    problem: Problem
    route: Route | None
    executed: Route | None
    outcome: Outcome
    tiers: tuple[TierUse, ...]
    fresh: int = 0
    """Samples generated in this run; the others came from the store."""
    fresh_cost: ledger.Cost = field(default_factory=ledger.Cost)
    """Money spent in this run."""
    fresh_usages: tuple[tuple[ledger.Usage, ...], ...] = ()
    """Of each tier: the requests of this run, whether they gave a sample or not."""
    grade: Grade | None = None
    """None where there is no gold answer."""
    scoring: tuple[ScoreCharge, ...] = ()
    """The scores that it is charged with; they were paid for before this run."""

    @property
    def cost(self) -> ledger.Cost:
        """What the answer cost, whenever it was paid."""
        return ledger.total([*(use.cost for use in self.tiers), self.scoring_cost])

    @property
    def scoring_cost(self) -> ledger.Cost:
        """What of this is for scores."""
        return total(self.scoring)

    def saved(self, position: int) -> int:
        """Return how many samples of a tier were never paid for, because its ballot was settled without them."""
        trace, use = self.outcome.tiers[position], self.tiers[position]
        late = max(0, len(use.samples) - trace.drawn)
        return max(0, trace.saved - late)


@dataclass(slots=True)
class Drawing:
    """What all requests of one tier have in common."""

    key: Key
    model: PoolModel
    temperature: float
    messages: Sequence[Mapping[str, str]]
    max_tokens: int
    worst: Amount | None = None
    """The most that one of them can use, once asked for."""


@dataclass(slots=True, eq=False)
class Wish:
    """One sample that a machine wants."""

    climb: Climb
    tier: int
    index: int
    unwanted: bool = False
    job: asyncio.Task[None] | None = None
    at_engine: bool = False
    """False before the first step of a try: then a cancelled request has used nothing."""
    progress: Progress | None = None
    """Of the last try."""
    reserved: Amount = NOTHING
    sent: int = 0
    """Its place in the order in which its lane sent requests."""
    tries: int = 0
    """Tries that failed for a fault of this request."""

    def call_off(self) -> None:
        """It is not wanted any more: a request under way ends, and one that is about to be made is not."""
        self.unwanted = True
        if self.job is not None and self.at_engine:  # a task cancelled before its first step could tell nobody
            self.job.cancel()


@dataclass(slots=True)
class _Used:
    """The paid requests of one tier."""

    samples: list[Sample] = field(default_factory=list)
    cancelled: list[ledger.Usage] = field(default_factory=list)
    broken_off: list[ledger.Usage] = field(default_factory=list)
    before: list[ledger.Usage] = field(default_factory=list)
    """Of all three: those that had been paid for before, or for another problem of this run."""
    fresh: list[ledger.Usage] = field(default_factory=list)
    """Of all three: those that were paid for now, for this problem."""
    prompt_paid: bool = False
    """Whether the prompt had been paid for before the first of these."""


class Climb:
    """One problem on its way.

    Tiers of one model and temperature share their samples; what a sample cost stands at the tier that asked first.
    """

    def __init__(self, order: int, task: Task, route: Route, machine: Machine, pool: Pool, job: str) -> None:
        self.order, self.task, self.route, self.machine = order, task, route, machine
        self.fingerprint = task.problem.fingerprint
        self.job = job
        """Fingerprint of route and settings: what it has paid for is charged to it again when it is run again."""
        self.wishes: dict[tuple[int, int], Wish] = {}
        self.running = 0
        """Requests under way, or about to be tried again."""
        self.drawings: list[Drawing | None] = [None] * len(route.tiers)
        self.limited = False
        """Whether what its requests may use is reserved before they are sent."""
        self.begun = 0.0
        """When, by the clock of the event loop."""
        self.deadline: asyncio.TimerHandle | None = None
        """Of the problem."""
        self.hedging: asyncio.TimerHandle | None = None
        """Until the next tier is to be begun ahead."""
        self.timer: asyncio.TimerHandle | None = None
        """Of the tier that was entered last."""
        self.rung = -1
        """The tier that was entered last."""
        self.fresh = 0
        """Samples generated in this run."""
        self.warm: set[int] = set()
        """Tiers of which an engine has read the prompt."""
        self.tally: dict[str, int] = {}
        """How many of the samples that the machine was told of gave each key."""
        self.unheard: deque[tuple[int, Sample, Callable[[], None] | None]] = deque()
        """Samples that wait while answers are compared: tier, sample, what to do once they are wanted."""
        self.comparing = False
        self._pool = pool
        self._used = [_Used() for _ in route.tiers]
        self._drawn: dict[tuple[str, float, int], Sample] = {}
        self._searched: set[tuple[str, float, int]] = set()

    @property
    def samples(self) -> int:
        """How many samples it has."""
        return len(self._drawn)

    def stop_timers(self) -> None:
        """It is done: nothing is to happen at a time of its own."""
        for handle in (self.timer, self.deadline, self.hedging):
            if handle is not None:
                handle.cancel()

    def drawn(self, position: int, index: int) -> Sample | None:
        """Return the sample, whichever tier drew it."""
        return self._drawn.get(self._place(position, index))

    def unsearched(self, position: int, indexes: Sequence[int]) -> list[int]:
        """Return those of the indexes that this is not yet asked about: each attempt in the store counts once."""
        new = [i for i in indexes if self._place(position, i) not in self._searched]
        self._searched.update(self._place(position, i) for i in new)
        return new

    def keep(self, position: int, sample: Sample, *, fresh: bool, prompt_paid: bool = False) -> None:
        """Enter a sample that was paid for; `prompt_paid` says that another climb has paid for its prompt."""
        self.fresh += fresh
        self._drawn[self._place(position, sample.index)] = sample
        self._used[position].samples.append(sample)
        self._add(position, usage_of(sample.generation), fresh=fresh, prompt_paid=prompt_paid)

    def keep_attempt(self, position: int, attempt: Attempt, *, fresh: bool) -> None:
        """Enter what a request used that gave no sample: it was cancelled, or it broke off."""
        usage = usage_of(attempt)
        if attempt.kind == "cancelled":
            self.keep_cancelled(position, usage, fresh=fresh)
        else:
            self._used[position].broken_off.append(usage)
            self._add(position, usage, fresh=fresh, prompt_paid=False)

    def keep_cancelled(self, position: int, usage: ledger.Usage, *, fresh: bool) -> None:
        """Enter what a cancelled request used."""
        self._used[position].cancelled.append(usage)
        self._add(position, usage, fresh=fresh, prompt_paid=False)

    def _add(self, position: int, usage: ledger.Usage, *, fresh: bool, prompt_paid: bool) -> None:
        used, tier = self._used[position], self.route.tiers[position]
        if fresh and not used.fresh:
            same = (u for t, u in zip(self.route.tiers, self._used, strict=True) if _pool(t) == _pool(tier))
            used.prompt_paid = prompt_paid or any(u.before for u in same)
        (used.fresh if fresh else used.before).append(usage)

    def uses(self) -> tuple[TierUse, ...]:
        """Return what each tier used; the prompt of shared samples is billed to the first that has one."""
        paid: set[tuple[str, float]] = set()
        out: list[TierUse] = []
        for tier, used in zip(self.route.tiers, self._used, strict=True):
            samples = tuple(sorted(used.samples, key=lambda s: s.index))
            usages = (*(usage_of(sample.generation) for sample in samples), *used.cancelled, *used.broken_off)
            costs = self._charge(tier, usages, paid)
            out.append(TierUse(tier, samples, len(used.cancelled), len(used.broken_off), usages, tuple(costs)))
        return tuple(out)

    def answered(self) -> Answered:
        """Return the whole; the machine has an outcome."""
        outcome = self.machine.outcome
        assert outcome is not None
        uses = self.uses()[: len(outcome.tiers)]
        task = self.task
        usages = tuple(tuple(used.fresh) for used in self._used[: len(uses)])
        fresh = self.fresh, self._fresh_cost(), usages
        return Answered(task.problem, task.route, self.route, outcome, uses, *fresh, scoring=task.scoring)

    def _fresh_cost(self) -> ledger.Cost:
        # A prompt that had been paid for before is not paid again.
        paid = {_pool(tier) for tier, used in zip(self.route.tiers, self._used, strict=True) if used.prompt_paid}
        costs = [self._charge(t, u.fresh, paid) for t, u in zip(self.route.tiers, self._used, strict=True)]
        return ledger.total(cost for tier in costs for cost in tier)

    def _charge(self, tier: Tier, usages: Sequence[ledger.Usage], paid: set[tuple[str, float]]) -> list[ledger.Cost]:
        pool = _pool(tier)
        price = self._pool[tier.model].price
        costs = ledger.charge(usages, price, self._pool.billing, prompt_paid=pool in paid)
        if usages:
            paid.add(pool)
        return costs

    def _place(self, position: int, index: int) -> tuple[str, float, int]:
        tier = self.route.tiers[position]
        return tier.model, tier.temperature, index


def _pool(tier: Tier) -> tuple[str, float]:
    return tier.model, tier.temperature


def usage_of(paid: Attempt | Generation) -> ledger.Usage:
    """Return the token counts of a request, whether it gave a sample or not."""
    return ledger.Usage(paid.prompt_tokens, paid.completion_tokens, paid.cached_tokens)
