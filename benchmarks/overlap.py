"""Two real llama.cpp models at once: problems that climb when they are ready, beside a barrier between the tiers.

The 60 problems that ship with escalade, through a cascade of the tiny pool as it is. The peer is a barrier between
the tiers: the same executor, where the models take turns. The servers' own counters of generated tokens stand beside
the ledger's, cancelled requests included: what a cancelled request still generated after it was given up is the
difference. Needs the weights (`escalade models pull --pool tiny`); takes 20 minutes.
"""

from __future__ import annotations

import asyncio
import re
import time

from benchmarks import Figure
from escalade.cascade.policy import Policy
from escalade.climb import Answered, Task
from escalade.engines.llamacpp import Engine
from escalade.executor import Executor
from escalade.pool import Pool, PoolModel, load_pool
from escalade.problems import read_problems, shipped_problems
from escalade.routes import parse_route

POOL = "tiny"
ROUTE = "mv_cascade_135M_k5_t0.7_0.5B_k3_t0.7"
PROBLEMS = 60
SEED = 0


class Counted(Engine):
    """The engine, and what its servers say they have generated."""

    def __init__(self, pool: Pool) -> None:
        super().__init__("", pool, seed=SEED)
        self.generated = 0

    async def rest(self, model: PoolModel) -> None:
        self._count(model)
        await super().rest(model)

    def count(self, pool: Pool) -> None:
        for model in pool.models:
            self._count(model)

    def _count(self, model: PoolModel) -> None:
        text = self.metrics(model)
        if text is not None:
            (found,) = re.findall(r"^llamacpp:tokens_predicted_total (\d+)", text, re.MULTILINE)
            self.generated += int(found)


class Run:
    """One run of the real models."""

    def __init__(self, pool: Pool) -> None:
        self.answered: dict[str, Answered] = {}
        route = parse_route(ROUTE, pool)
        tasks = [Task(problem, route) for problem in read_problems(shipped_problems())[:PROBLEMS]]
        asyncio.run(self._run(pool, tasks))
        usages = [x for a in self.answered.values() for u in a.tiers for x in u.usages]
        self.charged = sum(x.completion or 0 for x in usages)

    async def _run(self, pool: Pool, tasks: list[Task]) -> None:
        engine = Counted(pool)
        executor = Executor(
            pool,
            lambda model: engine,
            store=None,
            policy=Policy(target=0.9),
            on_answer=lambda item: self.answered.__setitem__(item.problem.id, item),
            seed=SEED,
        )
        started = time.perf_counter()
        await executor.run(tasks)
        self.seconds = time.perf_counter() - started
        engine.count(pool)
        self.generated = engine.generated
        await engine.close()


def main() -> list[Figure]:
    own = load_pool(POOL)
    shared = own.model_copy(update={"models": tuple(m.model_copy(update={"gpu": "0"}) for m in own.models)})
    barrier, ours = Run(shared), Run(own)
    climbed = sum(len(item.tiers) > 1 for item in ours.answered.values())
    name = f"{climbed} of {PROBLEMS} climb"
    return [
        Figure(f"{name}: wall time; peer: a barrier", ours.seconds, barrier.seconds,
               barrier.seconds / ours.seconds, "s", PROBLEMS),
        Figure("tokens the servers generated; peer: charged by the ledger", ours.generated, ours.charged,
               ours.charged / ours.generated, "tokens", PROBLEMS),
        Figure("the same, with the barrier", barrier.generated, barrier.charged,
               barrier.charged / barrier.generated, "tokens", PROBLEMS),
    ]  # fmt: skip
