from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from escalade import testing
from escalade.errors import PoolError, ScoreError, SettingError
from escalade.pool import load_pool
from escalade.published.answering import answer_table
from escalade.published.layout import (
    Layout,
    broken_rows,
    find_data,
    find_strategies,
    pool_of,
    read_scored,
    write_routes,
)
from escalade.published.table import routed_job
from escalade.routing import expand
from escalade.samples.recorded import write_recording
from escalade.score_files import write_published
from escalade.scoring import total
from escalade.strategies import get_strategy, strategies
from escalade.testing import ScriptedEngine, answering

POOL = load_pool("qwen2.5-math")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    folder = tmp_path / "data/a_b_probe/c_d/Qwen-Qwen2.5-Math-1.5B-Instruct_maxlen_3000_k_1_temp_0.0"
    folder.mkdir(parents=True)
    table = pd.DataFrame({"idx": [5, 6, 7], "problem": ["p", "q", "r"], "score": [0.2, 0.8, 0.95]})
    table.to_parquet(folder / "scored.parquet")
    return Layout(tmp_path / "data", tmp_path / "out", "a/b")


def test_names_of_files_and_folders(layout: Layout) -> None:
    assert layout.datasets() == ["c_d"]
    folder = layout.save / "a_b_probe/c_d_routed"
    assert layout.routing("c/d", "cascade", 1) == folder / "routing_cascade_conf1.0.parquet"
    assert layout.answered("c_d", "cascade", 0.85) == folder / "answered_cascade_conf0.85.parquet"
    assert layout.store == layout.save / "a_b_probe/samples.sqlite"


def test_scores_are_read_and_cut_to_the_limit(layout: Layout) -> None:
    read = read_scored(layout, "c/d", POOL, k=1, temp=0.0, maxlen=None, limit=2)
    assert read.problems["idx"].tolist() == [5, 6] and read.scores["1.5B"].tolist() == [0.2, 0.8]
    assert read_scored(layout, "c/d", POOL, k=1, temp=0.0, maxlen=3000, limit=9).scores.rows == 3
    with pytest.raises(ScoreError, match="k=8"):
        read_scored(layout, "c/d", POOL, k=8, temp=0.0, maxlen=None, limit=None)
    with pytest.raises(SettingError, match="limit is 0"):
        read_scored(layout, "c/d", POOL, k=1, temp=0.0, maxlen=None, limit=0)


def test_routes_are_written_and_read_back(layout: Layout) -> None:
    read = read_scored(layout, "c/d", POOL, k=1, temp=0.0, maxlen=None, limit=None)
    path = layout.routing("c/d", "adaptive_k_sampling", 0.9)
    table = write_routes(read, get_strategy("adaptive_k_sampling"), path, target=0.9, pool=POOL, seed=0)
    assert path.is_file() and "error" not in table and broken_rows(table) is None
    assert table["is_cascade"].tolist() == [True, True, False]
    assert [len(tiers) if tiers else 0 for tiers in table["cascade_tiers"]] == [3, 3, 0]


def test_rows_that_cannot_be_routed_are_counted() -> None:
    said = broken_rows(expand(["7B", "mv_7B_k0_t0.7", "mv_7B_k0_t0.7"], errors="keep"))
    assert said is not None and said.startswith("2 of 3 rows cannot be routed") and "\n" not in said


def test_where_scores_are_looked_for(layout: Layout, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ESCALADE_DATA", raising=False)
    assert find_data(None) == Path("data") and find_data(layout.data) == layout.data
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(ScoreError, match=r"data \(absent\)"):
        find_data(None)
    with pytest.raises(ScoreError, match=r"elsewhere \(no \*_probe in it\)"):
        find_data(".")
    monkeypatch.setenv("ESCALADE_DATA", str(layout.data))
    assert find_data(None) == layout.data


def test_pools_and_strategies(tmp_path: Path) -> None:
    rows = [{"problem_id": "p", "model": "S", "answer": "1"}]
    write_recording(pd.DataFrame(rows), testing.pool_of("S"), tmp_path / "own.parquet")
    pd.DataFrame(rows).to_parquet(tmp_path / "plain.parquet")
    replay = f"replay:{tmp_path}/own.parquet"
    assert pool_of(None, replay).name == "test" and pool_of("tiny", replay).name == "tiny"
    assert pool_of(None, None) is pool_of(None, f"replay:{tmp_path}/plain.parquet") is pool_of(POOL, replay) is POOL
    with pytest.raises(PoolError):
        pool_of("nothing-like-this", None)
    assert find_strategies(None) == strategies()
    assert [s.name for s in find_strategies(["72b_robust", "mv_adaptive_k_sampling"])] == [
        "bayesian_robust",
        "adaptive_k_sampling",
    ]


def test_refused_scores_route_every_row_by_a_cascade_and_say_so_to_the_end(layout: Layout) -> None:
    table = pd.DataFrame({"idx": [5, 6], "problem": ["p", "q"], "score": [0.95, 0.2]})
    note = {"probe": "a", "sha256": "1" * 64, "refused": "AUROC 0.51"}
    name = POOL["1.5B"].name
    write_published(layout.data, "a/b", "c/d", name, maxlen=3000, k=1, temp=0, table=table, note=note, replace=True)
    read = read_scored(layout, "c/d", POOL, k=1, temp=0.0, maxlen=None, limit=1)
    assert read.scores.refused == {"1.5B": "AUROC 0.51"} and read.scores.rows == 1
    path = layout.routing("c/d", "adaptive_k_sampling", 0.9)
    routed = write_routes(read, get_strategy("adaptive_k_sampling"), path, target=0.9, pool=POOL, seed=0)
    route = "mv_cascade_1.5B_k4_t0.7_7B_k4_t0.7_72B_k1_t0.0"
    said = f"scores of 1.5B are refused (AUROC 0.51): {route} instead of the strategy adaptive_k_sampling"
    assert routed["route"].tolist() == [route] and routed["notes"].tolist() == routed["fallback"].tolist() == [said]
    assert "score_1.5B" not in routed, "else a single sample would be trusted by it"
    assert [task.notes for task in routed_job(routed, POOL).job.tasks] == [(said,)]
    always = write_routes(read, get_strategy("always_7B"), path, target=0.9, pool=POOL, seed=0)
    assert "fallback" not in always and always["route"].tolist() == [POOL["7B"].name]


def test_what_scores_cost_is_of_the_published_input_cost(layout: Layout) -> None:
    table = pd.DataFrame({"idx": [5, 6], "problem": ["p", "q"], "score": [0.8, 0.2], "prompt_tokens": [100, 3]})
    for alias in ("1.5B", "7B"):
        note = {"probe": "a", "sha256": "1" * 64, "scoring_model": POOL[alias].name}
        settings: dict[str, Any] = {"maxlen": 3000, "k": 1, "temp": 0, "table": table, "note": note, "replace": True}
        write_published(layout.data, "a/b", "c/d", POOL[alias].name, **settings)
    read = read_scored(layout, "c/d", POOL, k=1, temp=0.0, maxlen=None, limit=None)
    path = layout.routing("c/d", "adaptive_k_sampling", 0.9)
    routed = write_routes(read, get_strategy("adaptive_k_sampling"), path, target=0.9, pool=POOL, seed=0)
    assert [Decimal(usd) for usd in routed["scoring_cost_usd_1.5B"]] == [Decimal("1e-5"), Decimal("3e-7")]
    assert routed["strategy_scores"].tolist() == ["1.5B", "1.5B"]
    tasks = routed_job(routed, POOL).job.tasks
    # The first goes through single samples of both, whose confidence is their score; the second asks 1.5B only.
    assert [[each.alias for each in task.scoring] for task in tasks] == [["1.5B", "7B"], ["1.5B"]]
    assert str(total(tasks[0].scoring)) == "0.00003 USD"
    engine = ScriptedEngine(answering({"1.5B": ["1"] * 8, "7B": ["1"] * 8, "72B": ["1"]}))
    out = answer_table(routed, engine=engine)
    assert out["scoring_cost_usd"].tolist() == [0.00003, 0.0000003]
    for row in out.to_dict("records"):
        assert row["input_cost_usd"] + row["output_cost_usd"] == row["total_cost_usd"]
        assert row["total_cost_usd"] == pytest.approx(sum(row["cost_per_tier"]) + row["scoring_cost_usd"])
    always = write_routes(read, get_strategy("always_7B"), path, target=0.9, pool=POOL, seed=0)
    assert [task.scoring for task in routed_job(always, POOL).job.tasks] == [(), ()]
