"""Books: what requests used that broke off is charged, limited, recalled, and written down."""

import asyncio
import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from escalade import dispatch, ledger
from escalade.cascade.policy import Policy
from escalade.climb import Answered, Task
from escalade.engines.base import Progress, Request
from escalade.errors import EngineError
from escalade.executor import Executor
from escalade.job import Job
from escalade.limits import Limits
from escalade.pool import Pool
from escalade.problems import Problem
from escalade.repricing import reprice
from escalade.results import Results
from escalade.routes import parse_route
from escalade.samples.sample import Generation
from escalade.samples.store import Store
from escalade.tally import summarise
from escalade.testing import ScriptedEngine, answering, pool_of

PROMPT, ANSWER, BROKEN = 10, 5, 3
"""Tokens of a prompt, of an answer, and of what comes of one that breaks off."""
MOST = 20
"""Tokens that an answer may have."""


class Breaking(ScriptedEngine):
    """Fails at its first tries: each is a number of completion tokens after which it breaks off, 0 with none used."""

    def __init__(self, breaks: Sequence[int], *, prompt: int | None = PROMPT) -> None:
        super().__init__(answering({"S": ["1"], "L": ["1"]}, prompt_tokens=PROMPT, completion_tokens=ANSWER))
        self.breaks, self.prompt = list(breaks), prompt

    async def sample(self, request: Request, progress: Progress) -> Generation:
        if self.breaks:
            self.requests.append(request)
            if tokens := self.breaks.pop(0):
                progress.prompt_tokens, progress.completion_tokens = self.prompt, tokens
            raise EngineError("broke off", retryable=True)
        return await super().sample(request, progress)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "BACKOFF", 0.0001)


def pool(**settings: Any) -> Pool:
    return pool_of("S", "L", prices=["1", "3"], max_tokens=MOST, **settings)


def task(route: str = "S") -> Task:
    return Task(Problem("p0", "How much?", "1"), parse_route(route, pool()))


def run(
    engine: ScriptedEngine, *, within: Pool | None = None, store: Store | None = None, route: str = "S", **settings: Any
) -> Answered:
    """Answer one problem; return what came of it."""
    answered: list[Answered] = []
    settings = {"policy": Policy(stop="none"), **settings}
    drive = Executor(within or pool(), lambda model: engine, store=store, on_answer=answered.append, **settings)
    asyncio.run(asyncio.wait_for(drive.run([task(route)]), 30))
    (item,) = answered
    used = sum(usage.completion or 0 for use in item.tiers for usage in use.usages)
    assert store is not None or drive.counters.tokens == used
    return item


@pytest.mark.parametrize("kept", [True, False], ids=["store", "no store"])
def test_a_try_that_broke_off_is_charged_and_one_that_used_nothing_is_not(kept: bool) -> None:
    item = run(Breaking([BROKEN, 0, BROKEN]), within=pool(billing="each"), store=Store(None) if kept else None)
    assert item.outcome.status.value == "last_tier"
    (use,) = item.tiers
    assert (len(use.samples), use.cancelled, use.broken_off) == (1, 0, 2)
    assert use.usages == (
        ledger.Usage(PROMPT, ANSWER),
        ledger.Usage(PROMPT, BROKEN),
        ledger.Usage(PROMPT, BROKEN),
    )
    assert item.cost == item.fresh_cost == ledger.Cost(Decimal(3 * PROMPT + ANSWER + 2 * BROKEN) / 1_000_000)


def test_a_problem_that_fails_for_good_has_all_its_tries_charged() -> None:
    item = run(Breaking([BROKEN] * 4), within=pool(billing="each"))
    assert item.outcome.status.value == "error"
    assert item.tiers[0].broken_off == 4
    assert item.cost == ledger.Cost(Decimal(4 * (PROMPT + BROKEN)) / 1_000_000)


def test_what_is_not_known_of_a_try_that_broke_off_makes_its_cost_unknown() -> None:
    item = run(Breaking([BROKEN], prompt=None), within=pool(billing="each"))
    assert item.cost == ledger.Cost(Decimal(PROMPT + ANSWER) / 1_000_000, unknown=1)


@pytest.mark.parametrize(("most", "status"), [(BROKEN + MOST - 1, "budget"), (BROKEN + MOST, "last_tier")])
def test_a_further_try_reserves_anew_beside_what_broke_off(most: int, status: str) -> None:
    engine = Breaking([BROKEN])
    item = run(engine, limits=Limits(problem_tokens=most))
    assert item.outcome.status.value == status
    assert item.tiers[0].broken_off == 1
    assert len(engine.requests) == (2 if status == "last_tier" else 1)


def test_money_limits_count_what_broke_off() -> None:
    bound = sum(len(message["content"]) for message in pool().prompt_of(pool()["S"]).messages("How much?"))
    first = Decimal(PROMPT + BROKEN) / 1_000_000
    for room, status in ((Decimal(-1), "budget"), (Decimal(0), "last_tier")):
        limit = first + (bound + MOST + room) / 1_000_000
        item = run(Breaking([BROKEN]), within=pool(billing="each"), limits=Limits(run_usd=limit))
        assert item.outcome.status.value == status


def test_after_a_resume_the_job_that_paid_is_charged_and_no_other_route() -> None:
    store, models = Store(None), pool(billing="each")
    before = run(Breaking([BROKEN] * 4), within=models, store=store)
    again = run(Breaking([]), within=models, store=store)
    assert before.tiers[0].broken_off == again.tiers[0].broken_off == 4
    assert again.cost == before.cost + ledger.Cost(Decimal(PROMPT + ANSWER) / 1_000_000)
    assert again.fresh_cost == ledger.Cost(Decimal(PROMPT + ANSWER) / 1_000_000)
    last = run(Breaking([]), within=models, store=store)
    assert last.cost == again.cost
    assert last.fresh_cost == ledger.Cost()
    other = run(Breaking([]), within=models, store=store, route="mv_cascade_S_k1_t0.0_L_k1_t0.0")
    assert [use.broken_off for use in other.tiers] == [0, 0]


def test_a_limit_holds_over_a_resume() -> None:
    store = Store(None)
    run(Breaking([BROKEN] * 4), store=store)
    for most, status in ((4 * BROKEN + MOST - 1, "budget"), (4 * BROKEN + MOST, "last_tier")):
        engine = Breaking([])
        assert run(engine, store=store, limits=Limits(run_tokens=most)).outcome.status.value == status


def test_summary_rows_and_repricing_agree_about_what_broke_off(tmp_path: Path) -> None:
    for billing in ("once", "cached", "each"):
        models = pool(billing=billing)
        item = run(Breaking([BROKEN, BROKEN]), within=models, route="mv_S_k3_t0.7")
        job = Job(models, (task("mv_S_k3_t0.7"),), Policy(), Limits(), 0, None, "mv_S_k3_t0.7")
        summary = summarise(job, [item], 1.0, {})
        assert summary.requests_broken_off == summary.tiers[0].broken_off == 2
        assert summary.completion_tokens == 3 * ANSWER + 2 * BROKEN
        assert summary.prompt_tokens == 5 * PROMPT
        assert summary.to_dict()["tiers"][0]["requests_broken_off"] == 2
        results = Results(job, (item,), 1.0)
        folder = results.write(tmp_path / billing)
        (trace,) = results.to_pandas()["trace"][0]
        assert trace["broken_off"] == 2 and len(trace["completion_tokens"]) == 5
        same = reprice(folder, models)
        assert same.before == same.after == item.cost
        assert len(results.samples()) == 3
        other = pool_of("S", "L", prices=["2", "3"], billing=billing)
        assert reprice(folder, other).after.usd == 2 * item.cost.known
        assert json.loads((folder / "summary.json").read_text())["requests_broken_off"] == 2
