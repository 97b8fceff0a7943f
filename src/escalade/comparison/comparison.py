"""Comparisons: routes and strategies on recorded problems in one table, always with the references they must beat.

`compare` is the door. Who takes part is decided in `lineup`, what each policy comes to in `points`, what else its money
buys in `references`, how sure a difference is in `policy_rows`, and what follows in `verdicts`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from escalade import ledger
from escalade.cascade.policy import Policy
from escalade.comparison.lineup import (
    Known,
    LeftOut,
    Strategies,
    compared_points,
    everyone,
    reference_of,
    rivals_of,
    usual_routes,
)
from escalade.comparison.points import Panel, PolicyPoint
from escalade.comparison.policy_rows import Judge, PolicyRow
from escalade.comparison.references import EqualCost, References
from escalade.comparison.verdicts import verdict_of
from escalade.errors import SettingError
from escalade.evaluation.bank import Bank
from escalade.evaluation.inventory import by_cost, inventory
from escalade.routes import Route
from escalade.statistics.frontier import Point, aiq, frontier_gain, hull, step_frontier, unbeaten
from escalade.statistics.intervals import Interval

POINTS, FACTS = "comparison.parquet", "comparison.json"
"""The files of a comparison's folder."""
CURVE = 25
"""Budgets at which the oracle's frontier is told."""


@dataclass(frozen=True, slots=True)
class Rival:
    """What the money of a policy buys otherwise, and how much better the policy is than that."""

    sort: Literal["vote", "mix", "pair"]
    name: str
    route: str | None
    accuracy: float
    cost_usd: float
    difference: float
    """The policy's accuracy less the rival's."""
    interval: Interval


@dataclass(frozen=True)
class Comparison:
    """Policies over one set of problems."""

    rows: tuple[PolicyRow, ...]
    """By rising cost."""
    reference: str
    """The name of the policy that all are compared with."""
    reference_why: str
    """How it came to be the reference."""
    verdict: str
    rivals: Mapping[str, tuple[Rival, ...]]
    """What the money of each policy that was asked for buys otherwise, by its name."""
    frontier: Mapping[str, Any]
    """aiq, gain and the curves they are areas of."""
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]
    settings: Mapping[str, Any]
    """problems, margin, level, target, stop, confidence and more."""

    @property
    def table(self) -> pd.DataFrame:
        """One row a policy, the columns of `PolicyRow`; tiers as JSON."""
        rows = [row.to_dict() for row in self.rows]
        for row in rows:
            row["tiers"] = json.dumps(row["tiers"])
        table = pd.DataFrame(rows, columns=list(rows[0]))
        numbers = [name for name, kind in PolicyRow.__annotations__.items() if kind in ("float", "float | None")]
        table[numbers] = table[numbers].astype("float64")
        return table.astype({"non_inferior": "boolean", "route": "string", "test": "string"})

    def facts(self) -> dict[str, Any]:
        """Return all but the rows, as plain values."""
        return {
            **self.settings,
            "reference": self.reference,
            "reference_why": self.reference_why,
            "verdict": self.verdict,
            "frontier": dict(self.frontier),
            "rivals": {name: [_rival(rival) for rival in rivals] for name, rivals in self.rivals.items()},
            "left_out": [left._asdict() for left in self.left_out],
            "notes": list(self.notes),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain values; NaN as None."""
        return {**self.facts(), "policies": [row.to_dict() for row in self.rows]}

    def write(self, folder: str | Path) -> Path:
        """Write comparison.parquet, a row a policy, and comparison.json, all else; return the folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.table.to_parquet(folder / POINTS, index=False)
        text = json.dumps(self.facts(), ensure_ascii=False, indent=2, allow_nan=False)
        (folder / FACTS).write_text(text + "\n", encoding="utf-8")
        return folder


def compare(
    bank: Bank,
    routes: Sequence[str | Route] = (),
    strategies: Strategies = (),
    targets: Sequence[float] = (0.9,),
    reference: str | None = None,
    *,
    policy: Policy | None = None,
    margin: float = 0.01,
    level: float = 0.95,
    groups: Sequence[Any] | None = None,
    draws: int | None = None,
    seed: int = 0,
    facts: Mapping[str, Any] | None = None,
) -> Comparison:
    """Return routes and strategies on the problems of a bank, with the references and against one of them.

    Args:
        bank: the recorded samples; every problem needs a gold answer.
        routes: or routing strings; with neither routes nor strategies, `usual_routes`.
        strategies: names, strategies, or "all" that can be evaluated: the others are in `left_out`, with the reason.
        targets: target confidences, each of which makes a policy of every route and strategy that heeds it.
        reference: a model's alias, a routing string, or the name of a policy; None takes one sample of the dearest
            model.
        policy: the other settings of decisions.
        margin: what a policy may lose to the reference and still pass for no worse, in accuracy.
        level: of all intervals.
        groups: [N] which problems share a source, so that groups are the unit of all intervals.
        draws: runs a problem where a route has no closed form.
        seed: of these, of random strategies, and of the bootstrap of costs.
        facts: what `Comparison.settings` is to say of the source besides.

    Raises:
        InputError: a route or a strategy that was named cannot be evaluated, or a setting is out of range.

    Example:
        >>> found = compare(Bank.of_recording("shipped"), ["mv_cascade_0.5B_k5_t0.7_1.5B_k1_t0.0"])
        >>> found.reference, [(row.name, round(row.accuracy, 3)) for row in found.rows if row.kind == "route"]
        ('1.5B', [('0.5B k5 > 1.5B', 0.638)])
    """
    policy = policy or Policy()
    _check(bank, targets)
    panel = Panel(bank, policy, draws, seed)
    shelves = inventory(bank)
    notes: list[str] = []
    references = References(panel, shelves, by_cost(bank, shelves))
    if not routes and not strategies:
        routes = usual_routes(bank, references)
        if not routes:
            have = ", ".join(f"{shelf.alias} t={shelf.temperature:g}: {shelf.least}" for shelf in shelves)
            raise SettingError(
                f"no vote and no cascade can be made of the samples that every problem of {bank.place} has ({have}): "
                "draw whole ballots (escalade record), or name routes for what is there"
            )
        notes.append(f"no routes given: taking {', '.join(map(str, routes))}")
    compared, left_out = compared_points(panel, routes, strategies, targets)
    notes += panel.notes
    judged, why = reference_of(panel, references, compared, reference)
    if panel.closed() is not panel:
        notes.append(
            "votes and pairs for the same money are by share, and stopped by verdict where the rule is not exact"
        )
    if not references.priced:
        notes.append("costs are unknown: no frontier, no rivals of equal cost, no best pair, no oracle")
    known = Known([*compared, *references.singles, judged])
    rivals = {point.name: rivals_of(references, point, known) for point in compared} if references.priced else {}
    every = everyone(references, compared, judged, rivals, known)
    judged = min((p for p in every if p.same(judged)), key=lambda p: (p.name != judged.name, p.route != judged.route))
    front = _on_frontier(every)
    judge = Judge(judged, margin=margin, level=level, groups=groups, seed=seed)
    rows = [judge.row(point, on_frontier=place in front) for place, point in enumerate(every)]
    rows.sort(key=lambda row: (math.isnan(row.cost_usd), row.cost_usd, row.accuracy, row.name))
    candidates = {point.name for point in every if point.candidate}
    return Comparison(
        tuple(rows),
        judged.name,
        why,
        verdict_of([row for row in rows if row.name in candidates], judged.name, margin, level, len(bank)),
        {name: _told(judge, name, compared, found) for name, found in rivals.items()},
        _areas(references, compared, front, every),
        tuple(left_out),
        tuple(notes),
        {
            "problems": len(bank),
            "pool": bank.pool.name,
            "margin": margin,
            "level": level,
            "target": list(targets),
            "stop": policy.stop,
            "confidence": policy.confidence,
            "prior_strength": policy.prior_strength if policy.confidence == "prior" else None,
            "aggregate": policy.aggregate,
            "seed": seed,
            "simulated": sum(not row.exact for row in rows),
            **ledger.stamp(bank.pool),
            **bank.grader.report(),
            **(facts or {}),
        },
    )


def _check(bank: Bank, targets: Sequence[float]) -> None:
    if not targets:
        raise SettingError("targets is empty: give at least one target confidence, as in 0.9")
    for target in targets:
        if not 0 <= target <= 1:
            raise SettingError(f"target is {target!r}: give a number in [0, 1]")
    for problem in bank.problems:
        if problem.gold is None:
            raise SettingError(
                f"problem {problem.id!r} has no gold answer, so that no accuracy can be told: take the subset of the "
                "problems that have one (open_bank leaves the others out)"
            )


def _on_frontier(points: Sequence[PolicyPoint]) -> set[int]:
    """The places of the policies that none beats."""
    there = {
        place: Point(point.cost_usd, point.accuracy)
        for place, point in enumerate(points)
        if point.candidate and not math.isnan(point.cost_usd)
    }
    return {place for place, best in zip(there, unbeaten(list(there.values())), strict=True) if best}


def _told(judge: Judge, name: str, compared: Sequence[PolicyPoint], found: EqualCost) -> tuple[Rival, ...]:
    point = next(point for point in compared if point.name == name)
    out: list[Rival] = []
    for sort, other in (("vote", found.vote), ("mix", found.mix), ("pair", found.pair)):
        if other is not None:
            value, interval = judge.difference(point, other)
            out.append(Rival(sort, other.name, other.route, other.accuracy, other.cost_usd, value, interval))  # type: ignore[arg-type] # the three sorts
    return tuple(out)


def _rival(rival: Rival) -> dict[str, Any]:
    low, high = rival.interval
    return {
        "sort": rival.sort,
        "name": rival.name,
        "route": rival.route,
        "accuracy": rival.accuracy,
        "cost_usd": rival.cost_usd,
        "difference": rival.difference,
        "difference_low": None if math.isnan(low) else low,
        "difference_high": None if math.isnan(high) else high,
    }


def _areas(
    references: References, compared: Sequence[PolicyPoint], front: set[int], every: Sequence[PolicyPoint]
) -> dict[str, Any]:
    names = [every[place].name for place in sorted(front, key=lambda place: every[place].cost_usd)]
    blank = {"aiq": None, "aiq_zero": None, "gain": None, "gain_by_steps": None, "points": names}
    if not references.priced:
        return blank
    low, high = references.singles[0].cost_usd, references.singles[-1].cost_usd
    zero, oracle = references.zero(), references.oracle()
    singles = [Point(p.cost_usd, p.accuracy, p.name) for p in references.singles]
    own = [Point(p.cost_usd, p.accuracy, p.name) for p in compared if not math.isnan(p.cost_usd)]
    if not own or not 0 < low < high:
        return blank
    budgets = np.geomspace(oracle.costs[0], max(oracle.costs[-1], oracle.costs[0]), CURVE)
    return {
        "aiq": _known(aiq(own, low, high, zero)),
        "aiq_zero": _known(zero.mean_accuracy(low, high, log=False)),
        "gain": _known(frontier_gain(hull(own), singles, oracle)),
        "gain_by_steps": _known(frontier_gain(step_frontier(own), singles, oracle)),
        "low_usd": low,
        "high_usd": high,
        "in_sample": True,
        "points": names,
        "zero": [[point.cost, point.accuracy, point.name] for point in zero.points],
        "oracle": [[float(c), float(a)] for c, a in zip(budgets, oracle.accuracy_at(budgets), strict=True)],
    }


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
