import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from escalade.errors import ScoreError
from escalade.pool import load_pool
from escalade.score_files import NOTE, write_published
from escalade.scored_file import note_of
from escalade.scores import read_published

NAME = "Qwen/Qwen2.5-Coder-0.5B-Instruct"
TABLE = pd.DataFrame(
    {
        "idx": ["b", "a"],
        "problem": ["Two?", "One?"],
        "original_solution": [None, "1"],
        "score": [0.25, 0.75],
        "calibrated_score": [0.5, 1],
        "prompt_tokens": [12, None],
        "scoring_cost_usd": [1e-7, None],
        "length": [4, 4],
    }
)
ONE: dict[str, Any] = {"probe": "one", "sha256": "1" * 64, "features": "hidden", "scoring_model": NAME}


def write(folder: Path, table: pd.DataFrame = TABLE, note: dict[str, Any] = ONE, **settings: Any) -> Path:
    return write_published(folder, "a/b", "c/d", NAME, maxlen=200, k=5, temp=0.7, table=table, note=note, **settings)


def test_what_is_written_is_read_as_published_scores(tmp_path: Path) -> None:
    file = write(tmp_path)
    assert file.parent.name == "Qwen-Qwen2.5-Coder-0.5B-Instruct_maxlen_200_k_5_temp_0.7"
    problems, scores = read_published(tmp_path, "a_b", "c_d", load_pool("embedded"), maxlen=200, k=5, temp=0.7)
    assert scores["0.5B"].tolist() == [0.5, 1.0] and list(scores.ids) == ["b", "a"]
    assert problems["original_solution"].isna().tolist() == [True, False]


def test_columns_have_their_types_even_where_all_is_unknown(tmp_path: Path) -> None:
    names = ["idx", "problem", "original_solution", "score", "calibrated_score", "prompt_tokens", "scoring_cost_usd"]
    schema = pq.read_schema(write(tmp_path))
    assert schema.names == names
    bare = pq.read_table(write(tmp_path, TABLE[["idx", "problem", "score"]]))
    for column, kind in (("score", "double"), ("prompt_tokens", "int64"), ("scoring_cost_usd", "double")):
        assert str(schema.field(column).type) == str(bare.schema.field(column).type) == kind
    assert bare["prompt_tokens"].null_count == bare["scoring_cost_usd"].null_count == 2


def test_the_note_of_the_probe_is_in_the_metadata(tmp_path: Path) -> None:
    file = write(tmp_path, note={**ONE, "refused": "AUROC 0.52 [0.47, 0.57]", "prior_strength": 3.5})
    kept = json.loads(pq.read_schema(file).metadata[b"escalade.probe"])
    assert tuple(kept) == NOTE and note_of(file) == kept
    assert kept["refused"] == "AUROC 0.52 [0.47, 0.57]" and kept["prior_strength"] == 3.5
    assert note_of(write(tmp_path)) == {**dict.fromkeys(NOTE), **ONE}


def test_scores_of_another_probe_are_replaced_only_when_asked(tmp_path: Path) -> None:
    file = write(tmp_path)
    other = {**ONE, "probe": "two", "sha256": "2" * 64}
    with pytest.raises(ScoreError, match="holds scores of another probe than 'two'"):
        write(tmp_path, note=other)
    assert write(tmp_path, TABLE.assign(score=0.1)) == file, "those of the same probe are written again"
    assert (note_of(write(tmp_path, note=other, replace=True)) or {})["probe"] == "two"
    TABLE.to_parquet(file)  # as published: no probe is named
    with pytest.raises(ScoreError, match="another probe"):
        write(tmp_path)
    assert [path.name for path in file.parent.iterdir()] == ["scored.parquet"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"score": [0.2, 1.5]}, r"row 'a', column '.*score': the score is 1.5"),
        ({"calibrated_score": [0.2, None]}, "column '.*calibrated_score': the score is missing"),
        ({"idx": ["a", "a"]}, "idx 'a' names 2 rows"),
        ({"prompt_tokens": [1.5, 2]}, "prompt_tokens are whole numbers"),
        ({"prompt_tokens": [-1, 2]}, "prompt_tokens has -1"),
        ({"scoring_cost_usd": [1e-7, -1]}, "row 1: scoring_cost_usd is -1"),
    ],
)
def test_tables_that_are_no_scores_are_refused(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ScoreError, match=said):
        write(tmp_path, TABLE.assign(**changed))
    assert not list(tmp_path.rglob("*.parquet"))


def test_notes_that_say_nothing_are_refused(tmp_path: Path) -> None:
    for note, said in (({"probe": "one"}, "sha256 None"), ({**ONE, "model": "x"}, "has 'model'")):
        with pytest.raises(ScoreError, match=said):
            write(tmp_path, note=note)
    with pytest.raises(ScoreError, match="needs a column 'problem': the table has idx"):
        write(tmp_path, TABLE[["idx", "score"]])


def test_a_note_that_is_broken_is_named(tmp_path: Path) -> None:
    file = write(tmp_path)
    whole = pq.read_table(file)
    pq.write_table(whole.replace_schema_metadata({b"escalade.probe": b"[1]"}), file)
    with pytest.raises(ScoreError, match="no JSON object but"):
        note_of(file)
