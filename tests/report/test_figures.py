"""Charts show what their tables say, and runs that say little are drawn all the same."""

import json
from pathlib import Path

import pandas as pd
import pytest

import escalade
from escalade.report.contents import read_contents
from escalade.report.figures import Figure, figures_of
from escalade.report.page import page
from escalade.report.runs import read_run
from escalade.strategies.registry import Strategy


@pytest.fixture(scope="module")
def figures(cascade: Path) -> dict[str, Figure]:
    return {figure.name: figure for figure in figures_of(read_run(cascade))}


@pytest.mark.parametrize(("name", "whole"), [("flow", "asked"), ("savings", "seats")])
def test_the_parts_of_a_bar_lie_end_to_end(figures: dict[str, Figure], name: str, whole: str) -> None:
    (spec,) = figures[name].specs
    for record in figures[name].table.records():
        parts = [value for value in spec["data"]["values"] if value["tier"] == record["tier"]]
        assert parts[0]["from"] == 0
        assert [part["to"] for part in parts[:-1]] == [part["from"] for part in parts[1:]]
        assert parts[-1]["to"] == record[whole]


@pytest.mark.parametrize("name", ["shares", "entropies", "reliability", "decided"])
def test_every_row_is_a_mark(figures: dict[str, Figure], name: str) -> None:
    (spec,) = figures[name].specs
    assert len(spec["data"]["values"]) == len(figures[name].table.rows)


def test_of_many_tiers_those_with_most_ballots_are_drawn_and_the_table_has_all(tmp_path: Path) -> None:
    def by_turns(inputs):
        """A vote of 2 to 9 samples, by turns."""
        return [f"mv_0.5B_k{2 + n % 7}_t0.7" for n in range(len(inputs.scores["0.5B"]))]

    rule = Strategy("by_turns", by_turns, needs=("0.5B",))
    ids = pd.DataFrame(escalade.run(engine="replay:shipped", route="0.5B").to_pandas()["idx"]).rename(
        columns={"idx": "id"}
    )
    ids.assign(**{"score_0.5B": 0.5}).to_csv(tmp_path / "scores.csv", index=False)
    results = escalade.run(engine="replay:shipped", pool="ladder", strategy=rule, scores=tmp_path / "scores.csv")
    figures = {figure.name: figure for figure in figures_of(read_run(results.write(tmp_path)))}
    shares = figures["shares"]
    assert len({row[0] for row in shares.table.rows}) == 7
    assert len({value["tier"] for value in shares.specs[0]["data"]["values"]}) == 6
    assert "Drawn: the 6 tiers with most ballots" in shares.caption
    assert len({value["tier"] for value in figures["flow"].specs[0]["data"]["values"]}) == 7


def test_a_run_without_gold_answers_and_prices_is_drawn(vote: Path, tmp_path: Path) -> None:
    table = pd.read_parquet(vote / "answers.parquet")
    traces = [[{**tier, "cost_usd": None} for tier in json.loads(trace)] for trace in table["trace"]]
    table = table.assign(
        trace=[json.dumps(trace) for trace in traces],
        gold_answer=None,
        majority_vote_is_correct=None,
        total_cost_usd=None,
    )
    table.to_parquet(tmp_path / "answers.parquet")
    pd.read_parquet(vote / "samples.parquet").assign(correct=None).to_parquet(tmp_path / "samples.parquet")
    summary = json.loads((vote / "summary.json").read_text(encoding="utf-8")) | {"graded": 0, "correct": 0}
    (tmp_path / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    html = page(read_contents([tmp_path]), "T")
    assert "without gold answers nobody can say how many are right, at unknown cost." in html
    assert "costs are not all known" in html
    assert "NaN" not in html
    assert ">nan" not in html
