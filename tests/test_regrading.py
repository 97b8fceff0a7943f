"""Results graded again: by other gold answers, by another kind, from the texts; and what is said of the change."""

import json
from pathlib import Path

import pandas as pd
import pytest

import escalade
from escalade.errors import TableError
from escalade.problems import Problem
from escalade.regrading import regrade

ROUTE = "mv_cascade_0.5B_k5_t0.7_1.5B_k3_t0.7"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from escalade.samples.recorded import shipped_recording

    if not shipped_recording().exists():
        pytest.skip("the shipped recording is absent")
    return escalade.run(route=ROUTE, engine="replay:shipped", limit=20).write(tmp_path_factory.mktemp("run"))


def golds(folder: Path, **others: str) -> list[Problem]:
    table = pd.read_parquet(folder / "answers.parquet")
    return [
        Problem(str(row.idx), str(row.problem), others.get(str(row.idx), str(row.gold_answer)))
        for row in table.itertuples()
    ]


def test_by_the_same_golds_nothing_changes(folder: Path):
    again = regrade(folder)
    summary = json.loads((folder / "summary.json").read_text())
    assert again.changes == ()
    assert (again.graded, again.correct, again.before) == (20, summary["correct"], summary["correct"])
    assert again.summary is not None
    assert {**again.summary, "comparisons": 0} == {**summary, "comparisons": 0}
    pd.testing.assert_series_equal(
        again.table["passk_score"], pd.read_parquet(folder / "answers.parquet")["passk_score"]
    )


def test_another_gold_changes_that_row_and_all_that_follows(folder: Path, tmp_path: Path):
    table = pd.read_parquet(folder / "answers.parquet")
    right = table[table["majority_vote_is_correct"]].iloc[0]
    again = regrade(folder, golds(folder, **{str(right.idx): "999999"}))
    assert [(c.id, c.gold, c.before, c.after) for c in again.changes] == [(right.idx, "999999", True, False)]
    assert again.correct == again.before - 1  # type: ignore[operator]
    written = again.write(tmp_path / "again")
    summary = json.loads((written / "summary.json").read_text())
    assert summary["correct"] == again.correct and summary["accuracy"] == again.correct / 20
    assert summary["cost_usd"] == json.loads((folder / "summary.json").read_text())["cost_usd"]
    changed = pd.read_parquet(written / "samples.parquet").query("problem_id == @right.idx")
    assert not changed["correct"].any() and set(changed["gold_answer"]) == {"999999"}
    assert regrade(written).changes == ()


def test_by_another_kind_units_may_matter(folder: Path):
    strict = regrade(folder, golds(folder), kind="math-strict")
    assert list(strict.stamp["grader"]) == ["escalade", "math-strict"]


def test_golds_may_come_from_a_file(folder: Path, tmp_path: Path):
    path = tmp_path / "golds.jsonl"
    rows = [{"id": p.id, "problem": p.text, "answer": p.gold} for p in golds(folder)]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert regrade(folder / "answers.parquet", path).changes == ()


def test_a_problem_that_is_not_among_the_golds_is_an_error(folder: Path):
    with pytest.raises(TableError, match="is not among the problems given"):
        regrade(folder, golds(folder)[1:])


def test_a_table_of_samples_is_graded_sample_by_sample(tmp_path: Path):
    rows = [
        {"problem_id": "p", "sample_index": i, "gold_answer": "(x+1)^2", "answer": answer, "text": text, "correct": old}
        for i, (answer, text, old) in enumerate(
            [
                ("x^2+2x+1", None, False),
                ("x^2+1", None, False),
                (None, "so \\boxed{(1+x)^2}", False),
                (None, "dunno", None),
            ]
        )
    ]
    path = tmp_path / "samples.parquet"
    pd.DataFrame(rows).to_parquet(path)
    again = regrade(path)
    assert list(again.table["correct"]) == [True, False, True, False]
    assert [(c.answer, c.before, c.after) for c in again.changes] == [
        ("x^2+2x+1", False, True),
        ("x^2+2x+1", False, True),
        (None, None, False),
    ]
    assert (again.graded, again.correct, again.before) == (4, 2, None)


def test_answers_can_be_extracted_anew(tmp_path: Path):
    path = tmp_path / "samples.parquet"
    row = {
        "problem_id": "p",
        "sample_index": 0,
        "gold_answer": "5",
        "answer": "7",
        "text": "\\boxed{5}",
        "correct": False,
    }
    pd.DataFrame([row, {**row, "sample_index": 1, "finish_reason": "length"}]).to_parquet(path)
    assert list(regrade(path).table["correct"]) == [False, False]
    assert list(regrade(path, from_text=True).table["correct"]) == [True, False]


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"a": [1]}, "neither a result table"),
        ({"problem_id": ["p"], "sample_index": [0], "answer": ["5"]}, "has no gold answers: give them with --problems"),
    ],
)
def test_what_cannot_be_graded_is_said(table: dict[str, list[object]], says: str, tmp_path: Path):
    path = tmp_path / "t.parquet"
    pd.DataFrame(table).to_parquet(path)
    with pytest.raises(TableError, match=says):
        regrade(path)


def test_a_file_that_is_not_there_is_said(tmp_path: Path):
    with pytest.raises(TableError, match="is not there"):
        regrade(tmp_path)
