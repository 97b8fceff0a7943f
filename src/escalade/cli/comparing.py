"""A comparison, seen from the command line."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.markup import escape
from rich.table import Table

from escalade import __version__
from escalade.calibration.calibration import Calibration
from escalade.cascade.policy import Policy
from escalade.cli.display import as_json as print_json
from escalade.cli.display import aside, console
from escalade.comparison.comparison import Comparison, Rival, compare
from escalade.comparison.policy_rows import PolicyRow
from escalade.comparison.verdicts import points
from escalade.errors import SettingError
from escalade.evaluation.groups import near_duplicates
from escalade.evaluation.sources import SAMPLES, Opened, facts, open_bank
from escalade.wording import counted, signed

WIDTH = 100
"""Columns that tables are fitted into."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be compared, as the options say it."""

    source: str
    problems: str | None
    pool: str | None
    scores: Path | None
    routes: Sequence[str]
    strategies: Sequence[str]
    target: str
    steps: int
    reference: str | None
    margin: float
    level: float
    dataset: str | None
    complete: bool
    cost_column: str | None
    grouped: bool
    draws: int | None
    seed: int


def show_comparison(
    request: Request, policy: Policy, fitted: Calibration | None, *, out: Path | None, as_json: bool
) -> None:
    """Compare; print the table, what the same money buys otherwise, and the verdict."""
    targets = targets_of(request.target, request.steps)
    routes = routes_of(request.routes)
    opened = open_bank(
        request.source,
        request.problems,
        pool=request.pool,
        scores=request.scores,
        dataset=request.dataset,
        complete=request.complete,
        cost_column=request.cost_column,
    )
    if fitted is not None and (seen := sum(fitted.fitted_on(opened.bank.problems))):
        note = f"the calibration was fitted on {seen} of these problems: what is decided by it is in-sample there"
        opened = replace(opened, notes=(*opened.notes, note))
    if not as_json:
        aside.print(
            f"{counted(len(opened.bank), 'problem')} of {escape(opened.source)}, pool {escape(opened.bank.pool.name)}",
            soft_wrap=True,
        )
    found = compare(
        opened.bank,
        routes,
        _strategies(request.strategies),
        targets,
        request.reference,
        policy=policy,
        margin=request.margin,
        level=request.level,
        groups=_groups(opened) if request.grouped else None,
        draws=request.draws,
        seed=request.seed,
        facts={**facts(opened), "grouped": request.grouped, "escalade": __version__},
    )
    if out is not None:
        found.write(out)
    if as_json:
        print_json(found.to_dict())
        return
    _show(found, opened)
    where = (
        f"written to {out}: escalade report {out}" if out is not None else "nothing is written; --out FOLDER writes it"
    )
    console.print(f"[dim]{escape(where)}[/]", soft_wrap=True)


def targets_of(text: str, steps: int) -> list[float]:
    """Return the targets that a text means: 0.9, a list 0.8,0.9, or a range 0.5..0.99 in so many steps.

    Raises:
        SettingError: it means none, or one is not in [0, 1].

    Example:
        >>> targets_of("0.9", 11), targets_of("0.8, 0.9", 11), targets_of("0.5..0.9", 3)
        ([0.9], [0.8, 0.9], [0.5, 0.7, 0.9])
    """
    low, dots, high = text.partition("..")
    if not dots:
        return list(dict.fromkeys(_target(word, text) for word in text.split(",")))
    first, last = _target(low, text), _target(high, text)
    if last <= first or steps < 2:
        raise SettingError(
            f"--target {text!r} in {steps} steps is no range: give it as LOW..HIGH, with --steps 2 or more"
        )
    return list(dict.fromkeys(round(float(value), 4) for value in np.linspace(first, last, steps)))


def _target(word: str, text: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise SettingError(
            f"--target {text!r}: {word.strip()!r} is no number in [0, 1]: give 0.9, 0.8,0.9 or 0.5..0.99"
        )
    return value


def routes_of(given: Sequence[str]) -> list[str]:
    """Return routing strings given one by one, comma separated, or in files: @FILE has one a line, # begins a comment.

    Raises:
        SettingError: a file is not there or has none.

    Example:
        >>> routes_of(["0.5B, mv_0.5B_k5_t0.7", "1.5B"])
        ['0.5B', 'mv_0.5B_k5_t0.7', '1.5B']
    """
    found: list[str] = []
    for text in given:
        if text.startswith("@"):
            path = Path(text[1:])
            try:
                lines = [line.split("#", 1)[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
            except (OSError, UnicodeDecodeError) as error:
                raise SettingError(f"--routes {text}: {path} cannot be read: {error}") from error
            if not any(lines):
                raise SettingError(f"--routes {text}: {path} has no route: give one a line")
            found += [line for line in lines if line]
        else:
            found += [word.strip() for word in text.split(",") if word.strip()]
    return list(dict.fromkeys(found))


def _strategies(given: Sequence[str]) -> Literal["all"] | list[str]:
    names = [word.strip() for text in given for word in text.split(",") if word.strip()]
    if "all" in names and len(names) > 1:
        raise SettingError(f"--strategies {', '.join(names)}: give all, or names")
    return "all" if names == ["all"] else list(dict.fromkeys(names))


def _groups(opened: Opened) -> list[int]:
    texts = [problem.text for problem in opened.bank.problems]
    if not all(texts):
        raise SettingError(
            f"--grouped looks for near-duplicates by the texts of the problems, and {opened.source} has none for "
            f"{sum(not text for text in texts)} of {len(texts)}: give them with --problems FILE"
        )
    return near_duplicates(texts)


def _show(found: Comparison, opened: Opened) -> None:
    for note in (*opened.notes, *found.notes):
        console.print(f"note: {escape(note)}", soft_wrap=True)
    _show_left_out(found)
    rows = _merged(found)
    priced = any(not math.isnan(row.cost_usd) for row, _ in rows)
    _print(_numbers_table(found, rows, priced))
    marks = ["* on the frontier"] if priced else []
    marks += ["R reference"] if any(row.kind == "reference" for row, _ in rows) else []
    marks += ["i chosen in-sample"] if any(row.in_sample for row, _ in rows) else []
    marks += ["~ simulated"] if any(not row.exact for row, _ in rows) else []
    level = f"{found.settings['level'] * 100:g}"
    marks.append(f"in brackets {level} % intervals over problems, behind \u00b1 their wider half")
    if priced:
        marks.append(
            f"money: a saving is told where it is shown that less than {points(found.settings['margin'])} is lost"
        )
    console.print(f"[dim]{'; '.join(marks)}[/]\n", soft_wrap=True)
    _print(_ways_table(rows, opened.unit))
    if found.rivals:
        console.print("What the same money buys otherwise, and what a policy is ahead of it:")
        _print(_rivals_table(found, rows))
    if found.frontier["aiq"] is not None:
        areas = found.frontier
        gain = "unknown" if areas["gain"] is None else signed(areas["gain"], 2)
        console.print(
            f"AIQ {areas['aiq']:.3f}, of single models mixed blindly (zero router) {areas['aiq_zero']:.3f}; "
            f"frontier gain {gain} [dim](0: the zero router, 1: the oracle; in-sample)[/]",
            soft_wrap=True,
        )
    console.print(f"reference: [bold]{escape(found.reference)}[/], {escape(found.reference_why)}", soft_wrap=True)
    console.print(f"[bold]{escape(found.verdict)}[/]", soft_wrap=True)


def _show_left_out(found: Comparison) -> None:
    reasons: dict[str, list[str]] = {}
    for name, reason in found.left_out:
        reasons.setdefault(_without_name(reason, name), []).append(name)
    for reason, names in reasons.items():
        console.print(f"left out: {escape(', '.join(names))}: {escape(reason)}", soft_wrap=True)


def _without_name(reason: str, name: str) -> str:
    return reason.removeprefix(f"strategy {name!r} ")


def _merged(found: Comparison) -> list[tuple[PolicyRow, str]]:
    """Rows with what they are called; targets and strategies that come to the same share a line."""
    groups: dict[tuple[Any, ...], list[PolicyRow]] = {}
    for row in found.rows:
        base = _base(row)
        groups.setdefault(("" if row.kind == "strategy" else base, repr(row.accuracy), repr(row.cost_usd)), []).append(
            row
        )
    return [(rows[0], _called(rows)) for rows in groups.values()]


def _base(row: PolicyRow) -> str:
    return row.name.removesuffix(f" @{row.target:g}") if row.target is not None else row.name


def _called(rows: Sequence[PolicyRow]) -> str:
    spans: dict[str, list[str]] = {}
    targets: dict[str, list[PolicyRow]] = {}
    for row in rows:
        targets.setdefault(_base(row), []).append(row)
    for base, mine in targets.items():
        several = sorted(row.target for row in mine if row.target is not None)
        said = mine[0].name.removeprefix(base) if len(mine) == 1 else f" @{several[0]:.2f}..{several[-1]:.2f}"
        spans.setdefault(said, []).append(base)
    return "; ".join(f"{', '.join(bases)}{span}" for span, bases in spans.items())


def _print(table: Table) -> None:
    console.print(table, width=min(WIDTH, console.width))
    console.print()


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for name in columns:
        if name == "policy":
            table.add_column(name, overflow="fold", min_width=24)
        else:
            table.add_column(name, justify="right" if name else "left", no_wrap=True)
    return table


def _numbers_table(found: Comparison, rows: Sequence[tuple[PolicyRow, str]], priced: bool) -> Table:
    money = ("USD per 1000", "money") if priced else ()
    table = _table("", "policy", "right, %", f"points to {_short(found.reference)}", "p", *money)
    for row, said in rows:
        itself = row.name == found.reference
        cells = [
            _marks(row),
            escape(said),
            _accuracy(row),
            "-" if itself else _difference(row.difference, row.difference_low, row.difference_high),
            "-"
            if math.isnan(row.p_value)
            else "<.001"
            if row.p_value < 0.001
            else f"{row.p_value:.3f}".removeprefix("0"),
        ]
        if priced:
            cells += [_thousand(row), "reference" if itself else _money(row)]
        table.add_row(*cells, style="bold" if row.on_frontier and not row.in_sample else None)
    return table


def _ways_table(rows: Sequence[tuple[PolicyRow, str]], unit: str) -> Table:
    table = _table(
        "policy", "samples", "priced" if unit == SAMPLES else unit, "escalated", "pass@k", "majority@k", "computed"
    )
    told: set[str] = set()
    for row, said in rows:
        if not row.tiers:
            continue
        way = escape(said)
        if row.route not in (None, row.name) and str(row.route) not in told:
            told.add(str(row.route))
            way += f"\n[dim]{escape(str(row.route))}[/]"
        table.add_row(
            way,
            f"{row.samples:.2f}",
            "-" if math.isnan(row.tokens) else f"{row.tokens:.0f}",
            f"{row.escalated * 100:.0f} %",
            _percent(row.pass_at_k),
            _percent(row.majority_at_k),
            "exact" if row.exact else f"\u00b1{row.accuracy_error * 100:.2f}",
        )
    return table


def _rivals_table(found: Comparison, rows: Sequence[tuple[PolicyRow, str]]) -> Table:
    table = _table("policy", *_SORTS.values())
    for column in table.columns[1:]:
        column.no_wrap, column.justify, column.overflow = False, "left", "fold"
    for row, said in rows:
        rivals = {rival.sort: rival for rival in found.rivals.get(row.name, ())}
        if rivals:
            table.add_row(escape(said), *(_against(rivals.get(sort)) for sort in _SORTS))
    return table


_SORTS: Mapping[Literal["vote", "mix", "pair"], str] = {
    "vote": "points to one model",
    "mix": "points to a coin",
    "pair": "points to a pair",
}
"""What the same money buys otherwise, and the heading of its column."""


def _against(rival: Rival | None) -> str:
    if rival is None:
        return "-"
    name = rival.name.removeprefix("mix ")
    return f"{_difference(rival.difference, *rival.interval)}\n[dim]{escape(name)}[/]"


def _short(name: str) -> str:
    return name if len(name) <= 14 else "reference"


def _marks(row: PolicyRow) -> str:
    marks = (row.on_frontier, "*"), (row.kind == "reference", "R"), (row.in_sample, "i"), (not row.exact, "~")
    return "".join(sign for there, sign in marks if there)


def _accuracy(row: PolicyRow) -> str:
    value = f"{row.accuracy * 100:.1f}"
    sure = not math.isnan(row.accuracy_low)
    return f"{value} ({row.accuracy_low * 100:.0f}-{row.accuracy_high * 100:.0f})" if sure else value


def _difference(value: float, low: float, high: float) -> str:
    if math.isnan(low):
        return signed(value * 100)
    return f"{signed(value * 100)} ({signed(low * 100)} {signed(high * 100)})"


def _thousand(row: PolicyRow) -> str:
    if math.isnan(row.cost_usd):
        return "unknown"
    said = f"{Decimal(f'{row.cost_usd * 1000:.3g}'):f}"
    # Of few problems the interval has no upper end.
    if not math.isfinite(row.cost_high) or not row.cost_usd:
        return said
    half = max(row.cost_high - row.cost_usd, row.cost_usd - row.cost_low) / row.cost_usd
    return f"{said} \u00b1{half * 100:.0f} %"


def _money(row: PolicyRow) -> str:
    if row.non_inferior is not None and row.cost_ratio > 1:
        return f"{row.cost_ratio:.2f} x, loss"
    return row.money


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{value * 100:.1f}"
