"""Grades on recorded pools, compared with the grades that their sources published."""

import os
from pathlib import Path

import pytest

from escalade.answers import extract, grade

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
