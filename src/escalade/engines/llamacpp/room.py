"""Room: which models are loaded at once, within a limit of memory.

Models that fit together stay loaded together. One that does not fit beside the loaded ones waits until some of these
are idle; then the one idle longest is unloaded, never one with requests under way. Requests of loaded models go on
meanwhile, so a model is not unloaded for another one while there is work for it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

Held = TypeVar("Held")
LINGER = 0.2
"""Seconds without a request after which a model is idle: between two requests of one that is at work there are few
milliseconds, and loading takes longer than that."""


@dataclass(slots=True, eq=False)
class _Place(Generic[Held]):
    need: int
    task: asyncio.Task[Held]
    since: float
    """When its last request ended."""


class Room(Generic[Held]):
    """What is loaded, by name.

    Args:
        limit: bytes that all of it may take together; None is no limit. Nothing that is asked for may take more alone.
        unload: frees what was loaded. It runs in a thread, as what loads does.

    Example:
        >>> async def two() -> list[str]:
        ...     room = Room(limit=10, unload=lambda thing: None)
        ...     for name in ("a", "b"):
        ...         async with room.using(name, need=6, load=name.upper) as thing:
        ...             assert thing == name.upper()
        ...     return room.names
        >>> asyncio.run(two())
        ['b']
    """

    def __init__(self, limit: int | None, unload: Callable[[Held], None]) -> None:
        self._limit, self._unload = limit, unload
        self._places: dict[str, _Place[Held]] = {}
        self._users: Counter[str] = Counter()
        self._taken = 0
        """Bytes of what is loaded, being loaded, or being unloaded."""
        self._leaving: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()
        """Held by whatever makes room and loads: in the order in which models were asked for, so none starves another
        that waits."""
        self._changed = asyncio.Event()

    @property
    def names(self) -> list[str]:
        """What is loaded."""
        return [name for name in self._places if self.loaded(name) is not None]

    def loaded(self, name: str) -> Held | None:
        """Return what is loaded under a name."""
        place = self._places.get(name)
        if place is None or not place.task.done() or place.task.exception() is not None:
            return None
        return place.task.result()

    @asynccontextmanager
    async def using(self, name: str, *, need: int, load: Callable[[], Held]) -> AsyncIterator[Held]:
        """Have something loaded within the block: it is loaded once, and not unloaded before the block's end.

        One that is cancelled while it waits does not undo a load that others wait for. A load that failed stays failed.

        Args:
            name: of what is loaded.
            need: bytes that it takes.
            load: loads it, in a thread.
        """
        self._users[name] += 1
        loop = asyncio.get_running_loop()
        if name not in self._places:
            task = loop.create_task(self._bring(name, need, load))
            self._places[name] = _Place(need, task, loop.time())
        place = self._places[name]
        try:
            yield await asyncio.shield(place.task)
        finally:
            self._users[name] -= 1
            place.since = loop.time()
            self._changed.set()

    async def rest(self, name: str) -> None:
        """Unload something, unless it is in use."""
        if not self._users[name] and self.loaded(name) is not None:
            await asyncio.shield(self._leave(name))

    async def close(self) -> None:
        """Unload everything."""
        self._changed.set()
        if self._places:
            await asyncio.wait([place.task for place in self._places.values()])
        for name in self.names:
            self._leave(name)
        self._places.clear()
        if self._leaving:
            await asyncio.wait(self._leaving)

    async def _bring(self, name: str, need: int, load: Callable[[], Held]) -> Held:
        async with self._turn:
            while self._users[name] and (self._leaving or not self._fits(need)):
                await self._wait(None if self._leaving else self._free_one())
            if not self._users[name]:  # all its requests were cancelled while it waited
                del self._places[name]
                raise asyncio.CancelledError
            self._taken += need
            try:
                return await asyncio.to_thread(load)
            except BaseException:
                self._taken -= need
                raise

    def _fits(self, need: int) -> bool:
        return self._limit is None or self._taken + need <= self._limit

    def _free_one(self) -> float | None:
        """Begin to unload what is idle longest; return after how many seconds something will be idle, if so."""
        idle = {name: self._places[name].since for name in self.names if not self._users[name]}
        if not idle:
            return None
        name = min(idle, key=lambda name: idle[name])
        seconds = idle[name] + LINGER - asyncio.get_running_loop().time()
        if seconds > 0:
            return seconds
        self._leave(name)
        return None

    async def _wait(self, seconds: float | None) -> None:
        """Wait until something changes, or for so long."""
        self._changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    def _leave(self, name: str) -> asyncio.Task[None]:
        place = self._places.pop(name)
        task = asyncio.get_running_loop().create_task(self._free(place))
        self._leaving.add(task)
        return task

    async def _free(self, place: _Place[Held]) -> None:
        try:
            await asyncio.to_thread(self._unload, place.task.result())
        finally:
            self._taken -= place.need
            self._leaving = {task for task in self._leaving if task is not asyncio.current_task()}
            self._changed.set()
