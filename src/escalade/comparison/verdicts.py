"""Verdicts: a comparison in one or two sentences, of what was shown and nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence

from escalade.comparison.policy_rows import PolicyRow
from escalade.statistics.intervals import problems_needed
from escalade.wording import counted, signed


def verdict_of(rows: Sequence[PolicyRow], reference: str, margin: float, level: float, problems: int) -> str:
    """Return which policy is the cheapest of those shown to be no worse than the reference, or that none is.

    Policies that were chosen in-sample are none of those; where one of them would be cheaper, that is said.

    Args:
        rows: policies that can be chosen, the reference among them.
        reference: its name.
        margin: what may be lost, in accuracy.
        level: of the one-sided bound.
        problems: how many there are.

    Example:
        >>> from escalade.evaluation.bank import Bank
        >>> from escalade.comparison.comparison import compare
        >>> found = compare(Bank.of_recording("shipped"), ["mv_1.5B_k5_t0.7"])
        >>> rows = [row for row in found.rows if row.name in ("1.5B", "vote 1.5B k5")]
        >>> verdict_of(rows, "1.5B", 0.01, 0.95, 60)[:70]
        'The policy is not shown to lose less than 1 point to 1.5B (95 % confid'
        >>> verdict_of(rows[:1], "1.5B", 0.01, 0.95, 60)
        'Nothing is compared with 1.5B.'
    """
    own = next(row for row in rows if row.name == reference)
    others = [row for row in rows if row.name != reference]
    # Targets that decide alike are one policy.
    tested = list({(row.accuracy, row.cost_usd, row.lower_bound): row for row in others if not row.in_sample}.values())
    shown = [row for row in tested if row.non_inferior]
    loss = f"shown to lose less than {points(margin)} to {reference}"
    if not tested:
        return f"Nothing is compared with {reference}."
    if not shown:
        none = "The policy is not" if len(tested) == 1 else f"None of {len(tested)} policies is"
        said = [f"{none} {loss} ({level * 100:g} % confidence): keep {reference}.", _nearest(tested, problems)]
        if problems < (needed := problems_needed(margin, level)):
            said.append(f"Below {needed} problems only a gain could show it.")
        return " ".join([*said, *_in_sample(others, math.inf)])
    if math.isnan(own.cost_usd) or any(math.isnan(row.cost_usd) for row in shown):
        names = ", ".join(row.name for row in shown)
        are = f"{counted(len(tested), 'policy', 'policies')} {'is' if len(shown) == 1 else 'are'}"
        return f"{len(shown)} of {are} {loss}: {names}. Costs are unknown: none is the cheapest."
    best = min(shown, key=lambda row: (row.cost_usd, -row.accuracy))
    said = [f"Cheapest of the policies {loss}: {best.name}.", _money(best, level)]
    if len(tested) > 1:
        said.append(
            f"Each of {len(tested)} was tested by itself, on the problems it is chosen on: confirm it on others."
        )
    return " ".join([*said, *_in_sample(others, best.cost_usd)])


def _in_sample(rows: Sequence[PolicyRow], cost: float) -> list[str]:
    """What would be cheaper among policies that were chosen on these very problems."""
    cheaper = [row for row in rows if row.in_sample and row.non_inferior and row.cost_usd < cost]
    if not cheaper:
        return []
    best = min(cheaper, key=lambda row: row.cost_usd)
    return [f"Chosen in-sample, and so no finding: {best.name}, {best.cost_ratio:.2f} times the reference's cost."]


def points(margin: float) -> str:
    """Say an accuracy in points.

    Example:
        >>> points(0.01), points(0.005)
        ('1 point', '0.5 points')
    """
    return f"{margin * 100:g} point{'' if margin == 0.01 else 's'}"


def _money(row: PolicyRow, level: float) -> str:
    low, high = row.cost_ratio_low, row.cost_ratio_high
    sure = "" if not math.isfinite(high) else f" ({level * 100:g} % {low:.2f} to {high:.2f})"
    value, *ends = (signed(100 * part) for part in (row.difference, row.difference_low, row.difference_high))
    gain = f"{value} points ({' to '.join(ends)})"
    if math.isnan(row.cost_ratio):
        return f"Its cost cannot be compared; {gain}."
    loses = " It saves nothing." if row.cost_ratio >= 1 else ""
    if row.cost_ratio < 1 and not row.cost_ratio_high < 1:
        loses = " That it is cheaper is not shown."
    return f"It costs {row.cost_ratio:.2f} times as much{sure}, {gain}.{loses}"


def _nearest(tested: Sequence[PolicyRow], problems: int) -> str:
    known = [row for row in tested if not math.isnan(row.lower_bound)]
    if not known:
        return "No interval can be given: too few problems, or all of one group."
    nearest = max(known, key=lambda row: row.lower_bound)
    return (
        f"The nearest is {nearest.name}: {signed(nearest.difference * 100)} points, and with "
        f"{counted(problems, 'problem')} it may lose up to {-nearest.lower_bound * 100:.1f}."
    )
