"""Runs read from their folders: what every ballot said, graded; and folders that are refused."""

import json
import shutil
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pytest

from escalade.answers import grade
from escalade.errors import TableError
from escalade.report.runs import read_run


def test_every_leader_is_graded_as_the_grader_would(cascade: Path) -> None:
    leaders = [
        (tier.looks[-1].votes[0][0], story.gold, tier.leader_right)
        for story in read_run(cascade).stories
        for tier in story.tiers
        if tier.looks[-1].votes
    ]
    assert len(leaders) > 80
    assert {right for _, _, right in leaders} == {True, False}
    assert all(grade(leader, gold) == right for leader, gold, right in leaders)


def test_stories_sum_to_the_summary(cascade: Path) -> None:
    run = read_run(cascade)
    summary = json.loads((cascade / "summary.json").read_text(encoding="utf-8"))
    assert (len(run.stories), run.correct, run.graded) == (summary["problems"], summary["correct"], summary["graded"])
    assert float(run.cost or 0) == summary["cost_usd"]
    assert run.cost == sum(Decimal(tier.cost or 0) for story in run.stories for tier in story.tiers)
    assert sum(tier.samples for s in run.stories for tier in s.tiers) == summary["samples_drawn"]
    assert sum(tier.tokens or 0 for s in run.stories for tier in s.tiers) == summary["completion_tokens"]


def test_a_seat_is_drawn_saved_or_cancelled(cascade: Path) -> None:
    for story in read_run(cascade).stories:
        for tier in story.tiers:
            assert tier.drawn + tier.saved + tier.cancelled == tier.asked
            assert tier.drawn == tier.samples


@pytest.fixture
def copy(cascade: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(cascade, tmp_path / "copy"))


@pytest.mark.parametrize("name", ["answers.parquet", "samples.parquet", "summary.json"])
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(TableError, match=f"{name} is not there; give the folder of a run"):
        read_run(copy)


@pytest.mark.parametrize("name", ["answers.parquet", "samples.parquet", "summary.json"])
def test_a_broken_file_is_named(copy: Path, name: str) -> None:
    (copy / name).write_bytes(b"{ no")
    with pytest.raises(TableError, match=f"{name} cannot be read"):
        read_run(copy)


def test_a_summary_of_another_run_is_refused(copy: Path) -> None:
    summary = json.loads((copy / "summary.json").read_text(encoding="utf-8"))
    (copy / "summary.json").write_text(json.dumps(summary | {"correct": 1}), encoding="utf-8")
    with pytest.raises(TableError, match=r"1 right; .* the two are not of one run"):
        read_run(copy)


def test_a_trace_that_lacks_something_is_refused_with_its_problem(copy: Path) -> None:
    table = pd.read_parquet(copy / "answers.parquet")
    table.loc[3, "trace"] = '[{"model": "0.5B"}]'
    table.to_parquet(copy / "answers.parquet")
    with pytest.raises(TableError, match=f"trace of problem '{table['idx'][3]}' lacks 'looks'"):
        read_run(copy)


def test_a_table_without_a_column_is_refused(copy: Path) -> None:
    pd.read_parquet(copy / "answers.parquet").drop(columns="status").to_parquet(copy / "answers.parquet")
    with pytest.raises(TableError, match="no column 'status'"):
        read_run(copy)


def test_without_gold_answers_nothing_is_graded(copy: Path) -> None:
    table = pd.read_parquet(copy / "answers.parquet")
    table["gold_answer"], table["majority_vote_is_correct"] = None, None
    table.to_parquet(copy / "answers.parquet")
    samples = pd.read_parquet(copy / "samples.parquet")
    samples["correct"] = None
    samples.to_parquet(copy / "samples.parquet")
    summary = json.loads((copy / "summary.json").read_text(encoding="utf-8"))
    (copy / "summary.json").write_text(json.dumps(summary | {"correct": 0, "graded": 0}), encoding="utf-8")
    run = read_run(copy)
    assert run.graded == 0
    assert all(tier.leader_right is None for story in run.stories for tier in story.tiers)


def test_an_unknown_cost_stays_unknown(copy: Path) -> None:
    table = pd.read_parquet(copy / "answers.parquet")
    trace = json.loads(table.loc[0, "trace"])
    trace[0]["cost_usd"] = None
    table.loc[0, "trace"] = json.dumps(trace)
    table.to_parquet(copy / "answers.parquet")
    run = read_run(copy)
    assert run.stories[0].cost is None
    assert run.cost is None
