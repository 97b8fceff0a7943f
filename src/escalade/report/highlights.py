"""Highlights of one run: its headline, the numbers that people ask for first, and the problems worth a story."""

from __future__ import annotations

from typing import NamedTuple

from escalade.report.runs import Run, Story
from escalade.report.tables import Column, Table, Value, write, write_interval
from escalade.statistics.intervals import wilson
from escalade.wording import counted


class Notable(NamedTuple):
    """Problems that are worth a story."""

    title: str
    why: str
    stories: tuple[Story, ...]


def notable(run: Run, each: int = 6) -> tuple[Notable, ...]:
    """Choose the surest mistakes, the hardest and the dearest problems of a run, at most `each` of a kind.

    A problem is told once: where it comes first.
    """
    told: set[str] = set()

    def take(stories: list[Story]) -> tuple[Story, ...]:
        fresh = [story for story in stories if story.id not in told][:each]
        told.update(story.id for story in fresh)
        return tuple(fresh)

    wrong = [story for story in run.stories if story.right is False]
    sure = [story for story in wrong if story.confidence is not None]
    sure.sort(key=lambda s: (-(s.confidence or 0.0), s.id))
    hard = [s for s in (wrong if run.graded else run.stories) if s.samples or not run.graded]
    hard.sort(key=lambda s: (s.samples_right / s.samples if s.samples else 0.0, -len(s.tiers), -(s.cost or 0), s.id))
    dear = sorted((s for s in run.stories if s.cost), key=lambda s: (-(s.cost or 0), s.id))
    found = (
        Notable("Surest mistakes", "wrong with the highest confidence", take(sure)),
        Notable(
            "Hardest",
            "wrong in the end, with the smallest share of right samples"
            if run.graded
            else "without gold answers: those that climbed furthest",
            take(hard),
        ),
        Notable("Dearest", "the highest cost", take(dear)),
    )
    return tuple(kind for kind in found if kind.stories)


def headline(run: Run) -> str:
    """Say in a sentence what a run came to."""
    problems = len(run.stories)
    if run.graded:
        low, high = wilson(run.correct, run.graded)
        said = (
            f"{run.name} answered {run.correct} of {counted(run.graded, 'problem')} right, "
            f"{write_interval(run.correct / run.graded, low, high, 'share')}"
        )
    else:
        answered = counted(problems, "problem")
        said = f"{run.name} answered {answered}; without gold answers nobody can say how many are right"
    cost = "unknown cost" if run.cost is None else f"{write(run.cost / problems, 'usd')} USD a problem"
    ended = run.summary.get("ended_by") or ("it was interrupted" if run.summary.get("interrupted") else None)
    return f"{said}, at {cost}." + (f" The run ended early: {ended}." if ended else "")


def numbers(run: Run) -> Table:
    """Put the numbers of a run that people ask for first into one row each."""
    tiers = [tier for story in run.stories for tier in story.tiers]
    problems = len(run.stories)
    low, high = wilson(run.correct, run.graded)
    sure = f"{write(low, 'share').removesuffix(' %')} to {write(high, 'share')}" if run.graded else "–"
    tokens = [tier.tokens for tier in tiers]
    cost = run.cost
    saved, seats = sum(tier.saved for tier in tiers), sum(tier.asked for tier in tiers)
    rows: tuple[tuple[Value, ...], ...] = (
        ("Problems", write(problems, "count")),
        ("Right, of those graded", f"{write(run.correct, 'count')} of {write(run.graded, 'count')}"),
        ("Accuracy", write(run.correct / run.graded, "share") if run.graded else "–"),
        ("95 % interval", sure),
        ("Cost, USD", write(cost, "usd") if cost is not None else "unknown"),
        ("Cost a problem, USD", write(cost / problems, "usd") if cost is not None and problems else "unknown"),
        ("Samples", write(sum(tier.samples for tier in tiers), "count")),
        ("Tokens written", "unknown" if None in tokens else write(sum(n or 0 for n in tokens), "count")),
        ("Saved by stopping early", f"{write(saved, 'count')} of {write(seats, 'count')} seats"),
        ("Beyond the first tier", write(sum(len(s.tiers) > 1 for s in run.stories) / problems, "share")),
    )
    return Table(
        "numbers", "The run in numbers", (Column("what", "What", "text"), Column("value", "Value", "text")), rows
    )
