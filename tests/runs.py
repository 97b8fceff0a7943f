"""Scripted runs for tests of what is written and counted while a run goes on."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from escalade.answers.grader import Grader
from escalade.cascade.policy import Policy
from escalade.climb import Answered, Task
from escalade.engines.base import Request
from escalade.errors import EngineError, RouteError
from escalade.executor import Executor
from escalade.job import Job
from escalade.limits import Limits
from escalade.problems import Problem
from escalade.results import Results
from escalade.routes import parse_route
from escalade.samples.sample import Generation
from escalade.testing import ScriptedEngine, pool_of, simulate

POOL = pool_of("S", "L", prices=["1", None])
ROUTE = parse_route("mv_cascade_S_k4_t0.7_L_k2_t0.7", POOL)


def script(request: Request) -> Generation:
    """Sure, tied, torn, mute or failing, by the number of the problem."""
    n = int(request.problem_id[1:])
    if n % 11 == 3:
        raise EngineError("broken")
    if n % 5 == 0:
        return Generation(None if n % 2 else "no answer here", prompt_tokens=None, completion_tokens=7)
    answer = ("1", "2", "1", "2")[request.index % 4] if n % 3 == 0 else "1" if n % 3 == 1 else str(request.index)
    return Generation(
        f"\\boxed{{{answer}}}",
        prompt_tokens=5,
        completion_tokens=n,
        mean_logprob=-0.1 * n if n % 2 else None,
        seconds=0.25 if request.model.alias == "S" else None,
    )


def job_of(count: int, *, gold: bool = True, limits: Limits | None = None) -> Job:
    """A job whose rows have, here and there, no gold answer, no score, no solution, no route."""
    tasks: list[Task] = []
    for n in range(count):
        scores = {"S": 0.1 * (n % 9)} if n > 5 else {}
        problem = Problem(f"p{n}", f"What {n}?", "1" if gold and n % 7 else None, scores, "so" if n > 20 else None)
        broken = RouteError("mv_", 3, "", "a model")
        tasks.append(Task(problem, None, broken) if n % 17 == 16 else Task(problem, ROUTE))
    return Job(POOL, tuple(tasks), Policy(), limits or Limits(), 0, None, str(ROUTE))


def run_scripted(job: Job, **settings: Any) -> tuple[Results, list[int]]:
    """Run a job on a fake clock, problems ending out of order; return its results and the order in which they came."""
    engine = ScriptedEngine(
        script, delay=lambda request: (int(request.problem_id[1:]) * 7 % 13) * 0.01 + 0.01, slots=16
    )
    came: list[Answered] = []
    grader = Grader()
    executor = Executor(
        POOL,
        lambda model: engine,
        store=None,
        policy=job.policy,
        limits=job.limits,
        on_answer=came.append,
        grader=grader,
        **settings,
    )
    simulate(executor.run(job.tasks))
    places = {task.problem.id: position for position, task in enumerate(job.tasks)}
    order = [places[item.problem.id] for item in came]
    answered = tuple(item for _, item in sorted(zip(order, came, strict=True), key=lambda pair: pair[0]))
    return Results(job, answered, 1.0, grading=grader.report()), order


@dataclass(frozen=True)
class ScriptedJob(Job):
    """A job that is answered by an engine that is at hand."""

    scripted: ScriptedEngine = field(default_factory=lambda: ScriptedEngine(script))

    def engines(self) -> Any:
        """The scripted engine for all models."""
        return _One(self.scripted)


class _One:
    def __init__(self, engine: ScriptedEngine) -> None:
        self._engine = engine

    def of(self, model: object) -> ScriptedEngine:
        return self._engine

    async def close(self) -> None:
        await asyncio.sleep(0)


def files(folder: Path) -> list[str]:
    """The names in a folder, hidden ones included."""
    return sorted(path.name for path in folder.iterdir())
