"""Dispatch: which request goes next, to which engine, and what is made of its failures.

It knows lanes, turns and retries, and nothing of ballots, stores or money: for these it asks its owner.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Hashable, Iterable, Set
from functools import partial
from typing import Protocol

from escalade.asking import Asking, Event, said
from escalade.climb import Wish
from escalade.errors import EngineError
from escalade.lanes import PATIENCE_SERVING, Lane
from escalade.limits import Refusal
from escalade.pool import Pool
from escalade.turns import Turns

TRIES = 3
"""Further tries of a request whose failure is retryable; what fails because its engine fails at everything, or has too
many requests, is not counted."""
BACKOFF = 0.1
"""Seconds before the first of them, on average; each further one waits twice as long."""

Happening = Event | Callable[[], None]
"""What came of a request, or what a timer or thread wants done."""


class Owner(Protocol):
    """Whose requests these are."""

    def met(self, wish: Wish) -> bool:
        """Whether a wish needs no request: it is not wanted any more, or the sample is there and has been told of."""

    def reserve(self, wish: Wish) -> Refusal | None:
        """Reserve what a request may use; say why not where a limit does not allow it."""

    def refuse(self, wish: Wish, refusal: Refusal) -> None:
        """A limit will never allow a request."""

    def fail(self, wish: Wish, reason: str) -> None:
        """A request cannot be made, or has failed for good."""

    def say(self, event: str, wish: Wish | None, **facts: object) -> None:
        """Tell whoever listens what happens."""


class Dispatch:
    """The requests of a run.

    Args:
        pool: the models.
        asking: asks the engines.
        owner: whose requests these are.
        happen: has the main loop of the run see to something.
        by_key: whether samples belong to whoever has their key (those of a store do), or each to its own problem.
        seed: of the jitter between tries.
    """

    def __init__(
        self,
        pool: Pool,
        asking: Asking,
        owner: Owner,
        happen: Callable[[Happening], None],
        *,
        by_key: bool,
        seed: int,
    ) -> None:
        self.lanes: dict[str, Lane] = {}
        self.turns = Turns(pool)
        self._pool, self._asking, self._owner, self._happen, self._by_key = pool, asking, owner, happen, by_key
        self._jitter = random.Random(seed)
        self._asked: dict[Hashable, list[Wish]] = {}
        """The samples being asked for, each with further wishes for the same one: they wait for what comes of it."""
        self._alarms: dict[str, asyncio.TimerHandle] = {}
        """By model: when an engine that is left alone is to be asked again."""
        self._retries: set[asyncio.TimerHandle] = set()
        self._resting: set[asyncio.Task[None]] = set()

    def open(self, aliases: Iterable[str], *, serving: bool = False) -> None:
        """Open a lane for each of these models; `serving` is meant as by `Lane`."""
        now = asyncio.get_running_loop().time
        if serving:
            self.turns = Turns(self._pool, patience=PATIENCE_SERVING, now=now)
        for alias in aliases:
            warm_up = self._pool[alias].warm_up
            self.lanes[alias] = Lane(alias, self._asking.capacity(alias), now, warm_up=warm_up, serving=serving)

    @property
    def waits(self) -> bool:
        """Whether something will happen by itself."""
        ahead = self._alarms or self._retries or self._resting
        return bool(ahead) or any(lane.running for lane in self.lanes.values())

    @property
    def capacity(self) -> int:
        """How many requests all engines take at once."""
        return sum(lane.capacity for lane in self.lanes.values())

    def begins(self, alias: str) -> bool:
        """Whether further problems should begin at a model."""
        lane = self.lanes[alias]
        return self.turns.has(alias) and (lane.wants_climbs or lane.given_up is not None)

    def queue(self, wish: Wish) -> None:
        """Have a wish wait for its engine."""
        self._lane(wish).queue(wish)

    def pump(self) -> None:
        """Send what the engines have room for."""
        for alias, lane in self.lanes.items():
            if lane.given_up is not None:
                for wish in lane.clear():
                    self._owner.fail(wish, lane.given_up)
            elif self.turns.has(alias):
                held: list[Wish] = []
                for _ in range(lane.room):
                    if not self._send_next(lane, held):
                        break
                for wish in reversed(held):
                    lane.put_back(wish)
                if lane.waiting and alias not in self._alarms and (seconds := lane.opens_in) is not None:
                    self._alarms[alias] = self._later(seconds, partial(self._opened, alias))

    def pass_on(self, expected: Set[str]) -> None:
        """Let the next model have a shared device, once the one that has it is done; `expected` will be asked more."""
        if not self.turns.shared or self._resting:
            return
        busy = {alias for alias, lane in self.lanes.items() if alias in expected or not lane.idle}
        running = {alias for alias, lane in self.lanes.items() if lane.running}
        for done in self.turns.pass_on(busy, running):
            if done not in self.lanes or not self.lanes[done].used:
                continue
            self._owner.say("turn", None, done=done)
            resting = asyncio.get_running_loop().create_task(self._asking.rest(done))
            self._resting.add(resting)
            resting.add_done_callback(lambda task: self._happen(lambda: self._rested(task)))

    def over(self, event: Event) -> None:
        """A request has ended: its place is free, and who waited for the same sample asks again."""
        wish = event.wish
        lane = self._lane(wish)
        lane.over(wish)
        if event.stored is not None:
            lane.succeeded()
        for other in self._asked.pop(self._place(wish)):
            self.queue(other)

    def failed(self, event: Event) -> None:
        """See to a request that gave nothing: have it tried again where that can help, else it has failed."""
        wish, error = event.wish, event.error
        lane = self._lane(wish)
        if event.failure is not None:
            used = None if event.attempt is None else event.attempt.completion_tokens
            fault = None if error is None else error.fault
            self._owner.say("failed", wish, message=event.failure, fault=fault, tries=wish.tries, tokens=used)
        own = error is None or self._own_fault(lane, wish, error)
        if wish.unwanted or wish.climb.machine.outcome is not None:
            return
        if error is not None and error.retryable and lane.given_up is None and not (own and wish.tries == TRIES):
            self._try_again(lane, wish, error.retry_after or 0.0, own=own)
            return
        reason = event.failure or said(wish, "the engine cancelled the request")
        if lane.given_up is not None:  # it names the failure that was the last straw
            reason = lane.given_up if str(error) in lane.given_up else f"{lane.given_up}; {reason}"
        self._owner.fail(wish, reason)

    async def stop(self) -> None:
        """Cancel what is under way, and wait until it has ended."""
        under_way = [wish for lane in self.lanes.values() for wish in lane.running]
        for wish in under_way:
            wish.call_off()
        if jobs := [wish.job for wish in under_way if wish.job is not None]:
            await asyncio.wait(jobs)

    async def close(self) -> None:
        """Wait for nothing more."""
        for handle in (*self._alarms.values(), *self._retries):
            handle.cancel()
        if self._resting:
            await asyncio.wait(self._resting)

    def _lane(self, wish: Wish) -> Lane:
        return self.lanes[wish.climb.route.tiers[wish.tier].model]

    def _send_next(self, lane: Lane, held: list[Wish]) -> bool:
        """Send the next request that is wanted and that nobody has asked for; hold what must wait for others."""
        while (wish := lane.take()) is not None:
            refusal = self._send(wish, lane)
            if refusal is None:
                if wish in lane.running:
                    return True
            else:
                held.append(wish)
                if refusal.whole_run:
                    break
        return False

    def _send(self, wish: Wish, lane: Lane) -> Refusal | None:
        """Send a request if its sample is still wanted and nobody has it; return why it must wait where it must."""
        place = self._place(wish)
        if place in self._asked and not wish.unwanted:
            self._asked[place].append(wish)
        elif not self._owner.met(wish):
            try:
                refusal = self._owner.reserve(wish)
                if refusal is None:
                    self._asking.start(wish, self._happen, self._first_token(lane, wish))
                    self._asked[place] = []
                    lane.begun(wish)
                    wish.climb.running += 1
                    self._owner.say("sent", wish)
                    return None
            except Exception as error:  # the row's error, as a failed request is
                self._owner.fail(wish, said(wish, error))
            else:
                if refusal.waits:
                    return refusal
                self._owner.refuse(wish, refusal)
        lane.drop(wish)
        return None

    def _first_token(self, lane: Lane, wish: Wish) -> Callable[[], None] | None:
        if not lane.warm_up:
            return None
        loop = asyncio.get_running_loop()

        def first() -> None:
            loop.call_soon_threadsafe(self._happen, lambda: lane.warmed(wish))

        return first

    def _own_fault(self, lane: Lane, wish: Wish, error: EngineError) -> bool:
        """Judge the engine by a failure; return whether it is the fault of this request, as far as can be told."""
        if error.overloaded:
            lane.turned_away(wish, error.retry_after, str(error))
            self._owner.say("turned_away", wish, retry_after=error.retry_after, allowed=lane.allowed)
            own = False
        else:
            own = not error.retryable or not lane.failed(wish.climb, unreachable=error.unreachable, why=str(error))
            if not own:
                self._owner.say("left_alone", wish, seconds=lane.opens_in)
        if lane.given_up is not None:
            self._owner.say("given_up", wish, message=lane.given_up)
        return own

    def _try_again(self, lane: Lane, wish: Wish, seconds: float, *, own: bool) -> None:
        if own:
            seconds = max(seconds, BACKOFF * 2.0**wish.tries)
            wish.tries += 1
        lane.retrying += 1

        def again() -> None:
            self._retries.discard(handle)
            lane.retrying -= 1
            lane.queue(wish)

        handle = self._later(seconds * self._jitter.uniform(0.5, 1.5), again)
        self._retries.add(handle)

    def _opened(self, alias: str) -> None:
        del self._alarms[alias]

    def _rested(self, task: asyncio.Task[None]) -> None:
        self._resting.discard(task)
        task.result()

    def _later(self, seconds: float, action: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, self._happen, action)

    def _place(self, wish: Wish) -> Hashable:
        """Where a sample belongs: samples of the store to whoever has the key, others to their problem."""
        tier = wish.climb.route.tiers[wish.tier]
        owner: Hashable = self._asking.key(wish.climb, wish.tier) if self._by_key else wish.climb
        return owner, tier.model, tier.temperature, wish.index
