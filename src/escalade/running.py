"""Running a job: the one door from prepared inputs to results, synchronous on the outside."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pandas as pd

from escalade.answers.grader import Grader
from escalade.cascade.policy import Policy
from escalade.climb import Answered
from escalade.errors import SettingError
from escalade.executor import Executor
from escalade.job import Job, Problems, prepare
from escalade.limits import Limits
from escalade.policies import chosen_settings, with_mismatches
from escalade.pool import Pool
from escalade.results import Results, write_summary
from escalade.routes import Route
from escalade.samples.store import Store
from escalade.samples.verdicts import Verdicts
from escalade.strategies import Strategy
from escalade.streaming import ResultStream
from escalade.summary import Summary
from escalade.tally import Tally

OnEvent = Callable[[str, Mapping[str, Any]], None]
"""Told what happens in a run, by name and facts."""


class Watcher(Protocol):
    """Somebody who looks on while a job runs."""

    def begin(self, executor: Executor) -> None:
        """The run begins; the executor's counters can be read at any time from now on."""

    def answered(self, item: Answered) -> None:
        """One problem is done."""

    def event(self, name: str, facts: Mapping[str, Any]) -> None:
        """Something happened: see `escalade.executor.Executor`."""


def run(
    problems: Problems | None = None,
    *,
    route: str | Route | None = None,
    strategy: str | Strategy | None = None,
    pool: str | Path | Pool | None = None,
    engine: str | None = None,
    scores: str | Path | pd.DataFrame | None = None,
    target: float = 0.90,
    confidence: str = "share",
    stop: str = "verdict",
    aggregate: str = "last",
    calibration: str | Path | None = None,
    policy: Policy | str | Path | None = None,
    limits: Limits | None = None,
    max_cost: float | str | Decimal | None = None,
    store: str | Path | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Results:
    """Answer problems by a route, or by the routes of a strategy, and return the results.

    Args:
        problems: a file (jsonl, csv, parquet), a DataFrame, a list of dicts or of `Problem`; None takes those of
            the recording that is replayed, else the 60 that ship with the package.
        route, strategy: one of them; None takes the pool's own route.
        pool: a shipped pool's name, an escalade.toml, or a `Pool`.
        engine: answers in the place of the pool's engines, e.g. "replay:shipped".
        scores: a table with an id and columns score_ALIAS, or a folder `{probing}_probe/{dataset}` of the published
            layout, joined to the problems.
        target, confidence, stop, aggregate: the decisions' settings; or a whole `policy` in their place.
        calibration: a file of `escalade calibrate`, which confidence="calibrated" is read from.
        policy: the settings as a whole; or a file of `escalade tune`, which has the route as well. Where the run
            differs from what the file was made under is said in the summary's `mismatches`.
        limits: of money, samples and time; `max_cost` (USD for the run) is the short form of the usual one.
        store: file that keeps every sample; a rerun with it generates nothing twice. None keeps nothing.
        limit: take only so many problems.
        seed: of the run.

    Raises:
        InputError: something given cannot be used. EngineError, StoreError, WeightsError: see there.

    Works where an event loop is already running (a notebook), too.

    Example:
        >>> results = run(route="mv_cascade_0.5B_k5_t0.7_1.5B_k3_t0.7", engine="replay:shipped", limit=12)
        >>> len(results), results.summary().problems
        (12, 12)
    """
    if limits is None:
        limits = Limits(run_usd=None if max_cost is None else Decimal(str(max_cost)))
    given = (target, confidence, stop, aggregate) != (0.90, "share", "verdict", "last")
    if policy is not None and (given or calibration is not None):
        raise SettingError("both a policy and settings of its own are given: a policy has them all; give one of them")
    kept = fitted = gate = None
    if not isinstance(policy, Policy):
        kept, fitted, policy = chosen_settings(
            policy, calibration, target=target, confidence=confidence, stop=stop, aggregate=aggregate
        )
    if kept is not None:
        if route is not None or strategy is not None:
            raise SettingError(f"policy {kept.path} has a route: give it, or a route or strategy, not both")
        route, gate = kept.file.route, kept.file.gate
    job = prepare(
        problems,
        route=route,
        gate=gate,
        strategy=strategy,
        pool=pool,
        engine=engine,
        scores=scores,
        policy=policy,
        limits=limits,
        limit=limit,
        seed=seed,
    )
    results = run_job(with_mismatches(job, kept, fitted), store=store)
    if results.interrupted:
        raise KeyboardInterrupt
    return results


def run_job(
    job: Job, *, store: str | Path | None = None, watcher: Watcher | None = None, on_event: OnEvent | None = None
) -> Results:
    """Run a prepared job. Ctrl-C ends it early, with what was answered until then and `interrupted` set.

    `on_event` is told what happens, by name and facts: see `escalade.executor.Executor`.
    """
    answered: list[Answered] = []
    ending = _drive(job, store, answered.append, watcher, on_event)
    order = {task.problem.id: position for position, task in enumerate(job.tasks)}
    answered.sort(key=lambda item: order[item.problem.id])
    return Results(job, tuple(answered), ending.seconds, ending.interrupted, ending.grading)


def stream_job(
    job: Job,
    folder: Path,
    *,
    store: str | Path | None = None,
    watcher: Watcher | None = None,
    on_event: OnEvent | None = None,
) -> Summary:
    """Run a prepared job as `run_job` does, its results written to a folder while it goes on and not kept in memory.

    The files are those of `Results.write`, and are in their places when this returns, after Ctrl-C too. The ids of
    the problems differ, as those of `prepare` do.

    Raises:
        OSError: the files cannot be written; at the start, before anything is drawn, where the folder is at fault.
        SettingError: another run writes to the folder.
    """
    order = {task.problem.id: position for position, task in enumerate(job.tasks)}
    tally = Tally()
    with ResultStream(job, folder) as stream:

        def take(item: Answered) -> None:
            tally.add(item)
            stream.add(order.pop(item.problem.id), item)

        ending = _drive(job, store, take, watcher, on_event)
        stream.finish(ending.grading)
    summary = tally.summary(job, ending.seconds, ending.grading, interrupted=ending.interrupted)
    write_summary(summary, folder)
    return summary


class _Ending(NamedTuple):
    """How a run ended."""

    seconds: float
    interrupted: bool
    grading: dict[str, Any]


def _drive(
    job: Job,
    store: str | Path | None,
    take: Callable[[Answered], None],
    watcher: Watcher | None,
    on_event: OnEvent | None,
) -> _Ending:
    grader = Grader()
    started = time.perf_counter()
    interrupted = False
    try:
        wait_for(lambda: _run(job, store, take, watcher, on_event, grader))
    except KeyboardInterrupt:
        interrupted = True
    return _Ending(time.perf_counter() - started, interrupted, grader.report())


async def _run(
    job: Job,
    store: str | Path | None,
    take: Callable[[Answered], None],
    watcher: Watcher | None,
    on_event: OnEvent | None,
    grader: Grader,
) -> None:
    engines = job.engines()
    kept, verdicts = (None, None) if store is None else (Store(Path(store)), Verdicts(Path(store)))
    grader.memory = verdicts
    told = [tell for tell in (on_event, None if watcher is None else watcher.event) if tell is not None]
    try:

        def answered(item: Answered) -> None:
            take(item)
            if watcher is not None:
                watcher.answered(item)

        def happened(name: str, facts: Mapping[str, Any]) -> None:
            for tell in told:
                tell(name, facts)

        executor = Executor(
            job.pool,
            engines.of,
            store=kept,
            policy=job.policy,
            limits=job.limits,
            seed=job.seed,
            on_answer=answered,
            grader=grader,
            on_event=happened if told else None,
        )
        if watcher is not None:
            watcher.begin(executor)
        await executor.run(job.tasks)
    finally:
        await engines.close()
        grader.memory = None
        if kept is not None:
            kept.close()
        if verdicts is not None:
            verdicts.close()


def wait_for(make: Callable[[], Any]) -> None:
    """Run a coroutine to its end, in a thread of its own where this one has a loop running."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(make())
        return
    done: Future[None] = Future()

    def work() -> None:
        try:
            done.set_result(asyncio.run(make()))
        except BaseException as error:  # carried over to the caller's thread, whatever it is
            done.set_exception(error)

    threading.Thread(target=work, name="escalade-run", daemon=True).start()
    done.result()
