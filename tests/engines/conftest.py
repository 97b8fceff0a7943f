import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from escalade import load_pool
from escalade.engines.llamacpp import Engine
from escalade.pool import Pool

Await = Callable[[Awaitable[Any]], Any]


@pytest.fixture(scope="session")
def wait() -> Iterator[Await]:
    """Run something to its end; all engines of these tests live in one event loop. Nothing may hang."""
    with asyncio.Runner() as runner:

        async def whole(what: Awaitable[Any]) -> Any:
            return await asyncio.wait_for(what, 120)

        yield lambda what: runner.run(whole(what))


@pytest.fixture(scope="session")
def small_pool(smallest_model: Path) -> Pool:
    """The 135M under two names, with few slots and a small context, so that both are loaded in a moment."""
    tiny = load_pool("tiny")
    options = {"slots": 4, "context": 512}
    model = tiny["135M"].model_copy(update={"file": smallest_model, "options": options})
    twin = model.model_copy(update={"alias": "twin", "name": "twin"})
    return tiny.model_copy(update={"models": (model, twin), "route": None})


@pytest.fixture(scope="session")
def llamacpp(small_pool: Pool, wait: Await) -> Iterator[Engine]:
    """One engine with the real 135M for all tests."""
    engine = Engine("", small_pool, seed=0)
    yield engine
    wait(engine.close())
