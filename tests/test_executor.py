"""The executor, driven by scripted engines that are late, fail, hang on or answer after they were cancelled."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import pytest

from escalade import asking, dispatch, ledger
from escalade.cascade.machine import Machine
from escalade.cascade.policy import Policy
from escalade.climb import Answered, Task
from escalade.dispatch import TRIES
from escalade.engines.base import Progress, Request
from escalade.errors import EngineError, RouteError, SettingError, StoreError
from escalade.executor import Executor
from escalade.limits import Limits
from escalade.pool import Pool
from escalade.problems import Problem
from escalade.routes import parse_route
from escalade.samples.sample import Generation, Sample
from escalade.samples.store import Attempt, Key, Store, Stored
from escalade.testing import Script, ScriptedEngine, answering, pool_of

LONG = 3600.0
"""Seconds that nobody waits: what takes so long must have been cancelled."""
CASCADE = "mv_cascade_S_k4_t0.7_L_k1_t0.0"
TWICE = "mv_cascade_S_k4_t0.7_S_k8_t0.7"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "BACKOFF", 0.0001)


def pool(*aliases: str, **settings: Any) -> Pool:
    return pool_of(*(aliases or ("S", "L")), **{"prices": ["1"] * len(aliases or "SL"), "max_tokens": 20, **settings})


def problems(n: int) -> list[Problem]:
    return [Problem(f"p{i}", f"Problem number {i}: how much?", "1") for i in range(n)]


def tasks(n: int, *routes: str, within: Pool | None = None) -> list[Task]:
    return [Task(problem, parse_route(route, within or pool())) for route in routes for problem in problems(n)]


def drive(coroutine: Awaitable[Any]) -> Any:
    """Run to the end; a run that hangs is a failed test, not a hanging one."""

    async def whole() -> Any:
        out = await asyncio.wait_for(coroutine, 60)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, "the executor left tasks behind"
        return out

    return asyncio.run(whole())


@dataclass
class Ran:
    answered: list[Answered]
    executor: Executor

    def __getitem__(self, ident: str) -> Answered:
        return next(item for item in self.answered if item.problem.id == ident)

    @property
    def statuses(self) -> dict[str, str]:
        return {item.problem.id: item.outcome.status.value for item in self.answered}


def run(
    todo: Sequence[Task],
    engine: ScriptedEngine,
    *,
    within: Pool | None = None,
    store: Store | None = None,
    limits: Limits | None = None,
    policy: Policy | None = None,
    seed: int = 0,
) -> Ran:
    answered: list[Answered] = []
    executor = Executor(
        within or pool(),
        lambda model: engine,
        store=store,
        policy=policy or Policy(),
        limits=limits,
        seed=seed,
        on_answer=answered.append,
    )
    drive(executor.run(todo))
    reconcile(answered, executor)
    return Ran(answered, executor)


def reconcile(answered: Iterable[Answered], executor: Executor) -> None:
    """P16: samples sum to tiers, tiers to problems, problems to the run, exactly."""
    whole = ledger.Cost()
    for item in answered:
        paid: set[tuple[str, float]] = set()
        for use in item.tiers:
            place = (use.tier.model, use.tier.temperature)
            price = executor.pool[use.tier.model].price
            each = ledger.charge(use.usages, price, executor.pool.billing, prompt_paid=place in paid)
            assert ledger.total(each) == use.cost
            assert len(use.usages) == len(use.samples) + use.cancelled + use.broken_off
            if use.usages:
                paid.add(place)
        assert ledger.total(use.cost for use in item.tiers) == item.cost
        whole += item.cost
    assert executor.counters.cost == whole
    assert executor.counters.done == executor.counters.problems


def wild(seed: int, *, answers: Sequence[str | None] = ("1", "1", "1", "2", "3", None)) -> Script:
    """Answers and token counts that depend on the seed of the request alone."""

    def script(request: Request) -> Generation:
        dice = random.Random(f"{seed} {request.seed}")
        answer = dice.choice(answers)
        text = None if answer is None else f"\\boxed{{{answer}}}"
        return Generation(text, prompt_tokens=15, completion_tokens=dice.randint(1, 20))

    return script


def delays(seed: int, most: float = 0.003) -> Callable[[Request], float]:
    return lambda request: random.Random(f"{seed} {request.seed}").uniform(0, most)


@dataclass
class Honest(ScriptedEngine):
    """Keeps the counts of requests under way up to date, as real engines do."""

    used: list[tuple[Request, int, int]] = field(default_factory=list)
    """Tokens of prompt and completion that somebody has to pay."""

    async def sample(self, request: Request, progress: Progress) -> Generation:
        progress.prompt_tokens = 15
        try:
            generation = await super().sample(request, progress)
        except asyncio.CancelledError:
            progress.completion_tokens = random.Random(request.seed).randint(0, 20)
            self.used.append((request, 15, progress.completion_tokens))
            raise
        self.used.append((request, 15, generation.completion_tokens or 0))
        return generation


@dataclass
class Stubborn(ScriptedEngine):
    """Gives its sample even if it was cancelled: it had been under way already."""

    async def sample(self, request: Request, progress: Progress) -> Generation:
        self.requests.append(request)
        try:
            await asyncio.sleep(self.delay(request))
        except asyncio.CancelledError:
            self.cancelled.append(request)
        return self.script(request)


def asked(engine: ScriptedEngine) -> list[tuple[str, str, float, int]]:
    return [(r.problem_id, r.model.alias, r.temperature, r.index) for r in engine.requests]


# -- outcomes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("small", "large", "status", "answer", "owner"),
    [
        (["1"], ["2"], "accepted", "1", 0),
        (["1", "2", "3", "4"], ["2"], "last_tier", "2", 1),
        (["1", "1", "3", "4"], [None], "fallback", "1", 0),
        ([None], [None], "no_answer", None, None),
    ],
)
def test_outcomes(
    small: list[str | None], large: list[str | None], status: str, answer: str | None, owner: int | None
) -> None:
    item = run(tasks(1, CASCADE), ScriptedEngine(answering({"S": small, "L": large})))["p0"]
    assert item.outcome.status.value == status
    assert (item.outcome.answer, item.outcome.decided_by) == (answer, owner)


def test_p10_and_p11_each_tier_has_its_own_evidence() -> None:
    route = "mv_cascade_S_k4_t0.7_M_k4_t0.7_L_k1_t0.0"
    models = pool("S", "M", "L", prices=["1", "2", "9"])

    def outcome(*rows: list[str | None]) -> Any:
        script = answering(dict(zip("SML", rows, strict=True)))
        return run(tasks(1, route, within=models), ScriptedEngine(script), within=models)["p0"].outcome

    p10 = outcome(["9", "9", "9", "8"], ["9", "7", "7", "9"], ["7"])
    assert (p10.answer, p10.decided_by) == ("7", 2)
    p11 = outcome(["1", "2", "3", "4"], ["7"], ["8"])
    assert (p11.answer, p11.decided_by, p11.status.value) == ("7", 1, "accepted")


def test_p15_the_target_reaches_the_decisions() -> None:
    script = answering({"S": ["1", "1", "1", "2"], "L": ["3"]})
    answers = [run(tasks(1, CASCADE), ScriptedEngine(script), policy=Policy(target=t))["p0"] for t in (0.5, 0.99)]
    assert [item.outcome.answer for item in answers] == ["1", "3"]


def test_a_row_whose_route_was_not_understood_lets_the_others_go_on() -> None:
    error = RouteError("mv_X", 3, "X", "a model")
    todo = [*tasks(1, CASCADE), Task(Problem("bad", "?"), None, error), Task(problems(2)[1], tasks(1, "S")[0].route)]
    ran = run(todo, ScriptedEngine(answering({"S": ["1"], "L": ["2"]})))
    assert ran.statuses == {"p0": "accepted", "bad": "error", "p1": "last_tier"}
    assert "found 'X'" in ran["bad"].outcome.notes[0]


def test_many_problems_few_slots_and_every_seed_another() -> None:
    engine = ScriptedEngine(wild(1), slots=7)
    ran = run(tasks(800, CASCADE), engine)
    assert len(ran.answered) == 800
    assert 7 <= engine.most_in_flight <= 2 * 7  # seven of each model
    assert len({r.seed for r in engine.requests}) == len(engine.requests)


def test_every_slot_has_a_problem_of_its_own_while_there_are_enough() -> None:
    engine = ScriptedEngine(answering({"S": ["1"]}), delay=lambda request: 0.001, slots=4)
    run(tasks(20, "mv_S_k2_t0.7"), engine)
    assert [(r.index, r.problem_id) for r in engine.requests[:4]] == [(0, f"p{i}") for i in range(4)]
    last = {request.problem_id: place for place, request in enumerate(engine.requests)}
    assert all(last[f"p{i}"] < last[f"p{i + 10}"] for i in range(10))  # begun ballots are finished first


def test_later_samples_are_not_sent_where_the_first_settle_the_ballot() -> None:
    script = answering({"S": ["1", "2", "1", "1"], "L": ["3"]})
    engine = ScriptedEngine(script, delay=lambda request: 0.001, slots=4)
    ran = run(tasks(20, CASCADE), engine)
    assert set(ran.statuses.values()) == {"last_tier"}
    sent = Counter(request.model.alias for request in engine.requests)
    assert sent["S"] <= 20 * 2 + 4  # two different answers rule out 0.9; a few were on their way


def test_an_engine_without_room_is_asked_one_at_a_time_rather_than_never() -> None:
    engine = ScriptedEngine(answering({"S": ["1"]}), slots=0)
    assert run(tasks(3, "S"), engine).statuses == dict.fromkeys(["p0", "p1", "p2"], "last_tier")
    assert engine.most_in_flight == 1


# -- the store ------------------------------------------------------------------------------------------------


class Witness(Store):
    """Knows the seeds of all that has been written."""

    def __init__(self, path: Path | None = None) -> None:
        super().__init__(path)
        self.seeds: set[int] = set()

    def write(self, samples: Iterable[Stored], attempts: Iterable[Attempt] = ()) -> list[Stored]:
        given = list(samples)
        kept = super().write(given, attempts)
        self.seeds |= {s.seed for s in given}
        return kept


def test_a_sample_is_durable_before_a_machine_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Witness()
    told: list[int | None] = []

    class Watched(Machine):
        def feed(self, tier: int, sample: Sample) -> Any:
            assert sample.seed in store.seeds
            told.append(sample.seed)
            return super().feed(tier, sample)

    monkeypatch.setattr("escalade.outset.Machine", Watched)
    engine = ScriptedEngine(wild(2), delays(2))
    run(tasks(20, CASCADE), engine, store=store)
    assert len(told) > 60
    # A second run, too, tells machines only what the store has.
    run(tasks(20, CASCADE), ScriptedEngine(wild(99)), store=store)


@pytest.mark.parametrize("seed", range(25))
def test_a_rerun_draws_nothing_and_gives_the_same_answers_and_costs(seed: int) -> None:
    dice = random.Random(seed)
    route = dice.choice([CASCADE, TWICE, "mv_entropy_cascade_S_k4_t0.7_L_k3_t0.7", "mv_cascade_S_k4_t0.7_S_k4_t0.7"])
    models = pool(billing=dice.choice(["once", "cached", "each"]))
    policy = Policy(target=dice.choice([0.6, 0.75, 0.9]), stop=dice.choice(["verdict", "exact", "none", "esc:2"]))
    engine = dice.choice([Honest, Stubborn])(wild(seed), delays(seed), slots=dice.choice([2, 5, 64]))
    with Store(None) as store:
        first = run(tasks(12, route), engine, within=models, store=store, policy=policy)
        again = Honest(wild(seed))
        second = run(tasks(12, route), again, within=models, store=store, policy=policy)
        assert len(store) == len(engine.requests) - sum(use.cancelled for i in first.answered for use in i.tiers)
    assert not again.requests
    for item in first.answered:
        same = second[item.problem.id]
        assert same.outcome.verdict == item.outcome.verdict
        assert same.cost == item.cost
        assert (same.fresh, same.fresh_cost) == (0, ledger.Cost())
        assert item.fresh_cost == item.cost


def test_k4_uses_the_first_four_of_k8() -> None:
    store, script = Store(None), wild(3)
    whole = run(tasks(5, "mv_S_k8_t0.7"), ScriptedEngine(script), store=store)
    engine = ScriptedEngine(script)
    part = run(tasks(5, "mv_S_k4_t0.7"), engine, store=store, policy=Policy(stop="none"))
    assert not engine.requests
    for item in part.answered:
        every = {s.index: s for s in whole[item.problem.id].tiers[0].samples}
        assert list(item.tiers[0].samples) == [every[i] for i in range(4)]
        assert item.fresh == 0


@pytest.mark.parametrize("slots", [1, 3, 64])
def test_routes_compared_in_one_run_cost_one_pool(slots: int) -> None:
    store = Store(None)
    engine = ScriptedEngine(wild(4), delays(4), slots=slots)
    routes = ["mv_S_k4_t0.7", "mv_S_k8_t0.7", "mv_cascade_S_k6_t0.7_L_k1_t0.0"]
    ran = run(tasks(4, *routes), engine, store=store, policy=Policy(stop="none"))
    assert max(Counter(asked(engine)).values()) == 1
    assert len(store) == len(engine.requests)
    assert sum(item.fresh for item in ran.answered) == len(engine.requests)
    pools = Counter((r.problem_id, r.model.alias) for r in engine.requests)
    tokens = sum(wild(4)(r).completion_tokens or 0 for r in engine.requests) + 15 * len(pools)
    assert ledger.total(i.fresh_cost for i in ran.answered).usd == Decimal(tokens) / 1_000_000


def test_two_problems_with_one_text_share_samples() -> None:
    twins = [Problem("a", "How much?"), Problem("b", "How much?")]
    todo = [Task(p, tasks(1, "mv_S_k4_t0.7")[0].route) for p in twins]
    engine = ScriptedEngine(wild(5), delays(5))
    ran = run(todo, engine, store=Store(None), policy=Policy(stop="none"))
    assert len(engine.requests) == 4
    assert ran["a"].outcome.answer == ran["b"].outcome.answer
    # Without a store nothing may be shared: recorded samples belong to their problem.
    engine = ScriptedEngine(wild(5))
    run(todo, engine, policy=Policy(stop="none"))
    assert len(engine.requests) == 8


def test_p16_two_tiers_of_one_model_share_samples_and_are_billed_once() -> None:
    engine = ScriptedEngine(answering({"S": ["1", "2", "3", "4", "5", "5", "5", "5"]}))
    item = run(tasks(1, TWICE), engine, store=Store(None), policy=Policy(stop="none"))["p0"]
    assert sorted(r.index for r in engine.requests) == list(range(8))
    assert [[s.index for s in use.samples] for use in item.tiers] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert [use.cost.usd for use in item.tiers] == [Decimal("30e-6"), Decimal("20e-6")]  # one prompt of 10 tokens
    assert item.cost.usd == Decimal("50e-6")
    assert item.outcome.tiers[1].drawn == 8


@pytest.mark.parametrize("kind", [Honest, Stubborn])
def test_a_sample_cancelled_at_one_tier_and_wanted_by_the_next_is_there_once(kind: type[ScriptedEngine]) -> None:
    """The first tier escalates with number 3 under way; the second wants it again."""
    engine = kind(answering({"S": ["1", "2", "3", "4", "4", "5", "5", "6"]}), lambda r: LONG if first_time(r, 3) else 0)

    def first_time(request: Request, index: int) -> bool:
        return request.index == index and sum(r.index == index for r in engine.requests) == 1

    with Store(None) as store:
        first = run(tasks(1, TWICE), engine, store=store, policy=Policy(target=0.6, stop="verdict"))["p0"]
        second = run(tasks(1, TWICE), ScriptedEngine(wild(0)), store=store, policy=Policy(target=0.6))["p0"]
        indexes = [s.index for use in first.tiers for s in use.samples]
        assert len(indexes) == len(set(indexes)) == len(store)
    assert [r.index for r in engine.cancelled] == [3]
    assert sum(use.cancelled for use in first.tiers) == (1 if kind is Honest else 0)
    assert second.cost == first.cost
    assert second.outcome.verdict == first.outcome.verdict


@pytest.mark.parametrize("kind", [Honest, Stubborn])
def test_a_fall_back_draws_again_what_an_early_escalation_cancelled(kind: type[ScriptedEngine]) -> None:
    def slow(request: Request) -> float:
        again = sum((r.model.alias, r.index) == ("S", 3) for r in engine.requests) > 1
        return LONG if (request.model.alias, request.index) == ("S", 3) and not again else 0

    engine = kind(answering({"S": ["1", "2", "3", "3"], "L": [None]}), slow)
    with Store(None) as store:
        first = run(tasks(1, CASCADE), engine, store=store)["p0"]
        assert len(store) == 5
        second = run(tasks(1, CASCADE), ScriptedEngine(wild(0)), store=store)["p0"]
    assert (first.outcome.status.value, first.outcome.answer) == ("fallback", "3")
    assert [s.index for s in first.tiers[0].samples] == [0, 1, 2, 3]
    assert second.cost == first.cost
    assert first.fresh_cost == first.cost


def test_a_fall_back_asks_once_for_a_sample_that_two_tiers_share() -> None:
    route = "mv_cascade_S_k3_t0.7_S_k6_t0.7_L_k1_t0.0"
    script = answering({"S": ["1", "2", "3", "4", "5", "6"], "L": [None]}, prompt_tokens=7)
    engine = ScriptedEngine(script, slots=1)
    item = run(tasks(1, route), engine, policy=Policy(target=1.0))["p0"]
    assert item.outcome.status.value == "fallback"
    assert max(Counter(asked(engine)).values()) == 1
    assert sorted(s.index for use in item.tiers for s in use.samples if use.tier.model == "S") == list(range(6))


def test_settled_early_cancels_what_is_under_way_and_pays_its_tokens() -> None:
    engine = Honest(answering({"S": ["1"]}, prompt_tokens=15), lambda r: LONG if r.index == 1 else 0)
    route, policy = "mv_cascade_S_k4_t0.7_L_k1_t0.0", Policy(target=0.75)
    with Store(None) as store:
        first = run(tasks(1, route), engine, store=store, policy=policy)["p0"]
        again = run(tasks(1, route), ScriptedEngine(wild(0)), store=store, policy=policy)["p0"]
    (tokens,) = (random.Random(r.seed).randint(0, 20) for r in engine.cancelled)
    (use,) = first.tiers
    assert ([s.index for s in use.samples], use.cancelled) == ([0, 2, 3], 1)
    assert use.usages[-1] == ledger.Usage(15, tokens)
    assert first.cost.usd == Decimal(15 + 3 * 5 + tokens) / 1_000_000
    assert again.cost == first.cost
    assert again.tiers[0].usages == use.usages
    assert first.outcome.tiers[0].saved == 1


def test_a_request_cancelled_before_it_reached_the_engine_costs_nothing() -> None:
    # One slot: the settled ballot leaves number 3 waiting, and it is never sent.
    engine = Honest(answering({"S": ["1"]}, prompt_tokens=15), slots=1)
    item = run(tasks(1, CASCADE), engine, store=Store(None), policy=Policy(target=0.75))["p0"]
    assert [r.index for r in engine.requests] == [0, 1, 2]
    assert item.tiers[0].cancelled == 0


def test_another_process_that_was_first_decides_what_the_sample_is(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    store, other = Store(path), Store(path)
    theirs = ScriptedEngine(answering({"S": ["7"]}))

    def script(request: Request) -> Generation:
        if not theirs.requests:
            # While our request is under way, another process answers the same problem.
            theirs.requests.append(request)
            write = Stored(key[0], request.index, request.seed, "p0", "test/S", 0.7, "job", Generation(r"\boxed{7}"))
            other.write([write])
        return Generation(r"\boxed{8}", prompt_tokens=10, completion_tokens=5)

    key: list[Any] = []
    engine = ScriptedEngine(script)
    answered: list[Answered] = []
    executor = Executor(pool(), lambda m: engine, store=store, policy=Policy(), on_answer=answered.append)
    todo = tasks(1, "mv_S_k1_t0.7")
    params = asking.params_of(executor.pool, executor.pool["S"], 0.7, 0)
    key.append(Key(todo[0].problem.fingerprint, "scripted:test/S", params))
    drive(executor.run(todo))
    reconcile(answered, executor)
    assert answered[0].outcome.answer == "7"
    assert answered[0].tiers[0].cancelled == 1  # ours was paid for, too
    rerun = run(todo, ScriptedEngine(wild(0)), store=other)
    assert rerun["p0"].outcome.answer == "7"
    assert rerun["p0"].tiers[0].usages == answered[0].tiers[0].usages
    store.close()
    other.close()


# -- failures -------------------------------------------------------------------------------------------------


def failing(on: str, error: BaseException, *, times: int = 10**6) -> Script:
    """Raises on one problem, so many times."""
    good = answering({"S": ["1"], "L": ["1"]})
    seen = Counter[str]()

    def script(request: Request) -> Generation:
        if request.problem_id == on:
            seen[on] += 1
            if seen[on] <= times:
                raise error
        return good(request)

    return script


def attempts(store: Store) -> list[tuple[Any, ...]]:
    return store._db.execute("SELECT idx, kind, message FROM attempts ORDER BY rowid").fetchall()


def test_a_retryable_failure_is_tried_again() -> None:
    store, engine = Store(None), ScriptedEngine(failing("p1", EngineError("busy", retryable=True), times=2))
    ran = run(tasks(3, "S"), engine, store=store)
    assert set(ran.statuses.values()) == {"last_tier"}
    assert asked(engine).count(("p1", "S", 0.0, 0)) == 3
    assert [(kind, message) for _, kind, message in attempts(store)] == [("error", "busy")] * 2


def test_p13_retries_are_bounded_and_the_error_stays_on_its_row() -> None:
    store, engine = Store(None), ScriptedEngine(failing("p1", EngineError("down", retryable=True)))
    ran = run(tasks(3, CASCADE), engine, store=store)
    assert ran.statuses == {"p0": "accepted", "p1": "error", "p2": "accepted"}
    assert ran["p1"].outcome.answer is None
    assert "S: down" in ran["p1"].outcome.notes
    assert max(Counter(asked(engine)).values()) == 1 + TRIES
    assert all(kind == "error" for _, kind, _ in attempts(store))


def test_a_final_failure_is_not_tried_again() -> None:
    engine = ScriptedEngine(failing("p1", EngineError("refused")))
    ran = run(tasks(3, "S"), engine)
    assert ran.statuses == {"p0": "last_tier", "p1": "error", "p2": "last_tier"}
    assert len(engine.requests) == 3


@pytest.mark.parametrize(
    "error",
    [ValueError("no"), KeyError("x"), RecursionError(), TimeoutError(), OSError(5, "io"), asyncio.CancelledError()],
    ids=lambda e: type(e).__name__,
)
def test_whatever_an_engine_raises_is_the_error_of_its_row(error: BaseException) -> None:
    ran = run(tasks(4, CASCADE), ScriptedEngine(failing("p2", error)), store=Store(None))
    assert ran.statuses == {"p0": "accepted", "p1": "accepted", "p2": "error", "p3": "accepted"}
    assert ran["p2"].outcome.notes[0].startswith("S: ")


def test_an_engine_that_cannot_bound_a_prompt_fails_its_row_only() -> None:
    class Boundless(ScriptedEngine):
        def prompt_bound(self, request: Request) -> int:
            if request.problem_id == "p1":
                raise RuntimeError("no tokenizer")
            return super().prompt_bound(request)

    engine = Boundless(answering({"S": ["1"], "L": ["1"]}))
    ran = run(tasks(3, CASCADE), engine, limits=Limits(run_usd=Decimal(1)))
    assert ran.statuses == {"p0": "accepted", "p1": "error", "p2": "accepted"}
    assert ran["p1"].outcome.notes == ("S: RuntimeError: no tokenizer",)


def test_a_failure_is_recorded_and_a_later_success_wins() -> None:
    store = Store(None)
    assert run(tasks(1, "S"), ScriptedEngine(failing("p0", EngineError("down"))), store=store)["p0"].fresh == 0
    good = run(tasks(1, "S"), ScriptedEngine(failing("", EngineError(""))), store=store)
    assert good.statuses == {"p0": "last_tier"}
    assert [kind for _, kind, _ in attempts(store)] == ["error"]
    engine = ScriptedEngine(wild(0))
    assert run(tasks(1, "S"), engine, store=store)["p0"].outcome == good["p0"].outcome
    assert not engine.requests


def test_a_failure_of_a_sample_that_is_no_longer_wanted_does_no_harm() -> None:
    async def late(request: Request, progress: Progress) -> Generation:
        try:
            return await ScriptedEngine.sample(engine, request, progress)
        except asyncio.CancelledError:
            raise EngineError("died of it") from None

    engine = ScriptedEngine(answering({"S": ["1"]}), lambda r: LONG if r.index == 3 else 0)
    engine.sample = late  # type: ignore[method-assign]
    assert run(tasks(1, CASCADE), engine, policy=Policy(target=0.75)).statuses == {"p0": "accepted"}


@pytest.mark.parametrize("samples", [0, 1, 7, 30, 50])
def test_ctrl_c_keeps_what_was_paid_for_and_a_rerun_goes_on(samples: int) -> None:
    store, todo = Store(None), tasks(20, CASCADE)
    engine = Honest(wild(6), delays(6), slots=9)
    answered: list[Answered] = []
    jobs: list[asyncio.Task[None]] = []

    def happened(name: str, facts: object) -> None:
        if name == "sample" and executor.counters.fresh == samples:
            jobs[0].cancel()

    executor = Executor(
        pool(), lambda m: engine, store=store, policy=Policy(), on_answer=answered.append, on_event=happened
    )

    async def interrupt() -> None:
        jobs.append(asyncio.get_running_loop().create_task(executor.run(todo)))
        if not samples:
            jobs[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await jobs[0]

    drive(interrupt())
    assert len(answered) < 20
    kept = len(store)
    assert kept == executor.counters.fresh >= samples
    done = len(engine.requests) - len(engine.cancelled)
    assert kept == done
    assert len(attempts(store)) == len(engine.cancelled)
    # Of problems that are done, nothing was still under way.
    rest = Honest(wild(6), delays(7), slots=9)
    second = run(todo, rest, store=store)
    assert len(second.answered) == 20
    finished = set(asked(engine)) - {(r.problem_id, r.model.alias, r.temperature, r.index) for r in engine.cancelled}
    assert not finished & set(asked(rest)), "paid twice"
    uninterrupted = run(todo, Honest(wild(6), delays(8)), store=Store(None))
    for item in uninterrupted.answered:
        assert second[item.problem.id].outcome.verdict == item.outcome.verdict
    third = run(todo, Honest(wild(0)), store=store)
    assert ledger.total(i.cost for i in third.answered) == ledger.total(i.cost for i in second.answered)
    # What both runs spent is what it cost in the end.
    paid = sum(p + c for _, p, c in engine.used + rest.used)
    each = pool(billing="each")
    billed = run(todo, Honest(wild(0)), store=store, within=each)
    assert ledger.total(i.cost for i in billed.answered).usd == Decimal(paid) / 1_000_000


def test_an_error_of_the_caller_stops_the_run_and_loses_nothing() -> None:
    def upset(item: Answered) -> None:
        raise ZeroDivisionError

    store, engine = Store(None), Honest(wild(7), delays(7))
    executor = Executor(pool(), lambda m: engine, store=store, policy=Policy(), on_answer=upset)
    with pytest.raises(ZeroDivisionError):
        drive(executor.run(tasks(5, CASCADE)))
    assert len(store) == len(engine.requests) - len(engine.cancelled)


def test_a_store_that_fails_stops_the_run() -> None:
    class Full(Store):
        def write(self, samples: Iterable[Stored], attempts: Iterable[Attempt] = ()) -> list[Stored]:
            raise StoreError("disk full")

    engine = ScriptedEngine(answering({"S": ["1"]}), lambda r: r.index * LONG)
    executor = Executor(pool(), lambda m: engine, store=Full(None), policy=Policy())
    with pytest.raises(StoreError, match="disk full"):
        drive(executor.run(tasks(5, CASCADE)))
    assert len(engine.cancelled) == 15


# -- limits ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", ["run_usd", "problem_usd", "tier_usd"])
def test_a_limit_of_money_where_a_model_has_no_price_is_refused_before_anything_is_drawn(limit: str) -> None:
    models = pool("S", "L", prices=["1", None])
    engine = ScriptedEngine(wild(0))
    limits = Limits(**{limit: Decimal(1)})
    with pytest.raises(SettingError, match=r"L of pool 'test' has no price.*give the model a price"):
        run(tasks(2, "S", CASCADE), engine, within=models, limits=limits)
    assert not engine.requests
    # A price of 0 is a price, a model that no route uses needs none.
    free = pool("S", "L", prices=["0", None])
    assert run(tasks(1, "S"), engine, within=free, limits=Limits(run_usd=Decimal(0))).statuses == {"p0": "last_tier"}


@pytest.mark.parametrize("seed", range(200))
def test_money_is_never_overrun_however_many_requests_are_in_flight(seed: int) -> None:
    dice = random.Random(seed)
    limits = Limits(
        run_usd=dice.choice([None, Decimal(dice.randint(0, 4000)) / 1_000_000]),
        problem_usd=dice.choice([None, Decimal(dice.randint(0, 900)) / 1_000_000]),
        tier_usd=dice.choice([None, Decimal(dice.randint(0, 500)) / 1_000_000]),
        problem_samples=dice.choice([None, None, dice.randint(0, 9)]),
    )
    prices = [dice.choice(["0", "1", "0.3"]), dice.choice(["0", "2", "9"])]
    models = pool(prices=prices, billing=dice.choice(["once", "cached", "each"]))
    kind = dice.choice([Honest, ScriptedEngine, Stubborn])
    engine = kind(wild(seed), delays(seed, 0.001), slots=dice.choice([1, 4, 64]))
    policy = Policy(target=dice.choice([0.6, 0.9]))
    store, route = Store(None), dice.choice([CASCADE, TWICE])
    for _ in range(2):  # a rerun must not spend beyond the limit either: what the store has counts as used
        ran = run(tasks(8, route), engine, within=models, store=store, limits=limits, policy=policy)
        assert len(ran.answered) == 8
        total = ledger.total(item.cost for item in ran.answered)
        assert limits.run_usd is None or total.known <= limits.run_usd
        for item in ran.answered:
            assert limits.problem_usd is None or item.cost.known <= limits.problem_usd
            assert limits.tier_usd is None or all(use.cost.known <= limits.tier_usd for use in item.tiers)
            drawn = sum(len(use.samples) for use in item.tiers)
            assert limits.problem_samples is None or drawn <= limits.problem_samples
            if item.outcome.status.value == "budget":
                assert any("limit of" in note for note in item.outcome.notes)
    if isinstance(engine, Honest) and limits.run_usd is not None and models.billing == "each":
        price = dict(zip("SL", map(Decimal, prices), strict=True))
        paid = sum((p + c) * price[request.model.alias] for request, p, c in engine.used)
        assert paid / 1_000_000 <= limits.run_usd  # as the engine's owner sees it


def test_a_problem_out_of_money_ends_with_its_best_answer_so_far() -> None:
    # One request may cost its prompt's bound (some 60 characters) and 20 tokens: room for the first tier only.
    engine = ScriptedEngine(answering({"S": ["1", "1", "2", "3"], "L": ["9"]}))
    bound = engine.prompt_bound(request_of(engine)) + 20
    limits = Limits(problem_usd=Decimal(10 + 4 * 5 + bound - 1) / 1_000_000)
    ran = run(tasks(2, CASCADE), engine, limits=limits, policy=Policy(stop="none"))
    assert ran.statuses == {"p0": "budget", "p1": "budget"}
    assert ran["p0"].outcome.answer == "1"
    assert "for the problem is reached" in ran["p0"].outcome.notes[-1]
    assert {r.model.alias for r in engine.requests} == {"S"}


def request_of(engine: ScriptedEngine) -> Request:
    """A request as the others are; asking for it costs nothing here."""
    run(tasks(1, "S"), engine)
    request = engine.requests[0]
    engine.requests.clear()
    return request


def test_money_that_waits_for_requests_in_flight_is_used_in_the_end() -> None:
    # Only one request fits beside what is reserved, yet all four samples fit one after the other.
    engine = ScriptedEngine(answering({"S": ["1"]}))
    bound = engine.prompt_bound(request_of(engine)) + 20
    limits = Limits(run_usd=Decimal(bound + 10 + 3 * 5) / 1_000_000)
    ran = run(tasks(1, "mv_S_k4_t0.7"), engine, limits=limits, policy=Policy(stop="none"))
    assert ran.statuses == {"p0": "last_tier"}
    assert len(engine.requests) == 4
    assert engine.most_in_flight == 1


def test_what_a_cancelled_request_used_counts_as_its_worst_while_unknown() -> None:
    # This engine knows no prompt tokens of what was cancelled; billed each, its cost is unknown and may be the most.
    models, store = pool(billing="each"), Store(None)
    script = answering({"S": ["1", "2"]})
    engine = ScriptedEngine(script, lambda r: LONG if r.index > 1 else 0)
    bound = engine.prompt_bound(request_of(engine)) + 20
    item = run(tasks(1, CASCADE), engine, within=models, store=store)["p0"]
    assert (item.outcome.status.value, item.cost.unknown, item.cost.usd) == ("error", 2, None)  # no script for L
    for room, status in ((-1, "budget"), (0, "last_tier")):
        limits = Limits(problem_usd=Decimal(2 * 15 + 2 * bound + bound + room) / 1_000_000)
        engine = ScriptedEngine(answering({"L": ["1"]}))
        ran = run(tasks(1, CASCADE), engine, within=models, limits=limits, store=store)
        assert ran.statuses == {"p0": status}


def test_samples_per_problem() -> None:
    engine = ScriptedEngine(answering({"S": ["1", "2", "3", "4"], "L": ["1"]}))
    ran = run(tasks(3, CASCADE), engine, limits=Limits(problem_samples=4), policy=Policy(stop="none"))
    assert set(ran.statuses.values()) == {"budget"}
    assert Counter(r.problem_id for r in engine.requests) == {"p0": 4, "p1": 4, "p2": 4}
    assert ran["p0"].outcome.answer == "1"
    none = run(tasks(1, CASCADE), engine, limits=Limits(problem_samples=0))
    assert (none["p0"].outcome.status.value, none["p0"].outcome.answer) == ("budget", None)


def test_a_tier_out_of_time_escalates() -> None:
    engine = Honest(answering({"S": ["1"], "L": ["2"]}), lambda r: LONG if (r.model.alias, r.index) == ("S", 3) else 0)
    limits = Limits(tier_seconds=1.0)
    with Store(None) as store:
        item = run(tasks(1, CASCADE), engine, store=store, limits=limits)["p0"]
    assert (item.outcome.status.value, item.outcome.answer, item.outcome.decided_by) == ("last_tier", "2", 1)
    assert "out of time" in item.outcome.tiers[0].looks[-1].reason
    assert [use.cancelled for use in item.tiers] == [1, 0]


def test_the_last_tier_out_of_time_is_a_deadline_with_the_best_answer_so_far() -> None:
    engine = ScriptedEngine(answering({"S": ["1", "1", "2", "3"], "L": ["2"]}), lambda r: LONG * (r.model.alias == "L"))
    item = run(tasks(1, CASCADE), engine, limits=Limits(tier_seconds=1.0))["p0"]
    assert (item.outcome.status.value, item.outcome.answer, item.outcome.decided_by) == ("deadline", "1", 0)


def test_each_tier_has_its_own_time() -> None:
    engine = ScriptedEngine(answering({"S": ["1"], "M": ["1"], "L": ["2"]}), lambda r: LONG * (r.model.alias != "L"))
    models = pool("S", "M", "L")
    route = "mv_cascade_S_k4_t0.7_M_k4_t0.7_L_k1_t0.0"
    item = run(tasks(1, route, within=models), engine, within=models, limits=Limits(tier_seconds=0.8))["p0"]
    assert (item.outcome.status.value, item.outcome.decided_by) == ("last_tier", 2)


def test_the_run_out_of_time_ends_every_problem_those_not_begun_too() -> None:
    engine = Honest(answering({"S": ["1"], "L": ["2"]}), lambda r: 0 if r.problem_id == "p0" else LONG, slots=2000)
    n = 600
    with Store(None) as store:
        ran = run(tasks(n, CASCADE), engine, store=store, limits=Limits(run_seconds=2))
        assert ran.statuses == {"p0": "accepted", **{f"p{i}": "deadline" for i in range(1, n)}}
        assert "run is reached" in ran["p1"].outcome.notes[-1]
        again = run(tasks(1, CASCADE), Honest(wild(0)), store=store, limits=Limits(run_seconds=2))
    assert again.statuses == {"p0": "accepted"}  # what the store has needs no time


def test_no_time_at_all() -> None:
    ran = run(tasks(3, CASCADE), ScriptedEngine(wild(0), lambda r: LONG), limits=Limits(run_seconds=0))
    assert set(ran.statuses.values()) == {"deadline"}


def test_no_tasks() -> None:
    assert run([], ScriptedEngine(wild(0))).answered == []


def test_the_tokens_of_requests_under_way_are_seen() -> None:
    class Slow(ScriptedEngine):
        async def sample(self, request: Request, progress: Progress) -> Generation:
            progress.completion_tokens = 3
            seen.append(executor.tokens_now())
            return await super().sample(request, progress)

    seen: list[int] = []
    engine = Slow(answering({"S": ["1"]}))
    executor = Executor(pool(), lambda m: engine, store=None, policy=Policy(stop="none"))
    drive(executor.run(tasks(1, "mv_S_k4_t0.7")))
    assert seen == [3, 6, 9, 12]
    assert executor.tokens_now() == executor.counters.tokens == 20


def test_greedy_samples_outlive_the_run_seed_and_others_do_not() -> None:
    store = Store(None)
    for seed in (0, 1):
        run(
            tasks(1, CASCADE),
            engine := ScriptedEngine(answering({"S": ["1", "2"], "L": ["1"]})),
            store=store,
            seed=seed,
        )
        assert Counter(r.model.alias for r in engine.requests) == ({"S": 4, "L": 1} if seed == 0 else {"S": 4})


def test_what_a_route_costs_does_not_depend_on_what_other_routes_have_paid_for() -> None:
    one_by_one = {"slots": 1}
    alone = run(tasks(4, "mv_cascade_S_k5_t0.7_L_k1_t0.0"), ScriptedEngine(wild(3), **one_by_one), store=Store(None))
    store = Store(None)
    run(tasks(4, "mv_S_k8_t0.7"), ScriptedEngine(wild(3)), store=store, policy=Policy(stop="none"))
    engine = ScriptedEngine(wild(3), **one_by_one)
    shared = run(tasks(4, "mv_cascade_S_k5_t0.7_L_k1_t0.0"), engine, store=store)
    assert {request.model.alias for request in engine.requests} == {"L"}
    for item in alone.answered:
        other = shared[item.problem.id]
        assert other.outcome.verdict == item.outcome.verdict
        assert other.cost == item.cost
        assert [t.drawn for t in other.outcome.tiers] == [len(use.samples) for use in other.tiers]


def test_the_same_job_again_is_charged_all_that_it_had_paid_for() -> None:
    store = Store(None)
    delays = iter([0.03, 0.0, 0.0, 0.01, 0.02] * 40)
    first = run(tasks(4, "mv_S_k5_t0.7"), ScriptedEngine(wild(5), delay=lambda request: next(delays)), store=store)
    again = run(tasks(4, "mv_S_k5_t0.7"), ScriptedEngine(wild(5)), store=store)
    assert sum(item.fresh for item in again.answered) == 0
    assert [i.cost for i in sorted(first.answered, key=lambda i: i.problem.id)] == [
        i.cost for i in sorted(again.answered, key=lambda i: i.problem.id)
    ]


def test_warm_up_asks_one_sample_until_its_first_token() -> None:
    """The engine says when; the others of the tier wait meanwhile, and other problems do not."""

    class Slow(ScriptedEngine):
        told: ClassVar[list[tuple[str, int, int]]] = []

        async def sample(self, request: Request, progress: Progress) -> Generation:
            self.requests.append(request)
            await asyncio.sleep(0.01)
            self.told.append((request.problem_id, request.index, len(self.requests)))
            progress.completion_tokens += 1
            await asyncio.sleep(0.05)
            return self.script(request)

    within = pool("S")
    within = within.model_copy(update={"models": tuple(m.model_copy(update={"warm_up": True}) for m in within.models)})
    engine = Slow(answering({"S": ["1", "2", "3", "4"]}), slots=64)
    ran = run(tasks(2, "mv_S_k4_t0.7", within=within), engine, within=within, policy=Policy(stop="none"))
    assert len(ran.answered) == 2
    first = [(r.problem_id, r.index) for r in engine.requests[:2]]
    assert sorted(first) == [("p0", 0), ("p1", 0)]
    assert [sent for ident, index, sent in engine.told if index == 0] == [2, 2]  # nothing else had been sent by then
    assert len(engine.requests) == 8


def test_models_of_one_device_take_turns_and_rest_in_between() -> None:
    within = pool()
    within = within.model_copy(update={"models": tuple(m.model_copy(update={"gpu": "0"}) for m in within.models)})
    # Always an answer: a fall-back would draw at the first tier again, and so have its model loaded again.
    engine = ScriptedEngine(wild(1, answers=("1", "1", "1", "2", "3")), delays(1), slots=4)
    ran = run(tasks(30, CASCADE, "L", within=within), engine, within=within)
    assert len(ran.answered) == 60
    order = [request.model.alias for request in engine.requests]
    assert order == sorted(order, key="SL".index)
    assert engine.rested == ["S"]


def test_a_lane_keeps_no_problem_alive_that_is_done() -> None:
    ran = run(tasks(600, "mv_S_k4_t0.7"), ScriptedEngine(wild(3), slots=8))
    lane = ran.executor._dispatch.lanes["S"]
    assert len(lane._order) <= 64 + 4
    assert not lane._present and not lane._under_way and not lane._queues
