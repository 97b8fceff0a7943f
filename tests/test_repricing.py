"""Recorded results priced anew: the same prices give the same costs, other prices what a run by them would cost."""

import asyncio
import json
import random
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import escalade
from escalade import ledger
from escalade.cascade.policy import Policy
from escalade.climb import Answered, Task
from escalade.engines.base import Progress, Request
from escalade.errors import SettingError, TableError
from escalade.executor import Executor
from escalade.job import Job
from escalade.ledger import Billing, Cost
from escalade.limits import Limits
from escalade.pool import Pool, PoolModel, Price, load_pool
from escalade.problems import Problem
from escalade.repricing import Repriced, reprice
from escalade.results import Results
from escalade.routes import parse_route
from escalade.samples.sample import Generation
from escalade.samples.store import Store
from escalade.testing import ScriptedEngine

BILLINGS: tuple[Billing, ...] = ("once", "cached", "each")
ROUTES = ("mv_cascade_S_k4_t0.7_S_k7_t0.7_L_k3_t0.7", "mv_cascade_S_k3_t0.7_L_k1_t0.0", "mv_L_k4_t0.7", "S")


def pool(billing: Billing = "once", s: dict[str, str] | None = None, *, l_price: bool = True) -> Pool:
    cheap = Price.model_validate(s or {"input": "0.123456789012", "cached": "0.05", "output": "0.4"})
    dear = Price.model_validate({"input": "3", "cached": "0.3", "output": "15"}) if l_price else None
    models = (
        PoolModel(alias="S", name="test/small", engine="scripted", price=cheap),
        PoolModel(alias="L", name="test/large", engine="scripted", price=dear),
    )
    return Pool(name="scripted", models=models, billing=billing, max_tokens=30)


@dataclass
class Random(ScriptedEngine):
    """Samples of random length and delay, some of unknown length; what is cancelled has used something."""

    vague: bool = False

    async def sample(self, request: Request, progress: Progress) -> Generation:
        dice = random.Random(request.seed)
        progress.prompt_tokens, progress.cached_tokens = 17, dice.choice([None, 0, 5, 17])
        try:
            await super().sample(request, progress)
        except asyncio.CancelledError:
            progress.completion_tokens = dice.randint(0, 20)
            raise
        return Generation(
            f"\\boxed{{{dice.choice('11112')}}}",
            prompt_tokens=17,
            cached_tokens=progress.cached_tokens,
            completion_tokens=None if self.vague and dice.random() < 0.05 else dice.randint(1, 30),
        )


def run(models: Pool, seed: int, store: Path | None = None, *, vague: bool = False) -> Results:
    tasks = tuple(
        Task(Problem(f"{seed}-{i}", f"Number {i} of {seed}: how much?", "1"), parse_route(route, models))
        for i, route in enumerate(ROUTES * 3)
    )
    engine = Random(
        lambda request: Generation(None), lambda request: random.Random(request.seed).uniform(0, 0.004), vague=vague
    )
    answered: list[Answered] = []
    kept = None if store is None else Store(store)
    executor = Executor(
        models, lambda model: engine, store=kept, policy=Policy(target=0.85), seed=seed, on_answer=answered.append
    )
    asyncio.run(asyncio.wait_for(executor.run(tasks), 60))
    if kept is not None:
        kept.close()
    answered.sort(key=lambda item: item.problem.id)
    job = Job(models, tasks, Policy(target=0.85), Limits(), seed, None, "random")
    return Results(job, tuple(answered), 0.0, grading={})


def with_cached(folder: Path, results: Results) -> Path:
    """Make sure that the traces say what was cached of each request, cancelled ones too."""
    table = pd.read_parquet(folder / "answers.parquet")
    traces = [json.loads(text) for text in table["trace"]]
    for trace, item in zip(traces, results.answered, strict=True):
        for tier, use in zip(trace, item.tiers, strict=True):
            tier["cached_tokens"] = [usage.cached for usage in use.usages]
    table.assign(trace=[json.dumps(trace, ensure_ascii=False) for trace in traces]).to_parquet(
        folder / "answers.parquet", index=False
    )
    return folder


def expected(results: Results, models: Pool) -> dict[str, list[Cost]]:
    """The cost of each tier of each problem, had the run had these prices."""
    out: dict[str, list[Cost]] = {}
    for item in results.answered:
        paid: set[tuple[str, float]] = set()
        out[item.problem.id] = []
        for use in item.tiers:
            place = use.tier.model, use.tier.temperature
            price = models[use.tier.model].price
            costs = ledger.charge(use.usages, price, models.billing, prompt_paid=place in paid)
            paid |= {place} if use.usages else set()
            out[item.problem.id].append(ledger.total(costs))
    return out


def reconcile(repriced: Repriced) -> None:
    assert ledger.total(tier.after for tier in repriced.tiers) == repriced.after
    assert ledger.total(problem.after for problem in repriced.problems) == repriced.after
    for problem in repriced.problems:
        assert ledger.total(tier.after for tier in problem.tiers) == problem.after
        mine = repriced.table.set_index("idx").loc[problem.id]
        texts = [tier["cost_usd"] for tier in json.loads(mine["trace"])]
        assert texts == [None if t.after.usd is None else str(t.after.usd) for t in problem.tiers]
        if problem.after.usd is not None:
            assert sum(map(Decimal, texts)) == problem.after.usd
            assert mine["total_cost_usd"] == float(problem.after.usd)
        else:
            assert pd.isna(mine["total_cost_usd"])


STAMPED = ("billing", "prices_as_of", "prices")


def same_files(before: Path, after: Path) -> None:
    for name in ("answers.parquet", "samples.parquet"):
        pd.testing.assert_frame_equal(pd.read_parquet(before / name), pd.read_parquet(after / name))
    old, new = (json.loads((folder / "summary.json").read_text()) for folder in (before, after))
    assert {k: v for k, v in new.items() if k not in STAMPED} == {k: v for k, v in old.items() if k not in STAMPED}


# -- the same prices ------------------------------------------------------------------------------------------


def test_the_shipped_recording_costs_by_its_own_prices_what_it_cost(tmp_path: Path) -> None:
    from escalade.samples.recorded import shipped_recording

    if not shipped_recording().exists():
        pytest.skip("the shipped recording is absent")
    results = escalade.run(engine="replay:shipped")
    results.write(tmp_path / "run")
    again = reprice(tmp_path / "run", results.job.pool)
    assert again.after == again.before == results.summary().cost and again.notes == ()
    assert [str(tier.after.known) for tier in again.tiers] == [str(t.cost.known) for t in results.summary().tiers]
    reconcile(again)
    same_files(tmp_path / "run", again.write(tmp_path / "again"))


@pytest.mark.parametrize("vague", [False, True])
@pytest.mark.parametrize("billing", BILLINGS)
def test_p16_a_run_costs_by_its_own_prices_what_it_cost_to_the_last_digit(
    billing: Billing, vague: bool, tmp_path: Path
) -> None:
    models = pool(billing)
    cancelled = shared = 0
    for seed in range(4):
        results = run(models, seed, tmp_path / f"{seed}.sqlite" if seed % 2 else None, vague=vague)
        folder = with_cached(results.write(tmp_path / f"{seed}"), results)
        again = reprice(folder, models)
        assert again.after == results.summary().cost
        known = [tier for problem in again.problems for tier in problem.tiers if tier.after.usd is not None]
        assert all(str(tier.after.usd) == str(tier.before.usd) for tier in known)
        assert (again.before.usd is None) == (again.after.usd is None)
        reconcile(again)
        same_files(folder, again.write(tmp_path / f"{seed}-again"))
        cancelled += results.summary().samples_cancelled
        shared += sum([use.tier.model for use in item.tiers].count("S") > 1 for item in results.answered)
    assert cancelled and shared


def test_a_rerun_from_the_store_is_repriced_too(tmp_path: Path) -> None:
    models = pool()
    run(models, 1, tmp_path / "s.sqlite")
    results = run(models, 1, tmp_path / "s.sqlite")
    assert results.summary().samples_generated == 0
    folder = results.write(tmp_path / "run")
    again = reprice(folder, models)
    assert again.after == results.summary().cost
    reconcile(again)
    same_files(folder, again.write(tmp_path / "again"))


# -- other prices ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("billing", BILLINGS)
def test_p16_other_prices_give_what_a_run_by_them_would_have_cost(billing: Billing, tmp_path: Path) -> None:
    other = pool("once", {"input": "7", "cached": "0", "output": "0.000000000001"})
    results = run(pool("cached"), 5)
    folder = with_cached(results.write(tmp_path / "run"), results)
    again = reprice(folder, other, billing=billing)
    costs = expected(results, other.model_copy(update={"billing": billing}))
    assert {problem.id: [tier.after for tier in problem.tiers] for problem in again.problems} == costs
    assert again.before == results.summary().cost != again.after
    assert again.stamp["billing"] == billing
    reconcile(again)
    written = again.write(tmp_path / "again")
    samples = pd.read_parquet(written / "samples.parquet")
    assert samples["cost_usd"].sum() <= float(again.after.known) * (1 + 1e-12)
    summary = json.loads((written / "summary.json").read_text())
    assert summary["cost_usd"] == float(again.after.known) and summary["billing"] == billing
    assert sum(tier["cost_usd"] for tier in summary["tiers"]) == pytest.approx(summary["cost_usd"])
    assert reprice(written, other, billing=billing).before == again.after
    assert reprice(written, other, billing=billing).stamp_before == again.stamp


def test_p17_a_price_of_0_is_a_price_and_no_price_is_unknown(tmp_path: Path) -> None:
    folder = run(pool(), 2).write(tmp_path / "run")
    free = reprice(folder, pool(s={"input": "0", "output": "0"}))
    assert {tier.after.usd for tier in free.tiers if tier.model == "S"} == {0}
    unknown = reprice(folder, pool(l_price=False))
    assert {tier.after.usd is None for tier in unknown.tiers if tier.model == "L"} == {True}
    assert unknown.after.usd is None and unknown.after.unknown == sum(
        tier.requests for tier in unknown.tiers if tier.model == "L"
    )
    assert unknown.notes == ("model 'L' has no price in pool 'scripted'",)
    reconcile(unknown)
    summary = json.loads((unknown.write(tmp_path / "again") / "summary.json").read_text())
    assert (summary["cost_usd"], summary["requests_of_unknown_cost"]) == (None, unknown.after.unknown)
    back = reprice(tmp_path / "again", pool())
    assert back.before.usd is None and back.after.usd is not None


def test_what_a_trace_does_not_say_of_the_cache_is_unknown_where_it_matters(tmp_path: Path) -> None:
    results = run(pool(), 3)
    folder = results.write(tmp_path / "run")
    table = pd.read_parquet(folder / "answers.parquet")
    traces = [json.loads(text) for text in table["trace"]]
    for tier in (tier for trace in traces for tier in trace):
        tier.pop("cached_tokens", None)
    table.assign(trace=[json.dumps(trace) for trace in traces]).to_parquet(folder / "answers.parquet")
    cancelled = results.summary().samples_cancelled
    assert cancelled
    each = reprice(folder, pool(), billing="each")
    assert each.after.unknown == cancelled and f"of {cancelled} requests it is not recorded" in each.notes[0]
    assert reprice(folder, pool(), billing="cached").after.unknown == 0
    (folder / "samples.parquet").unlink()
    assert reprice(folder, pool(), billing="each").after.usd is None
    alone = reprice(folder, pool())
    assert alone.after == results.summary().cost and alone.samples is None


def test_a_model_is_found_by_its_full_name_where_its_alias_is_another(tmp_path: Path) -> None:
    folder = run(pool(), 2).write(tmp_path / "run")
    models = pool()
    renamed = Pool(
        name="renamed",
        models=tuple(m.model_copy(update={"alias": f"my-{m.alias}"}) for m in models.models),
    )
    assert reprice(folder, renamed).after == reprice(folder, models).after
    swapped = Pool(name="other", models=tuple(m.model_copy(update={"name": f"x/{m.alias}"}) for m in models.models))
    assert "model 'S' was test/small, and is priced as x/S" in reprice(folder, swapped).notes


def test_what_the_run_itself_paid_is_said_where_it_follows(tmp_path: Path) -> None:
    results = run(pool(), 2, tmp_path / "s.sqlite")
    folder = results.write(tmp_path / "run")
    other = pool(s={"input": "1", "output": "1"})
    summary = json.loads((folder / "summary.json").read_text())
    all_of_it = float(reprice(folder, other).after.known)
    # Which of several requests were paid for by this run is not recorded.
    drawn, cost = summary["samples_drawn"], summary["cost_usd"]
    for generated, cancelled, recorded, spent in (
        (drawn, 0, cost, all_of_it),
        (drawn, 0, cost / 2, None),
        (0, 0, 0.0, 0),
        (1, 0, cost, None),
        (0, 1, 0.0, None),
    ):
        changed = {**summary, "samples_generated": generated, "samples_cancelled": cancelled, "spent_usd": recorded}
        (folder / "summary.json").write_text(json.dumps(changed))
        again = reprice(folder, other)
        assert again.summary is not None and again.summary["spent_usd"] == spent


# -- what cannot be priced ------------------------------------------------------------------------------------


def test_a_model_that_the_pool_does_not_have_is_an_error(tmp_path: Path) -> None:
    folder = run(pool(), 2).write(tmp_path / "run")
    with pytest.raises(TableError, match=r"unknown model '[LS]': pool 'qwen2\.5-math' has"):
        reprice(folder, load_pool("qwen2.5-math"))
    with pytest.raises(SettingError, match="billing is 'twice': it is one of once, cached, each"):
        reprice(folder, pool(), billing="twice")  # type: ignore[arg-type]


def spoil(folder: Path, **changed: Any) -> None:
    table = pd.read_parquet(folder / "answers.parquet")
    trace = json.loads(table["trace"][0])
    for key, value in changed.items():
        if value is ...:
            del trace[0][key]
        else:
            trace[0][key] = value
    texts = [json.dumps(trace), *table["trace"][1:]]
    table.assign(trace=texts).to_parquet(folder / "answers.parquet", index=False)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"prompt_tokens": ...}, "lacks 'prompt_tokens'"),
        ({"prompt_tokens": [-1]}, "-1 is no count"),
        ({"prompt_tokens": [2**63]}, "9223372036854775808 is no count"),
        ({"prompt_tokens": [1.5]}, "1.5 is no count"),
        ({"prompt_tokens": [True]}, "True is no count"),
        ({"prompt_tokens": 5}, "5 is no list of token counts"),
        ({"prompt_tokens": []}, "counts the requests of a tier in two ways"),
        ({"cached_tokens": [1] * 99}, "counts the requests of a tier in two ways"),
        ({"cancelled": 10**6}, "counts the requests of a tier in two ways"),
        ({"cost_usd": "dear"}, "'dear' is no sum of money"),
        ({"cost_usd": "NaN"}, "'NaN' is no sum of money"),
        ({"cost_usd": "1E+999999"}, "is no sum of money"),
        ({"temperature": float("nan")}, "nan is no temperature"),
        ({"temperature": None}, "cannot be read"),
    ],
)
def test_a_trace_that_is_none_is_an_error_that_names_the_problem(
    changed: dict[str, Any], said: str, tmp_path: Path
) -> None:
    folder = run(pool(), 2).write(tmp_path)
    spoil(folder, **changed)
    with pytest.raises(TableError, match=f"the trace of problem '2-0' .*{said}"):
        reprice(folder, pool())


@pytest.mark.parametrize("text", ["", "[", "[1]", "{}x", "[" * 100_000, "9" * 5000, "null"])
def test_a_trace_that_is_no_json_is_an_error(text: str, tmp_path: Path) -> None:
    pd.DataFrame({"idx": ["p"], "trace": [text]}).to_parquet(tmp_path / "answers.parquet")
    with pytest.raises(TableError, match="the trace of problem 'p' cannot be read"):
        reprice(tmp_path, pool())


def test_tables_of_two_runs_are_refused(tmp_path: Path) -> None:
    folder = run(pool(), 2).write(tmp_path / "run")
    samples = pd.read_parquet(folder / "samples.parquet")
    samples[1:].to_parquet(folder / "samples.parquet")
    with pytest.raises(TableError, match="the two are not of one run"):
        reprice(folder, pool())
    more = pd.concat([samples, samples[:1].assign(problem_id="another")])
    more.to_parquet(folder / "samples.parquet")
    with pytest.raises(TableError, match="problem 'another', of which no trace tells"):
        reprice(folder, pool())
    samples.drop(columns="tier").to_parquet(folder / "samples.parquet")
    with pytest.raises(TableError, match="has no column 'tier'"):
        reprice(folder, pool())


@pytest.mark.parametrize(("text", "said"), [("{", "is no summary"), ("[]", "has no 'tiers'"), ("{}", "has no 'tiers'")])
def test_a_summary_that_is_none_is_refused(text: str, said: str, tmp_path: Path) -> None:
    folder = run(pool(), 2).write(tmp_path)
    (folder / "summary.json").write_text(text)
    with pytest.raises(TableError, match=said):
        reprice(folder, pool())


def test_a_file_that_is_no_result_table_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="is not there"):
        reprice(tmp_path, pool())
    pd.DataFrame({"idx": ["p"]}).to_parquet(tmp_path / "answers.parquet")
    with pytest.raises(TableError, match="is no result table"):
        reprice(tmp_path, pool())


def test_results_without_problems_cost_nothing(tmp_path: Path) -> None:
    pd.DataFrame({"idx": [], "trace": []}).to_parquet(tmp_path / "answers.parquet")
    again = reprice(tmp_path, pool())
    assert (again.tiers, again.after, again.before) == ((), Cost(), Cost())
