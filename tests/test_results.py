"""Results on disk: who graded stands in each table, whoever writes it."""

import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import escalade
from escalade.errors import TableError
from escalade.job import prepare
from escalade.pool import load_pool
from escalade.regrading import regrade
from escalade.repricing import reprice
from escalade.results import Results, read_stamp, write_answers
from escalade.running import stream_job

TABLES = ("answers.parquet", "samples.parquet")
ROUTE = "mv_cascade_0.5B_k5_t0.7_1.5B_k3_t0.7"


@pytest.fixture(scope="module")
def results() -> Results:
    return escalade.run(route=ROUTE, engine="replay:shipped", limit=12)


def stamps(folder: Path) -> list[object]:
    return [read_stamp(folder / name) for name in TABLES]


def graders(folder: Path) -> list[object]:
    return [{"grader": json.loads((folder / "summary.json").read_text(encoding="utf-8"))["grader"]}] * 2


def test_tables_say_who_graded_as_the_summary_does(results: Results, tmp_path: Path) -> None:
    results.write(tmp_path / "kept")
    stream_job(prepare(route=ROUTE, engine="replay:shipped", limit=12), _made(tmp_path / "streamed"))
    for name in ("kept", "streamed"):
        assert stamps(tmp_path / name) == graders(tmp_path / name)
    assert set(read_stamp(tmp_path / "kept" / "answers.parquet")["grader"]) == {"escalade", "math"}


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_the_stamp_is_json_in_the_files_own_metadata(results: Results, tmp_path: Path) -> None:
    results.write(tmp_path)
    text = pq.read_metadata(tmp_path / "answers.parquet").metadata[b"escalade"]
    assert json.loads(text)["grader"] == results.grading["grader"]


def test_results_graded_or_priced_again_have_the_stamp_of_who_graded(results: Results, tmp_path: Path) -> None:
    old = {"grader": {"escalade": "0.0.1", "math": "math of long ago"}}
    results.write(tmp_path / "new")
    Results(results.job, results.answered, 1.0, grading=old).write(tmp_path / "old")
    assert stamps(tmp_path / "old") == [old, old]
    reprice(tmp_path / "old", load_pool("ladder")).write(tmp_path / "repriced")
    assert stamps(tmp_path / "repriced") == [old, old]
    regrade(tmp_path / "old").write(tmp_path / "regraded")
    assert stamps(tmp_path / "regraded") == graders(tmp_path / "regraded") == stamps(tmp_path / "new")
    regrade(tmp_path / "old" / "samples.parquet").write(tmp_path / "samples")
    assert read_stamp(tmp_path / "samples" / "samples.parquet")["grader"] == results.grading["grader"]


def test_published_tables_have_it_too(results: Results, tmp_path: Path) -> None:
    write_answers(results.to_pandas(), tmp_path / "answered.parquet", results.grading)
    assert read_stamp(tmp_path / "answered.parquet") == {"grader": results.grading["grader"]}
    assert len(pd.read_parquet(tmp_path / "answered.parquet")) == 12


def test_results_that_nobody_graded_have_none(results: Results, tmp_path: Path) -> None:
    Results(results.job, results.answered, 1.0).write(tmp_path)
    assert stamps(tmp_path) == [{}, {}]


def test_a_file_whose_stamp_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "answers.parquet"
    with pytest.raises(TableError, match=r"answers\.parquet: its metadata cannot be read"):
        read_stamp(path)
    for text in ("[1]", "{"):
        pq.write_table(pa.table({"idx": ["p"]}).replace_schema_metadata({"escalade": text}), path)
        with pytest.raises(TableError, match=r"answers\.parquet: "):
            read_stamp(path)
