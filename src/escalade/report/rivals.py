"""Rivals: several runs over the same problems, each against the first, and what that allows to say."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

from escalade.report.runs import Run
from escalade.report.tables import Column, Table, Value, write, write_money
from escalade.statistics.intervals import mcnemar, non_inferior, paired_difference, wilson
from escalade.statistics.resampling import cost_ratio
from escalade.wording import counted

MARGIN = 0.01
"""A run is no worse where it loses less than this share of the problems."""


class Rivals(NamedTuple):
    """The runs as a table, and the verdict."""

    table: Table
    verdict: str


class _Duel(NamedTuple):
    """A run against the reference, on the problems that both have."""

    name: str
    problems: int
    difference: float
    low: float
    high: float
    only_this: int
    only_reference: int
    p_value: float
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    no_worse: bool


def rivals_of(runs: Sequence[Run]) -> Rivals | None:
    """Compare runs with the first of them, problem by problem; None where there are fewer than two.

    Accuracy by `paired_difference` and `mcnemar`, non-inferiority within one point, cost by `cost_ratio`, all on the
    graded problems that both runs have (by id).

    Raises:
        SettingError: scipy is not installed.
    """
    if len(runs) < 2:
        return None
    reference, *others = runs
    duels = [_duel(run, reference) for run in others]
    rows = [_row(number, run, duel) for number, (run, duel) in enumerate(zip(runs, [None, *duels], strict=True), 1)]
    table = Table(
        "runs",
        "All runs",
        (
            Column("number", "No."),
            Column("name", "Run", "text"),
            Column("folder", "Folder", "text"),
            Column("problems", "Problems"),
            Column("accuracy", "Accuracy", "share"),
            Column("low", "95 % from", "share"),
            Column("high", "to", "share"),
            Column("cost_per_problem_usd", "USD a problem", "usd"),
            Column("samples", "Samples a problem", "number"),
            Column("difference", "Difference, points", "difference"),
            Column("difference_low", "95 % from", "difference"),
            Column("difference_high", "to", "difference"),
            Column("only_this", "Only this right"),
            Column("only_reference", "Only the first right"),
            Column("p_value", "McNemar's p", "number"),
            Column("cost_ratio", "Cost ratio", "ratio"),
            Column("cost_ratio_low", "95 % from", "ratio"),
            Column("cost_ratio_high", "to", "ratio"),
            Column("no_worse", "No worse", "text"),
            Column("money", "Money", "text"),
        ),
        tuple(rows),
        f"Differences and cost ratios are against run 1, {reference.name}, problem by problem. No worse: the one-sided "
        f"95 % bound of the difference is above −{MARGIN * 100:g} point.",
    )
    return Rivals(table, _verdict(reference, [duel for duel in duels if duel is not None]))


def _duel(run: Run, reference: Run) -> _Duel | None:
    theirs = {story.id: story for story in reference.stories if story.right is not None}
    pairs = [(s, theirs[s.id]) for s in run.stories if s.right is not None and s.id in theirs]
    if not pairs:
        return None
    a, b = [float(s.right is True) for s, _ in pairs], [float(t.right is True) for _, t in pairs]
    difference, tested, mc = paired_difference(a, b), non_inferior(a, b, MARGIN), mcnemar(a, b)
    mine, other = [s.cost for s, _ in pairs], [t.cost for _, t in pairs]
    ratio = None
    if None not in mine and None not in other and any(mine) and any(other):
        ratio = cost_ratio([float(c or 0) for c in mine], [float(c or 0) for c in other])
    return _Duel(
        name=run.name,
        problems=len(pairs),
        difference=difference.value,
        low=difference.interval.low,
        high=difference.interval.high,
        only_this=mc.only_first,
        only_reference=mc.only_second,
        p_value=mc.p_value,
        ratio=None if ratio is None else ratio.value,
        ratio_low=None if ratio is None else ratio.interval.low,
        ratio_high=None if ratio is None else ratio.interval.high,
        no_worse=tested.shown,
    )


def _row(number: int, run: Run, duel: _Duel | None) -> tuple[Value, ...]:
    low, high = wilson(run.correct, run.graded)
    cost = run.cost
    problems = len(run.stories)
    samples = sum(tier.samples for story in run.stories for tier in story.tiers)
    own: tuple[Value, ...] = (
        number,
        run.name,
        run.folder.name,
        problems,
        run.correct / run.graded if run.graded else None,
        low if run.graded else None,
        high if run.graded else None,
        None if cost is None or not problems else cost / Decimal(problems),
        samples / problems if problems else None,
    )
    if duel is None:
        return (*own, *[None] * 9, "the first" if number == 1 else "not compared", "–")
    money = write_money(duel.ratio, duel.ratio_high, no_worse=duel.no_worse)
    return (*own, *duel[2:11], "shown" if duel.no_worse else "not shown", money)


def _verdict(reference: Run, duels: list[_Duel]) -> str:
    """Say which run to use, from what was shown and nothing else."""
    if not duels:
        return "The runs have no graded problem in common, so they are not compared."
    alone = "Chosen and reported on the same problems (in-sample)."
    cheaper = [duel for duel in duels if duel.no_worse and duel.ratio_high is not None and duel.ratio_high < 1]
    if cheaper:
        best = min(cheaper, key=lambda duel: duel.ratio or 0.0)
        return (
            f"{best.name} is shown to be no more than {MARGIN * 100:g} point worse than {reference.name} and costs "
            f"{write(best.ratio, 'ratio')} times as much (95 % {write(best.ratio_low, 'ratio')} to "
            f"{write(best.ratio_high, 'ratio')}) on {counted(best.problems, 'problem')}. {alone}"
        )
    better = [duel for duel in duels if duel.low > 0]
    if better:
        best = max(better, key=lambda duel: duel.difference)
        money = "at unknown cost" if best.ratio is None else f"at {write(best.ratio, 'ratio')} times the cost"
        return (
            f"{best.name} answers {write(best.difference, 'difference')} points more right than {reference.name} (95 % "
            f"{write(best.low, 'difference')} to {write(best.high, 'difference')}) {money}; no run is shown to be as "
            f"good at less cost. {alone}"
        )
    return (
        f"No other run is shown to be as good as {reference.name} within {MARGIN * 100:g} point at less cost, and none "
        "is shown to be better. More problems, or other routes, are needed to say more."
    )
