import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from escalade.errors import RouteError, StrategyError, TableError
from escalade.pool import load_pool
from escalade.routing import ROUTE_COLUMNS, breakdown, expand, read_routing, routing_table, write_routing
from escalade.scores import Scores, read_published
from escalade.strategies import strategies, strategy

NAME = "Qwen/Qwen2.5-Math-{}-Instruct"
RECORDED = Path(os.environ.get("ESCALADE_DATA", Path(__file__).parents[2] / "shared" / "data")) / "scored"
MIXED = [
    "7B",
    "mv_1.5B_k8_t0.7",
    "mv_cascade_1.5B_k4_t0.7_7B_k4_t0.7_72B_k1_t0",
    "mv_entropy_cascade_7B_k5_t0.7_72B_k1_t0.0",
    "mv_72B_k8_t0.7",
    NAME.format("72B"),
    "mv_cascade_72B_k3_t0.7",
]


def test_every_kind_of_route_fills_the_published_columns() -> None:
    table = expand(MIXED)
    assert list(table) == list(ROUTE_COLUMNS)
    assert table["route_to"].tolist() == [NAME.format(m) for m in ("7B", "1.5B", "1.5B", "7B", "72B", "72B", "72B")]
    assert table["is_mv"].tolist() == [False, True, False, False, True, False, False]
    assert table["is_cascade"].tolist() == [False, False, True, True, False, False, True]
    assert table["sc_n"].tolist() == [1, 8, 4, 5, 1, 1, 1]
    assert table["sc_temp"].tolist() == [0.0, 0.7, 0.7, 0.7, 0.0, 0.0, 0.0]
    assert table["cascade_tiers"][0] is None
    assert table["cascade_tiers"][2] == [
        (NAME.format("1.5B"), 4, 0.7),
        (NAME.format("7B"), 4, 0.7),
        (NAME.format("72B"), 1, 0.0),
    ]
    assert table["route"].tolist() == [NAME.format("7B"), *MIXED[1:2], MIXED[2] + ".0", *MIXED[3:]]


def test_p9_greedy_only_holds_in_votes_and_in_tiers_and_is_said() -> None:
    notes = expand(MIXED)["notes"]
    note = "72B is greedy only in this pool: k={} t=0.7 runs as k=1 t=0.0"
    assert notes[4] == note.format(8) and notes[6] == note.format(3) and notes[0] is None
    assert expand(["mv_cascade_72B_k3_t0.7"])["cascade_tiers"][0] == [(NAME.format("72B"), 1, 0.0)]


def test_a_bad_string_names_its_row_and_keeps_its_caret() -> None:
    routes = ["7B", "7B", "mv_cascade_1.5B_k4_t0.7_14B_k4_t0.7_72B_k1_t0.0", "nonsense"]
    with pytest.raises(RouteError) as caught:
        expand(routes)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("row 2: ") and "'14B_k4" not in lines[0] and "'14B'" in lines[0]
    assert lines[2].index("^") == lines[1].index("14B") and caught.value.position == routes[2].index("14B")
    assert isinstance(caught.value.__cause__, RouteError)
    with pytest.raises(RouteError, match=r"^row p9: "):
        expand(routes, ids=["p7", "p8", "p9", "p10"])


@pytest.mark.parametrize("value", [None, float("nan"), 7])
def test_what_is_no_string_is_refused(value: object) -> None:
    with pytest.raises(RouteError, match=r"^row 1: "):
        expand(["7B", value])


def test_p6_the_other_rows_go_on() -> None:
    table = expand(["7B", "mv_entropy_1.5B_k4_t0.7", "mv_7B_k4_t0.7", None], errors="keep")
    assert list(table) == [*ROUTE_COLUMNS, "error"]
    assert table["sc_n"].tolist() == [1, 0, 4, 0] and table["sc_n"].dtype == np.int64
    assert table["error"][0] is None and "cascade_" in table["error"][1] and pd.isna(table["route_to"][1])
    assert table["route"][1] == "mv_entropy_1.5B_k4_t0.7" and np.isnan(table["sc_temp"][1])
    assert "error" in breakdown(table)["kind"].tolist()
    assert expand(["7B"], errors="keep")["error"][0] is None


def test_p7_markers_inside_names_are_names() -> None:
    pool = load_pool("tiny")
    model = pool.models[0].model_copy(update={"name": "acme/llm_mv_v2"})
    table = expand(["acme/llm_mv_v2"], pool.model_copy(update={"models": (model, *pool.models[1:])}))
    assert not table["is_mv"][0] and not table["is_cascade"][0]


def test_nothing_expands_to_nothing() -> None:
    table = expand([])
    assert list(table) == list(ROUTE_COLUMNS) and len(table) == 0 and len(breakdown(table)) == 0


@pytest.mark.parametrize(
    "column", [list, np.array, pd.Series, pd.Categorical, lambda r: pd.Series(r, range(9, 9 - len(r), -1))]
)
def test_any_column_of_strings_expands_alike(column: object) -> None:
    pd.testing.assert_frame_equal(expand(column(MIXED)), expand(MIXED))  # type: ignore[operator]


def test_the_table_has_the_published_columns_in_their_order() -> None:
    problems = pd.DataFrame({"original_solution": ["1"], "idx": [7], "problem": ["?"], "other": [0]}, index=[3])
    table = routing_table(problems, Scores({"1.5B": [0.95], "7B": [0.5]}, ids=[7]), "cascade", target=0.9)
    published = ["idx", "problem", "original_solution", "score_1.5B", "score_7B", "route_to", "is_mv", "is_cascade"]
    assert list(table) == [*published, "cascade_tiers", "sc_n", "sc_temp", "route", "notes"]
    assert table.loc[0, "route_to"] == NAME.format("1.5B")


def test_problems_and_scores_must_be_about_the_same_rows() -> None:
    scores = Scores({"1.5B": [0.5, 0.5], "7B": [0.5, 0.5]}, ids=["a", "b"])
    with pytest.raises(TableError, match="1 problems and scores of 2"):
        routing_table(pd.DataFrame({"idx": ["a"]}), scores, "cascade")
    with pytest.raises(TableError, match="row 1: the problem has idx c, the scores b"):
        routing_table(pd.DataFrame({"idx": ["a", "c"]}), scores, "cascade")
    with pytest.raises(StrategyError, match="no strategy"):
        routing_table(pd.DataFrame({"idx": ["a", "b"]}), scores, "cascades")


def test_a_strategy_whose_routes_cannot_be_read_names_the_problem() -> None:
    @strategy("test_routing_unreadable")
    def unreadable(inputs: object) -> list[str]:
        return ["7B", "mv_8B_k1_t0"]

    problems = pd.DataFrame({"idx": ["a", "b"]})
    with pytest.raises(RouteError, match=r"^row b: "):
        routing_table(problems, Scores(ids=["a", "b"]), unreadable)
    assert routing_table(problems, Scores(ids=["a", "b"]), unreadable, errors="keep")["error"].notna().tolist() == [
        False,
        True,
    ]


@pytest.mark.parametrize("errors", ["raise", "keep"])
def test_a_table_comes_back_from_parquet(tmp_path: Path, errors: str) -> None:
    routes = MIXED if errors == "raise" else [*MIXED, "mv_x"]
    table = expand(routes, errors=errors)  # type: ignore[arg-type]
    path = tmp_path / "new" / "routing.parquet"
    write_routing(table, path)
    pd.testing.assert_frame_equal(read_routing(path), table)
    assert [file.name for file in path.parent.iterdir()] == ["routing.parquet"]
    stored = pd.read_parquet(path)["cascade_tiers"]
    assert stored[3] == f'[["{NAME.format("7B")}", 5, 0.7], ["{NAME.format("72B")}", 1, 0.0]]' and pd.isna(stored[0])


def test_tables_without_a_cascade_come_back_too(tmp_path: Path) -> None:
    write_routing(expand(["7B"]), tmp_path / "r.parquet")
    assert read_routing(tmp_path / "r.parquet")["cascade_tiers"][0] is None


def test_what_is_no_routing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="cannot be read"):
        read_routing(tmp_path / "none.parquet")
    pd.DataFrame({"route_to": ["7B"]}).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(TableError, match="lacks the column 'is_mv'"):
        read_routing(tmp_path / "other.parquet")
    expand(["7B"]).assign(cascade_tiers="[1]").to_parquet(tmp_path / "bad.parquet")
    with pytest.raises(TableError, match="row 0"):
        read_routing(tmp_path / "bad.parquet")


def test_the_breakdown_counts_models_kinds_and_overrides() -> None:
    routes = (
        ["7B"] * 3 + ["mv_cascade_7B_k5_t0.7_72B_k1_t0"] + ["mv_cascade_7B_k2_t0.7_72B_k1_t0"] + ["mv_72B_k8_t0.7"] * 5
    )
    table = breakdown(expand(routes))
    assert list(table) == ["model", "kind", "rows", "share", "k_min", "k_max", "overrides"]
    assert table["kind"].tolist() == ["vote", "greedy", "cascade"]
    assert table["rows"].tolist() == [5, 3, 2] and table["share"].sum() == pytest.approx(1.0)
    assert table.loc[2, ["k_min", "k_max"]].tolist() == [2, 5]
    assert table["overrides"].tolist() == [
        "72B is greedy only in this pool: k=8 t=0.7 runs as k=1 t=0.0 (5 rows)",
        None,
        None,
    ]


@pytest.mark.skipif(not RECORDED.is_dir(), reason=f"no recorded scores in {RECORDED} (set ESCALADE_DATA)")
@pytest.mark.parametrize("name", [s.name for s in strategies() if s.rule.__module__.startswith("escalade.")])
def test_every_strategy_routes_the_recorded_scores(name: str, tmp_path: Path) -> None:
    problems, scores = read_published(
        RECORDED, "DigitalLearningGmbH_MATH-lighteval", "DigitalLearningGmbH_MATH-lighteval"
    )
    table = routing_table(problems, scores, name)
    write_routing(table, tmp_path / "r.parquet")
    pd.testing.assert_frame_equal(read_routing(tmp_path / "r.parquet"), table)
    assert breakdown(table)["rows"].sum() == len(table) == 5000
