import asyncio
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from escalade import load_pool
from escalade.engines.llamacpp import Engine
from escalade.engines.transformers import Engine as Transformers
from escalade.engines.vllm import Engine as Vllm
from escalade.pool import Pool, PoolModel
from tests.engines.tiny import make_checkpoint

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


@dataclass(frozen=True)
class LlamaServer:
    """llama.cpp's own HTTP server with the 135M, in a process of its own."""

    root: str

    @property
    def url(self) -> str:
        """What stands before /chat/completions."""
        return f"{self.root}/v1"

    def counter(self, name: str) -> int:
        """One of the server's own counters."""
        with urllib.request.urlopen(f"{self.root}/metrics", timeout=10) as answer:
            (found,) = re.findall(rf"^llamacpp:{name} (\d+)", answer.read().decode(), re.MULTILINE)
        return int(found)


@pytest.fixture(scope="session")
def llama_server(smallest_model: Path) -> Iterator[LlamaServer]:
    """One server for all tests; it ends when its input does, so it cannot outlive them."""
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("llama_server.py")), str(smallest_model)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "OMP_WAIT_POLICY": "passive"},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            root = next((line.strip() for line in process.stdout if line.startswith("http://127.0.0.1:")), None)
            assert root is not None, "the server did not start"
            yield LlamaServer(root)
        finally:
            process.stdin.close()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint with random weights. Its libraries are in the environment of `make test-vllm` only."""
    pytest.importorskip("transformers", reason="engines vllm and transformers are tested by `make test-vllm`")
    pytest.importorskip("torch", reason="engines vllm and transformers are tested by `make test-vllm`")
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny")


@pytest.fixture(scope="session")
def tiny_transformers(checkpoint: Path) -> Pool:
    """The tiny checkpoint for the engine transformers."""
    options = {"path": checkpoint, "in_flight": 2}
    model = PoolModel(alias="tiny", name="test/tiny", engine="transformers", options=options)
    return Pool(name="mine", models=(model,))


@pytest.fixture(scope="session")
def transformers(tiny_transformers: Pool, wait: Await) -> Iterator[Transformers]:
    """One engine transformers for all tests."""
    engine = Transformers("", tiny_transformers, seed=0)
    yield engine
    wait(engine.close())


@pytest.fixture(scope="session")
def tiny_vllm(checkpoint: Path) -> Pool:
    """The tiny checkpoint for the engine vllm, with little memory; its counters are on, so that tests can read them."""
    pytest.importorskip("vllm", reason="engine vllm is tested by `make test-vllm`")
    args = {"kv_cache_memory_bytes": 2**26, "enforce_eager": True, "disable_log_stats": False}
    options = {"path": checkpoint, "in_flight": 64, "args": args}
    model = PoolModel(alias="tiny", name="test/tiny", engine="vllm", options=options)
    return Pool(name="mine", models=(model,))


@pytest.fixture(scope="session")
def vllm(tiny_vllm: Pool, wait: Await) -> Iterator[Vllm]:
    """One engine vllm for all tests; it loads for half a minute."""
    engine = Vllm("", tiny_vllm, seed=0)
    yield engine
    wait(engine.close())
