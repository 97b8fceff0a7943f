"""Lanes: what waits for each model, what is under way there, and how much may be.

A lane adapts: an engine that turns requests away for their number gets fewer at once, and more again while it keeps
up (additive up, multiplicative down); one that fails again and again is left alone for a while, then tried with a
single request, and given up where that does not help. Lanes of models that share a device take turns.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterator

from escalade.climb import Climb, Wish

FAULTS = 5
"""Failures in a row, with no success between, after which an engine is left alone."""
PAUSE, LONGEST_PAUSE = 0.5, 15.0
"""Seconds for which it is: at first, and at most."""
PATIENCE = 60.0
"""Seconds without a success after which an engine that is asked again and again is given up for the run."""
PATIENCE_SERVING = 5.0
"""The same where somebody waits for the answer."""
AHEAD = 2
"""Problems beyond the requests an engine takes at once: so it never waits for the next one."""


_Place = tuple[int, int, int, int, int, Climb]
"""Rank, requests under way, samples still to ask, order of the problem, a ticket, and whose place it is."""


class Lane:
    """The queue of one model.

    Climbs with the fewest requests under way here go first, then those with the fewest samples still to ask, then
    those that came first: so nobody starves, a ballot is drawn sample by sample where there are problems enough to
    keep the engine full, and begun ballots are finished before further ones are begun.

    Args:
        alias: of the model.
        capacity: how many requests the engine takes at once.
        now: the clock, in seconds.
        warm_up: whether further samples of a tier wait until its first one has a token, so that its prompt is read
            once and the others find it in the engine's cache.
        serving: whether somebody waits for each answer. Then the samples of a ballot go together, first come, first
            served; and an engine that was given up is tried again now and then, with one request.
    """

    def __init__(
        self, alias: str, capacity: int, now: Callable[[], float], *, warm_up: bool = False, serving: bool = False
    ) -> None:
        self.alias, self.capacity, self._now, self.warm_up = alias, max(1, capacity), now, warm_up
        self._serving = serving
        self._cold: dict[Climb, Wish] = {}
        """Climbs whose first request reads the prompt."""
        self.running: set[Wish] = set()
        self.waiting = 0
        self.retrying = 0
        """Requests that wait to be tried again."""
        self._given_up: str | None = None
        self._queues: dict[Climb, deque[Wish]] = {}
        self._under_way: dict[Climb, int] = {}
        self._present: dict[Climb, int] = {}
        self._moved: dict[Climb, None] = {}
        """Climbs whose place may be out of date: they get one when the next wish is taken."""
        self._order: list[_Place] = []
        """A heap of places; one that is out of date is passed over, as its climb has a newer one."""
        self._tickets = 0
        self._sent = 0
        self._allowed = float(self.capacity)
        self._cut_at = 0
        self._faults = 0
        self._faulty: set[Climb] = set()
        """Whose requests have failed since one succeeded."""
        self._pause = PAUSE
        self._closed_until = -math.inf
        self._troubled_since: float | None = None
        self._last_trouble = -math.inf
        self._unreachable = False

    @property
    def given_up(self) -> str | None:
        """Why the engine is asked nothing more; None where it is."""
        if self._given_up is not None and self._serving and self._now() >= self._closed_until:
            return None
        return self._given_up

    @property
    def room(self) -> int:
        """How many further requests may be sent now."""
        if self.given_up is None and (self._faults or self._closed_until > -math.inf):
            if self._now() < self._closed_until:
                return 0
            if self._down:
                return 1 - len(self.running)
        return int(self._allowed) - len(self.running)

    @property
    def allowed(self) -> int:
        """How many requests it may have under way, as it is now."""
        return int(self._allowed)

    @property
    def wants_climbs(self) -> bool:
        """Whether further problems should begin here, so that each request under way is of another problem."""
        return len(self._present) < int(self._allowed) + AHEAD

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is under way."""
        return not (self.waiting or self.running or self.retrying)

    @property
    def used(self) -> bool:
        """Whether the engine has been asked anything."""
        return self._sent > 0

    @property
    def opens_in(self) -> float | None:
        """Seconds until the engine is asked again; None where it may be asked now."""
        left = self._closed_until - self._now()
        return left if left > 0 else None

    def queue(self, wish: Wish) -> None:
        """Have a wish wait."""
        self._present[wish.climb] = self._present.get(wish.climb, 0) + 1
        self._queues.setdefault(wish.climb, deque()).append(wish)
        self.waiting += 1
        self._moved[wish.climb] = None

    def take(self) -> Wish | None:
        """Return the wish that is next, or None; it is then sent, dropped or put back."""
        for climb in self._moved:
            self._place(climb)
        self._moved.clear()
        while self._order:
            place = heapq.heappop(self._order)
            if not self._holds(place):
                continue
            climb = place[-1]
            queue = self._queues[climb]
            wish = queue.popleft()
            self.waiting -= 1
            if queue:
                self._moved[climb] = None
            else:
                del self._queues[climb]
            return wish
        return None

    def put_back(self, wish: Wish) -> None:
        """Have a wish that was taken wait again, before the others of its climb."""
        self._queues.setdefault(wish.climb, deque()).appendleft(wish)
        self.waiting += 1
        self._moved[wish.climb] = None

    def drop(self, wish: Wish) -> None:
        """A wish that was taken needs no request."""
        self._leave(wish.climb)

    def begun(self, wish: Wish) -> None:
        """A request was sent."""
        self._sent += 1
        wish.sent = self._sent
        self.running.add(wish)
        self._under_way[wish.climb] = self._under_way.get(wish.climb, 0) + 1
        if self.warm_up and wish.tier not in wish.climb.warm:
            self._cold[wish.climb] = wish
        self._moved[wish.climb] = None

    def warmed(self, wish: Wish) -> None:
        """A request has its first token, or has ended: its prompt has been read."""
        if self._cold.get(wish.climb) is wish:
            del self._cold[wish.climb]
            wish.climb.warm.add(wish.tier)
            self._moved[wish.climb] = None

    def over(self, wish: Wish) -> None:
        """A request has ended."""
        self.running.discard(wish)
        self.warmed(wish)
        left = self._under_way.pop(wish.climb) - 1
        if left:
            self._under_way[wish.climb] = left
        self._leave(wish.climb)
        self._moved[wish.climb] = None

    def clear(self) -> Iterator[Wish]:
        """Give up and return all that wait."""
        while (wish := self.take()) is not None:
            self.drop(wish)
            yield wish

    def succeeded(self) -> None:
        """The engine answered a request; after a round of successes it may have one more at once."""
        if self._troubled_since is not None:
            self._faults, self._pause, self._closed_until, self._troubled_since = 0, PAUSE, -math.inf, None
            self._given_up = None
            self._faulty.clear()
        if self._allowed < self.capacity:
            self._allowed = min(self.capacity, self._allowed + 1 / self._allowed)

    def turned_away(self, wish: Wish, retry_after: float | None, why: str) -> None:
        """The engine has too many requests: it gets half as many, and is left alone as long as it asks.

        What had been sent before it last got fewer says nothing new.
        """
        self._forget_old_trouble()
        if wish.sent > self._cut_at:
            self._cut_at = self._sent
            self._allowed = max(1.0, self._allowed / 2)
        self._trouble(retry_after or 0.0, why, quotes_nobody=False)
        if retry_after:
            self._closed_until = max(self._closed_until, self._now() + retry_after)

    def failed(self, climb: Climb, *, unreachable: bool, why: str) -> bool:
        """The engine failed at a request; return whether it fails at every one, and not only at those of this climb."""
        self._forget_old_trouble()
        self._faults += 1
        self._faulty.add(climb)
        self._unreachable = unreachable
        if self._down and self._now() >= self._closed_until:
            self._closed_until = self._now() + self._pause
            self._pause = min(self._pause * 2, LONGEST_PAUSE)
        self._trouble(0.0, why, quotes_nobody=unreachable)
        return self._down

    @property
    def _down(self) -> bool:
        # A server's requests are anybody's: a few that every engine would fail at say nothing of the engine.
        several = FAULTS if self._serving else 2
        return self._faults >= FAULTS and (self._unreachable or len(self._faulty) >= several)

    def _forget_old_trouble(self) -> None:
        """Where requests come as they like, a failure long ago says nothing of one now."""
        if self._serving and not self._down and self._now() - self._last_trouble > PATIENCE_SERVING:
            self._faults, self._troubled_since = 0, None
            self._faulty.clear()

    def _trouble(self, asked: float, why: str, *, quotes_nobody: bool) -> None:
        self._last_trouble = self._now()
        if self._troubled_since is None:
            self._troubled_since = self._now()
        if self._serving and self._faults and not self._down:
            return
        patience = PATIENCE_SERVING if self._serving else PATIENCE
        if self._now() - self._troubled_since > patience + asked:
            if self._serving and self._now() >= self._closed_until:  # else it would not be given up for a moment
                self._closed_until = self._now() + self._pause
                self._pause = min(self._pause * 2, LONGEST_PAUSE)
            self._given_up = f"{self.alias}: no request has succeeded for {patience:g} s"
            if quotes_nobody or not self._serving:  # else somebody is told what somebody else has asked
                self._given_up += f"; the last one: {why}"

    def _place(self, climb: Climb) -> None:
        queue = self._queues.get(climb)
        if queue and climb not in self._cold:
            self._tickets += 1
            rank = climb.order if self._serving else 0
            place = (rank, self._under_way.get(climb, 0), len(queue), climb.order, self._tickets, climb)
            heapq.heappush(self._order, place)
            if len(self._order) > 64 + 4 * len(self._queues):  # places out of date keep climbs that are done alive
                self._order = [place for place in self._order if self._holds(place)]
                heapq.heapify(self._order)

    def _holds(self, place: _Place) -> bool:
        """Whether a place in the heap is still its climb's."""
        _, under_way, left, _, _, climb = place
        queue = self._queues.get(climb)
        return queue is not None and (under_way, left) == (self._under_way.get(climb, 0), len(queue))

    def _leave(self, climb: Climb) -> None:
        left = self._present.pop(climb) - 1
        if left:
            self._present[climb] = left
