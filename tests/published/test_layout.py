from pathlib import Path

import pandas as pd
import pytest

from escalade import testing
from escalade.errors import PoolError, ScoreError, SettingError
from escalade.pool import load_pool
from escalade.published.layout import (
    Layout,
    broken_rows,
    find_data,
    find_strategies,
    pool_of,
    read_scored,
    write_routes,
)
from escalade.routing import expand
from escalade.samples.recorded import write_recording
from escalade.strategies import get_strategy, strategies

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
