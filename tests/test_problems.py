import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from escalade.errors import ProblemError
from escalade.job import prepare
from escalade.pool import load_pool
from escalade.problems import Problem, problems_from, read_problems, shipped_problems

ROWS = [
    {"id": "a", "problem": "One and one?", "gold_answer": "2", "score_7B": 0.5},
    {"id": "b", "problem": "Zwei, «quotes», \u2028 and\nlines?", "gold_answer": r"\frac12", "score_7B": 0.25},
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".csv":
        pd.DataFrame(rows).to_csv(path, index=False)
    elif path.suffix == ".parquet":
        pd.DataFrame(rows).to_parquet(path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    else:
        path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n", encoding="utf-8")
    return path


def text_file(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("ending", ["jsonl", "ndjson", "json", "csv", "parquet"])
def test_every_kind_of_file_gives_the_same_problems(tmp_path: Path, ending: str) -> None:
    assert read_problems(write(tmp_path / f"problems.{ending}", ROWS)) == [
        Problem("a", ROWS[0]["problem"], "2", {"7B": 0.5}),
        Problem("b", ROWS[1]["problem"], r"\frac12", {"7B": 0.25}),
    ]


@pytest.mark.parametrize("ending", ["jsonl", "json", "csv"])
def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / f"problems.{ending}", ROWS)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert [p.id for p in read_problems(path)] == ["a", "b"]


def test_windows_line_ends_and_empty_lines(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(b'{"problem": "one"}\r\n\r\n  \r\n{"problem": "two"}\r\n')
    assert [p.text for p in read_problems(path)] == ["one", "two"]


@pytest.mark.parametrize("name", ["id", "problem_id", "idx"])
def test_ids(name: str) -> None:
    assert [p.id for p in problems_from(pd.DataFrame({name: [7, 3], "problem": ["x", "y"]}))] == ["7", "3"]


def test_rows_without_an_id_column_are_numbered() -> None:
    assert [p.id for p in problems_from(pd.DataFrame({"problem": ["x", "y"]}))] == ["0", "1"]


def test_ids_and_answers_of_text_files_stay_text(tmp_path: Path) -> None:
    path = text_file(tmp_path / "p.csv", "id,problem,answer\n007,NA,1.50\n08,None,NA\n")
    assert [(p.id, p.text, p.gold) for p in read_problems(path)] == [("007", "NA", "1.50"), ("08", "None", "NA")]
    path = text_file(tmp_path / "p.jsonl", '{"id": 7, "problem": "x", "answer": 5}\n{"id": "x", "problem": "y"}')
    assert [(p.id, p.gold) for p in read_problems(path)] == [("7", "5"), ("x", None)]


def test_whole_numbers_that_a_table_holds_as_floats() -> None:
    table = pd.DataFrame({"id": [1.0, 2.0], "problem": ["x", "y"], "gold": [3.0, None]})
    assert [(p.id, p.gold) for p in problems_from(table)] == [("1", "3"), ("2", None)]


@pytest.mark.parametrize("name", ["problem", "question", "prompt"])
def test_names_of_the_text_column(name: str) -> None:
    assert problems_from(pd.DataFrame({name: ["x"]}))[0].text == "x"


@pytest.mark.parametrize(
    ("row", "gold"),
    [
        ({"answer": "She has 3 + 4 = <<3+4=7>>7 left.\n#### 7"}, "7"),  # GSM8K
        ({"solution": r"Hence $x = \boxed{\frac{1}{2}}$."}, r"\frac{1}{2}"),  # MATH
        ({"original_solution": "#### 1,000"}, "1,000"),
        ({"answer": r"\frac12", "solution": r"so \boxed{\frac{1}{2}}"}, r"\frac12"),  # as given, where it is given
        ({"gold_answer": "5", "solution": r"\boxed{6}"}, "5"),
        ({"gold": "plain words"}, "plain words"),
        ({"solution": "no answer in it"}, None),
        ({"gold": None, "solution": r"\boxed{6}"}, "6"),
        ({"gold": "  "}, None),
    ],
)
def test_gold_answers(row: dict[str, Any], gold: str | None) -> None:
    (problem,) = problems_from(pd.DataFrame([{"problem": "x", **row}], dtype=object))
    assert problem.gold == gold
    assert problem.solution == row.get("solution", row.get("original_solution"))


@pytest.mark.parametrize(
    ("kind", "row", "gold"),
    [
        ("choice", {"gold": "(B) so \\boxed{5}"}, "(B) so \\boxed{5}"),  # as written, where it is no mathematics
        ("number", {"gold": "so 7\n#### 7"}, "7"),
        ("number", {"solution": "It makes 5 and then 7"}, None),
        ("choice", {"solution": "The answer is (B)."}, "B"),
        ("text", {"gold": "The answer is 5"}, "The answer is 5"),
    ],
)
def test_gold_answers_are_read_by_their_kind(kind: str, row: dict[str, Any], gold: str | None) -> None:
    table = pd.DataFrame([{"problem": "x", **row}], dtype=object)
    (problem,) = problems_from(table, answer_kind=kind)
    assert (problem.gold, problem.answer_kind) == (gold, None)
    (problem,) = problems_from(table.assign(answer_kind=kind))
    assert (problem.gold, problem.answer_kind) == (gold, kind)


OWN = """
class Word:
    def extract(self, text):
        if "odd" in text:
            raise ValueError("odd")
        return text.split()[0]
    def key(self, answer):
        return answer
    def equal(self, a, b):
        return False
"""


def test_a_kind_of_ones_own_is_looked_for_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "words.py").write_text(OWN, encoding="utf-8")
    rows = [
        {"problem": "x", "answer_kind": "words.py:Word", "solution": "one two"},
        {"problem": "y", "answer_kind": "", "solution": "#### 7"},
        {"problem": "z", "answer_kind": "yesno", "gold": "Yes"},
    ]
    for ending in ("csv", "jsonl", "parquet"):
        problems = read_problems(write(tmp_path / f"p.{ending}", rows))
        assert [problem.answer_kind for problem in problems] == [f"{tmp_path}/words.py:Word", None, "yesno"]
        assert [problem.gold for problem in problems] == ["one", "7", "Yes"]
    rows = [{"problem": "x", "answer_kind": "words.py:Word", "solution": "odd"}]
    with pytest.raises(
        ProblemError, match=r"row 0: the gold answer cannot be read: .*extract\('odd'\) raised ValueError"
    ):
        read_problems(write(tmp_path / "p.jsonl", rows))


def test_an_unknown_kind_of_a_problem_is_refused_before_anything_is_asked() -> None:
    with pytest.raises(ProblemError, match=r"problem 'b': no answer kind 'yes-no': .*; did you mean 'yesno'"):
        prepare([Problem("a", "x", answer_kind="yesno"), Problem("b", "y", answer_kind="yes-no")])
    with pytest.raises(ProblemError, match=r"problems: row 0: column 'answer_kind' is 'mth': no answer kind 'mth'"):
        prepare([{"problem": "x", "answer_kind": "mth"}])
    pool = load_pool("tiny").model_copy(update={"answer_kind": "choice"})
    (task,) = prepare([{"problem": "x", "answer": r"(B) or \\boxed{5}"}], pool=pool).tasks
    assert task.problem.gold == r"(B) or \\boxed{5}" and task.problem.answer_kind is None


def test_calibrated_scores_win(tmp_path: Path) -> None:
    row = {"problem": "x", "calibrated_score_7B": 0.6, "score_7B": 0.3, "score_1.5B": 0.1}
    for ending in ("csv", "jsonl", "parquet"):
        (problem,) = read_problems(write(tmp_path / f"p.{ending}", [row]))
        assert problem.scores == {"7B": 0.6, "1.5B": 0.1}


def test_a_fingerprint_is_of_the_text_and_of_the_id_where_there_is_none() -> None:
    assert Problem("a", "x").fingerprint == Problem("b", "x").fingerprint != Problem("a", "y").fingerprint
    assert Problem("a", "").fingerprint != Problem("b", "").fingerprint


def test_a_limit_takes_the_first(tmp_path: Path) -> None:
    assert [p.id for p in read_problems(write(tmp_path / "p.jsonl", ROWS), limit=1)] == ["a"]


def test_the_problems_that_ship() -> None:
    shipped = read_problems(shipped_problems())
    assert len(shipped) == len({p.text for p in shipped}) == 60
    assert all(p.gold for p in shipped)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("p.jsonl", '{"problem": "x"}\n{"problem": ', r"p.jsonl: line 2: not JSON: .* at column \d+"),
        ("p.jsonl", '{"problem": "x"}\n[1]', r"p.jsonl: row 1 is \[1\]: each problem is an object"),
        ("p.jsonl", "", "p.jsonl has no rows: it needs one per problem"),
        ("p.csv", "", "p.csv is empty: it needs a row per problem"),
        ("p.csv", "id,problem\n", "p.csv has no rows: it needs one per problem"),
        ("p.csv", 'id,problem\n1,"open', "p.csv cannot be read as csv: "),
        ("p.csv", "id,problem\n1,x\n2,\n", "p.csv: row 1: column 'problem' is nan: give the problem as a text"),
        ("p.csv", "id,problem\n,x\n", "p.csv: row 0: column 'id' is empty: every problem needs an id"),
        ("p.csv", "id,problem\n1,x\n2,y\n1,z\n", "p.csv: rows 0 and 2 have the same id '1': ids must be unique"),
        ("p.csv", "id,text\n1,x\n", r"p.csv has no column for the problem's text: name it problem, .*it has id, text"),
        ("p.csv", "problem,score_7B\nx,much\n", "p.csv: row 0: column 'score_7B' is 'much', it must be a number"),
        ("p.jsonl", '{"problem": 5}', "p.jsonl: row 0: column 'problem' is 5: give the problem as a text"),
        ("p.jsonl", '{"problem": "x", "gold": [1, 2]}', r"row 0: column 'gold' is \[1, 2\]: give a text or a number"),
        ("p.json", '{"problem": "x"}', "p.json: a .json file must hold a list of problems"),
        ("p.json", "[", "p.json cannot be read as json: "),
        ("p.parquet", "nonsense", "p.parquet cannot be read as parquet: "),
        (
            "p.jsonl",
            '{"problem": "x"}\n{"problem": "y", "answer_kind": "yes-no"}',
            "row 1: column 'answer_kind' is 'yes-no': no answer kind 'yes-no': .*; did you mean 'yesno'",
        ),
        ("p.xlsx", "x", r"what kind of file is '.xlsx'\? Give .jsonl, .csv or .parquet"),
    ],
)
def test_errors_name_the_file_the_row_the_column_and_the_remedy(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    path = text_file(tmp_path / name, text)
    with pytest.raises(ProblemError, match=said) as error:
        read_problems(path)
    assert str(path) in str(error.value)


def test_a_file_that_is_not_there_or_not_utf8(tmp_path: Path) -> None:
    with pytest.raises(ProblemError, match=r"none.jsonl is not there: check the path"):
        read_problems(tmp_path / "none.jsonl")
    path = tmp_path / "latin.jsonl"
    path.write_bytes('{"problem": "für"}'.encode("latin-1"))
    with pytest.raises(ProblemError, match=r"latin.jsonl cannot be read as jsonl: 'utf-8' codec"):
        read_problems(path)


def test_lists_that_parquet_gives_as_arrays(tmp_path: Path) -> None:
    path = write(tmp_path / "p.parquet", [{"problem": "x", "answer": ["1", "2"]}])
    with pytest.raises(ProblemError, match=r"row 0: column 'answer' is .*: give a text or a number"):
        read_problems(path)


def test_what_was_said_before_a_problem_is_part_of_its_identity() -> None:
    alone = Problem("a", "And 3?")
    after, other = (Problem("a", "And 3?", conversation=(("user", said),)) for said in ("2 + 2?", "2 + 3?"))
    assert len({alone.fingerprint, after.fingerprint, other.fingerprint}) == 3
    assert Problem("b", "And 3?", conversation=(("user", "2 + 2?"),)).fingerprint == after.fingerprint
