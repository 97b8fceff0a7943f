import json
from pathlib import Path

import pandas as pd

from tests.cli.conftest import Cli


def test_answers_tells_rule_key_and_equality(cli: Cli):
    said = cli("answers", "so \\boxed{\\frac12}", "0.50")
    assert said.code == 0
    assert "boxed" in said.out and "0.5" in said.out
    assert "1 and 2: equal, their keys are the same" in said.out


def test_answers_asks_where_keys_leave_it_open(cli: Cli):
    said = cli("answers", "\\boxed{e^{i\\pi}}", "-1")
    assert "1 and 2: equal, their keys differ, math was asked" in said.out
    assert "not equal, their keys differ, and each is the only one of its value" in cli("answers", "1", "2").out


def test_answers_tells_an_abstention(cli: Cli):
    said = cli("answers", "[invalid]", "5")
    assert "it abstains" in said.out and "an abstention equals nothing" in said.out


def test_answers_of_another_kind_as_json(cli: Cli):
    said = json.loads(cli("answers", "I choose (B).", "b", "--kind", "choice", "--json").out)
    assert [row["key"] for row in said["answers"]] == ["B", "B"]
    assert said["pairs"] == [{"a": 1, "b": 2, "equal": True, "why": "their keys are the same"}]


def test_an_unknown_kind_is_refused(cli: Cli):
    said = cli("answers", "5", "--kind", "maths")
    assert said.code == 2 and "maths" in said.err and "math" in said.err


def test_grade_says_what_changed_and_writes_where_told(cli: Cli, recording: Path, tmp_path: Path):
    assert (
        cli("run", "--engine", f"replay:{recording}", "--route", "mv_cascade_S_k5_t0.7_L_k3_t0.7", "--out", "o").code
        == 0
    )
    same = cli("grade", "o")
    assert same.code == 0 and "nothing changed" in same.out and "nothing is written" in same.out
    golds = tmp_path / "golds.jsonl"
    rows = [
        {"id": i, "problem": f"What is problem {i}?", "answer": a}
        for i, a in zip(("p1", "p2", "p3", "p4"), "5756", strict=True)
    ]
    golds.write_text("\n".join(map(json.dumps, rows)))
    said = cli("grade", "o", "--problems", golds, "--out", "again")
    assert "1 changed: 0 to right, 1 to wrong" in said.out
    assert "graded by math" in said.out
    table = pd.read_parquet(tmp_path / "again" / "answers.parquet").set_index("idx")
    assert not table.loc["p1", "majority_vote_is_correct"]
    body = json.loads(cli("grade", "o", "--problems", golds, "--json").out)
    assert [(c["id"], c["before"], c["after"]) for c in body["changes"]] == [("p1", True, False)]


def test_E6_answers_tells_that_a_text_is_cut_off(cli: Cli):
    said = cli("answers", "so it is \\boxed{12", "12")
    assert "cut off inside it" in said.out and "not equal, as an abstention equals nothing" in said.out
