"""The executor: drives one machine per problem and the engines, until every problem has an outcome.

Each problem climbs as soon as its own ballot decides. What an engine gives is durable before a machine is told of
it; a sample the store has is never drawn again; a request that is no longer wanted is cancelled at its engine.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from escalade.answers.grader import Grader
from escalade.asking import Asking, Event
from escalade.books import Books
from escalade.cascade.machine import Action, Cancel, Draw
from escalade.cascade.outcome import Outcome, Status
from escalade.cascade.policy import Policy
from escalade.climb import Answered, Climb, Task, Wish
from escalade.collector import fewer_collections
from escalade.comparing import Comparing
from escalade.counters import Counters
from escalade.dispatch import Dispatch, Happening
from escalade.engines.base import Engine
from escalade.limits import Limits, Refusal
from escalade.outset import Outset
from escalade.pool import Pool, PoolModel
from escalade.samples.sample import Sample
from escalade.samples.store import Store

ACTIVE = 4096
"""Problems climbing at once beyond those whose requests fill the engines: a bound on memory where an upper tier is
slow. Models that take turns on one device have none, as all their problems wait for each other."""
_BATCH = 64
"""Problems begun, and requests sent, before the loop looks at what has come."""


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
        on_event: told, by name and facts, what happens: begun, sent, sample, failed, cancelled, outcome, turned_away,
            left_alone, given_up, turn.
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
        on_event: Callable[[str, Mapping[str, Any]], None] | None = None,
    ) -> None:
        self.pool, self.store, self.policy, self.seed = pool, store, policy, seed
        self.limits = limits or Limits()
        self.counters = Counters()
        self._asking = Asking(pool, engine_of, seed)
        self._books = Books(store, self._asking, self.limits, self.counters)
        self._over: tuple[Status, str] | None = None
        self._stopping = False
        self._on_answer, self._on_event = on_answer, on_event
        self._upcoming: dict[str, deque[tuple[int, Task]]] = {}
        """Problems not begun, by the model of their first tier."""
        self._dispatch = Dispatch(pool, self._asking, self, self._happen, by_key=store is not None, seed=seed)
        self._happened: list[Happening] = []
        self._waker: asyncio.Future[None] | None = None
        self._comparing = Comparing(grader or Grader(), self._asking.kind, self._happen, self._go_on)
        self._climbs: set[Climb] = set()
        self._outset = Outset(pool, policy, self._asking.kind)

    async def run(self, tasks: Iterable[Task]) -> None:
        """Answer every task; `on_answer` gets them as they are done.

        When the awaiting task is cancelled (Ctrl-C), requests under way are cancelled, what they used is recorded,
        and problems without an outcome are left out.

        Raises:
            SettingError: a limit of money where a model has no price; nothing has been drawn then.
        """
        with fewer_collections():
            async with self._going():
                await self._run(list(enumerate(tasks)))

    async def _run(self, numbered: Sequence[tuple[int, Task]]) -> None:
        if self.limits.money:
            self._asking.refuse_unpriced(task for _, task in numbered)
        self.counters.problems = len(numbered)
        self._open_lanes(numbered)
        self._books.charge_scores(numbered)
        self._books.expect(self._outset.climb(order, task) for order, task in numbered if task.route is not None)
        timer = self._later(self.limits.run_seconds, self._out_of_time)
        try:
            while not self._idle:
                await self._turn()
        finally:
            if timer is not None:
                timer.cancel()

    @asynccontextmanager
    async def _going(self) -> AsyncIterator[None]:
        """End what is under way, and record what it used, where something ends the executor."""
        try:
            yield
        except BaseException:
            await self._abandon()
            raise
        finally:
            for climb in self._climbs:
                climb.stop_timers()
            self._comparing.close()
            await self._dispatch.close()

    @property
    def _idle(self) -> bool:
        """Whether nothing is left to do."""
        return not (self._climbs or self._comparing.under_way or any(self._upcoming.values()))

    async def _turn(self, *, lasting: bool = False) -> None:
        """Begin and send what there is room for, wait until something happens, and see to it.

        `lasting` waits where nothing is left to do, too.
        """
        more = self._begin_some()
        self._pump()
        waits = self._dispatch.waits or self._comparing.under_way or (lasting and self._idle)
        if not self._happened and not more and waits:
            self._waker = asyncio.get_running_loop().create_future()
            await self._waker
        else:  # the store or a limit has met what was wanted: engines and Ctrl-C get their turn
            await asyncio.sleep(0)
        self._take()

    def tokens_now(self) -> int:
        """Completion tokens of this run, those of requests under way included."""
        running = (wish.progress for lane in self._dispatch.lanes.values() for wish in lane.running)
        return self.counters.tokens + sum(p.completion_tokens for p in running if p is not None)

    def _open_lanes(self, numbered: Sequence[tuple[int, Task]]) -> None:
        used = {tier.model for _, task in numbered if task.route is not None for tier in task.route.tiers}
        aliases = [alias for alias in self.pool.aliases if alias in used]
        self._dispatch.open(aliases)
        self._upcoming = {alias: deque() for alias in aliases}
        for order, task in numbered:
            self._books.announce(task.problem.text)
            if task.route is None:
                outcome = Outcome(Status.ERROR, None, None, None, (), (str(task.error),))
                answered = Answered(task.problem, None, None, outcome, (), scoring=task.scoring)
                self._comparing.grade(answered, self._report)
            else:
                self._upcoming[task.route.tiers[0].model].append((order, task))

    def _happen(self, what: Happening) -> None:
        self._happened.append(what)
        if self._waker is not None and not self._waker.done():
            self._waker.set_result(None)

    # -- one problem ------------------------------------------------------------------------------------------

    def _begin_some(self) -> bool:
        """Begin problems where an engine would else run out of them; return whether there are more for it now."""
        left = _BATCH
        for alias, upcoming in self._upcoming.items():
            while upcoming and left and self._may_begin(alias):
                self._begin(*upcoming.popleft())
                left -= 1
        return not left

    def _may_begin(self, alias: str) -> bool:
        if not self._dispatch.begins(alias):
            return False
        return self._dispatch.turns.shared or len(self._climbs) < ACTIVE + self._dispatch.capacity

    def _begin(self, order: int, task: Task) -> None:
        climb = self._outset.climb(order, task)
        climb.begun = asyncio.get_running_loop().time()
        limit = (task.own.limits or self.limits).problem_seconds
        climb.deadline = self._later(limit, lambda: self._end(climb, Status.DEADLINE, f"out of its {limit:g} s"))
        self._start(climb)

    def _start(self, climb: Climb) -> None:
        self._climbs.add(climb)
        self._books.open(climb)
        self._tell_of("begun", problem=climb.task.problem.id, route=climb.task.text)
        self._apply(climb, climb.machine.start())
        if (end := self._over or self._books.overspent(climb.task)) is not None:
            self._apply(climb, climb.machine.end(*end))
        self._settle(climb)

    def _end(self, climb: Climb, status: Status, reason: str) -> None:
        self._go_on(climb, climb.machine.end(status, reason))

    def _apply(self, climb: Climb, actions: Sequence[Action]) -> None:
        """Carry out a machine's wishes: take from the store what it has, queue the rest, cancel what is settled."""
        todo: deque[Action] = deque(actions)
        while todo:
            action = todo.popleft()
            if isinstance(action, Cancel):
                for index in action.indexes:
                    if (wish := climb.wishes.pop((action.tier, index), None)) is not None:
                        wish.call_off()
                continue
            for sample, paid in self._draw(climb, action):
                todo.extend(self._hear(climb, action.tier, sample, paid=paid))

    def _draw(self, climb: Climb, draw: Draw) -> list[tuple[Sample, bool]]:
        """Queue the samples of a tier that nobody has; return those that are there, and whether they are charged."""
        if draw.tier != climb.rung and draw.tier == climb.machine.position:  # else it is begun ahead
            self._enter(climb, draw.tier)
        have = self._books.have(climb, draw.tier, draw.indexes)
        self._books.recall_attempts(climb, draw.tier, draw.indexes)
        for index in draw.indexes:
            if index not in have:
                wish = Wish(climb, draw.tier, index)
                climb.wishes[draw.tier, index] = wish
                self._dispatch.queue(wish)
        return [have[index] for index in sorted(have)]

    def _go_on(self, climb: Climb, actions: Sequence[Action]) -> None:
        if climb in self._climbs:
            self._apply(climb, actions)
            self._settle(climb)

    def _hear(self, climb: Climb, tier: int, sample: Sample, *, paid: bool) -> list[Action]:
        """Tell a machine of a stored sample; paid for by another route, it costs this one only if it looks at it."""
        keep = None if paid else lambda: self._books.keep_stored(climb, tier, sample)
        return self._comparing.hear(climb, tier, sample, keep)

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
            self._end(climb, *self._over)

    def _later(self, seconds: float | None, action: Callable[[], None]) -> asyncio.TimerHandle | None:
        """Have the main loop do something later; an error raised in the timer itself would be lost."""
        if seconds is None:
            return None
        return asyncio.get_running_loop().call_later(seconds, self._happen, action)

    def _settle(self, climb: Climb) -> None:
        """Bring the books up to date; report the problem once it has an outcome and no request under way."""
        if climb not in self._climbs:
            return
        self._books.settle(climb)
        if climb.machine.outcome is None or climb.running:
            self._hedge(climb)
            return
        self._leave(climb)
        answered = climb.answered()
        self.counters.cost += answered.cost
        self._comparing.grade(answered, self._report)

    def _leave(self, climb: Climb) -> None:
        self._books.close(climb)
        self._climbs.discard(climb)
        climb.stop_timers()

    def _hedge(self, climb: Climb) -> None:
        """Begin the next tier once P(escalate) > 1 - t / latency, or see to it that it will be."""
        latency = climb.task.own.latency
        if latency is None or climb not in self._climbs or (chance := climb.machine.escalation()) is None:
            return
        now = asyncio.get_running_loop().time()
        wait = climb.begun + latency * (1 - chance) - now
        if climb.hedging is not None:
            climb.hedging.cancel()
        if wait <= 0:
            self._apply(climb, climb.machine.hedge())
        else:
            climb.hedging = self._later(wait, lambda: self._hedge(climb))

    def _report(self, answered: Answered) -> None:
        self.counters.done += 1
        if self._on_event is not None:
            outcome, usd = answered.outcome, answered.cost.usd
            owner = None if outcome.decided_by is None else answered.tiers[outcome.decided_by].tier.model
            facts = {"status": outcome.status.value, "answer": outcome.answer, "decided_by": owner}
            self._tell_of("outcome", problem=answered.problem.id, **facts, cost_usd=None if usd is None else str(usd))
        if self._on_answer is not None:
            self._on_answer(answered)

    # -- requests ---------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Send what the engines have room for; let others have a device where one is done with it."""
        self._dispatch.pump()
        for alias, lane in self._dispatch.lanes.items():
            self.counters.of_lane(alias, lane.waiting, len(lane.running), lane.allowed)
        if not self._comparing.under_way:
            self._dispatch.pass_on({alias for alias, upcoming in self._upcoming.items() if upcoming})

    def met(self, wish: Wish) -> bool:
        """Whether a wish needs no request: it is not wanted any more, or the store has the sample."""
        climb = wish.climb
        if wish.unwanted or climb.machine.outcome is not None:
            return True
        if (have := self._books.stored(wish)) is None:
            return False
        climb.wishes.pop((wish.tier, wish.index), None)
        sample, paid = have
        self._go_on(climb, self._hear(climb, wish.tier, sample, paid=paid))
        return True

    def refuse(self, wish: Wish, refusal: Refusal) -> None:
        """A limit will never allow a request: the problem ends with what it has."""
        self._end(wish.climb, Status.BUDGET, refusal.reason)

    def fail(self, wish: Wish, reason: str) -> None:
        """A request cannot be made, or has failed for good: so has its problem."""
        wish.climb.wishes.pop((wish.tier, wish.index), None)
        if not wish.unwanted and not self._stopping:
            self._go_on(wish.climb, wish.climb.machine.fail(reason))

    def say(self, event: str, wish: Wish | None, **facts: object) -> None:
        """Tell whoever listens what happens to a request."""
        if wish is not None:
            problem, model = wish.climb.task.problem.id, wish.climb.route.tiers[wish.tier].model
            facts = {"problem": problem, "tier": wish.tier, "model": model, "index": wish.index, **facts}
        self._tell_of(event, **facts)

    def _tell_of(self, event: str, **facts: object) -> None:
        if self._on_event is not None:
            self._on_event(event, facts)

    def reserve(self, wish: Wish) -> Refusal | None:
        """Reserve what a request may use; say why not where a limit does not allow it."""
        return self._books.reserve(wish)

    def _take(self) -> None:
        """Make what happened durable, all of it in one go; then enter it in the books, then tell the machines."""
        happened = self._happened
        events = [event for event in happened if isinstance(event, Event)]
        lost = self._books.write(events)
        self._happened = []  # only now: what the store has refused is not forgotten
        for event in events:
            self._enter_books(event)
        for wish, usage in lost:
            wish.climb.keep_cancelled(wish.tier, usage, fresh=True)
        for event in events:
            self._tell(event)
        for climb in {event.wish.climb: None for event in events}:
            self._settle(climb)
        for action in happened:
            if not isinstance(action, Event):
                action()

    def _enter_books(self, event: Event) -> None:
        wish = event.wish
        self._dispatch.over(event)
        wish.climb.running -= 1
        sample = self._books.enter(event)
        if sample is not None:
            wish.climb.wishes.pop((wish.tier, wish.index), None)
            self.say("sample", wish, answer=sample.answer, key=sample.key, tokens=sample.generation.completion_tokens)
        elif event.attempt is not None and event.attempt.kind == "cancelled":
            self.say("cancelled", wish, tokens=event.attempt.completion_tokens)

    def _tell(self, event: Event) -> None:
        """Tell the machine of a sample, or see to one that has not come."""
        wish = event.wish
        climb = wish.climb
        if event.stored is not None:
            sample = climb.drawn(wish.tier, wish.index)
            assert sample is not None
            self._apply(climb, self._comparing.hear(climb, wish.tier, sample))
            return
        self._dispatch.failed(event)

    async def _abandon(self) -> None:
        """Stop what is under way and record what it used."""
        self._stopping = True
        await self._dispatch.stop()
        self._happened = [event for event in self._happened if isinstance(event, Event)]
        self._take()
