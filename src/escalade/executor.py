"""The executor: drives one machine per problem and the engines, until every problem has an outcome.

Each problem climbs as soon as its own ballot decides. What an engine gives is durable before a machine is told of
it; a sample the store has is never drawn again; a request that is no longer wanted is cancelled at its engine.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from decimal import Decimal
from itertools import count

from escalade import ledger
from escalade.answers.grader import Grader
from escalade.asking import Asking, Event, said
from escalade.cascade.machine import Action, Cancel, Draw, Machine
from escalade.cascade.outcome import Outcome, Status
from escalade.cascade.policy import Policy
from escalade.climb import Answered, Climb, Task, Wish, usage_of
from escalade.comparing import Comparing
from escalade.counters import Counters
from escalade.engines.base import Engine
from escalade.limits import Limits, Purse
from escalade.pool import Pool, PoolModel
from escalade.routes import executed
from escalade.samples.sample import Sample
from escalade.samples.store import Store

ACTIVE = 256
"""Problems climbing at once: enough to fill every engine, few enough to keep memory flat."""
AHEAD = 64
"""Requests that wait for an engine before further problems begin."""


_Entry = tuple[int, int, int, Wish]
"""A wish that waits, behind its index, the order of its problem and a ticket.

The first samples of all problems go before the second of any: often they settle a ballot, and the later ones need
not be sent at all.
"""


class Executor:
    """Runs tasks on engines.

    Args:
        pool: the models.
        engine_of: the engine that answers for a model.
        store: where samples are kept; None keeps nothing (recorded samples need no record).
        policy, limits: the settings.
        seed: of the run.
        on_answer: called with every problem as it is done.
        grader: says which answers are equal.
    """

    def __init__(
        self,
        pool: Pool,
        engine_of: Callable[[PoolModel], Engine],
        *,
        store: Store | None,
        policy: Policy,
        limits: Limits | None = None,
        seed: int = 0,
        on_answer: Callable[[Answered], None] | None = None,
        grader: Grader | None = None,
    ) -> None:
        self.pool, self.store, self.policy, self.seed = pool, store, policy, seed
        self.limits = limits or Limits()
        self.counters = Counters()
        self._asking = Asking(pool, engine_of, seed)
        self._purse = Purse(self.limits)
        self._over: tuple[Status, str] | None = None
        self._stopping = False
        self._on_answer = on_answer
        self._waiting: dict[str, list[_Entry]] = {alias: [] for alias in pool.aliases}
        self._running: dict[str, set[Wish]] = {alias: set() for alias in pool.aliases}
        self._asked: dict[Hashable, list[_Entry]] = {}
        """The samples being asked for, each with further wishes for the same one: they wait for what comes of it."""
        self._events: asyncio.Queue[Event | Callable[[], None]] = asyncio.Queue()
        """What came of requests, and what timers want done."""
        self._comparing = Comparing(grader or Grader(), self._asking.kind, self._events.put_nowait, self._go_on)
        self._climbs: set[Climb] = set()
        self._ticket = count()
        self._thresholds = {m.alias: m.threshold for m in pool.models if m.threshold is not None}
        self._accuracies = {m.alias: m.accuracy for m in pool.models if m.accuracy is not None}
        self._costs = pool.relative_costs()

    async def run(self, tasks: Iterable[Task]) -> None:
        """Answer every task; `on_answer` gets them as they are done.

        When the awaiting task is cancelled (Ctrl-C), requests under way are cancelled, what they used is recorded,
        and problems without an outcome are left out.

        Raises:
            SettingError: a limit of money where a model has no price; nothing has been drawn then.
        """
        upcoming = deque(enumerate(tasks))
        if self.limits.money:
            self._asking.refuse_unpriced(task for _, task in upcoming)
        self.counters.problems = len(upcoming)
        timer = self._later(self.limits.run_seconds, self._out_of_time)
        try:
            while upcoming or self._climbs or self._comparing.under_way:
                while upcoming and len(self._climbs) < ACTIVE and self._queued() < AHEAD:
                    self._begin(*upcoming.popleft())
                    if self._queued() >= AHEAD:
                        self._pump()
                self._pump()
                if self._comparing.under_way or any(self._running.values()):
                    self._take([await self._events.get()])
                else:
                    # The store or a limit has met all wishes: there is room for more problems, and for Ctrl-C.
                    await asyncio.sleep(0)
                    self._take([])
        except BaseException:
            await self._abandon()
            raise
        finally:
            for handle in (timer, *(climb.timer for climb in self._climbs)):
                if handle is not None:
                    handle.cancel()
            self._comparing.close()

    def tokens_now(self) -> int:
        """Completion tokens of this run, those of requests under way included."""
        under_way = sum(w.progress.completion_tokens for wishes in self._running.values() for w in wishes)
        return self.counters.tokens + under_way

    # -- one problem ------------------------------------------------------------------------------------------

    def _begin(self, order: int, task: Task) -> None:
        if task.route is None:
            outcome = Outcome(Status.ERROR, None, None, None, (), (str(task.error),))
            self._comparing.grade(Answered(task.problem, None, None, outcome, ()), self._report)
            return
        ran = executed(task.route, self.pool)
        machine = Machine(
            ran.route,
            self.policy,
            scores=task.problem.scores,
            thresholds=self._thresholds,
            accuracies=self._accuracies,
            costs=self._costs,
            notes=ran.notes,
        )
        climb = Climb(order, task, ran.route, machine, self.pool)
        self._climbs.add(climb)
        self._apply(climb, machine.start())
        if self._over is not None:
            self._apply(climb, machine.end(*self._over))
        self._settle(climb)

    def _apply(self, climb: Climb, actions: Sequence[Action]) -> None:
        """Carry out a machine's wishes: take from the store what it has, queue the rest, cancel what is settled."""
        todo: deque[Action] = deque(actions)
        while todo:
            action = todo.popleft()
            if isinstance(action, Cancel):
                for index in action.indexes:
                    self._unwant(climb.wishes.pop((action.tier, index), None))
                continue
            for sample, paid in self._draw(climb, action):
                todo.extend(self._hear(climb, action.tier, sample, paid=paid))

    def _draw(self, climb: Climb, draw: Draw) -> list[tuple[Sample, bool]]:
        """Queue the samples of a tier that nobody has; return those that are there, and whether they are charged."""
        if draw.tier != climb.rung:
            self._enter(climb, draw.tier)
        have = self._have(climb, draw.tier, draw.indexes)
        if self.store is not None:
            new = climb.unsearched(draw.tier, draw.indexes)
            for attempt in self.store.cancelled(self._asking.key(climb, draw.tier), new):
                if attempt.job == climb.job:
                    climb.keep_cancelled(draw.tier, usage_of(attempt), fresh=False)
        for index in draw.indexes:
            if index not in have:
                wish = Wish(climb, draw.tier, index)
                climb.wishes[draw.tier, index] = wish
                self._queue((index, climb.order, next(self._ticket), wish))
        return [have[index] for index in sorted(have)]

    def _go_on(self, climb: Climb, actions: Sequence[Action]) -> None:
        if climb in self._climbs:
            self._apply(climb, actions)
            self._settle(climb)

    def _have(self, climb: Climb, tier: int, indexes: Sequence[int]) -> dict[int, tuple[Sample, bool]]:
        """Return those of the samples that the problem or the store has, and whether the problem is charged."""
        drawn = {index: sample for index in indexes if (sample := climb.drawn(tier, index)) is not None}
        have = {index: (sample, True) for index, sample in drawn.items()}
        missing = [index for index in indexes if index not in have]
        if self.store is not None and missing:
            for stored in self.store.read(self._asking.key(climb, tier), missing):
                mine = stored.job == climb.job
                have[stored.index] = self._asking.read(stored, climb.task.problem), mine
                if mine:
                    self._keep_stored(climb, tier, have[stored.index][0])
        return have

    def _hear(self, climb: Climb, tier: int, sample: Sample, *, paid: bool) -> list[Action]:
        """Tell a machine of a stored sample; paid for by another route, it costs this one only if it looks at it."""
        keep = None if paid else lambda: self._keep_stored(climb, tier, sample)
        return self._comparing.hear(climb, tier, sample, keep)

    def _keep_stored(self, climb: Climb, tier: int, sample: Sample) -> None:
        climb.keep(tier, sample, fresh=False)
        self.counters.stored += 1

    def _enter(self, climb: Climb, tier: int) -> None:
        climb.rung = tier
        if climb.timer is not None:
            climb.timer.cancel()
        climb.timer = self._later(self.limits.tier_seconds, lambda: self._expire(climb, tier))

    def _expire(self, climb: Climb, tier: int) -> None:
        if climb in self._climbs and climb.rung == tier:
            climb.rung = -1
            self._apply(climb, climb.machine.expire())
            self._settle(climb)

    def _out_of_time(self) -> None:
        """The whole run is out of time: every problem ends with what it or the store has."""
        self._over = (Status.DEADLINE, f"the limit of {self.limits.run_seconds:g} s for the run is reached")
        for climb in list(self._climbs):
            self._apply(climb, climb.machine.end(*self._over))
            self._settle(climb)

    def _later(self, seconds: float | None, action: Callable[[], None]) -> asyncio.TimerHandle | None:
        """Have the main loop do something later; an error raised in the timer itself would be lost."""
        if seconds is None:
            return None
        return asyncio.get_running_loop().call_later(seconds, self._events.put_nowait, action)

    def _settle(self, climb: Climb) -> None:
        """Bring the books up to date; report the problem once it has an outcome and no request under way."""
        if climb not in self._climbs:
            return
        uses = climb.uses()
        cost = ledger.total(use.cost for use in uses)
        self.counters.cost += cost - climb.cost
        climb.cost = cost
        for position, use in enumerate(uses):
            spent = use.cost.known
            if use.cost.unknown and self.limits.money:  # then it counts as the most it can be
                spent += use.cost.unknown * self._asking.worst(climb, position, 0)
            self._purse.settle(climb, position, spent, climb.samples)
        if climb.machine.outcome is None or climb.running:
            return
        self._purse.forget(climb)
        self._climbs.discard(climb)
        if climb.timer is not None:
            climb.timer.cancel()
        self._comparing.grade(climb.answered(), self._report)

    def _report(self, answered: Answered) -> None:
        self.counters.done += 1
        if self._on_answer is not None:
            self._on_answer(answered)

    # -- requests ---------------------------------------------------------------------------------------------

    def _queue(self, entry: _Entry) -> None:
        wish = entry[3]
        heapq.heappush(self._waiting[wish.climb.route.tiers[wish.tier].model], entry)

    def _queued(self) -> int:
        return sum(map(len, self._waiting.values()))

    def _pump(self) -> None:
        """Send what the engines have room for: first samples first, in the order of the problems."""
        for alias in self.pool.aliases:
            waiting, running = self._waiting[alias], self._running[alias]
            held: list[_Entry] = []
            while waiting and len(running) < self._asking.room(alias):
                entry = heapq.heappop(waiting)
                if not self._send(entry, running):
                    held.append(entry)
            for entry in held:
                heapq.heappush(waiting, entry)
            self.counters.waiting[alias] = len(waiting)
            self.counters.running[alias] = len(running)

    def _send(self, entry: _Entry, running: set[Wish]) -> bool:
        """Send a request if its sample is still wanted and nobody has it; False where it must wait for money."""
        wish = entry[3]
        climb, machine = wish.climb, wish.climb.machine
        if wish.unwanted or machine.outcome is not None:
            return True
        place = self._place(wish)
        if place in self._asked:
            self._asked[place].append(entry)
            return True
        if have := self._have(climb, wish.tier, [wish.index]):
            climb.wishes.pop((wish.tier, wish.index), None)
            sample, paid = have[wish.index]
            actions = self._hear(climb, wish.tier, sample, paid=paid)
        else:
            try:
                wish.reserved = self._asking.worst(climb, wish.tier, wish.index) if self.limits.money else Decimal(0)
            except Exception as error:  # the row's error, as a failed request is
                refusal, actions = None, machine.fail(said(wish, error))
            else:
                refusal, actions = self._purse.reserve(climb, wish.tier, wish.reserved), []
                if refusal is None:
                    self._asked[place] = []
                    running.add(wish)
                    climb.running += 1
                    self._asking.start(wish, self._events.put_nowait)
            if refusal is not None:
                if refusal.waits:
                    return False
                actions = machine.end(Status.BUDGET, refusal.reason)
        self._apply(climb, actions)
        self._settle(climb)
        return True

    def _take(self, happened: list[Event | Callable[[], None]]) -> None:
        """Make what happened durable, all of it in one go; then enter it in the books, then tell the machines."""
        while not self._events.empty():
            happened.append(self._events.get_nowait())
        events = [event for event in happened if isinstance(event, Event)]
        lost = self._write(events)
        over = [event for event in events if event.final]
        for event in over:
            self._enter_books(event)
        for wish, usage in lost:
            wish.climb.keep_cancelled(wish.tier, usage, fresh=True)
        for event in over:
            self._tell(event)
        for climb in {event.wish.climb: None for event in over}:
            self._settle(climb)
        for action in happened:
            if not isinstance(action, Event):
                action()

    def _write(self, events: Sequence[Event]) -> list[tuple[Wish, ledger.Usage]]:
        """Write events to the store; return what was paid for samples that another process wrote first."""
        samples = [(event, event.stored) for event in events if event.stored is not None]
        if self.store is None or not events:
            return []
        kept = self.store.write([s for _, s in samples], [e.attempt for e in events if e.attempt is not None])
        lost: list[tuple[Wish, ledger.Usage]] = []
        for (event, mine), theirs in zip(samples, kept, strict=True):
            if theirs is not mine:
                event.stored = theirs
                lost.append((event.wish, usage_of(mine.generation)))
        return lost

    def _enter_books(self, event: Event) -> None:
        """Enter what a request that is over used."""
        wish = event.wish
        climb = wish.climb
        self._running[climb.route.tiers[wish.tier].model].discard(wish)
        climb.running -= 1
        self._purse.release(climb, wish.tier, wish.reserved)
        for entry in self._asked.pop(self._place(wish)):
            self._queue(entry)
        if climb.wishes.get((wish.tier, wish.index)) is wish:
            del climb.wishes[wish.tier, wish.index]
        if event.stored is not None:
            climb.keep(wish.tier, self._asking.read(event.stored, climb.task.problem), fresh=True)
            self.counters.fresh += 1
            self.counters.tokens += event.stored.generation.completion_tokens or 0
        elif event.attempt is not None and event.attempt.kind == "cancelled":
            climb.keep_cancelled(wish.tier, usage_of(event.attempt), fresh=True)
            self.counters.tokens += event.attempt.completion_tokens or 0

    def _tell(self, event: Event) -> None:
        """Tell the machine of a sample, or that one it wants will not come."""
        wish = event.wish
        climb = wish.climb
        if event.stored is not None:
            sample = climb.drawn(wish.tier, wish.index)
            assert sample is not None
            self._apply(climb, self._comparing.hear(climb, wish.tier, sample))
        elif not wish.unwanted and not self._stopping:
            self._apply(climb, climb.machine.fail(event.failure or said(wish, "the engine cancelled the request")))

    async def _abandon(self) -> None:
        """Stop what is under way and record what it used."""
        self._stopping = True
        jobs = [wish.job for wishes in self._running.values() for wish in wishes if wish.job is not None]
        for job in jobs:
            job.cancel()
        if jobs:
            await asyncio.wait(jobs)
        self._take([])

    def _unwant(self, wish: Wish | None) -> None:
        if wish is None:
            return
        wish.unwanted = True
        if wish.job is not None:
            wish.job.cancel()

    def _place(self, wish: Wish) -> Hashable:
        """Where a sample belongs: samples of the store to whoever has the key, others to their problem."""
        tier = wish.climb.route.tiers[wish.tier]
        owner: Hashable = wish.climb if self.store is None else self._asking.key(wish.climb, wish.tier)
        return owner, tier.model, tier.temperature, wish.index
