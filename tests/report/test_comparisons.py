"""Comparisons read from their folders, and what is said of money."""

import json
from pathlib import Path

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from escalade.cli.compare import compare
from escalade.errors import TableError
from escalade.report.comparisons import points_table, read_comparison
from escalade.report.files import write_report
from escalade.report.tables import write
from tests.report.conftest import point, write_comparison


def test_a_comparison_is_read_as_it_is(comparison: Path) -> None:
    found = read_comparison(comparison)
    assert [p.name for p in found.points] == ["mv_1.5B_k4_t0.7", "7B greedy", "dear", "worse", "1.5B greedy"]
    first = found.points[0]
    assert (first.accuracy, first.cost_usd, first.non_inferior, first.on_frontier) == (0.82, 1e-4, True, True)
    assert first.tiers[0].model == "1.5B"
    assert found.points[1].target is None
    assert found.verdict.endswith("(in-sample).")


@pytest.mark.parametrize(
    ("ratio", "shown", "said"),
    [
        (1.32, True, "a loss: costs 1.32 times as much"),
        (1.32, False, "a loss: costs 1.32 times as much"),
        (1.32, None, "a loss: costs 1.32 times as much"),
        (1.001, True, "a loss: costs slightly over 1 times as much"),
        (0.8, True, "saves 20 %"),
        (0.8, False, "saving not shown"),
        (0.8, None, "–"),
        (0.97, True, "perhaps saves 3 %"),
        (1.0, True, "costs the same"),
        (None, True, "not compared"),
    ],
)
def test_a_ratio_above_1_is_a_loss_and_a_saving_must_be_shown(tmp_path: Path, ratio, shown, said: str) -> None:
    high = None if ratio is None else ratio + 0.05
    folder = write_comparison(
        tmp_path, [point("p", "route", 0.8, 1e-4, cost_ratio=ratio, cost_ratio_high=high, non_inferior=shown)]
    )
    comparison = read_comparison(folder)
    assert comparison.points[0].money == said
    assert said in points_table(comparison).rows[0]


def test_what_is_unknown_stays_unknown(tmp_path: Path) -> None:
    rows = [point("p", "route", 0.8, 1e-4, p_value=float("nan"), cost_low=None, non_inferior=None, tiers=None)]
    found = read_comparison(write_comparison(tmp_path, rows)).points[0]
    assert (found.p_value, found.cost_low, found.non_inferior, found.tiers) == (None, None, None, ())


def test_what_the_same_money_buys_otherwise_is_read(tmp_path: Path) -> None:
    rival = {"sort": "vote", "name": "1.5B", "accuracy": 0.7, "cost_usd": 1e-4, "difference": 0.1}
    folder = write_comparison(
        tmp_path,
        [point("p", "route", 0.8, 1e-4)],
        rivals={"p": [rival]},
        frontier={"zero": [[1e-5, 0.2, "a"], [1e-4, 0.6, "b"]], "oracle": [[1e-5, 0.3]]},
        notes=["taken for granted"],
        left_out=[{"name": "q", "why": "no samples"}],
        level=0.9,
    )
    found = read_comparison(folder)
    (other,) = found.alternatives("p")
    assert (other.name, other.difference, other.difference_low) == ("1.5B", 0.1, None)
    assert found.alternatives("q") == ()
    assert [(curve.name, curve.points[-1]) for curve in found.curves] == [
        ("models mixed blindly", (1e-4, 0.6)),
        ("oracle", (1e-5, 0.3)),
    ]
    assert found.notes == ("taken for granted", "left out: q no samples")
    assert (found.sure, found.problems) == ("90 %", 1319)


@pytest.mark.parametrize("name", ["comparison.parquet", "comparison.json"])
def test_a_missing_or_broken_file_is_named(tmp_path: Path, name: str) -> None:
    folder = write_comparison(tmp_path, [point("p", "route", 0.8, 1e-4)])
    (folder / name).write_bytes(b"no")
    with pytest.raises(TableError, match="cannot be read as a comparison"):
        read_comparison(folder)
    (folder / name).unlink()
    with pytest.raises(TableError, match=f"{name} is not there"):
        read_comparison(folder)


def test_a_table_of_something_else_is_refused(tmp_path: Path) -> None:
    folder = write_comparison(tmp_path, [point("p", "route", 0.8, 1e-4)])
    pd.DataFrame({"name": ["p"]}).to_parquet(folder / "comparison.parquet")
    with pytest.raises(TableError, match="no column 'kind'"):
        read_comparison(folder)
    (folder / "comparison.json").write_text(json.dumps({"problems": 3}), encoding="utf-8")
    with pytest.raises(TableError, match="no 'verdict'"):
        read_comparison(folder)


def test_a_real_comparison_is_reported(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(compare)
    arguments = ["shipped", "--routes", "mv_1.5B_k3_t0.7,mv_cascade_0.5B_k3_t0.7_1.5B_k3_t0.7", "--out", str(tmp_path)]
    ran = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert ran.exit_code == 0
    found = read_comparison(tmp_path)
    names = {p.route for p in found.points}
    assert {"mv_1.5B_k3_t0.7", "mv_cascade_0.5B_k3_t0.7_1.5B_k3_t0.7"} <= names
    html = write_report([tmp_path], tmp_path / "report.html").page.read_text(encoding="utf-8")
    table = pd.read_parquet(tmp_path / "comparison.parquet")
    for accuracy, cost in zip(table["accuracy"], table["cost_usd"], strict=True):
        assert write(accuracy, "share") in html
        assert write(cost, "usd") in html
    assert found.curves


def test_a_policy_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    folder = write_comparison(tmp_path, [point("odd", "route", 0.8, 1e-4, tiers='[{"k": 4}]')])
    with pytest.raises(TableError, match=r"policy 'odd' cannot be read: KeyError\('model'\)"):
        read_comparison(folder)
