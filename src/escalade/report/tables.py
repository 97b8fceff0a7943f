"""Tables of a report: what a chart shows, as numbers; written as CSV, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from escalade.results import replace_file
from escalade.wording import signed

Value: TypeAlias = str | bool | int | float | Decimal | None
Kind = Literal["text", "count", "share", "difference", "usd", "ratio", "number", "flag"]


class Column(NamedTuple):
    """A column: its key, its heading, and how its values are written."""

    key: str
    title: str
    kind: Kind = "count"

    @property
    def numeric(self) -> bool:
        """Whether its values stand at the right."""
        return self.kind not in ("text", "flag")


@dataclass(frozen=True)
class Table:
    """A named table; `rows` have one value a column, None is unknown."""

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]
    note: str = ""

    def records(self) -> list[dict[str, Any]]:
        """Return the rows by key, money as floats, as charts take them."""
        keys = [column.key for column in self.columns]
        plain = [[float(v) if isinstance(v, Decimal) else v for v in row] for row in self.rows]
        return [dict(zip(keys, row, strict=True)) for row in plain]

    def written(self) -> list[list[str]]:
        """Return the cells as a person reads them."""
        return [[write(v, c.kind) for v, c in zip(row, self.columns, strict=True)] for row in self.rows]


def write(value: Value, kind: Kind) -> str:
    """Write a value: shares in percent, differences in points, money in USD with four significant digits.

    Example:
        >>> write(0.6333, "share"), write(-0.012, "difference"), write(0.0000832154, "usd"), write(None, "count")
        ('63.3 %', '−1.2', '0.00008322', '–')
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if kind == "share":
        return f"{float(value) * 100:.1f} %"
    if kind == "difference":
        return signed(float(value) * 100).replace("-", "−")
    if kind == "usd":
        return "0" if value == 0 else f"{Decimal(f'{Decimal(str(value)):.4g}'):f}"
    if kind == "ratio":
        return f"{float(value):.2f}"
    if kind == "number":
        return f"{float(value):,.0f}" if abs(float(value)) >= 1000 else f"{float(value):.4g}"
    return f"{value:,}" if isinstance(value, int) else f"{float(value):g}"


def write_interval(value: Value, low: Value, high: Value, kind: Kind) -> str:
    """Write an estimate with its interval behind it.

    Example:
        >>> write_interval(0.65, 0.524, 0.758, "share"), write_interval(0.65, None, None, "ratio")
        ('65.0 % (52.4 to 75.8)', '0.65')
    """
    if low is None or high is None or value is None:
        return write(value, kind)
    ends = [write(end, kind).removesuffix(" %") for end in (low, high)]
    return f"{write(value, kind)} ({ends[0]} to {ends[1]})"


def write_money(ratio: float | None, high: float | None, *, no_worse: bool) -> str:
    """Say what a ratio of costs means: a saving only where it is shown to be no worse, a loss always.

    `high` is the upper end of the ratio's interval: where it is not below 1, a saving is one perhaps.

    Example:
        >>> [write_money(r, h, no_worse=w) for r, h, w in ((1.3, 1.4, True), (0.8, 0.9, False), (0.8, 0.9, True))]
        ['a loss: costs 1.30 times as much', 'saving not shown', 'saves 20 %']
        >>> write_money(0.8, 1.1, no_worse=True)
        'perhaps saves 20 %'
    """
    if ratio is None or math.isnan(ratio):
        return "not compared"
    if ratio > 1:
        times = f"{ratio:.2f}" if ratio >= 1.005 else "slightly over 1"
        return f"a loss: costs {times} times as much"
    if not no_worse:
        return "saving not shown"
    if ratio == 1:
        return "costs the same"
    return f"{'' if high is not None and high < 1 else 'perhaps '}saves {(1 - ratio) * 100:.0f} %"


def to_csv(table: Table) -> str:
    """Return a table as CSV: keys as headings, values in full, nothing where unknown.

    Texts that a spreadsheet would take for a formula begin with an apostrophe.

    Example:
        >>> to_csv(Table("t", "T", (Column("a", "A", "text"), Column("b", "B", "share")), (("=1", 0.25), ("x", None))))
        "a,b\\n'=1,0.25\\nx,\\n"
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([column.key for column in table.columns])
    for row in table.rows:
        writer.writerow([_plain(value) for value in row])
    return out.getvalue()


def to_markdown(table: Table) -> str:
    """Return a table as Markdown, under its title.

    Example:
        >>> print(to_markdown(Table("t", "T", (Column("a", "A", "text"), Column("b", "B")), (("x|y", 3),))))
        ### T
        <BLANKLINE>
        | A | B |
        |---|---:|
        | x\\|y | 3 |
        <BLANKLINE>
    """
    rule = "|".join("---:" if column.numeric else "---" for column in table.columns)
    lines = [_line([_markdown(column.title) for column in table.columns]), f"|{rule}|"]
    lines += [_line([_markdown(cell) for cell in row]) for row in table.written()]
    note = [table.note, ""] if table.note else []
    return "\n".join([f"### {_markdown(table.title)}", "", *lines, "", *note])


def to_latex(table: Table) -> str:
    r"""Return a table as a LaTeX `table` with booktabs rules.

    Example:
        >>> print(to_latex(Table("t", "T", (Column("a", "A_1", "text"), Column("b", "B", "share")), (("x&y", 0.5),))))
        \begin{table}
          \centering
          \caption{T}
          \label{tab:t}
          \begin{tabular}{lr}
            \toprule
            A\_1 & B \\
            \midrule
            x\&y & 50.0 \% \\
            \bottomrule
          \end{tabular}
        \end{table}
        <BLANKLINE>
    """
    align = "".join("r" if column.numeric else "l" for column in table.columns)
    rows = [" & ".join(map(_latex, row)) + r" \\" for row in table.written()]
    body = [" & ".join(_latex(column.title) for column in table.columns) + r" \\", r"\midrule", *rows]
    inner = "\n".join("    " + line for line in [r"\toprule", *body, r"\bottomrule"])
    caption = _latex(f"{table.title}. {table.note}" if table.note else table.title)
    return (
        "\\begin{table}\n  \\centering\n"
        f"  \\caption{{{caption}}}\n  \\label{{tab:{table.name}}}\n  \\begin{{tabular}}{{{align}}}\n"
        f"{inner}\n  \\end{{tabular}}\n\\end{{table}}\n"
    )


FORMATS: dict[str, Callable[[Table], str]] = {"csv": to_csv, "md": to_markdown, "tex": to_latex}
"""How a table may be written, by the ending of its file."""


def write_tables(tables: tuple[Table, ...], folder: Path) -> list[Path]:
    """Write each table as NAME.csv, NAME.md and NAME.tex; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for table in tables:
        for ending, form in FORMATS.items():
            path, text = folder / f"{table.name}.{ending}", form(table)
            replace_file(path, lambda target, text=text: target.write_text(text, encoding="utf-8"))  # type: ignore[misc]
            written.append(path)
    return written


def _plain(value: Value) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return "'" + value
    return str(value)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown(text: str) -> str:
    flat = " ".join(text.split())
    for character in "\\`*_[]|":
        flat = flat.replace(character, "\\" + character)
    return flat.replace("<", "&lt;")


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": "$-$",
    "–": "--",
    **{character: "\\" + character for character in "&%$#_{}"},
}


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in " ".join(text.split("\n")))
