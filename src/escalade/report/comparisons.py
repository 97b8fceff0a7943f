"""Comparisons as a report reads them: the folder that `escalade compare` writes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from escalade.errors import TableError
from escalade.report.tables import Column, Table, write_money

POINTS, FACTS = "comparison.parquet", "comparison.json"
"""The files of a comparison's folder."""
_COMPARED = ("accuracy", "cost_usd", "difference", "difference_low", "difference_high")
_NEEDED = ("name", "kind", "accuracy", "accuracy_low", "accuracy_high", "cost_usd")


@dataclass(frozen=True, slots=True)
class PointTier:
    """What one tier does in a policy, on average over problems and draws."""

    model: str
    k: int | None
    temperature: float | None
    reached: float | None
    """Share of the problems that come to it."""
    decided: float | None
    """Share of the problems that it decides."""
    samples: float | None
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class Point:
    """One policy: expected accuracy and cost a problem, with intervals; None is unknown or does not apply."""

    name: str
    kind: str
    route: str | None
    target: float | None
    accuracy: float | None
    accuracy_low: float | None
    accuracy_high: float | None
    cost_usd: float | None
    cost_low: float | None
    cost_high: float | None
    tokens: float | None
    samples: float | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    p_value: float | None
    cost_ratio: float | None
    cost_ratio_low: float | None
    cost_ratio_high: float | None
    non_inferior: bool | None
    exact: bool | None
    on_frontier: bool | None
    in_sample: bool | None
    """Whether it was chosen on the problems that it is evaluated on."""
    escalated: float | None
    pass_at_k: float | None
    majority_at_k: float | None
    tiers: tuple[PointTier, ...]

    @property
    def money(self) -> str:
        """What it does to the cost, in words; nothing of the reference itself and the oracle, unless they lose."""
        if self.non_inferior is None and (self.cost_ratio is None or self.cost_ratio <= 1):
            return "–"
        return write_money(self.cost_ratio, self.cost_ratio_high, no_worse=self.non_inferior is True)


@dataclass(frozen=True, slots=True)
class Alternative:
    """What the money of a policy buys otherwise; the difference is what the policy is ahead of it, in accuracy."""

    sort: str
    """vote: more votes of one model; mix: a coin between two; pair: the best cascade of two."""
    name: str
    accuracy: float | None
    cost_usd: float | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None


class Curve(NamedTuple):
    """A curve that frontiers are held against."""

    name: str
    points: tuple[tuple[float, float], ...]
    """(USD a problem, accuracy), by rising cost."""


@dataclass(frozen=True)
class Comparison:
    """Policies over one set of problems."""

    folder: Path
    points: tuple[Point, ...]
    facts: Mapping[str, Any]
    """comparison.json as it is."""

    @property
    def verdict(self) -> str:
        """The verdict as a sentence."""
        return str(self.facts["verdict"])

    @property
    def sure(self) -> str:
        """The level of its intervals, as text."""
        return f"{float(self.facts.get('level') or 0.95) * 100:g} %"

    @property
    def problems(self) -> int | None:
        """Over how many problems it is, where it says so."""
        found = self.facts.get("problems")
        return found if type(found) is int else None

    @property
    def notes(self) -> tuple[str, ...]:
        """What was taken for granted, and what was left out and why."""
        left = [" ".join(map(str, dict(found).values())) for found in self.facts.get("left_out") or ()]
        return (*map(str, self.facts.get("notes") or ()), *(f"left out: {said}" for said in left))

    def alternatives(self, name: str) -> tuple[Alternative, ...]:
        """Return what the money of a policy buys otherwise."""
        found = (self.facts.get("rivals") or {}).get(name) or ()
        return tuple(
            Alternative(str(rival["sort"]), str(rival["name"]), *(_number(rival.get(key)) for key in _COMPARED))
            for rival in found
        )

    @property
    def curves(self) -> tuple[Curve, ...]:
        """Single models mixed blindly, and the oracle that knows which model is right."""
        frontier = self.facts.get("frontier") or {}
        curves = (("models mixed blindly", frontier.get("zero")), ("oracle", frontier.get("oracle")))
        return tuple(
            Curve(name, tuple((float(p[0]), float(p[1])) for p in points)) for name, points in curves if points
        )

    @property
    def reference(self) -> str:
        """The name of the policy that the others are compared with."""
        return str(self.facts.get("reference") or "")


def is_comparison(folder: Path) -> bool:
    """Whether a folder holds a comparison."""
    return (folder / POINTS).exists() or (folder / FACTS).exists()


def read_comparison(folder: str | Path) -> Comparison:
    """Read the folder of a comparison.

    Raises:
        TableError: a file is missing, or is not what `escalade compare` writes.
    """
    import pyarrow.parquet as parquet

    folder = Path(folder)
    for name in (FACTS, POINTS):
        if not (folder / name).is_file():
            raise TableError(
                f"{folder / name} is not there; give the folder of a comparison, with {POINTS} and {FACTS}"
            )
    try:
        facts: Any = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        file = parquet.ParquetFile(folder / POINTS)
    except (OSError, ValueError) as error:
        raise TableError(f"{folder} cannot be read as a comparison: {error}; run `escalade compare` again") from error
    if not isinstance(facts, dict) or "verdict" not in facts:
        raise TableError(f"{folder / FACTS} has no 'verdict': it is not of a comparison; run `escalade compare` again")
    with file:
        lacking = next((name for name in _NEEDED if name not in file.schema_arrow.names), None)
        if lacking is not None:
            raise TableError(f"{folder / POINTS} has no column {lacking!r}: it is not of a comparison")
        rows: list[dict[str, Any]] = file.read().to_pylist()
    if not rows:
        raise TableError(f"{folder / POINTS} has no policy; run `escalade compare` again with routes")
    return Comparison(folder, tuple(_point(row, folder / POINTS) for row in rows), facts)


_NUMBERS = tuple(name for name, kind in Point.__annotations__.items() if kind == "float | None")
_FLAGS = ("non_inferior", "exact", "on_frontier", "in_sample")


def _point(row: Mapping[str, Any], path: Path) -> Point:
    values: dict[str, Any] = {}
    try:
        values |= {name: _number(row.get(name)) for name in _NUMBERS}
        values |= {name: None if row.get(name) is None else bool(row[name]) for name in _FLAGS}
        return Point(
            name=str(row["name"]),
            kind=str(row["kind"]),
            route=None if row.get("route") is None else str(row["route"]),
            tiers=tuple(_tier(tier) for tier in json.loads(row.get("tiers") or "[]")),
            **values,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise TableError(
            f"{path}: policy {row['name']!r} cannot be read: {error!r}; run `escalade compare` again"
        ) from error


def _tier(tier: Mapping[str, Any]) -> PointTier:
    return PointTier(
        model=str(tier["model"]),
        k=None if tier.get("k") is None else int(tier["k"]),
        **{name: _number(tier.get(name)) for name in ("temperature", "reached", "decided", "samples", "cost_usd")},
    )


def _number(value: Any) -> float | None:
    if value is None:
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def points_table(comparison: Comparison) -> Table:
    """Return one row a policy, numbered as the chart numbers them."""
    low = f"{comparison.sure} from"
    rows = tuple(
        (
            number,
            point.name,
            point.kind,
            point.target,
            point.accuracy,
            point.accuracy_low,
            point.accuracy_high,
            point.cost_usd,
            point.cost_low,
            point.cost_high,
            point.difference,
            point.difference_low,
            point.difference_high,
            point.p_value,
            point.cost_ratio,
            point.cost_ratio_low,
            point.cost_ratio_high,
            None if point.non_inferior is None else "shown" if point.non_inferior else "not shown",
            point.money,
            point.escalated,
            point.samples,
            point.tokens,
            point.pass_at_k,
            point.majority_at_k,
            point.on_frontier,
            point.in_sample,
            None if point.exact is None else "exact" if point.exact else "sampled",
        )
        for number, point in enumerate(comparison.points, start=1)
    )
    return Table(
        "policies",
        "All policies",
        (
            Column("number", "No."),
            Column("name", "Policy", "text"),
            Column("kind", "Kind", "text"),
            Column("target", "Target", "number"),
            Column("accuracy", "Accuracy", "share"),
            Column("accuracy_low", low, "share"),
            Column("accuracy_high", "to", "share"),
            Column("cost_usd", "USD a problem", "usd"),
            Column("cost_low", low, "usd"),
            Column("cost_high", "to", "usd"),
            Column("difference", "Difference, points", "difference"),
            Column("difference_low", low, "difference"),
            Column("difference_high", "to", "difference"),
            Column("p_value", "p", "number"),
            Column("cost_ratio", "Cost ratio", "ratio"),
            Column("cost_ratio_low", low, "ratio"),
            Column("cost_ratio_high", "to", "ratio"),
            Column("no_worse", "No worse", "text"),
            Column("money", "Money", "text"),
            Column("escalated", "Beyond tier 1", "share"),
            Column("samples", "Samples a problem", "number"),
            Column("tokens", "Tokens a problem", "number"),
            Column("pass_at_k", "pass@k", "share"),
            Column("majority_at_k", "Majority@k", "share"),
            Column("on_frontier", "On the frontier", "flag"),
            Column("in_sample", "Chosen in-sample", "flag"),
            Column("exact", "Computed", "text"),
        ),
        rows,
        f"Differences and cost ratios are against {comparison.reference}, problem by problem.",
    )
