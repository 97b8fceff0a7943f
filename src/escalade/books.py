"""Books: what a run has paid for, in the store and in the purse, and what of it is each problem's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from escalade import ledger
from escalade.asking import Asking, Event
from escalade.cascade.outcome import Status
from escalade.climb import Climb, Task, TierUse, Wish, usage_of
from escalade.counters import Counters
from escalade.limits import NOTHING, Amount, Limits, Purse, Refusal, added
from escalade.samples.sample import Sample
from escalade.samples.store import Key, Store
from escalade.scoring import total


class Books:
    """The books of a run.

    Args:
        store: where samples are kept; None keeps nothing.
        asking: knows the keys of samples and what a request can use at most.
        limits: what may be used.
        counters: of the run, kept up to date.
    """

    def __init__(self, store: Store | None, asking: Asking, limits: Limits, counters: Counters) -> None:
        self._store, self._asking, self._limits, self._counters = store, asking, limits, counters
        self._purse = Purse(limits)
        self._seen: set[str] = set()
        self._twins: set[str] = set()
        """Texts that several tasks have: their climbs share samples."""
        self._payers: dict[Key, int] = {}
        """Of these: which climb paid for the prompt."""

    def announce(self, text: str) -> None:
        """A task with this text will come."""
        if self._store is not None:
            (self._twins if text in self._seen else self._seen).add(text)

    def charge_scores(self, numbered: Iterable[tuple[int, Task]]) -> None:
        """Count what scores cost as used, by problem: it is spent before anything is drawn."""
        for order, task in numbered:
            if task.scoring and self._limits_of(task).amounts:
                self._purse.charge(order, Amount(total(task.scoring).known, 0, 0))

    def open(self, climb: Climb) -> None:
        """Open the accounts of a problem, where anything limits what it may use."""
        own = climb.task.own.limits
        climb.limited = self._limits.amounts or (own is not None and own.amounts)
        if own is not None and climb.limited:
            self._purse.allow(climb.order, own)

    def allow(self, climb: Climb, limits: Limits) -> None:
        """Give a problem other limits than it had."""
        self._purse.allow(climb.order, limits)

    def overspent(self, task: Task) -> tuple[Status, str] | None:
        """Say that a problem's scores alone cost more than it may."""
        limit, spent = self._limits_of(task).problem_usd, total(task.scoring).known
        if limit is None or spent <= limit:
            return None
        return Status.BUDGET, f"the limit of {limit:f} USD for the problem is reached: its scores cost {spent:f}"

    def expect(self, climbs: Iterable[Climb]) -> None:
        """Count what the store has of all problems as used, before any of them may use more."""
        if not self._limits.amounts or self._store is None or not len(self._store):
            return
        for climb in climbs:
            keys: set[Key] = set()
            for position in range(len(climb.route.tiers)):
                key = self._asking.key(climb, position)
                if key in keys:  # two tiers share their samples
                    continue
                keys.add(key)
                for stored in self._store.samples(key):
                    if stored.job == climb.job:
                        climb.keep(position, self._asking.read(stored, climb.task.problem), fresh=False)
                for attempt in self._store.attempts(key):
                    if attempt.job == climb.job and attempt.paid:
                        climb.keep_attempt(position, attempt, fresh=False)
            used = NOTHING
            for position, use in enumerate(climb.uses()):
                used = added(used, self._amount(climb, position, use))
            self._purse.expect(climb.order, used)

    def have(self, climb: Climb, tier: int, indexes: Sequence[int]) -> dict[int, tuple[Sample, bool]]:
        """Return those of the samples that the problem or the store has, and whether the problem is charged."""
        drawn = {index: sample for index in indexes if (sample := climb.drawn(tier, index)) is not None}
        have = {index: (sample, True) for index, sample in drawn.items()}
        missing = [index for index in indexes if index not in have]
        if self._store is not None and missing:
            for stored in self._store.read(self._asking.key(climb, tier), missing):
                mine = stored.job == climb.job
                have[stored.index] = self._asking.read(stored, climb.task.problem), mine
                if mine:
                    self.keep_stored(climb, tier, have[stored.index][0])
        return have

    def stored(self, wish: Wish) -> tuple[Sample, bool] | None:
        """Return the sample of a wish, and whether its problem is charged, where the store has got it meanwhile."""
        if self._store is None:
            return None
        return self.have(wish.climb, wish.tier, [wish.index]).get(wish.index)

    def keep_stored(self, climb: Climb, tier: int, sample: Sample) -> None:
        """Charge a problem with a sample that was paid for before."""
        climb.keep(tier, sample, fresh=False)
        self._counters.stored += 1

    def recall_attempts(self, climb: Climb, tier: int, indexes: Sequence[int]) -> None:
        """Charge a problem with what its requests of earlier runs used that gave no sample, each once."""
        if self._store is None:
            return
        for attempt in self._store.paid_attempts(self._asking.key(climb, tier), climb.unsearched(tier, indexes)):
            if attempt.job == climb.job:
                climb.keep_attempt(tier, attempt, fresh=False)

    def reserve(self, wish: Wish) -> Refusal | None:
        """Reserve what a request may use; say why not where a limit does not allow it."""
        if not wish.climb.limited:
            return None
        wish.reserved = self._asking.worst(wish.climb, wish.tier)
        return self._purse.reserve(wish.climb.order, wish.tier, wish.reserved)

    def write(self, events: Sequence[Event]) -> list[tuple[Wish, ledger.Usage]]:
        """Write events to the store; return what was paid for samples that another process wrote first."""
        if self._store is None or not events:
            return []
        samples = [(event, event.stored) for event in events if event.stored is not None]
        kept = self._store.write([s for _, s in samples], [e.attempt for e in events if e.attempt is not None])
        lost: list[tuple[Wish, ledger.Usage]] = []
        for (event, mine), theirs in zip(samples, kept, strict=True):
            if theirs is not mine:
                event.stored = theirs
                lost.append((event.wish, usage_of(mine.generation)))
        return lost

    def enter(self, event: Event) -> Sample | None:
        """Enter what a request that is over used; return its sample, where it gave one."""
        wish = event.wish
        climb = wish.climb
        if climb.limited:
            self._purse.release(climb.order, wish.tier, wish.reserved)
        if event.stored is not None:
            sample = self._asking.read(event.stored, climb.task.problem)
            climb.keep(wish.tier, sample, fresh=True, prompt_paid=self._prompt_paid(wish, event.stored.key))
            self._counters.fresh += 1
            self._counters.tokens += sample.generation.completion_tokens or 0
            return sample
        if event.attempt is not None and event.attempt.paid:
            climb.keep_attempt(wish.tier, event.attempt, fresh=True)
            self._counters.tokens += event.attempt.completion_tokens or 0
        return None

    def settle(self, climb: Climb) -> None:
        """Bring the purse up to date."""
        if climb.limited:
            for position, use in enumerate(climb.uses()):
                self._purse.settle(climb.order, position, self._amount(climb, position, use))

    def close(self, climb: Climb) -> None:
        """Drop the accounts of a problem that is done."""
        if climb.limited:
            self._purse.forget(climb.order)

    def _amount(self, climb: Climb, position: int, use: TierUse) -> Amount:
        """Return what a tier has used, as limits count it."""
        usd = use.cost.known
        if use.cost.unknown and self._limits_of(climb.task).money:  # then it counts as the most it can be
            usd += use.cost.unknown * self._asking.worst(climb, position).usd
        tokens = sum(usage.completion or 0 for usage in use.usages)
        return Amount(usd, tokens, len(use.samples))

    def _limits_of(self, task: Task) -> Limits:
        return task.own.limits or self._limits

    def _prompt_paid(self, wish: Wish, key: Key) -> bool:
        """Whether another climb of this run has paid for the prompt of these samples."""
        if wish.climb.task.problem.text not in self._twins:
            return False
        return self._payers.setdefault(key, wish.climb.order) != wish.climb.order
