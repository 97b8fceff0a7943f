"""Serving: an executor that is given problems one by one while it runs, and goes on where a batch would stop.

The machines, books, lanes and the store are those of a batch. What differs: the samples of a ballot go together, first
come, first served; an engine that is down is tried again; and a store that cannot be written is tried again, while
what was paid for waits in memory and nobody is told of it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from escalade.asking import Event
from escalade.cascade.machine import Draw
from escalade.cascade.outcome import Outcome, Status
from escalade.climb import Answered, Climb, Task, Wish
from escalade.collector import fewer_collections
from escalade.errors import StoreError
from escalade.executor import Executor
from escalade.limits import Limits, Refusal
from escalade.samples.sample import Sample

AGAIN = 0.2
"""Seconds between two tries to write to the store."""
STUCK = 3.0
"""Seconds for which the store has failed when those who wait are told."""


class Service(Executor):
    """Answers problems as they are submitted. Their ids differ; each is told to `on_answer` once, whatever happens.

    Args:
        on_stuck: called with the reason when nothing can be answered for a while, as the store cannot be written.
        on_short: asked, by the problem's id, for other limits where those that it has do not suffice; None refuses.
        others: as `Executor`.
    """

    def __init__(
        self,
        *others: Any,
        on_stuck: Callable[[str], None] | None = None,
        on_short: Callable[[str], Limits | None] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(*others, **settings)
        self._on_short = on_short
        self.trouble: str | None = None
        """Why the store could not be written the last time; None where it could."""
        self._troubled_since: float | None = None
        self._on_stuck = on_stuck
        self._orders = 0
        self._submitted: dict[str, tuple[float, asyncio.TimerHandle | None]] = {}
        """When each problem came, and the timer of its deadline."""
        self._by_id: dict[str, Climb] = {}

    async def serve(self) -> None:
        """Answer what is submitted, until the awaiting task is cancelled; what is under way is recorded then."""
        with fewer_collections():
            async with self._going():
                self._dispatch.open(self.pool.aliases, serving=True)
                self._upcoming = {alias: deque() for alias in self.pool.aliases}
                while True:
                    await self._turn(lasting=True)
                    if self.trouble is not None:
                        await asyncio.sleep(AGAIN)

    def submit(self, task: Task) -> None:
        """Have a problem answered; its route could be read. Its seconds begin now."""
        assert task.route is not None
        ident, limits = task.problem.id, task.own.limits or self.limits
        seconds = limits.problem_seconds
        timer = self._later(seconds, lambda: self.end(ident, Status.DEADLINE, f"out of its {seconds:g} s"))
        self._submitted[ident] = asyncio.get_running_loop().time(), timer
        self._orders += 1
        self.counters.problems += 1
        self._books.charge_scores([(self._orders, task)])
        self._upcoming[task.route.tiers[0].model].append((self._orders, task))
        self._happen(lambda: None)

    def withdraw(self, ident: str, reason: str) -> None:
        """End a problem that nobody waits for any more: its requests are cancelled at their engines."""
        self._happen(lambda: self.end(ident, Status.ERROR, reason))

    def end(self, ident: str, status: Status, reason: str) -> None:
        """End a problem with what it has, if it is not done."""
        climb = self._by_id.get(ident)
        if climb is not None:
            self._end(climb, status, reason)
            return
        for upcoming in self._upcoming.values():
            for item in upcoming:
                if (task := item[1]).problem.id == ident:
                    upcoming.remove(item)
                    self._forget(ident)
                    self._refuse(task, status, reason)
                    return

    def _refuse(self, task: Task, status: Status, reason: str) -> None:
        outcome = Outcome(status, None, None, None, (), (reason,))
        self._report(Answered(task.problem, task.route, None, outcome, (), scoring=task.scoring))

    def climb(self, ident: str) -> Climb | None:
        """Return a problem on its way; None where it was not begun yet, or is done."""
        return self._by_id.get(ident)

    def down(self, alias: str) -> str | None:
        """Return why an engine is asked nothing at the moment; None where it is."""
        return self._dispatch.lanes[alias].given_up

    def _begin(self, order: int, task: Task) -> None:
        try:
            climb = self._outset.climb(order, task)
        except Exception as error:  # whatever is wrong with one problem ends that one only
            self._forget(task.problem.id)
            self._refuse(task, Status.ERROR, f"{type(error).__name__}: {error}")
            return
        climb.begun, climb.deadline = self._submitted[task.problem.id]
        self._by_id[task.problem.id] = climb
        self._start(climb)

    def _leave(self, climb: Climb) -> None:
        super()._leave(climb)
        self._forget(climb.task.problem.id)

    def _forget(self, ident: str) -> None:
        self._by_id.pop(ident, None)
        _, timer = self._submitted.pop(ident)
        if timer is not None:
            timer.cancel()

    def _draw(self, climb: Climb, draw: Draw) -> list[tuple[Sample, bool]]:
        try:
            return super()._draw(climb, draw)
        except StoreError as error:
            self._give_up(climb, error)
            return []

    def met(self, wish: Wish) -> bool:
        """As the executor; where the store cannot be read, the problem ends."""
        try:
            return super().met(wish)
        except StoreError as error:
            self._give_up(wish.climb, error)
            return True

    def refuse(self, wish: Wish, refusal: Refusal) -> None:
        """As the executor, unless the problem is given more."""
        more = None if self._on_short is None else self._on_short(wish.climb.task.problem.id)
        if more is None:
            super().refuse(wish, refusal)
        else:
            self._books.allow(wish.climb, more)
            self._dispatch.queue(wish)

    def _give_up(self, climb: Climb, error: StoreError) -> None:
        self._tell_of("unreadable", problem=climb.task.problem.id, message=str(error))
        self._happen(lambda: self._end(climb, Status.ERROR, str(error)))

    def _take(self) -> None:
        """As the executor; what the store refuses waits for another try, and what needs no store is done meanwhile."""
        try:
            super()._take()
        except StoreError as error:
            self._wait_for_store(str(error))
        else:
            self.trouble = self._troubled_since = None

    def _wait_for_store(self, why: str) -> None:
        self.trouble, now = why, asyncio.get_running_loop().time()
        if self._troubled_since is None:
            self._troubled_since = now
        happened, self._happened = self._happened, []
        for what in happened:
            if isinstance(what, Event):
                self._happened.append(what)
            else:
                what()
        if now - self._troubled_since >= STUCK and self._on_stuck is not None:
            self._on_stuck(why)
