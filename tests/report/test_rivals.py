"""Runs against the first of them: what may be said of them, and what may not."""

from pathlib import Path

import pytest

from escalade.report.rivals import rivals_of
from escalade.report.runs import read_run
from escalade.statistics.intervals import mcnemar
from tests.report.conftest import larger


def test_one_run_has_no_rival(cascade: Path) -> None:
    assert rivals_of([read_run(cascade)]) is None


def test_runs_are_paired_by_problem(cascade: Path, vote: Path) -> None:
    first, second = read_run(cascade), read_run(vote)
    found = rivals_of([first, second])
    assert found is not None
    row = found.table.records()[1]
    theirs = {story.id: story.right for story in first.stories}
    pairs = [(story.right, theirs[story.id]) for story in second.stories]
    assert len(pairs) == 40
    assert row["difference"] == pytest.approx(sum(bool(a) - bool(b) for a, b in pairs) / 40)
    test = mcnemar([float(bool(a)) for a, _ in pairs], [float(bool(b)) for _, b in pairs])
    assert (row["only_this"], row["only_reference"], row["p_value"]) == (
        test.only_first,
        test.only_second,
        test.p_value,
    )
    mine = sum(float(story.cost or 0) for story in second.stories)
    other = sum(float(story.cost or 0) for story in first.stories if story.id in {s.id for s in second.stories})
    assert row["cost_ratio"] == pytest.approx(mine / other)


def test_too_few_problems_show_nothing(cascade: Path, vote: Path) -> None:
    found = rivals_of([read_run(cascade), read_run(vote)])
    assert found is not None
    assert found.verdict.startswith("No other run is shown to be as good as mv_cascade_0.5B_k5_t0.7_1.5B_k3_t0.7")
    row = found.table.records()[1]
    assert row["no_worse"] == "not shown"
    assert not row["money"].startswith("saves")


def test_V11_a_run_chosen_on_its_own_problems_is_marked_in_sample(cascade: Path, tmp_path: Path) -> None:
    dear = read_run(larger(cascade, 10, tmp_path / "dear", 1.0))
    cheap = read_run(larger(cascade, 10, tmp_path / "cheap", 0.5))
    found = rivals_of([dear, cheap])
    assert found is not None
    assert "is shown to be no more than 1 point worse" in found.verdict
    assert "costs 0.50 times as much (95 % 0.50 to 0.50) on 600 problems" in found.verdict
    assert found.verdict.endswith("(in-sample).")
    assert found.table.records()[1]["money"] == "saves 50 %"
    turned = rivals_of([cheap, dear])
    assert turned is not None
    assert turned.table.records()[1]["money"] == "a loss: costs 2.00 times as much"
    assert turned.verdict.startswith("No other run")


def test_runs_without_a_problem_in_common_are_not_compared(cascade: Path, tmp_path: Path) -> None:
    found = rivals_of([read_run(cascade), read_run(larger(cascade, 1, tmp_path / "other", 1.0))])
    assert found is not None
    assert found.verdict == "The runs have no graded problem in common, so they are not compared."
    assert found.table.records()[1]["no_worse"] == "not compared"
