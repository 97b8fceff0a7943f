"""The sections that test the models against what was recorded, and the probes against what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import numpy as np

from benchmarks.recorded.account import Account
from benchmarks.recorded.answering import World
from benchmarks.recorded.ladder import FITTED_ON
from benchmarks.recorded.markdown import at, percent, points, share, table, usd
from benchmarks.recorded.measured import MEASURED, SAMPLES
from benchmarks.recorded.urns import majority_rate
from benchmarks.recorded.verdicts import Point, point
from escalade.statistics.metrics import auroc


def checks(accounts: Sequence[Account]) -> str:
    """Return the section on how well the models predict what they were not fitted to."""
    text = [
        "## How well the model predicts",
        f"No accuracy below was used in a fit, nor any cost but that of `{FITTED_ON}`. *Implied*: 72B's accuracy on "
        "the problems a strategy sends there, from its recorded accuracy less the right answers of 1.5B and 7B. Beside "
        "it the model, and the strategy's accuracy if 72B's right answers were spread otherwise: flat, the same chance "
        "on every problem; nested, the problems that 7B finds easiest.",
    ]
    for account in accounts:
        text += [f"{account.basis.measured.title}:", largest(account)]
    for account in accounts:
        if account.basis.measured.counted:
            text += [majorities(account), pooled(account)]
    return "\n\n".join(text)


def largest(account: Account) -> str:
    """Return how the model of 72B and that of costs do on the strategies whose rules are the same here and there."""
    rows: list[list[str]] = []
    off: list[tuple[float, ...]] = []
    costs: list[float] = []
    for line in account.lines:
        there = line.implied
        if there is None:
            continue
        run, basis = line.runs[0], account.basis
        spread = [line.ours, *(basis.ours(line.routes, World(largest=name)) for name in ("flat", "nested"))]
        accuracies = [float(found.right.mean()) for found in spread]
        off.append(tuple(accuracy - run.accuracy for accuracy in accuracies))
        costs.append(float(line.ours.cost.sum()) / run.cost - 1)
        rows.append(
            [
                f"`{line.name}`",
                percent(float(line.ours.largest.mean())),
                share(there),
                share(float(basis.largest["fitted"][line.ours.largest == 1].mean())),
                share(run.accuracy),
                *map(share, accuracies),
                "fitted" if line.name == FITTED_ON else f"{100 * costs[-1]:+.1f} %",
            ]
        )
    if not rows:
        return "No strategy is recorded that could tell."
    head = [
        "strategy",
        "to 72B",
        "implied",
        "model there",
        "recorded",
        "fitted",
        "flat",
        "nested",
        "cost beside record",
    ]
    fitted, flat, nested = np.mean(off, axis=0)
    worst = max(abs(errors[0]) for errors in off)
    return (
        f"{table(head, rows)}\n\nOff by {points(fitted)} points on average as fitted ({100 * worst:.1f} at most), "
        f"{points(flat)} flat, {points(nested)} nested; costs by {100 * max(map(abs, costs)):.1f} % at most."
    )


def majorities(account: Account) -> str:
    """Return how the model of wrong answers meets the majorities it was fitted to."""
    measured, told = account.basis.measured, range(1, SAMPLES // 2 + 1)
    rows: list[list[str]] = []
    for alias in MEASURED:
        row = [alias]
        for c in told:
            there = measured.right[alias] == c
            seen = share(float(measured.majority[alias][there].mean())) if there.any() else "none"
            row.append(f"{seen} / {share(majority_rate(c, account.basis.spread[alias]))}")
        rows.append(row)
    text = (
        f"Share of right majorities on {measured.title} where c of {SAMPLES} samples are right, measured / as fitted; "
        "with other counts it follows from the count:"
    )
    return f"{text}\n\n{table(['model', *(f'c = {c}' for c in told)], rows)}"


def pooled(account: Account) -> str:
    """Return how the model of wrong answers and the published rule meet the record of the cascades."""
    rows: list[list[str]] = []
    off: list[tuple[float, ...]] = []
    for line in account.lines:
        if not line.pools or not line.runs or line.unseen:
            continue
        ends = {
            wrong: [point(theirs) for world, _, theirs in line.corners if world.wrong == wrong]
            for wrong in ("alike", "apart")
        }
        recorded = Point(line.runs[0].accuracy, line.runs[0].cost)
        middles = [point(line.published).cost, *(fmean(each.cost for each in end) for end in ends.values())]
        off.append(tuple(cost / recorded.cost - 1 for cost in middles))
        rows.append([f"`{line.name}`", at(recorded), at(point(line.published)), *map(_between, ends.values())])
    if not rows:
        return f"No cascade on {account.basis.measured.title} is recorded."
    text = (
        f"Their rule for cascades on {account.basis.measured.title}, beside the record. Where no sample is right, and "
        "where most are, the majority says nothing of how much wrong answers agree: there the fit extrapolates. "
        "Besides, the published executor compares the text of answers, so that equal ones can count as different, "
        "which acts like wrong answers further apart:"
    )
    head = ["strategy", "recorded", "as fitted", "wrong answers most alike", "most apart"]
    fitted, alike, apart = np.mean(off, axis=0)
    return (
        f"{text}\n\n{table(head, rows)}\n\nCosts are off by {100 * fitted:+.1f} % on average as fitted, "
        f"{100 * alike:+.1f} % most alike, {100 * apart:+.1f} % most apart."
    )


def _between(found: Sequence[Point]) -> str:
    accuracies, costs = [each.accuracy for each in found], [each.cost for each in found]
    return f"{share(min(accuracies))} to {share(max(accuracies))} @ {usd(min(costs))} to {usd(max(costs))}"


def probes(accounts: Sequence[Account]) -> str:
    """Return the section on the recorded probes."""
    rows: list[list[str]] = []
    for account in accounts:
        measured = account.basis.measured
        for name, scores in measured.probes.items():
            used = all(np.array_equal(np.float32(scores[a]), np.float32(measured.scores[a])) for a in MEASURED)
            cells = [f"{auroc(scores[alias], measured.greedy[alias]):.3f}" for alias in MEASURED]
            majority = [f"{auroc(scores[alias], right):.3f}" for alias, right in measured.majority.items()] or ["", ""]
            title = f"`{name.replace('_{}_', '_')}`" + (" (used)" if used else "")
            rows.append([measured.title, title, *cells, *majority])
    head = ["data set", "probe", "1.5B greedy", "7B greedy", "1.5B majority", "7B majority"]
    return "\n\n".join(
        [
            "## The probes",
            "AUROC of every recorded probe of both models: P(a problem answered right has the higher score than one "
            "answered wrong). Its name says what it was trained on, the label (sr: share of right samples, mv: their "
            "majority), samples and temperature. The one marked equals the score files number by number; all routes on "
            "this page follow from it.",
            table(head, rows),
        ]
    )
