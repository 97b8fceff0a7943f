from pathlib import Path

import pandas as pd
import pytest

import escalade
from escalade.dryrun import plan
from escalade.errors import RefusedScoreError, ScoreError
from escalade.given_scores import with_scores
from escalade.job import prepare
from escalade.pool import load_pool
from escalade.problems import Problem, read_problems, shipped_problems
from escalade.score_files import write_published
from escalade.strategies import Inputs, Strategy

POOL = load_pool("embedded")
PROBLEMS = [Problem("0", "One?", scores={"0.5B": 0.9, "1.5B": 0.9}), Problem("1", "Two\n words?")]
SMALL = "Qwen-Qwen2.5-Coder-0.5B-Instruct_maxlen_200_k_5_temp_0.7"
LARGE = "Qwen-Qwen2.5-Coder-1.5B-Instruct_maxlen_200_k_5_temp_0.7"


def folder(tmp_path: Path, name: str = SMALL, **columns: list[object]) -> Path:
    rows = {"idx": [1, 0], "problem": ["Two words?", "One?"], "score": [0.25, 0.75], **columns}
    place = tmp_path / "P_probe" / "D" / name
    place.mkdir(parents=True)
    pd.DataFrame(rows).to_parquet(place / "scored.parquet")
    return place.parent


def test_a_folder_of_the_published_layout_is_joined_by_idx(tmp_path: Path) -> None:
    problems, scores = with_scores(PROBLEMS[:1], folder(tmp_path, calibrated_score=[0.3, 0.8]), POOL)
    assert problems[0].scores == {"0.5B": 0.8, "1.5B": 0.9}, "what the folder says goes before what the problem says"
    assert scores["0.5B"].tolist() == [0.8]
    folder(tmp_path, LARGE)
    problems, scores = with_scores([Problem("1", "Two words?"), Problem("0", "")], tmp_path / "P_probe/D", POOL)
    assert [problem.scores for problem in problems] == [{"0.5B": 0.3, "1.5B": 0.25}, {"0.5B": 0.8, "1.5B": 0.75}]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"problem": ["Two words?", "Three?"]}, r"idx '0' is another problem .*'Three\?', not 'One\?'"),
        ({"idx": [1, 2]}, "no row for problem '0'.*its idx are 1, 2"),
        ({"score": [0.25, 1.2]}, "row 0, column .*the score is 1.2"),
    ],
)
def test_a_folder_that_does_not_fit_the_problems(tmp_path: Path, columns: dict[str, list[object]], said: str) -> None:
    with pytest.raises(ScoreError, match=said):
        with_scores([Problem("0", "One?"), Problem("1", "Two words?")], folder(tmp_path, **columns), POOL)


def test_several_folders_of_one_model_are_ambiguous(tmp_path: Path) -> None:
    place = folder(tmp_path)
    folder(tmp_path, SMALL.replace("k_5", "k_1"))
    with pytest.raises(ScoreError, match=r"2 folders hold scores of 0\.5B: .*k_1.*k_5.*give a folder that holds one"):
        with_scores(PROBLEMS, place, POOL)


def test_the_folder_above_is_no_folder_of_scores(tmp_path: Path) -> None:
    folder(tmp_path)
    for above in (tmp_path, tmp_path / "P_probe"):
        with pytest.raises(ScoreError, match=r"it holds (P_probe|D); give the folder of one data set"):
            with_scores(PROBLEMS, above, POOL)


def test_tables_go_on_working() -> None:
    table = pd.DataFrame({"idx": [1.0, 0.0], "score_0.5B": [0.1, 0.2]})
    problems, _ = with_scores([Problem("0", "One?"), Problem("1", "Two?")], table, POOL)
    assert [problem.scores for problem in problems] == [{"0.5B": 0.2}, {"0.5B": 0.1}]


def test_a_run_takes_a_folder(tmp_path: Path) -> None:
    first, second = read_problems(shipped_problems(), limit=2)
    place = folder(tmp_path, idx=[second.id, first.id], problem=[second.text, first.text], score=[0.2, 0.95])
    results = escalade.run(
        route="mv_cascade_0.5B_k1_t0.0_1.5B_k1_t0.0", engine="replay:shipped", limit=2, scores=place, pool="embedded"
    )
    assert results.to_pandas()["score_0.5B"].tolist() == [0.95, 0.2]
    assert [item.outcome.status.value for item in results.answered] == ["accepted", "last_tier"]


REFUSED = "AUROC 0.52 [0.47, 0.57]"


def written(tmp_path: Path, name: str, problems: list[Problem], scores: list[float], refused: str | None) -> Path:
    table = pd.DataFrame({"idx": [p.id for p in problems], "problem": [p.text for p in problems], "score": scores})
    note = {"probe": "one", "sha256": "1" * 64, "refused": refused}
    file = write_published(tmp_path, "P", "D", name, maxlen=200, k=5, temp=0.7, table=table, note=note)
    return file.parent.parent


def test_refused_scores_are_as_if_there_were_none(tmp_path: Path) -> None:
    place = written(tmp_path, POOL["0.5B"].name, PROBLEMS[:1], [0.1], REFUSED)
    written(tmp_path, POOL["1.5B"].name, PROBLEMS[:1], [0.2], None)
    problems, scores = with_scores(PROBLEMS[:1], place, POOL)
    assert problems[0].scores == {"1.5B": 0.2}, "nor has the problem its own any more"
    assert scores.refused == {"0.5B": REFUSED} and list(scores.columns) == ["1.5B"]
    with pytest.raises(RefusedScoreError, match=r"scores of '0\.5B' are refused \(AUROC 0\.52"):
        scores["0.5B"]


def test_no_single_sample_is_sure_by_a_refused_score(tmp_path: Path) -> None:
    asked = read_problems(shipped_problems(), limit=2)
    route, found = "mv_cascade_0.5B_k1_t0.0_1.5B_k1_t0.0", []
    for refused in (None, REFUSED):
        place = written(tmp_path, POOL["0.5B"].name, asked, [0.95, 0.95], refused)
        found.append(escalade.run(asked, route=route, engine="replay:shipped", pool="embedded", scores=place))
    sure, unsure = found
    assert [item.outcome.status.value for item in sure.answered] == ["accepted", "accepted"]
    for item in unsure.answered:
        assert len(item.tiers) == 2 and item.outcome.tiers[0].looks[-1].source != "score"
        assert item.outcome.notes[0] == f"scores of 0.5B are refused ({REFUSED}): nothing is decided by them"
    assert unsure.summary().to_dict()["notes"] == [unsure.answered[0].outcome.notes[0]]
    assert sure.summary().to_dict()["notes"] == []


def test_the_entropy_rule_has_no_belief_in_a_refused_score(tmp_path: Path) -> None:
    asked = read_problems(shipped_problems())
    route, drawn = "mv_entropy_cascade_0.5B_k2_t0.7_1.5B_k1_t0.7", []
    for refused in (None, REFUSED):
        place = written(tmp_path, POOL["0.5B"].name, asked, [1.0] * len(asked), refused)
        results = escalade.run(asked, route=route, engine="replay:shipped", pool="embedded", scores=place)
        drawn.append(sum(len(item.tiers[0].samples) for item in results.answered))
    without = escalade.run(asked, route=route, engine="replay:shipped", pool="embedded")
    assert drawn[1] == sum(len(item.tiers[0].samples) for item in without.answered) < drawn[0]


def test_a_strategy_whose_scores_are_refused_gives_way_to_a_cascade(tmp_path: Path) -> None:
    pool = POOL.model_copy(update={"route": None})

    def rule(inputs: Inputs) -> list[str]:
        return ["0.5B" if p >= inputs.target else "1.5B" for p in inputs.scores["0.5B"]]

    asked = read_problems(shipped_problems(), limit=3)
    place = written(tmp_path, POOL["0.5B"].name, asked, [0.95, 0.2, 0.95], REFUSED)
    route = "mv_cascade_0.5B_k4_t0.7_1.5B_k1_t0.0"
    for needs in (("0.5B",), ()):  # one that does not say what it needs gives way as well
        job = prepare(asked, strategy=Strategy("own", rule, needs=needs), pool=pool, scores=place)
        assert [str(task.route) for task in job.tasks] == [route] * 3
        said = f"scores of 0.5B are refused ({REFUSED}): {route} instead of the strategy own"
        assert job.notes[0] == said and job.tasks[2].notes[0] == said
    planned = plan(job)
    assert planned.to_dict()["notes"][0] == said and planned.table["notes"].str.startswith(said).all()
    assert planned.breakdown["kind"].tolist() == ["cascade"]


def test_a_published_strategy_runs_on_the_embedded_pool(tmp_path: Path) -> None:
    asked = read_problems(shipped_problems(), limit=3)
    place = written(tmp_path, POOL["0.5B"].name, asked, [0.95, 0.8, 0.1], None)
    planned = plan(prepare(asked, strategy="adaptive_k_sampling", pool="embedded", scores=place))
    assert planned.table["route"].tolist() == [
        "mv_0.5B_k1_t0.0",
        "mv_cascade_0.5B_k1_t0.0_1.5B_k1_t0.0",
        "mv_cascade_0.5B_k7_t0.7_1.5B_k7_t0.7_1.5B_k1_t0.0",
    ]
    assert planned.notes == ("in the published strategies 0.5B, 1.5B, 1.5B of pool embedded stand for 1.5B, 7B, 72B",)
    assert planned.table["notes"].isna().all(), "what is so for all rows is said once"
    results = escalade.run(asked, strategy="cascade", pool="embedded", engine="replay:shipped", scores=table_of(asked))
    assert [item.executed.tiers[0].model for item in results.answered if item.executed] == ["0.5B", "1.5B", "1.5B"]
    assert results.summary().to_dict()["notes"] == list(planned.notes)


def table_of(problems: list[Problem]) -> pd.DataFrame:
    return pd.DataFrame(
        {"id": [p.id for p in problems], "score_0.5B": [0.95, 0.2, 0.1], "score_1.5B": [0.1, 0.95, 0.1]}
    )
