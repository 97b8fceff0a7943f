"""Room: what is loaded at once, within a limit."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from escalade.engines.llamacpp import room
from escalade.engines.llamacpp.room import LINGER, Room
from escalade.testing import simulate


@pytest.fixture(autouse=True)
def _no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of these tests is a fake one, which would not wait for a thread; engines are tested with theirs."""

    async def at_once(work: Callable[..., Any], *given: Any) -> Any:
        await asyncio.sleep(0)
        return work(*given)

    monkeypatch.setattr(asyncio, "to_thread", at_once)


class Shelf:
    """Loads and unloads names, and notes what is loaded together."""

    def __init__(self, limit: int | None, needs: dict[str, int]) -> None:
        self.room: Room[str] = Room(limit, self.unload)
        self.limit, self.needs = limit, needs
        self.story: list[str] = []
        self.loaded: set[str] = set()
        self.using: Counter[str] = Counter()

    def load(self, name: str) -> Callable[[], str]:
        def loading() -> str:
            assert name not in self.loaded
            self.loaded.add(name)
            self.story.append(f"+{name}")
            assert self.limit is None or sum(self.needs[other] for other in self.loaded) <= self.limit
            return name

        return loading

    def unload(self, name: str) -> None:
        assert not self.using[name], "it is in use"
        self.loaded.remove(name)
        self.story.append(f"-{name}")

    async def use(self, name: str, seconds: float) -> None:
        async with self.room.using(name, need=self.needs[name], load=self.load(name)) as got:
            assert got == name in self.loaded
            self.using[name] += 1
            try:
                await asyncio.sleep(seconds)
            finally:
                self.using[name] -= 1


def on(shelf: Shelf, coroutine: Any) -> str:
    async def whole() -> None:
        await coroutine
        await shelf.room.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left

    simulate(whole())
    assert not shelf.loaded
    return " ".join(shelf.story)


def test_what_fits_together_stays_and_without_a_limit_everything_does() -> None:
    for limit, needs in ((10, {"a": 4, "b": 6}), (None, {"a": 100, "b": 100})):
        shelf = Shelf(limit, needs)

        async def both(shelf: Shelf = shelf) -> None:
            for _ in range(3):
                await shelf.use("a", 1)
                await shelf.use("b", 1)

        assert on(shelf, both()) in ("+a +b -a -b", "+a +b -b -a")


def test_the_one_idle_longest_makes_room() -> None:
    shelf = Shelf(10, {"a": 4, "b": 4, "c": 4, "d": 8})

    async def one_by_one() -> None:
        for name in "abacad":
            await shelf.use(name, 1)
        assert shelf.room.names == ["d"]

    assert on(shelf, one_by_one()) == "+a +b -b +c -c -a +d -d"


def test_nothing_in_use_is_unloaded_and_what_waits_does_not_stop_the_others() -> None:
    shelf = Shelf(10, {"a": 6, "b": 6})

    async def busy() -> list[float]:
        now = asyncio.get_running_loop().time

        async def late() -> float:
            await asyncio.sleep(1)
            await shelf.use("b", 1)
            return now()

        async def many() -> float:
            for _ in range(10):  # between two requests, there is nothing under way for a moment
                await shelf.use("a", 1)
                await asyncio.sleep(LINGER / 4)
            return now()

        return list(await asyncio.gather(many(), late()))

    times: list[float] = []

    async def noted() -> None:
        times.extend(await busy())

    assert on(shelf, noted()) == "+a -a +b -b"
    assert times[1] == pytest.approx(times[0] + 1 + LINGER * 3 / 4, abs=0.01)


def test_models_that_wait_have_their_turn_in_the_order_of_asking() -> None:
    shelf = Shelf(10, dict.fromkeys("abcd", 8))

    async def at_once() -> None:
        await asyncio.gather(*(shelf.use(name, 1) for name in "abcdabcd"))

    assert on(shelf, at_once()) == "+a -a +b -b +c -c +d -d"


def test_what_is_cancelled_while_it_waits_is_not_loaded() -> None:
    shelf = Shelf(10, {"a": 8, "b": 8, "c": 8})

    async def given_up() -> None:
        long = asyncio.ensure_future(shelf.use("a", 10))
        await asyncio.sleep(1)
        jobs = [asyncio.ensure_future(shelf.use(name, 1)) for name in "bbc"]
        await asyncio.sleep(1)
        for job in jobs[:2]:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        await long
        await shelf.use("b", 1)  # asked again, it comes

    assert on(shelf, given_up()) == "+a -a +c -c +b -b"


def test_a_load_that_failed_takes_no_room_and_stays_failed() -> None:
    shelf = Shelf(10, {"a": 8, "bad": 8})
    tries: list[int] = []

    def fail() -> str:
        tries.append(1)
        raise ValueError("no model")

    async def one() -> None:
        for _ in range(2):
            with pytest.raises(ValueError, match="no model"):
                async with shelf.room.using("bad", need=8, load=fail):
                    pass
        await shelf.use("a", 1)

    assert on(shelf, one()) == "+a -a"
    assert len(tries) == 1


def test_rest_unloads_what_is_idle_at_once_and_nothing_else() -> None:
    shelf = Shelf(10, {"a": 4, "b": 4})

    async def rests() -> None:
        await shelf.room.rest("a")  # not there
        await shelf.use("a", 1)
        job = asyncio.ensure_future(shelf.use("b", 2))
        while not shelf.using["b"]:
            await asyncio.sleep(0)
        for name in "ab":
            await shelf.room.rest(name)
        assert shelf.room.names == ["b"]
        await job
        await shelf.use("a", 1)

    assert on(shelf, rests()) == "+a +b -a +a -b -a"


@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_asked_all_of_it_ends_within_the_limit(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "LINGER", 0.001)
    dice = random.Random(seed)
    needs = {name: dice.randint(1, 10) for name in "abcdef"}
    shelf = Shelf(10, needs)

    async def one(name: str, start: float, seconds: float, patience: float | None) -> None:
        await asyncio.sleep(start)
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await shelf.use(name, seconds)

    async def everyone() -> None:
        jobs = [
            one(dice.choice("abcdef"), dice.uniform(0, 0.1), dice.choice([0, 0.002]), dice.choice([0.004, None, None]))
            for _ in range(120)
        ]
        await asyncio.wait_for(asyncio.gather(*jobs), 60)
        await shelf.room.close()

    asyncio.run(everyone())  # on the real clock: a hang must end
    assert not shelf.loaded
    assert shelf.story
