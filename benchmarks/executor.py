"""What the executor costs a sample with an engine that answers at once: 10,000 problems, 10,000 requests in flight.

The peer is a plain `asyncio.gather` over the same calls, which keeps nothing, decides nothing and writes nothing.
Memory is that of the requests that wait: the peak while all of them do, less that of the problems alone.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
import tracemalloc
from dataclasses import asdict
from pathlib import Path

from benchmarks import Figure

PROBLEMS = 10_000
IN_FLIGHT = 10_000
ROUTE = "mv_cascade_S_k8_t0.7_M_k8_t0.7_L_k1_t0.0"


def main() -> list[Figure]:
    return [
        Figure(**json.loads(line))
        for what in ("memory", "plain", "store")
        for line in subprocess.run(
            [sys.executable, "-m", "benchmarks.executor", what], check=True, stdout=subprocess.PIPE, text=True
        ).stdout.splitlines()
    ]


def measure(what: str) -> Figure:
    from escalade.cascade.policy import Policy
    from escalade.climb import Task
    from escalade.collector import fewer_collections
    from escalade.engines.base import Progress, Request
    from escalade.executor import Executor
    from escalade.problems import Problem
    from escalade.routes import parse_route
    from escalade.samples.sample import Generation
    from escalade.samples.store import Store
    from escalade.testing import ScriptedEngine, pool_of

    def script(request: Request) -> Generation:
        lot = hash((request.problem_id, request.model.alias, request.index)) & 0xFF
        answer = 1 if lot % 3 else lot % 7
        return Generation(f"\\boxed{{{answer}}}", prompt_tokens=15, completion_tokens=20, mean_logprob=-0.1)

    class Instant(ScriptedEngine):
        calls = 0

        async def sample(self, request: Request, progress: Progress) -> Generation:
            self.calls += 1
            await asyncio.sleep(self.delay(request))
            return self.script(request)

    pool = pool_of("S", "M", "L")
    route = parse_route(ROUTE, pool)
    tasks = [Task(Problem(f"p{i}", f"Problem {i}?", "1"), route) for i in range(PROBLEMS)]

    def run(engine: Instant, store: Store | None) -> float:
        executor = Executor(
            pool, lambda model: engine, store=store, policy=Policy(target=0.7), on_answer=lambda item: None
        )
        start = time.perf_counter()
        asyncio.run(executor.run(tasks))
        return time.perf_counter() - start

    if what == "memory":
        return _memory(Instant(script, slots=IN_FLIGHT), pool, tasks)
    engine = Instant(script, slots=IN_FLIGHT)
    with tempfile.TemporaryDirectory() as folder:
        store = None if what == "plain" else Store(Path(folder) / "s.sqlite")
        ours = run(engine, store) / engine.calls
        if store is not None:
            store.close()
    requests = [Request(f"p{i // 8}", (), pool["S"], 0.7, 20, i % 8, i) for i in range(engine.calls)]

    async def gather() -> float:
        start = time.perf_counter()
        await asyncio.gather(*(engine.sample(request, Progress()) for request in requests))
        return time.perf_counter() - start

    calls = engine.calls
    with fewer_collections():
        peer = asyncio.run(gather()) / calls
    name = "a sample" if what == "plain" else "a sample, with the durable store"
    return Figure(f"{name}; peer: gather over the same calls", ours * 1e6, peer * 1e6, peer / ours, "us", calls)


def _memory(engine: object, pool: object, tasks: object) -> Figure:
    from escalade.cascade.policy import Policy
    from escalade.executor import Executor
    from escalade.pool import Pool
    from escalade.testing import ScriptedEngine

    assert isinstance(engine, ScriptedEngine) and isinstance(pool, Pool) and isinstance(tasks, list)
    engine.delay = lambda request: 3600.0
    sizes: list[int] = []

    async def wait() -> None:
        executor = Executor(pool, lambda model: engine, store=None, policy=Policy(target=0.7))
        run = asyncio.ensure_future(executor.run(tasks))
        before = tracemalloc.get_traced_memory()[0]
        while executor.counters.running.get("S", 0) < IN_FLIGHT:
            await asyncio.sleep(0.01)
        sizes.append(tracemalloc.get_traced_memory()[0] - before)
        run.cancel()
        await asyncio.wait([run])

    tracemalloc.start()
    asyncio.run(wait())
    waiting = PROBLEMS * 8
    return Figure("memory of a sample that waits or is under way", sizes[0] / waiting, None, None, "bytes", waiting)


if __name__ == "__main__":
    print(json.dumps(asdict(measure(sys.argv[1]))))
