import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import escalade
from escalade import streaming
from escalade.errors import SettingError
from escalade.results import Results
from escalade.rows import LISTS
from escalade.running import stream_job
from escalade.samples.sample import Generation
from escalade.streaming import SAMPLES, ResultStream, answers_schema
from escalade.testing import ScriptedEngine
from tests.runs import ScriptedJob, files, job_of, run_scripted

TABLES = ("answers.parquet", "samples.parquet")


def plain(column: Any) -> list[Any]:
    """Values in which every way of saying nothing is None."""
    return [None if value is None or (isinstance(value, float) and math.isnan(value)) else value for value in column]


def streamed(results: Results, order: list[int], folder: Path) -> None:
    folder.mkdir()
    by_place = dict(zip(sorted(order), results.answered, strict=True))
    with ResultStream(results.job, folder) as stream:
        for position in order:
            stream.add(position, by_place[position])
        stream.finish(results.grading)


@pytest.mark.parametrize("gold", [True, False])
def test_tables_hold_what_the_results_in_memory_do(tmp_path: Path, gold: bool) -> None:
    results, order = run_scripted(job_of(60, gold=gold))
    assert order != sorted(order)
    streamed(results, order, tmp_path / "out")
    answers, samples = (pd.read_parquet(tmp_path / "out" / name) for name in TABLES)
    memory = results.to_pandas()
    assert {"error", "last_tier", "no_answer"} <= set(memory["status"])
    assert set(answers) == set(memory)
    for name in answers:
        said = [json.dumps(v, ensure_ascii=False) if isinstance(v, list) else v for v in memory[name]]
        assert plain(answers[name]) == plain(said), name
        assert (name in LISTS) == any(isinstance(value, list) for value in memory[name])
    assert list(samples) == list(results.samples())
    for name in samples:
        assert plain(samples[name]) == plain(results.samples()[name]), name


def test_shipped_recording_streams_as_it_is_written(tmp_path: Path) -> None:
    route = "mv_cascade_0.5B_k5_t0.7_1.5B_k3_t0.7"
    results = escalade.run(route=route, engine="replay:shipped", seed=3)
    results.write(tmp_path / "memory")
    (tmp_path / "stream").mkdir()
    summary = stream_job(results.job, tmp_path / "stream")
    for name in TABLES:
        assert pq.read_table(tmp_path / "memory" / name).equals(pq.read_table(tmp_path / "stream" / name))
    both = [json.loads((tmp_path / folder / "summary.json").read_text()) for folder in ("memory", "stream")]
    assert {**both[0], "seconds": 0} == {**both[1], "seconds": 0}
    assert both[1] == summary.to_dict()


@pytest.mark.parametrize("held", [0, 3000, 10**9])
def test_the_order_of_arrival_the_groups_and_what_waits_on_disk_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: int
) -> None:
    results, order = run_scripted(job_of(60))
    results.write(tmp_path / "whole")
    monkeypatch.setattr(streaming, "GROUP_ROWS", 7)
    monkeypatch.setattr(streaming, "HELD_CHARACTERS", held)
    for name, given in (("came", order), ("backwards", order[::-1]), ("sorted", sorted(order))):
        given = sorted(order, reverse=True) if name == "backwards" else given
        streamed(results, given, tmp_path / name)
        for table in TABLES:
            found = pq.read_table(tmp_path / name / table)
            assert found.equals(pq.read_table(tmp_path / "whole" / table))
            assert pq.ParquetFile(tmp_path / name / table).num_row_groups >= 60 // 7
        assert files(tmp_path / name) == sorted(TABLES)


def test_types_do_not_depend_on_what_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "GROUP_ROWS", 2)
    results, order = run_scripted(job_of(60))
    streamed(results, order, tmp_path / "out")
    job = results.job
    assert pq.read_schema(tmp_path / "out" / "answers.parquet").equals(answers_schema(job))
    assert pq.read_schema(tmp_path / "out" / "samples.parquet").equals(SAMPLES)
    assert answers_schema(job).field("score_S").type == pa.float64()  # which the first rows do not have


def test_nothing_of_a_run_that_failed_is_left_and_what_was_there_stays(tmp_path: Path) -> None:
    (tmp_path / "answers.parquet").write_text("before", encoding="utf-8")
    results, _ = run_scripted(job_of(5))

    def fail() -> None:
        with ResultStream(results.job, tmp_path) as stream:
            stream.add(0, results.answered[0])
            assert ".answers.parquet.partial" in files(tmp_path)
            raise ValueError

    with pytest.raises(ValueError):
        fail()
    assert files(tmp_path) == ["answers.parquet"]
    assert (tmp_path / "answers.parquet").read_text(encoding="utf-8") == "before"


def test_ctrl_c_leaves_whole_files_of_what_was_answered(tmp_path: Path) -> None:
    whole = job_of(40)
    asked = 0

    def script(request: Any) -> Generation:
        nonlocal asked
        asked += 1
        if asked == 60:
            raise KeyboardInterrupt
        return Generation("\\boxed{1}", prompt_tokens=1, completion_tokens=1)

    engine = ScriptedEngine(script, slots=4)
    job = ScriptedJob(whole.pool, whole.tasks, whole.policy, whole.limits, 0, None, whole.chosen, scripted=engine)
    summary = stream_job(job, tmp_path)
    assert summary.interrupted
    assert 0 < summary.problems < 40
    answers = pd.read_parquet(tmp_path / "answers.parquet")
    assert len(answers) == summary.problems
    places = {task.problem.id: position for position, task in enumerate(whole.tasks)}
    assert [places[i] for i in answers["idx"]] == sorted(places[i] for i in answers["idx"])
    assert len(pd.read_parquet(tmp_path / "samples.parquet")) == summary.samples_drawn
    assert files(tmp_path) == ["answers.parquet", "samples.parquet", "summary.json"]


def test_a_run_stopped_before_the_first_answer_has_all_columns(tmp_path: Path) -> None:
    job = job_of(3)
    Results(job, (), 0.0, interrupted=True).write(tmp_path)
    assert pd.read_parquet(tmp_path / "answers.parquet").columns.tolist() == answers_schema(job).names
    assert len(pd.read_parquet(tmp_path / "samples.parquet")) == 0


def test_a_folder_is_of_one_run_at_a_time(tmp_path: Path) -> None:
    results, _ = run_scripted(job_of(5))
    with ResultStream(results.job, tmp_path) as stream:
        with pytest.raises(SettingError, match="another run writes its results to"):
            ResultStream(results.job, tmp_path)
        for position, item in enumerate(results.answered):
            stream.add(position, item)
        stream.finish(results.grading)
    assert len(pd.read_parquet(tmp_path / "answers.parquet")) == 5
    results.write(tmp_path)
    assert files(tmp_path) == ["answers.parquet", "samples.parquet", "summary.json"]
