import asyncio
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from escalade.engines.base import Demand, Progress, Request, open_engine
from escalade.engines.replay import Engine, open_recording, recorded_pool
from escalade.errors import EngineError, PoolError, SettingError, TableError
from escalade.pool import Pool
from escalade.testing import pool_of


def row(answer: str | None = "1", **columns: Any) -> dict[str, Any]:
    return {"problem_id": "p0", "model": "S", "temperature": 0.7, "sample_index": 0, "answer": answer, **columns}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    rows = [row(str(i), sample_index=i, prompt_tokens=9) for i in range(8)]
    rows += [row("g", temperature=0.0), row("h", temperature=1.0, problem_id="p1")]
    pd.DataFrame(rows).to_parquet(tmp_path / "r.parquet")
    return tmp_path / "r.parquet"


def answers(
    path: Path, n: int, *, seed: int = 0, pool: Pool | None = None, t: float = 0.7, problem: str = "p0"
) -> list[str]:
    pool = pool or pool_of("S")
    engine = Engine(str(path), pool, seed=seed)

    async def all_of_them() -> list[str]:
        requests = [Request(problem, [], pool.models[0], t, 10, i, 0) for i in range(n)]
        return [(await engine.sample(r, Progress())).answer or "" for r in requests]

    return asyncio.run(all_of_them())


def test_the_seed_draws_the_order_and_the_same_seed_the_same(path: Path) -> None:
    orders = {seed: answers(path, 8, seed=seed) for seed in range(5)}
    assert all(sorted(order) == list("01234567") for order in orders.values())
    assert len({tuple(order) for order in orders.values()}) == 5
    assert answers(path, 8, seed=3) == orders[3]
    assert answers(path, 4, seed=3) == orders[3][:4]  # k=4 is the first four of k=8


def test_each_temperature_has_its_own_samples(path: Path) -> None:
    assert answers(path, 1, t=0.0) == ["g"]
    assert answers(path, 1, t=1.0, problem="p1") == ["h"]


def test_a_temperature_that_was_not_recorded_is_refused_with_those_that_were(path: Path) -> None:
    engine = Engine(str(path), pool_of("S"), seed=0)
    with pytest.raises(TableError, match=r"r.parquet has no samples of S at t0.5 for problem 'p0'; it has t0, t0.7"):
        engine.check([Demand(pool_of("S")["S"], 0.5, 1, ["p0"])])
    with pytest.raises(TableError, match=r"it has t0, t0.7"):
        answers(path, 1, t=0.5)


def test_samples_of_unknown_temperature_answer_for_any(tmp_path: Path) -> None:
    rows = [row(str(i), sample_index=i, temperature=None) for i in range(3)]
    pd.DataFrame(rows).to_parquet(tmp_path / "r.parquet")
    assert sorted(answers(tmp_path / "r.parquet", 3, t=0.3)) == ["0", "1", "2"]
    assert sorted(answers(tmp_path / "r.parquet", 3, t=0.0)) == ["0", "1", "2"]


def test_more_samples_than_there_are_are_refused_before_and_while_drawing(path: Path) -> None:
    engine = Engine(str(path), pool_of("S"), seed=0)
    engine.check([Demand(pool_of("S")["S"], 0.7, 8, ["p0"])])
    with pytest.raises(TableError, match=r"may ask 9 samples of S at t=0.7, .* has 8 for problem 'p0': lower k"):
        engine.check([Demand(pool_of("S")["S"], 0.7, 9, ["p0"])])
    with pytest.raises(EngineError, match="has 8 samples of S for problem 'p0', number 9 was asked for"):
        answers(path, 9)


def test_unknown_problems_and_models_are_refused_with_the_remedy(path: Path) -> None:
    pool = pool_of("S", "L")
    engine = Engine(str(path), pool, seed=0)
    with pytest.raises(TableError, match=r"has no samples of S for problem 'p9': .*record it first"):
        engine.check([Demand(pool["S"], 0.7, 1, ["p0", "p9"])])
    with pytest.raises(TableError, match=r"has no samples of L \(test/L\); it has S"):
        engine.check([Demand(pool["L"], 0.7, 1, ["p0"])])
    with pytest.raises(EngineError, match="has 0 samples of S for problem 'p9'"):
        answers(path, 1, problem="p9")


def test_a_model_may_be_recorded_by_its_full_name(tmp_path: Path) -> None:
    pd.DataFrame([row(model="test/S")]).to_parquet(tmp_path / "r.parquet")
    assert answers(tmp_path / "r.parquet", 1) == ["1"]


def test_the_bound_of_a_prompt_is_exact_where_it_was_recorded(path: Path, tmp_path: Path) -> None:
    message = [{"role": "user", "content": "x" * 50}]
    request = Request("p0", message, pool_of("S")["S"], 0.7, 10, 0, 0)
    assert Engine(str(path), pool_of("S"), seed=0).prompt_bound(request) == 9
    pd.DataFrame([row()]).to_parquet(tmp_path / "unknown.parquet")
    assert Engine(str(tmp_path / "unknown.parquet"), pool_of("S"), seed=0).prompt_bound(request) > 50


def test_a_recording_is_named_behind_the_colon(path: Path) -> None:
    assert isinstance(open_engine(f"replay:{path}", pool_of("S"), seed=0), Engine)
    with pytest.raises(SettingError, match="replay:FILE, or replay:shipped"):
        open_engine("replay", pool_of("S"), seed=0)
    with pytest.raises(SettingError, match=r"engine 'replai' is not .*llamacpp, openai, replay.*did you mean 'replay'"):
        open_engine("replai:x", pool_of("S"), seed=0)


def test_the_pool_of_a_recording_that_carries_none(tmp_path: Path) -> None:
    def pool(*names: str) -> Pool:
        pd.DataFrame([row(model=name) for name in names]).to_parquet(tmp_path / "r.parquet")
        return recorded_pool(open_recording(str(tmp_path / "r.parquet")))

    assert [(m.alias, m.name, m.price) for m in pool("llama-3.1-8b", "acme/odd name").models] == [
        ("llama-3.1-8b", "llama-3.1-8b", None),
        ("acme-odd-name", "acme/odd name", None),
    ]
    with pytest.raises(PoolError, match="model names that cannot be aliases"):
        pool("a/b", "a b")


def test_fingerprints_tell_recordings_and_models_apart(path: Path, tmp_path: Path) -> None:
    pool = pool_of("S", "L")
    pd.DataFrame([row(), row(model="L")]).to_parquet(tmp_path / "other.parquet")
    one, other = (Engine(str(p), pool, seed=0) for p in (path, tmp_path / "other.parquet"))
    prints = {one.fingerprint(pool["S"]), other.fingerprint(pool["S"]), other.fingerprint(pool["L"])}
    assert len(prints) == 3
