"""Banks: samples read, classed, graded and priced as a run does it, and refused where they are mixed."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import escalade
from escalade import ledger
from escalade.climb import usage_of
from escalade.engines.replay import open_recording
from escalade.errors import InputError, TableError
from escalade.evaluation.bank import Bank
from escalade.evaluation.exact import evaluate
from escalade.evaluation.lots import ABSTAINS, NO_SAMPLE
from escalade.pool import load_pool
from escalade.samples.store import Store
from tests.evaluation.pools import bank, made, single


def recording(folder: Path, rows: list[dict[str, object]], name: str = "recording.csv") -> Path:
    path = folder / name
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def row(problem: str, answer: str | None, **more: object) -> dict[str, object]:
    return {"problem_id": problem, "model": "S", "answer": answer, "gold_answer": "1", **more}


# -- what a lot holds ------------------------------------------------------------------------------------------


def test_classes_are_numbered_from_the_largest_sort_key_down() -> None:
    lot = single({"S": ["2", "0.5", r"\frac12", None, "x", "10"]}, gold="1/2").lot("S", 0.7)
    assert lot.classes[0].tolist() == [2, 3, 3, ABSTAINS, 0, 1]
    assert lot.sizes[0].tolist() == [1, 1, 1, 2] and lot.abstaining[0] == 1
    assert lot.right[0].tolist() == [False, True, True, False, False, False]
    assert lot.class_right[0].tolist() == [False, False, False, True] and not lot.loose[0]


def test_a_sample_cut_off_at_the_token_limit_abstains() -> None:
    of = single({"S": ["1", "1"]}, gold="1")
    rows = of.rows["p0", "S"]
    cut = replace(made("1"), finish_reason="length")
    of = replace(of, rows={("p0", "S"): rows._replace(generations=(made("1"), cut))}, _worked_out={})
    assert of.lot("S", 0.7).classes[0].tolist() == [0, ABSTAINS]


def test_rows_are_padded_where_problems_have_fewer_samples() -> None:
    of = bank(random.Random(1), {"S": 3}, problems=2)
    short = of.rows["p1", "S"]
    rows = {**of.rows, ("p1", "S"): short._replace(temperatures=(None,), generations=short.generations[:1])}
    lot = replace(of, rows=rows, _worked_out={}).lot("S", 0.7)
    assert lot.n.tolist() == [3, 1] and lot.classes[1, 1:].tolist() == [NO_SAMPLE, NO_SAMPLE]
    assert np.isnan(lot.usd[1, 1:]).all() and not np.isnan(lot.usd[1, 0])


@pytest.mark.parametrize("billing", ["once", "cached", "each"])
def test_costs_add_up_to_what_the_ledger_charges(billing: str) -> None:
    of = bank(random.Random(billing), {"M": 6}, billing=billing)
    lot = of.lot("M", 0.7)
    for order in ([0, 1, 2, 3], [5], [4, 2, 0]):
        usages = [usage_of(lot.samples[0][i].generation) for i in order]
        charged = ledger.total(ledger.charge(usages, of.pool["M"].price, billing)).usd  # type: ignore[arg-type]
        assert charged is not None
        assert lot.usd[0, order].sum() + lot.opening_usd[0, order[0]] == pytest.approx(float(charged), rel=1e-14)


def test_a_temperature_that_is_not_stated_matches_any(tmp_path: Path) -> None:
    stated = [row("a", "1", temperature=t) for t in (0.0, 0.7, 0.7, None)]
    of = Bank.of_recording(recording(tmp_path, stated))
    assert [int(of.counts("S", t)[0]) for t in (0.0, 0.7, 0.3)] == [2, 3, 1]


def test_grades_are_those_of_live_runs() -> None:
    of = Bank.of_recording("shipped")
    lot = of.lot("0.5B", 0.7)
    live = escalade.run(route="mv_0.5B_k8_t0.7", engine="replay:shipped", policy=escalade.Policy(stop="none"))
    for place, item in enumerate(live.answered):
        assert item.grade is not None
        assert int(lot.right[place].sum()) == sum(item.grade.samples[0])


# -- subsets, scores -------------------------------------------------------------------------------------------


def test_a_subset_shares_samples_and_tables() -> None:
    of = bank(random.Random(2), {"S": 4}, problems=5)
    part = of.subset([4, 1]).subset([1])
    assert [p.id for p in part.problems] == ["p1"] and part.root is of and part.index.tolist() == [1]
    assert part.lot("S", 0.7) is of.lot("S", 0.7)
    evaluate(part, "mv_S_k3_t0.7")
    assert of.remembered(("draws", "S", 0.7, 3), lambda: None) is not None


def test_a_subset_of_those_that_have_enough_samples_can_be_evaluated(tmp_path: Path) -> None:
    rows = [row("a", "1"), row("a", "2"), row("b", "1")]
    of = Bank.of_recording(recording(tmp_path, rows))
    with pytest.raises(TableError, match=r"has 1 for problem 'b', and fewer than 2 for 1 of 2 problems"):
        evaluate(of, "mv_S_k2_t0.7")
    enough = of.subset(np.flatnonzero(of.counts("S", 0.7) >= 2))
    assert evaluate(enough, "mv_S_k2_t0.7").samples.tolist() == [[2.0]]


def test_scores_are_joined_as_a_run_joins_them(tmp_path: Path) -> None:
    path = recording(tmp_path, [row("a", "1"), row("b", "2")])
    scores = pd.DataFrame({"id": ["b", "a"], "score_S": [0.25, 0.75]})
    of = Bank.of_recording(path, scores=scores)
    assert of.scores("S").tolist() == [0.75, 0.25] and of.subset([1]).scores("S").tolist() == [0.25]
    with pytest.raises(InputError, match="no row for problem 'b'"):
        Bank.of_recording(path, scores=scores[scores["id"] == "a"])


# -- refusals --------------------------------------------------------------------------------------------------


def test_a_model_or_temperature_that_was_not_recorded_is_named(tmp_path: Path) -> None:
    path = recording(tmp_path, [row("a", "1", temperature=0.7)])
    of = Bank.of_recording(path)
    with pytest.raises(TableError, match=r"1 samples of S at t=0\.3, recording.csv has 0 .*it has some at t0\.7"):
        evaluate(of, "mv_S_k1_t0.3")
    wider = single({"S": ["1"], "M": ["1"], "L": ["1"]}, gold="1").pool
    with pytest.raises(TableError, match=r"no samples of L \(test/L\); it has S"):
        evaluate(Bank.of_recording(path, pool=wider), "L")


# -- stores ----------------------------------------------------------------------------------------------------


def stored(path: Path, *, temperature: float = 0.7, seeds: tuple[int, ...] = (0, 1)) -> list[escalade.Problem]:
    """A store of two live runs on recorded samples, and its problems."""
    problems = [replace(p, id=f"other-{p.id}") for p in Bank.of_recording("shipped").problems[:6]]
    known = Bank.of_recording("shipped").problems[:6]
    for seed in seeds:
        escalade.run(known, route=f"mv_0.5B_k3_t{temperature}", engine="replay:shipped", store=path, seed=seed)
    return problems


def test_a_store_is_a_bank_of_the_problems_whose_texts_it_answers(tmp_path: Path) -> None:
    path = tmp_path / "samples.db"
    problems = stored(path)
    pool = Bank.of_recording("shipped").pool
    of = Bank.of_store(path, problems, pool=pool)
    assert [p.id for p in of.problems] == [p.id for p in problems]
    with Store(path) as store:
        count = len(list(store.samples()))
    assert int(of.counts("0.5B", 0.7).sum()) == count > 0
    found = evaluate(of, "mv_0.5B_k2_t0.7")
    assert found.exact and 0 <= found.correct.mean() <= 1
    one = Bank.of_store(path, problems[:1], pool=pool)
    assert evaluate(one, "mv_0.5B_k2_t0.7").correct[0] == found.correct[0]


def test_a_store_without_these_problems_or_not_there_is_refused(tmp_path: Path) -> None:
    pool = load_pool("qwen2.5-math")
    with pytest.raises(TableError, match="is not there"):
        Bank.of_store(tmp_path / "none.db", [{"problem": "1+1"}], pool=pool)
    path = tmp_path / "samples.db"
    stored(path, seeds=(0,))
    with pytest.raises(TableError, match="has no sample of these problems"):
        Bank.of_store(path, [{"problem": "another question"}], pool=pool)


def test_samples_drawn_in_two_ways_are_not_mixed(tmp_path: Path) -> None:
    path = tmp_path / "samples.db"
    problems = stored(path, seeds=(0,))
    pool = Bank.of_recording("shipped").pool
    tighter = pool.model_copy(update={"max_tokens": 7})
    known = Bank.of_recording("shipped").problems[:6]
    escalade.run(known, route="mv_0.5B_k3_t0.7", pool=tighter, engine="replay:shipped", store=path)
    with pytest.raises(TableError, match=r"drawn in 2 ways .*keep runs that differ"):
        Bank.of_store(path, problems, pool=pool)


def test_one_id_for_two_problems_is_refused(tmp_path: Path) -> None:
    keys = {"problem_key": ["x", "y"], "model_key": "m", "params": "{}"}
    table = pd.DataFrame({"problem_id": ["a", "a"], "model": "S", "answer": "1", "temperature": 0.7, **keys})
    path = tmp_path / "exported.parquet"
    table.to_parquet(path)
    with pytest.raises(TableError, match="id 'a' stands for 2 different problems"):
        Bank.of_recording(open_recording(str(path)))
