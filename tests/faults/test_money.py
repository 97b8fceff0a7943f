"""Limits of money, tokens and samples, of run, problem and tier, with a hundred requests in flight."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from decimal import Decimal
from typing import NamedTuple

from escalade import ledger
from escalade.cascade.policy import Policy
from escalade.climb import Answered, Task
from escalade.executor import Executor
from escalade.limits import Limits
from escalade.pool import Pool
from escalade.problems import Problem
from escalade.routes import parse_route
from escalade.samples.store import Store
from escalade.testing import pool_of, simulate
from tests.faults.conftest import Size
from tests.faults.owner import LONGEST, Owned, answers, within

ROUTES = ("mv_S_k8_t0.7", "mv_cascade_S_k4_t0.7_L_k1_t0.0", "mv_cascade_S_k6_t0.7_M_k4_t0.7_L_k2_t0.5")
PROBLEMS = 40
IN_FLIGHT = 100


def limits_of(dice: random.Random) -> Limits:
    """Some limits, of any size: from none of what a run would use to more than all of it."""

    def some(most: int) -> int | None:
        return int(most * dice.random() ** 3) if dice.random() < 0.4 else None

    def usd(most: int) -> Decimal | None:
        micro = some(most)
        return None if micro is None else Decimal(micro) / 1_000_000

    return Limits(
        run_usd=usd(120_000),
        problem_usd=usd(2_000),
        tier_usd=usd(900),
        run_tokens=some(6_000),
        problem_tokens=some(150),
        tier_tokens=some(90),
        run_samples=some(500),
        problem_samples=some(14),
        tier_samples=some(9),
    )


def check(limits: Limits, answered: list[Answered]) -> None:
    """What the ledger says of a run, at every level."""
    assert limits.run_usd is None or ledger.total(item.cost for item in answered).known <= limits.run_usd
    tokens = samples = 0
    for item in answered:
        used = [sum(usage.completion or 0 for usage in use.usages) for use in item.tiers]
        drawn = [len(use.samples) for use in item.tiers]
        tokens, samples = tokens + sum(used), samples + sum(drawn)
        assert limits.problem_usd is None or item.cost.known <= limits.problem_usd
        assert limits.problem_tokens is None or sum(used) <= limits.problem_tokens
        assert limits.problem_samples is None or sum(drawn) <= limits.problem_samples
        for use, count, number in zip(item.tiers, used, drawn, strict=True):
            assert limits.tier_usd is None or use.cost.known <= limits.tier_usd
            assert limits.tier_tokens is None or count <= limits.tier_tokens
            assert limits.tier_samples is None or number <= limits.tier_samples
        if item.outcome.status.value == "budget":
            assert "the limit of" in item.outcome.notes[-1]
    assert limits.run_tokens is None or tokens <= limits.run_tokens
    assert limits.run_samples is None or samples <= limits.run_samples


def check_owner(limits: Limits, engine: Owned, models: Pool) -> None:
    """What the engine's owner says, who bills what was cancelled or broke off, too."""
    tokens = sum(bill["tokens"] for bill in engine.billed.values())
    assert limits.run_tokens is None or tokens <= limits.run_tokens
    samples = sum(bill["samples"] for bill in engine.billed.values())
    assert limits.run_samples is None or samples <= limits.run_samples
    for bill in engine.billed.values():
        assert limits.problem_tokens is None or bill["tokens"] <= limits.problem_tokens
        assert limits.problem_samples is None or bill["samples"] <= limits.problem_samples
    if limits.run_usd is not None and models.billing == "each":
        prices = {model.alias: model.price.output for model in models.models if model.price is not None}
        assert sum(count * prices[alias] for alias, count in engine.by_model.items()) / 1_000_000 <= limits.run_usd


def check_nothing_is_missing(engine: Owned, answered: list[Answered], store: Store) -> None:
    """The ledger has each token that the owner bills at the problem it was used for, and so has the store."""
    for item in answered:
        used = sum(usage.completion or 0 for use in item.tiers for usage in use.usages)
        assert used == engine.billed[item.problem.id]["tokens"]
    kept = sum(sample.generation.completion_tokens or 0 for sample in store.samples())
    kept += sum(attempt.completion_tokens or 0 for attempt in store.attempts())
    assert kept == sum(bill["tokens"] for bill in engine.billed.values())


class Once(NamedTuple):
    """What one random run was like."""

    most_in_flight: int
    held: bool
    """Whether a limit held."""
    broken_off: int


def once(seed: int) -> Once:
    """One random run, and the same again from its store."""
    dice = random.Random(seed)
    models = pool_of(
        *("S", "M", "L"),
        prices=[dice.choice(["0", "1", "0.3"]), "2", dice.choice(["0", "9"])],
        max_tokens=LONGEST,
        billing=dice.choice(["once", "cached", "each"]),
    )
    limits = limits_of(dice)
    # A delay of 0, too: then many things happen in one moment.
    longest = dice.choice([0.0, 1.0, 1.0])
    engine = Owned(
        answers, within(str(seed), longest), slots=IN_FLIGHT, fails=dice.choice([0, 0.05, 0.2])
    )  # one engine has all bills, those of the rerun as well
    policy = Policy(target=dice.choice([0.6, 0.9]), stop=dice.choice(["verdict", "exact", "none", "esc:2"]))
    routes = dice.sample(ROUTES, dice.randint(1, len(ROUTES)))
    todo = [
        Task(Problem(f"p{i}", f"Problem {i}: how much?", "1"), parse_route(dice.choice(routes), models))
        for i in range(PROBLEMS)
    ]
    held = False
    with Store(None) as store:
        for life in range(2):  # what the store has counts as used
            answered: list[Answered] = []
            drive = Executor(
                models, lambda model: engine, store=store, policy=policy, limits=limits, on_answer=answered.append
            )
            simulate(drive.run(todo))
            assert sorted(item.problem.id for item in answered) == sorted(task.problem.id for task in todo)
            check(limits, answered)
            if not life:
                check_nothing_is_missing(engine, answered, store)
            held = held or any(item.outcome.status.value == "budget" for item in answered)
        check_owner(limits, engine, models)
    return Once(engine.most_in_flight, held, engine.broken_off)


def test_no_limit_is_ever_exceeded(size: Size) -> None:
    runs = [once(seed) for seed in range(size(50, 1000))]
    assert max(run.most_in_flight for run in runs) >= IN_FLIGHT
    assert sum(run.held for run in runs) >= len(runs) // 4
    assert sum(run.broken_off for run in runs) >= len(runs)


def resumed(seed: int) -> bool:
    """A run that is interrupted again and again, with more problems than begin at once; return whether a limit held."""
    dice = random.Random(seed)
    models = pool_of(
        *("S", "M", "L"), prices=["1", "2", "9"], max_tokens=LONGEST, billing=dice.choice(["each", "once"])
    )
    engine = Owned(answers, within(str(seed), 1.0), slots=dice.choice([10, IN_FLIGHT]), fails=dice.choice([0, 0.1]))
    routes = ("mv_S_k8_t0.7", "mv_cascade_S_k4_t0.7_L_k1_t0.0", "mv_cascade_M_k4_t0.7_L_k2_t0.5")
    todo = [
        Task(Problem(f"p{i}", f"Problem {i}: how much?", "1"), parse_route(dice.choice(routes), models))
        for i in range(300)
    ]
    limits = Limits(
        run_usd=Decimal(dice.randint(5_000, 60_000)) / 1_000_000,
        problem_tokens=dice.choice([None, 60]),
        run_samples=dice.choice([None, 700]),
    )
    answered: list[Answered] = []

    async def life(seconds: float | None) -> None:
        drive = Executor(
            models, lambda model: engine, store=store, policy=Policy(), limits=limits, on_answer=answered.append
        )
        job = asyncio.get_running_loop().create_task(drive.run(todo))
        if seconds is not None:
            await asyncio.sleep(seconds)
            job.cancel()
        with suppress(asyncio.CancelledError):
            await job

    with Store(None) as store:
        for _ in range(4):
            simulate(life(dice.uniform(0, 6)))
        answered.clear()
        simulate(life(None))
    assert len(answered) == len(todo)
    check(limits, answered)
    check_owner(limits, engine, models)
    return any(item.outcome.status.value == "budget" for item in answered)


def test_a_limit_holds_over_all_lives_of_a_run_that_is_resumed(size: Size) -> None:
    """What the store has of problems that have not begun again is spent, too."""
    held = [resumed(seed) for seed in range(size(3, 100))]
    assert sum(held) >= len(held) // 2
