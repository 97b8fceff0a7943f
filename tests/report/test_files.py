"""The files of a report: page, charts, tables; and the command that writes them."""

from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

import escalade
from escalade.cli.report import report
from escalade.errors import SettingError
from escalade.report.contents import read_contents
from escalade.report.files import write_report
from tests.report.conftest import larger, point, write_comparison


def test_every_chart_is_a_png_and_an_svg(comparison: Path, vote: Path, tmp_path: Path) -> None:
    written = write_report([comparison, vote], tmp_path / "deep" / "r.html", png=tmp_path / "png", svg=tmp_path / "svg")
    names = [figure.name for figure in read_contents([comparison, vote]).figures]
    assert "comparison1-frontier" in names
    assert "run1-reliability" in names
    assert sorted(path.name for path in (tmp_path / "png").iterdir()) == sorted(f"{name}.png" for name in names)
    assert sorted(path.name for path in (tmp_path / "svg").iterdir()) == sorted(f"{name}.svg" for name in names)
    assert len(written.charts) == 2 * len(names)
    for path in written.charts:
        if path.suffix == ".png":
            assert path.read_bytes().startswith(b"\x89PNG")
        else:
            assert ElementTree.parse(path).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".partial")]


def test_every_table_is_written_with_the_numbers_of_the_run(cascade: Path, tmp_path: Path) -> None:
    written = write_report([cascade], tmp_path / "r.html", tables=tmp_path / "tables")
    assert {path.suffix for path in written.tables} == {".csv", ".md", ".tex"}
    assert len({path.name for path in written.tables}) == len(written.tables)
    flow = pd.read_csv(tmp_path / "tables" / "run1-flow.csv")
    assert list(flow["asked"]) == [60, 55]
    problems = pd.read_csv(tmp_path / "tables" / "problems.csv")
    assert (problems["result"] == "right").sum() == 38
    answers = pd.read_parquet(cascade / "answers.parquet")
    assert list(problems["id"]) == list(answers["idx"])
    assert problems["cost_usd"].sum() == pytest.approx(answers["total_cost_usd"].sum())


def test_the_same_folder_gives_the_same_page(vote: Path, tmp_path: Path) -> None:
    pages = [write_report([vote], tmp_path / f"{n}.html").page.read_bytes() for n in range(2)]
    assert pages[0] == pages[1]


def test_5000_problems_and_50_policies_stay_below_5_mb(cascade: Path, tmp_path: Path) -> None:
    policies = [
        point(f"mv_cascade_1.5B_k{n}_t0.7", "route", 0.5 + n / 200, n * 1e-5, on_frontier=True) for n in range(1, 51)
    ]
    compared = write_comparison(tmp_path / "compared", policies)
    run = larger(cascade, 84, tmp_path / "run", 1.0)
    page = write_report([compared, run], tmp_path / "r.html").page
    text = page.read_text(encoding="utf-8")
    assert page.stat().st_size < 5_000_000
    assert text.count("<tr>") > 5000
    assert "3,192 of 5,040" in text


def test_the_command_writes_all_and_says_where(cascade: Path, tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(report)
    out = tmp_path / "r.html"
    arguments = [str(cascade), "--out", str(out), "--title", "Mine", "--tables", str(tmp_path / "t")]
    ran = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert ran.exit_code == 0
    assert f"{out}: 0." in ran.output
    assert "files of tables" in ran.output
    assert "<title>Mine</title>" in out.read_text(encoding="utf-8")


def test_a_page_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    run = escalade.run(engine="replay:shipped", route="mv_0.5B_k2_t0.7", limit=3).write(tmp_path / "run")
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingError, match=r"report .*file/r\.html cannot be written: .*; name another"):
        write_report([run], tmp_path / "file" / "r.html")
