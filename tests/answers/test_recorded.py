"""Grades on recorded pools, compared with the grades that their sources published."""

import os
from pathlib import Path

import pytest

from escalade.answers import classes, equal, extract, grade
from escalade.answers.canonical import exact, key
from escalade.answers.symbolic import Verdict, workers

FOLDER = Path(os.environ.get("ESCALADE_DATA", Path(__file__).parents[3] / "shared" / "data")) / "pools"


def rows(pool: str, columns: list[str]) -> list[tuple]:
    path = FOLDER / f"{pool}.parquet"
    if not path.exists():
        pytest.skip(f"recorded data absent: {path} (set ESCALADE_DATA to its folder)")
    parquet = pytest.importorskip("pyarrow.parquet", reason="reading recorded pools needs pyarrow")
    table = parquet.read_table(path, columns=columns)
    return list(zip(*(table[column].to_pylist() for column in columns), strict=True))


@pytest.mark.parametrize(
    ("pool", "at_least"),
    [
        # What remains: units and commas lost by the source's own extraction, tolerances, sums not worked out.
        ("math100_ladder_samples", 0.99),
        ("embedded_gsm8k_samples", 0.999),
        ("qwen25math_rm_example_samples", 0.998),
        # What remains: dates without leading zeros, which the source held for wrong.
        ("mot_gsm8k_date_samples", 0.98),
    ],
)
def test_grades_agree_with_the_published_ones(pool: str, at_least: float):
    graded = rows(pool, ["answer", "gold_answer", "correct"])
    agreed = sum(grade(answer, gold) == bool(correct) for answer, gold, correct in graded)
    assert agreed / len(graded) >= at_least


@pytest.mark.parametrize("pool", ["embedded_gsm8k_samples", "qwen25math_rm_example_samples"])
def test_extraction_finds_the_published_answers(pool: str):
    texts = [row for row in rows(pool, ["text", "answer"]) if None not in row]
    found = [(extract(text), answer) for text, answer in texts]
    assert sum(mine is not None and grade(mine.text, answer) for mine, answer in found) / len(found) >= 0.99


def test_real_texts_are_graded_as_well_as_by_the_best_checker():
    graded = rows("qwen25math_rm_example_samples", ["text", "gold_answer"])
    right = sum(found is not None and grade(found, gold) for text, gold in graded for found in [extract(text)])
    # math-verify: 729; of eight it takes "4:30 p.m." and "4:30 \\text{ p.m.}" for two answers.
    assert (right, len(graded)) == (737, 800)


@pytest.mark.parametrize("pool", ["math100_ladder_samples", "problems"])
def test_equality_is_an_equivalence_on_real_answers(pool: str):
    """Golds against each other; the answers of a problem against each other and its gold."""
    if pool == "problems":
        of_math = [
            gold for data, gold in rows(pool, ["dataset", "gold_answer"]) if data in ("math", "math500") and gold
        ]
        groups = {"all": dict.fromkeys(of_math)}
    else:
        groups = {}
        for problem, answer, gold in rows(pool, ["problem_id", "answer", "gold_answer"]):
            groups.setdefault(problem, {gold: None})[answer] = None
    for answers in groups.values():
        written = [answer for answer in answers if answer is not None]
        keys = {k: answer for answer in written if (k := key(answer)) is not None}
        assert all(equal(answer, answer) for answer in keys.values())
        undecided = [k for k in keys if not exact(k)]
        same = {(a, b) for a in undecided for b in keys if a != b and workers().check(a, b) is Verdict.EQUAL}
        assert {(b, a) for a, b in same if b in undecided} == {(a, b) for a, b in same if b in undecided}
        assert all(a == c or (a, c) in same for a, b in same for b2, c in same if b == b2)
        if len(written) < 60:
            forward, backward = classes(written), classes(written[::-1])[::-1]
            for i in range(len(written)):
                for j in range(i):
                    together = forward[i] is not None and forward[i] == forward[j]
                    assert together == (backward[i] is not None and backward[i] == backward[j])
                    assert together == equal(written[i], written[j]) == equal(written[j], written[i])
