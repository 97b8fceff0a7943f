"""What scores cost: charged to their problems, in every sum, at new prices, under limits and in comparisons."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import escalade
from escalade import ledger
from escalade.cascade.policy import Policy
from escalade.comparison.comparison import compare
from escalade.dryrun import plan
from escalade.errors import ProblemError, SettingError
from escalade.evaluation.bank import Bank
from escalade.evaluation.exact import evaluate
from escalade.job import prepare
from escalade.limits import Limits
from escalade.pool import load_pool
from escalade.problems import Problem, Scoring, problems_from, read_problems, shipped_problems
from escalade.report.measures import costs
from escalade.report.runs import read_run
from escalade.repricing import reprice
from escalade.results import Results
from escalade.routes import parse_route
from escalade.score_files import write_published
from escalade.scoring import charges, cost_of, looked_at, total
from escalade.strategies import Inputs, Strategy

POOL = load_pool("embedded")
FIRST = "mv_cascade_0.5B_k1_t0.0_1.5B_k1_t0.0"
PRICE = Decimal("0.032") / 1_000_000


def asked(count: int = 6) -> list[Problem]:
    return read_problems(shipped_problems(), limit=count)


def scored(
    tmp_path: Path,
    problems: Sequence[Problem],
    tokens: Sequence[int | None],
    usd: Sequence[float | None] | None = None,
    *,
    alias: str = "0.5B",
    model: str | None = "0.5B",
) -> Path:
    """A folder of scores, by turns sure and unsure, with what they took."""
    table = pd.DataFrame(
        {
            "idx": [p.id for p in problems],
            "problem": [p.text for p in problems],
            "score": [(0.95, 0.2)[row % 2] for row in range(len(problems))],
            "prompt_tokens": pd.array(list(tokens), dtype="Int64"),
            "scoring_cost_usd": list(usd or [None] * len(problems)),
        }
    )
    note = {"probe": "p", "sha256": "1" * 64, "scoring_model": None if model is None else POOL[model].name}
    settings: dict[str, Any] = {"maxlen": 200, "k": 5, "temp": 0.7, "table": table, "note": note, "replace": True}
    return write_published(tmp_path / "scores", "P", "D", POOL[alias].name, **settings).parent.parent


def run(problems: Sequence[Problem], folder: Path | None, **settings: Any) -> Results:
    given = {"route": FIRST, "pool": "embedded", "engine": "replay:shipped", "scores": folder, **settings}
    return escalade.run(list(problems), **given)


def test_a_score_costs_its_tokens_at_the_price_of_its_reader_else_what_is_recorded() -> None:
    tokens = Scoring(tokens=100, model="Qwen/Qwen2.5-Coder-0.5B-Instruct", usd=Decimal("0.5"))
    assert cost_of(tokens, POOL) == ledger.Cost(100 * PRICE)
    assert cost_of(Scoring(tokens=100, model="elsewhere", usd=Decimal("0.5")), POOL) == ledger.Cost(Decimal("0.5"))
    assert cost_of(Scoring(usd=Decimal(0)), POOL) == ledger.Cost(), "a text probe is free, and that is a price"
    for unknown in (Scoring(), Scoring(tokens=100), Scoring(model="0.5B"), Scoring(tokens=5, model="elsewhere")):
        assert cost_of(unknown, POOL) == ledger.Cost(unknown=1), "unknown, and never 0"


def test_only_scores_that_are_there_and_say_what_they_took_are_charged() -> None:
    free = Scoring(usd=Decimal(0))
    problem = Problem("a", "?", scores={"0.5B": 0.5}, scoring={"0.5B": free, "1.5B": free})
    assert [each.alias for each in charges(problem, ["1.5B", "0.5B", "0.5B"], POOL)] == ["0.5B"]
    assert charges(Problem("a", "?", scores={"0.5B": 0.5}), ["0.5B"], POOL) == ()


@pytest.mark.parametrize(
    ("route", "settings", "models"),
    [
        ("0.5B", {}, ()),
        ("mv_0.5B_k5_t0.7", {"confidence": "score"}, ()),
        ("mv_cascade_0.5B_k5_t0.7_1.5B_k1_t0.0", {}, ()),
        ("mv_cascade_0.5B_k5_t0.7_1.5B_k1_t0.0", {"confidence": "score"}, ("0.5B",)),
        (FIRST, {}, ("0.5B",)),
        (FIRST, {"confidence": "logprob"}, ()),
        ("mv_entropy_cascade_0.5B_k5_t0.7_1.5B_k1_t0.0", {}, ("0.5B",)),
        ("mv_cascade_0.5B_k5_t0.7_1.5B_k1_t0.0", {"aggregate": "weighted"}, ("0.5B", "1.5B")),
    ],
)
def test_decisions_look_at_scores_of(route: str, settings: dict[str, str], models: tuple[str, ...]) -> None:
    assert looked_at(parse_route(route, POOL), Policy(**settings), POOL) == models


def test_books_reconcile_to_the_last_digit(tmp_path: Path) -> None:
    problems = asked()
    tokens = [101, 7, 13, 999_999, 1, 31]
    results = run(problems, scored(tmp_path, problems, tokens))
    for item, count in zip(results.answered, tokens, strict=True):
        assert item.scoring_cost == ledger.Cost(count * PRICE)
        assert item.cost == ledger.total(use.cost for use in item.tiers) + item.scoring_cost
        assert item.fresh_cost == ledger.total(use.cost for use in item.tiers), "scores were paid for before"
    summary = results.summary()
    tiers = ledger.total(tier.cost for tier in summary.tiers)
    assert summary.scoring is not None and (summary.scoring.scores, summary.scoring.tokens) == (6, sum(tokens))
    assert summary.scoring.cost == ledger.Cost(sum(tokens) * PRICE) and tiers + summary.scoring.cost == summary.cost
    assert summary.to_dict()["scoring"] == {"scores": 6, "tokens": sum(tokens), "cost_usd": float(sum(tokens) * PRICE)}
    table = results.to_pandas()
    for row in table.to_dict("records"):
        exact = sum(Decimal(tier["cost_usd"]) for tier in row["trace"])
        charged = sum(Decimal(each["cost_usd"]) for each in row["scoring"])
        assert row["scoring_cost_usd"] == float(charged) and row["total_cost_usd"] == float(exact + charged)


def test_without_a_word_on_their_cost_scores_are_not_charged(tmp_path: Path) -> None:
    problems = asked()
    bare = pd.DataFrame({"id": [p.id for p in problems], "score_0.5B": 0.95})
    before = run(problems, None, scores=bare)
    assert before.summary().scoring is None and before.summary().to_dict()["scoring"] is None
    assert before.to_pandas()["scoring_cost_usd"].tolist() == [0.0] * 6


def test_what_is_not_looked_at_is_not_charged(tmp_path: Path) -> None:
    problems = asked()
    folder = scored(tmp_path, problems, [10] * 6)
    assert run(problems, folder, route="mv_0.5B_k5_t0.7").summary().scoring is None
    needs = Strategy("needs", lambda inputs: ["1.5B"] * inputs.rows, needs=("0.5B",))
    assert run(problems, folder, route=None, strategy=needs).summary().scoring is not None
    silent = Strategy("silent", lambda inputs: ["1.5B"] * inputs.rows)
    assert run(problems, folder, route=None, strategy=silent).summary().scoring is not None, "it may have looked"
    assert run(problems, folder, route=None, strategy="always_72B").summary().scoring is None


def test_unknown_costs_make_the_whole_unknown(tmp_path: Path) -> None:
    problems = asked()
    results = run(problems, scored(tmp_path, problems, [10, None, 10, 10, 10, 10]))
    assert [item.cost.usd is None for item in results.answered] == [False, True, False, False, False, False]
    assert results.summary().cost.unknown == 1 and results.summary().cost.usd is None
    assert results.summary().to_dict()["scoring"] == {"scores": 6, "tokens": None, "cost_usd": None}
    assert results.to_pandas()["total_cost_usd"].isna().sum() == 1
    with pytest.raises(SettingError, match=f"the score of 0.5B for problem '{problems[1].id}' cost is unknown"):
        run(problems, scored(tmp_path, problems, [10, None, 10, 10, 10, 10]), max_cost=1)


def test_a_text_probe_is_free(tmp_path: Path) -> None:
    problems = asked()
    results = run(problems, scored(tmp_path, problems, [None] * 6, [0.0] * 6, model=None))
    assert results.summary().to_dict()["scoring"] == {"scores": 6, "tokens": 0, "cost_usd": 0.0}


def test_tables_and_problems_may_say_what_their_scores_cost(tmp_path: Path) -> None:
    problems = asked(2)
    table = pd.DataFrame({"id": [p.id for p in problems], "score_0.5B": 0.95, "scoring_cost_usd_0.5B": ["0.01", None]})
    results = run(problems, None, scores=table)
    assert [item.scoring_cost for item in results.answered] == [ledger.Cost(Decimal("0.01")), ledger.Cost(unknown=1)]
    own = problems_from(pd.DataFrame({"problem": ["One?"], "score_0.5B": [0.5], "scoring_cost_usd_0.5B": [0.25]}))
    assert own[0].scoring == {"0.5B": Scoring(usd=Decimal("0.25"))}
    with pytest.raises(ProblemError, match=r"row 0: column 'scoring_cost_usd_0.5B' is -1"):
        problems_from(pd.DataFrame({"problem": ["One?"], "scoring_cost_usd_0.5B": [-1]}))


def test_scores_count_against_limits_of_money(tmp_path: Path) -> None:
    problems = asked(2)
    folder = scored(tmp_path, problems, [10_000, 10])
    dear, cheap = run(problems, folder, limits=Limits(problem_usd=Decimal("0.0002"))).answered
    assert dear.outcome.status.value == "budget" and not any(use.samples for use in dear.tiers)
    assert "its scores cost 0.00032" in dear.outcome.notes[-1] and dear.cost == ledger.Cost(10_000 * PRICE)
    assert cheap.outcome.status.value != "budget"
    spent = run(problems, folder, limits=Limits(run_usd=Decimal("0.001"))).summary()
    assert "budget" not in spent.statuses and spent.cost.known > 10_010 * PRICE
    nothing = run(problems, folder, limits=Limits(run_usd=10_010 * PRICE)).summary()
    assert nothing.statuses == {"budget": 2} and nothing.samples_drawn == 0, "what scores have cost leaves nothing"


def test_a_dry_run_tells_what_scores_have_cost(tmp_path: Path) -> None:
    problems = asked()
    folder = scored(tmp_path, problems, [10] * 6)
    dear, free = (plan(prepare(problems, route=FIRST, pool="embedded", scores=each)) for each in (folder, None))
    assert dear.worst_cost == free.worst_cost + ledger.Cost(60 * PRICE)


def test_new_prices_charge_the_tokens_that_were_read_anew(tmp_path: Path) -> None:
    problems = asked()
    folder = scored(tmp_path, problems, [100] * 6, [0.5] * 6)
    results = run(problems, folder)
    place = results.write(tmp_path / "run")
    same = reprice(place, POOL)
    assert same.before == same.after == results.summary().cost
    kept = pd.read_parquet(place / "answers.parquet")
    for column in ("scoring", "scoring_cost_usd", "cost_per_tier", "total_cost_usd", "trace"):
        assert same.table[column].tolist() == kept[column].tolist()
    assert same.summary == json.loads((place / "summary.json").read_text())
    models = tuple(
        m if m.price is None else m.model_copy(update={"price": m.price.model_copy(update={"input": Decimal(1)})})
        for m in POOL.models
    )
    dear = reprice(place, POOL.model_copy(update={"models": models}))
    assert dear.scoring == (ledger.Cost(600 * PRICE), ledger.Cost(Decimal("0.0006")))
    assert dear.after == ledger.total(tier.after for tier in dear.tiers) + dear.scoring[1]
    assert dear.table["scoring_cost_usd"].tolist() == [0.0001] * 6
    assert dear.summary is not None and dear.summary["scoring"] == {"scores": 6, "tokens": 600, "cost_usd": 0.0006}
    unpriced = tuple(m.model_copy(update={"price": None}) for m in POOL.models)
    without = reprice(place, POOL.model_copy(update={"models": unpriced}))
    assert without.scoring == (ledger.Cost(600 * PRICE), ledger.Cost(Decimal(3))), "then what is recorded stands"


def test_results_of_older_versions_have_no_scores_to_price(tmp_path: Path) -> None:
    place = run(asked(2), None).write(tmp_path / "run")
    table = pd.read_parquet(place / "answers.parquet").drop(columns=["scoring", "scoring_cost_usd"])
    table.to_parquet(place / "answers.parquet")
    repriced = reprice(place, POOL)
    assert repriced.scoring is None and repriced.before == repriced.after and "scoring" not in repriced.table
    assert read_run(place).cost == repriced.before.usd


def test_a_report_sums_tiers_and_scores_to_the_run(tmp_path: Path) -> None:
    problems = asked()
    results = run(problems, scored(tmp_path, problems, [100] * 6))
    told = read_run(results.write(tmp_path / "run"))
    assert told.cost == results.summary().cost.usd
    table = costs(told)
    assert table.rows[-1][0] == "scores" and table.rows[-1][4] == 600 * PRICE
    assert sum(Decimal(str(row[4])) for row in table.rows) == told.cost


def test_a_comparison_charges_whom_scores_serve(tmp_path: Path) -> None:
    problems = read_problems(shipped_problems())
    folder = scored(tmp_path, problems, [1000] * len(problems))
    bank = Bank.of_recording("shipped", problems, pool="embedded", scores=folder)

    def rule(inputs: Inputs) -> list[str]:
        return ["mv_0.5B_k4_t0.7" if p >= inputs.target else "mv_1.5B_k4_t0.7" for p in inputs.scores["0.5B"]]

    routed = Strategy("routed", rule, needs=("0.5B",))
    direct = "mv_cascade_0.5B_k4_t0.7_1.5B_k4_t0.7"
    rows = {row.name: row for row in compare(bank, [direct], [routed]).rows}
    each = float(1000 * PRICE)
    strategy, cascade = rows["routed"], rows["0.5B k4 > 1.5B k4"]
    assert strategy.scoring_usd == pytest.approx(each) and cascade.scoring_usd == 0.0
    for row in rows.values():
        assert (
            row.cost_usd == pytest.approx(sum(tier.cost_usd for tier in row.tiers) + row.scoring_usd) or not row.tiers
        )
    free = compare(
        Bank.of_recording("shipped", problems, pool="embedded", scores=free_of(problems)), [direct], [routed]
    )
    without = next(row for row in free.rows if row.name == "routed")
    assert strategy.cost_usd == pytest.approx(without.cost_usd + each) and strategy.accuracy == without.accuracy


def free_of(problems: Sequence[Problem]) -> pd.DataFrame:
    scores = [(0.95, 0.2)[row % 2] for row in range(len(problems))]
    return pd.DataFrame({"id": [p.id for p in problems], "score_0.5B": scores})


def test_an_evaluation_costs_what_a_run_does(tmp_path: Path) -> None:
    problems = asked(12)
    folder = scored(tmp_path, problems, [50 + row for row in range(12)])
    results = run(problems, folder, route="mv_cascade_0.5B_k1_t0.0_1.5B_k1_t0.0")
    bank = Bank.of_recording("shipped", problems, pool="embedded", scores=folder)
    found = evaluate(bank, FIRST)
    assert found.scoring is not None and found.cost.tolist() == pytest.approx(
        [float(item.cost.known) for item in results.answered]
    )
    assert total(results.answered[0].scoring).usd == 50 * PRICE
