import asyncio
import json
import os
import statistics
from pathlib import Path

import pandas as pd
import pytest

import escalade
from escalade.errors import ProblemError, ScoreError, SettingError, TableError
from escalade.samples.recorded import Recording, read_recording, shipped_recording

ROUTE = "mv_cascade_0.5B_k5_t0.7_1.5B_k3_t0.7"
DATA = Path(os.environ.get("ESCALADE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
MATH100 = DATA / "pools" / "math100_ladder_samples.parquet"
LADDER = (
    "mv_cascade_llama-3.1-8b-instruct_k8_t0.0_deepseek-r1-distill-llama-8b_k8_t0.8_r1-distill-llama-8b+qwq-32b_k1_t0.8"
)


def verdicts(results: escalade.Results) -> list[object]:
    return [item.outcome.verdict for item in results.answered]


@pytest.mark.parametrize("route", [ROUTE, "mv_entropy_cascade_0.5B_k4_t0.7_1.5B_k4_t0.7", "mv_1.5B_k8_t0.7", "135M"])
@pytest.mark.parametrize("confidence", ["share", "margin", "posterior", "entropy", "logprob"])
def test_settled_early_stopping_is_free_on_the_shipped_recording(route: str, confidence: str) -> None:
    for seed in range(3):
        early = escalade.run(route=route, engine="replay:shipped", seed=seed, confidence=confidence)
        whole = escalade.run(route=route, engine="replay:shipped", seed=seed, confidence=confidence, stop="none")
        assert verdicts(early) == verdicts(whole)
        assert early.summary().samples_drawn <= whole.summary().samples_drawn
        assert whole.summary().samples_saved == 0


def test_the_same_seed_is_the_same_run_to_the_last_digit() -> None:
    first, second = (escalade.run(route=ROUTE, engine="replay:shipped", seed=7) for _ in range(2))
    pd.testing.assert_frame_equal(first.to_pandas(), second.to_pandas())
    assert verdicts(first) != verdicts(escalade.run(route=ROUTE, engine="replay:shipped", seed=8))


def test_samples_tiers_problems_and_the_run_reconcile() -> None:
    results = escalade.run(route=ROUTE, engine="replay:shipped")
    s = results.summary()
    assert sum(tier.cost.known for tier in s.tiers) == s.cost.known
    assert sum(item.cost.known for item in results.answered) == s.cost.known
    asked = sum(trace.asked for item in results.answered for trace in item.outcome.tiers)
    assert s.samples_drawn + s.samples_saved == asked
    assert s.tiers[0].asked == s.problems == 60
    assert s.tiers[1].asked == s.tiers[0].escalated
    assert sum(s.statuses.values()) == 60
    assert len(results.samples()) == s.samples_drawn


def test_a_tier_that_decides_owns_its_answer() -> None:
    results = escalade.run(route=ROUTE, engine="replay:shipped")
    for item in results.answered:
        if item.outcome.decided_by is not None:
            keys = {sample.key for sample in item.tiers[item.outcome.decided_by].samples}
            assert item.outcome.answer in keys


def test_a_store_is_shared_by_routes_and_a_rerun_draws_nothing(tmp_path: Path) -> None:
    store = tmp_path / "samples.sqlite"
    first = escalade.run(route="mv_0.5B_k8_t0.7", engine="replay:shipped", store=store, stop="none")
    assert first.summary().samples_generated == 480
    second = escalade.run(route=ROUTE, engine="replay:shipped", store=store)
    assert {use.tier.model for item in second.answered for use in item.tiers[:1]} == {"0.5B"}
    assert second.summary().samples_generated == second.summary().tiers[1].samples
    assert escalade.run(route=ROUTE, engine="replay:shipped", store=store).summary().samples_generated == 0


def test_it_works_where_a_loop_is_running() -> None:
    async def notebook() -> int:
        return len(escalade.run(route="0.5B", engine="replay:shipped", limit=3))

    assert asyncio.run(notebook()) == 3


def test_problems_may_be_a_file_a_table_records_or_problems(tmp_path: Path) -> None:
    shipped = escalade.read_problems(Path(escalade.__file__).parent / "data" / "problems.jsonl")[:3]
    records = [{"id": p.id, "problem": p.text, "answer": p.gold} for p in shipped]
    pd.DataFrame(records).to_csv(tmp_path / "p.csv", index=False)
    forms = [shipped, records, pd.DataFrame(records), tmp_path / "p.csv", str(tmp_path / "p.csv")]
    tables = [escalade.run(form, route="1.5B", engine="replay:shipped").to_pandas() for form in forms]
    for table in tables[1:]:
        pd.testing.assert_frame_equal(table[["idx", "status"]], tables[0][["idx", "status"]])


def test_a_row_of_scores_without_an_id_is_named() -> None:
    scores = pd.DataFrame({"id": ["e01", None, "e03"], "score_0.5B": [0.5, 0.5, 0.5]})
    with pytest.raises(ScoreError, match="scores: row 1 has no id in column 'id'"):
        escalade.run(engine="replay:shipped", route="0.5B", scores=scores, limit=2)


def test_scores_are_joined_by_id_and_reach_single_samples() -> None:
    ids = [p.id for p in escalade.run(route="0.5B", engine="replay:shipped", limit=2).job.problems]
    scores = pd.DataFrame({"id": ids[::-1], "score_0.5B": [0.95, 0.2]})
    results = escalade.run(
        route="mv_cascade_0.5B_k1_t0.0_1.5B_k1_t0.0", engine="replay:shipped", limit=2, scores=scores
    )
    by_id = {item.problem.id: item for item in results.answered}
    assert by_id[ids[1]].outcome.status.value == "accepted"
    low = by_id[ids[0]]
    assert low.outcome.decided_by == 1
    assert low.outcome.tiers[0].drawn == 0  # escalated by its score, before anything was drawn


def test_what_cannot_be_used_is_refused_before_anything_is_drawn() -> None:
    with pytest.raises(ScoreError, match="no row for problem"):
        escalade.run(route="0.5B", engine="replay:shipped", scores=pd.DataFrame({"id": ["x"], "score_0.5B": [0.5]}))
    with pytest.raises(TableError, match=r"may ask 9 samples of 0.5B"):
        escalade.run(route="mv_0.5B_k9_t0.7", engine="replay:shipped")
    with pytest.raises(TableError, match=r"t0.5.*t0, t0.7"):
        escalade.run(route="mv_0.5B_k4_t0.5", engine="replay:shipped")
    with pytest.raises(ProblemError, match="another text"):
        escalade.run([{"id": "e01", "problem": "What is 1 + 1?"}], route="0.5B", engine="replay:shipped")
    with pytest.raises(ProblemError, match="no problems"):
        escalade.run([], route="0.5B", engine="replay:shipped")
    with pytest.raises(SettingError, match="has no price"):
        pool = escalade.load_pool("ladder")
        free = pool.model_copy(update={"models": tuple(m.model_copy(update={"price": None}) for m in pool.models)})
        escalade.run(route="0.5B", pool=free, engine="replay:shipped", max_cost="0.1")


def test_a_limit_of_money_holds_and_is_said() -> None:
    results = escalade.run(route=ROUTE, engine="replay:shipped", max_cost="0.001")
    assert results.summary().cost.known <= 1000
    assert float(results.summary().cost.known) <= 0.001
    assert results.summary().statuses["budget"] > 0
    ended = next(item for item in results.answered if item.outcome.status.value == "budget")
    assert "limit of 0.001 USD for the run" in ended.outcome.notes[-1]


def test_tables_are_written_whole(tmp_path: Path) -> None:
    results = escalade.run(route=ROUTE, engine="replay:shipped", limit=5)
    folder = results.write(tmp_path / "out")
    assert sorted(p.name for p in folder.iterdir()) == ["answers.parquet", "samples.parquet", "summary.json"]
    table = pd.read_parquet(folder / "answers.parquet")
    assert json.loads(table["cascade_tiers"][0])[0] == ["Qwen/Qwen2.5-Coder-0.5B-Instruct", 5, 0.7]
    again: Recording = read_recording(folder / "samples.parquet")
    assert again.models == ["0.5B", "1.5B"]


def test_the_shipped_recording_is_small_and_whole() -> None:
    assert shipped_recording().stat().st_size < 1_000_000
    recording = read_recording(shipped_recording())
    assert len(recording.problems) == 60
    assert recording.table.groupby(["model", "temperature"]).size().to_dict() == {
        (model, t): n for model in ("0.5B", "1.5B", "135M") for t, n in ((0.0, 60), (0.7, 480))
    }
    assert recording.table["seed"].nunique() == len(recording.table)


@pytest.mark.skipif(not MATH100.exists(), reason=f"recorded data is not there: {MATH100}")
def test_raising_the_target_moves_the_accuracy_of_a_recorded_ladder() -> None:
    def accuracy(target: float) -> float:
        engine = f"replay:{MATH100}"
        runs = [escalade.run(route=LADDER, engine=engine, target=target, seed=seed) for seed in range(20)]
        return statistics.mean(float(r.summary().accuracy or 0.0) for r in runs)

    assert accuracy(0.0) == pytest.approx(0.61, abs=0.015)
    assert accuracy(0.9) == pytest.approx(0.86, abs=0.015)


@pytest.mark.skipif(not MATH100.exists(), reason=f"recorded data is not there: {MATH100}")
def test_settled_early_stopping_is_free_on_a_recorded_ladder() -> None:
    for seed in range(5):
        early = escalade.run(route=LADDER, engine=f"replay:{MATH100}", seed=seed)
        whole = escalade.run(route=LADDER, engine=f"replay:{MATH100}", seed=seed, stop="none")
        assert verdicts(early) == verdicts(whole)
        assert early.summary().samples_saved > 0.3 * whole.summary().samples_drawn
