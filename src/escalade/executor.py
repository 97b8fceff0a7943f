"""The executor: drives one machine per problem and the engines, until every problem has an outcome.

Each problem climbs as soon as its own ballot decides. What an engine gives is durable before a machine is told of
it; a sample the store has is never drawn again; a request that is no longer wanted is cancelled at its engine.
"""

from __future__ import annotations

import asyncio
import heapq
import json
import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count

from escalade import ledger
from escalade.cascade.machine import Action, Cancel, Draw, Machine
from escalade.cascade.outcome import Outcome, Status
from escalade.cascade.policy import Policy
from escalade.engines.base import Engine, Progress, Request
from escalade.errors import EngineError, InputError
from escalade.limits import Limits, Purse
from escalade.pool import Pool, PoolModel
from escalade.problems import Problem
from escalade.routes import Executed, Route, Tier, executed
from escalade.samples.sample import Sample, read, sample_seed
from escalade.samples.store import Attempt, Key, Store, Stored

ACTIVE = 256
"""Problems climbing at once: enough to fill every engine, few enough to keep memory flat."""
RETRIES = 3
"""Further tries of a request whose failure is retryable."""


@dataclass(frozen=True, slots=True)
class Task:
    """One problem and how it is to be answered; a row whose route could not be read carries the error instead."""

    problem: Problem
    route: Route | None
    error: InputError | None = None


@dataclass(frozen=True, slots=True)
class TierUse:
    """What one tier of one problem used, samples that came too late and cancelled requests included."""

    tier: Tier
    samples: tuple[Sample, ...]
    """All that were drawn, in launch order; those of an earlier tier that were used again are not among them."""
    cancelled: int
    usages: tuple[ledger.Usage, ...]
    """Of the samples, then of the cancelled requests."""
    cost: ledger.Cost


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

    @property
    def cost(self) -> ledger.Cost:
        """What the answer cost, whenever it was paid."""
        return ledger.total(use.cost for use in self.tiers)


@dataclass(slots=True)
class Counters:
    """Where a run stands; read it at any time."""

    problems: int = 0
    done: int = 0
    fresh: int = 0
    stored: int = 0
    tokens: int = 0
    """Completion tokens generated in this run."""
    cost: ledger.Cost = field(default_factory=ledger.Cost)
    waiting: dict[str, int] = field(default_factory=dict)
    """Requests not yet sent, by model alias."""
    running: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Wish:
    """One sample a machine wants."""

    climb: _Climb
    tier: int
    index: int
    unwanted: bool = False
    job: asyncio.Task[None] | None = None
    progress: Progress = field(default_factory=Progress)
    reserved: Decimal = Decimal(0)


@dataclass(slots=True, eq=False)
class _Climb:
    """One problem on its way."""

    order: int
    task: Task
    executed: Executed
    machine: Machine
    fingerprint: str
    wishes: dict[tuple[int, int], _Wish] = field(default_factory=dict)
    drawn: dict[tuple[str, float, int], Sample] = field(default_factory=dict)
    """By model, temperature and index: tiers that want the same samples share them."""
    samples: dict[int, list[Sample]] = field(default_factory=dict)
    cancelled: dict[int, list[ledger.Usage]] = field(default_factory=dict)
    stored: dict[int, list[ledger.Usage]] = field(default_factory=dict)
    """What had been paid for before this run."""
    spent: dict[int, ledger.Cost] = field(default_factory=dict)
    fresh: int = 0
    running: int = 0
    timer: asyncio.TimerHandle | None = None
    rung: int = -1


@dataclass(frozen=True, slots=True)
class _Event:
    """What came of a request."""

    wish: _Wish
    stored: Stored | None = None
    attempt: Attempt | None = None
    final: bool = True
    """Whether the request is over; False for a failure that is tried again."""


class Executor:
    """Runs tasks on engines.

    Args:
        pool: the models.
        engine_of: the engine that answers for a model.
        store: where samples are kept; None keeps nothing (recorded samples need no record).
        policy, limits: the settings.
        seed: of the run.
        on_answer: called with every problem as it is done.
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
    ) -> None:
        self.pool, self.store, self.policy, self.seed = pool, store, policy, seed
        self.limits = limits or Limits()
        self.counters = Counters()
        self._purse = Purse(self.limits)
        self._over: tuple[Status, str] | None = None
        self._engine_of = engine_of
        self._on_answer = on_answer
        self._waiting: dict[str, list[tuple[int, int, _Wish]]] = {m.alias: [] for m in pool.models}
        self._running: dict[str, set[_Wish]] = {m.alias: set() for m in pool.models}
        self._events: asyncio.Queue[_Event | None] = asyncio.Queue()
        self._climbs: set[_Climb] = set()
        self._ticket = count()
        self._jitter = random.Random(seed)
        self._params: dict[tuple[str, float], str] = {}
        self._fingerprints: dict[str, str] = {}

    async def run(self, tasks: Iterable[Task]) -> None:
        """Answer every task; `on_answer` gets them as they are done.

        When the awaiting task is cancelled (Ctrl-C), requests under way are cancelled, what they used is recorded,
        and problems without an outcome are left out.

        Raises:
            SettingError: a limit of money where a model has no price.
        """
        upcoming = deque(enumerate(tasks))
        self.counters.problems = len(upcoming)
        loop = asyncio.get_running_loop()
        timer = None
        if self.limits.run_seconds is not None:
            timer = loop.call_later(self.limits.run_seconds, self._out_of_time)
        try:
            while upcoming or self._climbs:
                while upcoming and len(self._climbs) < ACTIVE:
                    self._begin(*upcoming.popleft())
                self._pump()
                # Where nothing is under way, the store or a limit has met the last wishes: there is room for more.
                if any(self._running.values()) or not self._events.empty():
                    self._take([await self._events.get()])
        except asyncio.CancelledError:
            await self._abandon()
            raise
        finally:
            for handle in (timer, *(climb.timer for climb in self._climbs)):
                if handle is not None:
                    handle.cancel()

    def tokens_now(self) -> int:
        """Completion tokens of this run, those of requests under way included."""
        under_way = sum(w.progress.completion_tokens for wishes in self._running.values() for w in wishes)
        return self.counters.tokens + under_way

    # -- one problem ------------------------------------------------------------------------------------------

    def _begin(self, order: int, task: Task) -> None:
        if task.route is None:
            message = str(task.error)
            outcome = Outcome(Status.ERROR, None, None, None, (), (message,))
            self._report(Answered(task.problem, None, None, outcome, ()))
            return
        ran = executed(task.route, self.pool)
        thresholds = {m.alias: m.threshold for m in self.pool.models if m.threshold is not None}
        accuracies = {m.alias: m.accuracy for m in self.pool.models if m.accuracy is not None}
        machine = Machine(
            ran.route,
            self.policy,
            scores=task.problem.scores,
            thresholds=thresholds,
            accuracies=accuracies,
            costs={m.alias: _relative_cost(m) for m in self.pool.models},
            notes=ran.notes,
        )
        climb = _Climb(order, task, ran, machine, task.problem.fingerprint)
        self._climbs.add(climb)
        if self._over is not None:
            self._apply(climb, [*machine.start(), *machine.end(*self._over)])
        else:
            self._apply(climb, machine.start())

    def _apply(self, climb: _Climb, actions: Sequence[Action]) -> None:
        """Carry out a machine's wishes: take from the store what it has, queue the rest, cancel what is settled."""
        todo: deque[Action] = deque(actions)
        while todo:
            action = todo.popleft()
            if isinstance(action, Cancel):
                for index in action.indexes:
                    self._unwant(climb.wishes.pop((action.tier, index), None))
                continue
            for sample in self._draw(climb, action):
                todo.extend(climb.machine.feed(action.tier, sample))
        self._settle(climb)

    def _draw(self, climb: _Climb, draw: Draw) -> list[Sample]:
        """Queue the samples of a tier that nobody has; return those that are there."""
        tier = climb.executed.route.tiers[draw.tier]
        if draw.tier != climb.rung:
            self._enter(climb, draw.tier)
        have: list[Sample] = []
        for index in draw.indexes:
            shared = climb.drawn.get((tier.model, tier.temperature, index))
            if shared is not None:
                have.append(shared)
        missing = [i for i in draw.indexes if i not in {s.index for s in have}]
        if self.store is not None and missing:
            key = self._key(climb, tier)
            for stored in self.store.read(key, missing):
                sample = self._read(stored)
                self._keep(climb, draw.tier, tier, sample)
                climb.stored.setdefault(draw.tier, []).append(_usage(sample))
                self.counters.stored += 1
                have.append(sample)
            for attempt in self.store.cancelled(key, missing):
                usage = ledger.Usage(attempt.prompt_tokens, attempt.completion_tokens, attempt.cached_tokens)
                climb.cancelled.setdefault(draw.tier, []).append(usage)
                climb.stored.setdefault(draw.tier, []).append(usage)
            self._spend(climb, draw.tier)
        present = {sample.index for sample in have}
        for index in missing:
            if index not in present:
                wish = _Wish(climb, draw.tier, index)
                climb.wishes[draw.tier, index] = wish
                heapq.heappush(self._waiting[tier.model], (climb.order, next(self._ticket), wish))
        return sorted(have, key=lambda sample: sample.index)

    def _enter(self, climb: _Climb, tier: int) -> None:
        climb.rung = tier
        if self.limits.tier_seconds is not None:
            if climb.timer is not None:
                climb.timer.cancel()
            loop = asyncio.get_running_loop()
            climb.timer = loop.call_later(self.limits.tier_seconds, self._expire, climb)

    def _expire(self, climb: _Climb) -> None:
        if climb in self._climbs and climb.machine.outcome is None:
            climb.rung = -1
            self._apply(climb, climb.machine.expire())
            self._events.put_nowait(None)  # wake the loop: there are new wishes

    def _out_of_time(self) -> None:
        """The whole run is out of time: what climbs ends with its best answer, what has not begun with none."""
        self._over = (Status.DEADLINE, f"the limit of {self.limits.run_seconds:g} s for the run is reached")
        for climb in list(self._climbs):
            self._apply(climb, climb.machine.end(*self._over))
        self._events.put_nowait(None)

    def _settle(self, climb: _Climb) -> None:
        """Report a problem once it has an outcome and none of its requests is under way."""
        outcome = climb.machine.outcome
        if outcome is None or climb.running or climb not in self._climbs:
            return
        self._climbs.discard(climb)
        if climb.timer is not None:
            climb.timer.cancel()
        uses = tuple(self._use(climb, position) for position in range(len(outcome.tiers)))
        self._purse.forget(climb)
        task = climb.task
        answered = Answered(
            task.problem, task.route, climb.executed.route, outcome, uses, climb.fresh, self._fresh_cost(climb, uses)
        )
        self._report(answered)

    def _report(self, answered: Answered) -> None:
        self.counters.done += 1
        if self._on_answer is not None:
            self._on_answer(answered)

    def _fresh_cost(self, climb: _Climb, uses: Sequence[TierUse]) -> ledger.Cost:
        """What this run added to what the store had been charged for."""
        out = ledger.Cost()
        for position, use in enumerate(uses):
            before = ledger.charge(climb.stored.get(position, []), self.pool[use.tier.model].price, self.pool.billing)
            out += use.cost - ledger.total(before)
        return out

    def _use(self, climb: _Climb, position: int) -> TierUse:
        tier = climb.executed.route.tiers[position]
        samples = tuple(sorted(climb.samples.get(position, ()), key=lambda s: s.index))
        cancelled = climb.cancelled.get(position, [])
        usages = (*map(_usage, samples), *cancelled)
        costs = ledger.charge(usages, self.pool[tier.model].price, self.pool.billing)
        return TierUse(tier, samples, len(cancelled), usages, ledger.total(costs))

    # -- requests ---------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Send what the engines have room for, in the order of the problems."""
        for model in self.pool.models:
            heap, running = self._waiting[model.alias], self._running[model.alias]
            held: list[tuple[int, int, _Wish]] = []
            while heap:
                room = self._engine_of(model).in_flight(model) - len(running)
                if room <= 0:
                    break
                entry = heapq.heappop(heap)
                wish = entry[2]
                if wish.unwanted or wish.climb.machine.outcome is not None:
                    continue
                wish.reserved = self._worst(wish, model)
                refusal = self._purse.reserve(wish.climb, wish.tier, wish.reserved)
                if refusal is None:
                    running.add(wish)
                    wish.climb.running += 1
                    wish.job = asyncio.get_running_loop().create_task(self._request(wish, model))
                elif refusal.waits:
                    held.append(entry)
                else:
                    self._apply(wish.climb, wish.climb.machine.end(Status.BUDGET, refusal.reason))
            for entry in held:
                heapq.heappush(heap, entry)
            self.counters.waiting[model.alias] = len(heap)
            self.counters.running[model.alias] = len(running)

    async def _request(self, wish: _Wish, model: PoolModel) -> None:
        """Ask the engine for one sample, again while that can help; put what came of it into the queue."""
        climb = wish.climb
        tier = climb.executed.route.tiers[wish.tier]
        request = self._request_of(wish, model, tier)
        key = self._key(climb, tier)
        engine = self._engine_of(model)
        try:
            for attempt in range(RETRIES + 1):
                try:
                    generation = await engine.sample(request, wish.progress)
                    break
                except EngineError as error:
                    final = not error.retryable or attempt == RETRIES
                    self._failed(wish, key, str(error), final=final)
                    if final:
                        return
                    await asyncio.sleep(2.0**attempt * self._jitter.uniform(0.05, 0.15))
        except asyncio.CancelledError:
            used = wish.progress
            self._events.put_nowait(
                _Event(
                    wish,
                    attempt=Attempt(
                        key,
                        wish.index,
                        "cancelled",
                        "no longer wanted",
                        used.prompt_tokens,
                        used.cached_tokens,
                        used.completion_tokens,
                    ),
                )
            )
            return
        except Exception as error:  # an engine may be anybody's: its fault is this row's, not the run's
            self._failed(wish, key, f"{type(error).__name__}: {error}", final=True)
            return
        stored = Stored(key, wish.index, request.seed, climb.task.problem.id, model.name, tier.temperature, generation)
        self._events.put_nowait(_Event(wish, stored))

    def _failed(self, wish: _Wish, key: Key, message: str, *, final: bool) -> None:
        self._events.put_nowait(_Event(wish, attempt=Attempt(key, wish.index, "error", message), final=final))

    def _take(self, events: list[_Event | None]) -> None:
        """Make what happened durable, all of it in one go; then tell the machines."""
        while not self._events.empty():
            events.append(self._events.get_nowait())
        real = [event for event in events if event is not None]
        if self.store is not None and real:
            self.store.write(
                [e.stored for e in real if e.stored is not None],
                [e.attempt for e in real if e.attempt is not None],
            )
        for event in real:
            self._tell(event)

    async def _abandon(self) -> None:
        """Stop what is under way and record what it used."""
        jobs = [wish.job for wishes in self._running.values() for wish in wishes if wish.job is not None]
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs)
        self._take([])

    def _tell(self, event: _Event) -> None:
        wish = event.wish
        climb = wish.climb
        tier = climb.executed.route.tiers[wish.tier]
        if not event.final:
            return
        self._running[tier.model].discard(wish)
        climb.running -= 1
        self._purse.release(climb, wish.tier, wish.reserved)
        climb.wishes.pop((wish.tier, wish.index), None)
        actions: list[Action] = []
        if event.stored is not None:
            sample = self._read(event.stored)
            self._keep(climb, wish.tier, tier, sample)
            usage = _usage(sample)
            climb.fresh += 1
            self.counters.fresh += 1
            self.counters.tokens += usage.completion or 0
            actions = climb.machine.feed(wish.tier, sample)
        elif event.attempt is not None and event.attempt.kind == "cancelled":
            used = ledger.Usage(
                event.attempt.prompt_tokens, event.attempt.completion_tokens, event.attempt.cached_tokens
            )
            climb.cancelled.setdefault(wish.tier, []).append(used)
            self.counters.tokens += used.completion or 0
        elif event.attempt is not None and not wish.unwanted:
            actions = climb.machine.fail(f"{tier.model}: {event.attempt.message}")
        self._spend(climb, wish.tier)
        self._apply(climb, actions)

    def _unwant(self, wish: _Wish | None) -> None:
        if wish is None:
            return
        wish.unwanted = True
        if wish.job is not None:
            wish.job.cancel()

    def _worst(self, wish: _Wish, model: PoolModel) -> Decimal:
        """The most a request can cost; only asked where money is limited, and then every model has a price."""
        if not self.limits.money or model.price is None:
            return Decimal(0)
        tier = wish.climb.executed.route.tiers[wish.tier]
        request = self._request_of(wish, model, tier)
        bound = self._engine_of(model).prompt_bound(request)
        return ledger.worst(bound, request.max_tokens, model.price)

    def _spend(self, climb: _Climb, position: int) -> None:
        cost = self._use(climb, position).cost
        self.counters.cost += cost - climb.spent.get(position, ledger.Cost())
        climb.spent[position] = cost
        self._purse.settle(climb, position, cost.known, sum(map(len, climb.samples.values())))

    def _keep(self, climb: _Climb, position: int, tier: Tier, sample: Sample) -> None:
        climb.drawn[tier.model, tier.temperature, sample.index] = sample
        climb.samples.setdefault(position, []).append(sample)

    def _read(self, stored: Stored) -> Sample:
        last_number = self.pool.answer_kind == "number"
        return read(stored.index, stored.generation, seed=stored.seed, last_number=last_number)

    def _request_of(self, wish: _Wish, model: PoolModel, tier: Tier) -> Request:
        problem = wish.climb.task.problem
        return Request(
            problem_id=problem.id,
            messages=self.pool.prompt_of(model).messages(problem.text),
            model=model,
            temperature=tier.temperature,
            max_tokens=self.pool.max_tokens_of(model),
            index=wish.index,
            seed=sample_seed(self.seed, wish.climb.fingerprint, model.name, tier.temperature, wish.index),
        )

    def _key(self, climb: _Climb, tier: Tier) -> Key:
        model = self.pool[tier.model]
        if tier.model not in self._fingerprints:
            self._fingerprints[tier.model] = self._engine_of(model).fingerprint(model)
        if (tier.model, tier.temperature) not in self._params:
            self._params[tier.model, tier.temperature] = params_of(self.pool, model, tier.temperature, self.seed)
        return Key(climb.fingerprint, self._fingerprints[tier.model], self._params[tier.model, tier.temperature])


def params_of(pool: Pool, model: PoolModel, temperature: float, seed: int) -> str:
    """Return the fingerprint of prompt and sampling parameters: samples with the same may stand for each other.

    The run seed is one of them but for greedy samples, which no seed changes.
    """
    parts = {
        "prompt": pool.prompt_of(model).fingerprint,
        "temperature": temperature,
        "max_tokens": pool.max_tokens_of(model),
        "top_p": model.top_p,
        "top_k": model.top_k,
        "seed": seed if temperature > 0 else None,
    }
    return json.dumps(parts, sort_keys=True)


def _usage(sample: Sample) -> ledger.Usage:
    generation = sample.generation
    return ledger.Usage(generation.prompt_tokens, generation.completion_tokens, generation.cached_tokens)


def _relative_cost(model: PoolModel) -> float:
    """For telling the cheaper of two models: its relative cost, else its price, else nothing is known."""
    if model.cost is not None:
        return model.cost
    return float(model.price.output) if model.price is not None else 0.0
