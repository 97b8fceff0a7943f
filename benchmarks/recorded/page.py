"""The page docs/recorded-results.md: every number on it is computed here from the folder of recorded data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.recorded.account import UNSEEN_AT_MOST, Account, account_of
from benchmarks.recorded.answering import TARGET, Expected, basis_of
from benchmarks.recorded.checks import checks, probes
from benchmarks.recorded.ladder import FITTED_ON
from benchmarks.recorded.markdown import at, percent, points, table
from benchmarks.recorded.measured import SAMPLES, SOURCES, Flags, Recorded, read
from benchmarks.recorded.references import CHEAPEST, Pair, best_pairs
from benchmarks.recorded.results import references, results, verdicts
from benchmarks.recorded.verdicts import Kind, Point

ADAPTIVE = "adaptive_k_sampling"


def page(data: Path) -> str:
    """Return the page, in Markdown.

    Raises:
        TableError: recorded data is missing or contradicts itself.
        ScoreError: score files are missing.
    """
    accounts: list[Account] = []
    for title in SOURCES:
        accounts.append(account_of(basis_of(read(data, title), accounts[0].basis if accounts else None)))
    best = [best_pairs(account) for account in accounts]
    sections = [_opening(accounts, best), _real_and_modelled(accounts)]
    for account, pairs in zip(accounts, best, strict=True):
        sections += [results(account), references(account, pairs), verdicts(account)]
    sections += [_adaptive(accounts[0]), checks(accounts), probes(accounts)]
    return "\n\n".join(sections) + "\n"


def _opening(accounts: Sequence[Account], best: Sequence[Sequence[Pair]]) -> str:
    sets = " and ".join(f"{each.basis.measured.title} ({each.basis.measured.rows:,} problems)" for each in accounts)
    short: list[str] = []
    for account, pairs in zip(accounts, best, strict=True):
        lines = [line for line in account.lines if line.computed]
        kinds = [line.verdict.kind for line in lines]
        losses = [line for line in lines if line.verdict.kind is Kind.LOSS]
        turned = sum(line.turned not in (None, Kind.LOSS) for line in losses)
        as_well = kinds.count(Kind.NO_BETTER) + kinds.count(Kind.BELOW)
        but = f" ({turned} of them would be, were 72B as accurate there as the record implies)" if turned else ""
        text = (
            f"- {account.basis.measured.title}: {len(lines)} strategies could be computed. {len(losses)} cost more "
            f"than sending everything to 7B and are not shown to be more accurate{but}; {as_well} buy accuracy that a "
            f"random mix of models buys as well; {kinds.count(Kind.BETTER)} buy more than that; "
            f"{kinds.count(Kind.SAVING)} save money at equal accuracy."
        )
        adaptive = [line.verdict for line in lines if line.name.startswith(ADAPTIVE)]
        if adaptive:
            ratios = [verdict.ratio for verdict in adaptive]
            gains = [verdict.difference.value for verdict in adaptive]
            text += (
                f" By escalade's own rules the adaptive-k strategies cost {min(ratios):.2f} to {max(ratios):.2f} times "
                f"as much as always_7B, at {points(min(gains))} to {points(max(gains))} points beside its accuracy."
            )
        for pair in pairs:
            if pair.aim == CHEAPEST:
                text += (
                    f" The cheapest pair found that is as accurate as always_7B costs {pair.verdict.ratio:.3f} of it."
                )
        short.append(text)
    return "\n\n".join(
        [
            "# Recorded results",
            "The strategies of the catalogue were published with measurements of Qwen2.5-Math 1.5B, 7B and 72B: "
            f"accuracy and cost as their authors printed them, at a target of {TARGET:g}. Here the same strategies are "
            f"computed on the same measurements and prices, beside the record: {sets}. `python -m benchmarks.recorded "
            "DATA --write` makes this page from the folder of recorded data; a test holds it to that.",
            "In short:",
            "\n".join(short),
        ]
    )


def _real_and_modelled(accounts: Sequence[Account]) -> str:
    first = accounts[0].basis
    fits = ", ".join(f"{alias} {each.mean:.2f} ± {each.deviation:.2f}" for alias, each in first.spread.items())
    counted = _titles(accounts, counted=True)
    rows = [
        ["greedy answers of 1.5B and 7B", "measured", "right or wrong, per problem"],
        ["scores of the probes", "measured", "the published score files"],
        [
            f"{SAMPLES} samples at T = 0.7 of 1.5B and 7B",
            f"measured on {counted}",
            "how many were right, and whether their majority was. Fewer samples are drawn from these without "
            "replacement, exactly; decisions on them are those of the live machine",
        ],
        [
            "which answers the wrong samples gave",
            "modelled",
            "Ewens' formula given each problem's count and majority, the logarithm of its concentration normal over "
            f"problems ({fits}), fitted to the majorities. {{Range}}: wrong answers as much alike and as much apart as "
            "each measured majority allows. Samples without an answer count as wrong ones that agree with nothing",
        ],
        [
            f"the same samples on {_titles(accounts, counted=False)}",
            "modelled",
            f"never counted: as many right as the score says; {{range}}: none and all. A strategy that needs them on "
            f"more than {percent(UNSEEN_AT_MOST)} of the problems is left out",
        ],
        [
            "answers of 72B",
            "modelled",
            "only its accuracy was recorded. P(right) follows from what 7B did as 7B's does from what 1.5B did "
            "(logistic), shifted to that accuracy: [how well that predicts](#how-well-the-model-predicts)",
        ],
        [
            "costs",
            "modelled",
            "no tokens were recorded. always_M and mv_always_M give the cost of a greedy sample and of each further "
            f"one; one number a data set, fitted to the recorded cost of `{FITTED_ON}`, makes answers to hard problems "
            "longer",
        ],
        [
            "equal wrong answers of different models",
            "modelled",
            "matter to the published rule alone, which pools votes: the mean of all shared and none shared; {range}: "
            "both",
        ],
    ]
    reading = (
        "In the tables: accuracy @ USD for all problems; [95 % interval] over problems of the expected accuracy, which "
        "does not hold what the model of 72B adds; {range} where it is wider than a tenth of a point. USD: all samples "
        "of a tier asked for at once, as recorded; in brackets one by one, what a settled decision makes needless left "
        "out. *Their rule* is the published executor's, computed on the same measurements; it and ours differ on "
        "cascades only."
    )
    return "\n\n".join(["## What is real and what is modelled", table(["what", "is", "how"], rows), reading])


def _titles(accounts: Sequence[Account], *, counted: bool) -> str:
    found = [each.basis.measured.title for each in accounts if each.basis.measured.counted == counted]
    return " and ".join(found) or "no data set"


def _adaptive(account: Account) -> str:
    """Where the money of adaptive_k_sampling goes, by kind of route."""
    line, entropy, baseline = (
        account.line(ADAPTIVE),
        account.line(f"{ADAPTIVE}_with_entropy_escalation"),
        account.baseline,
    )
    first = {str(route): (route.is_cascade, route.tiers[0].k) for route in line.kinds}
    of = np.array([1 + (first[route][1] > 1) if first[route][0] else 0 for route in line.routes])
    most = max(tier.k for route in line.kinds for tier in route.tiers)
    names = ["1.5B alone, one greedy sample", "cascade of single samples", f"cascade of votes (k = 2 to {most})"]
    rows: list[list[str]] = []
    for kind, name in enumerate(names):
        there = of == kind
        if there.any():
            cells = [at(_part(found, there)) for found in (line.published, line.ours, baseline)]
            reach = [percent(float(found.largest[there].mean())) for found in (line.published, line.ours)]
            rows.append([name, f"{there.sum():,}", *cells, " / ".join(reach)])
    head = [f"routes of {ADAPTIVE}", "problems", "their rule", "ours", "always_7B on these", "reach 72B, theirs / ours"]
    gain, rows_all = line.ours.right - line.published.right, account.basis.measured.rows
    alone = float((line.ours.right - baseline.right)[of == 0].sum()) / rows_all
    text = [
        f"## Why the adaptive strategies lose ({account.basis.measured.title})",
        "The published executor counts the votes of all tiers as one ballot: weak samples outvote strong ones, and 72B "
        "has one vote among many. A single sample has a share of 1 and is accepted, so a tier of one never climbs. The "
        "target that is asked for does not arrive (it compares with 0.90, which was asked for here), and the entropy "
        "prefix changes nothing" + _entropy_record(line.runs[:1], entropy.runs[:1]),
        table(head, rows),
        f"A ballot of its own for each tier is worth {points(float(gain[of == 2].sum()) / rows_all)} points of all "
        f"problems, and letting single samples climb {points(float(gain[of == 1].sum()) / rows_all)}. What remains is "
        f"the strategy itself: the problems it leaves to one greedy sample of 1.5B cost {points(alone)} points beside "
        "always_7B, and on the hard ones it pays for many long samples.",
    ]
    return "\n\n".join(text)


def _entropy_record(plain: Sequence[Recorded], entropy: Sequence[Recorded]) -> str:
    if not plain or not entropy:
        return "."
    with_it, without = (at(Point(runs[0].accuracy, runs[0].cost)) for runs in (entropy, plain))
    return f": recorded with it {with_it}, without {without}."


def _part(found: Expected, rows: Flags) -> Point:
    return Point(float(found.right[rows].mean()), float(found.cost[rows].sum()))
