import math
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from escalade.errors import ScoreError
from escalade.scores import Scores, read_published

SMALL = "Qwen-Qwen2.5-Math-1.5B-Instruct_maxlen_3000_k_1_temp_0.0"
MEDIUM = "Qwen-Qwen2.5-Math-7B-Instruct_maxlen_3000_k_1_temp_0.0"
RECORDED = Path(os.environ.get("ESCALADE_DATA", Path(__file__).parents[2] / "shared" / "data")) / "scored"
recorded = pytest.mark.skipif(not RECORDED.is_dir(), reason=f"no recorded scores in {RECORDED} (set ESCALADE_DATA)")


def scored(folder: Path, rows: dict[str, list[object]]) -> Path:
    folder.mkdir(parents=True)
    pd.DataFrame(rows).to_parquet(folder / "scored.parquet")
    return folder


def published(tmp_path: Path, **second: list[object]) -> Path:
    rows: dict[str, list[object]] = {
        "idx": [0, 1, 2],
        "problem": ["a", "b", "c"],
        "original_solution": ["1", None, "3"],
    }
    dataset = tmp_path / "P_probe" / "D"
    scored(dataset / SMALL, {**rows, "score": [0.1, 0.2, 0.3]})
    scored(dataset / MEDIUM, {**rows, "score": [0.4, 0.5, 0.6], **second})
    return tmp_path


def test_columns_are_read_only_float64_copies() -> None:
    given = np.array([0.25, 0.5])
    scores = Scores({"7B": given})
    given[0] = 0.9
    assert scores["7B"].dtype == np.float64 and scores["7B"].tolist() == [0.25, 0.5]
    with pytest.raises(ValueError, match="read-only"):
        scores["7B"][0] = 1.0


@pytest.mark.parametrize(
    "values", [[0, 1], ["0", "1.0"], pd.array([0, 1], dtype="Int64"), pd.Series([0.0, 1.0], [7, 5])]
)
def test_numbers_of_any_type_are_read_by_position(values: object) -> None:
    assert Scores({"7B": values})["7B"].tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("value", "said", "remedy"),
    [
        (math.nan, "missing", "leave it out"),
        (None, "missing", "leave it out"),
        (pd.NA, "missing", "leave it out"),
        ("high", "'high'", "leave it out"),
        (math.inf, "inf", "leave it out"),
        (1.3, "1.3", "sigmoid"),
        (-0.2, "-0.2", "sigmoid"),
        (1.0000001, "1.0000001", "sigmoid"),
    ],
)
def test_p22_a_bad_score_names_row_column_value_and_remedy(value: object, said: str, remedy: str) -> None:
    columns = {"1.5B": [0.1, 0.2, 0.3], "7B": pd.Series([0.5, value, value], dtype=object)}
    with pytest.raises(ScoreError) as caught:
        Scores(columns, ids=["p1", "p2", "p3"])
    message = str(caught.value)
    assert all(part in message for part in ("row 'p2'", "'score_7B'", f"is {said};", remedy, "(2 such rows of 3)"))


def test_p22_a_missing_score_in_a_float_column_is_no_half() -> None:
    with pytest.raises(ScoreError, match=r"row 1, column 'score_7B': the score is missing"):
        Scores({"7B": np.array([0.5, np.nan])})


def test_columns_have_one_length() -> None:
    with pytest.raises(ScoreError, match=r"'score_7B' has 1 scores for 2 rows in 'score_1.5B'"):
        Scores({"1.5B": [0.1, 0.2], "7B": [0.1]})
    with pytest.raises(ScoreError, match=r"'score_7B' has 1 scores for 2 ids"):
        Scores({"7B": [0.1]}, ids="ab")
    with pytest.raises(ScoreError, match="no column of scores"):
        Scores({"7B": 0.5})
    with pytest.raises(ScoreError, match="2 times"):
        Scores({"7B": pd.DataFrame([[0.1, 0.2]], columns=["score_7B", "score_7B"])["score_7B"]})


def test_rows_are_known_without_scores() -> None:
    assert Scores(ids=["x"]).rows == 1 and Scores().rows == 0


def test_asking_for_a_model_without_scores_says_which_there_are() -> None:
    with pytest.raises(ScoreError, match=r"no scores of '7B': there are scores of 1.5B.*add the column score_7B"):
        Scores({"1.5B": [0.5]})["7B"]


def test_published_files_are_joined_on_idx(tmp_path: Path) -> None:
    data = published(
        tmp_path, idx=[2, 0, 1], problem=["c", "a", "b"], original_solution=["3", "1", None], score=[0.6, 0.4, 0.5]
    )
    problems, scores = read_published(data, "P", "D")
    assert problems["idx"].tolist() == [0, 1, 2] and list(problems) == ["idx", "problem", "original_solution"]
    assert scores["7B"].tolist() == [0.4, 0.5, 0.6]


def test_published_calibrated_scores_are_preferred(tmp_path: Path) -> None:
    scores = read_published(published(tmp_path, calibrated_score=[0.7, 0.8, 0.9]), "P", "D").scores
    assert scores["7B"].tolist() == [0.7, 0.8, 0.9] and scores["1.5B"].tolist() == [0.1, 0.2, 0.3]
    assert scores.sources["7B"].endswith("scored.parquet: calibrated_score")


@pytest.mark.parametrize(
    ("second", "complaint"),
    [
        ({"idx": [0, 1, 3]}, r"idx 2 is in .*1\.5B.*, not in .*7B.* \(1 such rows\)"),
        ({"problem": ["a", "b", "z"]}, "idx 2 has another problem in"),
        ({"original_solution": ["1", "2", "3"]}, "idx 1 has another original_solution"),
        ({"idx": [0, 1, 1]}, "idx 1 names 2 rows"),
        ({"score": [0.1, 0.2, math.nan]}, r"row 2, column '.*7B.*scored.parquet: score': the score is missing"),
    ],
)
def test_published_files_that_do_not_fit(tmp_path: Path, second: dict[str, list[object]], complaint: str) -> None:
    with pytest.raises(ScoreError, match=complaint):
        read_published(published(tmp_path, **second), "P", "D")


def test_published_folders_that_are_not_there(tmp_path: Path) -> None:
    data = published(tmp_path)
    with pytest.raises(ScoreError, match=r"probing datasets in .* are P"):
        read_published(data, "Q", "D")
    with pytest.raises(ScoreError, match="the probe of P scored D"):
        read_published(data, "P", "E")
    with pytest.raises(ScoreError, match=r"with k=8: it holds .*k_1_temp_0\.0"):
        read_published(data, "P", "D", k=8)
    with pytest.raises(ScoreError, match="no scores of 72B: it holds"):
        read_published(data, "P", "D", models=["72B"])
    with pytest.raises(ScoreError, match="unknown model '70B'"):
        read_published(data, "P", "D", models=["70B"])
    with pytest.raises(ScoreError, match=r"no folder .*nowhere"):
        read_published(tmp_path / "nowhere", "P", "D")


def test_published_settings_choose_among_folders(tmp_path: Path) -> None:
    data = published(tmp_path)
    scored(
        data / "P_probe" / "D" / SMALL.replace("k_1_temp_0.0", "k_8_temp_0.7"),
        {"idx": [0, 1, 2], "problem": ["a", "b", "c"], "score": [1, 1, 1]},
    )
    with pytest.raises(ScoreError, match=r"2 folders hold scores of 1.5B"):
        read_published(data, "P", "D")
    assert read_published(data, "P", "D", k=1, temp=0).scores["1.5B"].tolist() == [0.1, 0.2, 0.3]
    only = read_published(data, "P", "D", k=8, temp=0.7, maxlen=3000)
    assert list(only.scores.columns) == ["1.5B"] and "original_solution" not in only.problems


def test_published_files_that_are_broken(tmp_path: Path) -> None:
    data = published(tmp_path)
    file = data / "P_probe" / "D" / MEDIUM / "scored.parquet"
    pd.DataFrame({"idx": [0], "score": [0.5]}).to_parquet(file)
    with pytest.raises(ScoreError, match="no column 'problem': it has idx, score"):
        read_published(data, "P", "D")
    file.write_bytes(b"half a file")
    with pytest.raises(ScoreError, match="cannot be read as Parquet"):
        read_published(data, "P", "D")
    file.rename(file.with_name("other.parquet"))
    with pytest.raises(ScoreError, match=r"no file .*its folder holds other.parquet"):
        read_published(data, "P", "D")


@recorded
def test_recorded_scores() -> None:
    problems, scores = read_published(RECORDED, "gneubig_aime-1983-2024", "openai_gsm8k", maxlen=3000, k=1, temp=0.0)
    assert len(problems) == scores.rows == 1319 and list(scores.columns) == ["1.5B", "7B"]
    assert scores["7B"].mean() == pytest.approx(0.797136, abs=1e-6)
    assert problems["problem"].str.startswith("Janet").iloc[0]


@recorded
def test_scores_that_were_never_published_are_named() -> None:
    with pytest.raises(ScoreError) as caught:
        read_published(RECORDED, "gneubig_aime-1983-2024", "DigitalLearningGmbH_MATH-lighteval")
    assert "scored openai_gsm8k, opencompass_AIME2025" in str(caught.value)
    assert "was scored by the probe of DigitalLearningGmbH_MATH-lighteval" in str(caught.value)
