"""Tables as CSV, Markdown and LaTeX: numbers in full or as read, and no text that gets out of its cell."""

import csv
import io
import math
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from escalade.report.tables import Column, Table, to_csv, to_latex, to_markdown, write, write_interval, write_tables

COLUMNS = (Column("a", "A", "text"), Column("b", "B", "share"), Column("c", "C", "usd"))


@pytest.mark.parametrize(
    ("value", "kind", "written"),
    [
        (0.5, "share", "50.0 %"),
        (-0.0001, "difference", "0.0"),
        (0.0123, "difference", "+1.2"),
        (Decimal("0.0000001"), "usd", "0.0000001"),
        (0, "usd", "0"),
        (12345, "count", "12,345"),
        (1.5, "ratio", "1.50"),
        (math.nan, "share", "–"),
        (None, "text", "–"),
        (True, "flag", "yes"),
    ],
)
def test_values_are_written_for_people(value, kind, written: str) -> None:
    assert write(value, kind) == written


def test_an_unknown_end_leaves_the_interval_out() -> None:
    assert write_interval(0.5, 0.4, None, "share") == "50.0 %"


def test_csv_has_all_digits_and_nothing_for_unknown() -> None:
    table = Table("t", "T", COLUMNS, (("x", 1 / 3, Decimal("0.000000000123")), ("y", None, None)))
    assert to_csv(table) == "a,b,c\nx,0.3333333333333333,0.000000000123\ny,,\n"


@given(st.text(st.characters(exclude_characters="\r\n\x00", exclude_categories=["Cs"])))
def test_csv_gives_texts_back_unless_a_spreadsheet_would_run_them(text: str) -> None:
    (_, row) = list(csv.reader(io.StringIO(to_csv(Table("t", "T", COLUMNS[:1], ((text,),)))), strict=True)) or [0, [""]]
    found = row[0] if row else ""
    assert found == (("'" + text) if text[:1] in ("=", "+", "-", "@", "\t") else text)


@given(st.text(max_size=30))
def test_markdown_keeps_a_row_on_a_line_with_its_cells(text: str) -> None:
    lines = to_markdown(Table("t", "T", COLUMNS[:2], ((text, 0.5),))).split("\n")
    assert len(lines) == 6
    assert lines[4].endswith(" | 50.0 % |")
    assert "<" not in lines[4]


@given(st.text(max_size=30))
def test_latex_escapes_what_would_be_a_command(text: str) -> None:
    cell = to_latex(Table("t", "T", COLUMNS[:2], ((text, 0.5),))).split("\\midrule\n    ")[1].split(" & ")[0]
    bare = cell
    for escape in (r"\textbackslash{}", r"\textasciitilde{}", r"\textasciicircum{}", r"\_", r"\&", r"\%", r"\#"):
        bare = bare.replace(escape, "")
    for escape in (r"\{", r"\}", r"\$", "$-$"):
        bare = bare.replace(escape, "")
    assert not set(bare) & set("\\&%$#_{}^~\n")


def test_each_table_is_written_three_times(tmp_path: Path) -> None:
    table = Table("t", "T", COLUMNS, (("x", 0.5, Decimal("0.1")),), "A note.")
    assert [path.name for path in write_tables((table,), tmp_path)] == ["t.csv", "t.md", "t.tex"]
    assert (tmp_path / "t.md").read_text(encoding="utf-8").endswith("| x | 50.0 % | 0.1 |\n\nA note.\n")
    assert "\\caption{T. A note.}" in (tmp_path / "t.tex").read_text(encoding="utf-8")
