"""Recording: samples of every model of a pool for every problem, kept in a store and written as a recorded pool."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from escalade.cascade.policy import Policy
from escalade.executor import Answered, Executor, Task
from escalade.pool import Pool
from escalade.problems import Problem
from escalade.routes import Kind, Route, Tier
from escalade.samples.recorded import write_recording


def recording_routes(pool: Pool, *, samples: int, temperature: float, greedy: bool) -> list[Route]:
    """Return the routes that together draw everything a recording holds: a whole vote per model, a greedy sample."""
    routes: list[Route] = []
    for model in pool.models:
        if greedy:
            routes.append(Route(Kind.GREEDY, (Tier(model.alias, 1, 0.0),), model.name))
        if samples and not model.greedy_only:
            routes.append(Route(Kind.VOTE, (Tier(model.alias, samples, temperature),)))
    return routes


async def record(
    executor: Executor, problems: Sequence[Problem], routes: Sequence[Route], answered: list[Answered]
) -> None:
    """Draw the samples of all routes, model by model. The executor's `on_answer` must fill `answered`.

    An interrupted recording goes on where it stopped: what the executor's store has is not drawn again.
    """
    await executor.run([Task(problem, route) for route in routes for problem in problems])


def rows(answered: Sequence[Answered], pool: Pool) -> list[dict[str, Any]]:
    """Return one row per sample, in the columns of recorded pools."""
    out: list[dict[str, Any]] = []
    for item in answered:
        for use in item.tiers:
            for sample in use.samples:
                generation = sample.generation
                out.append(
                    {
                        "problem_id": item.problem.id,
                        "problem": item.problem.text,
                        "gold_answer": item.problem.gold,
                        "model": use.tier.model,
                        "model_name": pool[use.tier.model].name,
                        "temperature": use.tier.temperature,
                        "sample_index": sample.index,
                        "answer": sample.answer,
                        "rule": sample.rule,
                        "text": generation.text,
                        "prompt_tokens": generation.prompt_tokens,
                        "cached_tokens": generation.cached_tokens,
                        "completion_tokens": generation.completion_tokens,
                        "mean_logprob": generation.mean_logprob,
                        "finish_reason": generation.finish_reason,
                        "seed": sample.seed,
                    }
                )
    return out
