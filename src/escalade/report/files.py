"""The files of a report: the page, and if wanted each chart as PNG or SVG and each table as CSV, Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from escalade.errors import SettingError
from escalade.report.contents import Contents, problems_table, read_contents
from escalade.report.drawing import export
from escalade.report.page import page
from escalade.report.tables import write_tables
from escalade.results import replace_file

TITLE = "Which route, at what cost, how sure"


class Written(NamedTuple):
    """The files that a report consists of."""

    page: Path
    charts: tuple[Path, ...]
    tables: tuple[Path, ...]


def write_report(
    folders: Sequence[str | Path],
    out: str | Path,
    *,
    title: str = TITLE,
    png: str | Path | None = None,
    svg: str | Path | None = None,
    tables: str | Path | None = None,
) -> Written:
    """Write the report of folders that runs and comparisons wrote.

    Args:
        folders: of runs (answers.parquet, samples.parquet, summary.json) or of comparisons (comparison.parquet,
            comparison.json). The first run is what further runs are compared with.
        out: the HTML file.
        title: its heading.
        png: a folder for every chart as PNG.
        svg: a folder for every chart as SVG.
        tables: a folder for every table as CSV, Markdown and LaTeX.

    Raises:
        SettingError: no folder, one given twice, the page cannot be written, or the extra `report` is not
            installed.
        TableError: a folder is neither of a run nor of a comparison, or its files cannot be read.

    Example:
        >>> import escalade, tempfile
        >>> results = escalade.run(engine="replay:shipped", route="mv_0.5B_k2_t0.7", limit=3)
        >>> folder = results.write(tempfile.mkdtemp())
        >>> written = write_report([folder], folder / "report.html")
        >>> written.page.read_text(encoding="utf-8").startswith("<!doctype html>")
        True
    """
    contents = read_contents(folders)
    text = page(contents, title)
    out = Path(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        replace_file(out, lambda target: target.write_text(text, encoding="utf-8"))
    except OSError as error:
        raise SettingError(f"report {out} cannot be written: {error.strerror or error}; name another") from error
    charts = [
        chart
        for folder, ending in ((png, "png"), (svg, "svg"))
        if folder is not None
        for chart in _charts(contents, Path(folder), ending)
    ]
    written: list[Path] = []
    if tables is not None:
        runs = [part.run for part in contents.ran]
        written = write_tables((*contents.tables, *([problems_table(runs)] if runs else [])), Path(tables))
    return Written(out, tuple(charts), tuple(written))


def _charts(contents: Contents, folder: Path, ending: str) -> list[Path]:
    """Write the charts as drawn for a wide page."""
    folder.mkdir(parents=True, exist_ok=True)
    return [export(figure.specs[0], folder / f"{figure.name}.{ending}") for figure in contents.figures if figure.specs]
