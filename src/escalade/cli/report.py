"""The report of runs and comparisons, as a command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from escalade.cli import options as opt


def report(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="FOLDER...", help="Folders of runs (run --out) and of comparisons (compare --out)."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The HTML file.")] = Path("report.html"),
    title: Annotated[
        str | None, typer.Option(help="Heading of the page.", show_default="Which route, at what cost, how sure")
    ] = None,
    png: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write every chart as PNG.", show_default="none")
    ] = None,
    svg: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write every chart as SVG.", show_default="none")
    ] = None,
    tables: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write every table as CSV, Markdown and LaTeX.", show_default="none"),
    ] = None,
) -> None:
    """Write one HTML file that says which route to use, what it costs, how sure that is, and where it fails."""
    from escalade.cli.display import console
    from escalade.report.files import TITLE, write_report

    for name, folder in (("--png", png), ("--svg", svg), ("--tables", tables)):
        if folder is not None:
            opt.folder(name, folder)
    opt.file("--out", out)
    written = write_report(folders, out, title=TITLE if title is None else title, png=png, svg=svg, tables=tables)
    size = written.page.stat().st_size / 1e6
    console.print(f"{written.page}: {size:.1f} MB, opens in any browser", markup=False, soft_wrap=True)
    for what, files in (("charts", written.charts), ("tables", written.tables)):
        if files:
            folders_of = ", ".join(sorted({str(path.parent) for path in files}))
            console.print(f"{len(files)} files of {what} in {folders_of}", markup=False, soft_wrap=True)
