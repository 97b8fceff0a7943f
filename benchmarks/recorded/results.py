"""The sections of one data set: results beside the record, references, verdicts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.recorded.account import Account, Line, everywhere
from benchmarks.recorded.markdown import at, interval, percent, points, share, span, table, usd
from benchmarks.recorded.measured import MEASURED, SAMPLES
from benchmarks.recorded.references import Pair, oracle
from benchmarks.recorded.verdicts import BASELINE, MARGIN, SINGLES, Kind, Point, Verdict, mix, point
from escalade.statistics.intervals import mcnemar, mean_score


def results(account: Account) -> str:
    """Return the section that holds each strategy beside its record."""
    rows: list[list[str]] = []
    for line in account.lines:
        recorded = at(Point(line.runs[0].accuracy, line.runs[0].cost)) if line.runs else "not recorded"
        if not line.computed:
            rows.append(
                [f"`{line.name}`", recorded, "", "", "", "", f"{percent(line.unseen)} need samples never counted"]
            )
            continue
        accuracy, (low, high) = mean_score(line.ours.right)
        ours = f"{share(accuracy)} [{share(low)}, {share(high)}]"
        theirs = "as ours"
        if line.pools:
            theirs = at(point(line.published)) + span([float(each.right.mean()) for _, _, each in line.corners])
        rows.append(
            [
                f"`{line.name}`",
                recorded,
                theirs,
                ours + span([float(each.right.mean()) for _, each, _ in line.corners]),
                f"{usd(float(line.ours.cost.sum()))} ({usd(float(line.ours.settled.sum()))})",
                points(accuracy - line.runs[0].accuracy) if line.runs else "",
                _reason(line),
            ]
        )
    head = [
        "strategy",
        "recorded",
        "their rule",
        "ours",
        "USD, ours (one by one)",
        "ours - recorded",
        "why they differ",
    ]
    return "\n\n".join([f"## {account.basis.measured.title}", table(head, rows), _repeated(account)])


def _repeated(account: Account) -> str:
    """What the authors' own repetitions differ by."""
    spreads = [
        (max(run.accuracy for run in line.runs) - min(run.accuracy for run in line.runs), line.name)
        for line in account.lines
        if len(line.runs) > 1
    ]
    if not spreads:
        return "No strategy was recorded twice."
    widest, name = max(spreads)
    return (
        f"{len(spreads)} of these strategies were recorded more than once: their authors' own accuracies differ by up "
        f"to {100 * widest:.1f} points (`{name}`)."
    )


def _reason(line: Line) -> str:
    top = float(line.ours.largest.mean())
    if not line.runs:
        return "72B is greedy only in the pool: always_72B" if top == 1 else "no record"
    if line.name == "random":
        return "another seed"
    if top == 1:
        return "72B is modelled by this very number"
    if line.pools:
        entropy = "; the entropy rule runs" if any("entropy" in route.kind for route in line.kinds) else ""
        theirs = percent(float(line.published.largest.mean()))
        return (
            f"each tier's own ballot decides, single samples climb: {percent(top)} reach 72B, theirs {theirs}{entropy}"
        )
    if top == 0:
        voting = any(tier.k > 1 for route in line.kinds for tier in route.tiers)
        return f"other {SAMPLES} samples of the same model" if voting else "another greedy run of the same model"
    return f"same routes; 72B is modelled ({percent(top)} of problems)"


def references(account: Account, best: Sequence[Pair]) -> str:
    """Return the section of references: single models, votes, oracle, best pairs, random mixes."""
    measured, singles = account.basis.measured, account.points
    known = {alias: (found.right, float(found.cost.sum())) for alias, found in account.singles.items()}
    rows = [
        [f"one greedy sample of {alias}", at(singles[alias]), "measured" if alias in MEASURED else "recorded"]
        for alias in SINGLES
    ]
    for alias in measured.majority:
        vote = everywhere(account.basis, f"mv_{alias}_k{SAMPLES}_t0.7")
        mixed = mix(known, float(vote.cost.sum()))
        same = "" if mixed is None else f"; a random mix for the same money: {share(float(mixed.mean()))}"
        rows.append([f"vote of {SAMPLES} of {alias}", at(point(vote)), f"measured{same}"])
    for part in (0.25, 0.5, 0.75):
        cost = part * singles["72B"].cost + (1 - part) * singles["7B"].cost
        mixed = mix(known, cost)
        accuracy = float("nan") if mixed is None else float(mixed.mean())
        rows.append(
            [f"random mix for {percent(part)} of the way from 7B to 72B", at(Point(accuracy, cost)), "of the above"]
        )
    rows.append(["oracle of 1.5B and 7B, greedy", at(oracle(account)), "measured; knows the cheapest that is right"])
    for pair in best:
        told = f"held out: {at(pair.held_out)}; " if not np.isnan(pair.held_out.cost) else ""
        beside = f"{interval(pair.verdict.difference)} beside always_7B at {pair.verdict.ratio:.3f} of its cost"
        rows.append([f"best pair, {pair.aim}: `{pair.route}`", at(pair.seen), f"{told}{beside}: {_said(pair.verdict)}"])
    text = [
        f"### References on {measured.title}",
        table(["reference", "accuracy @ USD", "what it is"], rows),
        "Pairs are chosen on these very problems (in-sample) from bounds on votes and on scores; held out: chosen on "
        "each half of the problems, scored on the other. Where 72B is the upper model, they rest on its model.",
    ]
    if measured.counted:
        right = measured.right["7B"]
        text.append(
            "The authors' second column, called pass@k, is the mean share of right samples: for mv_always_7B they "
            f"recorded {share(measured.recorded['mv_always_7B'][0].mean_correctness)}, the counts give "
            f"{share(float(right.mean()) / SAMPLES)}. pass@{SAMPLES} itself is {share(float((right > 0).mean()))}."
        )
    return "\n\n".join(text)


def verdicts(account: Account) -> str:
    """Return the section of verdicts beside always_7B."""
    singles = {
        alias: account.basis.measured.recorded[f"always_{alias}"][0]
        for alias in SINGLES
        if f"always_{alias}" in account.basis.measured.recorded
    }
    rows: list[list[str]] = []
    for line in account.lines:
        record = ""
        if line.runs:
            run = line.runs[0]
            known = {alias: (np.array([each.accuracy]), each.cost) for alias, each in singles.items()}
            mixed = mix(known, run.cost)
            record = "" if mixed is None else points(run.accuracy - float(mixed.mean()))
        if not line.computed:
            rows.append([f"`{line.name}`", "", "", "", record, Kind.UNTOLD])
            continue
        verdict = line.verdict
        rows.append(
            [
                f"`{line.name}`",
                f"{verdict.ratio:.2f} ({verdict.settled_ratio:.2f})",
                interval(verdict.difference),
                "" if verdict.beside_mix is None else interval(verdict.beside_mix),
                record,
                _said(verdict, line.turned),
            ]
        )
    head = [
        "strategy",
        "cost / always_7B (one by one)",
        "accuracy - always_7B [95 %]",
        "accuracy - random mix [95 %]",
        "recorded - recorded mix",
        "verdict",
    ]
    text = [
        f"### Verdict on {account.basis.measured.title}",
        "Differences are in points, paired by problem; the mix is the random mix of single models that costs as much. "
        "**loss**: dearer than always_7B without a gain shown. No better than a random mix: dearer with a gain, which "
        f"a coin between models buys as well. A saving must be shown to lose less than {100 * MARGIN:.0f} point. The "
        "last but one column is the record alone, without any model: recorded accuracy less that of a mix of the "
        "recorded single models.",
        table(head, rows),
        _mcnemar(account),
    ]
    return "\n\n".join(text)


def _said(verdict: Verdict, turned: Kind | None = None) -> str:
    kind = verdict.kind
    said = f"**{kind}**" if kind is Kind.LOSS else str(kind)
    if kind is Kind.SAVING:
        said = f"saves {percent(1 - verdict.ratio)} at equal accuracy"
    notes: list[str] = []
    if verdict.ends:
        notes.append(f"at the ends of the range: {', '.join(verdict.ends)}")
    if turned not in (None, kind):
        notes.append(f"with 72B as the record implies: {turned}")
    return f"{said} ({'; '.join(notes)})" if notes else said


def _mcnemar(account: Account) -> str:
    measured = account.basis.measured
    tested = {"always_1.5B": measured.greedy["1.5B"]}
    tested |= {f"mv_always_{alias}": majority for alias, majority in measured.majority.items()}
    told: list[str] = []
    for name, right in tested.items():
        only, other, p, _ = mcnemar(right, measured.greedy[BASELINE])
        level = "p < 0.0001" if p < 1e-4 else f"p = {p:.4f}"
        told.append(f"{name} alone is right on {only:,} problems, always_7B alone on {other:,} ({level})")
    return f"Where all is measured, McNemar's exact test: {'; '.join(told)}."
