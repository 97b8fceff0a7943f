"""What a report counts in one run: each measure is a table, and the charts are drawn from these tables.

Problems are the sampling unit; intervals of shares are Wilson's, 95 %.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import NamedTuple

from escalade.cascade.outcome import Status
from escalade.report.runs import Run, Story, TierStory
from escalade.report.tables import Column, Table, Value
from escalade.statistics.intervals import wilson

_MANY = 12
"""With more tiers than this, those of one position and model are one row."""
BINS = 10
"""Bins of a share: [0, 0.1), ..., [0.9, 1]."""
BITS = 0.25
"""Width of a bin of entropy, in bits."""


class _Visit(NamedTuple):
    """A tier of a problem."""

    story: Story
    tier: TierStory
    last: bool


def _visits(run: Run) -> dict[str, list[_Visit]]:
    """What came to each tier, under the tier's label, in the order of the tiers."""
    keys = {(t.position, t.model, t.k, t.temperature) for story in run.stories for t in story.tiers}
    merged = len(keys) > _MANY
    groups: dict[tuple[int, str, int, float], list[_Visit]] = {}
    for story in run.stories:
        for tier in story.tiers:
            rest = (0, 0.0) if merged else (tier.k, tier.temperature)
            visit = _Visit(story, tier, tier is story.tiers[-1])
            groups.setdefault((tier.position, tier.model, *rest), []).append(visit)
    return {_label(visits): visits for _, visits in sorted(groups.items())}


def _label(visits: list[_Visit]) -> str:
    tier = visits[0].tier
    ks = sorted({visit.tier.k for visit in visits})
    ts = sorted({visit.tier.temperature for visit in visits})
    k = f"{ks[0]}" if len(ks) == 1 else f"{ks[0]} to {ks[-1]}"
    t = f"{ts[0]:g}" if len(ts) == 1 else f"{ts[0]:g} to {ts[-1]:g}"
    return f"{tier.position + 1}. {tier.model}, k={k}, t={t}"


def flow(run: Run) -> Table:
    """Count what became of the problems that came to each tier; the columns behind `asked` sum to it."""
    rows: list[tuple[Value, ...]] = []
    for label, visits in _visits(run).items():
        fate = Counter(_fate(visit) for visit in visits)
        rows.append((label, len(visits), *(fate[name] for name in FATES)))
    return Table(
        "flow",
        "Flow of problems through the tiers",
        (Column("tier", "Tier", "text"), Column("asked", "Asked"), *(Column(n, t) for n, t in FATES.items())),
        tuple(rows),
        "Ended: the tier took no answer of its own and nothing came behind it: a fall-back to a tier below, no answer, "
        "a limit that was reached, or an error.",
    )


FATES = {
    "right": "Answered right",
    "wrong": "Answered wrong",
    "ungraded": "Answered, no gold",
    "escalated": "Escalated",
    "ended": "Ended",
}
"""What a tier can do with a problem."""


def _fate(visit: _Visit) -> str:
    if not visit.last:
        return "escalated"
    if visit.story.status not in (Status.ACCEPTED, Status.LAST_TIER):
        return "ended"
    return "ungraded" if visit.story.right is None else "right" if visit.story.right else "wrong"


def statuses(run: Run) -> Table:
    """Count problems by status and grade."""
    found = Counter((story.status, story.right) for story in run.stories)
    names = sorted({status for status, _ in found}, key=lambda s: -sum(n for (t, _), n in found.items() if t == s))
    rows = tuple((s, sum(found[s, r] for r in (True, False, None)), found[s, True], found[s, False]) for s in names)
    columns = (Column("status", "Status", "text"), Column("problems", "Problems"), Column("right", "Right"))
    return Table("statuses", "How problems ended", (*columns, Column("wrong", "Wrong")), rows)


def decided(run: Run) -> Table:
    """Say how many answers each tier owns, and how many are right; a fall-back counts where its answer is from."""
    rows: list[tuple[Value, ...]] = []
    for label, visits in _visits(run).items():
        owned = [visit.story for visit in visits if visit.tier.decided]
        grades = [story.right for story in owned if story.right is not None]
        rows.append((label, len(owned), len(owned) / len(run.stories), *_accuracy(grades)))
    return Table(
        "decided",
        "Who decided",
        (
            Column("tier", "Tier", "text"),
            Column("decided", "Decided"),
            Column("share", "Of all problems", "share"),
            *ACCURACY,
        ),
        tuple(rows),
        "Accuracy is of the problems that the tier decided. Later tiers get harder ones.",
    )


ACCURACY = (
    Column("graded", "Graded"),
    Column("right", "Right"),
    Column("accuracy", "Accuracy", "share"),
    Column("low", "95 % from", "share"),
    Column("high", "to", "share"),
)
"""The columns of an accuracy with its interval."""


def _accuracy(grades: list[bool]) -> tuple[Value, ...]:
    right, n = sum(grades), len(grades)
    low, high = wilson(right, n)
    return (n, right, right / n if n else None, None if math.isnan(low) else low, None if math.isnan(high) else high)


def reliability(run: Run) -> Table:
    """Set the leader's share of the votes against how often the leader is right, for each tier with k > 1."""
    rows: list[tuple[Value, ...]] = []
    for label, visits in _visits(run).items():
        groups: dict[tuple[float, bool], list[bool]] = {}
        for visit in visits:
            look = visit.tier.looks[-1] if visit.tier.looks else None
            if look is None or look.share is None or look.seats <= 1 or visit.tier.leader_right is None:
                continue
            groups.setdefault((round(look.share, 3), look.undrawn > 0), []).append(visit.tier.leader_right)
        for (share, early), grades in sorted(groups.items()):
            rows.append((label, share, "settled early" if early else "whole", *_accuracy(grades)))
    return Table(
        "reliability",
        "Votes against correctness",
        (
            Column("tier", "Tier", "text"),
            Column("share", "Leader's share", "share"),
            Column("ballot", "Ballot", "text"),
            *ACCURACY,
        ),
        tuple(rows),
        "Last looks of tiers that vote (k > 1), over graded problems whose ballot has a leader. In a ballot settled "
        "early open seats count as not won, so its share is a lower bound and its leader may have changed.",
    )


def shares(run: Run) -> Table:
    """Count the leader's shares of each tier that votes, in bins of 0.1; ballots without a vote are in the first."""
    return _histogram(
        run,
        "shares",
        "The leader's share of the votes",
        lambda tier: (tier.looks[-1].share or 0.0) if tier.looks else None,
        lambda value: min(math.floor(value * BINS + 1e-9), BINS - 1) / BINS,
        1 / BINS,
        "A bin includes its lower end; the last one 1 as well. Without any vote the share is 0.",
    )


def entropies(run: Run) -> Table:
    """Count the entropies of the votes of each tier that votes, in bins of 0.25 bits."""
    return _histogram(
        run,
        "entropies",
        "Entropy of the votes, bits",
        lambda tier: tier.looks[-1].entropy if tier.looks else None,
        lambda value: math.floor(value / BITS + 1e-9) * BITS,
        BITS,
        "Each abstention and each seat never drawn is a class of its own: an upper bound for ballots settled early.",
    )


def _histogram(
    run: Run,
    name: str,
    title: str,
    value: Callable[[TierStory], float | None],
    bin_of: Callable[[float], float],
    width: float,
    note: str,
) -> Table:
    rows: list[tuple[Value, ...]] = []
    for label, visits in _visits(run).items():
        values = [value(v.tier) for v in visits if v.tier.looks and v.tier.looks[-1].seats > 1]
        bins = Counter(round(bin_of(found), 6) for found in values if found is not None)
        rows += [(label, low, round(low + width, 6), n) for low, n in sorted(bins.items())]
    columns = (Column("tier", "Tier", "text"), Column("low", "From", "number"), Column("high", "To", "number"))
    return Table(name, title, (*columns, Column("ballots", "Ballots")), tuple(rows), note)


def costs(run: Run) -> Table:
    """Sum money and tokens by tier; the rows sum to the run."""
    whole = run.cost
    rows: list[tuple[Value, ...]] = []
    for label, visits in _visits(run).items():
        cost = _total(visit.tier.cost for visit in visits)
        tokens = [visit.tier.tokens for visit in visits]
        rows.append(
            (
                label,
                len(visits),
                sum(visit.tier.samples for visit in visits),
                None if None in tokens else sum(n for n in tokens if n is not None),
                cost,
                float(cost / whole) if cost is not None and whole else None,
                None if cost is None else cost / len(visits),
            )
        )
    if any(story.scores != 0 for story in run.stories):
        scores, asked = _total(story.scores for story in run.stories), len(run.stories)
        of_whole = float(scores / whole) if scores is not None and whole else None
        rows.append(("scores", asked, None, None, scores, of_whole, None if scores is None else scores / asked))
    return Table(
        "costs",
        "Cost by tier",
        (
            Column("tier", "Tier", "text"),
            Column("asked", "Asked"),
            Column("samples", "Samples"),
            Column("tokens", "Tokens written"),
            Column("cost_usd", "Cost, USD", "usd"),
            Column("share", "Of the cost", "share"),
            Column("cost_per_problem_usd", "USD a problem asked", "usd"),
        ),
        tuple(rows),
    )


def savings(run: Run) -> Table:
    """Count what settled-early stopping left undrawn, and what was cancelled under way."""
    rows: list[tuple[Value, ...]] = []
    for label, visits in _visits(run).items():
        tiers = [visit.tier for visit in visits]
        asked = sum(tier.asked for tier in tiers)
        saved = sum(tier.saved for tier in tiers)
        rows.append(
            (
                label,
                asked,
                sum(tier.drawn for tier in tiers),
                saved,
                saved / asked if asked else None,
                sum(tier.cancelled for tier in tiers),
                sum(tier.broken_off for tier in tiers),
                sum(tier.tokens_unused for tier in tiers),
            )
        )
    return Table(
        "savings",
        "Saved by settled-early stopping",
        (
            Column("tier", "Tier", "text"),
            Column("seats", "Seats"),
            Column("drawn", "Drawn"),
            Column("saved", "Saved"),
            Column("share", "Saved of seats", "share"),
            Column("cancelled", "Cancelled under way"),
            Column("broken_off", "Broken off"),
            Column("tokens_unused", "Tokens of these two"),
        ),
        tuple(rows),
        "Seats are drawn, cancelled under way, or saved; requests that broke off were tried again. "
        "A seat saved by the rules verdict and exact could not have changed an outcome.",
    )


def _total(costs: Iterable[Decimal | None]) -> Decimal | None:
    total = Decimal(0)
    for cost in costs:
        if cost is None:
            return None
        total += cost
    return total
