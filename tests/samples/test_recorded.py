import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from escalade.engines.replay import recorded_pool
from escalade.errors import TableError
from escalade.pool import load_pool
from escalade.samples.recorded import read_recording, write_recording
from escalade.samples.sample import Generation

DATA = Path(os.environ.get("ESCALADE_DATA", Path(__file__).parents[3] / "shared" / "data")) / "pools"

ROW = {"problem_id": "p0", "model": "S", "temperature": 0.7, "sample_index": 0, "text": r"\boxed{1}", "answer": "1"}


def rows(**columns: list[Any]) -> list[dict[str, Any]]:
    n = len(next(iter(columns.values())))
    return [{**ROW, "sample_index": i, **{k: v[i] for k, v in columns.items()}} for i in range(n)]


def write(path: Path, table: list[dict[str, Any]]) -> Path:
    frame = pd.DataFrame(table)
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    elif path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        path.write_text("\n".join(json.dumps(row) for row in table))
    return path


def test_a_recording_carries_its_pool(tmp_path: Path) -> None:
    pool = load_pool("tiny")
    path = tmp_path / "new" / "recording.parquet"
    table = rows(
        prompt_tokens=[7, 7], completion_tokens=[3, 4], mean_logprob=[-0.1, -0.25], finish_reason=["stop", "length"]
    )
    write_recording(pd.DataFrame([{**row, "model": "135M"} for row in table]), pool, path)
    recording = read_recording(path)
    assert recording.pool == pool
    assert recorded_pool(recording)["135M"].price == pool["135M"].price
    found = recording.rows["p0", "135M"]
    assert found.temperatures == (0.7, 0.7)
    assert found.generations == (
        Generation(r"\boxed{1}", "stop", 7, None, 3, None, -0.1, None, "1"),
        Generation(r"\boxed{1}", "length", 7, None, 4, None, -0.25, None, "1"),
    )
    assert [p.name for p in path.parent.iterdir()] == ["recording.parquet"]  # nothing half-written is left


def test_the_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    pool = load_pool("tiny")
    for name, text in (("a", "x"), ("b", "x"), ("c", "y")):
        write_recording(pd.DataFrame([{**ROW, "text": text}]), pool, tmp_path / f"{name}.parquet")
    a, b, c = (read_recording(tmp_path / f"{name}.parquet").fingerprint for name in "abc")
    assert a == b != c


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_every_kind_of_file_gives_the_same_samples(tmp_path: Path, ending: str) -> None:
    table = rows(answer=["007", None, "None"], completion_tokens=[5, None, 7], temperature=[0.7, 0.7, None])
    recording = read_recording(write(tmp_path / f"r.{ending}", table))
    found = recording.rows["p0", "S"]
    assert [g.answer for g in found.generations] == ["007", None, "None"]
    assert [g.completion_tokens for g in found.generations] == [5, None, 7]
    assert [g.prompt_tokens for g in found.generations] == [None] * 3
    assert found.temperatures == (0.7, 0.7, None)
    assert recording.pool is None
    assert recording.models == ["S"]


def test_samples_stand_in_the_order_of_their_index(tmp_path: Path) -> None:
    table = rows(sample_index=[2, 0, 1], answer=["c", "a", "b"])
    found = read_recording(write(tmp_path / "r.parquet", table)).rows["p0", "S"]
    assert [g.answer for g in found.generations] == ["a", "b", "c"]


def test_ids_of_several_data_sets_do_not_collide(tmp_path: Path) -> None:
    table = rows(dataset=["gsm8k", "date"], answer=["1", "2"], problem=["x", None], gold_answer=["1", None])
    recording = read_recording(write(tmp_path / "r.parquet", table))
    assert list(recording.problems["id"]) == ["gsm8k/p0", "date/p0"]
    assert set(recording.rows) == {("gsm8k/p0", "S"), ("date/p0", "S")}
    one = read_recording(write(tmp_path / "one.parquet", rows(dataset=["gsm8k"] * 2)))
    assert list(one.problems["id"]) == ["p0"]


def test_problems_without_text_or_gold(tmp_path: Path) -> None:
    problems = read_recording(write(tmp_path / "r.csv", [ROW])).problems
    assert problems.to_dict("records") == [{"id": "p0", "problem": None, "gold_answer": None}]


def test_numeric_ids_and_32_bit_temperatures(tmp_path: Path) -> None:
    frame = pd.DataFrame(rows(problem_id=[7, 8]))
    frame["temperature"] = frame["temperature"].astype("float32")
    frame.to_parquet(path := tmp_path / "r.parquet")
    assert read_recording(path).rows["7", "S"].temperatures == (0.7,)


@pytest.mark.parametrize(
    ("drop", "lacking"), [(["problem_id"], "problem_id"), (["model"], "model"), (["answer", "text"], "answer or text")]
)
def test_columns_that_are_needed(tmp_path: Path, drop: list[str], lacking: str) -> None:
    table = [{k: v for k, v in ROW.items() if k not in drop}]
    with pytest.raises(TableError, match=rf"r.csv lacks the column {lacking}; it has .*temperature"):
        read_recording(write(tmp_path / "r.csv", table))


def test_text_without_answers_and_answers_without_text(tmp_path: Path) -> None:
    for gone in ("answer", "text"):
        row = {k: v for k, v in ROW.items() if k != gone}
        (found,) = read_recording(write(tmp_path / f"{gone}.jsonl", [row])).rows["p0", "S"].generations
        assert getattr(found, gone) is None


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"none.parquet is not there: check the path behind replay:"):
        read_recording(tmp_path / "none.parquet")
    for name in ("r.parquet", "r.jsonl"):
        (tmp_path / name).write_text("nonsense")
        with pytest.raises(TableError, match=f"recording .*{name} cannot be read as a table: "):
            read_recording(tmp_path / name)
    (tmp_path / "r.csv").write_text("problem_id,model,answer\n")
    with pytest.raises(TableError, match=r"r.csv has no rows"):
        read_recording(tmp_path / "r.csv")


@pytest.mark.parametrize(
    ("name", "models", "problems", "samples"),
    [
        ("math100_ladder_samples", 3, 100, [18, 80, 32]),
        ("embedded_gsm8k_samples", 3, 160, [9, 9, 9]),
        ("mot_gsm8k_date_samples", 3, 400 + 1319 + 369, None),
    ],
)
def test_published_recordings(name: str, models: int, problems: int, samples: list[int] | None) -> None:
    path = DATA / f"{name}.parquet"
    if not path.exists():
        pytest.skip(f"recorded data absent: {path} (set ESCALADE_DATA to its folder)")
    recording = read_recording(path)
    assert len(recording.models) == models
    if samples is not None:
        assert len(recording.problems) == problems
        first = recording.problems["id"][0]
        assert sorted(len(recording.rows[first, m].generations) for m in recording.models) == sorted(samples)
    else:
        assert recording.problems["id"].str.contains("/").all()
    assert sum(len(r.generations) for r in recording.rows.values()) == len(recording.table)
