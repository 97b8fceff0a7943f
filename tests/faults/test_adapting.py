"""How many requests an engine gets that takes only so many, on the fake clock."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from escalade.cascade.policy import Policy
from escalade.climb import Answered, Task
from escalade.engines.base import Progress, Request
from escalade.errors import EngineError
from escalade.executor import Executor
from escalade.problems import Problem
from escalade.routes import parse_route
from escalade.samples.sample import Generation
from escalade.testing import ScriptedEngine, answering, pool_of, simulate
from tests.faults.conftest import Size

SECONDS = 1.0
"""Of one request, on average."""


@dataclass
class Narrow(ScriptedEngine):
    """Turns away what is above its room, which may change with the time."""

    room: Callable[[float], int] = lambda now: 8
    retry_after: float | None = None
    under_way: int = 0
    turned_away: list[float] = field(default_factory=list)
    """When."""
    given: list[float] = field(default_factory=list)
    """When samples were."""

    async def sample(self, request: Request, progress: Progress) -> Generation:
        """Answer where there is room."""
        clock = asyncio.get_running_loop().time
        if self.under_way >= self.room(clock()):
            self.turned_away.append(clock())
            await asyncio.sleep(0.05)
            raise EngineError("too many requests", retryable=True, overloaded=True, retry_after=self.retry_after)
        self.under_way += 1
        try:
            generation = await super().sample(request, progress)
        finally:
            self.under_way -= 1
        self.given.append(clock())
        return generation


def climb(engine: ScriptedEngine, problems: int, route: str = "mv_S_k4_t0.7") -> tuple[list[Answered], float]:
    models = pool_of("S", "L")
    answered: list[Answered] = []
    drive = Executor(models, lambda model: engine, store=None, policy=Policy(stop="none"), on_answer=answered.append)
    todo = [Task(Problem(f"p{i}", f"Number {i}?"), parse_route(route, models)) for i in range(problems)]
    _, seconds = simulate(drive.run(todo))
    assert len(answered) == problems
    return answered, seconds


def around(request: Request) -> float:
    return random.Random(request.seed).uniform(0.5, 1.5) * SECONDS


@pytest.mark.parametrize("retry_after", [None, 0.5])
@pytest.mark.parametrize("room", [1, 3, 8, 40, 200])
def test_a_lane_settles_near_what_its_engine_takes(room: int, retry_after: float | None, size: Size) -> None:
    engine = Narrow(answering({"S": ["1"]}), around, slots=256, room=lambda now: room, retry_after=retry_after)
    problems = size(20, 200) * max(1, min(room, size(20, 80)) // 2)
    answered, seconds = climb(engine, problems)
    assert {item.outcome.status.value for item in answered} == {"last_tier"}
    ideal = 4 * problems * SECONDS / room
    share = ideal / seconds
    late = sum(when > seconds / 2 for when in engine.turned_away) / (2 * problems)
    print(
        f"\nroom for {room} of 256, retry after {retry_after}: {share:.0%} of what is possible, {late:.1%} turned away"
    )
    assert share >= 0.5
    assert late <= (1.1 if room == 1 else 0.5)  # a room of 1 is tried with 2 after each success


def test_a_lane_follows_an_engine_whose_room_changes() -> None:
    """From 40 to 5 and back: it is down with the first failures, and up again as requests succeed."""
    engine = Narrow(answering({"S": ["1"]}), around, slots=64, room=lambda now: 5 if 60 <= now < 120 else 40)
    climb(engine, 1500)
    per_second = Counter(int(when) // 20 for when in engine.given)
    assert per_second[4] <= 5 * 20 + 40
    assert per_second[5] >= 2.5 * 20
    assert per_second[8] >= 20 * 20  # 40 to 60 s after it has its room again


def test_an_engine_that_takes_nothing_for_longer_than_the_patience_is_given_up() -> None:
    engine = Narrow(answering({"S": ["1"], "L": ["1"]}), around, slots=16, room=lambda now: 16 if now < 5 else 0)
    answered, seconds = climb(engine, 200)
    ends = Counter(item.outcome.status.value for item in answered)
    assert set(ends) == {"last_tier", "error"}
    told = {note for item in answered if item.outcome.status.value == "error" for note in item.outcome.notes}
    assert told == {"S: no request has succeeded for 60 s; the last one: too many requests"}
    assert seconds < 120


@pytest.mark.parametrize("asked", [1.0, 30.0, 90.0])
def test_a_wait_that_an_engine_asks_for_is_kept(asked: float) -> None:
    """Nothing is sent meanwhile, even where it is longer than the patience with engines that say nothing."""
    engine = Narrow(answering({"S": ["1"]}), around, slots=4, retry_after=asked)
    engine.room = lambda now: 0 if now < asked + 1 else 4
    answered, _ = climb(engine, 20)
    assert {item.outcome.status.value for item in answered} == {"last_tier"}
    assert len(engine.turned_away) <= 4 + 2 * 4
