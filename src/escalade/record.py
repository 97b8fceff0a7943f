"""Recording: a job that draws whole votes and greedy samples of every model of a pool, for every problem."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from escalade.cascade.policy import Policy
from escalade.climb import Task
from escalade.errors import SettingError
from escalade.job import Job, Problems, prepare
from escalade.pool import Pool, load_pool
from escalade.results import Results
from escalade.routes import Kind, Route, Tier
from escalade.samples.recorded import write_recording


def recording_job(
    problems: Problems | None,
    pool: str | Path | Pool,
    *,
    samples: int = 8,
    temperature: float = 0.7,
    greedy: bool = False,
    limit: int | None = None,
    seed: int = 0,
) -> Job:
    """Return the job whose samples are a recording: model by model, nothing settled early.

    Raises:
        InputError: nothing to record, samples at temperature 0, or problems and pool cannot be used.
    """
    if not samples and not greedy:
        raise SettingError("nothing to record: ask for samples, for the greedy one, or for both")
    if samples and temperature == 0:
        raise SettingError("samples at temperature 0 are all alike: record the greedy one, or give a temperature")
    pool = pool if isinstance(pool, Pool) else load_pool(pool)
    routes: list[Route] = []
    for model in pool.models:
        if greedy:
            routes.append(Route(Kind.GREEDY, (Tier(model.alias, 1, 0.0),), model.name))
        if samples and not model.greedy_only:
            routes.append(Route(Kind.VOTE, (Tier(model.alias, samples, temperature),)))
    job = prepare(problems, route=routes[0], pool=pool, policy=Policy(stop="none"), limit=limit, seed=seed)
    tasks = tuple(Task(problem, route) for route in routes for problem in job.problems)
    return replace(job, tasks=tasks, chosen=f"{len(routes)} routes to record")


def write(results: Results, path: Path) -> int:
    """Write the samples of a recording with the pool they were drawn from; return how many there are."""
    samples = results.samples().drop(columns=["tier", "cost_usd"])
    write_recording(samples, results.job.pool, path)
    return len(samples)
