"""The contents of a report: what of its sources is said, in which order, before any of it is HTML or a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from escalade.errors import SettingError
from escalade.report import highlights, measures
from escalade.report.comparisons import Comparison, Curve, Point, is_comparison, points_table, read_comparison
from escalade.report.figures import Figure, figures_of
from escalade.report.frontier import Mark, frontier_spec
from escalade.report.highlights import Notable
from escalade.report.rivals import Rivals, rivals_of
from escalade.report.runs import Run, read_run
from escalade.report.tables import Column, Table, write, write_interval
from escalade.statistics import frontier as frontiers

DRAWN = 4
"""Runs that have charts and stories; further ones have their numbers."""
_WIDE, _NARROW = (900, 420), (264, 300)
"""Width and height of the plot of a frontier, in pixels."""


class Brief(NamedTuple):
    """A short table of policies or runs; with each row the id of its details in the page."""

    table: Table
    anchors: tuple[str, ...]


@dataclass(frozen=True)
class Compared:
    """A comparison: its verdict, its frontier, and every policy."""

    ident: str
    comparison: Comparison
    frontier: Figure
    points: tuple[tuple[str, Point], ...]
    """With the id of each in the page."""
    brief: Brief
    """Those that a choice is among: the frontier and the references."""


@dataclass(frozen=True)
class Ran:
    """A run: what it came to, its charts, and the problems that are worth a story."""

    ident: str
    run: Run
    headline: str
    numbers: Table
    figures: tuple[Figure, ...]
    """Without specifications where there are more runs than are drawn."""
    statuses: Table
    notable: tuple[Notable, ...]


@dataclass(frozen=True)
class Contents:
    """All that a report says."""

    compared: tuple[Compared, ...]
    ran: tuple[Ran, ...]
    rivals: Rivals | None
    """The runs against the first of them; None where there is one or none."""
    race: Figure | None
    """Accuracy against cost of the runs."""
    brief: Brief | None
    """The runs, in short."""

    @property
    def figures(self) -> list[Figure]:
        """All charts, each with a name of its own."""
        figures = [part.frontier for part in self.compared]
        figures += [] if self.race is None else [self.race]
        return figures + [figure for part in self.ran for figure in part.figures]

    @property
    def tables(self) -> tuple[Table, ...]:
        """All tables, each with a name of its own."""
        tables = [figure.table for figure in self.figures]
        tables += [table for part in self.ran for table in (part.numbers, part.statuses)]
        return tuple(tables)


class _Sources(NamedTuple):
    runs: list[Run]
    comparisons: list[Comparison]


def read_contents(folders: Sequence[str | Path]) -> Contents:
    """Read the folders of runs and comparisons, and count what a report says of them.

    Raises:
        SettingError: no folder is given, or one twice.
        TableError: a folder is neither of a run nor of a comparison, or its files cannot be read.

    Example:
        >>> import escalade, tempfile
        >>> results = escalade.run(engine="replay:shipped", route="mv_0.5B_k2_t0.7", limit=3)
        >>> contents = read_contents([results.write(tempfile.mkdtemp())])
        >>> [figure.name for figure in contents.figures][:3]
        ['run1-flow', 'run1-decided', 'run1-costs']
    """
    sources = _read(folders)
    rivals = rivals_of(sources.runs)
    return Contents(
        compared=tuple(_compared(n, comparison) for n, comparison in enumerate(sources.comparisons, start=1)),
        ran=tuple(_ran(n, run) for n, run in enumerate(sources.runs, start=1)),
        rivals=rivals,
        race=None if rivals is None else _race(sources.runs, rivals),
        brief=None if rivals is None else _brief_runs(rivals),
    )


def _read(folders: Sequence[str | Path]) -> _Sources:
    if not folders:
        raise SettingError("no folder is given: name folders that `escalade run` or `escalade compare` wrote")
    sources = _Sources([], [])
    seen: set[Path] = set()
    for folder in map(Path, folders):
        if folder.resolve() in seen:
            raise SettingError(f"folder {folder} is given twice: name each once")
        seen.add(folder.resolve())
        if is_comparison(folder):
            sources.comparisons.append(read_comparison(folder))
        else:
            sources.runs.append(read_run(folder))
    names = Counter(run.name for run in sources.runs)
    told_apart = [
        replace(run, name=f"{run.name} ({run.folder})") if names[run.name] > 1 else run for run in sources.runs
    ]
    return sources._replace(runs=told_apart)


def _compared(number: int, comparison: Comparison) -> Compared:
    ident = f"comparison{number}"
    points = tuple((f"{ident}-{n}", point) for n, point in enumerate(comparison.points, start=1))
    marks = [
        Mark(
            n,
            point.name,
            point.kind,
            anchor,
            point.accuracy,
            point.accuracy_low,
            point.accuracy_high,
            point.cost_usd,
            point.cost_low,
            point.cost_high,
            point.on_frontier is True,
        )
        for n, (anchor, point) in enumerate(points, start=1)
        if point.accuracy is not None and point.cost_usd is not None
    ]
    left_out = len(points) - len(marks)
    caption = "Up and to the left is better. Numbers are those of the table; a click opens a policy's details."
    if left_out:
        caption += f" Left out: {left_out} of unknown accuracy or cost."
    if comparison.curves:
        caption += f" Dashed: {' and '.join(curve.name for curve in comparison.curves)}."
    table = _named(points_table(comparison), f"{ident}-policies")
    return Compared(
        ident,
        comparison,
        _frontier(f"{ident}-frontier", caption, table, marks, comparison.curves),
        points,
        _brief(points, table, comparison.sure),
    )


_BRIEF = (
    Column("number", "No."),
    Column("name", "Policy", "text"),
    Column("right", "Right", "text"),
    Column("cost", "USD a problem", "text"),
    Column("difference", "Points", "text"),
    Column("no_worse", "No worse", "text"),
    Column("ratio", "Cost ratio", "text"),
    Column("money", "Money", "text"),
)


def _brief(points: Sequence[tuple[str, Point]], table: Table, sure: str) -> Brief:
    chosen = [
        (a, p, r) for (a, p), r in zip(points, table.records(), strict=True) if p.on_frontier or p.kind == "reference"
    ]
    note = f"In brackets: {sure} intervals. {table.note}"
    chosen.sort(key=lambda found: (found[1].cost_usd is None, found[1].cost_usd or 0.0))
    rows = tuple(
        (
            record["number"],
            f"{point.name} (in-sample)" if point.in_sample else point.name,
            write_interval(point.accuracy, point.accuracy_low, point.accuracy_high, "share"),
            write(point.cost_usd, "usd"),
            write_interval(point.difference, point.difference_low, point.difference_high, "difference"),
            record["no_worse"],
            write_interval(point.cost_ratio, point.cost_ratio_low, point.cost_ratio_high, "ratio"),
            record["money"],
        )
        for _, point, record in chosen
    )
    return Brief(
        Table("brief", "Frontier and references, the cheapest first", _BRIEF, rows, note),
        tuple(a for a, _, _ in chosen),
    )


def _brief_runs(rivals: Rivals) -> Brief:
    rows = tuple(
        (
            r["number"],
            r["name"],
            write_interval(r["accuracy"], r["low"], r["high"], "share"),
            write(r["cost_per_problem_usd"], "usd"),
            write_interval(r["difference"], r["difference_low"], r["difference_high"], "difference"),
            r["no_worse"],
            write_interval(r["cost_ratio"], r["cost_ratio_low"], r["cost_ratio_high"], "ratio"),
            r["money"],
        )
        for r in rivals.table.records()
    )
    return Brief(
        Table("brief", "The runs", _BRIEF, rows, f"In brackets: 95 % intervals. {rivals.table.note}"),
        tuple(f"run{row[0]}" for row in rows),
    )


def _frontier(name: str, caption: str, table: Table, marks: list[Mark], curves: Sequence[Curve] = ()) -> Figure:
    specs = tuple(frontier_spec(marks, *size, curves) for size in (_WIDE, _NARROW)) if marks else ()
    return Figure(name, "Accuracy against cost", caption, table, specs)


def _ran(number: int, run: Run) -> Ran:
    ident = f"run{number}"
    drawn = number <= DRAWN
    figures = tuple(
        Figure(
            f"{ident}-{f.name}",
            f.title,
            f.caption,
            _named(f.table, f"{ident}-{f.table.name}"),
            f.specs if drawn else (),
        )
        for f in figures_of(run)
    )
    return Ran(
        ident=ident,
        run=run,
        headline=highlights.headline(run),
        numbers=_named(highlights.numbers(run), f"{ident}-numbers"),
        figures=figures,
        statuses=_named(measures.statuses(run), f"{ident}-statuses"),
        notable=highlights.notable(run) if drawn else (),
    )


def _race(runs: Sequence[Run], rivals: Rivals) -> Figure:
    records = rivals.table.records()
    costed = [r for r in records if r["accuracy"] is not None and r["cost_per_problem_usd"] is not None]
    best = frontiers.unbeaten([frontiers.Point(r["cost_per_problem_usd"], r["accuracy"]) for r in costed])
    marks = [
        Mark(
            r["number"], r["name"], "run", f"run{r['number']}", r["accuracy"], r["low"], r["high"],
            r["cost_per_problem_usd"], None, None, front,
        )
        for r, front in zip(costed, best, strict=True)
    ]  # fmt: skip
    caption = "Each run over its own problems, with 95 % intervals of the accuracy. A click opens the run."
    if len(marks) < len(runs):
        caption += f" Left out: {len(runs) - len(marks)} of unknown accuracy or cost."
    return _frontier("runs-frontier", caption, rivals.table, marks)


def _named(table: Table, name: str) -> Table:
    return Table(name, table.title, table.columns, table.rows, table.note)


PROBLEMS = (
    Column("id", "Id", "text"),
    Column("problem", "Problem", "text"),
    Column("gold", "Gold", "text"),
    Column("answer", "Answer", "text"),
    Column("result", "Result", "text"),
    Column("status", "Status", "text"),
    Column("decided_by", "Decided by", "text"),
    Column("tiers", "Tiers"),
    Column("confidence", "Confidence", "number"),
    Column("cost_usd", "Cost, USD", "usd"),
)
"""The columns of the table of problems."""
_SHORT = 110


def problems_table(runs: Sequence[Run]) -> Table:
    """Return one row a problem, as the first run answered it, and how many of the other runs have it right."""
    first, *others = runs
    right: dict[str, list[bool]] = {}
    for run in others:
        for story in run.stories:
            if story.right is not None:
                right.setdefault(story.id, []).append(story.right)
    rows = []
    for story in first.stories:
        text = " ".join(story.text.split())
        told = right.get(story.id, [])
        rows.append(
            (
                story.id,
                text if len(text) <= _SHORT else text[: _SHORT - 1] + "…",
                _short(story.gold),
                _short(story.answer),
                "not graded" if story.right is None else "right" if story.right else "wrong",
                story.status,
                story.decided_by,
                len(story.tiers),
                story.confidence,
                story.cost,
                *([f"{sum(told)} of {len(told)}"] if others else []),
            )
        )
    also = (Column("others", "Right in other runs", "text"),) if others else ()
    return Table("problems", "Problems", (*PROBLEMS, *also), tuple(rows))


def _short(text: str | None) -> str | None:
    return text if text is None or len(text) <= 60 else text[:59] + "…"
